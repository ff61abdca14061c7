package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"mdatp-offline-agent/agent"
)

// spoil changes the last byte of an installed file in place; quiet keeps its times.
func (w *world) spoil(path string, quiet bool) {
	w.Helper()
	info, err := os.Stat(path)
	must(w, err)
	must(w, os.Chmod(path, 0o644))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(w, err)
	last := make([]byte, 1)
	_, err = f.ReadAt(last, info.Size()-1)
	must(w, err)
	last[0] ^= 1 // whatever it was: a signature may end with anything
	_, err = f.WriteAt(last, info.Size()-1)
	must(w, err)
	must(w, f.Close())
	must(w, os.Chmod(path, info.Mode()))
	if quiet {
		must(w, os.Chtimes(path, info.ModTime(), info.ModTime()))
	}
}

func TestDamage(t *testing.T) {
	t.Parallel()
	in := func(w *world, file string) string { return filepath.Join(w.engine(w.active()), file) }
	unlock := func(w *world) { must(w, os.Chmod(w.engine(w.active()), 0o755)) }
	for _, c := range []struct {
		what   string
		damage func(*world)
		quiet  bool // only a full hash sees it
	}{
		{"changed", func(w *world) { w.spoil(in(w, "delta.vdm"), false) }, false},
		{"changed, its time restored", func(w *world) { w.spoil(in(w, "delta.vdm"), true) }, true},
		{"missing", func(w *world) { unlock(w); must(w, os.Remove(in(w, "delta.vdm"))) }, false},
		{"one more", func(w *world) { unlock(w); must(w, os.WriteFile(in(w, "more.vdm"), nil, 0o444)) }, false},
		{"a link for a file", func(w *world) {
			unlock(w)
			must(w, os.Remove(in(w, "delta.vdm")))
			must(w, os.Symlink("base.vdm", in(w, "delta.vdm")))
		}, false},
		{"list missing", func(w *world) {
			must(w, os.Chmod(in(w, "META"), 0o755))
			must(w, os.Remove(in(w, "META/package.p7m")))
		}, false},
		{"list changed", func(w *world) { w.spoil(in(w, "META/package.p7m"), false) }, false},
		{"set renamed", func(w *world) { must(w, os.Rename(w.engine(w.active()), w.engine(name(9)+"-00000000"))) }, false},
		{"set under another's name", func(w *world) {
			other := name(9) + "-00000000"
			must(w, os.Rename(w.engine(w.active()), w.engine(other)))
			must(w, os.Remove(w.engine("current")))
			must(w, os.Symlink(other, w.engine("current")))
		}, false},
		{"current leads nowhere", func(w *world) {
			must(w, os.Remove(w.engine("current")))
			must(w, os.Symlink("nowhere", w.engine("current")))
		}, false},
		{"current leads out", func(w *world) {
			must(w, os.Remove(w.engine("current")))
			must(w, os.Symlink("/etc", w.engine("current")))
		}, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.offline(w.ring, false, "")
			w.run([]step{installed(1), installed(2)})
			c.damage(w)
			if c.quiet {
				w.status("up_to_date", "")
				w.want(agent.UpToDate, "")
			} else {
				w.health(map[string]string{"definitions_status": `"unavailable"`, "definitions_version": "unavailable"})
			}
			_, err := w.agent.Verify(context.Background())
			if err == nil || agent.ExitCode(agent.Explain(err).Code) != 65 {
				t.Errorf("verify says %v", err)
			}
			if c.quiet {
				return
			}
			w.want(agent.Updated, "")
			w.has(2)
			w.status("up_to_date", "")
			w.sound(w.link("previous"))
		})
	}
}

// A file that is damaged while an update runs is not taken for untouched by the
// runs after it.
func TestDamageDuringUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.offline(site.ringURL(), false, "")
	w.run([]step{installed(1)})
	files := w.engine(w.active()) + "/delta.vdm"
	site.fail(func(rw http.ResponseWriter, _ *http.Request) {
		w.spoil(files, false)
		rw.WriteHeader(http.StatusNotFound)
	})
	w.want(agent.Failed, "source_not_found")
	w.status("unavailable", "set_damaged")
	site.fail(nil)
	w.want(agent.Updated, "")
	w.has(1)
}

// One does not go back to what is damaged, and finds the next whole one.
func TestRollbackPastDamage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, `"keep":3`)
	w.run([]step{installed(1), installed(2), installed(3)})
	w.spoil(w.engine(w.link("previous")+"/delta.vdm"), true)
	w.wantChange(w.agent.Rollback, "", 1)
	w.run([]step{installed(4)})
	must(t, os.RemoveAll(w.engine(w.link("previous"))))
	w.wantChange(w.agent.Rollback, "nothing_installed", 4)
}

// What is left by hand does not come back, also where it is damaged; and where
// nobody can tell what it was, that is said.
func TestRollbackFromDamage(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		damage       func(w *world, set string)
		rolled, next string
		active       uint32 // in the end
	}{
		"a file": {func(w *world, set string) { w.spoil(set+"/delta.vdm", true) }, "", "known_bad", 1},
		"more files than there can be": {func(w *world, set string) {
			for i := range 100 {
				w.write(fmt.Sprintf("%s/extra-%d", set, i), nil)
			}
		}, "", "known_bad", 1},
		"the list": {func(w *world, set string) { must(w, os.Remove(set+"/META/package.p7m")) }, "set_damaged", "", 2},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.offline(w.ring, false, "")
			w.run([]step{installed(1), installed(2)})
			c.damage(w, w.engine(w.active()))
			w.wantChange(w.agent.Rollback, c.rolled, 1)
			outcome := agent.Failed
			if c.next == "" {
				outcome = agent.Updated
			}
			w.want(outcome, c.next)
			w.has(c.active)
		})
	}
}

// A damaged set is no set to go back to once it is repaired by another.
func TestDamagedSetIsNotPrevious(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1), installed(2)})
	w.spoil(w.engine(w.active()+"/delta.vdm"), false)
	w.run([]step{installed(3)})
	if w.link("previous")[:len(name(1))] != name(1) {
		t.Errorf("previous is %s", w.link("previous"))
	}
}

// A publisher who is not trusted any more leaves nothing that counts.
func TestTrustTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1)})
	keys, other := newSigner(t)
	w.trust("root.pem", w.read(keys.Root))
	w.health(map[string]string{"definitions_status": `"unavailable"`, "definitions_update_fail_reason": `"signer_untrusted: `})
	r := w.agent.Update(context.Background(), agent.Options{})
	if codeOf(r) != "signer_untrusted" || w.active() == "" {
		t.Errorf("%v, active %q", r.FailReason, w.active())
	}
	w.run([]step{{does: publish(pack{n: 2, signer: &other}), outcome: agent.Updated, active: 2}})
}

func TestListAndVerify(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, `"keep":3`)
	_, err := w.agent.List(context.Background())
	w.wantCode(err, "nothing_installed")
	w.run([]step{installed(1), installed(2), installed(3)})
	w.wantChange(w.agent.Rollback, "", 2)
	sets, err := w.agent.Verify(context.Background())
	must(t, err)
	var states []string
	for _, s := range sets.Sets {
		states = append(states, s.State+" "+*s.Definitions)
	}
	want := []string{"previous " + name(3), "active " + name(2), "kept " + name(1)}
	if len(states) != 3 || states[0] != want[0] || states[1] != want[1] || states[2] != want[2] || sets.Sets[0].Reason == "" {
		t.Errorf("sets %v, want %v", states, want)
	}
}

// A damaged set is repaired by the next periodic run, due or not.
func TestDamageIsDue(t *testing.T) {
	t.Parallel()
	scheduled := agent.Options{Scheduled: true}
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1)})
	w.want(agent.Skipped, "skipped", scheduled)
	must(t, os.Remove(w.engine("current/delta.vdm")))
	w.status("unavailable", "set_damaged")
	w.want(agent.Updated, "", scheduled)
	w.status("up_to_date", "")
	w.want(agent.Skipped, "skipped", scheduled)
}

// An engine directory that can't be used is on record, and shows in the report.
func TestLocalFailureIsRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1)})
	must(t, os.Rename(w.engine(""), w.engine("")+".away"))
	w.write(w.engine(""), []byte("no directory"))
	r := w.agent.Update(context.Background(), agent.Options{})
	if r.Outcome != agent.Failed {
		t.Fatalf("the update ended with %s", r.Outcome)
	}
	must(t, os.Remove(w.engine("")))
	must(t, os.Rename(w.engine("")+".away", w.engine("")))
	w.status("update_failed", codeOf(r))
	w.want(agent.UpToDate, "")
	w.status("up_to_date", "")
}

// One does not go back to what is being left, whatever version it bears.
func TestRollbackSkipsTheSameContent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, `"keep":4`)
	same := map[string]string{"x.vdm": "the same in both versions"}
	w.run([]step{installed(1), {does: publish(pack{n: 2, files: same}), outcome: agent.Updated, active: 2}, {does: publish(pack{n: 3, files: same}), outcome: agent.Updated, active: 3}})
	w.wantChange(w.agent.Rollback, "", 1)
}
