package agent_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/verifier"
)

// A set that postload condemns makes way for the one before by itself, and the
// hook is told of that, too.
func TestPostloadCondemns(t *testing.T) {
	t.Parallel()
	w := newHooked(t)
	w.hooks(good, about(3, "exit 1"))
	w.run([]step{installed(1), installed(2)})
	w.told(preload(1, 0), postload(1, 0), preload(2, 1), postload(2, 1))

	w.publish(pack{n: 3})
	w.fails("postload_failed", "condemned the definitions "+name(3)+", and "+name(2)+" is active again", 2)
	w.told(preload(3, 2), postload(3, 2), postload(2, 3))
	w.previously(1) // and not to what was condemned
	w.bad(3)
	w.want(agent.Failed, "known_bad")
	w.publish(pack{n: 4, files: w.fill(pack{n: 3}).files})
	w.want(agent.Failed, "known_bad")
	w.told()
	w.publish(pack{n: 5})
	w.want(agent.Updated, "")
	w.told(preload(5, 2), postload(5, 2))
	w.previously(2)
	w.status("up_to_date", "")
}

// With nothing to go back to, a condemned set stays, and the hook is told again
// until it takes it.
func TestPostloadCondemnsTheFirstSet(t *testing.T) {
	t.Parallel()
	w := newHooked(t)
	w.hooks("", "exit 1")
	w.publish(pack{n: 1})
	w.fails("postload_failed", "condemned the definitions "+name(1)+", which stay, since there is no set before", 1)
	w.told(postload(1, 0))
	w.fails("postload_failed", "there is no set before", 1)
	w.told(postload(1, 0))
	w.bad()
	w.hooks("", good)
	w.want(agent.UpToDate, "")
	w.told(postload(1, 0))
	w.status("up_to_date", "")
	w.want(agent.UpToDate, "")
	w.told()
}

// A set that takes the place of a damaged one has no set before, and yet there may
// be one to go back to.
func TestPostloadCondemnsWhatReplacedADamagedSet(t *testing.T) {
	t.Parallel()
	w := newHooked(t)
	w.hooks("", "")
	w.run([]step{installed(1), installed(2)})
	w.spoil(w.engine(w.active()+"/delta.vdm"), false)
	must(t, os.Remove(w.engine("previous")))
	w.hooks("", about(3, "exit 1"))
	w.publish(pack{n: 3})
	w.fails("postload_failed", "condemned the definitions "+name(3)+", and "+name(1)+" is active again", 1)
	w.bad(3)
}

// Nor is there anything to go back to where the set before can't be used.
func TestNothingFitToGoBackTo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why    string
		does   func(*hooked)
		active uint32
	}{
		{"the set before is damaged", func(w *hooked) { w.spoil(w.engine(w.link("previous")+"/delta.vdm"), true) }, 2},
		{"the set before is known bad", func(w *hooked) {
			w.wantChange(w.agent.Rollback, "", 1)
			w.publish(pack{n: 1})
		}, 1},
		{"the signer of the set before is revoked", func(w *hooked) { w.revoke(w.keys, w.signer) }, 2},
		{"there is no set before", func(w *hooked) { must(w, os.RemoveAll(w.engine(w.link("previous")))) }, 2},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			w := newHooked(t)
			w.hooks("", "")
			w.run([]step{installed(1)})
			_, other := w.otherSigner()
			w.publish(pack{n: 2, signer: &other})
			w.want(agent.Updated, "")
			c.does(w)
			w.hooks("", "exit 1")
			w.unfinished(w.active())
			w.fails("postload_failed", "condemned the definitions "+name(c.active)+", which stay, since "+c.why, c.active)
			if got := w.memory().Unfinished; got != w.active() {
				t.Errorf("the hook is to be told of %q the next time", got)
			}
		})
	}
}

// unfinished leaves the memory as a run leaves it that was killed between the
// exchange of a set and the postload hook's answer.
func (w *hooked) unfinished(set string) {
	w.Helper()
	var memory map[string]any
	must(w, json.Unmarshal(w.read(w.state("state.json")), &memory))
	memory["unfinished"] = set
	data, err := json.Marshal(memory)
	must(w, err)
	must(w, os.WriteFile(w.state("state.json"), data, 0o600))
}

// A hook that condemns the set before as well does not know what it says: the new
// set stays, and nothing is known bad.
func TestPostloadCondemnsBoth(t *testing.T) {
	t.Parallel()
	w := newHooked(t)
	w.hooks("", good)
	w.run([]step{installed(1)})
	w.told(postload(1, 0))
	w.hooks("", "exit 1")
	w.publish(pack{n: 2})
	w.fails("postload_failed", "is at fault, since it failed with the set before as well", 2)
	w.told(postload(2, 1), postload(1, 2))
	w.previously(1)
	w.bad()
	w.hooks("", good)
	w.want(agent.UpToDate, "")
	w.told(postload(2, 1))
	w.status("up_to_date", "")
}

// A postload hook that gives no verdict condemns nothing either. It is told again
// by each run, and keeps no newer package away.
func TestPostloadAtFault(t *testing.T) {
	t.Parallel()
	hooks := map[string]string{
		"mended":      about(2, "exit 3"),
		"newer":       about(2, "exit 3"),
		"renewed":     about(2, "exit 3"),
		"set before":  about(2, "exit 1") + about(1, "kill -KILL $$"),
		"left behind": "sleep 100 & exit 1",
		"rolled back": about(1, "exit 3"),
	}
	worlds := map[string]*hooked{}
	for what, script := range hooks {
		w := newHooked(t)
		worlds[what] = w
		w.hooks("", "")
		w.run([]step{installed(1)})
		w.publish(pack{n: 2})
		w.hooks("", script)
	}
	rolled := worlds["rolled back"]
	delete(worlds, "rolled back")
	rolled.hooks("", "")
	rolled.want(agent.Updated, "")
	rolled.hooks("", hooks["rolled back"])
	change := make(chan error, 1)
	go func() {
		_, err := rolled.agent.Rollback(context.Background(), 0)
		change <- err
	}()

	results := together(worlds)
	for what, w := range worlds {
		sentence, told := "is at fault, since it ended with exit code 3", repeat(postload(2, 1), tries)
		switch what {
		case "set before":
			sentence, told = "it failed with the set before as well", append([]string{postload(2, 1)}, repeat(postload(1, 2), tries)...)
		case "left behind":
			sentence = "it left processes behind"
		}
		w.failed(results[what], "postload_failed", sentence, 2)
		w.told(told...)
		w.previously(1)
		w.bad()
	}
	w := worlds["mended"]
	w.want(agent.Skipped, "skipped", agent.Options{Scheduled: true}) // not at once,
	w.hooks("", good)
	w.later(2 * time.Minute) // but soon
	w.want(agent.UpToDate, "", agent.Options{Scheduled: true})
	w.told(postload(2, 1))
	w.status("up_to_date", "")

	w = rolled
	w.wantCode(<-change, "postload_failed")
	w.has(1)
	w.told(repeat(postload(1, 2), tries)...)
	w.hooks("", good)
	w.want(agent.Failed, "known_bad", agent.Options{Scheduled: true}) // 2 was rolled back by hand
	w.told(postload(1, 2))

	worlds["newer"].publish(pack{n: 3})
	worlds["renewed"].publish(pack{n: 2, issued: base})
	results = together(map[string]*hooked{"newer": worlds["newer"], "renewed": worlds["renewed"]})
	w = worlds["newer"]
	if r := results["newer"]; r.Outcome != agent.Updated || r.FailReason != nil {
		t.Errorf("a newer package: %s %v", r.Outcome, r.FailReason)
	}
	w.has(3)
	w.told(append(repeat(postload(2, 1), tries), postload(3, 2))...)
	w.status("up_to_date", "")

	w = worlds["renewed"]
	w.failed(results["renewed"], "postload_failed", "exit code 3", 2)
	w.told(repeat(postload(2, 1), tries)...)
	w.hooks("", good)
	w.want(agent.UpToDate, "") // the renewal did not make it forget the hook
	w.told(postload(2, 1))
}

// Killed between the exchange and the hook's answer, the agent is due at once,
// and tells the hook again.
func TestKilledInPostload(t *testing.T) {
	t.Parallel()
	w := newHooked(t)
	w.hooks("", good)
	w.run([]step{installed(1)})
	w.told(postload(1, 0))
	w.hooks("", w.once("kill -KILL $PPID"))
	w.publish(pack{n: 2})
	w.killed()
	w.has(2)
	w.told(postload(2, 1))
	w.want(agent.UpToDate, "", agent.Options{Scheduled: true})
	w.told(postload(2, 1))
	w.bad()
	w.want(agent.Skipped, "skipped", agent.Options{Scheduled: true})
	w.told()
}

// Killed while it goes back, the agent has not yet noted what was condemned. So
// that comes again, without being fetched again, and is condemned again.
func TestKilledWhileGoingBack(t *testing.T) {
	t.Parallel()
	w := newHooked(t)
	w.hooks("", good)
	w.run([]step{installed(1)})
	w.told(postload(1, 0))
	w.hooks("", about(2, "exit 1")+about(1, w.once("kill -KILL $PPID")))
	w.publish(pack{n: 2})
	w.killed()
	w.has(1)
	w.told(postload(2, 1), postload(1, 2))
	r := w.want(agent.Failed, "postload_failed", agent.Options{Scheduled: true})
	w.has(1)
	w.told(postload(1, 0), postload(2, 1), postload(1, 2))
	w.notFetched(r, pack{n: 2})
	w.bad(2)
	w.want(agent.Failed, "known_bad")
	w.told()
}

// The same moments, just before the exchange: what was to become active is on
// record, and is not active. The hook is told of what is.
func TestKilledBeforeTheExchange(t *testing.T) {
	t.Parallel()
	scheduled := agent.Options{Scheduled: true}
	w := newHooked(t)
	w.hooks("", "")
	w.run([]step{installed(1), installed(2)})
	w.hooks("", good)
	w.unfinished(name(3) + "-01234567")
	w.want(agent.UpToDate, "", scheduled)
	w.told(postload(2, 1))

	w.hooks("", about(2, "exit 1"))
	w.unfinished(w.link("previous")) // 2 was condemned, and had not made way yet
	w.failed(w.agent.Update(context.Background(), scheduled), "postload_failed", "", 1)
	w.told(postload(2, 1), postload(1, 2))
	w.bad(2)
}

// Commands by hand that exchange the set tell the hook of it. What somebody chose
// by hand stays, whatever the hook says.
func TestPostloadAfterRollbackAndRestore(t *testing.T) {
	t.Parallel()
	w := newHooked(t)
	seed := w.fill(pack{n: 1, files: map[string]string{"seed.vdm": "seed"}})
	w.write(filepath.Join(w.agent.Paths.Seed, "seed.vdm"), []byte("seed"))
	w.write(filepath.Join(w.agent.Paths.Seed, verifier.ListEntry), w.sign(seed))
	w.hooks("", "")
	w.run([]step{installed(2), installed(3)})
	w.hooks("exit 1", good)
	w.wantChange(w.agent.Rollback, "", 2)
	w.told(postload(2, 3))
	w.wantChange(w.agent.Restore, "", 1)
	w.told(postload(1, 2))

	w.hooks("", about(1, "exit 1"))
	w.run([]step{installed(4)})
	w.told(postload(4, 1))
	w.wantChange(w.agent.Rollback, "postload_failed", 1)
	w.told(postload(1, 4))
	w.publish(pack{n: 5})
	w.want(agent.Updated, "", agent.Options{Scheduled: true}) // due at once, for the hook's sake
	w.told(postload(1, 4), postload(5, 1))
}

// What a postload hook does to the active set is not taken for how it was found
// whole.
func TestPostloadThatChangesTheSet(t *testing.T) {
	t.Parallel()
	w := newHooked(t)
	w.hooks("", `cd "$AGENT_SET_DIR" && chmod u+w delta.vdm && echo x >delta.vdm`)
	w.publish(pack{n: 1})
	w.agent.Update(context.Background(), agent.Options{})
	w.status("unavailable", "set_damaged")
	w.hooks("", good)
	w.want(agent.Updated, "")
	w.has(1)
	w.status("up_to_date", "")
}
