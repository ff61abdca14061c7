package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Dir is a source that is a directory: local disk, removable medium or a
// network mount. Symbolic links are followed, since mirrors are often built of them.
type Dir struct {
	path  string // as the kernel gets it
	shown string // as sentences show it
}

// NewDir gives the source for the architecture directory at path. The directory
// is looked at when something is opened, and need not exist before.
func NewDir(path string) *Dir {
	return &Dir{path: path, shown: plain(path)}
}

// Open opens the file of that name. It never gives ErrNotModified: times and
// sizes of files are no proof that their content is the same.
func (d *Dir) Open(ctx context.Context, r Request) (Package, error) {
	if err := stopped(ctx); err != nil {
		return nil, err
	}
	if err := checkName(r.Name); err != nil {
		return nil, err
	}
	// O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever.
	f, err := os.OpenFile(filepath.Join(d.path, r.Name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, d.openFailure(r.Name, err)
	}
	p, err := d.examine(f, r)
	if err != nil {
		f.Close()
		return nil, err
	}
	return p, nil
}

// examine decides on the descriptor, not on the name, whether f is a file to be
// read; what the name leads to may be another file by now.
func (d *Dir) examine(f *os.File, r Request) (*dirFile, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, d.readFailure(err)
	}
	if !info.Mode().IsRegular() {
		return nil, &Error{
			Code:     CodeUnreachable,
			Sentence: fmt.Sprintf("%s in %s is not a regular file", label(r.Name), d.shown),
			Hint:     "put a regular file, or a link to one, in its place",
		}
	}
	if info.Size() > r.MaxBytes {
		return nil, tooLarge(r.Name, d.shown, r.MaxBytes)
	}
	return &dirFile{dir: d, f: f, opened: info, tally: r.Tally}, nil
}

// openFailure turns what the kernel said about opening a file into an Error.
func (d *Dir) openFailure(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return d.missing(name, err)
	case errors.Is(err, fs.ErrPermission):
		return &Error{
			Code:     CodeForbidden,
			Sentence: fmt.Sprintf("no permission to read %s in %s", label(name), d.shown),
			Hint:     "give the user that the agent runs as the right to read the directory and its files",
			Err:      err,
		}
	}
	return d.readFailure(err)
}

// missing tells a directory that is not there from a file that is not in it,
// since the first is most often a mount that failed.
func (d *Dir) missing(name string, err error) error {
	e := &Error{Code: CodeNotFound, Missing: true, Err: err}
	if info, statErr := os.Stat(d.path); statErr != nil || !info.IsDir() {
		e.Sentence = fmt.Sprintf("there is no directory %s", d.shown)
		e.Hint = "check the configured path, and that the file system or share below it is mounted"
		return e
	}
	what, hint := absent(name, "check that the mirror has been filled for this architecture, and that the share is mounted")
	e.Sentence, e.Hint = fmt.Sprintf("there is no %s in %s", what, d.shown), hint
	return e
}

// readFailure is the Error for a directory that is there and can't be read.
func (d *Dir) readFailure(err error) error {
	return &Error{
		Code:     CodeUnreachable,
		Sentence: fmt.Sprintf("reading from %s failed", d.shown),
		Hint:     "check the disk or the share that holds the directory; the log has the cause",
		Err:      err,
	}
}

// changed is the Error for a file that was written to while we read it.
func (d *Dir) changed(err error) error {
	return &Error{
		Code:     CodeChanged,
		Sentence: fmt.Sprintf("a file in %s changed while it was read", d.shown),
		Hint:     "publish a package under a temporary name and rename it; the next attempt reads it anew",
		Err:      err,
	}
}

// dirFile is one regular file. All ranges come from the one descriptor, so a file
// that is replaced by a rename is still read as it was.
type dirFile struct {
	dir    *Dir
	f      *os.File
	opened fs.FileInfo
	tally  *Tally
}

// Size is the file's size at Open.
func (p *dirFile) Size() int64 { return p.opened.Size() }

// Validator is always zero.
func (p *dirFile) Validator() Validator { return Validator{} }

// Version is always empty.
func (p *dirFile) Version() string { return "" }

// Close closes the file.
func (p *dirFile) Close() error { return p.f.Close() }

// Range reads a section of the file.
func (p *dirFile) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if err := checkRange(off, n, p.Size()); err != nil {
		return nil, err
	}
	return newSection(ctx, p.f, off, n, p.tally, p.settle), nil
}

// settle finds out whether the file was written in place under us. The clock of
// a file system is coarse, so this catches the usual copy over a package and is
// no proof; the proof are the digests in the signed list.
func (p *dirFile) settle(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ESTALE) {
		return p.dir.changed(err)
	}
	if err != nil {
		return p.dir.readFailure(err)
	}
	now, err := p.f.Stat()
	if err != nil {
		return p.dir.readFailure(err)
	}
	if now.Size() != p.opened.Size() || !now.ModTime().Equal(p.opened.ModTime()) {
		return p.dir.changed(nil)
	}
	return nil
}
