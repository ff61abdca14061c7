package agent_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/machine"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/health"
)

// A lock whose holder has not got on for a whole interval is a failure, with who
// holds it; one whose holder gets on is an update.
func TestStuckLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(pack{n: 1})
	w.configure(`{` + offlineAt(w.ring, false) + `,"cloudService":{"definitionUpdatesInterval":3600}}`)
	w.want(agent.Updated, "")
	store, err := state.Open(w.agent.Paths.State)
	must(t, err)
	lock, err := store.Lock(context.Background(), 0, base)
	must(t, err)
	w.later(time.Hour)
	w.status("updating", "")
	w.later(time.Second)
	w.status("update_failed", "busy")
	f := w.agent.Facts(context.Background()).Failure
	if want := fmt.Sprintf("process %d holds the lock, and has not got on since 2026-11-01T12:00:00Z", os.Getpid()); f.Sentence != want || f.Hint == "" {
		t.Errorf("said %q, want %q", f.Sentence, want)
	}
	lock.Beat(base.Add(time.Hour)) // it gets on again
	w.status("updating", "")
	must(t, lock.Unlock())
	w.status("up_to_date", "")
}

// Each run leaves its metrics, as they are without its lock; a file that can't be
// written stops nothing.
func TestMetricsFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.agent.Version = "9.8.7"
	path := filepath.Join(t.TempDir(), "mdatp.prom")
	w.publish(pack{n: 1})
	w.offline(w.web().ringURL(), false, `"metricsFile":"`+path+`"`)
	has := func(lines ...string) {
		t.Helper()
		text := string(w.read(path))
		for _, line := range lines {
			if !strings.Contains(text, "\n"+line) {
				t.Errorf("no %q in\n%s", line, text)
			}
		}
	}
	w.want(agent.Updated, "")
	has(`mdatp_agent_definitions_status{status="up_to_date"} 1`, `mdatp_agent_definitions_status{status="updating"} 0`, `mdatp_agent_last_result{code="ok"} 1`,
		`mdatp_agent_update_runs_total{result="ok"} 1`, `mdatp_agent_build_info{version="9.8.7"} 1`, `mdatp_agent_next_check_timestamp_seconds `, `mdatp_agent_trust_expiry_timestamp_seconds `)
	w.publish(pack{n: 2, product: "other"})
	w.want(agent.Failed, "wrong_product")
	has(`mdatp_agent_last_result{code="wrong_product"} 1`, `mdatp_agent_update_runs_total{result="wrong_product"} 1`)
	_, err := w.agent.Hold(context.Background(), 0)
	must(t, err)
	has(`mdatp_agent_periodic_updates_enabled 0`)
	must(t, w.agent.Unhold(context.Background(), 0))
	has(`mdatp_agent_periodic_updates_enabled 1`)

	before := w.read(path)
	w.want(agent.Skipped, "skipped", agent.Options{Scheduled: true}) // not due
	w.want(agent.Failed, "wrong_product", agent.Options{DryRun: true})
	if string(w.read(path)) != string(before) {
		t.Error("a run that does nothing wrote metrics")
	}
	must(t, os.Remove(path))
	must(t, os.Mkdir(path, 0o755)) // in its way
	w.publish(pack{n: 3})
	w.want(agent.Updated, "")
}

// The report says when the next check is due, for anybody who asks.
func TestNextCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(pack{n: 1})
	w.configure(`{` + offlineAt(w.ring, false) + `,"cloudService":{"definitionUpdatesInterval":3600},"agent":{"jitter":0}}`)
	w.want(agent.Updated, "")
	next := func() time.Time { return w.agent.Facts(context.Background()).NextCheck }
	if got := next(); !got.Equal(base.Add(time.Hour)) {
		t.Errorf("next check at %s", got)
	}
	if plan := w.agent.Plan(time.Time{}); !plan.Due.Equal(next()) || plan.Rule != "" || plan.Broken != nil {
		t.Errorf("the plan is %+v", plan)
	}
	must(t, os.Rename(w.ring, w.ring+".away"))
	w.later(time.Hour)
	w.want(agent.Failed, "source_not_found", agent.Options{Scheduled: true})
	if wait := next().Sub(base.Add(time.Hour)); wait < time.Minute || wait > 2*time.Minute {
		t.Errorf("tried again after %s", wait)
	}
	w.configure(`{` + offlineAt(w.ring, false) + `,"antivirusEngine":{}}`)
	if plan := w.agent.Plan(time.Time{}); plan.Broken == nil || plan.Broken.Code != "config_invalid" || plan.Due.IsZero() {
		t.Errorf("with a broken file and its copy, the plan is %+v", plan)
	}
}

// What is valid is kept at once, and what is away is noted; nothing is written
// where nothing is new.
func TestKeepConfiguration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keep := func(want bool) {
		t.Helper()
		changed, err := w.agent.KeepConfiguration(context.Background())
		if err != nil || changed != want {
			t.Errorf("changed %t, %v; want %t", changed, err, want)
		}
	}
	keep(false)
	w.offline(w.ring, false, "")
	keep(true)
	text := w.read(w.agent.Paths.Managed)
	before := snapshot(t, w.agent.Paths.State)
	keep(false)
	if got := snapshot(t, w.agent.Paths.State); got != before {
		t.Errorf("written although nothing is new:\n%s\n%s", before, got)
	}
	w.configure(`{`)
	keep(false) // a broken file is no reason to forget the good one
	if plan := w.agent.Plan(time.Time{}); plan.Broken == nil || plan.Rule != "" {
		t.Errorf("broken: %+v", plan)
	}
	must(t, os.Remove(w.agent.Paths.Managed))
	keep(true) // noted as away
	keep(false)
	w.later(11 * time.Minute)
	keep(true) // and now it is
	if plan := w.agent.Plan(time.Time{}); plan.Broken != nil || !strings.Contains(plan.Rule, "never configured") {
		t.Errorf("away for long: %+v", plan)
	}
	w.write(w.agent.Paths.Managed, text)
	keep(true)
}

// snapshot is every file of a directory with its inode and time.
func snapshot(t *testing.T, dir string) (all string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if filepath.Base(path) != "lock" {
			all += fmt.Sprintf("%s %d %s\n", path, info.Size(), info.ModTime())
		}
		return err
	}))
	return all
}

// Hashing finds a file that was changed behind the agent's back, time and all, and
// makes an update due, which repairs it.
func TestRehash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must(t, w.agent.Rehash(context.Background())) // nothing is installed
	w.publish(pack{n: 1})
	w.offline(w.ring, false, `"jitter":0`)
	w.want(agent.Updated, "")
	before := snapshot(t, w.agent.Paths.State)
	must(t, w.agent.Rehash(context.Background()))
	if snapshot(t, w.agent.Paths.State) != before {
		t.Error("written although nothing is wrong")
	}
	file := w.engine(filepath.Join(w.active(), "base.vdm"))
	info, err := os.Stat(file)
	must(t, err)
	must(t, os.Chmod(file, 0o644))
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("X"), 10)
	must(t, err)
	must(t, f.Close())
	must(t, os.Chmod(file, 0o444))
	must(t, os.Chtimes(file, info.ModTime(), info.ModTime()))
	if f := w.agent.Facts(context.Background()); health.Status(f) != health.UpToDate {
		t.Fatalf("the change shows already: %+v", f)
	}
	w.wantCode(w.agent.Rehash(context.Background()), "set_damaged")
	w.status("unavailable", "set_damaged")
	if plan := w.agent.Plan(time.Time{}); plan.Due.After(w.agent.Now()) {
		t.Errorf("due at %s", plan.Due)
	}
	w.want(agent.Updated, "", agent.Options{Scheduled: true})
	w.status("up_to_date", "")
}

// While a daemon runs, scheduled runs by others leave it to the daemon, and those
// by hand go on.
func TestOneDaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(pack{n: 1})
	w.offline(w.ring, false, `"jitter":0`)
	unlock, err := w.agent.LockDaemon(context.Background())
	must(t, err)
	_, err = w.agent.LockDaemon(context.Background())
	w.wantCode(err, "busy")
	r := w.want(agent.Skipped, "skipped", agent.Options{Scheduled: true})
	if !strings.Contains(r.FailReason.Message, "the daemon runs") {
		t.Errorf("said %q", r.FailReason.Message)
	}
	w.want(agent.Updated, "", agent.Options{Scheduled: true, Daemon: true})
	w.publish(pack{n: 2})
	w.want(agent.Updated, "")
	must(t, unlock())
	w.publish(pack{n: 3})
	w.later(9 * time.Hour)
	w.want(agent.Updated, "", agent.Options{Scheduled: true})
}

// What fails on this machine before any source is asked is tried again often,
// and what costs a source a request is not.
func TestRetriesByWhoseFault(t *testing.T) {
	t.Parallel()
	scheduled := agent.Options{Scheduled: true, Now: true}
	waits := func(w *world) (longest time.Duration) {
		for range 8 {
			w.later(8 * time.Hour)
			w.update(scheduled)
			longest = w.agent.Facts(context.Background()).NextCheck.Sub(w.agent.Now())
		}
		return longest
	}
	w := newWorld(t)
	w.offline(w.web().ringURL(), false, "")
	w.publish(pack{n: 1})
	w.want(agent.Updated, "")
	must(t, os.Remove(filepath.Join(w.agent.Paths.Trust, "root.pem")))
	if longest := waits(w); longest < 7*time.Minute || longest > 15*time.Minute {
		t.Errorf("without trust, tried again after %s", longest)
	}
	w = newWorld(t)
	w.offline(w.web().ringURL(), false, "")
	w.publish(pack{n: 1})
	w.want(agent.Updated, "")
	w.publish(pack{n: 2})
	w.want(agent.Updated, "")
	_, err := w.agent.Rollback(context.Background(), 0)
	must(t, err)
	if longest := waits(w); longest < 2*time.Hour {
		t.Errorf("known bad, asked again after %s", longest)
	}
}

// A memory that a later version wrote is not written to, and the schedule holds all
// the same.
func TestScheduleWithNewerMemory(t *testing.T) {
	t.Parallel()
	scheduled := agent.Options{Scheduled: true}
	w := newWorld(t)
	w.publish(pack{n: 1})
	w.offline(w.ring, false, `"jitter":0`)
	w.want(agent.Updated, "")
	path := filepath.Join(w.agent.Paths.State, "state.json")
	w.write(path, []byte(strings.Replace(string(w.read(path)), `"schema": 1`, `"schema": 2`, 1)))
	before := string(w.read(path))
	w.later(9 * time.Hour)
	w.want(agent.UpToDate, "", scheduled)
	w.later(time.Minute)
	w.want(agent.Skipped, "skipped", scheduled)
	if string(w.read(path)) != before {
		t.Error("the newer memory was written to")
	}
}

// What anybody may read has no token of the cloud's URL in it.
func TestStatusHasNoTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.publish(pack{n: 1})
	w.configure(`{"agent":{"cloudUrl":"` + site.ringURL() + `arch_x86_64/updates.zip?sig=SECRETTOKEN"}}`)
	w.want(agent.Updated, "")
	if text := string(w.read(filepath.Join(w.agent.Paths.State, "status.json"))); strings.Contains(text, "SECRETTOKEN") {
		t.Errorf("the status has the token: %s", text)
	}
}

// A configuration that is broken, and whose copy can't stand in, stops periodic
// updates, and the report says so.
func TestBrokenIsARule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(pack{n: 1})
	w.offline(w.ring, false, `"caFile":"/etc/ssl/none.pem"`)
	w.want(agent.Updated, "")
	w.configure(`{`)
	if f := w.agent.Facts(context.Background()); f.Rule != "the configuration is broken" || !f.NextCheck.IsZero() {
		t.Errorf("rule %q, next check %s", f.Rule, f.NextCheck)
	}
	must(t, w.agent.Rehash(context.Background())) // that is no damage
	w.status("up_to_date", "config_invalid")
}

// A run that waited for another one does not do its work again.
func TestWaitedForAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(pack{n: 1})
	w.offline(w.ring, false, `"jitter":0`)
	store, err := state.Open(w.agent.Paths.State)
	must(t, err)
	lock, err := store.Lock(context.Background(), 0, base)
	must(t, err)
	done := make(chan agent.Result)
	go func() {
		done <- w.agent.Update(context.Background(), agent.Options{Scheduled: true, Wait: time.Minute})
	}()
	time.Sleep(200 * time.Millisecond) // it waits by now, or else begins later and sees the same
	w.later(time.Hour)
	memory, err := store.Load()
	must(t, err)
	memory.Failed(sourceOf(w.ring), w.agent.Now(), machine.Uptime{}, false, time.Time{})
	must(t, store.Save(memory))
	must(t, lock.Unlock())
	if r := <-done; r.Outcome != agent.Skipped {
		t.Errorf("it ended with %s %v", r.Outcome, r.FailReason)
	}
}

// A scheduled run that is only tried keeps nothing, not even a new configuration.
func TestDryRunKeepsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(pack{n: 1})
	w.offline(w.ring, false, `"jitter":0`)
	w.want(agent.Updated, "")
	w.offline(w.ring, false, `"jitter":0,"keep":3`)
	before := snapshot(t, w.agent.Paths.State)
	w.want(agent.Skipped, "skipped", agent.Options{Scheduled: true, DryRun: true})
	if snapshot(t, w.agent.Paths.State) != before {
		t.Error("a dry run wrote")
	}
	w.want(agent.Skipped, "skipped", agent.Options{Scheduled: true})
	if snapshot(t, w.agent.Paths.State) == before {
		t.Error("a new configuration was not kept")
	}
}
