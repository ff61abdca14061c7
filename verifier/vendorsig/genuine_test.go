package vendorsig

import (
	"encoding/hex"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/internal/cms"
)

// Genuine signatures: how tools of our own sign may be how only they do.

// issuers gives a trust in those CAs that came along with an object, and with its
// time stamp: the vendor's own roots are not ours to pass on.
func issuers(t testing.TB, object []byte) verifier.Trust {
	t.Helper()
	o, token := parsed(t, object)
	stamp, err := cms.Parse(token, stampShape)
	must(t, err)
	var pems []byte
	for _, c := range slices.Concat(o.Certificates, stamp.Certificates) {
		if c.IsCA {
			pems = append(pems, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
		}
	}
	trust, err := verifier.NewTrust([]verifier.TrustFile{{Name: "issuers.pem", Data: pems}}, nil)
	must(t, err)
	return trust
}

// parsed gives an object that has a time stamp, and that.
func parsed(t testing.TB, object []byte) (o *cms.Object, token []byte) {
	t.Helper()
	o, err := cms.Parse(object, authenticodeShape)
	must(t, err)
	token, err = timeStampOf(o, oidStamp)
	must(t, err)
	return o, token
}

// The signature that Microsoft put on one of its programs in October 2025. Signer
// and issuer have expired since; the time stamp carries it on.
func TestMicrosoft(t *testing.T) {
	t.Parallel()
	object, err := os.ReadFile(filepath.Join("testdata", "microsoft.p7"))
	must(t, err)
	later := verifier.Clock{Time: date(2030)}
	var s Signature
	must(t, s.verifyEmbedded(object, issuers(t, object), later))
	if got := hex.EncodeToString(s.Sum); got != "d48e9c998e82c9bc92f4de18c04dd927813363f0329265db44dcea70bf2fcab2" {
		t.Errorf("digest %s", got)
	}
	if !strings.HasPrefix(s.Signer.Subject, "CN=Microsoft Corporation,") || !strings.HasPrefix(s.Signer.Issuer, "CN=Microsoft Code Signing PCA 2011,") ||
		!strings.HasPrefix(s.TimeStamp.Signer.Subject, "CN=Microsoft Time-Stamp Service,") || !s.TimeStamp.Time.Equal(time.Date(2025, 10, 9, 2, 14, 0, 845e6, time.UTC)) {
		t.Errorf("%+v, %+v", s, s.TimeStamp)
	}
	s = Signature{}
	err = s.verifyEmbedded(object, verifier.Trust{}, later)
	want{verifier.SignerUntrusted, "no root"}.check(t, err)
	if s.Signer.Subject == "" || s.Signer.Chain != nil || s.TimeStamp == nil {
		t.Errorf("what the file says is not shown: %+v", s)
	}

	// Now, and not when the stamp was made, both have expired.
	o, _ := parsed(t, object)
	_, err = issuers(t, object).Chain(o.Leaf, o.Certificates, later.Time, verifier.SignCode)
	want{verifier.SignerExpired, "has expired"}.check(t, err)
}

// A program that was signed with an EV certificate for the tests of a library of
// the Go project, which is one of ours.
func TestGenuineFile(t *testing.T) {
	t.Parallel()
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys")
	list.Env = append(os.Environ(), "GOPROXY=off")
	out, err := list.Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Skip("SKIPPED: the go command or its modules are missing, so there is no genuine file here; run this test where they are")
	}
	path := filepath.Join(dir, "windows", "testdata", "ev-signed-file.exe")
	file, err := os.ReadFile(path)
	must(t, err)
	later := verifier.Clock{Time: date(2030)}
	trust := issuers(t, embedded(file))
	s, err := verify(file, nil, trust, later)
	must(t, err)
	if !strings.Contains(s.Signer.Subject, "CN=WireGuard LLC") || !s.TimeStamp.Time.Equal(time.Date(2021, 11, 23, 17, 4, 26, 0, time.UTC)) {
		t.Errorf("%+v, %+v", s, s.TimeStamp)
	}
	t.Run("by the roots of its CAs", func(t *testing.T) {
		var roots []verifier.TrustFile
		for _, name := range []string{"DigiCert_High_Assurance_EV_Root_CA", "DigiCert_Assured_ID_Root_CA"} {
			data, err := os.ReadFile("/usr/share/ca-certificates/mozilla/" + name + ".crt")
			if err != nil {
				t.Skipf("SKIPPED: %s is not among the roots here; it was once, in Debian's ca-certificates", name)
			}
			roots = append(roots, verifier.TrustFile{Name: name + ".pem", Data: data})
		}
		trust, err := verifier.NewTrust(roots, nil)
		must(t, err)
		_, err = verify(file, nil, trust, later)
		must(t, err)
	})
	file[len(file)/3] ^= 1
	_, err = verify(file, nil, trust, later)
	want{verifier.ContentMismatch, "not what was signed"}.check(t, err)
	_, err = verify(file, nil, verifier.Trust{}, later)
	want{verifier.SignerUntrusted, "no root"}.check(t, err)
}
