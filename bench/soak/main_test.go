package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent/source/apart"
)

// TestMain lets the test binary be the process that reads sources.
func TestMain(m *testing.M) {
	if apart.Started() {
		os.Exit(apart.Serve())
	}
	os.Exit(m.Run())
}

// A bounded share of the soak: the daemon inside of this process, whose goroutines
// and descriptors can be counted. `make soak` has all of it, and the program.
func TestShare(t *testing.T) {
	var out strings.Builder
	if err := run(context.Background(), &out, "", plan{changes: 500, updates: 50}); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "| goroutines |") || strings.Count(out.String(), "\n") != 3+tenths+3 {
		t.Errorf("the table is not one of goroutines:\n%s", out.String())
	}
}

// The program itself, for as long as it takes to see that it is watched at all.
func TestProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "agent")
	if out, err := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-o", program, "../../cmd/agent").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: this user can't build the program (run it as the user who has the Go tool and the modules): %v\n%s", err, out)
	}
	var out strings.Builder
	if err := run(context.Background(), &out, program, plan{changes: 30, updates: 10}); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	if row := regexp.MustCompile(`(?m)^\| 10 \| [1-9]\d{3,} \| [1-9]\d* \| [1-9]\d* \|$`); !row.MatchString(out.String()) {
		t.Errorf("memory, descriptors and threads are not all in the table:\n%s", out.String())
	}
}

// What grows is found, and what only goes up and down is not.
func TestJudge(t *testing.T) {
	t.Parallel()
	steady := func(i int) sample {
		return sample{resident: 15000 + i*7%10*200, descriptors: 11, threads: 8 + min(i/10, 5), goroutines: 7 + i%2*i%3}
	}
	for _, c := range []struct {
		what string
		at   func(i int) sample
		want string // in the error; empty: none
	}{
		{"steady", steady, ""},
		{"a descriptor for a hundred updates", func(i int) sample { s := steady(i); s.descriptors += i / 100; return s }, "descriptors: 11 in the first tenth, 20 in the last"},
		{"a goroutine for a hundred updates", func(i int) sample { s := steady(i); s.goroutines = 7 + i/100; return s }, "goroutines: 7 in the first tenth"},
		{"five KiB for each update", func(i int) sample { s := steady(i); s.resident += 5 * i; return s }, "resident memory, KiB: "},
		{"a thread for a hundred updates", func(i int) sample { s := steady(i); s.threads = 8 + i/100; return s }, "threads: 8 in the first tenth, 17"},
		{"nothing is seen", func(int) sample { return sample{} }, ""},
	} {
		samples := make(curve, 1000)
		for i := range samples {
			samples[i] = c.at(i)
		}
		got := ""
		if err := samples.judge(); err != nil {
			got = err.Error()
		}
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

// Nonsense is refused, and what can't be run is told, with nothing left behind.
func TestRefuses(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	var out strings.Builder
	for _, p := range []plan{{0, 0}, {100, 9}, {9, 10}} {
		if run(context.Background(), &out, "", p) == nil {
			t.Errorf("%+v is accepted", p)
		}
	}
	if err := run(context.Background(), &out, filepath.Join(tmp, "nothing"), plan{10, 10}); err == nil {
		t.Error("a program that does not exist is run")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := run(ctx, &out, "", plan{10_000, 1000}); err == nil {
		t.Error("an interruption is no error")
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A sample that meets the end of an update is not the one that counts.
func TestSettled(t *testing.T) {
	t.Parallel()
	seen := []int{13, 9, 12, 9, 9}
	n := 0
	got, err := settled(func() (sample, error) { n++; return sample{descriptors: seen[n-1]}, nil })
	if err != nil || got.descriptors != 9 {
		t.Errorf("%v, %v", got, err)
	}
}
