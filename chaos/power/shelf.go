package power

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// shelf shows disks as files, so that loop devices can be made of them.
type shelf struct {
	dir    string
	server *fuse.Server // kept, since it ends with the last that refers to it
	root   *fs.Inode
	count  atomic.Int64
}

// newShelf mounts an empty shelf on a new directory below dir.
func newShelf(dir string) (*shelf, error) {
	at, err := os.MkdirTemp(dir, "shelf-")
	if err != nil {
		return nil, err
	}
	root := new(fs.Inode)
	s := &shelf{dir: at, root: root}
	s.server, err = fs.Mount(at, root, &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "power", MaxWrite: 1 << 20}})
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", at, err)
	}
	return s, nil
}

// put shows a disk as a file and gives its path.
func (s *shelf) put(d *Disk) (path string) {
	name := fmt.Sprintf("disk-%d", s.count.Add(1))
	s.root.AddChild(name, s.root.NewPersistentInode(context.Background(), &diskFile{disk: d}, fs.StableAttr{Mode: fuse.S_IFREG}), true)
	return filepath.Join(s.dir, name)
}

// take removes the file of a disk.
func (s *shelf) take(path string) {
	s.root.RmChild(filepath.Base(path))
	_ = s.root.NotifyEntry(filepath.Base(path)) // a kernel that never looked it up has nothing to forget
}

// close takes the shelf out of the tree. The kernel may hold a disk a little longer
// than those who used it, so that the server ends when it lets go.
func (s *shelf) close() error {
	if err := unix.Unmount(s.dir, unix.MNT_DETACH); err != nil {
		return err
	}
	return os.Remove(s.dir)
}

// diskFile is a disk as a file.
type diskFile struct {
	fs.Inode
	disk *Disk
}

func (f *diskFile) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size, out.Blksize = 0o600, uint64(f.disk.size), pageSize
	return 0
}

// Setattr takes everything for done: nobody needs times or another mode.
func (f *diskFile) Setattr(_ context.Context, _ fs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size, out.Blksize = 0o600, uint64(f.disk.size), pageSize
	return 0
}

// Open keeps the kernel's page cache out of it, which would keep writes back.
func (f *diskFile) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (f *diskFile) Read(_ context.Context, _ fs.FileHandle, to []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	return fuse.ReadResultData(to[:f.disk.read(to, off)]), 0
}

func (f *diskFile) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if off < 0 || off+int64(len(data)) > f.disk.size {
		return 0, syscall.ENOSPC
	}
	f.disk.write(data, off)
	return uint32(len(data)), 0
}

func (f *diskFile) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	f.disk.flush()
	return 0
}
