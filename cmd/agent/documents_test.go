package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// Documents are held to the program: each line of them that a reader could type is read
// by the program itself.

// documents are what has such lines: pages, manuals, units and examples.
func documents(t *testing.T) (paths []string) {
	t.Helper()
	for _, pattern := range []string{"../../README.md", "../../docs/*.md", "../../packaging/man/*", "../../packaging/systemd/*", "../../packaging/examples/*.*", "../../packaging/examples/mirror/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("nothing is found at %s: %v", pattern, err)
		}
		paths = append(paths, found...)
	}
	return paths
}

// block is a fenced part of a page, or all of a file that is no page.
type block struct {
	path, kind, text string // kind is what stands behind the fence: sh, console, nginx
	whole            bool   // its lines are whole commands, and not words in prose
}

var (
	fence  = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	inline = regexp.MustCompile("`([^`\n]+)`")
	// literal is what a manual page shows as typed.
	literal = regexp.MustCompile(`(?ms)^\.Bd -literal.*?\n(.*?)^\.Ed`)
	// invoked finds the program's name where a shell, a unit or a schedule has it: at
	// the beginning, behind a prompt, sudo, a path or a variable.
	invoked = regexp.MustCompile(`(?:^|[\s=(]|bin/)(?:mdatp-)?agent +((?:--?[a-z]|[a-z]).*)$`)
	// alone is a call as prose has it, and not the agent in a sentence.
	alone = regexp.MustCompile(`^(?:sudo )?(?:/usr/bin/)?(?:mdatp-)?agent +((?:--?[a-z]|[a-z]).*)$`)
	// byPath finds it where words of other things stand beside it.
	byPath = regexp.MustCompile(`/usr/bin/mdatp-agent +((?:--?[a-z]|[a-z]).*)$`)
	// owner is the user of that name, as an option of another program has it.
	owner = regexp.MustCompile(`-[ugo] mdatp-agent\b`)
	// answered is a line of the program's own output.
	answered = regexp.MustCompile(`^ *(?:agent|hint|why|at hand|source|change): |^ *#`)
)

// blocksOf takes a document apart.
func blocksOf(path, text string) (blocks []block) {
	if filepath.Ext(path) != ".md" {
		if !strings.Contains(path, "/man/") {
			return []block{{path: path, text: text, whole: true}}
		}
		for _, m := range literal.FindAllStringSubmatch(text, -1) {
			blocks = append(blocks, block{path: path, text: m[1], whole: true})
		}
		return blocks
	}
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, block{path: path, kind: m[1], text: m[2], whole: true})
	}
	for _, m := range inline.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		blocks = append(blocks, block{path: path, text: m[1]})
	}
	return blocks
}

// callsOf gives the calls of the program in a block, as words. In a drawing, a unit or a
// schedule the program's name may stand for something else, so there it has its path.
func callsOf(b block) (calls [][]string) {
	named := invoked
	if !b.whole {
		named = alone
	}
	if b.whole && b.kind != "sh" && b.kind != "console" && !strings.Contains(b.path, "/man/") {
		named = byPath
	}
	for line := range strings.Lines(strings.ReplaceAll(b.text, "\\\n", " ")) {
		line = strings.TrimSpace(line)
		if answered.MatchString(line) || b.kind == "console" && !strings.HasPrefix(line, "$ ") {
			continue
		}
		for _, piece := range regexp.MustCompile(`[|;&>]+|\$\(`).Split(line, -1) {
			if m := named.FindStringSubmatch(owner.ReplaceAllString(strings.TrimSpace(piece), "")); m != nil {
				calls = append(calls, shellWords(m[1]))
			}
		}
	}
	return calls
}

// shellWords splits at spaces, but not between quotes.
func shellWords(s string) []string {
	return scriptWords(strings.ReplaceAll(s, `"`, "'"))
}

// TestDocumentedLines lets the program read every line of it that a document shows:
// commands, options and their values. What does not fit is as wrong as it would be for
// whoever types it.
func TestDocumentedLines(t *testing.T) {
	t.Parallel()
	lines := 0
	for _, path := range documents(t) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range blocksOf(path, string(data)) {
			for _, words := range callsOf(b) {
				lines++
				if err := understood(words, b.whole); err != nil {
					t.Errorf("%s shows agent %s\n%v", path, strings.Join(words, " "), err)
				}
			}
		}
	}
	const least = 100 // far fewer would mean that they are not found any more
	if lines < least {
		t.Errorf("only %d calls of the program were found in the documents", lines)
	}
	t.Logf("%d lines", lines)
}

// understood gives what is wrong with a line. Nothing of it is done. In prose a command
// may stand without what it needs, and a group of commands for all of them.
func understood(words []string, whole bool) error {
	app := testApp()
	reached := false
	var disarm func([]*cli.Command)
	disarm = func(commands []*cli.Command) {
		for _, c := range commands {
			if c.Action != nil {
				c.Action = func(*cli.Context) error { reached = true; return nil }
			}
			disarm(c.Subcommands)
		}
	}
	disarm(app.Commands)
	app.Before = nil
	app.Action = func(*cli.Context) error { reached = true; return nil }
	line, err := normalise(app, words)
	if err == nil {
		err = app.Run(append([]string{app.Name}, line...))
	}
	var usage *usageError
	if !whole && errors.As(err, &usage) && (strings.Contains(usage.text, "not complete") || strings.Contains(usage.text, "needs a value")) {
		return nil
	}
	if err == nil && !reached && words[0] != "help" && !slices.Contains(words, "--help") {
		return fmt.Errorf("no command of the program is reached")
	}
	return err
}

// TestWrongLinesAreFound: the test above can fail.
func TestWrongLinesAreFound(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"definitions updat", "definitions update --dryrun", "definitions update --wait soon", "definitions", "package build DIR --level high"} {
		if err := understood(strings.Fields(wrong), true); err == nil {
			t.Errorf("agent %s is taken for right", wrong)
		}
	}
	for _, right := range []string{"definitions update --dry-run --wait 5m", "mirror serve DIR --listen 127.0.0.1:0", "help definitions", "--version"} {
		if err := understood(strings.Fields(right), true); err != nil {
			t.Errorf("agent %s: %v", right, err)
		}
	}
	page := "```sh\nsudo mdatp-agent definitions \\\n  update\n```\n`agent health`\n```console\n$ agent version | cat\nagent: busy: x\n```\n"
	var calls []string
	for _, b := range blocksOf("x.md", page) {
		for _, words := range callsOf(b) {
			calls = append(calls, strings.Join(words, " "))
		}
	}
	if got := strings.Join(calls, ", "); got != "definitions update, version, health" {
		t.Errorf("the calls on a page are %q", got)
	}
}
