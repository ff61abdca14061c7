package main

import (
	"embed"
	"strings"
)

// What fuzzing once found, as it was found. The signatures are altered ones of
// OpenSSL's, below a root of their own.
//
//go:embed fuzzed
var fuzzedFiles embed.FS

func fuzzedFile(name string) []byte { return must(fuzzedFiles.ReadFile("fuzzed/" + name)) }

// fuzzed are the finds, whatever they are about.
func fuzzed() (out []vector) {
	const plainName = "neither a plain file"
	for _, r := range []struct{ file, what, verdict, sentence, openssl, unzip, python, differs string }{
		{"1.zip", "a deflate stream that is none, a data descriptor, and no list", missing, "no signed list", "", refused, refused, ""},
		{"2.zip", "a name with a byte that is no letter, and an extra field that swallows the next header", malformed, plainName, "", refused, refused, ""},
		{"3.zip", "an extra field that is none, an entry for a directory, and no list", missing, "no signed list", "", refused, refused, ""},
		{"4.zip", "an extra field that reaches into the next entry", malformed, "without gaps or overlaps", "", refused, refused, ""},
		{"5.zip", "a name in the directory that is part of the next header", malformed, plainName, "", refused, refused, ""},
		{"1.p7m", "a signature below another root", untrusted, "no root of the trust directory", refused, good, good, ""},
		{"2.p7m", "a bit of the list and more was changed", invalid, "RFC 5652", refused, good, good, ""},
		{"3.p7m", "a bit of the list and more was changed", invalid, "not strict DER", refused, good, good, ""},
		{"4.p7m", "a certificate that can not be read", invalid, "can not be read", refused, good, good, ""},
		{"5.p7m", "a certificate that can not be read", invalid, "can not be read", refused, good, good, ""},
		{"6.p7m", "an object identifier that is longer than it says", invalid, "not strict DER", refused, good, good, ""},
		{"1.json", "a byte that is no UTF-8", malformedList, "not valid UTF-8", good, good, good, allReadable},
		{"2.json", "a list of many files that is no JSON any more", malformedList, "not JSON of the right form", good, good, good, allReadable},
		{"3.json", "a hash that is none, far behind", malformedList, "file 56: sha256 must be 64", good, good, good, allReadable},
		{"4.json", "a space for the first digit of a month", malformedList, "expires is not of the form", good, good, good, allReadable},
		{"5.json", "keys that ran into each other", malformedList, "not JSON of the right form", good, good, good, allReadable},
		{"6.json", "a key in the place of a number", malformedList, "not JSON of the right form", good, good, good, allReadable},
	} {
		number, kind, _ := strings.Cut(r.file, ".")
		data := fuzzedFile(r.file)
		v := vector{what: r.what, verdict: r.verdict, sentence: r.sentence, openssl: r.openssl, unzip: r.unzip, python: r.python, differs: r.differs}
		switch kind {
		case "zip":
			v.name, v.archive = "archive-fuzzed-"+number, data
		case "p7m":
			v.name, v.archive, v.trust = "signature-fuzzed-"+number, pack(data), []string{"fuzzed-root.pem"}
		case "json":
			v.name, v.archive = "list-fuzzed-"+number, pack(signedBy(leaf, data, intermediate).encode())
		}
		out = append(out, v)
	}
	return out
}
