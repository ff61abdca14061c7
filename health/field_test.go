package health_test

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/health"
)

// The tests of this file do with our output what programs in the field are
// known to do with the output of the real product.

// TestShellOneLiners runs the pipelines that monitors use.
func TestShellOneLiners(t *testing.T) {
	t.Parallel()
	mirror := "http://mirror.example:8000/linux/production/"
	tests := []struct{ name, script, want string }{
		{"a bare word by column", `grep '^automatic_definition_update_enabled' | awk '{print $3}'`, "true"},
		{"minutes by column", `grep definitions_updated_minutes_ago | awk '{print $3}'`, "2"},
		{"a date by columns", `grep 'definitions_updated ' | awk '{print $3,$4,$5,$6,$7,$8}'`, "Nov 23, 2026 at 01:13:17 PM"},
		{"the last column less its quotes", `grep definitions_version | awk '{print $NF}' | tr -d '"'`, "1.407.417.0"},
		{"a string by its quotes", `grep offline_definition_url_configured | cut -d'"' -f2`, mirror},
		{"the text behind the separator", `awk -F' : ' '/^definitions_status /{print $2}'`, `"up_to_date"`},
		{"less its marker", `sed -n 's/^offline_definition_update  *: //p' | sed 's/ *\[managed\]$//; s/^"\(.*\)"$/\1/'`, "enabled"},
		{"the last line", `tail -n 1 | awk '{print $1, $3}'`, "offline_definition_update_fallback_to_cloud false"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := pipe(t, health.Definitions(facts()).Text(), "sh", "-c", tt.script); got != tt.want {
				t.Errorf("%s gives %q, want %q", tt.script, got, tt.want)
			}
		})
	}
}

// TestJQ runs the filters of compliance scripts.
func TestJQ(t *testing.T) {
	t.Parallel()
	tests := []struct{ filter, want string }{
		{`.definitionsStatus["$type"] == "upToDate"`, "true"},
		{`.realTimeProtectionEnabled.value`, "false"},
		{`.automaticDefinitionUpdateEnabled.isManaged`, "true"},
		{`.definitionsUpdated | tonumber / 1000 | todate`, `"2026-11-23T18:13:17Z"`},
		{`.healthIssues | length`, "0"},
	}
	js := string(toJSON(t, health.Summary(facts(), health.SummaryFacts{})))
	for _, tt := range tests {
		if got := pipe(t, js, "jq", tt.filter); got != tt.want {
			t.Errorf("%s gives %q, want %q", tt.filter, got, tt.want)
		}
	}
}

// pipe gives what a program prints for an input, less the last newline.
func pipe(t *testing.T, input, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("SKIPPED: %s is missing, install it with: apt-get install %s", name, name)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// TestKeyByPadding does what an inventory plug-in does: it knows a key by at
// least five spaces behind it, and splits once at the separator.
func TestKeyByPadding(t *testing.T) {
	t.Parallel()
	text := health.Summary(facts(), health.SummaryFacts{AppVersion: "0.1.0", ReleaseRing: "production"}).Text()
	for key, want := range map[string]string{
		"definitions_updated":             "Nov 23, 2026 at 01:13:17 PM",
		"definitions_updated_minutes_ago": "2",
		"definitions_version":             `"1.407.417.0"`,
		"engine_version":                  `"1.1.24080.9"`,
		"healthy":                         "true",
	} {
		var found []string
		for line := range strings.Lines(text) {
			if strings.Contains(line, key+"     ") {
				found = append(found, strings.Split(strings.TrimSpace(line), " : ")[1:]...)
			}
		}
		if len(found) != 1 || found[0] != want {
			t.Errorf("%s gives %q, want %q", key, found, want)
		}
	}
}

// TestFieldByInstaller does what an installer does with one field: an optional
// pair of quotes is stripped, and the rest compared whole.
func TestFieldByInstaller(t *testing.T) {
	t.Parallel()
	quotes := regexp.MustCompile(`^"(.*)"$`)
	definitions := health.Definitions(facts())
	for name, want := range map[string]string{
		"offline_definition_update_fallback_to_cloud": "false",
		"definitions_status":                          "up_to_date",
		"definitions_update_fail_reason":              "",
	} {
		field, _ := definitions.Field(name)
		if got := quotes.ReplaceAllString(field, "$1"); got != want {
			t.Errorf("%s gives %q, want %q", name, got, want)
		}
	}
}

// TestFieldPastedIntoJSON does what a compliance script does: it takes a field
// for JSON as it is, quotes included.
func TestFieldPastedIntoJSON(t *testing.T) {
	t.Parallel()
	f := facts()
	f.OfflineURL.Value = `/mnt/"mirror" : \ühm` + "\n\u202e\U000e0001"
	field, _ := health.Definitions(f).Field("offline_definition_url_configured")
	var got struct{ URL string }
	if err := json.Unmarshal([]byte(`{"url":`+field+`}`), &got); err != nil {
		t.Fatalf("%s: %v", field, err)
	}
	if got.URL != f.OfflineURL.Value {
		t.Errorf("%s means %q, want %q", field, got.URL, f.OfflineURL.Value)
	}
}

// TestDateByLayout parses the date as scripts do, one of which takes a twelve
// hour clock for one of twenty-four.
func TestDateByLayout(t *testing.T) {
	t.Parallel()
	for _, hour := range []int{0, 1, 11, 12, 13, 23} {
		f := facts()
		f.Location = time.UTC
		f.Installed.Updated = time.Date(2026, time.March, 4, hour, 5, 6, 0, time.UTC)
		field, _ := health.Definitions(f).Field("definitions_updated")
		got, err := time.Parse("Jan 02, 2006 at 03:04:05 PM", field)
		if err != nil || !got.Equal(f.Installed.Updated) {
			t.Errorf("%q is %v (%v), want %v", field, got, err, f.Installed.Updated)
		}
		if len(strings.Fields(field)) != 6 || !regexp.MustCompile(`^[A-Z][a-z]{2} \d\d, \d{4} at \d\d:\d\d:\d\d [AP]M$`).MatchString(field) {
			t.Errorf("%q is not a date of six words", field)
		}
	}
}

// TestInventoryJSON does what inventory agents do: one JSON document, ignored
// unless healthy, with these types for these keys.
func TestInventoryJSON(t *testing.T) {
	t.Parallel()
	var got struct {
		Type               string `json:"$type"`
		Healthy, Licensed  bool
		AppVersion         string
		DefinitionsVersion string
		DefinitionsUpdated string
		DefinitionsStatus  struct {
			Type string `json:"$type"`
		}
		RealTimeProtectionEnabled struct{ Value bool }
	}
	js := toJSON(t, health.Summary(facts(), health.SummaryFacts{AppVersion: "0.1.0"}))
	if err := json.Unmarshal(js, &got); err != nil {
		t.Fatal(err)
	}
	millis, err := strconv.ParseInt(got.DefinitionsUpdated, 10, 64)
	if err != nil || !time.UnixMilli(millis).Equal(facts().Installed.Updated) {
		t.Errorf("definitionsUpdated is %q (%v), want %v", got.DefinitionsUpdated, err, facts().Installed.Updated)
	}
	if got.Type != "getHealthAllResult" || !got.Healthy || !got.Licensed || got.AppVersion != "0.1.0" ||
		got.DefinitionsVersion != "1.407.417.0" || got.DefinitionsStatus.Type != "upToDate" || got.RealTimeProtectionEnabled.Value {
		t.Errorf("%s is read as %+v", js, got)
	}
}
