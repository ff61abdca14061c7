package health_test

import (
	"testing"
	"time"

	"mdatp-offline-agent/health"
)

// now is the time of all reports in these tests, west of UTC so that a date
// printed in the wrong zone shows.
var now = time.Date(2026, time.November, 23, 18, 15, 30, 0, time.UTC)

const day = 24 * time.Hour

// facts are those of an endpoint on which all is well: offline updates from a
// mirror, all settings managed, updated two minutes ago.
func facts() health.Facts {
	return health.Facts{
		Now:             now,
		Location:        time.FixedZone("EST", -5*60*60),
		AutomaticUpdate: health.Setting[bool]{Value: true, Managed: true},
		OfflineEnabled:  health.Setting[bool]{Value: true, Managed: true},
		FallbackToCloud: health.Setting[bool]{Value: false, Managed: true},
		Proxy:           &health.Setting[string]{},
		OfflineURL:      health.Setting[string]{Value: "http://mirror.example:8000/linux/production/", Managed: true},
		Installed: &health.Installed{
			DefinitionVersion: "1.407.417.0",
			EngineVersion:     "1.1.24080.9",
			Released:          now.Add(-6 * time.Hour),
			Issued:            now.Add(-4 * time.Hour),
			Expires:           now.Add(14 * day),
			Updated:           now.Add(-2*time.Minute - 13*time.Second),
		},
		Due:       7 * day,
		SourceURI: "http://mirror.example:8000/linux/production/",

		LastAttempt:  now.Add(-2*time.Minute - 13*time.Second),
		LastSuccess:  now.Add(-2*time.Minute - 13*time.Second),
		LastDuration: 1500 * time.Millisecond,
		NextCheck:    now.Add(8*time.Hour - 2*time.Minute - 13*time.Second),
		TrustExpires: now.Add(300 * day),
		Isolation:    "landlock 7, seccomp, no_new_privs, limits",
		Profile:      "list",
		Endings:      []health.Ending{{Object: "signer", At: now.Add(7 * day), From: now.Add(day)}, {Object: "list", At: now.Add(14 * day), From: now.Add(11 * day)}},
	}
}

// unreachable is what a mirror gives that doesn't answer.
func unreachable() *health.Failure {
	return &health.Failure{
		Code:     "source_unreachable",
		Sentence: "the mirror did not answer within 10 seconds",
		Hint:     "check the address and the firewall, then run: agent connectivity test",
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*health.Facts)
		want   string
	}{
		{"all is well", func(*health.Facts) {}, health.UpToDate},
		{"nothing installed", func(f *health.Facts) { f.Installed = nil }, health.Unavailable},
		{"nothing installed beats an update at work", func(f *health.Facts) { f.Installed, f.Updating = nil, true }, health.Unavailable},
		{"nothing installed beats a failure", func(f *health.Facts) { f.Installed, f.UpdateFailed = nil, true }, health.Unavailable},
		{"an update at work", func(f *health.Facts) { f.Updating = true }, health.Updating},
		{"an update at work beats age", func(f *health.Facts) { f.Updating, f.Due = true, 0 }, health.Updating},
		{"an update at work beats a failure", func(f *health.Facts) { f.Updating, f.UpdateFailed = true, true }, health.Updating},
		{"age beats a failure", func(f *health.Facts) { f.Due, f.UpdateFailed = time.Hour, true }, health.OutOfDate},
		{"as old as it may be", func(f *health.Facts) { f.Installed.Released = now.Add(-7 * day) }, health.UpToDate},
		{"older than it may be", func(f *health.Facts) { f.Installed.Released = now.Add(-7*day - 1) }, health.OutOfDate},
		{"old content that came just now", func(f *health.Facts) {
			f.Installed.Released, f.Installed.Issued, f.Installed.Updated = now.Add(-30*day), now, now
		}, health.OutOfDate},
		{"young content that came long ago", func(f *health.Facts) { f.Installed.Updated = now.Add(-30 * day) }, health.UpToDate},
		{"at its expiry", func(f *health.Facts) { f.Installed.Expires = now }, health.UpToDate},
		{"past its expiry", func(f *health.Facts) { f.Installed.Expires = now.Add(-1) }, health.OutOfDate},
		{"a release that is not known", func(f *health.Facts) { f.Installed.Released = time.Time{} }, health.OutOfDate},
		{"an expiry that is not known", func(f *health.Facts) { f.Installed.Expires = time.Time{} }, health.OutOfDate},
		{"a clock behind the release", func(f *health.Facts) { f.Now = now.Add(-365 * day) }, health.UpToDate},
		{"no source worked", func(f *health.Facts) { f.UpdateFailed = true }, health.UpdateFailed},
		{"a failure that a fallback hid", func(f *health.Facts) { f.Failure = unreachable() }, health.UpToDate},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := facts()
			tt.change(&f)
			if got := health.Status(f); got != tt.want {
				t.Errorf("Status = %s, want %s", got, tt.want)
			}
			if got, _ := health.Definitions(f).Field("definitions_status"); got != `"`+tt.want+`"` {
				t.Errorf("definitions_status = %s, want %q", got, tt.want)
			}
			healthy, _ := health.Summary(f, health.SummaryFacts{}).Field("healthy")
			if want := tt.want == health.UpToDate; (healthy == "true") != want {
				t.Errorf("healthy = %s with status %s", healthy, tt.want)
			}
		})
	}
}

func TestHealthIssues(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*health.Facts)
		want   string
	}{
		{"none", func(*health.Facts) {}, `[]`},
		{"the state", func(f *health.Facts) { f.Due = 0 }, `["out_of_date"]`},
		{"the failure that a fallback hid", func(f *health.Facts) { f.Failure = unreachable() }, `["source_unreachable"]`},
		{"the state and why", func(f *health.Facts) { f.UpdateFailed, f.Failure = true, unreachable() }, `["update_failed","source_unreachable"]`},
		{"what ends soon", func(f *health.Facts) { f.Endings[1].Warning = "the signed list ends at some time" }, `["expires_soon"]`},
		{"the clock, but no other note", func(f *health.Facts) { f.Notes = []string{"updates are held", health.NoteClockWrong} }, `["clock_wrong"]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := facts()
			tt.change(&f)
			if got, _ := health.Summary(f, health.SummaryFacts{}).Field("health_issues"); got != tt.want {
				t.Errorf("health_issues = %s, want %s", got, tt.want)
			}
		})
	}
}

// TestListEnded: that a list ended counts for itself only where the definitions are not too
// old besides.
func TestListEnded(t *testing.T) {
	t.Parallel()
	ended := now.Add(-time.Hour)
	for what, c := range map[string]struct {
		change func(*health.Facts)
		want   time.Time
	}{
		"nothing installed": {func(f *health.Facts) { f.Installed = nil }, time.Time{}},
		"it holds":          {func(*health.Facts) {}, time.Time{}},
		"it ended":          {func(f *health.Facts) { f.Installed.Expires = ended }, ended},
		"it is old, too":    {func(f *health.Facts) { f.Installed.Expires, f.Installed.Released = ended, now.Add(-8*day) }, time.Time{}},
		"there is no end":   {func(f *health.Facts) { f.Installed.Expires, f.Installed.Lasts = time.Time{}, true }, time.Time{}},
	} {
		f := facts()
		c.change(&f)
		if got := health.ListEnded(f); !got.Equal(c.want) {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
}
