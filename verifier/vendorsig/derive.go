package vendorsig

import (
	"crypto/x509"
	"maps"
	"slices"
	"strings"
	"time"

	"mdatp-offline-agent/verifier"
)

// Unstated stands in a derived list for what no signature of the vendor's says.
const Unstated = "unknown"

// Derived gives the list that the files prove, which nobody signed, and the chains of
// those by whose word it is as new as it says: of the signer of the newest file and,
// behind it, where that is somebody else, of the newest definitions that have the
// list's version. The same files give the same list, whenever they are judged. Its product
// and ring are unknown, and the version of the engine is zero, since none of the files
// states it. It was released when its newest definitions were, and issued when its newest
// file was; it does not expire.
func (c Content) Derived(files []verifier.File) (*verifier.List, []*x509.Certificate) {
	l := &verifier.List{VendorSigned: c.ID(), Product: Unstated, Platform: verifier.Linux, Arch: c.Arch, Rings: []string{Unstated}, Definition: c.Definition, Expires: never()}
	var chain, carrier []*x509.Certificate // of the newest file, and of the newest that has the version
	var carried time.Time
	for _, name := range slices.Sorted(maps.Keys(c.Claims)) {
		claim := c.Claims[name]
		made := claim.made()
		if made.After(l.Issued) {
			l.Issued, chain = made, claim.Chain
		}
		if IsDefinitions(name) && made.After(l.Released) {
			l.Released = made
		}
		if IsDefinitions(name) && claim.Version == c.Definition && made.After(carried) {
			carried, carrier = made, claim.Chain
		}
	}
	l.Files = slices.SortedFunc(slices.Values(files), func(a, b verifier.File) int { return strings.Compare(a.Name, b.Name) })
	if len(carrier) > 0 && !carrier[0].Equal(chain[0]) {
		chain = slices.Concat(chain, carrier)
	}
	return l, chain
}

// made is when the file was signed, as far as that is proved: the time of its stamp or,
// where it has none, when its signer's certificate began. Who leaves the stamp away
// gains nothing by that, since the file counts as old.
func (c Claim) made() time.Time {
	at := c.Time
	if at.IsZero() && len(c.Chain) > 0 {
		at = c.Chain[0].NotBefore
	}
	return at.UTC().Truncate(time.Second)
}

// never is how a derived list writes that it does not expire.
func never() time.Time { return time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) }

// IsDerived tells a derived list from one that somebody signed, which names a product.
func IsDerived(l *verifier.List) bool { return l.Product == Unstated }

// Expires is when a list expires; zero where it is derived, and does not.
func Expires(l *verifier.List) time.Time {
	if IsDerived(l) {
		return time.Time{}
	}
	return l.Expires
}
