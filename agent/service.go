package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"time"

	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/health/metrics"
	"mdatp-offline-agent/managedconfig"
)

// What a daemon needs besides updates: to be the only one, to know when the next
// update is due, to keep the last good configuration, and to hash what is
// installed from time to time.

// LockDaemon makes the caller the one daemon of this machine until unlock is
// called. While there is one, scheduled runs by others do nothing.
func (a *Agent) LockDaemon(ctx context.Context) (unlock func() error, err error) {
	store, err := state.Open(a.Paths.State)
	if err != nil {
		return nil, err
	}
	lock, err := store.LockDaemon(ctx, a.Now())
	if err != nil {
		return nil, err
	}
	return lock.Unlock, nil
}

// Plan is what the schedule says at the moment.
type Plan struct {
	Decision
	Broken   *Failure // what is wrong with the configuration; a good copy may stand in for it
	Unkept   bool     // KeepConfiguration has something to do
	Settings string   // stands for what is in force: another string, another setting; empty: nothing is

	MetricsFile string // as configured; empty: none, or nobody knows
}

// Plan decides when the next periodic update is due, from what is configured and
// remembered now. since is when the machine woke, zero where it has not slept. It
// writes nothing.
func (a *Agent) Plan(since time.Time) Plan {
	store := state.View(a.Paths.State)
	config, configErr := a.readConfiguration(store, true)
	memory, err := recall(store)
	if err != nil {
		return Plan{Decision: Decision{Rule: "what the agent remembers can not be read, as " + Explain(err).Code + " says"}}
	}
	p := Plan{Broken: Explain(config.broken), Unkept: config.isNews(store) || a.notesMissing(config, store, memory)}
	if configErr != nil {
		p.Decision, p.Broken = Decision{Rule: ruleBroken}, Explain(configErr)
		return p
	}
	known := a.known(store, config, memory.Timing, memory.HeldSince)
	known.Since = later(known.Since, since)
	known.Installed = a.hasCurrent()
	p.Decision, p.Settings = Decide(config.settings, known), inForce(config.settings)
	p.MetricsFile = config.settings.Agent.MetricsFile.Value
	return p
}

// ruleBroken keeps periodic updates off where no copy of a broken configuration
// can stand in for it.
const ruleBroken = "the configuration is broken"

// inForce stands for settings, wherever they came from.
func inForce(s managedconfig.Settings) string {
	h := sha256.New()
	for _, row := range s.Rows() {
		_ = json.NewEncoder(h).Encode([]any{row.Name, row.Value}) // values of our own always encode
	}
	return hex.EncodeToString(h.Sum(nil))
}

// hasCurrent tells, without hashing or trusting anything, whether there is a set
// that nobody has touched since it was found whole. The daemon asks each minute, and
// the report may be long: it is read once.
func (a *Agent) hasCurrent() bool {
	report := sync.OnceValue(state.View(a.Paths.State).LoadStatus)
	dir, err := a.viewEngineBy(report)
	if err != nil {
		return false
	}
	defer dir.Close()
	set, ok, err := dir.Current()
	if err != nil || !ok {
		return false
	}
	files, err := statSet(set)
	return err == nil && untouched(set, files, report().Current)
}

// KeepConfiguration keeps copies of the configuration files as they are now, as
// far as they are valid, and notes which of them are away. It tells whether
// anything was new, and takes the lock only then.
func (a *Agent) KeepConfiguration(ctx context.Context) (changed bool, err error) {
	store := state.View(a.Paths.State)
	config, _ := a.readConfiguration(store, true) // of one that is broken, the other file may be good
	memory, err := recall(store)
	if err != nil {
		return false, err
	}
	if !config.isNews(store) && !a.notesMissing(config, store, memory) {
		return false, nil
	}
	err = a.locked(ctx, 0, func(store *state.Store, memory *state.State) error {
		if a.notesMissing(config, store, memory) {
			if err := store.Save(memory); err != nil {
				return err
			}
		}
		return config.keepLastGood(store)
	})
	if err == nil {
		a.exportMetrics(ctx, config.settings)
	}
	return err == nil, err
}

// notesMissing notes in memory which files are away, and tells whether that is new.
func (a *Agent) notesMissing(config configuration, store *state.Store, memory *state.State) bool {
	before := maps.Clone(memory.Missing)
	config.noteMissing(store, memory, a.Now())
	return !maps.EqualFunc(before, memory.Missing, time.Time.Equal)
}

// isNews tells whether a file that is valid is not what its copy is.
func (c configuration) isNews(store *state.Store) bool {
	for _, f := range c.files {
		if f.good && string(store.LastGood(f.name)) != string(f.data) {
			return true
		}
	}
	return false
}

// Rehash hashes the active set against its signed list. One that is not what it
// was is forgotten as installed, so that an update is due; the error says what is
// wrong. Nothing is written where nothing is wrong.
func (a *Agent) Rehash(ctx context.Context) error {
	dir, err := a.viewEngine()
	if err != nil {
		return err
	}
	defer dir.Close()
	if _, ok, err := dir.Current(); err == nil && !ok {
		return nil // nothing is installed
	}
	config, err := a.readConfiguration(state.View(a.Paths.State), true)
	if err != nil {
		return nil // that is said elsewhere, and is no damage
	}
	trust, err := a.loadTrust(config.settings)
	if err != nil {
		return err
	}
	_, why := openCurrent(ctx, dir, trust, nil)
	if why == nil || ctx.Err() != nil {
		return why
	}
	err = a.locked(ctx, 0, func(store *state.Store, _ *state.State) error {
		status := a.loadStatus(store)
		status.Current = nil
		return store.SaveStatus(status)
	})
	return errors.Join(why, err)
}

// ExportMetrics writes the metrics file, unless path is empty. That it can't be
// written must stop no update, so it is for the log alone.
func (a *Agent) ExportMetrics(ctx context.Context, path string) {
	if path == "" || ctx.Err() != nil {
		return
	}
	if err := metrics.Write(path, a.Facts(ctx), a.Version); err != nil {
		a.Log.WithError(err).Warn("the metrics file could not be written")
	}
}

// exportMetrics is ExportMetrics for the file that is configured.
func (a *Agent) exportMetrics(ctx context.Context, s managedconfig.Settings) {
	a.ExportMetrics(ctx, s.Agent.MetricsFile.Value)
}
