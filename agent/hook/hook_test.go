package hook_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"golang.org/x/sys/unix"

	"mdatp-offline-agent/agent/hook"
)

// stop is within what a service must end, so that Run has to come back by then.
const stop = time.Second

// aSet is a set of the test's own, so that tests beside it don't share its marks.
func aSet(t *testing.T) hook.Set {
	return hook.Set{Dir: t.TempDir(), Definitions: "1.407.417.0", Engine: "1.1.24080.9", Previous: "1.407.416.0"}
}

// script is a hook that runs sh with that text. $D in it is the set's directory.
func script(text string) hook.Command {
	return hook.Command{Path: []string{"/bin/sh", "-c", "D=$AGENT_SET_DIR\n" + text}, Timeout: 20 * time.Second}
}

// run runs a hook and gives what was logged of it, too.
func run(t *testing.T, ctx context.Context, c hook.Command, s hook.Set) (hook.Verdict, *logrus.Entry, error) {
	t.Helper()
	log, logged := test.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	verdict, err := hook.Run(ctx, c, s, log)
	entries := logged.AllEntries()
	if len(entries) > 1 {
		t.Fatalf("%d lines were logged, not one", len(entries))
	}
	return verdict, logged.LastEntry(), err
}

// output is what the hook wrote, as logged.
func output(t *testing.T, entry *logrus.Entry) string {
	t.Helper()
	quoted, ok := entry.Data["output"].(string)
	if !ok {
		return ""
	}
	text, err := strconv.Unquote(quoted)
	if err != nil {
		t.Fatalf("the output is logged as %s, which is not quoted: %v", quoted, err)
	}
	return text
}

// wantFault wants err to be a fault with that sentence, and no verdict.
func wantFault(t *testing.T, verdict hook.Verdict, err error, sentence string) *hook.Fault {
	t.Helper()
	var fault *hook.Fault
	if !errors.As(err, &fault) {
		t.Fatalf("got verdict %d and error %v, want a fault", verdict, err)
	}
	if verdict != 0 || fault.Sentence != sentence || fault.Hint == "" {
		t.Fatalf("got verdict %d, %q with the hint %q, want none, %q and some hint", verdict, fault.Sentence, fault.Hint, sentence)
	}
	return fault
}

// alive tells whether a process runs; a zombie does not.
func alive(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(data, []byte(") Z"))
}

// pids reads the process ids that a script left in a file of the set's directory.
func pids(t *testing.T, s hook.Set) []int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.Dir, "pids"))
	if err != nil {
		t.Fatal(err)
	}
	var list []int
	for _, field := range strings.Fields(string(data)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, pid)
	}
	if len(list) == 0 {
		t.Fatal("the script wrote no process id down")
	}
	return list
}

// wantGone wants all processes that the script wrote down to have ended.
func wantGone(t *testing.T, s hook.Set) {
	t.Helper()
	for _, pid := range pids(t, s) {
		if alive(pid) {
			t.Errorf("process %d of the hook still runs", pid)
		}
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]hook.Verdict{"exit 0": hook.Good, "exit 1": hook.Condemned} {
		if got, _, err := run(t, t.Context(), script(text), aSet(t)); got != want || err != nil {
			t.Errorf("%s: got %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestEveryOtherEndIsAFault(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"exit 2":             "it ended with exit code 2",
		"exit 3":             "it ended with exit code 3",
		"exit 255":           "it ended with exit code 255",
		"no-such-program-xy": "it ended with exit code 127",
		"kill -TERM $$":      "it was killed by SIGTERM",
		"kill -KILL $$":      "it was killed by SIGKILL",
		"kill -SEGV $$":      "it was killed by SIGSEGV",
		"kill -40 $$":        "it was killed by signal 40",
	} {
		verdict, _, err := run(t, t.Context(), script(text), aSet(t))
		wantFault(t, verdict, err, want)
	}
}

// What can't be run. Not parallel: while another test forks, a script that was
// just written may still be open for writing in a child, and can't be run.
func TestCannotBeRun(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		path []string
		want string
		hint string
	}{
		"missing":             {[]string{filepath.Join(dir, "none")}, "it could not be run", "exists"},
		"directory":           {[]string{dir}, "it could not be run", "may execute"},
		"not executable":      {[]string{file("plain", "#!/bin/sh\nexit 0\n", 0o644)}, "it could not be run", "may execute"},
		"missing interpreter": {[]string{file("lost", "#!/no/such/interpreter\n", 0o755)}, "it could not be run", "interpreter"},
		"no interpreter":      {[]string{file("bare", "exit 0\n", 0o755)}, "it could not be run", "#!"},
		"null byte":           {[]string{"/bin/sh", "-c", "exit 0\x00"}, "it could not be run", "by hand"},
		"relative":            {[]string{"sh", "-c", "exit 0"}, "its program is not named by an absolute path", "absolute"},
		"below here":          {[]string{"./sh"}, "its program is not named by an absolute path", "absolute"},
		"empty":               {nil, "its program is not named by an absolute path", "absolute"},
	} {
		t.Run(name, func(t *testing.T) {
			verdict, _, err := run(t, t.Context(), hook.Command{Path: c.path, Timeout: time.Second}, aSet(t))
			if fault := wantFault(t, verdict, err, c.want); !strings.Contains(fault.Hint, c.hint) {
				t.Errorf("the hint %q does not speak of %q", fault.Hint, c.hint)
			}
		})
	}
	good := hook.Command{Path: []string{file("good", "#!/bin/sh\nexit 1\n", 0o755)}, Timeout: time.Second}
	if verdict, _, err := run(t, t.Context(), good, aSet(t)); verdict != hook.Condemned || err != nil {
		t.Errorf("a whole script: got %d, %v, want it to condemn", verdict, err)
	}
}

func TestEnvironmentIsExact(t *testing.T) {
	t.Parallel()
	s := aSet(t)
	_, entry, err := run(t, t.Context(), hook.Command{Path: []string{"/usr/bin/env"}, Timeout: time.Minute}, s)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"AGENT_DEFINITIONS_VERSION=1.407.417.0", "AGENT_ENGINE_VERSION=1.1.24080.9", "AGENT_PREVIOUS_VERSION=1.407.416.0",
		"AGENT_SET_DIR=" + s.Dir, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}
	got := strings.Split(strings.TrimSpace(output(t, entry)), "\n")
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("the environment is %q, want %q", got, want)
	}
}

func TestNoShell(t *testing.T) {
	t.Parallel()
	c := hook.Command{Path: []string{"/usr/bin/printf", "%s|", "$PATH", "a b;exit 1", "*"}, Timeout: time.Minute}
	_, entry, err := run(t, t.Context(), c, aSet(t))
	if got, want := output(t, entry), "$PATH|a b;exit 1|*|"; got != want || err != nil {
		t.Errorf("the arguments came as %q, %v, want %q", got, err, want)
	}
}

func TestDirectoryInputAndGroup(t *testing.T) {
	t.Parallel()
	_, entry, err := run(t, t.Context(), script(`pwd; readlink /proc/self/fd/0; cat; read -r _ _ _ _ group _ </proc/$$/stat; [ "$group" = $$ ] && echo own`), aSet(t))
	if got, want := output(t, entry), "/\n/dev/null\nown\n"; got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// Not parallel: the descriptor without the flag would reach other tests' hooks.
func TestNoDescriptorIsInherited(t *testing.T) {
	fd, err := unix.Open(t.TempDir(), unix.O_RDONLY, 0) // as if from who started us: without the flag
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_, entry, err := run(t, t.Context(), hook.Command{Path: []string{"/bin/ls", "/proc/self/fd"}, Timeout: time.Minute}, aSet(t))
	// The fourth is the directory that ls itself reads.
	if got, want := output(t, entry), "0\n1\n2\n3\n"; got != want || err != nil {
		t.Errorf("the hook's descriptors are %q, %v, want %q", got, err, want)
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"sleeps":                  `echo $$ >$D/pids; exec sleep 100`,
		"ignores the signal":      `trap '' TERM; echo $$ >$D/pids; while :; do sleep 1; done`,
		"ends well when asked":    `trap 'exit 0' TERM; echo $$ >$D/pids; while :; do sleep 0.05; done`,
		"condemns when asked":     `trap 'exit 1' TERM; echo $$ >$D/pids; while :; do sleep 0.05; done`,
		"a child holds the pipe":  `(trap '' TERM; sleep 100) & echo $! >$D/pids; wait`,
		"is stopped":              `echo $$ >$D/pids; kill -STOP $$`,
		"a child left the group":  `setsid sleep 100 & echo $! >$D/pids; wait`,
		"writes without an end":   `echo $$ >$D/pids; exec yes`,
		"closed its output":       `exec >&- 2>&-; echo $$ >$D/pids; exec sleep 100`,
		"its children are many":   `for i in 1 2 3 4 5 6 7 8 9; do sleep 100 & echo $! >>$D/pids; done; wait`,
		"its child ignores it":    `sh -c "trap '' TERM; sleep 100" & echo $! >$D/pids; wait`,
		"it starts more and more": `echo $$ >$D/pids; trap '' TERM; while :; do sleep 100 & sleep 0.05; done`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := aSet(t), script(text)
			c.Timeout = 500 * time.Millisecond
			started := time.Now()
			verdict, _, err := run(t, t.Context(), c, s)
			wantFault(t, verdict, err, "it ran longer than 0.5 seconds")
			if took := time.Since(started); took > c.Timeout+stop {
				t.Errorf("it took %v", took)
			}
			wantGone(t, s)
		})
	}
}

// A hook is asked to end before it is killed, so that it can tidy up.
func TestTimeoutAsksFirst(t *testing.T) {
	t.Parallel()
	c := script(`exec 2>/dev/null; trap 'sleep 0.1; echo bye; exit 0' TERM; while :; do sleep 0.02; done`)
	c.Timeout = 300 * time.Millisecond
	verdict, entry, err := run(t, t.Context(), c, aSet(t))
	wantFault(t, verdict, err, "it ran longer than 0.3 seconds")
	if got := output(t, entry); got != "bye\n" {
		t.Errorf("it wrote %q, want what it says when it is asked", got)
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	s := aSet(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	var canceled time.Time
	timer := time.AfterFunc(300*time.Millisecond, func() { canceled = time.Now(); cancel(errors.New("some cause")) })
	defer timer.Stop()
	verdict, entry, err := run(t, ctx, script(`trap '' TERM; (setsid sleep 100) & echo $$ $! >$D/pids; while :; do sleep 1; done`), s)
	if verdict != 0 || err != context.Canceled {
		t.Errorf("got %d, %v, want the context's own error", verdict, err)
	}
	if took := time.Since(canceled); took > stop {
		t.Errorf("it took %v to stop", took)
	}
	if entry.Level != logrus.InfoLevel {
		t.Errorf("it is logged at level %v", entry.Level)
	}
	wantGone(t, s)
}

func TestInterruptedBefore(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := aSet(t)
	if verdict, _, err := run(t, ctx, script(`: >$D/ran`), s); verdict != 0 || err != context.Canceled {
		t.Errorf("got %d, %v, want the context's error", verdict, err)
	}
	if _, err := os.Stat(filepath.Join(s.Dir, "ran")); err == nil {
		t.Error("the hook ran")
	}
}

func TestLeftBehind(t *testing.T) {
	t.Parallel()
	fifty := `i=0; while [ $i -lt 50 ]; do sleep 100 & echo $! >>$D/pids; i=$((i+1)); done; `
	for name, text := range map[string]string{
		"with exit 0":          `sleep 100 >/dev/null 2>&1 & echo $! >$D/pids; exit 0`,
		"with exit 1":          `sleep 100 >/dev/null 2>&1 & echo $! >$D/pids; exit 1`,
		"with the output":      `sleep 100 & echo $! >$D/pids; exit 0`,
		"deaf to signals":      `(trap '' TERM HUP; echo $$ >$D/none; exec sleep 100) & echo $! >$D/pids; exit 0`,
		"in another session":   `setsid sleep 100 >/dev/null 2>&1 & echo $! >$D/pids; sleep 0.1; exit 0`,
		"as a daemon":          `setsid sh -c 'sleep 100 >/dev/null 2>&1 & echo $! >'$D/pids; exit 1`,
		"fifty":                fifty + "exit 0",
		"fifty in one session": `setsid sh -c "D=$D; ` + strings.ReplaceAll(fifty, "$", `\$`) + `exit 0"; exit 0`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := aSet(t)
			started := time.Now()
			verdict, _, err := run(t, t.Context(), script(text), s)
			wantFault(t, verdict, err, "it left processes behind")
			if took := time.Since(started); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			wantGone(t, s)
		})
	}
}

// A hook with a fault of its own is told that, whatever else it left.
func TestOwnFaultComesFirst(t *testing.T) {
	t.Parallel()
	s := aSet(t)
	verdict, _, err := run(t, t.Context(), script(`sleep 100 & echo $! >$D/pids; exit 7`), s)
	wantFault(t, verdict, err, "it ended with exit code 7")
	wantGone(t, s)
}

// Shells end before the processes that they write to; that is no fault.
func TestEndsALittleLater(t *testing.T) {
	t.Parallel()
	if verdict, _, err := run(t, t.Context(), script(`sleep 0.05 & exit 1`), aSet(t)); verdict != hook.Condemned || err != nil {
		t.Errorf("got %d, %v, want it to condemn", verdict, err)
	}
}

// What left the group and changed its environment is not known to be the hook's:
// that it holds the output is seen, but it lives on.
func TestUnknownProcessIsNotKilled(t *testing.T) {
	t.Parallel()
	s := aSet(t)
	verdict, _, err := run(t, t.Context(), script(`setsid env -i /bin/sleep 100 & echo $! >$D/pids; sleep 0.2; exit 1`), s)
	pid := pids(t, s)[0]
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	wantFault(t, verdict, err, "it left processes behind")
	if !alive(pid) {
		t.Error("a process was killed that is not known to be the hook's")
	}
}

// A process that was there before is not the hook's, even with the same
// environment; nor is a younger one with an environment that is only similar.
func TestOthersAreNotKilled(t *testing.T) {
	t.Parallel()
	s := aSet(t)
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "AGENT_SET_DIR=" + s.Dir,
		"AGENT_DEFINITIONS_VERSION=" + s.Definitions, "AGENT_ENGINE_VERSION=" + s.Engine, "AGENT_PREVIOUS_VERSION=" + s.Previous,
	}
	older := sleeper(t, env)
	time.Sleep(50 * time.Millisecond) // the kernel tells starts in steps of 10 ms
	started := filepath.Join(s.Dir, "started")
	younger := make(chan int, 1)
	go func() {
		defer close(younger)
		for range 500 {
			if _, err := os.Stat(started); err == nil {
				younger <- sleeper(t, env[:4])
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	verdict, _, err := run(t, t.Context(), script(`: >$D/started; setsid sleep 100 & echo $! >$D/pids; sleep 0.5; exit 0`), s)
	wantFault(t, verdict, err, "it left processes behind")
	wantGone(t, s)
	other, ok := <-younger
	if !ok || !alive(older) || !alive(other) {
		t.Errorf("a process was killed that the hook did not start: older %t, younger %t", alive(older), alive(other))
	}
}

// sleeper is a process of the test's own, which ends with the test.
func sleeper(t *testing.T, env []string) int {
	cmd := exec.Command("/bin/sleep", "100")
	cmd.Env, cmd.SysProcAttr = env, &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return 0
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd.Process.Pid
}

func TestOutputIsBounded(t *testing.T) {
	t.Parallel()
	_, entry, err := run(t, t.Context(), script(`yes 0123456789abcdef | head -c 50000000; echo; echo the end`), aSet(t))
	if err != nil {
		t.Fatal(err)
	}
	got := output(t, entry)
	if len(got) != 4096 || !strings.HasSuffix(got, "\nthe end\n") {
		t.Errorf("%d bytes are kept, which end with %q", len(got), got[max(0, len(got)-20):])
	}
	if dropped := entry.Data["outputDropped"]; dropped != int64(50000000+1+8-4096) {
		t.Errorf("%v bytes are said to be dropped", dropped)
	}
}

func TestClosedOutputIsNoFault(t *testing.T) {
	t.Parallel()
	verdict, entry, err := run(t, t.Context(), script(`echo early; exec >&- 2>&-; sleep 0.3; exit 1`), aSet(t))
	if got := output(t, entry); verdict != hook.Condemned || err != nil || got != "early\n" {
		t.Errorf("got %d, %v and the output %q, want it to condemn", verdict, err, got)
	}
}

// Whatever a hook writes is escaped in the log, and no part of an error.
func TestOutputIsEscaped(t *testing.T) {
	t.Parallel()
	for code, level := range map[int]logrus.Level{0: logrus.DebugLevel, 1: logrus.WarnLevel, 9: logrus.WarnLevel} {
		_, entry, err := run(t, t.Context(), script(fmt.Sprintf(`printf 'out\n'; printf '\033[31mEVIL\377\n' >&2; exit %d`, code)), aSet(t))
		if got, want := entry.Data["output"], `"out\n\x1b[31mEVIL\xff\n"`; got != want || entry.Level != level {
			t.Errorf("exit code %d is logged at level %v with %v, want %v and %s", code, entry.Level, got, level, want)
		}
		if err != nil && strings.Contains(err.Error(), "EVIL") {
			t.Errorf("the error %q holds what the hook wrote", err)
		}
	}
}

func TestMemoryIsLimited(t *testing.T) {
	t.Parallel()
	c := script(`sleep 0.3; x=$(head -c 100000000 /dev/zero | tr '\0' a); [ ${#x} = 100000000 ]`)
	if verdict, _, err := run(t, t.Context(), c, aSet(t)); verdict != hook.Good || err != nil {
		t.Fatalf("without a limit: %d, %v", verdict, err)
	}
	c.Memory = 64 << 20
	verdict, entry, err := run(t, t.Context(), c, aSet(t))
	var fault *hook.Fault
	if !errors.As(err, &fault) || verdict != 0 {
		t.Errorf("with 64 MiB: %d, %v, want a fault; it wrote %q", verdict, err, output(t, entry))
	}
}

// Limits hold for the hook and for what it starts.
func TestLimitsAreInherited(t *testing.T) {
	t.Parallel()
	c := script(`sleep 0.3; sh -c 'ulimit -d; ulimit -Hd; ulimit -Hc; cat /proc/self/oom_score_adj'`)
	c.Memory = 100 << 20
	_, entry, err := run(t, t.Context(), c, aSet(t))
	if got, want := output(t, entry), "102400\n102400\n0\n1000\n"; got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// A machine that runs hooks for years loses nothing to them. Not parallel: it
// counts what the whole process has.
func TestNothingIsLost(t *testing.T) {
	s := aSet(t)
	brief := script(`exec sleep 100`)
	brief.Timeout = time.Millisecond
	kinds := []hook.Command{
		script("exit 0"), script("exit 1"), script("exit 3"), script("kill -KILL $$"), script("echo some output"),
		{Path: []string{filepath.Join(s.Dir, "none")}, Timeout: time.Second},
		script("exec >&- 2>&-"), {Path: []string{"/bin/true"}, Timeout: time.Second, Memory: 64 << 20}, brief,
	}
	once := func(c hook.Command) { _, _, _ = run(t, t.Context(), c, s) }
	once(kinds[0]) // what Go opens once and keeps
	goroutines, descriptors := counts(t)
	for i := range 200 {
		once(kinds[i%len(kinds)])
	}
	once(script("sleep 100 & exit 0"))
	for range 100 { // what ended may take a moment to be gone
		if g, d := counts(t); g <= goroutines && d <= descriptors {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	g, d := counts(t)
	t.Errorf("there are %d goroutines and %d descriptors, after %d and %d", g, d, goroutines, descriptors)
}

func counts(t *testing.T) (goroutines, descriptors int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return runtime.NumGoroutine(), len(entries)
}
