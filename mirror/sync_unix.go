//go:build unix

package mirror

import (
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// noFollow keeps the log from being written through a link or a pipe.
const noFollow = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// errOtherDisk is what a rename to another file system gives.
const errOtherDisk = syscall.EXDEV

// private says whether a directory is this user's, and no other's to read or change.
func private(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Uid == uint32(os.Geteuid()) && !openToOthers(info)
}

// rootOnOthers says whether this is root and a file another user's, and names that one.
func rootOnOthers(info fs.FileInfo) (owner string, other bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 || s.Uid == 0 {
		return "", false
	}
	owner = strconv.FormatUint(uint64(s.Uid), 10)
	if known, err := user.LookupId(owner); err == nil {
		owner = known.Username
	}
	return owner, true
}

// ours says whether a file belongs to this user and has no second name.
func ours(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Uid == uint32(os.Geteuid()) && s.Nlink == 1
}
