package main

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/urfave/cli/v2"
)

func testApp() *cli.App {
	return (&program{stdin: os.Stdin, stdout: io.Discard, stderr: io.Discard}).app()
}

// oneTree is held while a tree of commands runs in the tests' own process: the library
// has one flag --help for all trees, and writes to it whenever a line is read.
var oneTree sync.Mutex

// runTree reads and does a line by a tree of commands.
func runTree(app *cli.App, words []string) error {
	oneTree.Lock()
	defer oneTree.Unlock()
	line, err := normalise(app, words)
	if err != nil {
		return err
	}
	return app.Run(append([]string{app.Name}, line...))
}

// lineTest is a line as it is typed, and either the line that it becomes or what
// is wrong with it.
type lineTest struct{ typed, want, wrong string }

func TestOrderOfLine(t *testing.T) {
	t.Parallel()
	checkLines(t, []lineTest{
		{typed: "health", want: "health --"},
		{typed: "health --output json", want: "--output json health --"},
		{typed: "--output=json health", want: "--output=json health --"},
		{typed: "-output json health", want: "-output json health --"},
		{typed: "definitions --dry-run update --root /x", want: "--root /x definitions update --dry-run --"},
		{typed: "--wait 5m definitions --now update", want: "definitions update --wait 5m --now --"},
		{typed: "package build dir --ring a --out x --ring=b", want: "package build --ring a --out x --ring=b -- dir"},
		{typed: "package inspect -", want: "package inspect -- -"},
		{typed: "mirror serve a b", want: "mirror serve -- a b"},

		// Behind --, everything is an argument.
		{typed: "package inspect -- --output", want: "package inspect -- --output"},
		{typed: "package inspect -- -- --details --definitions", want: "package inspect -- -- --details --definitions"},
		{typed: "package -- inspect x", wrong: "there is no command package inspect"},
		{typed: "-- health", wrong: "there is no command health"},
	})
}

func TestValuesInLine(t *testing.T) {
	t.Parallel()
	checkLines(t, []lineTest{
		// A value may begin with a dash, but an option of ours is none.
		{typed: "definitions update --wait -5s", want: "definitions update --wait -5s --"},
		{typed: "definitions update --wait", wrong: "the option --wait needs a value"},
		{typed: "definitions update --wait -- 5s", wrong: "the option --wait needs a value"},
		{typed: "package keys --out --rsa", wrong: "the option --out needs a value"},
		{typed: "package keys --out=--rsa", want: "package keys --out=--rsa --"},
		{typed: "definitions update --dry-run=false", want: "definitions update --dry-run=false --"},

		// Views as the real product spells them.
		{typed: "health --details definitions", want: "health --details definitions --"},
		{typed: "health --details --definitions", want: "health --details definitions --"},
		{typed: "health -details -definitions", want: "health -details definitions --"},
		{typed: "health --details --features", want: "health --details features --"},
		{typed: "health --detail --features", want: "health --detail features --"},
		{typed: "health --details --output json", wrong: "the option --details needs a value"},
		{typed: "health --details", wrong: "the option --details needs a value"},
	})
}

func TestHelpAndMistakesInLine(t *testing.T) {
	t.Parallel()
	checkLines(t, []lineTest{
		// Help, however it is asked for, is of the command and of nothing else.
		{typed: "help", want: "--help"},
		{typed: "-h", want: "--help"},
		{typed: "help definitions update", want: "definitions update --help"},
		{typed: "definitions --output json update now -h", want: "definitions update --help"},
		{typed: "definitions --help", want: "definitions --help"},
		{typed: "definitions upgrade --help", wrong: "there is no command definitions upgrade"},

		// What does not exist.
		{typed: "", want: "--"},
		{typed: "--version", want: "--version --"},
		{typed: "definitions", wrong: "the command definitions is not complete"},
		{typed: "definitions --output json", wrong: "the command definitions is not complete"},
		{typed: "definitoins update", wrong: "there is no command definitoins"},
		{typed: "update", wrong: "there is no command update"},
		{typed: "health --dryrun", wrong: "there is no option --dryrun"},
		{typed: "health --dry-run", wrong: "agent health has no option --dry-run"},
		{typed: "--dry-run", wrong: "agent has no option --dry-run"},
		{typed: "health ---", wrong: "there is no option --"},
	})
}

func checkLines(t *testing.T, tests []lineTest) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.typed, func(t *testing.T) {
			t.Parallel()
			line, err := normalise(testApp(), strings.Fields(test.typed))
			var usage *usageError
			if err != nil && !errors.As(err, &usage) {
				t.Fatalf("%v is no usage error", err)
			}
			wrong := ""
			if usage != nil {
				wrong = usage.text
			}
			if got := strings.Join(line, " "); got != test.want || wrong != test.wrong {
				t.Errorf("got %q and error %q, want %q and %q", got, wrong, test.want, test.wrong)
			}
		})
	}
}

// TestOptionsAreUnambiguous walks the command tree. An option is read before it
// is known which command it belongs to, so it must take a value everywhere or
// nowhere, and a command must not have one that all commands have.
func TestOptionsAreUnambiguous(t *testing.T) {
	t.Parallel()
	app := testApp()
	global, seen := optionsOf(app.Flags), map[string]string{}
	table := optionTable(app)
	var visit func(path string, commands []*cli.Command)
	visit = func(path string, commands []*cli.Command) {
		for _, c := range commands {
			name := path + " " + c.Name
			for option, takes := range optionsOf(c.Flags) {
				if _, clash := global[option]; clash {
					t.Errorf("%s has an option --%s of its own, and all commands have one", name, option)
				}
				if table[option] != takes {
					t.Errorf("--%s takes a value in one of %s and %s, and none in the other", option, name, seen[option])
				}
				seen[option] = name
			}
			if len(c.Subcommands) > 0 && c.Action != nil {
				t.Errorf("%s is a command and has commands below it", name)
			}
			if len(c.Subcommands) == 0 && (c.Action == nil || c.Usage == "" || c.OnUsageError == nil) {
				t.Errorf("%s lacks an action, a line of help, or its manners", name)
			}
			visit(name, c.Subcommands)
		}
	}
	visit(app.Name, app.Commands)
	if len(seen) == 0 {
		t.Error("no command has an option")
	}
}

func TestWantsJSON(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]bool{
		"":                               false,
		"health --output json":           true,
		"--output=json nonsense":         true,
		"-output json":                   true,
		"health --output text":           false,
		"health --output":                false,
		"health -- --output json":        false,
		"--output json --output text":    false,
		"--output=text x --output=json":  true,
		"package inspect output json":    false,
		"health --output json --nothing": true,
	} {
		if got := wantsJSON(strings.Fields(typed)); got != want {
			t.Errorf("%q: %v", typed, got)
		}
	}
}

// FuzzLine feeds whole command lines, their words divided by newlines.
func FuzzLine(f *testing.F) {
	for _, line := range []string{
		"health\n--output\njson", "definitions\nupdate\n--wait\n5m\n--\n--dry-run", "health\n--details\n--definitions",
		"help\ndefinitions", "-h", "---", "--=", "--output=", "", "--\n--", "package\nbuild\n\n-\n--ring\n--ring=x", "--details\n-",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		args := strings.Split(typed, "\n")
		given := slices.Clone(args)
		line, err := normalise(testApp(), args)
		if !slices.Equal(args, given) {
			t.Fatalf("the arguments were changed to %q", args)
		}
		wantsJSON(args)
		if err != nil {
			var usage *usageError
			if !errors.As(err, &usage) || strings.ContainsAny(usage.text+usage.hint, "\n\x1b\"") {
				t.Fatalf("error %q", err)
			}
			return
		}
		if i := slices.Index(args, "--"); i >= 0 && line[len(line)-1] != "--help" && !slices.Equal(args[i+1:], line[len(line)-len(args[i+1:]):]) {
			t.Fatalf("what stood behind -- in %q is not at the end of %q", args, line)
		}
		checkOrder(t, line)
	})
}

// checkOrder checks that the line is in the order that the library reads: options
// of all commands, a command, its options, "--", arguments. Only then is nothing
// taken for something else.
func checkOrder(t *testing.T, line []string) {
	t.Helper()
	takes := optionTable(testApp())
	takes["help"] = false
	for i := 0; i < len(line); i++ {
		if line[i] == "--" {
			return
		}
		name, inline, isOption := parseOption(line[i])
		if !isOption {
			continue
		}
		if _, known := takes[name]; !known {
			t.Fatalf("option %q in %q is none", line[i], line)
		}
		if takes[name] && !inline {
			i++
		}
	}
	if line[len(line)-1] != "--help" {
		t.Fatalf("%q has no --", line)
	}
}
