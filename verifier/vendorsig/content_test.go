package vendorsig_test

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

var (
	then = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	base = verifier.Version{1, 407, 0, 0}
	v417 = verifier.Version{1, 407, 417, 0}
	v416 = verifier.Version{1, 407, 416, 0}
)

const engineName = "libmpengine.so"

// vendor is a vendor with files that are in order.
type vendor struct {
	*sigtest.Vendor
	files map[string][]byte
}

func newVendor(t *testing.T) vendor {
	v := vendor{Vendor: sigtest.New(t), files: map[string][]byte{}}
	v.Signer(t, "vendor", then.AddDate(-1, 0, 0), then.AddDate(1, 0, 0))
	v.Signer(t, "stranger", then.AddDate(-1, 0, 0), then.AddDate(1, 0, 0))
	v.Signer(t, "old", then.AddDate(-3, 0, 0), then.AddDate(-1, 0, 0))
	for name, version := range map[string]verifier.Version{"mpavbase.vdm": base, "mpavdlta.vdm": v417, "mpasbase.vdm": base, "mpasdlta.vdm": v417} {
		v.files[name] = v.Definitions(t, "vendor", name, version, "definitions", then)
	}
	v.files[engineName] = sigtest.Engine(elf.EM_X86_64, "engine")
	v.files[engineName+".sig"] = v.Beside(t, "vendor", v.files[engineName])
	return v
}

func (v vendor) policy(t *testing.T, pins ...string) vendorsig.Policy {
	t.Helper()
	trust, err := verifier.NewTrust([]verifier.TrustFile{{Name: "root.pem", Data: v.Root}, {Name: "time.pem", Data: v.TimeRoot}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := vendorsig.Policy{Trust: trust}
	for _, text := range pins {
		pin, err := vendorsig.ParsePin(text)
		if err != nil {
			t.Fatal(err)
		}
		p.Pins = append(p.Pins, pin)
	}
	return p
}

// with gives the files, less those that are nil in edits, and with the others.
func (v vendor) with(edits map[string][]byte) (files []vendorsig.Named) {
	all := map[string][]byte{}
	for _, m := range []map[string][]byte{v.files, edits} {
		for name, data := range m {
			all[name] = data
		}
	}
	for name, data := range all {
		if data != nil {
			files = append(files, vendorsig.Named{File: verifier.File{Name: name, Size: int64(len(data)), SHA256: sha256.Sum256(data)}, Content: bytes.NewReader(data)})
		}
	}
	return files
}

func checkCode(t *testing.T, err error, code verifier.Code, sentence string) {
	t.Helper()
	var r *verifier.Refusal
	if code == "" && err == nil {
		return
	}
	if !errors.As(err, &r) || r.Code != code || !strings.Contains(r.Sentence, sentence) || r.Hint == "" {
		t.Fatalf("got %v, want %s with %q", err, code, sentence)
	}
	if strings.ContainsAny(r.Sentence+r.Hint, "\"\n") || strings.Contains(r.Sentence, " : ") {
		t.Fatalf("not fit for a report: %q", r.Sentence)
	}
}

type files = map[string][]byte

// What the files of a package prove together, and what is refused.
func TestJudge(t *testing.T) {
	t.Parallel()
	v := newVendor(t)
	vdm := func(signer, name string, version verifier.Version, stamp time.Time) []byte {
		return v.Definitions(t, signer, name, version, "others", stamp)
	}
	pin := v.Issuer().String() + ":subject:CN=vendor"
	other := sigtest.Engine(elf.EM_X86_64, "other")
	for _, c := range []struct {
		what     string
		pin      string
		edits    files
		code     verifier.Code
		sentence string
	}{
		{what: "in order"},
		{what: "pinned by its usage", pin: v.Issuer().String() + ":eku:" + sigtest.Usage},
		{what: "without deltas", edits: files{"mpavdlta.vdm": nil, "mpasdlta.vdm": nil}},
		{what: "another subject", pin: v.Issuer().String() + ":subject:CN=vendo", code: verifier.SignerUntrusted, sentence: "not among the pins for vendors"},
		{what: "another usage", pin: v.Issuer().String() + ":eku:" + sigtest.Usage + ".1", code: verifier.SignerUntrusted, sentence: "not among the pins for vendors"},
		{what: "another issuer", pin: strings.Repeat("A", 43) + "=:subject:CN=vendor", code: verifier.SignerUntrusted, sentence: "not among the pins for vendors"},
		{what: "one file by another customer of the CA", edits: files{"mpavdlta.vdm": vdm("stranger", "mpavdlta.vdm", v417, then)}, code: verifier.SignerUntrusted, sentence: "the file mpavdlta.vdm is not the vendor's"},
		{what: "a file that nobody signed", edits: files{"notes.txt": []byte("x")}, code: verifier.SignatureMissing, sentence: "the file notes.txt"},
		{what: "a signature of nothing", edits: files{"mpavdlta.vdm.sig": v.files[engineName+".sig"]}, code: verifier.SignatureMissing, sentence: "the file mpavdlta.vdm.sig"},
		{what: "a signature of a signature", edits: files{engineName + ".sig.sig": v.Beside(t, "vendor", v.files[engineName+".sig"])}, code: verifier.SignatureMissing, sentence: "the file libmpengine.so.sig.sig"},
		{what: "a signature alone", edits: files{"other.sig": v.Beside(t, "vendor", other)}, code: verifier.SignatureMissing, sentence: "the file other.sig"},
		{what: "an engine without signature", edits: files{engineName + ".sig": nil}, code: verifier.SignatureMissing, sentence: "the file libmpengine.so"},
		{what: "an engine with a signature of unknown kind", edits: files{engineName + ".sig": []byte("\x01\x02\x03\x04")}, code: verifier.SignatureMissing, sentence: "the file libmpengine.so"},
		{what: "another engine under the signature", edits: files{engineName: other}, code: verifier.ContentMismatch, sentence: "the file libmpengine.so"},
		{what: "two engines", edits: files{"other.so": other, "other.so.sig": v.Beside(t, "vendor", other)}, code: verifier.PackageMalformed, sentence: "more than one engine"},
		{what: "no engine", edits: files{engineName: nil, engineName + ".sig": nil}, code: verifier.PackageMalformed, sentence: "no engine"},
		{what: "text with a signature beside it", edits: files{"a.txt": []byte("x"), "a.txt.sig": v.Beside(t, "vendor", []byte("x"))}, code: verifier.PackageMalformed, sentence: "the file a.txt"},
		{what: "another name's file", edits: files{"mpavdlta.vdm": v.files["mpasdlta.vdm"]}, code: verifier.ContentMismatch, sentence: "the file mpavdlta.vdm is not the vendor's as it should be, since it was signed under another name"},
		{what: "no definitions", edits: files{"mpavdlta.vdm": nil, "mpasdlta.vdm": nil, "mpavbase.vdm": nil, "mpasbase.vdm": nil}, code: verifier.PackageMalformed, sentence: "no definitions"},
		{what: "mixed deltas", edits: files{"mpavdlta.vdm": vdm("vendor", "mpavdlta.vdm", v416, then)}, code: verifier.ContentMismatch, sentence: "do not belong together"},
		{what: "mixed bases", edits: files{"mpavbase.vdm": vdm("vendor", "mpavbase.vdm", verifier.Version{1, 407, 1, 0}, then)}, code: verifier.ContentMismatch, sentence: "do not belong together"},
		{what: "definitions without a version", edits: files{"mpavdlta.vdm": vdm("vendor", "mpavdlta.vdm", verifier.Version{}, then)}, code: verifier.ContentMismatch, sentence: "only some of the definition files"},
		{what: "bases of another generation", edits: files{"mpavbase.vdm": vdm("vendor", "mpavbase.vdm", verifier.Version{1, 405, 0, 0}, then), "mpasbase.vdm": vdm("vendor", "mpasbase.vdm", verifier.Version{1, 405, 0, 0}, then)},
			code: verifier.ContentMismatch, sentence: "do not belong together"},
		{what: "expired, and stamped before", pin: v.Issuer().String() + ":eku:" + sigtest.Usage, edits: files{"mpavdlta.vdm": vdm("old", "mpavdlta.vdm", v417, then.AddDate(-2, 0, 0))}},
		{what: "expired, and not stamped", pin: v.Issuer().String() + ":eku:" + sigtest.Usage, edits: files{"mpavdlta.vdm": vdm("old", "mpavdlta.vdm", v417, time.Time{})}, code: verifier.SignerExpired, sentence: "the file mpavdlta.vdm"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			if c.pin == "" {
				c.pin = pin
			}
			got, err := v.policy(t, c.pin).Judge(v.with(c.edits), verifier.Clock{Time: then})
			checkCode(t, err, c.code, c.sentence)
			want := v417
			if c.what == "without deltas" {
				want = base
			}
			if err == nil && (got.Definition != want || got.Arch != "x86_64" || !got.Claims["mpavbase.vdm"].Time.Equal(then) || !got.Claims[engineName].Time.IsZero() || got.Claims[engineName].Stated.IsZero()) {
				t.Errorf("%+v", got)
			}
		})
	}
	t.Run("no pins", func(t *testing.T) {
		t.Parallel()
		_, err := v.policy(t).Judge(v.with(nil), verifier.Clock{Time: then})
		checkCode(t, err, verifier.SignerUntrusted, "not among the pins for vendors")
	})
}

// A library that somebody's linker made has a name of its own, which counts.
// failing fails at one of the reads of a file.
type failing struct {
	io.ReaderAt
	left int // reads until then
}

var errBroken = errors.New("the disk broke")

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if f.left--; f.left == -1 {
		return 0, errBroken
	}
	return f.ReaderAt.ReadAt(p, off)
}

// What a disk does not give says nothing of the vendor, at whichever read of whichever
// file that is.
func TestJudgeUnread(t *testing.T) {
	t.Parallel()
	v := newVendor(t)
	p := v.policy(t, v.Issuer().String()+":subject:CN=vendor")
	for _, name := range slices.Sorted(maps.Keys(v.files)) {
		for n := 0; ; n++ {
			files := v.with(nil)
			i := slices.IndexFunc(files, func(f vendorsig.Named) bool { return f.Name == name })
			broken := &failing{files[i].Content, n}
			files[i].Content = broken
			_, err := p.Judge(files, verifier.Clock{Time: then})
			if broken.left >= 0 { // it was not read as often
				if err != nil || n < 3 {
					t.Errorf("%s is read %d times, and then: %v", name, n, err)
				}
				break
			}
			if !errors.Is(err, errBroken) {
				t.Errorf("at read %d of %s: %v", n+1, name, err)
			}
		}
	}
}

func TestEngineName(t *testing.T) {
	t.Parallel()
	libs, _ := filepath.Glob("/lib/*-linux-gnu/libm.so.6")
	if len(libs) == 0 {
		t.Skip("SKIPPED: libm.so.6 is missing; get it with: apt-get install libc6")
	}
	lib, err := os.ReadFile(libs[0])
	if err != nil {
		t.Fatal(err)
	}
	v := newVendor(t)
	p := v.policy(t, v.Issuer().String()+":subject:CN=vendor")
	sig := v.Beside(t, "vendor", lib)
	_, err = p.Judge(v.with(files{engineName: nil, engineName + ".sig": nil, "libm.so.6": lib, "libm.so.6.sig": sig}), verifier.Clock{Time: then})
	checkCode(t, err, "", "")
	_, err = p.Judge(v.with(files{engineName: lib, engineName + ".sig": sig}), verifier.Clock{Time: then})
	checkCode(t, err, verifier.ContentMismatch, "the file libmpengine.so is not the vendor's as it should be, since it was signed under another name")
}

// What the files prove makes the same list whenever they are judged. Where nobody
// stamped them, they count as old as their signer's certificate.
func TestDerived(t *testing.T) {
	t.Parallel()
	v := newVendor(t)
	p := v.policy(t, v.Issuer().String()+":eku:"+sigtest.Usage)
	derive := func(clock time.Time, edits files) (*verifier.List, []byte) {
		t.Helper()
		var listed []verifier.File
		for _, f := range v.with(edits) { // in any order
			listed = append(listed, f.File)
		}
		c, err := p.Judge(v.with(edits), verifier.Clock{Time: clock})
		checkCode(t, err, "", "")
		list, chain := c.Derived(listed)
		raw, err := verifier.MarshalList(list)
		if err != nil || len(chain) < 2 || list.Issued.After(chain[0].NotAfter) {
			t.Fatalf("%v, chain of %d", err, len(chain))
		}
		return list, raw
	}
	list, raw := derive(then, nil)
	if list.Definition != v417 || list.Arch != "x86_64" || !list.Released.Equal(then) || !list.Issued.Equal(then) || !list.Engine.IsZero() ||
		!vendorsig.Expires(list).IsZero() || len(list.Files) != len(v.files) || list.Rings[0] != "unknown" {
		t.Errorf("%+v", list)
	}
	if _, again := derive(then.AddDate(0, 6, 0), nil); !bytes.Equal(raw, again) {
		t.Errorf("half a year later the list is\n%s\nand not\n%s", again, raw)
	}
	if back, err := verifier.ParseDerived(raw); err != nil || back.VendorSigned != list.VendorSigned || list.VendorSigned == (verifier.ContentID{}) {
		t.Errorf("read back, %v: %+v", err, back)
	}
	began := then.AddDate(-1, 0, 0)
	bare := files{}
	for name, version := range map[string]verifier.Version{"mpavbase.vdm": base, "mpavdlta.vdm": v417, "mpasbase.vdm": base, "mpasdlta.vdm": v417} {
		bare[name] = v.Definitions(t, "vendor", name, version, "bare", time.Time{})
	}
	if list, _ := derive(then, bare); !list.Released.Equal(began) || !list.Issued.Equal(began) {
		t.Errorf("released %s, issued %s, want %s", list.Released, list.Issued, began)
	}
	late := files{"mpasbase.vdm": v.Definitions(t, "old", "mpasbase.vdm", base, "old", then.AddDate(-2, 0, 0))}
	if list, _ := derive(then, late); !list.Released.Equal(then) {
		t.Errorf("with an old base it is released %s", list.Released)
	}
}

// What anybody can change of files that the vendor signed makes no other content, and
// what the vendor signs does.
func TestContentID(t *testing.T) {
	t.Parallel()
	v := newVendor(t)
	p := v.policy(t, v.Issuer().String()+":eku:"+sigtest.Usage)
	id := func(edits files) verifier.ContentID {
		t.Helper()
		c, err := p.Judge(v.with(edits), verifier.Clock{Time: then})
		checkCode(t, err, "", "")
		return c.ID()
	}
	const name, text = "mpavdlta.vdm", "some text"
	made := id(files{name: v.Definitions(t, "vendor", name, v417, text, then)})
	summed := v.Definitions(t, "vendor", name, v417, text, then)
	binary.LittleEndian.PutUint32(summed[binary.LittleEndian.Uint32(summed[60:])+24+64:], 7)
	sig := v.files[engineName+".sig"]
	for what, c := range map[string]struct {
		edits files
		same  bool
	}{
		"signed and stamped again":  {files{name: v.Definitions(t, "vendor", name, v417, text, then.Add(time.Hour))}, true},
		"never stamped":             {files{name: v.Definitions(t, "vendor", name, v417, text, time.Time{})}, true},
		"another checksum":          {files{name: summed}, true},
		"the signature in PEM":      {files{engineName + ".sig": pem.EncodeToMemory(&pem.Block{Type: "CMS", Bytes: sig})}, true},
		"another text":              {files{name: v.Definitions(t, "vendor", name, v417, "another", then)}, false},
		"another engine":            {files{engineName: append(v.files[engineName], 0), engineName + ".sig": v.Beside(t, "vendor", append(v.files[engineName], 0))}, false},
		"a file more of the vendor": {files{"more.vdm": v.Definitions(t, "vendor", "more.vdm", v417, text, then)}, false},
	} {
		edits := files{name: v.Definitions(t, "vendor", name, v417, text, then)}
		maps.Copy(edits, c.edits)
		if (id(edits) == made) != c.same {
			t.Errorf("%s: the same content: %v", what, !c.same)
		}
	}
}

// Who signed the newest file, and who signed the definitions that have the version, both
// stand for what the list says.
func TestDerivedChains(t *testing.T) {
	t.Parallel()
	v := newVendor(t)
	p := v.policy(t, v.Issuer().String()+":eku:"+sigtest.Usage)
	for _, c := range []struct {
		what  string
		edits files
		want  string
	}{
		{"one signer", nil, "vendor vendor issuer vendor root"},
		{"a base by another, and newer", files{"mpavbase.vdm": v.Definitions(t, "stranger", "mpavbase.vdm", base, "newer", then.Add(time.Hour))}, "stranger vendor issuer vendor root vendor vendor issuer vendor root"},
		{"a base by another, and older", files{"mpavbase.vdm": v.Definitions(t, "stranger", "mpavbase.vdm", base, "older", then.Add(-time.Hour))}, "vendor vendor issuer vendor root"},
		{"the newest has the version", files{"mpavdlta.vdm": v.Definitions(t, "stranger", "mpavdlta.vdm", v417, "newer", then.Add(time.Hour))}, "stranger vendor issuer vendor root"},
	} {
		content, err := p.Judge(v.with(c.edits), verifier.Clock{Time: then})
		checkCode(t, err, "", "")
		_, chain := content.Derived(nil)
		var names []string
		for _, cert := range chain {
			names = append(names, cert.Subject.CommonName)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s: the chain is %s, want %s", c.what, got, c.want)
		}
	}
}

// Each file that is good proves something, whatever the others are, at any of the times.
func TestHeld(t *testing.T) {
	t.Parallel()
	v := newVendor(t)
	p := v.policy(t, v.Issuer().String()+":eku:"+sigtest.Usage)
	edits := files{"mpavdlta.vdm": []byte("damaged")}
	later := verifier.Clock{Time: then.AddDate(2, 0, 0)} // when the signer of the engine, which has no stamp, has expired
	for _, c := range []struct {
		clocks []verifier.Clock
		want   string
	}{
		{[]verifier.Clock{later}, "mpasbase.vdm mpasdlta.vdm mpavbase.vdm"},
		{[]verifier.Clock{later, {Time: then}}, "libmpengine.so mpasbase.vdm mpasdlta.vdm mpavbase.vdm"},
		{nil, ""},
	} {
		got := p.Held(v.with(edits), c.clocks...)
		if names := strings.Join(slices.Sorted(maps.Keys(got.Claims)), " "); names != c.want {
			t.Errorf("%v: %s, want %s", c.clocks, names, c.want)
		}
	}
}

func TestNotBelow(t *testing.T) {
	t.Parallel()
	of := func(version verifier.Version, at time.Time, sum rune) vendorsig.Content {
		return vendorsig.Content{Claims: map[string]vendorsig.Claim{"f": {Version: version, Time: at, Signed: string(sum)}}}
	}
	none, earlier := time.Time{}, then.Add(-time.Hour)
	for _, c := range []struct {
		what        string
		now, before vendorsig.Content
		sentence    string
	}{
		{"the same", of(v417, then, 1), of(v417, then, 1), ""},
		{"newer", of(v417, then, 2), of(v416, earlier, 1), ""},
		{"the first", of(v417, then, 1), vendorsig.Content{}, ""},
		{"an older version", of(v416, then, 2), of(v417, earlier, 1), "has version 1.407.416.0, and 1.407.417.0 is installed"},
		{"an older stamp", of(v417, earlier, 2), of(v417, then, 1), "was signed at 2026-11-01T11:00:00Z"},
		{"an older stamp of the same", of(v417, earlier, 1), of(v417, then, 1), "was signed at 2026-11-01T11:00:00Z"},
		{"a newer stamp of the same", of(verifier.Version{}, then, 1), of(verifier.Version{}, none, 1), ""},
		{"no stamp any more", of(v417, none, 2), of(v417, then, 1), "the file f has no time stamp, and the installed one was signed at 2026-11-01T12:00:00Z"},
		{"no stamp any more, and a higher version", of(v417, none, 2), of(v416, then, 1), "has no time stamp"},
		{"a higher version, never stamped", of(v417, none, 2), of(v416, none, 1), ""},
		{"a stamp at last", of(v417, earlier, 2), of(v417, none, 1), ""},
		{"a stamp alone after none", of(verifier.Version{}, then, 2), of(verifier.Version{}, none, 1), "nothing proves that it is newer"},
		{"a stamp alone after an older one", of(verifier.Version{}, then, 2), of(verifier.Version{}, earlier, 1), ""},
		{"a stamp alone and the first", of(verifier.Version{}, then, 2), vendorsig.Content{}, ""},
		{"an unknown one", of(verifier.Version{}, none, 2), of(verifier.Version{}, none, 1), "nothing proves that it is newer"},
		{"an unknown one after a known one", of(verifier.Version{}, none, 2), of(verifier.Version{}, then, 1), "has no time stamp"},
		{"an unknown first one", of(verifier.Version{}, none, 2), vendorsig.Content{}, "nothing proves that it is newer"},
		{"a file less", vendorsig.Content{}, of(v417, then, 1), "the file f is missing"},
		{"an unknown one that stays", of(verifier.Version{}, none, 1), of(verifier.Version{}, none, 1), ""},
	} {
		code := verifier.RollbackRefused
		if c.sentence == "" {
			code = ""
		}
		t.Run(c.what, func(t *testing.T) { checkCode(t, c.now.NotBelow(c.before), code, c.sentence) })
	}
}

// Who stamps an old engine anew does not make it newer than the vendor says that it is.
func TestNotBelowStated(t *testing.T) {
	t.Parallel()
	of := func(version verifier.Version, stamp, stated time.Time, sum byte) vendorsig.Content {
		return vendorsig.Content{Claims: map[string]vendorsig.Claim{"f": {Version: version, Time: stamp, Stated: stated, Signed: string(sum)}}}
	}
	none, earlier, later := time.Time{}, then.Add(-time.Hour), then.Add(time.Hour)
	var no verifier.Version
	const refused = "the vendor says that it signed the file f at 2026-11-01T11:00:00Z, and the installed one at 2026-11-01T12:00:00Z"
	for _, c := range []struct {
		what        string
		now, before vendorsig.Content
		sentence    string
	}{
		{"an old one with a new stamp", of(no, later, earlier, 2), of(no, then, then, 1), refused},
		{"a new one with a new stamp", of(no, later, later, 2), of(no, then, then, 1), ""},
		{"of one second", of(no, later, then, 2), of(no, then, then, 1), ""},
		{"the same with a new stamp", of(no, later, earlier, 1), of(no, then, then, 1), ""},
		{"stated no more", of(no, later, none, 2), of(no, then, then, 1), ""},
		{"stated at last", of(no, later, earlier, 2), of(no, then, none, 1), ""},
		{"of an equal version", of(v417, later, earlier, 2), of(v417, then, then, 1), refused},
		{"of a higher version", of(v417, later, earlier, 2), of(v416, then, then, 1), ""},
	} {
		code := verifier.RollbackRefused
		if c.sentence == "" {
			code = ""
		}
		t.Run(c.what, func(t *testing.T) { checkCode(t, c.now.NotBelow(c.before), code, c.sentence) })
	}
}

func TestParsePin(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("A", 43) + "="
	for text, good := range map[string]bool{
		sum + ":subject:CN=a:b": true, sum + ":eku:1.3.6.1.4.1.311.76.8.1": true, sum: false, sum + ":subject:": false, sum + ":eku:": false,
		sum + ":eku:1.3.6.1.5.5.7.3.3": false, sum + ":eku:1.3.6.1.5.5.7.3": false, sum + ":eku:1.3.6.1.4.1.311.61.1.1": false, sum + ":eku:1.3.6.1.4.1.311.10.3.13": false, sum + ":eku:2.5.29.37.0": false, sum + ":eku:1.03.6": false, sum + ":eku:1.2": false, sum[1:] + ":subject:CN=a": false, sum + ":cn:a": false,
	} {
		if _, err := vendorsig.ParsePin(text); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}
