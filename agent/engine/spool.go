package engine

import (
	"crypto/rand"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// spoolStep is for how many bytes at a time a spool of unknown size looks for
// room.
const spoolStep = 16 << 20

// Spool is a nameless file in .staging for bytes that have to be at hand before
// they can be judged. It is gone after Close, and after a crash. It is not safe
// for concurrent writing.
type Spool struct {
	dir     *Dir
	file    *os.File
	written int64
	granted int64 // bytes that there was room for when it was last looked
}

// Spool makes a spool for size bytes, or for an unknown number where size is
// negative. The error is an *Error, disk_full where there is no room for them.
func (d *Dir) Spool(size int64) (*Spool, error) {
	if err := d.forWriting(); err != nil {
		return nil, err
	}
	size = max(size, 0)
	if err := d.Room(size, 1); err != nil {
		return nil, err
	}
	file, err := nameless(d.staging)
	if err != nil {
		return nil, d.writing("a download can't be kept in the engine directory", err)
	}
	return &Spool{dir: d, file: file, granted: size}, nil
}

// nameless opens a file that has no name, or that lost it at once where the
// file system (NFS, for one) knows only files with names.
func nameless(staging *os.Root) (*os.File, error) {
	file, err := staging.OpenFile(".", os.O_RDWR|unix.O_TMPFILE, privateFile)
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) {
		return file, err
	}
	name := rand.Text()
	file, err = staging.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, privateFile)
	if err != nil {
		return nil, err
	}
	if err := staging.Remove(name); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// Write appends. The error is an *Error: disk_full before the reserve of the
// file system is touched.
func (s *Spool) Write(p []byte) (int, error) {
	if missing := s.written + int64(len(p)) - s.granted; missing > 0 {
		step := max(missing, spoolStep)
		if err := s.dir.Room(step, 0); err != nil {
			return 0, err
		}
		s.granted += step
	}
	n, err := s.file.Write(p)
	s.written += int64(n)
	return n, s.dir.writing("a download can't be kept in the engine directory", err)
}

// ReadAt reads back what was written.
func (s *Spool) ReadAt(p []byte, off int64) (int, error) { return s.file.ReadAt(p, off) }

// Close gives the spool and its room back.
func (s *Spool) Close() error { return s.file.Close() }
