//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

func (p *program) definitionsCommand() *cli.Command {
	wait := &cli.DurationFlag{Name: "wait", DefaultText: "2s", Usage: "`DURATION` to wait for another process that is updating, such as 30s or 5m"}
	return command(cli.Command{Name: "definitions", Usage: "update, check and exchange the definitions of this machine", Subcommands: []*cli.Command{
		command(cli.Command{Name: "update", Usage: "update from the configured source", Action: p.update, Flags: []cli.Flag{
			boolFlag("scheduled", "do nothing that is not due"),
			boolFlag("dry-run", "say what would happen and why, and change nothing"),
			&cli.StringFlag{Name: "allow-downgrade", Usage: "install `VERSION` although it is older than what was accepted before"},
			boolFlag("allow-expired", "install an expired package where nothing is installed"),
			boolFlag("retry-known-bad", "install a package again that was rolled back or condemned"),
			boolFlag("now", "ask a source also while it is cooling down"),
			boolFlag("use-last-good", "go on with the last good configuration where the present one is broken"),
			wait,
		}}),
		command(cli.Command{Name: "verify", Usage: "hash every installed set against its signed list, and find what does not belong there", Action: p.verifySets, Flags: []cli.Flag{
			boolFlag("repair", "make whole what is not: from other sets, by going back, and by an update"), wait}}),
		command(cli.Command{Name: "list", Usage: "list the installed sets", Action: p.listSets}),
		command(cli.Command{Name: "rollback", Usage: "go back to the previous set, and remember the present one as bad", Action: p.rollback, Flags: []cli.Flag{wait}}),
		command(cli.Command{Name: "restore", Usage: "go back to the set shipped with the program", Action: p.restore, Flags: []cli.Flag{wait}}),
		command(cli.Command{Name: "hold", Usage: "stop periodic updates; updates by hand go on", Action: p.hold, Flags: []cli.Flag{wait}}),
		command(cli.Command{Name: "unhold", Usage: "let periodic updates go on", Action: p.unhold, Flags: []cli.Flag{wait}}),
		p.whyCommand(),
		command(cli.Command{Name: "path", Usage: "where the sets lie", Subcommands: []*cli.Command{
			command(cli.Command{Name: "show", Usage: "show the directory that the sets lie in", Action: p.showPath}),
			command(cli.Command{Name: "set", Usage: "move the sets to another directory", Action: p.setPath, Flags: []cli.Flag{
				&cli.StringFlag{Name: "path", Usage: "the new directory, an absolute `DIR` that is empty or not there yet"}, wait}}),
		}}),
	}})
}

func (p *program) update(c *cli.Context) error {
	if err := arguments(c, 0, "no arguments"); err != nil {
		return err
	}
	o := agent.Options{Scheduled: c.Bool("scheduled"), DryRun: c.Bool("dry-run"), AllowExpired: c.Bool("allow-expired"),
		RetryKnownBad: c.Bool("retry-known-bad"), Now: c.Bool("now"), UseLastGood: c.Bool("use-last-good"), Wait: c.Duration("wait")}
	if allow := c.String("allow-downgrade"); allow != "" {
		var err error
		if o.AllowDowngrade, err = verifier.ParseVersion(allow); err != nil {
			return &usageError{"--allow-downgrade takes a version of four numbers", "for example --allow-downgrade 1.407.417.0"}
		}
	}
	a := p.agent()
	var result agent.Result
	if err := a.BecomeOwner(); err != nil {
		result = agent.FailedResult(o, err)
	} else {
		shown := p.progress(c.String("output") == "json")
		if shown != nil {
			o.Progress = shown
		}
		result = a.Update(c.Context, o)
		shown.done()
	}
	p.exit = result.ExitCode()
	if c.String("output") == "json" {
		p.showJSON(result)
	} else {
		p.showUpdate(result)
	}
	if p.exit != 0 {
		return errShown
	}
	return nil
}

// showUpdate writes the result on stdout, and on stderr what went wrong, also
// where a fallback made up for it.
func (p *program) showUpdate(r agent.Result) {
	if line := updateLine(r); line != "" {
		if r.Outcome == agent.Skipped && toJournal(p.stdout) {
			line = "<6>" + line // a timer asks all day, so that is no notice
		}
		fmt.Fprintln(p.stdout, line)
	}
	if r.DryRun {
		p.showDecisions(r)
	}
	if r.FailReason != nil && r.Outcome != agent.Skipped {
		p.showFailure(false, r.FailReason)
	}
}

// showDecisions shows the chain of a dry run's decisions, and of its notes what is not
// among them.
func (p *program) showDecisions(r agent.Result) {
	var lines []string
	for _, s := range r.Decisions {
		lines = append(lines, s.Line())
	}
	for _, note := range r.Notes {
		if !slices.Contains(lines, note) {
			lines = append(lines, note)
		}
	}
	for _, line := range lines {
		fmt.Fprintln(p.stdout, printable.Text(line, maxRow))
	}
}

func updateLine(r agent.Result) string {
	switch r.Outcome {
	case agent.UpToDate, agent.Renewed:
		return "Security intelligence is up to date"
	case agent.Updated, agent.WouldUpdate:
		words := "Security intelligence updated"
		if r.Outcome == agent.WouldUpdate {
			words = "Security intelligence would be updated"
		}
		if r.Previous != "" {
			words += " from " + r.Previous
		}
		if r.Definitions == "" { // it shows once the files are here
			return words + ", if the vendor's signatures hold"
		}
		return words + " to " + r.Definitions
	case agent.Skipped:
		return "Nothing to do, since " + r.FailReason.Message
	}
	return ""
}

// listSets shows a listing, also one that goes with an error.
func (p *program) listSets(c *cli.Context) error {
	if err := arguments(c, 0, "no arguments"); err != nil {
		return err
	}
	sets, err := p.agent().List(c.Context)
	if err != nil && len(sets.Sets) == 0 {
		return err
	}
	_ = p.show(c, sets, func(w io.Writer) { setsTable(w, sets.Sets) }) // it has no error to give
	return p.shown(c, err)
}

func (p *program) verifySets(c *cli.Context) error {
	if err := arguments(c, 0, "no arguments"); err != nil {
		return err
	}
	v, err := p.verify(c)
	if err != nil && len(v.Sets)+len(v.Problems)+len(v.Repairs) == 0 {
		return err
	}
	_ = p.show(c, v, func(w io.Writer) { verificationText(w, v) }) // it has no error to give
	return p.shown(c, err)
}

func (p *program) verify(c *cli.Context) (agent.Verification, error) {
	if !c.Bool("repair") {
		return p.agent().Verify(c.Context)
	}
	a, err := p.writer()
	if err != nil {
		return agent.Verification{}, err
	}
	return a.Repair(c.Context, c.Duration("wait"))
}

// shown ends a command that has shown a result although there is an error.
func (p *program) shown(c *cli.Context, err error) error {
	if err == nil {
		return nil
	}
	failure := agent.Explain(err)
	if c.String("output") != "json" {
		p.showFailure(false, failure)
	}
	p.exit = agent.ExitCode(failure.Code)
	return errShown
}

// verificationText is the listing, and below it what was done, what is still wrong,
// and what is worth knowing.
func verificationText(w io.Writer, v agent.Verification) {
	if len(v.Sets) > 0 {
		setsTable(w, v.Sets)
	}
	for _, r := range v.Repairs {
		fmt.Fprintln(w, strings.TrimPrefix(r.Set+": "+r.Did, ": "))
	}
	for _, problem := range v.Problems {
		fmt.Fprintf(w, "%s: %s\n", strings.TrimSuffix(problem.Set+"/"+problem.File, "/"), problem.Problem)
	}
	for _, note := range v.Notes {
		fmt.Fprintln(w, note)
	}
}

func setsTable(w io.Writer, sets []agent.SetInfo) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "STATE\tDEFINITIONS\tENGINE\tRELEASED\tEXPIRES\tINSTALLED\tSIZE\tNAME\tREASON")
	for _, s := range sets {
		cells := []string{s.State, orDash(s.Definitions), orDash(s.Engine), when(s.Released), when(s.Expires), when(s.Installed), size(s.Size), s.Name, s.Reason}
		for i, cell := range cells {
			cells[i] = printable.Text(cell, maxRow)
		}
		fmt.Fprintln(table, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	_ = table.Flush() // nobody reads a closed stdout
}

func orDash(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

func when(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func size(n *int64) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

func (p *program) rollback(c *cli.Context) error {
	return p.exchange(c, "Security intelligence rolled back", (*agent.Agent).Rollback)
}

func (p *program) restore(c *cli.Context) error {
	return p.exchange(c, "Security intelligence restored", (*agent.Agent).Restore)
}

func (p *program) exchange(c *cli.Context, words string, do func(*agent.Agent, context.Context, time.Duration) (agent.Change, error)) error {
	if err := arguments(c, 0, "no arguments"); err != nil {
		return err
	}
	a, err := p.writer()
	if err != nil {
		return err
	}
	change, err := do(a, c.Context, c.Duration("wait"))
	if err != nil {
		return err
	}
	return p.show(c, change, func(w io.Writer) {
		if change.Previous != "" {
			words += " from " + change.Previous
		}
		fmt.Fprintln(w, words+" to "+change.Definitions)
	})
}

// holding is the JSON of hold and unhold.
type holding struct {
	Type string     `json:"$type"`
	Held *time.Time `json:"heldSince"`
}

func (p *program) hold(c *cli.Context) error {
	if err := arguments(c, 0, "no arguments"); err != nil {
		return err
	}
	a, err := p.writer()
	if err != nil {
		return err
	}
	since, err := a.Hold(c.Context, c.Duration("wait"))
	if err != nil {
		return err
	}
	return p.show(c, holding{"definitionsHoldResult", &since}, func(w io.Writer) {
		fmt.Fprintf(w, "Periodic updates are held since %s\n", since.Format(time.RFC3339))
	})
}

func (p *program) unhold(c *cli.Context) error {
	if err := arguments(c, 0, "no arguments"); err != nil {
		return err
	}
	a, err := p.writer()
	if err != nil {
		return err
	}
	if err := a.Unhold(c.Context, c.Duration("wait")); err != nil {
		return err
	}
	return p.show(c, holding{Type: "definitionsUnholdResult"}, func(w io.Writer) { fmt.Fprintln(w, "Periodic updates go on") })
}

func (p *program) showPath(c *cli.Context) error {
	if err := arguments(c, 0, "no arguments"); err != nil {
		return err
	}
	path, err := p.agent().EngineDirectory()
	if err != nil {
		return err
	}
	place := agent.Location{Type: "definitionsPathResult", Path: path, Notes: []string{}}
	return p.show(c, place, func(w io.Writer) { fmt.Fprintln(w, path) })
}

func (p *program) setPath(c *cli.Context) error {
	if err := arguments(c, 0, "no arguments"); err != nil {
		return err
	}
	if err := needed(c, "path"); err != nil {
		return err
	}
	a, err := p.writer()
	if err != nil {
		return err
	}
	place, err := a.SetPath(c.Context, c.String("path"), c.Duration("wait"))
	if err != nil {
		return err
	}
	return p.show(c, place, func(w io.Writer) { placeText(w, place) })
}

func placeText(w io.Writer, place agent.Location) {
	if place.Previous == nil {
		fmt.Fprintln(w, "The definitions are in "+place.Path)
	} else {
		fmt.Fprintf(w, "The definitions are in %s now, moved from %s\n", place.Path, *place.Previous)
	}
	for _, note := range place.Notes {
		fmt.Fprintln(w, note)
	}
}
