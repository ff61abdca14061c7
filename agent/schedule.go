package agent

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
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

// nextDue tells when the next periodic update is due, and what makes it so. Everything is counted from now
// backwards by the clock that nobody sets, as far as it reaches: so a clock that
// is set neither brings updates forward nor holds them back.
func nextDue(s managedconfig.Settings, k Known) state.Step {
	switch {
	case k.AskNow:
		return state.Step{Rule: ruleDueNow, At: k.Now}
	case k.Timing.Unfinished != "" && k.Timing.Failures == 0:
		return state.Step{Rule: ruleDueUnfinished, At: k.Now}
	}
	interval := time.Duration(s.CloudService.DefinitionUpdatesInterval.Value) * time.Second
	spread := k.share(jitter(s, interval))
	start, delay, due := k.start(s, interval, spread)
	if start.IsZero() { // nobody knows since when
		start, delay = k.Now, 0
	}
	due.At = withinWindow(s.Agent.UpdateWindow.Value, k, start, delay, spread)
	return due
}

// start is the earliest time of the next update, how much later this machine
// begins so that a fleet does not begin at once, and why it is then.
func (k Known) start(s managedconfig.Settings, interval, spread time.Duration) (start time.Time, delay time.Duration, why state.Step) {
	since, changed := k.past(k.Since), k.past(k.Changed)
	if changedSource(s, k.Timing) { // neither what failed nor who wanted to rest concerns the new one
		why.Rule = ruleDueOtherSource
		if k.Timing.LastCheck.IsZero() {
			why.Rule = ruleDueFirst
		}
		return later(since, changed), spread, why
	}
	if at, delay, failed := k.retry(interval, spread); failed {
		why.Rule = ruleDueRetry // how often, the record of runs counts
		if at.Before(since) {   // a whole site may have been started again
			return since, k.afterStart(spread, since.Sub(at)), why
		}
		return at, delay, why
	}
	ago, ok := k.ago(k.Timing.LastCheck, k.Timing.LastCheckUptime)
	if !ok || !k.Installed {
		return later(since, changed), spread, state.Step{Rule: ruleDueNothing}
	}
	why = state.Step{Rule: ruleDueInterval, Number: int64(interval / time.Second)}
	regular := k.Now.Add(interval - ago)
	start = later(later(regular, since), changed)
	if start.Equal(since) {
		return since, k.afterStart(spread, since.Sub(regular)), why
	}
	return start, spread, why
}

// afterStart is the delay after the machine was started, or woke. It is bounded
// whatever is configured, and shorter where the machine has missed a week: one
// that never runs for long must have its turn, too.
func (k Known) afterStart(spread, overdue time.Duration) time.Duration {
	const week = 7 * 24 * time.Hour
	spread = min(spread, k.share(longestJitter))
	if overdue > week {
		return spread / 20
	}
	return spread
}

// changedSource tells whether the first source is another one than at the last
// check. What an earlier version of the program noted is the mirror's URL alone.
func changedSource(s managedconfig.Settings, t state.Timing) bool {
	source := firstSource(s)
	return source != t.Source && (t.Source != "" || s.AntivirusEngine.OfflineDefinitionUpdateURL.Value.Raw != t.OfflineURL)
}

// firstSource stands for what is asked first, the mirror or the cloud. It is a
// digest, since anybody may read it where it is kept, and the cloud's URL may have
// a token in it.
func firstSource(s managedconfig.Settings) string {
	source := cloudURL(s)
	if s.AntivirusEngine.OfflineDefinitionUpdate.Value {
		source = s.AntivirusEngine.OfflineDefinitionUpdateURL.Value.Raw
	}
	sum := sha256.Sum256([]byte(source))
	return hex.EncodeToString(sum[:8])
}

// retry tells when an update that failed is tried again: sooner than the interval,
// and never later, unless every source asked to be left alone for longer. What they
// ask may be the same moment for all of a fleet, so that is spread.
func (k Known) retry(interval, spread time.Duration) (at time.Time, delay time.Duration, failed bool) {
	ago, ok := k.ago(k.Timing.LastFailure, k.Timing.LastFailureUptime)
	if k.Timing.Failures == 0 || !ok {
		return time.Time{}, 0, false
	}
	failure := k.Now.Add(-ago)
	wait := k.wait(interval)
	// Between two times of one clock, whatever it showed. More than any source can
	// ask for was written while that clock was set.
	if rest := k.Timing.NotBefore.Sub(k.Timing.LastFailure); rest > wait && rest <= longestCoolDown {
		return failure.Add(rest), spread, true
	}
	return failure.Add(wait), 0, true // it differs from machine to machine
}

// wait is how long after a failure the next try comes, between half of the longest
// and all of it.
func (k Known) wait(interval time.Duration) time.Duration {
	longest := interval
	if k.Timing.OwnFault {
		longest = min(interval, longestLocal)
	}
	wait := firstRetry
	for n := 1; n < k.Timing.Failures && wait < longest; n++ {
		wait *= 2
	}
	wait = min(wait, longest)
	return wait/2 + k.share(wait/2)
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

// timerReach is how long a timer that looks now and then may take to see that
// something is due.
const timerReach = 6 * time.Minute

// withinWindow moves a start into the window, and delays it there. A start that
// was missed counts from where the window opened, and what the window moved there
// is spread, or all of a fleet would begin when it opens. Where the window is
// shorter than the delay, the delay shrinks, or some machines would never have
// their turn.
func withinWindow(w managedconfig.Window, k Known, start time.Time, delay, spread time.Duration) time.Time {
	if w.IsZero() {
		return start.Add(delay)
	}
	where := cmp.Or(k.Location, time.Local)
	inside := nextMinute(later(start, k.Now), where, w.UntilOpen)
	if opens := opening(inside, where, w); opens.After(start) {
		start, delay = opens, spread
	}
	closes := nextMinute(inside, where, w.UntilClosed)
	if room := max(0, closes.Sub(start)-timerReach); delay >= room && delay > 0 {
		delay = time.Duration(float64(room) * (float64(delay) / float64(delay+room)))
	}
	return start.Add(delay)
}

// enoughTurns is how often a window's ends are looked for again, on the other side of a
// change of the clock. A day may lack the window, where clocks are put forward over it;
// the next one has it.
const enoughTurns = 10

// nextMinute finds the first time for which there is nothing to wait: at itself, or the
// beginning of a minute after it. wait tells for a minute of the day how many minutes
// there are. Asking the clock on the wall again where it changes is what makes it right
// on the days when that clock is put forward or back.
func nextMinute(at time.Time, where *time.Location, wait func(minute int) int) time.Time {
	next := at
	for range enoughTurns {
		minutes := wait(minuteOfDay(next, where))
		if minutes == 0 {
			return next
		}
		_, changes := next.In(where).ZoneBounds()
		next = next.Truncate(time.Minute).Add(time.Duration(minutes) * time.Minute)
		if !changes.IsZero() && next.After(changes) {
			next = wholeMinute(changes, at)
		}
	}
	return at
}

// opening is the first minute of those that are open without a gap up to at.
func opening(at time.Time, where *time.Location, w managedconfig.Window) time.Time {
	at = at.Truncate(time.Minute)
	for range enoughTurns {
		before := at.Add(-time.Minute)
		minute := minuteOfDay(before, where)
		if !w.Contains(minute) {
			break
		}
		changed, _ := before.In(where).ZoneBounds()
		at = before.Add(-time.Duration(w.SinceOpen(minute)) * time.Minute)
		if !changed.IsZero() && at.Before(changed) {
			at = wholeMinute(changed, at)
		}
	}
	return at
}

// minuteOfDay is a minute of the clock on the wall.
func minuteOfDay(at time.Time, where *time.Location) int {
	wall := at.In(where)
	return wall.Hour()*60 + wall.Minute()
}

// wholeMinute is when the first minute begins that does so no earlier, told as like is.
func wholeMinute(at, like time.Time) time.Time {
	return at.Add(time.Minute - 1).Truncate(time.Minute).In(like.Location())
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
