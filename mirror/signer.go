package mirror

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"time"

	"go.mozilla.org/pkcs7"

	"mdatp-offline-agent/verifier"
)

// Signer signs lists. Key must be an *rsa.PrivateKey or *ecdsa.PrivateKey; for
// a key that can't leave its module, build unsigned, sign with openssl cms, and
// Attach.
type Signer struct {
	Key  crypto.Signer
	Leaf *x509.Certificate
	// Intermediates are the certificates above the leaf, in any order. The
	// leaf's issuer must be among them, even where that is the root. A root is
	// used to check the signer, and is not put into what is signed.
	Intermediates []*x509.Certificate
}

// Sign makes the CMS object of a signed list: the list attached, SHA-256,
// signed attributes, leaf and intermediates inside. It does not judge the
// signer; LoadSigner and Build do.
func (s Signer) Sign(list []byte) (p7m []byte, err error) {
	if s.Key == nil || s.Leaf == nil {
		return nil, signError(errors.New("no key or no certificate"))
	}
	sd, err := pkcs7.NewSignedData(list)
	if err != nil {
		return nil, signError(err)
	}
	sd.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256) // the library's default is SHA-1
	if err := sd.AddSigner(s.Leaf, s.Key, pkcs7.SignerInfoConfig{}); err != nil {
		return nil, signError(err)
	}
	for _, c := range s.Intermediates {
		if !selfSigned(c) {
			sd.AddCertificate(c)
		}
	}
	if p7m, err = sd.Finish(); err != nil {
		return nil, signError(err)
	}
	return p7m, nil
}

// SignList writes a list's JSON and signs it.
func SignList(list *verifier.List, s Signer) ([]byte, error) {
	data, err := verifier.MarshalList(list)
	if err != nil {
		return nil, badList(err)
	}
	return s.Sign(data)
}

func signError(err error) error {
	return usage("the list can not be signed with this key", "use an RSA key, or an ECDSA key on P-256, P-384 or P-521", err)
}

// selfSigned tells a root, which endpoints have and a signature need not bring.
func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(c) == nil
}

// trust is what an endpoint would trust that has the certificates above the
// leaf as its roots. The real root need not be at hand on the machine that
// signs.
func (s Signer) trust() (verifier.Trust, error) {
	var pems []byte
	for _, c := range s.Intermediates {
		pems = append(pems, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	if len(pems) == 0 {
		return verifier.Trust{}, usage("the certificate of the signer's issuer is missing", "give it with --cert, or the root's where the root itself issued the signer", nil)
	}
	trust, err := verifier.NewTrust([]verifier.TrustFile{{Name: "signer.pem", Data: pems}}, nil)
	if err != nil {
		return verifier.Trust{}, usage("a certificate beside the signer's can not be an issuer", "give certificates of CAs with strong keys only", err)
	}
	return trust, nil
}

// check signs a small list and has the verifier judge it, so that the policy
// for signers is written in one place only. It gives the chain, leaf first, up
// to the highest certificate at hand. at is the time at which the chain must
// hold.
func (s Signer) check(at time.Time) ([]*x509.Certificate, error) {
	trust, err := s.trust()
	if err != nil {
		return nil, err
	}
	at = at.UTC().Truncate(time.Second)
	object, err := SignList(&verifier.List{
		Product: "probe", Platform: "probe", Arch: "probe", Rings: []string{"probe"},
		Engine: verifier.Version{1}, Definition: verifier.Version{1},
		Released: at, Issued: at, Expires: at.Add(time.Second), Files: []verifier.File{{Name: "probe"}},
	}, s)
	if err != nil {
		return nil, err
	}
	signed, err := trust.Verify(object, at)
	if err != nil {
		return nil, err
	}
	return signed.Chain, nil
}
