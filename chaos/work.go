package chaos

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
)

// Work is a scenario for somebody else to disturb: what has to be done below a
// directory, and what must hold there afterwards.
type Work struct {
	Name    string
	Prepare func(ctx context.Context, dir string) error // puts the machine in place
	Run     func(ctx context.Context, dir string) error // does the work; nil: its user was told that it is done
	// Check checks the invariants, where done also that the work was done, and that
	// one plain run leads to where the scenario leads. It changes what is there.
	Check func(ctx context.Context, dir string, done bool) error
}

// Works gives the scenarios as work, with what they share in dir, an empty
// directory. close ends the mirror that they have in this process. Those of the profiles
// that ask for a vendor are not among them.
func Works(ctx context.Context, dir, program string) (works []Work, close func(), err error) {
	l, err := newLab(dir, program, nil)
	if err != nil {
		return nil, nil, err
	}
	all, _ := l.offered(ctx)
	starts, err := l.prepareAll(ctx, all)
	if err != nil {
		l.close()
		return nil, nil, err
	}
	for _, s := range starts {
		works = append(works, Work{
			Name: s.name,
			Prepare: func(_ context.Context, dir string) error {
				return copyTree(s.root, l.at(dir).root())
			},
			Run: func(ctx context.Context, dir string) error {
				e, err := l.runPlain(ctx, l.at(dir).root(), s.command)
				if err == nil && !slices.Contains(s.ends, e.code()) {
					err = fmt.Errorf("it ended with %d %s", e.exit, e.code())
				}
				return err
			},
			Check: func(ctx context.Context, dir string, done bool) error {
				b := l.at(dir)
				if done {
					links, err := b.links()
					if err == nil {
						err = leadsTo("current", links.Current, s.active)
					}
					if err != nil {
						return fmt.Errorf("it was done, and yet %w", err)
					}
				}
				for _, name := range recordFiles {
					if err := s.recorded(filepath.Join(b.root(), stateDir, name)); err != nil {
						return err
					}
				}
				return b.afterwards(ctx, s, fault{}, done)
			},
		})
	}
	return works, l.close, nil
}

// at is the bench in a directory.
func (l *lab) at(dir string) *bench { return &bench{lab: l, dir: dir} }
