package engine

import (
	"crypto/rand"
	"errors"
	"path"
)

// Activate makes a sealed set the active one, and the one that was active the
// previous one. It is also how one goes back: with the set of Previous. Where
// the set is active already, nothing changes. Where current leads to no set,
// previous stays. The error is an *Error; current is then what it was.
func (d *Dir) Activate(set Set) error {
	return d.swap(set, true)
}

// Renew makes a sealed set the active one and leaves previous alone: for a set
// that differs from the active one in its list only, and for one that takes the
// place of a damaged one, which nobody should go back to.
func (d *Dir) Renew(set Set) error {
	return d.swap(set, false)
}

func (d *Dir) swap(set Set, keepPrevious bool) error {
	if err := d.forWriting(); err != nil {
		return err
	}
	set, ok := d.set(set.Name) // in this directory, whoever named it
	if !ok {
		return &Error{Code: SetDamaged, Sentence: "what should become active is no set", Hint: faultHint}
	}
	if _, err := set.List(); err != nil {
		return err // current must never lead to less than a sealed set
	}
	active, _, err := d.Current()
	if err != nil && !isDamage(err) {
		return err
	}
	if active.Name != set.Name {
		if err := d.relink(active.Name, set.Name, keepPrevious); err != nil {
			return d.writing("a set can't be made the active one", err)
		}
	}
	err = d.mendPrevious()
	if err == nil {
		err = syncDir(d.root, ".")
	}
	return d.writing("a set can't be made the active one", err)
}

// relink renames previous, where there is an active set to remember, and then
// current, which is the commit.
func (d *Dir) relink(active, next string, keepPrevious bool) error {
	if active != "" && keepPrevious {
		if err := d.link(previousLink, active); err != nil {
			return err
		}
	}
	return d.link(currentLink, next)
}

// link makes a relative symlink and renames it over whatever has its name, so
// that there is never a moment without one.
func (d *Dir) link(name, target string) error {
	made := path.Join(stagingDir, rand.Text())
	if err := d.root.Symlink(target, made); err != nil {
		return err
	}
	err := d.exchange(made, name)
	if err != nil {
		_ = d.root.Remove(made)
	}
	return err
}

// mendPrevious repairs a previous that is of no use: one that equals current,
// as a crash between the two renames leaves it, or that leads to no set. The
// newest set older than current takes its place, or else nothing; whether one
// may go back to it is decided when somebody does.
func (d *Dir) mendPrevious() error {
	previous, hasPrevious, err := d.Previous()
	if err != nil && !isDamage(err) {
		return err
	}
	damaged := err != nil
	current, hasCurrent, err := d.Current()
	if err != nil && !isDamage(err) {
		return err
	}
	if !damaged && (!hasPrevious || !hasCurrent || previous.Name != current.Name) {
		return nil
	}
	older, ok, err := d.olderThan(current)
	switch {
	case err != nil:
		return err
	case ok:
		return d.link(previousLink, older.Name)
	}
	return d.evict(previousLink)
}

// olderThan finds the newest set with a lower definition version; none where
// there is no current set to compare with.
func (d *Dir) olderThan(current Set) (Set, bool, error) {
	sets, err := d.Sets()
	if err != nil {
		return Set{}, false, err
	}
	for _, set := range sets { // the newest first
		if set.version.Compare(current.version) < 0 {
			return set, true, nil
		}
	}
	return Set{}, false, nil
}

// isDamage tells whether an error is about what lies in the directory, which a
// writer repairs, and not about reading it.
func isDamage(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == SetDamaged
}
