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
		"nothing":                      {nil, nil, want{}},
		"list gone":                    {[][]byte{crlBy(t, p.inter, leaf)}, nil, revoked},
		"intermediate's list gone":     {[][]byte{crlBy(t, p.root, []party{p.inter})}, nil, revoked},
		"newer list lacks it":          {[][]byte{crlBy(t, p.inter, leaf)}, [][]byte{crlBy(t, p.inter, nil, crlNumber(2))}, revoked},
		"older list is back":           {[][]byte{crlBy(t, p.inter, leaf, crlNumber(2))}, [][]byte{crlBy(t, p.inter, nil)}, revoked},
		"among many":                   {[][]byte{crlBy(t, p.root, nil), crlBy(t, other.inter, leaf), crlBy(t, p.inter, leaf)}, nil, revoked},
		"taken off":                    {[][]byte{crlBy(t, p.inter, leaf, reason(8))}, nil, want{}},
		"another CA of that name":      {[][]byte{crlBy(t, other.inter, leaf)}, nil, want{}},
		"one that does not verify":     {[][]byte{forged}, nil, want{}},
		"one that can not be read":     {[][]byte{forged[:20], {}, nil, []byte("x")}, nil, want{}},
		"something behind a good list": {[][]byte{append(crlBy(t, p.inter, leaf), 0)}, nil, want{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trust, err := NewTrust(withRoot(p.root, row.now...), nil)
			must(t, err)
			before := trust.Digest()
			recalled := trust.Recall(row.past)
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
			lists := trust.Recall([][]byte{old}).ToRecall(row.issuers)
			kept := slices.ContainsFunc(lists, func(l []byte) bool { return bytes.Equal(l, old) })
			if kept != row.keeps {
				t.Errorf("the old list is kept: %v", kept)
			}
			for _, l := range lists {
				if _, err := parseCRL(l); err != nil {
					t.Errorf("not in DER: %v", err)
				}
			}
			if again := trust.Recall(lists).ToRecall(row.issuers); !slices.EqualFunc(again, lists, bytes.Equal) {
				t.Errorf("%d lists became %d when nothing had changed", len(lists), len(again))
			}
		})
	}
}

// The number of lists is bounded, and those with the lowest numbers go first.
func TestToRecallBound(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	var past [][]byte
	for n := range int64(MaxPastLists + 6) {
		past = append(past, crlBy(t, p.inter, []party{p.leaf}, crlNumber(n+1)))
	}
	now := crlBy(t, p.inter, nil, crlNumber(3))
	trust, err := NewTrust(withRoot(p.root, now), nil)
	must(t, err)
	lists := trust.Recall(past).ToRecall(nil)
	if len(lists) != MaxPastLists || !bytes.Equal(lists[0], now) {
		t.Fatalf("%d lists are kept", len(lists))
	}
	for i, l := range lists[1:] {
		if !bytes.Equal(l, past[len(past)-1-i]) {
			t.Errorf("the list at %d is not number %d", i+1, len(past)-i)
		}
	}
}

// So is their size, but not at the cost of those that lie in the directory.
func TestToRecallSize(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	large := func(n int64) []byte { // some 5 MiB
		return crlBy(t, p.inter, nil, crlNumber(n), func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: oid("1.2.3.4"), Value: make([]byte, 5<<20)}}
		})
	}
	for name, row := range map[string]struct{ now, past, kept int }{
		"two of the directory":    {2, 0, 2},
		"one of each":             {1, 1, 1},
		"two of the past":         {0, 2, 1},
		"one of the past":         {0, 1, 1},
		"two of the directory, +": {2, 1, 2},
	} {
		var now, past [][]byte
		for n := range row.now {
			now = append(now, large(int64(9-n)))
		}
		for n := range row.past {
			past = append(past, large(int64(n+1)))
		}
		trust, err := NewTrust(withRoot(p.root, now...), nil)
		must(t, err)
		if lists := trust.Recall(past).ToRecall(nil); len(lists) != row.kept {
			t.Errorf("%s: %d are kept", name, len(lists))
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
		trust = trust.Recall(row.past)
		if older := fmt.Sprint(trust.Older()); older != row.older || trust.Removed() != row.removed {
			t.Errorf("%s: older %s, removed %d", name, older, trust.Removed())
		}
	}
}
