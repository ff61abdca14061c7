// Package sigtest makes files as a vendor signs them, for tests: definitions as PE
// files that osslsigncode signs and stamps, and engines whose signatures are made by
// openssl. It skips a test, and says so, where one of the two is missing.
package sigtest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"debug/elf"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
	"unicode/utf16"

	"mdatp-offline-agent/verifier"
)

// Usage is an extended key usage that [Vendor.Signer] gives to each signer, beside
// that of code signing.
const Usage = "1.3.6.1.4.1.99999.7"

// Vendor is a vendor with a root, a CA that issues signers, and an authority for time
// stamps.
type Vendor struct {
	dir            string
	issuer         party
	Root, TimeRoot []byte // PEM
}

type party struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// The CAs outlast every test.
var from, to = time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// New makes a vendor, with no signer yet.
func New(t testing.TB) *Vendor {
	t.Helper()
	for _, program := range []string{"osslsigncode", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED: %s is missing; get it with: apt-get install %s", program, program)
		}
	}
	v := &Vendor{dir: t.TempDir()}
	ca := func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign }
	root := issue(t, "vendor root", nil, ecKey(t), ca)
	v.issuer = issue(t, "vendor issuer", &root, ecKey(t), ca)
	timeRoot := issue(t, "time root", nil, ecKey(t), ca)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	stamper := issue(t, "time", &timeRoot, key, func(c *x509.Certificate) { usages(t, c, true, "1.3.6.1.5.5.7.3.8") })
	v.Root, v.TimeRoot = pemOf(root), pemOf(timeRoot)
	v.write(t, "time", stamper, timeRoot)
	v.write(t, "issuer", v.issuer)
	return v
}

// Signer makes somebody who signs, under that common name, for as long.
func (v *Vendor) Signer(t testing.TB, name string, notBefore, notAfter time.Time) {
	t.Helper()
	v.write(t, name, issue(t, name, &v.issuer, ecKey(t), func(c *x509.Certificate) {
		usages(t, c, false, "1.3.6.1.5.5.7.3.3", Usage)
		c.NotBefore, c.NotAfter = notBefore, notAfter
	}), v.issuer)
}

// Issuer is the key of the CA that issued the signers.
func (v *Vendor) Issuer() verifier.Pin { return verifier.PinOf(v.issuer.cert) }

// Revoke gives a revocation list of the issuer, which names that signer.
func (v *Vendor) Revoke(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(v.dir, name+".pem"))
	must(t, err)
	block, _ := pem.Decode(data)
	c, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: from, NextUpdate: to,
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: c.SerialNumber, RevocationTime: from}}}, v.issuer.cert, v.issuer.key)
	must(t, err)
	return der
}

// Definitions gives a signed PE file that calls itself so, stamped where stamp is not
// zero. Files of different text are different.
func (v *Vendor) Definitions(t testing.TB, signer, name string, version verifier.Version, text string, stamp time.Time) []byte {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	must(t, os.WriteFile(in, image([]byte(text), versionInfo(name, version)), 0o600))
	args := []string{"sign", "-certs", signer + ".pem", "-key", signer + ".key", "-h", "sha256"}
	if !stamp.IsZero() {
		args = append(args, "-TSA-certs", "time.pem", "-TSA-key", "time.key", "-TSA-time", fmt.Sprint(stamp.Unix()), "-time", fmt.Sprint(stamp.Unix()))
	}
	v.run(t, "osslsigncode", append(args, "-in", in, "-out", out)...)
	signed, err := os.ReadFile(out)
	must(t, err)
	return signed
}

// Beside gives the detached signature of a file. Nobody says when it was made.
func (v *Vendor) Beside(t testing.TB, signer string, file []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	must(t, os.WriteFile(in, file, 0o600))
	v.run(t, "openssl", "cms", "-sign", "-in", in, "-signer", signer+".pem", "-inkey", signer+".key", "-certfile", "issuer.pem",
		"-binary", "-nosmimecap", "-outform", "DER", "-md", "sha256", "-out", out)
	sig, err := os.ReadFile(out)
	must(t, err)
	return sig
}

// Engine gives the least ELF file of a machine. Files of different text are different.
func Engine(machine elf.Machine, text string) []byte {
	var b bytes.Buffer
	h := elf.Header64{Type: uint16(elf.ET_DYN), Machine: uint16(machine), Version: 1, Ehsize: 64, Phentsize: 56, Shentsize: 64}
	copy(h.Ident[:], []byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1})
	_ = binary.Write(&b, binary.LittleEndian, h) // into memory, of fixed size
	b.WriteString(text)
	return b.Bytes()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

// issue makes a certificate; who has no issuer signs itself.
func issue(t testing.TB, name string, issuer *party, key crypto.Signer, edit func(*x509.Certificate)) party {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	must(t, err)
	template := &x509.Certificate{SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature}
	edit(template)
	signer := party{template, key}
	if issuer != nil {
		signer = *issuer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, key.Public(), signer.key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return party{cert, key}
}

// usages sets the extended key usages.
func usages(t testing.TB, c *x509.Certificate, critical bool, ids ...string) {
	t.Helper()
	var list []asn1.ObjectIdentifier
	for _, id := range ids {
		oid, err := x509.ParseOID(id)
		must(t, err)
		raw, err := oid.MarshalBinary()
		must(t, err)
		var parsed asn1.ObjectIdentifier
		_, err = asn1.Unmarshal(append([]byte{asn1.TagOID, byte(len(raw))}, raw...), &parsed)
		must(t, err)
		list = append(list, parsed)
	}
	value, err := asn1.Marshal(list)
	must(t, err)
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: critical, Value: value})
}

func pemOf(all ...party) (out []byte) {
	for _, p := range all {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})...)
	}
	return out
}

// write writes somebody's key, and their certificate with those above it.
func (v *Vendor) write(t testing.TB, name string, p party, above ...party) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(p.key)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(v.dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	must(t, os.WriteFile(filepath.Join(v.dir, name+".pem"), pemOf(append([]party{p}, above...)...), 0o600))
}

func (v *Vendor) run(t testing.TB, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = v.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
}

// image builds the smallest PE32 file that has a version resource.
func image(text, resource []byte) []byte {
	const fileAlign, memoryAlign = 512, 4096
	round := func(n, to int) int { return (n + to - 1) / to * to }
	at := memoryAlign + round(len(text), memoryAlign)
	tree := resources(at, resource)
	out := make([]byte, fileAlign)
	copy(out, "MZ")
	put32(out[60:], 0x80)
	copy(out[0x80:], "PE\x00\x00")
	put16(out[0x84:], 0x8664)
	put16(out[0x86:], 2)
	put16(out[0x94:], 224)
	put16(out[0x96:], 0x2022)
	o := out[0x98:]
	put16(o, 0x10b)
	put32(o[32:], memoryAlign)
	put32(o[36:], fileAlign)
	put16(o[48:], 6)
	put32(o[56:], at+round(len(tree), memoryAlign))
	put32(o[60:], fileAlign)
	put32(o[92:], 16)
	put32(o[112:], at)
	put32(o[116:], len(tree))
	for i, s := range []struct {
		name    string
		body    []byte
		address int
	}{{".text", text, memoryAlign}, {".rsrc", tree, at}} {
		h := out[0x98+224+40*i:]
		size := round(len(s.body), fileAlign)
		copy(h, s.name)
		put32(h[8:], len(s.body))
		put32(h[12:], s.address)
		put32(h[16:], size)
		put32(h[20:], len(out))
		out = append(append(out, s.body...), make([]byte, size-len(s.body))...)
	}
	return out
}

// resources is the tree of resources with one version, at that address.
func resources(at int, version []byte) []byte {
	const subtree, level = 1 << 31, 24
	tree := make([]byte, 3*level+16)
	for i, entry := range [][2]int{{16, subtree | level}, {1, subtree | 2*level}, {1033, 3 * level}} {
		put16(tree[i*level+14:], 1)
		put32(tree[i*level+16:], entry[0])
		put32(tree[i*level+20:], entry[1])
	}
	put32(tree[3*level:], at+len(tree))
	put32(tree[3*level+4:], len(version))
	return append(tree, version...)
}

func versionInfo(name string, v verifier.Version) []byte {
	fixed := make([]byte, 52)
	put32(fixed, 0xfeef04bd)
	for i, at := range []int{10, 8, 14, 12} {
		put16(fixed[at:], int(v[i]))
		put16(fixed[at+8:], int(v[i]))
	}
	strings := node("040904B0", 1, nil, node("OriginalFilename", 1, wide(name)), node("FileVersion", 1, wide(v.String())))
	return node("VS_VERSION_INFO", 0, fixed, node("StringFileInfo", 1, nil, strings))
}

// node is one structure of a version resource.
func node(key string, kind int, value []byte, children ...[]byte) []byte {
	b := make([]byte, 6)
	put16(b[2:], len(value)>>kind)
	put16(b[4:], kind)
	b = append(b, wide(key)...)
	for _, part := range append([][]byte{value}, children...) {
		b = append(b, make([]byte, -len(b)&3)...)
		b = append(b, part...)
	}
	put16(b, len(b))
	return b
}

// wide is UTF-16 with its zero.
func wide(s string) (b []byte) {
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func put16(b []byte, v int) { binary.LittleEndian.PutUint16(b, uint16(v)) }
func put32(b []byte, v int) { binary.LittleEndian.PutUint32(b, uint32(v)) }
