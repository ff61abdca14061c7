package vendorsig

import (
	"crypto/x509"
	"strings"
	"testing"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

// The entry for the pins of vendors that is shown of a file pins its signer, whether or
// not somebody is trusted already. A subject that can't be shown as it is gives none.
func TestPinText(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for name, subject := range map[string]string{"short": "CN=Vendor,O=A: B", "long": "CN=" + strings.Repeat("V", maxShown), "odd": "CN=Ven\u202edor"} {
		sigtest.Issue(t, name, &l.inter, nil, func(c *x509.Certificate) {
			c.Subject.CommonName = strings.Split(strings.TrimPrefix(subject, "CN="), ",")[0]
			if strings.Contains(subject, "O=") {
				c.Subject.Organization = []string{"A: B"}
			}
		}).Write(t, l.dir, name, l.inter)
		file := l.sign(t, anImage().Encode(), name, stampArgs)
		for trusted, trust := range map[string]verifier.Trust{"trusted": l.trust(t), "unknown": {}} {
			s, err := verify(file, nil, trust, clock())
			if (err == nil) != (trusted == "trusted") {
				t.Fatalf("%s, %s: %v", name, trusted, err)
			}
			issuer := verifier.PinOf(l.inter.Cert).String()
			want := ""
			if name == "short" {
				want = issuer + ":subject:" + subject
			}
			if got := s.Signer.PinText(); got != want || s.Signer.IssuerPin() != issuer {
				t.Errorf("%s, %s: %q, want %q; of the issuer %s", name, trusted, got, want, s.Signer.IssuerPin())
			}
		}
	}
}
