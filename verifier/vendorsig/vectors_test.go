package vendorsig

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
)

// vectors is where the committed vectors of vendors' files lie. testdata/README.md
// describes them, and verifier/vectors makes them.
const vectors = "../../testdata/vectors/vendor"

// good and refused are what another verifier may answer.
const (
	good    = "good"
	refused = "refused"
)

// vector is one as its text file describes it.
type vector map[string]string

func allVectors(t testing.TB) (all []vector) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(vectors, "*.txt"))
	must(t, err)
	if len(paths) < 150 {
		t.Fatalf("only %d vectors lie in %s", len(paths), vectors)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		must(t, err)
		v := vector{}
		for line := range strings.Lines(string(data)) {
			key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			if _, twice := v[key]; !ok || twice {
				t.Fatalf("%s: not a header: %q", path, line)
			}
			v[key] = value
		}
		if v["name"]+".txt" != filepath.Base(path) {
			t.Fatalf("%s is called %s", path, v["name"])
		}
		all = append(all, v)
	}
	return all
}

// part reads a file that the header names; nil where it names none.
func (v vector) part(t testing.TB, key string) []byte {
	t.Helper()
	if v[key] == "" {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(vectors, v[key]))
	must(t, err)
	return data
}

// clock is when it is to be judged.
func (v vector) clock(t testing.TB) verifier.Clock {
	t.Helper()
	at, err := time.Parse(time.RFC3339, v["time"])
	must(t, err)
	return verifier.Clock{Time: at}
}

func (v vector) trustFiles(t testing.TB) (files []verifier.TrustFile) {
	t.Helper()
	for name := range strings.FieldsSeq(v["trust"]) {
		data, err := os.ReadFile(filepath.Join(vectors, "..", "trust", name))
		must(t, err)
		files = append(files, verifier.TrustFile{Name: name, Data: data})
	}
	return files
}

func (v vector) want() want {
	if v["verdict"] == good {
		return want{}
	}
	return want{verifier.Code(v["verdict"]), v["sentence"]}
}

func (v vector) about() string {
	about, _, _ := strings.Cut(v["name"], "-")
	return about
}

// TestVectors has each vector judged.
func TestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range allVectors(t) {
		t.Run(v["name"], func(t *testing.T) {
			t.Parallel()
			file := v.part(t, "file")
			if v.about() == "resource" {
				r, err := ReadResource(bytes.NewReader(file), int64(len(file)))
				v.want().check(t, err)
				if got := fmt.Sprintf("%s %s", cmp.Or(r.OriginalFilename, "-"), r.FileVersion); err == nil && (got != v["resource"] || r.ProductVersion != r.FileVersion) {
					t.Errorf("got %s, want %s", got, v["resource"])
				}
				return
			}
			trust, err := verifier.NewTrust(v.trustFiles(t), nil)
			must(t, err)
			s, err := verify(file, v.part(t, "signature"), trust, v.clock(t))
			v.want().check(t, err)
			if string(s.Kind) != v["kind"] {
				t.Errorf("kind %s, want %s", s.Kind, v["kind"])
			}
			if err != nil {
				return
			}
			stamp := ""
			if s.TimeStamp != nil {
				stamp = s.TimeStamp.Time.Format(time.RFC3339Nano)
			}
			if stamp != v["stamp"] || s.Signer.Chain == nil {
				t.Errorf("stamped %s, want %s: %+v", stamp, v["stamp"], s)
			}
			if _, err := verify(file, v.part(t, "signature"), verifier.Trust{}, v.clock(t)); err == nil {
				t.Error("nobody is trusted, and yet it is good")
			}
		})
	}
}

// TestStampedAnew: anybody can get a time stamp for an old engine of the vendor's that is
// newer than that of the installed one. The vendor's own time of signing tells.
func TestStampedAnew(t *testing.T) {
	t.Parallel()
	content := func(name string) (c Content) {
		for _, v := range allVectors(t) {
			if v["name"] != name {
				continue
			}
			file, sig := v.part(t, "file"), v.part(t, "signature")
			trust, err := verifier.NewTrust(v.trustFiles(t), nil)
			must(t, err)
			e := Examine("libmpengine.so", File{bytes.NewReader(file), int64(len(file)), sig}, trust, v.clock(t))
			must(t, e.Err)
			c.Claims = map[string]Claim{e.Name: e.claim()}
		}
		return c
	}
	installed, old := content("detached-a-time-stamp"), content("detached-an-older-file-stamped-anew")
	if at := old.Claims["libmpengine.so"].Time; !at.After(installed.Claims["libmpengine.so"].Time) {
		t.Fatalf("stamped at %s, which is not newer", at)
	}
	want{verifier.RollbackRefused, "the vendor says that it signed the file libmpengine.so at 2026-11-22T08:00:00Z, and the installed one at 2026-11-23T08:00:00Z"}.check(t, old.NotBelow(installed))
}

// TestVectorsOsslsigncode compares with what the headers say of osslsigncode verify.
func TestVectorsOsslsigncode(t *testing.T) {
	t.Parallel()
	needs(t, "osslsigncode")
	for _, v := range allVectors(t) {
		if v["osslsigncode"] == "" {
			continue
		}
		t.Run(v["name"], func(t *testing.T) {
			t.Parallel()
			args := []string{"verify", "-time", v.seconds(t), "-in", absolute(t, v["file"])}
			for _, f := range v.trustFiles(t) {
				args = append(args, map[string]string{"vendor-root.pem": "-CAfile", "time-root.pem": "-TSA-CAfile", "vendor-revoked.crl": "-CRLfile"}[f.Name], absolute(t, "../trust/"+f.Name))
			}
			v.compare(t, "osslsigncode", args)
		})
	}
}

// TestVectorsOpenSSL compares with what the headers say of openssl cms -verify.
func TestVectorsOpenSSL(t *testing.T) {
	t.Parallel()
	needs(t, "openssl")
	for _, v := range allVectors(t) {
		if v["openssl"] == "" {
			continue
		}
		t.Run(v["name"], func(t *testing.T) {
			t.Parallel()
			v.compare(t, "openssl", []string{"cms", "-verify", "-inform", "DER", "-binary", "-purpose", "any", "-attime", v.seconds(t),
				"-CAfile", absolute(t, "../trust/vendor-root.pem"), "-in", absolute(t, v["signature"]), "-content", absolute(t, v["file"]), "-out", os.DevNull})
		})
	}
}

func (v vector) seconds(t testing.TB) string { return strconv.FormatInt(v.clock(t).Time.Unix(), 10) }

func absolute(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(vectors, name))
	must(t, err)
	return path
}

// compare runs a program, which must answer as the header says.
func (v vector) compare(t *testing.T, program string, args []string) {
	t.Helper()
	l := lab{dir: t.TempDir()}
	answer := good
	out, err := l.run(t, program, args...)
	if err != nil {
		answer = refused
	}
	if answer != v[program] {
		t.Errorf("%s: %s, want %s: %s", program, answer, v[program], out)
	}
}

// line is how the documentation has a vector.
func (v vector) line() string {
	verdict := v["verdict"]
	if verdict != good {
		verdict = "`" + verdict + "`"
	}
	return fmt.Sprintf("| %s | %s | %s | %s |\n", v["what"], verdict, v["osslsigncode"], v["differs"])
}

// TestExplained wants a reason wherever another program answers otherwise, and only
// there, and the documentation to have those of osslsigncode, and no others.
func TestExplained(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/vendor-packages.md")
	must(t, err)
	_, table, _ := strings.Cut(string(page), "| what is special about the file |")
	var lines []string
	for _, v := range allVectors(t) {
		answer := v["osslsigncode"] + v["openssl"]
		differs := answer != "" && (v["verdict"] == good) != (answer == good)
		if differs != (v["differs"] != "") {
			t.Errorf("%s: do they differ? %v, and why: %q", v["name"], differs, v["differs"])
		}
		if differs && v["osslsigncode"] != "" {
			lines = append(lines, v.line())
		}
	}
	for _, line := range lines {
		if !strings.Contains(table, line) {
			t.Errorf("vendor-packages.md lacks the line: %s", line)
		}
	}
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| here") && !slices.Contains(lines, line) {
			t.Errorf("vendor-packages.md has a line of no vector: %s", line)
		}
	}
}
