package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// What a document shows of a console is run, and has to come out as it stands there,
// less what differs from run to run.

// mask takes from a line what differs: times, ports, sizes, digests, how wide a column
// is. Versions stay.
func mask(line string) string {
	for _, m := range []struct{ what, with string }{
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, "TIME"},
		{`[A-Z][a-z]{2} \d\d, \d{4} at \d\d:\d\d:\d\d [AP]M`, "TIME"},
		{`(127\.0\.0\.1|mirror\.example):\d+`, "HOST"},
		{`((?:\d+\.){3}\d+)-[0-9a-f]{8}\b`, "$1-DIGEST"},
		{`arch_(x86_64|arm64)`, "arch_ARCH"},
		{` +`, " "},
	} {
		line = regexp.MustCompile(m.what).ReplaceAllString(line, m.with)
	}
	line = regexp.MustCompile(`\d+(\.\d+)*`).ReplaceAllStringFunc(line, func(number string) string {
		if strings.Count(number, ".") == 3 {
			return number
		}
		return "N"
	})
	return strings.TrimSpace(line)
}

// masked gives the lines of a text that say something.
func masked(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if line = mask(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestReadmeIsTheDemo runs the demo. What the README shows of it has to be in what it
// says, in the same order.
func TestReadmeIsTheDemo(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"sh", "dd", "sha256sum"} {
		needs(t, tool, "coreutils")
	}
	agent, err := exec.LookPath("agent")
	if err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command("sh", filepath.Join("..", "..", "scripts", "demo.sh"), agent).CombinedOutput()
	if err != nil {
		t.Fatalf("the demo failed: %v\n%s", err, said)
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	shown := masked(consoleBlock(t, string(readme), "agent package keys --out keys"))
	const least = 25
	if len(shown) < least {
		t.Fatalf("the README shows only %d lines of it", len(shown))
	}
	rest := masked(string(said))
	for _, line := range shown {
		if line == "..." {
			continue
		}
		i := 0
		for i < len(rest) && rest[i] != line {
			i++
		}
		if i == len(rest) {
			t.Fatalf("the README shows\n%s\nwhich the demo does not say there; it said\n%s", line, said)
		}
		rest = rest[i+1:]
	}
}

// consoleBlock finds the block of a page that begins with that command.
func consoleBlock(t testing.TB, page, first string) string {
	t.Helper()
	for _, m := range fence.FindAllStringSubmatch(page, -1) {
		if m[1] == "console" && strings.HasPrefix(m[2], "$ "+first+"\n") {
			return m[2]
		}
	}
	t.Fatalf("no block of the page begins with %s", first)
	return ""
}

// document PAGE COMMAND [SHELL...] runs what a page of docs shows of a console, in the
// block that begins with that command, and compares what is said. The lines of the
// shell are run before the second command, the third, and so on; they are what the page
// leaves out.
func cmdDocument(ts *testscript.TestScript, _ bool, args []string) {
	text, err := os.ReadFile(filepath.Join(ts.Getenv("DOCS"), args[0]))
	ts.Check(err)
	block := consoleBlock(labOf(ts).tb, string(text), args[1])
	between := args[2:]
	for i, part := range strings.Split("\n"+block, "\n$ ")[1:] {
		if i > 0 && len(between) > 0 {
			ts.Check(ts.Exec("sh", "-c", between[0]))
			between = between[1:]
		}
		command, want, _ := strings.Cut(part, "\n")
		_ = ts.Exec("sh", "-c", command+" 2>&1") // what it says tells how it ended
		got := masked(strings.ReplaceAll(ts.ReadFile("stdout"), ts.Getenv("WORK"), ""))
		if strings.Join(got, "\n") != strings.Join(masked(want), "\n") {
			ts.Fatalf("%s shows of %s\n%s\nand it says\n%s", args[0], command, want, ts.ReadFile("stdout"))
		}
	}
}
