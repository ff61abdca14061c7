package mirror

import (
	"crypto/x509"
	"fmt"
	"time"

	"mdatp-offline-agent/verifier"
)

// What counts as a leap of a version: another first number, or a second number
// that grows by more than this. The second number of definitions moves slowly and
// that of engines hardly ever; the third and fourth may jump as they like.
// Endpoints never go back below what they accepted, so one typing error in a
// leading number would shut every later package out.
const maxVersionStep = 100

// clockSlack is how far ahead of our clock a list may be issued. An endpoint
// allows verifier.ClockTolerance, measured with its own clock.
const clockSlack = verifier.ClockTolerance

// ahead says whether a list is issued so late that no endpoint takes it yet. Its date is
// then no reason to issue the next one later still.
func ahead(l *verifier.List, now time.Time) bool { return l.Issued.After(now.Add(clockSlack)) }

// checkDates refuses a list whose times no endpoint would accept now.
func checkDates(l *verifier.List, now time.Time) error {
	switch {
	case !l.Issued.Before(l.Expires):
		return usage("the list would expire before it is issued", "give a later --expires", nil)
	case l.Released.After(l.Issued):
		return usage("the content would be released after its list is issued", "give an earlier --released, or a later --issued", nil)
	case !now.Before(l.Expires):
		return usage("the list has expired already", "give a later --expires", nil)
	case ahead(l, now):
		return usage("the list would be issued more than a day in the future", "check the clock, --issued and SOURCE_DATE_EPOCH", nil)
	}
	return nil
}

// checkSuccession refuses a list that endpoints which have the previous one
// would refuse, or after which they would refuse the next. force takes back
// what is only probably a mistake; a list that is not newer helps nobody.
func checkSuccession(l, previous *verifier.List, force bool) error {
	if previous == nil {
		return nil
	}
	if err := checkLater(l, previous, "give a later --issued"); err != nil || force {
		return err
	}
	return checkStep(l, previous)
}

func checkLater(l, previous *verifier.List, hint string) error {
	if l.Issued.After(previous.Issued) {
		return nil
	}
	return usage("the list is not issued after the one that it replaces, of "+previous.Issued.Format(verifier.TimeFormat), hint, nil)
}

// checkStep is the part of checkSuccession that asks no dates.
func checkStep(l, previous *verifier.List) error {
	if l.Product != previous.Product || l.Platform != previous.Platform || l.Arch != previous.Arch {
		return usage("the package that would be replaced is for another product, platform or architecture", "check --out, or give --force", nil)
	}
	for _, v := range []struct {
		what     string
		new, old verifier.Version
	}{{"definition", l.Definition, previous.Definition}, {"engine", l.Engine, previous.Engine}} {
		if err := checkVersion(v.what, v.new, v.old); err != nil {
			return err
		}
	}
	return nil
}

func checkVersion(what string, v, old verifier.Version) error {
	if v.Compare(old) < 0 {
		return usage(fmt.Sprintf("the %s version %s is below %s, which it would replace", what, v, old),
			"endpoints refuse to go back, so give a higher version, or --force for a ring that is meant to step down", nil)
	}
	if v[0] != old[0] || v[1]-old[1] > maxVersionStep {
		return usage(fmt.Sprintf("the %s version leaps from %s to %s", what, old, v),
			"endpoints never go back from there, so check the version, and give --force if it is right", nil)
	}
	return nil
}

// checkChainEnd refuses a list that would outlive a certificate of its signer:
// endpoints check the chain at their own time, so the package would become
// uninstallable before it says so.
func checkChainEnd(l *verifier.List, chain []*x509.Certificate) error {
	for _, c := range chain {
		if l.Expires.After(c.NotAfter) {
			return usage("the list would expire after a certificate of its signer, which ends "+c.NotAfter.UTC().Format(verifier.TimeFormat),
				"give an earlier --expires, or renew the certificate", nil)
		}
	}
	return nil
}
