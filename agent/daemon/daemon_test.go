package daemon_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/daemon"
	"mdatp-offline-agent/agent/source/sourcetest"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
)

// live is a machine in real time: its files are watched, its mirror is a server.
type live struct {
	*site
	url    string // of the mirror; each ring is a directory below it
	asked  atomic.Int64
	answer atomic.Pointer[http.HandlerFunc] // what answers in place of the mirror; nil: the mirror
	log    *test.Hook
	reload chan os.Signal
	ended  chan agent.Result
	end    func() error // ends the daemon

	mu    sync.Mutex
	told  []string // to the service manager, less the watchdog
	turns int      // of the loop, as the watchdog saw them
}

func newLive(t *testing.T) *live {
	t.Helper()
	l := &live{site: newSite(t)}
	logger, hook := test.NewNullLogger()
	logger.SetLevel(logrus.DebugLevel)
	l.agent.Log, l.log = logger, hook
	l.ring = filepath.Join(filepath.Dir(l.agent.Paths.Root), "mirror", "one", "production")
	files := mirror.Handler(filepath.Dir(filepath.Dir(l.ring)), nil)
	must(t, os.MkdirAll(l.ring, 0o755))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.asked.Add(1)
		if f := l.answer.Load(); f != nil {
			(*f)(w, r)
			return
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	l.url = server.URL
	return l
}

// other is another ring of the same mirror.
func (l *live) other() string {
	return filepath.Join(filepath.Dir(filepath.Dir(l.ring)), "two", "production")
}

// configure names a ring of the mirror, one or two, and more of the section agent.
func (l *live) configure(ring, more string) {
	l.Helper()
	l.put(fmt.Sprintf(`{"antivirusEngine":{"offlineDefinitionUpdate":"enabled","offlineDefinitionUpdateUrl":"%s/%s/production"},
		"cloudService":{"definitionUpdatesInterval":%d},"agent":{"jitter":0%s}}`, l.url, ring, int(interval.Seconds()), more))
}

// put replaces the configuration as a whole, so that nobody sees half of it.
func (l *live) put(text string) {
	l.Helper()
	l.write(l.agent.Paths.Managed+".new", text)
	must(l, os.Rename(l.agent.Paths.Managed+".new", l.agent.Paths.Managed))
}

// publish puts a newer package with little in it into a ring.
func (l *live) publish(ring string) { l.Helper(); l.publishLarge(ring, 1000) }

// publishLarge puts one into it that takes a while at a low rate. Each is issued a
// second after the one before, and long ago: what a server had written just now
// would get no entity tag that anybody relies on.
func (l *live) publishLarge(ring string, size int) {
	l.Helper()
	l.n++
	noise := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(l.n)}).Read(noise) // it never fails
	files := l.TempDir()
	l.write(filepath.Join(files, "base.vdm"), string(noise))
	long := l.begun.Add(time.Duration(l.n)*time.Second - time.Hour)
	zip := filepath.Join(ring, "arch_x86_64", "updates.zip")
	_, err := mirror.Build(context.Background(), zip, mirror.BuildOptions{Dir: files, Product: "mdatp", Platform: "linux", Arch: "x86_64", Rings: []string{"production"},
		Engine: verifier.Version{1, 1, 1, 1}, Definition: verifier.Version{1, 1, l.n, 0}, Issued: long, Now: l.now()}, &l.signer)
	must(l, err)
	must(l, os.Chtimes(zip, long, long))
}

// begin starts the daemon.
func (l *live) begin() {
	l.Helper()
	watcher, err := daemon.NewWatcher(l.agent.Paths.Root, l.agent.Paths.Managed, l.agent.Paths.Local)
	must(l, err)
	l.reload, l.ended = make(chan os.Signal, 1), make(chan agent.Result, 1000)
	d := &daemon.Daemon{Agent: l.agent, Log: l.agent.Log, Changes: watcher.Changes(), Reload: l.reload, Notify: l.notify, Watchdog: time.Minute, Ended: func(r agent.Result) { l.ended <- r }}
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- d.Run(ctx) }()
	l.end = sync.OnceValue(func() error {
		cancel()
		err := <-result
		must(l, watcher.Close())
		return err
	})
	l.Cleanup(func() { must(l, l.end()) })
}

// notify is the service manager.
func (l *live) notify(state string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if state == "WATCHDOG=1" {
		l.turns++
		return
	}
	l.told = append(l.told, state)
}

// turned is how often the loop has turned.
func (l *live) turned() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.turns
}

// doing is the last STATUS.
func (l *live) doing() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.told) - 1; i >= 0; i-- {
		if text, ok := strings.CutPrefix(l.told[i], "STATUS="); ok {
			return text
		}
	}
	return ""
}

// patience is how long the tests wait for what the daemon does, updates included, on a
// machine that may be busy. How soon it notices a change is for the watcher's tests.
const patience = 30 * time.Second

// until waits for something that a daemon does by itself, and in time.
func (l *live) until(what string, ok func() bool) {
	l.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.Fatalf("not within %s: %s; the daemon says %q, the log %q", patience, what, l.doing(), l.logged(logrus.InfoLevel))
		}
	}
}

func (l *live) untilDoing(text string) {
	l.Helper()
	l.until("it says "+text, func() bool { return strings.Contains(l.doing(), text) })
}

// next waits for the end of an update, which has to come in time.
func (l *live) next(outcome agent.Outcome, ring string) agent.Result {
	l.Helper()
	select {
	case r := <-l.ended:
		if r.Outcome != outcome || ring != "" && r.Source != l.url+"/"+ring+"/production" {
			l.Fatalf("%s from %q, %v; want %s from %q", r.Outcome, r.Source, r.FailReason, outcome, ring)
		}
		return r
	case <-time.After(patience):
		l.Fatalf("no update within %s; the daemon says %q", patience, l.doing())
	}
	return agent.Result{}
}

// none fails where an update ends within a while.
func (l *live) none(why string) {
	l.Helper()
	select {
	case r := <-l.ended:
		l.Fatalf("%s, and an update all the same: %s %v", why, r.Outcome, r.FailReason)
	case <-time.After(time.Second):
	}
}

// look makes the daemon look at once at what it looks at each minute.
func (l *live) look() { l.reload <- syscall.SIGHUP }

// logged are the entries of the log from a level on.
func (l *live) logged(level logrus.Level) (lines []string) {
	for _, e := range l.log.AllEntries() {
		if e.Level <= level {
			lines = append(lines, e.Level.String()+": "+e.Message)
		}
	}
	return lines
}

// wantReason checks the code of the report's fail reason, empty for none.
func (l *live) wantReason(code string) {
	l.Helper()
	got := ""
	if f := l.agent.Facts(context.Background()).Failure; f != nil {
		got = f.Code
	}
	if got != code {
		l.Errorf("health says %q, want %q", got, code)
	}
}

// A configuration that appears, and one that names another mirror, are obeyed
// without a restart and without a signal.
func TestObeysTheConfiguration(t *testing.T) {
	t.Parallel()
	l := newLive(t)
	l.publish(l.ring)
	l.publish(l.other())
	l.begin()
	l.untilDoing("never configured")
	l.configure("one", "")
	l.next(agent.Updated, "one")
	l.untilDoing("next update is due at")
	for range 3 {
		l.publish(l.other())
		l.configure("two", "")
		l.next(agent.Updated, "two")
		l.publish(l.ring)
		l.configure("one", "")
		l.next(agent.Updated, "one")
	}
	l.configure("one", `,"keep":3`) // no other source, so nothing is due
	l.none("the same source")
	must(t, l.end())
	if lines := l.logged(logrus.WarnLevel); lines != nil {
		t.Errorf("the log complains: %q", lines)
	}
}

// A broken configuration shows at once, and changes nothing else. One that is
// deleted counts as absent ten minutes later.
func TestBrokenConfiguration(t *testing.T) {
	t.Parallel()
	l := newLive(t)
	l.publish(l.ring)
	l.configure("one", "")
	l.begin()
	l.next(agent.Updated, "one")
	l.wantReason("")

	l.put(`{"antivirusEngine":`)
	l.wantReason("config_invalid") // who asks need not wait for the daemon
	l.untilDoing("config_invalid: ")
	l.publish(l.ring)
	l.sleep(interval)
	l.look()
	l.next(agent.Updated, "one")
	l.wantReason("config_invalid")

	l.configure("one", "")
	l.wantReason("")
	l.until("it says that all is well", func() bool { return !strings.Contains(l.doing(), "config_invalid") })

	must(t, os.Remove(l.agent.Paths.Managed))
	l.untilDoing("has vanished")
	l.wantReason("config_invalid")
	// The ten minutes count from when a job has noted it, which is beside the loop.
	l.until("it is noted", func() bool {
		data, _ := os.ReadFile(filepath.Join(l.agent.Paths.State, "state.json"))
		return strings.Contains(string(data), `"missing"`)
	})
	l.sleep(9 * time.Minute)
	l.look()
	l.none("it may be about to be written anew")
	l.untilDoing("has vanished")
	l.sleep(time.Minute)
	l.look()
	l.untilDoing("never configured")
	l.sleep(2 * interval)
	l.look()
	l.none("no configuration")
	if lines := l.logged(logrus.ErrorLevel); len(lines) != 2 {
		t.Errorf("the log tells of two failures by %q", lines)
	}
}

// A configuration that is broken from the first is none, and is waited for at rest.
func TestBrokenFromTheFirst(t *testing.T) {
	t.Parallel()
	l := newLive(t)
	l.publish(l.ring)
	l.put(`{"antivirusEngine":`)
	l.begin()
	l.untilDoing("the configuration is broken")
	before := l.turned()
	l.none("a broken configuration")
	if n := l.turned() - before; n > 2 {
		t.Errorf("the loop turned %d times in a second of rest", n)
	}
	l.configure("one", "")
	l.next(agent.Updated, "one")
}

// There is one daemon on a machine.
func TestSecondDaemon(t *testing.T) {
	t.Parallel()
	l := newLive(t)
	l.publish(l.ring)
	l.configure("one", "")
	l.begin()
	l.next(agent.Updated, "one")
	second := &daemon.Daemon{Agent: l.agent, Log: l.agent.Log}
	failure := agent.Explain(second.Run(context.Background()))
	if want := fmt.Sprintf("process %d is the daemon since ", os.Getpid()); failure == nil || failure.Code != "busy" || !strings.HasPrefix(failure.Message, want) {
		t.Errorf("the second one ended with %v", failure)
	}
	must(t, l.end()) // before, or the first one might update from there
	l.configure("two", "")
	l.publish(l.other())
	l.begin() // its lock is free again
	l.next(agent.Updated, "two")
}

// Rules keep updates off until they are lifted.
func TestRules(t *testing.T) {
	t.Parallel()
	l := newLive(t)
	l.publish(l.ring)
	l.configure("one", "")
	l.begin()
	l.next(agent.Updated, "one")
	inhibitor := filepath.Join(l.agent.Paths.Inhibit, "backup")
	section := func(more string) func() {
		return func() {
			l.put(fmt.Sprintf(`{"antivirusEngine":{"offlineDefinitionUpdate":"enabled","offlineDefinitionUpdateUrl":"%s/one/production"%s,"definitionUpdatesInterval":%d},"agent":{"jitter":0}}`, l.url, more, int(interval.Seconds())))
		}
	}
	free := section(`},"cloudService":{"automaticDefinitionUpdateEnabled":true`)
	for _, rule := range []struct {
		says       string
		stop, free func()
	}{
		{"held since", func() {
			_, err := l.agent.Hold(context.Background(), 0)
			must(t, err)
		}, func() { must(t, l.agent.Unhold(context.Background(), 0)) }},
		{"inhibited by a file in", func() { l.write(inhibitor, "") }, func() { must(t, os.Remove(inhibitor)) }},
		{"automaticDefinitionUpdateEnabled is false", section(`},"cloudService":{"automaticDefinitionUpdateEnabled":false`), free},
		{"enforcementLevel is passive", section(`,"enforcementLevel":"passive"},"cloudService":{"automaticDefinitionUpdateEnabled":true`), free},
	} {
		rule.stop()
		l.sleep(2 * interval)
		l.look()
		l.untilDoing(rule.says)
		l.none(rule.says)
		if r := l.agent.Update(context.Background(), agent.Options{}); r.Outcome != agent.UpToDate {
			t.Errorf("%s, and by hand: %s %v", rule.says, r.Outcome, r.FailReason)
		}
		l.sleep(2 * interval)
		l.publish(l.ring)
		rule.free()
		l.look()
		l.next(agent.Updated, "one")
	}
}

// Where nobody ever configured anything, nothing is done, and nothing but the
// lock is written.
func TestNeverConfigured(t *testing.T) {
	t.Parallel()
	l := newLive(t)
	l.begin()
	l.untilDoing("never configured")
	l.none("never configured")
	entries, err := os.ReadDir(l.agent.Paths.State)
	must(t, err)
	if len(entries) != 1 || entries[0].Name() != "daemon.lock" {
		t.Errorf("in the state directory: %v", entries)
	}
	if n := l.turned(); n > 4 {
		t.Errorf("the loop turned %d times", n)
	}
}

// What was damaged while nobody looked is found at the start, however well it
// hides, and repaired.
func TestDamageIsRepaired(t *testing.T) {
	t.Parallel()
	l := newLive(t)
	l.publish(l.ring)
	l.configure("one", "")
	l.begin()
	l.next(agent.Updated, "one")
	must(t, l.end())
	file := filepath.Join(l.agent.Paths.Engine, "current", "base.vdm")
	good, err := os.ReadFile(file)
	must(t, err)
	info, err := os.Stat(file)
	must(t, err)
	must(t, os.Chmod(file, 0o644))
	l.write(file, strings.Repeat("x", len(good)))
	must(t, os.Chmod(file, 0o444))
	must(t, os.Chtimes(file, info.ModTime(), info.ModTime()))
	l.begin()
	l.next(agent.Updated, "one")
	if now, err := os.ReadFile(file); err != nil || string(now) != string(good) {
		t.Errorf("the file is %q, %v", now, err)
	}
}

// Where another process holds the lock, the daemon waits, and does not try again
// and again. That is no failure of its own either.
func TestLockIsHeld(t *testing.T) {
	t.Parallel()
	l := newLive(t)
	l.publish(l.ring)
	l.configure("one", "")
	store, err := state.Open(l.agent.Paths.State)
	must(t, err)
	lock, err := store.Lock(context.Background(), 0, l.now())
	must(t, err)
	l.begin()
	time.Sleep(8 * time.Second) // two for keeping the configuration, two for the update
	if len(l.ended) != 1 {
		t.Fatalf("%d updates while the lock is held", len(l.ended))
	}
	if r := l.next(agent.Failed, ""); r.FailReason.Code != "busy" || r.Requests != 0 {
		t.Errorf("%v after %d requests", r.FailReason, r.Requests)
	}
	if lines := l.logged(logrus.ErrorLevel); lines != nil {
		t.Errorf("the log complains: %q", lines)
	}
	must(t, lock.Unlock())
	l.look()
	l.next(agent.Updated, "one")
}

// Where the state can't be written to, there is no daemon; where that comes later,
// it goes on, and does not try again and again.
func TestStateIsReadOnly(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root may write to any directory; run the test as a plain user")
	}
	l := newLive(t)
	l.publish(l.ring)
	l.publish(l.other())
	l.configure("one", "")
	l.begin()
	l.next(agent.Updated, "one")
	must(t, os.Chmod(l.agent.Paths.State, 0o555))
	t.Cleanup(func() { _ = os.Chmod(l.agent.Paths.State, 0o755) })
	l.configure("two", "")
	if r := l.next(agent.Failed, ""); r.FailReason.Code != "permission_denied" {
		t.Errorf("%v", r.FailReason)
	}
	l.none("it can not be recorded")
	if n := l.asked.Load(); n > 4 {
		t.Errorf("%d requests", n)
	}
	must(t, l.end())
	second := &daemon.Daemon{Agent: l.agent, Log: l.agent.Log}
	if failure := agent.Explain(second.Run(context.Background())); failure == nil || failure.Code != "permission_denied" {
		t.Errorf("a daemon that can not write ended with %v", failure)
	}
	must(t, os.Chmod(l.agent.Paths.State, 0o755))
	l.begin()
	l.next(agent.Updated, "two")
}

// hang answers nothing until the client goes, or the test ends.
func (l *live) hang() (came <-chan struct{}) {
	some := make(chan struct{}, 1000)
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		some <- struct{}{}
		<-r.Context().Done()
	})
	l.answer.Store(&handler)
	return some
}

// An update from a mirror that hangs makes way for a configuration that names
// another one. A file that is written anew and says the same, or that is broken,
// is no reason.
func TestMakesWay(t *testing.T) {
	t.Parallel()
	l := newLive(t)
	l.publish(l.other())
	came := l.hang()
	l.configure("one", "")
	l.begin()
	<-came
	l.configure("one", `,"comment":"no setting of ours"`)
	l.none("nothing that matters")
	l.put("{")
	l.none("nothing that is valid")
	must(t, os.Remove(l.agent.Paths.Managed))
	l.none("nothing at all")
	l.answer.Store(nil)
	l.configure("two", "")
	if r := l.next(agent.Failed, "one"); r.FailReason.Code != "interrupted" {
		t.Errorf("%v", r.FailReason)
	}
	l.next(agent.Updated, "two")
}

// What came already is kept when an update makes way, here for a higher rate.
func TestMakesWayAndGoesOn(t *testing.T) {
	t.Parallel()
	l := newLive(t)
	const size, slow = 4 << 20, 1 << 20
	l.publishLarge(l.ring, size)
	l.configure("one", fmt.Sprintf(`,"maxDownloadRate":%d`, slow))
	l.begin()
	l.untilDoing("etching definitions")
	time.Sleep(1500 * time.Millisecond)
	l.configure("one", "")
	l.next(agent.Failed, "one")
	if r := l.next(agent.Updated, "one"); !r.Resumed || r.BytesDownloaded > size-slow {
		t.Errorf("%d bytes, resumed %v", r.BytesDownloaded, r.Resumed)
	}
}

// A share whose server is gone holds nothing up: a configuration that names another
// mirror is obeyed, and the daemon ends when it is told to.
func TestDeadMount(t *testing.T) {
	l := newLive(t)
	m := sourcetest.NewMount(t, filepath.Dir(filepath.Dir(l.ring)))
	l.publish(l.ring)
	share := func() {
		l.put(fmt.Sprintf(`{"antivirusEngine":{"offlineDefinitionUpdate":"enabled","offlineDefinitionUpdateUrl":%q},"agent":{"stallTimeout":3600,"jitter":0}}`,
			filepath.Join(m.Dir, "one", "production")))
	}
	hangs := func() {
		t.Helper()
		for len(sourcetest.Readers(t)) == 0 { // else the test never ends
			time.Sleep(10 * time.Millisecond)
		}
	}
	m.Die()
	share()
	l.begin()
	hangs()
	l.configure("one", "")
	for r := range l.ended {
		if r.Outcome == agent.Updated {
			break
		}
		if r.FailReason.Code != "interrupted" {
			t.Errorf("an update ended with %v", r.FailReason)
		}
	}
	share()
	hangs()
	must(t, l.end())
	if work, held := state.View(l.agent.Paths.State).Updating(); held {
		t.Errorf("the lock is still held by %v", work)
	}
}

// The daemon ends within a second in the middle of an update.
func TestEndsInTheMiddle(t *testing.T) {
	t.Parallel()
	l := newLive(t)
	came := l.hang()
	l.configure("one", "")
	l.begin()
	<-came
	began := time.Now()
	must(t, l.end())
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %s", took)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := l.told[len(l.told)-1]; last != "STOPPING=1" {
		t.Errorf("the last word was %q", last)
	}
}
