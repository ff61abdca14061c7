package agent

import (
	"context"
	"errors"
	"time"

	"mdatp-offline-agent/agent/engine"
	"mdatp-offline-agent/agent/hook"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/managedconfig"
	"mdatp-offline-agent/verifier"
)

// The names of the hooks, in sentences.
const (
	preloadHook  = "the preload hook"
	postloadHook = "the postload hook"
)

// configured tells whether there is a hook.
func configured(h managedconfig.Hook) bool { return len(h.Command.Value) > 0 }

// judge has a hook look at a set. The error is a Failure with that code where the
// hook itself is at fault, which condemns nothing. beat is called all the while,
// since a hook has a limit of its own for how long it may take.
func (s *session) judge(ctx context.Context, name, code string, h managedconfig.Hook, about hook.Set, beat func()) (good bool, err error) {
	defer every(time.Second, beat)()
	verdict, err := hook.Judge(ctx, hook.Command{
		Path: h.Command.Value, Timeout: time.Duration(h.TimeoutSeconds.Value) * time.Second, Memory: int64(h.MemoryMiB.Value) << 20,
	}, about, s.Log)
	var fault *hook.Fault
	if errors.As(err, &fault) {
		return false, &Failure{code, name + " is at fault, since " + fault.Sentence, fault.Hint}
	}
	return verdict == hook.Good, err
}

// every calls f again and again until the function that it gives is called.
func every(d time.Duration, f func()) (stop func()) {
	done := make(chan struct{})
	ticker := time.NewTicker(d)
	go func() {
		for {
			select {
			case <-ticker.C:
				f()
			case <-done:
				return
			}
		}
	}()
	return func() { ticker.Stop(); close(done) }
}

// aboutSet is what a hook is told.
func aboutSet(set engine.Set, list *verifier.List, before string) hook.Set {
	return hook.Set{Dir: set.Path(), Definitions: list.Definition.String(), Engine: engineText(list), Previous: before}
}

// preload is step 7: the hook sees the sealed set before it is linked. A set that
// it condemns is known bad from then on. One that it could not judge stays on
// disk for the next run. What it may have done to the files is found by hashing
// them again.
func (at *attempt) preload(ctx context.Context, set engine.Set, n *news, v verifier.Verdict) error {
	h, s, list := at.config.settings.Agent.Hooks.Preload, at.session, n.signed.List
	if !configured(h) || v == verifier.Renewal {
		return nil
	}
	at.step("testing definitions " + list.Definition.String() + " with " + preloadHook)
	s.memory.Pending = set.Name
	if err := s.store.Save(s.memory); err != nil { // nobody may take it for a set that the hook has seen
		return err
	}
	good, err := s.judge(ctx, preloadHook, codePreload, h, aboutSet(set, list, s.current.version()), at.pulse)
	if err != nil {
		return err
	}
	if !good {
		s.memory.Pending = ""
		s.condemn(list, "condemned by "+preloadHook)
		return &Failure{codePreload, preloadHook + " condemned the definitions " + list.Definition.String(), condemnedHint}
	}
	at.decided(state.Step{Rule: rulePreload})
	err = intact(ctx, set, n.raw, list)
	if Explain(err).is(codeDamaged) {
		return &Failure{codeDamaged, preloadHook + " changed the set that it was to test", "let the hook only read what is in AGENT_SET_DIR, and write elsewhere"}
	}
	return err
}

const condemnedHint = "publish a good package with a higher version; the log has what the hook wrote"

// condemn remembers content as bad, by all that it is known by, so that it does not come
// again.
func (s *session) condemn(list *verifier.List, reason string) {
	for _, id := range list.ContentIDs() {
		s.memory.MarkBad(state.Bad{Content: id, Definition: list.Definition, Reason: reason, Since: s.Now().UTC().Truncate(time.Second)})
	}
}

// expectPostload notes that the postload hook is to see a set that is about to
// become active.
func (s *session) expectPostload(settings managedconfig.Settings, set string) {
	s.memory.Unfinished = ""
	if configured(settings.Agent.Hooks.Postload) {
		s.memory.Unfinished = set
	}
}

// settle is step 9: the hook is told of the active set. was is the set before,
// nil for none; a condemned set makes way for it. Where the hook is at fault, the
// failure says that the set is active all the same, or nobody would think so.
func (s *session) settle(ctx context.Context, settings managedconfig.Settings, was *installed, beat func()) error {
	good, err := s.tell(ctx, settings, was.version(), beat)
	var fault *Failure
	if errors.As(err, &fault) {
		return &Failure{fault.Code, fault.Message + "; the definitions " + s.current.version() + " are active", fault.Hint}
	}
	if good || err != nil {
		return err
	}
	return s.goBack(ctx, settings, was, beat)
}

// tell has the postload hook look at the active set, unless it has. An error is
// the hook's fault or an interruption, and then it will be told again.
func (s *session) tell(ctx context.Context, settings managedconfig.Settings, before string, beat func()) (good bool, err error) {
	h := settings.Agent.Hooks.Postload
	if !configured(h) {
		s.memory.Unfinished = ""
	}
	if s.memory.Unfinished == "" {
		return true, nil
	}
	good, err = s.judge(ctx, postloadHook, codePostload, h, aboutSet(s.current.set, s.current.list(), before), beat)
	if good {
		s.memory.Unfinished = ""
	}
	return good, err
}

// goBack leaves a set that the postload hook condemned for the one before. Where
// the hook does not like that one either, or there is none, nothing is wrong with
// the set as far as anybody can tell, and the hook is at fault: the set stays.
func (s *session) goBack(ctx context.Context, settings managedconfig.Settings, was *installed, beat func()) error {
	condemned := s.current
	if was == nil { // it took the place of a set that could not be used, and there may be others
		was, _ = s.rollbackTarget(ctx)
	}
	why := s.notFit(ctx, was)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if why != "" {
		return &Failure{codePostload, postloadHook + " condemned the definitions " + condemned.version() + ", which stay, since " + why,
			"look into the log for what the hook wrote; it is told again by the next update"}
	}
	if err := s.replaceActive(settings, was, s.dir.Renew); err != nil {
		return err
	}
	good, err := s.tell(ctx, settings, condemned.version(), beat)
	if err != nil && ctx.Err() != nil {
		return err
	}
	if good {
		s.condemn(condemned.list(), "condemned by "+postloadHook)
		return &Failure{codePostload, postloadHook + " condemned the definitions " + condemned.version() + ", and " + was.version() + " is active again", condemnedHint}
	}
	if err := s.replaceActive(settings, condemned, s.dir.Activate); err != nil {
		return err
	}
	return &Failure{codePostload, postloadHook + " is at fault, since it failed with the set before as well; the definitions " + condemned.version() + " stay",
		"mend the hook, then run agent definitions update; the log has what the hook wrote"}
}

// notFit says why a set can't be gone back to; empty where it can.
func (s *session) notFit(ctx context.Context, i *installed) string {
	switch {
	case i == nil:
		return "there is no set before"
	case i.signed.Revoked:
		return "the signer of the set before is revoked"
	case s.knownBad(i):
		return "the set before is known bad"
	case intact(ctx, i.set, i.raw, i.list()) != nil:
		return "the set before is damaged"
	case i.vouched() != nil || i.signed.Revoked:
		return "the files of the set before are not the vendor's"
	}
	return ""
}

// replaceActive exchanges the active set by one of the ways that the engine
// directory has for it, and lets the hook be told.
func (s *session) replaceActive(settings managedconfig.Settings, i *installed, activate func(engine.Set) error) error {
	s.expectPostload(settings, i.set.Name)
	if err := s.store.Save(s.memory); err != nil {
		return err
	}
	return s.activate(i, activate)
}

// activate makes a set the active one. How its files look is noted now that they
// were hashed, since the hook that comes next may change them.
func (s *session) activate(i *installed, activate func(engine.Set) error) (err error) {
	if i.files, err = statSet(i.set); err != nil {
		return err
	}
	if err := activate(i.set); err != nil {
		return err
	}
	s.current, s.damaged = i, false
	return nil
}

// finishLast repeats step 9 where a run was killed before the hook's answer, or
// the hook was at fault then. What was to be active may not be: a run is also
// killed just before an exchange, be it one that goes back from a condemned set.
// So the hook is told of what is active, whatever that is. If it is still at
// fault, that is given as untold, since news that may mend it must not wait for it.
func (u *update) finishLast(ctx context.Context) (untold, err error) {
	s := u.session
	if s.memory.Unfinished == "" || s.current == nil || u.opts.DryRun {
		return nil, nil
	}
	u.step("telling " + postloadHook + " of definitions " + s.current.version())
	u.decided(state.Step{Rule: ruleOwed})
	err = s.settle(ctx, u.config.settings, s.before(), u.pulse)
	if err == nil || ctx.Err() != nil || s.memory.Unfinished == "" { // condemned, and gone back from
		return nil, err
	}
	u.Log.WithError(err).Warn("the postload hook has not taken the active set")
	u.decided(failedStep(err))
	return err, nil
}

// stillUntold is the failure of the hook, where no news mended it.
func (u *update) stillUntold(untold error) error {
	if u.result.Outcome == Updated {
		return nil
	}
	return untold
}

// before is the set that previous leads to, nil for none that can be trusted.
func (s *session) before() *installed {
	set, ok, err := s.dir.Previous()
	if err != nil || !ok {
		return nil
	}
	was, err := openSet(set, s.trust)
	if err != nil {
		return nil
	}
	return was
}
