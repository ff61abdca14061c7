package main

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// fleetCommands are those for a fleet: machines with a root each, that is a directory
// of the script's.
func fleetCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){"fleet": cmdFleet, "point": cmdPoint, "each": cmdEach}
}

// commands are all that scripts have beside testscript's own.
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	all := labCommands()
	maps.Copy(all, fleetCommands())
	all["document"] = cmdDocument
	return all
}

// fleet NAME... makes machines that trust the lab's root.
func cmdFleet(ts *testscript.TestScript, _ bool, names []string) {
	labOf(ts).fleet = names
	root := []byte(ts.ReadFile("keys/root.pem"))
	for _, name := range names {
		p := pathsFor(ts.MkAbs(name))
		for _, dir := range []string{p.Trust, filepath.Dir(p.Managed)} {
			ts.Check(os.MkdirAll(dir, 0o755))
		}
		ts.Check(os.WriteFile(filepath.Join(p.Trust, "root.pem"), root, 0o644))
	}
}

// point URL [SECTION.KEY=VALUE...] is what a fleet's management does: it gives every
// machine the same configuration, as configure does to one.
func cmdPoint(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range labOf(ts).fleet {
		writeManaged(ts, pathsFor(ts.MkAbs(name)).Managed, args)
	}
}

// each CODE TEXT COMMAND... runs a command of the agent on every machine, where it must
// end with that code, and say something that matches the text.
func cmdEach(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	text, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	for _, name := range labOf(ts).fleet {
		said, code := onMachine(ts, name, args[2:])
		if code != want || !text.MatchString(said) {
			ts.Fatalf("%s: exit code %d, want %d and %q:\n%s", name, code, want, args[1], said)
		}
	}
}

// onMachine runs a command with a machine's root, and gives both of its outputs.
func onMachine(ts *testscript.TestScript, name string, command []string) (said string, code int) {
	err := ts.Exec(command[0], append([]string{"--root", ts.MkAbs(name)}, command[1:]...)...)
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		code = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	return strings.TrimRight(ts.ReadFile("stdout")+ts.ReadFile("stderr"), "\n"), code
}
