package chaos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// tries is how often a run is begun anew in which threads took such turns that the
// point did not come.
const tries = 8

// workDir is the name of the directory that a sweep works in.
const workDir = "agent-selftest"

// Options say what to sweep, and where.
type Options struct {
	Dir     string        // of which the file system is looked at; the sweep works in a new directory agent-selftest below it, and removes that
	Program string        // the agent
	Version string        // of the program
	Vendor  *Vendor       // sweep the scenarios of the profiles that ask for this one; nil: the others
	Points  int           // how many kills, and how many faults, chosen at random; 0: all
	Seed    uint64        // of the choice
	Within  time.Duration // begin no more runs after that long; 0: make all
	Only    string        // do only what is called like that, such as: full, EIO at fsync set-dir 1
	// Progress is told how many of the runs are done, and Found of each violation,
	// one call at a time.
	Progress func(done, all int)
	Found    func(Violation)
}

// task is one run to be made.
type task struct {
	start *start
	point string
	fault fault
}

// String is how a run is called in a certificate.
func (t task) String() string { return fmt.Sprintf("%s, %s at %s", t.start.name, t.fault, t.point) }

// ErrWithoutFault says that some command does not do what it must even where
// nothing is done to it.
var ErrWithoutFault = errors.New("a run without a fault fails")

// ErrForeign says that another user could exchange what a sweep works on.
var ErrForeign = errors.New("another user has power over the directory")

// own refuses a directory in which, or on the way to which, another user could put
// something else in the place of what a sweep writes and removes, by its name.
func own(dir string) error {
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		owner, mode := int(info.Sys().(*syscall.Stat_t).Uid), info.Mode()
		if owner != 0 && owner != os.Geteuid() || mode.Perm()&0o022 != 0 && mode&fs.ModeSticky == 0 {
			return fmt.Errorf("%w: %s, of uid %d, has the mode %s", ErrForeign, dir, owner, mode)
		}
		if dir == "/" {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// ErrNoRuns says that no run is called as Options.Only has it.
var ErrNoRuns = errors.New("no run is called like that")

// Sweep makes all runs, or a sample of them. Violations are in the certificate,
// and are no error; that is trace.ErrUnsupported where nothing can be traced,
// fs.ErrExist where an earlier sweep left its directory behind, ErrForeign, ErrWithoutFault,
// ErrNoRuns, or what else kept the sweep from being made.
func Sweep(ctx context.Context, o Options) (Certificate, error) {
	began := time.Now()
	dir, err := filepath.EvalSymlinks(o.Dir)
	if err != nil {
		return Certificate{}, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return Certificate{}, err
	}
	if o.Program, err = filepath.EvalSymlinks(o.Program); err != nil { // as the kernel names it
		return Certificate{}, err
	}
	if err := own(dir); err != nil {
		return Certificate{}, err
	}
	dir = filepath.Join(dir, workDir)
	if err := makeDir(dir, 0o755); err != nil {
		return Certificate{}, err
	}
	defer os.RemoveAll(dir)
	l, err := newLab(dir, o.Program, o.Vendor)
	if err != nil {
		return Certificate{}, err
	}
	defer l.close()
	all, leftOut := l.offered(ctx)
	all = slices.DeleteFunc(all, func(s scenario) bool { return !s.mayBe(o.Only) })
	s := &sweep{lab: l, certificate: newCertificate(o, dir), reached: map[place]bool{}}
	starts, err := l.prepareAll(ctx, all)
	if err != nil {
		return Certificate{}, fmt.Errorf("%w: %w", ErrWithoutFault, err)
	}
	kills, faults, err := s.count(ctx, starts)
	if err != nil {
		return Certificate{}, fmt.Errorf("%w: %w", ErrWithoutFault, err)
	}
	random := rand.New(rand.NewPCG(o.Seed, 0))
	other := func(t task) bool { return !strings.Contains(t.String(), o.Only) }
	kills, faults = slices.DeleteFunc(kills, other), slices.DeleteFunc(faults, other)
	tasks := sample(random, append(sample(random, kills, o.Points), sample(random, faults, o.Points)...), 0) // mixed, should there not be time for all
	if len(tasks) == 0 {
		return Certificate{}, ErrNoRuns
	}
	if err := s.runAll(ctx, tasks, o); err != nil {
		return Certificate{}, err
	}
	s.noteUnreached()
	c := s.certificate
	c.OpenSSL, c.LeftOut = l.openssl, leftOut
	c.Seconds = time.Since(began).Seconds()
	return c, nil
}

// mayBe tells whether a run of a scenario may be what Options.Only means, of which what
// is before a comma is the name of a scenario. Others need not be got ready and counted.
func (s scenario) mayBe(only string) bool {
	name, _, whole := strings.Cut(only, ", ")
	return !whole || s.name == name
}

// sweep is one sweep under way.
type sweep struct {
	*lab

	mu          sync.Mutex
	certificate Certificate
	reached     map[place]bool // the points that were tried; true: a run came there
	done        int
}

// place is a point of a scenario.
type place struct{ scenario, point string }

// count lists the points of each scenario, and everything that can be done there.
func (s *sweep) count(ctx context.Context, starts []*start) (kills, faults []task, err error) {
	b := &bench{lab: s.lab, dir: filepath.Join(s.dir, "run-0")}
	for _, start := range starts {
		points, err := b.count(ctx, start)
		if err != nil {
			return nil, nil, fmt.Errorf("the scenario %s: %w", start.name, err)
		}
		s.certificate.Scenarios = append(s.certificate.Scenarios, Scenario{Name: start.name, Points: len(points), Faults: map[string]int{}, NotReached: []string{}})
		for _, p := range points {
			kills = append(kills, task{start, p.Name(), fault{}})
			for _, f := range faultsOf(p) {
				faults = append(faults, task{start, p.Name(), f})
			}
		}
	}
	return kills, faults, nil
}

// sample gives n tasks chosen at random, or all of them where n is 0.
func sample(random *rand.Rand, tasks []task, n int) []task {
	random.Shuffle(len(tasks), func(i, j int) { tasks[i], tasks[j] = tasks[j], tasks[i] })
	if n == 0 {
		return tasks
	}
	return tasks[:min(n, len(tasks))]
}

// runAll makes the runs, several at a time, since many wait: for a server to be
// tried again, or a hook.
func (s *sweep) runAll(ctx context.Context, tasks []task, o Options) error {
	todo := make(chan task)
	workers, ctx := errgroup.WithContext(ctx)
	var enough <-chan time.Time // never
	if o.Within > 0 {
		enough = time.After(o.Within)
	}
	workers.Go(func() error {
		defer close(todo)
		for _, t := range tasks {
			select {
			case todo <- t:
			case <-enough:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for i := range 2 * runtime.GOMAXPROCS(0) {
		b := &bench{lab: s.lab, dir: filepath.Join(s.dir, fmt.Sprintf("run-%d", i))}
		workers.Go(func() error {
			for t := range todo {
				began := time.Now()
				reached, violation, err := b.insist(ctx, t)
				if err != nil {
					return err
				}
				s.mu.Lock()
				s.note(t, reached, violation, time.Since(began), o.Found)
				s.done++
				o.Progress(s.done, len(tasks))
				s.mu.Unlock()
			}
			return nil
		})
	}
	return workers.Wait()
}

// insist tries again where the point was not reached.
func (b *bench) insist(ctx context.Context, t task) (reached bool, violation, err error) {
	for range tries {
		reached, violation, err = b.try(ctx, t.start, t.point, t.fault)
		if reached || violation != nil || err != nil {
			break
		}
	}
	return reached, violation, err
}

// note enters a run into the certificate. The caller holds the lock.
func (s *sweep) note(t task, reached bool, violation error, took time.Duration, found func(Violation)) {
	c := &s.certificate
	in := &c.Scenarios[slices.IndexFunc(c.Scenarios, func(x Scenario) bool { return x.Name == t.start.name })]
	in.Seconds += took.Seconds()
	at := place{t.start.name, t.point}
	s.reached[at] = s.reached[at] || reached
	switch {
	case !reached:
		in.Missed++
	case t.fault.kills():
		in.Kills++
	default:
		in.Faults[t.fault.String()]++
	}
	if violation != nil {
		in.Violations++
		v := Violation{t.String(), violation.Error()}
		c.Violations = append(c.Violations, v)
		found(v)
	}
}

// noteUnreached enters the points that were tried in vain.
func (s *sweep) noteUnreached() {
	for i := range s.certificate.Scenarios {
		in := &s.certificate.Scenarios[i]
		for at, reached := range s.reached {
			if at.scenario == in.Name && !reached {
				in.NotReached = append(in.NotReached, at.point)
			}
		}
		slices.Sort(in.NotReached)
	}
}
