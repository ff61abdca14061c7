package attacks_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mdatp-offline-agent/agent"
)

// A machine is an endpoint below a root of its own, with the publisher that it
// trusts and the mirror that it is configured for.
type machine struct {
	testing.TB
	program  string
	env      []string // of each run, beside the test's own
	root     string
	paths    agent.Paths
	now      time.Time // what the machine's clock is meant to show
	pub      publisher
	site     *site
	programs *programs // for who needs another one

	waits     timeouts // of the next configuration
	installed pack     // what was installed last
	most      int64    // bytes on disk that a run may have
	peak      struct {
		memory int
		disk   int64
	}
}

// diskSlack is what a run may have on disk beside what it is made to fetch.
const diskSlack = 16 << 20

// newMachine gives a machine with nothing installed, whose clock shows now.
func newMachine(t testing.TB, program string, now time.Time) *machine {
	t.Helper()
	return newMachineOf(t, program, now, newSite(t))
}

func newMachineOf(t testing.TB, program string, now time.Time, s *site) *machine {
	t.Helper()
	m := &machine{TB: t, program: program, root: filepath.Join(tempDir(t), "root"), now: now.UTC().Truncate(time.Second), most: diskSlack, waits: generous}
	m.paths = agent.PathsBelow(m.root)
	m.pub = newPublisher(t, m.now)
	m.site = s
	m.trust("root.pem", m.pub.root.pem())
	m.configure("")
	return m
}

// tempDir is a directory in memory, if possible, where syncing takes no time: what
// it does to a disk is tested elsewhere.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "attacks-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// mount puts a small file system in place.
func (m *machine) mount(dir, options string) {
	m.Helper()
	m.must(os.MkdirAll(dir, 0o755))
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		m.Skipf("SKIPPED: a tmpfs can't be mounted (%v); run the suite where mounting is allowed, such as a privileged container", err)
	}
	m.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			m.Error(err)
		}
	})
}

func (m *machine) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

// write puts a file in place, with directories that no other user can write to,
// whatever the umask is.
func (m *machine) write(path string, data []byte) {
	m.Helper()
	m.must(os.MkdirAll(filepath.Dir(path), 0o755))
	for dir := filepath.Dir(path); len(dir) >= len(m.root); dir = filepath.Dir(dir) {
		m.must(os.Chmod(dir, 0o755))
	}
	m.must(os.WriteFile(path, data, 0o644))
	m.must(os.Chmod(path, 0o644))
}

func (m *machine) trust(name string, data []byte) {
	m.Helper()
	m.write(filepath.Join(m.paths.Trust, name), data)
}

// timeouts are how many seconds the agent waits.
type timeouts struct{ tls, header, stall int }

// generous is what no machine is so slow to need, where nothing is to time out.
var generous = timeouts{tls: 300, header: 300, stall: 300}

// configure points the machine to its mirror, with more of the section agent.
func (m *machine) configure(more string) { m.Helper(); m.configureFor(m.site.ring(), false, more) }

func (m *machine) configureFor(url string, fallback bool, more string) {
	m.Helper()
	if more != "" {
		more = "," + more
	}
	m.write(m.paths.Managed, fmt.Appendf(nil, `{"antivirusEngine":{"offlineDefinitionUpdate":"enabled","offlineDefinitionUpdateUrl":%q,"offlineDefinitionUpdateFallbackToCloud":%v},
"agent":{"tlsTimeout":%d,"headerTimeout":%d,"stallTimeout":%d%s}}`, url, fallback, m.waits.tls, m.waits.header, m.waits.stall, more))
}

// arch is this machine's architecture as mirrors spell it.
func arch() string {
	if runtime.GOARCH == "amd64" {
		return "x86_64"
	}
	return runtime.GOARCH
}

// publish puts a package on the mirror, which is an honest one from then on, and
// takes for granted that it will be installed next.
func (m *machine) publish(p pack) {
	m.Helper()
	m.site.play(nil)
	m.site.put("updates.zip", m.archive(p))
	m.installed = p
}

// result is what definitions update --output json says.
type result struct {
	Outcome         agent.Outcome  `json:"outcome"`
	Version         string         `json:"definitionsVersion"`
	Source          string         `json:"source"`
	BytesDownloaded int64          `json:"bytesDownloaded"`
	Requests        int64          `json:"requests"`
	Resumed         bool           `json:"resumed"`
	Notes           []string       `json:"notes"`
	FailReason      *agent.Failure `json:"failReason"`
}

func (r result) code() string {
	if r.FailReason == nil {
		return ""
	}
	return r.FailReason.Code
}

// update runs one update by hand, and checks that what it says in JSON agrees with
// its exit code and that it says nothing else.
func (m *machine) update(args ...string) (result, ended) {
	m.Helper()
	line := append([]string{"definitions", "update", "--output", "json"}, args...)
	e := m.start(line...).wait()
	m.checkRun(e, line)
	return m.parse(e), e
}

func (m *machine) parse(e ended) (r result) {
	m.Helper()
	if err := json.Unmarshal([]byte(e.stdout), &r); err != nil {
		m.Fatalf("exit %d, and stdout is no JSON: %v\n%s%s", e.exit, err, e.stdout, e.stderr)
	}
	if e.stderr != "" || strings.Count(e.stdout, "\n") != 1 {
		m.Errorf("more than one object: %s%s", e.stdout, e.stderr)
	}
	failed := r.Outcome == agent.Failed || r.Outcome == agent.Skipped
	if want := agent.ExitCode(r.code()); failed && e.exit != want || !failed && e.exit != 0 {
		m.Errorf("exit %d with outcome %s and code %s", e.exit, r.Outcome, r.code())
	}
	return r
}

// wantUpdated runs an update that must install p, and checks all of it.
func (m *machine) wantUpdated(p pack, args ...string) result {
	m.Helper()
	r, _ := m.update(args...)
	if r.Outcome != agent.Updated {
		m.Fatalf("the update to %s ended with %s %v, want updated", p.version(), r.Outcome, r.FailReason)
	}
	m.installed = p
	m.checkActive()
	if left := m.staging(); len(left) > 0 {
		m.Errorf("left in .staging: %v", left)
	}
	return r
}

// wantFailed runs an update that must fail, and checks what was shown.
func (m *machine) wantFailed(code string, args ...string) result {
	m.Helper()
	r, _ := m.update(args...)
	if r.Outcome != agent.Failed || r.code() != code {
		m.Fatalf("the update ended with %s %v, want failed with %s", r.Outcome, r.FailReason, code)
	}
	return r
}

// wantUpToDate runs an update that finds nothing new.
func (m *machine) wantUpToDate(args ...string) result {
	m.Helper()
	r, _ := m.update(args...)
	if r.Outcome != agent.UpToDate || r.FailReason != nil {
		m.Fatalf("the update ended with %s %v, want upToDate", r.Outcome, r.FailReason)
	}
	return r
}

// checkActive plays the engine: it resolves current once and reads all files of
// the set from there. They must be those that were published, and no others.
func (m *machine) checkActive() {
	m.Helper()
	set, err := filepath.EvalSymlinks(filepath.Join(m.paths.Engine, "current"))
	if err != nil {
		m.Fatalf("no set is active: %v", err)
	}
	var names []string
	entries, err := os.ReadDir(set)
	m.must(err)
	for _, entry := range entries {
		if entry.Name() != "META" {
			names = append(names, entry.Name())
		}
	}
	if want := m.installed.names(); !slices.Equal(names, want) {
		m.Errorf("the active set %s has %v, want %v", filepath.Base(set), names, want)
		return
	}
	for name, content := range m.installed.files {
		data, err := os.ReadFile(filepath.Join(set, name))
		m.must(err)
		if string(data) != content {
			m.Errorf("%s of the active set %s is not what was published", name, filepath.Base(set))
		}
	}
}

// A snapshot is each path below a root with all that may not change of it.
type snapshot map[string]string

// snapshot looks at everything below the root but .staging, and of what the agent
// remembers only at whether it is there.
func (m *machine) snapshot() snapshot {
	m.Helper()
	s := snapshot{}
	m.must(filepath.WalkDir(m.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == filepath.Join(m.paths.Engine, ".staging") || path == filepath.Join(m.paths.State, "crls") {
			return filepath.SkipDir
		}
		rel, _ := filepath.Rel(m.root, path)
		switch {
		case d.IsDir():
			info, err := d.Info()
			s[rel] = info.Mode().String()
			return err
		case m.ofState(path):
			return nil
		}
		s[rel], err = describe(path)
		return err
	}))
	return s
}

// ofState tells a file in which the agent keeps what it remembers.
func (m *machine) ofState(path string) bool {
	own := []string{"state.json", "status.json", "lock"}
	return filepath.Dir(path) == m.paths.State && slices.Contains(own, filepath.Base(path)) ||
		filepath.Dir(path) == filepath.Join(m.paths.State, "last-good")
}

// describe is mode, size, time and content of a file.
func describe(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(path)
		return fmt.Sprint(info.Mode(), info.ModTime().UnixNano(), target), err
	}
	data, err := os.ReadFile(path)
	return fmt.Sprintf("%s %d %d %x", info.Mode(), info.Size(), info.ModTime().UnixNano(), sha256.Sum256(data)), err
}

// wantSame checks that nothing has changed since.
func (m *machine) wantSame(before snapshot) {
	m.Helper()
	after := m.snapshot()
	for path, was := range before {
		if after[path] != was {
			m.Errorf("%s was %q and is %q", path, was, after[path])
		}
		delete(after, path)
	}
	for path := range after {
		m.Errorf("%s is new", path)
	}
}

// staging gives the names of what lies in .staging.
func (m *machine) staging() (names []string) {
	m.Helper()
	entries, err := os.ReadDir(filepath.Join(m.paths.Engine, ".staging"))
	if err != nil && !missing(err) {
		m.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// kept is how many bytes of transfers that may be resumed lie in .staging.
func (m *machine) kept() (sum int64) {
	m.Helper()
	m.eachKept(func(_ string, size int64) { sum += size })
	return sum
}

// eachKept does something with each file of such a transfer.
func (m *machine) eachKept(do func(path string, size int64)) {
	m.Helper()
	files, err := filepath.Glob(filepath.Join(m.paths.Engine, ".staging", "part-*", "*"))
	m.must(err)
	for _, path := range files {
		info, err := os.Lstat(path)
		m.must(err)
		do(path, info.Size())
	}
}

// checkStaging checks that a failed run has left nothing but what may be resumed,
// and not too much of that.
func (m *machine) checkStaging() {
	m.Helper()
	for _, name := range m.staging() {
		if !strings.HasPrefix(name, "part-") {
			m.Errorf("%s is left in .staging", name)
		}
	}
	if kept := m.kept(); kept > diskSlack {
		m.Errorf("%d bytes are kept of the transfer, at most %d may be", kept, diskSlack)
	}
}

// wantHealth checks status and fail reason in the report, as text, where each row
// has to be one line, and as JSON. code is empty for no fail reason.
func (m *machine) wantHealth(status, code string) {
	m.Helper()
	const rows = 12
	e := m.run("health", "--details", "definitions")
	lines := strings.Split(strings.TrimSuffix(e.stdout, "\n"), "\n")
	if e.exit != 0 || len(lines) != rows {
		m.Fatalf("exit %d, and the report has %d lines, want %d:\n%s%s", e.exit, len(lines), rows, e.stdout, e.stderr)
	}
	reason := `""`
	if code != "" {
		reason = `"` + code + `: `
	}
	for field, want := range map[string]string{"definitions_status": `"` + status + `"`, "definitions_update_fail_reason": reason} {
		i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, field+" ") })
		if _, got, _ := strings.Cut(lines[max(i, 0)], " : "); i < 0 || !strings.HasPrefix(got, want) {
			m.Errorf("the report has %q, want %s : %s", lines[max(i, 0)], field, want)
		}
	}
	e = m.run("health", "--details", "definitions", "--output", "json")
	var report struct {
		Reason string `json:"definitionsUpdateFailReason"`
	}
	m.must(json.Unmarshal([]byte(e.stdout), &report))
	if got, _, _ := strings.Cut(report.Reason, ":"); got != code {
		m.Errorf("the report in JSON has the fail reason %q, want %s", report.Reason, code)
	}
}

// wantNote checks that the report has a note.
func (m *machine) wantNote(note string) {
	m.Helper()
	if e := m.run("health", "--details", "definitions", "--output", "json"); !strings.Contains(e.stdout, note) {
		m.Errorf("the report does not say %s:\n%s", note, e.stdout)
	}
}

// state is where the agent keeps what it has to remember.
func (m *machine) state() string { return filepath.Join(m.paths.State, "state.json") }

// wantVerified has the program itself hash all sets.
func (m *machine) wantVerified() {
	m.Helper()
	if e := m.run("definitions", "verify"); e.exit != 0 {
		m.Errorf("definitions verify: exit %d\n%s%s", e.exit, e.stdout, e.stderr)
	}
}
