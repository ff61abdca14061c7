package vendorsig

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/internal/cms"
)

// Bags of time stamps may hold attribute certificates; some authorities put the
// record of their clock's last audit there.
var stampShape = cms.Shape{Content: cms.TSTInfo, What: "a time stamp's statement", Foreign: true, Exact: true, MaxCertificates: maxCertificates}

// verifyTimeStamp judges a token of RFC 3161 that is to be over that value. What is
// known of it comes back also with a refusal. The authority's chain has to hold
// at the time that it states: whether it still does says nothing about then.
func verifyTimeStamp(token, over []byte, trust verifier.Trust, clock verifier.Clock) (*TimeStamp, error) {
	o, err := cms.Parse(token, stampShape)
	if err != nil {
		return nil, err
	}
	if err := verifier.CheckKey(o.Leaf); err != nil {
		return nil, err
	}
	if err := o.Verify(); err != nil {
		return nil, err
	}
	info, err := readStamp(o.Content)
	if err != nil {
		return nil, err
	}
	stamp := &TimeStamp{info.time, signerOf(o.Leaf)}
	if err := checkStamper(o); err != nil {
		return stamp, err
	}
	h := info.hash.New()
	h.Write(over)
	if !bytes.Equal(h.Sum(nil), info.imprint) {
		return stamp, invalid("it is that of another signature")
	}
	if !clock.Wrong && info.time.After(clock.Time.Add(verifier.ClockTolerance)) {
		return stamp, refuse(verifier.IssuedInFuture, "it is dated more than a day in the future", "check the clock of this machine")
	}
	chain, err := trust.Chain(o.Leaf, o.Certificates, info.time, verifier.StampTime)
	if err == nil {
		err = checkIssuers(o, trust)
	}
	if err == nil {
		stamp.Signer.Chain = chain
	}
	return stamp, err
}

// checkStamper wants a certificate for time stamps and nothing else (RFC 3161,
// section 2.3), which the signed attributes name.
func checkStamper(o *cms.Object) error {
	if err := checkUsage(o.Leaf, "stamper", x509.ExtKeyUsageTimeStamping); err != nil {
		return err
	}
	usages := asn1.ObjectIdentifier{2, 5, 29, 37}
	critical := false
	for _, e := range o.Leaf.Extensions {
		critical = critical || e.Id.Equal(usages) && e.Critical
	}
	if len(o.Leaf.ExtKeyUsage)+len(o.Leaf.UnknownExtKeyUsage) != 1 || !critical {
		return refuse(verifier.SignerUntrusted, "the stamper's certificate is not made for time stamps alone", "no root helps here, so ask the vendor what it signs with")
	}
	if len(o.Unsigned) > 0 {
		return invalid("something stands in it that nobody signed")
	}
	if err := checkBag(o); err != nil {
		return err
	}
	if !namesCertificate(o.Signed, o.Leaf) {
		return invalid("it does not name the certificate of its stamper")
	}
	return nil
}

// namesCertificate looks for the digest of the certificate in signingCertificate
// (RFC 2634, SHA-1) and signingCertificateV2 (RFC 5035). One of them must be there.
// SHA-1 is good enough here: the signature was checked with this very certificate.
func namesCertificate(signed map[string]cryptobyte.String, leaf *x509.Certificate) bool {
	const v1, v2 = "1.2.840.113549.1.9.16.2.12", "1.2.840.113549.1.9.16.2.47"
	old, hasOld := signed[v1]
	current, has := signed[v2]
	sum := sha1.Sum(leaf.Raw)
	if hasOld {
		id, ok := firstCertID(old)
		var value cryptobyte.String
		if !ok || !id.ReadASN1(&value, cbasn1.OCTET_STRING) || !bytes.Equal(value, sum[:]) {
			return false
		}
	}
	if has {
		id, ok := firstCertID(current)
		return ok && namesV2(id, leaf)
	}
	return hasOld
}

// firstCertID gives the body of the first ESSCertID, which is the signer's.
func firstCertID(attribute cryptobyte.String) (id cryptobyte.String, ok bool) {
	var outer, certs cryptobyte.String
	ok = attribute.ReadASN1(&outer, cbasn1.SEQUENCE) && outer.ReadASN1(&certs, cbasn1.SEQUENCE) && certs.ReadASN1(&id, cbasn1.SEQUENCE)
	return id, ok
}

func namesV2(id cryptobyte.String, leaf *x509.Certificate) bool {
	hash := crypto.SHA256 // by default
	var algorithm, value cryptobyte.String
	var present bool
	if !id.ReadOptionalASN1(&algorithm, &present, cbasn1.SEQUENCE) {
		return false
	}
	if present {
		var by asn1.ObjectIdentifier
		if !algorithm.ReadASN1ObjectIdentifier(&by) {
			return false
		}
		hash = cms.HashOf(by)
	}
	if hash == 0 || !id.ReadASN1(&value, cbasn1.OCTET_STRING) {
		return false
	}
	h := hash.New()
	h.Write(leaf.Raw)
	return bytes.Equal(value, h.Sum(nil))
}

// stampInfo is what of TSTInfo (RFC 3161, section 2.4.2) counts here.
type stampInfo struct {
	hash    crypto.Hash
	imprint []byte
	time    time.Time
}

func readStamp(content cryptobyte.String) (info stampInfo, err error) {
	var body, imprint, algorithm, value, at cryptobyte.String
	var version int64
	var by asn1.ObjectIdentifier
	if cms.CheckDER(content) != nil || !content.ReadASN1(&body, cbasn1.SEQUENCE) ||
		!body.ReadASN1Integer(&version) || version != 1 || !body.SkipASN1(cbasn1.OBJECT_IDENTIFIER) ||
		!body.ReadASN1(&imprint, cbasn1.SEQUENCE) || !imprint.ReadASN1(&algorithm, cbasn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&by) ||
		!imprint.ReadASN1(&value, cbasn1.OCTET_STRING) || !imprint.Empty() ||
		!body.SkipASN1(cbasn1.INTEGER) || !body.ReadASN1(&at, cbasn1.GeneralizedTime) || !optional(&body) {
		return info, invalid("its statement is not built as RFC 3161 says")
	}
	info.hash, info.imprint = cms.HashOf(by), value
	if info.hash == 0 {
		return info, invalid("its digest is weaker than SHA-256 or unknown")
	}
	// In UTC, with a fraction of a second or without (section 2.4.2).
	if info.time, err = time.Parse("20060102150405Z", string(at)); err != nil || slices.Contains(at, ',') {
		return info, invalid("its time can not be read")
	}
	return info, nil
}

// optional passes over accuracy, ordering, nonce and the authority's name, none of
// which changes what is stated. Extensions could, so there must be none.
func optional(body *cryptobyte.String) bool {
	name := cbasn1.Tag(0).ContextSpecific().Constructed()
	for _, tag := range []cbasn1.Tag{cbasn1.SEQUENCE, cbasn1.BOOLEAN, cbasn1.INTEGER, name} {
		if !body.SkipOptionalASN1(tag) {
			return false
		}
	}
	return body.Empty()
}
