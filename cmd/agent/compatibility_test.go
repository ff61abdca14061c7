package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// compatibility is the page against the real product, by the headings of its tables.
type compatibility map[string][]row

// row is one row of a table: its cells.
type row []string

// code is what stands in backquotes in the first cell.
func (r row) code() string { return strings.Trim(r[0], "`") }

func readCompatibility(t *testing.T) compatibility {
	t.Helper()
	tables := compatibility{}
	heading := ""
	text, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "## "); ok {
			heading = title
		}
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "|---") {
			continue
		}
		var cells row
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		tables[heading] = append(tables[heading], cells)
	}
	for heading, rows := range tables {
		tables[heading] = rows[1:] // less the head
	}
	return tables
}

// TestCompatibility holds the page against the real product to the program: commands,
// fields, names of JSON and keys, in both directions where there are two.
func TestCompatibility(t *testing.T) {
	t.Parallel()
	page := readCompatibility(t)
	t.Run("verdicts", func(t *testing.T) { verdicts(t, page) })
	t.Run("commands", func(t *testing.T) { compatibleCommands(t, page) })
	t.Run("rows", func(t *testing.T) { compatibleRows(t, page) })
	t.Run("names", func(t *testing.T) { compatibleNames(t, page) })
	t.Run("keys", func(t *testing.T) { compatibleKeys(t, page) })
}

// say gives what the program says on a machine on which nothing was ever done.
func say(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "agent", append([]string{"--root", t.TempDir()}, args...)...).Output()
	if err != nil {
		t.Fatalf("agent %q: %v", args, err)
	}
	return string(out)
}

// verdicts are of a closed list, which the page explains.
func verdicts(t *testing.T, page compatibility) {
	t.Helper()
	allowed := []string{"same", "better", "other", "not applicable"}
	for heading, rows := range page {
		for _, r := range rows {
			if heading == "JSON names" {
				continue
			}
			if len(r) != 3 || !slices.Contains(allowed, r[1]) {
				t.Errorf("%s: the row %q has no verdict", heading, r)
			} else if r[1] == "better" && r[2] == "" {
				t.Errorf("%s: the row %q does not say how", heading, r)
			}
		}
	}
}

// compatibleCommands looks for each command that is said to be there.
func compatibleCommands(t *testing.T, page compatibility) {
	t.Helper()
	found := 0
	for _, r := range page["Commands"] {
		words, ok := strings.CutPrefix(r.code(), "mdatp ")
		if !ok {
			t.Errorf("%q is no command", r[0])
		}
		if slices.Contains([]string{"same", "better", "other"}, r[1]) {
			found++
			if err := understood(strings.Fields(words), false); err != nil {
				t.Errorf("%s is said to be there: %v", r[0], err)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d commands were found", found)
	}
}

// compatibleRows wants the rows of each view in their order, and a value of each.
func compatibleRows(t *testing.T, page compatibility) {
	t.Helper()
	for heading, args := range map[string][]string{
		"The summary":     {"health"},
		"The definitions": {"health", "--details", "definitions"},
		"The features":    {"health", "--details", "features"},
	} {
		var documented, shown []string
		for _, r := range page[heading] {
			if say(t, "health", "--field", r.code()) == "" {
				t.Errorf("%s: there is nothing to %s", heading, r[0])
			}
			if !slices.Contains([]string{"managed_by", "proxy"}, r.code()) { // which are hidden, as the page says
				documented = append(documented, r.code())
			}
		}
		for _, m := range regexp.MustCompile(`(?m)^([a-z_]+) +: `).FindAllStringSubmatch(say(t, args...), -1) {
			shown = append(shown, m[1])
		}
		if len(shown) == 0 || !slices.Equal(documented, shown) {
			t.Errorf("%s: documented\n%q\nshown\n%q", heading, documented, shown)
		}
	}
}

// compatibleNames wants each name that is in JSON in the table, with its views.
func compatibleNames(t *testing.T, page compatibility) {
	t.Helper()
	views := map[string][]string{}
	for _, view := range []string{"summary", "definitions", "features"} {
		args := []string{"health", "--output", "json"}
		if view != "summary" {
			args = append(args, "--details", view)
		}
		var object map[string]any
		if err := json.Unmarshal([]byte(say(t, args...)), &object); err != nil {
			t.Fatal(err)
		}
		for name := range object {
			if name != "$type" {
				views[name] = append(views[name], view)
			}
		}
	}
	for _, r := range page["JSON names"] {
		if shown := strings.Join(views[r.code()], ", "); shown != r[1] || !slices.Contains([]string{"known", "derived", "ours"}, r[2]) {
			t.Errorf("%q, and it is shown in %q", r, shown)
		}
		delete(views, r.code())
	}
	for name, shown := range views {
		t.Errorf("there is no row for %s, which is shown in %q", name, shown)
	}
}

// compatibleKeys wants each key to be one, and those of the real product to be there.
func compatibleKeys(t *testing.T, page compatibility) {
	t.Helper()
	var shown struct {
		Settings map[string]any `json:"settings"`
	}
	if err := json.Unmarshal([]byte(say(t, "config", "show", "--output", "json")), &shown); err != nil {
		t.Fatal(err)
	}
	for _, r := range page["Configuration"] {
		if _, ok := shown.Settings[r.code()]; !ok {
			t.Errorf("%s is no key", r[0])
		}
		delete(shown.Settings, r.code())
	}
	for key := range shown.Settings {
		if !strings.HasPrefix(key, "agent.") {
			t.Errorf("there is no row for %s", key)
		}
	}
}
