package verifier

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"time"
)

// Digest identifies a list: the SHA-256 of its JSON. It is not that of the CMS
// object around it, in which anybody can alter what is not signed.
type Digest [sha256.Size]byte

// String is the lower-case hexadecimal form.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Signed is a list whose signature was verified.
type Signed struct {
	List   *List
	Digest Digest
	Chain  []*x509.Certificate // verified chain, leaf first, root last
	// Revoked is only ever set by VerifyInstalled.
	Revoked bool
}

// Verify judges a signed list that came from a source. now is the endpoint's
// time as [Clock] has it; the chain must be valid at now, or at the list's time
// of issue where that is later. It gives a [Refusal] with one of the codes
// signature_missing, signature_invalid, signer_untrusted, signer_expired,
// signer_revoked, list_malformed, or trust_invalid.
func (t Trust) Verify(object []byte, now time.Time) (Signed, error) {
	s, err := t.verify(object, later(now, epoch), false)
	if err != nil {
		return Signed{}, err
	}
	if s.Revoked {
		return Signed{}, refuse(SignerRevoked, "the signer or one of its issuers is revoked", "wait for a package of another signer; what was revoked once stays so, also when its list is taken out of the trust directory")
	}
	return s, nil
}

// VerifyInstalled judges a list that was accepted before, when its set is used
// or shown. Time that has passed since does not count against it, so that an
// expiry never unloads anything; a revocation is told by Signed.Revoked, and
// the caller decides. Whatever [Trust.Verify] once accepted, this accepts.
func (t Trust) VerifyInstalled(object []byte) (Signed, error) {
	return t.verify(object, epoch, true)
}

// epoch is before every certificate; x509 would take the zero time for now.
var epoch = time.Unix(0, 0)

// verify checks signature and signer first, and parses the list only then. The
// time at which the chain must hold is the later of from and the time of issue;
// but that stands in the list. So the signer must first have been good at some
// time that is not before from, and then, with the list at hand, at the time
// that decides. For an installed list that is any time since it was issued: an
// issuer's certificate may be younger than the list, as after a renewal.
func (t Trust) verify(object []byte, from time.Time, installed bool) (Signed, error) {
	content, leaf, bag, err := openCMS(object)
	if err != nil {
		return Signed{}, err
	}
	if err := checkLeaf(leaf); err != nil {
		return Signed{}, err
	}
	if _, err := t.chainsSince(leaf, bag, from); err != nil {
		return Signed{}, err
	}
	list, err := ParseList(content)
	if err != nil {
		return Signed{}, err
	}
	find := t.chains
	if installed {
		find = t.chainsSince
	}
	chains, err := find(leaf, bag, later(from, list.Issued))
	if err != nil {
		return Signed{}, err
	}
	chain, revoked, err := t.unrevoked(chains)
	if err != nil {
		return Signed{}, err
	}
	return Signed{List: list, Digest: sha256.Sum256(content), Chain: chain, Revoked: revoked}, nil
}

// chainsSince gives the chains as of the first time, not before from, at which
// the signer has a good one. Such a time, if any, is from itself or the start
// of some certificate's validity. On a machine whose clock is right that is one
// try.
func (t Trust) chainsSince(leaf *x509.Certificate, bag []*x509.Certificate, from time.Time) ([][]*x509.Certificate, error) {
	var first error
	tried := map[time.Time]bool{}
	for _, c := range slices.Concat([]*x509.Certificate{leaf}, bag, t.roots) {
		at := later(from, c.NotBefore)
		if tried[at] {
			continue
		}
		tried[at] = true
		chains, err := t.chains(leaf, bag, at)
		if err == nil {
			return chains, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// unrevoked picks the first chain that nobody revoked; where there is none, the
// first chain and true.
func (t Trust) unrevoked(chains [][]*x509.Certificate) (chain []*x509.Certificate, revoked bool, err error) {
	for _, chain := range chains {
		revoked, err := t.Revokes(chain)
		if err != nil || !revoked {
			return chain, false, err
		}
	}
	return chains[0], true, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
