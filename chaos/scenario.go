package chaos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"mdatp-offline-agent/chaos/invariant"
	"mdatp-offline-agent/chaos/trace"
)

// scenario is a command on a machine, and where it must lead.
type scenario struct {
	name             string
	command          []string
	prepare          func(ctx context.Context, m *machine) error
	active, previous uint32   // the versions that the links lead to in the end; 0: none
	sets             []uint32 // those that are installed then
	between          []uint32 // the versions that current may lead to at any moment until then; 0: it may be missing
	moves            bool     // the engine directory is elsewhere in the end
	leaves           bool     // a run that can't read a set, but the active one, goes on without it, and says so
	ends             []string // the codes that a run without a fault may end with; empty is success
	// then, where there is one, is a command that goes the rest of the way after a run that
	// was disturbed and the same command once more. That it worked does not say then that
	// the active set is the one of the end, but that it is whole.
	then []string
	// later, where there is one, is another command that must change nothing in the
	// end, and may end with these codes.
	later     []string
	laterEnds []string
}

var update = []string{"definitions", "update"}

// scenarios are those that there always are.
func scenarios() []scenario {
	success := []string{""}
	return []scenario{
		{name: "fresh", command: update, between: []uint32{0, 2}, active: 2, sets: []uint32{2}, ends: success,
			prepare: func(ctx context.Context, m *machine) error { return m.publish(ctx, 2, m.newContents(2)) }},
		{name: "full", command: update, between: []uint32{1, 2}, active: 2, previous: 1, sets: []uint32{1, 2}, ends: success,
			prepare: func(ctx context.Context, m *machine) error { return errors.Join(outdated(ctx, m), m.revoke()) }},
		{name: "delta", command: update, between: []uint32{1, 2}, active: 2, previous: 1, sets: []uint32{1, 2}, ends: success,
			prepare: func(ctx context.Context, m *machine) error {
				next := m.newContents(1)
				for _, name := range []string{"mpasdlta.vdm", "mpavdlta.vdm"} {
					next[name] = m.newContents(2)[name]
				}
				return errors.Join(m.install(ctx, 1), m.publish(ctx, 2, next))
			}},
		{name: "resumed", command: update, between: []uint32{1, 2}, active: 2, previous: 1, sets: []uint32{1, 2}, ends: success,
			prepare: func(ctx context.Context, m *machine) error { return errors.Join(outdated(ctx, m), m.interrupt(ctx)) }},
		// Once it is done there is nothing more to go back to; and whatever was undone by
		// hand does not come back by itself.
		{name: "rollback", command: []string{"definitions", "rollback"}, between: []uint32{1, 2}, active: 1, previous: 2, sets: []uint32{1, 2}, ends: []string{"", nothingInstalled},
			prepare: func(ctx context.Context, m *machine) error { return errors.Join(m.install(ctx, 1), m.install(ctx, 2)) },
			later:   update, laterEnds: []string{"known_bad"}},
		// What was shipped takes the place of what is newer.
		{name: "restore", command: []string{"definitions", "restore"}, between: []uint32{1, 2}, active: 1, previous: 2, sets: []uint32{1, 2}, ends: success,
			prepare: func(ctx context.Context, m *machine) error {
				return errors.Join(m.publish(ctx, 1, m.newContents(1)), m.ship(1), m.install(ctx, 2))
			}},
		// One file of the active set is not as it was signed, and in no other set. A repair
		// goes back at once, and an update brings what is missing; broken off between the
		// two, that is for the next update. It reads all sets several times over, so that
		// they are smaller.
		{name: "repair", command: []string{"definitions", "verify", "--repair"}, between: []uint32{1, 2}, active: 2, previous: 1, sets: []uint32{1, 2}, ends: success,
			prepare: func(ctx context.Context, m *machine) error {
				m.engine = engineSize / 8
				return errors.Join(m.install(ctx, 1), m.install(ctx, 2), m.damage("mpavbase.vdm"))
			}, then: update},
		{name: "failed-postload", command: update, between: []uint32{1, 2}, active: 1, sets: []uint32{1, 2}, ends: []string{"postload_failed", "known_bad"},
			prepare: func(ctx context.Context, m *machine) error {
				hook := fmt.Sprintf(`,"hooks":{"postload":{"command":["/bin/sh","-c","test $AGENT_DEFINITIONS_VERSION != %s"]}}`, version(2))
				return errors.Join(outdated(ctx, m), m.configure(hook))
			}},
	}
}

// pathMove moves the sets to another directory. below stands for the machine's root.
func pathMove() scenario {
	return scenario{name: "path-move", command: []string{"definitions", "path", "set", "--path", below + "/" + movedDir}, between: []uint32{2}, active: 2, previous: 1, sets: []uint32{1, 2},
		moves: true, leaves: true, ends: []string{""}, prepare: func(ctx context.Context, m *machine) error { return errors.Join(m.install(ctx, 1), m.install(ctx, 2)) }}
}

const below = "{root}"

// offered are the scenarios for which this program has a command, and what is said
// of the others.
func (l *lab) offered(ctx context.Context) (all []scenario, leftOut []string) {
	if l.vendor != nil {
		return vendorScenarios(), []string{}
	}
	all, leftOut = scenarios(), []string{"the profiles of trust that ask for a vendor's signatures, since nobody signs as a vendor here"}
	if exec.CommandContext(ctx, l.program, "definitions", "path", "--help").Run() == nil {
		return append(all, pathMove()), leftOut
	}
	return all, append(leftOut, "path-move, since this program has no command definitions path")
}

// install publishes a version and lets the machine take it.
func (m *machine) install(ctx context.Context, n uint32) error {
	if err := m.publish(ctx, n, m.newContents(n)); err != nil {
		return err
	}
	return m.take(ctx)
}

// take lets the machine install what was published last.
func (m *machine) take(ctx context.Context, options ...string) error {
	e, err := m.runPlain(ctx, m.root, slices.Concat(update, options))
	if err == nil && e.why != nil {
		err = e.why
	}
	accepted := m.published[len(m.published)-1]
	m.accepted = &accepted
	return err
}

// outdated is a machine with version 1, on whose mirror version 2 is.
func outdated(ctx context.Context, m *machine) error {
	return errors.Join(m.install(ctx, 1), m.publish(ctx, 2, m.newContents(2)))
}

// interrupt kills an update in the middle of fetching.
func (m *machine) interrupt(ctx context.Context) error {
	k := kinds{program: m.program, root: m.root}
	end, err := trace.Run(ctx, trace.Command{
		Path: m.program, Args: arguments(m.root, update), Env: environment(),
		Kind: k.of,
		Before: func(p trace.Point) trace.Action {
			if p.Name() == "pwrite64 part 10" {
				return trace.Kill()
			}
			return trace.Action{}
		},
	})
	if err == nil && !end.Killed {
		err = errors.New("the transfer could not be interrupted")
	}
	return err
}

// start is a scenario whose machine is ready.
type start struct {
	scenario
	root      string
	profile   string                 // of trust
	accepted  *invariant.Publication // what was installed last; nil: nothing
	published []invariant.Publication
	damaged   []invariant.Publication // what a set is in the beginning, though nobody signed it
	whole     []string                // the names of the sets that are whole in the beginning, each of which must stay
}

// prepareAll makes the machines.
func (l *lab) prepareAll(ctx context.Context, all []scenario) ([]*start, error) {
	var starts []*start
	for _, s := range all {
		m, err := l.newMachine(s.name)
		if err == nil {
			err = s.prepare(ctx, m)
		}
		if err != nil {
			return nil, fmt.Errorf("the scenario %s: %w", s.name, err)
		}
		whole, err := m.whole()
		if err != nil {
			return nil, fmt.Errorf("the scenario %s: %w", s.name, err)
		}
		starts = append(starts, &start{scenario: s, root: m.root, profile: m.profile, accepted: m.accepted, published: m.published, damaged: m.damaged, whole: whole})
	}
	return starts, nil
}

// whole are the names of the sets that are whole.
func (m *machine) whole() (names []string, err error) {
	engine := filepath.Join(m.root, engineDir)
	entries, err := os.ReadDir(engine)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if _, damaged := invariant.CheckSet(filepath.Join(engine, e.Name()), m.published); e.IsDir() && damaged == nil {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// meanwhile checks what readers find in an engine directory before the scenario has come
// to its end.
func (s *start) meanwhile(engine string, l invariant.Links) error {
	if err := invariant.CheckLinks(engine, l, slices.Concat(s.published, s.damaged)); err != nil {
		return err
	}
	if !slices.ContainsFunc(s.between, func(n uint32) bool { return leadsTo("current", l.Current, n) == nil }) {
		if l.Current == "" {
			return errors.New("current is gone")
		}
		return fmt.Errorf("current leads to %q, and not to one of the versions %d", l.Current, s.between)
	}
	return nil
}

// recorded checks a file of the record as it must be at every moment.
func (s *start) recorded(path string) error {
	err := invariant.CheckRecord(path)
	if err == nil && s.accepted != nil && filepath.Base(path) == stateFile {
		err = invariant.CheckFloor(path, *s.accepted)
	}
	return err
}

// versions are those of the sets that are installed in the end, sorted.
func (s scenario) versions() []string {
	var all []string
	for _, n := range s.sets {
		all = append(all, version(n))
	}
	slices.Sort(all)
	return all
}
