package verifier

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Signatures that OpenSSL 3.0 made over testdata/openssl/package.json, by the
// commands of the package format's documentation and by the options that their
// names tell. Their certificates are valid for a hundred years, and their keys
// were thrown away, so that nobody can sign anything else.

var openSSLTime = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)

func openSSLFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "openssl", name))
	must(t, err)
	return data
}

func openSSLTrust(t testing.TB) (Trust, *List) {
	t.Helper()
	trust, err := NewTrust([]TrustFile{{"root.pem", openSSLFile(t, "root.pem")}}, nil)
	must(t, err)
	list, err := ParseList(openSSLFile(t, "package.json"))
	must(t, err)
	return trust, list
}

func TestOpenSSLFiles(t *testing.T) {
	t.Parallel()
	trust, list := openSSLTrust(t)
	for name, want := range map[string]want{
		"p256": {}, "rsa2048": {}, "cades": {}, "text": {},
		"noattr":   {SignatureInvalid, "no signed attributes", "-noattr"},
		"stream":   {SignatureInvalid, "BER", "-stream"},
		"keyid":    {SignatureInvalid, "key identifier", "-keyid"},
		"detached": {SignatureInvalid, "detached", "-nodetach"},
		"two":      {SignatureInvalid, "more than one signer", "one -signer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := trust.Verify(openSSLFile(t, name+".p7m"), openSSLTime)
			want.check(t, err)
			if err == nil && !reflect.DeepEqual(s.List, list) {
				t.Errorf("got %+v", s.List)
			}
		})
	}
}

// Nothing but the one list that was ever signed is accepted, and nothing panics
// or hangs. This is the DER walk with the CMS library behind it.
func FuzzSignature(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "openssl", "*.p7m"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no signatures to begin with: %v", err)
	}
	for _, name := range files {
		f.Add(openSSLFile(f, filepath.Base(name)))
	}
	p := newPKI(f)
	f.Add(p.message(f).encode(f))
	f.Add(p.message(f).with(func(m *message) { m.noAttributes = true }).encode(f))
	f.Add([]byte(strings.Repeat("\x30\x80", 1000)))
	f.Add(nested(33))
	for _, object := range vectorLists(f) {
		f.Add(object)
	}
	trust, list := openSSLTrust(f)
	f.Fuzz(func(t *testing.T, object []byte) {
		for name, verify := range map[string]func() (Signed, error){
			"from a source": func() (Signed, error) { return trust.Verify(object, openSSLTime) },
			"installed":     func() (Signed, error) { return trust.VerifyInstalled(object) },
		} {
			if s, err := verify(); err == nil && !reflect.DeepEqual(s.List, list) {
				t.Fatalf("%s: accepted what nobody signed: %+v", name, s.List)
			}
		}
		if _, err := (Trust{}).Verify(object, openSSLTime); err == nil {
			t.Fatal("nobody is trusted, and yet it was accepted")
		}
	})
}
