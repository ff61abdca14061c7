package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/mirror"
)

// hooked is a machine with hooks, which write down what they are told of.
type hooked struct {
	*world
	url   string // of the ring
	notes string // the file that they write to
}

// good is a hook that has nothing to say against a set.
const good = "exit 0"

func newHooked(t testing.TB) *hooked {
	t.Helper()
	w := newWorld(t)
	return &hooked{w, w.ring, filepath.Join(filepath.Dir(w.srv), "notes")}
}

// section gives the configuration of hooks that are these scripts of /bin/sh,
// with more of the agent's section; empty for no hook.
func (w *hooked) section(preload, postload, more string) string {
	w.Helper()
	hooks := map[string]any{}
	for name, text := range map[string]string{"preload": preload, "postload": postload} {
		if text != "" {
			note := fmt.Sprintf("echo \"%s $AGENT_DEFINITIONS_VERSION after ${AGENT_PREVIOUS_VERSION:-none}\" >>%s\n", name, w.notes)
			script := w.notes + "." + name
			must(w, os.WriteFile(script, []byte(note+text), 0o644))
			hooks[name] = map[string]any{"command": []string{"/bin/sh", script}}
		}
	}
	data, err := json.Marshal(hooks)
	must(w, err)
	return `"jitter":0,"hooks":` + string(data) + more
}

// hooks configures these hooks.
func (w *hooked) hooks(preload, postload string) {
	w.Helper()
	w.offline(w.url, false, w.section(preload, postload, ""))
}

// about is a line of a script that is about one version only.
func about(n uint32, does string) string {
	return fmt.Sprintf("[ $AGENT_DEFINITIONS_VERSION != %s ] || { %s; }\n", name(n), does)
}

// once is what is done the first time only.
func (w *hooked) once(does string) string {
	return fmt.Sprintf("[ -e %[1]s.once ] || { touch %[1]s.once; %[2]s; }", w.notes, does)
}

// preload and postload are what hooks write down; before is 0 for none.
func preload(n, before uint32) string  { return noted("preload", n, before) }
func postload(n, before uint32) string { return noted("postload", n, before) }

func noted(hook string, n, before uint32) string {
	previous := "none"
	if before != 0 {
		previous = name(before)
	}
	return hook + " " + name(n) + " after " + previous
}

// told checks what the hooks were told of since it was last looked.
func (w *hooked) told(want ...string) {
	w.Helper()
	data, err := os.ReadFile(w.notes)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.Fatal(err)
	}
	_ = os.Remove(w.notes) // is there only where one ran
	if got := strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' }); !slices.Equal(got, want) {
		w.Fatalf("the hooks were told of %q, want %q", got, want)
	}
}

// failed checks how an update ended whose set, other than in most failures, may
// be active all the same.
func (w *hooked) failed(r agent.Result, code, message string, active uint32) {
	w.Helper()
	if r.Outcome != agent.Failed || codeOf(r) != code || !strings.Contains(r.FailReason.Message, message) {
		w.Fatalf("the update ended with %s %v, want %s: ...%s...", r.Outcome, r.FailReason, code, message)
	}
	if r.ExitCode() != 65 {
		w.Errorf("exit code %d", r.ExitCode())
	}
	checkFailure(w, r.FailReason)
	w.has(active)
	w.status("update_failed", code)
}

// fails runs an update that fails so.
func (w *hooked) fails(code, message string, active uint32) {
	w.Helper()
	w.failed(w.agent.Update(context.Background(), agent.Options{}), code, message, active)
}

// bad checks which versions are known bad.
func (w *hooked) bad(want ...uint32) {
	w.Helper()
	got := w.memory().KnownBad
	same := slices.EqualFunc(got, want, func(b state.Bad, n uint32) bool { return b.Definition == v(n) })
	if !same {
		w.Errorf("known bad is %+v, want %v", got, want)
	}
}

func (w *world) memory() *state.State {
	w.Helper()
	memory, err := state.View(w.agent.Paths.State).Load()
	must(w, err)
	return memory
}

// previously checks which version previous leads to.
func (w *hooked) previously(n uint32) {
	w.Helper()
	if got := w.link("previous"); !strings.HasPrefix(got, name(n)+"-") {
		w.Errorf("previous is %q, want %s", got, name(n))
	}
}

// The preload hook sees a whole set, sealed and not yet linked, and is told of it
// by five variables and nothing else.
func TestPreloadSeesTheSealedSet(t *testing.T) {
	t.Parallel()
	w := newHooked(t)
	w.hooks(`exec >`+w.notes+`.seen
tr '\0' '\n' </proc/$$/environ | sort
cd "$AGENT_SET_DIR" && stat -c '%a %n' . META META/* *.vdm && cat delta.vdm && echo
readlink ../current || echo nothing`, "")
	previous, linked := "", "nothing"
	for n := uint32(1); n <= 2; n++ {
		w.publish(pack{n: n})
		w.want(agent.Updated, "")
		want := fmt.Sprintf(`AGENT_DEFINITIONS_VERSION=%s
AGENT_ENGINE_VERSION=1.1.24080.9
AGENT_PREVIOUS_VERSION=%s
AGENT_SET_DIR=%s
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
755 .
755 META
444 META/package.p7m
444 base.vdm
444 delta.vdm
delta %d
%s
`, name(n), previous, w.engine(w.active()), n, linked)
		if got := string(w.read(w.notes + ".seen")); got != want {
			t.Errorf("the hook saw\n%s\nand was to see\n%s", got, want)
		}
		previous, linked = name(n), w.active()
	}
}

// Which runs run hooks, in which order, and what these are told.
func TestWhichHooksRun(t *testing.T) {
	t.Parallel()
	w := newHooked(t)
	w.hooks(good, good)
	w.publish(pack{n: 1})
	w.want(agent.WouldUpdate, "", agent.Options{DryRun: true})
	w.told()
	w.want(agent.Updated, "")
	w.told(preload(1, 0), postload(1, 0))
	w.want(agent.UpToDate, "")
	w.told()
	w.publish(pack{n: 3})
	w.want(agent.Updated, "")
	w.told(preload(3, 1), postload(3, 1))
	w.publish(pack{n: 3, issued: base})
	w.want(agent.Renewed, "")
	w.told()
	w.publish(pack{n: 2})
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(2)})
	w.told(preload(2, 3), postload(2, 3))
	w.status("up_to_date", "")

	w.spoil(w.engine(w.active()+"/delta.vdm"), false)
	w.want(agent.Updated, "") // a set that was repaired is another one for the engine
	w.told(preload(2, 0), postload(2, 0))
	w.hooks("", "")
	w.publish(pack{n: 4})
	w.want(agent.Updated, "")
	w.told()
}

// What preload condemns never becomes active, and its content is bad under
// whatever version until a newer package comes, or somebody asks.
func TestPreloadCondemns(t *testing.T) {
	t.Parallel()
	w := newHooked(t)
	w.hooks(about(2, "exit 1")+about(3, "exit 1"), good)
	w.publish(pack{n: 1})
	w.want(agent.Updated, "")
	w.told(preload(1, 0), postload(1, 0))

	w.publish(pack{n: 2})
	before := w.active()
	w.fails("preload_failed", "condemned the definitions "+name(2), 1)
	w.told(preload(2, 1))
	if w.active() != before {
		t.Errorf("current went from %s to %s", before, w.active())
	}
	w.bad(2)
	sets, err := w.agent.List(context.Background())
	must(t, err)
	if newest := sets.Sets[0]; newest.State != "knownBad" || newest.Reason != "condemned by the preload hook" {
		t.Errorf("the condemned set is listed as %+v", newest)
	}

	w.fails("known_bad", "", 1)
	w.publish(pack{n: 3, files: w.fill(pack{n: 2}).files})
	w.fails("known_bad", "", 1)
	w.told() // neither had to be judged again
	w.want(agent.Failed, "preload_failed", agent.Options{RetryKnownBad: true})
	w.told(preload(3, 1))
	w.hooks(good, good)
	w.want(agent.Updated, "", agent.Options{RetryKnownBad: true})
	w.told(preload(3, 1), postload(3, 1))
	w.bad() // it was asked for, and found good

	w.hooks(about(4, "exit 1"), good)
	w.publish(pack{n: 4})
	w.fails("preload_failed", "", 3)
	w.publish(pack{n: 5})
	w.want(agent.Updated, "")
	w.has(5)
	w.status("up_to_date", "")
}

// The hook is the agent's own user, who can change files of a set whatever their
// modes. What it did is found; it is this machine's fault, so the cloud is not
// asked; and since it says nothing of the package, that comes once the hook is
// mended.
func TestPreloadThatChangesTheSet(t *testing.T) {
	t.Parallel()
	for what, script := range map[string]string{
		"changes a file":         `chmod u+w delta.vdm && echo x >delta.vdm`,
		"cuts a file":            `chmod u+w delta.vdm && : >delta.vdm`,
		"removes a file":         `rm -f delta.vdm`,
		"adds a file":            `echo x >more.vdm`,
		"adds one beside META":   `echo x >META/more`,
		"makes a directory":      `mkdir more`,
		"makes a file a link":    `mv delta.vdm ../../elsewhere && ln -s ../../elsewhere delta.vdm`,
		"exchanges the list":     `cp META/package.p7m ../../copy && rm -f META/package.p7m && cp ../current/META/package.p7m META/`,
		"removes the list":       `rm -f META/package.p7m`,
		"removes all of it":      `rm -rf "$AGENT_SET_DIR"`,
		"condemns, and does too": `rm -f delta.vdm; exit 1`,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newHooked(t)
			site := w.web()
			var cloud atomic.Int64
			files := mirror.Handler(w.srv, nil)
			site.fail(func(rw http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/cloud") {
					cloud.Add(1)
				}
				files.ServeHTTP(rw, r)
			})
			configure := func(preload string) {
				w.offline(site.ringURL(), true, w.section(preload, good, `,"cloudUrl":"`+site.URL+`/cloud/updates.zip"`))
			}
			w.serve(filepath.Join(w.srv, "cloud", "updates.zip"), w.archive(pack{n: 9}))
			configure(good)
			w.publish(pack{n: 1})
			w.want(agent.Updated, "")
			w.publish(pack{n: 2})
			configure(`cd "$AGENT_SET_DIR" && ` + script)
			w.told(preload(1, 0), postload(1, 0))

			code, sentence := "set_damaged", "the preload hook changed the set that it was to test"
			if strings.HasSuffix(script, "exit 1") {
				code, sentence = "preload_failed", "condemned"
			}
			w.fails(code, sentence, 1)
			w.told(preload(2, 1))
			if cloud.Load() != 0 {
				t.Error("the cloud was asked")
			}
			if code == "set_damaged" {
				w.bad()
			}
			configure(good)
			w.want(agent.Updated, "", agent.Options{RetryKnownBad: code != "set_damaged"})
			w.has(2)
			w.told(preload(2, 1), postload(2, 1))
		})
	}
}

// Files that did not change are shared with the active set, so a hook that writes
// to one damages that as well. Both are mended by the next update.
func TestPreloadThatChangesASharedFile(t *testing.T) {
	t.Parallel()
	w := newHooked(t)
	w.hooks("", "")
	w.publish(pack{n: 1})
	w.want(agent.Updated, "")
	shared := !canReflink(t, w.agent.Paths.Engine)
	w.publish(pack{n: 2})
	w.hooks(`cd "$AGENT_SET_DIR" && chmod u+w base.vdm && echo x >base.vdm`, "")
	w.want(agent.Failed, "set_damaged")
	if shared {
		w.health(map[string]string{"definitions_status": `"unavailable"`, "definitions_update_fail_reason": `"set_damaged: `})
	}
	w.hooks(good, "")
	w.want(agent.Updated, "")
	w.has(2)
	w.status("up_to_date", "")
}

// together runs an update of each machine at the same time, since hooks at fault
// are tried again with waits that a test would have to sit out one by one.
func together(worlds map[string]*hooked) map[string]agent.Result {
	var wait sync.WaitGroup
	var mu sync.Mutex
	results := map[string]agent.Result{}
	for what, w := range worlds {
		wait.Go(func() {
			r := w.agent.Update(context.Background(), agent.Options{})
			mu.Lock()
			defer mu.Unlock()
			results[what] = r
		})
	}
	wait.Wait()
	return results
}

// repeat is a line n times.
func repeat(line string, n int) []string { return slices.Repeat([]string{line}, n) }

// tries is how often a hook is run that is at fault.
const tries = 4

// A preload hook that gives no verdict condemns nothing. What was fetched for it
// stays, and is not fetched again once the hook works.
func TestPreloadAtFault(t *testing.T) {
	t.Parallel()
	const tail = 40 << 10 // what a question for news moves at the most
	large := map[string]string{"a.vdm": strings.Repeat("large ", 100_000), "b.vdm": strings.Repeat("other ", 100_000)}
	kinds := map[string]struct {
		preload string
		more    string // of the hook's configuration
	}{
		"it ended with exit code 3":    {preload: `exit 3`},
		"it ended with exit code 7":    {preload: `sleep 0.3; head -c 64M /dev/zero | tail >/dev/null || exit 7`, more: `,"memoryMiB":16`},
		"it was killed by SIGKILL":     {preload: `kill -KILL $$`},
		"it ran longer than 1 seconds": {preload: `sleep 100; exit 1`, more: `,"timeoutSeconds":1`},
		"it left processes behind":     {preload: `sleep 100 & exit 1`},
		"it could not be run":          {},
	}
	worlds, sites := map[string]*hooked{}, map[string]*web{}
	for what, kind := range kinds {
		w := newHooked(t)
		site := w.web()
		w.url, worlds[what], sites[what] = site.ringURL(), w, site
		w.hooks("", "")
		w.publish(pack{n: 1})
		w.want(agent.Updated, "")
		w.publish(pack{n: 2, files: large})
		w.offline(w.url, false, `"hooks":{"preload":{"command":["`+w.notes+`"]}}`) // a program that is not there
		if kind.preload != "" {
			w.offline(w.url, false, strings.Replace(w.section(kind.preload, "", ""), `]}`, `]`+kind.more+`}`, 1))
		}
	}
	results := together(worlds)
	for what, w := range worlds {
		w.failed(results[what], "preload_failed", "the preload hook is at fault, since "+what, 1)
		if kinds[what].preload != "" {
			w.told(repeat(preload(2, 1), tries)...)
		}
		w.bad()
		if left, err := os.ReadDir(w.engine(".staging")); err != nil || len(left) > 0 {
			t.Errorf("%s: behind a sealed set, %v is left in .staging, %v", what, left, err)
		}
		// Nobody needs the sealed set, and it is older than any reader of it could
		// be; and yet it stays.
		w.later(time.Hour)
		sites[what].fail(statusCode(http.StatusNotFound))
		w.want(agent.Failed, "source_not_found")
		sites[what].fail(nil)
		w.hooks(good, good)
		r := w.want(agent.Updated, "")
		if r.BytesDownloaded > tail || r.BytesReused < 1_000_000 {
			t.Errorf("%s: %d bytes came again, %d were reused", what, r.BytesDownloaded, r.BytesReused)
		}
		w.has(2)
		w.told(preload(2, 1), postload(2, 1))
		w.status("up_to_date", "")
		if pending := w.memory().Pending; pending != "" {
			t.Errorf("%s: %s still waits for the hook", what, pending)
		}
	}
}

// Killed while the preload hook looks at the set, the agent has it look again,
// and fetches nothing for that.
func TestKilledInPreload(t *testing.T) {
	t.Parallel()
	w := newHooked(t)
	w.hooks("", "")
	w.run([]step{installed(1)})
	w.hooks(w.once("kill -KILL $PPID"), good)
	w.publish(pack{n: 2})
	w.killed()
	w.has(1)
	w.told(preload(2, 1))
	w.notFetched(w.want(agent.Updated, ""), pack{n: 2})
	w.told(preload(2, 1), postload(2, 1))
	w.has(2)
	w.status("up_to_date", "")
}

// notFetched checks that all files of a package were at hand.
func (w *hooked) notFetched(r agent.Result, p pack) {
	w.Helper()
	var size int64
	for _, content := range w.fill(p).files {
		size += int64(len(content))
	}
	if r.BytesReused != size {
		w.Errorf("%d bytes were at hand, want all %d", r.BytesReused, size)
	}
}

// killed runs an update in a process that does not survive it.
func (w *hooked) killed() {
	w.Helper()
	cmd := w.child("update")
	out, err := cmd.CombinedOutput()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		w.Fatalf("the run was not killed: %v %s", err, out)
	}
}

// Interrupted while a hook runs, an update is over at once, and nothing is
// condemned. What the hook was to see it sees in the next run.
func TestInterruptedInAHook(t *testing.T) {
	t.Parallel()
	const slow = "trap '' TERM; sleep 100 & wait; exit 1"
	for what, c := range map[string]struct {
		preload, postload string
		active            uint32 // when it was interrupted
		before, after     []string
	}{
		"preload":    {slow, good, 1, []string{preload(2, 1)}, []string{preload(2, 1), postload(2, 1)}},
		"postload":   {good, slow, 2, []string{preload(2, 1), postload(2, 1)}, []string{postload(2, 1)}},
		"going back": {"", about(2, "exit 1") + slow, 1, []string{postload(2, 1), postload(1, 2)}, []string{postload(1, 0), preload(2, 1), postload(2, 1)}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newHooked(t)
			w.hooks("", "")
			w.run([]step{installed(1)})
			w.publish(pack{n: 2})
			w.hooks(c.preload, c.postload)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan agent.Result, 1)
			go func() { done <- w.agent.Update(ctx, agent.Options{}) }()
			w.waitFor("the hook to run", func() bool {
				data, _ := os.ReadFile(w.notes)
				return strings.Count(string(data), "\n") == len(c.before)
			})
			cancel()
			stopped := time.Now()
			r := <-done
			if took := time.Since(stopped); took > 30*time.Second { // the hook's own time is twice that
				t.Errorf("it took %v to stop", took)
			}
			if codeOf(r) != "interrupted" || r.ExitCode() != 75 {
				t.Errorf("the update ended with %v", r.FailReason)
			}
			w.has(c.active)
			w.told(c.before...)
			w.bad()
			w.status("up_to_date", "")
			w.hooks(good, good)
			w.later(day) // for the preload; after a postload it is due at once, as the next test shows
			w.update(agent.Options{Scheduled: true})
			w.has(2)
			w.told(c.after...)
			w.status("up_to_date", "")
		})
	}
}

// waitFor waits until something is so.
func (w *world) waitFor(what string, so func() bool) {
	w.Helper()
	for range 1000 {
		if so() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.Fatalf("waited in vain for %s", what)
}

// A hook may take longer than a whole interval. As long as it runs, the lock shows
// that its holder does not hang.
func TestLockGetsOnWhileAHookRuns(t *testing.T) {
	t.Parallel()
	w := newHooked(t)
	w.hooks("while [ ! -e "+w.notes+".go ]; do sleep 0.05; done", "")
	w.publish(pack{n: 1})
	done := make(chan agent.Result, 1)
	go func() { done <- w.agent.Update(context.Background(), agent.Options{}) }()
	store := state.View(w.agent.Paths.State)
	w.waitFor("the hook to run", func() bool { _, err := os.Stat(w.notes); return err == nil })
	for range 2 {
		w.later(day)
		w.waitFor("the lock to show progress", func() bool {
			work, held := store.Updating()
			return held && work.Progress.Equal(w.agent.Now())
		})
		w.health(map[string]string{"definitions_update_fail_reason": `""`})
	}
	w.write(w.notes+".go", nil)
	if r := <-done; r.Outcome != agent.Updated {
		t.Errorf("the update ended with %s %v", r.Outcome, r.FailReason)
	}
}

// Hooks are never taken from the last good copy of a configuration, and to go on
// without them would fail open. So a broken file stops updates where they are.
func TestHooksAreNotTakenFromACopy(t *testing.T) {
	t.Parallel()
	w := newHooked(t)
	w.hooks(good, "")
	w.run([]step{installed(1)})
	w.told(preload(1, 0))
	w.publish(pack{n: 2})
	w.configure(`{"antivirusEngine":`)
	w.later(day)
	for _, o := range []agent.Options{{Scheduled: true}, {UseLastGood: true}, {}} {
		r := w.want(agent.Failed, "config_invalid", o)
		if r.ExitCode() != 78 {
			t.Errorf("%+v: exit code %d", o, r.ExitCode())
		}
	}
	w.has(1)
	w.told()
	w.hooks(good, "")
	w.want(agent.Updated, "", agent.Options{Scheduled: true})
	w.told(preload(2, 1))
}
