package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What the program may cost while it has nothing to do. All of it is measured with
// the program as it is installed, since the race detector and the test binary cost
// far more than what is looked for.

// residentLimit is what the daemon may have at rest, in KiB.
const residentLimit = 20 << 10

// installed builds the program as it is installed. Where that is not possible, as
// for a user who has no access to the modules that it needs, the test says so.
func installed(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("SKIPPED: the Go tool is missing, and the program can't be built without it")
	}
	program := filepath.Join(t.TempDir(), "mdatp-agent")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs", "-ldflags", "-s -w", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOPROXY=off", "GOTOOLCHAIN=local")
	if out, err := cmd.CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("GOPROXY=off")) || bytes.Contains(out, []byte("permission denied")) {
			t.Skipf("SKIPPED: this user can't build the program (run it as the user who has the modules)\n%s", out)
		}
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

// updated is an endpoint that the daemon of a program has updated over HTTP by a
// package of 30 MB, and where nothing is due for hours.
func updated(t *testing.T, program string, watchdog time.Duration) *unit {
	t.Helper()
	m := newEndpoint(t)
	m.publish(6, 5<<20)
	m.configure(fmt.Sprintf(`,"metricsFile":%q`, filepath.Join(m.paths.State, "agent.prom")))
	u, env := m.manage(watchdog)
	cmd := m.command("--log-level", "info", "run")
	cmd.Path, cmd.Args[0] = program, program
	var log bytes.Buffer
	u.begin(cmd, env, &log)
	u.stderr = &log
	u.wait("STATUS=The next update is due at ")
	return u
}

// touching finds in strace's output each call that changes, or may change, a file. One
// that another thread interrupts has two lines, of which the first says what it is about.
func touching(trace string) (calls []string) {
	opened := regexp.MustCompile(`open(at2?)?\(.*O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)`)
	for line := range strings.Lines(trace) {
		if strings.Contains(line, " resumed>") {
			continue
		}
		if strings.Contains(line, "openat") || strings.Contains(line, "open(") {
			if !opened.MatchString(line) {
				continue
			}
		}
		calls = append(calls, strings.TrimSpace(line))
	}
	return calls
}

func TestTouching(t *testing.T) {
	t.Parallel()
	calls := slices.DeleteFunc(touching(`71 openat(AT_FDCWD, "/etc/a.json", O_RDONLY|O_CLOEXEC) = 5</etc/a.json>
71 write(4<anon_inode:[eventfd]>, "\1\0\0\0\0\0\0\0", 8 <unfinished ...>
72 fsync(6</var/b> <unfinished ...>
71 <... write resumed>)              = 8
72 <... fsync resumed>)              = 0
72 openat(AT_FDCWD, "/var/c", O_RDWR|O_CREAT|O_CLOEXEC, 0644 <unfinished ...>
71 write(3<socket:[41]>, "WATCHDOG=1", 10) = 10
72 <... openat resumed>)             = 7</var/c>
73 +++ exited with 0 +++
72 write(7</var/c>, "1", 1)          = 1
`), noFile)
	for i, about := range []string{"fsync(6</var/b>", `"/var/c", O_RDWR`, "write(7</var/c>"} {
		if len(calls) != 3 || !strings.Contains(calls[i], about) {
			t.Fatalf("call %d of 3 is not %s:\n%s", i+1, about, strings.Join(calls, "\n"))
		}
	}
}

// writers are the system calls that touch looks for: those that open files and
// those that change them. What is written to a terminal or a socket is not among them.
const writers = "trace=open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir," +
	"chmod,fchmod,fchmodat,chown,fchown,fchownat,utimensat,truncate,ftruncate,fallocate,fsync,fdatasync,sync,syncfs,sync_file_range"

// What a machine costs on which nothing is due: first the daemon, then, without it, a
// run of the timer's. Both are measured after one update by one program, since to
// build and to update takes longer than to look.
func TestNothingDue(t *testing.T) {
	strace := needs(t, "strace", "strace")
	program := installed(t)
	u := updated(t, program, 4*time.Second)
	t.Run("daemon", func(t *testing.T) { daemonAtRest(t, u, strace) })
	u.stop()
	t.Run("timer", func(t *testing.T) { notDue(t, u, program, strace) })
}

// daemonAtRest: the daemon at rest writes nothing and stays small.
func daemonAtRest(t *testing.T, u *unit, strace string) {
	const while = 10 * time.Second
	trace := filepath.Join(u.dir, "trace")
	cmd := exec.Command(strace, "-f", "-y", "-o", trace, "-e", writers+",write,pwrite64", "-p", strconv.Itoa(u.pid))
	var said bytes.Buffer
	cmd.Stderr = &said
	u.must(cmd.Start())
	time.Sleep(while)
	u.must(cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait() // strace ends by the signal that it was sent
	text, err := os.ReadFile(trace)
	if err != nil || strings.Contains(said.String(), "Operation not permitted") {
		t.Skipf("SKIPPED: processes can't be traced here (kernel.yama.ptrace_scope, or a container): %s", said.String())
	}
	looks := strings.Count(string(text), filepath.Base(u.paths.Managed))
	if looks < 3 {
		t.Errorf("it was seen to look at its configuration %d times in %s, so strace did not see it", looks, while)
	}
	if calls := slices.DeleteFunc(touching(string(text)), noFile); len(calls) > 0 {
		t.Errorf("it wrote while it had nothing to do:\n%s", strings.Join(calls, "\n"))
	}
	if kib := u.resident(); kib > residentLimit {
		t.Errorf("%d KiB are resident, want at most %d", kib, residentLimit)
	} else {
		t.Logf("%d KiB are resident after an update of 30 MB; %d looks at the configuration", kib, looks)
	}
}

// noFile tells a call that touches no file: a ping of the watchdog, or how the
// runtime wakes its own threads; and what strace says of signals and ends.
func noFile(call string) bool {
	return regexp.MustCompile(`write\(\d+<(socket:|anon_inode:\[eventfd)|--- SIG|\+\+\+ exited`).MatchString(call)
}

// resident is the process's resident memory in KiB.
func (u *unit) resident() int {
	u.Helper()
	return u.status("VmRSS")
}

// status reads a number from the kernel's account of the process.
func (u *unit) status(name string) int {
	u.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", u.pid))
	u.must(err)
	m := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+)`).FindSubmatch(text)
	if m == nil {
		u.Fatalf("no %s in %s", name, text)
	}
	n, err := strconv.Atoi(string(m[1]))
	u.must(err)
	return n
}

// notDue: a timer's run that is not due opens nothing for writing. How long it takes is
// shown.
func notDue(t *testing.T, u *unit, program, strace string) {
	run := func(wrap ...string) *exec.Cmd {
		cmd := u.command("definitions", "update", "--scheduled")
		cmd.Args = append(append(wrap, program), cmd.Args[1:]...)
		cmd.Path = cmd.Args[0]
		return cmd
	}
	trace := filepath.Join(u.dir, "trace")
	out, err := run(strace, "-f", "-o", trace, "-e", writers).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "Nothing to do, since the next update is due at ") {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(trace)
	u.must(err)
	if !strings.Contains(string(text), filepath.Base(u.paths.Managed)) {
		t.Fatalf("strace did not see it look at its configuration:\n%s", text)
	}
	calls := slices.DeleteFunc(touching(string(text)), noFile)
	if len(calls) > 0 {
		t.Errorf("it touched files:\n%s", strings.Join(calls, "\n"))
	}

	const runs = 50
	took := make([]time.Duration, runs)
	var sum time.Duration
	for i := range took {
		cmd := run()
		began := time.Now()
		u.must(cmd.Run())
		took[i] = time.Since(began)
		sum += took[i]
	}
	slices.Sort(took)
	// How long it takes depends on what else the machine does, and decides nothing here.
	t.Logf("%d runs: mean %s, median %s, least %s", runs, sum/runs, took[runs/2], took[0])
}
