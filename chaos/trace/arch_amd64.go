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
