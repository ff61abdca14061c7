package verifier

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // for the rows that sign with it
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestVerifyAccepts(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	object := p.message(t).encode(t)
	s, err := p.trust(t).Verify(object, soon)
	want{}.check(t, err)
	if !reflect.DeepEqual(s.List, aList()) || s.Digest != sha256.Sum256(p.message(t).content) || s.Revoked {
		t.Errorf("got %+v", s)
	}
	if len(s.Chain) != 3 || !s.Chain[0].Equal(p.leaf.cert) || !s.Chain[2].Equal(p.root.cert) {
		t.Errorf("the chain has %d certificates", len(s.Chain))
	}
}

// Messages that no signing tool writes, and what we say to them.
func TestVerifyCrafted(t *testing.T) {
	t.Parallel()
	p, stranger := newPKI(t), newPKI(t)
	garbled := func(signed []byte) []byte { return enc(signed) }
	for name, row := range map[string]struct {
		edit func(*message)
		want want
	}{
		"as it should be":     {func(*message) {}, want{}},
		"with the root":       {func(m *message) { m.bag = append(m.bag, p.root.cert.Raw) }, want{}},
		"bag the other way":   {func(m *message) { slices.Reverse(m.bag) }, want{}},
		"leaf twice":          {func(m *message) { m.bag = append(m.bag, p.leaf.cert.Raw) }, want{}},
		"strangers in bag":    {func(m *message) { m.bag = append(m.bag, stranger.root.cert.Raw, stranger.leaf.cert.Raw) }, want{}},
		"without signingTime": {func(m *message) { m.editAttributes = func(a [][]byte) [][]byte { return a[:2] } }, want{}},
		"16 certificates":     {func(m *message) { m.bag = append(m.bag, slices.Repeat([][]byte{p.root.cert.Raw}, 14)...) }, want{}},
		"17 certificates": {func(m *message) { m.bag = append(m.bag, slices.Repeat([][]byte{p.root.cert.Raw}, 15)...) },
			want{SignatureInvalid, "too many", "openssl"}},
		"certificate of another kind": {func(m *message) { m.bag = append(m.bag, der(0xa1, enc(1))) },
			want{SignatureInvalid, "unknown kind", ""}},
		"certificate that is none": {func(m *message) { m.bag = append(m.bag, der(0x30, enc(1))) },
			want{SignatureInvalid, "can not be read", ""}},
		"no certificates":           {func(m *message) { m.bag = nil }, want{SignatureInvalid, "no certificate", "-nocerts"}},
		"intermediate only":         {func(m *message) { m.bag = m.bag[1:] }, want{SignatureInvalid, "signer's certificate is not in", "-nocerts"}},
		"without the intermediate":  {func(m *message) { m.bag = m.bag[:1] }, want{SignerUntrusted, "no root", "-certfile"}},
		"no signer":                 {func(m *message) { m.editSigners = func([][]byte) [][]byte { return nil } }, want{SignatureMissing, "no signer", "openssl"}},
		"signer that is none":       {func(m *message) { m.editSigners = func([][]byte) [][]byte { return [][]byte{enc(1)} } }, want{SignatureInvalid, "RFC 5652", ""}},
		"empty signer":              {func(m *message) { m.editSigners = func([][]byte) [][]byte { return [][]byte{der(0x30)} } }, want{SignatureInvalid, "RFC 5652", ""}},
		"one signer twice":          {func(m *message) { m.editSigners = func(s [][]byte) [][]byte { return append(s, s[0]) } }, want{SignatureInvalid, "more than one", "one -signer"}},
		"a good and a bad signer":   {func(m *message) { m.editSigners = func(s [][]byte) [][]byte { return append(s, enc(1)) } }, want{SignatureInvalid, "more than one", ""}},
		"no attributes":             {func(m *message) { m.noAttributes = true }, want{SignatureInvalid, "no signed attributes", "-noattr"}},
		"empty attributes":          {func(m *message) { m.editAttributes = func([][]byte) [][]byte { return nil } }, want{SignatureInvalid, "signed content type", ""}},
		"no content type":           {func(m *message) { m.editAttributes = func(a [][]byte) [][]byte { return a[1:] } }, want{SignatureInvalid, "signed content type", ""}},
		"no message digest":         {func(m *message) { m.editAttributes = func(a [][]byte) [][]byte { return a[:1] } }, want{SignatureInvalid, "no message digest", ""}},
		"other signed content type": {func(m *message) { m.editAttributes = otherContentType }, want{SignatureInvalid, "signed content type", ""}},
		"empty message digest":      {func(m *message) { m.editAttributes = digestAttribute(enc([]byte{})) }, want{SignatureInvalid, "does not match", ""}},
		"message digest a number":   {func(m *message) { m.editAttributes = digestAttribute(enc(1)) }, want{SignatureInvalid, "no message digest", ""}},
		"two values":                {func(m *message) { m.editAttributes = twoValues }, want{SignatureInvalid, "RFC 5652", ""}},
		"no value":                  {func(m *message) { m.editAttributes = noValue }, want{SignatureInvalid, "RFC 5652", ""}},
		"attribute twice":           {func(m *message) { m.editAttributes = func(a [][]byte) [][]byte { return append(a, a[1]) } }, want{SignatureInvalid, "stands twice", ""}},
		"attribute with two values of its own": {func(m *message) {
			m.editAttributes = func(a [][]byte) [][]byte { return append(a, attribute(oidMessageDigest, enc(make([]byte, 32)))) }
		}, want{SignatureInvalid, "stands twice", ""}},
		"attributes out of order": {func(m *message) {
			m.transmit = func(a [][]byte) [][]byte { slices.Reverse(a); return a }
		}, want{SignatureInvalid, "RFC 5652", ""}},
		"content swapped":       {func(m *message) { m.replaceContent = listJSON(t, func(l *List) { l.Arch = "arm64" }) }, want{SignatureInvalid, "does not match", "altered"}},
		"content emptied":       {func(m *message) { m.replaceContent = []byte{} }, want{SignatureInvalid, "does not match", ""}},
		"detached":              {func(m *message) { m.detached = true }, want{SignatureInvalid, "detached", "-nodetach"}},
		"other content type":    {func(m *message) { m.contentType = oid("1.3.6.1.4.1.311.2.1.4") }, want{SignatureInvalid, "not plain data", "-econtent_type"}},
		"garbage for signature": {func(m *message) { m.sign = garbled }, want{SignatureInvalid, "does not match", ""}},
		"empty signature":       {func(m *message) { m.sign = func([]byte) []byte { return nil } }, want{SignatureInvalid, "does not match", ""}},
		"signed by a stranger":  {func(m *message) { m.sign = signWith(t, stranger.leaf.key) }, want{SignatureInvalid, "does not match", ""}},
		"digest among others":   {func(m *message) { m.announced = []asn1.ObjectIdentifier{oid(oidSHA512), oid(oidSHA256)} }, want{}},
		"digest not announced": {func(m *message) { m.announced = []asn1.ObjectIdentifier{oid(oidSHA512)} },
			want{SignatureInvalid, "does not announce the digest", "openssl"}},
		"no digest announced":  {func(m *message) { m.announced = []asn1.ObjectIdentifier{} }, want{SignatureInvalid, "does not announce the digest", ""}},
		"digest that is none":  {func(m *message) { m.announced = []asn1.ObjectIdentifier{oid("1.2")}; m.digest = oid("1.2") }, want{SignatureInvalid, "weaker than SHA-256", ""}},
		"SHA-384 with SHA-256": {func(m *message) { m.digest = oid(oidSHA384) }, want{SignatureInvalid, "does not go with", ""}},
		"SHA-1 by name":        {func(m *message) { m.digest = oid("1.3.14.3.2.26") }, want{SignatureInvalid, "weaker than SHA-256", "-md sha256"}},
		"SHA-1 in both names": {func(m *message) { m.digest, m.alg = oid("1.3.14.3.2.26"), oid("1.2.840.10045.4.1") },
			want{SignatureInvalid, "weaker than SHA-256", "-md sha256"}},
		"SHA-224":           {func(m *message) { m.digest = oid("2.16.840.1.101.3.4.2.4") }, want{SignatureInvalid, "weaker than SHA-256", ""}},
		"ECDSA with SHA-1":  {func(m *message) { m.alg = oid("1.2.840.10045.4.1") }, want{SignatureInvalid, "does not go with", ""}},
		"RSA by an EC key":  {func(m *message) { m.alg = oid(oidRSA) }, want{SignatureInvalid, "does not match", ""}},
		"RSA-PSS":           {func(m *message) { m.alg = oid(oidRSAPSS) }, want{SignatureInvalid, "RSA-PSS or Ed25519", "rsa_padding_mode"}},
		"Ed25519":           {func(m *message) { m.alg, m.digest = oid(oidEd25519), oid(oidSHA512) }, want{SignatureInvalid, "RSA-PSS or Ed25519", "P-256"}},
		"signed too early":  {func(m *message) { m.signedAt = base.Add(-time.Second) }, want{SignerExpired, "outside of the validity", "clock"}},
		"signed too late":   {func(m *message) { m.signedAt = base.AddDate(1, 0, 1) }, want{SignerExpired, "outside of the validity", "clock"}},
		"a list that isn't": {func(m *message) { m.content = []byte("<html>") }, want{ListMalformed, "rules", "-binary"}},
		"no content at all": {func(m *message) { m.content = []byte{} }, want{ListMalformed, "rules", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := p.trust(t).Verify(p.message(t).with(row.edit).encode(t), soon)
			row.want.check(t, err)
		})
	}
}

func otherContentType(a [][]byte) [][]byte {
	return append(a[1:], attribute(oidContentType, enc(oid("1.3.6.1.4.1.311.2.1.4"))))
}

func digestAttribute(value []byte) func([][]byte) [][]byte {
	return func(a [][]byte) [][]byte { return [][]byte{a[0], attribute(oidMessageDigest, value)} }
}

func twoValues(a [][]byte) [][]byte {
	two := der(0x30, enc(oid(oidMessageDigest)), der(0x31, enc(make([]byte, 32)), enc(make([]byte, 32))))
	return [][]byte{a[0], two}
}

func noValue(a [][]byte) [][]byte {
	return [][]byte{a[0], der(0x30, enc(oid(oidMessageDigest)), der(0x31))}
}

func signWith(t *testing.T, key crypto.Signer) func([]byte) []byte {
	return func(signed []byte) []byte {
		sum := sha256.Sum256(signed)
		out, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
		must(t, err)
		return out
	}
}

// A signature over attributes is a good one, without attributes, over content
// that is those attributes. And the other way round.
func TestVerifyAttributesAsContent(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	m := p.message(t)
	attributes := der(0x31, m.attributes()...)
	signature := signWith(t, p.leaf.key)(attributes)
	m.content, m.noAttributes = attributes, true
	m.sign = func([]byte) []byte { return signature }
	_, err := p.trust(t).Verify(m.encode(t), soon)
	want{SignatureInvalid, "no signed attributes", "-noattr"}.check(t, err)
}

// Anything but a signed list, in the place of one.
func TestVerifyForm(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	good := p.message(t).encode(t)
	var info struct {
		Kind    asn1.ObjectIdentifier
		Content asn1.RawValue
	}
	if _, err := asn1.Unmarshal(good, &info); err != nil {
		t.Fatal(err)
	}
	flipped := func(at int) []byte { b := bytes.Clone(good); b[at] ^= 1; return b }
	for name, row := range map[string]struct {
		object []byte
		want   want
	}{
		"nothing":         {nil, want{SignatureMissing, "empty", "openssl"}},
		"a web page":      {[]byte("<!DOCTYPE html><title>404</title>"), want{SignatureInvalid, "not a CMS object", "web page"}},
		"S/MIME":          {[]byte("MIME-Version: 1.0\n"), want{SignatureInvalid, "not a CMS object", ""}},
		"the list itself": {listJSON(t), want{SignatureInvalid, "not a CMS object", ""}},
		"PEM":             {[]byte("-----BEGIN CMS-----\n"), want{SignatureInvalid, "PEM", "-outform DER"}},
		"cut":             {good[:len(good)-1], want{SignatureInvalid, "strict DER", ""}},
		"byte behind":     {append(bytes.Clone(good), '\n'), want{SignatureInvalid, "behind", "nothing else"}},
		"twice":           {append(bytes.Clone(good), good...), want{SignatureInvalid, "behind", ""}},
		"BER":             {slices.Concat([]byte{0x30, 0x80}, good[4:], []byte{0, 0}), want{SignatureInvalid, "BER", "-stream"}},
		"too large":       {make([]byte, MaxListSize+1), want{SignatureInvalid, "larger", ""}},
		"deep":            {nested(33), want{SignatureInvalid, "strict DER", ""}},
		"a certificate":   {p.leaf.cert.Raw, want{SignatureInvalid, "not a signed one", ""}},
		"enveloped data":  {der(0x30, enc(oid("1.2.840.113549.1.7.3")), info.Content.FullBytes), want{SignatureInvalid, "not a signed one", ""}},
		"empty object":    {der(0x30), want{SignatureInvalid, "not a signed one", ""}},
		"no SignedData":   {der(0x30, enc(oid(oidSignedData))), want{SignatureInvalid, "RFC 5652", ""}},
		"empty SignedData": {der(0x30, enc(oid(oidSignedData)), der(0xa0, der(0x30))),
			want{SignatureInvalid, "RFC 5652", ""}},
		"something behind SignedData": {der(0x30, enc(oid(oidSignedData)), info.Content.FullBytes, enc(1)), want{SignatureInvalid, "RFC 5652", ""}},
		"last byte flipped":           {flipped(len(good) - 1), want{SignatureInvalid, "does not match", ""}},
		"list flipped":                {flipped(bytes.Index(good, []byte("mdatp"))), want{SignatureInvalid, "does not match", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := p.trust(t).Verify(row.object, soon)
			row.want.check(t, err)
		})
	}
}

// Every single bit of a package counts: no flip of one gives a list other than
// the signed one.
func TestVerifyEveryBit(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	trust, good := p.trust(t), p.message(t).encode(t)
	for i := range good {
		object := bytes.Clone(good)
		object[i] ^= 1 << (i % 8)
		if s, err := trust.Verify(object, soon); err == nil && !reflect.DeepEqual(s.List, aList()) {
			t.Fatalf("byte %d was changed, and with it the list", i)
		}
	}
}

// The signer's certificate is the one that is checked, even where another has
// the same issuer and serial number.
func TestVerifyForgedTwin(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	forger := issue(t, "intermediate", nil, nil, aCA)
	twin := issue(t, "leaf", &forger, nil, func(c *x509.Certificate) { c.SerialNumber = p.leaf.cert.SerialNumber })
	for name, row := range map[string]struct {
		bag  []party
		want want
	}{
		"forged first":           {[]party{twin, p.leaf, p.inter}, want{SignerUntrusted, "no root", ""}},
		"real first":             {[]party{p.leaf, twin, p.inter}, want{SignatureInvalid, "does not match", ""}},
		"forged CA comes along":  {[]party{twin, p.leaf, p.inter, forger}, want{SignerUntrusted, "no root", ""}},
		"forged CA stands first": {[]party{forger, twin, p.inter, p.leaf}, want{SignerUntrusted, "no root", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := p.trust(t).Verify(messageBy(twin, listJSON(t), row.bag...).encode(t), soon)
			row.want.check(t, err)
		})
	}
	t.Run("real signer, forged twin behind", func(t *testing.T) {
		t.Parallel()
		_, err := p.trust(t).Verify(messageBy(p.leaf, listJSON(t), p.leaf, twin, p.inter).encode(t), soon)
		want{}.check(t, err)
	})
}

// What the leaf's certificate must say.
func TestVerifyLeaf(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	usage := func(ku x509.KeyUsage, eku ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.KeyUsage, c.ExtKeyUsage = ku, eku }
	}
	const sign = x509.KeyUsageDigitalSignature
	critical := func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: oid("1.2.3.4"), Critical: true, Value: enc(1)}}
	}
	for name, row := range map[string]struct {
		edit func(*x509.Certificate)
		want want
	}{
		"code signing and more":  {usage(sign, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageCodeSigning), want{}},
		"no basicConstraints":    {func(c *x509.Certificate) { c.BasicConstraintsValid = false }, want{}},
		"TLS server":             {usage(sign, x509.ExtKeyUsageServerAuth), want{SignerUntrusted, "not made for code signing", "codeSigning"}},
		"S/MIME":                 {usage(sign, x509.ExtKeyUsageEmailProtection), want{SignerUntrusted, "not made for code signing", "codeSigning"}},
		"any usage":              {usage(sign, x509.ExtKeyUsageAny), want{SignerUntrusted, "not made for code signing", ""}},
		"no extended usage":      {usage(sign), want{SignerUntrusted, "not made for code signing", ""}},
		"no digitalSignature":    {usage(x509.KeyUsageContentCommitment, x509.ExtKeyUsageCodeSigning), want{SignerUntrusted, "digital signatures", "digitalSignature"}},
		"no key usage":           {usage(0, x509.ExtKeyUsageCodeSigning), want{SignerUntrusted, "digital signatures", ""}},
		"a CA":                   {func(c *x509.Certificate) { c.IsCA = true }, want{SignerUntrusted, "CA itself", "CA false"}},
		"unknown critical field": {critical, want{SignerUntrusted, "no chain for code signing", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leaf := issue(t, "leaf", &p.inter, nil, row.edit)
			_, err := p.trust(t).Verify(messageBy(leaf, listJSON(t), leaf, p.inter).encode(t), soon)
			row.want.check(t, err)
		})
	}
	for name, signer := range map[string]party{"root": p.root, "intermediate": p.inter} {
		t.Run(name+" signs", func(t *testing.T) {
			t.Parallel()
			_, err := p.trust(t).Verify(messageBy(signer, listJSON(t), signer, p.inter).encode(t), soon)
			want{SignerUntrusted, "CA itself", "CA false"}.check(t, err)
		})
	}
}

// What the CAs above it must be.
func TestVerifyIntermediate(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	weak := want{SignerUntrusted, "weak key or signature", "2048"}
	noChain := want{SignerUntrusted, "no chain for code signing", "extended key usages"}
	names := func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.org"}
	}
	host := func(c *x509.Certificate) { c.DNSNames = []string{"example.com"} }
	for name, row := range map[string]struct {
		key   crypto.Signer
		inter func(*x509.Certificate)
		leaf  func(*x509.Certificate)
		want  want
	}{
		"RSA-1024":               {key: rsaKey(t, 1024), want: weak},
		"P-224":                  {key: ecKey(t, elliptic.P224()), want: weak},
		"P-521":                  {key: ecKey(t, elliptic.P521())},
		"for TLS only":           {inter: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, want: noChain},
		"for code signing":       {inter: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }},
		"no CA":                  {inter: func(c *x509.Certificate) { c.IsCA = false }, want: want{SignerUntrusted, "no root", ""}},
		"not for certificates":   {inter: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }, want: want{SignerUntrusted, "no root", ""}},
		"names that do not bind": {inter: names},
		"names that bind":        {inter: names, leaf: host, want: noChain},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nothing := func(*x509.Certificate) {}
			if row.inter == nil {
				row.inter = nothing
			}
			if row.leaf == nil {
				row.leaf = nothing
			}
			inter := issue(t, "other intermediate", &p.root, row.key, aCA, row.inter)
			leaf := issue(t, "leaf", &inter, nil, row.leaf)
			_, err := p.trust(t).Verify(messageBy(leaf, listJSON(t), leaf, inter).encode(t), soon)
			row.want.check(t, err)
		})
	}
	t.Run("path too long", func(t *testing.T) {
		t.Parallel()
		first := issue(t, "first", &p.root, nil, aCA, func(c *x509.Certificate) { c.MaxPathLenZero = true })
		second := issue(t, "second", &first, nil, aCA)
		leaf := issue(t, "leaf", &second, nil)
		_, err := p.trust(t).Verify(messageBy(leaf, listJSON(t), leaf, second, first).encode(t), soon)
		noChain.check(t, err)
	})
}

// Checking one signature of a key of half a million bits, which fits into a
// list, takes ten seconds. Nobody gets to make us do that.
func TestVerifyHugeKey(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	n := new(big.Int).Lsh(big.NewInt(1), 240_000)
	huge := &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 1<<31 - 1}
	certify := func(name string, edits ...func(*x509.Certificate)) party {
		template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, NotBefore: base,
			NotAfter: base.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
		for _, edit := range edits {
			edit(template)
		}
		raw, err := x509.CreateCertificate(rand.Reader, template, p.inter.cert, huge, p.inter.key)
		must(t, err)
		cert, err := x509.ParseCertificate(raw)
		must(t, err)
		return party{cert, nil}
	}
	long := bytes.Repeat([]byte{1}, 30_000)
	forger := issue(t, "huge CA", nil, rsaKey(t, 2048), aCA)
	start := time.Now()
	t.Run("signer", func(t *testing.T) {
		m := messageBy(certify("huge"), listJSON(t))
		m.bag, m.alg, m.sign = [][]byte{m.signer.cert.Raw}, oid(oidRSA), func([]byte) []byte { return long[:5000] }
		_, err := p.trust(t).Verify(m.encode(t), soon)
		want{SignerUntrusted, "more than 8192 bits", "2048 to 4096"}.check(t, err)
	})
	t.Run("issuer", func(t *testing.T) {
		// The leaf claims to be issued by it, so that x509 would try its key.
		ca := certify("huge CA", aCA, func(c *x509.Certificate) { c.BasicConstraintsValid = true })
		// It bears a signature of that key's length, lest the library see at once
		// that it can't be one.
		leaf := issue(t, "leaf", &forger, nil)
		sha256RSA := der(0x30, enc(oid("1.2.840.113549.1.1.11")), []byte{5, 0})
		raw := der(0x30, leaf.cert.RawTBSCertificate, sha256RSA, der(3, []byte{0, 0}, long))
		cert, err := x509.ParseCertificate(raw)
		must(t, err)
		leaf.cert = cert
		_, err = p.trust(t).Verify(messageBy(leaf, listJSON(t), leaf, ca).encode(t), soon)
		want{SignerUntrusted, "no root", ""}.check(t, err)
	})
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
}

// Tools that show a package read it without trust, but not without checks.
func TestReadClaims(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	c, err := ReadClaims(p.message(t).encode(t))
	must(t, err)
	if !reflect.DeepEqual(c.List, aList()) || !c.Leaf.Equal(p.leaf.cert) || len(c.Certificates) != 2 {
		t.Errorf("got %+v", c)
	}
	_, err = ReadClaims(p.message(t).with(func(m *message) { m.noAttributes = true }).encode(t))
	want{SignatureInvalid, "no signed attributes", ""}.check(t, err)
	_, err = ReadClaims(p.message(t).with(func(m *message) { m.content = []byte("{}") }).encode(t))
	want{ListMalformed, "rules", ""}.check(t, err)
	if !strings.Contains(err.Error(), "its type is unknown") {
		t.Errorf("the cause is lost: %v", err)
	}
}
