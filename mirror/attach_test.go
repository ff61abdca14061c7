package mirror

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
)

// opensslSign signs a file as the documentation says it.
func opensslSign(t testing.TB, l lab, in, out string) {
	t.Helper()
	run(t, l.dir, "openssl", "cms", "-sign", "-nodetach", "-binary", "-nosmimecap", "-outform", "DER", "-md", "sha256",
		"-in", in, "-signer", l.keys.Leaf, "-inkey", l.keys.LeafKey, "-certfile", l.keys.Intermediate, "-out", out)
}

// TestAttach goes the way of people whose key lies in hardware: build unsigned,
// sign elsewhere, attach.
func TestAttach(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	ctx := context.Background()
	r, err := Build(ctx, l.out(), l.options(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Verify(ctx, r.Zip, l.trust, time.Now(), nil)
	wantCode(t, err, string(verifier.SignatureMissing))

	p7m := filepath.Join(l.dir, "package.p7m")
	opensslSign(t, l, r.PackageJSON, p7m)
	if err := Attach(ctx, r.Zip, read(t, p7m), AttachOptions{Trust: &l.trust}); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(ctx, r.Zip, l.trust, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	onlyFiles(t, filepath.Dir(r.Zip), "manifest.json", "package.json", "updates.zip")
	wantCode(t, Attach(ctx, r.Zip, read(t, p7m), AttachOptions{}), codeUsage) // a second time
}

func TestAttachRefusals(t *testing.T) {
	t.Parallel()
	l, other := newLab(t, KeyOptions{}), newLab(t, KeyOptions{})
	ctx := context.Background()
	r, err := Build(ctx, l.out(), l.options(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	before := read(t, r.Zip)
	sign := func(s Signer, change func(*verifier.List)) []byte {
		list := *r.List
		list.Files = append([]verifier.File(nil), list.Files...)
		change(&list)
		p7m, err := SignList(&list, s)
		if err != nil {
			t.Fatal(err)
		}
		return p7m
	}
	same := func(*verifier.List) {}
	garbled := sign(l.signer, same)
	garbled[len(garbled)-1] ^= 1
	for _, c := range []struct {
		name  string
		p7m   []byte
		trust *verifier.Trust
		code  verifier.Code
	}{
		{"another hash", sign(l.signer, func(l *verifier.List) { l.Files[1].SHA256[0] ^= 1 }), nil, verifier.ContentMismatch},
		{"another size", sign(l.signer, func(l *verifier.List) { l.Files[1].Size++ }), nil, verifier.ContentMismatch},
		{"a file more", sign(l.signer, func(l *verifier.List) { l.Files = append(l.Files, verifier.File{Name: "more"}) }), nil, verifier.ContentMismatch},
		{"a file less", sign(l.signer, func(l *verifier.List) { l.Files = l.Files[1:] }), nil, verifier.ContentMismatch},
		{"a stranger signed", sign(other.signer, same), &l.trust, verifier.SignerUntrusted},
		{"no trust", sign(l.signer, same), new(verifier.Trust), verifier.TrustDirEmpty},
		{"damaged", garbled, nil, verifier.SignatureInvalid},
		{"web page", []byte("<html>"), nil, verifier.SignatureInvalid},
		{"empty", nil, nil, verifier.SignatureMissing},
		{"outlives the leaf", sign(l.signer, func(l *verifier.List) { l.Expires = l.Expires.AddDate(2, 0, 0) }), nil, codeUsage},
		{"expired", sign(l.signer, func(l *verifier.List) {
			l.Released, l.Issued, l.Expires = l.Issued.AddDate(0, 0, -2), l.Issued.AddDate(0, 0, -2), l.Issued.AddDate(0, 0, -1)
		}), nil, codeUsage},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantCode(t, Attach(ctx, r.Zip, c.p7m, AttachOptions{Trust: c.trust}), string(c.code))
		})
	}
	if !bytes.Equal(read(t, r.Zip), before) {
		t.Error("a refused list changed the archive")
	}
	onlyFiles(t, filepath.Dir(r.Zip), "manifest.json", "package.json", "updates.zip")
}

// TestAttachWantsPlainArchive: extra fields are refused with a list inside, so
// an archive that has them can't get one.
func TestAttachWantsPlainArchive(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	o := l.options(t)
	zipPath := filepath.Join(l.dir, "extra.zip")
	run(t, o.Dir, "zip", zipPath, "mpavbase.vdm", "libmpengine.so")
	list := listOf(t, zipPath, o)
	p7m, err := SignList(list, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, Attach(context.Background(), zipPath, p7m, AttachOptions{}), string(verifier.PackageMalformed))
}

// TestPackageByHand makes a package with zip and openssl alone, by the commands
// of the documentation.
func TestPackageByHand(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	o := l.options(t)
	r, err := Build(context.Background(), filepath.Join(l.dir, "list", "updates.zip"), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(o.Dir, "META"), 0o755); err != nil {
		t.Fatal(err)
	}
	opensslSign(t, l, r.PackageJSON, filepath.Join(o.Dir, "META", "package.p7m"))
	out := filepath.Join(l.dir, "hand.zip")
	run(t, o.Dir, "zip", "-X", "-D", out, "mpavbase.vdm", "libmpengine.so", "empty.vdm")
	run(t, o.Dir, "zip", "-X", "-D", "-0", out, "META/package.p7m")
	v, err := Verify(context.Background(), out, l.trust, time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Signed.List.Files) != 3 {
		t.Errorf("the list is %+v", v.Signed.List)
	}
}

// sidecarFor signs a list for an archive as somebody else's zip makes it, with
// extra fields and a directory entry.
func sidecarFor(t *testing.T, l lab, name string) (zipPath string, p7m []byte) {
	t.Helper()
	o := l.options(t)
	if err := os.MkdirAll(filepath.Dir(l.out()), 0o755); err != nil {
		t.Fatal(err)
	}
	zipPath = filepath.Join(filepath.Dir(l.out()), name)
	if err := os.Mkdir(filepath.Join(o.Dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, o.Dir, "zip", "-r", zipPath, ".")
	list := listOf(t, zipPath, o)
	if name != "updates.zip" {
		list.Zip = name
	}
	p7m, err := SignList(list, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	return zipPath, p7m
}

func TestVerifySidecar(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"updates.zip", "updates-3f2a91bc.zip"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, KeyOptions{})
			zipPath, p7m := sidecarFor(t, l, name)
			if name != "updates.zip" { // a newer one, not yet approved
				run(t, filepath.Join(l.dir, "files"), "zip", l.out(), "mpavbase.vdm")
			}
			write(t, l.out()+sidecarSuffix, p7m)
			for _, path := range []string{l.out(), l.out() + sidecarSuffix} {
				v, err := Verify(context.Background(), path, l.trust, time.Now(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if v.Origin != Sidecar || v.Archive != zipPath {
					t.Errorf("verified %s, list %s", v.Archive, v.Origin)
				}
			}
		})
	}
}

// TestSidecarNeverCountsBesideList: an archive with a bad list must not be
// saved by a good sidecar.
func TestSidecarNeverCountsBesideList(t *testing.T) {
	t.Parallel()
	l, other := newLab(t, KeyOptions{}), newLab(t, KeyOptions{})
	r, err := Build(context.Background(), l.out(), l.options(t), &other.signer)
	if err != nil {
		t.Fatal(err)
	}
	good, err := SignList(r.List, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	write(t, r.Zip+sidecarSuffix, good)
	_, err = Verify(context.Background(), r.Zip, l.trust, time.Now(), nil)
	wantCode(t, err, string(verifier.SignerUntrusted))
	_, err = Verify(context.Background(), r.Zip+sidecarSuffix, l.trust, time.Now(), nil)
	wantCode(t, err, string(verifier.PackageMalformed))
	_, err = Propose(context.Background(), filepath.Dir(filepath.Dir(r.Zip)), ApproveOptions{Arch: "x86_64"})
	wantCode(t, err, codeUsage)
	if err != nil && !strings.Contains(err.Error(), "has a signed list inside") {
		t.Error(err)
	}
}

func TestVerifyRefusals(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	r := build(t, l, l.options(t))
	good := read(t, r.Zip)
	now := time.Now()
	want := verifier.Identity{Product: "mdatp", Platform: "linux", Arch: "x86_64", Ring: "production"}
	flipped := bytes.Clone(good)
	flipped[bytes.Index(good, []byte("mpavbase.vdm"))+100] ^= 1
	for _, c := range []struct {
		name  string
		data  []byte
		now   time.Time
		trust verifier.Trust
		want  func(*verifier.Identity)
		code  verifier.Code
	}{
		{"good", good, now, l.trust, nil, ""},
		{"one bit", flipped, now, l.trust, nil, verifier.ContentMismatch},
		{"cut", good[:len(good)/2], now, l.trust, nil, verifier.NotAPackage},
		{"trailing", append(bytes.Clone(good), 'x'), now, l.trust, nil, verifier.PackageMalformed},
		{"empty", nil, now, l.trust, nil, verifier.NotAPackage},
		{"no trust", good, now, verifier.Trust{}, nil, verifier.TrustDirEmpty},
		{"expired", good, now.AddDate(0, 0, 15), l.trust, nil, verifier.PackageExpired},
		{"leaf expired", good, now.AddDate(2, 0, 0), l.trust, nil, verifier.SignerExpired},
		{"from the future", good, now.AddDate(0, 0, -2), l.trust, nil, verifier.IssuedInFuture},
		{"product", good, now, l.trust, func(i *verifier.Identity) { i.Product = "yara" }, verifier.WrongProduct},
		{"arch", good, now, l.trust, func(i *verifier.Identity) { i.Arch = "arm64" }, verifier.WrongPlatform},
		{"ring", good, now, l.trust, func(i *verifier.Identity) { i.Ring = "preview" }, verifier.WrongPlatform},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "updates.zip")
			write(t, path, c.data)
			identity := want
			if c.want != nil {
				c.want(&identity)
			}
			_, err := Verify(context.Background(), path, c.trust, c.now, &identity)
			wantCode(t, err, string(c.code))
		})
	}
	_, err := Verify(context.Background(), filepath.Join(l.dir, "none.zip"), l.trust, now, nil)
	wantCode(t, err, codeUsage)
}

func TestInspect(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	r := build(t, l, l.options(t))
	in, err := Inspect(r.Zip, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if in.Problem != nil || in.Origin != Inside || in.List == nil || len(in.Entries) != 4 || in.Expired || in.Verified {
		t.Errorf("unexpected inspection: %+v", in)
	}
	if in.Signer == nil || in.Signer.Pin != verifier.PinOf(l.signer.Leaf).String() || in.Issuer == nil || !strings.Contains(in.Signer.Subject, "LAB ONLY") {
		t.Errorf("the signer is %+v, its issuer %+v", in.Signer, in.Issuer)
	}
	if _, err := verifier.ParseList(in.ListJSON); err != nil {
		t.Error(err)
	}
	if in, err = Inspect(r.Zip, time.Now().AddDate(0, 1, 0)); err != nil || !in.Expired {
		t.Errorf("a month later: %+v, %v", in, err)
	}
	_, err = Inspect(filepath.Join(l.dir, "none"), time.Now())
	wantCode(t, err, codeUsage)
}

// TestInspectOthers has things that are no good packages: each is described as
// far as it goes, with what is wrong.
func TestInspectOthers(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	zipPath, p7m := sidecarFor(t, l, "updates.zip")
	bare := filepath.Join(l.dir, "bare.p7m")
	write(t, bare, p7m)
	page := filepath.Join(l.dir, "page.zip")
	write(t, page, []byte("<html>please log in</html>"))
	check := func(path string, origin Origin, list bool, problem verifier.Code) {
		t.Helper()
		in, err := Inspect(path, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		code := ""
		if in.Problem != nil {
			code = in.Problem.Code
		}
		if in.Origin != origin || (in.List != nil) != list || code != string(problem) {
			t.Errorf("%s: origin %q, list %v, problem %+v", path, in.Origin, in.List != nil, in.Problem)
		}
	}
	check(zipPath, "", false, verifier.SignatureMissing)
	check(bare, Sidecar, true, "")
	check(page, "", false, verifier.NotAPackage)
	write(t, zipPath+sidecarSuffix, p7m)
	check(zipPath, Sidecar, true, "")
	write(t, zipPath+sidecarSuffix, p7m[:100])
	check(zipPath, Sidecar, false, verifier.SignatureInvalid)
	write(t, zipPath+sidecarSuffix, make([]byte, verifier.MaxListSize+1))
	check(zipPath, Sidecar, false, verifier.SignatureInvalid)
}

func FuzzInspect(f *testing.F) {
	l := newLab(f, KeyOptions{})
	o := l.options(f)
	write(f, filepath.Join(o.Dir, "mpavbase.vdm"), []byte("small"))
	write(f, filepath.Join(o.Dir, "libmpengine.so"), []byte("small"))
	r, err := Build(context.Background(), l.out(), o, &l.signer)
	if err != nil {
		f.Fatal(err)
	}
	p7m, err := SignList(r.List, l.signer)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(read(f, r.Zip), false)
	f.Add(p7m, true)
	f.Add([]byte("<html>"), true)
	f.Fuzz(func(t *testing.T, data []byte, bare bool) {
		path := filepath.Join(t.TempDir(), "x.zip")
		if bare {
			path += sidecarSuffix
		}
		write(t, path, data)
		if _, err := Inspect(path, time.Unix(1, 0)); err != nil {
			t.Fatalf("no report: %v", err)
		}
		// A changed byte may change what is claimed, but never make it believed.
		if _, err := Verify(context.Background(), path, l.trust, time.Now(), nil); err == nil && !bytes.Equal(data, read(t, r.Zip)) {
			if got, _ := ReadList(path); got.Content() != r.List.Content() {
				t.Fatal("another content passed")
			}
		}
	})
}

// listOf is the list of a sidecar for an archive that somebody else built, whatever the
// rules of an approval are. Of o it takes what the list says.
func listOf(t testing.TB, zipPath string, o BuildOptions) *verifier.List {
	t.Helper()
	a, err := zip.OpenReader(zipPath)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	list := o.withDefaults().list()
	for _, e := range a.File {
		if strings.HasSuffix(e.Name, "/") {
			continue
		}
		content, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		size, err := io.Copy(sum, content)
		if err != nil {
			t.Fatal(err)
		}
		list.Files = append(list.Files, verifier.File{Name: e.Name, Size: size, SHA256: verifier.Digest(sum.Sum(nil))})
	}
	return list
}
