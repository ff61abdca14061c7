package state

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestRunsThatGoTheSameWayAreCounted(t *testing.T) {
	t.Parallel()
	upToDate := func(minute int, rule string) Run {
		at := base.Add(time.Duration(minute) * time.Minute)
		return Run{Started: at, Kind: "scheduled", Outcome: "upToDate", Steps: []Step{{Rule: "due", At: at}, {Rule: rule, Failure: &Failure{Code: "x"}}}}
	}
	var runs Runs
	for minute := range 5 {
		runs = runs.With(upToDate(minute, "a"))
	}
	all := runs.All()
	if len(all) != 1 || all[0].Times != 5 || !all[0].First.Equal(base) || !all[0].Started.Equal(base.Add(4*time.Minute)) {
		t.Fatalf("five runs that went the same way became %+v", all)
	}
	runs = runs.With(upToDate(5, "b")).With(upToDate(6, "a"))
	if all = runs.All(); len(all) != 3 || all[2].Times != 1 || !all[2].First.IsZero() {
		t.Errorf("runs that went another way became %+v", all)
	}
	other := upToDate(7, "a")
	other.Steps[1].Failure = &Failure{Code: "x", Message: "another sentence"}
	if got := len(runs.With(other).All()); got != 4 {
		t.Errorf("a run with another failure was counted with the one before: %d runs", got)
	}
}

// The record is bounded in count and in bytes, whatever is in a run, also behind a
// file where it stands with spaces; the newest stays.
func TestRunsAreBounded(t *testing.T) {
	t.Parallel()
	for what, text := range map[string]string{"small": "x", "large": strings.Repeat("x", 3000), "far too large": strings.Repeat("x", maxRunBytes)} {
		st := Store{t.TempDir()}
		var status Status
		for i := range 100 {
			run := Run{Started: base, Outcome: fmt.Sprint(i)}
			for range 2 * maxSteps {
				run.Steps = append(run.Steps, Step{Rule: "r"})
			}
			run.Steps[0].Text = text
			status.Runs = status.Runs.With(run)
			must(t, st.SaveStatus(status))
			status = st.LoadStatus()
		}
		all := status.Runs.All()
		if len(all) == 0 || len(all) > maxRuns || all[len(all)-1].Outcome != "99" || len(all[0].Steps) > maxSteps {
			t.Errorf("%s: %d runs, the last %+v", what, len(all), all)
		}
		data, err := json.Marshal(status.Runs)
		must(t, err)
		if len(data) > maxRunBytes+2*maxRuns {
			t.Errorf("%s: the record has %d bytes", what, len(data))
		}
	}
}

// What a later version wrote survives, and what can't be read is in nobody's way.
func TestRunsOfOtherVersions(t *testing.T) {
	t.Parallel()
	runs := Runs{json.RawMessage(`{"kind":"scheduled","more":{"x":[1]}}`), json.RawMessage(`{"kind":7}`)}.With(Run{Kind: "update"})
	data, err := json.Marshal(runs)
	must(t, err)
	if !strings.Contains(string(data), `"more":{"x":[1]}`) || !strings.Contains(string(data), `{"kind":7}`) {
		t.Errorf("written as %s", data)
	}
	if all := runs.All(); len(all) != 2 || all[0].Kind != "scheduled" || all[1].Kind != "update" {
		t.Errorf("read as %+v", all)
	}
}
