package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"mdatp-offline-agent/printable"
)

// normalise puts a command line into the one order that the cli library
// understands: global options, command, the command's options, arguments.
// People type options anywhere, and the library would take what stands behind
// an argument for arguments, silently. Everything behind "--" is an argument.
//
// It gives usage errors for a command or an option that does not exist, in the
// same words wherever they stand. Whether there are too many arguments, and
// what a value means, is the command's business.
func normalise(app *cli.App, args []string) ([]string, error) {
	l, err := readLine(app, args)
	if err != nil {
		return nil, err
	}
	commands, options := app.Commands, optionsOf(app.Flags)
	global := maps.Clone(options)
	depth := 0
	for ; depth < len(l.words); depth++ {
		next := find(commands, l.words[depth])
		if next == nil {
			break
		}
		commands = next.Subcommands
		maps.Copy(options, optionsOf(next.Flags))
	}
	command, rest := l.words[:depth], append(l.words[depth:], l.arguments...)
	if err := isCommand(command, rest, commands, l.help); err != nil {
		return nil, err
	}
	if l.help {
		return append(slices.Clone(command), "--help"), nil
	}
	var before, after []string
	for _, o := range l.options {
		if _, known := options[o.name]; !known {
			return nil, &usageError{"agent " + strings.Join(append(slices.Clone(command), "has no option --"), " ") + typed(o.name), seeHelp(command)}
		}
		if _, known := global[o.name]; known {
			before = append(before, o.text...)
		} else {
			after = append(after, o.text...)
		}
	}
	return slices.Concat(before, command, after, []string{"--"}, rest), nil
}

// line is a command line taken apart.
type line struct {
	words     []string // commands, and arguments in front of "--"
	options   []option
	arguments []string // behind "--"
	help      bool     // help is asked for, by whichever spelling
}

// option is one option as it was typed, with its value.
type option struct {
	name string
	text []string
}

// readLine tells words, options and their values apart.
func readLine(app *cli.App, args []string) (l line, err error) {
	takesValue := optionTable(app)
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			l.arguments = args[i+1:]
			break
		}
		name, inline, isOption := parseOption(arg)
		takes, known := takesValue[name]
		switch {
		case !isOption:
			l.words = append(l.words, arg)
			if c := find(app.Commands, arg); len(l.words) == 1 && c != nil && c.SkipFlagParsing {
				l.arguments = args[i+1:] // it has options elsewhere, which are not known here
				return l, nil
			}
		case name == "help" || name == "h":
			l.help = true
		case !known:
			return l, &usageError{"there is no option --" + typed(name), seeHelp(nil)}
		case !takes || inline:
			l.options = append(l.options, option{name, []string{arg}})
		default:
			value, ok := valueOf(name, args[i+1:], takesValue)
			if !ok {
				return l, &usageError{"the option --" + name + " needs a value", seeHelp(nil)}
			}
			l.options = append(l.options, option{name, []string{arg, value}})
			i++
		}
	}
	if len(l.words) > 0 && l.words[0] == "help" {
		l.words, l.help = l.words[1:], true
	}
	return l, nil
}

// parseOption gives the name of an option, and whether its value is part of arg. What
// begins as a negative number does is none.
func parseOption(arg string) (name string, inline, isOption bool) {
	if len(arg) < 2 || arg[0] != '-' || arg[1] >= '0' && arg[1] <= '9' {
		return "", false, false
	}
	name, _, inline = strings.Cut(strings.TrimLeft(arg, "-"), "=")
	return name, inline, true
}

// valueOf takes the value of an option from what follows it. An option of ours
// is no value: whoever means it as one writes it with "=". The real product
// spells views as options, too, --details --definitions.
func valueOf(name string, rest []string, options map[string]bool) (string, bool) {
	if len(rest) == 0 || rest[0] == "--" {
		return "", false
	}
	other, _, isOption := parseOption(rest[0])
	if _, known := options[other]; isOption && known {
		return "", false
	}
	if isOption && (name == "details" || name == "detail") && other != "" {
		return other, true
	}
	return rest[0], true
}

// isCommand checks that the words name a command that can be run. rest is what
// is left of the line, and below are the commands that could have followed.
func isCommand(command, rest []string, below []*cli.Command, help bool) error {
	switch {
	case len(below) == 0 || help && len(rest) == 0:
		return nil
	case len(rest) > 0:
		name := strings.Join(append(slices.Clone(command), rest[0]), " ")
		return &usageError{"there is no command " + typed(name), seeHelp(command)}
	case len(command) > 0:
		return &usageError{"the command " + strings.Join(command, " ") + " is not complete", seeHelp(command)}
	}
	return nil // what to do without any command is the program's business
}

func seeHelp(command []string) string {
	return "see " + strings.Join(slices.Concat([]string{"agent"}, command, []string{"--help"}), " ")
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// optionTable says of each option of the whole program whether it takes a value.
// An option must mean the same everywhere, or a line could not be read before
// its command is known; a test sees to that.
func optionTable(app *cli.App) map[string]bool {
	table := optionsOf(app.Flags)
	var visit func([]*cli.Command)
	visit = func(commands []*cli.Command) {
		for _, c := range commands {
			maps.Copy(table, optionsOf(c.Flags))
			visit(c.Subcommands)
		}
	}
	visit(app.Commands)
	return table
}

func optionsOf(flags []cli.Flag) map[string]bool {
	names := map[string]bool{}
	for _, f := range flags {
		_, isBool := f.(*cli.BoolFlag)
		for _, name := range f.Names() {
			names[name] = !isBool
		}
	}
	return names
}

// maxTyped is how much of what a user typed is shown, in bytes.
const maxTyped = 200

// typed gives what a user typed for a sentence.
func typed(s string) string { return printable.Sentence(s, maxTyped) }
