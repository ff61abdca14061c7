package vendortest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Vendor is somebody who signs files, with an authority for time stamps of their own.
type Vendor struct {
	Trust string // directory with both roots
	dir   string
}

// New makes a vendor. Where osslsigncode or openssl is missing, the test is skipped.
func New(t testing.TB) *Vendor {
	t.Helper()
	for _, tool := range []string{"osslsigncode", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: %s is missing, install it with: apt-get install %s", tool, tool)
		}
	}
	v := &Vendor{dir: t.TempDir()}
	v.Trust = filepath.Join(v.dir, "trust")
	must(t, os.Mkdir(v.Trust, 0o755))
	usage := func(critical bool, id asn1.ObjectIdentifier) pkix.Extension {
		value, err := asn1.Marshal([]asn1.ObjectIdentifier{id})
		must(t, err)
		return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: critical, Value: value}
	}
	v.issue(t, "root", "leaf", usage(false, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 3}))
	v.issue(t, "tsaroot", "tsa", usage(true, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}))
	return v
}

// issue makes a root and one who is certified by it.
func (v *Vendor) issue(t testing.TB, root, leaf string, usage pkix.Extension) {
	t.Helper()
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	leafKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "vendor " + name}, BasicConstraintsValid: true,
			NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature}
	}
	above := template(root)
	above.IsCA, above.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	rootDER, err := x509.CreateCertificate(rand.Reader, above, above, rootKey.Public(), rootKey)
	must(t, err)
	below := template(leaf)
	below.ExtraExtensions = []pkix.Extension{usage}
	leafDER, err := x509.CreateCertificate(rand.Reader, below, above, leafKey.Public(), rootKey)
	must(t, err)
	key, err := x509.MarshalPKCS8PrivateKey(leafKey)
	must(t, err)
	write := func(path, kind string, der []byte) {
		must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644))
	}
	write(filepath.Join(v.Trust, root+".pem"), "CERTIFICATE", rootDER)
	write(filepath.Join(v.dir, leaf+".pem"), "CERTIFICATE", leafDER)
	write(filepath.Join(v.dir, leaf+".key"), "PRIVATE KEY", key)
}

// Definitions is a file of definitions that calls itself by that name and version,
// not signed.
func Definitions(name string, version [4]uint16) []byte {
	text := fmt.Sprintf("%d.%d.%d.%d", version[0], version[1], version[2], version[3])
	return Image{Text: bytes.Repeat([]byte(name+text), 100), Resource: VersionInfo(name, text, version)}.Encode()
}

// Sign puts a signature into a PE file, with a time stamp of that time unless it is
// zero.
func (v *Vendor) Sign(t testing.TB, file []byte, stamp time.Time) []byte {
	t.Helper()
	args := []string{"sign", "-h", "sha256", "-certs", "leaf.pem", "-key", "leaf.key"}
	if !stamp.IsZero() {
		args = append(args, "-TSA-certs", "tsa.pem", "-TSA-key", "tsa.key", "-TSA-time", fmt.Sprint(stamp.Unix()))
	}
	return v.run(t, "osslsigncode", file, append(args, "-in", "in", "-out", "out")...)
}

// Detached is the signature of a file that is no PE file, for NAME.sig.
func (v *Vendor) Detached(t testing.TB, file []byte) []byte {
	t.Helper()
	return v.run(t, "openssl", file, "cms", "-sign", "-binary", "-nosmimecap", "-md", "sha256", "-outform", "DER", "-signer", "leaf.pem", "-inkey", "leaf.key", "-in", "in", "-out", "out")
}

// run gives what a tool makes of a file.
func (v *Vendor) run(t testing.TB, tool string, file []byte, args ...string) []byte {
	t.Helper()
	in, out := filepath.Join(v.dir, "in"), filepath.Join(v.dir, "out")
	_ = os.Remove(out) // which osslsigncode does not overwrite
	must(t, os.WriteFile(in, file, 0o600))
	cmd := exec.Command(tool, args...)
	cmd.Dir = v.dir
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", tool, args, err, said)
	}
	made, err := os.ReadFile(out)
	must(t, err)
	return made
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
