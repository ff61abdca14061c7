package managedconfig

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// FuzzParse: any bytes give settings within their ranges or an error that is
// fit for a report, and both the same each time.
func FuzzParse(f *testing.F) {
	samples, err := filepath.Glob("testdata/*.json")
	if err != nil || len(samples) == 0 {
		f.Fatalf("no samples: %v", err)
	}
	for _, name := range samples {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, text := range []string{
		"", "{}", "\ufeff{}", "[]", `{"a":1,}`, "{\"a\": \"x\n", `{} {}`, "\xff\xfe", strings.Repeat(`{"a":`, 40),
		`{"agent": {"trust": {"signers": ["` + pin + `"]}, "hooks": {}}}`,
		`{"agent": {"trsut": {}}}`, `{"cloudService": {"proxy": "http://u:p@h", "proxy": 1}}`,
		`{"features": {"offlineDefinitionUpdate": true, "OfflineDefinitionUpdateVerifySig": "disabled"}}`,
		`{"cloudService": {"defintionUpdatesInterval": 12, "definitionUpdatesInterval": 0}}`,
		`{"antivirusEngine": {"offlineDefinitionUpdateUrl": "h:80/arch_arm64", "enforcementLevel": "a : b\u0000"}}`,
		`{"agent": {"minDefinitionVersion": "1.2.3.4", "product": "x", "keep": 9223372036854775808}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		src := Source{Origin: OriginManaged, File: "m.json", Data: data}
		doc, err := Parse(src)
		again, errAgain := Parse(src)
		if (err == nil) != (errAgain == nil) || err != nil && err.Error() != errAgain.Error() {
			t.Fatalf("first %v, then %v", err, errAgain)
		}
		if err != nil {
			checkReason(t, err, "", "")
			return
		}
		s := Resolve(doc)
		if !reflect.DeepEqual(s, Resolve(again)) {
			t.Fatal("two readings differ")
		}
		for _, w := range s.Warnings {
			checkLine(t, w.Sentence)
			checkLine(t, w.Hint)
		}
		checkRanges(t, s)
	})
}

func checkRanges(t *testing.T, s Settings) {
	t.Helper()
	if n := s.CloudService.DefinitionUpdatesInterval.Value; n < 60 || n > 86400 {
		t.Errorf("interval is %d", n)
	}
	if n := s.Agent.Keep.Value; n < 2 || n > 10 {
		t.Errorf("keep is %d", n)
	}
	if n := s.Agent.StallTimeout.Value; n < 5 || n > 3600 {
		t.Errorf("stall timeout is %d", n)
	}
	if n := len(s.Agent.Trust.Signers.Value); n > 64 {
		t.Errorf("%d signers", n)
	}
	for _, r := range s.Rows() {
		if strings.ContainsAny(r.Text, "\n\r\x00") {
			t.Errorf("row %s has more than one line: %q", r.Name, r.Text)
		}
	}
}

// FuzzRingURL: an address is taken with exactly one of Dir and URL, ends at the
// ring, and its written form is read as the same; or its error is fit for a
// report, and the address that the hint shows is taken.
func FuzzRingURL(f *testing.F) {
	for _, raw := range []string{
		"", "http://172.22.199.67:8000/linux/production/", "www.example.server.com:8000/linux/production/", "[fd00::1]:8000/p_back",
		"http://[fe80::1%25eth0]/x", "file:///srv/a%20b", "/srv/../x//production/", "linux/production", "http://u:p@h/x", "nas:/export",
		"http://h/a%2Fb/arch_arm64/updates.zip?x#y", "http://h/a b/c%2Fd", "ftp://h", "http:/x", "file://h/x", "http://h:0/", "http://h/..", "h.x#", "file:///srv/%a20b", "/arch_a/arch_b",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := ParseRingURL(raw)
		if err != nil {
			checkReason(t, err, "", "")
			checkHint(t, err)
			return
		}
		if raw == "" {
			return
		}
		written := u.Dir
		if u.URL != nil {
			written = u.URL.String()
			if u.Dir != "" || u.URL.Hostname() == "" || u.URL.User != nil || u.URL.RawQuery != "" || u.URL.Fragment != "" {
				t.Fatalf("ring URL is %+v", u)
			}
		}
		if len(written) > maxTextBytes {
			return // longer with its escapes than an address may be
		}
		back, err := ParseRingURL(written)
		if err != nil {
			t.Fatalf("%q was written as %q: %v", raw, written, err)
		}
		if back.Dir != u.Dir || u.URL != nil && back.URL.String() != written {
			t.Fatalf("%q was written as %q and read as %+v", raw, written, back)
		}
		if arch := u.Arch("x86_64"); !strings.HasPrefix(arch.last(), "arch_x86_64") {
			t.Fatalf("Arch of %q ends in %q", raw, arch.last())
		}
	})
}

// checkHint makes sure that following a hint helps, in one step or in several
// (an address may have more than one thing wrong).
func checkHint(t *testing.T, err error) {
	t.Helper()
	for range 8 {
		var e *Error
		if !errors.As(err, &e) {
			return
		}
		right, ok := strings.CutPrefix(e.Hint, "set it to ")
		if !ok || strings.ContainsAny(right, `\`) || strings.HasSuffix(right, "...") {
			return // none shown, or shown in an escaped or cut form
		}
		if _, err = ParseRingURL(right); err == nil {
			return
		}
	}
	if err != nil && !strings.Contains(err.Error(), "it must end at the ring") {
		t.Fatalf("hints don't help: %v", err)
	}
}
