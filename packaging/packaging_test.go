// Package packaging_test holds what the packages carry to what the program is and
// to what the tools of the distributions say of it: units, manual pages, shell
// completions, scripts, examples.
package packaging_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// exposure is the most that `systemd-analyze security` may find in a service, in
// tenths.
const exposure = "15"

// need skips a test loudly where a tool is missing.
func need(t *testing.T, tool, debian string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("SKIPPED: %s is missing (Debian: %s)", tool, debian)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("nothing is found at %s: %v", pattern, err)
	}
	return found
}

// program builds the program under the name of an installed one, and gives the
// directory with it.
func program(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("SKIPPED: the Go tool is missing, and the program can't be built without it")
	}
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-o", filepath.Join(dir, "mdatp-agent"), "../cmd/agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOPROXY=off", "GOTOOLCHAIN=local")
	if out, err := cmd.CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("GOPROXY=off")) || bytes.Contains(out, []byte("permission denied")) {
			t.Skipf("SKIPPED: this user can't build the program (run it as the user who has the modules)\n%s", out)
		}
		t.Fatalf("build: %v\n%s", err, out)
	}
	return dir
}

// run gives what a program of this test says on both of its outputs.
func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

// TestUnitsVerify lets systemd read all units.
func TestUnitsVerify(t *testing.T) {
	t.Parallel()
	need(t, "systemd-analyze", "systemd")
	dir := t.TempDir()
	// This test itself is a program that there is, as systemd wants to see one.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var units []string
	for _, path := range append(glob(t, "systemd/*.service"), append(glob(t, "systemd/*.timer"), glob(t, "examples/*.path")...)...) {
		text := strings.ReplaceAll(read(t, path), "/usr/bin/mdatp-agent", self)
		units = append(units, filepath.Join(dir, filepath.Base(path)))
		if err := os.WriteFile(units[len(units)-1], []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	engine := filepath.Join(dir, "mdatp-agent-engine.service")
	if err := os.WriteFile(engine, []byte(read(t, "examples/mdatp-agent-engine.service")), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := run(t, exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, append(units, engine)...)...)); out != "" {
		t.Errorf("systemd-analyze verify says:\n%s", out)
	}
}

// TestExposure holds each service to the bound that is promised.
func TestExposure(t *testing.T) {
	t.Parallel()
	need(t, "systemd-analyze", "systemd")
	for _, path := range glob(t, "systemd/*.service") {
		full, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold="+exposure, full).CombinedOutput()
		if bytes.Contains(out, []byte("unrecognized option")) {
			t.Skip("SKIPPED: this systemd-analyze judges no files (needs systemd 250)")
		}
		if err != nil {
			t.Errorf("%s is more exposed than %s tenths:\n%s", path, exposure, out)
		}
	}
}

// TestSameConfinement: a unit can't include another, so both services have the same
// lines, and nobody is to change them in one alone.
func TestSameConfinement(t *testing.T) {
	t.Parallel()
	confined := func(path string) string {
		_, text, ok := strings.Cut(read(t, path), "\nUser=")
		text, _, _ = strings.Cut(text, "\n[Install]")
		if !ok || len(text) < 500 {
			t.Fatalf("%s has no confinement", path)
		}
		return strings.TrimSpace(text)
	}
	if confined("systemd/mdatp-agent.service") != confined("systemd/mdatp-agent-update.service") {
		t.Error("the two services are not confined in the same way")
	}
}

// TestProgram holds manual, examples and completions to the program, as it is now.
func TestProgram(t *testing.T) {
	t.Parallel()
	agent := filepath.Join(program(t), "mdatp-agent")
	for name, test := range map[string]func(t *testing.T, agent string){
		"commands": manualCommands, "keys": manualKeys, "examples": examples, "mirror": mirrorSettings, "bash": bash, "fish": fish, "zsh": zsh,
	} {
		t.Run(name, func(t *testing.T) { test(t, agent) })
	}
}

// manualCommands looks for every command and option of the tree of --help.
func manualCommands(t *testing.T, agent string) {
	t.Helper()
	page := read(t, "man/mdatp-agent.8")
	sections := regexp.MustCompile(`(?ms)^(COMMANDS|(?:GLOBAL )?OPTIONS):\n(.*?)(?:^\n|\z)`)
	named := regexp.MustCompile(`(?m)^ {3}(?:--)?([a-z][a-z-]*)`)
	found := 0
	var visit func(words []string)
	visit = func(words []string) {
		help := run(t, exec.Command(agent, append(slices.Clone(words), "--help")...))
		below := false
		for _, section := range sections.FindAllStringSubmatch(help, -1) {
			for _, name := range named.FindAllStringSubmatch(section[2], -1) {
				found++
				if section[1] == "COMMANDS" {
					below = true
					visit(append(slices.Clone(words), name[1]))
				} else if !regexp.MustCompile(`Fl \\?-` + name[1] + `\b`).MatchString(page) {
					t.Errorf("mdatp-agent(8) lacks the option --%s of %q", name[1], words)
				}
			}
		}
		if command := strings.Join(words, " "); !below && !strings.Contains(page, "\n.It Cm "+command) {
			t.Errorf("mdatp-agent(8) lacks the command %s", command)
		}
	}
	visit(nil)
	const least = 60
	if found < least {
		t.Errorf("only %d commands and options were found in --help", found)
	}
}

// settings are the names of all settings, from the program itself.
func settings(t *testing.T, agent string, root string) map[string]any {
	t.Helper()
	var shown struct {
		Settings map[string]any `json:"settings"`
		Warnings []string       `json:"warnings"`
	}
	if err := json.Unmarshal([]byte(run(t, exec.Command(agent, "--root", root, "config", "show", "--output", "json"))), &shown); err != nil {
		t.Fatal(err)
	}
	if len(shown.Warnings) > 0 {
		t.Errorf("config show warns: %q", shown.Warnings)
	}
	return shown.Settings
}

// manualKeys wants each configuration key in the manual, and none that is no key.
func manualKeys(t *testing.T, agent string) {
	t.Helper()
	page := read(t, "man/mdatp-agent.json.5")
	known := settings(t, agent, t.TempDir())
	for key := range known {
		if !strings.Contains(page, "\n.It Cm "+key+" Pq ") {
			t.Errorf("mdatp-agent.json(5) lacks %s", key)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^\.It Cm (\S+) Pq`).FindAllStringSubmatch(page, -1) {
		if _, ok := known[m[1]]; !ok {
			t.Errorf("mdatp-agent.json(5) has %s, which is no key", m[1])
		}
	}
}

// TestManualForm lets mandoc read the pages. That it doesn't find the other page
// in the system's manual says nothing about this one.
func TestManualForm(t *testing.T) {
	t.Parallel()
	need(t, "mandoc", "mandoc")
	for _, path := range glob(t, "man/*") {
		out, _ := exec.Command("mandoc", "-T", "lint", "-W", "warning", path).CombinedOutput()
		if len(out) > 0 {
			t.Errorf("%s", out)
		}
	}
}

// examples gives the examples of both configuration files to the program.
func examples(t *testing.T, agent string) {
	t.Helper()
	root := t.TempDir()
	for from, to := range map[string]string{
		"examples/agent.json":         "etc/opt/mdatp-agent/agent.json",
		"examples/mdatp_managed.json": "etc/opt/microsoft/mdatp/managed/mdatp_managed.json",
	} {
		to = filepath.Join(root, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, []byte(read(t, from)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	known := settings(t, agent, root)
	url, ok := known["antivirusEngine.offlineDefinitionUpdateUrl"].(map[string]any)
	if !ok || url["origin"] != "managed" {
		t.Errorf("the managed example is not in force: %v", url)
	}
	if keep, ok := known["agent.keep"].(map[string]any); !ok || keep["origin"] != "local" {
		t.Errorf("the local example is not in force: %v", keep)
	}
}

// mirrorSettings gives the example of the mirror's settings to the program, whose cloud
// is one that nobody runs. The example is about directories that the unit makes.
func mirrorSettings(t *testing.T, agent string) {
	t.Helper()
	example, unit := read(t, "examples/mirror-settings.json"), read(t, "systemd/mdatp-agent-mirror-sync.service")
	settings := example
	for from, directive := range map[string]string{"/var/lib/": "StateDirectory", "/var/log/": "LogsDirectory"} {
		name := "mdatp-agent-mirror"
		if !strings.Contains(example, from+name) || !strings.Contains(unit, "\n"+directive+"="+name+"\n") {
			t.Errorf("example and unit do not agree on %s%s", from, name)
		}
		settings = strings.ReplaceAll(settings, from, t.TempDir()+"/")
	}
	path := filepath.Join(t.TempDir(), "settings.json")
	if err := os.WriteFile(path, []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(agent, "mirror", "sync", "--settings", path, "--base-url", "http://127.0.0.1:1/").CombinedOutput()
	if want := "agent: source_unreachable: linux/production/arch_arm64: "; err == nil || !bytes.Contains(out, []byte(want)) {
		t.Errorf("mirror sync gives %v and\n%s", err, out)
	}
}

// TestScripts lets shellcheck read every script of the packages and of the tests.
func TestScripts(t *testing.T) {
	t.Parallel()
	need(t, "shellcheck", "shellcheck")
	for kind, patterns := range map[string][]string{
		"sh":   {"../packaging/deb/*", "../packaging/rpm/*"},
		"bash": {"../packaging/*.sh", "../packaging/completions/*.bash", "../e2e/run", "../e2e/*.sh"},
	} {
		var scripts []string
		for _, pattern := range patterns {
			for _, path := range glob(t, pattern) {
				scripts = append(scripts, strings.TrimPrefix(path, "../"))
			}
		}
		cmd := exec.Command("shellcheck", append([]string{"--shell=" + kind, "--external-sources"}, scripts...)...)
		cmd.Dir = ".." // where the scripts name each other from
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("shellcheck: %v\n%s", err, out)
		}
	}
}

// TestVersions: what git says becomes versions that both kinds of packages sort in
// the order of the commits.
func TestVersions(t *testing.T) {
	t.Parallel()
	need(t, "bash", "bash")
	for given, want := range map[string]string{
		"v1.2.3":                "1.2.3",
		"1.2":                   "1.2",
		"v1.2.3-2-gb17819d":     "1.2.3+2.gb17819d",
		"1.2.3-dirty":           "1.2.3+dirty",
		"v2.0.0-rc1":            "2.0.0~rc1",
		"b17819d":               "0~git20261126104945.b17819d",
		"b17819d-dirty":         "0~git20261126104945.b17819d+dirty",
		"unknown":               "0~git20261126104945.unknown",
		"1.0; rm -rf /":         "",
		"v1.2.3/../../etc/cron": "",
	} {
		out, err := exec.Command("bash", "version.sh", given, "1795690185").Output()
		if got := strings.TrimSpace(string(out)); got != want || (err == nil) != (want != "") {
			t.Errorf("%q gives %q and %v, want %q", given, got, err, want)
		}
	}
}

// TestLicences: a module without a licence text is not given away.
func TestLicences(t *testing.T) {
	t.Parallel()
	need(t, "bash", "bash")
	bin := t.TempDir()
	fake := "#!/bin/sh\ncase \"$*\" in list*) echo \"example.com/bare@v1.0.0 " + bin + "\" ;; *) echo " + bin + " ;; esac\n"
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "licences.sh", filepath.Join(t.TempDir(), "out"))
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "example.com/bare@v1.0.0 has no licence text") {
		t.Errorf("a module without a licence gives %v and %q", err, out)
	}
}
