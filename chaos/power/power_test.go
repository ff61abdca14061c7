package power_test

import (
	"bytes"
	"math/rand/v2"
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

// TestCut shows that what was synced survives every cut from then on, whatever the
// disk had in its cache, and that what was not synced need not: with a recording
// that keeps too much, no missing sync could be found.
func TestCut(t *testing.T) {
	lab := newLab(t)
	for _, f := range power.FileSystems() {
		t.Run(f.Name, func(t *testing.T) {
			disk, err := lab.Format(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			m, err := lab.Mount(t.Context(), f, disk)
			if err != nil {
				t.Fatal(err)
			}
			disk.Record()
			write(t, m.Dir, "synced", true)
			synced := disk.Moment()
			write(t, m.Dir, "unsynced", false)
			end := disk.Moment()
			rec := disk.Stop()
			if err := m.Unmount(); err != nil {
				t.Fatal(err)
			}
			if rec.Flushes() == 0 {
				t.Fatal("the file system sent no flush, so its syncs promise nothing")
			}
			lost := 0
			for moment := range end + 1 {
				for _, lose := range []*rand.Rand{nil, rand.New(rand.NewPCG(1, uint64(moment)))} {
					cut, err := lab.Mount(t.Context(), f, rec.At(moment, lose))
					if err != nil {
						t.Fatalf("cut at %d: %v", moment, err)
					}
					got, _ := os.ReadFile(filepath.Join(cut.Dir, "synced"))
					if moment >= synced && !bytes.Equal(got, content) {
						t.Errorf("cut at %d, after the sync at %d: the file is not there as a whole", moment, synced)
					}
					if got, _ := os.ReadFile(filepath.Join(cut.Dir, "unsynced")); !bytes.Equal(got, content) {
						lost++
					}
					if err := cut.Unmount(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if lost == 0 {
				t.Error("a file that nobody synced survived every cut")
			}
		})
	}
}

// TestLosesWrites shows that a cut takes what no flush followed, and nothing else.
func TestLosesWrites(t *testing.T) {
	lab := newLab(t)
	f := power.FileSystems()[0]
	disk, err := lab.Format(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	m, err := lab.Mount(t.Context(), f, disk)
	if err != nil {
		t.Fatal(err)
	}
	disk.Record()
	write(t, m.Dir, "file", false)
	if err := m.Unmount(); err != nil { // which writes everything
		t.Fatal(err)
	}
	rec := disk.Stop()
	cut, err := lab.Mount(t.Context(), f, rec.At(rec.Moments()-1, nil))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(cut.Dir, "file")); err != nil || !bytes.Equal(got, content) {
		t.Errorf("after a clean end: %v, and %d bytes", err, len(got))
	}
	if err := cut.Unmount(); err != nil {
		t.Fatal(err)
	}
}
