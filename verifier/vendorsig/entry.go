package vendorsig

import (
	"crypto/x509"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/internal/cms"
)

// issuerOf gives the certificate beside a signature that issued the signer's; nil:
// it is not there.
func issuerOf(o *cms.Object) *x509.Certificate {
	for _, c := range o.Certificates {
		if issued(c, o.Leaf) {
			return c
		}
	}
	return nil
}

// issuer is who issued the signer's certificate: by the verified chain, else by what
// lies beside the signature; nil: unknown.
func (s Signer) issuer() *x509.Certificate {
	if len(s.Chain) > 1 {
		return s.Chain[1]
	}
	return s.above
}

// IssuerPin is the pin of the CA that issued the signer's certificate; empty: unknown.
func (s Signer) IssuerPin() string {
	if c := s.issuer(); c != nil {
		return verifier.PinOf(c).String()
	}
	return ""
}

// PinText gives the pin of the signer in the form that [ParsePin] reads, by its issuer
// and its subject. It is empty where the issuer is unknown, or the subject is not one to
// be shown as it is.
func (s Signer) PinText() string {
	issuer := s.issuer()
	if issuer == nil {
		return ""
	}
	text := s.IssuerPin() + ":" + bySubject + ":" + s.Subject
	if pin, err := ParsePin(text); err != nil || !pin.names([]*x509.Certificate{s.Certificate, issuer}) {
		return ""
	}
	return text
}
