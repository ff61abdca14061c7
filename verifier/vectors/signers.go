package main

import (
	"crypto/elliptic"
	"crypto/x509"
	"slices"
)

func withKeyID(c *x509.Certificate) { c.SubjectKeyId = []byte("the key of a vector") }

// endedRoot ended before the vectors are judged.
var endedRoot = issue("root that has ended", nil, p256("root that has ended"), aCA, valid("2026-01-01T00:00:00Z", "2026-11-24T00:00:00Z"))

const (
	untrusted = "signer_untrusted"
	expired   = "signer_expired"
	revoked   = "signer_revoked"
)

// signers are about whose signature it is.
func signers() (out []vector) {
	const sign = x509.KeyUsageDigitalSignature
	under := func(name string, edits ...func(*x509.Certificate)) party {
		return issue(name, &intermediate, p256(name), edits...)
	}
	by := func(p party, bag ...party) []byte { return signedBy(p, list(), bag...).encode() }
	timed := func(p party, when string, bag ...party) []byte {
		m := signedBy(p, list(), bag...)
		m.signedAt = at(when)
		return m.encode()
	}
	all := []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	ended := under("signer that has ended", valid("2026-01-01T00:00:00Z", "2026-11-24T00:00:00Z"))
	early := under("signer of the future", valid("2124-06-01T00:00:00Z", "2124-12-01T00:00:00Z"))
	endedCA := issue("intermediate that has ended", &root, p256("intermediate that has ended"), aCA, valid("2026-01-01T00:00:00Z", "2026-11-24T00:00:00Z"))
	tlsCA := issue("intermediate for web servers", &root, p256("intermediate for web servers"), aCA, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	weakCA := issue("intermediate with a weak key", &root, rsaKey(rsa1024), aCA)
	shortCA := issue("intermediate that may certify no other", &root, p256("intermediate that may certify no other"), aCA, func(c *x509.Certificate) { c.MaxPathLenZero = true })
	second := issue("second intermediate", &shortCA, p256("second intermediate"), aCA)
	forgedCA := issue("intermediate", nil, p256("forger"), aCA)
	twin := issue("signer", &forgedCA, p256("forged signer"))
	foreignCA := issue("intermediate of a stranger", &stranger, p256("intermediate of a stranger"), aCA)
	alone := issue("signer that signed itself", nil, p256("signer that signed itself"))
	direct := issue("signer right below the root", &root, p256("signer right below the root"))
	crossed := issue("root of a stranger", &root, stranger.key, aCA)
	twice := func(first, second party) []byte {
		m := signedBy(first, list(), intermediate)
		m.bag = slices.Insert(m.bag, 1, second.cert.Raw)
		return m.encode()
	}
	weak := issue("signer with RSA of 1024 bits", &intermediate, rsaKey(rsa1024))
	odd := issue("signer on P-224", &intermediate, keyOf("signer on P-224", elliptic.P224()))
	type row struct {
		name, what        string
		object            []byte
		trust             []string
		verdict, sentence string
		openssl, differs  string
	}
	for _, r := range []row{
		{"right-below-root", "the root itself issued the signer", by(direct), nil, good, "", good, ""},
		{"many-usages", "code signing among other uses", by(under("signer of many uses", usages(sign, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageCodeSigning)), intermediate), nil, good, "", good, ""},
		{"cross-signed", "the stranger's root was certified by ours", by(issue("signer below a cross-signed root", &crossed, p256("signer below a cross-signed root")), crossed), nil, good, "", good, ""},
		{"tls", "a certificate for web servers", by(under("web server", usages(sign, x509.ExtKeyUsageServerAuth)), intermediate), nil, untrusted, "not made for code signing", good, itsPurpose},
		{"mail", "a certificate for mail", by(under("mail", usages(sign, x509.ExtKeyUsageEmailProtection)), intermediate), nil, untrusted, "not made for code signing", good, itsPurpose},
		{"no-extended-usage", "a certificate that says nothing of its use", by(under("signer without a use", usages(sign)), intermediate), nil, untrusted, "not made for code signing", good, itsPurpose},
		{"any-usage", "a certificate for any use", by(under("signer for any use", usages(sign, x509.ExtKeyUsageAny)), intermediate), nil, untrusted, "not made for code signing", good, itsPurpose},
		{"no-digital-signature", "a certificate whose key may not sign", by(under("signer that may not sign", usages(x509.KeyUsageKeyEncipherment, all...)), intermediate), nil, untrusted, "does not allow digital signatures", good, itsPurpose},
		{"ca", "the intermediate itself signed", by(intermediate), nil, untrusted, "a CA itself", good, itsPurpose},
		{"root", "the root itself signed", by(root), nil, untrusted, "a CA itself", good, itsPurpose},
		{"ca-with-codesigning", "a CA that is also for code signing", by(under("CA that signs", aCA, usages(sign|x509.KeyUsageCertSign, all...)), intermediate), nil, untrusted, "a CA itself", good, itsPurpose},
		{"ca-for-tls", "the issuer is only for web servers", by(issue("signer below a CA for web servers", &tlsCA, p256("signer below a CA for web servers")), tlsCA), nil, untrusted, "no chain for code signing", good, itsPurpose},
		{"path-too-long", "the issuer's issuer may certify no other CA", by(issue("signer below a second intermediate", &second, p256("signer below a second intermediate")), second, shortCA), nil, untrusted, "no chain for code signing", refused, ""},
		{"rsa-1024", "RSA of 1024 bits", by(weak, intermediate), nil, untrusted, "too weak", good, itsPolicy},
		{"p-224", "a key on P-224", by(odd, intermediate), nil, untrusted, "too weak", good, itsPolicy},
		{"weak-issuer", "the issuer has RSA of 1024 bits", by(issue("signer below a weak CA", &weakCA, p256("signer below a weak CA")), weakCA), nil, untrusted, "weak key or signature", good, itsPolicy},
		{"self-signed", "a certificate that signed itself", by(alone), nil, untrusted, "no root of the trust directory", refused, ""},
		{"another-root", "a chain to a root that is not trusted", by(issue("signer of a stranger", &foreignCA, p256("signer of a stranger")), foreignCA), nil, untrusted, "no root of the trust directory", refused, ""},
		{"another-root-inside", "a chain to a root that is not trusted, and comes along", by(issue("signer of a stranger", &foreignCA, p256("signer of a stranger")), foreignCA, stranger), nil, untrusted, "no root of the trust directory", refused, ""},
		{"no-intermediate", "the issuer's certificate is not inside", by(leaf), nil, untrusted, "no root of the trust directory", refused, ""},
		{"forged-twin-first", "a forged signer with issuer and serial number of the real one, which stands behind it", twice(twin, leaf), nil, untrusted, "no root of the trust directory", refused, ""},
		{"forged-twin-behind", "the real signer, and behind it a forged one with its issuer and serial number", twice(leaf, twin), nil, good, "", good, ""},
		{"ended", "the signer's certificate has ended", timed(ended, "2026-11-23T08:00:00Z", intermediate), nil, expired, "has expired", refused, ""},
		{"ended-backdated", "the signer's certificate has ended, and the time of signing is dated back", timed(ended, "2026-01-02T00:00:00Z", intermediate), nil, expired, "has expired", refused, ""},
		{"ended-dated-today", "the signer's certificate had ended when it signed, as it says", timed(ended, "2026-12-01T00:00:00Z", intermediate), nil, expired, "outside of the validity", refused, ""},
		{"early", "the signer's certificate is not valid yet", timed(early, "2124-06-02T00:00:00Z", intermediate), nil, expired, "not valid yet", refused, ""},
		{"signed-before-valid", "the time of signing is before the certificate's first day", timed(leaf, "2025-12-31T23:59:59Z", intermediate), nil, expired, "outside of the validity", good, "openssl looks at its own time alone"},
		{"ended-intermediate", "the issuer's certificate has ended", by(issue("signer below an ended CA", &endedCA, p256("signer below an ended CA")), endedCA), nil, expired, "has expired", refused, ""},
		{"ended-root", "the root has ended", by(issue("signer below an ended root", &endedRoot, p256("signer below an ended root"))), []string{"ended-root.pem"}, expired, "has expired", refused, ""},
		{"revoked", "the signer is revoked", by(leaf, intermediate), []string{"root.pem", "none-revoked.crl", "signer-revoked.crl"}, revoked, "is revoked", refused, ""},
		{"revoked-stale", "the signer is revoked, by a list that should have been replaced by now", by(leaf, intermediate), []string{"root.pem", "none-revoked.crl", "signer-revoked-stale.crl"}, revoked, "is revoked", refused, ""},
		{"revoked-intermediate", "the signer's issuer is revoked", by(leaf, intermediate), []string{"root.pem", "intermediate-revoked.crl", "nobody-revoked.crl"}, revoked, "is revoked", refused, ""},
		{"revoked-by-one-of-two", "the signer is on the older of two lists of its issuer and not on the newer", by(leaf, intermediate), []string{"root.pem", "none-revoked.crl", "signer-revoked.crl", "nobody-revoked.crl"}, revoked, "is revoked", refused, ""},
		{"not-revoked", "another signer of the same issuer is revoked", signedBy(leafRSA, list(), intermediate).encode(), []string{"root.pem", "none-revoked.crl", "signer-revoked.crl"}, good, "", good, ""},
	} {
		out = append(out, vector{name: "signer-" + r.name, what: r.what, archive: pack(r.object), trust: r.trust,
			verdict: r.verdict, sentence: r.sentence, openssl: r.openssl, differs: r.differs})
	}
	return out
}
