package mirror

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// FilesTable writes for people what was found out about the files of a package. changes
// may be nil.
func FilesTable(w io.Writer, files []VendorFile, changes map[string]FileChange) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := "  FILE\tKIND\tSIZE\tSIGNATURE\tSIGNER\tTIME STAMP\tVERSION\tVERDICT"
	if changes != nil {
		head += "\tCHANGE"
	}
	fmt.Fprintln(table, head)
	for _, f := range files {
		signature, stamp, version := string(f.Signature), "-", "-"
		if f.Kind == KindSignature { // which has none itself, and needs none
			signature = "-"
		}
		if f.TimeStamp != nil {
			stamp = f.TimeStamp.Format(time.RFC3339)
		}
		if f.Version != nil {
			version = f.Version.String()
		}
		row := fmt.Sprintf("  %s\t%s\t%d\t%s\t%s\t%s\t%s\t%s", f.Name, f.Kind, f.Size, signature, cmp.Or(f.Signer, "-"), stamp, version, f.Verdict)
		if changes != nil {
			row += "\t" + string(changes[f.Name])
		}
		fmt.Fprintln(table, row)
	}
	_ = table.Flush() // nobody reads a closed stdout
}

// SignersText writes for people who signed the files: a few lines for each signer, with
// what configurations name it by. Of one who is verified by any file that is said.
func SignersText(w io.Writer, files []VendorFile) {
	shown := map[[2]string]bool{}
	for _, good := range []bool{true, false} {
		for _, f := range files {
			who := [2]string{f.Pin, f.IssuerPin}
			if f.Pin != "" && (f.Verdict == VerdictGood) == good && !shown[who] {
				shown[who] = true
				signerText(w, f, good)
			}
		}
	}
}

func signerText(w io.Writer, f VendorFile, good bool) {
	verified := ""
	if !good {
		verified = ", not verified"
	}
	fmt.Fprintf(w, "  signer %s, pin %s%s\n", f.Signer, f.Pin, verified)
	if f.IssuerPin == "" {
		fmt.Fprintf(w, "    issuer %s, whose certificate is not there\n", f.Issuer)
		return
	}
	fmt.Fprintf(w, "    issuer %s, pin %s\n", f.Issuer, f.IssuerPin)
	if f.VendorPin != "" {
		fmt.Fprintf(w, "    entry for agent.trust.vendorPins: %s\n", f.VendorPin)
	}
}
