package state

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// Bounds of the record of runs: how many there are, how many steps each has, and how
// many bytes all of them take as JSON.
const (
	maxRuns     = 24
	maxSteps    = 64
	maxRunBytes = 64 << 10
)

// Run is the record of one run that did something, or of several in a row that went
// the same way.
type Run struct {
	Started  time.Time `json:"started"`        // the last of them
	First    time.Time `json:"first,omitzero"` // the first of them; zero: there was one
	Times    int       `json:"times,omitempty"`
	Kind     string    `json:"kind"`    // who asked for it, or which command it was
	Outcome  string    `json:"outcome"` // as results have it
	From     string    `json:"from,omitempty"`
	To       string    `json:"to,omitempty"` // the definitions in force before and after
	Duration float64   `json:"durationSeconds,omitempty"`
	Steps    []Step    `json:"steps,omitempty"`
	Failure  *Failure  `json:"failReason,omitempty"` // also where a fallback made up for it
}

// Step is one decision of a run, or a fact that decided. What it means, and which of
// the fields a rule has, is for the agent to say.
type Step struct {
	Rule    string    `json:"rule"`
	Source  string    `json:"source,omitempty"`  // as reports name it
	Version string    `json:"version,omitempty"` // the definitions that it is about
	Than    string    `json:"than,omitempty"`    // those that they were compared with
	Text    string    `json:"text,omitempty"`    // our own words, or of the configuration
	At      time.Time `json:"at,omitzero"`
	Number  int64     `json:"number,omitempty"`
	Of      int64     `json:"of,omitempty"`
	Bytes   int64     `json:"bytes,omitempty"`
	Failure *Failure  `json:"failure,omitempty"`
}

// Runs is the record of the last runs, the oldest first. Each stands there as it was
// written, so that fields of a later version survive.
type Runs []json.RawMessage

// All gives what can be read of the record.
func (r Runs) All() (runs []Run) {
	for _, raw := range r {
		var run Run
		if json.Unmarshal(raw, &run) == nil {
			runs = append(runs, run)
		}
	}
	return runs
}

// With gives the record with one run more. One that went as the last did takes its
// place, and counts. The oldest go where the record becomes too large.
func (r Runs) With(run Run) Runs {
	run.Times = 1
	run.Steps = run.Steps[:min(len(run.Steps), maxSteps)]
	runs := slices.Clone(r)
	if all := (Runs(runs[max(0, len(runs)-1):])).All(); len(all) == 1 && all[0].sameWay(run) {
		last := all[0]
		run.Times, run.First = max(1, last.Times)+1, last.First
		if run.First.IsZero() {
			run.First = last.Started
		}
		runs = runs[:len(runs)-1]
	}
	raw, err := json.Marshal(run)
	if err != nil || len(raw) > maxRunBytes { // a year that JSON has no form for; texts that nobody bounded
		raw, _ = json.Marshal(Run{Kind: run.Kind, Outcome: run.Outcome, Times: run.Times})
	}
	runs = append(runs, raw)
	size := 0
	for i := len(runs) - 1; i >= 0; i-- {
		if size += compact(runs[i]); len(runs)-i > maxRuns || size > maxRunBytes {
			return slices.Delete(runs, 0, i+1)
		}
	}
	return runs
}

// compact is how many bytes a JSON text takes without the spaces that make it readable.
func compact(raw json.RawMessage) int {
	var out bytes.Buffer
	if json.Compact(&out, raw) != nil {
		return len(raw)
	}
	return out.Len()
}

// sameWay tells whether two runs went the same way, whatever the time was.
func (r Run) sameWay(other Run) bool {
	return r.Kind == other.Kind && r.Outcome == other.Outcome && r.From == other.From && r.To == other.To &&
		slices.EqualFunc(r.Steps, other.Steps, func(a, b Step) bool {
			a.At, b.At = time.Time{}, time.Time{}
			same := sameFailure(a.Failure, b.Failure)
			a.Failure, b.Failure = nil, nil
			return same && a == b
		})
}

func sameFailure(a, b *Failure) bool {
	return a == b || a != nil && b != nil && *a == *b
}
