// Package docs_test holds the documentation to what the program is: every
// reason code is explained, and every link leads somewhere. That every command
// which a reader could type is understood, and comes out as it is shown, is tested
// by cmd/agent.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mdatp-offline-agent/agent/reason"
)

// pages are the documents that are held to it, relative to this directory.
var pages = []string{"../README.md", "package-format.md", "architecture.md", "operations.md", "mirror-sync.md", "mirror.md", "monitoring.md", "security.md", "attacks.md", "trust-over-time.md", "mirror-check.md", "mirror-promote.md", "compatibility.md", "vendor-packages.md"}

func read(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReasonCodes wants one section for each code of the program's closed list,
// none for a code that is not on it, and the right exit code in its first line.
func TestReasonCodes(t *testing.T) {
	t.Parallel()
	section := regexp.MustCompile("(?m)^#### `([a-z_]+)`\n\nExit ([0-9]+)\\. ")
	explained := map[string]string{}
	for _, m := range section.FindAllStringSubmatch(read(t, "operations.md"), -1) {
		if _, twice := explained[m[1]]; twice {
			t.Errorf("%s is explained twice", m[1])
		}
		explained[m[1]] = m[2]
	}
	codes := exitTable(t)
	for _, code := range codes {
		exit, ok := explained[code]
		if want := strconv.Itoa(reason.ExitCode(code)); !ok {
			t.Errorf("operations.md has no section for %s, with its exit code at the start", code)
		} else if exit != want {
			t.Errorf("operations.md says that %s exits with %s, and it is %s", code, exit, want)
		}
		delete(explained, code)
	}
	for code := range explained {
		t.Errorf("operations.md explains %s, which the program does not know", code)
	}
}

// exitTable gives the codes of the closed list.
func exitTable(t *testing.T) (codes []string) {
	t.Helper()
	for _, some := range reason.ExitCodes() {
		codes = append(codes, some...)
	}
	const least = 30 // the list had 40 codes when this was written
	if len(codes) < least {
		t.Fatalf("only %d codes are on the list", len(codes))
	}
	return codes
}

// TestLinks follows every relative link, its anchor included.
func TestLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range pages {
		for _, m := range link.FindAllStringSubmatch(prose(read(t, page)), -1) {
			target, anchor, hasAnchor := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
			} else if hasAnchor && !slices.Contains(anchors(read(t, path)), anchor) {
				t.Errorf("%s links to %s, and there is no such heading", page, m[1])
			}
		}
	}
}

var fenced = regexp.MustCompile("(?ms)^```[a-z]*\n(.*?)^```$")

// prose is a page without its blocks of code.
func prose(text string) string { return fenced.ReplaceAllString(text, "") }

// unnamed is what the names of headings leave out.
var unnamed = regexp.MustCompile(`[^\p{L}\p{N} _-]`)

// anchors gives the headings of a page in the form in which links name them.
func anchors(text string) (names []string) {
	for line := range strings.Lines(prose(text)) {
		if !strings.HasPrefix(line, "#") {
			continue
		}
		heading := strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#")))
		heading = unnamed.ReplaceAllString(heading, "")
		names = append(names, strings.ReplaceAll(heading, " ", "-"))
	}
	return names
}
