package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/health"
)

func reportOf(a *agent.Agent) health.Report {
	return health.Definitions(a.Facts(context.Background()))
}

// The twelve rows of a machine in order, one with nothing, and markers.
func TestReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lines := func() []string { return strings.Split(strings.TrimSpace(w.health(nil).Text()), "\n") }
	if rows := lines(); len(rows) != 12 || !strings.HasSuffix(rows[4], `"unavailable"`) {
		t.Errorf("with nothing:\n%s", strings.Join(rows, "\n"))
	}
	w.offline(w.ring, false, "")
	w.write(w.agent.Paths.Local, []byte(`{"cloudService":{"automaticDefinitionUpdateEnabled":true}}`))
	w.run([]step{installed(1)})
	updated := time.Now()
	rows := lines()
	for i, want := range []string{": true", "", "", `: "` + name(1) + `"`, `: "up_to_date"`, `: "` + w.ring + `"`, `: ""`,
		`: "` + w.ring + `" [managed]`, `: "enabled" [managed]`, `: "enabled"`, `: "enabled"`, ": false [managed]"} {
		if !strings.HasSuffix(rows[i], want) {
			t.Errorf("row %d is %s, want %s", i+1, rows[i], want)
		}
	}
	facts := w.agent.Facts(context.Background())
	if d := facts.Installed.Updated.Sub(updated).Abs(); d > time.Minute {
		t.Errorf("updated at %s", facts.Installed.Updated)
	}
	data, err := w.health(nil).JSON()
	must(t, err)
	var object map[string]any
	must(t, json.Unmarshal(data, &object))
	if object["$type"] != "getHealthDetailsDefinitionsResult" || object["definitionsVersion"] != name(1) {
		t.Errorf("JSON is %s", data)
	}
}

// Held updates, and a level that turns them off, stand in the notes.
func TestReportSaysWhatStopsUpdates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure(`{"antivirusEngine":{"enforcementLevel":"passive","offlineDefinitionUpdate":"enabled","offlineDefinitionUpdateUrl":"/srv/production"}}`)
	if notes := fmt.Sprint(w.agent.Facts(context.Background()).Notes); !strings.Contains(notes, "passive") {
		t.Errorf("notes %s", notes)
	}
}

// reachable lets other users walk down to the world.
func (w *world) reachable() {
	for dir := w.agent.Paths.Root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		must(w, os.Chmod(dir, 0o755))
	}
}

// asNobody makes a child run as a user without rights.
func asNobody(t testing.TB, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: to become another user the test must run as root")
	}
	cmd.Dir = "/"
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	return cmd
}

// What ends shows before there is a set, too: by then it may be what keeps the first
// from coming.
func TestReportSaysWhatEndsWithoutASet(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.trust("root.crl", crl(t, s.root, 1, nil))
	ends := func() string {
		var all []string
		for _, e := range s.agent.Facts(t.Context()).Endings {
			all = append(all, fmt.Sprintf("%s %s %t", e.Object, e.At.Format(time.DateOnly), e.Warning != ""))
		}
		return strings.Join(all, ", ")
	}
	root, list := s.start.AddDate(1, 0, 0).Format(time.DateOnly), s.start.AddDate(0, 6, 0).Format(time.DateOnly)
	if got, want := ends(), fmt.Sprintf("root %s false, crl %s false", root, list); got != want {
		t.Errorf("with nothing: %s, want %s", got, want)
	}
	s.at(s.start.AddDate(0, 6, -1))
	if got, want := ends(), fmt.Sprintf("root %s false, crl %s true", root, list); got != want {
		t.Errorf("a day before the list's: %s, want %s", got, want)
	}
	s.at(s.start.AddDate(1, 0, -1))
	if exit, line := health.Check(s.agent.Facts(t.Context())); exit != health.CheckCritical || !strings.Contains(line, "the root certificate ends at ") {
		t.Errorf("%d, %s", exit, line)
	}
	s.at(s.start)
	s.install(pack{n: 1})
	if got := ends(); !strings.HasPrefix(got, "signer ") || !strings.Contains(got, "list ") {
		t.Errorf("with a set: %s", got)
	}
}

// Any user may ask for the report, and gets the same one.
func TestReportForAnyUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.offline(site.ringURL(), false, "")
	w.run([]step{installed(1)})
	w.reachable()
	want := w.health(nil).Text()
	out, err := asNobody(t, w.child("health")).CombinedOutput()
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
	// And also where the configuration is for root alone.
	must(t, os.Chmod(w.agent.Paths.Managed, 0o600))
	out, err = asNobody(t, w.child("health")).CombinedOutput()
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
}

// A user without rights is told so before anything is asked or changed.
func TestUpdateByAnyUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.offline(site.ringURL(), false, "")
	w.run([]step{installed(1)})
	w.publish(pack{n: 2})
	w.reachable()
	before := site.asked.Load()
	out, err := asNobody(t, w.child("update")).CombinedOutput()
	if exit := exitOf(err); exit != 77 || !strings.HasPrefix(string(out), "failed permission_denied") || site.asked.Load() != before {
		t.Errorf("exit %d, %s", exit, out)
	}
	w.has(1)
	w.status("up_to_date", "")
}

func exitOf(err error) int {
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode()
	}
	return -1
}

// Started by root, the agent goes on as the owner of its state, and leaves
// nothing there that the owner can't write.
func TestBecomeOwner(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: to become another user the test must run as root")
	}
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.publish(pack{n: 1})
	must(t, os.MkdirAll(w.agent.Paths.State, 0o755))
	must(t, os.Chown(w.agent.Paths.State, 65534, 65534))
	w.reachable()
	for dir := w.ring; len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755))
	}
	cmd := w.child("becomeOwnerAndUpdate")
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "updated  65534 65534\n" {
		t.Fatalf("%v %s", err, out)
	}
	w.has(1)
	must(t, filepath.Walk(w.agent.Paths.State, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Sys().(*syscall.Stat_t).Uid != 65534 {
			t.Errorf("%s belongs to another", path)
		}
		return err
	}))
}

// While another process holds the lock, any user sees that it updates.
func TestUpdatingIsSeenByOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.offline(site.ringURL(), false, "")
	w.run([]step{installed(1)})
	held, let := make(chan struct{}), make(chan struct{})
	w.publish(pack{n: 2})
	site.onRing(w, blockOnce(w, held, let))
	done := make(chan agent.Result)
	go func() { done <- w.agent.Update(context.Background(), agent.Options{}) }()
	<-held
	w.status("updating", "")
	out, err := w.child("health").CombinedOutput()
	if err != nil || !strings.Contains(string(out), `: "updating"`) {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = w.child("update").CombinedOutput()
	if exit := exitOf(err); exit != 75 || !strings.HasPrefix(string(out), "failed busy") {
		t.Errorf("exit %d, %s", exit, out)
	}
	close(let)
	if r := <-done; r.Outcome != agent.Updated {
		t.Errorf("%+v", r)
	}
	w.status("up_to_date", "")
}

// That the clock is wrong shows as long as it is, and no longer.
func TestReportSaysClockWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1)})
	w.at(time.Unix(0, 0))
	w.want(agent.UpToDate, "")
	if notes := fmt.Sprint(w.agent.Facts(context.Background()).Notes); notes != "[clock_wrong]" {
		t.Errorf("notes %s", notes)
	}
	w.at(base)
	if notes := fmt.Sprint(w.agent.Facts(context.Background()).Notes); notes != "[]" {
		t.Errorf("notes %s", notes)
	}
}

// Of a configuration that can't be read nothing is claimed.
func TestReportWithoutConfiguration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("{")
	facts := w.agent.Facts(context.Background())
	if len(facts.Notes) != 0 || facts.Failure == nil || facts.Failure.Code != "config_invalid" {
		t.Errorf("notes %v, failure %v", facts.Notes, facts.Failure)
	}
	w.configure("{}")
	if notes := fmt.Sprint(w.agent.Facts(context.Background()).Notes); !strings.Contains(notes, "never configured") {
		t.Errorf("notes %s", notes)
	}
}

// A strict umask, as hardened machines have it, takes nothing from readers.
func TestStrictUmask(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.publish(pack{n: 1})
	cmd := w.child("update")
	self, err := os.Executable()
	must(t, err)
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `umask 077; exec "$0"`, self}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	w.has(1)
	for path, want := range map[string]os.FileMode{filepath.Dir(w.agent.Paths.State): 0o755, w.agent.Paths.State: 0o755, w.agent.Paths.Engine: 0o755, w.engine(w.active()): 0o755,
		w.engine(w.active() + "/META"): 0o755, w.engine(w.active() + "/base.vdm"): 0o444, w.engine(".staging"): 0o700,
		w.state("status.json"): 0o644, w.state("state.json"): 0o600, w.state("lock"): 0o600} {
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("%s has the mode %v, want %v", path, info.Mode().Perm(), want)
		}
	}
}

// While a broken file is stood in for by its copy, the report shows what the copy says,
// although nothing was done since it was taken.
func TestReportShowsTheCopyInForce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.publish(pack{n: 1})
	w.want(agent.Updated, "")
	w.write(w.agent.Paths.Managed, fmt.Appendf(nil, `{"antivirusEngine":{"offlineDefinitionUpdate":"enabled","offlineDefinitionUpdateUrl":%q,"enforcementLevel":"passive"}}`, w.ring))
	if r := w.update(agent.Options{Scheduled: true}); r.Outcome != agent.Skipped {
		t.Fatalf("the update is %s", r.Outcome)
	}
	w.write(w.agent.Paths.Managed, []byte("{"))
	f := w.agent.Facts(t.Context())
	if f.Enforcement.Value != "passive" || !strings.Contains(f.Rule, "passive") || f.Failure == nil || f.Failure.Code != "config_invalid" {
		t.Errorf("the report has the level %q, the rule %q, the failure %v", f.Enforcement.Value, f.Rule, f.Failure)
	}
}
