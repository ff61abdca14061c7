package mirror

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
	list, err := ListOf(s.t.Context(), filepath.Join(dir, zip), o)
	if err != nil {
		s.t.Fatal(err)
	}
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
		"about what is replaced":     {about: zipFile},
		"about another":              {about: other, stays: true},
		"about another that is gone": {about: other, spoil: func(s *site, arch string) { os.Remove(filepath.Join(arch, other)) }},
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
			if told := strings.Contains(string(read(t, s.settings.LogFile)), zipSidecar+" was about"); told == c.stays {
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
