package health_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/health"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	failed := func(code string) func(*health.Facts) {
		return func(f *health.Facts) {
			f.UpdateFailed, f.Failure = true, &health.Failure{Code: code, Sentence: "this is why", Hint: "do that"}
		}
	}
	tests := []struct {
		name   string
		change func(*health.Facts)
		exit   int
		text   string // between the dash and the bar
	}{
		{"all is well", func(*health.Facts) {}, 0, "1.407.417.0, released 6 hours ago"},
		{"as old as is well", func(f *health.Facts) { f.Installed.Released = now.Add(-126 * time.Hour) }, 0, "1.407.417.0, released 5 days ago"},
		{"updates off by rule", func(f *health.Facts) {
			f.NextCheck, f.Rule = time.Time{}, "antivirusEngine.enforcementLevel is passive"
		}, 0,
			"1.407.417.0, released 6 hours ago; no periodic updates, since antivirusEngine.enforcementLevel is passive"},
		{"held", func(f *health.Facts) {
			f.NextCheck, f.Rule = time.Time{}, "updates are held since 2026-11-20T10:00:00Z"
		}, 0,
			"1.407.417.0, released 6 hours ago; no periodic updates, since updates are held since 2026-11-20T10:00:00Z"},
		{"an update at work", func(f *health.Facts) { f.Updating = true }, 0, "1.407.417.0, released 6 hours ago; an update is at work"},
		{"notes that are no trouble", func(f *health.Facts) { f.Notes = []string{"the source was left out"} }, 0, "1.407.417.0, released 6 hours ago"},
		{"a trust whose end is known", func(f *health.Facts) { f.TrustExpires = now.Add(day) }, 0, "1.407.417.0, released 6 hours ago"},
		{"no next check known", func(f *health.Facts) { f.NextCheck = time.Time{} }, 0, "1.407.417.0, released 6 hours ago"},
		{"a next check as late as may be", func(f *health.Facts) { f.NextCheck = now.Add(-day) }, 0, "1.407.417.0, released 6 hours ago"},

		{"what ends soon", func(f *health.Facts) {
			f.Endings[0].Warning, f.Endings[1].Warning = "the signer's certificate ends at noon, and somebody must act", "the signed list, too"
		}, 1,
			"the signer's certificate ends at noon, and somebody must act; the signed list, too; 1.407.417.0, released 6 hours ago"},
		{"old soon", func(f *health.Facts) { f.Installed.Released = now.Add(-126*time.Hour - 1) }, 1,
			"the definitions will soon be out of date, 7 days are allowed; 1.407.417.0, released 5 days ago"},
		{"a next check that nobody made", func(f *health.Facts) { f.NextCheck = now.Add(-50 * time.Hour) }, 1,
			"a periodic update was due 2 days ago and nobody made it; 1.407.417.0, released 6 hours ago"},
		{"no source worked", failed("source_unreachable"), 1, "the last update failed, source_unreachable: this is why; 1.407.417.0, released 6 hours ago"},
		{"a package was refused", failed("signature_invalid"), 1, "the last update failed, signature_invalid: this is why; 1.407.417.0, released 6 hours ago"},
		{"a failure without a reason", func(f *health.Facts) { f.UpdateFailed = true }, 1, "the last update failed; 1.407.417.0, released 6 hours ago"},
		{"a failure that a fallback hid", func(f *health.Facts) { f.Fallback, f.Failure = true, unreachable() }, 1,
			"the fallback is in use, source_unreachable: the mirror did not answer within 10 seconds; 1.407.417.0, released 6 hours ago"},
		{"a fallback without a reason", func(f *health.Facts) { f.Fallback = true }, 1, "the fallback is in use; 1.407.417.0, released 6 hours ago"},
		{"a revoked signer of what was not installed", func(f *health.Facts) {
			failed("signer_revoked")(f)
			f.UpdateFailed, f.Fallback = false, true
		}, 1, "the fallback is in use, signer_revoked: this is why; 1.407.417.0, released 6 hours ago"},
		{"a broken configuration with a copy", func(f *health.Facts) {
			f.Failure = &health.Failure{Code: "config_invalid", Sentence: "the file is no JSON"}
		}, 1, "config_invalid: the file is no JSON; 1.407.417.0, released 6 hours ago"},
		{"a wrong clock", func(f *health.Facts) { f.Notes = []string{health.NoteClockWrong} }, 1, "the clock is wrong; 1.407.417.0, released 6 hours ago"},

		{"nothing installed", func(f *health.Facts) { f.Installed = nil }, 2, "nothing valid is installed"},
		{"nothing installed, and why", func(f *health.Facts) { failed("trust_empty")(f); f.Installed = nil }, 2,
			"nothing valid is installed; trust_empty: this is why"},
		{"nothing installed while an update is at work", func(f *health.Facts) { f.Installed, f.Updating = nil, true }, 2,
			"nothing valid is installed; an update is at work"},
		{"nothing installed and never configured", func(f *health.Facts) { *f = health.Facts{Now: now, Rule: "nothing was ever configured"} }, 2,
			"nothing valid is installed; no periodic updates, since nothing was ever configured"},
		{"too old", func(f *health.Facts) { f.Installed.Released = now.Add(-7*day - 1) }, 2,
			"the definitions are out of date, 7 days are allowed; 1.407.417.0, released 7 days ago"},
		{"too old while an update is at work", func(f *health.Facts) { f.Installed.Released, f.Updating = now.Add(-8*day), true }, 2,
			"the definitions are out of date, 7 days are allowed; 1.407.417.0, released 8 days ago; an update is at work"},
		{"too old and off by rule", func(f *health.Facts) { f.Installed.Released, f.Rule = now.Add(-8*day), "updates are held" }, 2,
			"the definitions are out of date, 7 days are allowed; 1.407.417.0, released 8 days ago; no periodic updates, since updates are held"},
		{"expired", func(f *health.Facts) { f.Installed.Expires = now.Add(-1) }, 2, "the definitions have expired; 1.407.417.0, released 6 hours ago"},
		{"a release that nobody knows", func(f *health.Facts) { f.Installed.Released = time.Time{} }, 2, "the definitions are out of date, 7 days are allowed"},
		{"the signer is revoked", failed("signer_revoked"), 2, "signer_revoked: this is why; 1.407.417.0, released 6 hours ago"},
		{"the set is damaged", failed("set_damaged"), 2, "set_damaged: this is why; 1.407.417.0, released 6 hours ago"},
		{"the worst comes first", func(f *health.Facts) {
			failed("signer_revoked")(f)
			f.Notes, f.Installed.Released = []string{health.NoteClockWrong}, now.Add(-126*time.Hour-1)
		}, 2, "signer_revoked: this is why; the definitions will soon be out of date, 7 days are allowed; the clock is wrong; 1.407.417.0, released 5 days ago"},
	}
	words := []string{"OK", "WARNING", "CRITICAL"}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := facts()
			tt.change(&f)
			exit, line := health.Check(f)
			text, _, _ := strings.Cut(line, " | ")
			if want := "DEFINITIONS " + words[tt.exit] + " - " + tt.text; exit != tt.exit || text != want {
				t.Errorf("%d %s\nwant %d %s", exit, text, tt.exit, want)
			}
			if status := health.Status(f); exit == health.CheckOK && status != health.UpToDate && status != health.Updating {
				t.Errorf("ok, although the status is %s", status)
			}
		})
	}
}

func TestCheckNumbers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*health.Facts)
		want   string
	}{
		{"all known", func(*health.Facts) {}, "age=21600s;453600;604800;0 since_success=133s;;;0"},
		{"a shorter limit", func(f *health.Facts) { f.Due = day }, "age=21600s;64800;86400;0 since_success=133s;;;0"},
		{"a clock that was set back", func(f *health.Facts) { f.Now = now.Add(-day) }, "age=0s;453600;604800;0 since_success=0s;;;0"},
		{"nothing installed", func(f *health.Facts) { f.Installed = nil }, "age=U;453600;604800;0 since_success=133s;;;0"},
		{"never updated", func(f *health.Facts) { f.LastSuccess = time.Time{} }, "age=21600s;453600;604800;0 since_success=U;;;0"},
		{"a release that nobody knows", func(f *health.Facts) { f.Installed.Released = time.Time{} }, "age=U;453600;604800;0 since_success=133s;;;0"},
	}
	for _, tt := range tests {
		f := facts()
		tt.change(&f)
		_, line := health.Check(f)
		if _, got, _ := strings.Cut(line, " | "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestCheckAgrees holds the limits in the numbers to the verdict: a monitor that
// judges by the numbers must come to the same.
func TestCheckAgrees(t *testing.T) {
	t.Parallel()
	for hours := range 10 * 24 {
		f := facts()
		f.Installed.Released = now.Add(-time.Duration(hours)*time.Hour - time.Second)
		want := health.CheckOK
		if seconds := hours*3600 + 1; seconds > 604800 {
			want = health.CheckCritical
		} else if seconds > 453600 {
			want = health.CheckWarning
		}
		if exit, line := health.Check(f); exit != want {
			t.Errorf("%d hours: %d, want %d: %s", hours, exit, want, line)
		}
	}
}

func TestCheckSpans(t *testing.T) {
	t.Parallel()
	for age, want := range map[time.Duration]string{
		0:                          "0 minutes",
		119 * time.Minute:          "119 minutes",
		2 * time.Hour:              "2 hours",
		48*time.Hour - time.Second: "47 hours",
		48 * time.Hour:             "2 days",
	} {
		f := facts()
		f.Installed.Released = now.Add(-age)
		if _, line := health.Check(f); !strings.Contains(line, "released "+want+" ago") {
			t.Errorf("%v: %s, want %s", age, line, want)
		}
	}
}

// checkLine is what every answer has to look like: text without a bar, one bar,
// and numbers in the form of the plug-ins' guidelines.
var checkLine = regexp.MustCompile(`^DEFINITIONS (OK|WARNING|CRITICAL) - [^|]+ \| age=(U|\d+s);\d+;\d+;0 since_success=(U|\d+s);;;0$`)

// FuzzCheckLine puts any string into any fact, and expects one line in which
// nothing can pass for the numbers.
func FuzzCheckLine(f *testing.F) {
	for _, s := range []string{"", "a\nb", "a | age=0s", "|", "\r", "\u2028\u0085", "\xff", "\x00", "\u202e", strings.Repeat("ä|", 2000)} {
		f.Add(s, "source_unreachable", int64(0), true)
		f.Add("1.2.3.4", s, int64(1<<62), false)
	}
	f.Fuzz(func(t *testing.T, s, other string, shift int64, is bool) {
		fs := facts()
		fs.Installed.DefinitionVersion, fs.Rule = s, other
		fs.Failure = &health.Failure{Code: other, Sentence: s}
		fs.UpdateFailed, fs.Fallback, fs.Updating = is, !is, is
		fs.Now = now.Add(time.Duration(shift))
		exit, line := health.Check(fs)
		if exit < health.CheckOK || exit > health.CheckCritical || !checkLine.MatchString(line) {
			t.Errorf("%d %q", exit, line)
		}
		if strings.ContainsAny(line, "\n\r\v\f\u0085\u2028\u2029") || len([]rune(line)) > 1000 {
			t.Errorf("not one line of bearable length: %q", line)
		}
	})
}
