package agent

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/managedconfig"
)

// steady is a step that has everything which a rule may speak of.
var steady = state.Step{Source: "http://mirror.example/linux/production", Version: "1.407.420.0", Than: "1.407.430.0", Text: "real words", Number: 2, Of: 3, Bytes: 23,
	At: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), Failure: &state.Failure{Code: "source_stalled", Message: "the transfer stalled", Hint: "look at the line"}}

// What each rule says of that step, and behind the bar what would have to change.
var told = map[string]string{
	ruleLastGood: "settings: the configuration is broken, and its last good copy is in force; source_stalled: the transfer stalled | look at the line",

	ruleByHand:          "due: somebody asked for it by hand, so it need not be due",
	ruleDueNow:          "due: --now asked not to wait",
	ruleDueUnfinished:   "due: at once, since the last run was killed before it was done",
	ruleDueOtherSource:  "due: at 2026-11-01T12:00:00Z, since another source is configured than at the last check",
	ruleDueFirst:        "due: at 2026-11-01T12:00:00Z, since no source was asked yet",
	ruleDueNothing:      "due: at 2026-11-01T12:00:00Z, since nothing whole is installed, or nobody knows when a source was last asked",
	ruleDueRetry:        "due: at 2026-11-01T12:00:00Z, since the update before failed",
	ruleDueInterval:     "due: at 2026-11-01T12:00:00Z, since the interval is 2 seconds",
	ruleNotYet:          "due: the next update is due at 2026-11-01T12:00:00Z | agent definitions update, without --scheduled, updates at once",
	ruleNeverConfigured: "due: this machine was never configured for updates | antivirusEngine.offlineDefinitionUpdate has to be enabled, and offlineDefinitionUpdateUrl to name the mirror's ring",
	ruleDaemonRuns:      "due: the daemon runs, and updates when that is due",
	ruleHeld:            "due: updates are held since 2026-11-01T12:00:00Z | agent definitions unhold lets them go on",
	ruleInhibited:       "due: updates are inhibited by a file in real words | the files in real words have to go",
	ruleAutomaticOff:    "due: cloudService.automaticDefinitionUpdateEnabled is false | cloudService.automaticDefinitionUpdateEnabled has to be true",
	ruleEnforcement:     "due: antivirusEngine.enforcementLevel is real words, and periodic updates need real_time | antivirusEngine.enforcementLevel has to be real_time or audit, or be left out",
	ruleNoSource:        "due: antivirusEngine.offlineDefinitionUpdate is disabled and agent.cloudUrl is not set | antivirusEngine.offlineDefinitionUpdate has to be enabled, or agent.cloudUrl to be set",

	ruleMirrorOff:  "source: the mirror is not asked, since antivirusEngine.offlineDefinitionUpdate is disabled",
	ruleCloudOff:   "source: the cloud is not asked, since antivirusEngine.offlineDefinitionUpdateFallbackToCloud is false",
	ruleCloudBack:  "source: the cloud is not asked, since a URL that ends in _back asks for the older package",
	ruleCloudUnset: "source: the cloud is not asked, since agent.cloudUrl is not set and what the vendor publishes carries no signed list",
	ruleAsked:      "source: http://mirror.example/linux/production",
	ruleAskedAgain: "source: the package was replaced while it was read, so it is asked once more",
	ruleNoOther:    "source: no other is asked, since what failed is this machine's own",

	ruleUnchanged:  "answer: nothing has changed there since the last time",
	ruleStillThere: "answer: nothing has changed there since the package was refused",
	ruleList:       "answer: definitions 1.407.420.0, issued 2026-11-01T12:00:00Z",
	ruleSidecar:    "answer: definitions 1.407.420.0, issued 2026-11-01T12:00:00Z, by a list beside the package",
	ruleSignatures: "answer: definitions 1.407.420.0, by the vendor's signatures, the newest of them of 2026-11-01T12:00:00Z",

	ruleUpToDate: "why: the package is the installed one | the list of the package ended at 2026-11-01T12:00:00Z, so it has to be renewed, or a package with a higher version has to be published",
	ruleBehind: "why: the package is older than 1.407.430.0, which this machine has accepted before, and this source never served a newer one" +
		" | the source has to come up to 1.407.430.0; agent definitions update --allow-downgrade 1.407.420.0 takes the older package",
	ruleRenewal:  "why: the content is the installed one, with a later list",
	ruleFirst:    "why: nothing whole is installed",
	ruleNewer:    "why: the package is newer than the installed one, and not older than any that was accepted",
	ruleStepDown: "why: the package is older than what was accepted before, by consent of the URL that ends in _back",
	ruleAllowed:  "why: the package is older than what was accepted before, by consent of --allow-downgrade",
	ruleKnownBad: "why: definitions 1.407.420.0 are known bad since 2026-11-01T12:00:00Z, real words",
	ruleFailed:   "why: source_stalled: the transfer stalled | look at the line",

	rulePlan:      "at hand: 2 of 3 files; to fetch: 23 bytes, inflated",
	ruleOnDisk:    "at hand: the whole set, so nothing is fetched",
	rulePreload:   "hook: the preload hook finds the definitions good",
	rulePostload:  "hook: the postload hook has taken the definitions",
	ruleOwed:      "hook: the postload hook has not taken the active definitions yet, and is told again",
	ruleActive:    "done: definitions 1.407.420.0 are active",
	ruleExchanged: "done: the list was exchanged, and the files stay what they are",
	ruleFloorDown: "done: nothing older than 1.407.420.0 is accepted from now on",

	ruleRolledBack: "why: somebody went back by hand, and what was left does not come back by itself" +
		" | a package with a higher version has to be published, or agent definitions update --retry-known-bad takes back what was left",
	ruleRestored: "why: somebody went back by hand to what the machine was shipped with | the next update goes forward again; agent definitions hold keeps it from that",
	ruleRepaired: "why: somebody had the sets repaired by hand, and the active one was mended or left",
}

// Every rule that the source has says what it should, and nothing that is not fit for
// a report; and none that a record may name is without words.
func TestWords(t *testing.T) {
	t.Parallel()
	rules := ruleConstants(t)
	if known := slices.Sorted(maps.Keys(wordings())); !slices.Equal(known, rules) {
		t.Errorf("there are words for %q, and rules %q", known, rules)
	}
	for _, rule := range rules {
		s := steady
		s.Rule = rule
		line := tell(s).Line()
		for _, words := range []string{line, changing(s)} {
			if strings.ContainsAny(words, "\"\n") || strings.Contains(words, " : ") || strings.HasSuffix(words, ".") {
				t.Errorf("%s is not fit to be shown: %q", rule, words)
			}
		}
		if change := changing(s); change != "" {
			line += " | " + change
		}
		if line != told[rule] {
			t.Errorf("%s says\n%q, want\n%q", rule, line, told[rule])
		}
	}
}

// ruleConstants gives the values of the constants rule… of decisions.go, in order.
func ruleConstants(t *testing.T) (rules []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "decisions.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "rule") {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil || slices.Contains(rules, value) {
			t.Errorf("%s is %s, which is no name or another's", spec.Names[0].Name, value)
		}
		rules = append(rules, value)
		return true
	})
	slices.Sort(rules)
	return rules
}

// A record is data: what a later version wrote, or somebody changed, is told as well
// as it can be.
func TestWordsForOtherRecords(t *testing.T) {
	t.Parallel()
	for _, s := range []state.Step{{}, {Rule: "of tomorrow"}, {Rule: ruleFailed}, {Rule: ruleLastGood}} {
		if line := tell(s).Line(); !strings.Contains(line, "does not") {
			t.Errorf("%+v is told as %q", s, line)
		}
	}
}

// A chain ends with what would have to change, for each thing that would have to.
func TestChain(t *testing.T) {
	t.Parallel()
	failed := state.Step{Rule: ruleFailed, Failure: steady.Failure}
	var lines []string
	for _, s := range chain([]state.Step{{Rule: ruleHeld, At: steady.At}, failed, {Rule: ruleCloudOff}, failed}) {
		lines = append(lines, s.Line())
	}
	want := []string{"due: updates are held since 2026-11-01T12:00:00Z", "why: source_stalled: the transfer stalled", told[ruleCloudOff], "why: source_stalled: the transfer stalled",
		"change: agent definitions unhold lets them go on", "change: look at the line"}
	if !slices.Equal(lines, want) {
		t.Errorf("the chain is\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if got := chain(nil); got == nil || len(got) != 0 {
		t.Errorf("a chain of nothing is %v, and not an empty list", got)
	}
}

// What makes an update due is what the time was reckoned by.
func TestWhyDue(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	doc, err := managedconfig.Parse(managedconfig.Source{Origin: managedconfig.OriginManaged, File: "test.json",
		Data: []byte(`{"antivirusEngine":{"offlineDefinitionUpdate":"enabled","offlineDefinitionUpdateUrl":"/srv/production"},"cloudService":{"definitionUpdatesInterval":3600}}`)})
	if err != nil {
		t.Fatal(err)
	}
	settings := managedconfig.Resolve(doc)
	checked := state.Timing{Source: firstSource(settings), LastCheck: now.Add(-time.Minute)}
	for rule, change := range map[string]func(*Known){
		ruleDueInterval:    func(*Known) {},
		ruleDueFirst:       func(k *Known) { k.Timing = state.Timing{} },
		ruleDueOtherSource: func(k *Known) { k.Timing.Source = "another" },
		ruleDueRetry:       func(k *Known) { k.Timing.Failures, k.Timing.LastFailure = 3, now },
		ruleDueNothing:     func(k *Known) { k.Installed = false },
		ruleDueUnfinished:  func(k *Known) { k.Timing.Unfinished = "a set" },
		ruleDueNow:         func(k *Known) { k.AskNow = true },
		ruleHeld:           func(k *Known) { k.HeldSince = now },
		ruleInhibited:      func(k *Known) { k.Inhibited = "/run/inhibit" },
		ruleDaemonRuns:     func(k *Known) { k.Daemon = true },
	} {
		k := Known{Now: now, Installed: true, Timing: checked}
		change(&k)
		d := Decide(settings, k)
		if d.when.Rule != rule || d.Rule == "" && !d.when.At.Equal(d.Due) || d.Rule != "" && d.Rule != sentence(d.when) {
			t.Errorf("%s: decided %+v, due %s, rule %q", rule, d.when, d.Due, d.Rule)
		}
	}
	failing := func(n int) state.Step { // an outage must be one entry in the record, however long it is
		return Decide(settings, Known{Now: now, Installed: true, Timing: state.Timing{Source: checked.Source, LastCheck: now.Add(-time.Minute), LastFailure: now, Failures: n}}).when
	}
	if a, b := failing(3), failing(4); a.Rule != ruleDueRetry || a.Number != b.Number {
		t.Errorf("the third failure is due by %+v, the fourth by %+v", a, b)
	}
	byHand := Decide(settings, Known{Now: now, Installed: true, Timing: checked}).steps(now, false)
	if byHand[0].Rule != ruleByHand {
		t.Errorf("by hand it is %+v", byHand)
	}
	notYet := Decide(settings, Known{Now: now, Installed: true, Timing: checked}).steps(now, true)
	if notYet[0].Rule != ruleDueInterval || notYet[1].Rule != ruleNotYet || notYet[1].At.Before(now) {
		t.Errorf("what is not due is %+v", notYet)
	}
}
