package check

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// Report is what a check found. Its JSON is part of the program's interface; what
// is not known is null.
type Report struct {
	Type     string    `json:"$type"`
	State    string    `json:"state"`    // ok, warning or critical
	Exit     int       `json:"exit"`     // 0, 1 or 2
	Target   string    `json:"target"`   // the directory or URL
	Taken    *Level    `json:"taken"`    // which directory of a mirror that is; null: none
	Judged   bool      `json:"judged"`   // there was a trust to judge by
	Full     bool      `json:"full"`     // packages were read whole
	Complete bool      `json:"complete"` // false: the server stopped to answer before all was asked
	Packages []Row     `json:"packages"`
	Findings []Finding `json:"findings"` // the worst first
	Requests int64     `json:"requests"`
	Bytes    int64     `json:"bytesRead"`
}

// Row is one package of a mirror, in a ring and for an architecture.
type Row struct {
	Platform     *string             `json:"platform"`
	Ring         *string             `json:"ring"`
	Arch         *string             `json:"arch"`
	Address      string              `json:"address"`
	Manifest     *string             `json:"manifestDefinitionsVersion"`
	ManifestEng  *string             `json:"manifestEngineVersion"`
	List         *string             `json:"listDefinitionsVersion"`
	ListEngine   *string             `json:"listEngineVersion"`
	Origin       *string             `json:"listOrigin"` // inside, sidecar
	Released     *time.Time          `json:"released"`
	Issued       *time.Time          `json:"issued"`
	Expires      *time.Time          `json:"expires"`
	AgeSeconds   *int64              `json:"ageSeconds"` // of the content; without a list, of the file by its date
	Size         *int64              `json:"size"`       // bytes
	ETag         *string             `json:"etag"`       // strong, weak, none; null: a directory
	Range        *bool               `json:"range"`
	LastModified *time.Time          `json:"lastModified"`
	Verdict      string              `json:"verdict"`  // good, notJudged, noList, missing, or a reason code
	Pair         string              `json:"pair"`     // consistent, torn, unknown
	Previous     *string             `json:"previous"` // present, missing, unusable, same, newer; null: it is one itself, or nobody looked
	Files        []mirror.VendorFile `json:"files"`    // what was read of the package; empty without --full
}

// report puts together what is shown.
func (o Options) report(level Level, all []seen, found []Finding, c *checking) Report {
	r := Report{Type: "mirrorCheckResult", State: "ok", Target: o.Target.at.String(), Judged: o.Trust != nil, Full: o.Full, Complete: !c.stopped,
		Packages: []Row{}, Findings: found, Requests: c.tally.Requests.Load(), Bytes: c.tally.Bytes.Load()}
	if level != "" {
		r.Taken = &level
	}
	for _, s := range all {
		if s.there() {
			r.Packages = append(r.Packages, o.row(s, all))
		}
	}
	if len(found) > 0 {
		r.Exit = found[0].Severity.rank()
	}
	if r.Exit > 0 {
		r.State = string(found[0].Severity)
	}
	return r
}

func (o Options) row(s seen, all []seen) Row {
	row := Row{Platform: text(s.platform), Ring: text(s.ring), Arch: text(s.arch), Address: s.address, Origin: text(string(s.origin)), LastModified: at(s.modified),
		Verdict: o.verdict(s), Pair: "unknown", Previous: previousOf(s, all), Files: s.files}
	if row.Files == nil {
		row.Files = []mirror.VendorFile{}
	}
	if m := s.manifest; m != nil {
		row.Manifest, row.ManifestEng = text(m.Definition.String()), text(m.Engine.String())
	}
	if l := s.list; l != nil {
		row.List, row.ListEngine = text(l.Definition.String()), text(l.Engine.String())
		row.Released, row.Issued, row.Expires = at(l.Released), at(l.Issued), at(l.Expires)
	}
	switch {
	case s.torn():
		row.Pair = "torn"
	case s.list != nil && s.manifest != nil && s.list.Definition == s.manifest.Definition && s.list.Engine == s.manifest.Engine:
		row.Pair = "consistent"
	}
	if published := s.published(); !published.IsZero() {
		age := int64(max(0, o.Now.Sub(published)) / time.Second)
		row.AgeSeconds = &age
	}
	if s.size > 0 {
		row.Size = &s.size
	}
	if a := s.answer; a != nil && (s.err == nil || s.unread) {
		row.ETag, row.Range = text(string(a.tag)), &a.ranges
	}
	return row
}

// verdict is what an endpoint would say of the package, in one word.
func (o Options) verdict(s seen) string {
	refused := []error{s.listErr, s.zipErr}
	if s.zip == "" && !s.unread { // else updates.zip is not the one that counts, or nobody knows
		refused = append(refused, s.err)
	}
	for _, err := range refused {
		if err != nil {
			code, _, _ := explain(err)
			return code
		}
	}
	switch {
	case s.blind:
		return "notRead"
	case s.origin == "":
		return "noList"
	case o.Trust == nil:
		return "notJudged"
	case s.list != nil && o.Now.After(s.list.Expires):
		return string(verifier.PackageExpired)
	}
	return "good"
}

// previousOf says what there is to step back to, in one word.
func previousOf(s seen, all []seen) *string {
	if s.isBack() || backOf(s, all) == nil {
		return nil
	}
	word := "present"
	onPrevious(s, all, func(_ Severity, code, _, _ string) {
		word = strings.TrimPrefix(code, "previous_")
	})
	return &word
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func at(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// Text writes the report for people: the line that monitors show, the table, and
// what is to be done.
func (r Report) Text(w io.Writer) {
	fmt.Fprintf(w, "MIRROR %s - %s - %s, %s\n", strings.ToUpper(r.State), r.counts(), r.Target, r.taken())
	if len(r.Packages) > 0 {
		r.table(w)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(w, "\n%s: %s: %s\n", f.Severity, f.Code, f.Message)
		if len(f.Places) > 0 {
			fmt.Fprintf(w, "  at: %s\n", strings.Join(f.Places, ", "))
		}
		fmt.Fprintf(w, "  hint: %s\n", f.Hint)
	}
}

func (r Report) counts() string {
	n := map[Severity]int{}
	for _, f := range r.Findings {
		n[f.Severity]++
	}
	return fmt.Sprintf("%d critical, %d warning, %d info", n[Critical], n[Warning], n[Info])
}

func (r Report) taken() string {
	switch {
	case !r.Complete:
		return "which did not answer to the end"
	case r.Taken == nil:
		return "which is no mirror"
	}
	return map[Level]string{Tree: "taken as a whole mirror", Platform: "taken as a platform with its rings", Ring: "taken as a ring", Architecture: "taken as the directory of an architecture"}[*r.Taken]
}

func (r Report) table(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "RING\tARCH\tMANIFEST\tLIST\tISSUED\tAGE\tSIZE\tETAG\tRANGE\tVERDICT\tPAIR\tN-1")
	for _, p := range r.Packages {
		cells := []string{strings.Trim(orDash(p.Platform)+"/"+orDash(p.Ring), "-/"), orDash(p.Arch), orDash(p.Manifest), orDash(p.List), "-", "-", "-", orDash(p.ETag), "-",
			p.Verdict, p.Pair, orDash(p.Previous)}
		if p.Issued != nil {
			cells[4] = p.Issued.Format(time.RFC3339)
		}
		if p.AgeSeconds != nil {
			cells[5] = printable.Span(time.Duration(*p.AgeSeconds) * time.Second)
		}
		if p.Size != nil {
			cells[6] = fmt.Sprint(*p.Size)
		}
		if p.Range != nil {
			cells[8] = map[bool]string{true: "yes", false: "no"}[*p.Range]
		}
		for i := range cells {
			if cells[i] == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	_ = table.Flush() // nobody reads a closed stdout
	for _, p := range r.Packages {
		for _, f := range p.Files {
			fmt.Fprintf(w, "%s  %s  %d bytes  %s\n", f.Hex, f.Name, f.Size, p.Address)
		}
		if len(p.Files) > 0 {
			mirror.FilesTable(w, p.Files, nil)
		}
	}
}

func orDash(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}
