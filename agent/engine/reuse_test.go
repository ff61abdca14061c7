package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hasReflinks tells whether the file system of dir shares blocks, as btrfs and
// xfs do; ext4 and tmpfs do not.
func hasReflinks(t *testing.T, dir string) bool {
	t.Helper()
	from, err := os.CreateTemp(dir, "from")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.CreateTemp(dir, "to")
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	return unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil
}

func stats(t *testing.T, set Set) map[string]FileStat {
	t.Helper()
	found, err := set.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestReuse(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	old := install(t, d, "1.0.0.0")
	c := release("1.0.0.0")
	c["renamed.vdm"] = c["base.vdm"]
	s := stage(t, d, "2.0.0.0", nil)
	for name := range c {
		if ok, err := s.Reuse(t.Context(), c.file(name), old); !ok || err != nil {
			t.Fatalf("%s: %v, %v", name, ok, err)
		}
	}
	set, err := d.Seal(t.Context(), s, c.list(t, "2.0.0.0"), signedFor("2.0.0.0"))
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Check(t.Context(), c.list(t, "2.0.0.0").Files); err != nil {
		t.Error(err)
	}
	before, after := stats(t, old), stats(t, set)
	shared := !hasReflinks(t, t.TempDir())
	for name, source := range map[string]string{"engine.so": "engine.so", "base.vdm": "base.vdm", "renamed.vdm": "base.vdm"} {
		if (before[source].Inode == after[name].Inode) != shared {
			t.Errorf("%s: inode %d of %d, want a hard link: %v", name, after[name].Inode, before[source].Inode, shared)
		}
	}
	wantFileMode(t, filepath.Join(set.Path(), "base.vdm"))
}

func wantFileMode(t *testing.T, path string) {
	t.Helper()
	if info, err := os.Lstat(path); err != nil || info.Mode() != fileMode {
		t.Errorf("%s: %v, %v", path, info.Mode(), err)
	}
}

func TestReuseRefuses(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(path string) error{
		"missing":   os.Remove,
		"truncated": func(path string) error { return os.Truncate(path, 10) },
		"altered":   func(path string) error { return rewrite(path, strings.ToUpper) },
		"a symlink to the right bytes": func(path string) error {
			return errors.Join(os.Rename(path, path+".away"), os.Symlink(filepath.Base(path)+".away", path), os.Truncate(path, 5))
		},
		"a FIFO":      func(path string) error { return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)) },
		"a directory": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		"no set":      func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDir(t)
			old := install(t, d, "1.0.0.0")
			path := filepath.Join(old.Path(), "base.vdm")
			_ = os.Chmod(path, 0o600)
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			s := stage(t, d, "2.0.0.0", nil)
			f := release("1.0.0.0").file("base.vdm")
			if ok, err := s.Reuse(t.Context(), f, old); ok || err != nil {
				t.Errorf("got %v, %v", ok, err)
			}
			if err := s.Write(t.Context(), f, strings.NewReader(release("1.0.0.0")["base.vdm"])); err != nil {
				t.Errorf("the file can't be fetched instead: %v", err)
			}
		})
	}
}

// rewrite changes a file in place: the inode stays.
func rewrite(path string, change func(string) string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(change(string(data))), 0o600); err != nil {
		return err
	}
	return os.Chmod(path, fileMode)
}

func TestReuseCopiesWhatCouldBeWritten(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	old := install(t, d, "1.0.0.0")
	path := filepath.Join(old.Path(), "base.vdm")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	s := stage(t, d, "2.0.0.0", nil)
	c := content{"base.vdm": release("1.0.0.0")["base.vdm"]}
	if ok, err := s.Reuse(t.Context(), c.file("base.vdm"), old); !ok || err != nil {
		t.Fatalf("got %v, %v", ok, err)
	}
	set, err := d.Seal(t.Context(), s, c.list(t, "2.0.0.0"), signedFor("2.0.0.0"))
	if err != nil {
		t.Fatal(err)
	}
	if stats(t, set)["base.vdm"].Inode == stats(t, old)["base.vdm"].Inode {
		t.Error("a file that its owner can open for writing is shared between sets")
	}
	wantFileMode(t, filepath.Join(set.Path(), "base.vdm"))
}

func TestReuseOfAnotherDirectory(t *testing.T) {
	t.Parallel()
	seed := install(t, newDir(t), "1.0.0.0")
	d := newDir(t)
	s := stage(t, d, "1.0.0.0", nil)
	c := release("1.0.0.0")
	for name := range c {
		if ok, err := s.Reuse(t.Context(), c.file(name), seed); !ok || err != nil {
			t.Fatalf("%s: %v, %v", name, ok, err)
		}
	}
	if _, err := d.Seal(t.Context(), s, c.list(t, "1.0.0.0"), signedFor("1.0.0.0")); err != nil {
		t.Error(err)
	}
	if ok, err := s.Reuse(t.Context(), c.file("base.vdm"), Set{}); ok || err != nil {
		t.Errorf("of no set: %v, %v", ok, err)
	}
	s = stage(t, d, "2.0.0.0", nil)
	if ok, err := s.Reuse(cancelled(), c.file("base.vdm"), seed); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that ended: %v, %v", ok, err)
	}
}
