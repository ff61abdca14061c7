package metrics_test

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/health"
	"mdatp-offline-agent/health/metrics"
)

var now = time.Date(2026, time.November, 23, 18, 15, 30, 0, time.UTC)

const day = 24 * time.Hour

// facts are those of an endpoint on which all is well and everything is known.
func facts() health.Facts {
	return health.Facts{
		Now:             now,
		AutomaticUpdate: health.Setting[bool]{Value: true},
		Installed: &health.Installed{
			DefinitionVersion: "1.407.417.0",
			EngineVersion:     "1.1.24080.9",
			Released:          now.Add(-6 * time.Hour),
			Issued:            now.Add(-4 * time.Hour),
			Expires:           now.Add(14 * day),
			Updated:           now.Add(-2 * time.Minute),
		},
		Due:          7 * day,
		SourceURI:    "http://mirror.example:8000/linux/production/",
		NextCheck:    now.Add(8 * time.Hour),
		LastAttempt:  now.Add(-2 * time.Minute),
		LastSuccess:  now.Add(-2 * time.Minute),
		LastDuration: 1500 * time.Millisecond,
		TrustExpires: now.Add(300 * day),
		Endings:      []health.Ending{{Object: "root", At: now.Add(300 * day), From: now.Add(270 * day)}},
		Totals:       health.Totals{Downloaded: 5002548, Reused: 7, Requests: 12, Runs: map[string]int64{"ok": 3, "source_unreachable": 2}},
	}
}

// states are facts of all kinds, by name.
func states() map[string]health.Facts {
	all := map[string]health.Facts{"nothing known": {}}
	for name, change := range map[string]func(*health.Facts){
		"up to date":  func(*health.Facts) {},
		"unavailable": func(f *health.Facts) { f.Installed, f.SourceURI, f.TrustExpires, f.Endings = nil, "", time.Time{}, nil },
		"updating":    func(f *health.Facts) { f.Updating = true },
		"out of date": func(f *health.Facts) { f.Installed.Released = now.Add(-8 * day) },
		"failed": func(f *health.Facts) {
			f.UpdateFailed, f.Failure = true, &health.Failure{Code: "source_unreachable", Sentence: "nobody answered"}
		},
		"fallback": func(f *health.Facts) {
			f.Fallback, f.Failure = true, &health.Failure{Code: "source_unreachable", Sentence: "nobody answered"}
		},
		"off":       func(f *health.Facts) { f.NextCheck, f.Rule = time.Time{}, "updates are held" },
		"odd bytes": oddBytes,
	} {
		f := facts()
		change(&f)
		all[name] = f
	}
	return all
}

// oddBytes are in every string that becomes a label; two of the codes become
// the same when their bytes are made UTF-8.
func oddBytes(f *health.Facts) {
	f.SourceURI = "http://m\xff\xfe/\"quoted\"\\\n# HELP x\x00\u2028"
	f.Installed.DefinitionVersion, f.Installed.EngineVersion = "\xc3\x28\n", "}\" 1"
	f.Failure = &health.Failure{Code: "\xa0\xa1"}
	f.Totals.Runs = map[string]int64{"\xff": 1, "\xfe": 2, "": 3, "a\nb": 4}
	f.Totals.Requests = -1
}

// write gives the file that Write makes of the facts.
func write(t *testing.T, f health.Facts) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mdatp-agent.prom")
	if err := metrics.Write(path, f, "0.1.0"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// samples gives the values by name and labels. A line that is neither a comment
// nor a name, labels and one value has a timestamp, or is broken.
func samples(t *testing.T, text string) map[string]float64 {
	t.Helper()
	form := regexp.MustCompile(`^(mdatp_agent_[a-z_]+(?:\{.*\})?) (\S+)$`)
	found := map[string]float64{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		m := form.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Fatalf("this is no sample of ours: %q", line)
		}
		value, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		found[m[1]] = value
	}
	return found
}

func TestEverythingKnown(t *testing.T) {
	t.Parallel()
	want := map[string]float64{
		`mdatp_agent_build_info{version="0.1.0"}`:                                                      1,
		`mdatp_agent_definitions_info{definitions_version="1.407.417.0",engine_version="1.1.24080.9"}`: 1,
		`mdatp_agent_definitions_released_timestamp_seconds`:                                           1795436130,
		`mdatp_agent_definitions_issued_timestamp_seconds`:                                             1795443330,
		`mdatp_agent_definitions_expires_timestamp_seconds`:                                            1796667330,
		`mdatp_agent_definitions_updated_timestamp_seconds`:                                            1795457610,
		`mdatp_agent_definitions_due_seconds`:                                                          604800,
		`mdatp_agent_definitions_status{status="unavailable"}`:                                         0,
		`mdatp_agent_definitions_status{status="updating"}`:                                            0,
		`mdatp_agent_definitions_status{status="out_of_date"}`:                                         0,
		`mdatp_agent_definitions_status{status="update_failed"}`:                                       0,
		`mdatp_agent_definitions_status{status="up_to_date"}`:                                          1,
		`mdatp_agent_last_attempt_timestamp_seconds`:                                                   1795457610,
		`mdatp_agent_last_success_timestamp_seconds`:                                                   1795457610,
		`mdatp_agent_next_check_timestamp_seconds`:                                                     1795486530,
		`mdatp_agent_trust_expiry_timestamp_seconds`:                                                   1821377730,
		`mdatp_agent_expiry_timestamp_seconds{object="root"}`:                                          1821377730,
		`mdatp_agent_expiry_warning_timestamp_seconds{object="root"}`:                                  1818785730,
		`mdatp_agent_last_result{code="ok"}`:                                                           1,
		`mdatp_agent_update_runs_total{result="ok"}`:                                                   3,
		`mdatp_agent_update_runs_total{result="source_unreachable"}`:                                   2,
		`mdatp_agent_downloaded_bytes_total`:                                                           5002548,
		`mdatp_agent_reused_bytes_total`:                                                               7,
		`mdatp_agent_source_requests_total`:                                                            12,
		`mdatp_agent_last_update_duration_seconds`:                                                     1.5,
		`mdatp_agent_source_info{uri="http://mirror.example:8000/linux/production/"}`:                  1,
		`mdatp_agent_fallback_in_use`:                                                                  0,
		`mdatp_agent_periodic_updates_enabled`:                                                         1,
	}
	got := samples(t, write(t, facts()))
	if !maps.Equal(got, want) {
		for name := range want {
			if value, ok := got[name]; !ok || value != want[name] {
				t.Errorf("%s = %v, %t, want %v", name, value, ok, want[name])
			}
			delete(got, name)
		}
		t.Errorf("more than was wanted: %v", got)
	}
}

// TestNothingKnown leaves out what nobody knows, since a 0 would be a time long
// ago.
func TestNothingKnown(t *testing.T) {
	t.Parallel()
	got := samples(t, write(t, health.Facts{}))
	want := map[string]float64{
		`mdatp_agent_build_info{version="0.1.0"}`:                1,
		`mdatp_agent_definitions_status{status="unavailable"}`:   1,
		`mdatp_agent_definitions_status{status="updating"}`:      0,
		`mdatp_agent_definitions_status{status="out_of_date"}`:   0,
		`mdatp_agent_definitions_status{status="update_failed"}`: 0,
		`mdatp_agent_definitions_status{status="up_to_date"}`:    0,
		`mdatp_agent_fallback_in_use`:                            0,
		`mdatp_agent_periodic_updates_enabled`:                   1,
		`mdatp_agent_update_runs_total{result="ok"}`:             0,
		`mdatp_agent_downloaded_bytes_total`:                     0,
		`mdatp_agent_reused_bytes_total`:                         0,
		`mdatp_agent_source_requests_total`:                      0,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestResult(t *testing.T) {
	t.Parallel()
	all := states()
	tests := []struct {
		name string
		f    health.Facts
		want string // "" for none
	}{
		{"worked", all["up to date"], "ok"},
		{"failed", all["failed"], "source_unreachable"},
		{"a fallback hid it", all["fallback"], "source_unreachable"},
		{"never tried", health.Facts{}, ""},
		{"failed, and nobody knows why", health.Facts{UpdateFailed: true, LastAttempt: now}, ""},
	}
	for _, tt := range tests {
		got := ""
		for name := range samples(t, write(t, tt.f)) {
			if code, ok := strings.CutPrefix(name, `mdatp_agent_last_result{code="`); ok {
				got += strings.TrimSuffix(code, `"}`)
			}
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestOneStatus has exactly one status that holds, the one of the report.
func TestOneStatus(t *testing.T) {
	t.Parallel()
	for name, f := range states() {
		var hold []string
		count := 0
		for sample, value := range samples(t, write(t, f)) {
			if status, ok := strings.CutPrefix(sample, `mdatp_agent_definitions_status{status="`); ok {
				count++
				if value == 1 {
					hold = append(hold, strings.TrimSuffix(status, `"}`))
				}
			}
		}
		if count != 5 || !slices.Equal(hold, []string{health.Status(f)}) {
			t.Errorf("%s: %d states, of which %v hold, want %s", name, count, hold, health.Status(f))
		}
	}
}

// TestPromtool has every file judged by Prometheus's own tool: its syntax, and
// the names by its conventions.
func TestPromtool(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("SKIPPED: promtool is missing, install it with: apt-get install prometheus")
	}
	for name, f := range states() {
		cmd := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
		cmd.Stdin = strings.NewReader(write(t, f))
		if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("%s: promtool: %v\n%s", name, err, out)
		}
	}
}

// TestOddBytes keeps each sample on its line, and adds up codes that look the
// same in UTF-8, of which a file may have one alone.
func TestOddBytes(t *testing.T) {
	t.Parallel()
	got := samples(t, write(t, states()["odd bytes"]))
	for name, want := range map[string]float64{
		"mdatp_agent_update_runs_total{result=\"\ufffd\"}": 3,
		`mdatp_agent_update_runs_total{result="a\nb"}`:     4,
		"mdatp_agent_last_result{code=\"\ufffd\"}":         1,
		`mdatp_agent_source_requests_total`:                0, // a counter below zero is none
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s = %v, %t, want %v", name, value, ok, want)
		}
	}
}

// TestFile looks at the file itself: readable for everybody, replaced as a
// whole, and alone in its directory.
func TestFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "mdatp-agent.prom")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(path) // of the old file, in the middle of it
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := metrics.Write(path, facts(), ""); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("the file is %v, %v, want 0644", info.Mode(), err)
	}
	old := make([]byte, 10)
	if n, _ := reader.Read(old); string(old[:n]) != "old" {
		t.Errorf("who had the old file open reads %q", old[:n])
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v lie in the directory, %v, want the file alone", entries, err)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	notADir := filepath.Join(dir, "file")
	if err := os.WriteFile(notADir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	taken := filepath.Join(dir, "taken.prom")
	if err := os.MkdirAll(filepath.Join(taken, "inside"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, path, code string }{
		{"another ending", filepath.Join(dir, "metrics.txt"), "config_invalid"},
		{"no name", "", "config_invalid"},
		{"no directory", filepath.Join(dir, "nowhere", "a.prom"), "install_failed"},
		{"a file as directory", filepath.Join(notADir, "a.prom"), "install_failed"},
		{"a directory in its place", taken, "install_failed"},
	} {
		check(t, tt.name, metrics.Write(tt.path, facts(), "0.1.0"), tt.code)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.prom?*")); err != nil || len(left) > 0 {
		t.Errorf("%v was left behind, %v", left, err)
	}
}

// check wants an error that a report can show.
func check(t *testing.T, name string, err error, code string) {
	t.Helper()
	failure := agent.Explain(err)
	if failure == nil || failure.Code != code || agent.ExitCode(failure.Code) == agent.ExitCode("internal") {
		t.Errorf("%s: %v, want %s", name, failure, code)
		return
	}
	if failure.Hint == "" || strings.ContainsAny(failure.Message, "\"\n:") || strings.HasSuffix(failure.Message, ".") {
		t.Errorf("%s: this is no sentence and hint: %q %q", name, failure.Message, failure.Hint)
	}
	var typed *metrics.Error
	if !errors.As(err, &typed) || !strings.HasPrefix(err.Error(), code+": "+failure.Message) {
		t.Errorf("%s: %v", name, err)
	}
}

// TestNotPermitted is the commonest failure: the unit may not write there.
func TestNotPermitted(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root may write everywhere; run it as a plain user")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	err := metrics.Write(filepath.Join(dir, "a.prom"), facts(), "0.1.0")
	check(t, "a directory of somebody else's", err, "permission_denied")
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("the cause is lost: %v", err)
	}
}

// TestNoRoom has a file system with room for half of the file, which then
// becomes read-only. What was there before stays.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8k")
	if errors.Is(err, fs.ErrPermission) {
		t.Skip("SKIPPED: file systems can't be mounted here; run it as root outside of a container")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "a.prom")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	check(t, "a full file system", metrics.Write(path, facts(), "0.1.0"), "disk_full")
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	check(t, "a read-only file system", metrics.Write(path, facts(), "0.1.0"), "permission_denied")
	if text, err := os.ReadFile(path); err != nil || string(text) != "old" {
		t.Errorf("the file is %q, %v", text, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v lie in the directory, %v", entries, err)
	}
}
