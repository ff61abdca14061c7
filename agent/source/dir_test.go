package source_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/sourcetest"
)

// small asks for a package that fits in memory.
func small() source.Request {
	return source.Request{Name: source.PackageName, MaxBytes: 64 << 10}
}

// writeOld puts a package into dir whose time is an hour ago.
func writeOld(t testing.TB, dir, content string) string {
	t.Helper()
	path := filepath.Join(dir, source.PackageName)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, past, past); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDirRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, code string
		make       func(path string) error
		notThere   bool
		sentence   string
	}{
		{"missing file", source.CodeNotFound, func(string) error { return nil }, true, "no updates.zip in"},
		{"missing directory", source.CodeNotFound, func(p string) error { return os.Remove(filepath.Dir(p)) }, true, "no directory"},
		{"directory is a file", source.CodeNotFound, func(p string) error {
			return errors.Join(os.Remove(filepath.Dir(p)), os.WriteFile(filepath.Dir(p), nil, 0o600))
		}, true, "no directory"},
		{"dangling link", source.CodeNotFound, func(p string) error { return os.Symlink("nowhere", p) }, true, "no updates.zip in"},
		{"link to itself", source.CodeUnreachable, func(p string) error { return os.Symlink(p, p) }, false, "reading from"},
		{"directory", source.CodeUnreachable, func(p string) error { return os.Mkdir(p, 0o700) }, false, "not a regular file"},
		{"fifo", source.CodeUnreachable, func(p string) error { return syscall.Mkfifo(p, 0o600) }, false, "not a regular file"},
		{"device", source.CodeUnreachable, func(p string) error { return os.Symlink("/dev/zero", p) }, false, "not a regular file"},
		{"too large", source.CodeTooLarge, func(p string) error {
			return errors.Join(os.WriteFile(p, nil, 0o600), os.Truncate(p, 10<<30))
		}, false, "larger than the 65536 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "arch_x86_64")
			if err := errors.Join(os.Mkdir(dir, 0o700), tt.make(filepath.Join(dir, source.PackageName))); err != nil {
				t.Fatal(err)
			}
			_, err := source.NewDir(dir).Open(t.Context(), small())
			sourcetest.WantReason(t, err, tt.code)
			if source.NotThere(err) != tt.notThere {
				t.Errorf("NotThere is %v", !tt.notThere)
			}
			if !strings.Contains(err.Error(), tt.sentence) {
				t.Errorf("error %q does not say %q", err, tt.sentence)
			}
		})
	}
}

func TestDirWithoutPermission(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root may read everything; run the tests as a plain user too")
	}
	dir := t.TempDir()
	if err := os.Chmod(writeOld(t, dir, "content"), 0); err != nil {
		t.Fatal(err)
	}
	_, err := source.NewDir(dir).Open(t.Context(), small())
	sourcetest.WantReason(t, err, source.CodeForbidden)
	if source.NotThere(err) {
		t.Error("a file that may not be read counts as missing")
	}
}

func TestDirFollowsLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	real := filepath.Join(dir, "real.zip")
	if err := errors.Join(os.WriteFile(real, []byte("linked"), 0o600), os.Symlink("real.zip", filepath.Join(dir, source.PackageName))); err != nil {
		t.Fatal(err)
	}
	p, err := source.NewDir(dir).Open(t.Context(), small())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if got, err := readAll(t.Context(), p); got != "linked" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestDirChanged changes a file in place in all the ways that a careless copy
// over a package does, while it is open.
func TestDirChanged(t *testing.T) {
	t.Parallel()
	tests := map[string]func(path string) error{
		"shrunk": func(p string) error { return os.Truncate(p, 3) },
		"grown":  func(p string) error { return os.Truncate(p, 300) },
		"rewritten in the same size": func(p string) error {
			return os.WriteFile(p, []byte("CONTENT"), 0o644)
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := writeOld(t, dir, "content")
			p, err := source.NewDir(dir).Open(t.Context(), small())
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			_, err = readAll(t.Context(), p)
			sourcetest.WantReason(t, err, source.CodeChanged)

			// io.ReadFull ignores an error that comes with the last byte.
			r, err := p.Range(t.Context(), 0, p.Size())
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.ReadFull(r, make([]byte, p.Size()))
			sourcetest.WantReason(t, err, source.CodeChanged)
			_, err = r.Read(make([]byte, 1))
			sourcetest.WantReason(t, err, source.CodeChanged)
		})
	}
}

func TestDirClosed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeOld(t, dir, "content")
	p, err := source.NewDir(dir).Open(t.Context(), small())
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	_, err = readAll(t.Context(), p)
	sourcetest.WantReason(t, err, source.CodeUnreachable)
}

// TestDirNamed: of an archive that a sidecar names, and that is not there, it is said whose
// job that is.
func TestDirNamed(t *testing.T) {
	t.Parallel()
	_, err := source.NewDir(t.TempDir()).Open(t.Context(), source.Request{Name: "updates-3f2a91bc.zip", MaxBytes: 1})
	sourcetest.WantReason(t, err, source.CodeNotFound)
	if e := (*source.Error)(nil); !errors.As(err, &e) || !strings.Contains(e.Sentence, "no archive of the name that updates.zip.p7m gives") || !strings.Contains(e.Hint, "agent mirror approve") {
		t.Error(err)
	}
}

// TestDirShown has a path that would break a report if it were shown as it is.
func TestDirShown(t *testing.T) {
	t.Parallel()
	_, err := source.NewDir("/nowhere/\"a\nb\x1b : \xff").Open(t.Context(), small())
	sourcetest.WantReason(t, err, source.CodeNotFound)
}

func readAll(ctx context.Context, p source.Package) (string, error) {
	r, err := p.Range(ctx, 0, p.Size())
	if err != nil {
		return "", err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	return string(data), err
}
