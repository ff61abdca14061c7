package agent

import (
	"context"
	"slices"
	"time"

	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/health"
)

// Who asked for a run that is on record.
const (
	kindByHand    = "byHand"
	kindScheduled = "scheduled" // a timer
	kindDaemon    = "daemon"
)

// Why is what was decided in the last runs, and what holds now. Its JSON is part of
// the program's interface; what can't be known is null.
type Why struct {
	Type string   `json:"$type"` // definitionsWhyResult
	Now  WhyNow   `json:"now"`
	Runs []WhyRun `json:"runs"` // the newest first; at most as many as the two records of the state keep
}

// WhyNow is how this machine stands.
type WhyNow struct {
	Status      string     `json:"definitionsStatus"`  // as health has it
	Definitions *string    `json:"definitionsVersion"` // null: nothing valid is installed
	NextCheck   *time.Time `json:"nextCheck"`          // null where a rule keeps periodic updates off
	Decisions   []Step     `json:"decisions"`          // what makes the next update due or keeps it off, and which sources are not asked
	FailReason  *Failure   `json:"failReason"`         // why no source worked at the last attempt, or what is wrong now
}

// WhyRun is one run, or several in a row that went the same way.
type WhyRun struct {
	Started     time.Time  `json:"started"` // the last of them
	First       *time.Time `json:"first"`   // the first of them; null: there was one
	Times       int        `json:"times"`
	Kind        string     `json:"kind"`    // byHand, scheduled or daemon
	Outcome     string     `json:"outcome"` // as updates have it, or rolledBack, restored, repaired
	Previous    string     `json:"previousDefinitionsVersion"`
	Definitions string     `json:"definitionsVersion"`
	Duration    float64    `json:"durationSeconds"`
	Decisions   []Step     `json:"decisions"`
	FailReason  *Failure   `json:"failReason"`
}

// Why tells what was decided in the last runs, and what holds now. Any user may ask;
// it takes no lock and writes nothing. Runs that had nothing to do, since none was
// due, leave no record; what it says of now is what they say.
func (a *Agent) Why(ctx context.Context) Why {
	w := Why{Type: "definitionsWhyResult", Runs: []WhyRun{}}
	var last *Failure
	store := state.View(a.Paths.State)
	for _, r := range newestFirst(store.LoadStatus().Runs.All(), store.CutShort().All()) {
		w.Runs = append(w.Runs, whyRun(r))
		last = w.Runs[0].FailReason
	}
	w.Now = a.whyNow(ctx, last)
	return w
}

// newestFirst makes one record of two that begin with the oldest. Each keeps its own
// order, whatever the clock did meanwhile. Of two that started in one second, the one
// that was cut short found the other at work.
func newestFirst(recorded, cutShort []state.Run) (all []state.Run) {
	for len(recorded) > 0 && len(cutShort) > 0 {
		from := &cutShort
		if recorded[len(recorded)-1].Started.After(cutShort[len(cutShort)-1].Started) {
			from = &recorded
		}
		last := len(*from) - 1
		all, *from = append(all, (*from)[last]), (*from)[:last]
	}
	rest := slices.Concat(recorded, cutShort)
	slices.Reverse(rest)
	return append(all, rest...)
}

func whyRun(r state.Run) WhyRun {
	w := WhyRun{Started: r.Started, Times: max(1, r.Times), Kind: r.Kind, Outcome: r.Outcome, Previous: r.From, Definitions: r.To,
		Duration: r.Duration, Decisions: chain(r.Steps), FailReason: (*Failure)(r.Failure)}
	if !r.First.IsZero() {
		w.First = &r.First
	}
	return w
}

// whyNow is what a report and a periodic run would say. last is the failure of the
// last run, which is told there.
func (a *Agent) whyNow(ctx context.Context, last *Failure) WhyNow {
	facts := a.Facts(ctx)
	w := WhyNow{Status: health.Status(facts)}
	if facts.Installed != nil {
		w.Definitions = &facts.Installed.DefinitionVersion
	}
	if f := facts.Failure; f != nil {
		w.FailReason = &Failure{f.Code, f.Sentence, f.Hint}
	}
	store := state.View(a.Paths.State)
	config, err := a.readConfiguration(store, true)
	if err != nil {
		w.FailReason = Explain(err)
		w.Decisions = chain([]state.Step{failedStep(err)})
		return w
	}
	decision := a.decisionFor(store, config, store.LoadStatus())
	steps := slices.Concat(config.steps(), []state.Step{decision.when}, decision.where)
	if f := w.FailReason; f != nil && config.broken == nil && (last == nil || *f != *last) {
		steps = append(steps, failedStep(f))
	}
	w.Decisions = chain(steps)
	if !decision.Due.IsZero() {
		w.NextCheck = &decision.Due
	}
	return w
}
