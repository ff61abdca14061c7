package apart

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mdatp-offline-agent/printable"
)

// startPatience is how long a busy machine may take to start the process.
const startPatience = 5 * time.Minute

// lastWords is how long a process that was killed is waited for, so that nothing of
// it is left and the log can say how it ended. Who gave up on it does not wait.
const lastWords = time.Second

// environment are the variables that the process gets, where they are set: those
// of the runtime and the authorities of TLS. Proxies come with its orders.
var environment = []string{"SSL_CERT_FILE", "SSL_CERT_DIR", "GODEBUG", "GORACE"}

// process is the other end while it lives, seen from the agent.
type process struct {
	opening *net.UnixConn
	ranges  *net.UnixConn
	cmd     *exec.Cmd
	stderr  *os.File
	said    []byte        // the beginning of what came by it: of a panic, what the runtime says first
	ended   chan struct{} // closed when it has ended and was buried
	kill    func()        // ends it, without waiting; more than once is fine
	given   atomic.Bool   // somebody gave up on it

	mu     sync.Mutex
	buried bool // its number may be another's by now
}

// start starts a process for one of the sources that unended knows apart by name.
// It must be killed.
func start(unended *Unended, name string) (*process, error) {
	if Started() {
		return nil, errors.New("the program does not call apart.Serve where apart.Started says so")
	}
	p := &process{ended: make(chan struct{})}
	opening, theirOpening, err := pair(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	defer theirOpening.Close()
	ranges, theirRanges, err := pair(unix.SOCK_SEQPACKET)
	if err != nil {
		opening.Close()
		return nil, err
	}
	defer theirRanges.Close()
	stderr, theirStderr, err := os.Pipe()
	if err != nil {
		opening.Close()
		ranges.Close()
		return nil, err
	}
	defer theirStderr.Close()
	p.opening, p.ranges, p.stderr = opening, ranges, stderr
	p.cmd = exec.Command("/proc/self/exe", Command) // also where the program's file was replaced by a newer one
	p.cmd.Args[0] = os.Args[0]
	p.cmd.Dir = "/"
	p.cmd.Env = []string{} // nil would be everything
	for _, name := range environment {
		if value, set := os.LookupEnv(name); set {
			p.cmd.Env = append(p.cmd.Env, name+"="+value)
		}
	}
	p.cmd.Stderr = theirStderr
	p.cmd.ExtraFiles = []*os.File{openingFD - 3: theirOpening, rangesFD - 3: theirRanges}
	// A group of its own, so that nobody who waits for the agent's waits for it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	// What the agent was started with, by a shell for one, is not the process's.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	p.kill = sync.OnceFunc(func() {
		p.killGroup()
		opening.Close()
		ranges.Close()
	})
	unended.add(p, name)
	started := make(chan error)
	go func() {
		p.run(started)
		unended.remove(p)
		close(p.ended)
	}()
	if err := <-started; err != nil {
		opening.Close()
		ranges.Close()
		return nil, err
	}
	return p, nil
}

// run starts the process and buries it when it ends, on one thread: the signal
// that ends it with the agent is bound to the thread that started it. If the
// kernel can't end it, nothing waits for it but this.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer p.stderr.Close()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.said, _ = io.ReadAll(io.LimitReader(p.stderr, mostText))
	_, _ = io.Copy(io.Discard, p.stderr) // until it ends, or somebody gives up on it
	// Dead, but not yet buried, it keeps its number, which is that of its group.
	for unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	p.killGroup()
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Wait() // how it ended is in its state
	p.buried = true
}

// killGroup kills the process and whatever it might have started in its group.
func (p *process) killGroup() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.buried {
		_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL)
	}
}

// finish ends the process where it has done its work, and waits for that, since it
// takes no time unless the kernel holds it.
func (p *process) finish() {
	p.kill()
	if !p.given.Load() && p.wait() {
		return
	}
	p.abandon()
}

// abandon ends it, and leaves it behind however long that takes. Nothing more is
// heard of it.
func (p *process) abandon() {
	p.given.Store(true)
	p.kill()
	p.stderr.Close()
}

// wait gives false where the process does not end.
func (p *process) wait() bool {
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-p.ended:
		return true
	case <-timer.C:
		return false
	}
}

// end tells how the process ended, for a log.
func (p *process) end() string {
	if !p.wait() {
		p.abandon()
		return "it has not ended"
	}
	return printable.Text(fmt.Sprintf("%s %s", p.cmd.ProcessState, p.said), mostText)
}

// dial gives a new stream to the process.
func (p *process) dial() (*net.UnixConn, error) {
	ours, theirs, err := pair(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	p.ranges.SetWriteDeadline(time.Now().Add(startPatience))
	if _, _, err := p.ranges.WriteMsgUnix([]byte{0}, unix.UnixRights(int(theirs.Fd())), nil); err != nil {
		ours.Close()
		return nil, err
	}
	return ours, nil
}

// pair makes two connected sockets, one to use and one to give away.
func pair(kind int) (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	theirs := os.NewFile(uintptr(fds[1]), "given away")
	ours, err := inherited(uintptr(fds[0]))
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}
