package agent

import (
	"context"
	"time"

	"mdatp-offline-agent/agent/machine"
	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/apart"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/health"
	"mdatp-offline-agent/verifier"
)

// Options are what a caller may ask of one update.
type Options struct {
	Scheduled      bool             // a periodic run: do nothing that is not due
	DryRun         bool             // say what would happen, and change nothing
	AllowDowngrade verifier.Version // this version may be older than what was accepted before
	AllowExpired   bool             // an expired package may be the first one
	RetryKnownBad  bool             // what was rolled back or condemned may be installed again
	Now            bool             // ask even a source that is cooling down
	UseLastGood    bool             // by hand, too, go on with the last good configuration
	Wait           time.Duration    // how long to wait for the lock; at least two seconds
	Progress       Progress         // who is told how the run gets on; nil: nobody
	Daemon         bool             // the caller is the daemon, whose own running is no reason to skip
	Since          time.Time        // when the machine woke, for a caller who saw it; zero: when it started
}

// Progress shows how a run gets on. Its methods may be called by several
// goroutines at once.
type Progress interface {
	// Step says what the run does next, in a few words of our own.
	Step(what string)
	// Expect says that so many bytes will come, beside those expected before.
	Expect(bytes int64)
	// Got says that so many have come.
	Got(bytes int)
}

// update is one run of the cycle.
type update struct {
	*Agent
	opts    Options
	started time.Time
	up      machine.Uptime // at the same time
	result  Result

	config    configuration
	decision  Decision
	session   *session
	floor     verifier.Floor
	clock     verifier.Clock
	looking   bool   // this is no update, but a test of the sources
	asked     bool   // some source was asked
	isolation string // how the processes that read sources were confined, for reports; empty where none was
	tally     source.Tally
	steps     []state.Step // what was decided so far
	resting   []time.Time  // until when each source that failed wants to be left alone; zero: it doesn't
}

// Update runs the cycle once, and records whatever comes of it.
func (a *Agent) Update(ctx context.Context, o Options) Result {
	u := &update{Agent: a, opts: o, started: a.Now(), up: a.uptime(), result: newResult(o)}
	u.tally.Watch = u.got
	r := u.run(ctx)
	switch {
	case o.DryRun:
	case r.Outcome != Skipped:
		a.exportMetrics(ctx, u.config.settings) // without the lock, which they would show
	case !o.Daemon: // which does so itself
		u.keepNews(ctx)
	}
	return r
}

// keepNews keeps a new configuration although nothing is due yet. From then on it
// does not matter how often the same is written again, and there is a good copy
// when it breaks. A run that can't, does nothing, as it would have without.
func (u *update) keepNews(ctx context.Context) {
	if u.config.isNews(state.View(u.Paths.State)) {
		if _, err := u.KeepConfiguration(ctx); err != nil {
			u.Log.WithError(err).Debug("the configuration could not be kept")
		}
	}
}

// run is one update, from taking the lock to giving it back.
func (u *update) run(ctx context.Context) Result {
	defer func() { u.session.Close() }()
	err := u.cycle(ctx)
	return u.finish(err) // 10. record, report, clean up
}

// cycle is one update, in the order in which docs/architecture.md tells it.
// Configuration, permissions, lock and trust come before the network.
func (u *update) cycle(ctx context.Context) error {
	if err := u.settings(); err != nil { // 1. settings
		return err
	}
	if err := u.decide(state.View(u.Paths.State), u.hasCurrent()); err != nil { // 2. decide
		return err
	}
	if err := u.enter(ctx); err != nil { // permissions, lock, trust, what is installed
		return err
	}
	untold, err := u.finishLast(ctx) // 9. of a run that was killed
	if err != nil {
		return err
	}
	var first error
	var decided string
	for i, place := range u.decision.Places {
		u.decided(state.Step{Rule: ruleAsked, Source: place.Name})
		err := u.updateFrom(ctx, place) // 3. to 9., from one source
		if err == nil {
			u.result.FailReason = Explain(first) // a fallback hides nothing
			return u.stillUntold(untold)
		}
		u.Log.WithError(err).WithField("source", place.Name).Info("no update from this source")
		u.decided(failedStep(err))
		if local(Explain(err)) && !causedBySource(err) {
			if i+1 < len(u.decision.Places) {
				u.decided(state.Step{Rule: ruleNoOther})
			}
			return err // another source would not help
		}
		if first == nil || Explain(first).is(codeCoolingDown) { // to be left alone is no failure of its own
			first, decided = err, place.Name
		}
	}
	u.result.Source = decided
	return first
}

// settings is step 1.
func (u *update) settings() (err error) {
	u.config, err = u.readConfiguration(state.View(u.Paths.State), u.opts.Scheduled || u.opts.UseLastGood)
	if err != nil {
		return err
	}
	if u.config.broken != nil {
		u.note("the configuration is broken, and its last good copy is in force")
	}
	for _, w := range u.config.settings.Warnings {
		u.Log.Info(w.Sentence)
	}
	return nil
}

// decide is step 2, with what is remembered at the moment.
func (u *update) decide(store *state.Store, installed bool) error {
	memory, err := recall(store)
	if notPermitted(err) {
		memory = new(state.State) // who may not read it, may not update either, as enter will say
	} else if err != nil {
		return err
	}
	known := u.known(store, u.config, memory.Timing, memory.HeldSince) // now, and not when the run began: it may have waited
	known.Installed, known.AskNow = installed, u.opts.Now
	known.Since = later(known.Since, u.opts.Since)
	known.Daemon = u.opts.Scheduled && !u.opts.Daemon && store.DaemonRuns()
	u.decision = Decide(u.config.settings, known)
	u.steps = append(u.config.steps(), u.decision.steps(known.Now, u.opts.Scheduled)...)
	if skip := u.decision.Skip(known.Now); skip != "" && u.opts.Scheduled {
		return &Failure{codeSkipped, skip, "agent definitions update, without --scheduled, updates at once"}
	}
	if len(u.decision.Places) == 0 {
		return &Failure{codeConfig, "no source of packages is configured",
			"set antivirusEngine.offlineDefinitionUpdate to enabled and offlineDefinitionUpdateUrl to your mirror's ring, in " + u.Paths.Managed}
	}
	return nil
}

// enter takes the lock and sets the floor and the time. Between the decision
// and the lock another run may have done the work, so it decides once more.
func (u *update) enter(ctx context.Context) error {
	rules, err := trustRulesOf(u.config.settings)
	if err != nil {
		return err
	}
	if u.session, err = u.begin(ctx, rules, u.opts.Wait, !u.opts.DryRun); err != nil {
		return err
	}
	current := u.session.current
	u.result.Previous = current.version()
	if err := u.decide(u.session.store, current != nil); err != nil {
		return err
	}
	if !u.opts.DryRun {
		if err := u.config.keepLastGood(u.session.store); err != nil {
			return err
		}
		if err := u.session.keepRevocations(); err != nil {
			return err
		}
	}
	var issued time.Time
	if u.floor, issued, err = u.session.floor(ctx); err != nil {
		return err
	}
	u.clock = verifier.NewClock(u.started, issued, u.Built)
	if u.clock.Wrong {
		u.note(health.NoteClockWrong)
	}
	u.session.noteURL(u.config.settings.AntivirusEngine.OfflineDefinitionUpdateURL.Value.Raw)
	return nil
}

// noteIsolation notes what keeps the process that reads a source from everything
// else. It is the same for each.
func (u *update) noteIsolation(c apart.Confinement) {
	if u.isolation = c.String(); c.Landlock == 0 {
		u.Log.WithField("isolation", u.isolation).Info("the source is read by a process that the kernel confines only in part")
		return
	}
	u.Log.WithField("isolation", u.isolation).Debug("the source is read by a process of its own")
}

// expect says how much is about to come, where anybody wants to know.
func (u *update) expect(bytes int64) {
	if u.opts.Progress != nil && bytes > 0 {
		u.opts.Progress.Expect(bytes)
	}
}

// got says that something came.
func (u *update) got(bytes int) {
	u.beat()
	if u.opts.Progress != nil {
		u.opts.Progress.Got(bytes)
	}
}

// step says what is done next.
func (u *update) step(what string) {
	u.beat()
	if u.opts.Progress != nil {
		u.opts.Progress.Step(what)
	}
}

// pulse says that the run waits for something that has a limit of its own.
func (u *update) pulse() { u.got(0) }

// beat shows whoever looks at the lock that this run does not hang.
func (u *update) beat() {
	if u.session != nil && u.session.lock != nil {
		u.session.lock.Beat(u.Now())
	}
}

// decided adds to the chain of what was decided. A test of the sources has none, since it
// asks several at once.
func (u *update) decided(s state.Step) {
	if !u.looking {
		u.steps = append(u.steps, s)
	}
}

func (u *update) note(text string) { u.result.Notes = append(u.result.Notes, text) }
