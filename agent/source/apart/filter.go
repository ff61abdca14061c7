package apart

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Where the kernel shows a filter what is called, see seccomp(2), in bytes. Of
// arguments the lower half is looked at, which comes first on both architectures.
const (
	callNumber = 0
	callArch   = 4
	callArg    = 16 // the first
)

// rules is the filter of the process's system calls: it can start no process, signal
// none but itself, look into none, listen to nobody, and make no sockets but those of
// internet protocols and, for names of interfaces, of routing; without a network none.
// A new thread is none of that. It gives nil where the architecture is not known.
func rules(network bool) (program []bpf.Instruction) {
	arch := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	if arch == 0 {
		return nil
	}
	permit, deny := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}, bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)}
	program = []bpf.Instruction{
		bpf.LoadAbsolute{Off: callArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: arch, SkipTrue: 1}, deny,
		bpf.LoadAbsolute{Off: callNumber, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 1 << 30, SkipTrue: 1}, deny, // the numbers of x32
		// Its flags can't be seen. A C library without it starts threads by clone.
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_CLONE3, SkipFalse: 1}, bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
	}
	never := []uint32{unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_TKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO, unix.SYS_PIDFD_SEND_SIGNAL,
		unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD, unix.SYS_LISTEN, unix.SYS_IO_URING_SETUP}
	if runtime.GOARCH == "amd64" {
		never = append(never, 57, 58) // fork and vfork, which arm64 does not have
	}
	for _, number := range never {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: number, SkipFalse: 1}, deny)
	}
	only := func(number uint32, test bpf.JumpTest, values ...uint32) {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: number, SkipFalse: uint8(2*len(values) + 2)}, bpf.LoadAbsolute{Off: callArg, Size: 4})
		for _, value := range values {
			program = append(program, bpf.JumpIf{Cond: test, Val: value, SkipFalse: 1}, permit)
		}
		program = append(program, deny)
	}
	only(unix.SYS_CLONE, bpf.JumpBitsSet, unix.CLONE_THREAD)
	only(unix.SYS_KILL, bpf.JumpEqual, uint32(os.Getpid()))
	only(unix.SYS_TGKILL, bpf.JumpEqual, uint32(os.Getpid())) // as the runtime does between its threads
	if network {
		only(unix.SYS_SOCKET, bpf.JumpEqual, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK)
	} else {
		only(unix.SYS_SOCKET, bpf.JumpEqual)
	}
	return append(program, permit)
}

// filter puts the rules into force for all threads, for good. It takes no_new_privs.
func filter(network bool) bool {
	raw, err := bpf.Assemble(rules(network))
	if err != nil || len(raw) == 0 {
		return false
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})))
	return thread == 0 && errno == 0
}
