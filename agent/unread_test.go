package agent_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
)

// failing runs a child for which some calls on one file fail, whenever it tries them.
// From which of these on is when, as strace has it.
func (w *world) failing(role, file, calls, when string) string {
	w.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		w.Skip("SKIPPED: strace is missing, which makes reading fail; apt-get install strace")
	}
	cmd := w.child(role)
	self, err := os.Executable()
	must(w, err)
	cmd.Args = append([]string{strace, "-f", "-qq", "-o", "/dev/null", "-P", file, "-e", "trace=" + calls, "-e", "inject=" + calls + ":error=EIO:when=" + when}, self)
	cmd.Path = strace
	out, err := cmd.Output()
	if err != nil && exitOf(err) < 0 {
		w.Fatalf("strace: %v %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// A set that can't be read is not a damaged one: nothing is removed for it, and it is
// said. It is whole again when the disk is.
func TestRepairRemovesNothingUnread(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"META/package.p7m", "delta.vdm"} {
		for _, link := range []string{"current", "previous"} {
			t.Run(link+"/"+file, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.offline(w.ring, false, "")
				w.run([]step{installed(1), installed(2)})
				must(t, os.Rename(w.ring, w.ring+".away"))
				active, previous := w.active(), w.link("previous")
				if code := w.failing("repairOnce", w.engine(filepath.Join(w.link(link), file)), "read,pread64", "1+"); !strings.HasSuffix(code, "install_failed") {
					t.Errorf("repair ends with %q", code)
				}
				w.sound(active)
				w.sound(previous)
				if link == "previous" || file == "META/package.p7m" {
					w.has(2)
				}
				must(t, os.Rename(w.ring+".away", w.ring))
				w.repair()
				w.update(agent.Options{}) // where it went back meanwhile
				w.has(2)
				if got := w.problems(); got != "" {
					t.Error(got)
				}
			})
		}
	}
}

// An engine directory that can't be opened, or found, is not a lost one: nobody begins
// elsewhere without its sets, which would take the active one from its readers.
func TestMoveOfUnread(t *testing.T) {
	t.Parallel()
	for _, moved := range []bool{false, true} {
		for _, nth := range []string{"1+", "2+"} { // from which time on the call fails
			t.Run(fmt.Sprint(moved, nth), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.offline(w.ring, false, "")
				w.run([]step{installed(1), installed(2)})
				file := w.engine("")
				if moved {
					w.move("first", "")
					file = w.state("engine-directory") // which says where
				}
				before := w.engine("")
				code := w.failing("moveOnce", file, "openat", nth)
				if now := w.engine(""); now != before && (code != "" || w.active() == "") {
					t.Errorf("the move ends with %q, and the engine directory is %s", code, now)
				}
				if nth == "1+" && code == "" {
					t.Error("the call failed, and nobody saw it")
				}
				w.has(2)
				w.status("up_to_date", "")
			})
		}
	}
}

// Modes that hide a set from its owner remove none, and repair gives the right to read
// back.
func TestRepairOfHiddenSets(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root may read everything; run this test as a plain user")
	}
	for _, name := range []string{"", "META", "META/package.p7m", "delta.vdm"} {
		for _, link := range []string{"current", "previous"} {
			t.Run(link+"/"+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.offline(w.ring, false, "")
				w.run([]step{installed(1), installed(2), installed(3)})
				must(t, os.Rename(w.ring, w.ring+".away")) // what is lost does not come again
				active, previous := w.active(), w.link("previous")
				must(t, os.Chmod(w.engine(filepath.Join(w.link(link), name)), 0))
				v, err := w.agent.Verify(t.Context())
				w.wantCode(err, "permission_denied")
				if v.FailReason == nil || v.FailReason.Code != "permission_denied" {
					t.Errorf("the result says %v", v.FailReason)
				}
				w.agent.Facts(t.Context()) // goes on
				did := w.repair()
				w.wantDid(did, true, "", "repaired from what is on this disk")
				if w.active() != active || w.link("previous") != previous {
					t.Errorf("active is %s, previous %s; done: %s", w.active(), w.link("previous"), did)
				}
				w.sound(previous)
				if got := w.problems(); got != "" {
					t.Error(got)
				}
			})
		}
	}
}

// A set that can't be looked at stays, however old it is, and what is known of it. The
// update works, and others are removed.
func TestUnreadSetIsKept(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root may read everything; run this test as a plain user")
	}
	w := newWorld(t)
	w.offline(w.ring, false, `"keep":3`)
	w.run([]step{installed(1), installed(2), installed(3)})
	hidden, second := w.setOf(1), w.setOf(2)
	must(t, os.Chmod(w.engine(hidden+"/META"), 0))
	w.run([]step{installed(4), installed(5)})
	w.later(24 * time.Hour)
	w.run([]step{installed(6)})
	gone(t, w.engine(second))
	w.status("up_to_date", "")
	if !strings.Contains(string(w.read(w.state("state.json"))), hidden) {
		t.Error("the set was forgotten")
	}
	if _, err := os.Stat(w.engine(hidden)); err != nil {
		t.Error(err)
	}
	w.repair()
	w.want(agent.UpToDate, "")
	w.status("up_to_date", "")
}

// A floor that is learned anew is not learned from some of the sets only.
func TestFloorIsNotLearnedFromUnreadSets(t *testing.T) {
	t.Parallel()
	w := rolledBack(t)
	must(t, os.Remove(w.state("state.json")))
	if out := w.failing("update", w.engine(w.setOf(5)+"/META/package.p7m"), "read,pread64", "1+"); !strings.HasPrefix(out, "failed install_failed") {
		t.Errorf("the update says %q", out)
	}
	w.has(1)
	w.update(agent.Options{})
	w.has(1) // and not 3, which is below 5
}

// asked is a context that does something when it is first asked whether it ended,
// which is when the first file of the first set is hashed.
type asked struct {
	context.Context
	once *sync.Once
	do   func()
}

func (a asked) Err() error {
	a.once.Do(a.do)
	return a.Context.Err()
}

// Who looks without the lock does not call damaged what others take away.
func TestVerifyWhileSetsGo(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		take func(w *world)
		left int
	}{
		"collected": {func(w *world) { must(w, os.RemoveAll(w.engine(w.setOf(1)))) }, 2},
		"all moved": {func(w *world) { w.move("moved", "") }, 3},
		"most collected": {func(w *world) {
			must(w, os.RemoveAll(w.engine(w.setOf(3))))
			must(w, os.RemoveAll(w.engine(w.setOf(1))))
		}, 1},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.offline(w.ring, false, `"keep":3`)
			w.run([]step{installed(1), installed(2), installed(3)})
			v, err := w.agent.Verify(asked{t.Context(), new(sync.Once), func() { c.take(w) }})
			w.wantCode(err, "")
			if len(v.Sets) != c.left || len(v.Problems) > 0 {
				t.Errorf("%d sets, %v", len(v.Sets), v.Problems)
			}
		})
	}
}
