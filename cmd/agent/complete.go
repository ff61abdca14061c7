package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"mdatp-offline-agent/managedconfig"
)

// completeCommand is for the shells' completion files, and for no person, so it
// does not show in any help. The words of the line, behind the program's name
// and up to the cursor, stand behind "--".
func (p *program) completeCommand() *cli.Command {
	return command(cli.Command{Name: "complete", Usage: "what the last word of a line could become, for shells", ArgsUsage: "-- WORD...", Hidden: true, Action: p.complete})
}

func (p *program) complete(c *cli.Context) error {
	for _, candidate := range candidates(c.App, c.Args().Slice()) {
		fmt.Fprintln(p.stdout, candidate)
	}
	return nil
}

// completeFiles in place of candidates tells the shell that a file or directory
// belongs here, which it completes best itself.
const completeFiles = ":files"

// candidates gives what the last of the words could become, in the order in
// which help shows it. It asks nothing but the command tree.
func candidates(app *cli.App, words []string) []string {
	if len(words) == 0 {
		return nil
	}
	at := cursorAt(app, words[:len(words)-1])
	last := words[len(words)-1]
	name, inline, isOption := parseOption(last)
	option, typed, _ := strings.Cut(last, "=")
	switch {
	case at.arguments:
		return beginning(last, at.argumentValues())
	case at.valueOf != nil:
		return beginning(last, valuesOf(at.valueOf))
	case isOption && inline:
		return withOption(option, beginning(typed, valuesOf(at.option(name))))
	case strings.HasPrefix(last, "-"):
		return beginning(last, at.optionNames())
	case len(at.below) == 0:
		return beginning(last, at.argumentValues())
	}
	return beginning(last, commandNames(at.below))
}

// cursor is where in the command tree the words before the last one lead.
type cursor struct {
	flags     []cli.Flag // that may be typed here
	below     []*cli.Command
	takes     string   // the command's arguments, as help shows them
	valueOf   cli.Flag // the last word is its value, nil for none
	arguments bool     // "--" has been typed
}

func cursorAt(app *cli.App, words []string) cursor {
	at := cursor{flags: slices.Clone(app.Flags), below: app.Commands}
	for i, word := range words {
		name, inline, isOption := parseOption(word)
		waiting := at.valueOf
		at.valueOf = nil
		switch {
		case waiting != nil:
		case word == "--":
			at.arguments = true
			return at
		case isOption && !inline:
			at.valueOf = takingValue(at.option(name))
		case isOption, word == "help" && i == 0:
		case len(at.below) > 0:
			at.descend(word)
		}
	}
	return at
}

// descend goes to the command of that name. Below a word that is none there is
// nothing.
func (at *cursor) descend(name string) {
	next := find(at.below, name)
	if next == nil {
		next = &cli.Command{}
	}
	at.flags, at.below, at.takes = append(at.flags, next.Flags...), next.Subcommands, next.ArgsUsage
}

// option finds an option by its name, nil where there is none.
func (at cursor) option(name string) cli.Flag {
	i := slices.IndexFunc(at.flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	if i < 0 {
		return nil
	}
	return at.flags[i]
}

// optionNames gives those of the command first.
func (at cursor) optionNames() []string {
	names := []string{"--help"}
	for _, f := range at.flags {
		names = append(names, "--"+f.Names()[0])
	}
	slices.Reverse(names)
	return names
}

// keyArgument is how help calls the name of a setting.
const keyArgument = "SECTION.KEY"

// argumentValues gives what an argument can be: the name of a setting, or a file.
func (at cursor) argumentValues() (values []string) {
	if !strings.HasPrefix(at.takes, keyArgument) {
		return at.filesOrNothing()
	}
	for _, row := range managedconfig.Defaults().Rows() {
		values = append(values, row.Name)
	}
	return values
}

func (at cursor) filesOrNothing() []string {
	if at.takes == "" {
		return nil
	}
	return []string{completeFiles}
}

// takingValue is the option itself where it takes a value, else nil.
func takingValue(f cli.Flag) cli.Flag {
	if _, isBool := f.(*cli.BoolFlag); isBool {
		return nil
	}
	return f
}

// placeholder finds what help calls the value of an option.
var placeholder = regexp.MustCompile("`([A-Z]+)`")

// valuesOf gives the values of an option that has few, and asks for files where
// its value is one. Nothing fits an option that does not exist.
func valuesOf(f cli.Flag) []string {
	documented, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return nil
	}
	if values, few := fewValues()[f.Names()[0]]; few {
		return values
	}
	if m := placeholder.FindStringSubmatch(documented.GetUsage()); m != nil && (m[1] == "FILE" || m[1] == "DIR") {
		return []string{completeFiles}
	}
	return nil
}

// fewValues lists what can be typed behind options whose values are a closed set.
func fewValues() map[string][]string {
	return map[string][]string{
		"output":     {"text", "json"},
		"log-format": {"text", "json"},
		"log-level":  {"error", "warning", "info", "debug"},
		"details":    {"definitions", "features"},
		"arch":       {"x86_64", "arm64"},
	}
}

func commandNames(commands []*cli.Command) (names []string) {
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return names
}

// beginning keeps what begins as the word does. The request for files stays.
func beginning(word string, all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool {
		return s != completeFiles && !strings.HasPrefix(s, word)
	})
}

// withOption puts the option back before its values.
func withOption(option string, values []string) []string {
	for i, v := range values {
		if v != completeFiles {
			values[i] = option + "=" + v
		}
	}
	return values
}
