package state

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// The record of runs that were cut short, and its own lock. Who found another run at
// work has no right to write to the status, which that one will replace.
const (
	cutShortFile = "cut-short.json"
	cutShortLock = "cut-short.lock"
)

// CutShort gives the runs that were interrupted, or found another one at work. Any
// user may ask; a record that can't be read counts as none.
func (s *Store) CutShort() (runs Runs) {
	data, err := readFile(filepath.Join(s.dir, cutShortFile))
	if err != nil || json.Unmarshal(data, &runs) != nil {
		return nil
	}
	return runs
}

// NoteCutShort adds a run to them. The lock of an update is neither needed nor taken.
func (s *Store) NoteCutShort(run Run, now time.Time) error {
	// Not the run's own context, which has ended.
	lock, err := s.take(context.Background(), cutShortLock, 0, now, holder{"is writing to the record of runs", "nothing has to be done"})
	if err != nil {
		return err
	}
	defer lock.Unlock() // which the end of the process does, too
	leftovers, _ := filepath.Glob(filepath.Join(s.dir, "."+cutShortFile+"*"))
	for _, path := range leftovers { // of one who was killed in between
		_ = os.Remove(path)
	}
	return s.write(cutShortFile, s.CutShort().With(run), 0o644)
}
