package agent

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/health"
	"mdatp-offline-agent/managedconfig"
	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/trustdir"
)

// Facts gathers what a health report is made of, from what is on disk now. Any
// user may do it; it takes no lock and writes nothing. What can't be read or
// verified is missing from the facts, with the reason as their failure.
func (a *Agent) Facts(ctx context.Context) health.Facts {
	store := state.View(a.Paths.State)
	status := store.LoadStatus()
	config, err := a.readConfiguration(store, true)
	if err != nil {
		config.settings = managedconfig.Defaults()
	}
	if config.broken == nil && stoodIn(status) {
		status.FailReason = nil // mended since
	}
	f := health.Facts{UpdateFailed: status.Failed, Failure: healthFailure(status.FailReason)}
	settingsFacts(&f, config, err == nil, status)
	switch {
	case err == nil:
		a.scheduleFacts(&f, store, config, status)
	case !notPermitted(err): // else nobody knows what was configured
		f.Rule = ruleBroken
	}
	f.LastAttempt, f.LastSuccess, f.Fallback = status.LastAttempt, status.LastSuccess, status.Fallback
	f.Isolation = status.SourceIsolation
	f.LastDuration, f.Totals = time.Duration(status.Duration*float64(time.Second)), health.Totals(status.Totals)
	a.atWork(&f, store, config.settings)
	var current *installed
	trust, why := a.trustToShow(config, err, status)
	if why == nil {
		current, why = a.viewCurrent(ctx, trust, status)
	}
	f.Notes = append(f.Notes, trust.notes(a.Now())...)
	f.Notes = append(f.Notes, a.placeNotes()...)
	clock := verifier.NewClock(a.Now(), issued(current), a.Built)
	f.Now = clock.Time
	if clock.Wrong {
		f.Notes = append(f.Notes, health.NoteClockWrong)
	}
	if f.Installed = healthInstalled(current); f.Installed != nil {
		f.Installed.Updated = a.committed()
		f.SourceURI = status.Sets[current.set.Name].Source
		f.Profile = trust.profile
		if !trust.alone() {
			f.TrustExpires = firstEnd(current.signed.Chain)
		}
	}
	if !trust.alone() { // what the vendor's files rest on was good when they were signed
		f.Endings = endings(trust.Trust, current, clock.Time)
	}
	if current != nil && current.signed.Revoked {
		why = setRevoked()
	}
	if why != nil {
		f.UpdateFailed, f.Failure = true, explainForHealth(why)
	}
	if end := health.ListEnded(f); !end.IsZero() && f.Failure == nil {
		f.Failure = endedFailure(end)
	}
	if config.broken != nil && !notPermitted(config.broken) {
		f.Failure = explainForHealth(config.broken)
	}
	return f
}

// settingsFacts fills in the settings in force: those of the files, or of the copies
// that stand in for them, or, where this user can read neither, those of the last run.
func settingsFacts(f *health.Facts, config configuration, known bool, status state.Status) {
	settings := summary(config.settings)
	outdated := !known || config.broken == nil && status.FailReason != nil && status.FailReason.Code == codeConfig
	if outdated && status.Settings != nil {
		settings = status.Settings
	}
	f.AutomaticUpdate = health.Setting[bool](settings.AutomaticUpdate)
	f.OfflineEnabled = health.Setting[bool](settings.OfflineUpdate)
	f.OfflineURL = health.Setting[string](settings.OfflineURL)
	f.FallbackToCloud = health.Setting[bool](settings.FallbackToCloud)
	f.Enforcement = health.Setting[string](settings.Enforcement)
	if !outdated { // no copy of it is kept where everybody can read it
		proxy := config.settings.Agent.Proxy
		if proxy.Value == "" {
			proxy = config.settings.CloudService.Proxy
		}
		f.Proxy = &health.Setting[string]{Value: proxy.Value, Managed: managed(proxy.Origin)}
	}
	f.Due = time.Duration(settings.DueDays) * 24 * time.Hour
	f.Notes = status.Notes
}

// stoodIn tells whether the only complaint of the last run was that it went by a
// copy of the configuration.
func stoodIn(status state.Status) bool {
	return !status.Failed && !status.Fallback && status.FailReason != nil && status.FailReason.Code == codeConfig
}

// scheduleFacts tells which source is not asked, what keeps periodic updates off,
// or when the next one is due.
func (a *Agent) scheduleFacts(f *health.Facts, store *state.Store, config configuration, status state.Status) {
	decision := a.decisionFor(store, config, status)
	f.NextCheck, f.Rule = decision.Due, decision.Rule
	f.Notes = append(f.Notes, decision.Notes...)
	if f.Rule != "" {
		f.Notes = append(f.Notes, "no periodic updates, since "+f.Rule)
	}
}

// decisionFor is the decision about periodic updates, for who looks and does not act.
func (a *Agent) decisionFor(store *state.Store, config configuration, status state.Status) Decision {
	known := a.known(store, config, status.Timing, status.HeldSince)
	known.Installed = status.Current != nil
	return Decide(config.settings, known)
}

// atWork tells whether an update is at work. One that holds the lock and has not
// got on for a whole interval hangs, and nothing is updated while it does.
func (a *Agent) atWork(f *health.Facts, store *state.Store, s managedconfig.Settings) {
	work, held := store.Updating()
	interval := time.Duration(s.CloudService.DefinitionUpdatesInterval.Value) * time.Second
	if !held || a.Now().Sub(work.Progress) <= interval {
		f.Updating = held
		return
	}
	who := "a process"
	if work.PID > 0 {
		who = fmt.Sprintf("process %d", work.PID)
	}
	f.UpdateFailed = true
	f.Failure = &health.Failure{Code: codeBusy, Sentence: who + " holds the lock, and has not got on since " + work.Progress.UTC().Format(time.RFC3339),
		Hint: "look what keeps that process, such as a network file system that does not answer, and end it; the lock goes with it"}
}

// notes names the revocation lists, the vendor's among them, that should have been
// replaced by now, or should not have been.
func (t trusted) notes(now time.Time) []string {
	notes, removed := listNotes(t.Trust, "", now), t.Trust.Removed()
	if t.vendor != nil { // what was there before is known to both parts
		notes = append(notes, listNotes(t.vendor.Trust, trustdir.Vendor+"/", now)...)
		removed = t.Trust.Removed(t.vendor.Trust)
	}
	if removed > 0 {
		notes = append(notes, "a revocation list was taken out of the trust directory, and still counts")
	}
	return notes
}

// listNotes is notes for one part of the trust directory.
func listNotes(trust verifier.Trust, part string, now time.Time) (notes []string) {
	for _, file := range trust.Stale(now) {
		notes = append(notes, "the revocation list "+part+file+" in the trust directory is overdue, and still counts")
	}
	for _, file := range trust.Older() {
		notes = append(notes, "the revocation list "+part+file+" in the trust directory is older than one that was there before, which still counts")
	}
	return notes
}

// viewCurrent gives the active set, nil and the reason where there is none that
// is whole and trusted.
func (a *Agent) viewCurrent(ctx context.Context, trust trusted, status state.Status) (*installed, error) {
	dir, err := a.viewEngine()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	current, err := openCurrent(ctx, dir, trust, status.Current)
	if err != nil {
		return nil, err
	}
	return current, nil
}

// committed is when current was last exchanged, zero where that can't be told.
func (a *Agent) committed() time.Time {
	dir, err := a.EngineDirectory()
	if err != nil {
		return time.Time{}
	}
	info, err := os.Lstat(filepath.Join(dir, "current"))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// firstEnd is when the first certificate of a chain ends.
func firstEnd(chain []*x509.Certificate) (end time.Time) {
	for _, c := range chain {
		if end.IsZero() || c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

// endings is what the installed set rests on, or where there is none the next one
// may, and what is to be said of it now.
func endings(trust verifier.Trust, current *installed, now time.Time) (all []health.Ending) {
	ends := trust.OwnEnds()
	if current != nil {
		ends = trust.Ends(current.signed)
	}
	for _, e := range ends {
		shown := health.Ending{Object: string(e.Object), At: e.End, From: e.WarnFrom()}
		if e.Due(now) {
			shown.Warning = e.Sentence(now) + ", and " + e.Remedy()
		}
		all = append(all, shown)
	}
	return all
}

func issued(i *installed) time.Time {
	if i == nil {
		return time.Time{}
	}
	return i.list().Issued
}

func explainForHealth(err error) *health.Failure {
	e := Explain(err)
	return &health.Failure{Code: e.Code, Sentence: e.Message, Hint: e.Hint}
}

func healthFailure(f *state.Failure) *health.Failure {
	if f == nil {
		return nil
	}
	return &health.Failure{Code: f.Code, Sentence: f.Message, Hint: f.Hint}
}

// setRevoked is what a set of a revoked signer, which stays active, is reported with.
func setRevoked() *Failure {
	return &Failure{codeRevoked, "the signer of the installed set is revoked", "publish a package of another signer, which replaces it"}
}
