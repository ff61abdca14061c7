package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"mdatp-offline-agent/verifier"
)

// partPrefix begins the names of the directories below .staging that hold parts.
const partPrefix = "part-"

// Part is the beginning of something that is on its way: bytes of an archive as
// the source sent them, kept so that a transfer that breaks off, or a run that
// is killed, need not start over. They are unverified, not even synced, and stay
// in .staging; nobody may believe them before a hash has agreed. A Part is not
// safe for concurrent use.
type Part struct {
	dir  *Dir
	path string // below .staging
	file *os.File
	size int64

	unreadable bool
}

// Origin names where parts are from: a source, and the version that its package
// has. Another version has other parts.
type Origin struct{ Source, Version string }

// dir is the name of the directory of the origin's parts.
func (o Origin) dir() string { return o.prefix() + short(o.Version) }

// prefix begins the names of all directories of the origin's source.
func (o Origin) prefix() string { return partPrefix + short(o.Source) + "-" }

func short(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// Part opens what there is of a stretch of a package, called name. A part that is
// larger than limit bytes can't be one and is begun anew. The caller closes it.
func (d *Dir) Part(from Origin, name string, limit int64) (*Part, error) {
	if err := d.forWriting(); err != nil {
		return nil, err
	}
	if !verifier.ValidName(name) {
		return nil, &Error{Code: InstallFailed, Sentence: "a file can't have this name", Hint: faultHint}
	}
	dir := from.dir()
	if err := d.staging.Mkdir(dir, privateDir); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, d.writing("a transfer can't be kept in the engine directory", err)
	}
	p := &Part{dir: d, path: path.Join(dir, name)}
	file, err := d.staging.OpenFile(p.path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, privateFile)
	if err != nil {
		return nil, d.writing("a transfer can't be kept in the engine directory", err)
	}
	p.file = file
	info, err := file.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() > limit) {
		err = p.Reset()
	} else if err == nil {
		p.size = info.Size()
	}
	if err != nil {
		file.Close()
		return nil, d.writing("a transfer can't be kept in the engine directory", err)
	}
	return p, nil
}

// Size is how many bytes there are.
func (p *Part) Size() int64 { return p.size }

// Reader reads what there is at the moment, from its beginning. Its error, but for
// io.EOF, is an *Error.
func (p *Part) Reader() io.Reader { return &partReader{p, io.NewSectionReader(p.file, 0, p.size)} }

// Unreadable tells whether some of it could not be read, so that it is of no use.
func (p *Part) Unreadable() bool { return p.unreadable }

type partReader struct {
	part *Part
	from *io.SectionReader
}

// Read reads on.
func (r *partReader) Read(b []byte) (int, error) {
	n, err := r.from.Read(b)
	if err != nil && err != io.EOF {
		r.part.unreadable = true
		err = r.part.dir.writing("a transfer that was kept can't be read", err)
	}
	return n, err
}

// Write appends. The error is an *Error.
func (p *Part) Write(b []byte) (int, error) {
	n, err := p.file.WriteAt(b, p.size)
	p.size += int64(n)
	return n, p.dir.writing("a transfer can't be kept in the engine directory", err)
}

// Reset forgets what there is. The error is an *Error.
func (p *Part) Reset() error {
	p.size = 0
	return p.dir.writing("a transfer can't be kept in the engine directory", p.file.Truncate(0))
}

// Close leaves what there is for the next run.
func (p *Part) Close() { p.file.Close() }

// KeepParts removes the parts of all other versions of the origin's source, and
// gives how many bytes are left of its own. The error is an *Error.
func (d *Dir) KeepParts(from Origin) (held int64, err error) {
	if err := d.forWriting(); err != nil {
		return 0, err
	}
	err = d.sweep(func(name string) bool { return name != from.dir() && strings.HasPrefix(name, from.prefix()) })
	if err != nil {
		return 0, err
	}
	names, _, err := readNames(d.staging, from.dir(), maxEntries)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	for _, name := range names {
		if info, err := d.staging.Lstat(path.Join(from.dir(), name)); err == nil {
			held += info.Size()
		}
	}
	return held, d.writing("a transfer can't be kept in the engine directory", err)
}

// DropParts removes the parts of all sources. The error is an *Error.
func (d *Dir) DropParts() error {
	if err := d.forWriting(); err != nil {
		return err
	}
	return d.sweep(func(name string) bool { return strings.HasPrefix(name, partPrefix) })
}

// sweep removes what is in .staging and of no use.
func (d *Dir) sweep(useless func(name string) bool) error {
	for complete := false; !complete; {
		names, all, err := readNames(d.staging, ".", maxEntries)
		removed := 0
		for _, name := range names {
			if useless(name) {
				err = errors.Join(err, removeTree(d.staging, name))
				removed++
			}
		}
		if err != nil {
			return d.writing("the leftovers of an earlier run can't be removed", err)
		}
		complete = all || removed == 0
	}
	return nil
}
