package trace

import "golang.org/x/sys/unix"

// older adds the calls from before names were taken below descriptors; C
// libraries still make some of them.
func older(add func(fd, str int, calls map[uint64]string)) {
	add(none, 0, map[uint64]string{
		unix.SYS_OPEN: "open", unix.SYS_CREAT: "creat", unix.SYS_STAT: "stat", unix.SYS_LSTAT: "lstat", unix.SYS_ACCESS: "access",
		unix.SYS_READLINK: "readlink", unix.SYS_MKDIR: "mkdir", unix.SYS_RMDIR: "rmdir", unix.SYS_UNLINK: "unlink", unix.SYS_CHMOD: "chmod",
		unix.SYS_CHOWN: "chown", unix.SYS_LCHOWN: "lchown",
	})
	add(none, 1, map[uint64]string{unix.SYS_RENAME: "rename", unix.SYS_LINK: "link", unix.SYS_SYMLINK: "symlink"})
	add(none, none, map[uint64]string{unix.SYS_PIPE: "pipe"})
}

// skipCall makes a thread that stands before a call make none.
func skipCall(tid int) error {
	return change(tid, func(r *unix.PtraceRegs) { r.Orig_rax = ^uint64(0) })
}

// setResult makes a thread that stands behind a call see another result.
func setResult(tid int, result int64) error {
	return change(tid, func(r *unix.PtraceRegs) { r.Rax = uint64(result) })
}

func change(tid int, f func(*unix.PtraceRegs)) error {
	var r unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &r); err != nil {
		return err
	}
	f(&r)
	return unix.PtraceSetRegs(tid, &r)
}

const auditArch = unix.AUDIT_ARCH_X86_64

// stackOf is where the stack of a stopped thread ends.
func stackOf(tid int) (uintptr, error) {
	var r unix.PtraceRegs
	err := unix.PtraceGetRegs(tid, &r)
	return uintptr(r.Rsp), err
}

// place is where a program stood, and what was there.
type place struct {
	regs unix.PtraceRegs
	text [8]byte
}

// prepareCall puts the instruction for a system call where a stopped program stands.
func prepareCall(pid int, nr, a, b, c uint64) (*place, error) {
	p := &place{}
	if err := unix.PtraceGetRegs(pid, &p.regs); err != nil {
		return nil, err
	}
	at := uintptr(p.regs.Rip)
	if _, err := unix.PtracePeekText(pid, at, p.text[:]); err != nil {
		return nil, err
	}
	text := p.text
	text[0], text[1] = 0x0f, 0x05 // syscall
	if _, err := unix.PtracePokeText(pid, at, text[:]); err != nil {
		return nil, err
	}
	r := p.regs
	r.Rax, r.Orig_rax, r.Rdi, r.Rsi, r.Rdx = nr, ^uint64(0), a, b, c
	return p, unix.PtraceSetRegs(pid, &r)
}

// restore puts back what was there, and gives the error of the call.
func (p *place) restore(pid int) error {
	var r unix.PtraceRegs
	err := unix.PtraceGetRegs(pid, &r)
	if _, failed := unix.PtracePokeText(pid, uintptr(p.regs.Rip), p.text[:]); failed != nil {
		return failed
	}
	if failed := unix.PtraceSetRegs(pid, &p.regs); failed != nil {
		return failed
	}
	if result := int64(r.Rax); err == nil && result < 0 {
		err = unix.Errno(-result)
	}
	return err
}
