package agent

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"mdatp-offline-agent/agent/machine"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/managedconfig"
)

// The waits before a failed update is tried again, which double with each
// failure in a row. What fails before any server is asked costs none of them
// anything and is looked at often, so that nobody has to say that it is mended.
const (
	firstRetry   = 2 * time.Minute
	longestLocal = 15 * time.Minute
)

// longestJitter bounds the delay that spreads a fleet, where nobody set it.
const longestJitter = 10 * time.Minute

// nextDue tells when the next periodic update is due. Everything is counted from now
// backwards by the clock that nobody sets, as far as it reaches: so a clock that
// is set neither brings updates forward nor holds them back.
func nextDue(s managedconfig.Settings, k Known) time.Time {
	if k.AskNow || k.Timing.Unfinished != "" && k.Timing.Failures == 0 {
		return k.Now // a run was killed before it was done
	}
	start, spread := k.start(s)
	if start.IsZero() { // nobody knows since when
		start, spread = k.Now, 0
	}
	return notBefore(k, withinWindow(s.Agent.UpdateWindow.Value, k, start, spread))
}

// start is the earliest time of the next update, and how much later this machine
// begins so that a fleet does not begin at once.
func (k Known) start(s managedconfig.Settings) (start time.Time, spread time.Duration) {
	interval := time.Duration(s.CloudService.DefinitionUpdatesInterval.Value) * time.Second
	spread = k.share(jitter(s, interval))
	since := k.past(k.Since)
	if changedSource(s, k.Timing) {
		return later(since, k.past(k.Changed)), spread
	}
	if wait, failed := k.retry(interval); failed {
		if wait.Before(since) { // a whole site may have been started again
			return since, spread
		}
		return wait, 0 // spread already
	}
	if ago, ok := k.ago(k.Timing.LastCheck, k.Timing.LastCheckUptime); ok && k.Installed {
		return later(k.Now.Add(interval-ago), since), spread
	}
	return later(since, k.past(k.Changed)), spread
}

// changedSource tells whether the first source is another one than at the last
// check. What an earlier version of the program noted is the mirror's URL alone.
func changedSource(s managedconfig.Settings, t state.Timing) bool {
	source := firstSource(s)
	return source != t.Source && (t.Source != "" || s.AntivirusEngine.OfflineDefinitionUpdateURL.Value.Raw != t.OfflineURL)
}

// firstSource is what is asked first: the mirror, or the cloud.
func firstSource(s managedconfig.Settings) string {
	if s.AntivirusEngine.OfflineDefinitionUpdate.Value {
		return s.AntivirusEngine.OfflineDefinitionUpdateURL.Value.Raw
	}
	return s.Agent.CloudURL.Value
}

// retry tells when an update that failed is tried again: sooner than the interval,
// and never later.
func (k Known) retry(interval time.Duration) (time.Time, bool) {
	ago, ok := k.ago(k.Timing.LastFailure, k.Timing.LastFailureUptime)
	if k.Timing.Failures == 0 || !ok {
		return time.Time{}, false
	}
	longest := interval
	if k.Timing.OwnFault {
		longest = min(interval, longestLocal)
	}
	wait := firstRetry
	for n := 1; n < k.Timing.Failures && wait < longest; n++ {
		wait *= 2
	}
	wait = min(wait, longest)
	return k.Now.Add(wait/2 + k.share(wait/2) - ago), true // between half of it and all of it
}

// ago tells how long ago something was. It is false for what never was, and for
// what, by a clock that was wrong then or is now, has yet to come.
func (k Known) ago(at time.Time, up machine.Uptime) (time.Duration, bool) {
	if d, ok := k.Up.Since(up); ok {
		return d, true
	}
	d := k.Now.Sub(at)
	return d, !at.IsZero() && d >= 0
}

// past is a time that has come, or else none: zero, which is long ago.
func (k Known) past(at time.Time) time.Time {
	if at.After(k.Now) {
		return time.Time{}
	}
	return at
}

// share is this machine's part of a delay. Most of it is the same each time, so
// that a fleet stays spread; a little of it is not, so that two machines which
// happen to share it do not meet for ever.
func (k Known) share(whole time.Duration) time.Duration {
	const varying = 0.1
	part := (1-varying)*fraction(k.Machine, 0) + varying*fraction(k.Machine, k.Timing.LastCheck.Unix())
	return time.Duration(part * float64(whole))
}

// fraction is a number from 0 to below 1 that a machine has for a cycle.
func fraction(id machine.Identity, cycle int64) float64 {
	h := sha256.New()
	h.Write(id[:])
	_ = binary.Write(h, binary.BigEndian, cycle) // a hash takes everything
	const bits = 53                              // of a float64
	return float64(binary.BigEndian.Uint64(h.Sum(nil))>>(64-bits)) / (1 << bits)
}

// jitter is the longest delay: what is configured, else a tenth of the interval,
// and no more than ten minutes.
func jitter(s managedconfig.Settings, interval time.Duration) time.Duration {
	if set := s.Agent.Jitter.Value; set != managedconfig.JitterUnset {
		return time.Duration(set) * time.Second
	}
	return min(interval/10, longestJitter)
}

// withinWindow moves a start into the window, and delays it there. A start that
// was missed counts from where the window opened. Where the window is shorter
// than the delay, the delay shrinks, or some machines would never have their turn.
func withinWindow(w managedconfig.Window, k Known, start time.Time, spread time.Duration) time.Time {
	if w.IsZero() {
		return start.Add(spread)
	}
	open := func(at time.Time) bool {
		wall := at.In(cmp.Or(k.Location, time.Local))
		return w.Contains(wall.Hour()*60 + wall.Minute())
	}
	inside := nextMinute(later(start, k.Now), open)
	start = later(start, opening(inside, open))
	room := nextMinute(inside, func(at time.Time) bool { return !open(at) }).Sub(start)
	if spread >= room {
		spread = time.Duration(float64(room) * (float64(spread) / float64(spread+room)))
	}
	return start.Add(spread)
}

// enoughMinutes is how far a window's ends are looked for. A day may lack the
// window, where clocks are put forward over it; the next one has it.
const enoughMinutes = 2 * 24 * 60

// nextMinute finds the first time that is wanted: at itself, or the beginning of a
// minute after it. Asking the clock on the wall about each minute is what makes
// it right on the days when that clock is put forward or back.
func nextMinute(at time.Time, wanted func(time.Time) bool) time.Time {
	next := at
	for range enoughMinutes {
		if wanted(next) {
			return next
		}
		next = next.Truncate(time.Minute).Add(time.Minute)
	}
	return at
}

// opening is the first minute of those that are open without a gap up to at.
func opening(at time.Time, open func(time.Time) bool) time.Time {
	at = at.Truncate(time.Minute)
	for range enoughMinutes {
		before := at.Add(-time.Minute)
		if !open(before) {
			break
		}
		at = before
	}
	return at
}

// notBefore waits as long as the sources asked to be left alone. A time further
// away than any that they can ask for was written with a wrong clock.
func notBefore(k Known, due time.Time) time.Time {
	if k.Timing.NotBefore.Sub(k.Now) > longestCoolDown {
		return due
	}
	return later(due, k.Timing.NotBefore)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
