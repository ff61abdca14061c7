package engine

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mdatp-offline-agent/verifier"
)

func TestEnough(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for name, test := range map[string]struct {
		free  space
		bytes int64
		files int
		want  string // part of the sentence
	}{
		"plenty":             {space{4096, 1 << 30, 1000, true}, 100 * mib, 10, ""},
		"just enough":        {space{mib, 117 + 10, 26, true}, 100 * mib, 10, ""},
		"one block short":    {space{mib, 116 + 10, 26, true}, 100 * mib, 10, "133 MB are needed for the engine directory, and 132 MB are free"},
		"the reserve":        {space{mib, 16, 1000, true}, 1, 0, "disk"},
		"one inode short":    {space{4096, 1 << 30, 25, true}, 1, 10, "26 inodes are needed for the engine directory, and 25 are free"},
		"inodes on demand":   {space{4096, 1 << 30, 0, false}, 1, 10, ""},
		"absurdly large":     {space{1 << 20, 1 << 62, 1 << 62, true}, 1 << 40, 10, ""},
		"negative is none":   {space{4096, 1 << 30, 1000, true}, -5, 0, ""},
		"full to the brim":   {space{4096, 0, 0, true}, 0, 0, "0 MB are free"},
		"one byte per block": {space{1, 1 << 20, 1000, true}, 0, 0, "17 MB are needed"},
	} {
		t.Run(name, func(t *testing.T) {
			err := enough(test.free, test.bytes, test.files)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantCode(t, err, DiskFull)
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// tmpfs mounts a small file system for a test.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("SKIPPED: a tmpfs can't be mounted (%v); run the suite where mounting is allowed, such as a privileged container", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// inodes is how many a file system has left.
func inodes(t *testing.T, mount string) uint64 {
	t.Helper()
	var stat unix.Statfs_t
	if err := unix.Statfs(mount, &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Ffree
}

func TestRoomOfASmallDisk(t *testing.T) {
	t.Parallel()
	d := open(t, filepath.Join(tmpfs(t, "size=32m,nr_inodes=40"), "definitions"))
	if err := d.Room(8<<20, 5); err != nil {
		t.Error(err)
	}
	wantCode(t, d.Room(24<<20, 5), DiskFull)
	wantCode(t, d.Room(1<<20, 30), DiskFull)
	_, err := d.Spool(24 << 20)
	wantCode(t, err, DiskFull)
	wantEmptyStaging(t, d)
}

func TestSpoolOfUnknownSizeKeepsTheReserve(t *testing.T) {
	t.Parallel()
	d := open(t, filepath.Join(tmpfs(t, "size=64m"), "definitions"))
	s, err := d.Spool(-1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = io.Copy(struct{ io.Writer }{s}, zeros{})
	wantCode(t, err, DiskFull)
	free, err := statfs(d.root)
	if err != nil {
		t.Fatal(err)
	}
	if left := int64(free.blocks) * free.block; left < reserveBytes || left == 64<<20 {
		t.Errorf("%d bytes are left", left)
	}
}

func TestDiskFullWhileWriting(t *testing.T) {
	t.Parallel()
	mount := tmpfs(t, "size=2m,nr_inodes=64")
	d := open(t, filepath.Join(mount, "definitions"))
	old := install(t, d, "1.0.0.0")
	before := inodes(t, mount)
	s := stage(t, d, "2.0.0.0", nil)
	err := s.Write(t.Context(), verifier.File{Name: "large", Size: 100 << 20}, zeros{})
	wantCode(t, err, DiskFull)
	for i := 0; err == nil || i == 0; i++ { // the inodes run out
		name := fmt.Sprint("small", i)
		c := content{name: ""}
		err = s.Write(t.Context(), c.file(name), strings.NewReader(""))
	}
	wantCode(t, err, DiskFull)
	s.Discard()
	wantLinks(t, d, old.Name, "")
	if err := old.Check(t.Context(), release("1.0.0.0").list(t, "1.0.0.0").Files); err != nil {
		t.Error(err)
	}
	// A process that another test is about to start holds what was open for a moment.
	for end := time.Now().Add(time.Minute); inodes(t, mount) < before && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	install(t, d, "2.0.0.0") // there is room again
}

func TestReadOnlyFileSystem(t *testing.T) {
	t.Parallel()
	mount := tmpfs(t, "size=64m")
	path := filepath.Join(mount, "definitions")
	d := open(t, path)
	set := install(t, d, "1.0.0.0")
	next := seal(t, d, "2.0.0.0")
	if err := unix.Mount("", mount, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skipf("SKIPPED: a mount can't be made read-only (%v); run the suite where mounting is allowed", err)
	}
	_, openErr := Open(path)
	_, missingErr := Open(filepath.Join(mount, "elsewhere"))
	_, stageErr := d.Stage(nameFor("3.0.0.0"))
	_, spoolErr := d.Spool(1)
	for _, err := range []error{openErr, missingErr, stageErr, spoolErr, d.Activate(next)} {
		wantCode(t, err, PermissionDenied)
	}
	wantLinks(t, d, set.Name, "")
}

func TestNotOurDirectory(t *testing.T) {
	t.Parallel()
	needUser(t)
	d := newDir(t)
	set := install(t, d, "1.0.0.0")
	next := seal(t, d, "2.0.0.0")
	if err := os.Chmod(d.Path(), 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(d.Path(), 0o755) })
	_, openErr := Open(d.Path())
	_, missingErr := Open(filepath.Join(d.Path(), "below", "it"))
	_, collectErr := d.Collect(func(Set) bool { return false })
	for _, err := range []error{openErr, missingErr, collectErr, d.Activate(next)} {
		wantCode(t, err, PermissionDenied)
		if !strings.Contains(hintOf(err), fmt.Sprint("uid ", os.Getuid())) {
			t.Errorf("the hint does not name the owner: %s", hintOf(err))
		}
	}
	wantLinks(t, d, set.Name, "")
	reader, err := View(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if current, ok, err := reader.Current(); !ok || err != nil || current.Name != set.Name {
		t.Errorf("reading: %v, %v, %v", current, ok, err)
	}
	if err := os.Chmod(d.Path(), 0); err != nil {
		t.Fatal(err)
	}
	_, _, err = d.Current()
	wantCode(t, err, PermissionDenied)
	_, err = View(d.Path())
	wantCode(t, err, PermissionDenied)
}

func hintOf(err error) string {
	if r, ok := err.(interface {
		Reason() (code, sentence, hint string)
	}); ok {
		_, _, hint := r.Reason()
		return hint
	}
	return ""
}
