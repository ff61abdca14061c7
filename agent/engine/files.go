package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"mdatp-offline-agent/verifier"
)

// copyBuffer is the size in bytes of the pieces in which files are read, hashed
// and written. A context is looked at between two of them.
const copyBuffer = 256 << 10

// makeDirs is os.MkdirAll with a mode that no umask narrows: other users read
// the sets. What exists already is left as it is.
func makeDirs(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDirs(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Mkdir(path, dirMode); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil // somebody else was quicker
		}
		return err
	}
	root, err := openDir(path)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := settleDir(root, ".", dirMode); err != nil {
		return err
	}
	parent, err := openDir(filepath.Dir(path))
	if err != nil {
		return nil // one may make names in a directory that one can't read
	}
	defer parent.Close()
	return syncDir(parent, ".")
}

// openDir looks before it opens, because opening a FIFO would wait for ever.
func openDir(path string) (*os.Root, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, unix.ENOTDIR
	}
	return os.OpenRoot(path)
}

// writable asks the kernel whether names in the directory can be made and
// removed by the effective user; a read-only mount says no as well.
func writable(root *os.Root) error {
	f, err := root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Faccessat(int(f.Fd()), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS)
}

// openSub opens a directory below root, and only a directory: no symlink to
// one. It looks first, because opening a FIFO would wait for ever.
func openSub(root *os.Root, name string) (*os.Root, error) {
	before, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.IsDir() {
		return nil, unix.ENOTDIR
	}
	sub, err := root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	after, err := sub.Stat(".")
	if err == nil && !os.SameFile(before, after) {
		err = fmt.Errorf("the directory was exchanged while it was opened: %w", unix.ESTALE)
	}
	if err != nil {
		sub.Close()
		return nil, err
	}
	return sub, nil
}

// openRegular opens a regular file below root for reading, and nothing else: no
// symlink, and no FIFO or device, of which opening alone can have effects.
func openRegular(root *os.Root, name string) (*os.File, error) {
	before, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	after, err := f.Stat()
	if err == nil && !os.SameFile(before, after) {
		err = fmt.Errorf("the file was exchanged while it was opened: %w", unix.ESTALE)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// readNames lists a directory, at most limit names; complete tells whether
// these were all.
func readNames(root *os.Root, dir string, limit int) (names []string, complete bool, err error) {
	f, err := root.Open(dir)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	names, err = f.Readdirnames(limit + 1)
	if err != nil && err != io.EOF {
		return nil, false, err
	}
	if len(names) > limit {
		return names[:limit], false, nil
	}
	return names, true, nil
}

// exists tells whether a name is taken, by whatever.
func exists(root *os.Root, name string) (fs.FileInfo, bool, error) {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	return info, err == nil, err
}

// settleDir gives a directory its mode and makes its entries durable.
func settleDir(root *os.Root, name string, mode fs.FileMode) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return errors.Join(f.Chmod(mode), syncFile(f))
}

// syncDir makes the entries of a directory durable.
func syncDir(root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return syncFile(f)
}

// syncFile is fsync, but for file systems that know none for this kind of file,
// as some network file systems do for directories.
func syncFile(f *os.File) error {
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	return nil
}

// removeTree removes name and all below it, directories that were made
// read-only included.
func removeTree(root *os.Root, name string) error {
	if root.RemoveAll(name) == nil {
		return nil
	}
	// What can't be opened up here makes the second removal fail, and say why.
	_ = fs.WalkDir(root.FS(), filepath.ToSlash(name), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			_ = root.Chmod(path, privateDir)
		}
		return nil
	})
	return root.RemoveAll(name)
}

// hashed reads a file from its start and tells whether it is exactly the listed
// one: nil, a refusal of the verifier, or the error of reading.
func hashed(ctx context.Context, file io.Reader, f verifier.File) error {
	_, err := copyChecked(ctx, io.Discard, file, f)
	return err
}

// copyChecked copies from until its end and gives no error only where that was
// exactly the listed file.
func copyChecked(ctx context.Context, to io.Writer, from io.Reader, f verifier.File) (int64, error) {
	checked := verifier.NewCheckedReader(&contextReader{ctx, from}, f)
	// The struct hides ReadFrom, which would bring a buffer of its own.
	return io.CopyBuffer(struct{ io.Writer }{to}, checked, make([]byte, copyBuffer))
}

// contextReader ends a copy when its context ends.
type contextReader struct {
	ctx  context.Context
	from io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(p)
}
