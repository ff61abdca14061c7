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
		stamp, version := "-", "-"
		if f.TimeStamp != nil {
			stamp = f.TimeStamp.Format(time.RFC3339)
		}
		if f.Version != nil {
			version = f.Version.String()
		}
		row := fmt.Sprintf("  %s\t%s\t%d\t%s\t%s\t%s\t%s\t%s", f.Name, f.Kind, f.Size, f.Signature, cmp.Or(f.Signer, "-"), stamp, version, f.Verdict)
		if changes != nil {
			row += "\t" + string(changes[f.Name])
		}
		fmt.Fprintln(table, row)
	}
	_ = table.Flush() // nobody reads a closed stdout
}
