package engine

import (
	"errors"
	"path"
	"strings"
)

// Clean removes what a run that was killed left in .staging, less the parts of a
// transfer that can go on, and repairs a previous that equals current or leads
// to no set. The caller holds the lock and
// has no staging or spool open. The error is an *Error.
func (d *Dir) Clean() error {
	if err := d.forWriting(); err != nil {
		return err
	}
	if err := d.sweep(func(name string) bool { return !strings.HasPrefix(name, partPrefix) }); err != nil {
		return err
	}
	return d.writing("the link to the previous set can't be repaired", d.mendPrevious())
}

// Collect removes the sets that keep does not want, but never the active and the
// previous one, and nothing that is no set of ours or can't be looked at. It gives
// the names of those removed, also along with an error, which is an *Error.
func (d *Dir) Collect(keep func(Set) bool) ([]string, error) {
	if err := d.forWriting(); err != nil {
		return nil, err
	}
	doomed, err := d.doomed(keep)
	if err != nil {
		return nil, err
	}
	var removed, aside []string
	var errs []error
	for _, set := range doomed {
		away, err := d.setAside(set.Name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		removed, aside = append(removed, set.Name), append(aside, away)
	}
	if len(aside) > 0 {
		// Durably out of sight first: no half of a set comes back after a crash.
		errs = append(errs, syncDir(d.root, "."))
	}
	for _, away := range aside {
		errs = append(errs, removeTree(d.root, away))
	}
	return removed, d.writing("an old set can't be removed", errors.Join(errs...))
}

// doomed are the sets to remove. What the links say protects a set even where
// they are otherwise damaged.
func (d *Dir) doomed(keep func(Set) bool) ([]Set, error) {
	protected := make(map[string]bool)
	for _, link := range []string{currentLink, previousLink} {
		target, err := d.target(link)
		if err != nil && !isDamage(err) {
			return nil, err
		}
		protected[path.Clean(target)] = true
	}
	sets, _ := d.Sets() // what can't be looked at stays
	var doomed []Set
	for _, set := range sets {
		if !protected[set.Name] && !keep(set) {
			doomed = append(doomed, set)
		}
	}
	return doomed, nil
}
