package health

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"mdatp-offline-agent/printable"
)

// What a check may say, which are the exit codes of Nagios plug-ins. Their 3,
// unknown, is not among them: that this agent can't tell is critical.
const (
	CheckOK       = 0
	CheckWarning  = 1 // protected, but somebody should look
	CheckCritical = 2 // not protected, or not for certain
)

// checkLate is how long a periodic update may be overdue. No interval is
// longer than a day, so that nobody runs them if one is as late as that.
const checkLate = 24 * time.Hour

// maxCheckText bounds the part of the line that people read, in characters, so
// that transports that cut long answers leave the numbers behind it whole.
const maxCheckText = 600

// Check judges the facts as a Nagios plug-in does. It gives CheckOK,
// CheckWarning or CheckCritical, and one line without a newline: the state, what
// led to it with the worst first, and behind a bar, the only one, the numbers.
//
// Unlike Status it looks at everything, so that an update at work hides no old
// definitions, and it warns before they are too old.
func Check(f Facts) (exit int, line string) {
	found := slices.Concat(inDanger(f), attempts(f), neglected(f), endings(f))
	slices.SortStableFunc(found, func(a, b finding) int { return cmp.Compare(b.level, a.level) })
	var parts []string
	for _, finding := range found {
		exit = max(exit, finding.level)
		parts = append(parts, finding.text)
	}
	text := oneLine(strings.Join(append(parts, remarks(f)...), "; "))
	return exit, "DEFINITIONS " + checkWord(exit) + " - " + text + " | " + numbers(f)
}

// checkWord is how the line names a state.
func checkWord(exit int) string {
	switch exit {
	case CheckOK:
		return "OK"
	case CheckWarning:
		return "WARNING"
	default:
		return "CRITICAL"
	}
}

// finding is one thing that is not as it should be.
type finding struct {
	level int // CheckWarning or CheckCritical
	text  string
}

// inDanger finds what is wrong with the installed set itself.
func inDanger(f Facts) []finding {
	switch {
	case f.Installed == nil:
		return []finding{{CheckCritical, "nothing valid is installed"}}
	case expired(f):
		return []finding{{CheckCritical, "the definitions have expired"}}
	case outOfDate(f):
		return []finding{{CheckCritical, "the definitions are out of date, " + printable.Span(f.Due) + " are allowed"}}
	case age(f) > ageing(f.Due):
		return []finding{{CheckWarning, "the definitions will soon be out of date, " + printable.Span(f.Due) + " are allowed"}}
	}
	return nil
}

// attempts finds what was wrong with the last attempt. As long as the installed
// set is whole and young, a failure is a warning: the next attempt may mend it,
// and if none does, age makes it critical. It is critical at once where the set
// itself is in doubt.
func attempts(f Facts) []finding {
	switch {
	case f.UpdateFailed && f.Failure != nil && slices.Contains([]string{"signer_revoked", "set_damaged"}, f.Failure.Code):
		return []finding{{CheckCritical, f.Failure.String()}}
	case f.Installed == nil && f.Failure != nil: // why nothing is valid, which need not be the last update's fault
		return []finding{{CheckWarning, f.Failure.String()}}
	case f.UpdateFailed:
		return []finding{{CheckWarning, because("the last update failed", f.Failure)}}
	case f.Fallback:
		return []finding{{CheckWarning, because("the fallback is in use", f.Failure)}}
	case f.Failure != nil:
		return []finding{{CheckWarning, f.Failure.String()}}
	}
	return nil
}

// because adds the reason where it is known.
func because(what string, why *Failure) string {
	if why == nil {
		return what
	}
	return what + ", " + why.String()
}

// neglected finds what keeps this machine from noticing trouble by itself.
func neglected(f Facts) (found []finding) {
	if slices.Contains(f.Notes, NoteClockWrong) { // and by it nothing can be told to be late
		return []finding{{CheckWarning, "the clock is wrong"}}
	}
	if late := f.Now.Sub(f.NextCheck); !f.NextCheck.IsZero() && late > checkLate {
		found = append(found, finding{CheckWarning, "a periodic update was due " + printable.Span(late) + " ago and nobody made it"})
	}
	return found
}

// endings finds what ends soon, of which nobody need have noticed anything so far.
func endings(f Facts) (found []finding) {
	for _, text := range warnings(f) {
		found = append(found, finding{CheckWarning, text})
	}
	return found
}

// remarks are what is worth knowing in any state.
func remarks(f Facts) (parts []string) {
	if f.Installed != nil && !f.Installed.Released.IsZero() {
		parts = append(parts, f.Installed.DefinitionVersion+", released "+printable.Span(age(f))+" ago")
	}
	if f.Updating {
		parts = append(parts, "an update is at work")
	}
	if f.Rule != "" {
		parts = append(parts, "no periodic updates, since "+f.Rule)
	}
	return parts
}

// age is how old the installed content is; a clock that was set back gives 0.
func age(f Facts) time.Duration { return max(0, f.Now.Sub(f.Installed.Released)) }

// ageing is the age from which on definitions are old enough to warn of. A
// mirror that nobody feeds any more fails in no other way until it is too late.
func ageing(due time.Duration) time.Duration { return due / 4 * 3 }

// numbers gives the performance data: label, value with its unit, the limits of
// warning and critical, and the least value. All are seconds, the one unit of
// time that plug-ins have; U is what can't be known.
func numbers(f Facts) string {
	seconds := func(d time.Duration) string { return fmt.Sprintf("%d", int64(d/time.Second)) }
	current, success := "U", "U"
	if f.Installed != nil && !f.Installed.Released.IsZero() {
		current = seconds(age(f)) + "s"
	}
	if !f.LastSuccess.IsZero() {
		success = seconds(max(0, f.Now.Sub(f.LastSuccess))) + "s"
	}
	return "age=" + current + ";" + seconds(ageing(f.Due)) + ";" + seconds(f.Due) + ";0 since_success=" + success + ";;;0"
}

// oneLine makes text safe for the line, where a bar begins the numbers.
func oneLine(text string) string {
	return printable.Text(strings.ReplaceAll(text, "|", "?"), maxCheckText)
}
