package verifier

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// Identity is what a package must be to belong on this endpoint.
type Identity struct{ Product, Platform, Arch, Ring string }

// Linux is what packages for Linux endpoints name as their platform, wherever they
// are made.
const Linux = "linux"

// HostArch is the architecture of this machine as mirrors spell it.
func HostArch() string {
	if runtime.GOARCH == "amd64" {
		return "x86_64"
	}
	return runtime.GOARCH
}

// CheckIdentity refuses a list made for something else: wrong_product, or
// wrong_platform for platform, architecture and ring.
func (l *List) CheckIdentity(want Identity) error {
	switch {
	case l.Product != want.Product:
		return refuse(WrongProduct, "the package is not for the product "+want.Product, "check the mirror, or agent.product in the configuration")
	case l.Platform != want.Platform:
		return refuse(WrongPlatform, "the package is not for "+want.Platform, "the mirror holds a package of another platform here, so publish the right one")
	case l.Arch != want.Arch:
		return refuse(WrongPlatform, "the package is not for the architecture "+want.Arch, "the mirror holds a package of another architecture below arch_"+want.Arch+", so publish the right one")
	case !slices.Contains(l.Rings, want.Ring):
		return refuse(WrongPlatform, "the package is not for the ring "+want.Ring, "publish it with agent package build --ring "+want.Ring+", or check the URL's last element and agent.ring")
	}
	return nil
}

// Clock is the endpoint's idea of the time. A machine may wake up in 1970, so
// the clock is not believed below what signed packages and the program itself
// prove.
type Clock struct {
	Time  time.Time // the latest of the clock, the floor's issue and the build
	Wrong bool      // the clock is more than ClockTolerance behind that
}

// NewClock combines the machine's clock with the floor's time of issue and the
// program's time of build; the latter two may be zero.
func NewClock(now, floorIssued, built time.Time) Clock {
	t := later(now, later(floorIssued, built))
	return Clock{Time: t, Wrong: t.Sub(now) > ClockTolerance}
}

// CheckIssued refuses a list that was signed in the future (issued_in_future),
// unless it is the clock that is wrong.
func (c Clock) CheckIssued(l *List) error {
	if c.Wrong || !l.Issued.After(c.Time.Add(ClockTolerance)) {
		return nil
	}
	return refuse(IssuedInFuture, "the package is dated more than a day in the future", "check the clock of this machine and of the one that signs")
}

// Floor is the greatest package ever accepted. Its zero value is below all.
type Floor struct {
	Definition Version   `json:"definitionVersion"`
	Engine     Version   `json:"engineVersion"`
	Issued     time.Time `json:"issued"`
}

// FloorOf is the floor that a list sets.
func FloorOf(l *List) Floor { return Floor{l.Definition, l.Engine, l.Issued} }

// Compare orders by definition version, then engine version, then issue.
func (f Floor) Compare(g Floor) int {
	return cmp.Or(f.Definition.Compare(g.Definition), f.Engine.Compare(g.Engine), f.Issued.Compare(g.Issued))
}

// Situation is what a package is compared with.
type Situation struct {
	Current      *List // C, the list in current; nil where that is missing or damaged
	Revoked      bool  // C is of a signer who is revoked since
	Floor        Floor // F
	Minimum      Version
	ServedBefore Floor // the greatest that this very source served
	KnownBad     map[ContentID]bool
	Now          time.Time // as Clock has it

	// What a person or the configuration consents to.
	AllowDowngrade Version // this version may be below the floor
	StepDown       bool    // one step below the floor, since the URL ends in _back
	AllowExpired   bool
	RetryKnownBad  bool
}

// Verdict is what follows for a package from a Situation.
type Verdict string

// The verdicts. A Downgrade is an install that the floor would forbid.
const (
	UpToDate  Verdict = "up to date"
	Renewal   Verdict = "renewal"
	Behind    Verdict = "behind"
	Install   Verdict = "install"
	Downgrade Verdict = "downgrade"
)

// Judge compares the package p with what is installed and what was accepted
// before, by the rules in docs/package-format.md under "Newer or older", in
// their order. Refusals: known_bad, rollback_refused, package_expired.
func Judge(p Signed, s Situation) (Verdict, error) {
	if c := s.Current; c != nil && p.List.Definition == c.Definition && p.List.Engine == c.Engine {
		switch same := p.List.Content() == c.Content(); {
		case same && (p.List.Issued.After(c.Issued) || s.Revoked):
			return Renewal, nil
		case same, p.List.SameContent(c) && !s.Revoked: // what is different, nobody signed
			return UpToDate, nil
		}
	}
	if slices.ContainsFunc(p.List.ContentIDs(), func(id ContentID) bool { return s.KnownBad[id] }) && !s.RetryKnownBad {
		return "", refuse(KnownBadContent, "this package was rolled back or condemned on this machine before",
			"a newer package comes by itself, and agent definitions update --retry-known-bad asks for this one")
	}
	verdict, err := s.compareFloor(FloorOf(p.List))
	if err != nil || verdict == Behind {
		return verdict, err
	}
	if s.Current == nil && !s.AllowExpired && s.Now.After(p.List.Expires) {
		return "", refuse(PackageExpired, "the package has expired and nothing is installed that it could replace",
			"publish a current package, or install this one with agent definitions update --allow-expired")
	}
	return verdict, nil
}

// compareFloor is the third and the fourth rule.
func (s Situation) compareFloor(p Floor) (Verdict, error) {
	named := !s.AllowDowngrade.IsZero() && s.AllowDowngrade == p.Definition
	if p.Definition.Compare(s.Minimum) < 0 {
		const hint = "agent.minDefinitionVersion in the configuration forbids it"
		if named { // no flag goes below it, and who tries is told
			return "", refuse(RollbackRefused, s.older(p), hint)
		}
		return s.tooOld(p, hint)
	}
	if p.Compare(s.Floor) >= 0 {
		return Install, nil
	}
	if s.StepDown || named {
		return Downgrade, nil
	}
	return s.tooOld(p, "agent definitions update --allow-downgrade "+p.Definition.String()+" installs it all the same")
}

// tooOld tells a source that goes backwards, which is an attack or a mistake,
// from one that is merely behind, as a mirror is after a fallback to the cloud.
// With nothing installed there is nothing to be content with.
func (s Situation) tooOld(p Floor, hint string) (Verdict, error) {
	if p.Compare(s.ServedBefore) >= 0 && s.Current != nil {
		return Behind, nil
	}
	return "", refuse(RollbackRefused, s.older(p), hint)
}

// older says what of the package is older than what. Definitions decide first,
// so that the rest is only named where they are equal.
func (s Situation) older(p Floor) string {
	const accepted = ", which this machine has accepted before"
	switch {
	case p.Definition.Compare(s.Minimum) < 0:
		return fmt.Sprintf("the package %s is older than %s, the least that the configuration allows", p.Definition, s.Minimum)
	case p.Definition != s.Floor.Definition:
		return fmt.Sprintf("the package %s is older than %s", p.Definition, s.Floor.Definition) + accepted
	case p.Engine != s.Floor.Engine:
		return fmt.Sprintf("the package's engine %s is older than %s", p.Engine, s.Floor.Engine) + accepted
	}
	return fmt.Sprintf("the package was issued at %s, before %s", p.Issued.UTC().Format(TimeFormat), s.Floor.Issued.UTC().Format(TimeFormat)) + accepted
}
