package trustdir

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
)

// must fails the test where a step of its own goes wrong.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// authority makes a root, and an empty revocation list of it.
func authority(t testing.TB) (root, crl []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: now, NotAfter: now.AddDate(1, 0, 0),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.AddDate(0, 0, 7)}
	crl, err = x509.CreateRevocationList(rand.Reader, list, cert, key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), crl
}

// place is a root directory with a trust directory in it, as a row begins: with
// one root certificate. Rows change it.
type place struct {
	root, dir string // dir is root/etc/agent/trust
	pem, crl  []byte
}

func newPlace(t testing.TB) place {
	t.Helper()
	p := place{root: t.TempDir()}
	p.dir = p.path("etc/agent/trust")
	p.pem, p.crl = authority(t)
	must(t, os.MkdirAll(p.dir, 0o755))
	p.file(t, "etc/agent/trust/root.pem", p.pem)
	return p
}

func (p place) path(name string) string { return filepath.Join(p.root, name) }

func (p place) file(t testing.TB, name string, data []byte) {
	t.Helper()
	must(t, os.WriteFile(p.path(name), data, 0o644))
}

func (p place) mkdir(t testing.TB, name string) {
	t.Helper()
	must(t, os.MkdirAll(p.path(name), 0o755))
}

func (p place) chmod(t testing.TB, name string, mode os.FileMode) {
	t.Helper()
	must(t, os.Chmod(p.path(name), mode)) // and not by a mode that umask changes
}

func (p place) link(t testing.TB, target, name string) {
	t.Helper()
	must(t, os.Symlink(target, p.path(name)))
}

func (p place) remove(t testing.TB, name string) {
	t.Helper()
	must(t, os.RemoveAll(p.path(name)))
}

// moved puts the trust directory elsewhere, and a link in its place.
func (p place) moved(t testing.TB, to, link string) {
	t.Helper()
	must(t, os.Rename(p.dir, p.path(to)))
	must(t, os.Symlink(link, p.dir))
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to give files to others and to mount; run the tests with sudo, too")
	}
}

func needUser(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: needs an unprivileged user, since root reads everything; run the tests without sudo, too")
	}
}

// check compares a refusal. An empty code stands for none.
func check(t testing.TB, err error, code verifier.Code, part string) {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		return
	}
	var r *verifier.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("got %v, want %s", err, code)
	}
	if r.Code != code || !strings.Contains(r.Sentence, part) || r.Hint == "" {
		t.Fatalf("got %v (hint: %s), want %s with %q", err, r.Hint, code, part)
	}
	if strings.ContainsAny(r.Sentence, "\"\n") {
		t.Fatalf("sentence is not fit for a report: %q", r.Sentence)
	}
}

const (
	isEmpty = verifier.TrustDirEmpty
	bad     = verifier.TrustDirInvalid
)

func TestLoad(t *testing.T) {
	t.Parallel()
	const trust = "etc/agent/trust"
	const writable = "can be written by its group or by everybody"
	for name, row := range map[string]struct {
		change func(*testing.T, place)
		code   verifier.Code
		part   string
	}{
		"as it should be":    {func(*testing.T, place) {}, "", ""},
		"root and list":      {func(t *testing.T, p place) { p.file(t, trust+"/a.crl", p.crl) }, "", ""},
		"root 0600":          {func(t *testing.T, p place) { p.chmod(t, trust+"/root.pem", 0o600) }, "", ""},
		"directory 0700":     {func(t *testing.T, p place) { p.chmod(t, trust, 0o700) }, "", ""},
		"root 0444":          {func(t *testing.T, p place) { p.chmod(t, trust+"/root.pem", 0o444) }, "", ""},
		"hidden file":        {func(t *testing.T, p place) { p.file(t, trust+"/.root.pem.swp", []byte("x")) }, "", ""},
		"hidden directory":   {func(t *testing.T, p place) { p.mkdir(t, trust+"/..2026_11_23") }, "", ""},
		"vendor's directory": {func(t *testing.T, p place) { p.mkdir(t, trust+"/vendor"); p.file(t, trust+"/vendor/x", nil) }, "", ""},

		"missing":           {func(t *testing.T, p place) { p.remove(t, trust) }, isEmpty, "holds no certificate"},
		"missing above":     {func(t *testing.T, p place) { p.remove(t, "etc") }, isEmpty, "holds no certificate"},
		"empty":             {func(t *testing.T, p place) { p.remove(t, trust+"/root.pem") }, isEmpty, "holds no certificate"},
		"only a list":       {func(t *testing.T, p place) { p.remove(t, trust+"/root.pem"); p.file(t, trust+"/a.crl", p.crl) }, isEmpty, "holds no certificate"},
		"only hidden files": {func(t *testing.T, p place) { p.remove(t, trust+"/root.pem"); p.file(t, trust+"/.a.pem", p.pem) }, isEmpty, ""},
		"only vendor's":     {func(t *testing.T, p place) { p.remove(t, trust+"/root.pem"); p.mkdir(t, trust+"/vendor") }, isEmpty, ""},
		"a file":            {func(t *testing.T, p place) { p.remove(t, trust); p.file(t, trust, p.pem) }, bad, "can not be read"},

		"file by group":      {func(t *testing.T, p place) { p.chmod(t, trust+"/root.pem", 0o664) }, bad, "root.pem " + writable},
		"file by everybody":  {func(t *testing.T, p place) { p.chmod(t, trust+"/root.pem", 0o646) }, bad, "root.pem " + writable},
		"list by everybody":  {func(t *testing.T, p place) { p.file(t, trust+"/a.crl", p.crl); p.chmod(t, trust+"/a.crl", 0o666) }, bad, "a.crl " + writable},
		"directory by group": {func(t *testing.T, p place) { p.chmod(t, trust, 0o775) }, bad, "trust " + writable},
		"directory, sticky":  {func(t *testing.T, p place) { p.chmod(t, trust, 0o777|os.ModeSticky) }, bad, "trust " + writable},
		"parent":             {func(t *testing.T, p place) { p.chmod(t, "etc/agent", 0o775) }, bad, "agent " + writable},
		"parent's parent":    {func(t *testing.T, p place) { p.chmod(t, "etc", 0o777) }, bad, "etc " + writable},
		"parent, and empty":  {func(t *testing.T, p place) { p.remove(t, trust); p.chmod(t, "etc", 0o777) }, bad, "etc " + writable},
		"the root directory": {func(t *testing.T, p place) { p.chmod(t, ".", 0o777) }, "", ""}, // what lies above is not ours to check

		"README":             {func(t *testing.T, p place) { p.file(t, trust+"/README", nil) }, bad, "README"},
		"certificate as crt": {func(t *testing.T, p place) { p.file(t, trust+"/root.crt", p.pem) }, bad, "root.crt"},
		"unusual name":       {func(t *testing.T, p place) { p.file(t, trust+"/a\n\"b\".pem", p.pem) }, bad, "unusual name"},
		"unusual dead link":  {func(t *testing.T, p place) { p.link(t, "nowhere", trust+"/a\nb.pem") }, bad, "unusual name"},
		"empty root":         {func(t *testing.T, p place) { p.file(t, trust+"/a.pem", nil) }, bad, "a.pem"},
		"damaged root":       {func(t *testing.T, p place) { p.file(t, trust+"/a.pem", p.pem[:99]) }, bad, "a.pem"},
		"damaged list":       {func(t *testing.T, p place) { p.file(t, trust+"/a.crl", p.crl[:99]) }, bad, "a.crl"},
		"directory as root":  {func(t *testing.T, p place) { p.mkdir(t, trust+"/a.pem") }, bad, "a.pem is no regular file"},
		"file named vendor":  {func(t *testing.T, p place) { p.file(t, trust+"/vendor", nil) }, bad, "vendor"},
		"other directory":    {func(t *testing.T, p place) { p.mkdir(t, trust+"/old") }, bad, "old is no regular file"},
		"FIFO":               {func(t *testing.T, p place) { must(t, syscall.Mkfifo(p.path(trust+"/a.pem"), 0o644)) }, bad, "a.pem is no regular file"},
		"too large":          {func(t *testing.T, p place) { p.file(t, trust+"/a.pem", make([]byte, verifier.MaxTrustFile+1)) }, bad, "a.pem"},
		"too many": {func(t *testing.T, p place) {
			for i := range verifier.MaxTrustFiles {
				p.file(t, fmt.Sprintf("%s/%d.pem", trust, i), p.pem)
			}
		}, bad, "holds more than 256 files"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			row.change(t, p)
			got, err := Load(p.root, p.dir, nil)
			check(t, err, row.code, row.part)
			if got.Empty() != (err != nil) {
				t.Errorf("refused: %v, but has roots: %v", err, !got.Empty())
			}
		})
	}
}

// Symlinks are followed, and every directory on the way must be safe.
func TestLoadLinks(t *testing.T) {
	t.Parallel()
	const trust = "etc/agent/trust"
	for name, row := range map[string]struct {
		change func(*testing.T, place)
		code   verifier.Code
		part   string
	}{
		"file": {func(t *testing.T, p place) {
			p.mkdir(t, "srv")
			p.file(t, "srv/x", p.pem)
			p.link(t, "../../../srv/x", trust+"/b.pem")
		}, "", ""},
		"file, absolute": {func(t *testing.T, p place) {
			p.mkdir(t, "srv")
			p.file(t, "srv/x", p.pem)
			p.link(t, p.path("srv/x"), trust+"/b.pem")
		}, "", ""},
		"file that others write": {func(t *testing.T, p place) {
			p.mkdir(t, "srv")
			p.file(t, "srv/x", p.pem)
			p.chmod(t, "srv/x", 0o666)
			p.link(t, "../../../srv/x", trust+"/b.pem")
		}, bad, "b.pem can be written"},
		"file in a directory that others write": {func(t *testing.T, p place) {
			p.mkdir(t, "srv")
			p.file(t, "srv/x", p.pem)
			p.chmod(t, "srv", 0o777)
			p.link(t, "../../../srv/x", trust+"/b.pem")
		}, bad, "srv can be written"},
		"through a directory that others write": {func(t *testing.T, p place) {
			p.mkdir(t, "srv/inner")
			p.file(t, "srv/inner/x", p.pem)
			p.chmod(t, "srv", 0o777)
			p.link(t, "../../../srv/inner/x", trust+"/b.pem")
		}, bad, "srv can be written"},
		"through a link that lies there": {func(t *testing.T, p place) {
			p.mkdir(t, "srv")
			p.mkdir(t, "safe")
			p.file(t, "safe/x", p.pem)
			p.link(t, "../safe", "srv/hop")
			p.chmod(t, "srv", 0o777)
			p.link(t, "../../../srv/hop/x", trust+"/b.pem")
		}, bad, "srv can be written"},
		"there and back by dots": {func(t *testing.T, p place) {
			p.mkdir(t, "srv")
			p.chmod(t, "srv", 0o777)
			p.file(t, "etc/x", p.pem)
			p.link(t, "../../../srv/../etc/x", trust+"/b.pem")
		}, bad, "srv can be written"},
		"as Kubernetes does it": {func(t *testing.T, p place) {
			p.mkdir(t, trust+"/..2026_11_23")
			p.file(t, trust+"/..2026_11_23/b.pem", p.pem)
			p.link(t, "..2026_11_23", trust+"/..data")
			p.link(t, "..data/b.pem", trust+"/b.pem")
		}, "", ""},
		"directory": {func(t *testing.T, p place) { p.mkdir(t, "srv"); p.moved(t, "srv/t", "../../srv/t") }, "", ""},
		"directory, absolute": {func(t *testing.T, p place) {
			p.mkdir(t, "srv")
			p.moved(t, "srv/t", p.path("srv/t"))
		}, "", ""},
		"directory that others write": {func(t *testing.T, p place) {
			p.mkdir(t, "srv")
			p.moved(t, "srv/t", "../../srv/t")
			p.chmod(t, "srv/t", 0o777)
		}, bad, "t can be written"},
		"directory in one that others write": {func(t *testing.T, p place) {
			p.mkdir(t, "srv")
			p.moved(t, "srv/t", "../../srv/t")
			p.chmod(t, "srv", 0o777)
		}, bad, "srv can be written"},
		"parent is a link": {func(t *testing.T, p place) {
			must(t, os.Rename(p.path("etc/agent"), p.path("etc/other")))
			p.link(t, "other", "etc/agent")
		}, "", ""},
		"loop":               {func(t *testing.T, p place) { p.link(t, "b.pem", trust+"/b.pem") }, bad, "can not be resolved"},
		"loop of two":        {func(t *testing.T, p place) { p.link(t, "c", trust+"/b.pem"); p.link(t, "b.pem", trust+"/c") }, bad, "can not be resolved"},
		"loop for directory": {func(t *testing.T, p place) { p.remove(t, trust); p.link(t, "trust", trust) }, bad, "can not be resolved"},
		"dead":               {func(t *testing.T, p place) { p.link(t, "nowhere", trust+"/b.pem") }, bad, "can not be looked at"},
		"to a directory":     {func(t *testing.T, p place) { p.link(t, "../../agent", trust+"/b.pem") }, bad, "b.pem is no regular file"},
		"to a device":        {func(t *testing.T, p place) { p.link(t, "/dev/zero", trust+"/b.pem") }, bad, "b.pem"},
		"directory, dead":    {func(t *testing.T, p place) { p.remove(t, trust); p.link(t, "nowhere", trust) }, isEmpty, ""},
		"vendor as a link":   {func(t *testing.T, p place) { p.mkdir(t, "v"); p.link(t, "../../../v", trust+"/vendor") }, "", ""},
		"vendor, to a file":  {func(t *testing.T, p place) { p.file(t, "v", nil); p.link(t, "../../../v", trust+"/vendor") }, bad, "vendor can not be used"},
		"vendor, dead":       {func(t *testing.T, p place) { p.link(t, "nowhere", trust+"/vendor") }, bad, "can not be looked at"},
		"below a file":       {func(t *testing.T, p place) { p.link(t, "root.pem/x", trust+"/b.pem") }, bad, "can not be looked at"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			row.change(t, p)
			_, err := Load(p.root, p.dir, nil)
			check(t, err, row.code, row.part)
		})
	}
}

// Only what lies below root is checked, by whatever name root goes.
func TestLoadRoot(t *testing.T) {
	p := newPlace(t)
	must(t, os.Chmod(filepath.Dir(p.root), 0o777)) // above root
	alias := filepath.Join(t.TempDir(), "alias")
	must(t, os.Symlink(p.root, alias))
	for name, root := range map[string]string{"itself": p.root, "with a slash": p.root + "/", "by a link": alias} {
		_, err := Load(root, filepath.Join(root, "etc/agent/trust"), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Run("relative", func(t *testing.T) {
		t.Chdir(p.root)
		_, err := Load(".", "etc/agent/trust", nil)
		check(t, err, "", "")
	})
	t.Run("name that begins the same", func(t *testing.T) {
		must(t, os.Mkdir(p.root+"x", 0o777))
		must(t, os.Chmod(p.root+"x", 0o777))
		p.link(t, p.root+"x/b.pem", "etc/agent/trust/b.pem")
		must(t, os.WriteFile(p.root+"x/b.pem", p.pem, 0o644))
		_, err := Load(p.root, p.dir, nil)
		check(t, err, bad, "x can be written")
	})
	t.Run("the whole machine", func(t *testing.T) {
		_, err := Load("/", p.dir, nil)
		check(t, err, bad, "can be written") // the directory that the test opened
	})
}

func TestLoadPins(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	trust, err := Load(p.root, p.dir, []verifier.Pin{{1}})
	must(t, err)
	if len(trust.Roots()) != 1 {
		t.Errorf("got %d roots", len(trust.Roots()))
	}
}

// Files of another user than root and the caller.
func TestLoadOwners(t *testing.T) {
	t.Parallel()
	needRoot(t)
	const nobody = 65534
	for name, row := range map[string]struct {
		path string // whose owner is another user
		part string
	}{
		"file": {"etc/agent/trust/root.pem", "root.pem belongs to another user"}, "directory": {"etc/agent/trust", "trust belongs"},
		"parent": {"etc/agent", "agent belongs"}, "parent's parent": {"etc", "etc belongs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			must(t, os.Chown(p.path(row.path), nobody, nobody))
			_, err := Load(p.root, p.dir, nil)
			check(t, err, bad, row.part)
		})
	}
	t.Run("root directory", func(t *testing.T) {
		t.Parallel()
		p := newPlace(t)
		must(t, os.Chown(p.root, nobody, nobody))
		_, err := Load(p.root, p.dir, nil)
		check(t, err, "", "")
	})
	t.Run("group", func(t *testing.T) {
		t.Parallel()
		p := newPlace(t)
		must(t, os.Chown(p.dir, 0, nobody)) // which may not write
		_, err := Load(p.root, p.dir, nil)
		check(t, err, "", "")
	})
}

// What nobody can write for the time being is as good as owned.
func TestLoadReadOnlyMount(t *testing.T) {
	needRoot(t)
	p := newPlace(t)
	must(t, os.Remove(filepath.Join(p.dir, "root.pem")))
	if err := syscall.Mount("tmpfs", p.dir, "tmpfs", 0, "size=1m,mode=0777"); err != nil {
		t.Skipf("SKIPPED: can not mount a tmpfs, which needs CAP_SYS_ADMIN: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(p.dir, 0)) })
	p.file(t, "etc/agent/trust/root.pem", p.pem)
	p.chmod(t, "etc/agent/trust/root.pem", 0o666)
	_, err := Load(p.root, p.dir, nil)
	check(t, err, bad, "can be written")
	must(t, syscall.Mount("tmpfs", p.dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	_, err = Load(p.root, p.dir, nil)
	check(t, err, "", "")
}

func TestLoadUnreadable(t *testing.T) {
	t.Parallel()
	needUser(t)
	for name, row := range map[string]struct{ path, part string }{
		"file":      {"etc/agent/trust/root.pem", "root.pem can not be read"},
		"directory": {"etc/agent/trust", "trust can not be read"},
		"parent":    {"etc/agent", "can not be looked at"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			p.chmod(t, row.path, 0)
			t.Cleanup(func() { p.chmod(t, row.path, 0o755) }) // so that it can be removed
			_, err := Load(p.root, p.dir, nil)
			check(t, err, bad, row.part)
		})
	}
}
