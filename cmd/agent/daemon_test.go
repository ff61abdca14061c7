package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sirupsen/logrus"
)

// The service manager hears what the daemon does, in words, and that it lives.
func TestServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	const watchdog = 2 * time.Second
	m := newEndpoint(t)
	m.publish(2, 1<<20)
	began := time.Now()
	u := m.start(watchdog)
	u.wait("STATUS=No periodic updates, since this machine was never configured for updates")
	if first := u.all()[0]; first != "READY=1" {
		t.Errorf("the first word is %q", first)
	}
	m.configure(`,"maxDownloadRate":1048576`)
	u.wait("STATUS=Fetching definitions 1.1.1.0")
	u.wait("STATUS=The next update is due at ")
	m.write(m.paths.Managed, "{", 0o644)
	u.wait("; config_invalid: ")
	m.configure("")
	u.reloads()
	if gap := u.longest(began.Add(watchdog), time.Now()); gap > watchdog {
		t.Errorf("no ping of the watchdog for %s", gap)
	}
	u.stop()
	log := u.logged()
	for _, text := range []string{"the configuration has changed", "the update is done", "the configuration is broken", "the configuration is good again", "read again, as asked for", "the daemon has stopped"} {
		if !strings.Contains(log, text) {
			t.Errorf("the log does not say %q:\n%s", text, log)
		}
	}
	if strings.Contains(log, "<6>") {
		t.Errorf("there is no journal, and yet levels for it:\n%s", log)
	}
}

// reloads checks what a reload tells, as systemd's notify-reload wants to hear it.
func (u *unit) reloads() {
	u.Helper()
	var before unix.Timespec
	u.must(unix.ClockGettime(unix.CLOCK_MONOTONIC, &before))
	u.signal(syscall.SIGHUP)
	parts := regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=(\d+)\n?$`).FindStringSubmatch(u.wait("RELOADING=1"))
	if parts == nil {
		u.Fatalf("RELOADING came with something else: %q", u.all())
	}
	at, err := strconv.ParseInt(parts[1], 10, 64)
	u.must(err)
	if late := time.Duration(at*1000 - before.Nano()); late < 0 || late > soon {
		u.Errorf("the time of the reload is off by %s", late)
	}
	u.wait("READY=1")
}

// In the middle of a transfer the daemon stops within a second, and the next one
// goes on behind what came.
func TestStopsInTheMiddleOfATransfer(t *testing.T) {
	t.Parallel()
	m := newEndpoint(t)
	const size, rate = 6 << 20, 1 << 20
	m.publish(1, size)
	m.configure(fmt.Sprintf(`,"maxDownloadRate":%d`, rate))
	u := m.start(time.Minute)
	u.wait("STATUS=Fetching definitions")
	time.Sleep(2500 * time.Millisecond)
	u.stop()
	m.configure("")
	m.served.Store(0)
	again := m.start(time.Minute)
	again.wait("STATUS=The next update is due at")
	again.stop()
	if got := m.served.Load(); got > size-rate {
		t.Errorf("%d bytes came for a package of %d that had begun to come", got, size)
	}
	if log := again.logged(); !strings.Contains(log, " resumed=true ") {
		t.Errorf("the log does not say that it went on:\n%s", log)
	}
}

// In the middle of a hook the daemon stops within a second, leaves no process of
// the hook's behind, and the next one lets the hook see the set again.
func TestStopsInTheMiddleOfAHook(t *testing.T) {
	t.Parallel()
	m := newEndpoint(t)
	m.publish(1, 1000)
	hook, pid := filepath.Join(m.dir, "hook"), filepath.Join(m.dir, "hook.pid")
	m.write(hook, "#!/bin/sh\necho $$ >"+pid+".new; mv "+pid+".new "+pid+"; sleep 600\n", 0o755)
	m.configure(fmt.Sprintf(`,"hooks":{"preload":{"command":[%q],"timeoutSeconds":600}}`, hook))
	u := m.start(time.Minute)
	u.wait("STATUS=Testing definitions 1.1.1.0 with the preload hook")
	var text []byte
	for deadline := time.Now().Add(soon); text == nil; time.Sleep(10 * time.Millisecond) {
		text, _ = os.ReadFile(pid)
		if time.Now().After(deadline) {
			t.Fatal("the hook never ran")
		}
	}
	u.stop()
	group, err := strconv.Atoi(strings.TrimSpace(string(text)))
	m.must(err)
	if left := groupMembers(t, group); len(left) > 0 {
		t.Errorf("processes of the hook are left: %q", left)
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
	m.write(hook, "#!/bin/sh\nexit 0\n", 0o755)
	again := m.start(time.Minute)
	again.wait("STATUS=Testing definitions 1.1.1.0 with the preload hook")
	again.wait("STATUS=The next update is due at")
	again.stop()
	if _, err := os.Stat(filepath.Join(m.paths.Engine, "current", "file0.vdm")); err != nil {
		t.Error(err)
	}
}

// groupMembers gives the stat lines of the processes of a group, less those that
// are dead and wait for whoever has to take note of that.
func groupMembers(t *testing.T, group int) (left []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ") // state, parent, group
		if f := strings.Fields(rest); len(f) > 2 && f[2] == strconv.Itoa(group) && f[0] != "Z" {
			left = append(left, string(text))
		}
	}
	return left
}

// A disk that takes long over each sync is no reason for the watchdog to bite, be
// it over the definitions, the state, or the copy of the configuration.
func TestWatchdogAndSlowSyncs(t *testing.T) {
	t.Parallel()
	strace := needs(t, "strace", "strace")
	const watchdog, sync = 600 * time.Millisecond, 800 * time.Millisecond
	m := newEndpoint(t)
	m.publish(1, 1000)
	trace := filepath.Join(m.dir, "trace")
	u := m.start(watchdog, strace, "-f", "-o", trace, "-e", "trace=fsync", "-e", fmt.Sprintf("inject=fsync:delay_enter=%d", sync.Microseconds()))
	u.wait("READY=1")
	began := time.Now()
	m.configure("")
	for deadline := began.Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		said := u.all()
		if strings.Contains(said[len(said)-1], "The next update is due at") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the update does not end: %q", said)
		}
	}
	took, gap := time.Since(began), u.longest(began, time.Now())
	text, err := os.ReadFile(trace)
	m.must(err)
	syncs := strings.Count(string(text), "(DELAYED)")
	if syncs < 5 || took < 5*sync {
		t.Fatalf("%d slow syncs in %s; the test is about many", syncs, took)
	}
	// A slow machine may keep a ping back, but if it waited for the syncs, there would be
	// none from the first to the last of them.
	if gap > took/2 {
		t.Errorf("no ping for %s, while %d syncs took %s", gap, syncs, took)
	}
	t.Logf("%d syncs in %s, and no more than %s between two pings", syncs, took.Round(time.Second), gap.Round(time.Millisecond))
	u.stop()
}

// Where stderr is the journal's stream, each line has its level in front.
func TestJournalLevels(t *testing.T) {
	t.Parallel()
	m := newEndpoint(t)
	m.configure("")
	for _, format := range []string{"text", "json"} {
		for _, ours := range []bool{true, false} {
			journal, err := os.Create(filepath.Join(m.dir, fmt.Sprint("journal-", format, ours)))
			m.must(err)
			defer journal.Close()
			var st syscall.Stat_t
			m.must(syscall.Fstat(int(journal.Fd()), &st))
			if !ours {
				st.Ino++ // the variable was inherited, and stderr is another file
			}
			u, env := m.manage(time.Minute)
			u.begin(m.command("--log-level", "info", "--log-format", format, "run"), append(env, fmt.Sprintf("JOURNAL_STREAM=%d:%d", st.Dev, st.Ino)), journal)
			u.wait("STATUS=The next update is due at") // after one that failed, since there is no package
			m.write(m.paths.Managed, "{", 0o644)
			u.wait("config_invalid")
			m.configure("")
			u.stop()
			text, err := os.ReadFile(journal.Name())
			m.must(err)
			wantLevels(t, string(text), ours)
			m.must(os.RemoveAll(m.paths.State))
		}
	}
}

// wantLevels checks that lines have the levels of the journal, or none.
func wantLevels(t *testing.T, log string, journal bool) {
	t.Helper()
	infos, errors := 0, 0
	for line := range strings.Lines(log) {
		isError := strings.Contains(line, "the update failed") || strings.Contains(line, "the configuration is broken")
		want := "<6>"
		if isError {
			want = "<3>"
			errors++
		} else {
			infos++
		}
		if strings.HasPrefix(line, want) != journal || !journal && strings.HasPrefix(line, "<") {
			t.Errorf("a journal: %v, and the line %q", journal, line)
		}
	}
	if infos < 3 || errors < 2 {
		t.Errorf("%d lines of level info and %d of level error:\n%s", infos, errors, log)
	}
}

// An entry of several lines is several lines of the journal, each with its level.
func TestJournalLines(t *testing.T) {
	t.Parallel()
	f := journalFormat{&logrus.TextFormatter{DisableColors: true, DisableTimestamp: true, DisableQuote: true}}
	for level, want := range map[logrus.Level]string{
		logrus.ErrorLevel: "<3>level=error msg=one\n<3>two\n<3>three\n",
		logrus.WarnLevel:  "<4>level=warning msg=one\n<4>two\n<4>three\n",
		logrus.InfoLevel:  "<6>level=info msg=one\n<6>two\n<6>three\n",
		logrus.DebugLevel: "<7>level=debug msg=one\n<7>two\n<7>three\n",
		logrus.FatalLevel: "<2>level=fatal msg=one\n<2>two\n<2>three\n",
	} {
		got, err := f.Format(&logrus.Entry{Logger: logrus.New(), Level: level, Message: "one\ntwo\nthree"})
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", level, got, err, want)
		}
	}
}

// Beside a daemon whose transfer is under way, an update by hand is told so, and
// nothing is asked for twice.
func TestByHandBesideTheDaemon(t *testing.T) {
	t.Parallel()
	m := newEndpoint(t)
	const size = 4 << 20
	m.publish(1, size)
	m.configure(`,"maxDownloadRate":1048576`)
	u := m.start(time.Minute)
	u.wait("STATUS=Fetching definitions")
	time.Sleep(500 * time.Millisecond)
	asked := m.asked.Load()
	out, _ := m.command("definitions", "update").CombinedOutput()
	if want := fmt.Sprintf("agent: busy: process %d is updating since ", u.pid); !strings.HasPrefix(string(out), want) {
		t.Errorf("by hand: %s", out)
	}
	out, _ = m.command("definitions", "update", "--scheduled").CombinedOutput()
	if want := "Nothing to do, since the daemon runs, and updates when that is due\n"; string(out) != want {
		t.Errorf("by a timer: %s", out)
	}
	if now := m.asked.Load(); now != asked {
		t.Errorf("%d requests more", now-asked)
	}
	out, err := m.command("definitions", "update", "--wait", "1m").CombinedOutput()
	if err != nil || string(out) != "Security intelligence is up to date\n" {
		t.Errorf("by hand, with patience: %v\n%s", err, out)
	}
	if got := m.served.Load(); got > size+128<<10 {
		t.Errorf("%d bytes for one package of %d", got, size)
	}
	u.stop()
}
