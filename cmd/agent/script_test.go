package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mdatp-offline-agent/agent/source/apart"
)

// nobody is the user that as-user becomes. Any number does that is not root's.
const nobody = 65534

// TestMain lets the test binary be the program, under both of its names.
func TestMain(m *testing.M) {
	if apart.Started() { // by a test that runs the agent in its own process
		os.Exit(apart.Serve())
	}
	// Not a second of the race detector's at the end of each of hundreds of runs.
	os.Setenv("GORACE", "atexit_sleep_ms=10")
	testscript.Main(m, map[string]func(){
		"agent":   main,
		"mdatp":   main,
		"as-user": asUser,
	})
}

// asUser runs a command as a plain user. Where the test is one itself, that is
// nothing special.
func asUser() {
	if os.Geteuid() == 0 {
		for _, err := range []error{syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)} {
			if err != nil {
				fmt.Fprintln(os.Stderr, "as-user:", err)
				os.Exit(125)
			}
		}
	}
	path, err := exec.LookPath(os.Args[1])
	if err == nil {
		err = syscall.Exec(path, os.Args[1:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, "as-user:", err)
	os.Exit(125)
}

// TestScripts runs testdata/script, one script for each behaviour that users of
// the command line may rely on.
//
// A script finds the environment variables AGENT_ROOT, a root directory of its
// own; ENGINE, STATE, MANAGED, LOCAL and TRUST, the agent's paths below it;
// ARCH, as mirrors spell it; and MIRROR, where publish puts packages. The
// commands beside testscript's own are in commands_test.go.
func TestScripts(t *testing.T) {
	openToAll(t)
	work := t.TempDir()
	// As root, some scripts become another user, who must be able to get there.
	if err := os.Chmod(filepath.Dir(work), 0o755); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		WorkdirRoot:         work,
		RequireExplicitExec: true,
		Setup:               setup,
		Cmds:                commands(),
		Condition:           condition,
	})
}

// openToAll lets every user run the test binary's copies.
func openToAll(t *testing.T) {
	path, err := exec.LookPath("agent")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		path = filepath.Dir(path)
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func setup(env *testscript.Env) error {
	root := filepath.Join(env.WorkDir, "root")
	p := pathsFor(root)
	env.Setenv("AGENT_ROOT", root)
	env.Setenv("ENGINE", p.Engine)
	env.Setenv("STATE", p.State)
	env.Setenv("MANAGED", p.Managed)
	env.Setenv("LOCAL", p.Local)
	env.Setenv("TRUST", p.Trust)
	env.Setenv("SEED", p.Seed)
	env.Setenv("ARCH", hostArch())
	env.Setenv("MIRROR", filepath.Join(env.WorkDir, "mirror"))
	env.Setenv("NOBODY", strconv.Itoa(nobody))
	env.Setenv("TZ", "UTC")
	env.Setenv("ESCAPE", "\x1b[31m")
	env.Setenv("GORACE", os.Getenv("GORACE")) // as TestMain has it
	now := time.Now().UTC().Truncate(time.Second)
	env.Setenv("RULES_SHA256", fmt.Sprintf("%x", sha256.Sum256([]byte("rule r { condition: false }\n"))))
	env.Setenv("EPOCH", strconv.FormatInt(now.Add(-time.Hour).Unix(), 10))
	env.Setenv("NEXT_WEEK", now.AddDate(0, 0, 7).Format(time.RFC3339))
	env.Setenv("LONG_AGO", now.AddDate(0, 0, -10).Format(time.RFC3339))
	samples, err := filepath.Abs("../../managedconfig/testdata")
	if err != nil {
		return err
	}
	env.Setenv("SAMPLES", samples)
	docs, err := filepath.Abs("../../docs")
	if err != nil {
		return err
	}
	env.Setenv("DOCS", docs)
	for day := range 5 {
		env.Setenv(fmt.Sprintf("DAY%d", day+1), now.Add(time.Duration(day-5)*time.Hour).Format(time.RFC3339))
	}
	for _, dir := range []string{p.Trust, filepath.Dir(p.Managed)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	env.Values[labKey{}] = &lab{tb: env.T().(testing.TB), now: now, env: env.Vars}
	return nil
}

func condition(name string) (bool, error) {
	if name == "root" {
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("there is no condition %q", name)
}
