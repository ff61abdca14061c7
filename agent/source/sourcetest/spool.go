package sourcetest

import (
	"os"
	"sync/atomic"

	"mdatp-offline-agent/agent/source"
)

// Spools makes spools that are files in a directory. Its zero value is not
// ready: Dir must be set.
type Spools struct {
	Dir  string
	open atomic.Int64
}

// New makes a spool, in the form that source.HTTPConfig wants. Closing the spool
// removes its file.
func (s *Spools) New(int64) (source.Spool, error) {
	f, err := os.CreateTemp(s.Dir, "spool-*")
	if err != nil {
		return nil, err
	}
	s.open.Add(1)
	return &fileSpool{File: f, open: &s.open}, nil
}

// Open is how many spools were made and not yet closed.
func (s *Spools) Open() int64 { return s.open.Load() }

type fileSpool struct {
	*os.File
	open *atomic.Int64
}

// Close removes the file.
func (f *fileSpool) Close() error {
	f.open.Add(-1)
	os.Remove(f.Name())
	return f.File.Close()
}
