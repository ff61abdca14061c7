package verifier

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"time"

	"go.mozilla.org/pkcs7"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

const opensslHint = "sign with openssl cms -sign -nodetach -binary -nosmimecap -outform DER -md sha256 -certfile intermediate.pem"

// openCMS checks the form of a CMS object and its one signature, and gives the
// signed content, the signer's certificate and the other certificates. It says
// nothing about who the signer is.
func openCMS(object []byte) (content []byte, leaf *x509.Certificate, bag []*x509.Certificate, err error) {
	if err := checkForm(object); err != nil {
		return nil, nil, nil, err
	}
	p7, err := pkcs7.Parse(object)
	if err != nil {
		return nil, nil, nil, invalid("the signature can not be read", opensslHint, err)
	}
	leaf = p7.GetOnlySigner()
	if leaf == nil {
		return nil, nil, nil, invalid("the signer's certificate is not in the signature", "sign without -nocerts, and with -certfile intermediate.pem", nil)
	}
	if err := checkKey(leaf); err != nil {
		return nil, nil, nil, err
	}
	if err := checkSigningTime(p7, leaf); err != nil {
		return nil, nil, nil, err
	}
	// Verify checks digest and signature; it looks at no chain, which is
	// trust.go's part.
	if err := p7.Verify(); err != nil {
		return nil, nil, nil, invalid("the signature does not match the signed list", "the package was altered or damaged on its way, so publish it again", err)
	}
	return p7.Content, leaf, p7.Certificates, nil
}

// Claims is what a signed list says of itself. The signature over it was
// checked, but not who made it: anybody can make one.
type Claims struct {
	List         *List
	Digest       Digest // of the list
	Leaf         *x509.Certificate
	Certificates []*x509.Certificate // all that the object carries, leaf included
}

// ReadClaims reads a signed list for tools that show what a package says.
// Nothing may be decided from it. Refusals as of [Trust.Verify], less those
// about trust.
func ReadClaims(object []byte) (Claims, error) {
	content, leaf, bag, err := openCMS(object)
	if err != nil {
		return Claims{}, err
	}
	list, err := ParseList(content)
	return Claims{List: list, Digest: sha256.Sum256(content), Leaf: leaf, Certificates: bag}, err
}

// checkSigningTime says in better words what the library refuses, too: a time of
// signing, where one is stated, outside of the certificate's validity.
func checkSigningTime(p7 *pkcs7.PKCS7, leaf *x509.Certificate) error {
	var at time.Time
	if p7.UnmarshalSignedAttribute(pkcs7.OIDAttributeSigningTime, &at) != nil {
		return nil
	}
	if at.Before(leaf.NotBefore) || at.After(leaf.NotAfter) {
		return refuse(SignerExpired, "the signature was made outside of the validity of the signer's certificate", "check the clock of the machine that signs, and renew the certificate")
	}
	return nil
}

func invalid(sentence, hint string, err error) error {
	return &Refusal{Code: SignatureInvalid, Sentence: sentence, Hint: hint, Err: err}
}

// checkForm refuses, each with its own sentence, every form of signature that
// the library would misread, accept without need, or call by a name that helps
// nobody. Only what passes may reach the library.
func checkForm(object []byte) error {
	if len(object) == 0 {
		return refuse(SignatureMissing, "the signature is empty", opensslHint)
	}
	if len(object) > MaxListSize {
		return invalid("the signature is larger than a signed list may be", "leave out unneeded certificates", nil)
	}
	if bytes.HasPrefix(object, []byte("-----BEGIN")) {
		return invalid("the signature is in PEM form", "sign with -outform DER", nil)
	}
	if object[0] != derSequence {
		return invalid("the signature is not a CMS object", "whatever answered is no signed list, perhaps a web page, so check the mirror's address", nil)
	}
	switch err := checkDER(object); {
	case errors.Is(err, errIndefinite):
		return invalid("the signature is in BER form", "sign without -stream", err)
	case errors.Is(err, errTrailing):
		return invalid("bytes stand behind the signature", "publish what the signing tool wrote and nothing else", err)
	case err != nil:
		return invalid("the signature is not strict DER", opensslHint, err)
	}
	return checkSignedData(object)
}

// Object identifiers, in the dotted form in which they are compared.
const (
	oidData          = "1.2.840.113549.1.7.1"
	oidSignedData    = "1.2.840.113549.1.7.2"
	oidContentType   = "1.2.840.113549.1.9.3"
	oidMessageDigest = "1.2.840.113549.1.9.4"
	oidSHA256        = "2.16.840.1.101.3.4.2.1"
	oidSHA384        = "2.16.840.1.101.3.4.2.2"
	oidSHA512        = "2.16.840.1.101.3.4.2.3"
	oidRSA           = "1.2.840.113549.1.1.1"
	oidRSAPSS        = "1.2.840.113549.1.1.10"
	oidEd25519       = "1.3.101.112"
)

// signatureFor lists, for each digest that is good enough, the signature
// algorithms that go with it. Any other pair is refused.
func signatureFor(digest string) []string {
	switch digest {
	case oidSHA256:
		return []string{oidRSA, "1.2.840.113549.1.1.11", "1.2.840.10045.4.3.2"}
	case oidSHA384:
		return []string{oidRSA, "1.2.840.113549.1.1.12", "1.2.840.10045.4.3.3"}
	case oidSHA512:
		return []string{oidRSA, "1.2.840.113549.1.1.13", "1.2.840.10045.4.3.4"}
	}
	return nil
}

var (
	context0 = cbasn1.Tag(0).ContextSpecific().Constructed()
	context1 = cbasn1.Tag(1).ContextSpecific().Constructed()
	keyIDTag = cbasn1.Tag(0).ContextSpecific()
)

// checkSignedData walks ContentInfo and SignedData (RFC 5652, section 5.1).
func checkSignedData(object []byte) error {
	outer := cryptobyte.String(object)
	var info, explicit, sd, digests, encap, signers cryptobyte.String
	var kind, contentKind asn1.ObjectIdentifier
	if !outer.ReadASN1(&info, cbasn1.SEQUENCE) || !info.ReadASN1ObjectIdentifier(&kind) || kind.String() != oidSignedData {
		return invalid("the CMS object is not a signed one", opensslHint, nil)
	}
	var version int64
	if !info.ReadASN1(&explicit, context0) || !info.Empty() || !explicit.ReadASN1(&sd, cbasn1.SEQUENCE) || !explicit.Empty() ||
		!sd.ReadASN1Integer(&version) || !sd.ReadASN1(&digests, cbasn1.SET) || !sd.ReadASN1(&encap, cbasn1.SEQUENCE) ||
		!encap.ReadASN1ObjectIdentifier(&contentKind) {
		return malformedCMS()
	}
	if contentKind.String() != oidData {
		return invalid("what is signed is not plain data", "sign without -econtent_type", nil)
	}
	if err := checkContent(encap); err != nil {
		return err
	}
	if err := checkCertificates(&sd); err != nil {
		return err
	}
	if !sd.SkipOptionalASN1(context1) || !sd.ReadASN1(&signers, cbasn1.SET) || !sd.Empty() {
		return malformedCMS()
	}
	return checkSigners(signers, digests)
}

func malformedCMS() error {
	return invalid("the CMS object is not built as RFC 5652 says", opensslHint, nil)
}

func checkContent(encap cryptobyte.String) error {
	if encap.Empty() {
		return invalid("the signature is detached from the list", "sign with -nodetach", nil)
	}
	var explicit, content cryptobyte.String
	if !encap.ReadASN1(&explicit, context0) || !encap.Empty() || !explicit.ReadASN1(&content, cbasn1.OCTET_STRING) || !explicit.Empty() {
		return malformedCMS()
	}
	return nil
}

func checkCertificates(sd *cryptobyte.String) error {
	var certs cryptobyte.String
	var present bool
	if !sd.ReadOptionalASN1(&certs, &present, context0) {
		return malformedCMS()
	}
	if !present {
		return invalid("no certificate is in the signature", "sign without -nocerts, and with -certfile intermediate.pem", nil)
	}
	for n := 0; !certs.Empty(); n++ {
		var one cryptobyte.String
		if n == MaxCertificates || !certs.ReadASN1Element(&one, cbasn1.SEQUENCE) {
			return invalid("the certificates in the signature are too many or of an unknown kind", opensslHint, nil)
		}
	}
	return nil
}

// checkSigners wants exactly one signer. None at all must be a refusal of its
// own: verifiers that looped over an empty set have accepted everything.
func checkSigners(signers, digests cryptobyte.String) error {
	if signers.Empty() {
		return refuse(SignatureMissing, "the CMS object has no signer", opensslHint)
	}
	var signer cryptobyte.String
	if !signers.ReadASN1(&signer, cbasn1.SEQUENCE) {
		return malformedCMS()
	}
	if !signers.Empty() {
		return invalid("the CMS object has more than one signer", "sign with one -signer", nil)
	}
	return checkSigner(signer, digests)
}

// checkSigner walks SignerInfo (RFC 5652, section 5.3). digests are those that
// the object announces.
func checkSigner(s, digests cryptobyte.String) error {
	var version int64
	var name, digest, attributes, signature, value cryptobyte.String
	var hasAttributes bool
	if !s.ReadASN1Integer(&version) {
		return malformedCMS()
	}
	if s.PeekASN1Tag(keyIDTag) {
		return invalid("the signer is named by a key identifier", "sign without -keyid", nil)
	}
	if !s.ReadASN1(&name, cbasn1.SEQUENCE) || !s.ReadASN1(&digest, cbasn1.SEQUENCE) ||
		!s.ReadOptionalASN1(&attributes, &hasAttributes, context0) || !s.ReadASN1(&signature, cbasn1.SEQUENCE) ||
		!s.ReadASN1(&value, cbasn1.OCTET_STRING) || !s.SkipOptionalASN1(context1) || !s.Empty() {
		return malformedCMS()
	}
	if err := checkAlgorithms(digest, signature, digests); err != nil {
		return err
	}
	// Without signed attributes a signature is over the bare content, and then
	// any signature with attributes is also one over its own attributes.
	if !hasAttributes {
		return invalid("the signature has no signed attributes", "sign without -noattr", nil)
	}
	return checkAttributes(attributes)
}

func checkAlgorithms(digest, signature, announced cryptobyte.String) error {
	var d, s asn1.ObjectIdentifier
	if !digest.ReadASN1ObjectIdentifier(&d) || !signature.ReadASN1ObjectIdentifier(&s) {
		return malformedCMS()
	}
	if s.String() == oidRSAPSS || s.String() == oidEd25519 {
		return invalid("the signature is RSA-PSS or Ed25519", "sign with RSA PKCS 1 v1.5, that is without -keyopt rsa_padding_mode, or with an ECDSA key on P-256, P-384 or P-521", nil)
	}
	pairs := signatureFor(d.String())
	if pairs == nil {
		return invalid("the signature's digest is weaker than SHA-256 or unknown", "sign with -md sha256", nil)
	}
	if !slices.Contains(pairs, s.String()) {
		return invalid("the signature's algorithm does not go with its digest", opensslHint, nil)
	}
	return checkAnnounced(d, announced)
}

// checkAnnounced wants the signer's digest among those that stand in front of
// the content. OpenSSL does; the library does not look.
func checkAnnounced(digest asn1.ObjectIdentifier, announced cryptobyte.String) error {
	for !announced.Empty() {
		var one cryptobyte.String
		var kind asn1.ObjectIdentifier
		if !announced.ReadASN1(&one, cbasn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&kind) {
			return malformedCMS()
		}
		if kind.Equal(digest) {
			return nil
		}
	}
	return invalid("the CMS object does not announce the digest of its signature", opensslHint, nil)
}

// checkAttributes wants each signed attribute once and with one value, among
// them content type (plain data) and message digest. The digest's value is
// compared by the library. The library also sorts the attributes before it
// checks the signature, which OpenSSL does not, so they must come sorted.
func checkAttributes(attributes cryptobyte.String) error {
	seen := map[string]cryptobyte.String{}
	var last cryptobyte.String
	for !attributes.Empty() {
		var whole, one, values, first cryptobyte.String
		var kind asn1.ObjectIdentifier
		var tag cbasn1.Tag
		if !attributes.ReadASN1Element(&whole, cbasn1.SEQUENCE) || bytes.Compare(last, whole) > 0 {
			return malformedCMS()
		}
		last = whole
		if !whole.ReadASN1(&one, cbasn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&kind) ||
			!one.ReadASN1(&values, cbasn1.SET) || !one.Empty() || !values.ReadAnyASN1Element(&first, &tag) || !values.Empty() {
			return malformedCMS()
		}
		if _, twice := seen[kind.String()]; twice {
			return invalid("a signed attribute stands twice", opensslHint, nil)
		}
		seen[kind.String()] = first
	}
	contentType, digest := seen[oidContentType], seen[oidMessageDigest]
	var of asn1.ObjectIdentifier
	if !contentType.ReadASN1ObjectIdentifier(&of) || of.String() != oidData {
		return invalid("the signed content type is not plain data", opensslHint, nil)
	}
	if !digest.PeekASN1Tag(cbasn1.OCTET_STRING) {
		return invalid("the signature has no message digest", opensslHint, nil)
	}
	return nil
}
