package health

import "time"

// Setting is a configured value that is in force.
type Setting[T any] struct {
	Value   T
	Managed bool // it comes from the managed configuration
}

// Facts are what was found on disk, in the state and in the configuration.
type Facts struct {
	// Now is the time of the report. Where the clock is known to be behind, it
	// should be the latest time that is certain to have passed; otherwise old
	// definitions would look young.
	Now      time.Time
	Location *time.Location // in which dates are printed; nil means time.Local

	AutomaticUpdate Setting[bool]
	OfflineEnabled  Setting[bool]
	FallbackToCloud Setting[bool]
	OfflineURL      Setting[string]  // verbatim as configured; "" where none is
	Enforcement     Setting[string]  // the enforcement level as configured; "" where none is
	Proxy           *Setting[string] // as configured, for everything or else for the cloud; "" where none is, nil where nobody knows

	Installed *Installed    // nil where nothing valid is installed
	Updating  bool          // an update is at work right now
	Due       time.Duration // definitions older than this, counted from their release, are out of date

	// UpdateFailed says that no source worked at the last attempt, or that the
	// installed set's signer was revoked.
	UpdateFailed bool
	// Failure is shown as the fail reason, nil where there is none. It may be
	// set while UpdateFailed is false: a fallback worked, and the failure of
	// the source before it still shows.
	Failure *Failure

	SourceURI string   // where the installed set really came from; "" where unknown
	Notes     []string // remarks that are no failure: NoteClockWrong, or the rule that keeps updates off

	NextCheck    time.Time     // when the next periodic update is due; zero where a rule keeps them off, or where nobody knows
	Rule         string        // the rule that keeps periodic updates off, "" where they are on
	LastAttempt  time.Time     // when an update was last tried, for those that leave a record
	LastSuccess  time.Time     // when one last worked, whether or not it brought something new
	TrustExpires time.Time     // the earliest end of a certificate in the chain of the active set's signer
	Endings      []Ending      // what the installed set rests on, or without one the trust directory's own, one of each kind
	Fallback     bool          // the last update was made from the fallback, since the source before it failed
	Isolation    string        // what confines the process that reads sources, as the last one was; "" where none was seen
	Profile      string        // by which profile of trust the active set was verified; "" where none is
	LastDuration time.Duration // how long the last recorded attempt took
	Totals       Totals
}

// Totals count since the state was made. They start anew with a new state, as
// counters may.
type Totals struct {
	Downloaded int64            // bytes that came from sources
	Reused     int64            // bytes of installed files that were at hand already
	Requests   int64            // requests made to sources
	Runs       map[string]int64 // recorded runs by reason code, "ok" for those that worked
}

// Ending is when one object ends that a set rests on. Whoever gathers the facts
// decides when it is time to warn.
type Ending struct {
	Object  string    // signer, intermediate, root, crl or list
	At      time.Time // until when it holds
	From    time.Time // when the warning begins
	Warning string    // what ends and who must act, like a Failure's sentence; "" as long as it is too early
}

// warnings gives those that are due, in the order of the endings.
func warnings(f Facts) (texts []string) {
	for _, e := range f.Endings {
		if e.Warning != "" {
			texts = append(texts, e.Warning)
		}
	}
	return texts
}

// endOf is when an object ends, zero where nobody knows or it never does.
func endOf(f Facts, object string) time.Time {
	for _, e := range f.Endings {
		if e.Object == object {
			return e.At
		}
	}
	return time.Time{}
}

// IssueExpiry among the health issues says that something ends soon, or has ended.
const IssueExpiry = "expires_soon"

// NoteClockWrong among the notes of Facts says that the clock is behind what is
// already known of the time. It is listed as a health issue too.
const NoteClockWrong = "clock_wrong"

// Installed describes the active set, as its verified list has it. A zero time
// counts as long ago, and shows as unavailable.
type Installed struct {
	DefinitionVersion string
	EngineVersion     string
	Released          time.Time // when the content was made; its age counts from here
	Issued            time.Time // when the list was signed
	Expires           time.Time // until when the content may be relied on
	Lasts             bool      // nobody said until when, and Expires is zero
	Updated           time.Time // when the set became active on this endpoint
}

// Failure is why an update failed. Sentence has to be fixed text; like every
// string it is escaped, so it could not break the table, but it could mislead.
type Failure struct {
	Code     string // from the closed list of reason codes
	Sentence string // one line, without a full stop
	Hint     string // what to do; "" where nothing is known
}

// String gives "CODE: sentence", the form of definitions_update_fail_reason.
// There is none for a nil Failure, which gives "".
func (f *Failure) String() string {
	if f == nil {
		return ""
	}
	return f.Code + ": " + f.Sentence
}

// The states of the definitions, as the table shows them. JSON has them in
// camel case.
const (
	Unavailable  = "unavailable"   // nothing valid is installed
	Updating     = "updating"      // an update is at work
	OutOfDate    = "out_of_date"   // too old, or expired
	UpdateFailed = "update_failed" // no source worked at the last attempt
	UpToDate     = "up_to_date"
)

// Status gives the state of the definitions: the first in the order of the
// constants that holds. Age hides a failed update, since definitions that are
// too old to rely on are the worse news, and the fail reason is shown anyway.
func Status(f Facts) string {
	switch {
	case f.Installed == nil:
		return Unavailable
	case f.Updating:
		return Updating
	case outOfDate(f):
		return OutOfDate
	case f.UpdateFailed:
		return UpdateFailed
	default:
		return UpToDate
	}
}

// outOfDate says whether the installed set is older than it may be. The age
// counts from the release and not from the update: a stale mirror must not make
// old content look young by serving it late.
func outOfDate(f Facts) bool {
	return tooOld(f) || expired(f)
}

// ListEnded is when the list of the installed definitions ended, where that alone makes
// them out of date; zero where it does not, or where they are too old besides.
func ListEnded(f Facts) time.Time {
	if f.Installed == nil || tooOld(f) || !expired(f) {
		return time.Time{}
	}
	return f.Installed.Expires
}

func tooOld(f Facts) bool { return f.Now.Sub(f.Installed.Released) > f.Due }

func expired(f Facts) bool { return !f.Installed.Lasts && f.Now.After(f.Installed.Expires) }
