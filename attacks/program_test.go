package attacks_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// memoryLimit is the most memory that the processes of a run may have together
	// at any moment, in KiB.
	memoryLimit = 64 << 10
	// patience is how long a run may take. It is no expectation: what hangs would
	// never end, and a slow machine must not fail for being slow.
	patience = 5 * time.Minute
)

// programs builds each kind of the program once.
type programs struct {
	dir   string
	build sync.Mutex
}

// program gives the path of the program as it is installed: without the race
// detector, which would cost more memory than what is looked for. buildTime is
// when it was built by its own word, which it takes for the least that a clock
// can show; empty: it has no idea. Where it can't be built the test says so.
func (p *programs) program(t testing.TB, buildTime string) string {
	t.Helper()
	p.build.Lock()
	defer p.build.Unlock()
	path := filepath.Join(p.dir, "agent"+strings.NewReplacer(":", "", "-", "").Replace(buildTime))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("SKIPPED: the Go tool is missing, and the program can't be built without it")
	}
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs", "-ldflags", "-s -w -X main.buildTime="+buildTime, "-o", path, "../cmd/agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOPROXY=off", "GOTOOLCHAIN=local")
	if out, err := cmd.CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("GOPROXY=off")) || bytes.Contains(out, []byte("permission denied")) {
			t.Skipf("SKIPPED: this user can't build the program (run it as the user who has the modules)\n%s", out)
		}
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// An ended run of the program.
type ended struct {
	exit           int
	stdout, stderr string
	memory         int   // what all of its processes together had at most, in KiB
	disk           int64 // the most that was seen below its root beside what was there, in bytes
}

// A running program.
type running struct {
	m              *machine
	cmd            *exec.Cmd // GNU time, and the program below it
	stdout, stderr bytes.Buffer
	account        string
	done           chan struct{} // closed at its end
	before, disk   int64         // below the root: when it began, and the most beside that
	children       int           // the most that the program was seen with at once
}

// start runs the program by GNU time, which is small: the kernel counts what a
// process had before it became the program, and this test has a lot.
func (m *machine) start(args ...string) *running {
	m.Helper()
	path, err := exec.LookPath("time")
	if err != nil {
		m.Skip("SKIPPED: GNU time is missing; get it with: apt-get install time")
	}
	r := &running{m: m, account: filepath.Join(m.TempDir(), "account"), done: make(chan struct{})}
	line := append([]string{"-q", "-f", "%M", "-o", r.account, m.program, "--root", m.root}, args...)
	r.cmd = exec.Command(path, line...)
	r.cmd.Env = append(os.Environ(), m.env...)
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.before = m.diskUsed(0)
	m.must(r.cmd.Start())
	go func() {
		_ = r.cmd.Wait() // what it says is looked at by who waits
		close(r.done)
	}()
	m.Cleanup(r.kill)
	return r
}

// kill ends the program as the kernel or a power button does, and all that it
// has started.
func (r *running) kill() {
	select {
	case <-r.done:
	default:
		_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) // it may have just ended
		<-r.done
	}
}

// program is the process of the program, 0 while there is none.
func (r *running) program() int {
	for _, pid := range childrenOf(r.cmd.Process.Pid) {
		return pid
	}
	return 0
}

// wait gives what came of the program. It watches its disk and its processes
// meanwhile.
func (r *running) wait() ended {
	r.m.Helper()
	deadline := time.After(patience)
	for {
		select {
		case <-r.done:
			e := ended{exit: r.cmd.ProcessState.ExitCode(), stdout: r.stdout.String(), stderr: r.stderr.String(), disk: r.disk}
			text, err := os.ReadFile(r.account)
			r.m.must(err)
			largest, err := strconv.Atoi(strings.TrimSpace(string(text)))
			r.m.must(err)
			// The kernel counts the largest of them, and not all at once. One child is too
			// quick to be always seen.
			e.memory = largest * (1 + max(1, r.children))
			return e
		case <-deadline:
			r.kill()
			r.m.Fatalf("the run has not ended by itself within %s\n%s%s", patience, &r.stdout, &r.stderr)
		case <-time.After(50 * time.Millisecond):
			r.disk = max(r.disk, r.m.diskUsed(r.program())-r.before)
			r.children = max(r.children, len(childrenOf(r.program())))
		}
	}
}

// diskUsed is how many bytes of disk there are below the root, and in files
// without a name that the process has open, 0 for none.
func (m *machine) diskUsed(program int) (sum int64) {
	_ = filepath.WalkDir(m.root, func(_ string, d fs.DirEntry, err error) error {
		if err == nil {
			sum += blocks(d.Info())
		}
		return nil // what has just been removed takes no room
	})
	fds, _ := filepath.Glob("/proc/" + strconv.Itoa(program) + "/fd/*")
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && strings.HasSuffix(target, " (deleted)") {
			sum += blocks(os.Stat(fd))
		}
	}
	return sum
}

// blocks is the room that a file takes.
func blocks(info fs.FileInfo, err error) int64 {
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

// childrenOf gives the children of a process, as far as they run. It
// asks each thread, since children belong to the one that started them.
func childrenOf(pid int) (children []int) {
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, path := range paths {
		text, _ := os.ReadFile(path) // the thread may have ended just now
		for _, field := range strings.Fields(string(text)) {
			// One that has ended and was not buried yet has no memory.
			size, err := os.ReadFile("/proc/" + field + "/statm")
			child, _ := strconv.Atoi(field)
			if err == nil && !bytes.HasPrefix(size, []byte("0 ")) {
				children = append(children, child)
			}
		}
	}
	return children
}

// run runs the program to its end and checks what holds for every run.
func (m *machine) run(args ...string) ended {
	m.Helper()
	e := m.start(args...).wait()
	m.checkRun(e, args)
	return e
}

func (m *machine) checkRun(e ended, args []string) {
	m.Helper()
	if e.memory > memoryLimit {
		m.Errorf("agent %s and its processes had up to %d KiB of memory together, at most %d are allowed", strings.Join(args, " "), e.memory, memoryLimit)
	}
	if e.disk > m.most {
		m.Errorf("agent %s had %d bytes on disk, at most %d are allowed", strings.Join(args, " "), e.disk, m.most)
	}
	for _, trace := range []string{"panic:", "goroutine ", "fatal error:"} {
		if strings.Contains(e.stderr, trace) {
			m.Errorf("agent %s crashed:\n%s", strings.Join(args, " "), e.stderr)
		}
	}
	m.peak.memory, m.peak.disk = max(m.peak.memory, e.memory), max(m.peak.disk, e.disk)
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
