package verifier

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"math/big"
	"slices"
)

// Nothing un-revokes. A trust directory can lose a revocation list, get an older
// one back out of a backup, or get a newer one that leaves somebody out. So
// whoever keeps state hands in what the directory held before.

// Recall gives the trust that also counts lists which the trust directory held
// before, in DER. One that can't be read any more, or does not verify under the
// CA that it names, says nothing: unlike a file of the directory, nobody could
// mend it.
func (t Trust) Recall(lists [][]byte) Trust {
	t.past = nil
	for _, der := range lists {
		list, err := parseCRL(der)
		if err == nil && !slices.ContainsFunc(t.crls, func(r revocations) bool { return bytes.Equal(r.list.Raw, der) }) {
			t.past = append(t.past, revocations{list: list})
		}
	}
	return t
}

// ToRecall gives the lists to hand to [Trust.Recall] from now on, in DER: those
// of the trust directory, and of the past those that none of them replaces. One
// replaces another of the same CA if its number is no lower and it names all
// that the other named. issuers are CAs beside the roots that are known for what
// they are, since only a list that verifies can replace one. There are at most
// MaxPastLists, and with those of the past not more than MaxTrustFile bytes, since
// every report reads them; those with the lowest numbers go first.
func (t Trust) ToRecall(issuers []*x509.Certificate) [][]byte {
	known := slices.Concat(t.roots, issuers)
	past := slices.DeleteFunc(slices.Clone(t.past), func(old revocations) bool {
		return slices.ContainsFunc(t.crls, func(r revocations) bool { return r.replaces(old, known) })
	})
	slices.SortStableFunc(past, func(a, b revocations) int { return b.number().Cmp(a.number()) })
	var lists [][]byte
	size := 0
	for i, r := range slices.Concat(t.crls, past) {
		size += len(r.list.Raw)
		if len(lists) == MaxPastLists || i >= len(t.crls) && size > MaxTrustFile {
			break
		}
		lists = append(lists, r.list.Raw)
	}
	return lists
}

// Older names the CRL files of the trust directory that have a lower number than
// one of the same CA that it held before.
func (t Trust) Older() []string {
	var names []string
	for _, r := range t.crls {
		newest := slices.MaxFunc(t.lists(r), func(a, b revocations) int { return a.number().Cmp(b.number()) })
		if r.number().Cmp(newest.number()) < 0 && newest.file == "" {
			names = append(names, r.file)
		}
	}
	return names
}

// lists gives all lists of the CA that made r, as far as its name and key
// identifier tell.
func (t Trust) lists(r revocations) []revocations {
	return slices.DeleteFunc(slices.Concat(t.crls, t.past), func(o revocations) bool { return !o.sameCA(r) })
}

// Removed counts the lists that name somebody and whose CA has none in the trust
// directory any more.
func (t Trust) Removed() (n int) {
	for _, r := range t.past {
		if len(r.list.RevokedCertificateEntries) > 0 && !slices.ContainsFunc(t.crls, r.sameCA) {
			n++
		}
	}
	return n
}

func (r revocations) sameCA(o revocations) bool {
	return bytes.Equal(r.list.RawIssuer, o.list.RawIssuer) && bytes.Equal(r.list.AuthorityKeyId, o.list.AuthorityKeyId)
}

// number is the list's number, zero for a list of the old kind that has none.
func (r revocations) number() *big.Int { return cmp.Or(r.list.Number, new(big.Int)) }

// replaces tells whether r makes old superfluous.
func (r revocations) replaces(old revocations, known []*x509.Certificate) bool {
	if r.number().Cmp(old.number()) < 0 {
		return false
	}
	if !slices.ContainsFunc(known, func(c *x509.Certificate) bool { return r.verifies(c) && old.verifies(c) }) {
		return false
	}
	named := map[string]bool{}
	for _, e := range r.list.RevokedCertificateEntries {
		named[e.SerialNumber.String()] = e.ReasonCode != removeFromCRL
	}
	return !slices.ContainsFunc(old.list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
		return e.ReasonCode != removeFromCRL && !named[e.SerialNumber.String()]
	})
}

// verifies tells whether issuer made the list, and takes every doubt for a no.
func (r revocations) verifies(issuer *x509.Certificate) bool {
	yes, err := r.speaksFor(issuer)
	return yes && err == nil
}

// pastRevokes tells whether a list of the past revokes c.
func (t Trust) pastRevokes(c, issuer *x509.Certificate) bool {
	return slices.ContainsFunc(t.past, func(r revocations) bool { return r.revokes(c) && r.verifies(issuer) })
}
