package agent

import (
	"testing"
	"time"

	"mdatp-offline-agent/managedconfig"
)

// Around each change of a clock, the ends of a window are those that one finds who looks
// at that clock at each minute.
func TestWindowByTheMinute(t *testing.T) {
	t.Parallel()
	day := func(year, month, day int) time.Time {
		return time.Date(year, time.Month(month), day, 0, 0, 30, 0, time.UTC)
	}
	for _, c := range []struct {
		zone string
		from time.Time // two days in which the clock changes
	}{
		{"America/New_York", day(2026, 3, 7)},
		{"America/New_York", day(2026, 10, 31)},
		{"Australia/Lord_Howe", day(2026, 4, 3)}, // by half an hour
		{"Australia/Lord_Howe", day(2026, 10, 2)},
		{"Pacific/Apia", day(2011, 12, 29)},  // by a day
		{"Africa/Monrovia", day(1972, 1, 6)}, // from one that was off by seconds, too
	} {
		where, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Skipf("SKIPPED: the time zone %s is missing; get it with: apt-get install tzdata", c.zone)
		}
		for _, w := range []managedconfig.Window{{From: 22 * 60, To: 5*60 + 30}, {From: 75, To: 165}, {From: 2 * 60, To: 3 * 60}, {From: 0, To: 23*60 + 59}} {
			for at := c.from; at.Before(c.from.AddDate(0, 0, 2)); at = at.Add(97 * time.Minute) {
				open := func(at time.Time) bool { return w.Contains(minuteOfDay(at, where)) }
				inside := byTheMinute(at, open)
				for what, pair := range map[string][2]time.Time{
					"opens":  {nextMinute(at, where, w.UntilOpen), inside},
					"opened": {opening(inside, where, w), openedByTheMinute(inside, open)},
					"closes": {nextMinute(inside, where, w.UntilClosed), byTheMinute(inside, func(at time.Time) bool { return !open(at) })},
				} {
					if pair[0] != pair[1] {
						t.Errorf("%s, %s: it %s at %s, and not %s", w, at.In(where), what, pair[0].In(where), pair[1].In(where))
					}
				}
			}
		}
	}
}

func byTheMinute(at time.Time, wanted func(time.Time) bool) time.Time {
	for !wanted(at) {
		at = at.Truncate(time.Minute).Add(time.Minute)
	}
	return at
}

func openedByTheMinute(at time.Time, open func(time.Time) bool) time.Time {
	at = at.Truncate(time.Minute)
	for open(at.Add(-time.Minute)) {
		at = at.Add(-time.Minute)
	}
	return at
}
