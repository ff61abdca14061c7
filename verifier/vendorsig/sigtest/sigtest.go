// Package sigtest makes files as a vendor signs them, for tests: definitions as PE
// files that osslsigncode signs and stamps, and engines whose signatures are made by
// openssl. It skips a test, and says so, where one of the two is missing. Nothing of it
// is for anything else.
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
	"sync"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
)

// Usage is an extended key usage that [Vendor.Signer] gives to each signer, beside
// that of code signing.
const Usage = "1.3.6.1.4.1.99999.7"

// Vendor is a vendor with a root, a CA that issues signers, and an authority for time
// stamps.
type Vendor struct {
	Root, TimeRoot []byte // PEM
	Trust          string // a directory with both
	dir            string
	issuer         Party
}

// Party is somebody with a certificate and its key.
type Party struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// Certificates outlast every test, unless somebody says otherwise.
var from, to = time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// stamperKey is the key of every vendor's time stamps, made once: it takes a second to,
// and what makes it one vendor's is who certifies it.
var stamperKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// New makes a vendor, with one who signs as vendor and outlasts every test, too.
func New(t testing.TB) *Vendor {
	t.Helper()
	for _, program := range []string{"osslsigncode", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED: %s is missing; get it with: apt-get install %s", program, program)
		}
	}
	v := &Vendor{dir: t.TempDir(), Trust: t.TempDir()}
	root := Issue(t, "vendor root", nil, nil, AsCA)
	v.issuer = Issue(t, "vendor issuer", &root, nil, AsCA)
	timeRoot := Issue(t, "time root", nil, nil, AsCA)
	key, err := stamperKey()
	must(t, err)
	v.Root, v.TimeRoot = PEM(root), PEM(timeRoot)
	Issue(t, "time", &timeRoot, key, AsStamper).Write(t, v.dir, "time", timeRoot)
	v.issuer.Write(t, v.dir, "issuer")
	must(t, os.WriteFile(filepath.Join(v.Trust, "root.pem"), v.Root, 0o644))
	must(t, os.WriteFile(filepath.Join(v.Trust, "time.pem"), v.TimeRoot, 0o644))
	v.Signer(t, "vendor", from, to)
	return v
}

// Signer makes somebody who signs, under that common name, for as long.
func (v *Vendor) Signer(t testing.TB, name string, notBefore, notAfter time.Time) {
	t.Helper()
	Issue(t, name, &v.issuer, nil, func(c *x509.Certificate) {
		c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 6, 1, 4, 1, 99999, 7}} // Usage
		c.NotBefore, c.NotAfter = notBefore, notAfter
	}).Write(t, v.dir, name, v.issuer)
}

// Issuer is the key of the CA that issued the signers.
func (v *Vendor) Issuer() verifier.Pin { return verifier.PinOf(v.issuer.Cert) }

// Revoke gives a revocation list of the issuer, which names that signer, unless an edit
// makes it another.
func (v *Vendor) Revoke(t testing.TB, name string, edits ...func(*x509.RevocationList)) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(v.dir, name+".pem"))
	must(t, err)
	block, _ := pem.Decode(data)
	c, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: from, NextUpdate: to,
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: c.SerialNumber, RevocationTime: from}}}
	for _, edit := range edits {
		edit(list)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, v.issuer.Cert, v.issuer.Key)
	must(t, err)
	return der
}

// Definitions gives [Definitions], signed as [Vendor.Sign] does.
func (v *Vendor) Definitions(t testing.TB, signer, name string, version verifier.Version, text string, stamp time.Time) []byte {
	t.Helper()
	return v.Sign(t, signer, Definitions(name, version, text), stamp)
}

// Sign puts a signature into a PE file, stamped where stamp is not zero.
func (v *Vendor) Sign(t testing.TB, signer string, file []byte, stamp time.Time) []byte {
	t.Helper()
	args := []string{"sign", "-certs", signer + ".pem", "-key", signer + ".key", "-h", "sha256"}
	if !stamp.IsZero() {
		args = append(args, "-TSA-certs", "time.pem", "-TSA-key", "time.key", "-TSA-time", fmt.Sprint(stamp.Unix()), "-time", fmt.Sprint(stamp.Unix()))
	}
	return v.made(t, file, "osslsigncode", args...)
}

// Beside gives the detached signature of a file. Nobody says when it was made.
func (v *Vendor) Beside(t testing.TB, signer string, file []byte) []byte {
	t.Helper()
	return v.made(t, file, "openssl", "cms", "-sign", "-signer", signer+".pem", "-inkey", signer+".key", "-certfile", "issuer.pem",
		"-binary", "-nosmimecap", "-outform", "DER", "-md", "sha256")
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

// Issue makes a certificate for signing code. Who has no issuer signs itself, who has no
// key gets one on P-256.
func Issue(t testing.TB, name string, issuer *Party, key crypto.Signer, edits ...func(*x509.Certificate)) Party {
	t.Helper()
	if key == nil {
		made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		key = made
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	must(t, err)
	template := &x509.Certificate{SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
	for _, edit := range edits {
		edit(template)
	}
	signer := Party{template, key}
	if issuer != nil {
		signer = *issuer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.Cert, key.Public(), signer.Key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return Party{cert, key}
}

// AsCA has [Issue] make a CA.
func AsCA(c *x509.Certificate) {
	c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
}

// AsStamper has [Issue] make an authority for time stamps, whose usage is critical.
func AsStamper(c *x509.Certificate) {
	only, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		panic(err) // a constant
	}
	c.ExtKeyUsage = nil
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: only})
}

// PEM gives certificates.
func PEM(all ...Party) (out []byte) {
	for _, p := range all {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Cert.Raw})...)
	}
	return out
}

// Write writes NAME.key, and NAME.pem with the certificates of those above, too.
func (p Party) Write(t testing.TB, dir, name string, above ...Party) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(p.Key)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, name+".pem"), PEM(append([]Party{p}, above...)...), 0o600))
}

// made gives what a program makes of a file.
func (v *Vendor) made(t testing.TB, file []byte, program string, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	must(t, os.WriteFile(in, file, 0o600))
	cmd := exec.Command(program, append(args, "-in", in, "-out", out)...)
	cmd.Dir = v.dir
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, said)
	}
	made, err := os.ReadFile(out)
	must(t, err)
	return made
}
