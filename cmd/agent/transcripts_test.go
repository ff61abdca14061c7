package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// seen is what the transcripts in testdata/script show of one command.
type seen struct {
	works, refused []string        // the scripts where it does, or is
	options        map[string]bool // that were given
}

// TestEveryCommandHasTranscripts walks the tree of commands. Each has to be shown in a
// script: at work, and with what it says where it can't be; and each of its options has
// to stand there somewhere.
func TestEveryCommandHasTranscripts(t *testing.T) {
	t.Parallel()
	app := testApp()
	shown := transcripts(t, app)
	leaves := 0
	var visit func(words []string, commands []*cli.Command)
	visit = func(words []string, commands []*cli.Command) {
		for _, c := range commands {
			path := append(slices.Clone(words), c.Name)
			if c.Hidden {
				continue
			}
			if len(c.Subcommands) > 0 {
				visit(path, c.Subcommands)
				continue
			}
			leaves++
			name := strings.Join(path, " ")
			s := shown[name]
			if len(s.works) == 0 {
				t.Errorf("no transcript shows agent %s at work", name)
			}
			if len(s.refused) == 0 {
				t.Errorf("no transcript shows what agent %s says where it can't be done", name)
			}
			for _, f := range c.Flags {
				if !s.options[f.Names()[0]] {
					t.Errorf("no transcript has agent %s --%s", name, f.Names()[0])
				}
			}
		}
	}
	visit(nil, app.Commands)
	const least = 20 // there were 23 when this was written
	if leaves < least {
		t.Errorf("only %d commands were found in the tree", leaves)
	}
}

// transcripts reads all scripts, and gives what they show of each command, by its name.
func transcripts(t *testing.T, app *cli.App) map[string]seen {
	t.Helper()
	scripts, err := filepath.Glob(filepath.Join("testdata", "script", "*.txtar"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("there are no transcripts: %v", err)
	}
	shown := map[string]seen{}
	for _, path := range scripts {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		script, _, _ := strings.Cut(string(data), "\n-- ")
		for text := range strings.Lines(script) {
			for _, call := range callsIn(text) {
				name, options := commandOf(app, call.args)
				s := shown[name]
				if s.options == nil {
					s.options = map[string]bool{}
				}
				maps.Copy(s.options, options)
				where := &s.works
				if call.refused {
					where = &s.refused
				}
				*where = append(*where, filepath.Base(path))
				shown[name] = s
			}
		}
	}
	return shown
}

// call is one call of the program in a script.
type call struct {
	args    []string
	refused bool // it ends with another exit code than 0
}

// callsIn finds the calls of the program in a line of a script: by exec, exit CODE,
// until TEXT, each CODE TEXT, together CODE TEXT, or by what is short for one.
func callsIn(line string) (calls []call) {
	words := scriptWords(line)
	for len(words) > 0 && strings.HasPrefix(words[0], "[") { // a condition
		words = words[1:]
	}
	if len(words) == 0 {
		return nil
	}
	if words[0] == "together" {
		for _, line := range words[3:] {
			calls = append(calls, call{args: strings.Fields(line)[1:], refused: words[1] != "0"})
		}
		return calls
	}
	if words[0] == "serve" {
		return []call{{args: append([]string{"mirror", "serve", "--listen", "x"}, words[1:]...)}}
	}
	refused := words[0] == "!" || slices.Contains([]string{"exit", "each"}, words[0]) && words[1] != "0"
	if words[0] == "!" && strings.HasSuffix(words[len(words)-1], "&") {
		refused = false // it is ended in the background, however
	}
	at := slices.IndexFunc(words, func(w string) bool { return w == "agent" || w == "mdatp" })
	switch {
	case at > 0 && !strings.HasPrefix(words[0], "#"):
		return []call{{args: words[at+1:], refused: refused}}
	case slices.Contains(words, "sh"): // a line of a shell within the line
		for _, w := range words {
			for _, piece := range strings.FieldsFunc(w, func(r rune) bool { return strings.ContainsRune("|;&()", r) }) {
				if f := strings.Fields(piece); len(f) > 1 && (f[0] == "agent" || f[0] == "mdatp") {
					calls = append(calls, call{args: f[1:], refused: refused})
				}
			}
		}
	}
	return calls
}

// scriptWords splits a line as testscript does: at spaces, but not between quotes.
func scriptWords(line string) (words []string) {
	var word strings.Builder
	quoted, any := false, false
	for _, r := range strings.TrimSpace(line) {
		switch {
		case r == '\'':
			quoted, any = !quoted, true
		case r == '#' && !quoted && !any:
			return words
		case (r == ' ' || r == '\t') && !quoted:
			if any {
				words = append(words, word.String())
			}
			word.Reset()
			any = false
		default:
			word.WriteRune(r)
			any = true
		}
	}
	if any {
		words = append(words, word.String())
	}
	return words
}

// commandOf gives the command that a line leads to, and the options that stand in it.
// Of a line that is wrong it is as much as can be read.
func commandOf(app *cli.App, args []string) (name string, options map[string]bool) {
	l, _ := readLine(app, args)
	options = map[string]bool{}
	for _, o := range l.options {
		options[o.name] = true
	}
	var path []string
	for commands := app.Commands; len(path) < len(l.words); {
		next := find(commands, l.words[len(path)])
		if next == nil {
			break
		}
		path = append(path, next.Name)
		commands = next.Subcommands
	}
	return strings.Join(path, " "), options
}
