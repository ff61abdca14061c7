package engine

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"mdatp-offline-agent/verifier"
)

// TestMain sets a hostile umask for the whole suite: no mode may depend on it.
// And it is where the test binary becomes the agent that other tests kill.
func TestMain(m *testing.M) {
	syscall.Umask(0o077)
	if dir := os.Getenv("ENGINE_TEST_DIR"); dir != "" {
		if err := child(dir, os.Getenv("ENGINE_TEST_RUNS") == "once"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// content is what the files of a set hold, by name.
type content map[string]string

// release is a set for tests: everything in it says which version it is of.
func release(version string) content {
	return content{
		"engine.so": "the engine, unchanged",
		"base.vdm":  strings.Repeat("base of "+version+"\n", 1000),
		"delta.vdm": "delta of " + version,
	}
}

func (c content) file(name string) verifier.File {
	return verifier.File{Name: name, Size: int64(len(c[name])), SHA256: sha256.Sum256([]byte(c[name]))}
}

func (c content) list(t testing.TB, version string) *verifier.List {
	t.Helper()
	v, err := verifier.ParseVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	l := &verifier.List{Definition: v}
	for _, name := range slices.Sorted(maps.Keys(c)) {
		l.Files = append(l.Files, c.file(name))
	}
	return l
}

func signedFor(version string) []byte { return []byte("signed list of " + version) }

func nameFor(version string) string {
	v, _ := verifier.ParseVersion(version)
	return SetName(v, sha256.Sum256(signedFor(version)))
}

func open(t testing.TB, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func newDir(t testing.TB) *Dir {
	t.Helper()
	parent, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // t.TempDir does not remove what a test made read-only
		_ = removeTree(parent, "definitions.noindex")
		parent.Close()
	})
	return open(t, filepath.Join(parent.Name(), "definitions.noindex"))
}

// stage writes all files of a release into a new staging.
func stage(t testing.TB, d *Dir, version string, c content) *Staging {
	t.Helper()
	s, err := d.Stage(nameFor(version))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Discard)
	for name := range c {
		if err := s.Write(t.Context(), c.file(name), strings.NewReader(c[name])); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// seal puts a release into place without activating it.
func seal(t testing.TB, d *Dir, version string) Set {
	t.Helper()
	c := release(version)
	set, err := d.Seal(t.Context(), stage(t, d, version, c), c.list(t, version), signedFor(version))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func install(t testing.TB, d *Dir, version string) Set {
	t.Helper()
	set := seal(t, d, version)
	if err := d.Activate(set); err != nil {
		t.Fatal(err)
	}
	return set
}

// wantLinks compares what current and previous say; empty is none.
func wantLinks(t *testing.T, d *Dir, current, previous string) {
	t.Helper()
	for link, want := range map[string]string{currentLink: current, previousLink: previous} {
		got, err := os.Readlink(filepath.Join(d.Path(), link))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		if got != want {
			t.Errorf("%s leads to %q, want %q", link, got, want)
		}
	}
}

// wantCode fails unless err is an *Error of this package with the code, and
// with a sentence and a hint that may be shown.
func wantCode(t *testing.T, err error, want Code) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want an *Error with %s", err, want)
	}
	code, sentence, hint := e.Reason()
	if code != string(want) {
		t.Errorf("got %v, want %s", err, want)
	}
	if sentence == "" || hint == "" || strings.ContainsAny(sentence, "\"\n") || strings.Contains(sentence, " : ") {
		t.Errorf("sentence %q, hint %q", sentence, hint)
	}
}

func wantEmptyStaging(t *testing.T, d *Dir) {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(d.Path(), stagingDir))
	if err != nil || len(left) > 0 {
		t.Errorf("%d entries left in .staging, error %v", len(left), err)
	}
}

// needRoot and needUser skip loudly.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: mounting a small file system needs root; run the suite with sudo as well")
	}
}

func needUser(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root may write everywhere; run the suite as a plain user as well")
	}
}

func TestInstall(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	first := install(t, d, "1.2.0.0")
	wantLinks(t, d, first.Name, "")
	second := install(t, d, "1.10.0.0")
	wantLinks(t, d, second.Name, first.Name)
	wantEmptyStaging(t, d)

	current, ok, err := d.Current()
	if err != nil || !ok || current != second {
		t.Errorf("Current: %v, %v, %v", current, ok, err)
	}
	previous, ok, err := d.Previous()
	if err != nil || !ok || previous != first {
		t.Errorf("Previous: %v, %v, %v", previous, ok, err)
	}
	if signed, err := second.List(); err != nil || string(signed) != "signed list of 1.10.0.0" {
		t.Errorf("SignedList: %q, %v", signed, err)
	}
	if err := second.Check(t.Context(), release("1.10.0.0").list(t, "1.10.0.0").Files); err != nil {
		t.Error(err)
	}
	sets, err := d.Sets()
	if err != nil || !slices.Equal(sets, []Set{second, first}) {
		t.Errorf("Sets are %v, %v; the newest version comes first", sets, err)
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	d := open(t, filepath.Join(top, "var", "opt", "definitions"))
	set := install(t, d, "1.0.0.0")
	for path, want := range map[string]fs.FileMode{
		filepath.Join(top, "var"):                     fs.ModeDir | 0o755,
		d.Path():                                      fs.ModeDir | 0o755,
		filepath.Join(d.Path(), ".staging"):           fs.ModeDir | 0o700,
		set.Path():                                    fs.ModeDir | 0o755,
		filepath.Join(set.Path(), "META"):             fs.ModeDir | 0o755,
		filepath.Join(set.Path(), "META/package.p7m"): 0o444,
		filepath.Join(set.Path(), "base.vdm"):         0o444,
	} {
		if info, err := os.Lstat(path); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
	}
}

func TestOpenHeals(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	staging := filepath.Join(d.Path(), stagingDir)
	if err := os.Chmod(staging, 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, d.Path())
	if info, _ := os.Stat(staging); info.Mode().Perm() != 0o700 {
		t.Errorf(".staging has mode %v after opening", info.Mode())
	}
	if err := os.Remove(staging); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), staging); err != nil {
		t.Fatal(err)
	}
	_, err := Open(d.Path())
	wantCode(t, err, InstallFailed)
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	file, fifo := filepath.Join(top, "file"), filepath.Join(top, "fifo")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), syscall.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, fifo, filepath.Join(file, "below"), ""} {
		_, err := Open(path)
		wantCode(t, err, InstallFailed)
	}
	_, err := View(fifo)
	wantCode(t, err, SetDamaged)
}

func TestViewMakesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "missing")
	d, err := View(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, ok, err := d.Current(); ok || err != nil {
		t.Errorf("Current: %v, %v", ok, err)
	}
	if sets, err := d.Sets(); len(sets) > 0 || err != nil {
		t.Errorf("Sets: %v, %v", sets, err)
	}
	if err := d.Room(1<<60, 1); err != nil {
		t.Errorf("Room: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("View made the directory: %v", err)
	}
}

func TestViewWritesNothing(t *testing.T) {
	t.Parallel()
	writer := newDir(t)
	set := install(t, writer, "1.0.0.0")
	d, err := View(writer.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, stageErr := d.Stage(set.Name)
	_, spoolErr := d.Spool(1)
	_, collectErr := d.Collect(func(Set) bool { return false })
	_, sealErr := d.Seal(t.Context(), nil, nil, nil)
	for _, err := range []error{stageErr, spoolErr, collectErr, sealErr, d.Clean(), d.Activate(set), d.Renew(set)} {
		wantCode(t, err, InstallFailed)
	}
	if current, ok, err := d.Current(); !ok || err != nil || current.Name != set.Name {
		t.Errorf("Current: %v, %v, %v", current, ok, err)
	}
}

func TestZeroSet(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	var none Set
	_, listErr := none.List()
	_, statErr := none.Stat()
	for _, err := range []error{listErr, statErr, none.Check(t.Context(), nil), d.Activate(none), d.Activate(Set{Name: ".staging"})} {
		wantCode(t, err, SetDamaged)
	}
	if none.Path() != "" {
		t.Errorf("Path is %q", none.Path())
	}
}

func TestSetName(t *testing.T) {
	t.Parallel()
	name := SetName(verifier.Version{1, 407, 417, 0}, [32]byte{0xde, 0xad, 0xbe, 0xef, 0x99})
	if name != "1.407.417.0-deadbeef" {
		t.Errorf("got %s", name)
	}
	if v, ok := parseName(name); !ok || v != (verifier.Version{1, 407, 417, 0}) {
		t.Errorf("parsed as %v, %v", v, ok)
	}
	for _, name := range []string{"", "current", ".staging", "1.2.3.4", "1.2.3.4-", "1.2.3.4-DEADBEEF", "1.2.3.4-deadbee", "1.2.3.4-deadbeef0",
		"1.2.3-deadbeef", "01.2.3.4-deadbeef", "1.2.3.4-deadbeef/", "../1.2.3.4-deadbeef", "1.2.3.4--eadbeef", "1.2.3.4-dead\nbee"} {
		if _, ok := parseName(name); ok {
			t.Errorf("%q was taken for the name of a set", name)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("1.407.417.0-deadbeef")
	f.Add("../1.2.3.4-deadbeef")
	f.Add("4294967295.4294967295.4294967295.4294967295-00000000")
	f.Fuzz(func(t *testing.T, name string) {
		if v, ok := parseName(name); ok && v.String()+name[strings.LastIndex(name, "-"):] != name {
			t.Errorf("%q has a second spelling", name)
		}
	})
}

func TestCollect(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	var sets []Set
	for i := range 5 {
		sets = append(sets, install(t, d, fmt.Sprintf("1.%d.0.0", i)))
	}
	foreign := []string{"9.9.9.9-deadbeef", "1.2.3.4-dead", "notes"}
	for _, name := range foreign {
		if err := os.Mkdir(filepath.Join(d.Path(), name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// Neither a read-only set nor a read-only META stops it.
	if err := errors.Join(os.Chmod(filepath.Join(sets[0].Path(), "META"), 0o555), os.Chmod(sets[0].Path(), 0o555)); err != nil {
		t.Fatal(err)
	}
	removed, err := d.Collect(func(s Set) bool { return s == sets[1] })
	if err != nil || !slices.Equal(removed, []string{sets[2].Name, sets[0].Name}) {
		t.Errorf("removed %v, %v", removed, err)
	}
	left, err := d.Sets()
	if err != nil || !slices.Equal(left, []Set{sets[4], sets[3], sets[1]}) {
		t.Errorf("left are %v, %v", left, err)
	}
	for _, name := range foreign {
		if _, err := os.Stat(filepath.Join(d.Path(), name)); err != nil {
			t.Errorf("what is no set of ours was touched: %v", err)
		}
	}
	wantEmptyStaging(t, d)
}

func TestCleanEmptiesStaging(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	set := install(t, d, "1.0.0.0")
	half := stage(t, d, "2.0.0.0", release("2.0.0.0"))
	junk := filepath.Join(d.Path(), stagingDir, "junk")
	err := errors.Join(os.MkdirAll(filepath.Join(junk, "deep"), 0o755), os.WriteFile(filepath.Join(junk, "deep", "file"), nil, 0o444),
		os.Chmod(filepath.Join(junk, "deep"), 0o555), os.Chmod(junk, 0), syscall.Mkfifo(filepath.Join(d.Path(), stagingDir, "fifo"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Clean(); err != nil {
		t.Fatal(err)
	}
	wantEmptyStaging(t, d)
	wantLinks(t, d, set.Name, "")
	half.Discard() // of what is gone already
}

// cancelled is a context that ended before it began.
func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
