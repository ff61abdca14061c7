package state

import (
	"time"

	"mdatp-offline-agent/agent/machine"
)

// Timing is what the schedule is made of. It stands in state.json for who acts
// and in status.json for who looks. Each time is kept by both of the machine's
// clocks, since the one that people set may jump.
type Timing struct {
	OfflineURL        string         `json:"offlineUrl,omitempty"` // the mirror that was configured at the last check
	Source            string         `json:"source,omitempty"`     // what stands for the source that was to be asked first at the last run
	LastCheck         time.Time      `json:"lastCheck,omitzero"`   // when a source was last asked
	LastCheckUptime   machine.Uptime `json:"lastCheckUptime,omitzero"`
	Failures          int            `json:"failures,omitempty"` // recorded failures since the last success
	LastFailure       time.Time      `json:"lastFailure,omitzero"`
	LastFailureUptime machine.Uptime `json:"lastFailureUptime,omitzero"`
	OwnFault          bool           `json:"ownFault,omitempty"`   // the last failure was this machine's, and no source was asked
	NotBefore         time.Time      `json:"notBefore,omitzero"`   // until when every source asked to be left alone
	Unfinished        string         `json:"unfinished,omitempty"` // a set that is to be active, or is, and that the postload hook has not seen yet
}

// Checked notes that sources were asked, this one first.
func (t *Timing) Checked(source string, now time.Time, up machine.Uptime) {
	t.first(source)
	t.LastCheck, t.LastCheckUptime = now.UTC(), up
}

// first notes the source that was to be asked first. What failed with another one
// is not held against it.
func (t *Timing) first(source string) {
	if t.Source != source {
		t.Source, t.Failures = source, 0
	}
}

// Failed notes a failure, with the source that was asked first, or was to be; own
// says that it was this machine's. notBefore may be zero.
func (t *Timing) Failed(source string, now time.Time, up machine.Uptime, own bool, notBefore time.Time) {
	t.first(source)
	t.Failures++
	t.LastFailure, t.LastFailureUptime, t.OwnFault, t.NotBefore = now.UTC(), up, own, notBefore
}

// Succeeded forgets failures.
func (t *Timing) Succeeded() {
	t.Failures, t.LastFailure, t.LastFailureUptime, t.OwnFault, t.NotBefore = 0, time.Time{}, machine.Uptime{}, false, time.Time{}
}

// Totals are sums since the state was made.
type Totals struct {
	Downloaded int64            `json:"downloaded"` // bytes
	Reused     int64            `json:"reused"`     // bytes
	Requests   int64            `json:"requests"`
	Runs       map[string]int64 `json:"runs,omitempty"` // by how they ended: a reason code, or ok
}

// Add counts one run more.
func (t *Totals) Add(result string, downloaded, reused, requests int64) {
	if t.Runs == nil {
		t.Runs = map[string]int64{}
	}
	t.Runs[result]++
	t.Downloaded += downloaded
	t.Reused += reused
	t.Requests += requests
}
