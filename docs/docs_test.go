// Package docs_test holds the documentation to what the program is: every
// reason code is explained, every link leads somewhere, and every command that
// a reader could type exists with its options.
package docs_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mdatp-offline-agent/agent/reason"
)

// pages are the documents that are held to it, relative to this directory.
var pages = []string{"../README.md", "package-format.md", "architecture.md", "operations.md", "mirror-sync.md", "mirror.md", "monitoring.md", "security.md", "attacks.md", "trust-over-time.md", "mirror-check.md"}

func read(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReasonCodes wants one section for each code of the program's closed list,
// none for a code that is not on it, and the right exit code in its first line.
func TestReasonCodes(t *testing.T) {
	t.Parallel()
	section := regexp.MustCompile("(?m)^#### `([a-z_]+)`\n\nExit ([0-9]+)\\. ")
	explained := map[string]string{}
	for _, m := range section.FindAllStringSubmatch(read(t, "operations.md"), -1) {
		if _, twice := explained[m[1]]; twice {
			t.Errorf("%s is explained twice", m[1])
		}
		explained[m[1]] = m[2]
	}
	codes := exitTable(t)
	for _, code := range codes {
		exit, ok := explained[code]
		if want := strconv.Itoa(reason.ExitCode(code)); !ok {
			t.Errorf("operations.md has no section for %s, with its exit code at the start", code)
		} else if exit != want {
			t.Errorf("operations.md says that %s exits with %s, and it is %s", code, exit, want)
		}
		delete(explained, code)
	}
	for code := range explained {
		t.Errorf("operations.md explains %s, which the program does not know", code)
	}
}

// exitTable gives the codes of the closed list.
func exitTable(t *testing.T) (codes []string) {
	t.Helper()
	for _, some := range reason.ExitCodes() {
		codes = append(codes, some...)
	}
	const least = 30 // the list had 40 codes when this was written
	if len(codes) < least {
		t.Fatalf("only %d codes are on the list", len(codes))
	}
	return codes
}

// TestSymptoms wants every sentence that a symptom leads to in a transcript of the
// program.
func TestSymptoms(t *testing.T) {
	t.Parallel()
	_, table, _ := strings.Cut(read(t, "operations.md"), "\n## Troubleshooting by symptom\n")
	table, _, _ = strings.Cut(table, "\n## ")
	var transcripts strings.Builder
	scripts, err := filepath.Glob("../cmd/agent/testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		transcripts.WriteString(read(t, script))
	}
	// Where a transcript is a pattern, it has more signs than the sentence.
	said := strings.NewReplacer(`\`, "", "''", "'").Replace(transcripts.String())
	found := regexp.MustCompile("(?m)\\| `([^`\n]+)` \\|$").FindAllStringSubmatch(table, -1)
	const least = 30 // far fewer would mean that they are not found any more
	if len(found) < least {
		t.Fatalf("only %d sentences were found in the table of symptoms", len(found))
	}
	for _, m := range found {
		if !strings.Contains(said, m[1]) {
			t.Errorf("operations.md leads to the sentence %q, which is in no transcript", m[1])
		}
	}
}

// TestLinks follows every relative link, its anchor included.
func TestLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range pages {
		for _, m := range link.FindAllStringSubmatch(prose(read(t, page)), -1) {
			target, anchor, hasAnchor := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
			} else if hasAnchor && !slices.Contains(anchors(read(t, path)), anchor) {
				t.Errorf("%s links to %s, and there is no such heading", page, m[1])
			}
		}
	}
}

var fenced = regexp.MustCompile("(?ms)^```[a-z]*\n(.*?)^```$")

// prose is a page without its blocks of code.
func prose(text string) string { return fenced.ReplaceAllString(text, "") }

// anchors gives the headings of a page in the form in which links name them.
func anchors(text string) (names []string) {
	for line := range strings.Lines(prose(text)) {
		if !strings.HasPrefix(line, "#") {
			continue
		}
		heading := strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#")))
		heading = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(heading, "")
		names = append(names, strings.ReplaceAll(heading, " ", "-"))
	}
	return names
}

// A commandLine is what a reader could type, as far as it names the program's
// commands and options.
type commandLine struct{ page, text string }

var (
	// A shell's prompt, sudo, a path or a schedule may stand before the name.
	called = regexp.MustCompile("(?:^|[\\s/=]|mdatp-)agent ((?:--?[a-z]|[a-z])[^|>;&`]*)")
	inline = regexp.MustCompile("`([^`\n]+)`")
	output = regexp.MustCompile(`^(?:agent|hint|why|at hand|source): `)
)

// commandLines finds the program's calls in blocks and in code within lines.
func commandLines(t *testing.T) (found []commandLine) {
	t.Helper()
	for _, page := range pages {
		text := read(t, page)
		var pieces []string
		for _, m := range fenced.FindAllStringSubmatch(text, -1) {
			pieces = append(pieces, strings.Split(strings.ReplaceAll(m[1], "\\\n", " "), "\n")...)
		}
		for _, m := range inline.FindAllStringSubmatch(prose(text), -1) {
			pieces = append(pieces, m[1])
		}
		for _, piece := range pieces {
			if output.MatchString(piece) || strings.HasPrefix(piece, "#") {
				continue
			}
			for _, m := range called.FindAllStringSubmatch(piece, -1) {
				found = append(found, commandLine{page, m[1]})
			}
		}
	}
	return found
}

// TestCommands asks the program itself for help about each command that a page
// shows, and looks for each option there.
func TestCommands(t *testing.T) {
	t.Parallel()
	lines := commandLines(t)
	const least = 40 // far fewer would mean that they are not found any more
	if len(lines) < least {
		t.Fatalf("only %d calls of the program were found in the pages", len(lines))
	}
	helper := &helper{program: build(t), known: map[string]string{}}
	for _, line := range lines {
		if err := helper.check(strings.Fields(line.text)); err != nil {
			t.Errorf("%s shows agent %s\n%v", line.page, line.text, err)
		}
	}
}

// build makes the program. Where that is not possible, as for a user who has no
// access to the modules that it needs, the test says so.
func build(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("SKIPPED, the Go tool is missing in PATH, and the program can't be built without it")
	}
	program := filepath.Join(t.TempDir(), "agent")
	cmd := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-o", program, "../cmd/agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOPROXY=off", "GOTOOLCHAIN=local")
	if out, err := cmd.CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("GOPROXY=off")) || bytes.Contains(out, []byte("permission denied")) {
			t.Skipf("SKIPPED, this user can't build the program (run it as the user who has the modules, after go mod download)\n%s", out)
		}
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

// A helper knows what the program says to --help.
type helper struct {
	program string
	known   map[string]string // by the command's words
}

func (h *helper) help(words []string) (string, error) {
	key := strings.Join(words, " ")
	if text, ok := h.known[key]; ok {
		return text, nil
	}
	out, err := exec.Command(h.program, append(slices.Clone(words), "--help")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("agent %s --help: %w: %s", key, err, out)
	}
	h.known[key] = string(out)
	return string(out), nil
}

// check goes down the tree of commands as far as the words lead, and looks for
// the options where they end and at the top.
func (h *helper) check(fields []string) error {
	top, err := h.help(nil)
	if err != nil {
		return err
	}
	text := top
	var words []string
	for _, field := range fields {
		if strings.HasPrefix(field, "-") || !strings.Contains(text, "\nCOMMANDS:\n") {
			break
		}
		words = append(words, strings.TrimRight(field, ".,:"))
		if text, err = h.help(words); err != nil {
			return err
		}
	}
	for _, field := range fields {
		name, _, _ := strings.Cut(strings.TrimRight(field, ".,:"), "=")
		if strings.HasPrefix(name, "--") && !offers(text, name) && !offers(top, name) {
			return fmt.Errorf("there is no option %s", name)
		}
	}
	return nil
}

// offers tells whether a text of help has the option.
func offers(text, option string) bool {
	return regexp.MustCompile(`(?m)^ +` + regexp.QuoteMeta(option) + `\b`).MatchString(text)
}
