package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mdatp-offline-agent/agent/engine"
	"mdatp-offline-agent/managedconfig"
	"mdatp-offline-agent/verifier"
)

// repairHint is for whatever is wrong with what is installed.
const repairHint = "repair it with agent definitions verify --repair"

// Problem is something in the engine directory that is not as the agent left it. Its
// names are escaped.
type Problem struct {
	Set     string `json:"set"`  // the entry of the engine directory
	File    string `json:"file"` // in it; empty: the entry itself
	Problem string `json:"problem"`
}

// Repair is what was done about one entry of the engine directory, or, where Set is
// empty, about all of it.
type Repair struct {
	Set string `json:"set"`
	Did string `json:"did"`
}

// Verification is what was found wrong on disk, and what was done about it. Its JSON
// is part of the program's interface.
type Verification struct {
	Type     string    `json:"$type"`
	Sets     []SetInfo `json:"sets"`
	Problems []Problem `json:"problems"`
	Repairs  []Repair  `json:"repairs"`
	Notes    []string  `json:"notes"`

	FailReason *Failure `json:"failReason"` // what is still wrong, or why nothing could be done about it
}

// Verify hashes every set on disk against its signed list, and looks for what does
// not belong there. Any user may ask. The answer is complete also where there is an
// error; that is set_damaged, or what is wrong with a set's signature, of the first
// thing that is not as it should be.
func (a *Agent) Verify(ctx context.Context) (Verification, error) {
	v := Verification{Type: "definitionsVerifyResult", Problems: []Problem{}, Repairs: []Repair{}, Notes: []string{}}
	unjudged := false
	found, problems, err := a.look(ctx, listing{dir: v.lookAtDir, set: func(set engine.Set, i *installed, err error) ([]engine.Problem, error) {
		unjudged = unjudged || i != nil && i.by.vendorUnknown()
		return inspect(ctx, set, i, err)
	}})
	if unjudged {
		v.Notes = append(v.Notes, "the vendor's signatures were not judged, since this user can not read the configuration, which says who the vendor is")
	}
	v.Sets = found.Sets
	v.add(problems)
	v.FailReason = Explain(err)
	return v, err
}

func (v *Verification) add(problems []engine.Problem) {
	for _, p := range problems {
		v.Problems = append(v.Problems, Problem{p.Set, p.File, p.What})
	}
}

// lookAtDir looks at what lies beside the sets.
func (v *Verification) lookAtDir(dir *engine.Dir) error {
	v.Problems, v.Notes = []Problem{}, []string{} // of a directory that the sets were moved away from
	entries, err := dir.Strange()
	if err != nil {
		return err
	}
	hint := repairHint
	for _, e := range entries {
		v.add([]engine.Problem{e.Problem})
		if !e.Removable && !e.Mended {
			hint = "move away what does not belong into the engine directory, and repair the rest with agent definitions verify --repair"
		}
	}
	if n := dir.Outside(); n > 0 {
		v.Notes = append(v.Notes, fmt.Sprintf("%d files of the sets have other names outside of the engine directory, as after a move on the same file system", n))
	}
	if len(entries) > 0 {
		return &Failure{codeDamaged, fmt.Sprintf("the engine directory holds %d things that are not as the agent leaves them", len(entries)), hint}
	}
	return nil
}

// inspect says what is wrong with a set, of which openSet gave i and err. The error
// is nil where nothing is, and set_damaged only where that is proved.
func inspect(ctx context.Context, set engine.Set, i *installed, err error) ([]engine.Problem, error) {
	if err != nil {
		problem := engine.Problem{Set: set.Name, File: verifier.ListEntry, What: "can not be used, as " + Explain(err).Code + " says"}
		if isUnvouched(err) { // it is of another profile
			problem.File = ""
		}
		return []engine.Problem{problem}, err
	}
	problems, err := set.Inspect(ctx, i.list().Files)
	for _, p := range problems {
		err = cmp.Or(err, p.Err)
	}
	if err == nil && len(problems) == 0 {
		if err = i.vouched(); isUnvouched(err) {
			problems = []engine.Problem{{Set: set.Name, What: "is not what the vendor signed, as " + Explain(err).Code + " says"}}
		}
	} else if err == nil {
		err = &Failure{codeDamaged, fmt.Sprintf("the set %s is not as it was signed, in %d places", set.Name, len(problems)), repairHint}
	}
	return problems, err
}

// Repair makes what is installed whole again, and says what it did. In this order:
// damaged files come from other sets that have the same; where the active set can't
// be had that way, the machine goes back to the previous set, or the newest one that
// is whole, at once; then an update fetches what is missing. Sets that are not active
// and can't be repaired are removed, and so is what has the name of a set and is none.
// Nothing is removed that could not be read, or that is not the agent's own. The error
// is what is still wrong then.
func (a *Agent) Repair(ctx context.Context, wait time.Duration) (Verification, error) {
	repairs, fetch, err := a.repair(ctx, wait, false)
	if err == nil && fetch {
		update := a.Update(ctx, Options{Wait: wait})
		repairs = append(repairs, Repair{Did: outcomeWords(update)})
		var more []Repair
		more, _, err = a.repair(ctx, wait, true)
		repairs = append(repairs, more...)
	}
	a.exportConfigured(ctx)
	v, wrong := a.Verify(ctx)
	v.Repairs = append(v.Repairs, repairs...)
	err = cmp.Or(err, wrong)
	v.FailReason = Explain(err)
	return v, err
}

// outcomeWords says how the update went that was to fetch what is missing.
func outcomeWords(r Result) string {
	switch {
	case r.FailReason != nil:
		return "asked for an update, which failed, as " + r.FailReason.Error()
	case r.Outcome == UpToDate:
		return "asked for an update, and there was none"
	}
	return "fetched what was missing, and definitions " + r.Definitions + " are active"
}

// repair is Repair less the fetching. fetch tells that the active set could not be
// made whole; it was then left where it is, for what is still good in it, unless
// this is the last try.
func (a *Agent) repair(ctx context.Context, wait time.Duration, last bool) (done []Repair, fetch bool, err error) {
	config, rules, err := a.readByHand()
	if err != nil {
		return nil, false, err
	}
	r := &repairing{last: last, settings: config.settings}
	r.session, err = a.lockState(ctx, wait)
	defer func() { r.session.Close() }()
	if err == nil {
		err = newer(r.memory)
	}
	if err == nil {
		err = r.run(ctx, rules)
	}
	return r.done, r.fetch, err
}

// repairing is one repair, behind the lock.
type repairing struct {
	*session
	last     bool
	settings managedconfig.Settings
	done     []Repair
	fetch    bool
	touched  bool // the active set is not what the engine may have loaded
	lost     []lost
	unread   error // why a set could not be read, which may be whole
}

// lost is a set that is proved to be damaged and can't be repaired from what lies on
// this disk.
type lost struct{ set, why string }

func (r *repairing) did(set, format string, args ...any) {
	r.done = append(r.done, Repair{set, fmt.Sprintf(format, args...)})
	r.Log.WithField("set", set).Info(r.done[len(r.done)-1].Did)
}

func (r *repairing) run(ctx context.Context, rules trustRules) (err error) {
	if r.dir, err = r.openEngine(); err != nil {
		return err
	}
	if err := r.dir.Unlock(); err != nil { // else a mode would hide what is to be judged
		return err
	}
	entries, err := r.dir.Strange()
	if err != nil {
		return err
	}
	if err := r.dir.Clean(); err != nil { // which mends previous
		return err
	}
	if err := r.dir.Protect(); err != nil {
		return err
	}
	if err := r.lookAround(ctx, rules); err != nil {
		return err
	}
	if _, _, err := r.floor(ctx); err != nil { // of what may be removed, too
		return err
	}
	r.current = nil // nothing counts as whole before it was hashed
	active, err := r.repairSets(ctx)
	if err == nil && active != nil {
		r.current = active
		if active.files, err = statSet(active.set); err != nil {
			return err
		}
		r.settleMove()
	} else if err == nil {
		err = r.leaveLost(ctx)
	}
	if err == nil && !r.fetch { // else what comes may repair these, too
		err = r.removeLost()
	}
	if err == nil && !r.fetch {
		err = r.removeStrange(entries)
	}
	if err == nil && r.touched && r.current != nil {
		r.expectPostload(r.settings, r.current.set.Name)
		err = r.tellByHand(ctx, r.settings, r.current.version())
		r.noteByHand(Repaired, ruleRepaired, "", err)
	}
	if err == nil && !r.fetch {
		err = r.unread
	}
	r.seen.Timing = r.memory.Timing
	return errors.Join(err, r.save(r.seen, r.settings.Agent.Keep.Value))
}

// repairSets repairs every set that has something wrong with it, and gives the active
// one, if it is whole.
func (r *repairing) repairSets(ctx context.Context) (active *installed, err error) {
	sets, err := r.dir.Sets()
	if err != nil {
		return nil, err
	}
	linked, _, err := r.dir.Current()
	if err != nil && !Explain(err).is(codeDamaged) {
		return nil, err
	}
	for _, set := range sets {
		whole, err := r.repairSet(ctx, set, sets, set.Name == linked.Name)
		if err != nil {
			return nil, err
		}
		if set.Name == linked.Name {
			active = whole
		}
	}
	return active, nil
}

// repairSet makes a set whole from what lies on this disk. It gives the set where it
// is whole, and nil where it can't be. An active one is left only for what was tried
// twice: once to look at it, and once to mend it.
func (r *repairing) repairSet(ctx context.Context, set engine.Set, all []engine.Set, active bool) (*installed, error) {
	r.lock.Beat(r.Now())
	i, err := openSet(set, r.trust)
	problems, err := inspect(ctx, set, i, err)
	if err == nil {
		return i, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	unread := set.Unread(err)
	if i == nil && unread != nil && active {
		return nil, unread
	}
	if isUnvouched(err) {
		return nil, nil // no other copy fares better, and an update brings another
	}
	if i != nil {
		if active { // so that the hook is told also after a crash
			r.expectPostload(r.settings, set.Name)
			if err := r.store.Save(r.memory); err != nil {
				return nil, err
			}
		}
		switch mended, err := r.mend(ctx, i, all); {
		case err != nil:
			return nil, err
		case mended:
			r.did(set.Name, "repaired from what is on this disk, as %s", faults(problems))
			r.touched = r.touched || active
			if err := i.vouched(); !isUnvouched(err) {
				return i, err
			}
			return nil, nil
		}
	} else if signerRefused(err) {
		return nil, nil // it may be what it was; an update brings another
	}
	if unread != nil {
		r.unread = cmp.Or(r.unread, unread)
		return nil, nil
	}
	r.lost = append(r.lost, lost{set.Name, faults(problems)})
	return nil, nil
}

// removeLost removes the sets that could not be repaired, but for the active one,
// which something else has to take the place of first.
func (r *repairing) removeLost() error {
	active, _, err := r.dir.Current()
	if err != nil && !Explain(err).is(codeDamaged) {
		return err
	}
	for _, l := range r.lost {
		if l.set == active.Name {
			continue
		}
		if err := r.dir.Drop(l.set); err != nil {
			return err
		}
		r.did(l.set, "removed, since no other set has what is wrong in it: %s", l.why)
	}
	return nil
}

// signerRefused tells that it is the signer who is not trusted, which says nothing
// against the set's bytes.
func signerRefused(err error) bool {
	return slices.Contains([]string{"signer_untrusted", "signer_expired", codeRevoked}, Explain(err).Code)
}

// faults names what is wrong, in a line that does not grow without end.
func faults(problems []engine.Problem) string {
	const most = 4
	var list []string
	for _, p := range problems[:min(most, len(problems))] {
		list = append(list, strings.TrimSpace(p.File+" "+p.What))
	}
	if more := len(problems) - most; more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, ", ")
}

// mend seals a set anew from its own good files and those of other sets; false where
// some file is nowhere. What is good keeps its place, the rest gets new inodes.
func (r *repairing) mend(ctx context.Context, i *installed, all []engine.Set) (bool, error) {
	staging, err := r.dir.Stage(i.set.Name)
	if err != nil {
		return false, err
	}
	defer staging.Discard()
	from := append([]engine.Set{i.set}, all...)
	for _, f := range i.list().Files {
		r.lock.Beat(r.Now())
		if ok, err := reuseFrom(ctx, staging, f, from); !ok || err != nil {
			return false, err
		}
	}
	_, err = r.dir.Seal(ctx, staging, i.list(), i.raw)
	return err == nil, err
}

// leaveLost finds another set for an active one that can't be had from this disk, or
// that no link leads to any more. A machine on which nothing ever was active, and one
// that has nothing to go back to, are for the next update.
func (r *repairing) leaveLost(ctx context.Context) error {
	if !r.damaged && r.seen.Current == nil {
		return nil
	}
	target, err := r.unlinked(ctx)
	if target == nil && err == nil {
		r.fetch = !r.last
		target, err = r.rollbackTarget(ctx)
	}
	if Explain(err).is(codeNothing) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.replaceActive(r.settings, target, r.dir.Renew); err != nil {
		return err
	}
	r.touched = true
	r.did(target.set.Name, "made the active set, since the one that was active is not whole")
	return nil
}

// unlinked is the set that was active when the last run ended, where the link alone
// is lost; nil where it is not.
func (r *repairing) unlinked(ctx context.Context) (*installed, error) {
	if _, ok, err := r.dir.Current(); ok && err == nil || r.seen.Current == nil {
		return nil, nil
	}
	set, ok, err := r.dir.Find(r.seen.Current.Set)
	if err != nil || !ok {
		return nil, err
	}
	i, err := openSet(set, r.trust)
	if err == nil {
		err = i.whole(ctx)
	}
	if err != nil {
		return nil, cmp.Or(ctx.Err(), set.Unread(err))
	}
	return i, nil
}

// removeStrange removes what does not belong beside the sets. What current leads to
// stays, whatever it is, until something else is active.
func (r *repairing) removeStrange(entries []engine.Entry) error {
	active, _, err := r.dir.Current()
	if err != nil && !Explain(err).is(codeDamaged) {
		return err
	}
	for _, e := range entries {
		if e.Mended {
			r.did(e.Set, "mended, since it %s", e.What)
		}
		if !e.Removable || e.Name == active.Name {
			continue
		}
		if err := r.dir.Drop(e.Name); err != nil {
			return err
		}
		r.did(e.Set, "removed, since it %s", e.What)
	}
	return nil
}
