package verifier

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"slices"
	"testing"
)

func crlNumber(n int64) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) { l.Number = big.NewInt(n) }
}

// kept are lists as they come out of an endpoint's memory.
func kept(lists [][]byte) (files []TrustFile) {
	for i, der := range lists {
		files = append(files, TrustFile{fmt.Sprintf("kept-%d.crl", i), der})
	}
	return files
}

// recall is Recall where every list can be read.
func recall(t *testing.T, trust Trust, lists [][]byte) Trust {
	t.Helper()
	trust, err := trust.Recall(kept(lists))
	must(t, err)
	return trust
}

// A list of the past that can't be read stops everything, and is named.
func TestRecallUnreadable(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	good := crlBy(t, p.inter, []party{p.leaf})
	trust, err := NewTrust(withRoot(p.root), nil)
	must(t, err)
	for name, bad := range map[string][]byte{"cut": good[:20], "empty": {}, "nothing": nil, "garbage": []byte("x"), "something behind it": append(bytes.Clone(good), 0)} {
		got, err := trust.Recall(kept([][]byte{good, bad}))
		want{TrustDirInvalid, "kept-1.crl", "back into the trust directory"}.check(t, err)
		if !got.Empty() {
			t.Errorf("%s: somebody is trusted all the same", name)
		}
	}
}

// What a trust directory held before counts, and makes nothing else of it.
func TestRecall(t *testing.T) {
	t.Parallel()
	p, other := newPKI(t), newPKI(t)
	leaf := []party{p.leaf}
	forged := crlBy(t, p.inter, leaf)
	forged[len(forged)-1] ^= 1
	object := p.message(t).encode(t)
	revoked := want{SignerRevoked, "revoked", "another signer"}
	for name, row := range map[string]struct {
		past, now [][]byte
		want      want
	}{
		"nothing":                  {nil, nil, want{}},
		"list gone":                {[][]byte{crlBy(t, p.inter, leaf)}, nil, revoked},
		"intermediate's list gone": {[][]byte{crlBy(t, p.root, []party{p.inter})}, nil, revoked},
		"newer list lacks it":      {[][]byte{crlBy(t, p.inter, leaf)}, [][]byte{crlBy(t, p.inter, nil, crlNumber(2))}, revoked},
		"older list is back":       {[][]byte{crlBy(t, p.inter, leaf, crlNumber(2))}, [][]byte{crlBy(t, p.inter, nil)}, revoked},
		"among many":               {[][]byte{crlBy(t, p.root, nil), crlBy(t, other.inter, leaf), crlBy(t, p.inter, leaf)}, nil, revoked},
		"taken off":                {[][]byte{crlBy(t, p.inter, leaf, reason(8))}, nil, want{}},
		"another CA of that name":  {[][]byte{crlBy(t, other.inter, leaf)}, nil, want{}},
		"one that does not verify": {[][]byte{forged}, nil, want{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trust, err := NewTrust(withRoot(p.root, row.now...), nil)
			must(t, err)
			before := trust.Digest()
			recalled := recall(t, trust, row.past)
			_, err = recalled.Verify(object, soon)
			row.want.check(t, err)
			if row.want.code != "" && recalled.Digest() == before {
				t.Error("another trust has the same digest")
			}
			if trust.Digest() != before || len(recalled.Stale(base.AddDate(50, 0, 0))) != len(row.now) {
				t.Error("the trust directory itself looks otherwise now")
			}
		})
	}
}

// What is to be kept: everything, until a list that verifies replaces it.
func TestToRecall(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	stranger := newPKI(t)
	leaf, both := []party{p.leaf}, []party{p.leaf, stranger.leaf}
	old := crlBy(t, p.inter, leaf, crlNumber(5))
	forged := crlBy(t, p.inter, both, crlNumber(6))
	forged[len(forged)-1] ^= 1
	known := []*x509.Certificate{p.inter.cert}
	for name, row := range map[string]struct {
		now     []byte
		issuers []*x509.Certificate
		keeps   bool // the old one
	}{
		"nothing there":               {nil, known, true},
		"the same":                    {old, known, true},
		"newer, names it":             {crlBy(t, p.inter, both, crlNumber(6)), known, false},
		"same number, names it":       {crlBy(t, p.inter, leaf, crlNumber(5)), known, false},
		"older, names it":             {crlBy(t, p.inter, both, crlNumber(4)), known, true},
		"newer, lacks it":             {crlBy(t, p.inter, nil, crlNumber(6)), known, true},
		"newer, takes it off":         {crlBy(t, p.inter, leaf, crlNumber(6), reason(8)), known, true},
		"newer, issuer not known":     {crlBy(t, p.inter, both, crlNumber(6)), nil, true},
		"newer, does not verify":      {forged, known, true},
		"newer, of another CA":        {crlBy(t, stranger.inter, both, crlNumber(6)), append(known, stranger.inter.cert), true},
		"newer, of the root":          {crlBy(t, p.root, both, crlNumber(6)), known, true},
		"newer, in PEM, and names it": {crlPEM(crlBy(t, p.inter, both, crlNumber(6))), known, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var crls [][]byte
			if row.now != nil {
				crls = [][]byte{row.now}
			}
			trust, err := NewTrust(withRoot(p.root, crls...), nil)
			must(t, err)
			lists, evicted := recall(t, trust, [][]byte{old}).ToRecall(row.issuers)
			keeps := slices.ContainsFunc(lists, func(l []byte) bool { return bytes.Equal(l, old) })
			if keeps != row.keeps || len(evicted) > 0 {
				t.Errorf("the old list is kept: %v; evicted: %d", keeps, len(evicted))
			}
			for _, l := range lists {
				if _, err := parseCRL(l); err != nil {
					t.Errorf("not in DER: %v", err)
				}
			}
			if again, _ := recall(t, trust, lists).ToRecall(row.issuers); !slices.EqualFunc(again, lists, bytes.Equal) {
				t.Errorf("%d lists became %d when nothing had changed", len(lists), len(again))
			}
		})
	}
}

// The number of lists that are gone is bounded. Of the CA with the most, those with
// the lowest numbers go; other CAs keep theirs, however low their numbers are, and
// the lists of the directory take no room.
func TestToRecallBound(t *testing.T) {
	t.Parallel()
	p, quiet := newPKI(t), newPKI(t)
	const most = MaxPast / minPastRoom
	past := [][]byte{crlBy(t, quiet.inter, []party{quiet.leaf})} // number 1
	for n := range int64(most + 6) {
		past = append(past, crlBy(t, p.inter, []party{p.leaf}, crlNumber(n+2)))
	}
	var now [][]byte
	for n := range int64(most + 2) {
		now = append(now, crlBy(t, p.root, nil, crlNumber(n)))
	}
	trust, err := NewTrust(withRoot(p.root, now...), nil)
	must(t, err)
	lists, evicted := recall(t, trust, past).ToRecall(nil)
	if want := slices.Concat(now, past[:1], past[8:]); !slices.EqualFunc(lists, want, bytes.Equal) {
		t.Errorf("%d lists are kept, and want %d", len(lists), len(want))
	}
	if !slices.EqualFunc(evicted, past[1:8], bytes.Equal) {
		t.Errorf("%d are evicted, and not the seven with the lowest numbers", len(evicted))
	}
}

// So is their size, whatever lies in the directory.
func TestToRecallSize(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	large := func(n int64) []byte { // some 5 MiB
		return crlBy(t, p.inter, nil, crlNumber(n), func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: oid("1.2.3.4"), Value: make([]byte, 5<<20)}}
		})
	}
	var all [][]byte
	for n := range int64(7) {
		all = append(all, large(n))
	}
	for _, row := range []struct{ now, past, evicted int }{{2, 0, 0}, {0, 3, 0}, {3, 3, 0}, {0, 4, 1}, {2, 5, 2}} {
		trust, err := NewTrust(withRoot(p.root, all[:row.now]...), nil)
		must(t, err)
		lists, evicted := recall(t, trust, all[row.now:row.now+row.past]).ToRecall(nil)
		if len(evicted) != row.evicted || len(lists) != row.now+row.past-row.evicted {
			t.Errorf("%+v: %d are kept, %d evicted", row, len(lists), len(evicted))
		}
	}
}

// What a report says of lists that went backwards, or away.
func TestOlderAndRemoved(t *testing.T) {
	t.Parallel()
	p, other := newPKI(t), newPKI(t)
	leaf := []party{p.leaf}
	of := func(n int64, revoked []party) []byte { return crlBy(t, p.inter, revoked, crlNumber(n)) }
	unnumbered := of(1, nil)
	for name, row := range map[string]struct {
		past, now [][]byte
		older     string
		removed   int
	}{
		"nothing":                   {nil, nil, "[]", 0},
		"newer":                     {[][]byte{of(1, leaf)}, [][]byte{of(2, leaf)}, "[]", 0},
		"older":                     {[][]byte{of(3, nil)}, [][]byte{of(2, nil)}, "[0.crl]", 0},
		"older beside the newest":   {[][]byte{of(2, nil)}, [][]byte{of(1, nil), of(3, nil)}, "[]", 0},
		"two, both older":           {[][]byte{of(3, nil)}, [][]byte{of(1, nil), of(2, nil)}, "[0.crl 1.crl]", 0},
		"of another CA of the name": {[][]byte{crlBy(t, other.inter, nil, crlNumber(9))}, [][]byte{unnumbered}, "[]", 0},
		"gone, named nobody":        {[][]byte{of(3, nil)}, nil, "[]", 0},
		"gone, named somebody":      {[][]byte{of(3, leaf)}, nil, "[]", 1},
		"gone, another's is there":  {[][]byte{of(3, leaf)}, [][]byte{crlBy(t, p.root, nil)}, "[]", 1},
	} {
		trust, err := NewTrust(withRoot(p.root, row.now...), nil)
		must(t, err)
		trust = recall(t, trust, row.past)
		if older := fmt.Sprint(trust.Older()); older != row.older || trust.Removed() != row.removed {
			t.Errorf("%s: older %s, removed %d", name, older, trust.Removed())
		}
	}
}
