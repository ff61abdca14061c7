package daemon_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/daemon"
	"mdatp-offline-agent/agent/machine"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/health"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
)

const (
	day      = 24 * time.Hour
	interval = 2 * time.Hour
	jitter   = 10 * time.Minute // what the interval makes of it
	year     = 365 * day
)

// site is a machine, its mirror, and its daemon, in a bubble of time. The files
// are real.
type site struct {
	*testing.T
	agent  *agent.Agent
	signer mirror.Signer
	ring   string
	begun  time.Time
	wall   atomic.Int64 // how far the clock on the wall is set off, in seconds
	slept  atomic.Int64 // how long the machine has slept, in seconds
	boot   string
	stop   func() // the daemon that runs
	undo   func() // done after each update; nil: nothing
	n      uint32 // version of the last package

	mu   sync.Mutex
	runs []run
}

// run is how one update of the daemon's ended, and when, by the time of the bubble.
type run struct {
	at     time.Time
	result agent.Result
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newSite makes a machine that trusts its publisher, in January 2000,
// which is when a bubble begins.
func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{T: t, begun: time.Now(), ring: filepath.Join(dir, "mirror", "linux", "production"), boot: "b0"}
	log := logrus.New()
	log.SetOutput(io.Discard)
	s.agent = &agent.Agent{Paths: agent.PathsBelow(filepath.Join(dir, "root")), Arch: "x86_64", Log: log, Now: s.now, Uptime: s.uptime, Identity: machine.Identity{1}}
	keys, err := mirror.MakeKeys(filepath.Join(dir, "keys"), mirror.KeyOptions{Now: s.now().Add(-5 * day), LeafValidity: 900 * day})
	must(t, err)
	s.signer, err = mirror.LoadSigner(keys.LeafKey, keys.Certificates(), nil)
	must(t, err)
	root, err := os.ReadFile(keys.Root)
	must(t, err)
	s.write(filepath.Join(s.agent.Paths.Trust, "root.pem"), string(root))
	return s
}

// now is the time on the wall.
func (s *site) now() time.Time {
	return time.Now().Add(time.Duration(s.wall.Load()) * time.Second).UTC()
}

func (s *site) uptime() machine.Uptime {
	return machine.Uptime{Boot: s.boot, Seconds: (time.Since(s.begun) + time.Duration(s.slept.Load())*time.Second).Seconds() + 1000}
}

// set sets the clock on the wall.
func (s *site) set(by time.Duration) { s.wall.Add(int64(by / time.Second)) }

// sleep is what a machine does whose lid is closed: both of its clocks go on, and
// its timers do not.
func (s *site) sleep(d time.Duration) { s.slept.Add(int64(d / time.Second)); s.set(d) }

func (s *site) write(path, text string) {
	s.Helper()
	must(s, os.MkdirAll(filepath.Dir(path), 0o755))
	must(s, os.WriteFile(path, []byte(text), 0o644))
}

func (s *site) configure(more string) {
	s.write(s.agent.Paths.Managed, fmt.Sprintf(`{"antivirusEngine":{"offlineDefinitionUpdate":"enabled","offlineDefinitionUpdateUrl":%q},"cloudService":{"definitionUpdatesInterval":%d}%s}`,
		s.ring, int(interval.Seconds()), more))
}

// publish puts a newer package into the ring, good for three days.
func (s *site) publish(ring string) {
	s.Helper()
	s.n++
	files := s.TempDir()
	s.write(filepath.Join(files, "base.vdm"), fmt.Sprintf("base %d", s.n))
	_, err := mirror.Build(context.Background(), filepath.Join(ring, "arch_x86_64", "updates.zip"), mirror.BuildOptions{Dir: files, Product: "mdatp", Platform: "linux", Arch: "x86_64",
		Rings: []string{"production"}, Engine: verifier.Version{1, 1, 1, 1}, Definition: verifier.Version{1, 1, s.n, 0}, Expires: s.now().Add(3 * day), Now: s.now()}, &s.signer)
	must(s, err)
}

// start starts the daemon, and stop ends it.
func (s *site) start() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	d := &daemon.Daemon{Agent: s.agent, Log: s.agent.Log, Ended: func(r agent.Result) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.runs = append(s.runs, run{time.Now(), r})
		if s.undo != nil {
			s.undo()
		}
	}}
	go func() { ended <- d.Run(ctx) }()
	s.stop = func() {
		cancel()
		must(s, <-ended)
	}
}

// passes lets time pass, and gives the runs in it.
func (s *site) passes(d time.Duration) []run {
	s.Helper()
	s.mu.Lock()
	before := len(s.runs)
	s.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	runs := s.runs[before:]
	for i := 1; i < len(runs); i++ {
		if runs[i].at.Sub(runs[i-1].at) < time.Minute {
			s.Errorf("two runs within a minute: %v and %v", runs[i-1], runs[i])
		}
	}
	return runs
}

// wantSteady checks that runs are what an undisturbed schedule makes in d.
func (s *site) wantSteady(what string, runs []run, d time.Duration) {
	s.Helper()
	least, most := int(d/(interval+jitter)), int(d/interval)+1
	if len(runs) < least || len(runs) > most {
		s.Errorf("%s: %d runs in %s, want %d to %d", what, len(runs), d, least, most)
	}
	for _, r := range runs {
		if r.result.Outcome != agent.UpToDate && r.result.Outcome != agent.Updated {
			s.Errorf("%s: %s %v", what, r.result.Outcome, r.result.FailReason)
		}
	}
}

func (s *site) wantStatus(what, status string) {
	s.Helper()
	if got := health.Status(s.agent.Facts(context.Background())); got != status {
		s.Errorf("%s: the status is %s, want %s", what, got, status)
	}
}

// Two weeks of a machine's life: publications, an outage, clocks that jump, sleep,
// restarts, a broken configuration, a hold, and definitions that expire. The
// daemon asks as often as its schedule says, and never twice where once was due.
func TestTwoWeeks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.publish(s.ring)
		s.start() // nobody has configured anything yet
		if runs := s.passes(day); len(runs) != 0 {
			t.Fatalf("never configured, and %d runs", len(runs))
		}
		s.configure("")
		first := s.passes(jitter + time.Minute)
		if len(first) != 1 || first[0].result.Outcome != agent.Updated {
			t.Fatalf("the first run: %+v", first)
		}
		s.wantStatus("installed", health.UpToDate)

		for range 3 { // ordinary days
			s.publish(s.ring)
			s.wantSteady("a day", s.passes(day), day)
		}
		s.outage()
		s.restarts()
		s.clocks()
		s.laptop()
		s.administrator()
		s.stale()
		s.stop()
		s.wantOneAtATime()
	})
}

// outage: the mirror is away for a day. Failures come sooner than the interval,
// further and further apart, and never further than it.
func (s *site) outage() {
	s.Helper()
	must(s, os.Rename(s.ring, s.ring+".away"))
	runs := s.passes(day)
	if len(runs) < 14 || len(runs) > 32 { // seven until the wait is the interval, then one in one to two hours
		s.Errorf("%d runs in an outage of a day", len(runs))
	}
	for i, r := range runs {
		if r.result.Outcome != agent.Failed {
			s.Errorf("an outage, and %s", r.result.Outcome)
		}
		if gap := r.at.Sub(runs[max(i-1, 0)].at); gap > interval+time.Minute {
			s.Errorf("nothing was tried for %s", gap)
		}
	}
	if len(runs) > 1 && runs[1].at.Sub(runs[0].at) > 3*time.Minute {
		s.Errorf("the first retry came after %s", runs[1].at.Sub(runs[0].at))
	}
	s.wantStatus("an outage", health.UpdateFailed)
	must(s, os.Rename(s.ring+".away", s.ring))
	s.publish(s.ring)
	if runs := s.passes(interval + time.Minute); len(runs) != 1 || runs[0].result.Outcome != agent.Updated {
		s.Errorf("after the outage: %+v", runs)
	}
}

// restarts: the interval holds over them, and over boots.
func (s *site) restarts() {
	s.Helper()
	var runs []run
	for i := range 48 {
		s.stop()
		if i%6 == 0 {
			s.boot += "x"
		}
		s.start()
		runs = append(runs, s.passes(30*time.Minute)...)
	}
	// A boot may add its own delay to a run that fell due just then.
	s.wantSteady("restarts", runs, day)
}

// clocks: set back a year and forward a year, while the daemon runs and while it
// does not. A year ahead everything has expired, so that each run is a failure and
// is tried again; but no more often than in an outage.
func (s *site) clocks() {
	s.Helper()
	const while = 8 * time.Hour
	for _, by := range []time.Duration{-year, year} {
		s.publish(s.ring)
		s.set(by)
		runs := s.passes(while)
		if by < 0 {
			s.wantSteady("clock set back", runs, while)
		} else if len(runs) < 4 || len(runs) > 12 {
			s.Errorf("clock set forward: %d runs", len(runs))
		}
		s.stop()
		s.set(-by)
		s.start()
		s.wantSteady("clock set right between two daemons", s.passes(while), while)
	}
}

// laptop: what was due while the machine slept comes once, soon after it wakes.
func (s *site) laptop() {
	s.Helper()
	for range 3 {
		s.publish(s.ring)
		s.sleep(10 * time.Hour)
		if runs := s.passes(jitter + 2*time.Minute); len(runs) != 1 || runs[0].result.Outcome != agent.Updated {
			s.Errorf("after ten hours of sleep: %+v", runs)
		}
	}
}

// administrator: holds, inhibits, breaks the configuration, repairs it, and
// updates by hand just when the daemon does.
func (s *site) administrator() {
	s.Helper()
	_, err := s.agent.Hold(context.Background(), 0)
	must(s, err)
	if runs := s.passes(12 * time.Hour); len(runs) != 0 {
		s.Errorf("held, and %d runs", len(runs))
	}
	must(s, s.agent.Unhold(context.Background(), 0))
	if runs := s.passes(2 * time.Minute); len(runs) != 1 {
		s.Errorf("no longer held, and overdue: %d runs", len(runs))
	}
	busy := filepath.Join(s.agent.Paths.Inhibit, "backup")
	s.write(busy, "")
	if runs := s.passes(12 * time.Hour); len(runs) != 0 {
		s.Errorf("inhibited, and %d runs", len(runs))
	}
	must(s, os.Remove(busy))
	s.passes(2 * time.Minute)

	s.write(s.agent.Paths.Managed, `{"cloudService":`)
	broken := s.passes(12 * time.Hour)
	s.wantSteady("a broken configuration", broken, 12*time.Hour)
	if f := s.agent.Facts(context.Background()); f.Failure == nil || f.Failure.Code != "config_invalid" {
		s.Errorf("a broken configuration, and the reason is %v", f.Failure)
	}
	other := filepath.Join(filepath.Dir(s.ring), "other")
	s.publish(other)
	s.ring = other
	s.configure("")
	if runs := s.passes(jitter + 2*time.Minute); len(runs) != 1 || runs[0].result.Outcome != agent.Updated || runs[0].result.Source != other {
		s.Errorf("another mirror: %+v", runs)
	}
	// By hand, again and again: the daemon counts from there.
	for range 24 {
		time.Sleep(time.Hour)
		if r := s.agent.Update(context.Background(), agent.Options{Wait: time.Minute}); r.Outcome != agent.UpToDate {
			s.Errorf("by hand: %s %v", r.Outcome, r.FailReason)
		}
	}
	if runs := s.passes(0); len(runs) != 0 {
		s.Errorf("each hour by hand, and %d runs of the daemon", len(runs))
	}
	// Beside each other: both succeed, one after the other.
	for range 6 {
		plan := s.agent.Plan(time.Time{})
		time.Sleep(plan.Due.Sub(s.now()))
		if r := s.agent.Update(context.Background(), agent.Options{Wait: time.Minute}); r.Outcome != agent.UpToDate {
			s.Errorf("beside the daemon: %s %v", r.Outcome, r.FailReason)
		}
		s.passes(time.Minute)
	}
}

// stale: nobody publishes any more. The definitions expire, are kept, and are
// asked for all the same.
func (s *site) stale() {
	s.Helper()
	s.passes(4 * day)
	s.wantStatus("nobody publishes", health.OutOfDate)
	s.publish(s.ring)
	s.passes(interval + jitter)
	s.wantStatus("somebody publishes again", health.UpToDate)
}

// wantOneAtATime: each run of the daemon took the lock, so that no two were at
// once, and none is left with it.
func (s *site) wantOneAtATime() {
	s.Helper()
	if work, held := state.View(s.agent.Paths.State).Updating(); held {
		s.Errorf("the lock is still held: %+v", work)
	}
	for _, r := range s.runs {
		if f := r.result.FailReason; f != nil && f.Code != "source_not_found" && f.Code != "source_unreachable" && f.Code != "source_stale" && f.Code != "config_invalid" && f.Code != "busy" && f.Code != "skipped" {
			s.Errorf("at %s: %v", r.at, f)
		}
	}
}

// What is due again right after an update, since something undoes it each time,
// comes less and less often, and not at all less than once an hour.
func TestUpdatesInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.publish(s.ring)
		s.configure("")
		s.undo = func() { _ = os.Remove(filepath.Join(s.agent.Paths.State, "status.json")) } // a skipped run makes none
		s.start()
		runs := s.passes(6 * time.Hour)
		if len(runs) < 9 || len(runs) > 13 {
			t.Errorf("%d runs in six hours", len(runs))
		}
		s.stop()
	})
}
