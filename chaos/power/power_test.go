package power_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"mdatp-offline-agent/chaos/power"
)

// content is larger than what file systems keep beside a name.
var content = bytes.Repeat([]byte("definitions"), 10_000)

// write makes a file, and syncs it and its directory where that is wanted.
func write(t *testing.T, dir, name string, sync bool) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if !sync {
		return
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, f := range []*os.File{f, d} {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

// newLab makes a lab, or says loudly what it lacks.
func newLab(t *testing.T) *power.Lab {
	t.Helper()
	if err := power.Missing(); err != nil {
		t.Skipf("SKIPPED: no power can be cut here: %v", err)
	}
	lab, err := power.NewLab(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	return lab
}

// TestSweep shows that what was synced survives every cut from then on, whatever
// the disk had in its cache, and that what was not synced need not: with a
// recording that keeps too much, no missing sync could be found.
func TestSweep(t *testing.T) {
	lab := newLab(t)
	for _, f := range power.FileSystems() {
		for _, synced := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, synced %v", f.Name, synced), func(t *testing.T) {
				var atTheEnd int
				r, err := lab.Sweep(t.Context(), f, power.Job{
					Prepare: func(_ context.Context, dir string) error { write(t, dir, "before", false); return nil },
					Run:     func(_ context.Context, dir string) error { write(t, dir, "file", synced); return nil },
					Check: func(_ context.Context, dir string, done bool) error {
						if done {
							atTheEnd++
						}
						if !whole(dir, "before") || done && !whole(dir, "file") {
							return errors.New("a file is not there as a whole")
						}
						return nil
					},
				}, power.Options{Seed: 1})
				if err != nil {
					t.Fatal(err)
				}
				if synced && (len(r.Violations) > 0 || r.Flushes == 0) {
					t.Errorf("what was synced did not survive: %+v", r)
				}
				if !synced && len(r.Violations) != atTheEnd {
					t.Errorf("of %d cuts after a write that nobody synced, %d were noticed", atTheEnd, len(r.Violations))
				}
				if r.Cuts != 2*r.Moments || atTheEnd == 0 {
					t.Errorf("%d cuts at %d moments, %d of them at the end", r.Cuts, r.Moments, atTheEnd)
				}
			})
		}
	}
}

// whole tells whether a file is there as it was written.
func whole(dir, name string) bool {
	got, err := os.ReadFile(filepath.Join(dir, name))
	return err == nil && bytes.Equal(got, content)
}

// TestKeepsWrites shows that a cut without losses has all that was written.
func TestKeepsWrites(t *testing.T) {
	lab := newLab(t)
	f := power.FileSystems()[0]
	disk, err := lab.Format(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := lab.Directory()
	if err != nil {
		t.Fatal(err)
	}
	m, err := lab.Mount(t.Context(), f, disk, dir)
	if err != nil {
		t.Fatal(err)
	}
	disk.Record()
	write(t, m.Dir, "file", false)
	if err := m.Unmount(); err != nil { // which writes everything
		t.Fatal(err)
	}
	rec := disk.Stop()
	cut, err := lab.Mount(t.Context(), f, rec.At(rec.Moments()-1, nil), dir)
	if err != nil {
		t.Fatal(err)
	}
	if !whole(cut.Dir, "file") {
		t.Error("a clean end lost a file")
	}
	if err := cut.Unmount(); err != nil {
		t.Fatal(err)
	}
}
