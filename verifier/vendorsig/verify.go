package vendorsig

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"slices"
	"time"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/internal/cms"
)

// The limits, in bytes. A genuine signature has some 10 KiB; page hashes add 36
// bytes for each 4 KiB of the file.
const (
	MaxSignature = 1 << 20
	maxHeaders   = 64 << 10 // of a PE file
	maxResource  = 64 << 10 // its version resource
	maxShown     = 256      // a name out of a certificate
	copyBuffer   = 256 << 10
)

// Kind is what kind of signature a file has.
type Kind string

// The kinds.
const (
	None         Kind = "none"
	Authenticode Kind = "authenticode" // inside of a PE file
	Detached     Kind = "cms"          // beside it, as NAME.sig
	Unknown      Kind = "unknown"      // nobody knows what it is, or where it would be
)

// File is a file to be judged. Its content must not change meanwhile.
type File struct {
	Content io.ReaderAt
	Size    int64
	Sig     []byte // content of NAME.sig; nil where there is none
}

// Signature is what was found out about a file's signature. Unless [Verify] gives
// no error, all of it is merely what somebody wrote, and good for nothing but to be
// shown; fields that were not reached are empty.
type Signature struct {
	Kind   Kind
	Digest crypto.Hash // 0 where unknown
	Sum    []byte      // by it, what was signed: of a PE file as Authenticode has it, else of all of the file
	Signer Signer
	// SigningTime is when the signer says that it signed, by its own clock; zero: it says
	// nothing. Nobody else can change it.
	SigningTime time.Time
	TimeStamp   *TimeStamp // nil: there is none
	PageHashes  bool       // there are some, and they were not compared
}

// Signer is who signed. Texts are fit to be shown.
type Signer struct {
	Subject, Issuer     string
	Serial              string // hexadecimal
	Pin                 verifier.Pin
	NotBefore, NotAfter time.Time
	Certificate         *x509.Certificate
	Chain               []*x509.Certificate // verified, leaf first; nil where it was not

	above *x509.Certificate // of the issuer, as it lies beside the signature; nil: it does not
}

// TimeStamp is who says when the signature existed.
type TimeStamp struct {
	Time   time.Time
	Signer Signer
}

// Verify judges the signature of a file. One inside of the file is preferred, and
// then nobody looks at f.Sig. The error is a [verifier.Refusal] with one of the
// codes signature_missing (also for an unknown kind), signature_invalid,
// content_mismatch, signer_untrusted, signer_expired, signer_revoked,
// issued_in_future or trust_invalid; or what reading the file gave.
func Verify(f File, trust verifier.Trust, clock verifier.Clock) (Signature, error) {
	pe, err := readPE(f.Content, f.Size)
	switch {
	case err == nil && pe.signed():
		return verifyPE(f, pe, trust, clock)
	case err != nil && !errors.Is(err, errNotPE):
		return Signature{Kind: Unknown}, err
	case f.Sig == nil:
		return Signature{Kind: None}, refuse(verifier.SignatureMissing, "the file has no signature, neither inside nor beside it", "get the file from its vendor anew, or publish one that the vendor signed")
	}
	return verifyDetached(f, trust, clock)
}

func refuse(code verifier.Code, sentence, hint string) error {
	return &verifier.Refusal{Code: code, Sentence: sentence, Hint: hint}
}

// damaged is the hint for what can't be right as it came.
const damaged = "get the file from its vendor anew, since it was altered or damaged, or its vendor signs in a way that is not known here"

func invalid(sentence string) error { return refuse(verifier.SignatureInvalid, sentence, damaged) }

// hinted gives a refusal of the functions for signed lists the hint of this
// package: whoever reads it did not sign the file.
func hinted(err error) error {
	var p *cms.Problem
	if errors.As(err, &p) {
		return &verifier.Refusal{Code: verifier.Code(p.Code), Sentence: p.Sentence, Hint: damaged, Err: p.Err}
	}
	var r *verifier.Refusal
	if !errors.As(err, &r) {
		return err
	}
	copied := *r
	switch r.Code {
	case verifier.SignerUntrusted:
		copied.Hint = "put the vendor's root, and that of its time stamps, into trust/vendor if you trust them, and check the pins for vendors"
	case verifier.SignerExpired:
		copied.Hint = "a file without a time stamp is good for as long as its signer's certificate, so get a newer one"
	}
	return &copied
}

// stamped makes a refusal one of the time stamp.
func stamped(err error) error {
	err = hinted(err)
	var r *verifier.Refusal
	if !errors.As(err, &r) {
		return err
	}
	copied := *r
	copied.Sentence = "the time stamp can not be used, since " + r.Sentence
	return &copied
}

// nameText gives the whole of a distinguished name, its last part first (RFC 2253); empty
// where it can't be read. That of a [pkix.Name] has one of several common names, and the
// parts in an order of its own.
func nameText(raw []byte) string {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &name); err != nil || len(rest) > 0 {
		return ""
	}
	return name.String()
}

func signerOf(c *x509.Certificate) Signer {
	return Signer{
		Subject: printable.Text(nameText(c.RawSubject), maxShown), Issuer: printable.Text(nameText(c.RawIssuer), maxShown),
		Serial: c.SerialNumber.Text(16), Pin: verifier.PinOf(c), NotBefore: c.NotBefore, NotAfter: c.NotAfter, Certificate: c,
	}
}

// judge is what both kinds have in common: an object whose signature was checked,
// but not that it is over the file. It fills in what it learns.
func (s *Signature) judge(o *cms.Object, stampType string, trust verifier.Trust, clock verifier.Clock) error {
	if err := checkUsage(o.Leaf, "signer", x509.ExtKeyUsageCodeSigning); err != nil {
		return err
	}
	if err := checkBag(o); err != nil {
		return err
	}
	token, err := timeStampOf(o, stampType)
	if err != nil {
		return err
	}
	at := clock.Time
	if token != nil {
		if s.TimeStamp, err = verifyTimeStamp(token, o.Signature, trust, clock); err != nil {
			return stamped(err)
		}
		at = s.TimeStamp.Time
	}
	chain, err := trust.Chain(o.Leaf, o.Certificates, at, verifier.SignCode)
	if err == nil && slices.ContainsFunc(o.Leaf.UnknownExtKeyUsage, oidLifetimeSigning.Equal) {
		_, err = trust.Chain(o.Leaf, o.Certificates, clock.Time, verifier.SignCode)
	}
	if err != nil {
		return hinted(err)
	}
	if err := checkIssuers(o, trust); err != nil {
		return err
	}
	s.Signer.Chain = chain
	return nil
}

// checkUsage is the policy for leaves: an end entity made for the purpose, and
// saying so. A certificate without extended usages counts as good for anything in
// x509. One without key usages may be used for all; Microsoft's have none.
func checkUsage(c *x509.Certificate, whose string, usage x509.ExtKeyUsage) error {
	const signs = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment
	hint := "no root helps here, so ask the vendor what it signs with"
	switch {
	case c.IsCA:
		return refuse(verifier.SignerUntrusted, "the "+whose+" is a CA itself", hint)
	case !slices.Contains(c.ExtKeyUsage, usage):
		return refuse(verifier.SignerUntrusted, "the "+whose+"'s certificate is not made for that", hint)
	case c.KeyUsage != 0 && c.KeyUsage&signs == 0:
		return refuse(verifier.SignerUntrusted, "the "+whose+"'s certificate does not allow digital signatures", hint)
	}
	return nil
}

// checkBag wants every certificate beside the signature to be of somebody who
// issued the signer's, directly or not, as far as names and keys tell. Nobody signs the
// bag, and people have kept all sorts of things in a certificate that nobody asked for.
func checkBag(o *cms.Object) error {
	above := func(k, c *x509.Certificate) bool { return k.Equal(c) || issued(c, k) }
	if !reaches([]*x509.Certificate{o.Leaf}, o.Certificates, above) {
		return invalid("a certificate is beside the signature that has nothing to do with the signer")
	}
	return nil
}

// checkIssuers wants every certificate beside the signature to be signed by somebody who
// is trusted, directly or not, or to be the self-signed one of who signed such a one: a
// certificate with the name and the key of a CA can be written by anybody, and hold
// anything. So one of a CA that a CA which is not trusted certified, too, is refused.
func checkIssuers(o *cms.Object, trust verifier.Trust) error {
	genuine := func(k, c *x509.Certificate) bool { return k.Equal(c) || issued(k, c) || issued(c, k) && issued(c, c) }
	if !reaches(trust.Roots(), o.Certificates, genuine) {
		return refuse(verifier.SignatureInvalid, "a certificate is beside the signature of which nobody who is trusted says that it is genuine",
			"if the vendor's CA was certified by another one as well, put the root of that one into trust/vendor, too; else get the file from its vendor anew")
	}
	return nil
}

// reaches tells whether all of the bag are reached from those that are known, step by step.
func reaches(known, bag []*x509.Certificate, step func(from, to *x509.Certificate) bool) bool {
	for len(bag) > 0 {
		var next, rest []*x509.Certificate
		for _, c := range bag {
			if slices.ContainsFunc(known, func(k *x509.Certificate) bool { return step(k, c) }) {
				next = append(next, c)
			} else {
				rest = append(rest, c)
			}
		}
		if len(next) == 0 {
			return false
		}
		known, bag = next, rest
	}
	return true
}

// issued tells whether c issued other. The key is looked at first, since checking
// a signature of a huge one takes seconds.
func issued(c, other *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, other.RawIssuer) && verifier.CheckKey(c) == nil && other.CheckSignatureFrom(c) == nil
}

// sum hashes the file from one offset up to another, in constant memory.
func sum(h io.Writer, f File, from, to int64) error {
	// Hidden behind a plain Writer and Reader, so that the buffer is used.
	_, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{io.NewSectionReader(f.Content, from, to-from)}, make([]byte, copyBuffer))
	return err
}

func altered() error {
	return refuse(verifier.ContentMismatch, "the file is not what was signed", "the file was altered or damaged on its way, so get it anew")
}
