package agent_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/machine"
	"mdatp-offline-agent/agent/state"
)

// boot is some boot of a machine, and up a point in time after it.
const boot = "b1"

func up(since time.Duration) machine.Uptime {
	return machine.Uptime{Boot: boot, Seconds: since.Seconds()}
}

// idOf is the identity of the n-th machine of a fleet.
func idOf(n int) machine.Identity { return machine.Identity{byte(n), byte(n >> 8), 7} }

// sourceOf is what the timing has of a source that is asked first.
func sourceOf(url string) string {
	sum := sha256.Sum256([]byte(url))
	return hex.EncodeToString(sum[:8])
}

// hourly is a machine with a mirror that updates each hour, with more of its
// section agent.
func hourly(agentSection string) string {
	return fmt.Sprintf(`{%s,"cloudService":{"definitionUpdatesInterval":3600},"agent":{%s}}`, offlineAt(mirrorURL, false), agentSection)
}

// checked is a machine that did its last check that long ago, and was up all the
// time.
func checked(ago time.Duration) agent.Known {
	return agent.Known{Now: base, Up: up(1000 * time.Hour), Since: base.Add(-1000 * time.Hour), Installed: true,
		Timing: state.Timing{Source: sourceOf(mirrorURL), LastCheck: base.Add(-ago), LastCheckUptime: up(1000*time.Hour - ago)}}
}

// When the next update is due, without the delay that spreads a fleet.
func TestDue(t *testing.T) {
	t.Parallel()
	edit := func(k agent.Known, f func(*agent.Known)) agent.Known { f(&k); return k }
	failed := func(n int, ago time.Duration, own bool) agent.Known {
		return edit(checked(ago), func(k *agent.Known) {
			k.Timing.Failures, k.Timing.OwnFault = n, own
			k.Timing.LastFailure, k.Timing.LastFailureUptime = base.Add(-ago), up(1000*time.Hour-ago)
		})
	}
	year := 365 * day
	for _, c := range []struct {
		what     string
		known    agent.Known
		from, to time.Duration // from base on
	}{
		{"an interval after the last check", checked(20 * time.Minute), 40 * time.Minute, 40 * time.Minute},
		{"overdue", checked(2 * time.Hour), -time.Hour, -time.Hour},
		{"overdue at boot", edit(checked(2*time.Hour), func(k *agent.Known) { k.Up, k.Since = machine.Uptime{Boot: "b2", Seconds: 60}, base.Add(-time.Minute) }), -time.Minute, -time.Minute},
		{"not due at boot", edit(checked(20*time.Minute), func(k *agent.Known) { k.Up, k.Since = machine.Uptime{Boot: "b2", Seconds: 60}, base.Add(-time.Minute) }), 40 * time.Minute, 40 * time.Minute},
		{"nothing installed", edit(checked(20*time.Minute), func(k *agent.Known) { k.Installed = false }), -1000 * time.Hour, -1000 * time.Hour},
		{"nothing installed, just configured", edit(checked(20*time.Minute), func(k *agent.Known) { k.Installed, k.Changed = false, base.Add(-time.Second) }), -time.Second, -time.Second},
		{"another URL", edit(checked(20*time.Minute), func(k *agent.Known) { k.Timing.Source, k.Changed = sourceOf("http://old"), base.Add(-time.Second) }), -time.Second, -time.Second},
		{"another URL, by a file from the future", edit(checked(20*time.Minute), func(k *agent.Known) { k.Timing.Source, k.Changed = sourceOf("http://old"), base.Add(year) }), -1000 * time.Hour, -1000 * time.Hour},
		{"the URL that an earlier version noted", edit(checked(20*time.Minute), func(k *agent.Known) { k.Timing.Source, k.Timing.OfflineURL = "", mirrorURL }), 40 * time.Minute, 40 * time.Minute},
		{"another than an earlier version noted", edit(checked(20*time.Minute), func(k *agent.Known) { k.Timing.Source, k.Timing.OfflineURL = "", "http://old" }), -1000 * time.Hour, -1000 * time.Hour},
		{"never checked", edit(checked(0), func(k *agent.Known) { k.Timing = state.Timing{} }), -1000 * time.Hour, -1000 * time.Hour},
		{"never checked, and nobody knows since when it is up", agent.Known{Now: base}, 0, 0},

		{"clock set back a year", edit(checked(20*time.Minute), func(k *agent.Known) { k.Timing.LastCheck = base.Add(year) }), 40 * time.Minute, 40 * time.Minute},
		{"clock set forward a year", edit(checked(20*time.Minute), func(k *agent.Known) { k.Timing.LastCheck = base.Add(-year) }), 40 * time.Minute, 40 * time.Minute},
		{"clock set back a year, and booted", edit(checked(20*time.Minute), func(k *agent.Known) {
			k.Timing.LastCheck, k.Up.Boot, k.Since = base.Add(year), "b2", base.Add(-time.Minute)
		}), -time.Minute, -time.Minute},
		{"clock set forward a year, and booted", edit(checked(20*time.Minute), func(k *agent.Known) {
			k.Timing.LastCheck, k.Up.Boot, k.Since = base.Add(-year), "b2", base.Add(-time.Minute)
		}), -time.Minute, -time.Minute},

		{"first retry", failed(1, 0, false), time.Minute, 2 * time.Minute},
		{"third retry", failed(3, time.Minute, false), 3 * time.Minute, 7 * time.Minute},
		{"never later than the interval", failed(20, 0, false), 30 * time.Minute, time.Hour},
		{"a fault of this machine's", failed(20, 0, true), 7*time.Minute + 30*time.Second, 15 * time.Minute},
		{"failed, then booted", edit(failed(1, time.Hour, false), func(k *agent.Known) { k.Up.Boot, k.Since = "b2", base.Add(-time.Second) }), -time.Second, -time.Second},
		{"failed, then another URL", edit(failed(20, 0, false), func(k *agent.Known) { k.Timing.Source, k.Changed = sourceOf("http://old"), base }), 0, 0},
		{"failed before any source was asked", edit(failed(3, 0, true), func(k *agent.Known) {
			k.Timing.LastCheck, k.Timing.LastCheckUptime, k.Installed = time.Time{}, machine.Uptime{}, false
		}), 4 * time.Minute, 8 * time.Minute},
		{"the old server asked for rest, and there is a new one", edit(failed(3, 0, false), func(k *agent.Known) {
			k.Timing.Source, k.Timing.NotBefore, k.Changed = sourceOf("http://old"), base.Add(5*time.Hour), base
		}), 0, 0},
		{"overdue since a change", edit(checked(2*time.Hour), func(k *agent.Known) { k.Changed = base.Add(-time.Minute) }), -time.Minute, -time.Minute},
		{"failed in the future", edit(failed(20, 0, false), func(k *agent.Known) { k.Up, k.Timing.LastFailure = machine.Uptime{}, base.Add(year) }), time.Hour, time.Hour},
		{"the server asked for more than the interval", edit(failed(1, 0, false), func(k *agent.Known) { k.Timing.NotBefore = base.Add(5 * time.Hour) }), 5 * time.Hour, 5 * time.Hour},
		{"the server asked for more, and that is over", edit(failed(1, 6*time.Hour, false), func(k *agent.Known) { k.Timing.NotBefore = base.Add(-time.Hour) }), -time.Hour, -time.Hour},
		{"more than a server can ask for", edit(failed(1, 0, false), func(k *agent.Known) { k.Timing.NotBefore = base.Add(7 * time.Hour) }), time.Minute, 2 * time.Minute},

		{"asked for now", edit(checked(0), func(k *agent.Known) { k.AskNow = true }), 0, 0},
		{"killed before the postload hook", edit(checked(0), func(k *agent.Known) { k.Timing.Unfinished = "x" }), 0, 0},
		{"the postload hook is at fault", edit(failed(1, 0, true), func(k *agent.Known) { k.Timing.Unfinished = "x" }), time.Minute, 2 * time.Minute},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			for n := range 50 {
				c.known.Machine = idOf(n)
				due := agent.Decide(settings(t, hourly(`"jitter":0`)), c.known).Due
				if from, to := base.Add(c.from), base.Add(c.to); due.Before(from) || due.After(to) {
					t.Fatalf("machine %d is due at %s, want %s to %s", n, due, from, to)
				}
			}
		})
	}
}

// A fleet spreads over the whole delay, each machine keeps its place, and varies
// a little from cycle to cycle.
func TestFleetSpreads(t *testing.T) {
	t.Parallel()
	const fleet = 1000
	for config, delay := range map[string]time.Duration{
		hourly(""):              6 * time.Minute, // a tenth of the interval
		hourly(`"jitter":3600`): time.Hour,
		`{` + offlineAt(mirrorURL, false) + `,"cloudService":{"definitionUpdatesInterval":86400}}`: 10 * time.Minute, // and not more
	} {
		s := settings(t, config)
		interval := time.Duration(s.CloudService.DefinitionUpdatesInterval.Value) * time.Second
		var tenths [10]int
		for n := range fleet {
			var places []float64
			for cycle := range 20 {
				k := checked(time.Duration(cycle) * time.Second)
				k.Machine = idOf(n)
				late := agent.Decide(s, k).Due.Sub(base.Add(interval - time.Duration(cycle)*time.Second))
				if late < 0 || late >= delay {
					t.Fatalf("machine %d is %s late, want 0 to %s", n, late, delay)
				}
				places = append(places, float64(late)/float64(delay))
			}
			tenths[int(places[0]*10)]++
			if varies := slices.Max(places) - slices.Min(places); varies == 0 || varies > 0.11 {
				t.Fatalf("machine %d varies by %.3f of the delay", n, varies)
			}
		}
		for i, got := range tenths {
			if got < fleet/20 || got > fleet/5 {
				t.Errorf("%s: %d of %d machines in tenth %d", delay, got, fleet, i)
			}
		}
	}
}

// A site that is started again all at once is as spread as ever, whatever its
// machines were about to do.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	s := settings(t, hourly(""))
	started := base.Add(-time.Second)
	for what, f := range map[string]func(*agent.Known){
		"all overdue":       func(*agent.Known) {},
		"nothing installed": func(k *agent.Known) { k.Installed = false },
		"all failing":       func(k *agent.Known) { k.Timing.Failures, k.Timing.LastFailure = 3, base.Add(-5*time.Hour) },
		"clock lost":        func(k *agent.Known) { k.Timing.LastCheck = base.Add(day) },
	} {
		var sum, squares float64
		const fleet = 500
		for n := range fleet {
			k := checked(5 * time.Hour)
			k.Machine, k.Up, k.Since = idOf(n), machine.Uptime{Boot: "b2", Seconds: 1}, started
			f(&k)
			late := agent.Decide(s, k).Due.Sub(started).Minutes()
			if late < 0 || late > 6 {
				t.Fatalf("%s: machine %d begins %f minutes after the start", what, n, late)
			}
			sum, squares = sum+late, squares+late*late
		}
		mean := sum / fleet
		if deviation := math.Sqrt(squares/fleet - mean*mean); mean < 2 || mean > 4 || deviation < 1 {
			t.Errorf("%s: the fleet begins after %.1f minutes, give or take %.1f", what, mean, deviation)
		}
	}
}

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	where, err := time.LoadLocation(name)
	if err != nil {
		t.Skipf("SKIPPED: the time zone %s is missing; get it with: apt-get install tzdata", name)
	}
	return where
}

// Updates begin in the window, by the clock on the wall.
func TestWindow(t *testing.T) {
	t.Parallel()
	berlin := zone(t, "Europe/Berlin")
	at := func(text string) time.Time {
		when, err := time.ParseInLocation("2006-01-02 15:04", text, berlin)
		if err != nil { // a time that a day has twice names its offset
			when, err = time.Parse(time.RFC3339, text)
		}
		must(t, err)
		return when
	}
	for _, c := range []struct {
		what, window, now string
		ago               time.Duration // the last check
		from, to          string        // when the fleet begins
	}{
		{"due before it opens", "22:00-05:00", "2026-11-01 12:00", 2 * time.Hour, "2026-11-01 22:00", "2026-11-01 22:06"},
		{"due inside", "22:00-05:00", "2026-11-01 23:00", 30 * time.Minute, "2026-11-01 23:30", "2026-11-01 23:36"},
		{"due past midnight", "22:00-05:00", "2026-11-01 23:45", 30 * time.Minute, "2026-11-02 00:15", "2026-11-02 00:21"},
		{"overdue inside, since the evening", "22:00-05:00", "2026-11-02 03:00", 20 * time.Hour, "2026-11-01 22:00", "2026-11-01 22:06"},
		{"overdue inside, since less", "22:00-05:00", "2026-11-02 03:00", 2 * time.Hour, "2026-11-02 02:00", "2026-11-02 02:06"},
		{"missed", "22:00-05:00", "2026-11-02 05:00", 20 * time.Hour, "2026-11-02 22:00", "2026-11-02 22:06"},
		{"hardly longer than the delay", "22:00-22:15", "2026-11-01 12:00", 2 * time.Hour, "2026-11-01 22:00", "2026-11-01 22:06"},
		{"the day that lacks the window", "02:10-02:50", "2026-03-28 12:00", 2 * time.Hour, "2026-03-30 02:10", "2026-03-30 02:16"},
		{"the day that lacks its beginning", "02:30-03:30", "2026-03-28 12:00", 2 * time.Hour, "2026-03-29 03:00", "2026-03-29 03:06"},
		{"the day that has it twice, the first time", "02:30-03:30", "2026-10-24 12:00", 2 * time.Hour, "2026-10-25T02:30:00+02:00", "2026-10-25T02:36:00+02:00"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			s := settings(t, hourly(fmt.Sprintf(`"updateWindow":%q`, c.window)))
			for n := range 300 {
				k := checked(c.ago)
				k.Now, k.Machine, k.Location = at(c.now), idOf(n), berlin
				k.Timing.LastCheck, k.Since = k.Now.Add(-c.ago), k.Now.Add(-1000*time.Hour)
				due := agent.Decide(s, k).Due
				if due.Before(at(c.from)) || due.After(at(c.to)) {
					t.Fatalf("machine %d is due at %s, want %s to %s", n, due.In(berlin), c.from, c.to)
				}
			}
		})
	}
}

// What the window moves to its opening is spread there, be it that each machine had
// its own time before: retries of an outage, or what a server asked for.
func TestWindowOpensSpread(t *testing.T) {
	t.Parallel()
	for what, f := range map[string]func(*agent.Known){
		"failing": func(k *agent.Known) { k.Timing.Failures, k.Timing.LastFailure = 9, k.Now.Add(-time.Minute) },
		"resting": func(k *agent.Known) {
			k.Timing.Failures, k.Timing.LastFailure, k.Timing.NotBefore = 1, k.Now, k.Now.Add(2*time.Hour)
		},
		"regularly": func(*agent.Known) {},
	} {
		s := settings(t, hourly(`"updateWindow":"22:00-05:00"`))
		opens := time.Date(2026, 11, 1, 22, 0, 0, 0, time.UTC)
		var early int
		const fleet = 300
		for n := range fleet {
			k := agent.Known{Now: base, Location: time.UTC, Installed: true, Machine: idOf(n), Timing: state.Timing{Source: sourceOf(mirrorURL), LastCheck: base.Add(-2 * time.Hour)}}
			f(&k)
			due := agent.Decide(s, k).Due
			if due.Before(opens) || due.After(opens.Add(6*time.Minute)) {
				t.Fatalf("%s: machine %d is due at %s", what, n, due)
			}
			if due.Before(opens.Add(time.Minute)) {
				early++
			}
		}
		if early > fleet/3 {
			t.Errorf("%s: %d of %d machines begin in the first minute", what, early, fleet)
		}
	}
}

// A timer that looks every five minutes finds each machine due in its window, also
// in the shortest one and with the longest delay.
func TestTimerMeetsWindow(t *testing.T) {
	t.Parallel()
	for _, more := range []string{``, `,"jitter":86400`} {
		s := settings(t, hourly(`"updateWindow":"02:00-02:15"`+more))
		for n := range 40 {
			last, runs := base.Add(-12*time.Hour), 0
			for now := base.Add(time.Duration(n) * time.Second); now.Before(base.Add(3 * day)); now = now.Add(5 * time.Minute) {
				k := agent.Known{Now: now, Location: time.UTC, Installed: true, Machine: idOf(n), Timing: state.Timing{Source: sourceOf(mirrorURL), LastCheck: last}}
				if agent.Decide(s, k).Skip(now) == "" {
					last = now
					runs++
				}
			}
			if runs != 3 {
				t.Fatalf("machine %d ran %d times in three nights", n, runs)
			}
		}
	}
}

// A machine that never runs for long has its turn all the same.
func TestShortSessions(t *testing.T) {
	t.Parallel()
	s := settings(t, hourly(`"jitter":86400`))
	for n := range 200 {
		since := base.Add(-5 * time.Minute)
		k := agent.Known{Now: base, Up: machine.Uptime{Boot: "b2", Seconds: 300}, Since: since, Installed: true, Machine: idOf(n),
			Timing: state.Timing{Source: sourceOf(mirrorURL), LastCheck: base.Add(-8 * day), LastCheckUptime: up(0)}}
		if due := agent.Decide(s, k).Due; due.After(since.Add(time.Minute)) {
			t.Fatalf("machine %d, which has missed a week, is due %s after its start", n, due.Sub(since))
		}
	}
}

// Wherever and whenever: what is due next lies in the window, at most two days
// ahead, and does not move as time goes by before it.
func TestWindowAlways(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"America/New_York", "Australia/Lord_Howe"} {
		where := zone(t, name)
		for _, window := range []string{"22:00-05:30", "01:15-02:45", "12:00-12:15", "02:00-03:00", "00:00-23:59"} {
			s := settings(t, hourly(fmt.Sprintf(`"updateWindow":%q`, window)))
			w := s.Agent.UpdateWindow.Value
			var due time.Time
			last := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			for now := last; now.Year() == 2026; now = now.Add(3*time.Hour + 7*time.Minute) {
				k := agent.Known{Now: now, Location: where, Installed: true, Machine: idOf(3), Timing: state.Timing{Source: sourceOf(mirrorURL), LastCheck: last}}
				next := agent.Decide(s, k).Due
				if wall := next.In(where); !w.Contains(wall.Hour()*60+wall.Minute()) || next.After(now.Add(49*time.Hour)) {
					t.Fatalf("%s in %s: at %s it is due at %s", window, name, now.In(where), wall)
				}
				if due.After(now) && !next.Equal(due) {
					t.Fatalf("%s in %s: due at %s, and later at %s", window, name, due.In(where), next.In(where))
				}
				if due = next; !due.After(now) {
					last, due = now, time.Time{}
				}
			}
		}
	}
}
