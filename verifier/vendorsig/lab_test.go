package vendorsig

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

// What the tests share: certificates, and the tools that sign and check by them.

type party = sigtest.Party

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func rsaKey(t testing.TB, bits int) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	must(t, err)
	return key
}

func ecKey(t testing.TB, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	must(t, err)
	return key
}

// date is the start of a year.
func date(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }

// thisYear ends a certificate in a year.
func thisYear(c *x509.Certificate) { c.NotAfter = time.Now().AddDate(1, 0, 0) }

// lab is a directory with a vendor and an authority for time stamps.
type lab struct {
	dir               string
	root, inter, leaf party
	tsaRoot, tsa      party
}

func needs(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("SKIPPED: %s is missing, install it with: apt-get install %s", p, p)
		}
	}
}

func newLab(t testing.TB) *lab {
	t.Helper()
	needs(t, "osslsigncode", "openssl")
	l := &lab{dir: t.TempDir()}
	l.root = sigtest.Issue(t, "vendor root", nil, nil, sigtest.AsCA)
	l.inter = sigtest.Issue(t, "vendor issuer", &l.root, nil, sigtest.AsCA)
	l.leaf = sigtest.Issue(t, "vendor", &l.inter, nil, thisYear)
	l.tsaRoot = sigtest.Issue(t, "time root", nil, nil, sigtest.AsCA)
	l.tsa = sigtest.Issue(t, "time", &l.tsaRoot, rsaKey(t, 2048), sigtest.AsStamper)
	l.write(t, "root.pem", sigtest.PEM(l.root))
	l.write(t, "tsaroot.pem", sigtest.PEM(l.tsaRoot))
	l.write(t, "both.pem", sigtest.PEM(l.root, l.tsaRoot))
	l.tsa.Write(t, l.dir, "tsa", l.tsaRoot)
	l.leaf.Write(t, l.dir, "leaf", l.inter)
	return l
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

func (l *lab) write(t testing.TB, name string, data []byte) {
	t.Helper()
	must(t, os.WriteFile(l.path(name), data, 0o600))
}

// trust is that of the vendor and the authority, with more files.
func (l *lab) trust(t testing.TB, more ...verifier.TrustFile) verifier.Trust {
	t.Helper()
	files := append([]verifier.TrustFile{{Name: "root.pem", Data: sigtest.PEM(l.root)}, {Name: "time.pem", Data: sigtest.PEM(l.tsaRoot)}}, more...)
	trust, err := verifier.NewTrust(files, nil)
	must(t, err)
	return trust
}

func (l *lab) run(t testing.TB, program string, args ...string) (out []byte, err error) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = l.dir
	if out, err = cmd.CombinedOutput(); err != nil {
		err = fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, out)
	}
	return out, err
}

const stampArgs = "-TSA-certs tsa.pem -TSA-key tsa.key"

// sign has osslsigncode sign a file.
func (l *lab) sign(t testing.TB, file []byte, signer, args string) []byte {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	must(t, os.WriteFile(in, file, 0o600))
	all := append([]string{"sign", "-certs", signer + ".pem", "-key", signer + ".key"}, strings.Fields(args)...)
	if !strings.Contains(args, "-h ") {
		all = append(all, "-h", "sha256")
	}
	_, err := l.run(t, "osslsigncode", append(all, "-in", in, "-out", out)...)
	must(t, err)
	signed, err := os.ReadFile(out)
	must(t, err)
	return signed
}

// theirs is what osslsigncode says of a file.
func (l *lab) theirs(t testing.TB, file []byte) (good bool, why string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, file, 0o600))
	out, err := l.run(t, "osslsigncode", "verify", "-CAfile", "root.pem", "-TSA-CAfile", "tsaroot.pem", "-in", path)
	return err == nil, string(out)
}

// authority is a server of time stamps that are made by openssl ts.
func (l *lab) authority(t testing.TB) (url string) {
	t.Helper()
	l.write(t, "serial", []byte("01\n"))
	l.write(t, "ts.conf", []byte(`[tsa]
default_tsa = one
[one]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
certs = tsaroot.pem
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha384, sha512
accuracy = secs:1
ordering = yes
tsa_name = yes
ess_cert_id_chain = yes
ess_cert_id_alg = sha256
`))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := io.ReadAll(r.Body)
		if err == nil {
			err = os.WriteFile(l.path("query"), query, 0o600)
		}
		if err == nil {
			_, err = l.run(t, "openssl", "ts", "-reply", "-config", "ts.conf", "-queryfile", "query", "-out", "reply")
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/timestamp-reply")
		http.ServeFile(w, r, l.path("reply"))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func clock() verifier.Clock { return verifier.Clock{Time: time.Now()} }

// verify judges bytes.
func verify(file, sig []byte, trust verifier.Trust, clock verifier.Clock) (Signature, error) {
	return Verify(File{bytes.NewReader(file), int64(len(file)), sig}, trust, clock)
}

// want is what is expected of a verdict; the zero value: no refusal.
type want struct {
	code     verifier.Code
	sentence string // a part of it
}

func (w want) check(t testing.TB, err error) {
	t.Helper()
	var r *verifier.Refusal
	switch {
	case err == nil && w.code == "":
		return
	case !errors.As(err, &r):
		t.Fatalf("got %v, want %s", err, w.code)
	}
	code, sentence, hint := r.Reason()
	if code != string(w.code) || !strings.Contains(sentence, w.sentence) || w.sentence == "" || hint == "" {
		t.Fatalf("got %v, want %s with %q", err, w.code, w.sentence)
	}
	if strings.ContainsAny(sentence+hint, "\"\n") || strings.Contains(sentence, " : ") || strings.HasSuffix(sentence, ".") {
		t.Fatalf("not fit for a report: %q, %q", sentence, hint)
	}
}

// crl is a revocation list.
func crl(t testing.TB, ca party, revoked ...party) []byte {
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: date(2020), NextUpdate: date(2090)}
	for _, p := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: p.Cert.SerialNumber, RevocationTime: time.Now()})
	}
	out, err := x509.CreateRevocationList(rand.Reader, list, ca.Cert, ca.Key)
	must(t, err)
	return out
}

// anImage is a file that is in order, as the vendor's definitions are: PE32, data only.
func anImage() sigtest.Image {
	return sigtest.Image{Text: bytes.Repeat([]byte("definitions\n"), 100), Resource: sigtest.VersionInfo("mpavbase.vdm", "1.407.417.0", verifier.Version{1, 407, 417, 0})}
}

// place gives where a built file says that its signature is, and where it says so.
func place(file []byte) (at, size, directory int) {
	optional := int(binary.LittleEndian.Uint32(file[60:])) + 24
	directory = optional + 96 + 4*8
	if binary.LittleEndian.Uint16(file[optional:]) == 0x20b {
		directory += 16
	}
	return int(binary.LittleEndian.Uint32(file[directory:])), int(binary.LittleEndian.Uint32(file[directory+4:])), directory
}

// embedded gives the CMS object in a signed file.
func embedded(file []byte) []byte {
	at, _, _ := place(file)
	var whole asn1.RawValue
	if _, err := asn1.Unmarshal(file[at+8:], &whole); err != nil {
		panic(err) // the tool wrote something else than DER
	}
	return whole.FullBytes
}
