package chaos

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	limited, cancel := context.WithTimeout(ctx, b.limit)
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
	w := &watch{root: b.root(), start: s, links: map[string]invariant.Links{}}
	k := kinds{program: b.program, root: b.root(), output: b.output()}
	end, err = trace.Run(limited, trace.Command{
		Path: b.program, Args: arguments(b.root(), s.command), Env: environment(), Stdout: stdout, Stderr: stderr,
		Kind:   k.of,
		Before: func(p trace.Point) trace.Action { w.look("before", p); return at(p) },
		After: func(p trace.Point, _ syscall.Errno) { // of what can change the links, while its thread still stands there
			if strings.Contains(p.Call.Name, "name") || strings.Contains(p.Call.Name, "link") {
				w.look("after", p)
			}
		},
	})
	switch {
	case err != nil:
		return end, e, err
	case ctx.Err() != nil:
		return end, e, ctx.Err()
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
	start     *start
	links     map[string]invariant.Links // by the engine directory
	records   [len(recordFiles)]stamp
	violation error // the first
}

// recordFiles must be JSON at every moment, and the first must not forget what was
// accepted.
var recordFiles = [...]string{stateFile, statusFile}

const (
	stateFile  = "state.json"
	statusFile = "status.json"
)

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
	places, err := engines(w.root)
	if err != nil {
		return err
	}
	for _, engine := range places {
		links, err := invariant.ReadLinks(engine)
		if err != nil {
			return err
		}
		if before, looked := w.links[engine]; looked && links == before {
			continue
		}
		if err := w.start.meanwhile(engine, links); err != nil {
			return err
		}
		w.links[engine] = links
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
		if err := w.start.recorded(path); err != nil {
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
	if err == nil && !slices.Contains(s.ends, e.code()) {
		err = fmt.Errorf("it ended with %d %s", e.exit, e.code())
	}
	if err == nil {
		err = b.atRest(s, e, false)
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
	silenced := false // it can't be held to say how it ended
	end, e, violation := b.traced(ctx, s, func(p trace.Point) trace.Action {
		if reached || p.Name() != point {
			return trace.Action{}
		}
		reached = true
		silenced = f.errno != 0 && p.Kind == "output"
		return f.action()
	})
	if !reached || violation != nil && !(silenced && forgiven(violation)) {
		return reached, violation, ctx.Err()
	}
	if s.leaves && slices.ContainsFunc(e.notes, func(note string) bool { return strings.HasPrefix(note, "nothing was moved") }) {
		return true, b.readable(s), ctx.Err() // it took the disk for lost, and said that it began anew
	}
	if violation = b.afterwards(ctx, s, f, end.Exit == 0 && !silenced); violation != nil && !end.Killed {
		violation = fmt.Errorf("it ended with %d %s; %w", end.Exit, e.code(), violation)
	}
	return true, violation, ctx.Err()
}

// forgiven are the violations of a run that was kept from saying how it ended: what
// readers saw, or that it did not end, has nothing to do with that.
func forgiven(violation error) bool { return errors.As(violation, new(unsaid)) }

// afterwards checks what must hold after a run that was killed or disturbed: what
// readers find, and where one plain run of the same command leads, without help. One
// that said that it worked must have. A kill costs nothing that the run before had.
func (b *bench) afterwards(ctx context.Context, s *start, f fault, worked bool) error {
	err := b.readable(s)
	if err != nil {
		return err
	}
	links, err := b.links()
	killed := f.kills()
	if err == nil && worked && !killed {
		err = b.did(s, links)
	}
	if err == nil && (killed || !s.leaves) {
		err = b.keeps(s)
	}
	if err != nil {
		return err
	}
	if err := b.leads(ctx, s, s.command, s.ends, !killed); err != nil {
		return fmt.Errorf("the next run: %w", err)
	}
	if killed {
		if links, err = b.links(); err == nil {
			err = leadsTo("previous", links.Previous, s.previous)
		}
	}
	// One that said that it failed has told what may come of it.
	if err == nil && s.later != nil && (killed || worked) {
		if err = b.leads(ctx, s, s.later, s.laterEnds, !killed); err != nil {
			err = fmt.Errorf("%q after it: %w", s.later, err)
		}
	}
	return err
}

// did checks what a run said that worked.
func (b *bench) did(s *start, links invariant.Links) error {
	if s.then == nil {
		return leadsTo("current", links.Current, s.active)
	}
	engine, err := engineOf(b.root())
	if err != nil {
		return err
	}
	return invariant.CheckLinks(engine, links, s.published)
}

// keeps checks that no set has vanished that was whole in the beginning.
func (b *bench) keeps(s *start) error {
	engine, err := engineOf(b.root())
	for _, name := range s.whole {
		_, damaged := invariant.CheckSet(filepath.Join(engine, name), s.published)
		err = errors.Join(err, damaged)
	}
	return err
}

// readable checks what readers find at each place where they may look.
func (b *bench) readable(s *start) error {
	places, err := engines(b.root())
	for _, engine := range places {
		links, unread := invariant.ReadLinks(engine)
		err = errors.Join(err, unread, s.meanwhile(engine, links))
	}
	return err
}

// links are those of the engine directory that is in force.
func (b *bench) links() (invariant.Links, error) {
	engine, err := engineOf(b.root())
	if err != nil {
		return invariant.Links{}, err
	}
	return invariant.ReadLinks(engine)
}

// leads runs a command, which must end with one of these codes, and checks that
// the machine is at rest where the scenario leads.
func (b *bench) leads(ctx context.Context, s *start, command, ends []string, disturbed bool) error {
	e, err := b.runPlain(ctx, b.root(), command)
	if err != nil {
		return err
	}
	if !slices.Contains(ends, e.code()) {
		return fmt.Errorf("it ended with %d %s", e.exit, e.code())
	}
	if s.then != nil {
		if e, err = b.runPlain(ctx, b.root(), s.then); err == nil && e.why != nil {
			err = e.why
		}
		if err != nil {
			return fmt.Errorf("%q after it: %w", s.then, err)
		}
	}
	return b.atRest(s, e, disturbed)
}

// leadsTo checks which version a link leads to; 0 is none.
func leadsTo(name, target string, n uint32) error {
	if n == 0 && target != "" || n != 0 && !strings.HasPrefix(target, version(n)+"-") {
		return fmt.Errorf("%s leads to %q, not to version %d", name, target, n)
	}
	return nil
}

// atRest checks a machine on which the scenario has come to its end, by a last run that
// ended so, maybe after a call failed.
func (b *bench) atRest(s *start, last ending, disturbed bool) error {
	places, err := engines(b.root())
	if err != nil {
		return err
	}
	for _, engine := range places {
		versions, err := invariant.CheckAll(engine, s.published)
		if err != nil {
			return err
		}
		if want := s.versions(); !slices.Equal(versions, want) && !(disturbed && s.leaves && slices.Equal(versions, []string{version(s.active)})) {
			return fmt.Errorf("installed are %q, not %q", versions, want)
		}
		links, err := invariant.ReadLinks(engine)
		if err == nil {
			err = leadsTo("current", links.Current, s.active)
		}
		if err == nil && links.Current == links.Previous {
			err = errors.New("previous is the same as current")
		}
		if err != nil {
			return err
		}
	}
	if moved := places[len(places)-1] != filepath.Join(b.root(), engineDir); moved != s.moves {
		return fmt.Errorf("the engine directory was moved: %v", moved)
	}
	return errors.Join(b.remembered(s, last), onlyIn(filepath.Join(b.root(), stateDir), filepath.Base(engineDir), placeFile, "crls", "cut-short.json", "cut-short.lock", "last-good", "lock", stateFile, statusFile),
		onlyIn(filepath.Join(b.root(), stateDir, "last-good"), "managed.json"), b.revocations())
}

// remembered checks that the record, both files of it, has what is active and what was
// accepted. A last run that found nothing to go back to has done nothing, and so has
// written nothing.
func (b *bench) remembered(s *start, last ending) error {
	engine, err := engineOf(b.root())
	if err != nil {
		return err
	}
	links, err := invariant.ReadLinks(engine)
	if err != nil {
		return err
	}
	set := filepath.Join(engine, links.Current)
	active, err := invariant.CheckSet(set, s.published)
	if err != nil {
		return err
	}
	state, status := filepath.Join(b.root(), stateDir, stateFile), filepath.Join(b.root(), stateDir, statusFile)
	err = errors.Join(s.recorded(state), invariant.CheckFloor(state, active))
	if last.code() == nothingInstalled {
		return errors.Join(err, s.recorded(status))
	}
	return errors.Join(err, invariant.CheckStatus(status, set, s.profile))
}

// revocations checks that the revocation lists of the trust directory are kept, and
// nothing beside them.
func (b *bench) revocations() error {
	var trusted []string
	for _, dir := range []string{".", "vendor"} {
		lists, err := filepath.Glob(filepath.Join(b.root(), trustDir, dir, "*.crl"))
		if err != nil {
			return err
		}
		trusted = append(trusted, lists...)
	}
	if len(trusted) == 0 {
		return nil
	}
	kept := filepath.Join(b.root(), stateDir, "crls")
	var names []string
	for _, path := range trusted {
		list, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%x.crl", sha256.Sum256(list))
		names = append(names, name)
		if copied, err := os.ReadFile(filepath.Join(kept, name)); err != nil || !bytes.Equal(copied, list) {
			return fmt.Errorf("a revocation list is not kept: %w", cmp.Or(err, errors.New("it is another")))
		}
	}
	return onlyIn(kept, names...)
}

// placeFile says where the engine directory was moved to.
const placeFile = "engine-directory"

// engines are the directories that readers may use below a root: the first place,
// and, if there was a move, behind it the one that is in force.
func engines(root string) ([]string, error) {
	places := []string{filepath.Join(root, engineDir)}
	data, err := os.ReadFile(filepath.Join(root, stateDir, placeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return places, nil
	}
	return append(places, strings.TrimSuffix(string(data), "\n")), err
}

// engineOf is the one that is in force.
func engineOf(root string) (string, error) {
	places, err := engines(root)
	return places[len(places)-1], err
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
