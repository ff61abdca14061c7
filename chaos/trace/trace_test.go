package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// roleEnv makes the test binary one of the programs below.
const roleEnv = "TRACE_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		if err := play(role); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play is what a traced program does, in its working directory.
func play(role string) error {
	switch role {
	case "steps":
		if err := os.WriteFile("one", []byte("1"), 0o600); err != nil {
			return err
		}
		if err := os.Rename("one", "two"); err != nil {
			return err
		}
		return os.Mkdir("three", 0o700)
	case "children": // two levels of processes, each with a file of its own
		if err := os.WriteFile("parent", nil, 0o600); err != nil {
			return err
		}
		cmd := exec.Command("/bin/sh", "-c", `: > child; sh -c ': > grandchild'; : > late`)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return os.WriteFile("last", nil, 0o600)
	case "threads":
		errs := make(chan error)
		for i := range 8 {
			go func() {
				var err error
				for n := range 50 {
					err = errors.Join(err, os.WriteFile(fmt.Sprintf("%d-%d", i, n), nil, 0o600))
				}
				errs <- err
			}()
		}
		var all []error
		for range 8 {
			all = append(all, <-errs)
		}
		return errors.Join(all...)
	case "sleep":
		if err := os.WriteFile("begun", nil, 0o600); err != nil {
			return err
		}
		return exec.Command("/bin/sh", "-c", "sleep 1000 & sleep 1000").Run()
	case "orphan": // it leaves another process behind
		return exec.Command("/bin/sleep", "1000").Start()
	}
	return fmt.Errorf("no such role: %s", role)
}

// traced is a program in a directory of its own, and the points that it had there.
type traced struct {
	dir    string
	points []string
	after  []string
	out    string
	end    End
}

func start(t *testing.T, ctx context.Context, role string, before func(dir string, p Point) Action) *traced {
	t.Helper()
	r := &traced{dir: t.TempDir()}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r.end, err = Run(ctx, Command{
		Path: "/proc/self/exe", Args: []string{"role"}, Env: append(os.Environ(), roleEnv+"="+role, "GOMAXPROCS=2"), Dir: r.dir, Stdout: out, Stderr: out,
		Kind: func(c Call) string {
			if below, ok := strings.CutPrefix(c.Path, r.dir+"/"); ok {
				return below
			}
			return ""
		},
		Before: func(p Point) Action {
			r.points = append(r.points, p.Name())
			if before == nil {
				return Action{}
			}
			return before(r.dir, p)
		},
		After: func(p Point, errno syscall.Errno) { r.after = append(r.after, fmt.Sprintf("%s %d", p.Name(), errno)) },
	})
	if errors.Is(err, ErrUnsupported) {
		t.Skipf("SKIPPED: %v; allow ptrace, on amd64 or arm64", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if r.end.Points != len(r.points) {
		t.Errorf("%d points were counted, %d were stopped at", r.end.Points, len(r.points))
	}
	said, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	r.out = string(said)
	return r
}

func (r *traced) names(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// at finds the named point and does something there.
func at(name string, a Action) func(string, Point) Action {
	return func(_ string, p Point) Action {
		if p.Name() == name {
			return a
		}
		return Action{}
	}
}

var steps = []string{"openat one 1", "write one 1", "close one 1", "renameat two 1", "mkdirat three 1"}

func TestPointsAreNamedInOrder(t *testing.T) {
	t.Parallel()
	r := start(t, t.Context(), "steps", nil)
	if r.end.Exit != 0 || r.end.Signal != 0 {
		t.Errorf("it ended with %+v: %s", r.end, r.out)
	}
	// Go may look whether a file can be waited for; that belongs to the library.
	got := slices.DeleteFunc(r.points, func(p string) bool { return strings.HasPrefix(p, "newfstatat") || strings.HasPrefix(p, "fstat") })
	if !slices.Equal(got, steps) {
		t.Errorf("the points were %q, want %q", got, steps)
	}
}

func TestKilledBeforeACall(t *testing.T) {
	t.Parallel()
	want := map[string][]string{steps[0]: nil, steps[1]: {"one"}, steps[3]: {"one"}, steps[4]: {"two"}}
	for point, names := range want {
		r := start(t, t.Context(), "steps", at(point, Kill()))
		if !r.end.Killed || r.end.Signal != syscall.SIGKILL || r.points[len(r.points)-1] != point {
			t.Errorf("killed at %s, it ended with %+v after %q", point, r.end, r.points)
		}
		if got := r.names(t); !slices.Equal(got, names) {
			t.Errorf("killed before %s, there is %q, want %q", point, got, names)
		}
	}
}

func TestFailedCalls(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		point  string
		action Action
		says   string
		names  []string
	}{
		{"openat one 1", Fail(syscall.EROFS), "read-only file system", nil},
		{"write one 1", Fail(syscall.ENOSPC), "no space left on device", []string{"one"}},
		{"renameat two 1", Fail(syscall.EIO), "input/output error", []string{"one"}},
		{"renameat two 1", FailAfter(syscall.EIO), "input/output error", []string{"two"}},
		{"openat one 1", Fail(syscall.EINTR), "", []string{"three", "two"}}, // Go calls again
	} {
		r := start(t, t.Context(), "steps", at(c.point, c.action))
		if !strings.Contains(r.out, c.says) || (r.end.Exit == 0) != (c.says == "") {
			t.Errorf("%s failed with %q, and the program ended with %+v: %s", c.point, c.says, r.end, r.out)
		}
		if got := r.names(t); !slices.Equal(got, c.names) {
			t.Errorf("%s failed, and there is %q, want %q", c.point, got, c.names)
		}
		if c.says != "" && !slices.Contains(r.after, fmt.Sprintf("%s %d", c.point, c.action.errno)) {
			t.Errorf("%s failed, and what was seen behind the calls was %q", c.point, r.after)
		}
	}
}

// One count goes over all processes, and a kill ends all of them.
func TestChildrenAreFollowed(t *testing.T) {
	t.Parallel()
	r := start(t, t.Context(), "children", nil)
	if r.end.Exit != 0 {
		t.Fatalf("it ended with %+v: %s", r.end, r.out)
	}
	order := []string{"parent", "child", "grandchild", "late", "last"}
	var opened []string
	for _, p := range r.points {
		if f := strings.Fields(p); strings.HasPrefix(f[0], "open") {
			opened = append(opened, f[1])
		}
	}
	if !slices.Equal(opened, order) {
		t.Errorf("opened were %q, want %q", opened, order)
	}
	for _, name := range []string{"openat grandchild 1", "openat late 1"} {
		r := start(t, t.Context(), "children", at(name, Kill()))
		if !r.end.Killed {
			t.Fatalf("%s was not reached: %q", name, r.points)
		}
		// Were one left alive, it would go on to make the next.
		if got := r.names(t); slices.Contains(got, strings.Fields(name)[1]) || slices.Contains(got, "last") {
			t.Errorf("killed at %s, there is %q", name, got)
		}
	}
}

// A child that is killed alone leaves the others alive.
func TestChildrenAreKilledAlone(t *testing.T) {
	t.Parallel()
	children := map[string]bool{}
	r := start(t, t.Context(), "children", func(_ string, p Point) Action {
		children[p.Kind] = p.Child
		if p.Name() == "openat grandchild 1" {
			return KillAlone()
		}
		return Action{}
	})
	if r.end.Killed || r.end.Exit != 0 {
		t.Errorf("it ended with %+v: %s", r.end, r.out)
	}
	if got := r.names(t); !slices.Equal(got, []string{"child", "last", "late", "parent"}) {
		t.Errorf("the grandchild was killed, and there is %q", got)
	}
	if children["parent"] || children["last"] || !children["child"] || !children["grandchild"] {
		t.Errorf("children are %v", children)
	}
	if r := start(t, t.Context(), "steps", at(steps[3], KillAlone())); !r.end.Killed || r.end.Signal != syscall.SIGKILL {
		t.Errorf("the program itself was killed, and it ended with %+v", r.end)
	}
}

func TestThreadsAreCountedTogether(t *testing.T) {
	t.Parallel()
	r := start(t, t.Context(), "threads", nil)
	opened := slices.DeleteFunc(r.points, func(p string) bool { return !strings.HasPrefix(p, "openat") })
	if r.end.Exit != 0 || len(opened) != 400 {
		t.Errorf("%d files were opened, and it ended with %+v: %s", len(opened), r.end, r.out)
	}
	if got := len(r.names(t)); got != 400 {
		t.Errorf("there are %d files", got)
	}
}

// A program that hangs ends with the context, and so does what it started.
func TestEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := start(t, ctx, "sleep", func(_ string, p Point) Action {
		if p.Call.Name == "close" {
			cancel()
		}
		return Action{}
	})
	if !r.end.Expired || r.end.Signal != syscall.SIGKILL {
		t.Errorf("it ended with %+v", r.end)
	}
}

// So does what outlives its parent.
func TestOrphansEndWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if r := start(t, ctx, "orphan", nil); !r.end.Expired {
		t.Errorf("it ended with %+v", r.end)
	}
}

func TestProgramThatIsNotThere(t *testing.T) {
	t.Parallel()
	_, err := Run(t.Context(), Command{Path: filepath.Join(t.TempDir(), "none"), Kind: func(Call) string { return "" }})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}

// Whoever traces has other children, too, and these are not the tracer's.
func TestOtherChildrenAreLeftAlone(t *testing.T) {
	t.Parallel()
	other := exec.Command("/bin/cat")
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 5 {
			if out, err := exec.Command("/bin/true").CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}
	}()
	for range 5 {
		start(t, t.Context(), "steps", nil)
	}
	<-done
	_, _ = io.WriteString(in, "x")
	in.Close()
	if err := other.Wait(); err != nil {
		t.Error(err)
	}
}
