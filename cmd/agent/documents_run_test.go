package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// What a document shows of a console is run, and has to come out as it stands there,
// less what differs from run to run.

// mask takes from a line what differs: times, ports, sizes, digests, who it is, how wide
// a column is. Versions stay.
func mask(line string) string {
	for _, m := range []struct{ what, with string }{
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, "TIME"},
		{`[A-Z][a-z]{2} \d\d, \d{4} at \d\d:\d\d:\d\d [AP]M`, "TIME"},
		{`[A-Za-z0-9+/]{43}=`, "PIN"},
		{`(https://go\.microsoft\.com|http://127\.0\.0\.1:\d+)/fwlink/`, "CLOUD"},
		{`(127\.0\.0\.1|mirror\.example|go\.microsoft\.com):\d+`, "HOST"},
		{`((?:\d+\.){3}\d+)-[0-9a-f]{8}\b`, "$1-DIGEST"},
		{`(x86_64|arm64)`, "ARCH"},
		{`\S+@\S+`, "WHO"},
		{`\d+ (minutes|hours|days)`, "AGE"},
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
	for _, block := range consoles(page) {
		if strings.HasPrefix(block, "$ "+first+"\n") {
			return block
		}
	}
	t.Fatalf("no block of the page begins with %s", first)
	return ""
}

// consoles gives the blocks of a page that show a console.
func consoles(page string) (blocks []string) {
	for _, m := range fence.FindAllStringSubmatch(page, -1) {
		if m[1] == "console" {
			blocks = append(blocks, m[2])
		}
	}
	return blocks
}

// TestConsolesAreRun wants each block that shows a console in documents.txtar. Those of
// the README are parts of the demo.
func TestConsolesAreRun(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile(filepath.Join("testdata", "script", "documents.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	run := map[string]int{"README.md agent package keys --out keys": 1}
	for _, m := range regexp.MustCompile(`(?m)^document (\S+) '([^']+)'`).FindAllStringSubmatch(string(script), -1) {
		run[m[1]+" "+m[2]]++
	}
	pages, err := filepath.Glob(filepath.Join("..", "..", "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range append(pages, filepath.Join("..", "..", "README.md")) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range consoles(string(text)) {
			found++
			first, _, _ := strings.Cut(block, "\n")
			command, ok := strings.CutPrefix(first, "$ ")
			name := filepath.Base(path) + " " + command
			if !ok || run[name] == 0 {
				t.Errorf("%s shows a console that is not run: %s", path, first)
			}
			run[name]--
		}
	}
	const least = 15 // far fewer would mean that they are not found any more
	if found < least {
		t.Errorf("only %d blocks were found", found)
	}
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
		command, shown, _ := strings.Cut(part, "\n")
		want := masked(shown)
		said := saidInLab(ts, command, len(want))
		got := masked(strings.ReplaceAll(said, ts.Getenv("WORK"), ""))
		if !slices.Equal(got, want) {
			ts.Fatalf("%s shows of %s\n%s\nand it says\n%s", args[0], command, shown, said)
		}
	}
}

// saidInLab runs a command of a page as the lab's user and with the lab's servers, and
// gives what it says. A server is told to end when it has said so many lines.
func saidInLab(ts *testscript.TestScript, command string, lines int) string {
	command = strings.TrimPrefix(command, "sudo ")
	command = strings.ReplaceAll(command, "http://mirror.example:8000", ts.Getenv("URL"))
	command = strings.ReplaceAll(command, "mirror sync", "mirror sync --base-url '"+ts.Getenv("CLOUD")+"'")
	if !strings.Contains(command, "mirror serve") {
		_ = ts.Exec("sh", "-c", command+" 2>&1") // what it says tells how it ended
		return ts.ReadFile("stdout")
	}
	command = regexp.MustCompile(`:\d+$`).ReplaceAllString(command, ":0") // the page's port may be taken
	server := exec.Command("sh", "-c", "exec "+command+" 2>&1")
	server.Dir = ts.MkAbs(".")
	out, err := server.StdoutPipe()
	ts.Check(err)
	ts.Check(server.Start())
	var said strings.Builder
	for scanner := bufio.NewScanner(out); lines > 0 && scanner.Scan(); lines-- {
		said.WriteString(scanner.Text() + "\n")
	}
	ts.Check(server.Process.Signal(syscall.SIGTERM))
	ts.Check(server.Wait())
	return said.String()
}
