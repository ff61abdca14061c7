package vendorsig

import (
	"bytes"
	"crypto"
	_ "crypto/sha256" // what signers may use
	_ "crypto/sha512"
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/internal/cms"
)

// Identifiers of Microsoft's "Windows Authenticode Portable Executable Signature
// Format".
const (
	oidPEImage      = "1.3.6.1.4.1.311.2.1.15"
	oidNested       = "1.3.6.1.4.1.311.2.4.1"
	oidStamp        = "1.3.6.1.4.1.311.3.3.1"
	oidCounterSign  = "1.2.840.113549.1.9.6"       // the kind of time stamp before RFC 3161
	oidStampOfCMS   = "1.2.840.113549.1.9.16.2.14" // RFC 3161, appendix A
	maxCertificates = 16
)

// oidLifetimeSigning is the usage of a signer whose time stamps are not meant to
// make signatures outlive the certificate.
var oidLifetimeSigning = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 10, 3, 13}

var authenticodeShape = cms.Shape{Content: cms.Indirect, What: "the digest of a PE file", Exact: true, MaxCertificates: maxCertificates}

// verifyPE judges the signature inside of a PE file. What is cheap comes first, the
// pass over the file last.
func verifyPE(f File, pe *peFile, trust verifier.Trust, clock verifier.Clock) (Signature, error) {
	s := Signature{Kind: Authenticode}
	if err := pe.checkTable(f.Size); err != nil {
		return s, err
	}
	object, err := pe.signature(f.Content)
	if err != nil {
		return s, err
	}
	if err := s.verifyEmbedded(object, trust, clock); err != nil {
		return s, err
	}
	digest, err := pe.digest(f, s.Digest)
	if err == nil && !bytes.Equal(digest, s.Sum) {
		err = altered()
	}
	return s, err
}

// verifyEmbedded judges an Authenticode signature without the file, and learns the
// digest that the file must have.
func (s *Signature) verifyEmbedded(object []byte, trust verifier.Trust, clock verifier.Clock) error {
	o, err := s.open(object, authenticodeShape)
	if err != nil {
		return err
	}
	if err := o.Verify(); err != nil {
		return hinted(err)
	}
	if s.Sum, s.PageHashes, err = readIndirect(o.Content, o.Hash); err != nil {
		return err
	}
	return s.judge(o, oidStamp, trust, clock)
}

// open reads an object of that shape. Its signature is yet to be checked.
func (s *Signature) open(object []byte, shape cms.Shape) (*cms.Object, error) {
	o, err := cms.Parse(object, shape)
	if err != nil {
		return nil, hinted(err)
	}
	s.Digest, s.Signer, s.SigningTime = o.Hash, signerOf(o.Leaf), o.SigningTime
	if err := verifier.CheckKey(o.Leaf); err != nil {
		return nil, hinted(err)
	}
	s.Signer.above = issuerOf(o)
	return o, nil
}

// readIndirect reads the body of SpcIndirectDataContent: what kind of thing was
// hashed, and the digest, which must be by the signer's own algorithm.
func readIndirect(content cryptobyte.String, hash crypto.Hash) (digest []byte, pageHashes bool, err error) {
	var data, info, algorithm, value cryptobyte.String
	var kind, by asn1.ObjectIdentifier
	if !content.ReadASN1(&data, cbasn1.SEQUENCE) || !content.ReadASN1(&info, cbasn1.SEQUENCE) || !content.Empty() ||
		!data.ReadASN1ObjectIdentifier(&kind) || !info.ReadASN1(&algorithm, cbasn1.SEQUENCE) ||
		!info.ReadASN1(&value, cbasn1.OCTET_STRING) || !info.Empty() || !algorithm.ReadASN1ObjectIdentifier(&by) {
		return nil, false, invalid("what is signed is not built as Authenticode says")
	}
	if kind.String() != oidPEImage {
		return nil, false, invalid("what is signed is not a PE file")
	}
	if got := cms.HashOf(by); got == 0 || got != hash || len(value) != hash.Size() {
		return nil, false, invalid("the digest of the file is weak, or not that of the signature")
	}
	return value, hasPageHashes(data), nil
}

// hasPageHashes looks at SpcPeImageData { flags, [0] { file } }: they are a
// serialized object, [1], in place of a file's name.
func hasPageHashes(image cryptobyte.String) bool {
	outer, inner := cbasn1.Tag(0).ContextSpecific().Constructed(), cbasn1.Tag(1).ContextSpecific().Constructed()
	var data, file cryptobyte.String
	return image.ReadASN1(&data, cbasn1.SEQUENCE) && data.SkipASN1(cbasn1.BIT_STRING) && data.ReadASN1(&file, outer) && file.PeekASN1Tag(inner)
}

// timeStampOf gives the time stamp, nil where there is none. Anything else that
// nobody signed is refused: it is a place for bytes of anybody.
func timeStampOf(o *cms.Object, stampType string) ([]byte, error) {
	attributes, err := cms.Attributes(o.Unsigned)
	if err != nil {
		return nil, hinted(err)
	}
	for kind := range attributes {
		switch kind {
		case stampType:
		case oidNested:
			return nil, invalid("another signature is nested in the signature")
		case oidCounterSign:
			return nil, invalid("the time stamp is of the kind before RFC 3161")
		default:
			return nil, invalid("something stands beside the signature that nobody signed")
		}
	}
	return attributes[stampType], nil
}
