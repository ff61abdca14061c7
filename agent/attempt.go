package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"mdatp-offline-agent/agent/engine"
	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/apart"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/health"
	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig"
)

// attempt is the part of a cycle that concerns one source.
type attempt struct {
	*update
	place    Place
	key      string         // of what is remembered of the source
	memory   state.Source   // what is remembered of it
	spooled  bool           // its package came whole, before anything was planned
	keep     *engine.Origin // of what is kept while it comes; nil: nothing is
	received string         // layout of a package of which nobody knew what it is and files came; empty: none did
	again    bool           // it is what the preload hook could not judge before
	under    string         // which trust and configuration its packages are judged under
	asker    asker
}

// coolDown is how long a source that asked to be left alone is left alone when
// it did not say how long, and longest is the most it can ask for.
const (
	coolDown        = 5 * time.Minute
	longestCoolDown = 6 * time.Hour
)

// updateFrom is steps 3 to 9 with one source. It gives nil where the source
// worked, be it that there was nothing new.
func (u *update) updateFrom(ctx context.Context, place Place) error {
	at, err := u.newAttempt(place)
	if err != nil {
		return err
	}
	defer func() { u.resting = append(u.resting, at.memory.CoolDown) }()
	if err := at.coolingDown(); err != nil {
		return err
	}
	u.asked = true
	u.result.Source = place.Name
	u.step("asking " + place.Name)
	err = at.try(ctx)
	if changed(err) { // replaced while it was read, so once more
		at.decided(state.Step{Rule: ruleAskedAgain})
		err = at.try(ctx)
	}
	if changed(err) && !at.asker.whole { // replicas that differ, for one
		at.decided(state.Step{Rule: ruleAskedAgain})
		at.asker.whole = true
		err = at.try(ctx)
	}
	at.noteVain(err)
	return err
}

// changed tells that a package was not the same all the while it was read.
func changed(err error) bool {
	var failed *source.Error
	return errors.As(err, &failed) && failed.Code == source.CodeChanged
}

// try asks the source once and does what follows.
func (at *attempt) try(ctx context.Context) error {
	n, verdict, err := at.newsOf(ctx) // 3. ask, 4. verify and compare
	defer func() { n.Close() }()      // news may be open also along with an error
	if err == nil {
		err = at.act(ctx, n, verdict) // 5. plan, 6. fetch, 7. preload, 8. commit, 9. postload
	}
	at.remember(n, err)
	return err
}

// newsOf decides where to look for the list. Where packages were approved by
// sidecars before, that is beside the archive; but once a day it is in the
// archive again, whose own list would be the one that counts, unless there is no
// archive to speak of.
func (at *attempt) newsOf(ctx context.Context) (*news, verifier.Verdict, error) {
	if at.session.trust.alone() {
		return at.newsByVendor(ctx)
	}
	sidecarFirst := at.memory.Sidecar && at.lately(at.memory.Checked)
	n, v, err := at.news(ctx, sidecarFirst)
	switch {
	case sidecarFirst && errors.Is(err, errOwnList):
		sidecarFirst = false
	case !sidecarFirst && at.memory.Sidecar && (source.NotThere(err) || Explain(err).is(string(verifier.NotAPackage))):
		sidecarFirst = true
	default:
		return n, v, ownList(err)
	}
	n.Close()
	n, v, err = at.news(ctx, sidecarFirst)
	return n, v, ownList(err)
}

// ownList puts into words that a sidecar names an archive which it can't be for.
func ownList(err error) error {
	if !errors.Is(err, errOwnList) {
		return err
	}
	return &verifier.Refusal{Code: verifier.PackageMalformed, Sentence: "the package that the sidecar names has a signed list of its own",
		Hint: "name a package without one in the sidecar, or publish that package as updates.zip"}
}

func (u *update) newAttempt(place Place) (*attempt, error) {
	from, err := u.sourceAt(place, u.Arch)
	if err != nil {
		return nil, err
	}
	at := &attempt{update: u, place: place, key: keyOf(from)}
	from.Confined = u.noteIsolation
	from.Spool = func(size int64) (source.Spool, error) {
		at.spooled = true
		u.expect(size)
		spool, err := u.session.dir.Spool(size)
		if err != nil {
			return nil, blameSource(err)
		}
		return unjudged{spool}, nil
	}
	at.memory = u.session.memory.Source(at.key)
	at.under = u.under()
	at.asker = asker{
		whole:  u.started.Before(at.memory.Whole),
		from:   source.Count(apart.New(from), &u.tally),
		verify: func(raw []byte) (verifier.Signed, error) { return u.session.trust.Verify(raw, u.clock.Time) },
	}
	return at, nil
}

// sourceAt is what the source at a place is made of, for an architecture, less the
// room for what comes whole.
func (u *update) sourceAt(place Place, arch string) (apart.Config, error) {
	network, err := networkFor(u.config.settings, place, os.Getenv)
	if err != nil {
		return apart.Config{}, err
	}
	agent := u.config.settings.Agent
	from := apart.Config{
		Time: u.clock.Time,
		Timeouts: source.Timeouts{
			Connect: time.Duration(agent.ConnectTimeout.Value) * time.Second, TLS: time.Duration(agent.TLSTimeout.Value) * time.Second,
			Header: time.Duration(agent.HeaderTimeout.Value) * time.Second, Stall: time.Duration(agent.StallTimeout.Value) * time.Second,
		},
		Unended: &u.readers,
	}
	network.apply(&from)
	if place.Cloud != nil {
		from.URL, from.Single = place.Cloud.String(), true
	} else if ring := place.Ring.Arch(arch); ring.Dir != "" {
		from.Dir = ring.Dir
	} else {
		from.URL = ring.URL.String()
	}
	return from, nil
}

// keyOf is by which name a source is remembered.
func keyOf(from apart.Config) string { return cmp.Or(from.Dir, from.URL) }

// unjudged is a spool for bytes of which nobody knows yet whether they are a
// package.
type unjudged struct{ source.Spool }

// Write appends, and says where a lack of room comes from.
func (s unjudged) Write(p []byte) (int, error) {
	n, err := s.Spool.Write(p)
	return n, blameSource(err)
}

// tooMuch is a lack of room for what nobody has judged. How much of that there is,
// or is said to be, is up to the source. If it kept the next one from being asked, a
// mirror that sends without an end could keep a machine from the cloud. The room
// is free again by then; a disk that is full all the same fails the next one, too.
type tooMuch struct{ error }

// Unwrap gives what a report shows.
func (e *tooMuch) Unwrap() error { return e.error }

func blameSource(err error) error {
	if Explain(err).is(string(engine.DiskFull)) {
		return &tooMuch{err}
	}
	return err
}

// causedBySource tells whether a failure that looks like this machine's can be the
// work of the source.
func causedBySource(err error) bool {
	var e *tooMuch
	return errors.As(err, &e)
}

// coolingDown refuses a source that is to be left alone. By hand that is only
// one that itself asked for it. An end further away than any cool-down can be
// was written with a wrong clock.
func (at *attempt) coolingDown() error {
	left := at.memory.CoolDown.Sub(at.started)
	if at.opts.Now || left <= 0 || left > longestCoolDown || !at.opts.Scheduled && !at.memory.AskedToWait {
		return nil
	}
	return &Failure{codeCoolingDown, fmt.Sprintf("the source is not asked again before %s", at.memory.CoolDown.UTC().Format(time.RFC3339)),
		"wait, or ask all the same with --now"}
}

// news is steps 3 and 4: it asks the source, verifies the list, checks that it
// belongs here, and compares it with what is installed and was accepted. Where
// the verdict is to install, the package is open.
func (at *attempt) news(ctx context.Context, sidecarFirst bool) (n *news, v verifier.Verdict, err error) {
	known := at.known()
	if n, err = at.asker.ask(ctx, sidecarFirst, known); err != nil {
		return n, "", err
	}
	if n.unchanged {
		if known.refused != nil {
			at.decided(state.Step{Rule: ruleStillThere})
			return n, "", known.refused
		}
		n.raw = at.session.current.raw // as if it had just come
		if n.signed, err = at.asker.verify(n.raw); err != nil {
			return n, "", err
		}
	}
	v, err = at.compared(n)
	if err != nil || v == verifier.UpToDate || v == verifier.Behind {
		return n, v, err
	}
	again := known.refusedFor(n.signed.Digest.String())
	err = at.asker.locate(ctx, n, again)
	if errors.Is(err, source.ErrNotModified) || err == nil && again != (source.Validator{}) && again == n.validator {
		n.unchanged = true // by its sidecar's word another package, and yet the same
		err = known.refused
	}
	return n, v, err
}

// compared is the rest of step 4, for a list that is believed: does it belong here, and
// what follows for it from what is installed and was accepted.
func (at *attempt) compared(n *news) (v verifier.Verdict, err error) {
	list := n.signed.List
	at.decided(answerOf(n))
	if err := list.CheckIdentity(at.identity()); err != nil {
		return "", err
	}
	if err := at.clock.CheckIssued(list); err != nil {
		return "", err
	}
	before := at.session.trust.comparable(at.memory.Best)
	if best := verifier.FloorOf(list); best.Compare(before) > 0 {
		at.memory.Best = best
	}
	if v, err = verifier.Judge(n.signed, at.situation(before)); err != nil {
		at.nameBad(err, list)
		return "", err
	}
	at.decided(at.because(v, list))
	return v, nil
}

// answerOf is what a source answered, as a step.
func answerOf(n *news) state.Step {
	list := n.signed.List
	switch {
	case n.unchanged:
		return state.Step{Rule: ruleUnchanged}
	case n.staging != nil:
		return state.Step{Rule: ruleSignatures, Version: list.Definition.String(), At: list.Issued}
	case n.sidecar:
		return state.Step{Rule: ruleSidecar, Version: list.Definition.String(), At: list.Issued}
	}
	return state.Step{Rule: ruleList, Version: list.Definition.String(), At: list.Issued}
}

// because is the rule that leads to a verdict.
func (at *attempt) because(v verifier.Verdict, list *verifier.List) state.Step {
	s := state.Step{Version: list.Definition.String()}
	switch {
	case v == verifier.UpToDate:
		s.Rule = ruleUpToDate
	case v == verifier.Behind:
		s.Rule, s.Than = ruleBehind, at.floor.Definition.String()
	case v == verifier.Renewal:
		s.Rule = ruleRenewal
	case v == verifier.Downgrade && at.allowed(list):
		s.Rule = ruleAllowed
	case v == verifier.Downgrade:
		s.Rule = ruleStepDown
	case at.session.current == nil:
		s.Rule = ruleFirst
	default:
		s.Rule = ruleNewer
	}
	return s
}

// nameBad says since when, and why, what was refused as known bad is.
func (at *attempt) nameBad(err error, list *verifier.List) {
	if !Explain(err).is(codeKnownBad) {
		return
	}
	if bad, ok := at.session.badness(list); ok {
		at.decided(state.Step{Rule: ruleKnownBad, Version: bad.Definition.String(), At: bad.Since, Text: bad.Reason})
	}
}

func (at *attempt) identity() verifier.Identity {
	if at.session.trust.alone() {
		return verifier.Identity{Product: vendorsig.Unstated, Platform: Platform, Arch: at.Arch, Ring: vendorsig.Unstated}
	}
	return verifier.Identity{Product: at.config.settings.Agent.Product.Value, Platform: Platform, Arch: at.Arch, Ring: at.decision.Ring}
}

func (at *attempt) situation(servedBefore verifier.Floor) verifier.Situation {
	s := verifier.Situation{
		Floor: at.floor, ServedBefore: servedBefore, Now: at.clock.Time, KnownBad: map[verifier.ContentID]bool{},
		AllowDowngrade: at.opts.AllowDowngrade, AllowExpired: at.opts.AllowExpired, RetryKnownBad: at.opts.RetryKnownBad,
		StepDown: at.place.Ring.Back() && !at.session.memory.SteppedDown,
	}
	if current := at.session.current; current != nil {
		s.Current, s.Revoked = current.list(), current.signed.Revoked
	}
	// The configuration has checked its form.
	s.Minimum, _ = verifier.ParseVersion(at.config.settings.Agent.MinDefinitionVersion.Value)
	for _, bad := range at.session.memory.KnownBad {
		s.KnownBad[bad.Content] = true
	}
	return s
}

// act does what the verdict says.
func (at *attempt) act(ctx context.Context, n *news, v verifier.Verdict) error {
	switch v {
	case verifier.UpToDate, verifier.Behind:
		return at.nothingNew(v)
	}
	if err := at.listed(n.signed.List, v); err != nil {
		return err
	}
	if v == verifier.Renewal {
		at.result.Outcome = Renewed
	} else {
		at.result.Outcome = Updated
	}
	if at.opts.DryRun {
		return at.wouldInstall(n, v)
	}
	return at.install(ctx, n, v)
}

const hintStale = "publish current definitions on the mirror; if it has them, look whether the job that fills it still runs"

// nothingNew is a success, unless what is installed is out of date: then the
// source has failed in what it is for.
func (at *attempt) nothingNew(v verifier.Verdict) error {
	facts := health.Facts{Now: at.clock.Time, Due: due(at.config.settings), Installed: healthInstalled(at.session.current)}
	if health.Status(facts) == health.OutOfDate {
		if err := at.dropOwnParts(); err != nil {
			return err
		}
		return &Failure{codeStale, "the source has nothing newer than what is installed, and that is out of date", hintStale}
	}
	if v == verifier.Behind {
		at.note("the source is behind what this machine has accepted already")
	}
	at.result.Outcome = UpToDate
	if at.opts.DryRun {
		return nil
	}
	return at.session.dir.DropParts() // of a package that nobody wants any more
}

// dropOwnParts drops what is kept of this source's packages. That of the next source,
// which is asked now, stays to be gone on with.
func (at *attempt) dropOwnParts() error {
	if at.opts.DryRun {
		return nil
	}
	_, err := at.session.dir.KeepParts(engine.Origin{Source: at.key}) // that version is no package's
	return err
}
