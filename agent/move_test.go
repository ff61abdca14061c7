package agent_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
)

// move moves the sets to a directory below the root, and checks the code (empty:
// success), what is active afterwards, and that it is where it should be.
func (w *world) move(to, code string) agent.Location {
	w.Helper()
	before := w.engine("")
	active := w.active()
	to = filepath.Join(w.agent.Paths.Root, to)
	place, err := w.agent.SetPath(context.Background(), to, 0)
	w.wantCode(err, code)
	if code != "" {
		to = before
	}
	if w.engine("") != filepath.Clean(to) || w.active() != active {
		w.Fatalf("the sets are in %s, and %s is active; want %s and %s", w.engine(""), w.active(), to, active)
	}
	if active != "" {
		w.sound(active)
	}
	return place
}

// setOf is the name of the set of a version.
func (w *world) setOf(n uint32) string {
	w.Helper()
	found, err := filepath.Glob(w.engine(name(n) + "-*"))
	must(w, err)
	if len(found) != 1 {
		w.Fatalf("the sets of %s are %q", name(n), found)
	}
	return filepath.Base(found[0])
}

func gone(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("%s is still there (%v)", path, err)
	}
}

// What is left at the old place is for its readers, for ten minutes.
func TestMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, `"keep":3`)
	w.run([]step{installed(1), installed(2), installed(3)})
	old, active := w.engine(""), w.active()
	updated := w.agent.Facts(t.Context()).Installed.Updated
	w.move("new/definitions", "")
	if now := w.agent.Facts(t.Context()).Installed.Updated; !now.Equal(updated) {
		t.Errorf("the move counts as an update: %v, and %v before", now, updated)
	}
	w.status("up_to_date", "")
	sets, err := w.agent.Verify(t.Context())
	must(t, err)
	if len(sets.Sets) != 3 {
		t.Errorf("%d sets were moved", len(sets.Sets))
	}
	w.later(9 * time.Minute)
	w.want(agent.UpToDate, "")
	must(t, whole(filepath.Join(old, active), w.roots()))
	w.later(2 * time.Minute)
	w.run([]step{installed(4)})
	gone(t, old)
	w.sound(w.link("previous"))
	// Nothing was installed: only the place changes.
	empty := newWorld(t)
	empty.offline(empty.ring, false, "")
	empty.move("new", "")
	empty.run([]step{installed(1)})
	gone(t, empty.agent.Paths.Engine)
}

// From one place to the next: each is used anew, or removed when its readers are gone.
func TestMoveOnAndOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1), installed(2)})
	first := w.engine("")
	w.move("a", "")
	a := w.engine("")
	active := w.active()
	w.later(9 * time.Minute)
	w.move("b", "")
	b := w.engine("")
	w.run([]step{installed(3)})
	for _, left := range []string{first, a} {
		must(t, whole(filepath.Join(left, active), w.roots()))
	}
	w.later(2 * time.Minute)
	w.want(agent.UpToDate, "")
	gone(t, first)
	must(t, whole(filepath.Join(a, active), w.roots()))
	w.move("a", "") // which still holds the sets of before
	if names, err := filepath.Glob(filepath.Join(a, "[0-9]*")); err != nil || len(names) != 3 {
		t.Errorf("%v %v", names, err)
	}
	w.move("../"+filepath.Base(w.agent.Paths.Root)+"/a", "") // where it is already
	w.at(base)                                               // a clock that is set back takes nobody's time
	w.want(agent.UpToDate, "")
	must(t, whole(filepath.Join(b, active), w.roots()))
	w.later(11 * time.Minute)
	w.want(agent.UpToDate, "")
	gone(t, b)
}

func TestMoveRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1), installed(2)})
	must(t, os.MkdirAll(w.below("full/"+name(1)+"-00000000"), 0o755))
	w.move("full", "install_failed") // sets, but none of a move of ours
	must(t, os.WriteFile(w.below("file"), nil, 0o644))
	w.move("file", "install_failed")
	w.move("file/below", "install_failed")
	w.move("a \" b", "usage")
	w.move("a\nb", "usage")
	w.move(strings.Repeat("a", 1100), "usage")
	w.move(strings.Repeat("a", 300), "install_failed")
	must(t, os.Symlink("group", w.below("link")))
	must(t, os.Mkdir(w.below("group"), 0o775))
	must(t, os.Chmod(w.below("group"), 0o775))
	w.move("link", "permission_denied")
	w.move("link/below", "permission_denied")
	for _, left := range []string{"full", "file", "group"} {
		if names, _ := filepath.Glob(filepath.Join(w.below(left), "*", "*")); len(names) > 0 {
			t.Errorf("something was made: %v", names)
		}
	}
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.agent.SetPath(interrupted, w.below("new"), 0)
	w.wantCode(err, "interrupted")
	gone(t, w.below("new"))
	w.move("new", "")
}

// What is damaged stays behind, but for the active set, which has to be whole first.
func TestMoveOfDamagedSets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, `"keep":4`)
	w.run([]step{installed(1), installed(2), installed(3)})
	w.spoil(w.engine(w.link("previous")+"/delta.vdm"), true)
	w.spoil(w.engine(w.setOf(1)+"/META/package.p7m"), true)
	place := w.move("a", "")
	damaged := slices.IndexFunc(place.Notes, func(n string) bool { return strings.Contains(n, name(2)) && strings.Contains(n, "damaged") })
	unusable := slices.IndexFunc(place.Notes, func(n string) bool { return strings.Contains(n, name(1)) && strings.Contains(n, "list") })
	if damaged < 0 || unusable < 0 {
		t.Errorf("notes %q", place.Notes)
	}
	if _, err := os.Lstat(w.engine("previous")); err == nil {
		t.Error("previous leads to a set that was not moved")
	}
	w.spoil(w.engine(w.active()+"/delta.vdm"), true)
	_, err := w.agent.SetPath(t.Context(), w.agent.Paths.Root+"/b", 0)
	w.wantCode(err, "set_damaged")
	gone(t, w.agent.Paths.Root+"/b")
	w.spoil(w.engine(w.active()+"/META/package.p7m"), false)
	_, err = w.agent.SetPath(t.Context(), w.agent.Paths.Root+"/b", 0)
	w.wantCode(err, "set_damaged")
	gone(t, w.agent.Paths.Root+"/b")
}

// The hook has the engine load the active set from its new place.
func TestMoveTellsTheHook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	told := filepath.Join(t.TempDir(), "told")
	script := filepath.Join(t.TempDir(), "hook")
	w.write(script, []byte("#!/bin/sh\necho $AGENT_SET_DIR >>"+told+"\n"))
	must(t, os.Chmod(script, 0o755))
	w.offline(w.ring, false, `"hooks":{"postload":{"command":["`+script+`"]}}`)
	w.run([]step{installed(1)})
	w.move("a", "")
	lines := strings.Fields(string(w.read(told)))
	if len(lines) != 2 || lines[1] != w.engine(w.active()) {
		t.Errorf("told %q, active is %s", lines, w.engine(w.active()))
	}
}

// Killed at any moment, a move leaves the old place in force or the new one, with
// whole sets, and the runs after it remove the other one.
func TestMoveKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	const kills = 25
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1), installed(2)})
	active, previous := w.active(), w.link("previous")
	seen, stop := w.readCurrent()
	random := rand.New(rand.NewPCG(7, 8))
	places := map[string]bool{w.engine(""): true}
	for range kills {
		w.killAt("moveAbout", time.Duration(random.IntN(100))*time.Millisecond)
		if w.active() != active || w.link("previous") != previous {
			t.Fatalf("active is %s, previous %s", w.active(), w.link("previous"))
		}
		w.sound(active)
		w.sound(previous)
		places[w.engine("")] = true
		if random.IntN(2) == 0 {
			w.want(agent.UpToDate, "")
		}
	}
	if err := stop(); err != nil {
		t.Errorf("a reader saw something else than a whole set: %v", err)
	}
	if seen.Load() < 100 || len(places) < 2 {
		t.Errorf("too little was seen to prove anything: %d reads, places %v", seen.Load(), places)
	}
	w.later(time.Hour)
	w.run([]step{installed(3)})
	w.status("up_to_date", "")
	for _, place := range []string{w.agent.Paths.Engine, filepath.Join(w.agent.Paths.Root, "a"), filepath.Join(w.agent.Paths.Root, "b")} {
		if place != filepath.Clean(w.engine("")) {
			gone(t, place)
		}
	}
}
