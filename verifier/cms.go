package verifier

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"

	"mdatp-offline-agent/verifier/internal/cms"
)

// listShape is what the CMS object of a signed list looks like.
var listShape = cms.Shape{Content: cms.Data, What: "the signed list", MaxCertificates: MaxCertificates}

// openCMS checks the form of a CMS object and its one signature, and gives the
// signed content, the signer's certificate and the other certificates. It says
// nothing about who the signer is.
func openCMS(object []byte) (content []byte, leaf *x509.Certificate, bag []*x509.Certificate, err error) {
	if err := checkForm(object); err != nil {
		return nil, nil, nil, err
	}
	o, err := cms.Parse(object, listShape)
	if err != nil {
		return nil, nil, nil, ofProblem(err)
	}
	if err := CheckKey(o.Leaf); err != nil {
		return nil, nil, nil, err
	}
	// Verify checks digest and signature; it looks at no chain, which is
	// trust.go's part.
	if err := o.Verify(); err != nil {
		return nil, nil, nil, ofProblem(err)
	}
	return o.Content, o.Leaf, o.Certificates, nil
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

// ofProblem is the refusal for what package cms found.
func ofProblem(err error) error {
	var p *cms.Problem
	if !errors.As(err, &p) {
		return err
	}
	return &Refusal{Code: Code(p.Code), Sentence: p.Sentence, Hint: p.Hint, Err: p.Err}
}

func invalid(sentence, hint string) error { return refuse(SignatureInvalid, sentence, hint) }

// derSequence is the first byte of whatever this package reads in DER.
const derSequence = 0x30

// checkForm tells from its first bytes what is no CMS object at all.
func checkForm(object []byte) error {
	if len(object) == 0 {
		return refuse(SignatureMissing, "the signature is empty", cms.Hint)
	}
	if len(object) > MaxListSize {
		return invalid("the signature is larger than a signed list may be", "leave out unneeded certificates")
	}
	if bytes.HasPrefix(object, []byte("-----BEGIN")) {
		return invalid("the signature is in PEM form", "sign with -outform DER")
	}
	if object[0] != derSequence {
		return invalid("the signature is not a CMS object", "whatever answered is no signed list, perhaps a web page, so check the mirror's address")
	}
	return nil
}
