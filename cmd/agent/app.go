package main

import (
	"fmt"
	"io"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// version and buildTime (RFC 3339) are set by the linker.
var version, buildTime string

// app is the command tree.
func (p *program) app() *cli.App {
	return &cli.App{
		Name:  "agent",
		Usage: "offline updates of signed definition packages, on the endpoint and on the mirror",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "root", Value: "/", EnvVars: []string{"AGENT_ROOT"}, Usage: "`DIR` to put before all of the agent's own paths"},
			&cli.StringFlag{Name: "output", Value: "text", Usage: "`FORMAT` of results, text or json"},
			&cli.StringFlag{Name: "log-level", Value: "warning", Usage: "`LEVEL` from which on to log to stderr: error, warning, info, debug"},
			&cli.StringFlag{Name: "log-format", Value: "text", Usage: "`FORMAT` of the log, text or json"},
			boolFlag("version", "show the program's version"),
		},
		Commands: []*cli.Command{
			p.definitionsCommand(),
			p.healthCommand(),
			p.connectivityCommand(),
			p.configCommand(),
			p.runCommand(),
			p.mirrorCommand(),
			p.packageCommand(),
			p.selftestCommand(),
			command(cli.Command{Name: "version", Usage: "show the program's version", Action: p.version}),
			p.completeCommand(),
			p.readSourceCommand(),
		},
		Before: p.prepare,
		Action: func(c *cli.Context) error {
			if c.Bool("version") {
				return p.version(c)
			}
			return &usageError{"no command is given", seeHelp(nil)}
		},
		Writer:                    p.stdout,
		ErrWriter:                 p.stderr,
		HideVersion:               true,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		OnUsageError:              onUsageError,
		ExitErrHandler:            func(*cli.Context, error) {}, // program.run decides how to end
	}
}

// badValue finds the option in the library's words about a value that it does
// not understand. Names of options were checked before.
var badValue = regexp.MustCompile(` for (?:flag )?-([a-z-]+): `)

func onUsageError(c *cli.Context, err error, _ bool) error {
	command := strings.Fields(c.Command.HelpName)
	if m := badValue.FindStringSubmatch(err.Error()); m != nil {
		return &usageError{"the value of --" + m[1] + " can not be understood", seeHelp(command[1:])}
	}
	return &usageError{typed(err.Error()), seeHelp(nil)}
}

// command gives a command the manners that all of them have.
func command(c cli.Command) *cli.Command {
	c.HideHelpCommand = true
	c.OnUsageError = onUsageError
	return &c
}

// onLinux is what there is of an endpoint's command on other systems. Whatever
// follows it on the line, the answer is the same.
func onLinux(name string) *cli.Command {
	return command(cli.Command{Name: name, Usage: "only on Linux, where endpoints are", SkipFlagParsing: true, Action: func(*cli.Context) error {
		return &usageError{"agent " + name + " is for endpoints, and those are Linux", "run it there; here the commands mirror, package and version work"}
	}})
}

// boolFlag is an option without a value.
func boolFlag(name, usage string) *cli.BoolFlag {
	return &cli.BoolFlag{Name: name, Usage: usage, DisableDefaultText: true}
}

// arguments checks how many arguments a command was given.
func arguments(c *cli.Context, want int, what string) error {
	if c.NArg() != want {
		return &usageError{c.Command.HelpName + " takes " + what, "see " + c.Command.HelpName + " --help"}
	}
	return nil
}

// needed checks that options were given which the command can't do without. The
// library's own check would print the help on stdout, where results belong.
func needed(c *cli.Context, names ...string) error {
	for _, name := range names {
		if c.String(name) == "" {
			return &usageError{c.Command.HelpName + " needs the option --" + name, "see " + c.Command.HelpName + " --help"}
		}
	}
	return nil
}

func (p *program) version(c *cli.Context) error {
	if err := arguments(c, 0, "no arguments"); err != nil {
		return err
	}
	info := struct {
		Type    string `json:"$type"`
		Version string `json:"version"`
		Built   string `json:"built"`
	}{"versionResult", programVersion(), ""}
	if at := built(); !at.IsZero() {
		info.Built = at.UTC().Format(time.RFC3339)
	}
	return p.show(c, info, func(w io.Writer) {
		fmt.Fprintf(w, "agent %s\n", info.Version)
		if info.Built != "" {
			fmt.Fprintf(w, "built %s\n", info.Built)
		}
	})
}

// programVersion is what the linker set, else what the Go tool recorded.
func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// built is when the program was built, zero where nothing tells.
func built() time.Time {
	stamp := buildTime
	if info, ok := debug.ReadBuildInfo(); ok && stamp == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				stamp = s.Value
			}
		}
	}
	at, err := time.Parse(time.RFC3339, stamp)
	if err != nil {
		return time.Time{}
	}
	return at
}
