// Package cms reads CMS objects (RFC 5652, PKCS #7) with one signer.
//
// It promises that nothing reaches the library which reads and checks them
// before a strict DER walk has passed it, that an object is of the [Shape] that
// its caller wants, and that every algorithm is good enough: see [Parse]. What it
// says of an object is a [Problem], in fixed words.
//
// It does not promise anything about who the signer is: no chain, usage, time or
// revocation is looked at. [Object.Verify] checks a signature; until that has been
// called, all that stands in an [Object] is what somebody wrote.
package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"time"

	"go.mozilla.org/pkcs7"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Hint says how a signature is made that has no problem.
const Hint = "sign with openssl cms -sign -nodetach -binary -nosmimecap -outform DER -md sha256 -certfile intermediate.pem"

// Problem says in fixed words what is wrong with an object. Code is one of those of
// package verifier: signature_invalid, signature_missing where nobody signed, or
// signer_expired. Hint is for whoever made the object.
type Problem struct {
	Code           string
	Sentence, Hint string
	Err            error // cause, may be nil
}

// Error gives the sentence, and the cause where there is one.
func (p *Problem) Error() string {
	if p.Err != nil {
		return p.Sentence + " (" + p.Err.Error() + ")"
	}
	return p.Sentence
}

// Unwrap gives the cause.
func (p *Problem) Unwrap() error { return p.Err }

func invalid(sentence, hint string, err error) error {
	return &Problem{"signature_invalid", sentence, hint, err}
}

// Content types, in the dotted form in which they are compared.
const (
	Data     = "1.2.840.113549.1.7.1"
	Indirect = "1.3.6.1.4.1.311.2.1.4"     // SpcIndirectDataContent, of Authenticode
	TSTInfo  = "1.2.840.113549.1.9.16.1.4" // of a time stamp
)

const (
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

// Shape is what an object of some purpose must look like.
type Shape struct {
	Content  string // the type of what is signed
	What     string // the same in words, "the signed list"
	Detached bool   // what is signed stands elsewhere
	// Certificates that are not X.509 (attribute certificates) may stand beside
	// those that are, and revocation lists. They are passed over.
	Foreign bool
	// Exact: nothing stands where nobody signs it, but what Foreign allows, and what
	// [Object.Unsigned] and [Object.Certificates] give: no revocation lists, nothing in
	// the descriptions of algorithms, and nothing behind the parts of certificates.
	Exact           bool
	MaxCertificates int
}

// contentName is how a sentence calls the content type.
func (s Shape) contentName() string {
	if s.Content == Data {
		return "plain data"
	}
	return s.What
}

// Object is a CMS object of the right shape.
type Object struct {
	Leaf         *x509.Certificate   // the signer's
	Certificates []*x509.Certificate // all, leaf included
	// Content is what the signer's digest is over. Of a value that is no string
	// (Authenticode) that is its body, without tag and length.
	Content   []byte
	Hash      crypto.Hash // the signer's digest
	Signature []byte      // its value, which a time stamp is over
	Signed    map[string]cryptobyte.String
	Unsigned  cryptobyte.String // the body of the set, nobody looked at
	// SigningTime is when the signer says that it signed; zero: it says nothing.
	SigningTime time.Time

	what       string
	attributes cryptobyte.String // the body of the signed ones
	p7         *pkcs7.PKCS7
}

// Parse checks the form of a CMS object and reads it. The signature is not
// checked.
func Parse(object []byte, shape Shape) (*Object, error) {
	switch err := CheckDER(object); {
	case errors.Is(err, ErrIndefinite):
		return nil, invalid("the signature is in BER form", "sign without -stream", err)
	case errors.Is(err, ErrTrailing):
		return nil, invalid("bytes stand behind the signature", "publish what the signing tool wrote and nothing else", err)
	case err != nil:
		return nil, invalid("the signature is not strict DER", Hint, err)
	}
	r := reader{shape: shape}
	if err := r.signedData(object); err != nil {
		return nil, err
	}
	if r.foreign {
		object = r.rebuilt()
	}
	p7, err := pkcs7.Parse(object)
	if err != nil {
		return nil, invalid("the signature can not be read", Hint, err)
	}
	o := &r.object
	o.Leaf, o.Certificates, o.Content, o.p7, o.what = p7.GetOnlySigner(), p7.Certificates, p7.Content, p7, shape.What
	if p7.UnmarshalSignedAttribute(pkcs7.OIDAttributeSigningTime, &o.SigningTime) != nil {
		o.SigningTime = time.Time{}
	}
	if o.Leaf == nil {
		return nil, invalid("the signer's certificate is not in the signature", "sign without -nocerts, and with -certfile intermediate.pem", nil)
	}
	return o, nil
}

// Verify checks digest and signature, and that a time of signing, where one is
// stated, is within the certificate's validity. The leaf's key must be one whose
// signatures can be checked in bounded time, which the caller has to see to.
func (o *Object) Verify() error {
	if err := o.checkSigningTime(); err != nil {
		return err
	}
	if err := o.p7.Verify(); err != nil {
		return o.mismatch(err)
	}
	return nil
}

// VerifyDetached checks the signature of an object whose content stands elsewhere,
// which must have the digest that [Object.Digest] gives. (The library would want
// such content in memory as a whole.)
func (o *Object) VerifyDetached() error {
	if err := o.checkSigningTime(); err != nil {
		return err
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(o.attributes) })
	if err := o.Leaf.CheckSignature(signatureAlgorithm(o.Leaf, o.Hash), b.BytesOrPanic(), o.Signature); err != nil {
		return o.mismatch(err)
	}
	return nil
}

// Digest is what the signer says is the digest of the content, by o.Hash.
func (o *Object) Digest() []byte {
	stated := o.Signed[oidMessageDigest]
	var value cryptobyte.String
	stated.ReadASN1(&value, cbasn1.OCTET_STRING) // Parse saw that it is one
	return value
}

func signatureAlgorithm(leaf *x509.Certificate, hash crypto.Hash) x509.SignatureAlgorithm {
	type pair struct {
		rsa  bool
		hash crypto.Hash
	}
	_, isRSA := leaf.PublicKey.(*rsa.PublicKey)
	if _, isEC := leaf.PublicKey.(*ecdsa.PublicKey); !isRSA && !isEC {
		return x509.UnknownSignatureAlgorithm
	}
	return map[pair]x509.SignatureAlgorithm{
		{true, crypto.SHA256}: x509.SHA256WithRSA, {false, crypto.SHA256}: x509.ECDSAWithSHA256,
		{true, crypto.SHA384}: x509.SHA384WithRSA, {false, crypto.SHA384}: x509.ECDSAWithSHA384,
		{true, crypto.SHA512}: x509.SHA512WithRSA, {false, crypto.SHA512}: x509.ECDSAWithSHA512,
	}[pair{isRSA, hash}]
}

func (o *Object) mismatch(err error) error {
	return invalid("the signature does not match "+o.what, "the package was altered or damaged on its way, so publish it again", err)
}

// checkSigningTime says in better words what the library refuses, too: a time of
// signing, where one is stated, outside of the certificate's validity.
func (o *Object) checkSigningTime() error {
	if at := o.SigningTime; !at.IsZero() && (at.Before(o.Leaf.NotBefore) || at.After(o.Leaf.NotAfter)) {
		return &Problem{Code: "signer_expired", Sentence: "the signature was made outside of the validity of the signer's certificate",
			Hint: "check the clock of the machine that signs, and renew the certificate"}
	}
	return nil
}

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

// HashOf gives the digest with that identifier, and 0 for one that is unknown or
// weaker than SHA-256.
func HashOf(id asn1.ObjectIdentifier) crypto.Hash {
	switch id.String() {
	case oidSHA256:
		return crypto.SHA256
	case oidSHA384:
		return crypto.SHA384
	case oidSHA512:
		return crypto.SHA512
	}
	return 0
}

var (
	context0 = cbasn1.Tag(0).ContextSpecific().Constructed()
	context1 = cbasn1.Tag(1).ContextSpecific().Constructed()
	keyIDTag = cbasn1.Tag(0).ContextSpecific()
)

// reader walks an object, and refuses, each with its own sentence, every form
// that the library would misread, accept without need, or call by a name that
// helps nobody.
type reader struct {
	shape  Shape
	object Object

	// For rebuilt.
	foreign          bool
	front, back, bag cryptobyte.String
}

// signedData walks ContentInfo and SignedData (RFC 5652, section 5.1).
func (r *reader) signedData(object []byte) error {
	outer := cryptobyte.String(object)
	var info, explicit, sd, digests, encap, signers cryptobyte.String
	var kind, contentKind asn1.ObjectIdentifier
	if !outer.ReadASN1(&info, cbasn1.SEQUENCE) || !info.ReadASN1ObjectIdentifier(&kind) || kind.String() != oidSignedData {
		return invalid("the CMS object is not a signed one", Hint, nil)
	}
	var version int64
	if !info.ReadASN1(&explicit, context0) || !info.Empty() || !explicit.ReadASN1(&sd, cbasn1.SEQUENCE) || !explicit.Empty() {
		return malformed()
	}
	whole := sd
	if !sd.ReadASN1Integer(&version) || !r.known(version) || !sd.ReadASN1(&digests, cbasn1.SET) || !sd.ReadASN1(&encap, cbasn1.SEQUENCE) ||
		!encap.ReadASN1ObjectIdentifier(&contentKind) {
		return malformed()
	}
	r.front = whole[:len(whole)-len(sd)]
	if contentKind.String() != r.shape.Content {
		return invalid("what is signed is not "+r.shape.contentName(), "sign without -econtent_type", nil)
	}
	if err := r.content(encap); err != nil {
		return err
	}
	if err := r.certificates(&sd); err != nil {
		return err
	}
	lists := sd.PeekASN1Tag(context1)
	if !sd.SkipOptionalASN1(context1) {
		return malformed()
	}
	if lists && r.shape.Exact && !r.shape.Foreign {
		return invalid("revocation lists stand in the signature, where nobody signed them", Hint, nil)
	}
	r.foreign = r.foreign || lists && r.shape.Foreign
	r.back = sd
	if !sd.ReadASN1(&signers, cbasn1.SET) || !sd.Empty() {
		return malformed()
	}
	return r.signers(signers, digests)
}

// known tells a version that RFC 5652 or PKCS #7 has. Nobody signs the number, nor is
// anything decided by it.
func (r *reader) known(version int64) bool {
	return !r.shape.Exact || version >= 1 && version <= 5
}

func malformed() error {
	return invalid("the CMS object is not built as RFC 5652 says", Hint, nil)
}

// content wants data and time stamps to be a string, as CMS has it, and that of
// Authenticode to be a sequence, as the older PKCS #7 has it.
func (r *reader) content(encap cryptobyte.String) error {
	if r.shape.Detached {
		if !encap.Empty() {
			return invalid("the signature has a content of its own", "sign without -nodetach", nil)
		}
		return nil
	}
	if encap.Empty() {
		return invalid("the signature is detached from "+r.shape.What, "sign with -nodetach", nil)
	}
	tag := cbasn1.OCTET_STRING
	if r.shape.Content == Indirect {
		tag = cbasn1.SEQUENCE
	}
	var explicit, content cryptobyte.String
	if !encap.ReadASN1(&explicit, context0) || !encap.Empty() || !explicit.ReadASN1(&content, tag) || !explicit.Empty() {
		return malformed()
	}
	return nil
}

func (r *reader) certificates(sd *cryptobyte.String) error {
	var certs cryptobyte.String
	var present bool
	if !sd.ReadOptionalASN1(&certs, &present, context0) {
		return malformed()
	}
	if !present {
		return invalid("no certificate is in the signature", "sign without -nocerts, and with -certfile intermediate.pem", nil)
	}
	for n := 0; !certs.Empty(); n++ {
		var one cryptobyte.String
		var tag cbasn1.Tag
		if n == r.shape.MaxCertificates || !certs.ReadAnyASN1Element(&one, &tag) || tag != cbasn1.SEQUENCE && !r.foreignKind(tag) {
			return invalid("the certificates in the signature are too many or of an unknown kind", Hint, nil)
		}
		if tag != cbasn1.SEQUENCE {
			r.foreign = true
			continue
		}
		if r.shape.Exact && !threeParts(one) {
			return invalid("something stands behind a certificate in the signature", Hint, nil)
		}
		r.bag = append(r.bag, one...)
	}
	return nil
}

// threeParts tells whether a certificate has its three parts (RFC 5280, section 4.1) and
// nothing behind them, where x509 does not look and the issuer's signature does not reach.
func threeParts(certificate cryptobyte.String) bool {
	var parts cryptobyte.String
	return certificate.ReadASN1(&parts, cbasn1.SEQUENCE) && parts.SkipASN1(cbasn1.SEQUENCE) && parts.SkipASN1(cbasn1.SEQUENCE) &&
		parts.SkipASN1(cbasn1.BIT_STRING) && parts.Empty()
}

// foreignKind tells attribute certificates and the like (RFC 5652, section 10.2.2).
func (r *reader) foreignKind(tag cbasn1.Tag) bool {
	return r.shape.Foreign && tag >= context1 && tag <= context1+2
}

// rebuilt is the object without what the library can't read and nobody signed:
// foreign certificates and revocation lists.
func (r *reader) rebuilt() []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(pkcs7.OIDSignedData)
		b.AddASN1(context0, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddBytes(r.front)
				b.AddASN1(context0, func(b *cryptobyte.Builder) { b.AddBytes(r.bag) })
				b.AddBytes(r.back)
			})
		})
	})
	return b.BytesOrPanic()
}

// signers wants exactly one signer. None at all must be a refusal of its own:
// verifiers that looped over an empty set have accepted everything.
func (r *reader) signers(signers, digests cryptobyte.String) error {
	if signers.Empty() {
		return &Problem{Code: "signature_missing", Sentence: "the CMS object has no signer", Hint: Hint}
	}
	var signer cryptobyte.String
	if !signers.ReadASN1(&signer, cbasn1.SEQUENCE) {
		return malformed()
	}
	if !signers.Empty() {
		return invalid("the CMS object has more than one signer", "sign with one -signer", nil)
	}
	return r.signer(signer, digests)
}

// signer walks SignerInfo (RFC 5652, section 5.3). digests are those that the
// object announces.
func (r *reader) signer(s, digests cryptobyte.String) error {
	var version int64
	var name, digest, signature, value cryptobyte.String
	var hasAttributes, hasUnsigned bool
	o := &r.object
	if !s.ReadASN1Integer(&version) || !r.known(version) {
		return malformed()
	}
	if s.PeekASN1Tag(keyIDTag) {
		return invalid("the signer is named by a key identifier", "sign without -keyid", nil)
	}
	if !s.ReadASN1(&name, cbasn1.SEQUENCE) || !s.ReadASN1(&digest, cbasn1.SEQUENCE) ||
		!s.ReadOptionalASN1(&o.attributes, &hasAttributes, context0) || !s.ReadASN1(&signature, cbasn1.SEQUENCE) ||
		!s.ReadASN1(&value, cbasn1.OCTET_STRING) || !s.ReadOptionalASN1(&o.Unsigned, &hasUnsigned, context1) || !s.Empty() {
		return malformed()
	}
	if r.shape.Exact && (!name.SkipASN1(cbasn1.SEQUENCE) || !name.SkipASN1(cbasn1.INTEGER) || !name.Empty()) {
		return malformed() // the library passes over what stands behind the two
	}
	o.Signature = value
	if err := r.algorithms(digest, signature, digests); err != nil {
		return err
	}
	// Without signed attributes a signature is over the bare content, and then
	// any signature with attributes is also one over its own attributes.
	if !hasAttributes {
		return invalid("the signature has no signed attributes", "sign without -noattr", nil)
	}
	return r.signedAttributes()
}

func (r *reader) algorithms(digest, signature, announced cryptobyte.String) error {
	var d, s asn1.ObjectIdentifier
	if !digest.ReadASN1ObjectIdentifier(&d) || !signature.ReadASN1ObjectIdentifier(&s) {
		return malformed()
	}
	if s.String() == oidRSAPSS || s.String() == oidEd25519 {
		return invalid("the signature is RSA-PSS or Ed25519", "sign with RSA PKCS 1 v1.5, that is without -keyopt rsa_padding_mode, or with an ECDSA key on P-256, P-384 or P-521", nil)
	}
	pairs := signatureFor(d.String())
	if pairs == nil {
		return invalid("the signature's digest is weaker than SHA-256 or unknown", "sign with -md sha256", nil)
	}
	if !slices.Contains(pairs, s.String()) {
		return invalid("the signature's algorithm does not go with its digest", Hint, nil)
	}
	if r.shape.Exact && !(plain(digest) && plain(signature) && plainAndAlone(announced)) {
		return invalid("more stands in the descriptions of algorithms than they need", Hint, nil)
	}
	r.object.Hash = HashOf(d)
	return checkAnnounced(d, announced)
}

// plain tells whether parameters are none, in one of the two ways to say so.
func plain(parameters cryptobyte.String) bool {
	return parameters.Empty() || bytes.Equal(parameters, []byte{5, 0})
}

func plainAndAlone(algorithms cryptobyte.String) bool {
	var one cryptobyte.String
	return algorithms.ReadASN1(&one, cbasn1.SEQUENCE) && algorithms.Empty() && one.SkipASN1(cbasn1.OBJECT_IDENTIFIER) && plain(one)
}

// checkAnnounced wants the signer's digest among those that stand in front of
// the content. OpenSSL does; the library does not look.
func checkAnnounced(digest asn1.ObjectIdentifier, announced cryptobyte.String) error {
	for !announced.Empty() {
		var one cryptobyte.String
		var kind asn1.ObjectIdentifier
		if !announced.ReadASN1(&one, cbasn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&kind) {
			return malformed()
		}
		if kind.Equal(digest) {
			return nil
		}
	}
	return invalid("the CMS object does not announce the digest of its signature", Hint, nil)
}

// signedAttributes wants, among them, content type and message digest. The
// digest's value is compared later. The library sorts the attributes before it
// checks the signature, which OpenSSL does not, so they must come sorted.
func (r *reader) signedAttributes() (err error) {
	if !sorted(r.object.attributes) {
		return malformed()
	}
	if r.object.Signed, err = Attributes(r.object.attributes); err != nil {
		return err
	}
	contentType, digest := r.object.Signed[oidContentType], r.object.Signed[oidMessageDigest]
	var of asn1.ObjectIdentifier
	if !contentType.ReadASN1ObjectIdentifier(&of) || of.String() != r.shape.Content {
		return invalid("the signed content type is not "+r.shape.contentName(), Hint, nil)
	}
	if !digest.PeekASN1Tag(cbasn1.OCTET_STRING) {
		return invalid("the signature has no message digest", Hint, nil)
	}
	return nil
}

func sorted(set cryptobyte.String) bool {
	var last cryptobyte.String
	for !set.Empty() {
		var one cryptobyte.String
		if !set.ReadASN1Element(&one, cbasn1.SEQUENCE) || bytes.Compare(last, one) > 0 {
			return false
		}
		last = one
	}
	return true
}

// Attributes reads the body of a set of attributes, each of which must stand
// there once and have one value. It gives the values, whole, by their types.
func Attributes(set cryptobyte.String) (map[string]cryptobyte.String, error) {
	seen := map[string]cryptobyte.String{}
	for !set.Empty() {
		var one, values, first cryptobyte.String
		var kind asn1.ObjectIdentifier
		var tag cbasn1.Tag
		if !set.ReadASN1(&one, cbasn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&kind) ||
			!one.ReadASN1(&values, cbasn1.SET) || !one.Empty() || !values.ReadAnyASN1Element(&first, &tag) || !values.Empty() {
			return nil, malformed()
		}
		if _, twice := seen[kind.String()]; twice {
			return nil, invalid("an attribute of the signature stands twice", Hint, nil)
		}
		seen[kind.String()] = first
	}
	return seen, nil
}
