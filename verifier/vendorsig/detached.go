package vendorsig

import (
	"bytes"
	"encoding/pem"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/internal/cms"
)

// detachedShape has no room for attribute certificates: openssl cms makes none.
var detachedShape = cms.Shape{Content: cms.Data, What: "the file", Detached: true, Exact: true, MaxCertificates: maxCertificates}

// verifyDetached judges the signature beside a file.
func verifyDetached(f File, trust verifier.Trust, clock verifier.Clock) (Signature, error) {
	if len(f.Sig) == 0 {
		return Signature{Kind: None}, refuse(verifier.SignatureMissing, "the signature beside the file is empty", "get file and signature from their vendor anew")
	}
	object, known := cmsObject(f.Sig)
	if !known {
		return Signature{Kind: Unknown}, refuse(verifier.SignatureMissing, "the signature beside the file is of a kind that is not known here",
			"nothing can be said about the file, so get it and its signature from their vendor anew, or publish one that the vendor signed in a known way")
	}
	s := Signature{Kind: Detached}
	if len(object) > MaxSignature {
		return s, invalid("the signature is larger than one may be")
	}
	o, err := s.open(object, detachedShape)
	if err != nil {
		return s, err
	}
	if err := o.VerifyDetached(); err != nil {
		return s, hinted(err)
	}
	if err := s.judge(o, oidStampOfCMS, trust, clock); err != nil {
		return s, err
	}
	s.Sum = o.Digest()
	h := o.Hash.New()
	err = sum(h, f, 0, f.Size)
	if err == nil && !bytes.Equal(h.Sum(nil), s.Sum) {
		err = altered()
	}
	return s, err
}

// unarmoured takes a signature out of the PEM form in which openssl writes it, line ends
// of either kind. PEM has room for bytes of anybody, in front of a block, in its headers
// and its type, so any other form is left as it is.
func unarmoured(sig []byte) []byte {
	block, _ := pem.Decode(sig)
	if block == nil || block.Type != "CMS" && block.Type != "PKCS7" {
		return sig
	}
	text := pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})
	if !bytes.Equal(sig, text) && !bytes.Equal(sig, bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))) {
		return sig
	}
	return block.Bytes
}

// cmsObject gives the CMS object of a signature in DER or PEM. What does not begin
// like one is of another kind; what does, and is none after all, is for the parser
// to refuse.
func cmsObject(sig []byte) (object []byte, known bool) {
	sig = unarmoured(sig)
	// SEQUENCE, its length in whatever form, and the identifier of signed data.
	const sequence, longForm, maxLengthBytes = 0x30, 0x80, 4
	signedData := []byte{6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2}
	if len(sig) < 2 || sig[0] != sequence {
		return nil, false
	}
	header := 2
	if sig[1]&longForm != 0 {
		header += int(sig[1] &^ longForm)
	}
	return sig, header <= 2+maxLengthBytes && len(sig) > header && bytes.HasPrefix(sig[header:], signedData)
}
