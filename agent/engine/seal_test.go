package engine

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

// damages are what can be done to an installed set, each in a way of its own.
// Each is noticed by Check and repaired by installing the set anew.
func damages() map[string]func(set string) error {
	in := func(name string, f func(path string) error) func(string) error {
		return func(set string) error { return f(filepath.Join(set, name)) }
	}
	replace := func(make func(path string) error) func(string) error {
		return func(path string) error { return errors.Join(os.RemoveAll(path), make(path)) }
	}
	fifo := func(path string) error { return syscall.Mkfifo(path, 0o600) }
	dir := func(path string) error {
		return errors.Join(os.MkdirAll(filepath.Join(path, "deep"), 0o700), os.WriteFile(filepath.Join(path, "deep", "file"), nil, 0o600))
	}
	file := func(path string) error { return os.WriteFile(path, []byte("extra"), 0o600) }
	link := func(path string) error { return os.Symlink("/etc/passwd", path) }
	return map[string]func(string) error{
		"a file altered":         in("base.vdm", func(p string) error { return rewrite(p, strings.ToUpper) }),
		"a file truncated":       in("base.vdm", func(p string) error { return rewrite(p, func(string) string { return "" }) }),
		"a file missing":         in("base.vdm", os.Remove),
		"a file is a FIFO":       in("base.vdm", replace(fifo)),
		"a file is a symlink":    in("base.vdm", replace(link)),
		"a file is a tree":       in("base.vdm", replace(dir)),
		"an extra file":          in("extra.vdm", file),
		"an extra FIFO":          in("extra.vdm", fifo),
		"an extra tree":          in("extra.vdm", dir),
		"an extra read-only":     in("extra.vdm", func(p string) error { return errors.Join(dir(p), os.Chmod(p, 0o555)) }),
		"an extra in META":       in("META/extra", file),
		"too much of extra":      in("", func(p string) error { return crowd(p, 200) }),
		"the list missing":       in("META/package.p7m", os.Remove),
		"the list a symlink":     in("META/package.p7m", replace(link)),
		"the list a FIFO":        in("META/package.p7m", replace(fifo)),
		"one more list":          in("META/package.json", func(p string) error { return os.WriteFile(p, []byte("{}"), 0o600) }),
		"a list of another kind": in("META/package.p7m", replace(func(p string) error { return os.WriteFile(p, []byte("{}"), 0o600) })),
		"the list too large":     in("META/package.p7m", func(p string) error { return errors.Join(os.Chmod(p, 0o600), os.Truncate(p, 65<<10)) }),
		"META missing":           in("META", os.RemoveAll),
		"META a file":            in("META", replace(file)),
		"META a symlink":         in("META", replace(link)),
		"everything missing":     in("", func(p string) error { return errors.Join(os.RemoveAll(p), os.Mkdir(p, 0o755)) }),
		"the set is a file":      in("", replace(file)),
		"the set is a FIFO":      in("", replace(fifo)),
		"the set is a symlink": in("", func(p string) error {
			return errors.Join(os.Rename(p, p+"-away"), os.Symlink(filepath.Base(p)+"-away", p))
		}),
		"the set is not there": in("", os.RemoveAll),
	}
}

// crowd puts n files into dir.
func crowd(dir string, n int) error {
	var errs []error
	for i := range n {
		errs = append(errs, os.WriteFile(filepath.Join(dir, fmt.Sprint("extra", i)), nil, 0o600))
	}
	return errors.Join(errs...)
}

func TestDamageIsFoundAndRepaired(t *testing.T) {
	t.Parallel()
	for name, damage := range damages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDir(t)
			set := install(t, d, "1.0.0.0")
			files := release("1.0.0.0").list(t, "1.0.0.0").Files
			if err := damage(set.Path()); err != nil {
				t.Fatal(err)
			}
			wantCode(t, set.Check(t.Context(), files), SetDamaged)
			again := install(t, d, "1.0.0.0")
			if err := again.Check(t.Context(), files); err != nil {
				t.Errorf("after the repair: %v", err)
			}
			wantLinks(t, d, set.Name, "")
			wantEmptyStaging(t, d)
			for name := range release("1.0.0.0") {
				wantFileMode(t, filepath.Join(set.Path(), name))
			}
		})
	}
}

func TestWholeSetIsLeftAlone(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	set := install(t, d, "1.0.0.0")
	before := stats(t, set)
	install(t, d, "1.0.0.0")
	if after := stats(t, set); !maps.Equal(before, after) {
		t.Errorf("a whole set was changed from %v to %v", before, after)
	}
}

func TestRepairGivesNewInodes(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	set := install(t, d, "1.0.0.0")
	path := filepath.Join(set.Path(), "base.vdm")
	if err := rewrite(path, strings.ToUpper); err != nil {
		t.Fatal(err)
	}
	before := stats(t, set)
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	install(t, d, "1.0.0.0")
	after := stats(t, set)
	if before["base.vdm"].Inode == after["base.vdm"].Inode {
		t.Error("the damaged file was repaired in place")
	}
	if before["engine.so"] != after["engine.so"] {
		t.Error("a file that was whole was exchanged")
	}
	want := strings.ToUpper(release("1.0.0.0")["base.vdm"])
	if got, err := io.ReadAll(reader); err != nil || string(got) != want {
		t.Errorf("an open file changed below its reader: %d bytes, %v", len(got), err)
	}
}

// A file that others may write is exchanged even where its bytes are right:
// somebody may have it open.
func TestRepairOfModes(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	set := install(t, d, "1.0.0.0")
	path := filepath.Join(set.Path(), "base.vdm")
	before := stats(t, set)["base.vdm"].Inode
	if err := errors.Join(os.Chmod(path, 0o666), os.Chmod(set.Path(), 0o555), os.Chmod(filepath.Join(set.Path(), "META"), 0o500)); err != nil {
		t.Fatal(err)
	}
	install(t, d, "1.0.0.0")
	if stats(t, set)["base.vdm"].Inode == before {
		t.Error("the writable file was kept")
	}
	wantFileMode(t, path)
	for _, dir := range []string{set.Path(), filepath.Join(set.Path(), "META")} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != dirMode {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}
}

// A repair may take its whole files from the damaged set itself.
func TestRepairFromItself(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	set := install(t, d, "1.0.0.0")
	c := release("1.0.0.0")
	if err := os.Remove(filepath.Join(set.Path(), "delta.vdm")); err != nil {
		t.Fatal(err)
	}
	s := stage(t, d, "1.0.0.0", content{"delta.vdm": c["delta.vdm"]})
	for _, name := range []string{"base.vdm", "engine.so"} {
		if ok, err := s.Reuse(t.Context(), c.file(name), set); !ok || err != nil {
			t.Fatalf("%s: %v, %v", name, ok, err)
		}
	}
	if _, err := d.Seal(t.Context(), s, c.list(t, "1.0.0.0"), signedFor("1.0.0.0")); err != nil {
		t.Fatal(err)
	}
	if err := set.Check(t.Context(), c.list(t, "1.0.0.0").Files); err != nil {
		t.Error(err)
	}
	wantEmptyStaging(t, d)
}

func TestStatNoticesChanges(t *testing.T) {
	t.Parallel()
	for name, damage := range damages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := install(t, newDir(t), "1.0.0.0")
			before := stats(t, set)
			if len(before) != 4 {
				t.Fatalf("a set of three files and a list has %v", before)
			}
			if err := damage(set.Path()); err != nil {
				t.Fatal(err)
			}
			if after, err := set.Stat(); err == nil && maps.Equal(before, after) {
				t.Error("nothing was noticed")
			}
		})
	}
}

// Links are not followed, not even those that stay inside the set.
func TestSignedListFollowsNoLink(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "META", "META/package.p7m"} {
		set := install(t, newDir(t), "1.0.0.0")
		path := filepath.Join(set.Path(), name)
		if err := errors.Join(os.Rename(path, path+"-away"), os.Symlink(filepath.Base(path)+"-away", path)); err != nil {
			t.Fatal(err)
		}
		_, err := set.List()
		wantCode(t, err, SetDamaged)
	}
}

// A set without a signed list has what its files prove in its place, and its files come
// without anybody knowing their hashes before.
func TestDerivedList(t *testing.T) {
	t.Parallel()
	d, files, raw := newDir(t), release("1.0.0.0"), []byte(`{"made": "of what the files prove"}`)
	s, err := d.Stage("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Discard)
	for name, text := range files {
		if err := s.Receive(t.Context(), name, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	list := files.list(t, "1.0.0.0")
	if !slices.Equal(s.Files(), list.Files) {
		t.Errorf("received %v, want %v", s.Files(), list.Files)
	}
	broken := errors.New("the transfer broke off")
	if err := s.Receive(t.Context(), "more.vdm", iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("a transfer that broke off gave %v", err)
	}
	if err := s.Receive(t.Context(), "../more.vdm", strings.NewReader("x")); err == nil {
		t.Error("a file was kept outside of the set")
	}
	_, err = d.Seal(t.Context(), s, list, raw)
	wantCode(t, err, InstallFailed) // nobody said which set it is
	s.Name(SetName(list.Definition, sha256.Sum256(raw)))
	set, err := d.Seal(t.Context(), s, list, raw)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := set.List(); err != nil || string(got) != string(raw) {
		t.Errorf("the list is %q: %v", got, err)
	}
	if err := errors.Join(set.Check(t.Context(), list.Files), d.Activate(set)); err != nil {
		t.Error(err)
	}
	if problems, err := set.Inspect(t.Context(), list.Files); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	if err := os.Rename(filepath.Join(set.Path(), "META/package.json"), filepath.Join(set.Path(), "META/package.p7m")); err != nil {
		t.Fatal(err)
	}
	_, err = set.List()
	wantCode(t, err, SetDamaged)
}
