package mirror

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

// ringSite is a ring with a vendor's packages, as they come from the cloud: zipped by
// somebody else's zip, with no list of anybody.
type ringSite struct {
	lab
	vendor *sigtest.Vendor
	ring   string
	now    time.Time // when the test began
}

func newRing(t *testing.T) ringSite {
	s := ringSite{lab: newLab(t, KeyOptions{}), vendor: sigtest.New(t), now: time.Now().UTC().Truncate(time.Second)}
	s.ring = filepath.Join(s.dir, "linux", "production")
	return s
}

func (s ringSite) path(name string) string { return filepath.Join(s.ring, "arch_x86_64", name) }

// day is when version n was made.
func (s ringSite) day(n int) time.Time { return s.now.AddDate(0, 0, n-20) }

// vdm gives definitions of version 1.407.n.0.
func vdm(name string, n uint32) []byte {
	return sigtest.Definitions(name, verifier.Version{1, 407, n, 0}, fmt.Sprint(name, n))
}

// signed gives them signed.
func (s ringSite) signed(t *testing.T, name string, n, day int) []byte {
	t.Helper()
	return s.vendor.Sign(t, "vendor", vdm(name, uint32(n)), s.day(day))
}

// files are those of version n: definitions signed and stamped, an engine with its
// signature beside it.
func (s ringSite) files(t *testing.T, n int) map[string][]byte {
	t.Helper()
	engine := sigtest.Engine(elf.EM_X86_64, "the engine")
	return map[string][]byte{
		"mpavbase.vdm":       s.signed(t, "mpavbase.vdm", 0, 1),
		"mpavdlta.vdm":       s.signed(t, "mpavdlta.vdm", n, n),
		"libmpengine.so":     engine,
		"libmpengine.so.sig": s.vendor.Beside(t, "vendor", engine),
	}
}

// come puts a package and its manifest into the ring, as the vendor's script does.
func (s ringSite) come(t *testing.T, files map[string][]byte, manifest string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		write(t, filepath.Join(dir, name), content)
	}
	run(t, dir, "zip", append([]string{"-q", "all.zip"}, slices.Sorted(maps.Keys(files))...)...)
	write(t, s.path("updates.zip"), read(t, filepath.Join(dir, "all.zip")))
	write(t, s.path("manifest.json"), []byte(manifest))
}

func manifestFor(n int) string {
	return fmt.Sprintf(`{"EngineVersion": "1.1.24080.9", "DefinitionVersion": "1.407.%d.0"}`, n)
}

func (s ringSite) comes(t *testing.T, n int) { t.Helper(); s.come(t, s.files(t, n), manifestFor(n)) }

func (s ringSite) options(t *testing.T) ApproveOptions {
	t.Helper()
	roots, err := filepath.Glob(filepath.Join(s.vendor.Trust, "*.pem"))
	if err != nil || len(roots) != 2 {
		t.Fatal(roots, err)
	}
	return ApproveOptions{Arch: "x86_64", Vendor: trustIn(t, roots...), Signer: &s.signer}
}

func (s ringSite) approve(t *testing.T, o ApproveOptions) (Proposal, error) {
	t.Helper()
	p, err := Propose(context.Background(), s.ring, o)
	if err != nil {
		return Proposal{}, err
	}
	defer p.Close()
	_, err = p.Sign(s.signer)
	return *p, err
}

func (s ringSite) approved(t *testing.T, o ApproveOptions) Proposal {
	t.Helper()
	p, err := s.approve(t, o)
	wantCode(t, err, "")
	return p
}

// serves checks what an endpoint finds.
func (s ringSite) serves(t *testing.T, n int) Verified {
	t.Helper()
	good, err := Verify(context.Background(), s.path("updates.zip.p7m"), s.trust, time.Now(), &verifier.Identity{Product: "mdatp", Platform: "linux", Arch: "x86_64", Ring: "production"})
	wantCode(t, err, "")
	if want := fmt.Sprintf("1.407.%d.0", n); good.Signed.List.Definition.String() != want {
		t.Fatalf("endpoints find %s, want %s", good.Signed.List.Definition, want)
	}
	return good
}

func (s ringSite) zips(t *testing.T) (names []string) {
	t.Helper()
	all, err := filepath.Glob(s.path("updates-*.zip"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// An approved package is what endpoints find until the next one is approved,
// whatever is downloaded meanwhile.
func TestApprove(t *testing.T) {
	t.Parallel()
	s := newRing(t)
	o := s.options(t)
	o.RequireVendor = true
	s.comes(t, 2)
	first := s.approved(t, o)
	for _, f := range first.Files {
		if f.Verdict != VerdictGood || f.SHA256 == (verifier.Digest{}) {
			t.Errorf("%+v", f)
		}
	}
	good := s.serves(t, 2)
	if l := good.Signed.List; !l.Released.Equal(s.day(2)) || l.Engine != version("1.1.24080.9") || len(l.Files) != 4 || l.Zip != filepath.Base(good.Archive) {
		t.Errorf("%+v", l)
	}
	if sum, err := hashFile(s.path("updates.zip")); err != nil || filepath.Base(good.Archive) != "updates-"+sum[:8]+".zip" {
		t.Errorf("%s for a package with the digest %s", good.Archive, sum)
	}
	onlyFiles(t, s.path(""), "manifest.json", filepath.Base(good.Archive), "updates.zip", "updates.zip.p7m")

	// What came since somebody looked is not signed.
	look := func(o ApproveOptions) *Proposal {
		t.Helper()
		p, err := Propose(context.Background(), s.ring, o)
		wantCode(t, err, "")
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		return p
	}
	seen := look(o)
	for _, zip := range []string{seen.List.Zip, zipNamed(seen.sum), strings.ToUpper(seen.List.Zip), "updates.zip"} {
		o := o
		o.Zip = zip
		_, err := s.approve(t, o)
		wantCode(t, err, map[bool]string{true: "", false: "content_mismatch"}[strings.HasPrefix(zip, "updates-")])
	}
	o.Zip = zipNamed(seen.sum)
	s.comes(t, 3) // written over the old one, as cp does, and so through every other name that the file has
	s.serves(t, 2)
	_, err := s.approve(t, o)
	wantCode(t, err, "content_mismatch")
	o.Zip = ""
	second := s.approved(t, o)
	s.serves(t, 3)
	if second.Renewal || second.Changes()["mpavdlta.vdm"] != FileChanged || second.Changes()["libmpengine.so"] != FileSame {
		t.Errorf("%v", second.Changes())
	}
	if n := len(s.zips(t)); n != 2 {
		t.Errorf("%d approved packages are there, and endpoints may be fetching the one before", n)
	}
	// What comes after it is in force is no failure of an approval: the first package can't
	// be removed this time.
	inTheWay := filepath.Join(good.Archive, "file")
	if err := os.Remove(good.Archive); err != nil {
		t.Fatal(err)
	}
	write(t, inTheWay, nil)
	s.comes(t, 4)
	third, err := Propose(context.Background(), s.ring, o)
	wantCode(t, err, "")
	approved, err := third.Sign(s.signer)
	wantCode(t, errors.Join(err, third.Close()), "")
	s.serves(t, 4)
	if approved.Note == nil || approved.Note.Code == "" || !strings.Contains(approved.Note.Message, "an older approved package") {
		t.Errorf("%+v", approved)
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	s.approved(t, o)
	if zips := s.zips(t); slices.Contains(zips, good.Archive) {
		t.Errorf("%v are there, and the first could be removed by now", zips)
	}
	s.comes(t, 5)
	s.approved(t, o)
	s.serves(t, 5)
	if zips := s.zips(t); len(zips) != 2 || slices.Contains(zips, good.Archive) {
		t.Errorf("%v are there after three approvals", zips)
	}
}

// A renewal has the same content, archive and release, and is issued later.
func TestRenew(t *testing.T) {
	t.Parallel()
	s := newRing(t)
	o := s.options(t)
	for _, how := range []string{"with time stamps", "without a vendor"} {
		if how != "with time stamps" {
			o.Vendor = verifier.Trust{}
			s.come(t, map[string][]byte{"one.vdm": []byte("nobody signed it")}, manifestFor(9))
			if err := os.Chtimes(s.path("updates.zip"), time.Time{}, s.day(9)); err != nil {
				t.Fatal(err)
			}
		} else {
			s.comes(t, 9)
		}
		o.Force = true
		s.approved(t, o)
		before := s.serves(t, 9).Signed.List
		if !before.Released.Equal(s.day(9)) {
			t.Fatalf("%s: released %s, want %s", how, before.Released, s.day(9))
		}
		o.Force = false
		for _, renew := range []bool{false, true} {
			write(t, s.path("updates.zip"), read(t, s.path("updates.zip"))) // another download
			if renew {
				s.comes(t, 11) // nobody asked for this one
			}
			o.Renew = renew
			p := s.approved(t, o)
			after := s.serves(t, 9).Signed.List
			if !p.Renewal || !after.Released.Equal(before.Released) || !after.Issued.After(before.Issued) || after.Zip != before.Zip {
				t.Errorf("%s, --renew %v: %+v after %+v", how, renew, after, before)
			}
			before = after
		}
		o.Renew = false
	}
	// Content that comes back after another one is as old as when it was seen first.
	s.come(t, map[string][]byte{"one.vdm": []byte("nobody signed it")}, manifestFor(9))
	if got := s.approved(t, o).List.Released; !got.Equal(s.day(9)) {
		t.Errorf("released %s, want %s", got, s.day(9))
	}
	if err := os.Remove(s.path("updates.zip.p7m")); err != nil {
		t.Fatal(err)
	}
	if got := s.approved(t, o).List.Released; !got.Equal(s.day(9)) {
		t.Errorf("without the approval before: released %s, want %s", got, s.day(9))
	}
	if err := os.Remove(s.path("updates.zip.p7m")); err != nil {
		t.Fatal(err)
	}
	o.Renew = true
	_, err := s.approve(t, o)
	wantCode(t, err, "usage")
}

// A renewal signs again what is approved in this ring, by somebody who is trusted, and
// was not replaced since: who can write to the tree gets no signature for anything else.
func TestRenewRefuses(t *testing.T) {
	t.Parallel()
	s := newRing(t)
	o := s.options(t)
	s.comes(t, 2)
	older := s.approved(t, o).List
	put := func(list *verifier.List, by Signer, edit func(*verifier.List)) {
		t.Helper()
		copied := *list
		edit(&copied)
		object, err := SignList(&copied, by)
		wantCode(t, err, "")
		write(t, s.path("updates.zip.p7m"), object)
	}
	stranger := newLab(t, KeyOptions{}).signer
	for name, c := range map[string]struct {
		by   Signer
		edit func(*verifier.List)
		code string
	}{
		"what it was":      {s.signer, func(*verifier.List) {}, ""},
		"for another ring": {s.signer, func(l *verifier.List) { l.Rings = []string{"preview"} }, "usage"},
		"for another arch": {s.signer, func(l *verifier.List) { l.Arch = "arm64" }, "usage"},
		"by a stranger":    {stranger, func(*verifier.List) {}, "usage"},
	} {
		for _, trust := range []*verifier.Trust{nil, &s.trust} {
			for _, force := range []bool{false, true} {
				if c.code == "" && force {
					continue
				}
				list, err := ReadList(s.path("updates.zip.p7m"))
				wantCode(t, err, "")
				put(list, c.by, c.edit)
				forged := read(t, s.path("updates.zip.p7m"))
				o := o
				o.Renew, o.Trust, o.Force = true, trust, force
				_, err = s.approve(t, o)
				if t.Log(name, trust != nil, force); c.code != "" && !bytes.Equal(read(t, s.path("updates.zip.p7m")), forged) {
					t.Error("it was signed all the same")
				}
				wantCode(t, err, c.code)
				if err != nil {
					put(list, s.signer, func(l *verifier.List) { l.Rings, l.Arch = []string{"production"}, "x86_64" })
				}
			}
		}
	}
	// A version that was named once need not be named again.
	named := o
	named.Definition = version("1.407.3.0")
	s.approved(t, named)
	named.Definition, named.Renew = verifier.Version{}, true
	if p := s.approved(t, named); !p.Renewal {
		t.Errorf("%+v is no renewal", p.List)
	}
	s.serves(t, 3)
	whole, name := read(t, s.path(older.Zip)), older.Zip
	s.comes(t, 3)
	s.approved(t, o)
	put(older, s.signer, func(*verifier.List) {})
	write(t, s.path(name), whole)
	o.Renew = true
	_, err := s.approve(t, o)
	wantCode(t, err, "usage") // put back by whoever can write to the tree
	o.Force = true
	s.approved(t, o)
	s.serves(t, 2)
	// Nobody says whose approval it must be.
	o.Force, o.Signer = false, nil
	_, err = s.approve(t, o)
	wantCode(t, err, "usage")
}

func TestApproveRefuses(t *testing.T) {
	t.Parallel()
	s := newRing(t)
	stranger := sigtest.New(t)
	good := s.files(t, 2)
	with := func(name string, content []byte) map[string][]byte {
		files := maps.Clone(good)
		files[name] = content
		if content == nil {
			delete(files, name)
		}
		return files
	}
	flipped := bytes.Clone(good["mpavdlta.vdm"])
	flipped[600] ^= 1
	foreign := with("libmpengine.so", sigtest.Engine(elf.EM_AARCH64, "the engine"))
	foreign["libmpengine.so.sig"] = s.vendor.Beside(t, "vendor", foreign["libmpengine.so"])
	for _, c := range []struct {
		name     string
		files    map[string][]byte
		manifest string
		edit     func(*ApproveOptions)
		code     string
	}{
		{name: "good"},
		{name: "altered", files: with("mpavdlta.vdm", flipped), code: "content_mismatch"},
		{name: "not signed", files: with("mpavdlta.vdm", vdm("mpavdlta.vdm", 2)), code: "signature_missing"},
		{name: "not signed, and nobody wants it", files: with("mpavdlta.vdm", vdm("mpavdlta.vdm", 2)), edit: func(o *ApproveOptions) { o.RequireVendor = false }},
		{name: "a stranger's", files: with("mpavdlta.vdm", stranger.Sign(t, "vendor", vdm("mpavdlta.vdm", 2), s.day(2))), code: "signer_untrusted"},
		{name: "under another's name", files: with("mpasdlta.vdm", good["mpavdlta.vdm"]), code: "content_mismatch"},
		{name: "engine without its signature", files: with("libmpengine.so.sig", nil), code: "signature_missing"},
		{name: "engine with an unknown signature", files: with("libmpengine.so.sig", []byte("???")), code: "signature_missing"},
		{name: "engine with another's signature", files: with("libmpengine.so.sig", s.vendor.Beside(t, "vendor", []byte("x"))), code: "content_mismatch"},
		{name: "a signature of nothing", files: with("other.sig", s.vendor.Beside(t, "vendor", []byte("x"))), code: "signature_missing"},
		{name: "engine of another architecture", files: foreign, code: "wrong_platform"},
		{name: "manifest of another package", manifest: manifestFor(3), code: "content_mismatch"},
		{name: "and that was named", manifest: manifestFor(3), edit: func(o *ApproveOptions) { o.Definition = version("1.407.2.0") }},
		{name: "named as what the vendor did not sign", edit: func(o *ApproveOptions) { o.Definition, o.Force = version("1.407.3.0"), true }, code: "content_mismatch"},
		{name: "and nobody asked for the vendor's word", edit: func(o *ApproveOptions) { o.Definition, o.RequireVendor = version("1.407.3.0"), false }},
		{name: "engine of another architecture, forced", files: foreign, edit: func(o *ApproveOptions) { o.Force = true }, code: "wrong_platform"},
		{name: "and nobody asked for it to be the vendor's", files: foreign, edit: func(o *ApproveOptions) { o.Force, o.RequireVendor = true, false }},
		{name: "no manifest", manifest: "{}", code: "usage"},
		{name: "no manifest, and the engine was named", manifest: "{}", edit: func(o *ApproveOptions) { o.Engine = version("1.1.1.1") }},
		{name: "deltas that disagree", files: with("mpasdlta.vdm", s.signed(t, "mpasdlta.vdm", 1, 2)), code: "content_mismatch"},
		{name: "a base that is newer", files: with("mpavbase.vdm", s.signed(t, "mpavbase.vdm", 3, 2)), code: "content_mismatch"},
		{name: "a base of another generation", files: with("mpavbase.vdm", s.vendor.Sign(t, "vendor", sigtest.Definitions("mpavbase.vdm", verifier.Version{1, 405, 0, 0}, ""), s.day(1))), code: "content_mismatch"},
		{name: "definitions without a version", files: with("mpasdlta.vdm", []byte("text")), edit: func(o *ApproveOptions) { o.RequireVendor = false }, code: "content_mismatch"},
		{name: "and one that was named", files: with("mpasdlta.vdm", []byte("text")), edit: func(o *ApproveOptions) { o.RequireVendor, o.Definition = false, version("1.407.2.0") }},
		{name: "no engine", files: func() map[string][]byte {
			files := with("libmpengine.so", nil)
			delete(files, "libmpengine.so.sig")
			return files
		}(), code: "package_malformed"},
		{name: "two engines", files: func() map[string][]byte {
			files := with("other.so", good["libmpengine.so"])
			files["other.so.sig"] = good["libmpengine.so.sig"]
			return files
		}(), code: "package_malformed"},
		{name: "a signed text, which has no name of its own", files: func() map[string][]byte {
			files := with("a.txt", []byte("x"))
			files["a.txt.sig"] = s.vendor.Beside(t, "vendor", files["a.txt"])
			return files
		}(), code: "package_malformed"},
		{name: "a signature of a signature", files: with("libmpengine.so.sig.sig", s.vendor.Beside(t, "vendor", good["libmpengine.so.sig"])), code: "signature_missing"},
		{name: "a signature of a file that has one inside", files: with("mpavdlta.vdm.sig", s.vendor.Beside(t, "vendor", good["mpavdlta.vdm"])), code: "signature_missing"},
		{name: "another ring", edit: func(o *ApproveOptions) { o.Ring = "preview" }, code: "usage"},
		{name: "another platform", edit: func(o *ApproveOptions) { o.Platform = "mac" }, code: "usage"},
		{name: "no such architecture here", edit: func(o *ApproveOptions) { o.Arch = "arm64" }, code: "usage"},
		{name: "expired already", edit: func(o *ApproveOptions) { o.Expires = time.Now().Add(-time.Hour) }, code: "usage"},
		{name: "expires behind its signer", edit: func(o *ApproveOptions) { o.Expires = time.Now().AddDate(30, 0, 0) }, code: "usage"},
		{name: "endpoints trust others", edit: func(o *ApproveOptions) { o.Trust = &o.Vendor }, code: "signer_untrusted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := ringSite{s.lab, s.vendor, filepath.Join(t.TempDir(), "linux", "production"), s.now}
			if c.files == nil {
				c.files = good
			}
			if c.manifest == "" {
				c.manifest = manifestFor(2)
			}
			s.come(t, c.files, c.manifest)
			o := s.options(t)
			o.RequireVendor = true
			if c.edit != nil {
				c.edit(&o)
			}
			_, err := s.approve(t, o)
			wantCode(t, err, c.code)
			if c.code != "" {
				if _, err := os.Stat(s.path("updates.zip.p7m")); err == nil {
					t.Error("and it is approved all the same")
				}
				onlyFiles(t, s.path(""), "manifest.json", "updates.zip")
			}
		})
	}
}

// What makes an archive worthless to endpoints, or an approval of it.
func TestApproveArchives(t *testing.T) {
	t.Parallel()
	s := newRing(t)
	o := s.options(t)
	write(t, s.path("updates.zip"), []byte("<html>"))
	_, err := s.approve(t, o)
	wantCode(t, err, "not_a_package")
	made, err := Build(context.Background(), filepath.Join(s.dir, "signed", "updates.zip"), s.lab.options(t), &s.signer)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.path("updates.zip"), read(t, made.Zip))
	_, err = s.approve(t, o)
	wantCode(t, err, "usage") // it speaks for itself
	if err := os.Remove(s.path("updates.zip")); err != nil {
		t.Fatal(err)
	}
	_, err = s.approve(t, o)
	wantCode(t, err, "usage")

	s.comes(t, 3)
	s.approved(t, o)
	s.comes(t, 2)
	_, err = s.approve(t, o)
	wantCode(t, err, "usage") // endpoints would refuse it
	o.Force = true
	s.approved(t, o)
	s.serves(t, 2)
	o.Force = false
	// An approval that only pretends, so that whatever comes looks like what was there.
	real := read(t, s.path("updates.zip.p7m"))
	list, err := ReadList(s.path("updates.zip.p7m"))
	wantCode(t, err, "")
	forged, err := SignList(list, newLab(t, KeyOptions{}).signer)
	wantCode(t, err, "")
	write(t, s.path("updates.zip.p7m"), forged)
	o.Trust = &s.trust
	_, err = s.approve(t, o)
	wantCode(t, err, "usage")
	o.Trust = nil
	if p := s.approved(t, o); p.PreviousJudged() {
		t.Error("nobody is trusted, and the approval before was judged")
	}
	write(t, s.path("updates.zip.p7m"), real)
	o.Trust = &s.trust
	if p := s.approved(t, o); !p.PreviousJudged() || !p.Renewal {
		t.Errorf("%+v", p)
	}
	o.Trust = nil
	write(t, s.path("updates.zip.p7m"), []byte("<html>"))
	_, err = s.approve(t, o)
	wantCode(t, err, "usage")
	o.Force = true
	s.approved(t, o)
	s.serves(t, 2)
}

// What is signed is what was shown, whatever becomes of the download in between, and
// no file of somebody else's is overwritten or removed.
func TestApprovePrivate(t *testing.T) {
	t.Parallel()
	s := newRing(t)
	o := s.options(t)
	s.comes(t, 2)
	sum, err := hashFile(s.path("updates.zip"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, left := s.path("updates-"+sum[:8]+".zip"), filepath.Join(s.ring, ".approve", "copy-123")
	write(t, theirs, []byte("somebody else's"))
	if err := os.Mkdir(filepath.Dir(left), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, left, []byte("of a run that was killed"))
	p, err := Propose(context.Background(), s.ring, o)
	wantCode(t, err, "")
	if _, err := os.Stat(left); err == nil {
		t.Error("what a killed run has left is still there")
	}
	_, err = Propose(context.Background(), s.ring, o)
	wantCode(t, err, "busy")
	s.comes(t, 3)
	_, err = p.Sign(s.signer)
	wantCode(t, err, "")
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	good := s.serves(t, 2)
	if got := filepath.Base(good.Archive); got != "updates-"+sum[:16]+".zip" {
		t.Errorf("the approved package is %s", got)
	}
	for range 3 {
		o.Force = true
		s.approved(t, o)
	}
	// A pipe that nobody writes to is none of the files that are read, and not waited for.
	if err := os.Remove(s.path("manifest.json")); err != nil {
		t.Fatal(err)
	}
	run(t, s.dir, "mkfifo", s.path("manifest.json"))
	_, err = s.approve(t, o)
	wantCode(t, err, "usage")
	if err := os.Remove(s.path("manifest.json")); err != nil {
		t.Fatal(err)
	}
	if string(read(t, theirs)) != "somebody else's" {
		t.Error("a file of somebody else's was overwritten")
	}
	// A link in place of the work directory leads to files that are none of ours.
	others := t.TempDir()
	write(t, filepath.Join(others, "kept"), []byte("somebody else's"))
	work := filepath.Join(s.ring, ".approve")
	if err := errors.Join(os.Rename(work, work+"-before"), os.Symlink(others, work)); err != nil {
		t.Fatal(err)
	}
	_, err = s.approve(t, o)
	wantCode(t, err, codeInstall)
	onlyFiles(t, others, "kept")
}

// Root neither approves nor promotes in a tree that is another user's, who could lead it
// elsewhere by links, and could not go on with what it leaves.
func TestApproveRoot(t *testing.T) {
	t.Parallel()
	uid := anotherUser(t)
	s := newRing(t)
	o := s.options(t)
	s.comes(t, 2)
	platform := filepath.Dir(s.ring)
	for _, c := range []struct {
		dir                string
		approves, promotes string
	}{
		{filepath.Dir(platform), codePermission, codePermission},
		{platform, codePermission, codePermission},
		{s.ring, codePermission, codePermission},
		{s.path(""), codePermission, ""},
	} {
		if err := os.Chown(c.dir, uid, -1); err != nil {
			t.Fatal(err)
		}
		_, err := s.approve(t, o)
		wantCode(t, err, c.approves)
		target, err := openTarget(s.ring)
		wantCode(t, err, c.promotes)
		if err == nil {
			target.close()
		}
		if err := os.Chown(c.dir, 0, -1); err != nil {
			t.Fatal(err)
		}
	}
	s.approved(t, o)
}

// The list can be signed elsewhere; what is put in force is hashed again.
func TestApproveExternal(t *testing.T) {
	t.Parallel()
	s := newRing(t)
	o := s.options(t)
	o.Trust = &s.trust
	s.comes(t, 2)
	sign := func() []byte {
		t.Helper()
		p, err := Propose(context.Background(), s.ring, o)
		wantCode(t, err, "")
		defer p.Close()
		wantCode(t, p.External(filepath.Join(s.dir, "list.json")), "")
		run(t, s.dir, "openssl", "cms", "-sign", "-nodetach", "-binary", "-nosmimecap", "-outform", "DER", "-md", "sha256", "-in", "list.json",
			"-signer", s.keys.Leaf, "-inkey", s.keys.LeafKey, "-certfile", s.keys.Intermediate, "-out", "list.p7m")
		return read(t, filepath.Join(s.dir, "list.p7m"))
	}
	signed := sign()
	if _, err := os.Stat(s.path("updates.zip.p7m")); err == nil {
		t.Fatal("it is approved before anybody signed")
	}
	s.comes(t, 3) // meanwhile
	attach := func(object []byte, o ApproveOptions) error {
		_, _, err := AttachApproval(context.Background(), s.ring, object, o)
		return err
	}
	wantCode(t, attach([]byte("<html>"), o), "signature_invalid")
	other := o
	other.Arch = "arm64"
	wantCode(t, attach(signed, other), "usage")
	other = o
	other.Product = "another"
	wantCode(t, attach(signed, other), "wrong_product")
	aboutAny, err := verifier.ParseList(read(t, filepath.Join(s.dir, "list.json")))
	wantCode(t, err, "")
	for _, zip := range []string{"", "updates.zip"} { // the next download would take its place
		aboutAny.Zip = zip
		object, err := SignList(aboutAny, s.signer)
		wantCode(t, err, "")
		wantCode(t, attach(object, o), "usage")
	}
	left := s.path(".updates.zip.p7m123")
	write(t, left, []byte("of a run that was killed"))
	wantCode(t, attach(signed, o), "")
	if _, err := os.Stat(left); err == nil {
		t.Error("what a killed run has left is still there")
	}
	good := s.serves(t, 2)
	wantCode(t, attach(signed, o), "usage") // it is in force already
	signed = sign()
	zips := s.zips(t)
	zip := zips[slices.IndexFunc(zips, func(path string) bool { return path != good.Archive })]
	whole := read(t, zip)
	damaged := bytes.Clone(whole)
	damaged[bytes.Index(damaged, []byte("mpavdlta.vdm"))+200] ^= 1
	write(t, zip, damaged)
	if err := attach(signed, o); err == nil || !strings.Contains(err.Error(), "content_mismatch") && !strings.Contains(err.Error(), "package_malformed") {
		t.Errorf("a damaged copy: %v", err)
	}
	s.serves(t, 2)
	write(t, zip, whole)
	wantCode(t, attach(signed, o), "")
	s.serves(t, 3)
}

// An approval that is dated ahead, by whoever can write to the tree or a clock that was
// wrong, keeps no other from coming.
func TestApproveDatedAhead(t *testing.T) {
	t.Parallel()
	stranger := newLab(t, KeyOptions{}).signer
	for name, c := range map[string]struct {
		ahead time.Duration
		own   bool // signed by somebody whom the endpoints trust
		edit  func(*ApproveOptions)
		code  string
	}{
		"in days, by nobody":            {72 * time.Hour, false, func(*ApproveOptions) {}, ""},
		"in hours, by nobody":           {23 * time.Hour, false, func(*ApproveOptions) {}, ""},
		"in days":                       {72 * time.Hour, true, func(o *ApproveOptions) { o.Renew = true }, ""},
		"which endpoints may have":      {23 * time.Hour, true, func(o *ApproveOptions) { o.Renew = true }, "usage"},
		"and it is to go":               {23 * time.Hour, true, func(o *ApproveOptions) { o.Renew, o.Force = true, true }, ""},
		"and it is judged by its trust": {23 * time.Hour, true, func(o *ApproveOptions) { o.Trust = new(verifier.Trust) }, "usage"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newRing(t)
			s.comes(t, 2)
			o := s.options(t)
			list := *s.approved(t, o).List
			list.Issued = s.now.Add(c.ahead)
			by := s.signer
			if !c.own {
				by = stranger
			}
			object, err := SignList(&list, by)
			wantCode(t, err, "")
			write(t, s.path("updates.zip.p7m"), object)
			if c.edit(&o); o.Trust != nil {
				*o.Trust = s.trust
			}
			_, err = s.approve(t, o)
			wantCode(t, err, c.code)
			if _, _, hint := reasonOf(err); c.code != "" && !strings.Contains(hint, "--force") {
				t.Errorf("the hint is %q", hint)
			}
			if c.code == "" && s.serves(t, 2).Signed.List.Issued.After(time.Now()) {
				t.Error("the new one is dated ahead as well")
			}
		})
	}
}

// An approval of an older package says nothing about what lies in the directory now,
// and stays where it is when the next package comes.
func TestSyncBesideApproval(t *testing.T) {
	t.Parallel()
	s, l := newSite(t), newLab(t, KeyOptions{})
	s.offer(linux, "1.407.417.0")
	s.want(SyncUpdated, "")
	ring := s.tree("linux", "production")
	p, err := Propose(t.Context(), ring, ApproveOptions{Arch: "x86_64"})
	wantCode(t, err, "")
	_, err = p.Sign(l.signer)
	wantCode(t, err, "")
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	s.offer(linux, "1.407.418.0")
	s.want(SyncUpdated, "")
	for range 2 {
		good, err := Verify(t.Context(), filepath.Join(ring, "arch_x86_64", "updates.zip.p7m"), l.trust, time.Now(), nil)
		wantCode(t, err, "")
		if got := good.Signed.List.Definition; got != version("1.407.417.0") {
			t.Errorf("%s is approved", got)
		}
		// As after the vendor's script, nothing is known of what lies there.
		if err := os.Remove(filepath.Join(ring, ".sync", "arch_x86_64", "state.json")); err != nil {
			t.Fatal(err)
		}
		s.want(SyncUpToDate, "")
	}
}

// Sync approves by itself what the vendor signed, renews that when half of its time has
// gone, and leaves alone what speaks for itself.
func TestSyncApproves(t *testing.T) {
	t.Parallel()
	s, r := newSite(t), newRing(t)
	r.ring = filepath.Join(s.cloud, "linux", "production")
	now := time.Now()
	s.o.Now = func() time.Time { return now }
	s.o.Approve = &SyncApproval{Signer: r.signer, Vendor: r.options(t).Vendor}
	in := ringSite{r.lab, r.vendor, s.tree("linux", "production"), r.now}
	offer := func(n int, files map[string][]byte) {
		t.Helper()
		r.come(t, files, "")
		write(t, s.path(linux, "info.xml"), []byte(infoXML(fmt.Sprintf("1.407.%d.0", n))))
		s.age(linux)
	}
	approval := func(want SyncApprovalOutcome, outcome SyncOutcome, code string) {
		t.Helper()
		if got := s.want(outcome, code); got.Approval != want {
			t.Fatalf("the approval is %q, want %q", got.Approval, want)
		}
	}
	offer(2, r.files(t, 2))
	approval(SyncApproved, SyncUpdated, "")
	approval(SyncCurrent, SyncUpToDate, "")
	first := in.serves(t, 2).Signed.List
	now = now.Add(8 * 24 * time.Hour)
	approval(SyncRenewed, SyncUpToDate, "")
	good, err := Verify(t.Context(), in.path("updates.zip.p7m"), r.trust, now, nil)
	wantCode(t, err, "")
	if l := good.Signed.List; l.Zip != first.Zip || !l.Released.Equal(first.Released) || !l.Issued.After(first.Issued) {
		t.Errorf("%+v after %+v", l, first)
	}
	approval(SyncCurrent, SyncUpToDate, "")
	// As after another signer of before, or by somebody who can write to the tree.
	object, err := SignList(good.Signed.List, newLab(t, KeyOptions{}).signer)
	wantCode(t, err, "")
	write(t, in.path("updates.zip.p7m"), object)
	approval(SyncRenewed, SyncUpToDate, "")
	_, err = Verify(t.Context(), in.path("updates.zip.p7m"), r.trust, now, nil)
	wantCode(t, err, "")
	// Dated so that no endpoint takes it for days, or that the next one would be as well.
	stranger := newLab(t, KeyOptions{}).signer
	for _, c := range []struct {
		by    Signer
		ahead time.Duration
		want  SyncApprovalOutcome
	}{{r.signer, 72 * time.Hour, SyncRenewed}, {stranger, 72 * time.Hour, SyncApproved}, {stranger, 23 * time.Hour, SyncApproved}} {
		list := *good.Signed.List
		list.Issued = now.Add(c.ahead).UTC().Truncate(time.Second)
		object, err := SignList(&list, c.by)
		wantCode(t, err, "")
		write(t, in.path("updates.zip.p7m"), object)
		approval(c.want, SyncUpToDate, "")
		_, err = Verify(t.Context(), in.path("updates.zip.p7m"), r.trust, now, nil)
		wantCode(t, err, "")
	}

	bad := r.files(t, 3)
	bad["mpavdlta.vdm"] = vdm("mpavdlta.vdm", 3)
	offer(3, bad)
	approval(SyncLeft, SyncUpdated, "signature_missing")
	offer(4, r.files(t, 5)) // announced as something else than it is
	approval(SyncLeft, SyncUpdated, "content_mismatch")

	made, err := Build(t.Context(), filepath.Join(s.cloud, "own", "updates.zip"), r.lab.options(t), &r.signer)
	wantCode(t, err, "")
	write(t, s.path(linux, "updates.zip"), read(t, made.Zip))
	write(t, s.path(linux, "info.xml"), []byte(strings.Replace(infoXML("1.407.417.0"), engineOf("1.407.417.0"), "1.1.24080.9", 1)))
	s.age(linux)
	approval("", SyncUpdated, "")
}

// TestRingThroughLink: a ring is what it is by whichever name it is found, and so is the
// lock of its tree.
func TestRingThroughLink(t *testing.T) {
	t.Parallel()
	s := newRing(t)
	s.ring = filepath.Join(s.dir, "tree", "mac", "production")
	s.comes(t, 2)
	alias := filepath.Join(s.dir, "preview")
	if err := os.Symlink(s.ring, alias); err != nil {
		t.Fatal(err)
	}
	through := s
	through.ring = alias
	list := through.approved(t, s.options(t)).List
	if list.Rings[0] != "production" || list.Platform != "mac" {
		t.Errorf("the link is approved for %s %s", list.Platform, list.Rings)
	}
	lock, err := lockSync(filepath.Join(s.dir, "tree"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = through.approve(t, s.options(t))
	wantCode(t, err, codeBusy)
	from := filepath.Join(s.dir, "from")
	if err := os.MkdirAll(filepath.Join(from, "arch_x86_64"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = Promote(t.Context(), PromoteOptions{From: from, To: alias})
	wantCode(t, err, codeBusy)
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}

	// A tree whose ring lies on another disk is one still.
	disk := filepath.Join(s.dir, "disk")
	if err := os.Rename(s.ring, disk); err != nil {
		t.Fatal(err)
	}
	preview := filepath.Join(filepath.Dir(s.ring), "preview")
	if err := os.Symlink(disk, preview); err != nil {
		t.Fatal(err)
	}
	through.ring = preview
	o := s.options(t)
	o.Force = true
	if list := through.approved(t, o).List; list.Rings[0] != "preview" || list.Platform != "mac" {
		t.Errorf("the ring on another disk is approved for %s %s", list.Platform, list.Rings)
	}
}
