package mirror

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A pipe that nobody writes to, in place of what is remembered, is not waited for: the
// first ring may be somebody else's.
func TestRememberedIsAPipe(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	r.approve("1.407.417.0", nil)
	r.want(Promoted)
	r.approve("1.407.418.0", nil)
	state := filepath.Join(r.o.To, ".sync", "arch_x86_64", stateFile)
	read(t, state)
	for _, path := range []string{state, filepath.Join(r.o.From, ".approve", "arch_x86_64.json")} {
		if err := errors.Join(os.RemoveAll(path), os.MkdirAll(filepath.Dir(path), 0o700)); err != nil {
			t.Fatal(err)
		}
		run(t, r.dir, "mkfifo", path)
	}
	r.want(Promoted)
	r.good("production", "1.407.418.0")
	p, err := Propose(t.Context(), r.o.From, ApproveOptions{Arch: "x86_64", Renew: true, Trust: &r.trust, Signer: &r.signer})
	wantCode(t, err, "")
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// An architecture that is named twice is promoted once.
func TestPromoteNamedTwice(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	r.approve("1.407.417.0", nil)
	r.o.Archs = []string{"x86_64", "x86_64"}
	r.want(Promoted)
	if lines := r.log(); len(lines) != 1 {
		t.Errorf("the log has %d lines", len(lines))
	}
}

// Whatever the tree is called, and whatever lies in the work directory, it is cleared
// before an approval.
func TestApproveClears(t *testing.T) {
	t.Parallel()
	s := newRing(t)
	s.ring = filepath.Join(s.dir, "a[b", "linux", "production")
	s.comes(t, 2)
	left := filepath.Join(s.ring, ".approve", "some", "directory", "file")
	write(t, left, nil)
	if err := os.Chmod(filepath.Join(s.ring, ".approve"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, s.path(".updates.zip.p7m123"), []byte("of a run that was killed"))
	s.approved(t, s.options(t))
	s.serves(t, 2)
	for _, path := range []string{filepath.Dir(filepath.Dir(left)), s.path(".updates.zip.p7m123")} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}
