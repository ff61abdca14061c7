package agent

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"mdatp-offline-agent/agent/engine"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/health"
	"mdatp-offline-agent/managedconfig"
	"mdatp-offline-agent/verifier/vendorsig"
)

// grace is how long a set stays on disk after it ceased to be the previous one,
// for readers who resolved it before.
const grace = 10 * time.Minute

// finish is step 10: it turns what happened into a result and a record, and
// removes what nobody needs any more.
func (u *update) finish(err error) Result {
	r, s := &u.result, u.session
	failure := Explain(err)
	if failure != nil {
		u.Log.WithError(err).Debug("the update ended")
		u.tellFailure(failure)
	}
	switch {
	case s == nil || u.opts.DryRun:
	case failure.is(codeBusy), failure.is(codeInterrupted):
		u.recordCutShort(failure)
	case s.lock != nil && s.memory != nil && (failure == nil || !unrecorded(failure)):
		if err := u.record(failure); err != nil && failure == nil {
			failure = Explain(err)
		}
	}
	if failure != nil {
		r.FailReason, r.Outcome = failure, Failed
		if failure.Code == codeSkipped || failure.Code == codeCoolingDown && u.opts.Scheduled {
			r.Outcome = Skipped
		}
	}
	if s != nil {
		r.Notes = append(r.Notes, s.notes...)
		if r.Outcome != WouldUpdate {
			r.Definitions, r.Engine = s.current.version(), s.current.engineVersion()
		}
	}
	r.BytesDownloaded, r.Requests = u.tally.Bytes.Load(), u.tally.Requests.Load()
	r.DurationSeconds = seconds(u.Now().Sub(u.started))
	if u.opts.DryRun {
		r.Decisions = chain(u.steps)
	}
	return *r
}

// tellFailure ends the chain with what ended the run, unless that was a source's and
// has been told.
func (u *update) tellFailure(failure *Failure) {
	told := func(s state.Step) bool { return s.Failure != nil && *s.Failure == state.Failure(*failure) }
	if failure.Code != codeSkipped && !slices.ContainsFunc(u.steps, told) {
		u.decided(failedStep(failure))
	}
}

// asRun is the update as the record of runs has it.
func (u *update) asRun(failure *Failure) state.Run {
	r := state.Run{Started: u.started.UTC().Truncate(time.Second), Kind: kindOf(u.opts), Outcome: string(u.result.Outcome), From: u.result.Previous,
		To: u.session.current.version(), Duration: seconds(u.Now().Sub(u.started)), Steps: u.steps, Failure: (*state.Failure)(u.result.FailReason)}
	if failure != nil {
		r.Outcome, r.Failure = string(Failed), (*state.Failure)(failure)
	}
	return r
}

// kindOf is who asked for an update.
func kindOf(o Options) string {
	switch {
	case o.Daemon:
		return kindDaemon
	case o.Scheduled:
		return kindScheduled
	}
	return kindByHand
}

// record writes down how the update ended.
func (u *update) record(failure *Failure) error {
	status := u.statusAfter(failure)
	u.keepCount(failure)
	status.Timing, status.Totals = u.session.memory.Timing, u.session.memory.Totals
	status.Runs = status.Runs.With(u.asRun(failure))
	u.config.noteMissing(u.session.store, u.session.memory, u.started)
	return u.session.save(status, u.config.settings.Agent.Keep.Value)
}

// recordCutShort writes down a run that came to nothing, beside the result of the
// last one that did not. The run has said so itself, so failing to is no failure.
func (u *update) recordCutShort(failure *Failure) {
	if err := u.session.store.NoteCutShort(u.asRun(failure), u.Now()); err != nil {
		u.Log.WithError(err).Debug("the run could not be put on record")
	}
}

// keepCount keeps what the schedule and the counters need.
func (u *update) keepCount(failure *Failure) {
	m := u.session.memory
	if u.asked {
		m.Checked(firstSource(u.config.settings), u.started, u.up)
	}
	result := "ok"
	if failure == nil {
		m.Succeeded()
	} else {
		m.Failed(firstSource(u.config.settings), u.Now(), u.uptime(), local(failure) && !u.asked, u.rest())
		result = failure.Code
	}
	m.Totals.Add(result, u.tally.Bytes.Load(), u.result.BytesReused, u.tally.Requests.Load())
}

// rest is until when every source that was configured wants to be left alone;
// zero where one does not.
func (u *update) rest() time.Time {
	if len(u.resting) == 0 {
		return time.Time{}
	}
	return slices.MinFunc(u.resting, time.Time.Compare)
}

// statusAfter is what anybody may read of the update. That the clock is wrong
// is not in it, since every report looks at the clock itself.
func (u *update) statusAfter(failure *Failure) state.Status {
	status := u.session.seen
	status.LastAttempt = u.started.UTC()
	status.Failed = failure != nil
	status.Duration = seconds(u.Now().Sub(u.started))
	status.Fallback = failure == nil && u.result.FailReason != nil
	if failure == nil {
		status.LastSuccess = status.LastAttempt
		failure = cmp.Or(u.result.FailReason, Explain(u.config.broken)) // what a fallback hid, or a copy stands in for
	}
	if failure == nil || failure.Code != codeCoolingDown { // else the failure that led to it still holds
		status.FailReason = (*state.Failure)(failure)
	}
	status.Notes = slices.DeleteFunc(slices.Concat(u.result.Notes, u.session.notes), func(note string) bool { return note == health.NoteClockWrong })
	status.Settings = summary(u.config.settings)
	status.SourceIsolation = cmp.Or(u.isolation, status.SourceIsolation)
	return status
}

// loadStatus reads the report for who changes a part of it. Where that is lost, it gets the
// settings in force: who may not read the configuration goes by them.
func (a *Agent) loadStatus(store *state.Store) state.Status {
	status := store.LoadStatus()
	if status.Settings == nil {
		if config, err := a.readConfiguration(store, true); err == nil {
			status.Settings = summary(config.settings)
		}
	}
	return status
}

// save writes memory and status, with what is on disk now, and only then
// removes sets: keep is how many may stay, current and previous included.
func (s *session) save(status state.Status, keep int) error {
	if s.dir == nil { // what can't be written to has not changed either
		return errors.Join(s.store.Save(s.memory), s.store.SaveStatus(status))
	}
	sets, linked, unread := s.takeStock()
	if err := s.store.Save(s.memory); err != nil {
		return err
	}
	status.HeldSince = s.memory.HeldSince // a status that was lost has it from here again
	if moved, err := s.store.EngineDirectory(); err == nil {
		status.EngineDirectory = moved
	}
	status.Current = s.seenCurrent()
	status.Sets = maps.Clone(s.memory.Sets)
	s.markBad(status.Sets, sets)
	if err := s.store.SaveStatus(status); err != nil {
		return err
	}
	if unread != nil { // which is no failure of what was done
		s.Log.WithError(unread).Warn("not every set could be looked at; what could not stays")
	}
	removed, err := s.dir.Collect(s.keeper(sets, linked, keep))
	if len(removed) > 0 {
		s.Log.WithField("sets", removed).Info("old sets were removed")
	}
	return err
}

// seenCurrent is how the active set looked when it was found whole, nil where
// there is none.
func (s *session) seenCurrent() *state.Current {
	if s.current == nil {
		return nil
	}
	return &state.Current{Set: s.current.set.Name, Files: s.current.files, Under: s.current.under, VendorRevoked: s.current.revoked}
}

// takeStock brings what is remembered of sets in line with what is on disk. Where
// there is an error, some of the sets could not be looked at, and none is forgotten.
func (s *session) takeStock() (sets []engine.Set, linked map[string]bool, unread error) {
	sets, unread = s.dir.Sets()
	linked = map[string]bool{}
	if set, ok, err := s.dir.Current(); err == nil && ok {
		linked[set.Name] = true
	}
	s.memory.Previous = ""
	if set, ok, err := s.dir.Previous(); err == nil && ok {
		linked[set.Name] = true
		s.memory.Previous = set.Name
	}
	now := s.Now().UTC()
	notes := map[string]state.Set{}
	if unread != nil {
		for name, note := range s.memory.Sets {
			note.Retired = now // it may be in use
			notes[name] = note
		}
	}
	for _, set := range sets {
		note := s.memory.Sets[set.Name]
		switch {
		case linked[set.Name]:
			note.Retired = time.Time{}
		case note.Retired.IsZero() || note.Retired.After(now):
			note.Retired = now
		}
		notes[set.Name] = note
	}
	s.memory.Sets = notes
	return sets, linked, unread
}

// markBad adds why a set's content is known bad, for a report.
func (s *session) markBad(notes map[string]state.Set, sets []engine.Set) {
	if len(s.memory.KnownBad) == 0 {
		return // nearly always; to know what a set is means to verify it
	}
	for _, set := range sets {
		found, err := openSet(set, s.trust)
		if err != nil {
			continue
		}
		if bad, ok := s.badness(found.list()); ok {
			note := notes[set.Name]
			note.Bad = bad.Reason
			notes[set.Name] = note
		}
	}
}

// keeper tells which sets stay: those that are linked, the newest of the others
// up to the number that is wanted, and those that somebody may still be reading.
func (s *session) keeper(sets []engine.Set, linked map[string]bool, keep int) func(engine.Set) bool {
	others := slices.DeleteFunc(slices.Clone(sets), func(set engine.Set) bool { return linked[set.Name] })
	slices.SortStableFunc(others, func(a, b engine.Set) int {
		return cmp.Or(s.memory.Sets[b.Name].Installed.Compare(s.memory.Sets[a.Name].Installed), cmp.Compare(b.Name, a.Name))
	})
	stays := maps.Clone(linked)
	stays[s.memory.Pending] = true
	for _, set := range others[:min(len(others), max(0, keep-2))] {
		stays[set.Name] = true
	}
	now := s.Now()
	return func(set engine.Set) bool {
		// One that was not seen when stock was taken may have been in use until now.
		note, seen := s.memory.Sets[set.Name]
		return stays[set.Name] || !seen || now.Sub(note.Retired) < grace
	}
}

// due is how old definitions may get.
func due(s managedconfig.Settings) time.Duration {
	return time.Duration(s.CloudService.DefinitionUpdateDue.Value) * 24 * time.Hour
}

// healthInstalled is what a report says of a set; nil for none.
func healthInstalled(i *installed) *health.Installed {
	if i == nil {
		return nil
	}
	l := i.list()
	expires := vendorsig.Expires(l)
	return &health.Installed{DefinitionVersion: l.Definition.String(), EngineVersion: engineText(l), Released: l.Released, Issued: l.Issued, Expires: expires, Lasts: expires.IsZero()}
}
