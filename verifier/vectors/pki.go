package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/pem"
	"math/big"
	"strings"
	"time"
)

// Certificates are made anew in each run, from names and fixed times. Their
// subjects say what they are for, so that nobody takes one for a real one.
const mark = "TEST VECTOR, not for production"

// Making an RSA key is not deterministic, so these lie here. They are as public as
// this program is.
var (
	//go:embed rsa4096.key
	rsa4096 []byte
	//go:embed rsa3072.key
	rsa3072 []byte
	//go:embed rsa2048.key
	rsa2048 []byte
	//go:embed rsa1024.key
	rsa1024 []byte
)

// party is somebody with a certificate and its key.
type party struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // a fault of this program's own tables
	}
	return v
}

// keyOf makes a key on that curve out of a name. Whoever can read can make it,
// too, which is as it should be here.
func keyOf(name string, curve elliptic.Curve) crypto.Signer {
	sum := sha512.Sum512([]byte(mark + ": " + name))
	secret := append([]byte{0, 0}, sum[:]...) // P-521 wants 66 bytes, P-256 the last 32
	return must(ecdsa.ParseRawPrivateKey(curve, secret[len(secret)-(curve.Params().BitSize+7)/8:]))
}

func p256(name string) crypto.Signer { return keyOf(name, elliptic.P256()) }

func rsaKey(file []byte) crypto.Signer {
	block, _ := pem.Decode(file)
	return must(x509.ParsePKCS8PrivateKey(block.Bytes)).(crypto.Signer)
}

func edKey(name string) crypto.Signer {
	sum := sha256.Sum256([]byte(mark + ": " + name))
	return ed25519.NewKeyFromSeed(sum[:])
}

// issue makes a certificate. Who has no issuer signs itself. Edits come last, so
// that a table says only what is unusual.
func issue(name string, issuer *party, key crypto.Signer, edits ...func(*x509.Certificate)) party {
	serial := sha256.Sum256([]byte(name))
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial[:8]), Subject: pkix.Name{CommonName: mark + " (" + name + ")"},
		NotBefore: at("2026-01-01T00:00:00Z"), NotAfter: at("2125-01-01T00:00:00Z"), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	for _, edit := range edits {
		edit(template)
	}
	signer := party{template, key}
	if issuer != nil {
		signer = *issuer
	}
	der := must(x509.CreateCertificate(nil, template, signer.cert, key.Public(), signer.key))
	return party{must(x509.ParseCertificate(der)), key}
}

func aCA(c *x509.Certificate) {
	c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
}

func valid(from, to string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = at(from), at(to) }
}

func usages(use x509.KeyUsage, extended ...x509.ExtKeyUsage) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.KeyUsage, c.ExtKeyUsage = use, extended }
}

// The ordinary signer and those above it, and a stranger whom nobody trusts.
var (
	root         = issue("root", nil, p256("root"), aCA)
	intermediate = issue("intermediate", &root, p256("intermediate"), aCA)
	leaf         = issue("signer", &intermediate, p256("signer"))
	leafRSA      = issue("signer with RSA", &intermediate, rsaKey(rsa2048))
	stranger     = issue("root of a stranger", nil, p256("root of a stranger"), aCA)
)

// crl makes a revocation list.
func crl(ca party, number int64, until time.Time, revoked ...party) []byte {
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: at("2026-11-01T00:00:00Z"), NextUpdate: until}
	for _, p := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: p.cert.SerialNumber, RevocationTime: at("2026-10-01T00:00:00Z")})
	}
	return must(x509.CreateRevocationList(nil, list, ca.cert, ca.key))
}

// trustFiles gives the files of the trust directories, all in PEM.
func trustFiles() map[string][]byte {
	later, past := at("2125-01-01T00:00:00Z"), at("2026-11-02T00:00:00Z")
	certificate := func(p party) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})
	}
	list := func(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}) }
	return map[string][]byte{
		"root.pem":                 certificate(root),
		"vendor-root.pem":          certificate(vendorRoot),
		"time-root.pem":            certificate(timeRoot),
		"vendor-revoked.crl":       list(crl(vendorIssuer, 1, later, vendor)),
		"ended-root.pem":           certificate(endedRoot),
		"fuzzed-root.pem":          fuzzedFile("root.pem"),
		"none-revoked.crl":         list(crl(root, 1, later)),
		"nobody-revoked.crl":       list(crl(intermediate, 3, later)),
		"signer-revoked.crl":       list(crl(intermediate, 2, later, leaf)),
		"signer-revoked-stale.crl": list(crl(intermediate, 2, past, leaf)),
		"intermediate-revoked.crl": list(crl(root, 2, later, intermediate)),
	}
}

// words joins what belongs together in a sentence of a table.
func words(parts ...string) string { return strings.Join(parts, "; ") }

// swapped is data with one part replaced; a part that does not stand there once
// is a fault of a table.
func swapped(data []byte, from, to string) []byte {
	if bytes.Count(data, []byte(from)) != 1 {
		panic("not there once: " + from)
	}
	return bytes.Replace(data, []byte(from), []byte(to), 1)
}
