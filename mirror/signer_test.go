package mirror

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
)

func TestMakeKeys(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	k := l.keys
	for path, mode := range map[string]os.FileMode{
		k.Root: 0o644, k.RootKey: 0o600, k.Intermediate: 0o644, k.IntermediateKey: 0o600, k.Leaf: 0o644, k.LeafKey: 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077&^mode != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
	if subject := l.signer.Leaf.Subject.String(); !strings.Contains(subject, "LAB ONLY") {
		t.Errorf("the leaf is %s", subject)
	}
	run(t, l.dir, "openssl", "verify", "-purpose", "any", "-CAfile", k.Root, "-untrusted", k.Intermediate, k.Leaf)

	before := read(t, k.Leaf)
	if err := os.Remove(k.RootKey); err != nil {
		t.Fatal(err)
	}
	_, err := MakeKeys(filepath.Dir(k.Root), KeyOptions{})
	wantCode(t, err, codeUsage)
	if _, err := os.Stat(k.RootKey); err == nil || !bytes.Equal(read(t, k.Leaf), before) {
		t.Error("a refused MakeKeys wrote something")
	}
}

// TestKeyForms has openssl write one key in every form that is understood, and
// in some that are not.
func TestKeyForms(t *testing.T) {
	t.Parallel()
	const secret = "open sesame"
	rsaLab, ecLab := newLab(t, KeyOptions{RSA: true}), newLab(t, KeyOptions{})
	for _, c := range []struct {
		name   string
		lab    lab
		args   []string
		secret string // what the user answers
		asked  bool
		code   string
	}{
		{"PKCS 1", rsaLab, []string{"rsa", "-traditional"}, "", false, ""},
		{"SEC 1", ecLab, []string{"ec"}, "", false, ""},
		{"encrypted", ecLab, []string{"pkcs8", "-topk8", "-passout", "pass:" + secret}, secret, true, ""},
		{"encrypted RSA", rsaLab, []string{"pkcs8", "-topk8", "-v2", "aes-128-cbc", "-passout", "pass:" + secret}, secret, true, ""},
		{"scrypt", ecLab, []string{"pkcs8", "-topk8", "-scrypt", "-passout", "pass:" + secret}, secret, true, ""},
		{"wrong secret", ecLab, []string{"pkcs8", "-topk8", "-passout", "pass:" + secret}, "wrong", true, codeUsage},
		{"empty secret", ecLab, []string{"pkcs8", "-topk8", "-passout", "pass:" + secret}, "", true, codeUsage},
		{"old encryption", ecLab, []string{"ec", "-aes128", "-passout", "pass:" + secret}, secret, false, codeUsage},
		{"public", ecLab, []string{"pkey", "-pubout"}, "", false, codeUsage},
		{"DER", ecLab, []string{"pkey", "-outform", "DER"}, "", false, codeUsage},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "key")
			run(t, c.lab.dir, "openssl", append(c.args, "-in", c.lab.keys.LeafKey, "-out", path)...)
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			asked := false
			_, err := LoadSigner(path, c.lab.keys.Certificates(), func() ([]byte, error) { asked = true; return []byte(c.secret), nil })
			wantCode(t, err, c.code)
			if asked != c.asked {
				t.Errorf("asked for the passphrase: %v", asked)
			}
		})
	}
}

func TestPassphraseMissing(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	path := filepath.Join(l.dir, "encrypted")
	run(t, l.dir, "openssl", "pkcs8", "-topk8", "-passout", "pass:x", "-in", l.keys.LeafKey, "-out", path)
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := LoadSigner(path, l.keys.Certificates(), nil)
	wantCode(t, err, codeUsage)
	_, err = LoadSigner(path, l.keys.Certificates(), func() ([]byte, error) { return nil, errors.New("no terminal") })
	wantCode(t, err, codeUsage)
}

// TestDamagedEncryptedKey has an encrypted part of a length at which the block
// cipher panics.
func TestDamagedEncryptedKey(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	path := filepath.Join(l.dir, "encrypted")
	run(t, l.dir, "openssl", "pkcs8", "-topk8", "-passout", "pass:x", "-in", l.keys.LeafKey, "-outform", "DER", "-out", path)
	var outer struct {
		Algorithm asn1.RawValue
		Data      []byte
	}
	if _, err := asn1.Unmarshal(read(t, path), &outer); err != nil {
		t.Fatal(err)
	}
	outer.Data = outer.Data[:len(outer.Data)-1]
	der, err := asn1.Marshal(outer)
	if err != nil {
		t.Fatal(err)
	}
	_, err = parseKey(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}), func() ([]byte, error) { return []byte("x"), nil })
	wantCode(t, err, codeUsage)
}

func TestLoadSignerRefusals(t *testing.T) {
	t.Parallel()
	l, other := newLab(t, KeyOptions{}), newLab(t, KeyOptions{})
	k := l.keys
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o666} {
		path := filepath.Join(t.TempDir(), "key")
		write(t, path, read(t, k.LeafKey))
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadSigner(path, k.Certificates(), nil)
		wantCode(t, err, codeUsage)
	}
	for _, c := range []struct {
		name, key string
		certs     []string
		code      string
	}{
		{"certificates in any order", k.LeafKey, []string{k.Root, k.Intermediate, k.Leaf}, ""},
		{"without the root", k.LeafKey, []string{k.Leaf, k.Intermediate}, ""},
		{"without the issuer", k.LeafKey, []string{k.Leaf}, codeUsage},
		{"without the intermediate", k.LeafKey, []string{k.Leaf, k.Root}, string(verifier.SignerUntrusted)},
		{"without the leaf", k.LeafKey, []string{k.Intermediate, k.Root}, codeUsage},
		{"another's issuer", k.LeafKey, []string{k.Leaf, other.keys.Intermediate}, string(verifier.SignerUntrusted)},
		{"another's key", other.keys.LeafKey, k.Certificates(), codeUsage},
		{"a CA signs", k.IntermediateKey, []string{k.Intermediate, k.Root}, string(verifier.SignerUntrusted)},
		{"the leaf as an issuer", k.LeafKey, []string{k.Leaf, k.Intermediate, other.keys.Leaf}, codeUsage},
		{"no key file", filepath.Join(l.dir, "none"), k.Certificates(), codeUsage},
		{"a directory", l.dir, k.Certificates(), codeUsage},
		{"a key among the certificates", k.LeafKey, []string{k.LeafKey}, codeUsage},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := LoadSigner(c.key, c.certs, nil)
			wantCode(t, err, c.code)
		})
	}
}

func TestExpiredSigner(t *testing.T) {
	t.Parallel()
	keys, err := MakeKeys(t.TempDir()+"/keys", KeyOptions{LeafValidity: time.Hour, Now: time.Now().Add(-2 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = LoadSigner(keys.LeafKey, keys.Certificates(), nil)
	wantCode(t, err, string(verifier.SignerExpired))
}

// TestSignLeavesRootOut: the endpoint has the root, and a sender's copy of it
// must not matter.
func TestSignLeavesRootOut(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	r := build(t, l, l.options(t))
	c, err := openClaim(r.Zip)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	root := l.signer.Intermediates[1]
	if !selfSigned(root) {
		t.Fatal("the test does not know which certificate is the root")
	}
	if bytes.Contains(c.object, root.Raw) || !bytes.Contains(c.object, l.signer.Intermediates[0].Raw) {
		t.Error("the signature does not bring the intermediate alone")
	}
}

func FuzzKey(f *testing.F) {
	l := newLab(f, KeyOptions{})
	f.Add(read(f, l.keys.LeafKey))
	f.Add(read(f, l.keys.Leaf))
	f.Add([]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// The passphrase is left out: the work that a key file may ask for to
		// try one is without bound, and the file is the user's own.
		key, err := parseKey(data, nil)
		if (key == nil) == (err == nil) {
			t.Errorf("key %v, error %v", key, err)
		}
		if err == nil {
			if _, err := x509.MarshalPKIXPublicKey(key.Public()); err != nil {
				t.Errorf("a key that is none: %v", err)
			}
		}
	})
}
