package chaos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"mdatp-offline-agent/chaos/invariant"
	"mdatp-offline-agent/chaos/trace"
)

// bench is a place for one run at a time.
type bench struct {
	*lab
	dir string // of its own
}

func (b *bench) root() string   { return filepath.Join(b.dir, "root") }
func (b *bench) output() string { return filepath.Join(b.dir, "output") }

// set puts a fresh copy of the scenario's machine in place.
func (b *bench) set(s *start) error {
	if err := os.RemoveAll(b.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(b.output(), 0o755); err != nil {
		return err
	}
	return copyTree(s.root, b.root())
}

// traced runs the scenario's command with a decision at each point, and checks at
// each what readers would find. err is a violation.
func (b *bench) traced(ctx context.Context, s *start, at func(trace.Point) trace.Action) (end trace.End, e ending, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stdout, err := os.Create(filepath.Join(b.output(), "stdout"))
	if err != nil {
		return end, e, err
	}
	defer stdout.Close()
	stderr, err := os.Create(filepath.Join(b.output(), "stderr"))
	if err != nil {
		return end, e, err
	}
	defer stderr.Close()
	w := &watch{root: b.root(), published: s.published}
	k := kinds{program: b.program, root: b.root(), output: b.output()}
	end, err = trace.Run(ctx, trace.Command{
		Path: b.program, Args: append([]string{b.program}, arguments(b.root(), s.command)...), Env: environment(), Stdout: stdout, Stderr: stderr,
		Kind:   k.of,
		Before: func(p trace.Point) trace.Action { w.look("before", p); return at(p) },
		After:  func(p trace.Point, _ syscall.Errno) { w.look("after", p) },
	})
	switch {
	case err != nil:
		return end, e, err
	case w.violation != nil:
		return end, e, w.violation
	case end.Killed:
		return end, e, nil
	case end.Expired:
		return end, e, errors.New("the program hangs")
	case end.Signal != 0:
		return end, e, fmt.Errorf("the program was ended by %s", end.Signal)
	}
	said, err := os.ReadFile(stdout.Name())
	if err != nil {
		return end, e, err
	}
	complained, err := os.ReadFile(stderr.Name())
	if err != nil {
		return end, e, err
	}
	e, err = endingOf(end.Exit, said, complained)
	return end, e, err
}

// watch is a reader that looks at each stop.
type watch struct {
	root      string
	published []invariant.Publication
	links     invariant.Links
	records   [len(recordFiles)]stamp
	violation error // the first
}

// recordFiles must be JSON at every moment.
var recordFiles = [...]string{"state.json", "status.json"}

// stamp tells one file of a name from the next.
type stamp struct {
	inode uint64
	size  int64
	at    time.Time
}

// look checks what has changed since the last look.
func (w *watch) look(when string, p trace.Point) {
	if w.violation != nil {
		return
	}
	if err := w.changed(); err != nil {
		w.violation = fmt.Errorf("%s %s, readers see that %w", when, p.Name(), err)
	}
}

func (w *watch) changed() error {
	engine := filepath.Join(w.root, engineDir)
	links, err := invariant.ReadLinks(engine)
	if err != nil {
		return err
	}
	if links != w.links {
		if w.links.Current != "" && links.Current == "" {
			return errors.New("current is gone")
		}
		if err := invariant.CheckLinks(engine, links, w.published); err != nil {
			return err
		}
		w.links = links
	}
	for i, name := range recordFiles {
		path := filepath.Join(w.root, stateDir, name)
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		now := stamp{info.Sys().(*syscall.Stat_t).Ino, info.Size(), info.ModTime()}
		if now == w.records[i] {
			continue
		}
		if err := invariant.CheckRecord(path); err != nil {
			return err
		}
		w.records[i] = now
	}
	return nil
}

// count is a run without a fault, which gives the points.
func (b *bench) count(ctx context.Context, s *start) (points []trace.Point, err error) {
	if err := b.set(s); err != nil {
		return nil, err
	}
	_, e, err := b.traced(ctx, s, func(p trace.Point) trace.Action {
		points = append(points, p)
		return trace.Action{}
	})
	if err == nil && !slices.Contains(s.ends, e.code) {
		err = fmt.Errorf("it ended with %d %s", e.exit, e.code)
	}
	if err == nil {
		err = b.atRest(s)
	}
	return points, err
}

// try is one run with a fault at the named point, and what must hold after it.
// reached is false where the run had no such point. A violation is what did not hold;
// the error is about this harness.
func (b *bench) try(ctx context.Context, s *start, point string, f fault) (reached bool, violation, err error) {
	if err := b.set(s); err != nil {
		return false, nil, err
	}
	silenced := false // it could not say how it ended
	end, e, violation := b.traced(ctx, s, func(p trace.Point) trace.Action {
		if reached || p.Name() != point {
			return trace.Action{}
		}
		reached = true
		silenced = f.errno != 0 && p.Kind == "output"
		return f.action()
	})
	if !reached || violation != nil && !(silenced && end.Signal == 0) {
		return reached, violation, ctx.Err()
	}
	if violation = b.between(s, !end.Killed && !silenced && end.Exit == 0); violation == nil {
		violation = b.converges(ctx, s)
	}
	if violation != nil && !end.Killed {
		violation = fmt.Errorf("it ended with %d %s; %w", end.Exit, e.code, violation)
	}
	return true, violation, ctx.Err()
}

// between checks what must hold after a run that was killed or disturbed. One that
// said that it worked must have.
func (b *bench) between(s *start, worked bool) error {
	engine := filepath.Join(b.root(), engineDir)
	links, err := invariant.ReadLinks(engine)
	if err == nil {
		err = invariant.CheckLinks(engine, links, s.published)
	}
	if err == nil && worked {
		err = s.leadsTo(links)
	}
	return err
}

// converges runs the command once more, without help, and checks where that leads.
func (b *bench) converges(ctx context.Context, s *start) error {
	if err := b.leads(ctx, s, s.command, s.ends); err != nil {
		return fmt.Errorf("the next run: %w", err)
	}
	if s.later == nil {
		return nil
	}
	if err := b.leads(ctx, s, s.later, s.laterEnds); err != nil {
		return fmt.Errorf("%q after it: %w", s.later, err)
	}
	return nil
}

// leads runs a command, which must end with one of these codes, and checks that
// the machine is at rest where the scenario leads.
func (b *bench) leads(ctx context.Context, s *start, command, ends []string) error {
	e, err := b.runPlain(ctx, b.root(), command)
	if err != nil {
		return err
	}
	if !slices.Contains(ends, e.code) {
		return fmt.Errorf("it ended with %d %s", e.exit, e.code)
	}
	return b.atRest(s)
}

// atRest checks a machine on which the scenario has come to its end.
func (b *bench) atRest(s *start) error {
	engine := filepath.Join(b.root(), engineDir)
	versions, err := invariant.CheckAll(engine, s.published)
	if err != nil {
		return err
	}
	if !slices.Equal(versions, s.versions()) {
		return fmt.Errorf("installed are %q, not %q", versions, s.versions())
	}
	links, err := invariant.ReadLinks(engine)
	if err == nil {
		err = s.leadsTo(links)
	}
	if err == nil && links.Current == links.Previous {
		err = errors.New("previous is the same as current")
	}
	for _, name := range recordFiles {
		path := filepath.Join(b.root(), stateDir, name)
		if _, missing := os.Stat(path); missing != nil {
			err = errors.Join(err, missing)
		}
		err = errors.Join(err, invariant.CheckRecord(path))
	}
	return errors.Join(err, onlyIn(filepath.Join(b.root(), stateDir), "definitions.noindex", "last-good", "lock", "state.json", "status.json"),
		onlyIn(filepath.Join(b.root(), stateDir, "last-good"), "managed.json"))
}

// onlyIn checks that nothing but this is in a directory.
func onlyIn(dir string, names ...string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains(names, e.Name()) {
			return fmt.Errorf("%s is left in %s", e.Name(), filepath.Base(dir))
		}
	}
	return nil
}
