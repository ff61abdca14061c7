package health_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"mdatp-offline-agent/health"
)

// row is what every line of a table has to look like: a name, one separator,
// and a value in which a quote only opens or closes a string.
var row = regexp.MustCompile(`^([a-z_]+) +: ("[^"]*"|\[("[^"]*"(,"[^"]*")*)?\]|[A-Za-z0-9, :]+)( \[managed\])?$`)

// FuzzReportRows puts any string into any fact, and expects that the tables
// keep their rows, that every string means what was put in, and that JSON is
// one valid line.
func FuzzReportRows(f *testing.F) {
	for _, s := range []string{
		"", "http://[::1]:8000/linux/production/", "a\nb", "a\r\nb", "\u2028\u0085\v\f", `"`, `\"`, `\`, `" [managed]`,
		"x : y", " : : ", ": ", "\xff\xfe", "\ufffd", "\x00\x1b[2J", "\u202eevil", "\U000e0001\U0001f600", "\t", "\u00a0", `\u0022`,
	} {
		f.Add(s, "source_unreachable", true)
		f.Add("/mnt/mirror", s, false)
	}
	f.Fuzz(func(t *testing.T, s, other string, managed bool) {
		fs := facts()
		fs.OfflineURL = health.Setting[string]{Value: s, Managed: managed}
		fs.SourceURI = other
		fs.Installed.DefinitionVersion, fs.Installed.EngineVersion = s, other
		fs.Failure = &health.Failure{Code: s, Sentence: other, Hint: s}
		fs.Notes = []string{other, s}
		fs.Rule = s
		fs.Enforcement, fs.Isolation = health.Setting[string]{Value: s, Managed: managed}, other
		fs.Endings = []health.Ending{{Object: "crl", Warning: other}, {Object: s, Warning: s}}

		definitions := health.Definitions(fs)
		checkRows(t, definitions, 12)
		checkString(t, definitions, "offline_definition_url_configured", s)
		checkString(t, definitions, "definitions_update_source_uri", other)
		checkString(t, definitions, "definitions_version", s)
		checkString(t, definitions, "definitions_update_fail_reason", s+": "+other)

		summary := health.Summary(fs, health.SummaryFacts{AppVersion: s, ReleaseRing: other})
		checkRows(t, summary, 38)
		checkString(t, summary, "antivirus_enforcement_level", s)
		checkString(t, summary, "engine_version", other)
		checkString(t, summary, "app_version", s)
		checkString(t, summary, "release_ring", other)
		if s != "" { // "" is that there is none, which shows as such
			checkString(t, summary, "definitions_update_rule", s)
		}
		checkRows(t, health.Features(fs), 13)
	})
}

// checkRows checks the shape of a report in both of its forms.
func checkRows(t *testing.T, r health.Report, want int) {
	t.Helper()
	text, ended := strings.CutSuffix(r.Text(), "\n")
	lines := regexp.MustCompile(`\r\n|[\n\v\f\r\x{85}\x{2028}\x{2029}]`).Split(text, -1) // whatever anybody takes for the end of a line
	if !ended || len(lines) != want || len(r.Fields()) != want {
		t.Fatalf("%d lines for %d fields, want %d:\n%s", len(lines), len(r.Fields()), want, text)
	}
	for i, line := range lines {
		m := row.FindStringSubmatch(line)
		if m == nil || m[1] != r.Fields()[i] || strings.Count(line, " : ") != 1 {
			t.Errorf("line %d is no row of %s: %q", i+1, r.Fields()[i], line)
		}
	}
	js := toJSON(t, r)
	if !json.Valid(js) || bytes.ContainsAny(js, "\r\n") {
		t.Errorf("JSON is not one valid line: %q", js)
	}
}

// checkString checks that a field is a string that means want, or is shown as
// unavailable where that is empty.
func checkString(t *testing.T, r health.Report, name, want string) {
	t.Helper()
	field, found := r.Field(name)
	if found && want == "" && field == "unavailable" {
		return
	}
	var got string
	if err := json.Unmarshal([]byte(field), &got); err != nil || want == "" {
		t.Fatalf("%s = %q for %q: %v", name, field, want, err)
	}
	if valid := string([]rune(want)); got != valid { // bytes that are no UTF-8 become U+FFFD
		t.Errorf("%s = %s means %q, want %q", name, field, got, valid)
	}
}
