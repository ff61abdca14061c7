package mirror

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
)

// offerSigned puts a package into the cloud that l has signed.
func (s *site) offerSigned(l lab, p syncPair, definition string, change func(*BuildOptions)) {
	s.t.Helper()
	o := l.options(s.t)
	o.Definition, o.Engine = version(definition), version(engineOf(definition))
	o.Force = true
	if change != nil {
		change(&o)
	}
	if _, err := Build(s.t.Context(), l.out(), o, &l.signer); err != nil {
		s.t.Fatal(err)
	}
	write(s.t, s.path(p, "updates.zip"), read(s.t, l.out()))
	write(s.t, s.path(p, "info.xml"), []byte(infoXML(definition)))
	s.age(p)
	os.RemoveAll(filepath.Dir(l.out()))
}

// announces wants the manifests of a ring and of its n-1 to say these versions.
func (s *site) announces(production, back string) {
	s.t.Helper()
	for ring, want := range map[string]string{"production": production, "production_back": back} {
		v, ok := readManifest(s.tree("linux", ring, "arch_x86_64"))
		if got := v.Definition.String(); ok && got != want || !ok && want != "" {
			s.t.Errorf("%s has %s, want %s", ring, got, want)
		}
	}
}

// approve makes a sidecar in a directory that is about the package zip there.
func (s *site) approve(l lab, dir, zip, definition string) {
	s.t.Helper()
	o := l.options(s.t)
	o.Definition, o.Engine = version(definition), version(engineOf(definition))
	list := listOf(s.t, filepath.Join(dir, zip), o)
	if zip != zipFile {
		list.Zip = zip
	}
	p7m, err := SignList(list, l.signer)
	if err != nil {
		s.t.Fatal(err)
	}
	write(s.t, filepath.Join(dir, zipSidecar), p7m)
}

// TestSyncSidecar: a sidecar stays beside the packages that it is about, and beside
// no other.
func TestSyncSidecar(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	const other = "updates-aaaa.zip"
	for name, c := range map[string]struct {
		about  string
		spoil  func(s *site, arch string)
		signed bool // what comes
		stays  bool
	}{
		"about what is replaced":                          {about: zipFile},
		"about another":                                   {about: other, stays: true},
		"about another that is gone":                      {about: other, spoil: func(s *site, arch string) { os.Remove(filepath.Join(arch, other)) }},
		"about another, and what comes speaks for itself": {about: other, signed: true},
		"damaged": {about: other, spoil: func(s *site, arch string) { write(s.t, filepath.Join(arch, zipSidecar), []byte("no list")) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, l := newSite(t), l
			l.dir = t.TempDir()
			s.offer(linux, "1.401.0.0")
			s.want(SyncUpdated, "")
			arch := s.tree("linux/production/arch_x86_64")
			definition := "1.401.0.0"
			if c.about == other {
				definition = "1.399.0.0"
				write(t, filepath.Join(arch, other), vendorZip(t, definition, 1000))
			}
			s.approve(l, arch, c.about, definition)
			if c.spoil != nil {
				c.spoil(s, arch)
			}
			if c.signed {
				s.offerSigned(l, linux, "1.402.0.0", nil)
			} else {
				s.offer(linux, "1.402.0.0")
			}
			s.want(SyncUpdated, "")
			s.announces("1.402.0.0", "1.401.0.0")
			_, err := os.Lstat(filepath.Join(arch, zipSidecar))
			if there := err == nil; there != c.stays {
				t.Errorf("a sidecar is there: %v", there)
			}
			if told := strings.Contains(string(read(t, s.settings.LogFile)), zipSidecar+" does not count"); told == c.stays {
				t.Errorf("the log tells of it: %v", told)
			}
			// What was there before goes to n-1 as it was.
			if _, err := os.Lstat(s.tree("linux/production_back/arch_x86_64", zipSidecar)); err != nil {
				t.Errorf("n-1 has lost its sidecar: %v", err)
			}
		})
	}
}

// TestSyncSidecarOfOther: a sidecar that is about another package says nothing about
// the versions of this one, and one that is about this one does.
func TestSyncSidecarOfOther(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	for name, c := range map[string]struct{ about, back string }{
		"about another": {"updates-aaaa.zip", "1.401.0.0"},
		"about this":    {zipFile, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, l := newSite(t), l
			l.dir = t.TempDir()
			arch := s.tree("linux/production/arch_x86_64") // as another program left it
			write(t, filepath.Join(arch, zipFile), vendorZip(t, "1.401.0.0", 1000))
			write(t, filepath.Join(arch, "updates-aaaa.zip"), vendorZip(t, "1.399.0.0", 1000))
			write(t, filepath.Join(arch, manifestFile), []byte(infoJSON("1.401.0.0")))
			s.approve(l, arch, c.about, "1.399.0.0")
			s.offer(linux, "1.402.0.0")
			s.want(SyncUpdated, "")
			s.announces("1.402.0.0", c.back)
		})
	}
}

// TestSyncFloor: what is announced is a floor even where the package under it is not
// good.
func TestSyncFloor(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(zip string) error{
		"page":    func(zip string) error { return os.WriteFile(zip, []byte("<html>502 Bad Gateway</html>"), 0o644) },
		"missing": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			for _, v := range []string{"1.400.0.0", "1.402.0.0"} {
				s.offer(linux, v)
				s.want(SyncUpdated, "")
			}
			if err := spoil(s.tree("linux/production/arch_x86_64/updates.zip")); err != nil {
				t.Fatal(err)
			}
			s.offer(linux, "1.401.0.0")
			if got := s.want(SyncFailed, "rollback_refused"); !got.Definition.IsZero() {
				t.Errorf("%s is said to be published", got.Definition)
			}
			s.announces("1.402.0.0", "1.400.0.0")
			s.o.AllowDowngrade = version("1.401.0.0")
			s.want(SyncUpdated, "")
			s.holds(linux, "1.401.0.0", "1.400.0.0")
		})
	}
	s := newSite(t)
	s.offer(linux, "1.402.0.0")
	s.want(SyncUpdated, "")
	if err := os.Remove(s.tree("linux/production/arch_x86_64/updates.zip")); err != nil {
		t.Fatal(err)
	}
	s.want(SyncUpdated, "") // the same again is no downgrade
	s.holds(linux, "1.402.0.0", "")
}

// revoking gives the trust in the roots of both labs with a revocation list that names
// l's signer.
func revoking(t *testing.T, l, other lab) *verifier.Trust {
	t.Helper()
	parse := func(path string) []byte {
		block, _ := pem.Decode(read(t, path))
		if block == nil {
			t.Fatalf("%s is no PEM", path)
		}
		return block.Bytes
	}
	leaf, errLeaf := x509.ParseCertificate(parse(l.keys.Leaf))
	issuer, errIssuer := x509.ParseCertificate(parse(l.keys.Intermediate))
	key, errKey := x509.ParsePKCS8PrivateKey(parse(l.keys.IntermediateKey))
	if err := errors.Join(errLeaf, errIssuer, errKey); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	crl, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour * 24),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: leaf.SerialNumber, RevocationTime: now.Add(-time.Minute)}}}, issuer, key.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := verifier.NewTrust([]verifier.TrustFile{{Name: "root.pem", Data: read(t, l.keys.Root)},
		{Name: "other.pem", Data: read(t, other.keys.Root)}, {Name: "signers.crl", Data: crl}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &trust
}

// TestSyncTrustChanges: what was verified once is asked about again, and pushes a good
// n-1 out only where the answer is still the same.
func TestSyncTrustChanges(t *testing.T) {
	t.Parallel()
	l, other := newLab(t, KeyOptions{}), newLab(t, KeyOptions{})
	for name, c := range map[string]struct {
		first bool                   // whether l was trusted at first, or nobody
		then  func() *verifier.Trust // nil: the same
		by    lab                    // who signs what comes
		back  string
	}{
		"the same":          {first: true, by: l, back: "1.402.0.0"},
		"nobody at first":   {by: l, back: "1.402.0.0", then: func() *verifier.Trust { return &l.trust }},
		"nobody any more":   {first: true, by: l, back: "1.402.0.0", then: func() *verifier.Trust { return nil }},
		"another directory": {first: true, by: other, back: "1.401.0.0", then: func() *verifier.Trust { return &other.trust }},
		"both": {first: true, by: other, back: "1.402.0.0", then: func() *verifier.Trust {
			trust := trustIn(t, l.keys.Root, other.keys.Root)
			return &trust
		}},
		"revoked": {first: true, by: other, back: "1.401.0.0", then: func() *verifier.Trust { return revoking(t, l, other) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, l, by := newSite(t), l, c.by
			l.dir, by.dir = t.TempDir(), t.TempDir()
			if c.first {
				s.o.Trust = &l.trust
			}
			for _, v := range []string{"1.401.0.0", "1.402.0.0"} {
				s.offerSigned(l, linux, v, nil)
				s.want(SyncUpdated, "")
			}
			if c.then != nil {
				s.o.Trust = c.then()
			}
			s.offerSigned(by, linux, "1.403.0.0", nil)
			s.want(SyncUpdated, "")
			s.announces("1.403.0.0", c.back)
			s.want(SyncUpToDate, "")
		})
	}
}

// TestSyncApproval: what a sidecar approved is not approved any more once that is taken
// away.
func TestSyncApproval(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	for name, c := range map[string]struct {
		withdrawn bool
		back      string
	}{
		"approved":  {false, "1.402.0.0"},
		"withdrawn": {true, "1.401.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, l := newSite(t), l
			l.dir = t.TempDir()
			arch := s.tree("linux/production/arch_x86_64")
			for _, v := range []string{"1.401.0.0", "1.402.0.0"} {
				s.offer(linux, v)
				s.want(SyncUpdated, "")
			}
			s.approve(l, arch, zipFile, "1.402.0.0")
			s.o.Trust = &l.trust
			s.want(SyncUpToDate, "")
			if c.withdrawn {
				if err := os.Remove(filepath.Join(arch, zipSidecar)); err != nil {
					t.Fatal(err)
				}
				s.want(SyncFailed, "signature_missing") // asked for again, and no better
			}
			s.offerSigned(l, linux, "1.403.0.0", nil)
			s.want(SyncUpdated, "")
			s.announces("1.403.0.0", c.back)
		})
	}
}

// TestSyncApprovalOfOtherBytes: a list is believed about the bytes that it was compared
// with, and no others.
func TestSyncApprovalOfOtherBytes(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	s := newSite(t)
	s.offer(linux, "1.401.0.0")
	s.want(SyncUpdated, "") // nobody is trusted, so nothing is compared with a list
	elsewhere := t.TempDir()
	zip := vendorZip(t, "1.401.0.0", 100<<10)
	write(t, filepath.Join(elsewhere, zipFile), zip)
	s.approve(l, elsewhere, zipFile, "1.401.0.0")
	list := claimed(filepath.Join(elsewhere, zipFile))
	list.Files[0].SHA256[0] ^= 1
	p7m, err := SignList(list, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.tree("linux/production/arch_x86_64", zipSidecar), p7m)
	s.o.Trust = &l.trust
	s.offerSigned(l, linux, "1.402.0.0", nil)
	s.want(SyncUpdated, "")
	s.announces("1.402.0.0", "")
}

// TestSyncExpired: what was good and has expired stays published, may become n-1, and
// is still a floor.
func TestSyncExpired(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	l := newLab(t, KeyOptions{})
	s := newSite(t)
	s.o.Trust = &l.trust
	s.offerSigned(l, linux, "1.402.0.0", nil)
	s.want(SyncUpdated, "")
	later := time.Now().Add(60 * day)
	s.o.Now = func() time.Time { return later }
	s.want(SyncUpToDate, "")
	if !strings.Contains(string(read(t, s.settings.LogFile)), "has expired, and stays") {
		t.Error("the log does not say that it has expired")
	}
	now := func(o *BuildOptions) { o.Now = later }
	s.offerSigned(l, linux, "1.401.0.0", now)
	s.want(SyncFailed, "rollback_refused")
	s.offerSigned(l, linux, "1.403.0.0", nil) // expired as well
	s.want(SyncFailed, "package_expired")
	s.announces("1.402.0.0", "")
	s.offerSigned(l, linux, "1.404.0.0", now)
	s.want(SyncUpdated, "")
	s.announces("1.404.0.0", "1.402.0.0")
}

// TestSyncTrustOfPending: what waits to become n-1 is asked about again as well.
func TestSyncTrustOfPending(t *testing.T) {
	t.Parallel()
	l, other := newLab(t, KeyOptions{}), newLab(t, KeyOptions{})
	for name, c := range map[string]struct {
		then verifier.Trust
		back string
	}{"the same": {l.trust, "1.401.0.0"}, "another directory": {other.trust, ""}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, l := newSite(t), l
			l.dir = t.TempDir()
			s.o.Trust = &l.trust
			s.offerSigned(l, linux, "1.401.0.0", nil)
			s.want(SyncUpdated, "")
			write(t, s.tree("linux/production_back"), nil) // nothing can be kept
			s.offerSigned(l, linux, "1.402.0.0", nil)
			if got := s.sync()[0]; got.Err == nil {
				t.Fatal("n-1 is kept in a file")
			}
			os.Remove(s.tree("linux/production_back"))
			s.o.Trust = &c.then
			s.sync()
			s.announces("1.402.0.0", c.back)
		})
	}
}
