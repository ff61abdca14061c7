package verifier

import (
	"fmt"
	"slices"
	"time"
)

// Object is what ends.
type Object string

// What a package's trust rests on. Each of them ends by itself, without anybody
// having done anything wrong.
const (
	EndOfSigner       Object = "signer"       // the leaf, whose key signs the lists
	EndOfIntermediate Object = "intermediate" // a CA between leaf and root
	EndOfRoot         Object = "root"         // the chain's last certificate, in the trust directory
	EndOfCRL          Object = "crl"          // a revocation list in the trust directory
	EndOfList         Object = "list"         // the signed list
)

// Side is who has to act.
type Side string

// The mirror's side makes and signs packages; the endpoint's side keeps its trust
// directory.
const (
	MirrorSide   Side = "mirror"
	EndpointSide Side = "endpoint"
)

// warnAhead is how long before an end the warning begins, at the most.
const warnAhead = 30 * 24 * time.Hour

// Ending is the time until which one object holds. What holds for ever has none.
type Ending struct {
	Object Object
	File   string // of the trust directory, for a revocation list; else empty
	Begin  time.Time
	End    time.Time
}

// Ends gives the earliest end of each kind of object behind a verified list, in
// the order of the constants: of its chain, of the list itself, and of the trust
// directory's revocation lists. It judges nothing, and needs no clock.
func (t Trust) Ends(s Signed) []Ending {
	var all []Ending
	for i, c := range s.Chain {
		object := EndOfIntermediate
		switch i {
		case 0:
			object = EndOfSigner
		case len(s.Chain) - 1:
			object = EndOfRoot
		}
		all = append(all, Ending{Object: object, Begin: c.NotBefore, End: c.NotAfter})
	}
	all = append(all, t.crlEnds(func(r revocations) bool { return slices.ContainsFunc(s.Chain, r.verifies) })...)
	all = append(all, Ending{Object: EndOfList, Begin: s.List.Issued, End: s.List.Expires})
	return earliest(all)
}

// OwnEnds gives the earliest end of a root and of a revocation list in the trust
// directory, for a machine that has no verified list yet: what comes may rest on any.
func (t Trust) OwnEnds() []Ending {
	var all []Ending
	for _, c := range t.roots {
		all = append(all, Ending{Object: EndOfRoot, Begin: c.NotBefore, End: c.NotAfter})
	}
	return earliest(append(all, t.crlEnds(func(revocations) bool { return true })...))
}

// crlEnds gives when the newest revocation list of each CA that counts is to be
// replaced. That of an older one beside it says nothing. A CA counts where something
// rests on it; another may have been given up, and makes no more.
func (t Trust) crlEnds(counts func(revocations) bool) (ends []Ending) {
	for _, r := range t.crls {
		if !counts(r) {
			continue
		}
		isLast := func(o revocations) bool { return o.sameCA(r) && o.list.NextUpdate.After(r.list.NextUpdate) }
		if !r.list.NextUpdate.IsZero() && !slices.ContainsFunc(t.crls, isLast) {
			ends = append(ends, Ending{Object: EndOfCRL, File: r.file, Begin: r.list.ThisUpdate, End: r.list.NextUpdate})
		}
	}
	return ends
}

// earliest keeps the first end of each kind. Those of a kind stand together.
func earliest(all []Ending) (first []Ending) {
	for _, e := range all {
		if last := len(first) - 1; last < 0 || first[last].Object != e.Object {
			first = append(first, e)
		} else if e.End.Before(first[last].End) {
			first[last] = e
		}
	}
	return first
}

// WarnFrom is when to begin to warn: 30 days before the end, and no sooner than
// when three quarters of the object's own time are over. Who signs a list for two
// weeks and renews it every week does all that is to be done, and would else be
// warned on every day; the same goes for revocation lists and for certificates
// that live for weeks. A quarter leaves room for those who renew when two thirds
// are over, which is the custom.
func (e Ending) WarnFrom() time.Time {
	return e.End.Add(-min(warnAhead, e.End.Sub(e.Begin)/4))
}

// Due tells whether it is time to warn, or past it.
func (e Ending) Due(now time.Time) bool { return !now.Before(e.WarnFrom()) }

// Side tells who has to act first.
func (e Ending) Side() Side {
	if e.Object == EndOfRoot || e.Object == EndOfCRL {
		return EndpointSide
	}
	return MirrorSide
}

// Sentence says what ends and when, or what has ended, in fixed words.
func (e Ending) Sentence(now time.Time) string {
	what := map[Object]string{
		EndOfSigner: "the signer's certificate", EndOfIntermediate: "the intermediate certificate", EndOfRoot: "the root certificate",
		EndOfCRL: "the revocation list " + e.File, EndOfList: "the signed list",
	}[e.Object]
	verb := "ends"
	if now.After(e.End) {
		verb = "has ended"
	}
	return fmt.Sprintf("%s %s at %s", what, verb, e.End.UTC().Format(TimeFormat))
}

// Remedy says which side must do what.
func (e Ending) Remedy() string {
	switch e.Object {
	case EndOfSigner:
		return "the mirror's side must sign with a renewed certificate"
	case EndOfIntermediate:
		return "the mirror's side must sign below a renewed intermediate"
	case EndOfRoot:
		return "the endpoint's side must put the next root into the trust directory, and then the mirror's side must sign below it"
	case EndOfCRL:
		return "the endpoint's side must put the CA's next revocation list into the trust directory; this one counts on"
	default:
		return "the mirror's side must publish newer definitions, or renew the list"
	}
}
