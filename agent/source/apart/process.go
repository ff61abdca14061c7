package apart

import (
	"errors"
	"fmt"
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
	said    words
	ended   chan struct{} // closed when it has ended and was buried
	kill    func()        // ends it, without waiting; more than once is fine
	given   atomic.Bool   // somebody gave up on it
}

// start starts the process. It must be killed.
func start() (*process, error) {
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
	p.opening, p.ranges = opening, ranges
	p.cmd = exec.Command("/proc/self/exe", Command) // also where the program's file was replaced by a newer one
	p.cmd.Args[0] = os.Args[0]
	p.cmd.Dir = "/"
	p.cmd.Env = []string{} // nil would be everything
	for _, name := range environment {
		if value, set := os.LookupEnv(name); set {
			p.cmd.Env = append(p.cmd.Env, name+"="+value)
		}
	}
	p.cmd.Stderr = &p.said
	p.cmd.ExtraFiles = []*os.File{openingFD - 3: theirOpening, rangesFD - 3: theirRanges}
	// A group of its own, so that nobody who waits for the agent's waits for it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	// What the agent was started with, by a shell for one, is not the process's.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		opening.Close()
		ranges.Close()
		return nil, err
	}
	p.kill = sync.OnceFunc(func() {
		_ = p.cmd.Process.Kill() // it has ended already, else
		opening.Close()
		ranges.Close()
	})
	return p, nil
}

// run starts the process and buries it when it ends, on one thread: the signal
// that ends it with the agent is bound to the thread that started it. If the
// kernel can't end it, nothing waits for it but this.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.ended)
	err := p.cmd.Start()
	started <- err
	if err == nil {
		_ = p.cmd.Wait() // how it ended is in its state
	}
}

// finish ends the process where it has done its work, and waits for that, since it
// takes no time unless the kernel holds it.
func (p *process) finish() {
	p.kill()
	if !p.given.Load() {
		p.wait()
	}
}

// abandon ends it, and leaves it behind however long that takes.
func (p *process) abandon() {
	p.given.Store(true)
	p.kill()
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
		return "it has not ended"
	}
	return printable.Text(fmt.Sprintf("%s %s", p.cmd.ProcessState, p.said.first()), mostText)
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

// words keeps the beginning of what the process wrote to its standard error, which
// is what the runtime says of a panic first.
type words struct {
	mu   sync.Mutex
	kept []byte
}

// Write takes all of b. It never fails.
func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = append(w.kept, b[:min(len(b), mostText-len(w.kept))]...)
	return len(b), nil
}

func (w *words) first() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.kept)
}
