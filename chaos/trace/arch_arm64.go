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

const auditArch = unix.AUDIT_ARCH_AARCH64

// stackOf is where the stack of a stopped thread ends.
func stackOf(tid int) (uintptr, error) {
	var r unix.PtraceRegsArm64
	err := unix.PtraceGetRegSetArm64(tid, setGeneral, &r)
	return uintptr(r.Sp), err
}

// place is where a program stood, and what was there.
type place struct {
	regs unix.PtraceRegsArm64
	text [8]byte
}

// prepareCall puts the instruction for a system call where a stopped program stands.
func prepareCall(pid int, nr, a, b, c uint64) (*place, error) {
	p := &place{}
	if err := unix.PtraceGetRegSetArm64(pid, setGeneral, &p.regs); err != nil {
		return nil, err
	}
	at := uintptr(p.regs.Pc)
	if _, err := unix.PtracePeekText(pid, at, p.text[:]); err != nil {
		return nil, err
	}
	text := p.text
	copy(text[:], []byte{0x01, 0x00, 0x00, 0xd4}) // svc #0
	if _, err := unix.PtracePokeText(pid, at, text[:]); err != nil {
		return nil, err
	}
	r := p.regs
	r.Regs[8], r.Regs[0], r.Regs[1], r.Regs[2] = nr, a, b, c
	return p, unix.PtraceSetRegSetArm64(pid, setGeneral, &r)
}

// restore puts back what was there, and gives the error of the call.
func (p *place) restore(pid int) error {
	var r unix.PtraceRegsArm64
	err := unix.PtraceGetRegSetArm64(pid, setGeneral, &r)
	if _, failed := unix.PtracePokeText(pid, uintptr(p.regs.Pc), p.text[:]); failed != nil {
		return failed
	}
	if failed := unix.PtraceSetRegSetArm64(pid, setGeneral, &p.regs); failed != nil {
		return failed
	}
	if result := int64(r.Regs[0]); err == nil && result < 0 {
		err = unix.Errno(-result)
	}
	return err
}
