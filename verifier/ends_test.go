package verifier

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const aDay = 24 * time.Hour

// replacedAt sets when a revocation list is to be replaced.
func replacedAt(next time.Time) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) { l.ThisUpdate, l.NextUpdate = base, next }
}

// TestEnds has a chain of five certificates, and lists of two CAs, of which one
// has an older list beside the newer one. A root that nothing rests on any more makes no
// lists, and the end of its last one is nobody's business.
func TestEnds(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", nil, nil, aCA)
	upper := issue(t, "upper", &root, nil, aCA, valid(base, base.Add(200*aDay)))
	lower := issue(t, "lower", &upper, nil, aCA, valid(base, base.Add(300*aDay)))
	leaf := issue(t, "leaf", &lower, nil)
	retired := issue(t, "retired", nil, nil, aCA)
	files := withRoot(root,
		crlBy(t, root, nil, replacedAt(base.Add(10*aDay))), crlBy(t, root, nil, replacedAt(base.Add(40*aDay))),
		crlBy(t, lower, nil, replacedAt(base.Add(60*aDay))), crlBy(t, retired, nil, replacedAt(base.Add(5*aDay))))
	trust, err := NewTrust(append(files, TrustFile{"retired.pem", retired.pem()}), nil)
	must(t, err)
	signed, err := trust.Verify(messageBy(leaf, listJSON(t), leaf, lower, upper).encode(t), soon)
	must(t, err)
	var got []string
	for _, e := range trust.Ends(signed) {
		got = append(got, fmt.Sprintf("%s %s", e.Object, e.End.Format(TimeFormat)))
	}
	day := func(n int) string { return base.Add(time.Duration(n) * aDay).Format(TimeFormat) }
	want := []string{
		"signer " + leaf.cert.NotAfter.Format(TimeFormat), "intermediate " + day(200), "root " + root.cert.NotAfter.Format(TimeFormat),
		"crl " + day(40), "list " + signed.List.Expires.Format(TimeFormat),
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}

	// Before there is a list, nobody knows what it will rest on.
	var own []string
	for _, e := range trust.OwnEnds() {
		own = append(own, fmt.Sprintf("%s %s %s", e.Object, e.File, e.End.Format(TimeFormat)))
	}
	if len(own) != 2 || own[0] != "root  "+root.cert.NotAfter.Format(TimeFormat) || !strings.HasPrefix(own[1], "crl ") || !strings.HasSuffix(own[1], day(5)) {
		t.Errorf("of the trust directory alone: %q", own)
	}
	if ends := (Trust{}).OwnEnds(); len(ends) != 0 {
		t.Errorf("of nothing: %v", ends)
	}
}

// TestEndsOfLittle has a leaf directly below the root, and no revocation list or one
// that need never be replaced.
func TestEndsOfLittle(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", nil, nil, aCA)
	leaf := issue(t, "leaf", &root, nil)
	trust := trusting(t, nil, root)
	signed, err := trust.Verify(messageBy(leaf, listJSON(t), leaf).encode(t), soon)
	must(t, err)
	var got []string
	for _, e := range trust.Ends(signed) {
		got = append(got, string(e.Object))
	}
	if want := []string{"signer", "root", "list"}; !slices.Equal(got, want) {
		t.Errorf("ends of %q, want %q", got, want)
	}
}

func TestWarnFrom(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		life, ahead time.Duration
		why         string
	}{
		{3650 * aDay, 30 * aDay, "a root"},
		{365 * aDay, 30 * aDay, "a leaf of a year"},
		{120 * aDay, 30 * aDay, "as long as the quarter is 30 days"},
		{14 * aDay, 84 * time.Hour, "a list of two weeks"},
		{12 * time.Hour, 3 * time.Hour, "a list that is signed all day"},
	} {
		e := Ending{Begin: base, End: base.Add(tt.life)}
		from := e.End.Add(-tt.ahead)
		if !e.WarnFrom().Equal(from) || e.Due(from.Add(-1)) || !e.Due(from) || !e.Due(e.End.Add(aDay)) {
			t.Errorf("%s: warned from %v on, want %v", tt.why, e.WarnFrom(), from)
		}
	}
}

// TestRenewedInTimeNeverWarns: lists that are renewed after half of their time, or
// after two thirds, are never warned of.
func TestRenewedInTimeNeverWarns(t *testing.T) {
	t.Parallel()
	for _, life := range []time.Duration{aDay, 14 * aDay, 28 * aDay, 90 * aDay} {
		for at := base; at.Before(base.Add(10 * life)); at = at.Add(time.Hour) {
			renewal := life * 2 / 3
			begin := base.Add(at.Sub(base) / renewal * renewal)
			if e := (Ending{Object: EndOfList, Begin: begin, End: begin.Add(life)}); e.Due(at) {
				t.Fatalf("a list of %v is warned of %v after it was signed", life, at.Sub(begin))
			}
		}
	}
}

func TestEndSentences(t *testing.T) {
	t.Parallel()
	sides := map[Object]Side{EndOfSigner: MirrorSide, EndOfIntermediate: MirrorSide, EndOfRoot: EndpointSide, EndOfCRL: EndpointSide, EndOfList: MirrorSide}
	for object, side := range sides {
		e := Ending{Object: object, File: "ca.crl", Begin: base, End: base.Add(aDay)}
		before, after := e.Sentence(base), e.Sentence(base.Add(2*aDay))
		if !strings.HasSuffix(before, " ends at 2026-06-02T00:00:00Z") || !strings.HasSuffix(after, " has ended at 2026-06-02T00:00:00Z") || before[0] != 't' {
			t.Errorf("%s: %q, and later %q", object, before, after)
		}
		if e.Side() != side || !strings.HasPrefix(e.Remedy(), "the "+string(side)+"'s side must ") {
			t.Errorf("%s: %s, and %q", object, e.Side(), e.Remedy())
		}
		if (object == EndOfCRL) != strings.Contains(before, "ca.crl") {
			t.Errorf("%s: %q", object, before)
		}
		if strings.ContainsAny(before+e.Remedy(), "\"\n") || strings.Contains(before+e.Remedy(), " : ") {
			t.Errorf("%s: unfit for a report", object)
		}
	}
}
