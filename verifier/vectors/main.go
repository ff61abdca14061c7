// Command vectors makes the packages of testdata/vectors anew, and the files of
// vendors below them: hostile ones, odd ones and good ones, each with the verdict
// that a verifier must give.
//
//	go run ./verifier/vectors testdata/vectors
//
// It promises that two runs give the same bytes. So keys come from their names
// ([keyOf]) or lie beside this file, times are fixed, signatures are
// deterministic (RFC 6979, PKCS #1 v1.5), and archives and compressed bytes are
// written by hand, which no new compiler changes.
//
// It does not judge: it imports nothing of this project, and what it writes as
// the verdict is what docs/package-format.md and docs/vendor-packages.md say. The
// tests beside it and those of verifier/vendorsig hold the project to it, and
// OpenSSL, unzip, Python and osslsigncode to what the headers say of them.
package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./verifier/vectors DIR")
		os.Exit(64)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// judgedAt is the time at which most vectors are to be judged.
var judgedAt = at("2026-12-01T00:00:00Z")

// at reads a time of this program's own tables.
func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

// vector is one package and what is to be said of it.
type vector struct {
	name     string
	what     string // what is special, in a few words
	archive  []byte
	sidecar  []byte    // nil: there is none
	trust    []string  // files below trust/; nil: root.pem
	time     time.Time // to judge at; zero: judgedAt
	verdict  string    // good, or a code
	sentence string    // a part of what this project says

	// What other programs answer: good or refused, of unzip also warned. openssl
	// is empty where the signature is not what the vector is about.
	openssl, unzip, python string
	differs                string // why they answer otherwise
}

// header is the text of the vector's own file. Its form is described in
// testdata/README.md.
func (v vector) header() string {
	sidecar := ""
	if v.sidecar != nil {
		sidecar = v.name + ".zip.p7m"
	}
	return lines("name", v.name, "what", v.what, "archive", v.name+".zip", "sidecar", sidecar, "trust", strings.Join(v.trust, " "),
		"time", v.time.Format(time.RFC3339), "for", "mdatp linux x86_64 production", "verdict", v.verdict, "sentence", v.sentence,
		"openssl", v.openssl, "unzip", v.unzip, "python", v.python, "differs", v.differs)
}

// lines gives a line for each pair of a key and a value that is not empty.
func lines(pairs ...string) string {
	var out strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(&out, "%s: %s\n", pairs[i], pairs[i+1])
		}
	}
	return out.String()
}

// complete fills in what most vectors have in common.
func (v vector) complete() vector {
	if v.trust == nil {
		v.trust = []string{"root.pem"}
	}
	if v.time.IsZero() {
		v.time = judgedAt
	}
	if v.unzip == "" {
		v.unzip = good
	}
	if v.python == "" {
		v.python = good
	}
	return v
}

// Answers of programs. Refused and warned are no codes of this project's.
const (
	good    = "good"
	warned  = "warned"
	refused = "refused"
)

// all gives every vector, complete.
func all() []vector {
	var out []vector
	for _, v := range slices.Concat(signatures(), signers(), lists(), times(), archives(), entries(), sidecars(), fuzzed()) {
		out = append(out, v.complete())
	}
	return out
}

// files gives every file of the corpus by its path below the corpus.
func files() (map[string][]byte, error) {
	out := map[string][]byte{}
	for name, data := range trustFiles() {
		out[filepath.Join("trust", name)] = data
	}
	for _, v := range all() {
		if _, twice := out[v.name+".txt"]; twice {
			return nil, errors.New("two vectors are called " + v.name)
		}
		out[v.name+".txt"] = []byte(v.header())
		out[v.name+".zip"] = v.archive
		if v.sidecar != nil {
			out[v.name+".zip.p7m"] = v.sidecar
		}
	}
	for name, data := range vendorFiles() {
		out[filepath.Join("vendor", name)] = data
	}
	return out, nil
}

// write puts the corpus into dir, whose other files it removes.
func write(dir string) error {
	wanted, err := files()
	if err != nil {
		return err
	}
	for _, old := range []string{"*", "trust/*", "vendor/*"} {
		paths, err := filepath.Glob(filepath.Join(dir, old))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				if err := os.Remove(path); err != nil {
					return err
				}
			}
		}
	}
	for _, below := range []string{"trust", "vendor"} {
		if err := os.MkdirAll(filepath.Join(dir, below), 0o755); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if err := os.WriteFile(filepath.Join(dir, name), wanted[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}
