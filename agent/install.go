package agent

import (
	"context"
	"errors"
	"time"

	"mdatp-offline-agent/agent/engine"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/verifier"
)

// plan is step 5: for each file of the list, whether it is at hand or where it
// lies in the package.
type plan struct {
	atHand []verifier.File
	from   []engine.Set // where those are
	fetch  []part
}

// part is one file that must come, and its entry.
type part struct {
	file  verifier.File
	entry verifier.Entry

	unlisted bool // no list says what its hash is
}

// planFor says which files some set has already, and which must come.
func planFor(n *news, hands []*installed) (p plan, err error) {
	entries, err := n.archive.Match(n.signed.List)
	if err != nil {
		return plan{}, err
	}
	have := map[[32]byte]bool{}
	for _, i := range hands {
		p.from = append(p.from, i.set)
		for _, f := range i.list().Files {
			have[f.SHA256] = true
		}
	}
	for i, f := range n.signed.List.Files {
		if have[f.SHA256] {
			p.atHand = append(p.atHand, f)
		} else {
			p.fetch = append(p.fetch, part{file: f, entry: entries[i]})
		}
	}
	return p, nil
}

// bytesToFetch is how much the files that must come have, inflated.
func (p plan) bytesToFetch() (sum int64) {
	for _, part := range p.fetch {
		sum += part.file.Size
	}
	return sum
}

// compressed is how many bytes of the archive the files that must come take.
func (p plan) compressed() (sum int64) {
	for _, part := range p.fetch {
		sum += part.length()
	}
	return sum
}

// step is the plan as a step of the run's chain.
func (p plan) step() state.Step {
	return state.Step{Rule: rulePlan, Number: int64(len(p.atHand)), Of: int64(len(p.atHand) + len(p.fetch)), Bytes: p.bytesToFetch()}
}

// wouldInstall tells what install would do.
func (at *attempt) wouldInstall(n *news, v verifier.Verdict) error {
	if n.signed.List == nil {
		return at.wouldFetch(n)
	}
	p, err := planFor(n, at.session.atHand(engine.SetName(n.signed.List.Definition, n.signed.Digest)))
	if err != nil {
		return err
	}
	if err := at.session.dir.Room(p.bytesToFetch(), len(n.signed.List.Files)+1); err != nil {
		return err
	}
	at.result.Outcome = WouldUpdate
	at.result.Definitions, at.result.Engine = n.signed.List.Definition.String(), engineText(n.signed.List)
	planned := p.step()
	at.decided(planned)
	at.note(tell(at.because(v, n.signed.List)).Line())
	at.note(tell(planned).Line())
	if at.session.trust.vendor != nil {
		at.note("the vendor's signatures are judged once the files are here, and not in a dry run")
	}
	return nil
}

// install is steps 5 to 9: the package's files into a set, and the set into
// force.
func (at *attempt) install(ctx context.Context, n *news, v verifier.Verdict) error {
	set, err := at.sealed(ctx, n, v) // 5. plan, 6. fetch
	n.Close()                        // nothing more comes from the source
	if err != nil {
		return err
	}
	if n.layout != "" {
		at.rememberReceived(n)
	}
	// What was kept to go on with is of no use behind a sealed set, and whoever is
	// killed later does not come by here again.
	if err := at.session.dir.DropParts(); err != nil {
		return err
	}
	if err := at.preload(ctx, set, n, v); err != nil { // 7. preload
		return err
	}
	was := at.session.current
	if err := at.commit(ctx, set, n, v); err != nil { // 8. commit
		return err
	}
	if v == verifier.Renewal {
		at.decided(state.Step{Rule: ruleExchanged})
		return nil
	}
	at.decided(state.Step{Rule: ruleActive, Version: n.signed.List.Definition.String()})
	owed := at.session.memory.Unfinished != ""
	if owed {
		at.step("telling " + postloadHook + " of definitions " + n.signed.List.Definition.String())
	}
	err = at.session.settle(ctx, at.config.settings, was, at.pulse) // 9. postload
	if owed && err == nil {
		at.decided(state.Step{Rule: rulePostload})
	}
	return err
}

// sealed gives the package's set, sealed and not yet linked. One that is on disk
// already, since a machine went back from it or its hook could not be run, need
// not come again.
func (at *attempt) sealed(ctx context.Context, n *news, v verifier.Verdict) (engine.Set, error) {
	if n.staging != nil {
		return at.sealReceived(ctx, n)
	}
	list, dir := n.signed.List, at.session.dir
	name := engine.SetName(list.Definition, n.signed.Digest)
	if set, ok, err := dir.Find(name); err == nil && ok && holdsAll(ctx, set, n) {
		at.result.BytesReused = list.Size()
		at.decided(state.Step{Rule: ruleOnDisk})
		return set, at.vouchedOnDisk(set, n, v)
	}
	p, err := planFor(n, at.session.atHand(name)) // 5. plan
	if err != nil {
		return engine.Set{}, err
	}
	at.decided(p.step())
	if err := at.makeRoom(n, p); err != nil {
		return engine.Set{}, err
	}
	staging, err := dir.Stage(name)
	if err != nil {
		return engine.Set{}, err
	}
	defer staging.Discard()
	at.step("fetching definitions " + list.Definition.String())
	err = at.fetch(ctx, staging, n, p) // 6. fetch
	if err == nil {
		err = at.vouched(n, v, staging.Content)
	}
	if err != nil {
		return engine.Set{}, at.dropRefused(err)
	}
	at.step("making definitions " + list.Definition.String() + " durable")
	return dir.Seal(ctx, staging, list, n.raw)
}

// dropRefused drops what is kept of this source to go on with where the package was
// refused: what else came of it is of no use, either.
func (at *attempt) dropRefused(err error) error {
	var refused *verifier.Refusal
	if errors.As(err, &refused) {
		err = errors.Join(err, at.dropOwnParts())
	}
	return err
}

// holdsAll tells whether a set on disk is the package's to the last byte.
func holdsAll(ctx context.Context, set engine.Set, n *news) bool {
	return intact(ctx, set, n.raw, n.signed.List) == nil
}

// makeRoom sees to it that there is room for the set, and, where the source's
// bytes can be kept while they come, for these as well. On a disk that is too
// full for both, a transfer can't be resumed, but it can be made.
func (at *attempt) makeRoom(n *news, p plan) error {
	dir, inodes := at.session.dir, len(p.atHand)+len(p.fetch)+1
	at.keep = at.origin(n)
	if at.keep != nil {
		held, err := dir.KeepParts(*at.keep)
		if err != nil {
			return err
		}
		if dir.Room(p.bytesToFetch()+p.compressed()-held, 2*inodes) == nil {
			return nil
		}
		at.keep = nil
		if err := dir.DropParts(); err != nil {
			return err
		}
	}
	return dir.Room(p.bytesToFetch(), inodes)
}

// commit is step 8: the sealed set becomes the active one. Where it came from,
// and that the postload hook is to see it, is written down before, so that it is
// known also after a crash in between.
func (at *attempt) commit(ctx context.Context, set engine.Set, n *news, v verifier.Verdict) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	at.step("activating definitions " + n.signed.List.Definition.String())
	s := at.session
	s.memory.Pending = ""
	if v != verifier.Renewal || s.memory.Unfinished != "" { // the hook is still to see the renewed content
		s.expectPostload(at.config.settings, set.Name)
	}
	s.memory.NoteSet(set.Name, state.Set{Source: at.place.Name, Installed: at.started.UTC().Truncate(time.Second)})
	if err := s.store.Save(s.memory); err != nil {
		return err
	}
	activate := s.dir.Activate
	if v == verifier.Renewal || s.damaged {
		activate = s.dir.Renew // nobody should go back to the same files, or to damaged ones
	}
	if err := s.activate(&installed{set: set, raw: n.raw, signed: n.signed, by: s.trust, under: s.trust.under()}, activate); err != nil {
		return err
	}
	if v == verifier.Downgrade {
		s.memory.LowerFloor(verifier.FloorOf(n.signed.List), rawChain(n.signed.Chain))
		s.memory.SteppedDown = at.place.Ring.Back()
		at.note("an older package was installed, by consent of " + at.consent(n.signed.List))
		at.decided(state.Step{Rule: ruleFloorDown, Version: n.signed.List.Definition.String()})
		at.Log.WithField("definitionsVersion", n.signed.List.Definition.String()).Warn("an older package was installed by consent of the operator")
	} else {
		s.raiseFloor(n.signed)
	}
	for _, id := range n.signed.List.ContentIDs() {
		s.memory.ForgetBad(id)
	}
	return nil
}

// consent names who allowed a downgrade.
func (at *attempt) consent(list *verifier.List) string {
	if at.allowed(list) {
		return "--allow-downgrade"
	}
	return "the URL that ends in _back"
}

// allowed tells whether a person named this very version.
func (at *attempt) allowed(list *verifier.List) bool {
	return at.opts.AllowDowngrade == list.Definition
}
