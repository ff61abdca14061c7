package engine

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestGoingBackAndForth(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	one, two := install(t, d, "1.0.0.0"), install(t, d, "2.0.0.0")
	for _, step := range []struct {
		do                func(Set) error
		set               Set
		current, previous string
	}{
		{d.Activate, two, two.Name, one.Name}, // already active
		{d.Activate, one, one.Name, two.Name}, // back
		{d.Activate, one, one.Name, two.Name}, // once more, as after a crash
		{d.Activate, two, two.Name, one.Name}, // and forth
		{d.Renew, seal(t, d, "2.0.0.1"), nameFor("2.0.0.1"), one.Name},
		{d.Activate, seal(t, d, "3.0.0.0"), nameFor("3.0.0.0"), nameFor("2.0.0.1")},
	} {
		if err := step.do(step.set); err != nil {
			t.Fatal(err)
		}
		wantLinks(t, d, step.current, step.previous)
	}
}

func TestActivateTakesOnlySealedSets(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	active := install(t, d, "1.0.0.0")
	for name, damage := range map[string]func(Set) error{
		"gone":    func(s Set) error { return os.RemoveAll(s.Path()) },
		"no list": func(s Set) error { return os.Remove(filepath.Join(s.Path(), "META/package.p7m")) },
	} {
		t.Run(name, func(t *testing.T) {
			set := seal(t, d, "2.0.0.0")
			if err := damage(set); err != nil {
				t.Fatal(err)
			}
			wantCode(t, d.Activate(set), SetDamaged)
			wantCode(t, d.Renew(set), SetDamaged)
			wantLinks(t, d, active.Name, "")
		})
	}
}

// hostileLinks put something else in the place of a link.
func hostileLinks() map[string]func(path string) error {
	to := func(target string) func(string) error {
		return func(path string) error { return os.Symlink(target, path) }
	}
	return map[string]func(string) error{
		"out of the directory": to("../../etc"),
		"absolute":             to("/etc"),
		"a set by a detour":    to("./" + nameFor("1.0.0.0")),
		"into staging":         to(".staging"),
		"to itself":            to(currentLink),
		"a set that is gone":   to("7.7.7.7-deadbeef"),
		"a file":               func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a FIFO":               func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"an empty directory":   func(path string) error { return os.Mkdir(path, 0o700) },
		"a full directory":     func(path string) error { return os.MkdirAll(filepath.Join(path, "deep"), 0o700) },
	}
}

func TestHostileCurrent(t *testing.T) {
	t.Parallel()
	for name, put := range hostileLinks() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDir(t)
			old := install(t, d, "1.0.0.0")
			path := filepath.Join(d.Path(), currentLink)
			if err := errors.Join(os.Remove(path), put(path)); err != nil {
				t.Fatal(err)
			}
			_, ok, err := d.Current()
			if ok {
				t.Error("something was taken for the active set")
			}
			wantCode(t, err, SetDamaged)
			if err := d.Clean(); err != nil {
				t.Errorf("Clean: %v", err)
			}
			// The next installation heals it, and takes nothing of it for previous.
			next := install(t, d, "2.0.0.0")
			wantLinks(t, d, next.Name, "")
			wantEmptyStaging(t, d)
			if err := old.Check(t.Context(), release("1.0.0.0").list(t, "1.0.0.0").Files); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHostilePrevious(t *testing.T) {
	t.Parallel()
	for name, put := range hostileLinks() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDir(t)
			one, two := install(t, d, "1.0.0.0"), install(t, d, "2.0.0.0")
			path := filepath.Join(d.Path(), previousLink)
			if err := errors.Join(os.Remove(path), put(path)); err != nil {
				t.Fatal(err)
			}
			_, _, err := d.Previous()
			wantCode(t, err, SetDamaged)
			if err := d.Clean(); err != nil {
				t.Fatal(err)
			}
			wantLinks(t, d, two.Name, one.Name)
			wantEmptyStaging(t, d)
		})
	}
}

// After a crash between the two renames, previous equals current.
func TestCrashBetweenTheRenames(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		versions []string // installed in this order
		want     string   // what previous becomes
	}{
		"with an older set":    {[]string{"1.0.0.0", "2.0.0.0", "3.0.0.0"}, "2.0.0.0"},
		"with none":            {[]string{"3.0.0.0"}, ""},
		"with newer sets only": {[]string{"5.0.0.0", "4.0.0.0", "3.0.0.0"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDir(t)
			var set Set
			for _, version := range test.versions {
				set = install(t, d, version)
			}
			if err := d.link(previousLink, set.Name); err != nil { // the first rename of Activate alone
				t.Fatal(err)
			}
			wantLinks(t, d, set.Name, set.Name)
			if err := d.Clean(); err != nil {
				t.Fatal(err)
			}
			want := ""
			if test.want != "" {
				want = nameFor(test.want)
			}
			wantLinks(t, d, set.Name, want)
			if err := d.Clean(); err != nil {
				t.Fatal(err)
			}
			wantLinks(t, d, set.Name, want)
		})
	}
}

// Going back from a damaged current must not leave two links to one set.
func TestGoingBackFromDamage(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	one, two := install(t, d, "1.0.0.0"), install(t, d, "2.0.0.0")
	if err := os.RemoveAll(two.Path()); err != nil {
		t.Fatal(err)
	}
	if err := d.Activate(one); err != nil {
		t.Fatal(err)
	}
	wantLinks(t, d, one.Name, "")
}

func TestLinksProtectDamagedSets(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	one := install(t, d, "1.0.0.0")
	if err := errors.Join(os.Remove(filepath.Join(d.Path(), currentLink)), os.Symlink(one.Name+"/", filepath.Join(d.Path(), currentLink))); err != nil {
		t.Fatal(err)
	}
	if removed, err := d.Collect(func(Set) bool { return false }); len(removed) > 0 || err != nil {
		t.Errorf("removed %v, %v", removed, err)
	}
}
