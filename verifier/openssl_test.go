package verifier

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Signatures made by openssl cms, line by line as people make them, and whatever
// we accept is accepted by openssl cms -verify, too.

// lab is a directory with a PKI that is valid today, since openssl signs today.
type lab struct {
	dir string
	pki
	list []byte
}

func openssl(t testing.TB, dir string, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("openssl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return out, nil
}

func needOpenSSL(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("SKIPPED: openssl is missing, install it with: apt-get install openssl")
	}
}

func today(c *x509.Certificate) {
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
}

func newLab(t testing.TB) lab {
	t.Helper()
	needOpenSSL(t)
	root := issue(t, "root", nil, nil, aCA, today)
	inter := issue(t, "intermediate", &root, nil, aCA, today)
	l := lab{t.TempDir(), pki{root, inter, issue(t, "leaf", &inter, nil, today)}, nil}
	now := time.Now().UTC().Truncate(time.Second)
	l.list = listJSON(t, func(l *List) { l.Released, l.Issued, l.Expires = now, now, now.AddDate(0, 0, 14) })
	l.write(t, "list.json", l.list)
	l.write(t, "root.pem", root.pem())
	l.write(t, "inter.pem", inter.pem())
	return l
}

func (l lab) write(t testing.TB, name string, data []byte) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(l.dir, name), data, 0o600))
}

// signer issues a leaf and writes its files; openssl makes the key, where a
// recipe is given, since it is faster at large primes.
func (l lab) signer(t testing.TB, name string, recipe []string, edits ...func(*x509.Certificate)) {
	t.Helper()
	var key crypto.Signer
	if recipe != nil {
		out := filepath.Join(l.dir, name+".genkey")
		_, err := openssl(t, l.dir, append([]string{"genpkey", "-out", out}, recipe...)...)
		must(t, err)
		data, err := os.ReadFile(out)
		must(t, err)
		block, _ := pem.Decode(data)
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		must(t, err)
		key = parsed.(crypto.Signer)
	}
	p := issue(t, name, &l.inter, key, append([]func(*x509.Certificate){today}, edits...)...)
	l.write(t, name+".pem", p.pem())
	l.write(t, name+".key", p.keyPEM(t))
}

func rsaRecipe(bits int) []string {
	return []string{"-algorithm", "RSA", "-pkeyopt", fmt.Sprintf("rsa_keygen_bits:%d", bits)}
}

// signers writes every signer that the table names.
func (l lab) signers(t testing.TB) {
	t.Helper()
	for _, bits := range []int{1024, 2048, 3072, 4096} {
		l.signer(t, fmt.Sprintf("rsa%d", bits), rsaRecipe(bits))
	}
	for _, curve := range []string{"P-256", "P-384", "P-521", "P-224"} {
		l.signer(t, curve, []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:" + curve})
	}
	usage := func(eku x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{eku} }
	}
	l.signer(t, "tls", nil, usage(x509.ExtKeyUsageServerAuth))
	l.signer(t, "smime", nil, usage(x509.ExtKeyUsageEmailProtection))
	l.signer(t, "ca", nil, aCA, today)
	l.signer(t, "keyid", nil, func(c *x509.Certificate) { c.SubjectKeyId = []byte("keyid") })
	l.signer(t, "ended", nil, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = base.AddDate(-9, 0, 0), base.AddDate(-8, 0, 0) })
	l.write(t, "root.key", l.root.keyPEM(t))
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	ed := issue(t, "ed25519", &l.inter, key, today)
	l.write(t, "ed25519.pem", ed.pem())
	l.write(t, "ed25519.key", ed.keyPEM(t))
}

// usual is how the package format's documentation says to sign.
const usual = "-nodetach -binary -nosmimecap -outform DER -md sha256"

// sign runs openssl cms -sign in the lab and gives what it wrote.
func (l lab) sign(t testing.TB, signer, args string) ([]byte, error) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	all := []string{"cms", "-sign", "-in", "list.json", "-out", out, "-certfile", "inter.pem", "-signer", signer + ".pem", "-inkey", signer + ".key"}
	if _, err := openssl(t, l.dir, append(all, strings.Fields(args)...)...); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}

// verifies asks openssl, and gives the content that it prints.
func (l lab) verifies(t testing.TB, object []byte, more ...string) ([]byte, error) {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	must(t, os.WriteFile(in, object, 0o600))
	args := []string{"cms", "-verify", "-inform", "DER", "-binary", "-purpose", "any", "-CAfile", "root.pem", "-in", in, "-out", out}
	if _, err := openssl(t, l.dir, append(args, more...)...); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}

func TestOpenSSL(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.signers(t)
	sig := func(sentence, hint string) want { return want{SignatureInvalid, sentence, hint} }
	signer := func(sentence, hint string) want { return want{SignerUntrusted, sentence, hint} }
	der := "-nodetach -binary -nosmimecap -outform DER"
	const tail = "behind"
	reasons := map[string]string{} // from sentence to the row's part of it
	for _, row := range []struct {
		name, signer, args string
		want               want
	}{
		{"RSA-2048", "rsa2048", usual, want{}},
		{"RSA-3072", "rsa3072", usual, want{}},
		{"RSA-4096", "rsa4096", usual, want{}},
		{"RSA-2048, SHA-384", "rsa2048", der + " -md sha384", want{}},
		{"RSA-2048, SHA-512", "rsa2048", der + " -md sha512", want{}},
		{"P-256", "P-256", usual, want{}},
		{"P-384", "P-384", usual, want{}},
		{"P-521", "P-521", usual, want{}},
		{"P-256, SHA-512", "P-256", der + " -md sha512", want{}},
		{"P-384, SHA-384", "P-384", der + " -md sha384", want{}},
		{"P-521, SHA-512", "P-521", der + " -md sha512", want{}},
		{"with S/MIME capabilities", "P-256", "-nodetach -binary -outform DER -md sha256", want{}},
		{"CAdES", "P-256", usual + " -cades", want{}},
		{"CAdES, RSA", "rsa2048", usual + " -cades", want{}},
		{"without -binary", "P-256", "-nodetach -nosmimecap -outform DER -md sha256", want{}},
		{"without -md", "rsa2048", "-nodetach -binary -outform DER", want{}},

		{"SHA-1", "rsa2048", der + " -md sha1", sig("weaker than SHA-256", "-md sha256")},
		{"SHA-1, ECDSA", "P-256", der + " -md sha1", sig("weaker than SHA-256", "-md sha256")},
		{"SHA-224", "rsa2048", der + " -md sha224", sig("weaker than SHA-256", "-md sha256")},
		{"RSA-1024", "rsa1024", usual, signer("key is too weak", "2048")},
		{"P-224", "P-224", usual, signer("key is too weak", "P-256")},
		{"-noattr", "P-256", usual + " -noattr", sig("no signed attributes", "-noattr")},
		{"-econtent_type", "P-256", usual + " -econtent_type 1.2.3.4", sig("not plain data", "-econtent_type")},
		{"detached", "P-256", "-binary -nosmimecap -outform DER -md sha256", sig("detached", "-nodetach")},
		{"RSA-PSS", "rsa2048", usual + " -keyopt rsa_padding_mode:pss", sig("RSA-PSS or Ed25519", "rsa_padding_mode")},
		{"Ed25519", "ed25519", der, sig("RSA-PSS or Ed25519", "P-256")},
		{"-keyid", "keyid", usual + " -keyid", sig("key identifier", "-keyid")},
		{"PEM", "P-256", "-nodetach -binary -nosmimecap -outform PEM -md sha256", sig("PEM", "-outform DER")},
		{"S/MIME", "P-256", "-nodetach -binary -nosmimecap -md sha256", sig("not a CMS object", "")},
		{"-stream", "P-256", usual + " -stream", sig("BER", "-stream")},
		{"-nocerts", "P-256", usual + " -nocerts", sig("signer's certificate is not in", "-nocerts")},
		{"two signers", "P-256", usual + " -signer rsa2048.pem -inkey rsa2048.key", sig("more than one signer", "one -signer")},
		{"garbage behind", "P-256", usual, sig(tail, "nothing else")},
		{"TLS certificate", "tls", usual, signer("not made for code signing", "codeSigning")},
		{"S/MIME certificate", "smime", usual, signer("not made for code signing", "codeSigning")},
		{"CA certificate", "ca", usual, signer("a CA itself", "CA false")},
		{"root certificate", "root", usual, signer("a CA itself", "CA false")},
		{"ended certificate", "ended", usual, want{SignerExpired, "outside of the validity", "renew"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			object, err := l.sign(t, row.signer, row.args)
			if err != nil && row.signer == "ed25519" {
				t.Skipf("SKIPPED: this openssl does not sign CMS by Ed25519; TestVerifyCrafted has that row: %v", err)
			}
			must(t, err)
			if row.want.sentence == tail {
				object = append(object, "garbage"...)
			}
			s, err := l.trust(t).Verify(object, time.Now())
			sentence := row.want.check(t, err)
			if other, ok := reasons[sentence]; ok && other != row.want.sentence {
				t.Errorf("another reason has this sentence: %s", sentence)
			}
			reasons[sentence] = row.want.sentence
			if err != nil {
				return
			}
			content, err := l.verifies(t, object)
			must(t, err)
			theirs, err := ParseList(content)
			must(t, err)
			if theirs.Content() != s.List.Content() || !theirs.Issued.Equal(s.List.Issued) {
				t.Errorf("openssl reads %+v, we %+v", theirs, s.List)
			}
		})
	}
}

// Without any certificate in it, which -nocerts does only where there is no
// -certfile either.
func TestOpenSSLNoCertificates(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.signer(t, "leaf", nil)
	out := filepath.Join(l.dir, "out")
	args := append([]string{"cms", "-sign", "-in", "list.json", "-out", out, "-signer", "leaf.pem", "-inkey", "leaf.key", "-nocerts"}, strings.Fields(usual)...)
	_, err := openssl(t, l.dir, args...)
	must(t, err)
	object, err := os.ReadFile(out)
	must(t, err)
	_, err = l.trust(t).Verify(object, time.Now())
	want{SignatureInvalid, "no certificate is in", "-nocerts"}.check(t, err)
}

// Crafted objects, and those with one byte changed: what we accept, openssl accepts.
func TestOpenSSLAgrees(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	good := messageBy(l.leaf, l.list, l.leaf, l.inter)
	good.signedAt = time.Now()
	object := good.encode(t)
	objects := map[string][]byte{
		"crafted":             object,
		"bag the other way":   good.with(func(m *message) { m.bag = [][]byte{l.inter.cert.Raw, l.leaf.cert.Raw} }).encode(t),
		"without signingTime": good.with(func(m *message) { m.editAttributes = func(a [][]byte) [][]byte { return a[:2] } }).encode(t),
		"attributes out of order": good.with(func(m *message) {
			m.transmit = func(a [][]byte) [][]byte { return [][]byte{a[2], a[0], a[1]} }
		}).encode(t),
	}
	for i := range object {
		changed := bytes.Clone(object)
		changed[i] ^= 1 << (i % 8)
		objects[fmt.Sprintf("byte %d changed", i)] = changed
	}
	trust, accepted := l.trust(t), 0
	for name, object := range objects {
		s, err := trust.Verify(object, time.Now())
		if err != nil {
			continue
		}
		accepted++
		content, err := l.verifies(t, object)
		if err != nil {
			t.Errorf("%s: we accept it: %v", name, err)
			continue
		}
		if theirs, err := ParseList(content); err != nil || theirs.Content() != s.List.Content() {
			t.Errorf("%s: openssl reads something else", name)
		}
	}
	if accepted < 3 {
		t.Errorf("only %d were accepted", accepted)
	}
	t.Logf("%d of %d were accepted", accepted, len(objects))
}

// The other way: what is refused, is refused although openssl accepts it, so the
// policy is ours and not the library's.
func TestOpenSSLIsLaxer(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	weak := issue(t, "weak", &l.inter, ecKey(t, elliptic.P224()), today)
	m := messageBy(weak, l.list, weak, l.inter)
	m.signedAt = time.Now()
	object := m.encode(t)
	if _, err := l.verifies(t, object); err != nil {
		t.Fatal(err)
	}
	_, err := l.trust(t).Verify(object, time.Now())
	want{SignerUntrusted, "too weak", ""}.check(t, err)
}
