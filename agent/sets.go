package agent

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"mdatp-offline-agent/agent/engine"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/managedconfig"
	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig"
)

// SetInfo is one set on disk, as a listing shows it. Its JSON is part of the
// program's interface; what can't be known is null.
type SetInfo struct {
	Name        string     `json:"name"`
	Definitions *string    `json:"definitionsVersion"`
	Engine      *string    `json:"engineVersion"`
	Released    *time.Time `json:"released"`
	Issued      *time.Time `json:"issued"`
	Expires     *time.Time `json:"expires"`
	Installed   *time.Time `json:"installed"`
	Size        *int64     `json:"size"`  // bytes
	State       string     `json:"state"` // active, previous, kept or knownBad
	Reason      string     `json:"reason"`
}

// Sets is a listing of what is on disk.
type Sets struct {
	Type       string    `json:"$type"`
	Sets       []SetInfo `json:"sets"`
	FailReason *Failure  `json:"failReason"` // what is wrong with what is listed
}

// List gives every set on disk, the newest first. Any user may ask.
func (a *Agent) List(ctx context.Context) (Sets, error) {
	found, _, err := a.look(ctx, listing{
		dir: func(*engine.Dir) error { return nil },
		set: func(_ engine.Set, _ *installed, err error) ([]engine.Problem, error) { return nil, err }, judge: true,
	})
	found.FailReason = Explain(err)
	return found, err
}

// listing is what is looked at beside what every listing shows. Its functions give
// what is wrong with the engine directory, and with each set, of which the list may
// be what is wrong.
type listing struct {
	dir func(*engine.Dir) error
	set func(engine.Set, *installed, error) ([]engine.Problem, error)
	// judge has the active set judged by the vendor's signatures before, as health does:
	// its list alone does not make it valid.
	judge bool
}

// look goes through the sets. The listing is complete also where there is an error,
// which is the first of those that were found.
// A set that is taken away meanwhile, since nobody needs it or all are moved, is
// passed over.
func (a *Agent) look(ctx context.Context, l listing) (found Sets, problems []engine.Problem, err error) {
	found = Sets{Type: "definitionsListResult", Sets: []SetInfo{}}
	store := state.View(a.Paths.State)
	config, unread := a.readConfiguration(store, true)
	if unread != nil && !notPermitted(unread) { // less its pins, anybody may look
		return found, nil, unread
	}
	dir, err := a.viewEngine()
	if err != nil {
		return found, nil, err
	}
	defer dir.Close()
	sets, first := dir.Sets()
	links, damaged := linkNames(dir)
	first = cmp.Or(first, damaged, l.dir(dir))
	if len(sets) == 0 {
		return found, nil, cmp.Or(first, nothingInstalled())
	}
	status := store.LoadStatus()
	trust, err := a.trustToShow(config, unread, status)
	if err != nil {
		return found, nil, err
	}
	notes := status.Sets
	for _, set := range sets {
		i, err := openSet(set, trust)
		if err == nil && l.judge && links[set.Name] == "active" && trust.vendor != nil {
			var current *installed
			if current, err = openCurrent(ctx, dir, trust, status.Current); current != nil && current.set.Name == set.Name {
				i = current // which knows whether its signer is revoked
			}
		}
		wrong, err := l.set(set, i, err)
		if ctx.Err() != nil {
			return found, problems, ctx.Err()
		}
		if err != nil && set.Gone() {
			continue
		}
		if !isOtherProfile(err) || links[set.Name] == "active" { // else it waits to be collected, or for its profile
			first = cmp.Or(first, err)
			problems = append(problems, wrong...)
		}
		found.Sets = append(found.Sets, describe(set, i, err, links[set.Name], notes[set.Name]))
	}
	if len(found.Sets) == 0 {
		if now, err := a.EngineDirectory(); err == nil && now != dir.Path() {
			return a.look(ctx, l)
		}
		first = cmp.Or(first, nothingInstalled())
	}
	return found, problems, first
}

func nothingInstalled() error {
	return &Failure{codeNothing, "no set is installed", "install one with agent definitions update"}
}

// linkNames says of each linked set which link leads to it. The error is that
// of a link which leads to no set, or to one without a list.
func linkNames(dir *engine.Dir) (links map[string]string, first error) {
	links = map[string]string{}
	for _, link := range []struct {
		state string
		find  func() (engine.Set, bool, error)
	}{{"previous", dir.Previous}, {"active", dir.Current}} {
		set, ok, err := link.find()
		if ok && err == nil {
			links[set.Name] = link.state
			_, err = set.List()
		}
		first = cmp.Or(err, first)
	}
	return links, first
}

func describe(set engine.Set, i *installed, err error, link string, note state.Set) SetInfo {
	info := SetInfo{Name: set.Name, State: "kept", Reason: note.Bad}
	if note.Bad != "" {
		info.State = "knownBad"
	}
	if link != "" {
		info.State = link
	}
	switch {
	case err != nil:
		info.Reason = Explain(err).Error()
	case info.Reason == "" && i != nil && i.signed.Revoked:
		info.Reason = setRevoked().Error()
	}
	if !note.Installed.IsZero() {
		info.Installed = &note.Installed
	}
	if i != nil {
		l := i.list()
		definitions, size := l.Definition.String(), l.Size()
		info.Definitions, info.Size = &definitions, &size
		info.Released, info.Issued = &l.Released, &l.Issued
		if engineVersion := engineText(l); engineVersion != "" {
			info.Engine = &engineVersion
		}
		if expires := vendorsig.Expires(l); !expires.IsZero() {
			info.Expires = &expires
		}
	}
	return info
}

// Change is what a command did that exchanges the active set without a source.
type Change struct {
	Type        string `json:"$type"`
	Definitions string `json:"definitionsVersion"`
	Previous    string `json:"previousDefinitionsVersion"` // empty: none
}

// Rollback goes back to the previous set, or to the newest older one that is
// whole, trusted and not known bad. What is left is remembered as bad, so that
// the next update does not bring it back. The floor stays where it is.
//
// Of a set that is damaged so much that not even its list can be read, nothing can be
// remembered. That is a failure, with set_damaged, although the other one is active.
func (a *Agent) Rollback(ctx context.Context, wait time.Duration) (Change, error) {
	forgotten := false
	change, err := a.exchange(ctx, wait, goingBack{"definitionsRollbackResult", RolledBack, ruleRolledBack}, func(s *session) (*installed, error) {
		target, err := s.rollbackTarget(ctx)
		if left := s.last(); err == nil && left != nil {
			s.condemn(left.list(), "rolled back by hand")
		} else {
			forgotten = s.damaged
		}
		return target, err
	})
	if err == nil && forgotten {
		err = &Failure{codeDamaged, "the definitions " + change.Definitions + " are active, but the list of what was left can not be read, so the next update may bring it back",
			"if it must not come back, stop periodic updates with agent definitions hold until there is a newer package"}
	}
	return change, err
}

// rollbackTarget looks for a set to go back to and hashes it.
func (s *session) rollbackTarget(ctx context.Context) (*installed, error) {
	sets, err := s.dir.Sets() // the newest first
	if err != nil {
		return nil, err
	}
	if previous, ok, err := s.dir.Previous(); err == nil && ok {
		sets = append([]engine.Set{previous}, sets...)
	}
	for _, set := range sets {
		target, err := openSet(set, s.trust)
		if err != nil || target.signed.Revoked || s.knownBad(target) || !s.older(target) || set.Name == s.memory.Pending {
			continue
		}
		if err := target.whole(ctx); err != nil || target.signed.Revoked {
			s.Log.WithError(err).WithField("set", set.Name).Warn("this set can not be gone back to")
			continue
		}
		return target, nil
	}
	return nil, &Failure{codeNothing, "there is no older set to go back to", "point the configuration to the mirror's _back ring, or publish a good package with a higher version"}
}

func (s *session) knownBad(i *installed) bool {
	_, bad := s.badness(i.list())
	return bad
}

// badness is what is known bad of a content.
func (s *session) badness(list *verifier.List) (bad state.Bad, ok bool) {
	ids := list.ContentIDs()
	i := slices.IndexFunc(s.memory.KnownBad, func(b state.Bad) bool { return slices.Contains(ids, b.Content) })
	if i < 0 {
		return bad, false
	}
	return s.memory.KnownBad[i], true
}

// older tells whether a set has another content than the active one and is below
// it.
func (s *session) older(i *installed) bool {
	if s.current == nil {
		return true
	}
	c := s.current
	return !i.list().SameContent(c.list()) && verifier.FloorOf(i.list()).Compare(verifier.FloorOf(c.list())) < 0
}

// Restore goes back to the set that was shipped with the program. The floor
// stays where it is, so that the next update goes forward again.
func (a *Agent) Restore(ctx context.Context, wait time.Duration) (Change, error) {
	return a.exchange(ctx, wait, goingBack{"definitionsRestoreResult", Restored, ruleRestored}, func(s *session) (*installed, error) { return s.installSeed(ctx) })
}

// installSeed verifies the seed and copies it into a sealed set.
func (s *session) installSeed(ctx context.Context) (*installed, error) {
	if s.trust.alone() {
		return nil, &Failure{codeNothing, "the set shipped with the program is vouched for by a signed list, and the profile vendor goes by none", "go back with agent definitions rollback instead"}
	}
	raw, err := readSeedList(s.Paths.Seed)
	if err != nil {
		return nil, &Failure{codeNothing, "no set was shipped with the program at " + s.Paths.Seed, "go back with agent definitions rollback instead"}
	}
	signed, err := s.trust.VerifyInstalled(raw)
	if err != nil {
		return nil, err
	}
	if signed.Revoked {
		return nil, seedRevoked()
	}
	if err := s.dir.Room(signed.List.Size(), len(signed.List.Files)+1); err != nil {
		return nil, err
	}
	staging, err := s.dir.Stage(engine.SetName(signed.List.Definition, signed.Digest))
	if err != nil {
		return nil, err
	}
	defer staging.Discard()
	for _, f := range signed.List.Files {
		if err := s.copySeedFile(ctx, staging, f); err != nil {
			return nil, err
		}
	}
	set, err := s.dir.Seal(ctx, staging, signed.List, raw)
	if err != nil {
		return nil, err
	}
	seed := &installed{set: set, raw: raw, signed: signed, by: s.trust}
	if err := seed.vouched(); err != nil {
		return nil, err
	}
	if seed.signed.Revoked {
		return nil, seedRevoked()
	}
	s.memory.NoteSet(set.Name, state.Set{Source: s.Paths.Seed, Installed: s.Now().UTC().Truncate(time.Second)})
	return seed, nil
}

func seedRevoked() error {
	return &Failure{codeRevoked, "the signer of the shipped set is revoked", "install a newer version of the program"}
}

const seedHint = "install the program's package again"

func (s *session) copySeedFile(ctx context.Context, staging *engine.Staging, f verifier.File) error {
	from, err := os.Open(filepath.Join(s.Paths.Seed, f.Name))
	if err != nil {
		return &Failure{codeDamaged, "the set shipped with the program is not complete", seedHint}
	}
	defer from.Close()
	err = staging.Write(ctx, f, from)
	var refused *verifier.Refusal
	if errors.As(err, &refused) { // the words for a mirror's package would mislead
		return &Failure{codeDamaged, "the set shipped with the program is not as it was signed", seedHint}
	}
	if Explain(err).is(codeInternal) { // reading it failed
		return errors.Join(&Failure{codeDamaged, "the set shipped with the program can not be read", seedHint}, err)
	}
	return err
}

// goingBack is what a command that goes back is called: in its result, and on record.
type goingBack struct {
	result  string
	outcome Outcome
	rule    string
}

// exchange is the frame of rollback and restore: configuration, lock, what to go
// to, the exchange itself, the postload hook, the record. The set is what somebody
// chose by hand, so it stays whatever the hook says of it.
func (a *Agent) exchange(ctx context.Context, wait time.Duration, g goingBack, find func(*session) (*installed, error)) (Change, error) {
	config, s, err := a.beginByHand(ctx, wait)
	change := Change{Type: g.result}
	if err == nil {
		change, err = s.exchange(ctx, config.settings, g, find)
	}
	s.Close()
	a.exportMetrics(ctx, config.settings) // without the lock, which they would show
	return change, err
}

func (s *session) exchange(ctx context.Context, settings managedconfig.Settings, g goingBack, find func(*session) (*installed, error)) (Change, error) {
	change := Change{Type: g.result}
	if err := newer(s.memory); err != nil {
		return change, err
	}
	if _, _, err := s.floor(ctx); err != nil { // remember what is left, before it is left
		return change, err
	}
	change.Previous = s.current.version()
	now, err := find(s)
	if err != nil {
		return change, err
	}
	activate := s.dir.Activate
	if s.damaged {
		activate = s.dir.Renew
	}
	if err := s.replaceActive(settings, now, activate); err != nil {
		return change, err
	}
	change.Definitions = now.version()
	err = s.tellByHand(ctx, settings, change.Previous)
	s.seen.Timing = s.memory.Timing
	s.noteByHand(g.outcome, g.rule, change.Previous, err)
	return change, errors.Join(err, s.save(s.seen, settings.Agent.Keep.Value))
}

// noteByHand puts on record that somebody exchanged the active set by hand. was is the
// version before; err is what the hook said of it.
func (s *session) noteByHand(outcome Outcome, rule, was string, err error) {
	run := state.Run{Started: s.Now().UTC().Truncate(time.Second), Kind: kindByHand, Outcome: string(outcome), From: was, To: s.current.version(), Steps: []state.Step{{Rule: rule}}}
	if err != nil {
		run.Failure = (*state.Failure)(Explain(err))
		run.Steps = append(run.Steps, failedStep(err))
	}
	s.seen.Runs = s.seen.Runs.With(run)
}

// tellByHand tells the postload hook of what somebody chose by hand, which stays
// whatever the hook says of it.
func (s *session) tellByHand(ctx context.Context, settings managedconfig.Settings, before string) error {
	good, err := s.tell(ctx, settings, before, func() { s.lock.Beat(s.Now()) })
	if !good && err == nil {
		err = &Failure{codePostload, postloadHook + " condemned the definitions " + s.current.version() + ", which are active all the same", "look into the log for what the hook wrote"}
	}
	return err
}

// beginByHand is the start of a command by hand that writes.
func (a *Agent) beginByHand(ctx context.Context, wait time.Duration) (configuration, *session, error) {
	config, rules, err := a.readByHand()
	if err != nil {
		return config, nil, err
	}
	s, err := a.begin(ctx, rules, wait, true)
	return config, s, err
}

// readByHand reads the configuration for a command by hand: one that is broken is
// an error.
func (a *Agent) readByHand() (configuration, trustRules, error) {
	config, err := a.readConfiguration(state.View(a.Paths.State), false)
	if err != nil {
		return config, trustRules{}, err
	}
	rules, err := trustRulesOf(config.settings)
	return config, rules, err
}

// Hold stops periodic updates until Unhold; updates by hand go on. It gives the
// time since which they are held.
func (a *Agent) Hold(ctx context.Context, wait time.Duration) (since time.Time, err error) {
	err = a.locked(ctx, wait, func(store *state.Store, m *state.State) error {
		if m.HeldSince.IsZero() {
			m.HeldSince = a.Now().UTC().Truncate(time.Second)
		}
		since = m.HeldSince
		return a.saveHeld(store, m)
	})
	a.exportConfigured(ctx)
	return since, err
}

// Unhold lets periodic updates go on.
func (a *Agent) Unhold(ctx context.Context, wait time.Duration) error {
	err := a.locked(ctx, wait, func(store *state.Store, m *state.State) error {
		m.HeldSince = time.Time{}
		return a.saveHeld(store, m)
	})
	a.exportConfigured(ctx)
	return err
}

// exportConfigured writes the metrics file for a command that needs nothing else of
// the configuration.
func (a *Agent) exportConfigured(ctx context.Context) {
	if config, err := a.readConfiguration(state.View(a.Paths.State), true); err == nil {
		a.exportMetrics(ctx, config.settings)
	}
}

// saveHeld writes down whether updates are held, for who acts and for who looks.
func (a *Agent) saveHeld(store *state.Store, m *state.State) error {
	status := a.loadStatus(store)
	status.HeldSince, status.Timing = m.HeldSince, m.Timing
	return errors.Join(store.Save(m), store.SaveStatus(status))
}

// locked changes what is remembered, under the lock.
func (a *Agent) locked(ctx context.Context, wait time.Duration, change func(*state.Store, *state.State) error) error {
	store, err := state.Open(a.Paths.State)
	if err != nil {
		return err
	}
	lock, err := store.Lock(ctx, wait, a.Now())
	if err != nil {
		return err
	}
	memory, err := recall(store)
	if err == nil {
		err = newer(memory)
	}
	if err == nil && memory.Relearn {
		a.Log.Warn(lossOf(memory, store.LoadStatus()))
	}
	if err == nil {
		err = change(store, memory)
	}
	return errors.Join(err, lock.Unlock())
}

// newer refuses to act on a memory that could not be written down again.
func newer(memory *state.State) error {
	if !memory.Newer() {
		return nil
	}
	return &Failure{codeInstall, "a newer version of the program wrote the agent's memory, and this one does not overwrite it", "use the newer version"}
}
