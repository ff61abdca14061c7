package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/trustdir"
)

// vendorFlags are those of commands that judge the signatures of a vendor's own.
func vendorFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "vendor-trust", Usage: "`DIR` with the roots of vendors and of their time stamps; else the directory vendor in the trust directory of this machine"},
		&cli.StringSliceFlag{Name: "vendor-pin", Usage: "`PIN` of a vendor's signer or of the CA right above it, base64 of the SHA-256 of its key; repeat it for each"},
	}
}

// vendorTrust is what the options of vendorFlags say. Nobody is trusted where this
// machine has no such directory and none was named.
func (p *program) vendorTrust(c *cli.Context) (verifier.Trust, error) {
	var pins []verifier.Pin
	for _, text := range c.StringSlice("vendor-pin") {
		pin, err := verifier.ParsePin(text)
		if err != nil {
			return verifier.Trust{}, &usageError{"--vendor-pin takes a pin", "agent package inspect shows those of a file"}
		}
		pins = append(pins, pin)
	}
	dir, root := c.String("vendor-trust"), c.String("vendor-trust")
	if dir == "" && p.paths.Trust == "" { // where no endpoint runs
		return verifier.Trust{}, nil
	}
	if dir == "" {
		dir, root = filepath.Join(p.paths.Trust, "vendor"), p.paths.Root
	}
	trust, err := trustdir.Load(root, dir, pins)
	var refused *verifier.Refusal
	if c.String("vendor-trust") == "" && errors.As(err, &refused) && refused.Code == verifier.TrustDirEmpty {
		return verifier.Trust{}, nil
	}
	return trust, err
}

// vendorTable writes a row for each file. changes may be nil.
func vendorTable(w io.Writer, files []mirror.VendorFile, changes map[string]mirror.FileChange) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := "  FILE\tKIND\tSIZE\tSIGNATURE\tSIGNER\tTIME STAMP\tVERSION\tVERDICT"
	if changes != nil {
		head += "\tCHANGE"
	}
	fmt.Fprintln(table, head)
	for _, f := range files {
		stamp, version, signer := "-", "-", "-"
		if f.TimeStamp != nil {
			stamp = f.TimeStamp.Format(time.RFC3339)
		}
		if f.Version != nil {
			version = f.Version.String()
		}
		if f.Signer != "" {
			signer = f.Signer
		}
		row := fmt.Sprintf("  %s\t%s\t%d\t%s\t%s\t%s\t%s\t%s", f.Name, f.Kind, f.Size, f.Signature, printable.Text(signer, maxTyped), stamp, version, f.Verdict)
		if changes != nil {
			row += "\t" + string(changes[f.Name])
		}
		fmt.Fprintln(table, row)
	}
	_ = table.Flush() // nobody reads a closed stdout
	for _, f := range files {
		fmt.Fprintf(w, "  %s  %s\n", f.Hex, f.Name)
	}
}
