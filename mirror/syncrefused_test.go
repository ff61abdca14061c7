package mirror

import (
	"os"
	"strings"
	"testing"
	"time"
)

// A package that was refused does not come again while nothing has changed, and comes
// when anything has.
func TestSyncRefusedBefore(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	const size = 300 << 10
	page := append([]byte("<!DOCTYPE html>"), make([]byte, size)...)
	spoil := func(s *site) { write(s.t, s.path(linux, "updates.zip"), page) }
	for name, c := range map[string]struct {
		refused func(*site) // what is wrong with 1.402.0.0, nil: nobody trusted has signed it
		code    string
		change  func(*site)
		then    SyncOutcome
		fetched bool
	}{
		"nothing":                 {refused: spoil, code: "not_a_package", then: SyncFailed},
		"nothing, of the vendor":  {code: "signature_missing", then: SyncFailed},
		"nothing, another inside": {refused: func(s *site) { s.offerSigned(l, linux, "1.403.0.0", nil); s.announce("1.402.0.0") }, code: "source_changed", then: SyncFailed},
		"the versions":            {refused: spoil, code: "not_a_package", change: func(s *site) { s.announce("1.403.0.0") }, then: SyncFailed, fetched: true},
		"the package":             {refused: spoil, code: "not_a_package", change: func(s *site) { s.offer(linux, "1.402.0.0") }, then: SyncUpdated, fetched: true},
		"its date":                {refused: spoil, code: "not_a_package", change: func(s *site) { s.age(linux) }, then: SyncFailed, fetched: true},
		"whom to trust":           {code: "signature_missing", change: func(s *site) { s.o.Trust = nil }, then: SyncUpdated, fetched: true},
		"the product":             {code: "signature_missing", change: func(s *site) { s.o.Product = "other" }, then: SyncFailed, fetched: true},
		"the day":                 {refused: spoil, code: "not_a_package", change: func(s *site) { s.o.Now = func() time.Time { return time.Now().Add(25 * time.Hour) } }, then: SyncFailed, fetched: true},
		"the clock, set back":     {refused: spoil, code: "not_a_package", change: func(s *site) { s.o.Now = func() time.Time { return time.Now().Add(-time.Hour) } }, then: SyncFailed, fetched: true},
		"by hand": {refused: spoil, code: "not_a_package", change: func(s *site) {
			if err := os.Remove(s.tree("linux/production/.sync/arch_x86_64", refusedFile)); err != nil {
				s.t.Fatal(err)
			}
		}, then: SyncFailed, fetched: true},
		"what is remembered": {refused: spoil, code: "not_a_package", change: func(s *site) {
			write(s.t, s.tree("linux/production/.sync/arch_x86_64", refusedFile), []byte("{"))
		}, then: SyncFailed, fetched: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, l := newSite(t), l
			l.dir = t.TempDir()
			s.offer(linux, "1.401.0.0")
			s.want(SyncUpdated, "")
			write(t, s.path(linux, "updates.zip"), vendorZip(t, "1.402.0.0", size))
			s.announce("1.402.0.0")
			if c.refused != nil {
				c.refused(s)
			} else {
				s.o.Trust = &l.trust
			}
			s.age(linux)
			first := s.want(SyncFailed, c.code)
			if strings.Contains(first.Err.Error(), "not fetched again") {
				t.Errorf("at first: %v", first.Err)
			}
			if c.change != nil {
				c.change(s)
			}
			code := c.code
			if c.then == SyncUpdated {
				code = ""
			}
			got := s.want(c.then, code)
			if fetched := got.Bytes > min(50<<10, first.Bytes/2); fetched != c.fetched {
				t.Errorf("%d bytes came, at first %d", got.Bytes, first.Bytes)
			}
			if told := got.Err != nil && strings.Contains(got.Err.Error(), " so it was not fetched again"); told == c.fetched {
				t.Errorf("it says %v", got.Err)
			}
			if log := string(read(t, s.settings.LogFile)); !c.fetched && !strings.Contains(log, c.code+": ") || strings.Contains(log, "not fetched again") == c.fetched {
				t.Errorf("the log says\n%s", log)
			}
			if c.then == SyncFailed {
				s.announces("1.401.0.0", "")
			}
		})
	}
}

// announce makes the cloud say these versions of the package that it has.
func (s *site) announce(definition string) {
	s.t.Helper()
	write(s.t, s.path(linux, "info.xml"), []byte(infoXML(definition)))
	when := time.Now().Add(-time.Minute)
	if err := os.Chtimes(s.path(linux, "info.xml"), when, when); err != nil {
		s.t.Fatal(err)
	}
}
