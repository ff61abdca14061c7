package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/state"
)

func (w *world) state(name string) string { return filepath.Join(w.agent.Paths.State, name) }

// rolledBack is a machine that accepted 5, went back to 1, and is offered 3.
func rolledBack(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1), installed(5)})
	w.wantChange(w.agent.Rollback, "", 1)
	w.publish(pack{n: 3})
	return w
}

// A memory that is lost is learned anew from the sets on disk: nobody gets below
// the floor by damaging it, whatever was run in between.
func TestLostMemory(t *testing.T) {
	t.Parallel()
	write := func(data string) func(*world) {
		return func(w *world) { must(w, os.WriteFile(w.state("state.json"), []byte(data), 0o600)) }
	}
	hold := func(w *world) {
		_, err := w.agent.Hold(context.Background(), 0)
		must(w, err)
		must(w, w.agent.Unhold(context.Background(), 0))
	}
	for _, c := range []struct {
		what   string
		damage func(*world)
		kept   bool // what was there is kept aside
	}{
		{"missing", func(w *world) { must(w, os.Remove(w.state("state.json"))) }, false},
		{"empty", write(""), true},
		{"cut", func(w *world) { write(string(w.read(w.state("state.json"))[:100]))(w) }, true},
		{"random", write("\x00\xff\x17"), true},
		{"other JSON", write(`[1,2,3]`), true},
		{"no schema", write(`{}`), true},
		{"negative schema", write(`{"schema":-1}`), true},
		{"wrong types", write(`{"schema":1,"floors":{"a":1}}`), true},
		{"no floors", write(`{"schema":1}`), false},
		{"huge", write(strings.Repeat(" ", 5<<20)), true},
		{"a directory", func(w *world) {
			must(w, os.Remove(w.state("state.json")))
			must(w, os.Mkdir(w.state("state.json"), 0o700))
		}, true},
		{"a link to nowhere", func(w *world) {
			must(w, os.Remove(w.state("state.json")))
			must(w, os.Symlink("nowhere", w.state("state.json")))
		}, true},
		{"missing, then held", func(w *world) { must(w, os.Remove(w.state("state.json"))); hold(w) }, false},
		{"damaged, then held", func(w *world) { write("{")(w); hold(w) }, true},
		{"missing, then a run without trust", func(w *world) {
			must(w, os.Remove(w.state("state.json")))
			root := filepath.Join(w.agent.Paths.Trust, "root.pem")
			must(w, os.Rename(root, root+".aside"))
			w.want(agent.Failed, "trust_invalid")
			must(w, os.Rename(root+".aside", root))
		}, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := rolledBack(t)
			c.damage(w)
			r := w.want(agent.UpToDate, "") // that the mirror served more is forgotten, too
			if len(r.Notes) == 0 || !strings.Contains(r.Notes[0], "behind") {
				t.Errorf("notes %v", r.Notes)
			}
			w.has(1)
			w.publish(pack{n: 2})
			w.want(agent.Failed, "rollback_refused")
			if _, err := os.Lstat(w.state("state.json.damaged")); (err == nil) != c.kept {
				t.Errorf("the damaged one: %v, want it kept: %v", err, c.kept)
			}
			w.run([]step{installed(6)})
			w.mode("state.json", 0o600)
		})
	}
}

func (w *world) mode(name string, want fs.FileMode) {
	w.Helper()
	info, err := os.Stat(w.state(name))
	must(w, err)
	if info.Mode() != want {
		w.Errorf("%s has the mode %v, want %v", name, info.Mode(), want)
	}
}

// Others may read the status, and nothing else of what the agent keeps.
func TestModes(t *testing.T) {
	t.Parallel()
	w := rolledBack(t)
	w.mode("state.json", 0o600)
	w.mode("status.json", 0o644)
	w.mode("lock", 0o600)
	w.mode("last-good", fs.ModeDir|0o700)
	w.mode("last-good/managed.json", 0o600)
}

// What a later version of the program left is read for the floor, and stays.
func TestNewerMemory(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what    string
		edit    func(fields map[string]any)
		outcome agent.Outcome
		code    string
	}{
		{"more fields", func(f map[string]any) { f["more"] = 1 }, agent.Failed, "rollback_refused"},
		// What the mirror served is not understood then, so it is only behind.
		{"fields of other types", func(f map[string]any) { f["sources"] = []string{"a"}; f["heldSince"] = 7 }, agent.UpToDate, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := rolledBack(t)
			var fields map[string]any
			must(t, json.Unmarshal(w.read(w.state("state.json")), &fields))
			fields["schema"] = 2
			c.edit(fields)
			newer, err := json.Marshal(fields)
			must(t, err)
			must(t, os.WriteFile(w.state("state.json"), newer, 0o600))
			sets, err := filepath.Glob(w.engine(name(5) + "-*"))
			must(t, err)
			must(t, os.Rename(sets[0], filepath.Join(t.TempDir(), "gone"))) // the state alone knows of 5
			w.want(c.outcome, c.code)
			w.has(1)
			w.run([]step{installed(6)})
			_, err = w.agent.Hold(context.Background(), 0)
			w.wantCode(err, "install_failed")
			_, err = w.agent.Rollback(context.Background(), 0)
			w.wantCode(err, "install_failed")
			if !bytes.Equal(w.read(w.state("state.json")), newer) {
				t.Error("the state of a later version was overwritten")
			}
		})
	}
}

func TestUnknownFieldsSurvive(t *testing.T) {
	t.Parallel()
	w := rolledBack(t)
	data := bytes.Replace(w.read(w.state("state.json")), []byte(`{`), []byte(`{"later":{"a":[1,2]},`), 1)
	must(t, os.WriteFile(w.state("state.json"), data, 0o600))
	w.run([]step{installed(6)})
	var fields map[string]json.RawMessage
	must(t, json.Unmarshal(w.read(w.state("state.json")), &fields))
	var kept bytes.Buffer
	must(t, json.Compact(&kept, fields["later"]))
	if kept.String() != `{"a":[1,2]}` {
		t.Errorf("kept %s", &kept)
	}
}

// Garbage in status.json costs a hash of the set, and is replaced.
func TestStatusGarbage(t *testing.T) {
	t.Parallel()
	for _, garbage := range []string{"", "{", "[]", "null", `{"current":7}`, `{"sets":null,"current":{"set":"x","files":null}}`, strings.Repeat("x", 5<<20)} {
		w := newWorld(t)
		w.offline(w.ring, false, "")
		w.run([]step{installed(1)})
		must(t, os.WriteFile(w.state("status.json"), []byte(garbage), 0o644))
		w.health(map[string]string{"definitions_status": `"up_to_date"`, "definitions_version": `"` + name(1)})
		w.want(agent.UpToDate, "")
		w.status("up_to_date", "")
	}
}

// The floor of a signer who is revoked since is void, those of others are not.
func TestFloorOfRevokedSigner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	keys, other := w.otherSigner()
	w.run([]step{installed(2), {does: publish(pack{n: 50, signer: &other}), outcome: agent.Updated, active: 50}})
	w.publish(pack{n: 3})
	w.want(agent.Failed, "rollback_refused")
	w.revoke(keys, other)
	w.publish(pack{n: 1})
	w.want(agent.Failed, "rollback_refused")
	w.run([]step{installed(3)})
}

// A revoked signer's set stays active and is reported; one does not go back to
// it, and another signer's package replaces it.
func TestRevokedSigner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	_, other := w.otherSigner()
	w.run([]step{installed(1)})
	w.revoke(w.keys, w.signer)
	w.status("update_failed", "signer_revoked")
	w.want(agent.Failed, "signer_revoked")
	w.status("update_failed", "signer_revoked")
	w.publish(pack{n: 2})
	w.want(agent.Failed, "signer_revoked")
	w.has(1)
	w.run([]step{{does: publish(pack{n: 2, signer: &other}), outcome: agent.Updated, active: 2}})
	w.status("up_to_date", "")
	w.wantChange(w.agent.Rollback, "nothing_installed", 2)
}

// The very list that a revoked signer signed, signed anew by another, mends the
// report, although nothing in it is newer.
func TestRevokedListSignedAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	_, other := w.otherSigner()
	w.run([]step{installed(1)})
	w.revoke(w.keys, w.signer)
	w.status("update_failed", "signer_revoked")
	w.publish(pack{n: 1, signer: &other})
	w.want(agent.Renewed, "")
	w.has(1)
	w.status("up_to_date", "")
}

// A broken configuration stops those who broke it, and not the machine.
func TestLastGood(t *testing.T) {
	t.Parallel()
	byHand, scheduled, lastGood := agent.Options{}, agent.Options{Scheduled: true}, agent.Options{UseLastGood: true}
	w := newWorld(t)
	url := w.web().ringURL()
	w.offline(url, false, "")
	w.run([]step{installed(1)})
	w.later(24 * time.Hour)
	for _, broken := range []string{"{", `{"cloudService":{"definitionUpdatesInterval":"often"}}`, ""} {
		w.configure(broken)
		r := w.want(agent.Failed, "config_invalid", byHand)
		if r.ExitCode() != 78 {
			t.Errorf("exit code %d", r.ExitCode())
		}
		w.want(agent.UpToDate, "", scheduled)
		w.want(agent.UpToDate, "", lastGood)
		w.later(24 * time.Hour)
		w.health(map[string]string{"definitions_update_fail_reason": `"config_invalid: `, "offline_definition_url_configured": `"` + url + `"`})
		if text := w.health(nil).Text(); !strings.Contains(text, url+`" [managed]`) {
			t.Errorf("the rows in force are not shown:\n%s", text)
		}
	}
	must(t, os.RemoveAll(w.state("last-good")))
	w.want(agent.Failed, "config_invalid", scheduled)
	w.has(1)
}

// Whom to trust never comes from the copy, and without it there is no update.
func TestLastGoodNeverSaysWhomToTrust(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pin := `"trust":{"signers":["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]}`
	w.offline(w.ring, false, pin)
	w.publish(pack{n: 1})
	w.want(agent.Failed, "signer_untrusted")
	w.configure("{")
	w.want(agent.Failed, "config_invalid", agent.Options{Scheduled: true})
	w.want(agent.Failed, "config_invalid", agent.Options{UseLastGood: true})
}

// Another process that updates keeps us out, and says who it is.
func TestBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1)})
	store, err := state.Open(w.agent.Paths.State)
	must(t, err)
	lock, err := store.Lock(context.Background(), 0, base)
	must(t, err)
	w.status("updating", "")
	r := w.want(agent.Failed, "busy")
	if r.ExitCode() != 75 || !strings.Contains(r.FailReason.Message, "2026-11-01T12:00:00Z") {
		t.Errorf("exit %d, %s", r.ExitCode(), r.FailReason.Message)
	}
	time.AfterFunc(100*time.Millisecond, func() { _ = lock.Unlock() })
	w.want(agent.UpToDate, "")
	w.status("up_to_date", "") // busy is no result
}

// Only what is due, and nothing that is held.
func TestScheduled(t *testing.T) {
	t.Parallel()
	scheduled := agent.Options{Scheduled: true}
	w := newWorld(t)
	r := w.want(agent.Skipped, "skipped", scheduled)
	if r.ExitCode() != 0 {
		t.Errorf("exit code %d", r.ExitCode())
	}
	w.want(agent.Failed, "config_invalid")
	site := w.web()
	w.publish(pack{n: 1})
	w.configure(`{` + offlineAt(site.ringURL(), false) + `,"cloudService":{"definitionUpdatesInterval":3600},"agent":{"jitter":0}}`)
	w.want(agent.Updated, "", scheduled)
	w.publish(pack{n: 2})
	w.later(59 * time.Minute)
	before := site.asked.Load()
	w.want(agent.Skipped, "skipped", scheduled)
	w.later(time.Minute)
	_, err := w.agent.Hold(context.Background(), 0)
	must(t, err)
	w.want(agent.Skipped, "skipped", scheduled)
	if f := w.agent.Facts(context.Background()); !strings.Contains(f.Rule, "updates are held since") || !f.NextCheck.IsZero() {
		t.Errorf("the report does not say that updates are held: %q, next %s", f.Rule, f.NextCheck)
	}
	if site.asked.Load() != before {
		t.Error("a run that does nothing asked the mirror")
	}
	must(t, w.agent.Unhold(context.Background(), 0))
	w.want(agent.Updated, "", scheduled)
	w.at(base.Add(-5 * day)) // the last check lies in the future now
	w.want(agent.UpToDate, "", scheduled)
}

// A managed file that is away counts as absent only after ten minutes, for who
// removes it before he writes it anew; and its copy is kept until then.
func TestVanishedConfiguration(t *testing.T) {
	t.Parallel()
	scheduled := agent.Options{Scheduled: true, Now: true}
	w := newWorld(t)
	w.offline(w.web().ringURL(), false, "")
	w.run([]step{installed(1)})
	text := w.read(w.agent.Paths.Managed)
	must(t, os.Remove(w.agent.Paths.Managed))
	for range 3 {
		w.later(3 * time.Minute)
		w.want(agent.UpToDate, "", scheduled)
		w.health(map[string]string{"definitions_update_fail_reason": `"config_invalid: `, "offline_definition_update": `"enabled"`})
	}
	w.write(w.agent.Paths.Managed, text)
	w.want(agent.UpToDate, "", scheduled)
	w.status("up_to_date", "")
	must(t, os.Remove(w.agent.Paths.Managed))
	w.want(agent.UpToDate, "", scheduled)
	w.later(10 * time.Minute)
	w.want(agent.Skipped, "skipped", scheduled) // never configured, as far as anybody knows
	w.want(agent.Failed, "config_invalid")
}

// A broken configuration shows in the report also after a run for which the copy
// stood in.
func TestBrokenConfigurationIsRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.web().ringURL(), false, "")
	w.run([]step{installed(1)})
	w.configure("{")
	w.want(agent.UpToDate, "", agent.Options{Scheduled: true, Now: true})
	must(t, os.Remove(w.agent.Paths.Managed)) // who can't read it sees as little
	w.status("up_to_date", "config_invalid")
}
