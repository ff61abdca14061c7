package mirror

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/windows"
)

// noWait is nothing here, since no path of Windows leads to a pipe that waits.
const noWait = 0

// pendingFile is a file that takes its place all at once, or never.
type pendingFile struct {
	*os.File
	placed bool
}

// newPending starts a file that takes its place at path all at once. Its temporary
// file lies in the same directory, whose rights it inherits.
func newPending(path string) (*pendingFile, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"*")
	if err != nil {
		return nil, err
	}
	return &pendingFile{File: f}, nil
}

// Cleanup takes the file away, unless it is in its place.
func (p *pendingFile) Cleanup() error {
	if p.placed {
		return nil
	}
	_ = p.Close() // where it is closed already, too
	return os.Remove(p.Name())
}

// commit puts a pending file in place. The call returns when the new name is on
// the disk, so no directory needs to be flushed, which Windows does not offer.
func commit(p *pendingFile, path string) error {
	if err := p.Sync(); err != nil {
		return err
	}
	if err := p.Close(); err != nil {
		return err
	}
	from, err := windows.UTF16PtrFromString(p.Name())
	if err != nil {
		return err
	}
	to, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return err
	}
	if err := windows.MoveFileEx(from, to, windows.MOVEFILE_REPLACE_EXISTING|windows.MOVEFILE_WRITE_THROUGH); err != nil {
		return &os.LinkError{Op: "rename", Old: p.Name(), New: path, Err: err}
	}
	p.placed = true
	return nil
}

// syncDir does nothing: Windows has no call that flushes a directory.
func syncDir(string) error { return nil }

// scratchFile makes a file in dir that is gone when it is closed. A file that is
// open can't be removed here, so the system is told to do it.
func scratchFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".scratch-*")
	if err != nil {
		return nil, err
	}
	name := f.Name()
	if err := f.Close(); err != nil {
		return nil, err
	}
	return os.OpenFile(name, os.O_RDWR|windows.O_FILE_FLAG_DELETE_ON_CLOSE, 0o600)
}

// openToOthers is about modes, which files of Windows don't have: who may read
// them says an access control list that is inherited from the directory.
func openToOthers(fs.FileInfo) bool { return false }

// basicInfo is FILE_BASIC_INFO. Times count in steps of 100 ns.
type basicInfo struct {
	created, accessed, written, changed int64
	attributes                          uint32
	_                                   uint32
}

// identify gives what a file is known by, or false where the system doesn't say.
func identify(f *os.File) (identity, bool) {
	var which windows.ByHandleFileInformation
	var when basicInfo
	handle := windows.Handle(f.Fd())
	if windows.GetFileInformationByHandle(handle, &which) != nil ||
		windows.GetFileInformationByHandleEx(handle, windows.FileBasicInfo, (*byte)(unsafe.Pointer(&when)), uint32(unsafe.Sizeof(when))) != nil {
		return identity{}, false
	}
	return identity{
		device: uint64(which.VolumeSerialNumber), inode: uint64(which.FileIndexHigh)<<32 | uint64(which.FileIndexLow),
		size:     int64(which.FileSizeHigh)<<32 | int64(which.FileSizeLow),
		modified: which.LastWriteTime.Nanoseconds(), changed: nanoseconds(when.changed),
	}, true
}

// nanoseconds since 1970, of a time of Windows.
func nanoseconds(filetime int64) int64 {
	t := windows.Filetime{LowDateTime: uint32(filetime), HighDateTime: uint32(filetime >> 32)}
	return t.Nanoseconds()
}

// killAll does nothing more here: the program itself is killed, and what it started
// goes on.
func killAll(*exec.Cmd) {}
