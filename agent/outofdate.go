package agent

import (
	"time"

	"mdatp-offline-agent/health"
	"mdatp-offline-agent/verifier"
)

// Definitions are out of date by their age, or since the list that vouches for them has
// ended. Whose turn it is then, is not the same.
const (
	hintStale = "publish current definitions on the mirror; if it has them, look whether the job that fills it still runs, or whether a package waits there to be approved or promoted, which agent mirror check tells"
	hintEnded = "the mirror's side must renew the list, with agent mirror approve RING-DIR --renew and then agent mirror promote where that fills the ring, or publish newer definitions"
)

// ended says when a list ended, whatever stands before it.
func ended(at time.Time) string { return " ended at " + at.UTC().Format(verifier.TimeFormat) }

// facts are what the age of the installed definitions is judged by.
func (at *attempt) facts() health.Facts {
	return health.Facts{Now: at.clock.Time, Due: due(at.config.settings), Installed: healthInstalled(at.session.current)}
}

// stale is why a source that has nothing newer than what is installed has failed; nil
// where that is not out of date.
func (at *attempt) stale() error {
	facts := at.facts()
	const nothing = "the source has nothing newer than what is installed, "
	switch end := health.ListEnded(facts); {
	case !end.IsZero():
		return &Failure{codeStale, nothing + "whose signed list" + ended(end), hintEnded}
	case health.Status(facts) == health.OutOfDate:
		return &Failure{codeStale, nothing + "and that is out of date", hintStale}
	}
	return nil
}

// endedFailure is why what is installed is out of date, where nothing else is wrong.
func endedFailure(end time.Time) *health.Failure {
	return &health.Failure{Code: string(verifier.PackageExpired), Sentence: "the signed list of what is installed" + ended(end), Hint: hintEnded}
}
