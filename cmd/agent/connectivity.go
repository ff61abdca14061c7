//go:build linux

package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/reason"
	"mdatp-offline-agent/printable"
)

func (p *program) connectivityCommand() *cli.Command {
	return command(cli.Command{Name: "connectivity", Usage: "test the way to the configured sources", Subcommands: []*cli.Command{
		command(cli.Command{Name: "test", Usage: "ask each configured source as an update would, change nothing, and say what is wrong", Action: p.testConnectivity}),
	}})
}

// exitUnavailable is for whatever is wrong with a source, be it only a warning. A
// configuration that can't be used is no source's fault.
const exitUnavailable = 69

// testConnectivity goes on as the agent's own user where root calls it: what root may
// read, the agent may not.
func (p *program) testConnectivity(c *cli.Context) error {
	if err := arguments(c, 0, "no arguments"); err != nil {
		return err
	}
	a, err := p.writer()
	if err != nil {
		return err
	}
	found, err := a.TestConnectivity(c.Context, agent.ConnectivityTime)
	if err != nil {
		return err
	}
	if err := p.show(c, found, func(w io.Writer) { connectivityText(w, found) }); err != nil || found.State == agent.TestOK {
		return err
	}
	p.exit = exitUnavailable
	if why := found.FailReason; why != nil && why.Code == "config_invalid" {
		p.exit = reason.ExitCode(why.Code)
	}
	return errShown
}

// connectivityText has one line for each source, in the form that people know of the
// real product, and below it what is wrong.
func connectivityText(w io.Writer, found agent.Connectivity) {
	tags := map[string]string{agent.TestOK: "OK", agent.TestWarning: "WARNING", agent.TestFailed: "FAILED"}
	row := func(format string, args ...any) {
		fmt.Fprintln(w, printable.Text(fmt.Sprintf(format, args...), maxRow))
	}
	for _, t := range found.Tests {
		row("Testing connection with %s ... [%s]", t.URL, tags[t.State])
		for _, f := range t.Findings {
			reason := agent.Failure{Code: f.Code, Message: f.Message}
			if f.Code == "" {
				reason.Code = "warning"
			}
			row("  at %s, %s", f.Stage, reason.Error())
			if f.Seen != "" {
				row("  seen: %s", f.Seen)
			}
			row("  hint: %s", f.Hint)
		}
	}
	for _, note := range found.Notes {
		row("%s", note)
	}
}
