// Command cut cuts the power while the agent works: every scenario of package chaos, on
// every file system of package power, at every moment. It prints what it found as
// a part of the certificate. It needs root.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"mdatp-offline-agent/chaos"
	"mdatp-offline-agent/chaos/power"
)

func main() {
	program := flag.String("program", "bin/agent", "the agent")
	seed := flag.Uint64("seed", 1, "of what is chosen and what is lost")
	moments := flag.Int("moments", 0, "how many moments of each run to cut at; 0: all")
	only := flag.String("only", "", "only what is called like that, such as: xfs, delta")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	violations, err := run(ctx, *program, *only, power.Options{Seed: *seed, Moments: *moments})
	if err != nil {
		fmt.Fprintln(os.Stderr, "cut:", err)
		os.Exit(1)
	}
	if violations > 0 {
		os.Exit(2)
	}
}

// sweep is one scenario on one file system.
type sweep struct {
	on     power.FileSystem
	work   chaos.Work
	result power.Result
}

func (s sweep) String() string { return s.on.Name + ", " + s.work.Name }

func run(ctx context.Context, program, only string, o power.Options) (violations int, err error) {
	if err := power.Missing(); err != nil {
		return 0, fmt.Errorf("no power can be cut here: %w", err)
	}
	began := time.Now()
	dir, err := os.MkdirTemp("", "power-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{dir + "/disks", dir + "/works"} {
		if err := os.Mkdir(name, 0o755); err != nil {
			return 0, err
		}
	}
	lab, err := power.NewLab(dir + "/disks")
	if err != nil {
		return 0, err
	}
	works, end, err := chaos.Works(ctx, dir+"/works", program)
	if err != nil {
		return 0, err
	}
	defer end()
	var sweeps []*sweep
	for _, f := range power.FileSystems() {
		for _, w := range works {
			if s := (&sweep{on: f, work: w}); strings.Contains(s.String(), only) {
				sweeps = append(sweeps, s)
			}
		}
	}
	if err := all(ctx, lab, sweeps, o); err != nil {
		return 0, err
	}
	violations = report(os.Stdout, sweeps, o, time.Since(began))
	return violations, lab.Close()
}

// all makes the sweeps, several at a time, since most of one is waiting for disks.
func all(ctx context.Context, lab *power.Lab, sweeps []*sweep, o power.Options) error {
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(2 * runtime.GOMAXPROCS(0))
	for _, s := range sweeps {
		workers.Go(func() (err error) {
			if s.result, err = lab.Sweep(ctx, s.on, power.Job{Prepare: s.work.Prepare, Run: s.work.Run, Check: s.work.Check}, o); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
			fmt.Fprintf(os.Stderr, "%s: %d cuts, %d violations\n", s, s.result.Cuts, len(s.result.Violations))
			return nil
		})
	}
	return workers.Wait()
}

// report writes a part of the certificate, and gives the number of violations.
func report(w io.Writer, sweeps []*sweep, o power.Options, took time.Duration) (violations int) {
	cuts := 0
	var rows strings.Builder
	for _, s := range sweeps {
		r := s.result
		cuts += r.Cuts
		violations += len(r.Violations)
		fmt.Fprintf(&rows, "| %s | %s | %d | %d | %d | %d |\n", s.on.Name, s.work.Name, r.Moments, r.Flushes, r.Cuts, len(r.Violations))
	}
	which := "every moment"
	if o.Moments > 0 {
		which = fmt.Sprintf("%d moments of each run, chosen at random", o.Moments)
	}
	fmt.Fprintf(w, "# Power cuts\n\n| | |\n|---|---|\n| cut at | %s, once with all that was written, once with a part of what was not flushed |\n| seed | %d |\n| cuts | %d |\n| time | %.0f s |\n| **violations** | **%d** |\n\n",
		which, o.Seed, cuts, took.Seconds(), violations)
	fmt.Fprintf(w, "| file system | scenario | moments | flushes | cuts | violations |\n|---|---|--:|--:|--:|--:|\n%s", &rows)
	for _, s := range sweeps {
		for _, v := range s.result.Violations {
			fmt.Fprintf(w, "\nVIOLATION in %s: %s\n", s.work.Name, v)
		}
	}
	return violations
}
