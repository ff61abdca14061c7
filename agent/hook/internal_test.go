package hook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"golang.org/x/sys/unix"
)

func quiet() logrus.FieldLogger {
	log, _ := test.NewNullLogger()
	return log
}

// counting is a hook that notes each of its runs in a file, and then goes on as
// text says, with the number of the run in $n.
func counting(text string) Command {
	return Command{Path: []string{"/bin/sh", "-c", `echo x >>$AGENT_SET_DIR/runs; n=$(wc -l <$AGENT_SET_DIR/runs); ` + text}, Timeout: 10 * time.Second}
}

func runs(t *testing.T, dir string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "runs"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(data), "x")
}

func TestJudge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text    string
		verdict Verdict
		fault   string
		runs    int
	}{
		{"exit 0", Good, "", 1},
		{"exit 1", Condemned, "", 1},
		{"exit 3", 0, "it ended with exit code 3", 4},
		{"[ $n -gt 1 ] || exit 3", Good, "", 2},
		{"[ $n -gt 3 ] || kill -KILL $$; exit 1", Condemned, "", 4},
		{"exit $((n+1))", 0, "it ended with exit code 5", 4}, // the last one counts
	} {
		dir := t.TempDir()
		verdict, err := judge(t.Context(), counting(c.text), Set{Dir: dir}, quiet(), backoff.NewConstantBackOff(time.Millisecond))
		var fault *Fault
		if errors.As(err, &fault) != (c.fault != "") || fault != nil && fault.Sentence != c.fault {
			t.Errorf("%s: got the error %v, want %q", c.text, err, c.fault)
		}
		if n := runs(t, dir); verdict != c.verdict || n != c.runs {
			t.Errorf("%s: got %d after %d runs, want %d after %d", c.text, verdict, n, c.verdict, c.runs)
		}
	}
}

func TestJudgeIsInterrupted(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"in the wait": "exit 3", "in a run": "exec sleep 100"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			timer := time.AfterFunc(500*time.Millisecond, func() { cancel(errors.New("some cause")) })
			defer timer.Stop()
			dir, started := t.TempDir(), time.Now()
			verdict, err := judge(ctx, counting(text), Set{Dir: dir}, quiet(), backoff.NewConstantBackOff(time.Minute))
			if verdict != 0 || err != context.Canceled {
				t.Errorf("got %d, %v, want the context's own error", verdict, err)
			}
			if n, took := runs(t, dir), time.Since(started); n != 1 || took > 1500*time.Millisecond {
				t.Errorf("%d runs in %v", n, took)
			}
		})
	}
}

// The waits of Judge itself, with one of them waited for.
func TestJudgeWaits(t *testing.T) {
	t.Parallel()
	dir, started := t.TempDir(), time.Now()
	verdict, err := Judge(t.Context(), counting("[ $n -gt 1 ] || exit 3"), Set{Dir: dir}, quiet())
	if verdict != Good || err != nil || runs(t, dir) != 2 {
		t.Fatalf("got %d, %v after %d runs", verdict, err, runs(t, dir))
	}
	if took := time.Since(started); took < 700*time.Millisecond {
		t.Errorf("the second run came after %v, want about a second", took)
	}
}

func TestTail(t *testing.T) {
	whole := strings.Repeat("0123456789", 1000)
	for _, step := range []int{1, 7, tailBytes - 1, tailBytes, tailBytes + 1, len(whole)} {
		out := new(tail)
		for chunk := range slices.Chunk([]byte(whole), step) {
			if n, err := out.Write(chunk); n != len(chunk) || err != nil {
				t.Fatalf("a write of %d bytes gave %d, %v", len(chunk), n, err)
			}
		}
		if string(out.kept) != whole[len(whole)-tailBytes:] || out.dropped != int64(len(whole)-tailBytes) {
			t.Errorf("in steps of %d: %d bytes are kept and %d dropped", step, len(out.kept), out.dropped)
		}
	}
	if f := new(tail).fields(); len(f) != 0 {
		t.Errorf("no output is logged as %v", f)
	}
}

func TestParseStat(t *testing.T) {
	const rest = " 1 77 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4321 20"
	for _, c := range []struct {
		line string
		want stat
		bad  bool
	}{
		{"9 (sh) S" + rest, stat{77, 4321, false}, false},
		{"9 (a) Z (b) 1 2) R" + rest, stat{77, 4321, false}, false},
		{"9 (sh) Z" + rest, stat{77, 4321, true}, false},
		{"9 (sh) X" + rest, stat{77, 4321, true}, false},
		{"9 (sh) S 1 77", stat{}, true},
		{"9 (sh) S" + strings.Replace(rest, "77", "x", 1), stat{}, true},
		{"9 (sh) S" + strings.Replace(rest, "4321", "x", 1), stat{}, true},
		{"", stat{}, true},
	} {
		got, err := parseStat([]byte(c.line))
		if (err != nil) != c.bad || !c.bad && got != c.want {
			t.Errorf("%q: got %+v, %v", c.line, got, err)
		}
	}
}

// The kernel's own words for this process.
func TestReadStat(t *testing.T) {
	st, err := readStat(os.Getpid())
	if err != nil || st.group != syscall.Getpgrp() || st.born == 0 || st.dead {
		t.Errorf("got %+v, %v", st, err)
	}
	if _, err := readStat(1 << 30); err == nil {
		t.Error("a process that is not there has a stat")
	}
}

// begin starts a hook and sees that it ends with the test.
func begin(t *testing.T, text string) *process {
	t.Helper()
	p, err := start([]string{"/bin/sh", "-c", text}, Set{Dir: t.TempDir()}.environment())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := p.clear(0); err != nil {
			t.Error(err)
		}
		p.finishOutput()
		if _, err := p.reap(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// waitFor waits for n processes of the hook, or more.
func waitFor(t *testing.T, p *process, n int) []member {
	t.Helper()
	for range 500 {
		list, err := p.members()
		if err != nil {
			t.Fatal(err)
		}
		if len(list) >= n {
			return list
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the hook never had %d processes", n)
	return nil
}

// Processes that the hook started before the limits were set get them, too.
func TestConfineFindsAll(t *testing.T) {
	t.Parallel()
	p := begin(t, `sleep 100 & sleep 100 & setsid sleep 100 & exec sleep 100`)
	time.Sleep(100 * time.Millisecond) // for setsid to be another program
	list := waitFor(t, p, 4)
	const memory = 64 << 20
	if err := p.confine(memory); err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		var data, core unix.Rlimit
		if err := errors.Join(unix.Prlimit(m.pid, unix.RLIMIT_DATA, nil, &data), unix.Prlimit(m.pid, unix.RLIMIT_CORE, nil, &core)); err != nil {
			t.Fatal(err)
		}
		score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", m.pid))
		if data.Cur != memory || data.Max != memory || core.Max != 0 || string(score) != "1000\n" || err != nil {
			t.Errorf("%+v has %+v, %+v and %q, %v", m, data, core, score, err)
		}
	}
	if !slices.ContainsFunc(list, func(m member) bool { return m.escaped }) {
		t.Error("nobody left the group, which the test is about")
	}
}

// Nor does one escape that is started while the others get theirs.
func TestConfineKeepsUp(t *testing.T) {
	t.Parallel()
	const shells, each = 3, 60
	p := begin(t, strings.Repeat(fmt.Sprintf("(i=0; while [ $i -lt %d ]; do sleep 100 & i=$((i+1)); done; wait) & ", each), shells)+"wait")
	waitFor(t, p, 1+shells+1) // some; the others come meanwhile
	if err := p.confine(64 << 20); err != nil {
		t.Fatal(err)
	}
	for _, m := range waitFor(t, p, 1+shells+shells*each) {
		var data unix.Rlimit
		if err := unix.Prlimit(m.pid, unix.RLIMIT_DATA, nil, &data); err != nil || data.Max != 64<<20 {
			t.Errorf("process %d has the limit %d, %v", m.pid, data.Max, err)
		}
	}
}

func TestLimitNeverRaises(t *testing.T) {
	t.Parallel()
	p := begin(t, `exec sleep 100`)
	for _, step := range []struct {
		most    uint64
		changed bool
		want    uint64
	}{{64 << 20, true, 64 << 20}, {128 << 20, false, 64 << 20}, {32 << 20, true, 32 << 20}, {32 << 20, false, 32 << 20}} {
		changed, err := lower(p.pid, unix.RLIMIT_DATA, step.most)
		if err != nil || changed != step.changed {
			t.Errorf("to %d: changed %t, %v", step.most, changed, err)
		}
		var is unix.Rlimit
		if err := unix.Prlimit(p.pid, unix.RLIMIT_DATA, nil, &is); err != nil || is.Cur != step.want || is.Max != step.want {
			t.Errorf("to %d: it is %+v, %v", step.most, is, err)
		}
	}
}

// A limit that can't be set is a fault: here, for want of the right to.
func TestLimitIsRefused(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root may limit every process; run the tests as a plain user too")
	}
	p := &process{pid: 1} // root's, and so not ours to limit
	var fault *Fault
	if err := p.confine(1 << 20); !errors.As(err, &fault) || fault.Sentence != "its limits could not be set" || !errors.Is(err, syscall.EPERM) {
		t.Errorf("got %v, want a fault", err)
	}
}

func TestLimitOfWhatEnded(t *testing.T) {
	if changed, err := limit(1<<30, 1<<20); changed || err != nil {
		t.Errorf("got %t, %v, want nothing", changed, err)
	}
}

// A process that hangs in the kernel does not end when it is killed. None can be
// made to on purpose, so here one stands for it that nobody has killed yet.
func TestReapWaitsForNobody(t *testing.T) {
	t.Parallel()
	p, err := start([]string{"/bin/sleep", "100"}, Set{Dir: t.TempDir()}.environment())
	if err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	_, err = p.reap()
	var fault *Fault
	if !errors.As(err, &fault) || fault.Sentence != "it could not be killed" {
		t.Errorf("got %v, want a fault", err)
	}
	if took := time.Since(started); took > 100*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	p.signalGroup(syscall.SIGKILL)
	p.finishOutput()
	for range 300 { // and once it ends after all, it is no zombie for long
		if _, err := readStat(p.pid); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("nobody reaped the process after its end")
}

// The sentences are shown on one line, between quotes, and split by scripts.
func TestSentences(t *testing.T) {
	cause := errors.New("some \"cause\"\n : from outside")
	for _, err := range []error{
		notAbsolute(), notRun(cause), notLimited(cause), notWatched(cause), tooLong(1500 * time.Millisecond), notKilled(), leftBehind(),
		killedBy(syscall.SIGKILL), killedBy(syscall.Signal(50)),
	} {
		var fault *Fault
		if !errors.As(err, &fault) {
			t.Fatalf("%v is no fault", err)
		}
		for _, text := range []string{fault.Sentence, fault.Hint} {
			if text == "" || strings.ContainsAny(text, "\"\n") || strings.Contains(text, " : ") || strings.HasSuffix(text, ".") {
				t.Errorf("%q can not be shown", text)
			}
		}
		if fault.Err != nil && !strings.Contains(err.Error(), cause.Error()) {
			t.Errorf("%q hides the cause", err)
		}
	}
	if got := tooLong(time.Minute).(*Fault).Sentence; got != "it ran longer than 60 seconds" {
		t.Errorf("got %q", got)
	}
}
