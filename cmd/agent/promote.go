package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"mdatp-offline-agent/agent/reason"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

func (p *program) promoteCommand() *cli.Command {
	return command(cli.Command{Name: "promote", Usage: "publish in one ring what was tried in another", Action: p.promote, Flags: []cli.Flag{
		&cli.StringFlag{Name: "from", Usage: "`DIR` of the ring where it was tried, such as preview"},
		&cli.StringFlag{Name: "to", Usage: "`DIR` of the ring to publish in, such as production"},
		&cli.StringSliceFlag{Name: "arch", Usage: "`NAME` of an architecture, x86_64 or arm64; repeat it for each; else all that there are"},
		&cli.StringFlag{Name: "min-age", Usage: "`AGE` that the package must have reached in the first ring, such as 2d or 36h"},
		&cli.StringSliceFlag{Name: "health", Usage: "`FILE` with the report of a test endpoint, which must be up to date with this package; repeat it for each"},
		&cli.StringFlag{Name: "test", Usage: "program `FILE` that must succeed; AGENT_PACKAGE tells it where the package is"},
		&cli.DurationFlag{Name: "test-timeout", Value: mirror.DefaultTestTimeout, Usage: "`DURATION` that the program may take", DefaultText: "10m"},
		&cli.StringFlag{Name: "trust", Usage: "trust `DIR` of the endpoints; else that of this machine"},
		&cli.StringFlag{Name: "key", Usage: "private key `FILE` of the signer of sidecars, PEM; a passphrase is asked for, or taken from " + passphraseEnv},
		&cli.StringSliceFlag{Name: "cert", Usage: "certificate `FILE` of the signer or of its issuers, PEM; repeat it for each"},
		&cli.StringFlag{Name: "product", Value: "mdatp", Usage: "`NAME` of the product"},
		&cli.StringFlag{Name: "ring", DefaultText: "production", Usage: "`NAME` of the ring to publish in, where its directory's name does not tell; needed for a directory that is not there yet, but for production and preview"},
		&cli.StringFlag{Name: "allow-downgrade", Usage: "promote exactly this definition `VERSION` although a newer one is published"},
		boolFlag("retry-known-bad", "promote also what was taken back before, or what a later approval has replaced"),
		boolFlag("undo", "take the last promotion to this ring back"),
	}})
}

func (p *program) promotionsCommand() *cli.Command {
	return command(cli.Command{Name: "promotions", Usage: "verify and show the log of promotions", ArgsUsage: "RING-DIR", Action: p.promotions, Flags: []cli.Flag{
		&cli.StringSliceFlag{Name: "list", Usage: "package or signed list `FILE` that names a line, such as META/package.p7m of an endpoint; repeat it for each"},
		&cli.StringFlag{Name: "trust", Usage: "trust `DIR` of the endpoints; else that of this machine"},
	}})
}

func (p *program) promote(c *cli.Context) error {
	if err := errors.Join(arguments(c, 0, "no arguments"), needed(c, "to")); err != nil {
		return err
	}
	if c.Bool("undo") {
		return p.undoPromotion(c)
	}
	o, err := p.promoteOptions(c)
	if err != nil {
		return err
	}
	pairs, err := mirror.Promote(c.Context, o)
	return p.showPromoted(c, pairs, err)
}

// undoPromotion needs no more than the ring. Whether endpoints still believe who signed
// what is published again is told, where somebody is trusted; a trust directory that
// can't be read keeps nothing from being taken back, unless it was asked for.
func (p *program) undoPromotion(c *cli.Context) error {
	for _, name := range c.LocalFlagNames() {
		if !slices.Contains([]string{"undo", "to", "trust", "output"}, name) {
			return &usageError{"--undo takes back all that the last promotion brought, and goes with --to and --trust alone", "leave out --" + name}
		}
	}
	trust, err := p.endpointTrust(c.String("trust"))
	if err != nil && c.IsSet("trust") {
		return err
	}
	if err != nil {
		p.log.WithError(err).Warn("whether endpoints believe what is published again is not known")
		trust = nil
	}
	pairs, err := mirror.UndoPromotion(c.String("to"), trust, nil)
	return p.showPromoted(c, pairs, err)
}

func (p *program) promoteOptions(c *cli.Context) (o mirror.PromoteOptions, err error) {
	if err := needed(c, "from", "product"); err != nil {
		return o, err
	}
	o = mirror.PromoteOptions{From: c.String("from"), To: c.String("to"), Archs: c.StringSlice("arch"), Ring: c.String("ring"), Product: c.String("product"),
		Health: c.StringSlice("health"), Test: c.String("test"), TestTimeout: c.Duration("test-timeout"), RetryKnownBad: c.Bool("retry-known-bad")}
	for _, arch := range o.Archs {
		if !slices.Contains(fewValues()["arch"], arch) {
			return o, &usageError{"there is no architecture " + typed(arch) + " on mirrors", "give --arch x86_64 or --arch arm64"}
		}
	}
	if o.TestTimeout <= 0 {
		return o, &usageError{"--test-timeout takes a time", "for example --test-timeout 30m"}
	}
	if age := c.String("min-age"); age != "" {
		if o.MinAge, err = ageFlag("min-age", age); err != nil {
			return o, err
		}
	}
	if c.String("allow-downgrade") != "" {
		if o.AllowDowngrade, err = versionFlag(c, "allow-downgrade", "1.407.417.0"); err != nil {
			return o, err
		}
	}
	trust, err := p.endpointTrust(c.String("trust"))
	if err != nil {
		return o, err
	}
	if trust != nil {
		o.Trust = *trust
	}
	if c.String("key") == "" {
		return o, nil
	}
	signer, err := p.signer(c)
	o.Sign = &signer
	return o, err
}

// showPromoted tells what became of each architecture, also of those that came before
// one that failed.
func (p *program) showPromoted(c *cli.Context, pairs []mirror.PromotedPair, err error) error {
	at := (*mirror.PromotionFailure)(nil)
	if !errors.As(err, &at) && err != nil && len(pairs) == 0 {
		return err
	}
	failed := reason.Explain(err)
	_ = p.show(c, struct {
		Type       string                `json:"$type"`
		To         string                `json:"to"`
		Pairs      []mirror.PromotedPair `json:"pairs"`
		FailedAt   string                `json:"failedAt,omitempty"` // ring and architecture
		FailReason *reason.Failure       `json:"failReason"`
	}{"mirrorPromoteResult", c.String("to"), append([]mirror.PromotedPair{}, pairs...), at.Place(), failed}, func(w io.Writer) {
		for _, pair := range pairs {
			fmt.Fprintf(w, "%s/arch_%s: %s\n", printable.Text(c.String("to"), maxRow), pair.Arch, promotedText(pair))
		}
		if failed != nil {
			shown := *failed
			if at != nil {
				shown.Message = at.Place() + ": " + shown.Message
			}
			p.showFailure(false, &shown)
		}
	})
	if failed == nil {
		return nil
	}
	p.log.WithError(err).Debug("not all was published")
	p.exit = reason.ExitCode(failed.Code)
	return errShown
}

func promotedText(pair mirror.PromotedPair) string {
	now, before := definitionsText(pair.Definition), definitionsText(pair.Previous)
	switch pair.Outcome {
	case mirror.PromoteUpToDate:
		return now + " is up to date"
	case mirror.PromoteRenewed:
		return now + " has a newer list"
	case mirror.PromoteUndone:
		switch {
		case pair.Untrusted:
			now += ", whose list no endpoint of this ring would take,"
		case pair.Expired:
			now += ", whose list has expired,"
		}
		return "back to " + now + " from " + before
	}
	if pair.PreviousUntrusted {
		before += ", which did not count since no endpoint of this ring would take its list,"
	}
	if pair.Previous.IsZero() {
		return "promoted to " + now
	}
	return "promoted from " + before + " to " + now
}

// definitionsText is for packages without a list, too, whose version nobody vouches for.
func definitionsText(v verifier.Version) string {
	if v.IsZero() {
		return "a package without a list"
	}
	return v.String()
}

func (p *program) promotions(c *cli.Context) error {
	if err := arguments(c, 1, "one ring's directory"); err != nil {
		return err
	}
	trust, err := p.endpointTrust(c.String("trust"))
	if err != nil {
		return err
	}
	found, err := mirror.CheckPromotions(c.Args().First(), c.StringSlice("list"), trust)
	if err != nil {
		return err
	}
	return p.show(c, struct {
		Type string `json:"$type"`
		mirror.Promotions
	}{"mirrorPromotionsResult", found}, func(w io.Writer) { promotionsText(w, found) })
}

func promotionsText(w io.Writer, found mirror.Promotions) {
	text := func(s string) string { return printable.Text(s, maxRow) }
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, l := range found.Lines {
		way := text(l.To)
		if l.From != "" {
			way = text(l.From) + " -> " + way
		}
		fmt.Fprintf(table, "%d\t%s\t%s@%s\t%s\t%s\t%s\t%s\n", i+1, l.Time.Format(time.RFC3339), text(l.User), text(l.Host), l.Action, text(l.Arch), definitionsText(l.Definition), way)
	}
	_ = table.Flush() // nobody reads a closed stdout
	fmt.Fprintf(w, "each of %d lines names the one before", len(found.Lines))
	var named []int
	for _, a := range found.Anchors {
		named = append(named, a.Line)
	}
	slices.Sort(named)
	for i, line := range slices.Compact(named) {
		if i == 0 {
			fmt.Fprint(w, "; signed lists name line")
		}
		fmt.Fprintf(w, " %d", line)
	}
	if len(found.Anchors) > 0 && !found.Signed {
		fmt.Fprint(w, ", but nobody is trusted here who could have signed them")
	}
	if len(found.Anchors) == 0 {
		fmt.Fprint(w, "; no signed list names one, so lines may have been taken off the end")
	}
	fmt.Fprintln(w)
	if found.Torn {
		fmt.Fprintln(w, "behind them is the beginning of a line, as a crash leaves it; the next promotion takes it away")
	}
}
