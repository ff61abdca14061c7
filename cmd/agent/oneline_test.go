package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/sirupsen/logrus"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/health"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/printable"
)

// FuzzOneLine puts anything at all where bytes from outside could ever get to, and
// looks whether each report stays one line a row.
func FuzzOneLine(f *testing.F) {
	f.Add("CN=a\nb")
	f.Add("\x1b[2J\u202e\u2028\u200b\xff \" : \" | \r")
	f.Add("a\tb\\")
	f.Fuzz(func(t *testing.T, s string) {
		failure := &health.Failure{Code: "source_unreachable", Sentence: s, Hint: s}
		facts := health.Facts{OfflineURL: health.Setting[string]{Value: s, Managed: true}, SourceURI: s, Failure: failure, UpdateFailed: true, Notes: []string{s, s}, Rule: s, Isolation: s,
			Installed: &health.Installed{DefinitionVersion: s, EngineVersion: s, Released: time.Unix(0, 0)}, Now: time.Unix(0, 0)}
		report := health.Definitions(facts)
		rows(t, "health", report.Text(), len(report.Fields()))
		for row := range strings.Lines(report.Text()) {
			if n := strings.Count(row, " : ") + strings.Count(row, ": "); strings.Count(row, " : ") > 1 || n < 1 {
				t.Errorf("a row can't be split: %q", row)
			}
		}
		var out, errs bytes.Buffer
		p := &program{stdout: &out, stderr: &errs}
		p.showJSON(report)
		rows(t, "health as JSON", out.String(), 1)
		out.Reset()
		_, line := health.Check(facts)
		rows(t, "check", line+"\n", 1)

		for _, format := range []string{"text", "json"} {
			for _, journal := range []bool{false, true} {
				var out bytes.Buffer
				log := logrus.New()
				log.SetOutput(&out)
				var err error
				if log.Formatter, err = logFormat(format, journal); err != nil {
					t.Fatal(err)
				}
				log.WithError(errors.New(s)).WithField("output", printable.Quote(s)).WithField("source", s).Error(s)
				rows(t, fmt.Sprintf("log in %s, journal %v", format, journal), out.String(), 1)
			}
		}
		p.showFailure(false, &agent.Failure{Code: "internal", Message: s, Hint: "h" + s})
		rows(t, "failure", errs.String(), 2)
		p.showFailure(true, &agent.Failure{Code: "internal", Message: s, Hint: s})
		rows(t, "failure as JSON", out.String(), 1)

		rows(t, "package inspect", text(func(w io.Writer) {
			inspectText(w, mirror.Inspection{Path: s, Problem: &mirror.Problem{Code: "c", Message: s, Hint: s}, Entries: []mirror.InspectedEntry{{Name: s}},
				Signer: &mirror.Certificate{Subject: s}})
		}), 6)
		rows(t, "connectivity test", text(func(w io.Writer) {
			connectivityText(w, agent.Connectivity{Notes: []string{s}, Tests: []agent.Tested{{URL: s, Findings: []agent.Finding{{Stage: s, Code: s, Message: s, Hint: s, Seen: "x" + s}}}}})
		}), 5)
		rows(t, "list", text(func(w io.Writer) {
			setsTable(w, []agent.SetInfo{{Name: s, Definitions: &s, Engine: &s, Reason: s}})
		}), 2)
	})
}

func text(show func(io.Writer)) string {
	var out bytes.Buffer
	show(&out)
	return out.String()
}

// rows checks how many lines a report has, and that nothing in it is obeyed by a
// terminal.
func rows(t *testing.T, what, report string, want int) {
	t.Helper()
	if got := strings.Count(report, "\n"); got != want || !strings.HasSuffix(report, "\n") {
		t.Errorf("%s has %d lines, want %d: %q", what, got, want, report)
	}
	if i := strings.IndexFunc(report, func(r rune) bool { return r != '\n' && (unicode.IsControl(r) || !printable.Rune(r)) }); i >= 0 {
		t.Errorf("%s shows %q", what, report[i:])
	}
}
