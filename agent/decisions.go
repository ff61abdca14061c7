package agent

import (
	"fmt"
	"slices"
	"time"

	"mdatp-offline-agent/agent/state"
)

// Step is one decision of a run, in words. Its JSON is part of the program's
// interface.
type Step struct {
	Stage    string `json:"stage"`    // what it is about; see wordings
	Rule     string `json:"rule"`     // of a closed list
	Sentence string `json:"sentence"` // our own words, configuration and numbers, and no bytes from outside
}

// stageChange stands at the end of a chain that did not go as one might wish: what
// would have to change for it to go another way.
const stageChange = "change"

// The rules: what can decide, or be found, in a run. They are written down, so a
// name stays what it is.
const (
	// What is in force.
	ruleLastGood = "last_good"

	// Whether an update is due: what made it so, or what keeps it off.
	ruleByHand          = "by_hand"
	ruleDueNow          = "due_now"
	ruleDueUnfinished   = "due_unfinished"
	ruleDueOtherSource  = "due_other_source"
	ruleDueFirst        = "due_first"
	ruleDueNothing      = "due_nothing_installed"
	ruleDueRetry        = "due_retry"
	ruleDueInterval     = "due_interval"
	ruleNotYet          = "not_yet"
	ruleNeverConfigured = "never_configured"
	ruleDaemonRuns      = "daemon_runs"
	ruleHeld            = "held"
	ruleInhibited       = "inhibited"
	ruleAutomaticOff    = "automatic_off"
	ruleEnforcement     = "enforcement_level"
	ruleNoSource        = "no_source"

	// Which sources there are, and which is asked.
	ruleMirrorOff  = "mirror_off"
	ruleCloudOff   = "cloud_off"
	ruleCloudBack  = "cloud_back"
	ruleCloudUnset = "cloud_unset"
	ruleAsked      = "asked"
	ruleAskedAgain = "asked_again"
	ruleNoOther    = "no_other"

	// What it answered.
	ruleUnchanged  = "unchanged"
	ruleStillThere = "refused_before"
	ruleList       = "list"
	ruleSidecar    = "list_beside"
	ruleSignatures = "vendor_signatures"

	// What follows.
	ruleUpToDate = "up_to_date"
	ruleBehind   = "behind"
	ruleRenewal  = "renewal"
	ruleFirst    = "nothing_installed"
	ruleNewer    = "newer"
	ruleStepDown = "step_down"
	ruleAllowed  = "allowed_downgrade"
	ruleKnownBad = "known_bad"
	ruleFailed   = "failed"

	// What was done.
	rulePlan      = "plan"
	ruleOnDisk    = "on_disk"
	rulePreload   = "preload_good"
	rulePostload  = "postload_good"
	ruleOwed      = "postload_owed"
	ruleActive    = "active"
	ruleExchanged = "list_exchanged"
	ruleFloorDown = "floor_lowered"

	// What was done by hand, without a source.
	ruleRolledBack = "rolled_back"
	ruleRestored   = "restored"
	ruleRepaired   = "repaired"
)

// wording is how a rule is told.
type wording struct {
	stage  string
	words  func(state.Step) string
	change func(state.Step) string // nil: nothing needs to
}

// always is for words that are the same each time.
func always(words string) func(state.Step) string { return func(state.Step) string { return words } }

// wordings is the one place where decisions become words, for every rule there is.
// A sentence goes on behind its stage and a colon.
func wordings() map[string]wording {
	const higher = "a package with a higher version has to be published"
	at := func(s state.Step) string { return s.At.UTC().Format(time.RFC3339) }
	source := func(s state.Step) string { return s.Source }
	return map[string]wording{
		ruleLastGood: {"settings", func(s state.Step) string {
			return "the configuration is broken, and its last good copy is in force; " + failureOf(s).Error()
		}, func(s state.Step) string { return failureOf(s).Hint }},

		ruleByHand:         {"due", always("somebody asked for it by hand, so it need not be due"), nil},
		ruleDueNow:         {"due", always("--now asked not to wait"), nil},
		ruleDueUnfinished:  {"due", always("at once, since the last run was killed before it was done"), nil},
		ruleDueOtherSource: {"due", dueSince("another source is configured than at the last check"), nil},
		ruleDueFirst:       {"due", dueSince("no source was asked yet"), nil},
		ruleDueNothing:     {"due", dueSince("nothing whole is installed, or nobody knows when a source was last asked"), nil},
		ruleDueRetry:       {"due", dueSince("the update before failed"), nil},
		ruleDueInterval: {"due", func(s state.Step) string {
			return dueSince(fmt.Sprintf("the interval is %d seconds", s.Number))(s)
		}, nil},
		ruleNotYet: {"due", func(s state.Step) string { return "the next update is due at " + at(s) },
			always("agent definitions update, without --scheduled, updates at once")},
		ruleNeverConfigured: {"due", always("this machine was never configured for updates"),
			always("antivirusEngine.offlineDefinitionUpdate has to be enabled, and offlineDefinitionUpdateUrl to name the mirror's ring")},
		ruleDaemonRuns: {"due", always("the daemon runs, and updates when that is due"), nil},
		ruleHeld: {"due", func(s state.Step) string { return "updates are held since " + at(s) },
			always("agent definitions unhold lets them go on")},
		ruleInhibited: {"due", func(s state.Step) string { return "updates are inhibited by a file in " + s.Text },
			func(s state.Step) string { return "the files in " + s.Text + " have to go" }},
		ruleAutomaticOff: {"due", always("cloudService.automaticDefinitionUpdateEnabled is false"),
			always("cloudService.automaticDefinitionUpdateEnabled has to be true")},
		ruleEnforcement: {"due", func(s state.Step) string {
			return "antivirusEngine.enforcementLevel is " + s.Text + ", and periodic updates need real_time"
		}, always("antivirusEngine.enforcementLevel has to be real_time or audit, or be left out")},
		ruleNoSource: {"due", always("antivirusEngine.offlineDefinitionUpdate is disabled and agent.cloudUrl is not set"),
			always("antivirusEngine.offlineDefinitionUpdate has to be enabled, or agent.cloudUrl to be set")},

		ruleMirrorOff:  {"source", always("the mirror is not asked, since antivirusEngine.offlineDefinitionUpdate is disabled"), nil},
		ruleCloudOff:   {"source", always("the cloud is not asked, since antivirusEngine.offlineDefinitionUpdateFallbackToCloud is false"), nil},
		ruleCloudBack:  {"source", always("the cloud is not asked, since a URL that ends in _back asks for the older package"), nil},
		ruleCloudUnset: {"source", always("the cloud is not asked, since agent.cloudUrl is not set and what the vendor publishes carries no signed list"), nil},
		ruleAsked:      {"source", source, nil},
		ruleAskedAgain: {"source", always("the package was replaced while it was read, so it is asked once more"), nil},
		ruleNoOther:    {"source", always("no other is asked, since what failed is this machine's own"), nil},

		ruleUnchanged:  {"answer", always("nothing has changed there since the last time"), nil},
		ruleStillThere: {"answer", always("nothing has changed there since the package was refused"), nil},
		ruleList:       {"answer", func(s state.Step) string { return "definitions " + s.Version + ", issued " + at(s) }, nil},
		ruleSidecar: {"answer", func(s state.Step) string {
			return "definitions " + s.Version + ", issued " + at(s) + ", by a list beside the package"
		}, nil},

		ruleSignatures: {"answer", func(s state.Step) string {
			return "definitions " + s.Version + ", by the vendor's signatures, the newest of them of " + at(s)
		}, nil},

		ruleUpToDate: {"why", func(s state.Step) string { return "the package is the installed one" }, func(s state.Step) string {
			if !s.At.IsZero() {
				return "the list of the package" + ended(s.At) + ", so it has to be renewed, or " + higher
			}
			return "for newer definitions, " + higher
		}},
		ruleBehind: {"why", func(s state.Step) string {
			return "the package is older than " + s.Than + ", which this machine has accepted before, and this source never served a newer one"
		}, func(s state.Step) string {
			return "the source has to come up to " + s.Than + "; agent definitions update --allow-downgrade " + s.Version + " takes the older package"
		}},
		ruleRenewal:  {"why", always("the content is the installed one, with a later list"), nil},
		ruleFirst:    {"why", always("nothing whole is installed"), nil},
		ruleNewer:    {"why", always("the package is newer than the installed one, and not older than any that was accepted"), nil},
		ruleStepDown: {"why", always("the package is older than what was accepted before, by consent of the URL that ends in _back"), nil},
		ruleAllowed:  {"why", always("the package is older than what was accepted before, by consent of --allow-downgrade"), nil},
		ruleKnownBad: {"why", func(s state.Step) string {
			return "definitions " + s.Version + " are known bad since " + at(s) + ", " + s.Text
		}, nil},
		ruleFailed: {"why", func(s state.Step) string { return failureOf(s).Error() }, func(s state.Step) string { return failureOf(s).Hint }},

		rulePlan: {"at hand", func(s state.Step) string {
			return fmt.Sprintf("%d of %d files; to fetch: %d bytes, inflated", s.Number, s.Of, s.Bytes)
		}, nil},
		ruleOnDisk:    {"at hand", always("the whole set, so nothing is fetched"), nil},
		rulePreload:   {"hook", always(preloadHook + " finds the definitions good"), nil},
		rulePostload:  {"hook", always(postloadHook + " has taken the definitions"), nil},
		ruleOwed:      {"hook", always(postloadHook + " has not taken the active definitions yet, and is told again"), nil},
		ruleActive:    {"done", func(s state.Step) string { return "definitions " + s.Version + " are active" }, nil},
		ruleExchanged: {"done", always("the list was exchanged, and the files stay what they are"), nil},
		ruleFloorDown: {"done", func(s state.Step) string { return "nothing older than " + s.Version + " is accepted from now on" }, nil},

		ruleRolledBack: {"why", always("somebody went back by hand, and what was left does not come back by itself"),
			always(higher + ", or agent definitions update --retry-known-bad takes back what was left")},
		ruleRestored: {"why", always("somebody went back by hand to what the machine was shipped with"),
			always("the next update goes forward again; agent definitions hold keeps it from that")},
		ruleRepaired: {"why", always("somebody had the sets repaired by hand, and the active one was mended or left"), nil},
	}
}

// dueSince says when an update was due, or will be, and why then.
func dueSince(since string) func(state.Step) string {
	return func(s state.Step) string { return "at " + s.At.UTC().Format(time.RFC3339) + ", since " + since }
}

// steps says what of the configuration decides beside its settings: that it is broken.
func (c configuration) steps() []state.Step {
	if c.broken == nil {
		return nil
	}
	return []state.Step{{Rule: ruleLastGood, Failure: (*state.Failure)(Explain(c.broken))}}
}

// failedStep is the step of an error that ended an attempt or a run.
func failedStep(err error) state.Step {
	return state.Step{Rule: ruleFailed, Failure: (*state.Failure)(Explain(err))}
}

// failureOf is the failure of a step; a record that somebody changed may have none.
func failureOf(s state.Step) *Failure {
	if s.Failure == nil {
		return &Failure{Code: codeInternal, Message: "the record does not say what failed"}
	}
	return (*Failure)(s.Failure)
}

// sentence is a step in words, without its stage.
func sentence(s state.Step) string { return tell(s).Sentence }

// tell puts a step into words.
func tell(s state.Step) Step {
	w, ok := wordings()[s.Rule]
	if !ok {
		return Step{Stage: "other", Rule: s.Rule, Sentence: "something that this version of the program does not know"}
	}
	return Step{Stage: w.stage, Rule: s.Rule, Sentence: w.words(s)}
}

// changing is what would have to change so that a step goes another way; empty where
// nothing needs to.
func changing(s state.Step) string {
	if w := wordings()[s.Rule]; w.change != nil {
		return w.change(s)
	}
	return ""
}

// chain puts the steps of a run into words: what was decided, and behind it what would
// have to change, for each step that leaves something to wish for.
func chain(steps []state.Step) []Step {
	told, changes := []Step{}, []Step(nil)
	for _, s := range steps {
		told = append(told, tell(s))
		change := Step{Stage: stageChange, Rule: s.Rule, Sentence: changing(s)}
		if change.Sentence != "" && !slices.Contains(changes, change) {
			changes = append(changes, change)
		}
	}
	return append(told, changes...)
}

// Line is a step as a text shows it.
func (s Step) Line() string { return s.Stage + ": " + s.Sentence }
