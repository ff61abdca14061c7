package sourcetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Mount is a file system whose server can die, as that of a network share can:
// then whoever reads from it waits in the kernel.
type Mount struct {
	t      testing.TB
	Dir    string // where it is mounted
	server *process
}

// NewMount mounts the directory dir at another place, by FUSE, until the test ends.
// Where that can't be done the test is skipped.
func NewMount(t testing.TB, dir string) *Mount {
	t.Helper()
	path := lookUp(t, "bindfs", "/usr/bin/bindfs", "apt-get install bindfs fuse3")
	m := &Mount{t: t, Dir: filepath.Join(t.TempDir(), "mount")}
	if err := os.Mkdir(m.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m.server = start(t, exec.Command(path, "-f", dir, m.Dir))
	up := false
	t.Cleanup(func() {
		if !up {
			return
		}
		m.Revive()
		// What still waits in it is let go by that, too.
		for _, unmount := range [][]string{{"fusermount3", "-u", m.Dir}, {"umount", m.Dir}, {"fusermount3", "-u", "-z", m.Dir}, {"umount", "-l", m.Dir}} {
			if exec.Command(unmount[0], unmount[1:]...).Run() == nil {
				return
			}
		}
		t.Errorf("%s could not be unmounted", m.Dir)
	})
	for range 1500 {
		if up = mounted(m.Dir); up {
			return m
		}
		select {
		case <-m.server.done:
			t.Skipf("SKIPPED: nothing can be mounted by FUSE here, so nobody tests a dead mount: %s", strings.TrimSpace(m.server.log.String()))
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatal("bindfs does not mount")
	return nil
}

// mounted tells whether dir is another file system than the directory above it.
func mounted(dir string) bool {
	var here, above syscall.Stat_t
	return syscall.Stat(dir, &here) == nil && syscall.Stat(filepath.Dir(dir), &above) == nil && here.Dev != above.Dev
}

// Die makes the server answer nothing any more.
func (m *Mount) Die() { m.server.cmd.Process.Signal(syscall.SIGSTOP) }

// Revive makes it answer again.
func (m *Mount) Revive() { m.server.cmd.Process.Signal(syscall.SIGCONT) }
