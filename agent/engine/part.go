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
}

// Part opens what there is of a stretch of a package, called name. version names
// the package's bytes: another version has other parts. A part that is larger than limit
// bytes can't be one and is begun anew. The caller closes it.
func (d *Dir) Part(version, name string, limit int64) (*Part, error) {
	if err := d.forWriting(); err != nil {
		return nil, err
	}
	if !verifier.ValidName(name) {
		return nil, &Error{Code: InstallFailed, Sentence: "a file can't have this name", Hint: faultHint}
	}
	dir := partDir(version)
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

// partDir is the name of the directory of a version's parts.
func partDir(version string) string {
	sum := sha256.Sum256([]byte(version))
	return partPrefix + hex.EncodeToString(sum[:16])
}

// Size is how many bytes there are.
func (p *Part) Size() int64 { return p.size }

// Reader reads what there is at the moment, from its beginning.
func (p *Part) Reader() io.Reader { return io.NewSectionReader(p.file, 0, p.size) }

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

// KeepParts removes the parts of all versions but one; of all, where version is
// empty. The error is an *Error.
func (d *Dir) KeepParts(version string) error {
	if err := d.forWriting(); err != nil {
		return err
	}
	keep := ""
	if version != "" {
		keep = partDir(version)
	}
	return d.sweep(func(name string) bool { return name != keep && strings.HasPrefix(name, partPrefix) })
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
