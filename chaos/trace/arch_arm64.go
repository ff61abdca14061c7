package trace

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// older adds nothing: this architecture has none of the older calls.
func older(func(fd, str int, calls map[uint64]string)) {}

// The kernel's register sets, of its elf.h.
const (
	setGeneral    = 1
	setSystemCall = 0x404
)

// skipCall makes a thread that stands before a call make none. The number of a
// call is in a register set of its own.
func skipCall(tid int) error {
	nr := int32(-1)
	iov := unix.Iovec{Base: (*byte)(unsafe.Pointer(&nr)), Len: uint64(unsafe.Sizeof(nr))}
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SETREGSET, uintptr(tid), setSystemCall, uintptr(unsafe.Pointer(&iov)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// setResult makes a thread that stands behind a call see another result.
func setResult(tid int, result int64) error {
	var r unix.PtraceRegsArm64
	if err := unix.PtraceGetRegSetArm64(tid, setGeneral, &r); err != nil {
		return err
	}
	r.Regs[0] = uint64(result)
	return unix.PtraceSetRegSetArm64(tid, setGeneral, &r)
}
