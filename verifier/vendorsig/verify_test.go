package vendorsig

import (
	"crypto"
	"crypto/elliptic"
	"strings"
	"testing"

	"mdatp-offline-agent/verifier"
)

// Files signed as people sign them: every key and digest, with a time stamp and
// without, by each verifier. What is read of them is what was put in.
func TestSigned(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	url := l.authority(t)
	for _, row := range []struct {
		name string
		key  crypto.Signer
		hash string
	}{
		{"rsa2048", rsaKey(t, 2048), "sha256"}, {"rsa3072", rsaKey(t, 3072), "sha384"}, {"rsa4096", rsaKey(t, 4096), "sha256"}, {"rsa2048x512", rsaKey(t, 2048), "sha512"},
		{"p256", ecKey(t, elliptic.P256()), "sha256"}, {"p384", ecKey(t, elliptic.P384()), "sha384"}, {"p521", ecKey(t, elliptic.P521()), "sha512"},
	} {
		leaf := issue(t, "signer "+row.name, &l.inter, row.key)
		l.add(t, row.name, leaf, l.inter)
		for _, wide := range []bool{false, true} {
			for args, stamped := range map[string]bool{"": false, stampArgs: true, "-ts " + url: true, "-ph " + stampArgs: true} {
				m := anImage()
				m.wide = wide
				file := l.sign(t, m.encode(), row.name, "-h "+row.hash+" "+args)
				s, err := verify(file, nil, l.trust(t), clock())
				if err != nil {
					t.Fatalf("%s, wide: %v, %s: %v", row.name, wide, args, err)
				}
				if good, why := l.theirs(t, file); !good {
					t.Errorf("%s, wide: %v, %s: osslsigncode: %s", row.name, wide, args, why)
				}
				if s.Kind != Authenticode || s.Signer.Subject != "CN=signer "+row.name || s.Signer.Issuer != "CN=vendor issuer" || s.Signer.Pin != verifier.PinOf(leaf.cert) ||
					s.Signer.Serial != leaf.cert.SerialNumber.Text(16) || len(s.Signer.Chain) != 3 || s.PageHashes != strings.HasPrefix(args, "-ph") {
					t.Errorf("%+v", s)
				}
				if (s.TimeStamp != nil) != stamped || stamped && (s.TimeStamp.Signer.Subject != "CN=time" || len(s.TimeStamp.Signer.Chain) != 2 || clock().Time.Sub(s.TimeStamp.Time) < 0) {
					t.Errorf("%s: time stamp %+v", args, s.TimeStamp)
				}
			}
		}
	}
}
