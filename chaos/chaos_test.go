package chaos

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/chaos/trace"
)

// build makes the program as it is installed: what is tested is that, and not what
// the race detector makes of it. Where that is not possible, as for a user who has no
// access to the modules that it needs, the test says so.
func build(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("SKIPPED: the Go tool is missing, and the program can't be built without it")
	}
	program := filepath.Join(t.TempDir(), "agent")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs", "-ldflags", "-s -w", "-o", program, "../cmd/agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOPROXY=off", "GOTOOLCHAIN=local")
	if out, err := cmd.CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("GOPROXY=off")) || bytes.Contains(out, []byte("permission denied")) {
			t.Skipf("SKIPPED: this user can't build the program (run it as the user who has the modules)\n%s", out)
		}
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

// number is what an environment variable says, or what stands for none.
func number(t *testing.T, name string, none uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return none
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestSample is the share of the sweep that every run of the suite makes: as much as
// it can in half a minute. With CHAOS_SEED and CHAOS_POINTS it makes the same once more, or
// another, however long that takes.
func TestSample(t *testing.T) {
	t.Parallel()
	sweepSome(t, Options{Within: 30 * time.Second})
}

// TestVendorSample is the same for the profiles that ask for a vendor's signatures, which
// nothing but tests can make. `make chaos` has it make the whole sweep: CHAOS_POINTS=0 of
// CHAOS_PROGRAM below CHAOS_DIR, with the certificate in CHAOS_CERTIFICATE. CHAOS_ONLY
// has it make only what is called like that.
func TestVendorSample(t *testing.T) {
	t.Parallel()
	c := sweepSome(t, Options{Vendor: newVendor(t), Only: os.Getenv("CHAOS_ONLY"), Within: 20 * time.Second})
	path := os.Getenv("CHAOS_CERTIFICATE")
	if path == "" {
		return
	}
	var text bytes.Buffer
	c.Text(&text)
	if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
		t.Error(err)
	}
}

// sweepSome makes as much of a sweep as the environment says, or a sample.
func sweepSome(t *testing.T, o Options) Certificate {
	t.Helper()
	const sample = 150
	o.Seed, o.Points = number(t, "CHAOS_SEED", rand.Uint64N(1e6)), int(number(t, "CHAOS_POINTS", sample))
	if os.Getenv("CHAOS_SEED")+os.Getenv("CHAOS_POINTS") != "" {
		o.Within = 0
	}
	t.Logf("repeat it with CHAOS_SEED=%d CHAOS_POINTS=%d", o.Seed, o.Points)
	if o.Dir = os.Getenv("CHAOS_DIR"); o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Program, o.Version = os.Getenv("CHAOS_PROGRAM"), cmp.Or(os.Getenv("CHAOS_VERSION"), "test"); o.Program == "" {
		o.Program = build(t)
	}
	done, total := 0, 2*o.Points
	o.Progress = func(n, all int) {
		if done++; n != done || o.Points != 0 && all != total {
			t.Errorf("%d of %d runs are told, at the %d. of %d", n, all, done, total)
		}
		if total = all; n%500 == 0 {
			t.Logf("%d of %d runs are made", n, all)
		}
	}
	o.Found = func(v Violation) { t.Errorf("%s: %s", v.Run, v.What) }
	c, err := Sweep(t.Context(), o)
	if errors.Is(err, trace.ErrUnsupported) {
		t.Skipf("SKIPPED: %v; allow ptrace, on amd64 or arm64", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	c.Text(&text)
	t.Log(text.String())
	made := 0
	for _, s := range c.Scenarios {
		made += s.Kills + s.Missed
		for _, n := range s.Faults {
			made += n
		}
		if s.Points < 300 {
			t.Errorf("%s has %d points only", s.Name, s.Points)
		}
	}
	if made != done || o.Within == 0 && done != total {
		t.Errorf("the certificate has %d runs, and %d of %d were made", made, done, total)
	}
	if _, err := os.Stat(filepath.Join(o.Dir, workDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the sweep leaves its directory, %v", err)
	}
	if o.Points == 0 && !c.Passed() {
		t.Error("the whole sweep has not passed")
	}
	return c
}

// A whole name of a run needs one scenario alone, and no name of a run that is of none.
func TestOnly(t *testing.T) {
	t.Parallel()
	o := Options{Dir: t.TempDir(), Program: build(t), Only: "fresh, kill at renameat current 1", Progress: func(int, int) {}, Found: func(v Violation) { t.Error(v) }}
	c, err := Sweep(t.Context(), o)
	if errors.Is(err, trace.ErrUnsupported) {
		t.Skipf("SKIPPED: %v; allow ptrace, on amd64 or arm64", err)
	}
	if err != nil || len(c.Scenarios) != 1 || c.Scenarios[0].Name != "fresh" || c.Scenarios[0].Kills != 1 {
		t.Errorf("%v, %+v", err, c.Scenarios)
	}
	if o.Only = "nothing, kill at renameat current 1"; err == nil {
		_, err = Sweep(t.Context(), o)
	}
	if !errors.Is(err, ErrNoRuns) {
		t.Errorf("of no scenario: %v", err)
	}
}

// Which scenarios a run's name, or a part of it, can belong to.
func TestOnlySomeScenarios(t *testing.T) {
	t.Parallel()
	for only, want := range map[string][]string{
		"":                                {"full", "rollback", "failed-postload"},
		"EIO at fsync":                    {"full", "rollback", "failed-postload"},
		"postload":                        {"full", "rollback", "failed-postload"}, // which a point may be called, too
		"full, EIO at fsync set-dir 1":    {"full"},
		"back, kill at":                   nil,
		"nonesuch, kill at fsync set-dir": nil,
	} {
		var may []string
		for _, name := range []string{"full", "rollback", "failed-postload"} {
			if (scenario{name: name}).mayBe(only) {
				may = append(may, name)
			}
		}
		if !slices.Equal(may, want) {
			t.Errorf("%q may be of %q, want %q", only, may, want)
		}
	}
}

// What an earlier sweep left is not touched, and not worked in.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kept := filepath.Join(dir, workDir, "kept")
	if err := os.MkdirAll(kept, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Sweep(t.Context(), Options{Dir: dir, Program: "/bin/false"}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the error is %v", err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

// A sweep is not made where another user could put a link in its way.
func TestForeignDirectories(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode    fs.FileMode
		foreign bool
	}{{0o700, false}, {0o755, false}, {0o777 | fs.ModeSticky, false}, {0o777, true}, {0o775, true}} {
		dir := filepath.Join(t.TempDir(), "above")
		below := filepath.Join(dir, "below")
		if err := errors.Join(os.MkdirAll(below, 0o755), os.Chmod(dir, c.mode)); err != nil {
			t.Fatal(err)
		}
		for _, where := range []string{dir, below} {
			if err := own(where); errors.Is(err, ErrForeign) != c.foreign {
				t.Errorf("with the mode %s above it: %v", c.mode, err)
			}
		}
		if _, err := Sweep(t.Context(), Options{Dir: below, Program: "/bin/false"}); errors.Is(err, ErrForeign) != c.foreign {
			t.Errorf("with the mode %s above it, the sweep ends with %v", c.mode, err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can give a directory to another user")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 65534, -1); err != nil {
		t.Fatal(err)
	}
	if err := own(dir); !errors.Is(err, ErrForeign) {
		t.Errorf("with another owner: %v", err)
	}
}

// updater begins each of the programs below, which stand for an agent with a fault.
// $2 is the root; 1 is active, and the real agent makes 2 so.
const updater = `#!/bin/sh
cd $2/var/opt/mdatp-agent/definitions.noindex || exit 9
set=$(readlink current)
agent() { AGENT "$@" >/dev/null; set=$(readlink current); }
`

// good is what a program says that worked.
const good = `echo '{"failReason":null}'`

// violates is what a program does, and what is to be found then.
type violates struct{ does, finds string }

// A sweep is worth what it finds. Each of these programs does what no agent must,
// or says what it must not.
func TestViolationsAreFound(t *testing.T) {
	t.Parallel()
	areFound(t, "full", nil, map[string]violates{
		"a moment without current":      {`rm current; ln -s $set current; ` + good, "current is gone"},
		"current leads out":             {`ln -s ../definitions.noindex/$set new; mv -T new current; ` + good, "not directly below"},
		"current leads to half a set":   {`mkdir 1.407.2.0-00000000; ln -s 1.407.2.0-00000000 new; mv -T new current; ` + good, "the list of 1.407.2.0-00000000"},
		"previous leads to nothing":     {`ln -s 1.407.0.0-00000000 previous; ` + good, "the list of 1.407.0.0-00000000"},
		"a set that was changed":        {`cp -r $set copy; rm -f copy/mpasbase.vdm; echo x >copy/mpasbase.vdm; chmod 444 copy/mpasbase.vdm; mv $set old; mv copy $set; ln -s $set new; mv -T new current; ` + good, "mpasbase.vdm is not what was signed"},
		"a record that is no JSON":      {`echo '{' >../state.json; ` + good, "state.json is no JSON"},
		"a fault of its own":            {`echo '{"failReason":{"code":"internal"}}'; exit 70`, "the reason internal"},
		"an exit code that is not its":  {`echo '{"failReason":{"code":"disk_full"}}'; exit 65`, "exit code 65 with the reason disk_full"},
		"an exit code of nobody's":      {`exit 2`, "exit code 2, and on stdout"},
		"a line on stderr":              {`echo panic >&2; exit 2`, "exit code 2, and on stderr"},
		"it says that it worked":        {good, "installed are [\"1.407.1.0\"]"},
		"something is left in .staging": {`touch .staging/x; ` + good, "leftovers in .staging"},
		"a moment without a floor":      {`sed -i '/"floors"/,/^  \],/d' ../state.json; agent "$@"; ` + good, "readers see that state.json forgets that version 1.407.1.0"},
		"a floor that did not rise":     {`agent "$@"; sed -i '0,/"definitionVersion": "1.407.2.0"/s//"definitionVersion": "1.407.1.0"/' ../state.json; ` + good, "state.json forgets that version 1.407.2.0"},
		"a state that is gone":          {`agent "$@"; rm ../state.json; ` + good, "state.json: no such file"},
		"a status that is gone":         {`agent "$@"; rm ../status.json; ` + good, "status.json: no such file"},
		"a status of the set before":    {`agent "$@"; sed -i "s/\"set\": \"$set\"/\"set\": \"$(readlink previous)\"/" ../status.json; ` + good, "status.json has another active set"},
		"a file that nobody hashed":     {`agent "$@"; cp $set/mpasbase.vdm new; mv -f new $set/mpasbase.vdm; ` + good, "status.json does not have mpasbase.vdm as it looks"},
		"a revocation list is not kept": {`agent "$@"; rm ../crls/*; ` + good, "a revocation list is not kept"},
	})
}

// Under the profile vendor there is more that can be wrong.
func TestViolationsAreFoundUnderVendor(t *testing.T) {
	t.Parallel()
	areFound(t, "vendor", newVendor(t), map[string]violates{
		"a list that the files do not prove": {`agent "$@"; sed -i s/1.407.2.0/1.407.3.0/ $set/META/package.json; ` + good, "is none that was published"},
		"a list that nobody signed":          {`agent "$@"; mv $set/META/package.json $set/META/package.p7m; ` + good, "is none that was published"},
		"a file of nobody's":                 {`agent "$@"; cp $set/mpasbase.vdm new; chmod 644 new; echo x >>new; chmod 444 new; mv -f new $set/mpasbase.vdm; ` + good, "mpasbase.vdm is not what was signed"},
		"signatures that nobody judged":      {`agent "$@"; sed -i 's/"under": ".*"/"under": ""/' ../status.json; ` + good, "the vendor's signatures were judged: false"},
		"a status of another profile":        {`agent "$@"; sed -i 's/"trustProfile": "vendor"/"trustProfile": "list"/' ../status.json; ` + good, "tells of the profile list"},
		"a time stamp that is forgotten":     {`sed -i '0,/"issued": ".*"/s//"issued": "2020-01-01T00:00:00Z"/' ../state.json; agent "$@"; ` + good, "readers see that state.json forgets that version 1.407.1.0"},
		"a revocation list is not kept":      {`agent "$@"; rm ../crls/*; ` + good, "a revocation list is not kept"},
		"something is left in .staging":      {`agent "$@"; touch .staging/x; ` + good, "leftovers in .staging"},
	})
}

// areFound checks that each is found when that scenario runs.
func areFound(t *testing.T, name string, vendor *Vendor, all map[string]violates) {
	t.Helper()
	agent := build(t)
	for what, c := range all {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b, s := prepared(t, agent, name, vendor)
			b.program = filepath.Join(b.lab.dir, "program")
			if err := os.WriteFile(b.program, []byte(strings.Replace(updater, "AGENT", agent, 1)+c.does+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			_, err := b.count(t.Context(), s)
			if errors.Is(err, trace.ErrUnsupported) {
				t.Skipf("SKIPPED: %v; allow ptrace, on amd64 or arm64", err)
			}
			if err == nil || !strings.Contains(err.Error(), c.finds) {
				t.Errorf("found was: %v", err)
			}
		})
	}
}

// A program that hangs is ended, and that is a violation.
func TestHangs(t *testing.T) {
	t.Parallel()
	b, s := prepared(t, build(t), "full", nil)
	b.program = filepath.Join(b.lab.dir, "program")
	if err := os.WriteFile(b.program, []byte("#!/bin/sh\nwhile :; do sleep 1000; done\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.limit = 1 // a nanosecond, which is over before anything else can happen
	if _, err := b.count(t.Context(), s); err == nil || !strings.Contains(err.Error(), "hangs") && !errors.Is(err, trace.ErrUnsupported) {
		t.Errorf("found was: %v", err)
	}
}

// prepared is one scenario, and a place for its runs.
func prepared(t *testing.T, agent, name string, vendor *Vendor) (*bench, *start) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLab(dir, agent, vendor)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	all := slices.DeleteFunc(slices.Concat(scenarios(), vendorScenarios()), func(s scenario) bool { return s.name != name })
	starts, err := l.prepareAll(context.Background(), all)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{lab: l, dir: filepath.Join(dir, "run-0")}, starts[0]
}

// A copy of a machine is the machine to the agent: it finds the sets untouched, and
// what a run does to the copy is not done to the machine.
func TestCopiesOfMachines(t *testing.T) {
	t.Parallel()
	b, s := prepared(t, build(t), "full", nil)
	state := func() string {
		var all strings.Builder
		err := filepath.WalkDir(s.root, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err == nil && e.Type().IsRegular() {
				data, _ := os.ReadFile(path)
				all.Write(data)
			}
			all.WriteString(path + info.Mode().String() + info.ModTime().String() + "\n")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all.String()
	}
	before := state()
	points, err := b.count(t.Context(), s)
	if errors.Is(err, trace.ErrUnsupported) {
		t.Skipf("SKIPPED: %v; allow ptrace, on amd64 or arm64", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if state() != before {
		t.Error("a run has changed the machine that it began with a copy of")
	}
	committed := slices.IndexFunc(points, func(p trace.Point) bool { return p.Name() == "renameat current 1" })
	hashed := slices.ContainsFunc(points[:max(committed, 0)], func(p trace.Point) bool { return p.Call.Name == "read" && p.Kind == "set-file" })
	if committed < 0 || hashed {
		t.Errorf("current was renamed at %d; the set before was hashed: %v", committed, hashed)
	}
}

// Nothing that the agent does to a file of its own stays without faults.
func TestFaultsOf(t *testing.T) {
	t.Parallel()
	for point, want := range map[string]string{
		"write staged-file":  "ENOSPC EDQUOT EIO EINTR",
		"fsync set-dir":      "ENOSPC EDQUOT EIO EINTR",
		"renameat current":   "ENOSPC EDQUOT EIO EROFS EACCES",
		"unlinkat part":      "EROFS EACCES",
		"openat set-file":    "EIO EMFILE EINTR EACCES",
		"getdents64 staging": "EIO",
		"close staged-file":  "EIO",
		"openat crl-new":     "EIO EMFILE EINTR EACCES",
		"socket socket":      "EMFILE EACCES",
		"read socket":        "EIO EINTR",
		"read pipe":          "EINTR",
		"connect socket":     "EINTR EACCES",
		"flock lock":         "EINTR",
	} {
		call, kind, _ := strings.Cut(point, " ")
		var got []string
		for _, f := range faultsOf(trace.Point{Call: trace.Call{Name: call}, Kind: kind}) {
			got = append(got, f.String())
			if f.after != (call == "close") {
				t.Errorf("%s: the call is made: %v", point, f.after)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s can fail with %q, want %q", point, got, want)
		}
	}
}

// What the child does can also end with it, and what a hook does is not the agent's.
func TestKillsOfTheChild(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		child bool
		kind  string
		want  bool
	}{{true, "socket", true}, {false, "socket", false}, {true, "hook", false}} {
		got := slices.Contains(faultsOf(trace.Point{Call: trace.Call{Name: "read", Child: c.child}, Kind: c.kind}), fault{alone: true})
		if got != c.want {
			t.Errorf("%+v: it is killed alone: %v", c, got)
		}
	}
}

// The file's name is that of its content, so that every run has another.
func TestKindsOfRevocationLists(t *testing.T) {
	t.Parallel()
	name := stateDir + "/crls/" + strings.Repeat("0f", 32) + ".crl"
	temporary := stateDir + "/crls/." + strings.Repeat("0f", 32) + ".crl123"
	for path, want := range map[string]string{path.Dir(name): "crls", name: "crl", temporary: "crl-new", trustDir + "/root.crl": "trust", seedDir + "/META": "seed"} {
		if got := (kinds{root: "/r"}).of(trace.Call{Path: "/r/" + path}); got != want {
			t.Errorf("%s is of the kind %q, not %q", path, got, want)
		}
	}
}

// Who can't say how it ended is forgiven for that, and for nothing else.
func TestForgiven(t *testing.T) {
	t.Parallel()
	for _, said := range []string{"", `{"failReason":{"code":"internal"}}`, `{`} {
		if _, err := endingOf(70, []byte(said), nil); err == nil || !forgiven(err) {
			t.Errorf("%q: %v", said, err)
		}
	}
	if seen := fmt.Errorf("readers see that %w", errors.New("current is gone")); forgiven(seen) {
		t.Error("what readers saw is forgiven")
	}
}

// Where a scenario says nothing of it, there is always an active set, and none but those
// that it names.
func TestMeanwhile(t *testing.T) {
	t.Parallel()
	b, s := prepared(t, build(t), "full", nil)
	if err := b.set(s); err != nil {
		t.Fatal(err)
	}
	engine := filepath.Join(b.root(), engineDir)
	if err := b.readable(s); err != nil {
		t.Error(err)
	}
	other := *s
	other.between = []uint32{2}
	if err := b.readable(&other); err == nil {
		t.Error("a version of another scenario will do")
	}
	if err := os.Remove(filepath.Join(engine, "current")); err != nil {
		t.Fatal(err)
	}
	if err := b.readable(s); err == nil || !strings.Contains(err.Error(), "current is gone") {
		t.Errorf("without current, found was: %v", err)
	}
	if err := b.keeps(s); err != nil || len(s.whole) != 1 {
		t.Errorf("%q are whole: %v", s.whole, err)
	}
	other.between = []uint32{0, 1}
	if err := b.readable(&other); err != nil {
		t.Errorf("where it may be missing, found was: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(engine, s.whole[0])); err != nil {
		t.Fatal(err)
	}
	if err := b.keeps(s); err == nil {
		t.Error("a good set is gone, and that was not found")
	}
}

// The certificates that go with the program are there, have every scenario, and say that
// all is well.
func TestCertificatesThatAreKept(t *testing.T) {
	t.Parallel()
	for name, all := range map[string][]scenario{"certificate": append(scenarios(), pathMove()), "vendor": vendorScenarios()} {
		text, err := os.ReadFile("results/" + name + ".md")
		if err != nil {
			t.Fatal(err)
		}
		wants := []string{"# Crash points and faults\n", "| runs | every point and every fault |", "| **violations** | **0** |"}
		for _, s := range all {
			wants = append(wants, "\n| "+s.name+" | ")
		}
		for _, want := range wants {
			if !bytes.Contains(text, []byte(want)) {
				t.Errorf("%s.md has no %q", name, want)
			}
		}
		for _, bad := range []string{"VIOLATION", "FAILED"} {
			if bytes.Contains(text, []byte(bad)) {
				t.Errorf("%s.md has a %s", name, bad)
			}
		}
	}
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	c := newCertificate(Options{Version: "1.2.3", Seed: 7, Points: 2}, t.TempDir())
	c.Scenarios = []Scenario{{Name: "full", Points: 5, Kills: 1, Faults: map[string]int{"EIO": 1}, Missed: 2, NotReached: []string{"read socket 9"}, Violations: 1}}
	c.Violations = []Violation{{"full, EIO at fsync set-dir 1", "current is gone"}}
	c.LeftOut = []string{"another one"}
	var text strings.Builder
	c.Text(&text)
	for _, want := range []string{"| program | 1.2.3 |", "| seed | 7 |", "| runs | 2 kills and 2 faults, chosen at random |", "| full | 5 | 1 | 1 | 2 | 1 | 1 | 0 |",
		"| scenario | points | killed at | EIO | missed | not reached |", "**1**", "Reached by no run of full: read socket 9.", "Left out: another one.",
		"VIOLATION in full, EIO at fsync set-dir 1: current is gone"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in the certificate:\n%s", want, text.String())
		}
	}
	if c.Passed() || !strings.Contains(text.String(), "**FAILED**") {
		t.Error("it passes in spite of a violation")
	}
	c.Violations = nil
	if !c.Passed() || c.Unreached() != 1 {
		t.Error("it does not pass")
	}
	c.Scenarios[0].NotReached = make([]string, MostUnreached+1)
	if c.Passed() {
		t.Error("it passes, and shows too little")
	}
	if c.FileSystem == "unknown" || c.Kernel == "unknown" {
		t.Errorf("kernel %q, file system %q", c.Kernel, c.FileSystem)
	}
	empty, err := json.Marshal(newCertificate(Options{}, "/"))
	if err != nil || bytes.Contains(empty, []byte("null")) {
		t.Errorf("what is empty is %s, %v", empty, err)
	}
}
