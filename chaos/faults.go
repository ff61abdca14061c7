package chaos

import (
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"mdatp-offline-agent/chaos/trace"
)

// fault is what is done at a point: a call that fails, or, where errno is 0, a
// kill.
type fault struct {
	errno syscall.Errno
	after bool // the call is made all the same
}

func (f fault) action() trace.Action {
	switch {
	case f.errno == 0:
		return trace.Kill()
	case f.after:
		return trace.FailAfter(f.errno)
	}
	return trace.Fail(f.errno)
}

func (f fault) String() string {
	if f.errno == 0 {
		return "kill"
	}
	return unix.ErrnoName(f.errno)
}

// faultsOf are the errors that a call can give. What has no names has none of
// names, and what is not kept on a disk none of disks.
func faultsOf(p trace.Point) []fault {
	is := func(names ...string) bool { return slices.Contains(names, p.Call.Name) }
	var all []fault
	add := func(errnos ...syscall.Errno) {
		for _, e := range errnos {
			all = append(all, fault{errno: e})
		}
	}
	onDisk := !slices.Contains([]string{"socket", "pipe", "device", "proc", "sys"}, p.Kind)
	writes := is("write", "pwrite64", "writev", "ftruncate", "fallocate", "copy_file_range", "ioctl", "sendfile", "splice")
	names := is("mkdirat", "mknodat", "unlinkat", "renameat", "renameat2", "linkat", "symlinkat", "mkdir", "unlink", "rmdir", "rename", "link", "symlink")
	opens := is("openat", "open", "openat2")
	changes := is("fchmod", "fchmodat", "fchmodat2", "utimensat", "chmod")
	forWriting := is("openat") && p.Args[2]&(unix.O_WRONLY|unix.O_RDWR|unix.O_CREAT) != 0
	allocates := onDisk && (writes || names && !strings.Contains(p.Call.Name, "unlink") && !is("rmdir") || is("fsync", "fdatasync") || is("openat") && p.Args[2]&unix.O_CREAT != 0)
	if allocates {
		add(unix.ENOSPC, unix.EDQUOT)
	}
	if writes || is("read", "pread64", "readv", "fsync", "fdatasync", "getdents64", "renameat", "renameat2", "rename", "newfstatat", "fstat", "readlinkat") || onDisk && opens {
		add(unix.EIO)
	}
	if onDisk && is("close") {
		all = append(all, fault{errno: unix.EIO, after: true})
	}
	if onDisk && (names || forWriting || changes) {
		add(unix.EROFS)
	}
	if opens || is("socket", "socketpair", "pipe2", "pipe", "accept4") {
		add(unix.EMFILE)
	}
	if opens || writes || is("read", "pread64", "connect", "fsync", "fdatasync", "flock", "sendto", "recvfrom", "sendmsg", "recvmsg") {
		add(unix.EINTR)
	}
	if opens || names || changes || is("newfstatat", "readlinkat", "faccessat", "faccessat2", "socket", "connect", "execve") {
		add(unix.EACCES)
	}
	return all
}
