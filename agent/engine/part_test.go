package engine

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

func mirrorAt(version string) Origin { return Origin{"mirror", version} }

func openPart(t *testing.T, d *Dir, version, name string, limit int64) *Part {
	t.Helper()
	p, err := d.Part(mirrorAt(version), name, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func wantPart(t *testing.T, p *Part, want string) {
	t.Helper()
	got, err := io.ReadAll(p.Reader())
	if err != nil || string(got) != want || p.Size() != int64(len(want)) {
		t.Errorf("the part holds %q of %d bytes, %v; want %q", got, p.Size(), err, want)
	}
}

// What came of a file is there in the next run, after whatever Clean had to
// remove, and only for the same version of the package.
func TestPartGoesOn(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	p := openPart(t, d, "v1", "mpavbase.vdm", 100)
	wantPart(t, p, "")
	for _, piece := range []string{"one ", "two "} {
		if n, err := p.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	p.Close()
	if err := os.WriteFile(filepath.Join(d.Path(), stagingDir, "leftover"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Clean(); err != nil {
		t.Fatal(err)
	}
	if names, _ := filepath.Glob(filepath.Join(d.Path(), stagingDir, "*")); len(names) != 1 {
		t.Errorf("Clean left %q", names)
	}
	wantPart(t, openPart(t, d, "v2", "mpavbase.vdm", 100), "")
	p = openPart(t, d, "v1", "mpavbase.vdm", 100)
	wantPart(t, p, "one two ")
	if _, err := p.Write([]byte("three")); err != nil {
		t.Fatal(err)
	}
	wantPart(t, p, "one two three")
	if err := p.Reset(); err != nil {
		t.Fatal(err)
	}
	wantPart(t, p, "")
}

// A part that is larger than what it is a part of is begun anew.
func TestPartTooLarge(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	p := openPart(t, d, "v1", "a.vdm", 10)
	if _, err := p.Write(bytes.Repeat([]byte("x"), 10)); err != nil {
		t.Fatal(err)
	}
	wantPart(t, openPart(t, d, "v1", "a.vdm", 10), "xxxxxxxxxx")
	wantPart(t, openPart(t, d, "v1", "a.vdm", 9), "")
}

// Parts go when another version of the same source's package is fetched; another
// source's stay until all are dropped.
func TestKeepParts(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, name := range []string{"a.vdm", "b.vdm"} {
		if _, err := openPart(t, d, "v1", name, 10).Write([]byte("four")); err != nil {
			t.Fatal(err)
		}
	}
	openPart(t, d, "v2", "a.vdm", 10)
	if _, err := d.Part(Origin{"cloud", "v1"}, "a.vdm", 10); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		keep       string
		held, left int
	}{{"v1", 8, 3}, {"v1", 8, 3}, {"v2", 0, 1}} {
		held, err := d.KeepParts(mirrorAt(step.keep))
		names, _ := filepath.Glob(filepath.Join(d.Path(), stagingDir, partPrefix+"*", "*"))
		if err != nil || held != int64(step.held) || len(names) != step.left {
			t.Errorf("KeepParts(%s) held %d bytes in %d parts, %v; want %d in %d", step.keep, held, len(names), err, step.held, step.left)
		}
	}
	if err := d.DropParts(); err != nil {
		t.Fatal(err)
	}
	if names, _ := filepath.Glob(filepath.Join(d.Path(), stagingDir, "*")); len(names) != 0 {
		t.Errorf("%q is left", names)
	}
}

// Nobody leads a part out of staging, or makes one of what is no file.
func TestPartRefuses(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, name := range []string{"", "..", "a/b", "../current"} {
		if _, err := d.Part(mirrorAt("v1"), name, 10); err == nil {
			t.Errorf("a part named %q", name)
		}
	}
	dir := filepath.Join(d.Path(), stagingDir, mirrorAt("v1").dir())
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(t.TempDir(), "elsewhere"), filepath.Join(dir, "a.vdm")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Part(mirrorAt("v1"), "a.vdm", 10); err == nil {
		t.Error("a part behind a symlink")
	}
}

// A part that can't be read says so in the words of the engine directory, and can be
// begun anew.
func TestPartThatCanNotBeRead(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	p := openPart(t, d, "v1", "mpavbase.vdm", 100)
	if _, err := p.Write([]byte("kept")); err != nil {
		t.Fatal(err)
	}
	readable := p.file
	defer readable.Close()
	if p.file, err = os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(readable.Fd())), os.O_WRONLY, 0); err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(p.Reader())
	wantCode(t, err, InstallFailed)
	if !p.Unreadable() {
		t.Error("nobody is told that it can't be read")
	}
	if err := p.Reset(); err != nil || p.Size() != 0 {
		t.Errorf("it can't be begun anew: %v", err)
	}
}
