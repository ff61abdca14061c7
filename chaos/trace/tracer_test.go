//go:build linux && (amd64 || arm64)

package trace

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A kernel that can filter calls does so, or each run would take twice as long; and
// one that can't gives the same points.
func TestFilter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var names [2][]string
	for i, coarse := range []bool{false, true} {
		tr := &tracer{calls: callsByNumber(), threads: map[int]*thread{}, seen: map[string]int{}, coarse: coarse, Command: Command{
			Path: "/bin/sh", Args: []string{"sh", "-c", "cat x >y; mv y z"}, Env: []string{"PATH=/usr/bin:/bin"}, Dir: dir,
			Kind:   func(c Call) string { return strings.TrimPrefix(c.Path, dir+"/") },
			Before: func(p Point) Action { names[i] = append(names[i], p.Name()); return Action{} },
		}}
		if err := os.WriteFile(filepath.Join(dir, "x"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		onThreadWithoutChildren(func() { done <- tr.run(t.Context()) })
		if err := <-done; errors.Is(err, ErrUnsupported) {
			t.Skipf("SKIPPED: %v; allow ptrace, on amd64 or arm64", err)
		} else if err != nil {
			t.Fatal(err)
		}
		if tr.coarse != coarse {
			t.Errorf("this kernel gives no filter")
		}
		if err := os.Remove(filepath.Join(dir, "z")); err != nil {
			t.Fatal(err)
		}
	}
	if len(names[0]) < 20 || !slices.Equal(names[0], names[1]) {
		t.Errorf("with a filter the points are\n%q, and without\n%q", names[0], names[1])
	}
}
