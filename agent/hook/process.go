package hook

import (
	"context"
	"io"
	"math"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How long things take at most. Together they stay well below the second in
// which a service is expected to stop.
const (
	grace    = 300 * time.Millisecond // between asking a hook to end and killing it
	patience = 200 * time.Millisecond // for what a hook started to end by itself, just after it
	drain    = 100 * time.Millisecond // for the rest of the output
)

// process is a hook that was started.
type process struct {
	cmd    *exec.Cmd
	pid    int    // of the main process, and of its group
	born   uint64 // when it started, in the kernel's ticks
	reader *os.File
	output *tail
	read   chan struct{} // closed when all output was read
	ended  chan struct{} // closed when the main process ended; it keeps its pid until reap
}

// start runs path with that environment and no other, in a group of its own.
func start(path, environment []string) (*process, error) {
	if err := keepDescriptors(); err != nil {
		return nil, err
	}
	// A pipe of our own, since exec.Cmd can't tell that somebody still holds its
	// pipe when the exit code is not zero.
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer writer.Close()
	cmd := &exec.Cmd{
		Path: path[0], Args: path, Env: environment, Dir: "/", Stdout: writer, Stderr: writer,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	if err := cmd.Start(); err != nil {
		reader.Close()
		return nil, err
	}
	p := &process{
		cmd: cmd, pid: cmd.Process.Pid, born: birth(cmd.Process.Pid), reader: reader, output: new(tail),
		read: make(chan struct{}), ended: make(chan struct{}),
	}
	go p.listen()
	go p.await()
	return p, nil
}

// birth is when a process that nobody has reaped started. Where that can't be
// seen, nothing is known to be younger.
func birth(pid int) uint64 {
	st, err := readStat(pid)
	if err != nil {
		return math.MaxUint64
	}
	return st.born
}

// keepDescriptors sees to it that no descriptor of this process reaches a hook.
// Those that Go opened never do, but who started us may have left us others.
func keepDescriptors() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd) // one that was closed meanwhile needs nothing
		}
	}
	return nil
}

// listen reads the output to its end, or until reader is closed.
func (p *process) listen() {
	defer close(p.read)
	_, _ = io.Copy(p.output, p.reader) // what was read is what there is to log
}

// await waits for the main process and leaves it a zombie. As long as it is one,
// the kernel gives the group's number to nobody else.
func (p *process) await() {
	defer close(p.ended)
	for unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// run sees a hook to its end, whatever that is, and leaves nothing of it.
func (p *process) run(ctx context.Context, c Command) (Verdict, error) {
	stopped := p.confine(c.Memory)
	if stopped == nil {
		stopped = p.watch(ctx, c.Timeout)
	}
	wait := patience
	if stopped != nil {
		p.terminate()
		wait = 0
	}
	left, watched := p.clear(wait)
	held := !p.finishOutput()
	state, killed := p.reap()
	switch {
	case stopped != nil:
		return 0, stopped
	case watched != nil:
		return 0, watched
	case killed != nil:
		return 0, killed
	}
	v, err := verdict(state)
	if err == nil && (left || held) {
		return 0, leftBehind()
	}
	return v, err
}

// watch waits for the end of the main process. It gives nil then, and else why
// the hook has to be stopped.
func (p *process) watch(ctx context.Context, timeout time.Duration) error {
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	select {
	case <-p.ended:
		return nil
	case <-limit.C:
		return tooLong(timeout)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// terminate asks the whole group to end, and gives the main process a little time
// for it. What is left then is for clear to kill.
func (p *process) terminate() {
	p.signalGroup(syscall.SIGTERM)
	closedWithin(p.ended, grace)
}

// signalGroup needs no answer: a group of nobody but the zombie can't be helped.
func (p *process) signalGroup(signal syscall.Signal) { _ = syscall.Kill(-p.pid, signal) }

// finishOutput tells whether the output came to its end. Where somebody still
// holds it, no more is read.
func (p *process) finishOutput() bool {
	whole := closedWithin(p.read, drain)
	p.reader.Close()
	<-p.read
	return whole
}

// reap takes the exit code. A process that even SIGKILL does not end, since it
// hangs in the kernel, is reaped by nobody waiting for it.
func (p *process) reap() (*os.ProcessState, error) {
	if !closedWithin(p.ended, 0) {
		go func() {
			<-p.ended
			_ = p.cmd.Wait()
		}()
		return nil, notKilled()
	}
	if err := p.cmd.Wait(); p.cmd.ProcessState == nil { // an exit code other than 0 comes with a state
		return nil, notWatched(err)
	}
	return p.cmd.ProcessState, nil
}

// closedWithin tells whether done is closed, waiting for it as long as limit.
func closedWithin(done <-chan struct{}, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
	}
	select { // both may have been ready
	case <-done:
		return true
	default:
		return false
	}
}
