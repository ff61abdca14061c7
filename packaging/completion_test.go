package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// completionTest is a line up to the cursor, and what the shell offers for its last
// word. Where the program asks for files, they are those of a directory with
// package.zip and nothing else.
type completionTest struct {
	line string
	want []string
}

func completionTests() []completionTest {
	return []completionTest{
		{"mdatp-agent defi", []string{"definitions"}},
		{"mdatp-agent definitions u", []string{"unhold", "update"}},
		{"mdatp-agent definitions update --allow-", []string{"--allow-downgrade", "--allow-expired"}},
		{"mdatp-agent --output j", []string{"json"}},
		{"mdatp-agent package inspect pack", []string{"package.zip"}},
	}
}

// shell prepares a command in a directory with package.zip, with the program in PATH.
func shell(t *testing.T, agent, name string, args ...string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "package.zip"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(agent)+":"+os.Getenv("PATH"), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir, "TERM=dumb")
	return cmd
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	full, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return full
}

// sameWords compares words without regard to their order.
func sameWords(got string, want []string) bool {
	words := strings.Fields(got)
	slices.Sort(words)
	return slices.Equal(words, want)
}

func bash(t *testing.T, agent string) {
	t.Helper()
	need(t, "bash", "bash")
	// compopt works only within bash's own completion.
	const script = `source "$1"; compopt() { :; }
COMP_LINE=$2 COMP_POINT=${#2}
_mdatp_agent; printf '%s\n' "${COMPREPLY[@]}"`
	inline := completionTest{"mdatp-agent health --output=", []string{"json", "text"}}
	for _, test := range append(completionTests(), inline) {
		cmd := shell(t, agent, "bash", "--norc", "-c", script, "bash", absolute(t, "completions/mdatp-agent.bash"), test.line)
		if got := run(t, cmd); !sameWords(got, test.want) {
			t.Errorf("%s gives %q, want %q", test.line, got, test.want)
		}
	}
}

func fish(t *testing.T, agent string) {
	t.Helper()
	need(t, "fish", "fish")
	inline := completionTest{"mdatp-agent health --output=", []string{"--output=json", "--output=text"}}
	for _, test := range append(completionTests(), inline) {
		cmd := shell(t, agent, "fish", "--no-config", "-c", `source $argv[1]; complete -C $argv[2]`, absolute(t, "completions/mdatp-agent.fish"), test.line)
		if got := run(t, cmd); !sameWords(got, test.want) {
			t.Errorf("%s gives %q, want %q", test.line, got, test.want)
		}
	}
}

// zshrc makes a zsh that says when it is ready for keys, and writes its line to a file
// and ends when it gets ^X.
const zshrc = `PS1=
fpath=("$FUNCTIONS" $fpath)
autoload -Uz compinit; compinit -u -D
zle-line-init() { : >"$HOME/ready" }
finish() { print -r -- "$BUFFER" >"$HOME/line"; exit }
zle -N zle-line-init; zle -N finish; bindkey -e; bindkey '^X' finish
`

// typeIntoZsh gives a zsh on a terminal some keys and then ^X. It waits ten minutes
// for each.
const typeIntoZsh = `zmodload zsh/zpty zsh/zselect
zpty z zsh -i
waitFor() { for ((i = 0; i < 6000; i++)); do [[ -e $1 ]] && return; zselect -t 10; done; exit 1 }
waitFor "$HOME/ready"
zpty -w -n z "$1"$'\t\x18'
waitFor "$HOME/line"
zpty -d z
cat "$HOME/line"`

// zsh is typed into on a terminal, since it completes nowhere else. Only what has one
// possible end can be seen.
func zsh(t *testing.T, agent string) {
	t.Helper()
	need(t, "zsh", "zsh")
	functions := t.TempDir()
	if err := os.WriteFile(filepath.Join(functions, "_mdatp-agent"), []byte(read(t, "completions/mdatp-agent.zsh")), 0o644); err != nil {
		t.Fatal(err)
	}
	for typed, want := range map[string]string{
		"mdatp-agent defi":                    "mdatp-agent definitions",
		"mdatp-agent definitions roll":        "mdatp-agent definitions rollback",
		"mdatp-agent definitions update --dr": "mdatp-agent definitions update --dry-run",
		"mdatp-agent health --output=j":       "mdatp-agent health --output=json",
		"mdatp-agent package inspect pack":    "mdatp-agent package inspect package.zip",
	} {
		cmd := shell(t, agent, "zsh", "-f", "-c", typeIntoZsh, "zsh", typed)
		if err := os.WriteFile(filepath.Join(cmd.Dir, ".zshrc"), []byte(zshrc), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, "ZDOTDIR="+cmd.Dir, "FUNCTIONS="+functions)
		if got := strings.TrimSpace(run(t, cmd)); got != want {
			t.Errorf("%s and a tab give %q, want %q", typed, got, want)
		}
	}
}
