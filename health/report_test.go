package health_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/health"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGoldens compares all views in both forms, in every state that an
// endpoint can be in, with testdata/VIEW-STATE.txt and .json.
func TestGoldens(t *testing.T) {
	t.Parallel()
	states := map[string]func(*health.Facts){
		"fresh": func(f *health.Facts) {
			*f = health.Facts{Now: now, Location: f.Location, AutomaticUpdate: health.Setting[bool]{Value: true}, Due: f.Due}
		},
		"up_to_date": func(*health.Facts) {},
		"unmanaged": func(f *health.Facts) {
			f.AutomaticUpdate.Managed, f.OfflineEnabled.Managed = false, false
			f.OfflineURL.Managed, f.FallbackToCloud.Managed = false, false
		},
		"cloud": func(f *health.Facts) {
			f.OfflineEnabled, f.OfflineURL = health.Setting[bool]{}, health.Setting[string]{}
			f.FallbackToCloud = health.Setting[bool]{}
			f.SourceURI = "https://go.microsoft.com/fwlink/?linkid=2144709&arch=arm64"
		},
		"updating": func(f *health.Facts) { f.Updating = true },
		"failed":   func(f *health.Facts) { f.UpdateFailed, f.Failure = true, unreachable() },
		"out_of_date": func(f *health.Facts) {
			f.Installed.Released = now.Add(-8 * day)
			f.Failure = &health.Failure{Code: "source_stale", Sentence: "the mirror has nothing newer and the installed set is out of date"}
		},
		"fallback": func(f *health.Facts) {
			f.FallbackToCloud.Value, f.Failure = true, unreachable()
			f.SourceURI = "https://go.microsoft.com/fwlink/?linkid=2144709"
		},
		"notes": func(f *health.Facts) {
			f.Notes = []string{health.NoteClockWrong, "the revocation list a.crl in the trust directory is overdue, and still counts"}
		},
		"off": func(f *health.Facts) {
			f.NextCheck, f.Rule = time.Time{}, "antivirusEngine.enforcementLevel is passive"
			f.Enforcement = health.Setting[string]{Value: "passive", Managed: true}
		},
		"proxy": func(f *health.Facts) { f.Proxy = &health.Setting[string]{Value: "http://proxy.example:3128"} },
		"ends": func(f *health.Facts) {
			f.Endings[0].Warning = "the signer's certificate ends at 2026-11-30T00:00:00Z, and the mirror's side must sign with a renewed certificate"
		},
	}
	for state, change := range states {
		f := facts()
		change(&f)
		golden(t, "definitions-"+state, health.Definitions(f))
		golden(t, "summary-"+state, health.Summary(f, health.SummaryFacts{AppVersion: "0.1.0", ReleaseRing: "production"}))
		golden(t, "features-"+state, health.Features(f))
	}
}

// golden compares one report with its golden files, or writes them.
func golden(t *testing.T, name string, r health.Report) {
	t.Helper()
	js := string(toJSON(t, r)) + "\n"
	for ext, got := range map[string]string{".txt": r.Text(), ".json": js} {
		path := filepath.Join("testdata", name+ext)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs (go test -update writes it anew); got:\n%swant:\n%s", path, got, want)
		}
	}
}

// toJSON gives a report as JSON.
func toJSON(t *testing.T, r health.Report) []byte {
	t.Helper()
	js, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// TestDefinitionsLayout holds the layout of the real product, which no -update
// changes.
func TestDefinitionsLayout(t *testing.T) {
	t.Parallel()
	want := `automatic_definition_update_enabled         : true [managed]
definitions_updated                         : Nov 23, 2026 at 01:13:17 PM
definitions_updated_minutes_ago             : 2
definitions_version                         : "1.407.417.0"
definitions_status                          : "up_to_date"
definitions_update_source_uri               : "http://mirror.example:8000/linux/production/"
definitions_update_fail_reason              : ""
offline_definition_url_configured           : "http://mirror.example:8000/linux/production/" [managed]
offline_definition_update                   : "enabled" [managed]
offline_definition_update_verify_sig        : "enabled"
engine_signature_verification               : "enabled"
offline_definition_update_fallback_to_cloud : false [managed]
`
	if got := health.Definitions(facts()).Text(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

// TestSummaryRows holds the rows of the real product to their order, and the ones of
// later versions and of ours behind them.
func TestSummaryRows(t *testing.T) {
	t.Parallel()
	captured := strings.Fields(`healthy health_issues licensed engine_version app_version org_id log_level machine_guid release_ring
		product_expiration cloud_enabled cloud_automatic_sample_submission_consent cloud_diagnostic_enabled passive_mode_enabled
		behavior_monitoring real_time_protection_enabled real_time_protection_available real_time_protection_subsystem
		supplementary_events_subsystem tamper_protection automatic_definition_update_enabled definitions_updated
		definitions_updated_minutes_ago definitions_version definitions_status edr_early_preview_enabled edr_device_tags edr_group_ids
		edr_configuration_version edr_machine_id conflicting_applications network_protection_status
		network_protection_enforcement_level troubleshooting_mode`)
	later := []string{"engine_load_status", "antivirus_enforcement_level"}
	ours := []string{"definitions_next_check", "definitions_update_rule"}
	got := health.Summary(facts(), health.SummaryFacts{}).Fields()
	if want := slices.Concat(captured, later, ours); !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// TestSummaryShapes holds each key of JSON that the real product is known to have to
// the shape that it has there: a setting in its wrapping, or a plain value.
func TestSummaryShapes(t *testing.T) {
	t.Parallel()
	settings := strings.Fields(`automaticDefinitionUpdateEnabled behaviorMonitoring cloudAutomaticSampleSubmissionConsent cloudDiagnosticEnabled
		cloudEnabled edrDeviceTags edrEarlyPreviewEnabled edrGroupIds managedBy networkProtectionEnforcementLevel passiveModeEnabled proxy
		realTimeProtectionEnabled tamperProtection`)
	plain := strings.Fields(`appVersion conflictingApplications definitionsStatus definitionsUpdated definitionsUpdatedMinutesAgo
		definitionsVersion edrConfigurationVersion edrMachineId engineVersion healthIssues healthy licensed logLevel machineGuid
		networkProtectionStatus orgId productExpiration realTimeProtectionAvailable realTimeProtectionSubsystem releaseRing
		supplementaryEventsSubsystem troubleshootingMode`)
	hidden := []string{"managedBy", "proxy"} // as there, unless they are set
	var got map[string]json.RawMessage
	if err := json.Unmarshal(toJSON(t, health.Summary(facts(), health.SummaryFacts{})), &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Concat(settings, plain) {
		var w struct {
			DisplayValue, IsManaged *bool
			Value                   json.RawMessage
		}
		isWrapped := json.Unmarshal(got[name], &w) == nil && w.DisplayValue != nil && w.IsManaged != nil && w.Value != nil
		if _, there := got[name]; !there || isWrapped != slices.Contains(settings, name) {
			t.Errorf("%s is %s", name, got[name])
		} else if isWrapped && *w.DisplayValue == slices.Contains(hidden, name) {
			t.Errorf("%s is %s", name, got[name])
		}
	}
}

// TestJSONShapes holds the shapes of JSON as they were seen in the real
// product: wrapped settings, states as objects, times as strings.
func TestJSONShapes(t *testing.T) {
	t.Parallel()
	installed, fresh := facts(), facts()
	installed.Failure = unreachable()
	fresh.Installed, fresh.SourceURI, fresh.OfflineURL = nil, "", health.Setting[string]{}
	fresh.LastAttempt, fresh.NextCheck, fresh.Isolation = time.Time{}, time.Time{}, ""
	fresh.Profile = ""
	tests := []struct {
		facts     health.Facts
		key, want string
	}{
		{installed, "$type", `"getHealthDetailsDefinitionsResult"`},
		{installed, "automaticDefinitionUpdateEnabled", `{"displayValue":true,"isManaged":true,"value":true}`},
		{installed, "definitionsExpires", `"1796667330000"`},
		{installed, "definitionsLastAttempt", `"1795457597000"`},
		{installed, "definitionsLastSuccess", `"1795457597000"`},
		{installed, "definitionsNextCheck", `"1795486397000"`},
		{installed, "definitionsUpdateRule", `""`},
		{installed, "definitionsSourceIsolation", `"landlock 7, seccomp, no_new_privs, limits"`},
		{installed, "definitionsTrustProfile", `"list"`},
		{fresh, "definitionsTrustProfile", `null`},
		{installed, "definitionsStatus", `{"$type":"upToDate"}`},
		{installed, "definitionsUpdated", `"1795457597000"`},
		{installed, "definitionsUpdatedMinutesAgo", `2`},
		{installed, "definitionsUpdateFailReason", `"source_unreachable: the mirror did not answer within 10 seconds"`},
		{installed, "definitionsVersion", `"1.407.417.0"`},
		{installed, "engineSignatureVerification", `"enabled"`},
		{installed, "notes", `[]`},
		{installed, "offlineDefinitionUpdate", `{"displayValue":true,"isManaged":true,"value":"enabled"}`},
		{installed, "offlineDefinitionUpdateFallbackToCloud", `{"displayValue":true,"isManaged":true,"value":false}`},
		{installed, "offlineDefinitionUpdateVerifySig", `"enabled"`},
		{fresh, "definitionsStatus", `{"$type":"unavailable"}`},
		{fresh, "definitionsLastAttempt", `null`},
		{fresh, "definitionsNextCheck", `null`},
		{fresh, "definitionsSourceIsolation", `null`},
		{fresh, "definitionsUpdated", `null`},
		{fresh, "definitionsUpdatedMinutesAgo", `null`},
		{fresh, "definitionsVersion", `null`},
		{fresh, "definitionsUpdateFailReason", `""`},
		{fresh, "definitionsUpdateSourceUri", `null`},
		{fresh, "offlineDefinitionUrlConfigured", `{"displayValue":true,"isManaged":false,"value":null}`},
	}
	for _, tt := range tests {
		var got map[string]json.RawMessage
		if err := json.Unmarshal(toJSON(t, health.Definitions(tt.facts)), &got); err != nil {
			t.Fatal(err)
		}
		if string(got[tt.key]) != tt.want {
			t.Errorf("%s = %s, want %s", tt.key, got[tt.key], tt.want)
		}
	}
}

// TestJSONKeysInOrder reads the keys in the order in which they stand.
func TestJSONKeysInOrder(t *testing.T) {
	t.Parallel()
	for _, r := range []health.Report{health.Definitions(facts()), health.Features(facts()), health.Summary(facts(), health.SummaryFacts{})} {
		d := json.NewDecoder(strings.NewReader(string(toJSON(t, r))))
		if _, err := d.Token(); err != nil {
			t.Fatal(err)
		}
		var keys []string
		for d.More() {
			key, err := d.Token()
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, key.(string))
			var skipped json.RawMessage
			if err := d.Decode(&skipped); err != nil {
				t.Fatal(err)
			}
		}
		if len(keys) <= len(r.Fields()) || keys[0] != "$type" || !slices.IsSorted(keys) {
			t.Errorf("keys are %q, want $type and all fields in ASCII order", keys)
		}
	}
}

func TestField(t *testing.T) {
	t.Parallel()
	definitions := health.Definitions(facts())
	summary := health.Summary(facts(), health.SummaryFacts{AppVersion: "0.1.0"})
	tests := []struct {
		report     health.Report
		name, want string
		found      bool
	}{
		{definitions, "definitions_version", `"1.407.417.0"`, true},
		{definitions, "definitions_updated_minutes_ago", `2`, true},
		{definitions, "automatic_definition_update_enabled", `true`, true}, // although managed
		{definitions, "offline_definition_update", `"enabled"`, true},      // although managed
		{definitions, "definitions_update_fail_reason", `""`, true},
		{definitions, "engine_version", `"1.1.24080.9"`, true}, // although only JSON has it
		{definitions, "definitions_next_check", `Nov 23, 2026 at 09:13:17 PM`, true},
		{definitions, "definitions_last_success", `Nov 23, 2026 at 01:13:17 PM`, true},
		{definitions, "definitions_update_rule", `""`, true},
		{definitions, "definitions_source_isolation", `"landlock 7, seccomp, no_new_privs, limits"`, true},
		{definitions, "app_version", ``, false}, // the other view has it
		{definitions, "definitionsVersion", ``, false},
		{definitions, "", ``, false},
		{health.Report{}, "healthy", ``, false},
		{summary, "healthy", `true`, true},
		{summary, "engine_version", `"1.1.24080.9"`, true},
		{summary, "release_ring", `unavailable`, true},
		{summary, "health_issues", `[]`, true},
		{summary, "managed_by", `""`, true}, // although the table hides it
		{summary, "proxy", `"None"`, true},
		{health.Summary(health.Facts{}, health.SummaryFacts{}), "proxy", `unavailable`, true}, // where nobody knows
		{health.Features(facts()), "definitions_signer_expires", `Nov 30, 2026 at 01:15:30 PM`, true},
		{health.Features(facts()), "definitions_crl_expires", `unavailable`, true},
		{health.Features(facts()), "definitions_expiry_warnings", `[]`, true},
		{summary, "definitions_next_check", `Nov 23, 2026 at 09:13:17 PM`, true},
	}
	for _, tt := range tests {
		if got, found := tt.report.Field(tt.name); got != tt.want || found != tt.found {
			t.Errorf("Field(%q) = %s, %t, want %s, %t", tt.name, got, found, tt.want, tt.found)
		}
	}
}

// TestFieldsAreTheTable checks that names, table and values belong together.
func TestFieldsAreTheTable(t *testing.T) {
	t.Parallel()
	for _, r := range []health.Report{health.Definitions(facts()), health.Features(facts()), health.Summary(facts(), health.SummaryFacts{})} {
		lines := strings.Split(strings.TrimSuffix(r.Text(), "\n"), "\n")
		if len(lines) != len(r.Fields()) {
			t.Fatalf("%d lines for %d fields", len(lines), len(r.Fields()))
		}
		for i, name := range r.Fields() {
			field, _ := r.Field(name)
			if want := name + strings.Repeat(" ", 44-len(name)) + ": " + field; strings.TrimSuffix(lines[i], " [managed]") != want {
				t.Errorf("line %q, want %q", lines[i], want)
			}
		}
	}
}

func TestMinutesAgo(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		updated time.Time
		want    string
	}{
		{"whole minutes, rounded down", now.Add(-119 * time.Second), "1"},
		{"many", now.Add(-30 * day), "43200"},
		{"a clock that was set back", now.Add(time.Hour), "0"},
		{"never", time.Time{}, "unavailable"},
	}
	for _, tt := range tests {
		f := facts()
		f.Installed.Updated = tt.updated
		if got, _ := health.Definitions(f).Field("definitions_updated_minutes_ago"); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestLocalTime checks that dates are local where no location is given. It
// moves the process, since on many a machine the local time is UTC, and is not
// parallel for that reason.
func TestLocalTime(t *testing.T) {
	f := facts()
	before := time.Local
	t.Cleanup(func() { time.Local = before })
	time.Local, f.Location = f.Location, nil
	if got, _ := health.Definitions(f).Field("definitions_updated"); got != "Nov 23, 2026 at 01:13:17 PM" {
		t.Errorf("definitions_updated = %s, want it five hours behind UTC", got)
	}
}
