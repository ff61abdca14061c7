package main

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// list is the ordinary list, with pairs of what to replace by what.
func list(pairs ...string) []byte {
	var rows []string
	for _, e := range content() {
		rows = append(rows, fmt.Sprintf(`    {"name": %q, "size": %d, "sha256": "%x"}`, e.name, len(e.data), sha256.Sum256(e.data)))
	}
	data := []byte(`{
  "type": "mdatp-definitions/1",
  "product": "mdatp",
  "platform": "linux",
  "arch": "x86_64",
  "rings": ["production"],
  "engineVersion": "1.1.24080.9",
  "definitionVersion": "1.407.417.0",
  "released": "2026-11-23T06:00:00Z",
  "issued": "2026-11-23T08:00:00Z",
  "expires": "2124-12-07T08:00:00Z",
  "files": [
` + strings.Join(rows, ",\n") + `
  ]
}
`)
	for i := 0; i < len(pairs); i += 2 {
		data = swapped(data, pairs[i], pairs[i+1])
	}
	return data
}

const malformedList = "list_malformed"

// lists are about what a good signature is over. OpenSSL checks no list, so it
// takes all of them.
func lists() (out []vector) {
	add := func(name, what string, data []byte, verdict, sentence string) {
		v := vector{name: "list-" + name, what: what, archive: pack(signedBy(leaf, data, intermediate).encode()), verdict: verdict, sentence: sentence, openssl: good}
		if verdict != good {
			v.differs = allReadable
		}
		out = append(out, v)
	}
	replaced := func(name, what, from, to, verdict, sentence string) {
		add(name, what, list(from, to), verdict, sentence)
	}
	const (
		before  = `"files"`
		version = `"1.407.417.0"`
		engine  = `"1.1.24080.9"`
		issued  = `"2026-11-23T08:00:00Z"`
		file    = `"mpavdlta.vdm"`
		wrong   = malformedList
	)
	for _, r := range [][6]string{
		{"good-unknown-keys", "keys that nobody knows", before, `"future": {"deep": [1, null]}, "files"`, good, ""},
		{"good-key-in-capitals", "a known key in another case is an unknown one", before, `"FILES": [], "files"`, good, ""},
		{"good-escaped-name", "a letter of a name is written as an escape", file, `"\u006dpavdlta.vdm"`, good, ""},

		{"unknown-type", "a type that nobody knows", "definitions/1", "definitions/2", wrong, "its type is unknown"},
		{"type-in-capitals", "the type's key in another case", `"type"`, `"Type"`, wrong, "its type is unknown"},
		{"key-twice", "a key stands twice, with two values", before, `"arch": "arm64", "files"`, wrong, "key stands twice"},
		{"key-twice-escaped", "a key stands twice, once written as an escape", before, `"\u0061rch": "arm64", "files"`, wrong, "key stands twice"},
		{"deep-key-twice", "a key that nobody knows stands twice, deep inside", before, `"x": [{"a": 1, "a": 2}], "files"`, wrong, "key stands twice"},
		{"key-of-a-file-twice", "a file has two names", file, `"a", "name": "mpavdlta.vdm"`, wrong, "key stands twice"},
		{"deep", "nested deeper than 16", before, `"x": ` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + `, "files"`, wrong, "nested deeper"},
		{"object-behind", "a second object behind the list", "  ]\n}\n", "  ]\n}\n{}\n", wrong, "behind the JSON object"},
		{"byte-order-mark", "a byte order mark in front", "{\n  \"type\"", "\ufeff{\n  \"type\"", wrong, "not a JSON object"},
		{"not-utf-8", "a byte that is no UTF-8", `"mdatp"`, "\"mdatp\xff\"", wrong, "not valid UTF-8"},
		{"comment", "a comment, which JSON does not have", before, `/* x */ "files"`, wrong, "not JSON of the right form"},

		{"version-leading-zeros", "a version with leading zeros", version, `"1.0407.417.0"`, wrong, "definitionVersion: component 2"},
		{"version-of-two", "a version of two numbers", version, `"1.407"`, wrong, "definitionVersion: version has 2 components"},
		{"version-of-five", "a version of five numbers", version, `"1.407.417.0.0"`, wrong, "definitionVersion: version has 5 components"},
		{"version-space-in-front", "a space before a version", version, `" 1.407.417.0"`, wrong, "definitionVersion: component 1"},
		{"version-space-behind", "a space behind a version", version, `"1.407.417.0 "`, wrong, "definitionVersion: component 4"},
		{"version-nul", "a NUL in a version", version, `"1.407.417.0\u0000"`, wrong, "definitionVersion: component 4"},
		{"version-plus", "a sign in a version", version, `"1.+407.417.0"`, wrong, "definitionVersion: component 2"},
		{"version-minus", "a negative number in a version", version, `"1.-407.417.0"`, wrong, "definitionVersion: component 2"},
		{"version-arabic-digits", "digits of another script in a version", version, `"1.٤٠٧.417.0"`, wrong, "definitionVersion: component 2"},
		{"version-full-width", "full-width digits in a version", version, `"1.４０７.417.0"`, wrong, "definitionVersion: component 2"},
		{"version-hexadecimal", "a hexadecimal number in a version", version, `"1.0x197.417.0"`, wrong, "definitionVersion: component 2"},
		{"version-underscore", "an underscore in a version", version, `"1.4_07.417.0"`, wrong, "definitionVersion: component 2"},
		{"version-2-32", "a number of 2^32 in a version", version, `"1.4294967296.417.0"`, wrong, "definitionVersion: component 2"},
		{"version-2-64", "a number beyond 2^64 in a version", version, `"1.18446744073709551617.4.0"`, wrong, "definitionVersion: component 2"},
		{"version-empty", "a number is missing in a version", version, `"1..417.0"`, wrong, "definitionVersion: component 2"},
		{"version-a-number", "a version that is a number", version, `1.407`, wrong, "not JSON of the right form"},
		{"version-greatest", "the greatest version there is; see the page about trust over time for what follows", version, `"4294967295.4294967295.4294967295.4294967295"`, good, ""},
		{"engine-version-leading-zeros", "an engine's version with leading zeros", engine, `"1.01.24080.9"`, wrong, "engineVersion: component 2"},

		{"time-offset", "a time with an offset", issued, `"2026-11-23T09:00:00+01:00"`, wrong, "issued is not of the form"},
		{"time-fraction", "a time with a fraction", issued, `"2026-11-23T08:00:00.5Z"`, wrong, "issued is not of the form"},
		{"time-comma", "a time with a fraction behind a comma", issued, `"2026-11-23T08:00:00,5Z"`, wrong, "issued is not of the form"},
		{"time-lower-case", "a time in lower case", issued, `"2026-11-23t08:00:00z"`, wrong, "issued is not of the form"},
		{"time-space", "a time with a space", issued, `"2026-11-23 08:00:00Z"`, wrong, "issued is not of the form"},
		{"time-one-digit", "an hour of one digit", issued, `"2026-11-23T8:00:00Z"`, wrong, "issued is not of the form"},
		{"time-space-digit", "a space for the first digit of a day (found by fuzzing)", `"2124-12-07T08:00:00Z"`, `"2124-12- 7T08:00:00Z"`, wrong, "expires is not of the form"},
		{"time-leap-second", "a leap second", issued, `"2026-11-23T08:00:60Z"`, wrong, "issued is not of the form"},
		{"time-no-such-day", "30 February", `"2026-11-23T06:00:00Z"`, `"2026-02-30T06:00:00Z"`, wrong, "released is not of the form"},
		{"time-a-number", "a time in seconds since 1970", issued, `1795420800`, wrong, "not JSON of the right form"},
		{"time-order", "issued before released", issued, `"2026-11-23T05:59:59Z"`, wrong, "released must not be after issued"},
		{"time-expires-when-issued", "expires when it is issued", `"2124-12-07T08:00:00Z"`, issued, wrong, "issued must be before expires"},

		{"name-dot-dot", "a file called ..", file, `".."`, wrong, "name must be flat"},
		{"name-parent", "a file in the directory above", file, `"../mpavdlta.vdm"`, wrong, "name must be flat"},
		{"name-absolute", "a file with an absolute name", file, `"/etc/passwd"`, wrong, "name must be flat"},
		{"name-slash-escaped", "a slash in a name, written as an escape", file, `"a\u002fb"`, wrong, "name must be flat"},
		{"name-backslash", "a backslash in a name", file, `"..\\mpavdlta.vdm"`, wrong, "name must be flat"},
		{"name-nul", "a NUL in a name", file, `"mpavdlta.vdm\u0000.txt"`, wrong, "name must be flat"},
		{"name-newline", "a newline in a name", file, `"mpavdlta.vdm\n"`, wrong, "name must be flat"},
		{"name-hidden", "a name with a leading dot", file, `".mpavdlta.vdm"`, wrong, "name must be flat"},
		{"name-option", "a name that looks like an option", file, `"-rf"`, wrong, "name must be flat"},
		{"name-colon", "a colon in a name", file, `"mpavdlta.vdm:x"`, wrong, "name must be flat"},
		{"name-not-ascii", "a letter beyond ASCII in a name", file, `"mpävdlta.vdm"`, wrong, "name must be flat"},
		{"name-surrogate", "half a character in a name", file, `"mpavdlta.vdm\ud800"`, wrong, "name must be flat"},
		{"name-65", "a name of 65 characters", file, `"` + strings.Repeat("a", 65) + `"`, wrong, "name must be flat"},
		{"name-empty", "a name of no characters", file, `""`, wrong, "name must be flat"},
		{"name-meta", "a file with the name of the list's directory", file, `"meta"`, wrong, "directory of the signed list"},
		{"name-twice", "two files of one name", file, `"mpavbase.vdm"`, wrong, "name stands twice"},
		{"name-twice-by-case", "two files whose names differ in case", file, `"MPAVBASE.VDM"`, wrong, "name stands twice"},

		{"size-fraction", "a size with a fraction", `"size": 7`, `"size": 7.0`, wrong, "size must be a whole number"},
		{"size-exponent", "a size with an exponent", `"size": 7`, `"size": 7e0`, wrong, "size must be a whole number"},
		{"size-negative", "a negative size", `"size": 7`, `"size": -7`, wrong, "size must be a whole number"},
		{"size-string", "a size that is a string", `"size": 7`, `"size": "7"`, wrong, "size must be a whole number"},
		{"size-wraps", "a size of 2^64 and 7", `"size": 7`, `"size": 18446744073709551623`, wrong, "size must be a whole number"},
		{"size-too-large", "sizes of more than 2 GiB together", `"size": 7`, `"size": 2147483648`, wrong, "together"},
		{"hash-upper-case", "a hash in upper case", theHash(), strings.ToUpper(theHash()), wrong, "sha256 must be 64"},
		{"hash-short", "a hash of 63 digits", theHash(), theHash()[1:], wrong, "sha256 must be 64"},
		{"rings-none", "no ring", `["production"]`, `[]`, wrong, "1 to 16 rings"},
		{"ring-with-space", "a ring with a space", `["production"]`, `["production "]`, wrong, "plain words"},
		{"zip-a-path", "the archive's name is a path", before, `"zip": "../updates.zip", "files"`, wrong, "zip must be a plain file name"},

		{"other-product", "for another product", `"mdatp"`, `"other"`, "wrong_product", "not for the product mdatp"},
		{"other-platform", "for another platform", `"linux"`, `"macos"`, "wrong_platform", "not for linux"},
		{"other-arch", "for another architecture", `"x86_64"`, `"arm64"`, "wrong_platform", "architecture x86_64"},
		{"other-ring", "for another ring", `["production"]`, `["preview"]`, "wrong_platform", "ring production"},
		{"product-in-capitals", "for the product in another case", `"mdatp"`, `"MDATP"`, "wrong_product", "not for the product mdatp"},
	} {
		replaced(r[0], r[1], r[2], r[3], r[4], r[5])
	}
	add("no-files", "no file", []byte(string(list()[:strings.Index(string(list()), `"files"`)])+"\"files\": []}\n"), wrong, "1 to 62 files")
	add("63-files", "one file more than may be", manyFiles(63), wrong, "1 to 62 files")
	add("cut", "the list is cut", list()[:len(list())-3], wrong, "not JSON of the right form")
	return out
}

// theHash is that of the first file.
func theHash() string { return fmt.Sprintf("%x", sha256.Sum256(content()[0].data)) }

func manyFiles(n int) []byte {
	var rows []string
	for i := range n {
		rows = append(rows, fmt.Sprintf(`{"name": "f%d", "size": 0, "sha256": "%x"}`, i, sha256.Sum256(nil)))
	}
	text := string(list())
	return []byte(text[:strings.Index(text, `"files"`)] + `"files": [` + strings.Join(rows, ",") + "]}\n")
}

// times are about when a good list is judged.
func times() (out []vector) {
	for _, r := range []struct{ name, what, time, verdict, sentence string }{
		{"last-second", "judged in the last second before it expires", "2124-12-07T08:00:00Z", good, ""},
		{"expired", "judged a second after it expired, with nothing installed", "2124-12-07T08:00:01Z", "package_expired", "has expired and nothing is installed"},
		{"issued-tomorrow", "judged a day before it was issued", "2026-11-22T08:00:00Z", good, ""},
		{"issued-in-future", "judged a day and a second before it was issued", "2026-11-22T07:59:59Z", "issued_in_future", "more than a day in the future"},
		{"before-certificates", "judged before the certificates, and so before it was issued", "2025-06-01T00:00:00Z", "issued_in_future", "more than a day in the future"},
		{"year-2130", "judged when the certificates have ended", "2130-01-01T00:00:00Z", expired, "has expired"},
	} {
		v := vector{name: "time-" + r.name, what: r.what, archive: pack(ordinary().encode()), time: at(r.time), verdict: r.verdict, sentence: r.sentence}
		out = append(out, v)
	}
	return out
}
