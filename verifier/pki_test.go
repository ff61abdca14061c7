package verifier

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

// What the tests of this package share: certificates and lists of any date, and
// a CMS builder that can also build what no signing tool writes.

// The tests live in a time of their own, so that nothing depends on the day on
// which they run. CAs are valid from base less a year, for ten years; leaves
// from base, for a year; lists are issued a day after base.
var (
	base   = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	issued = base.Add(24 * time.Hour)
	soon   = base.Add(48 * time.Hour) // an ordinary now
)

// party is somebody with a certificate and its key.
type party struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func (p party) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})
}

func (p party) keyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ecKey(t testing.TB, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	must(t, err)
	return key
}

func rsaKey(t testing.TB, bits int) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	must(t, err)
	return key
}

// issue makes a certificate. Who has no parent signs itself; who has no key gets
// one on P-256. Edits come last, so that a test says only what is unusual.
func issue(t testing.TB, name string, parent *party, key crypto.Signer, edits ...func(*x509.Certificate)) party {
	t.Helper()
	if key == nil {
		key = ecKey(t, elliptic.P256())
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{CommonName: name},
		NotBefore: base, NotAfter: base.AddDate(1, 0, 0), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	for _, edit := range edits {
		edit(template)
	}
	signer := party{template, key}
	if parent != nil {
		signer = *parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, key.Public(), signer.key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return party{cert, key}
}

// aCA turns the template into a CA's.
func aCA(c *x509.Certificate) {
	c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
	c.NotBefore, c.NotAfter = base.AddDate(-1, 0, 0), base.AddDate(9, 0, 0)
}

// valid sets the time in which a certificate is valid.
func valid(from, to time.Time) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, to }
}

// pki is the ordinary case: a root, an intermediate, a leaf.
type pki struct{ root, inter, leaf party }

func newPKI(t testing.TB) pki {
	t.Helper()
	root := issue(t, "root", nil, nil, aCA)
	inter := issue(t, "intermediate", &root, nil, aCA)
	return pki{root, inter, issue(t, "leaf", &inter, nil)}
}

func (p pki) trust(t testing.TB, pins ...Pin) Trust { return trusting(t, pins, p.root) }

func trusting(t testing.TB, pins []Pin, roots ...party) Trust {
	t.Helper()
	var files []TrustFile
	for i, r := range roots {
		files = append(files, TrustFile{Name: string(rune('a'+i)) + ".pem", Data: r.pem()})
	}
	trust, err := NewTrust(files, pins)
	must(t, err)
	return trust
}

// message is a signed list of this PKI's leaf that is in order.
func (p pki) message(t testing.TB) message {
	return messageBy(p.leaf, listJSON(t), p.leaf, p.inter)
}

// aList is a list that is in order.
func aList() *List {
	return &List{
		Product: "mdatp", Platform: "linux", Arch: "x86_64", Rings: []string{"production"},
		Engine: Version{1, 1, 24080, 9}, Definition: Version{1, 407, 417, 0},
		Released: issued.Add(-time.Hour), Issued: issued, Expires: issued.AddDate(0, 0, 14),
		Files: []File{{"mpavbase.vdm", 8, sha256.Sum256([]byte("mpavbase"))}, {"mpasbase.vdm", 3, sha256.Sum256([]byte("abc"))}},
	}
}

func listJSON(t testing.TB, edits ...func(*List)) []byte {
	t.Helper()
	l := aList()
	for _, edit := range edits {
		edit(l)
	}
	data, err := MarshalList(l)
	must(t, err)
	return data
}

// message is what a CMS object is built from. Rows of tests change a field, or
// change the built form by the hooks.
type message struct {
	content     []byte
	contentType asn1.ObjectIdentifier
	signer      party
	bag         [][]byte
	hash        crypto.Hash
	digest, alg asn1.ObjectIdentifier
	announced   []asn1.ObjectIdentifier // instead of digest, in front of the content
	signedAt    time.Time
	detached    bool

	editAttributes func([][]byte) [][]byte    // of the encoded attributes, before they are signed
	editSigners    func([][]byte) [][]byte    // of the encoded SignerInfos
	transmit       func([][]byte) [][]byte    // of the attributes, after they are signed
	sign           func(signed []byte) []byte // instead of the signer's key
	noAttributes   bool
	replaceContent []byte // after it is signed
}

func oid(dotted string) asn1.ObjectIdentifier {
	var id asn1.ObjectIdentifier
	for part := range strings.SplitSeq(dotted, ".") {
		n, _ := new(big.Int).SetString(part, 10)
		id = append(id, int(n.Int64()))
	}
	return id
}

func messageBy(signer party, content []byte, bag ...party) message {
	m := message{
		content: content, contentType: oid(oidData), signer: signer, hash: crypto.SHA256,
		digest: oid(oidSHA256), alg: oid("1.2.840.10045.4.3.2"), signedAt: issued,
	}
	if _, ok := signer.key.(*rsa.PrivateKey); ok {
		m.alg = oid(oidRSA)
	}
	for _, p := range bag {
		m.bag = append(m.bag, p.cert.Raw)
	}
	return m
}

func (m message) with(edit func(*message)) message {
	edit(&m)
	return m
}

// der joins parts into one element with that tag.
func der(tag byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	out, err := asn1.Marshal(asn1.RawValue{Class: int(tag >> 6), Tag: int(tag & 0x1f), IsCompound: tag&0x20 != 0, Bytes: body})
	if err != nil {
		panic(err) // a fault of the test itself
	}
	return out
}

// enc is the DER form of a plain value.
func enc(v any) []byte {
	out, err := asn1.Marshal(v)
	if err != nil {
		panic(err)
	}
	return out
}

func attribute(kind string, value []byte) []byte {
	return der(0x30, enc(oid(kind)), der(0x31, value))
}

const (
	oidData          = "1.2.840.113549.1.7.1"
	oidSignedData    = "1.2.840.113549.1.7.2"
	oidContentType   = "1.2.840.113549.1.9.3"
	oidMessageDigest = "1.2.840.113549.1.9.4"
	oidSigningTime   = "1.2.840.113549.1.9.5"
	oidSHA256        = "2.16.840.1.101.3.4.2.1"
	oidSHA384        = "2.16.840.1.101.3.4.2.2"
	oidSHA512        = "2.16.840.1.101.3.4.2.3"
	oidRSA           = "1.2.840.113549.1.1.1"
	oidRSAPSS        = "1.2.840.113549.1.1.10"
	oidEd25519       = "1.3.101.112"
)

// nested is that many sequences in each other.
func nested(depth int) []byte {
	var out []byte
	for range depth {
		out = der(0x30, out)
	}
	return out
}

func (m message) attributes() [][]byte {
	h := m.hash.New()
	h.Write(m.content)
	attrs := [][]byte{
		attribute(oidContentType, enc(m.contentType)),
		attribute(oidMessageDigest, enc(h.Sum(nil))),
		attribute(oidSigningTime, enc(m.signedAt)),
	}
	if m.editAttributes != nil {
		attrs = m.editAttributes(attrs)
	}
	slices.SortFunc(attrs, bytes.Compare)
	return attrs
}

// signerInfo is the SignerInfo of RFC 5652, section 5.3.
func (m message) signerInfo(t testing.TB) []byte {
	t.Helper()
	signed, transmitted := m.content, []byte(nil)
	if !m.noAttributes {
		attrs := m.attributes()
		signed = der(0x31, attrs...)
		if m.transmit != nil {
			attrs = m.transmit(attrs)
		}
		transmitted = der(0xa0, attrs...)
	}
	var signature []byte
	if m.sign != nil {
		signature = m.sign(signed)
	} else {
		h := m.hash.New()
		h.Write(signed)
		var err error
		signature, err = m.signer.key.Sign(rand.Reader, h.Sum(nil), m.hash)
		must(t, err)
	}
	name := der(0x30, m.signer.cert.RawIssuer, enc(m.signer.cert.SerialNumber))
	return der(0x30, enc(1), name, der(0x30, enc(m.digest)), transmitted, der(0x30, enc(m.alg)), enc(signature))
}

// encode builds the whole object.
func (m message) encode(t testing.TB) []byte {
	t.Helper()
	signers := [][]byte{m.signerInfo(t)}
	if m.editSigners != nil {
		signers = m.editSigners(signers)
	}
	content := m.content
	if m.replaceContent != nil {
		content = m.replaceContent
	}
	explicit := der(0xa0, enc(content))
	if m.detached {
		explicit = nil
	}
	var certs []byte
	if m.bag != nil {
		certs = der(0xa0, m.bag...)
	}
	if m.announced == nil {
		m.announced = []asn1.ObjectIdentifier{m.digest}
	}
	var digests []byte
	for _, d := range m.announced {
		digests = append(digests, der(0x30, enc(d))...)
	}
	sd := der(0x30, enc(1), der(0x31, digests), der(0x30, enc(m.contentType), explicit), certs, der(0x31, signers...))
	return der(0x30, enc(oid(oidSignedData)), der(0xa0, sd))
}

// want is what a row expects of a refusal. The zero value expects none.
type want struct {
	code     Code
	sentence string // a part of it
	hint     string // a part of it
}

// check compares, and gives the refusal's sentence.
func (w want) check(t testing.TB, err error) string {
	t.Helper()
	if w.code == "" {
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		return ""
	}
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("got %v, want a refusal with %s", err, w.code)
	}
	code, sentence, hint := r.Reason()
	if code != string(w.code) || !strings.Contains(sentence, w.sentence) || !strings.Contains(hint, w.hint) || hint == "" {
		t.Fatalf("got %v (hint: %s), want %s with %q and hint %q", err, hint, w.code, w.sentence, w.hint)
	}
	if strings.ContainsAny(sentence, "\"\n") || strings.Contains(sentence, " : ") || strings.HasSuffix(sentence, ".") {
		t.Fatalf("sentence is not fit for a report: %q", sentence)
	}
	return sentence
}
