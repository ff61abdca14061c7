package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"mdatp-offline-agent/verifier"
)

func TestFileError(t *testing.T) {
	t.Parallel()
	refusal := &verifier.Refusal{Code: verifier.ContentMismatch, Sentence: "a", Hint: "b"}
	for _, c := range []struct {
		err  error
		code string
	}{
		{nil, ""},
		{fs.ErrNotExist, codeUsage},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, codePermission},
		{syscall.EROFS, codePermission},
		{fmt.Errorf("while writing: %w", syscall.ENOSPC), codeDiskFull},
		{syscall.EDQUOT, codeDiskFull},
		{syscall.EIO, codeInternal},
		{refusal, string(verifier.ContentMismatch)},
	} {
		wantCode(t, fileError("the file", "/a path", c.err), c.code)
	}
	err := fileError("the file", "/x", syscall.EIO)
	if got := err.Error(); got != "internal: the file can not be used: input/output error" || !errors.Is(err, syscall.EIO) {
		t.Errorf("got %q", got)
	}
	if got := usage("a", "b", nil).Error(); got != "usage: a" {
		t.Errorf("got %q", got)
	}
}

func TestCheckVersion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, new, code string }{
		{"1.407.417.0", "1.407.417.0", ""},
		{"1.407.417.0", "1.407.99999.0", ""},
		{"1.407.417.0", "1.507.0.0", ""},
		{"1.407.417.0", "1.508.0.0", codeUsage},
		{"1.407.417.0", "2.407.417.0", codeUsage},
		{"1.407.417.0", "1.407.416.99", codeUsage},
		{"1.407.417.0", "0.4294967295.0.0", codeUsage},
	} {
		t.Run(c.old+" to "+c.new, func(t *testing.T) {
			wantCode(t, checkVersion("definition", version(c.new), version(c.old)), c.code)
		})
	}
}

// TestFileChanges: a file that is not as large as it was a moment ago must not
// end up in a package, whichever way it went.
func TestFileChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	write(t, path, []byte("content"))
	for _, size := range []int64{6, 8} {
		src, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		w, err := newArchiveWriter(io.Discard, dir, 1)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.addFile(context.Background(), "file", src, size)
		wantCode(t, err, codeUsage)
		if err := errors.Join(src.Close(), w.scratch.Close()); err != nil {
			t.Error(err)
		}
	}
	onlyFiles(t, dir, "file")
}

func TestSignWithoutKey(t *testing.T) {
	t.Parallel()
	_, err := Signer{}.Sign([]byte("{}"))
	wantCode(t, err, codeUsage)
}

// TestBuildOnFullDisk writes into a file system of one megabyte.
func TestBuildOnFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("MISSING: root, who may mount a small tmpfs; run the tests with sudo")
	}
	l := newLab(t, KeyOptions{})
	o := l.options(t)
	small := t.TempDir()
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("MISSING: the right to mount a tmpfs (%v); run the tests outside of a container, or in a privileged one", err)
	}
	defer func() {
		if err := syscall.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	}()
	_, err := Build(context.Background(), filepath.Join(small, "updates.zip"), o, &l.signer)
	wantCode(t, err, codeDiskFull)
	onlyFiles(t, small)
}
