package agent

import (
	"time"

	"github.com/sirupsen/logrus"
)

// Outcome is how an update ended.
type Outcome string

// The outcomes.
const (
	Updated     Outcome = "updated"
	UpToDate    Outcome = "upToDate"
	Renewed     Outcome = "renewed"
	Skipped     Outcome = "skipped"
	WouldUpdate Outcome = "wouldUpdate"
	Failed      Outcome = "failed"
)

// The outcomes of what is done without a source, as the record of runs has them.
const (
	RolledBack Outcome = "rolledBack"
	Restored   Outcome = "restored"
	Repaired   Outcome = "repaired"
)

// Result is what an update did. Its JSON is part of the program's interface.
type Result struct {
	Type            string   `json:"$type"` // definitionsUpdateResult
	Outcome         Outcome  `json:"outcome"`
	DryRun          bool     `json:"dryRun"`
	Definitions     string   `json:"definitionsVersion"`         // in force after the run; empty: none
	Engine          string   `json:"engineVersion"`              // likewise
	Previous        string   `json:"previousDefinitionsVersion"` // in force before the run; empty: none
	Source          string   `json:"source"`                     // the source that decided; empty: none was asked
	BytesDownloaded int64    `json:"bytesDownloaded"`
	BytesReused     int64    `json:"bytesReused"`
	Requests        int64    `json:"requests"`
	DurationSeconds float64  `json:"durationSeconds"`
	Resumed         bool     `json:"resumed"`
	Notes           []string `json:"notes"`
	FailReason      *Failure `json:"failReason"` // also set where a fallback hid it, and for skipped

	// Decisions is what was decided, step by step; of a dry run alone, since of others
	// it is on record.
	Decisions []Step `json:"decisions,omitempty"`
}

func newResult(o Options) Result {
	return Result{Type: "definitionsUpdateResult", Outcome: Failed, DryRun: o.DryRun, Notes: []string{}}
}

// ExitCode is the process's exit code for the result.
func (r Result) ExitCode() int {
	if r.Outcome == Failed && r.FailReason != nil {
		return ExitCode(r.FailReason.Code)
	}
	return 0
}

// Log tells a log how the update ended, with the names that the result has in
// JSON. For a command that shows the result itself that would be once too often.
func (r Result) Log(log logrus.FieldLogger) {
	log = log.WithFields(logrus.Fields{"outcome": r.Outcome, "definitionsVersion": r.Definitions, "engineVersion": r.Engine, "previousDefinitionsVersion": r.Previous,
		"source": r.Source, "bytesDownloaded": r.BytesDownloaded, "bytesReused": r.BytesReused, "requests": r.Requests, "durationSeconds": r.DurationSeconds, "resumed": r.Resumed})
	if r.FailReason != nil {
		log = log.WithField(r.FailReason.Field())
	}
	switch {
	case r.Outcome == Skipped:
		log.Debug("nothing to do")
	case r.Outcome == Failed && unrecorded(r.FailReason):
		log.Info("the update did not take place") // another one is at work, or it was told to end
	case r.Outcome == Failed:
		log.Error("the update failed")
	default:
		log.Info("the update is done")
	}
}

// seconds rounds to what a reader cares for.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

// FailedResult is the result of an update that could not begin.
func FailedResult(o Options, err error) Result {
	r := newResult(o)
	r.FailReason = Explain(err)
	return r
}
