package attacks_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mdatp-offline-agent/agent/source/sourcetest"
)

// An attack is one row of the table. It says either what the mirror is, and what
// becomes of the next update, or tells the whole story itself.
type attack struct {
	row  int    // of the list
	name string // of the test, below TestAttacks and the row
	does string // what the mirror does, for the document
	ends string // for the document; left out where code says it all

	// mirror turns the mirror, which has served version 417, into a bad one. The
	// next update then fails with code and exit, and everything that is promised
	// of such an update is checked.
	mirror func(*machine)
	code   string
	exit   int
	says   string   // part of the sentence, where others of the row have the same code
	static bool     // the mirror has bad files alone, so that any server can serve it
	disk   int64    // bytes that a run may have on disk, beside what is usual
	slow   bool     // the run waits before it tries again
	hurry  timeouts // the agent's timeouts where the run waits for one of them; else generous

	// story is what happens instead, on a machine that has 417.
	story func(*machine)

	long bool // only with ATTACKS_LONG=1
}

// path is the name of its test.
func (a attack) path() string { return fmt.Sprintf("%d/%s", a.row, a.name) }

// The codes' exits that attacks meet, by sysexits(3).
const (
	badData     = 65
	unavailable = 69
)

// attacks is the whole table, in the order of the list.
func attacks() []attack {
	return slices.Concat(arbitraryInstall(), endlessData(), wrongSoftware(), fastForward(), freeze(), blockedUpdates(),
		mixAndMatch(), rollback(), slowRetrieval(), keysOverTime(), redirects(), residue())
}

// TestAttacks tries every attack of the table.
func TestAttacks(t *testing.T) {
	t.Parallel()
	programs := &programs{dir: t.TempDir()}
	program := programs.program(t, "")
	var all together
	for _, a := range attacks() {
		all.run(t, a.path(), a.slow || a.hurry != (timeouts{}), func(t *testing.T) {
			a.try(newMachine(t, program, time.Now()), programs)
		})
	}
	all.wait()
}

// together runs subtests beside each other: those that only wait all at once, and
// of the others more than there are cores, since they wait for the disk.
type together struct {
	running sync.WaitGroup
	slots   chan struct{}
}

func (all *together) run(t *testing.T, name string, waits bool, test func(*testing.T)) {
	if all.slots == nil {
		all.slots = make(chan struct{}, 4*runtime.GOMAXPROCS(0))
	}
	if !waits {
		all.slots <- struct{}{}
	}
	all.running.Go(func() {
		t.Run(name, test)
		if !waits {
			<-all.slots
		}
	})
}

func (all *together) wait() { all.running.Wait() }

// withLong tells whether what takes minutes is wanted, too.
func withLong() bool { return os.Getenv("ATTACKS_LONG") != "" }

func (a attack) try(m *machine, programs *programs) {
	m.Helper()
	if a.long && !withLong() {
		m.Skip("SKIPPED: it moves a gigabyte; make chaos runs it, and ATTACKS_LONG=1")
	}
	m.programs, m.most = programs, diskSlack+a.disk
	m.publish(m.pack(417))
	m.wantUpdated(m.installed)
	if a.hurry != (timeouts{}) {
		m.waits = a.hurry
		m.configure("")
	}
	if a.story != nil {
		a.story(m)
	} else {
		a.withstand(m)
	}
	m.Logf("at most %d KiB of memory, %d KiB on disk", m.peak.memory, m.peak.disk>>10)
}

// withstand has the mirror misbehave and then behave again.
func (a attack) withstand(m *machine) {
	m.Helper()
	a.mirror(m)
	before := m.snapshot()
	r := m.wantFailed(a.code)
	m.Logf("%s", r.FailReason)
	if !strings.Contains(r.FailReason.Message, a.says) {
		m.Errorf("the sentence is %q, want %q in it", r.FailReason.Message, a.says)
	}
	a.checkOld(m, before)
	if !a.slow && a.hurry == (timeouts{}) { // asked again, a mirror that is still bad gets the same answer
		e := m.run("definitions", "update")
		if e.exit != a.exit || e.stdout != "" || !strings.HasPrefix(e.stderr, "agent: "+a.code+": ") || strings.Count(e.stderr, "\n") != 2 {
			m.Errorf("the second time: exit %d, and it said\n%s%s", e.exit, e.stdout, e.stderr)
		}
		m.wantSame(before)
	}
	a.recover(m)
}

// checkOld checks that nothing has come of the attack.
func (a attack) checkOld(m *machine, before snapshot) {
	m.Helper()
	m.wantSame(before)
	m.checkActive()
	m.wantVerified()
	m.wantHealth("update_failed", a.code)
	m.checkStaging()
}

// recover has an honest mirror again.
func (a attack) recover(m *machine) {
	m.Helper()
	m.site.remove("updates.zip.p7m")
	m.waits = generous
	m.configure("")
	m.publish(m.pack(500))
	m.wantUpdated(m.installed, "--now")
	m.wantHealth("up_to_date", "")
}

// TestPlainMirrors serves what is bad in files alone by the servers that mirrors
// are made of: one with ranges and entity tags, and one without. Without
// ATTACKS_LONG that is only where it matters how bytes come.
func TestPlainMirrors(t *testing.T) {
	t.Parallel()
	programs := &programs{dir: t.TempDir()}
	program := programs.program(t, "")
	var all together
	for name, serve := range map[string]func(testing.TB, string) string{"nginx": sourcetest.Nginx, "python": sourcetest.PythonHTTP} {
		root := tempDir(t) // of all mirrors
		server := serve(t, root)
		for _, a := range attacks() {
			if !a.static || !withLong() && a.row != 2 && a.row != 7 {
				continue
			}
			dir := fmt.Sprintf("%d-%s", a.row, a.name)
			all.run(t, name+"/"+a.path(), false, func(t *testing.T) {
				s := newSiteIn(t, filepath.Join(root, dir))
				s.other = server + "/" + dir + "/linux/production/"
				a.try(newMachineOf(t, program, time.Now(), s), programs)
			})
		}
	}
	all.wait()
}
