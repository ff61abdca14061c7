package attacks_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"mdatp-offline-agent/agent"
)

// titles are the rows of the list.
func titles() []string {
	return []string{"Arbitrary install", "Endless data", "Wrong software", "Fast-forward", "Indefinite freeze", "Blocked updates", "Mix and match",
		"Rollback", "Slow retrieval", "Keys over time", "Redirects and downgrades", "Unverified residue"}
}

const document = "../docs/attacks.md"

const preface = `# What a hostile mirror can try

Each line is an attack, what becomes of it, and the test that shows it. This page is made from the tests' own table: ` + "`go test ./attacks -run TestDocument -update`" + `.

The real program runs against a real server that misbehaves on purpose, below a root where a good set is installed. Where a line names a reason code, the update fails with it, and it holds that

- the set that was active stays active, byte for byte, and an engine can load it;
- reason and exit code are the same in text, in JSON and in the report, each on one line;
- no file has changed but those in which the agent remembers things, and in ` + "`.staging`" + ` nothing is left but the bounded beginning of a transfer that may go on;
- the program and what it starts have at most 64 MiB of memory together, and on disk no more than the limits of a package (for the memory the kernel's account of the largest process is taken as often as there were processes at once, two at the least);
- the run ends by itself;
- once the mirror is good again, the next update works.

Those with a ° are bad in files alone and are served by nginx and by Python's server, too (` + "`TestPlainMirrors`" + `). Those with a … move a gigabyte, and run with ATTACKS_LONG=1.
`

// documented is docs/attacks.md as it has to be.
func documented() string {
	var b strings.Builder
	b.WriteString(preface)
	for i, title := range titles() {
		fmt.Fprintf(&b, "\n## %d. %s\n\n| the mirror has | what happens | test, below `TestAttacks` |\n|---|---|---|\n", i+1, title)
		for _, a := range attacks() {
			if a.row == i+1 {
				fmt.Fprintf(&b, "| %s | %s | `%s`%s |\n", a.does, a.outcome(), a.path(), a.marks())
			}
		}
	}
	return b.String()
}

// outcome is what happens, in the document's words.
func (a attack) outcome() string {
	if a.code == "" {
		return a.ends
	}
	return fmt.Sprintf("[`%s`](operations.md#%s), exit %d", a.code, a.code, a.exit)
}

func (a attack) marks() (marks string) {
	if a.static {
		marks += " °"
	}
	if a.long {
		marks += " …"
	}
	return marks
}

var update = flag.Bool("update", false, "write docs/attacks.md anew")

// TestDocument holds docs/attacks.md to the table, and the table to its own rules.
func TestDocument(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, a := range attacks() {
		if seen[a.path()] {
			t.Errorf("%s is there twice", a.path())
		}
		seen[a.path()] = true
		if (a.mirror == nil) == (a.story == nil) || (a.code == "") != (a.story != nil) || (a.ends == "") == (a.code == "") || a.does == "" {
			t.Errorf("%s must have either a mirror and a code, or a story and an end", a.path())
		}
		if a.code != "" && agent.ExitCode(a.code) != a.exit {
			t.Errorf("%s has the exit code %d, and %s has %d", a.path(), a.exit, a.code, agent.ExitCode(a.code))
		}
		if a.row < 1 || a.row > len(titles()) {
			t.Errorf("%s is in no row", a.path())
		}
	}
	if *update {
		if err := os.WriteFile(document, []byte(documented()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != documented() {
		t.Errorf("docs/attacks.md is not what the table says; go test ./attacks -run TestDocument -update writes it")
	}
}
