package check

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/mirror"
)

func TestParseTarget(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "mirror", "linux"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	tests := []struct{ text, at, arch string }{
		{"http://mirror.example:8000/linux/production/", "http://mirror.example:8000/linux/production/", ""},
		{"http://mirror.example", "http://mirror.example/", ""},
		{"mirror.example:8000/linux", "http://mirror.example:8000/linux/", ""},
		{"https://mirror.example/linux/production/arch_x86_64/", "https://mirror.example/linux/production/", "x86_64"},
		{"https://mirror.example/linux/production/arch_arm64/updates.zip", "https://mirror.example/linux/production/", "arm64"},
		{"https://mirror.example/linux/production/arch_arm64/manifest.json", "https://mirror.example/linux/production/", "arm64"},
		{"https://mirror.example/updates.zip", "https://mirror.example/", ""},
		{"https://mirror.example/a%20b/", "https://mirror.example/a%20b/", ""},
		{"mirror", filepath.Join(dir, "mirror"), ""},
		{"./mirror/linux/", filepath.Join(dir, "mirror/linux"), ""},
		{".", dir, ""},
		{"updates.zip", dir, ""},
		{"mirror/arch_arm64", filepath.Join(dir, "mirror"), "arm64"},
		{"arch_arm64", dir, "arm64"},
		{dir + "/not/there", dir + "/not/there", ""},
		{"file://" + dir + "/mirror", dir + "/mirror", ""},
		{"/", "/", ""},
		{"/updates.zip", "/", ""},
		{"/arch_x86_64/updates.zip.p7m", "/", "x86_64"},
		{"http://mirror.example/?a=b", "", ""},
		{"http://user:secret@mirror.example/", "", ""},
		{"ftp://mirror.example/", "", ""},
		{"nowhere", "", ""},
		{"http://", "", ""},
	}
	for _, tt := range tests {
		got, err := ParseTarget(tt.text)
		if tt.at == "" {
			var usage *mirror.Error
			if !errors.As(err, &usage) || usage.Code != "usage" || usage.Hint == "" || strings.Contains(usage.Sentence+usage.Hint, "secret") {
				t.Errorf("%s: %v", tt.text, err)
			}
			continue
		}
		if err != nil || got.at.String() != tt.at || got.arch != tt.arch {
			t.Errorf("%s: %s %q, %v; want %s %q", tt.text, got.at, got.arch, err, tt.at, tt.arch)
		}
	}
}

// TestReadings: what a name promises is asked for first.
func TestReadings(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"http://mirror.example/":                  "tree 16, platform 8, ring 2, architecture 1",
		"http://mirror.example/packages":          "tree 16, platform 8, ring 4, architecture 1",
		"http://mirror.example/linux":             "platform 8, tree 16, ring 4, architecture 1",
		"http://mirror.example/linux/preview":     "ring 4, tree 16, platform 8, architecture 1",
		"http://mirror.example/production_back":   "ring 2, tree 16, platform 8, architecture 1",
		"http://mirror.example/pilot/arch_x86_64": "architecture 2",
	} {
		target, err := ParseTarget(address)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range target.readings("") {
			got = append(got, string(r.level)+" "+strconv.Itoa(len(r.places)))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s is read as %s, want %s", address, strings.Join(got, ", "), want)
		}
	}
}

func TestReadAnswer(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		header http.Header
		want   answer
	}{
		{"nothing", http.Header{}, answer{tag: tagNone}},
		{"a strong tag", http.Header{"Etag": {`"one"`}}, answer{tag: tagStrong}},
		{"a weak one", http.Header{"Etag": {`W/"one"`}}, answer{tag: tagWeak}},
		{"two", http.Header{"Etag": {`"one"`, `"two"`}}, answer{tag: tagNone}},
		{"one without quotes", http.Header{"Etag": {`one`}}, answer{tag: tagNone}},
		{"half of a quote", http.Header{"Etag": {`"`}}, answer{tag: tagNone}},
		{"dates", http.Header{"Date": {at.Format(http.TimeFormat)}, "Last-Modified": {at.Format(http.TimeFormat)}}, answer{tag: tagNone, skew: 2 * time.Hour, modified: at}},
		{"a cache's age", http.Header{"Date": {at.Format(http.TimeFormat)}, "Age": {"3600"}}, answer{tag: tagNone, skew: time.Hour}},
		{"nonsense", http.Header{"Date": {"today"}, "Age": {"-1"}, "Last-Modified": {"\x00"}, "Content-Type": {"\xff;"}}, answer{tag: tagNone}},
		{"a web page", http.Header{"Content-Type": {"Text/HTML; charset=utf-8"}}, answer{tag: tagNone, html: true}},
	} {
		if got := readAnswer(http.StatusOK, tt.header, at.Add(2*time.Hour)); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
