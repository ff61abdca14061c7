//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/printable"
)

func (p *program) whyCommand() *cli.Command {
	return command(cli.Command{Name: "why", Usage: "what was decided in the last runs, and why, and what would have to change", Action: p.why,
		Flags: []cli.Flag{boolFlag("all", "show every run on record with its decisions, and not the last one alone")}})
}

func (p *program) why(c *cli.Context) error {
	if err := arguments(c, 0, "no arguments"); err != nil {
		return err
	}
	w := p.agent().Why(c.Context)
	return p.show(c, w, func(out io.Writer) { whyText(out, w, c.Bool("all")) })
}

// whyText has the state of the machine first, then the last run, then those before.
func whyText(w io.Writer, why agent.Why, all bool) {
	definitions := "no definitions"
	if why.Now.Definitions != nil {
		definitions = "definitions " + *why.Now.Definitions
	}
	fmt.Fprintf(w, "now: %s, %s\n", definitions, why.Now.Status)
	stepsText(w, why.Now.Decisions)
	if len(why.Runs) == 0 {
		fmt.Fprintln(w, "no run is on record")
	}
	for i, run := range why.Runs {
		fmt.Fprintln(w, printable.Text(runLine(run), maxRow))
		if i == 0 || all {
			stepsText(w, run.Decisions)
		}
	}
}

// stepsText is a chain of decisions, a line for each. The record may have been changed
// by the agent's user, so nothing of it is believed to be fit for a terminal.
func stepsText(w io.Writer, steps []agent.Step) {
	for _, s := range steps {
		fmt.Fprintln(w, "  "+printable.Text(s.Line(), maxRow))
	}
}

// runLine says when a run was, who asked for it, and how it ended.
func runLine(r agent.WhyRun) string {
	line := r.Started.UTC().Format(time.RFC3339) + " " + askedBy(r.Kind) + ": " + endedAs(r)
	if r.First != nil {
		line += fmt.Sprintf(" (%d times since %s)", r.Times, r.First.UTC().Format(time.RFC3339))
	}
	return line
}

func askedBy(kind string) string {
	switch kind {
	case "byHand":
		return "by hand"
	case "scheduled":
		return "by the timer"
	case "daemon":
		return "by the daemon"
	}
	return "by " + kind
}

// endedAs is how a run ended, in the words that its command had.
func endedAs(r agent.WhyRun) string {
	versions := strings.TrimSuffix(" from "+r.Previous, " from ") + strings.TrimSuffix(" to "+r.Definitions, " to ")
	switch agent.Outcome(r.Outcome) {
	case agent.Updated:
		return "updated" + versions
	case agent.UpToDate:
		return "up to date"
	case agent.Renewed:
		return "up to date, by a renewed list"
	case agent.RolledBack:
		return "rolled back" + versions
	case agent.Restored:
		return "restored" + versions
	case agent.Repaired:
		return "repaired, and definitions " + r.Definitions + " are active"
	}
	if r.FailReason != nil {
		return r.Outcome + ", " + r.FailReason.Code
	}
	return r.Outcome
}
