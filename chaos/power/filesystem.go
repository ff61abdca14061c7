package power

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// FileSystem is a kind of file system, and how it is made and mounted.
type FileSystem struct {
	Name    string
	Size    int64    // of the disk, in bytes
	make    []string // the command, to which the device is added
	kind    string   // as mount knows it
	options string
}

// FileSystems are those that endpoints have. ext4 is mounted without the
// heuristic that syncs a file before a rename replaces another by it: software
// must not need it.
func FileSystems() []FileSystem {
	ext4 := []string{"mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"}
	return []FileSystem{
		{"ext4 data=ordered", 64 << 20, ext4, "ext4", "data=ordered,noauto_da_alloc,commit=1"},
		{"ext4 data=writeback", 64 << 20, ext4, "ext4", "data=writeback,noauto_da_alloc,commit=1"},
		{"xfs", 300 << 20, []string{"mkfs.xfs", "-q", "-K"}, "xfs", "nouuid"},
		{"btrfs", 128 << 20, []string{"mkfs.btrfs", "-q", "-K"}, "btrfs", "commit=1"},
	}
}

// Missing says what this machine lacks for cutting power; nil where it lacks
// nothing.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("root is needed to mount file systems")
	}
	for _, device := range []string{"/dev/fuse", "/dev/loop-control"} {
		if _, err := os.Stat(device); err != nil {
			return fmt.Errorf("there is no %s", device)
		}
	}
	for _, tool := range []string{"mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "losetup", "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("there is no %s", tool)
		}
	}
	return nil
}

// Lab is where disks are mounted: a directory, and the loop devices that lead to
// it.
type Lab struct {
	dir   string
	shelf *shelf
}

// NewLab makes a lab in dir, an empty directory. It must be closed.
func NewLab(dir string) (*Lab, error) {
	s, err := newShelf(dir)
	if err != nil {
		return nil, err
	}
	return &Lab{dir: dir, shelf: s}, nil
}

// Close gives everything back. What is mounted must have been unmounted before.
func (l *Lab) Close() error { return l.shelf.close() }

// Format makes a file system on a new disk.
func (l *Lab) Format(ctx context.Context, f FileSystem) (*Disk, error) {
	d := NewDisk(f.Size)
	path := l.shelf.put(d)
	defer l.shelf.take(path)
	return d, command(ctx, append(f.make[:len(f.make):len(f.make)], path)...)
}

// Mounted is a disk that is mounted.
type Mounted struct {
	Dir          string
	lab          *Lab
	device, file string
}

// Directory makes a directory to mount on.
func (l *Lab) Directory() (string, error) { return os.MkdirTemp(l.dir, "mounted-") }

// Mount mounts a disk on dir, which makes its file system recover where it was cut.
func (l *Lab) Mount(ctx context.Context, f FileSystem, d *Disk, dir string) (_ *Mounted, err error) {
	m := &Mounted{Dir: dir, lab: l, file: l.shelf.put(d)}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.release())
		}
	}()
	out, err := exec.CommandContext(ctx, "losetup", "--find", "--show", m.file).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("losetup: %w: %s", err, out)
	}
	m.device = strings.TrimSpace(string(out))
	return m, command(ctx, "mount", "-t", f.kind, "-o", f.options, m.device, m.Dir)
}

// Unmount gives back what Mount took. A process that another goroutine is about to
// start holds what this one has open until it runs, so that a file system can be
// busy for a moment after the last file was closed.
func (m *Mounted) Unmount() error {
	err := command(context.Background(), "umount", m.Dir)
	for try := 0; err != nil && try < 100; try++ {
		time.Sleep(50 * time.Millisecond)
		err = command(context.Background(), "umount", m.Dir)
	}
	return errors.Join(err, m.release())
}

// release gives back the loop device.
func (m *Mounted) release() (err error) {
	if m.device != "" {
		err = command(context.Background(), "losetup", "--detach", m.device)
	}
	m.lab.shelf.take(filepath.Base(m.file))
	return err
}

// command runs a tool, whose output is in the error where it fails.
func command(ctx context.Context, words ...string) error {
	out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", words[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
