package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mdatp-offline-agent/agent"
)

// below is a path below the machine's root, where its sets may be moved to.
func (w *world) below(name string) string { return filepath.Join(w.agent.Paths.Root, name) }

// empty checks that nothing was made in a directory.
func empty(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("in %s there is %v (%v)", dir, entries, err)
	}
}

// Where everybody can make a directory, none is made, since somebody else could make
// it when it is away.
func TestMoveBelowSticky(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1)})
	must(t, os.Mkdir(w.below("sticky"), 0o700))
	must(t, os.Chmod(w.below("sticky"), 0o777|os.ModeSticky))
	w.move("sticky/new", "permission_denied")
	empty(t, w.below("sticky"))
	must(t, os.Mkdir(w.below("sticky/mine"), 0o755))
	w.move("sticky/mine", "permission_denied")
	w.move("sticky/mine/new", "permission_denied")
	empty(t, w.below("sticky/mine"))
}

// Whoever takes the place of a directory that was moved gets nothing, whenever.
func TestMovedPlaceTakenOver(t *testing.T) {
	t.Parallel()
	for what, take := range map[string]func(t testing.TB, dir string){
		"by another user": func(t testing.TB, dir string) {
			if os.Geteuid() != 0 {
				t.Skip("SKIPPED: giving a directory to another user needs root; run this test as root")
			}
			must(t, os.Chown(dir, 4321, 4321))
		},
		"by everybody": func(t testing.TB, dir string) { must(t, os.Chmod(dir, 0o777)) },
	} {
		for _, anew := range []bool{false, true} {
			t.Run(what, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.offline(w.ring, false, "")
				w.run([]step{installed(1)})
				w.move("a", "")
				dir := w.engine("")
				if anew {
					must(t, os.RemoveAll(dir))
					must(t, os.Mkdir(dir, 0o755))
				}
				before, err := os.ReadDir(dir)
				must(t, err)
				take(t, dir)
				w.publish(pack{n: 2})
				w.want(agent.Failed, "permission_denied")
				for _, code := range w.readers() {
					if !strings.HasSuffix(code, " permission_denied") {
						t.Errorf("who looks is told %s", code)
					}
				}
				if after, err := os.ReadDir(dir); err != nil || len(after) != len(before) {
					t.Errorf("there is %v, before there was %v (%v)", after, before, err)
				}
			})
		}
	}
}

// A move that fails takes away what it made, and not what was there, which may have
// readers still.
func TestMoveFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1), installed(2)})
	first, active := w.engine(""), w.active()
	w.move("a", "")
	fails := func(to string) {
		file := w.engine(active + "/delta.vdm")
		w.spoil(file, true) // seen by who copies it, and not before
		_, err := w.agent.SetPath(t.Context(), to, 0)
		w.wantCode(err, "set_damaged")
		w.spoil(file, true) // which makes it good again, also where places share it
		w.sound(active)
	}
	w.later(time.Minute)
	fails(first)
	must(t, os.Mkdir(w.below("mine"), 0o755))
	fails(w.below("mine"))
	fails(w.below("new"))
	w.want(agent.UpToDate, "")
	must(t, whole(filepath.Join(first, active), w.roots()))
	empty(t, w.below("mine"))
	gone(t, w.below("new"))
	w.later(10 * time.Minute)
	w.want(agent.UpToDate, "")
	gone(t, first)
}

// No place is forgotten: who moves and moves has to wait.
func TestMoveTooOften(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1)})
	for n := range 8 {
		w.move(string(rune('a'+n)), "")
	}
	w.move("z", "install_failed")
	gone(t, w.below("z"))
	w.move("a", "")
	w.later(11 * time.Minute)
	w.move("z", "")
}

// mountAt makes a directory, below the root, at which another one is mounted, and gives
// what unmounts it.
func (w *world) mountAt(name string) (unmount func()) {
	w.Helper()
	if os.Geteuid() != 0 {
		w.Skip("SKIPPED: mounting needs root; run this test as root")
	}
	dir, disk := w.below(name), w.below(name+".disk")
	must(w, os.Mkdir(dir, 0o755))
	must(w, os.MkdirAll(disk, 0o755))
	if err := unix.Mount(disk, dir, "", unix.MS_BIND, ""); err != nil {
		w.Skipf("SKIPPED: this machine does not let root mount a directory (%v); run it where CAP_SYS_ADMIN is given", err)
	}
	mounted := true
	unmount = func() {
		if mounted {
			must(w, unix.Unmount(dir, unix.MNT_DETACH))
		}
		mounted = false
	}
	w.Cleanup(unmount)
	return unmount
}

// Where the directory is itself a mount point, nothing begins in it while nothing is
// mounted, and it stays to be mounted at.
func TestMovedToMountPoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1)})
	unmount := w.mountAt("disk")
	w.move("disk", "")
	dir, active := w.engine(""), w.active()
	unmount()
	w.publish(pack{n: 2})
	r := w.want(agent.Failed, "install_failed")
	if !strings.Contains(r.FailReason.Hint, "mount") {
		t.Errorf("the hint is %s", r.FailReason.Hint)
	}
	w.status("unavailable", "install_failed")
	_, err := w.agent.SetPath(t.Context(), dir, 0)
	w.wantCode(err, "install_failed")
	empty(t, dir)
	must(t, unix.Mount(dir+".disk", dir, "", unix.MS_BIND, ""))
	w.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	w.sound(active)
	w.want(agent.Updated, "")
	w.move("b", "")
	must(t, unix.Unmount(dir, unix.MNT_DETACH))
	w.later(11 * time.Minute)
	w.want(agent.UpToDate, "")
	empty(t, dir)
}

// What was left is not removed while nobody has seen the active set whole elsewhere.
func TestMovedAndLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1)})
	first, active := w.engine(""), w.active()
	w.move("b", "")
	must(t, os.RemoveAll(w.below("b")))
	w.later(11 * time.Minute)
	w.want(agent.Failed, "install_failed")
	w.offline(w.ring+"/away", false, "") // nothing can be fetched anew
	_, err := w.agent.SetPath(t.Context(), w.below("c"), 0)
	w.wantCode(err, "")
	for range 2 {
		w.update(agent.Options{})
		w.later(11 * time.Minute)
	}
	must(t, whole(filepath.Join(first, active), w.roots()))
	_, err = w.agent.SetPath(t.Context(), first, 0)
	w.wantCode(err, "")
	w.has(1)
	w.later(11 * time.Minute)
	w.update(agent.Options{})
	gone(t, w.below("c"))
}
