//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"

	"mdatp-offline-agent/health"
	"mdatp-offline-agent/managedconfig"
)

func (p *program) healthCommand() *cli.Command {
	return command(cli.Command{Name: "health", Usage: "report on this machine", Action: p.health, Flags: []cli.Flag{
		&cli.StringFlag{Name: "field", Usage: "show the value of field `NAME` alone"},
		&cli.StringFlag{Name: "details", Aliases: []string{"detail"}, Usage: "show the details of `VIEW`, definitions or features"},
		boolFlag("check", "one line for a monitor, with the exit codes of Nagios plug-ins"),
	}})
}

func (p *program) health(c *cli.Context) error {
	if err := arguments(c, 0, "no arguments"); err != nil {
		return err
	}
	if view := c.String("details"); c.IsSet("details") && !slices.Contains(fewValues()["details"], view) {
		return &usageError{"there is no view " + typed(view), "there are agent health --details definitions and agent health --details features"}
	}
	if c.Bool("check") && (c.IsSet("field") || c.IsSet("details")) {
		return &usageError{"--check goes with neither --field nor --details", seeHelp([]string{"health"})}
	}
	a := p.agent()
	facts := a.Facts(c.Context)
	if c.Bool("check") {
		return p.check(c, facts)
	}
	summary := health.Summary(facts, health.SummaryFacts{AppVersion: programVersion(), ReleaseRing: a.Ring()})
	details := map[string]health.Report{"definitions": health.Definitions(facts), "features": health.Features(facts)}
	report := summary
	if c.IsSet("details") {
		report = details[c.String("details")]
	}
	if name := c.String("field"); c.IsSet("field") {
		return p.field(name, report, details["definitions"], summary, details["features"])
	}
	if c.String("output") != "json" {
		_, err := io.WriteString(p.stdout, report.Text())
		return err
	}
	line, err := report.JSON()
	if err == nil {
		fmt.Fprintf(p.stdout, "%s\n", line)
	}
	return err
}

// checkResult is the JSON of health --check.
type checkResult struct {
	Type  string `json:"$type"`
	State string `json:"state"`
	Exit  int    `json:"exit"`
	Line  string `json:"line"`
}

// check answers as a Nagios plug-in does: its line is the result, whatever it
// says, and its exit code is no failure of the command.
func (p *program) check(c *cli.Context, facts health.Facts) error {
	exit, line := health.Check(facts)
	state := map[int]string{health.CheckOK: "ok", health.CheckWarning: "warning", health.CheckCritical: "critical"}[exit]
	if err := p.show(c, checkResult{"healthCheckResult", state, exit, line}, func(w io.Writer) { fmt.Fprintln(w, line) }); err != nil || exit == health.CheckOK {
		return err
	}
	p.exit = exit
	return errShown
}

// field shows one value, whichever view has it.
func (p *program) field(name string, views ...health.Report) error {
	for _, view := range views {
		if value, ok := view.Field(name); ok {
			fmt.Fprintln(p.stdout, value)
			return nil
		}
	}
	return &usageError{"there is no field " + typed(name), "agent health, and the same with --details definitions or --details features, show all of them"}
}

func (p *program) configCommand() *cli.Command {
	show := command(cli.Command{Name: "show", Usage: "show each setting, where it comes from, and the warnings", Action: p.showConfig})
	return command(cli.Command{Name: "config", Usage: "look at the configuration in force, and change the local one",
		Subcommands: append([]*cli.Command{show}, p.configCommands()...)})
}

// configResult is the JSON of config show.
type configResult struct {
	Settings map[string]configSetting `json:"settings"`
	Warnings []string                 `json:"warnings"`
}

type configSetting struct {
	Value  any                  `json:"value"`
	Origin managedconfig.Origin `json:"origin"`
	File   string               `json:"file"`
}

func (p *program) showConfig(c *cli.Context) error {
	if err := arguments(c, 0, "no arguments"); err != nil {
		return err
	}
	a := p.agent()
	settings, err := a.Settings()
	if err != nil {
		return err
	}
	result := configResult{Settings: map[string]configSetting{}, Warnings: []string{}}
	for _, row := range settings.Rows() {
		result.Settings[row.Name] = configSetting{row.Value, row.Origin, row.File}
	}
	for _, w := range settings.Warnings {
		result.Warnings = append(result.Warnings, w.Sentence)
	}
	return p.show(c, result, func(w io.Writer) { configText(w, settings) })
}

func configText(w io.Writer, settings managedconfig.Settings) {
	for _, row := range settings.Rows() {
		origin := string(row.Origin)
		if row.File != "" {
			origin += ", " + row.File
		}
		fmt.Fprintf(w, "%-56s: %s [%s]\n", row.Name, row.Text, origin)
	}
	for _, warning := range settings.Warnings {
		fmt.Fprintf(w, "warning: %s\n", warning.Sentence)
		if warning.Hint != "" {
			fmt.Fprintf(w, "hint: %s\n", warning.Hint)
		}
	}
}
