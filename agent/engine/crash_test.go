package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
)

// readWhole reads the active set as an engine does: current is resolved once,
// and all else is opened relative to what was found.
func readWhole(dir string) error {
	target, err := os.Readlink(filepath.Join(dir, currentLink))
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(filepath.Join(dir, target))
	if err != nil {
		return err
	}
	defer root.Close()
	signed, err := root.ReadFile(verifier.ListEntry)
	if err != nil {
		return err
	}
	version := strings.TrimPrefix(string(signed), "signed list of ")
	for name, want := range release(version) {
		if got, err := root.ReadFile(name); err != nil || string(got) != want {
			return fmt.Errorf("%s in the set of %s: %d bytes, %w", name, version, len(got), err)
		}
	}
	return nil
}

// TestReadersSeeWholeSets exchanges current thousands of times under readers.
// It runs where syncing costs nothing, as it is about what readers see.
func TestReadersSeeWholeSets(t *testing.T) {
	t.Parallel()
	const swaps, readers = 3000, 3
	top := t.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "engine"); err == nil {
		t.Cleanup(func() { os.RemoveAll(shm) })
		top = shm
	}
	d := open(t, top)
	sets := []Set{install(t, d, "1.0.0.0"), install(t, d, "2.0.0.0")}
	done := make(chan struct{})
	results := make(chan error, readers)
	for range readers {
		go func() {
			reads := 0
			for ; ; reads++ {
				select {
				case <-done:
					results <- nil
					return
				default:
				}
				if err := readWhole(d.Path()); err != nil {
					results <- fmt.Errorf("read %d: %w", reads, err)
					return
				}
			}
		}()
	}
	for i := range swaps {
		if err := d.Activate(sets[i%2]); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	for range readers {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// child is what a killed agent does: it installs two versions in turn, for ever
// or once, each from nothing.
func child(dir string, once bool) error {
	d, err := Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Clean(); err != nil {
		return err
	}
	for i := 0; !once || i < 2; i++ {
		if err := childInstall(d, []string{"1.0.0.0", "2.0.0.0"}[i%2]); err != nil {
			return err
		}
		fmt.Println("installed")
	}
	return nil
}

func childInstall(d *Dir, version string) error {
	s, err := d.Stage(nameFor(version))
	if err != nil {
		return err
	}
	defer s.Discard()
	c := release(version)
	list := &verifier.List{}
	for name := range c {
		if err := s.Write(context.Background(), c.file(name), strings.NewReader(c[name])); err != nil {
			return err
		}
		list.Files = append(list.Files, c.file(name))
	}
	set, err := d.Seal(context.Background(), s, list, signedFor(version))
	if err != nil {
		return err
	}
	if err := d.Activate(set); err != nil {
		return err
	}
	_, err = d.Collect(func(Set) bool { return false })
	return err
}

// TestKilledAtAnyPoint kills an agent at random moments. What readers find is
// whole each time, and the next run finds nothing that it can't put right.
func TestKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	const kills = 25
	dir := filepath.Join(t.TempDir(), "definitions")
	install(t, open(t, dir), "1.0.0.0")
	for range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "ENGINE_TEST_DIR="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if !bufio.NewScanner(out).Scan() { // at work now
			t.Error("the child ended by itself")
		}
		go io.Copy(io.Discard, out)
		time.Sleep(rand.N(30 * time.Millisecond)) // the moment is the point here
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err := readWhole(dir); err != nil {
			t.Fatal(err)
		}
		converges(t, dir)
	}
}

// converges checks that a new run finds order, or makes it.
func converges(t *testing.T, dir string) {
	t.Helper()
	d := open(t, dir)
	if err := d.Clean(); err != nil {
		t.Fatal(err)
	}
	wantEmptyStaging(t, d)
	current, ok, err := d.Current()
	if !ok || err != nil {
		t.Fatalf("Current: %v, %v", ok, err)
	}
	previous, _, err := d.Previous()
	if err != nil || previous == current {
		t.Errorf("previous is %v, current is %v, %v", previous, current, err)
	}
	sets, err := d.Sets()
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range sets {
		version := set.version.String()
		if err := set.Check(t.Context(), release(version).list(t, version).Files); err != nil {
			t.Errorf("%s: %v", set.Name, err)
		}
	}
}

// TestSyncOrder reads from a trace of the system calls what no test of the
// result can show: that nothing is renamed before it is on the disk.
func TestSyncOrder(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIPPED: strace is missing; install Debian's package strace")
	}
	dir := filepath.Join(t.TempDir(), "definitions")
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command(strace, "-f", "-y", "-o", trace, "-e", "trace=fsync,renameat,renameat2", os.Args[0])
	cmd.Env = append(os.Environ(), "ENGINE_TEST_DIR="+dir, "ENGINE_TEST_RUNS=once")
	if out, err := cmd.CombinedOutput(); err != nil {
		if errors.As(err, new(*exec.ExitError)) && strings.Contains(string(out), "ptrace") {
			t.Skipf("SKIPPED: tracing is not allowed here (%s); allow ptrace", strings.TrimSpace(string(out)))
		}
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	got := events(string(data), dir)
	want := []string{
		"sync STAGED/META/package.p7m", "sync STAGED/base.vdm", "sync STAGED/delta.vdm", "sync STAGED/engine.so",
		"sync STAGED/META", "sync STAGED", "sync .staging", "rename " + nameFor("2.0.0.0"), "sync .",
		"rename previous", "rename current", "sync .",
	}
	// The second installation begins after the first one's last sync.
	start := slices.Index(got, "rename current") + 2
	if len(got) < start+len(want) || !slices.Equal(got[start:start+len(want)], want) {
		t.Errorf("the order was\n%s\nwant\n%s", strings.Join(got[min(start, len(got)):], "\n"), strings.Join(want, "\n"))
	}
}

// events are the syncs and renames of a trace, in order; syncs of files, which
// run at the same time, are sorted where they stand together.
func events(trace, dir string) []string {
	var got []string
	for line := range strings.Lines(trace) {
		var event string
		if _, after, ok := strings.Cut(line, "fsync("); ok {
			_, after, _ = strings.Cut(after, "<"+dir)
			name, _, _ := strings.Cut(after, ">")
			event = "sync " + renamed(name)
		} else if fields := strings.Split(line, "\""); strings.Contains(line, "rename") && len(fields) > 3 {
			event = "rename " + fields[3]
		} else {
			continue // the end of a call that was interrupted
		}
		got = append(got, event)
		for i := len(got) - 1; i > 0 && isFileSync(got[i]) && isFileSync(got[i-1]) && got[i] < got[i-1]; i-- {
			got[i], got[i-1] = got[i-1], got[i]
		}
	}
	return got
}

func isFileSync(event string) bool {
	return strings.HasPrefix(event, "sync STAGED/") && event != "sync STAGED/META"
}

// renamed gives the random part of a name below .staging a name that one can
// compare.
func renamed(name string) string {
	parts := strings.Split(strings.TrimPrefix(name, "/"), "/")
	if len(parts) > 1 && parts[0] == stagingDir {
		return strings.Join(append([]string{"STAGED"}, parts[2:]...), "/")
	}
	return filepath.Clean(strings.Join(parts, "/"))
}
