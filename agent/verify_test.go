package agent_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mdatp-offline-agent/agent"
)

// problems gives what verify finds, one line each, and checks that it is an error
// exactly where there is something.
func (w *world) problems() string {
	w.Helper()
	v, err := w.agent.Verify(context.Background())
	var lines []string
	for _, p := range v.Problems {
		lines = append(lines, strings.TrimSpace(p.Set+"/"+p.File+" "+p.Problem))
		if strings.ContainsAny(p.Set+p.File+p.Problem, "\n\"\x1b") {
			w.Errorf("not fit to be shown: %q", p)
		}
	}
	if (err != nil) != (len(lines) > 0) {
		w.Errorf("verify gives %v, and finds %q", err, lines)
	}
	if err != nil {
		checkFailure(w, agent.Explain(err))
		if agent.ExitCode(agent.Explain(err).Code) != 65 {
			w.Errorf("verify ends with %v", err)
		}
	}
	return strings.Join(lines, "\n")
}

// repair runs it, checks that all is whole afterwards, and gives what was done.
func (w *world) repair() string {
	w.Helper()
	v, err := w.agent.Repair(context.Background(), 0)
	if err != nil {
		w.Fatalf("repair: %v; %v, still wrong: %v", err, v.Repairs, v.Problems)
	}
	w.sound(w.active())
	if left, _ := os.ReadDir(w.engine(".staging")); len(left) > 0 {
		w.Errorf("%v is left in .staging", left)
	}
	var lines []string
	for _, r := range v.Repairs {
		lines = append(lines, strings.TrimPrefix(r.Set+": "+r.Did, ": "))
	}
	return strings.Join(lines, "\n")
}

// unlocked is a path in a set. Whoever owns its directories can write there.
func (w *world) unlocked(set, name string) string {
	w.Helper()
	return filepath.Join(w.engine(set), name)
}

// Whatever is done to a set is found and named, also where no time or size tells of
// it, and repaired: from another set where that has the same file, and else by going
// back at once and fetching what is missing.
func TestVerifyAndRepair(t *testing.T) {
	t.Parallel()
	replace := func(path string, put func(string) error) func(*world, string) {
		return func(w *world, set string) {
			at := w.unlocked(set, path)
			must(w, os.RemoveAll(at))
			must(w, put(at))
		}
	}
	const local = "repaired from what is on this disk"
	for _, c := range []struct {
		what      string
		damage    func(w *world, set string)
		found     string // in what verify says, behind the set's name
		elsewhere bool   // the content is nowhere else on this disk
	}{
		{"shared file changed", replace("base.vdm", func(at string) error { return os.WriteFile(at, []byte(strings.Repeat("bose ", 2000)), 0o444) }), "/base.vdm is changed", false},
		{"file changed", func(w *world, set string) { w.spoil(w.unlocked(set, "delta.vdm"), true) }, "/delta.vdm is changed", true},
		{"file missing", func(w *world, set string) { must(w, os.Remove(w.unlocked(set, "delta.vdm"))) }, "/delta.vdm is missing", true},
		{"file longer", func(w *world, set string) {
			must(w, os.Chmod(w.unlocked(set, "delta.vdm"), 0o644))
			must(w, os.Truncate(w.unlocked(set, "delta.vdm"), 100))
			must(w, os.Chmod(w.unlocked(set, "delta.vdm"), 0o444))
		}, "/delta.vdm has 100 bytes in place of 7", true},
		{"file empty", func(w *world, set string) {
			must(w, os.Chmod(w.unlocked(set, "delta.vdm"), 0o644))
			must(w, os.Truncate(w.unlocked(set, "delta.vdm"), 0))
		}, "/delta.vdm has 0 bytes in place of 7", true},
		{"file writable", func(w *world, set string) { must(w, os.Chmod(w.unlocked(set, "delta.vdm"), 0o644)) }, "/delta.vdm has mode -rw-r--r-- in place of -r--r--r--", false},
		{"file setuid", func(w *world, set string) { must(w, unix.Chmod(w.unlocked(set, "delta.vdm"), 0o4555)) }, "/delta.vdm has mode ur-xr-xr-x in place of", false},
		{"link for a file", replace("delta.vdm", func(at string) error { return os.Symlink("base.vdm", at) }), "/delta.vdm is a link in place of a file", true},
		{"link to the same", func(w *world, set string) {
			must(w, os.Rename(w.unlocked(set, "delta.vdm"), w.engine("")+"/../delta.vdm"))
			must(w, os.Symlink("../../delta.vdm", w.unlocked(set, "delta.vdm")))
		}, "/delta.vdm is a link in place of a file", true},
		{"pipe for a file", replace("delta.vdm", func(at string) error { return unix.Mkfifo(at, 0o444) }), "/delta.vdm is a pipe in place of a file", true},
		{"directory for a file", replace("delta.vdm", func(at string) error { return os.MkdirAll(at+"/below/it", 0o755) }), "/delta.vdm is a directory in place of a file", true},
		{"one more", replace("more\n\"\x1b[31m.vdm", func(at string) error { return os.WriteFile(at, nil, 0o444) }), `/more\n\x22\x1b[31m.vdm is not in the signed list`, false},
		{"one more in META", replace("META/more", func(at string) error { return os.WriteFile(at, nil, 0o444) }), "/META/more is not in the signed list", false},
		{"a directory more", replace("more/below", func(at string) error { return os.MkdirAll(at, 0o755) }), "/more is not in the signed list", false},
		{"set writable by all", func(w *world, set string) { must(w, os.Chmod(w.engine(set), 0o777)) }, "/ has mode drwxrwxrwx in place of drwxr-xr-x", false},
		{"META writable by all", func(w *world, set string) { must(w, os.Chmod(w.unlocked(set, "META"), 0o777)) }, "/META has mode drwxrwxrwx in place of drwxr-xr-x", false},
		{"list writable", func(w *world, set string) { must(w, os.Chmod(w.unlocked(set, "META/package.p7m"), 0o666)) }, "/META/package.p7m has mode -rw-rw-rw- in place of", false},
		{"list changed", func(w *world, set string) { w.spoil(w.unlocked(set, "META/package.p7m"), true) }, "/META/package.p7m can not be used, as signature_invalid says", true},
		{"list missing", func(w *world, set string) { must(w, os.Remove(w.unlocked(set, "META/package.p7m"))) }, "/ has no signed list", true},
		{"META missing", func(w *world, set string) { must(w, os.RemoveAll(w.unlocked(set, "META"))) }, "/ has no signed list", true},
		{"everything missing", func(w *world, set string) {
			must(w, os.RemoveAll(w.engine(set)))
			must(w, os.Mkdir(w.engine(set), 0o755))
		}, "/ has no signed list", true},
		{"a file for the set", replace("", func(at string) error { return os.WriteFile(at, nil, 0o444) }), "/ is a file in place of a set", true},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			// The active set: back at once, and forward by the mirror.
			w := newWorld(t)
			w.offline(w.ring, false, "")
			w.run([]step{installed(1), installed(2)})
			active, previous := w.active(), w.link("previous")
			c.damage(w, active)
			if got := w.problems(); !strings.Contains(got, active+c.found) {
				t.Fatalf("verify finds %q", got)
			}
			did := w.repair()
			w.has(2)
			w.wantDid(did, c.elsewhere, active+": "+local, previous+": made the active set")
			w.wantDid(did, !c.elsewhere, "fetched what was missing, and definitions "+name(2)+" are active", active+": "+local)
			w.status("up_to_date", "")
			w.sound(w.link("previous"))
			w.want(agent.UpToDate, "")
			if did := w.repair(); did != "" {
				t.Errorf("done once more: %s", did)
			}

			// The active set, without a mirror: what can be had is had.
			must(t, os.Rename(w.ring, w.ring+".away"))
			c.damage(w, w.active())
			did = w.repair()
			if c.elsewhere {
				w.has(1)
				w.wantDid(did, true, "", "asked for an update, which failed, as source_")
				w.wantDid(did, true, "", active+": removed, since ")
			} else {
				w.has(2)
			}
			must(t, os.Rename(w.ring+".away", w.ring))
			if c.elsewhere {
				w.want(agent.Updated, "")
			}

			// The previous one: repaired or removed, and the active one stays.
			previous = w.link("previous")
			c.damage(w, previous)
			if got := w.problems(); !strings.Contains(got, previous+c.found) {
				t.Fatalf("verify finds %q", got)
			}
			w.wantDid(w.repair(), c.elsewhere, previous+": "+local, previous+": removed, since ")
			w.has(2)
			w.status("up_to_date", "")
		})
	}
}

// wantDid checks that one of two things was done.
func (w *world) wantDid(did string, second bool, one, other string) {
	w.Helper()
	want := one
	if second {
		want = other
	}
	if !strings.Contains(did, want) {
		w.Errorf("done: %s; want %s", did, want)
	}
}

// A file that two sets share is damaged in both, and what is fetched for one repairs
// the other.
func TestRepairOfSharedFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1), installed(2)})
	active, previous := w.active(), w.link("previous")
	w.spoil(w.engine(active+"/base.vdm"), true)
	if canReflink(t, w.engine("")) {
		w.spoil(w.engine(previous+"/base.vdm"), true)
	}
	did := w.repair()
	w.wantDid(did, true, "", "fetched what was missing")
	w.wantDid(did, true, "", previous+": repaired from what is on this disk, as base.vdm is changed")
	if w.active() != active || w.link("previous") != previous {
		t.Errorf("active is %s, previous %s", w.active(), w.link("previous"))
	}
	w.sound(previous)
	// Without a mirror it stays active, since there is nothing better, and is said.
	must(t, os.Rename(w.ring, w.ring+".away"))
	w.spoil(w.engine(active+"/base.vdm"), true)
	w.spoil(w.engine(previous+"/delta.vdm"), true)
	v, err := w.agent.Repair(t.Context(), 0)
	w.wantCode(err, "set_damaged")
	if w.active() != active || len(v.Problems) == 0 {
		t.Errorf("active is %s; %v", w.active(), v)
	}
	w.status("unavailable", "set_damaged")
}

// What lies beside the sets is found and named. It may be an engine's own, so it stays,
// unless it has the name of a set.
func TestRepairBesideTheSets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1), installed(2)})
	active := w.active()
	w.write(w.engine("notes.txt"), nil)
	w.write(w.engine(name(9)+"-00000000"), nil)
	must(t, os.Symlink("/etc", w.engine("etc")))
	must(t, os.Mkdir(w.engine("empty"), 0o755))
	must(t, os.Mkdir(w.engine("lost+found"), 0o700))
	must(t, os.Chmod(w.engine(""), 0o777))
	must(t, os.Remove(w.engine("previous")))
	must(t, os.Symlink("nowhere", w.engine("previous")))
	must(t, os.Symlink("/etc", w.engine(name(9)+"-11111111")))
	want := strings.Join([]string{"./ has mode drwxrwxrwx, so that others can write to it", name(9) + "-00000000/ is a file in place of a set", name(9) + "-11111111/ is a link in place of a set", "empty/ does not belong here", "etc/ does not belong here", "notes.txt/ does not belong here", "previous/ leads to no set"}, "\n")
	if got := w.problems(); got != want {
		t.Errorf("found %s, want %s", got, want)
	}
	v, err := w.agent.Repair(t.Context(), 0)
	w.wantCode(err, "set_damaged")
	if hint := v.FailReason.Hint; !strings.Contains(hint, "move away") {
		t.Errorf("hint: %s", hint)
	}
	var did []string
	for _, r := range v.Repairs {
		what, _, _ := strings.Cut(r.Did, ",")
		did = append(did, r.Set+" "+what)
	}
	if want := []string{". mended", name(9) + "-00000000 removed", name(9) + "-11111111 removed", "previous mended"}; !slices.Equal(did, want) {
		t.Errorf("done: %q, want %q", did, want)
	}
	if got, want := w.problems(), "empty/ does not belong here\netc/ does not belong here\nnotes.txt/ does not belong here"; got != want {
		t.Errorf("still wrong: %s, want %s", got, want)
	}
	for _, name := range []string{"empty", "etc", "notes.txt"} {
		must(t, os.Remove(w.engine(name)))
	}
	if w.active() != active || w.link("previous") != w.setOf(1) {
		t.Errorf("active is %s, previous %s", w.active(), w.link("previous"))
	}
	must(t, os.MkdirAll(w.engine("mine/file"), 0o755))
	_, err = w.agent.Repair(t.Context(), 0)
	w.wantCode(err, "set_damaged")
	if _, err := os.Stat(w.engine("mine/file")); err != nil {
		t.Error(err)
	}
	must(t, os.RemoveAll(w.engine("mine")))
	// Only the link is lost: it leads where it led.
	for _, damage := range []func(){
		func() { must(t, os.Remove(w.engine("current"))) },
		func() { must(t, os.Remove(w.engine("current"))); must(t, os.Symlink("/etc", w.engine("current"))) },
		func() { must(t, os.Remove(w.engine("current"))); must(t, os.MkdirAll(w.engine("current/x"), 0o755)) },
	} {
		damage()
		w.problems()
		if did := w.repair(); strings.Contains(did, "update") || w.active() != active {
			t.Errorf("done: %s; active is %s", did, w.active())
		}
		w.status("up_to_date", "")
	}
}

// A repair fetches what is damaged, and no more.
func TestRepairFetchesOnlyWhatIsDamaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.offline(site.ringURL(), false, "")
	big := strings.Repeat("x", 3<<20)
	w.run([]step{installed(1)})
	w.publish(pack{n: 2, files: map[string]string{"a.vdm": big, "b.vdm": "small"}})
	w.want(agent.Updated, "")
	before, err := os.Stat(w.engine(w.active() + "/a.vdm"))
	must(t, err)
	w.spoil(w.engine(w.active()+"/b.vdm"), true)
	var sent int
	site.count(&sent)
	w.wantDid(w.repair(), true, "", "fetched what was missing")
	w.has(2)
	after, err := os.Stat(w.engine(w.active() + "/a.vdm"))
	must(t, err)
	if sent > 1<<20 || !os.SameFile(before, after) {
		t.Errorf("%d bytes were sent, and the file that was whole is the same: %v", sent, os.SameFile(before, after))
	}
}

// count adds up what the mirror sends.
func (s *web) count(sum *int) {
	next := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&counting{rw, sum}, r)
	})
}

type counting struct {
	http.ResponseWriter
	sum *int
}

func (c *counting) Write(p []byte) (int, error) {
	*c.sum += len(p)
	return c.ResponseWriter.Write(p)
}

// Nobody goes back to what was condemned, revoked or never tested, and whom nobody
// trusts any more is not removed.
func TestRepairGoesBackToNothingBad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, `"keep":4`)
	w.run([]step{installed(1), installed(2), installed(3)})
	w.wantChange(w.agent.Rollback, "", 2)
	must(t, os.Rename(w.ring, w.ring+".away"))
	w.spoil(w.engine(w.active()+"/delta.vdm"), true)
	w.repair()
	w.has(1) // 3 is known bad
	keys, _ := newSigner(t)
	root := w.read(filepath.Join(w.agent.Paths.Trust, "root.pem"))
	w.trust("root.pem", w.read(keys.Root))
	_, err := w.agent.Repair(t.Context(), 0)
	w.wantCode(err, "signer_untrusted")
	w.trust("root.pem", root)
	if got := w.problems(); got != "" {
		t.Errorf("sets that were whole are not any more: %s", got)
	}
	w.has(1)
}

// The hook has the engine load a set that was repaired.
func TestRepairTellsTheHook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	told := filepath.Join(t.TempDir(), "told")
	w.offline(w.ring, false, `"keep":3,"hooks":{"postload":{"command":["/bin/sh","-c","echo $AGENT_DEFINITIONS_VERSION >>`+told+`"]}}`)
	w.run([]step{installed(1), installed(2)})
	must(t, os.Chmod(w.engine(w.active()), 0o777))
	w.repair()
	if got := string(w.read(told)); got != fmt.Sprintf("%s\n%[2]s\n%[2]s\n", name(1), name(2)) {
		t.Errorf("told: %s", got)
	}
}

// Killed at any moment, a repair leaves nothing worse, and the next one ends it.
func TestRepairKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	const kills = 20
	w := newWorld(t)
	w.offline(w.ring, false, `"keep":4`)
	w.run([]step{installed(1), installed(2), installed(3)})
	random := rand.New(rand.NewPCG(9, 10))
	for i := range kills {
		w.spoil(w.engine(w.active()+[]string{"/delta.vdm", "/base.vdm", "/META/package.p7m"}[i%3]), true)
		w.killAt("repair", time.Duration(random.IntN(60))*time.Millisecond)
		if target := w.active(); target == "" || whole(w.engine(target), w.roots()) != nil && target != w.setOf(3) {
			t.Fatalf("active is %q, which is not whole", target)
		}
		w.repair()
		w.sound(w.active())
		w.update(agent.Options{}) // where it was killed between going back and fetching
		w.has(3)
	}
	if got := w.problems(); got != "" {
		t.Error(got)
	}
}
