package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/mirror"
)

// rules gives the rules of a chain of decisions, less what would have to change.
func rules(chain []agent.Step) string {
	var names []string
	for _, s := range chain {
		if s.Stage != "change" {
			names = append(names, s.Rule)
		}
	}
	return strings.Join(names, " ")
}

// decided checks what the record says of the last run: its outcome, and the rules that
// decided, in order.
func (w *world) decided(outcome, chain string) agent.WhyRun {
	w.Helper()
	why := w.agent.Why(context.Background())
	if len(why.Runs) == 0 {
		w.Fatal("no run is on record")
	}
	last := why.Runs[0]
	if last.Outcome != outcome || rules(last.Decisions) != chain {
		w.Errorf("the last run is told as %s: %s, want %s: %s", last.Outcome, rules(last.Decisions), outcome, chain)
	}
	for _, s := range last.Decisions {
		if strings.ContainsAny(s.Sentence, "\"\n") || s.Sentence == "" {
			w.Errorf("not fit to be shown: %+v", s)
		}
	}
	return last
}

// The record tells of each kind of run what decided.
func TestWhyOfRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	back := w.ring + "_back"
	w.publish(pack{n: 5})
	w.publishIn(back, pack{n: 4})
	w.offline(w.ring, false, `"jitter":0`)
	w.want(agent.Updated, "", agent.Options{Scheduled: true})
	w.decided("updated", "due_first cloud_off asked list nothing_installed plan active")
	w.later(9 * time.Hour)
	w.want(agent.UpToDate, "", agent.Options{Scheduled: true})
	w.decided("upToDate", "due_interval cloud_off asked list up_to_date") // a directory has no entity tags

	w.publish(pack{n: 6})
	w.want(agent.Updated, "")
	w.decided("updated", "by_hand cloud_off asked list newer plan active")
	w.wantChange(w.agent.Rollback, "", 5)
	if r := w.decided("rolledBack", "rolled_back"); r.Previous != name(6) || r.Definitions != name(5) || r.Kind != "byHand" {
		t.Errorf("a rollback is on record as %+v", r)
	}
	w.want(agent.Failed, "known_bad")
	w.decided("failed", "by_hand cloud_off asked list known_bad failed")
	w.want(agent.Updated, "", agent.Options{RetryKnownBad: true})
	w.decided("updated", "by_hand cloud_off asked list newer on_disk active")

	w.offline(back, true, `"jitter":0`)
	w.want(agent.Updated, "")
	w.decided("updated", "by_hand cloud_back asked list step_down plan floor_lowered active")
	w.publishIn(back, pack{n: 3})
	w.want(agent.Failed, "rollback_refused")
	w.decided("failed", "by_hand cloud_back asked list failed")
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(3)})
	w.decided("updated", "by_hand cloud_back asked list allowed_downgrade plan floor_lowered active")

	must(t, os.Remove(filepath.Join(back, "arch_x86_64", "updates.zip")))
	r := w.want(agent.Failed, "source_not_found")
	run := w.decided("failed", "by_hand cloud_back asked failed")
	if last := run.Decisions[len(run.Decisions)-1]; last.Stage != "change" || last.Sentence != r.FailReason.Hint {
		t.Errorf("what would have to change is %+v, want the hint %q", last, r.FailReason.Hint)
	}
}

// What a source answers without sending anything, and what it has beside the package.
func TestWhyOfAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.offline(site.ringURL(), false, "")
	w.publish(pack{n: 1})
	w.want(agent.Updated, "")
	w.want(agent.UpToDate, "")
	w.decided("upToDate", "by_hand cloud_off asked unchanged up_to_date")
	w.publish(pack{n: 2, product: "other"})
	w.want(agent.Failed, "wrong_product")
	w.decided("failed", "by_hand cloud_off asked list failed")
	w.want(agent.Failed, "wrong_product")
	w.decided("failed", "by_hand cloud_off asked refused_before failed")
	w.publish(pack{n: 3, bare: true})
	w.serve(filepath.Join(w.ring, "arch_x86_64", "updates.zip.p7m"), w.sign(pack{n: 3}))
	w.want(agent.Updated, "")
	w.decided("updated", "by_hand cloud_off asked list_beside newer plan active")
}

// A fallback hides nothing, and neither is it hidden that none was tried.
func TestWhyOfFallback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site, cloudURL := w.both(2)
	site.onRing(w, statusCode(404))
	w.want(agent.Updated, "source_not_found")
	run := w.decided("updated", "by_hand asked failed asked list nothing_installed plan active")
	if run.FailReason == nil || run.FailReason.Code != "source_not_found" {
		t.Errorf("the mirror's failure is told as %v", run.FailReason)
	}
	var asked []string
	for _, s := range run.Decisions {
		if s.Rule == "asked" {
			asked = append(asked, s.Sentence)
		}
	}
	if !slices.Equal(asked, []string{site.ringURL(), cloudURL}) {
		t.Errorf("asked were %q", asked)
	}

	site.fail(nil)
	w.publish(pack{n: 1})
	w.want(agent.UpToDate, "")
	run = w.decided("upToDate", "by_hand asked list behind")
	if last := run.Decisions[len(run.Decisions)-1].Sentence; !strings.Contains(last, name(2)) || !strings.Contains(last, name(1)) {
		t.Errorf("what would have to change is %q", last)
	}

	w.publish(pack{n: 3})
	w.want(agent.Updated, "")
	w.wantChange(w.agent.Rollback, "", 2)
	w.want(agent.Failed, "known_bad")
	w.decided("failed", "by_hand asked list known_bad failed no_other")
}

// A package that is replaced while it is read is asked for once more.
func TestWhyAskedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.offline(site.ringURL(), false, "")
	w.publish(pack{n: 1, files: map[string]string{"a.vdm": strings.Repeat("a", 1<<20)}})
	newer := w.archive(pack{n: 2, files: map[string]string{"a.vdm": strings.Repeat("b", 1<<20)}})
	files := mirror.Handler(w.srv, nil)
	var requests atomic.Int64
	site.fail(func(rw http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 2 { // the first has seen the end of the package
			w.serve(filepath.Join(w.ring, "arch_x86_64", "updates.zip"), newer)
		}
		files.ServeHTTP(rw, r)
	})
	w.want(agent.Updated, "")
	w.has(2)
	w.decided("updated", "by_hand cloud_off asked list nothing_installed plan asked_again list nothing_installed plan active")
}

// What hooks say, and what they are owed, is on record.
func TestWhyOfHooks(t *testing.T) {
	t.Parallel()
	w := newHooked(t)
	w.publish(pack{n: 1})
	w.hooks(good, good)
	w.want(agent.Updated, "")
	w.decided("updated", "by_hand cloud_off asked list nothing_installed plan preload_good active postload_good")
	w.publish(pack{n: 2})
	w.hooks("exit 1", good)
	w.want(agent.Failed, "preload_failed")
	w.decided("failed", "by_hand cloud_off asked list newer plan failed")
	w.publish(pack{n: 3})
	w.hooks(good, "exit 1")
	w.agent.Update(context.Background(), agent.Options{})
	w.decided("failed", "by_hand cloud_off asked list newer plan preload_good active failed")
}

// A run that finds another one at work, and one that is interrupted, are on record, in
// their place among the others, and are not the last result.
func TestWhyOfRunsCutShort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.offline(site.ringURL(), false, "")
	w.run([]step{installed(1)})
	before := w.read(w.state("status.json"))
	store, err := state.Open(w.agent.Paths.State)
	must(t, err)
	lock, err := store.Lock(t.Context(), 0, base)
	must(t, err)
	w.later(time.Minute)
	w.want(agent.Failed, "busy")
	w.want(agent.Failed, "busy", agent.Options{DryRun: true}) // which leaves no record either way
	w.want(agent.Failed, "busy")
	must(t, lock.Unlock())
	if run := w.decided("failed", "by_hand cloud_off failed"); run.Times != 2 || run.FailReason.Code != "busy" || run.Kind != "byHand" {
		t.Errorf("busy twice, on record is %+v", run)
	}

	w.later(time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	w.publish(pack{n: 2})
	site.onRing(w, func(http.ResponseWriter, *http.Request) { cancel(); panic(http.ErrAbortHandler) })
	if r := w.agent.Update(ctx, agent.Options{}); codeOf(r) != "interrupted" {
		t.Fatalf("the run ended with %v", r.FailReason)
	}
	run := w.decided("failed", "by_hand cloud_off asked failed")
	if run.FailReason.Code != "interrupted" || run.Previous != name(1) || run.Definitions != name(1) {
		t.Errorf("interrupted, on record is %+v", run)
	}
	w.status("up_to_date", "")
	if !bytes.Equal(before, w.read(w.state("status.json"))) {
		t.Error("the record of the last result is another one")
	}

	site.fail(nil)
	w.later(time.Minute)
	w.want(agent.Updated, "")
	var outcomes []string
	for _, r := range w.agent.Why(t.Context()).Runs {
		outcome := r.Outcome
		if r.FailReason != nil {
			outcome = r.FailReason.Code
		}
		outcomes = append(outcomes, outcome)
	}
	if !slices.Equal(outcomes, []string{"updated", "interrupted", "busy", "updated"}) {
		t.Errorf("the runs are told as %q", outcomes)
	}
}

// A failure before any source is on record, too; what is not due or only tried leaves
// none.
func TestWhatLeavesNoRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(pack{n: 1})
	w.offline(w.ring, false, "")
	w.want(agent.WouldUpdate, "", agent.Options{DryRun: true})
	w.write(filepath.Join(w.agent.Paths.Inhibit, "x"), nil)
	w.want(agent.Skipped, "skipped", agent.Options{Scheduled: true})
	if why := w.agent.Why(context.Background()); len(why.Runs) != 0 || why.Now.Definitions != nil || rules(why.Now.Decisions) != "inhibited cloud_off" {
		t.Errorf("nothing was done, and on record is %+v", why)
	}
	root := filepath.Join(w.agent.Paths.Trust, "root.pem")
	must(t, os.Rename(root, root+".away"))
	must(t, os.Rename(root+".away", filepath.Join(filepath.Dir(w.srv), "root.pem")))
	w.want(agent.Failed, "trust_empty")
	w.decided("failed", "by_hand cloud_off failed")
}

// A dry run tells the chain itself, and the record says the same of the run behind it.
func TestDryRunTellsItsDecisions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(pack{n: 1})
	w.offline(w.ring, false, "")
	r := w.want(agent.WouldUpdate, "", agent.Options{DryRun: true})
	if got := rules(r.Decisions); got != "by_hand cloud_off asked list nothing_installed plan" {
		t.Errorf("the dry run tells %s", got)
	}
	if r := w.want(agent.Updated, ""); r.Decisions != nil {
		t.Errorf("a run that is on record tells %v as well", r.Decisions)
	}
	w.decided("updated", rules(r.Decisions)+" active")
	must(t, os.RemoveAll(w.ring))
	r = w.want(agent.Failed, "source_not_found", agent.Options{DryRun: true})
	if got := rules(r.Decisions); got != "by_hand cloud_off asked failed" {
		t.Errorf("the dry run that failed tells %s", got)
	}
}

// What holds now is told beside the record: what keeps updates off, and what is wrong
// since the last run.
func TestWhyNow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(pack{n: 1})
	w.offline(w.ring, false, "")
	w.want(agent.Updated, "")
	_, err := w.agent.Hold(context.Background(), 0)
	must(t, err)
	why := w.agent.Why(context.Background())
	if why.Now.Status != "up_to_date" || *why.Now.Definitions != name(1) || why.Now.NextCheck != nil || rules(why.Now.Decisions) != "held cloud_off" {
		t.Errorf("held, it says %+v", why.Now)
	}
	must(t, w.agent.Unhold(context.Background(), 0))
	file := filepath.Join(w.agent.Paths.Engine, w.active(), "delta.vdm")
	must(t, os.Chmod(file, 0o644))
	w.write(file, []byte("delta X"))
	why = w.agent.Why(context.Background())
	if why.Now.FailReason == nil || why.Now.FailReason.Code != "set_damaged" || rules(why.Now.Decisions) != "due_interval cloud_off failed" {
		t.Errorf("damaged, it says %+v", why.Now)
	}
	w.configure("{")
	why = w.agent.Why(context.Background())
	if why.Now.FailReason.Code != "config_invalid" || rules(why.Now.Decisions) != "last_good due_interval cloud_off" {
		t.Errorf("with a broken configuration, it says %+v", why.Now)
	}
	must(t, os.RemoveAll(filepath.Join(w.agent.Paths.State, "last-good")))
	why = w.agent.Why(context.Background())
	if why.Now.FailReason.Code != "config_invalid" || rules(why.Now.Decisions) != "failed" {
		t.Errorf("without a copy of it, it says %+v", why.Now)
	}
}

// The record is for every user, so it has no secret in it: the cloud's address may
// have a token.
func TestRecordHasNoSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure(`{"agent":{"cloudUrl":"http://127.0.0.1:1/updates.zip?sig=hunter2"}}`)
	w.want(agent.Failed, "source_unreachable")
	data, err := json.Marshal(w.agent.Why(context.Background()))
	must(t, err)
	raw := w.read(filepath.Join(w.agent.Paths.State, "status.json"))
	if text := string(data) + string(raw); strings.Contains(text, "hunter2") || !strings.Contains(text, "http://127.0.0.1:1/updates.zip") {
		t.Errorf("on record is %s", text)
	}
}

// A machine that runs for years keeps a record of bounded size, and runs that went the
// same way take the room of one.
func TestRecordOverTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	for n := range uint32(40) {
		w.publish(pack{n: n + 1})
		w.want(agent.Updated, "")
	}
	full := len(w.agent.Why(context.Background()).Runs)
	for range 5 {
		w.want(agent.UpToDate, "")
	}
	why := w.agent.Why(context.Background())
	if len(why.Runs) != full || full > 40 || full < 10 {
		t.Errorf("%d runs are on record, %d before", len(why.Runs), full)
	}
	if last := why.Runs[0]; last.Times != 5 || last.First == nil || why.Runs[1].Outcome != "updated" || why.Runs[1].Definitions != name(40) {
		t.Errorf("the last runs are told as %+v", why.Runs[:2])
	}
	var status state.Status
	must(t, json.Unmarshal(w.read(filepath.Join(w.agent.Paths.State, "status.json")), &status))
	if len(status.Runs) != full {
		t.Errorf("the file has %d runs", len(status.Runs))
	}
}
