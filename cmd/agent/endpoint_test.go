package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// TestOnLinux runs what a system without endpoints has in the place of their
// commands. Whatever was typed, the answer says where they work.
func TestOnLinux(t *testing.T) {
	t.Parallel()
	for _, typed := range []string{
		"definitions", "definitions update", "--output text definitions update --dry-run --wait 5m", "definitions --help", "help definitions", "definitions --what -- ever",
	} {
		app := &cli.App{Name: "agent", Flags: testApp().Flags, Commands: []*cli.Command{onLinux("definitions")}, HideHelpCommand: true}
		err := runTree(app, strings.Fields(typed))
		if err == nil || err.Error() != "usage: agent definitions is for endpoints, and those are Linux" {
			t.Errorf("%s gives %v", typed, err)
		}
	}
}

// TestOtherSystems: nothing of the endpoint's gets into the program for the systems
// that only a mirror may stand on. That it compiles there shows make cross.
func TestOtherSystems(t *testing.T) {
	t.Parallel()
	for _, system := range []string{"windows", "darwin"} {
		cmd := exec.Command("go", "list", "-tags", "urfave_cli_no_docs", "-deps", "-f", "{{.ImportPath}}", ".")
		cmd.Env = append(cmd.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", system, err)
		}
		for _, foreign := range []string{"agent", "agent/engine", "agent/state", "agent/hook", "health", "chaos"} {
			if strings.Contains("\n"+string(out), "\nmdatp-offline-agent/"+foreign+"\n") {
				t.Errorf("%s: the program has package %s in it, which is the endpoint's", system, foreign)
			}
		}
	}
}
