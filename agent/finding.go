package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/manifest"
	"mdatp-offline-agent/health"
	"mdatp-offline-agent/verifier"
)

// The states of a test, from good to bad. A warning is something that is wrong and
// keeps no update from working.
const (
	TestOK      = "ok"
	TestWarning = "warning"
	TestFailed  = "failed"
)

// The stages of a test beside those of a connection ([source.Stage]), in their order.
const (
	stageConfiguration = "configuration" // what this machine needs to ask at all
	stagePath          = "path"          // the place, and the right to read there
	stagePackage       = "package"       // what lies there
	stageSignature     = "signature"     // and who signed it
)

// Finding is one thing that is wrong with a source.
type Finding struct {
	Stage   string `json:"stage"`
	Code    string `json:"code"` // empty: a warning
	Message string `json:"message"`
	Hint    string `json:"hint"`
	Seen    string `json:"seen"` // what the other side said of itself, fit to be shown; empty: nothing
}

// answer is what one place answered when it was tested, and what it is judged by.
type answer struct {
	err       error              // why an update from there would not work; nil: it would
	refused   *Failure           // why the last update refused the very same, for what only its files show; nil: it did not
	list      *verifier.List     // what it offers, where that is authentic; else nil
	verdict   verifier.Verdict   // on that
	page      bool               // what lies there begins as a web page does
	whole     bool               // it came whole, although its end was wanted
	beside    *manifest.Manifest // what manifest.json says; nil: nobody knows
	besideErr error              // why that can not be understood
	elsewhere string             // what to do, where the package lies in another place
	server    time.Time          // what time the server says it is; zero: it doesn't say so
	asked     time.Time          // and what time it was here

	directory bool           // it is no server
	within    time.Duration  // for all of the test
	clock     verifier.Clock // this machine's
	due       time.Duration  // the age that definitions may have
}

// findings says what is wrong, what keeps updates from working first. It looks at
// nothing but the answer.
func (a answer) findings() []Finding {
	all := []Finding{}
	if a.err != nil {
		all = append(all, a.failure())
	} else {
		all = append(all, slices.Concat(a.age(), a.torn(), a.refusedBefore())...)
	}
	if a.whole && !a.page && a.err == nil {
		all = append(all, wholeOnly("it was small enough to be looked at all the same"))
	}
	return append(all, a.clocks()...)
}

// failure is why an update would not work.
func (a answer) failure() Finding {
	const look = "fetch the URL by hand and look at it; a proxy or a captive network may answer in place of the mirror, or an error page was stored when the mirror was filled, which curl -f prevents"
	switch {
	case a.page:
		return Finding{Stage: stagePackage, Code: string(verifier.NotAPackage), Message: "a web page lies where the package should be", Hint: look}
	case errors.Is(a.err, errOnlyWhole):
		return wholeOnly("only its beginning was looked at, which is that of an archive")
	case errors.Is(a.err, context.DeadlineExceeded) && !isSourceError(a.err):
		return Finding{Stage: a.stage(source.CodeStalled), Code: source.CodeStalled, Message: "there was no whole answer within " + a.within.String(),
			Hint: "check the line to the server, its load, and proxies between"}
	}
	why := Explain(a.err)
	f := Finding{Stage: a.stage(why.Code), Code: why.Code, Message: why.Message, Hint: cmp.Or(a.elsewhere, why.Hint)}
	var failed *source.Error
	if errors.As(a.err, &failed) && failed.Issuer != "" {
		f.Seen = "a certificate issued by " + failed.Issuer
	}
	return f
}

func isSourceError(err error) bool {
	var failed *source.Error
	return errors.As(err, &failed)
}

// stage is how far the test got when it failed with a code.
func (a answer) stage(code string) string {
	var failed *source.Error
	switch {
	case errors.As(a.err, &failed) && failed.Stage != "":
		return string(failed.Stage)
	case code == source.CodeNotFound, code == source.CodeForbidden:
		return stagePath
	case code == source.CodeTooLarge, code == source.CodeChanged:
		return stagePackage
	case slices.Contains(source.Codes(), code):
		if a.directory {
			return stagePath
		}
		return string(source.StageHTTP)
	case strings.HasPrefix(code, "signature_"), strings.HasPrefix(code, "signer_"), strings.HasPrefix(code, "trust_"), code == string(verifier.ListMalformed):
		return stageSignature
	case ExitCode(code) != ExitCode(string(verifier.NotAPackage)): // this machine's fault
		return stageConfiguration
	}
	return stagePackage
}

// wholeOnly is about a server that knows no ranges. Updates from it work.
func wholeOnly(so string) Finding {
	return Finding{Stage: string(source.StageHTTP), Message: "the server sends a whole package where only its end was asked for, and " + so,
		Hint: "each look for news fetches the whole package from it, so serve the mirror by a server that knows ranges, such as nginx or agent mirror serve, and let no proxy between take them away"}
}

// age is about a mirror that is not filled any more. What it has can't be told where
// that shows only once all of it is here.
func (a answer) age() []Finding {
	if a.list == nil {
		return nil
	}
	now, l := a.clock.Time, a.list
	offered := health.Facts{Now: now, Due: a.due, Installed: healthInstalled(&installed{signed: verifier.Signed{List: l}})}
	if end := health.ListEnded(offered); !end.IsZero() {
		return []Finding{{Stage: stagePackage, Code: codeStale, Message: "the signed list of the newest package there" + ended(end), Hint: hintEnded}}
	}
	if health.Status(offered) == health.OutOfDate {
		return []Finding{{Stage: stagePackage, Code: codeStale, Hint: hintStale,
			Message: fmt.Sprintf("the newest package there was released %d days ago, and %d are the most", days(now.Sub(l.Released)), days(a.due))}}
	}
	if a.verdict == verifier.Behind {
		return []Finding{{Stage: stagePackage, Message: fmt.Sprintf("the package there, %s, is older than what this machine has accepted", l.Definition),
			Hint: "after an update from the cloud that passes when the mirror is filled again; if it does not, look whether the job that fills it still runs"}}
	}
	return nil
}

// refusedBefore is about what this test can't see, and an update has seen.
func (a answer) refusedBefore() []Finding {
	if a.refused == nil {
		return nil
	}
	return []Finding{{Stage: stagePackage, Message: "the last update refused this very package, " + a.refused.Error(), Hint: a.refused.Hint}}
}

func days(d time.Duration) int { return int(d / (24 * time.Hour)) }

// torn is about a package and a manifest that are not of one version. Nothing here
// goes by the manifest, but the vendor's own tools do.
func (a answer) torn() []Finding {
	const hint = "publish both anew; if that comes again, whatever fills the mirror exchanges one after the other, and is stopped between"
	switch m := a.beside; {
	case a.besideErr != nil:
		return []Finding{{Stage: stagePackage, Message: "the manifest.json beside the package can not be understood", Hint: hint}}
	case m == nil, m.Definition == a.list.Definition && m.Engine == a.list.Engine:
		return nil
	default:
		return []Finding{{Stage: stagePackage, Hint: hint, Message: fmt.Sprintf("the manifest.json beside the package is of definitions %s and engine %s, and the package of %s and %s",
			m.Definition, m.Engine, a.list.Definition, a.list.Engine)}}
	}
}

// apartClocks is how far two clocks may be apart before it is worth a word: a wrong
// zone shows, and a slow answer does not.
const apartClocks = 30 * time.Minute

// farClocks is how far two clocks may be apart for the distance to be worth a number.
const farClocks = 5 * 365 * 24 * time.Hour

// clocks is about the time here and there.
func (a answer) clocks() []Finding {
	off := a.server.Sub(a.asked)
	if a.server.IsZero() || off.Abs() < apartClocks {
		return nil
	}
	message := "this machine's clock and the server's are years apart"
	switch by := off.Abs().Round(time.Minute); {
	case by > farClocks:
	case off > 0:
		message = fmt.Sprintf("this machine's clock is %s behind the server's", by)
	default:
		message = fmt.Sprintf("this machine's clock is %s ahead of the server's", by)
	}
	return []Finding{{Stage: string(source.StageHTTP), Message: message, Hint: "set the one that is wrong, best by NTP; certificates and the age of packages are judged by this machine's"}}
}

// describe fills in what follows from an answer.
func (t *Tested) describe(a answer) {
	t.Findings = a.findings()
	t.State = stateOf(t.Findings)
	if a.list == nil {
		return
	}
	definitions, engine := a.list.Definition.String(), engineText(a.list)
	t.Definitions, t.Engine, t.Released, t.Issued, t.Expires = &definitions, &engine, &a.list.Released, &a.list.Issued, &a.list.Expires
	if a.verdict != "" {
		words := map[verifier.Verdict]string{verifier.UpToDate: "upToDate", verifier.Renewal: "renewal", verifier.Behind: "behind", verifier.Install: "install", verifier.Downgrade: "downgrade"}
		verdict := words[a.verdict]
		t.Verdict = &verdict
	}
}

// stateOf is the state that findings make.
func stateOf(findings []Finding) string {
	switch {
	case slices.ContainsFunc(findings, func(f Finding) bool { return f.Code != "" }):
		return TestFailed
	case len(findings) > 0:
		return TestWarning
	}
	return TestOK
}

// summedUp is the result with the state and the reason of all tests.
func (c Connectivity) summedUp() Connectivity {
	var all []Finding
	for _, t := range c.Tests {
		all = append(all, t.Findings...)
	}
	c.State = stateOf(all)
	if i := slices.IndexFunc(all, func(f Finding) bool { return f.Code != "" }); i >= 0 {
		c.FailReason = &Failure{all[i].Code, all[i].Message, all[i].Hint}
	}
	return c
}

// notAsked says which source is not tested, and why.
func notAsked(d Decision) []string {
	notes := []string{}
	for _, step := range d.where {
		notes = append(notes, sentence(step))
	}
	return notes
}
