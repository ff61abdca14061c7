//go:build linux && (amd64 || arm64)

package trace

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// below is how far below its stack the program's filter is put for the moment: far
// enough to be in nobody's way, and not so far that the kernel gives no memory there.
const below = 8 << 10

// filter makes the kernel stop the program at the calls of the table alone, which
// saves two stops at each of the others. The program, which stands before its first
// instruction, is made to ask for that itself. What it starts inherits it.
func filter(pid int, calls map[uint64]call) error {
	code := filterCode(slices.Sorted(maps.Keys(calls)))
	stack, err := stackOf(pid)
	if err != nil {
		return err
	}
	at := (stack - below) &^ 15
	// struct sock_fprog: the number of instructions, and where they are.
	head := binary.NativeEndian.AppendUint64(nil, uint64(len(code)/8))
	head = binary.NativeEndian.AppendUint64(head, uint64(at+16))
	if _, err := unix.PtracePokeData(pid, at, append(head, code...)); err != nil {
		return err
	}
	if err := makeCall(pid, unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uint64(at)); err == nil {
		return nil
	}
	// Who is not root has to give up something first, that no test needs.
	if err := makeCall(pid, unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return err
	}
	return makeCall(pid, unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uint64(at))
}

// filterCode is the filter for these calls, as the kernel reads it.
func filterCode(numbers []uint64) (code []byte) {
	add := func(op uint16, yes, no int, k uint32) {
		code = binary.NativeEndian.AppendUint16(code, op)
		code = append(code, byte(yes), byte(no))
		code = binary.NativeEndian.AppendUint32(code, k)
	}
	const number, arch = 0, 4 // where they stand in struct seccomp_data
	add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, arch)
	add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, len(numbers)+1, auditArch)
	add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, number)
	for i, nr := range numbers {
		add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, len(numbers)-i, 0, uint32(nr))
	}
	add(unix.BPF_RET|unix.BPF_K, 0, 0, unix.SECCOMP_RET_ALLOW)
	add(unix.BPF_RET|unix.BPF_K, 0, 0, unix.SECCOMP_RET_TRACE)
	return code
}

// makeCall makes a stopped program make one system call where it stands, and puts
// everything back.
func makeCall(pid int, nr, a, b, c uint64) error {
	text, err := prepareCall(pid, nr, a, b, c)
	if err != nil {
		return err
	}
	if err := unix.PtraceSingleStep(pid); err != nil {
		return err
	}
	var status unix.WaitStatus
	for {
		if _, err = unix.Wait4(pid, &status, unix.WALL, nil); err != unix.EINTR {
			break
		}
	}
	if err == nil && !status.Stopped() {
		err = fmt.Errorf("the program ended while it was prepared")
	}
	if err != nil {
		return err
	}
	return text.restore(pid)
}
