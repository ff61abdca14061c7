//go:build unix

package mirror

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// noWait keeps the open of a named pipe from waiting for ever for its writer.
const noWait = syscall.O_NONBLOCK

// pendingFile is a file that takes its place all at once, or never.
type pendingFile = renameio.PendingFile

// newPending starts a file that takes its place at path all at once, readable
// for the web server. Its temporary file lies in the same directory.
func newPending(path string) (*pendingFile, error) {
	return renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o644))
}

// commit puts a pending file in place so that it stays there even if the power
// fails in the next moment: the rename is durable only with the directory.
func commit(p *pendingFile, path string) error {
	if err := p.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// scratchFile makes a file in dir that has no name for longer than a moment, and
// is gone when it is closed.
func scratchFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".scratch-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// openToOthers says whether anybody but its owner can read or write a file.
func openToOthers(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }

// identify gives what a file is known by, or false where the system doesn't say.
func identify(f *os.File) (identity, bool) {
	var s unix.Stat_t
	if unix.Fstat(int(f.Fd()), &s) != nil {
		return identity{}, false
	}
	return identity{uint64(s.Dev), s.Ino, s.Size, s.Mtim.Nano(), s.Ctim.Nano()}, true
}

// killAll gives a command a process group of its own, all of which is killed with it.
func killAll(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
