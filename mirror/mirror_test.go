package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
)

// lab is a throw-away CA, its signer, and a directory to work in.
type lab struct {
	dir    string
	keys   Keys
	signer Signer
	trust  verifier.Trust
}

func newLab(t testing.TB, opts KeyOptions) lab {
	t.Helper()
	l := lab{dir: t.TempDir()}
	var err error
	if l.keys, err = MakeKeys(filepath.Join(l.dir, "keys"), opts); err != nil {
		t.Fatal(err)
	}
	if l.signer, err = LoadSigner(l.keys.LeafKey, l.keys.Certificates(), nil); err != nil {
		t.Fatal(err)
	}
	l.trust = trustIn(t, l.keys.Root)
	return l
}

func trustIn(t testing.TB, roots ...string) verifier.Trust {
	t.Helper()
	var files []verifier.TrustFile
	for i, path := range roots {
		files = append(files, verifier.TrustFile{Name: fmt.Sprintf("root%d.pem", i), Data: read(t, path)})
	}
	trust, err := verifier.NewTrust(files, nil)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// options are those of a good package with some files of different kinds: an
// empty one, one that deflates well, one that does not deflate.
func (l lab) options(t testing.TB) BuildOptions {
	t.Helper()
	dir := filepath.Join(l.dir, "files")
	noise := make([]byte, 200<<10)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(noise)
	write(t, filepath.Join(dir, "empty.vdm"), nil)
	write(t, filepath.Join(dir, "libmpengine.so"), bytes.Repeat([]byte("engine "), 50_000))
	write(t, filepath.Join(dir, "mpavbase.vdm"), noise)
	return BuildOptions{
		Dir: dir, Product: "mdatp", Platform: "linux", Arch: "x86_64", Rings: []string{"production"},
		Engine: version("1.1.24080.9"), Definition: version("1.407.417.0"), Level: 1,
	}
}

func (l lab) out() string { return filepath.Join(l.dir, "mirror", "arch_x86_64", "updates.zip") }

func version(s string) verifier.Version {
	v, err := verifier.ParseVersion(s)
	if err != nil {
		panic(err) // a mistake in the test itself
	}
	return v
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func build(t testing.TB, l lab, o BuildOptions) Result {
	t.Helper()
	r, err := Build(context.Background(), l.out(), o, &l.signer)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantCode checks the code of an error, and that its parts obey the rules for
// what may be shown.
func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Fatalf("unexpected error: %v", err)
		}
		return
	}
	var reasoned interface {
		Reason() (string, string, string)
	}
	if !errors.As(err, &reasoned) {
		t.Fatalf("got %v, want an error with the code %s", err, code)
	}
	got, sentence, hint := reasoned.Reason()
	if got != code {
		t.Fatalf("got the code %s (%v), want %s", got, err, code)
	}
	if sentence == "" || hint == "" || strings.ContainsAny(sentence, "\"\n") || strings.Contains(sentence, " : ") || strings.HasSuffix(sentence, ".") {
		t.Errorf("not fit to be shown: %q, hint %q", sentence, hint)
	}
}

// tool gives the path of a program, or skips the test.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("MISSING: the program %s; install it with: apt-get install %s", name, name)
	}
	return path
}

func run(t testing.TB, dir, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // against one that hangs
	defer cancel()
	cmd := exec.CommandContext(ctx, tool(t, name), args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, &stdout, &stderr)
	}
	return stdout.Bytes()
}

// onlyFiles checks that a directory holds these files and nothing else, such as
// temporary files left behind.
func onlyFiles(t testing.TB, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %v, want %v", dir, got, want)
	}
}
