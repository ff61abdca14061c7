//go:build linux && (amd64 || arm64)

package trace

import "golang.org/x/sys/unix"

// call is a system call that touches files or the network, and which of its
// arguments say what it is about: a descriptor, a name, or a name below a
// descriptor.
type call struct {
	name    string
	fd, str int // the number of the argument, from 0; none for none
}

const none = -1

// callsByNumber is the table. Waiting, memory, time and signals are not in it.
func callsByNumber() map[uint64]call {
	table := map[uint64]call{
		unix.SYS_COPY_FILE_RANGE: {"copy_file_range", 2, none}, // to where
		unix.SYS_SPLICE:          {"splice", 2, none},
		unix.SYS_SYMLINKAT:       {"symlinkat", 1, 2},
		unix.SYS_RENAMEAT:        {"renameat", 2, 3},
		unix.SYS_RENAMEAT2:       {"renameat2", 2, 3},
		unix.SYS_LINKAT:          {"linkat", 2, 3},
	}
	add := func(fd, str int, calls map[uint64]string) {
		for nr, name := range calls {
			table[nr] = call{name, fd, str}
		}
	}
	add(0, none, map[uint64]string{
		unix.SYS_READ: "read", unix.SYS_PREAD64: "pread64", unix.SYS_READV: "readv", unix.SYS_GETDENTS64: "getdents64",
		unix.SYS_WRITE: "write", unix.SYS_PWRITE64: "pwrite64", unix.SYS_WRITEV: "writev", unix.SYS_SENDFILE: "sendfile",
		unix.SYS_FSYNC: "fsync", unix.SYS_FDATASYNC: "fdatasync", unix.SYS_SYNC_FILE_RANGE: "sync_file_range",
		unix.SYS_FTRUNCATE: "ftruncate", unix.SYS_FALLOCATE: "fallocate", unix.SYS_IOCTL: "ioctl", unix.SYS_FLOCK: "flock",
		unix.SYS_FSTAT: "fstat", unix.SYS_FSTATFS: "fstatfs", unix.SYS_FCHMOD: "fchmod", unix.SYS_FCHOWN: "fchown", unix.SYS_CLOSE: "close",
		unix.SYS_CONNECT: "connect", unix.SYS_BIND: "bind", unix.SYS_LISTEN: "listen", unix.SYS_ACCEPT4: "accept4", unix.SYS_SHUTDOWN: "shutdown",
		unix.SYS_SENDTO: "sendto", unix.SYS_SENDMSG: "sendmsg", unix.SYS_RECVFROM: "recvfrom", unix.SYS_RECVMSG: "recvmsg",
		unix.SYS_GETSOCKOPT: "getsockopt", unix.SYS_SETSOCKOPT: "setsockopt",
	})
	add(0, 1, map[uint64]string{
		unix.SYS_OPENAT: "openat", unix.SYS_OPENAT2: "openat2", unix.SYS_NEWFSTATAT: "newfstatat", unix.SYS_STATX: "statx",
		unix.SYS_FACCESSAT: "faccessat", unix.SYS_FACCESSAT2: "faccessat2", unix.SYS_READLINKAT: "readlinkat",
		unix.SYS_MKDIRAT: "mkdirat", unix.SYS_MKNODAT: "mknodat", unix.SYS_UNLINKAT: "unlinkat", unix.SYS_UTIMENSAT: "utimensat",
		unix.SYS_FCHMODAT: "fchmodat", unix.SYS_FCHMODAT2: "fchmodat2", unix.SYS_FCHOWNAT: "fchownat",
	})
	add(none, 0, map[uint64]string{unix.SYS_EXECVE: "execve", unix.SYS_STATFS: "statfs", unix.SYS_TRUNCATE: "truncate", unix.SYS_CHDIR: "chdir"})
	add(none, none, map[uint64]string{unix.SYS_SOCKET: "socket", unix.SYS_SOCKETPAIR: "socketpair", unix.SYS_PIPE2: "pipe2"})
	older(add)
	return table
}
