package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// TestCandidates types lines up to the cursor, which stands behind the bar.
func TestCandidates(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"def|":                                  "definitions",
		"definitions u|":                        "update unhold",
		"definitions update |":                  "",
		"definitions update --r|":               "--retry-known-bad --root",
		"definitions --output json up|":         "update",
		"definitions --root update up|":         "update",
		"--root def|":                           ":files",
		"--root=def|":                           ":files",
		"--output |":                            "text json",
		"health --output=j|":                    "--output=json",
		"health -output=j|":                     "-output=json",
		"--log-level=w|":                        "--log-level=warning",
		"health --details |":                    "definitions features",
		"health --field |":                      "",
		"config get agent.ke|":                  "agent.keep",
		"config set -- agent.hooks.preload.c|":  "agent.hooks.preload.command",
		"health --nothing=|":                    "",
		"health --nothing |":                    "",
		"health --dry|":                         "",
		"package build |":                       ":files",
		"package build --cert |":                ":files",
		"package build --key=/etc/x|":           ":files",
		"package build dir --arch |":            "x86_64 arm64",
		"package build -- --output |":           ":files",
		"definitions -- |":                      "",
		"nonsense |":                            "",
		"nonsense update |":                     "",
		"help definitions u|":                   "update unhold",
		"compl|":                                "",
		"--he|":                                 "--help",
		"mirror serve --listen 127.0.0.1:0 di|": ":files",
	} {
		words := strings.Split(strings.TrimSuffix(typed, "|"), " ")
		if got := strings.Join(candidates(testApp(), words), " "); got != want {
			t.Errorf("%s gives %q, want %q", typed, got, want)
		}
	}
	if got := candidates(testApp(), nil); got != nil {
		t.Errorf("no words at all give %q", got)
	}
}

// TestCandidatesAreTaken walks the tree, and gives the line's reader everything
// that is offered: what a shell completes must be understood.
func TestCandidatesAreTaken(t *testing.T) {
	t.Parallel()
	app, lines := testApp(), 0
	var visit func(words []string, commands []*cli.Command)
	visit = func(words []string, commands []*cli.Command) {
		for _, name := range candidates(app, append(slices.Clone(words), "")) {
			if name == completeFiles {
				continue
			}
			next := append(slices.Clone(words), name)
			lines++
			if command := find(commands, name); command != nil {
				visit(next, command.Subcommands)
			} else if _, err := normalise(app, next); err != nil { // it is an argument
				t.Errorf("%q was offered: %v", next, err)
			}
		}
		for _, option := range candidates(app, append(slices.Clone(words), "-")) {
			line := append(slices.Clone(words), option, "--help")
			if takes := optionTable(app)[option[2:]]; takes {
				line = append(slices.Clone(words), option+"=x", "--help")
			}
			if _, err := normalise(app, line); err != nil {
				t.Errorf("%q was offered: %v", line, err)
			}
			lines++
		}
	}
	visit(nil, app.Commands)
	const least = 50
	if lines < least {
		t.Errorf("only %d candidates were found in the whole tree", lines)
	}
}

// TestFewValues gives each value that is offered to a command that has the option.
func TestFewValues(t *testing.T) {
	t.Parallel()
	owner := map[string]string{"output": "version", "log-format": "version", "log-level": "version", "details": "health", "arch": "package verify nothing.zip --trust " + t.TempDir()}
	for option, values := range fewValues() {
		for _, value := range values {
			args := append(strings.Fields("agent --root "+t.TempDir()+" "+owner[option]), "--"+option, value)
			var stderr strings.Builder
			p := &program{stdout: &strings.Builder{}, stderr: &stderr}
			if p.run(t.Context(), args); strings.Contains(stderr.String(), "usage") || owner[option] == "" {
				t.Errorf("--%s %s is not understood: %s", option, value, stderr.String())
			}
		}
	}
}

// TestCompleteCommand is the way that shells go.
func TestCompleteCommand(t *testing.T) {
	t.Parallel()
	var stdout, stderr strings.Builder
	p := &program{stdout: &stdout, stderr: &stderr}
	code := p.run(t.Context(), strings.Fields("agent complete -- definitions --output json --help --dry-run up"))
	if code != 0 || stdout.String() != "update\n" || stderr.String() != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout.String(), stderr.String())
	}
}

// FuzzCandidates: any words give candidates of one line each, or none.
func FuzzCandidates(f *testing.F) {
	for _, line := range []string{"", "definitions\nu", "--output\n", "--output=j", "--\n-", "---=", "package\nbuild\n--key\n\n--"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		words := strings.Split(typed, "\n")
		for _, c := range candidates(testApp(), words) {
			if c == "" || strings.ContainsAny(c, "\n\x1b") && !strings.ContainsAny(typed, "\x1b") {
				t.Fatalf("candidate %q for %q", c, words)
			}
		}
	})
}
