package verifier

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
)

// Nothing un-revokes. A trust directory can lose a revocation list, get an older
// one back out of a backup, or get a newer one that leaves somebody out. So
// whoever keeps state hands in what the directory held before.

// Recall gives the trust that also counts lists which the trust directory held
// before, in DER. One that can't be read gives a Refusal with trust_invalid that
// names it: nobody knows whom it revoked. One that does not verify under the CA
// that it names says nothing.
func (t Trust) Recall(files []TrustFile) (Trust, error) {
	t.past = nil
	for _, f := range files {
		list, err := parseCRL(f.Data)
		if err != nil {
			return Trust{}, &Refusal{Code: TrustDirInvalid, Sentence: "the kept revocation list " + f.Name + " can not be read",
				Hint: "put the CA's list back into the trust directory, and then remove this file", Err: err}
		}
		if !slices.ContainsFunc(t.crls, func(r revocations) bool { return bytes.Equal(r.list.Raw, f.Data) }) {
			t.past = append(t.past, revocations{list: list})
		}
	}
	return t, nil
}

// ToRecall gives the lists to hand to [Trust.Recall] from now on, in DER: those
// of the trust directory, and of the past those that none of them replaces. One
// replaces another of the same CA if its number is no lower and it names all
// that the other named. issuers are CAs beside the roots that are known for what
// they are, since only a list that verifies can replace one. What takes more room
// than there is for the past (MaxPast) is evicted, and what it revokes is forgotten.
func (t Trust) ToRecall(issuers []*x509.Certificate) (keep, evicted [][]byte) {
	known := slices.Concat(t.roots, issuers)
	past := slices.DeleteFunc(slices.Clone(t.past), func(old revocations) bool {
		return slices.ContainsFunc(t.crls, func(r revocations) bool { return r.replaces(old, known) })
	})
	for {
		i := tooMany(past)
		if i < 0 {
			break
		}
		evicted = append(evicted, past[i].list.Raw)
		past = slices.Delete(past, i, i+1)
	}
	for _, r := range slices.Concat(t.crls, past) {
		keep = append(keep, r.list.Raw)
	}
	return keep, evicted
}

// tooMany gives the list that has to go where there are too many: of the CA with
// the most, so that no CA can push another's lists out, the one with the lowest
// number. It is -1 where there is room for all.
func tooMany(past []revocations) int {
	total, of := 0, map[string]int{} // bytes, also by CA
	for _, r := range past {
		total += r.room()
		of[r.ca()] += r.room()
	}
	if total <= MaxPast {
		return -1
	}
	goes := 0
	for i, r := range past {
		last := past[goes]
		if cmp.Or(cmp.Compare(of[last.ca()], of[r.ca()]), r.number().Cmp(last.number())) < 0 {
			goes = i
		}
	}
	return goes
}

// room is how many bytes of MaxPast the list takes.
func (r revocations) room() int { return max(len(r.list.Raw), minPastRoom) }

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
// directory any more, nor in the parts of it that were loaded as others.
func (t Trust) Removed(others ...Trust) (n int) {
	present := slices.Clone(t.crls)
	for _, o := range others {
		present = append(present, o.crls...)
	}
	for _, r := range t.past {
		if len(r.list.RevokedCertificateEntries) > 0 && !slices.ContainsFunc(present, r.sameCA) {
			n++
		}
	}
	return n
}

func (r revocations) sameCA(o revocations) bool {
	return r.ca() == o.ca()
}

// ca names the CA that made the list, as far as the list itself tells.
func (r revocations) ca() string {
	return fmt.Sprintf("%x %x", r.list.RawIssuer, r.list.AuthorityKeyId)
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
