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
	alone bool // the kill is of the child alone that makes the call
}

// kills tells that nothing of the agent is left, which costs nothing that the run before
// had. What else is done is for the agent to come to terms with.
func (f fault) kills() bool { return f == fault{} }

func (f fault) action() trace.Action {
	switch {
	case f.alone:
		return trace.KillAlone()
	case f.errno == 0:
		return trace.Kill()
	case f.after:
		return trace.FailAfter(f.errno)
	}
	return trace.Fail(f.errno)
}

func (f fault) String() string {
	switch {
	case f.alone:
		return "kill of the child"
	case f.errno == 0:
		return "kill"
	}
	return unix.ErrnoName(f.errno)
}

// faultsOf are the errors that a call can give. What has no names has none of
// names, and what is not kept on a disk none of disks. A child of the agent's own can
// be killed besides, as by the kernel when memory is short.
func faultsOf(p trace.Point) []fault {
	is := func(names ...string) bool { return slices.Contains(names, p.Call.Name) }
	var all []fault
	if p.Child && p.Kind != "hook" {
		all = append(all, fault{alone: true})
	}
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
	// A pipe has no disk behind it. The runtime takes a failure to read from the one by which a
	// process that it starts tells of itself for the end of that process, and waits for it.
	if p.Kind != "pipe" && (writes || is("read", "pread64", "readv", "fsync", "fdatasync", "getdents64", "renameat", "renameat2", "rename", "newfstatat", "fstat", "readlinkat")) || onDisk && opens {
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
