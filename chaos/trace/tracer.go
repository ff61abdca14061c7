//go:build linux && (amd64 || arm64)

package trace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// options follow everything that the program starts, tell stops at system calls
// from signals, and let nothing outlive the tracer.
const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK |
	unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_TRACESECCOMP | unix.PTRACE_O_EXITKILL

// tracer is one run. But for mu and what it guards, one goroutine has it.
type tracer struct {
	Command
	calls   map[uint64]call
	root    int
	coarse  bool // the kernel has no filter, so that it stops at every call
	threads map[int]*thread
	seen    map[string]int // how many of each call and kind there were
	end     End

	mu      sync.Mutex
	running bool // root has not been reaped
	expired bool
}

// thread is one thread of the tree.
type thread struct {
	program string
	process int      // it is a thread of; 0: not known yet
	call    *pending // between the stop before a call and the one after it
	again   *pending // a signal came first, and the kernel begins the call anew once it was handled
}

type pending struct {
	nr     uint64
	point  Point
	action Action
}

func run(ctx context.Context, c Command) (End, error) {
	t := &tracer{Command: c, calls: callsByNumber(), threads: map[int]*thread{}, seen: map[string]int{}}
	var err error
	done := make(chan struct{})
	onThreadWithoutChildren(func() {
		defer close(done)
		err = t.run(ctx)
	})
	<-done
	return t.end, err
}

// onThreadWithoutChildren runs f in a thread of its own, which ends with it. To
// the kernel a thread is who traces, and whose children are waited for, so it must
// be none that started something else before.
func onThreadWithoutChildren(f func()) {
	go func() {
		runtime.LockOSThread() // and never unlocked
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WALL|unix.WNOTHREAD|unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.ECHILD) {
			wait := make(chan struct{})
			onThreadWithoutChildren(func() { defer close(wait); f() })
			<-wait // not given back before, or it would be taken again
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
}

func (t *tracer) run(ctx context.Context) error {
	if err := t.start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, t.expire)
	defer stop()
	for {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD|t.patience(), nil)
		switch {
		case err == unix.EINTR:
		case err == nil && tid == 0:
			if t.dead() {
				t.killAll()
			}
			time.Sleep(look)
		case err == unix.ECHILD:
			return nil
		case err != nil:
			return err
		case status.Stopped():
			t.stopped(tid, status)
		default:
			t.ended(tid, status)
		}
	}
}

// start starts the program, which stops at its first instruction.
func (t *tracer) start() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	files := []uintptr{null.Fd(), null.Fd(), null.Fd()}
	for i, f := range []*os.File{t.Stdout, t.Stderr} {
		if f != nil {
			files[i+1] = f.Fd()
		}
	}
	t.root, err = syscall.ForkExec(t.Path, t.Args, &syscall.ProcAttr{Dir: t.Dir, Env: t.Env, Files: files, Sys: &syscall.SysProcAttr{Ptrace: true}})
	runtime.KeepAlive(t.Stdout)
	runtime.KeepAlive(t.Stderr)
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if err != nil {
		return err
	}
	var status unix.WaitStatus
	for {
		if _, err = unix.Wait4(t.root, &status, unix.WALL, nil); err != unix.EINTR {
			break
		}
	}
	if err == nil && !status.Stopped() {
		err = errors.New("the program ended before it began")
	}
	if err == nil {
		err = unix.PtraceSetOptions(t.root, options)
	}
	if err == nil {
		_, err = syscallInfoOf(t.root)
	}
	if err == nil {
		t.coarse = t.coarse || filter(t.root, t.calls) != nil
		err = t.resume(t.root, &thread{}, 0)
	}
	if err != nil {
		_ = unix.Kill(t.root, unix.SIGKILL)
		_, _ = unix.Wait4(t.root, nil, unix.WALL, nil)
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	t.running = true
	t.threads[t.root] = &thread{}
	return nil
}

// look is how often it is looked whether what outlives the program is to end.
const look = 10 * time.Millisecond

// patience is how to wait. As long as the program runs, its end is what ends a wait.
func (t *tracer) patience() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running {
		return 0
	}
	return unix.WNOHANG
}

// expire ends the run from another goroutine. That the program ended makes the
// tracer look up and kill the others.
func (t *tracer) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expired = true
	if t.running { // its number is its own as long as nobody has reaped it
		_ = unix.Kill(t.root, unix.SIGKILL)
	}
}

// dead tells whether the tree is to end.
func (t *tracer) dead() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end.Expired = t.end.Expired || t.expired
	return t.end.Killed || t.end.Expired
}

func (t *tracer) ended(tid int, status unix.WaitStatus) {
	delete(t.threads, tid)
	if tid == t.root {
		t.mu.Lock()
		t.running = false
		t.mu.Unlock()
		t.end.Exit = status.ExitStatus()
		if status.Signaled() {
			t.end.Signal = status.Signal()
		}
	}
	if t.dead() {
		t.killAll()
	}
}

// killAll kills every process by each thread that is known of it. One that is not
// known yet is killed as soon as it shows.
func (t *tracer) killAll() {
	for tid := range t.threads {
		_ = unix.Kill(tid, unix.SIGKILL)
	}
}

// stopped is one stop of one thread. What the kernel refuses about it, it refuses
// because the thread is gone, of which it will tell.
func (t *tracer) stopped(tid int, status unix.WaitStatus) {
	th, known := t.threads[tid]
	if !known {
		th = &thread{}
		t.threads[tid] = th
	}
	if t.dead() {
		t.killAll()
		return
	}
	signal := int(status.StopSignal())
	switch {
	case signal == int(unix.SIGTRAP)|0x80:
		t.atCall(tid, th)
		if t.end.Killed {
			return
		}
		signal = 0
	case status.TrapCause() == unix.PTRACE_EVENT_SECCOMP:
		t.atCall(tid, th)
		if t.end.Killed {
			return
		}
		signal = 0
	case status.TrapCause() > 0:
		if status.TrapCause() == unix.PTRACE_EVENT_EXEC {
			t.replaced(tid, th)
		}
		signal = 0
	case signal == int(unix.SIGSTOP) && !known:
		signal = 0 // how a new thread begins
	}
	_ = t.resume(tid, th, signal)
}

// resume lets a thread go on to its next stop: behind the call that it is about to
// make, or before the next one.
func (t *tracer) resume(tid int, th *thread, signal int) error {
	if t.coarse || th.call != nil {
		return unix.PtraceSyscall(tid, signal)
	}
	return unix.PtraceCont(tid, signal)
}

// replaced is a process that runs another program now, under the number of its
// first thread, whichever called for it.
func (t *tracer) replaced(tid int, th *thread) {
	th.program, th.process = "", 0
	if former, err := unix.PtraceGetEventMsg(tid); err == nil && int(former) != tid {
		if old := t.threads[int(former)]; old != nil {
			th.call = old.call
			delete(t.threads, int(former))
		}
	}
}

func (t *tracer) atCall(tid int, th *thread) {
	info, err := syscallInfoOf(tid)
	if err != nil {
		return
	}
	switch info.op {
	case unix.PTRACE_SYSCALL_INFO_ENTRY, unix.PTRACE_SYSCALL_INFO_SECCOMP:
		t.before(tid, th, info)
	case unix.PTRACE_SYSCALL_INFO_EXIT:
		t.after(tid, th, info)
	}
}

func (t *tracer) before(tid int, th *thread, info syscallInfo) {
	nr := info.data[0]
	c, known := t.calls[nr]
	th.call = nil
	if th.again != nil && th.again.nr == nr {
		th.call, th.again = th.again, nil
		return
	}
	if !known {
		return
	}
	if th.program == "" {
		th.program, _ = os.Readlink(proc(tid) + "/exe")
	}
	if th.process == 0 {
		th.process = processOf(tid)
	}
	made := Call{Name: c.name, Path: c.path(tid, info.args()), Program: th.program, PID: tid, Child: th.process != t.root, Args: info.args()}
	kind := t.Kind(made)
	if kind == "" {
		return
	}
	t.end.Points++
	key := c.name + " " + kind
	t.seen[key]++
	p := &pending{nr: nr, point: Point{Call: made, Kind: kind, N: t.end.Points, Seq: t.seen[key]}}
	th.call = p
	if t.Before != nil {
		p.action = t.Before(p.point)
	}
	switch {
	case p.action.alone && th.process != t.root:
		_ = unix.Kill(th.process, unix.SIGKILL)
	case p.action.kill:
		t.end.Killed = true
		t.killAll()
	case p.action.errno != 0 && !p.action.after:
		_ = skipCall(tid)
	}
}

// The numbers by which the kernel says to itself that a call, interrupted by a
// signal, is to be made again.
const (
	restartSys   = 512
	restartNoInt = 513
	restartNever = 514
	restartBlock = 516
)

func (t *tracer) after(tid int, th *thread, info syscallInfo) {
	p := th.call
	if p == nil {
		return
	}
	th.call = nil
	result := -int64(info.data[0])
	if !info.failed() {
		result = 0
	}
	switch result {
	case restartSys, restartNoInt, restartNever, restartBlock:
		if p.action.errno == 0 {
			th.again = p
			return
		}
	}
	errno := syscall.Errno(result)
	if p.action.errno != 0 {
		errno = p.action.errno
		_ = setResult(tid, -int64(errno))
	}
	if t.After != nil {
		t.After(p.point, errno)
	}
}

// syscallInfo is the kernel's struct ptrace_syscall_info.
type syscallInfo struct {
	op   uint8
	_    [3]uint8
	arch uint32
	_    [2]uint64 // where the program stands
	data [8]uint64 // before: number and arguments; after: result, and whether it is an error
}

func (i syscallInfo) args() [6]uint64 { return [6]uint64(i.data[1:7]) }
func (i syscallInfo) failed() bool    { return i.data[1]&0xff != 0 }

func syscallInfoOf(tid int) (syscallInfo, error) {
	var info syscallInfo
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return info, errno
	}
	return info, nil
}

func proc(tid int) string { return "/proc/" + strconv.Itoa(tid) }

// processOf is the process that a thread is of, or the thread itself, where the kernel
// does not tell.
func processOf(tid int) int {
	status, _ := os.ReadFile(proc(tid) + "/status")
	for line := range strings.Lines(string(status)) {
		if number, ok := strings.CutPrefix(line, "Tgid:"); ok {
			if process, err := strconv.Atoi(strings.TrimSpace(number)); err == nil {
				return process
			}
		}
	}
	return tid
}

// path is what a call is about.
func (c call) path(tid int, args [6]uint64) string {
	name := ""
	if c.str != none {
		var ok bool
		if name, ok = cString(tid, uintptr(args[c.str])); !ok {
			return ""
		}
		if filepath.IsAbs(name) {
			return filepath.Clean(name)
		}
	}
	base := ""
	switch {
	case c.fd != none:
		base = descriptor(tid, int32(args[c.fd]))
	case c.str != none:
		base = descriptor(tid, unix.AT_FDCWD)
	}
	if name == "" || base == "" {
		return base // the descriptor itself is meant, or nothing
	}
	return filepath.Join(base, name)
}

// descriptor is what a descriptor of the thread stands for.
func descriptor(tid int, fd int32) string {
	name := proc(tid) + "/cwd"
	if fd != unix.AT_FDCWD {
		name = proc(tid) + "/fd/" + strconv.Itoa(int(fd))
	}
	target, _ := os.Readlink(name)
	return target
}

// cString reads a name from the memory of a thread.
func cString(tid int, at uintptr) (string, bool) {
	if at == 0 {
		return "", true
	}
	var out []byte
	for len(out) < unix.PathMax {
		// To the end of its page, since the next one may not be there.
		buf := make([]byte, min(256, 4096-at%4096))
		local := []unix.Iovec{{Base: &buf[0]}}
		local[0].SetLen(len(buf))
		n, err := unix.ProcessVMReadv(tid, local, []unix.RemoteIovec{{Base: at, Len: len(buf)}}, 0)
		if err != nil || n <= 0 {
			return "", false
		}
		for i, b := range buf[:n] {
			if b == 0 {
				return string(append(out, buf[:i]...)), true
			}
		}
		out = append(out, buf[:n]...)
		at += uintptr(n)
	}
	return "", false
}
