package docs_test

import (
	"regexp"
	"slices"
	"testing"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/mirror/check"
)

// TestFindings wants one row for each code that is mirror check's own, and none for
// another.
func TestFindings(t *testing.T) {
	t.Parallel()
	var rows []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (?:critical|warning|info) \\|").FindAllStringSubmatch(read(t, "mirror-check.md"), -1) {
		rows = append(rows, m[1])
	}
	theirs := append(source.Codes(), exitTable(t)...)
	var own []string
	for _, code := range check.Codes() {
		if !slices.Contains(theirs, code) {
			own = append(own, code)
		}
	}
	slices.Sort(rows)
	slices.Sort(own)
	if !slices.Equal(rows, own) {
		t.Errorf("mirror-check.md has rows for\n%q, and mirror check gives\n%q", rows, own)
	}
}
