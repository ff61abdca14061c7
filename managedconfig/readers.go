package managedconfig

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier/usages"
)

// The interval between updates, in seconds. Zero in a file means the default;
// what is shorter than the shortest would only load the mirror.
const (
	defaultInterval  = 28800
	shortestInterval = 60
	longestInterval  = 86400
)

const (
	maxSigners   = 64
	maxTextBytes = 4096 // of any text value of ours
	signerBytes  = 32   // a SHA-256
)

// literal is one value as it stands in a file: bool, json.Number, string, nil,
// or json.Delim for an array or an object. Only an array's items are kept.
type literal struct {
	value any
	items []literal
}

// shown is the literal for a sentence.
func (l literal) shown() string {
	switch v := l.value.(type) {
	case nil:
		return "null"
	case json.Delim:
		if v == '[' {
			return "a list"
		}
		return "an object"
	case string:
		if v == "" {
			return "an empty text"
		}
		return shownURL(v) // any text may be a URL with a secret in it
	default:
		return printable.Sentence(fmt.Sprint(v), maxShownValue)
	}
}

// remark is what a reader has to say about a value that stops nothing.
type remark struct {
	unset    bool // the value counts as not given
	sentence string
	hint     string
}

// reader turns a literal into a value, or says what is allowed instead.
type reader[T any] func(literal) (T, remark, *Error)

// refuse is the error for a literal that is none of what is allowed.
func refuse(l literal, allowed, hint string) *Error {
	return &Error{Value: l.shown(), Problem: "allowed is " + allowed, Hint: hint}
}

// readBool takes the product's two spellings of a switch for each other, since
// its documents mix them up, and a quoted boolean with a remark.
func readBool(l literal) (bool, remark, *Error) {
	switch l.value {
	case true, "enabled":
		return true, remark{}, nil
	case false, "disabled":
		return false, remark{}, nil
	case "true", "false":
		return l.value == "true", remark{
			sentence: "which is a text and taken as the boolean " + l.shown(),
			hint:     "write it without quotes",
		}, nil
	}
	return false, remark{}, refuse(l, "true, false, enabled or disabled", "write true or false without quotes, or enabled or disabled in quotes")
}

// readVerifySig reports who tries to turn verification off.
func readVerifySig(l literal) (bool, remark, *Error) {
	on, note, err := readBool(l)
	if err == nil && !on {
		note = remark{
			sentence: "but verification cannot be turned off, and every package is verified",
			hint:     "remove the key, or set it to enabled",
		}
	}
	return on, note, err
}

// readInt takes integers written as such: no fraction, exponent or quotes, so
// that every reader of the file sees the same number.
func readInt(low, high int, unit string) reader[int] {
	return func(l literal) (int, remark, *Error) {
		number, _ := l.value.(json.Number) // anything else is empty, and no number
		n, err := strconv.ParseInt(string(number), 10, 64)
		if err != nil || n < int64(low) || n > int64(high) {
			return 0, remark{}, refuse(l, fmt.Sprintf("an integer from %d to %d (%s)", low, high, unit),
				fmt.Sprintf("write a plain number from %d to %d, without quotes, fraction or exponent", low, high))
		}
		return int(n), remark{}, nil
	}
}

// slowestRate and fastestRate bound a rate limit, in bytes per second. What is
// slower than the slowest would count as a stall.
const (
	slowestRate = 1 << 10
	fastestRate = 1<<31 - 1
)

func readRate(l literal) (int, remark, *Error) {
	n, note, err := readInt(0, fastestRate, "bytes per second")(l)
	if err == nil && n != 0 && n < slowestRate {
		err = refuse(l, fmt.Sprintf("0, or an integer from %d to %d (bytes per second)", slowestRate, fastestRate),
			"write bytes per second, for example 131072 for 128 KiB, or 0 for no limit")
	}
	return n, note, err
}

func readInterval(l literal) (int, remark, *Error) {
	n, note, err := readInt(0, longestInterval, "seconds")(l)
	switch {
	case err != nil:
		return 0, note, err
	case n == 0:
		return defaultInterval, note, nil
	case n < shortestInterval:
		return shortestInterval, remark{
			sentence: fmt.Sprintf("which is too short and taken as %d seconds", shortestInterval),
			hint:     fmt.Sprintf("set it to %d to %d seconds, or 0 for the default of %d", shortestInterval, longestInterval, defaultInterval),
		}, nil
	}
	return n, note, nil
}

// readText takes any text that is fit to be shown on one line.
func readText(l literal) (string, *Error) {
	text, ok := l.value.(string)
	if !ok {
		return "", refuse(l, "a text", "write it in double quotes")
	}
	if !fitText(text) {
		return "", refuse(l, fmt.Sprintf("a text of at most %d bytes without control characters", maxTextBytes),
			"keep it short, and without tabs, line ends and the like")
	}
	return text, nil
}

// fitText tells whether text can stand in a report as it is.
func fitText(text string) bool {
	return len(text) <= maxTextBytes && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

func readOneOf(allowed ...string) reader[string] {
	return func(l literal) (string, remark, *Error) {
		text, _ := l.value.(string) // anything else is empty, and not among them
		if !slices.Contains(allowed, text) {
			list := strings.Join(allowed, ", ")
			return "", remark{}, refuse(l, "one of "+list, "write one of "+list+" in lower case, or remove the key")
		}
		return text, remark{}, nil
	}
}

func readName(l literal) (string, remark, *Error) {
	text, _ := l.value.(string)
	if !nameForm.MatchString(text) {
		return "", remark{}, refuse(l, "a name of 1 to 64 lower-case letters, digits, dots, hyphens and underlines that begins with a letter or digit",
			"use the very name that the signed list of the packages has")
	}
	return text, remark{}, nil
}

// readVersion takes the one spelling that a version has: four numbers below
// 2^32 without signs, spaces or leading zeros.
func readVersion(l literal) (string, remark, *Error) {
	text, _ := l.value.(string)
	parts := strings.Split(text, ".")
	good := len(parts) == 4
	for _, part := range parts {
		n, err := strconv.ParseUint(part, 10, 32)
		good = good && err == nil && strconv.FormatUint(n, 10) == part
	}
	if !good {
		return "", remark{}, refuse(l, "a version of four numbers below 2^32", "write it like 1.407.417.0, without leading zeros, or remove the key")
	}
	return text, remark{}, nil
}

func readRingURL(l literal) (RingURL, remark, *Error) {
	text, err := readText(l)
	if err != nil {
		return RingURL{}, remark{}, err
	}
	u, err := parseRingURL(text)
	return u, remark{unset: text == ""}, err
}

// readCloudURL takes the address of the package itself, so it may have a query,
// but no credentials: the file can be read by every user.
func readCloudURL(l literal) (string, remark, *Error) {
	text, err := readText(l)
	if err != nil || text == "" {
		return "", remark{unset: true}, err
	}
	if u, ok := webURL(text); !ok || u.Fragment != "" {
		return "", remark{}, refuse(l, "an http or https URL of the package, with a host and without credentials",
			"write it like https://mirror.example/updates.zip")
	}
	return text, remark{}, nil
}

// readProxy never makes a file invalid for a text: the product's own sample has
// a proxy that is no URL, and it only matters where the network is used.
func readProxy(l literal) (string, remark, *Error) {
	text, err := readText(l)
	if err != nil || text == "" {
		return "", remark{unset: true}, err
	}
	if _, ok := webURL(text); !ok {
		return "", remark{
			unset:    true,
			sentence: "which is no http or https URL with a host and without credentials, and counts as not set",
			hint:     "write it like http://proxy.example:3128, or remove the key",
		}, nil
	}
	return text, remark{}, nil
}

// readAgentProxy takes a proxy that is our own key's, so that one that can't be
// used is an error: nobody should believe that it is. The files can be read by
// every user, so name and password have a file of their own.
func readAgentProxy(l literal) (string, remark, *Error) {
	text, err := readText(l)
	if err != nil || text == "" {
		return "", remark{unset: true}, err
	}
	u, ok := webURL(text)
	if !ok || u.Path != "" && u.Path != "/" || strings.ContainsAny(text, "?#") {
		return "", remark{}, refuse(l, "an http or https URL with a host, and without credentials, path, query and fragment",
			"write it like http://proxy.example:3128, and put name and password into the file that agent.credentialsFile names")
	}
	return text, remark{}, nil
}

// readOptionalText takes any text; an empty one counts as not set.
func readOptionalText(l literal) (string, remark, *Error) {
	text, err := readText(l)
	return text, remark{unset: text == ""}, err
}

// readMetricsFile takes a path that node_exporter will read: it passes over names
// with another ending.
func readMetricsFile(l literal) (string, remark, *Error) {
	file, note, err := readPath(l)
	if err == nil && !strings.HasSuffix(file, ".prom") {
		err = refuse(l, "an absolute path that ends in .prom", "name a file in the directory that the textfile collector of node_exporter reads, or remove the key")
	}
	return file, note, err
}

// readPath takes the absolute path of a file. An empty one is refused: who writes
// the key means some file.
func readPath(l literal) (string, remark, *Error) {
	text, err := readText(l)
	if err == nil && !path.IsAbs(text) {
		err = refuse(l, "an absolute path", "begin with /, or remove the key")
	}
	if err != nil {
		return "", remark{}, err
	}
	return path.Clean(text), remark{}, nil
}

// webURL takes an http or https URL with a host, and without credentials.
func webURL(text string) (*url.URL, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, false
	}
	return u, u.User == nil && goodHost(u)
}

// readSigners takes pins. An empty list is refused rather than taken as none:
// who writes the key wants signers restricted.
func readSigners(l literal) ([]string, remark, *Error) {
	const allowed = "a list of 1 to 64 texts, each the base64 of a SHA-256 (44 characters)"
	const hint = "make each with openssl x509 -pubkey -noout, openssl pkey -pubin -outform DER, openssl dgst -sha256 -binary and base64, or remove the key to accept every signer below the trusted roots"
	if l.value != json.Delim('[') || len(l.items) == 0 || len(l.items) > maxSigners {
		return nil, remark{}, refuse(l, allowed, hint)
	}
	signers := make([]string, 0, len(l.items))
	for _, item := range l.items {
		text, err := readText(item)
		if err != nil {
			return nil, remark{}, refuse(item, allowed, hint)
		}
		sum, decodeErr := base64.StdEncoding.Strict().DecodeString(text)
		if decodeErr != nil || len(sum) != signerBytes {
			return nil, remark{}, refuse(item, allowed, hint)
		}
		signers = append(signers, text)
	}
	return signers, remark{}, nil
}

// vendorPinForm is the form of a pin for vendors, behind the issuer's pin. How many
// numbers an OID has is counted apart: as a part of the form that would be most of what
// the program does when it starts.
var vendorPinForm = regexp.MustCompile(`^(subject:.+|eku:[0-2](\.(0|[1-9][0-9]{0,8}))+)$`)

// The least and the most numbers of an OID behind its first.
const leastOID, mostOID = 2, 31

// isVendorPin tells whether that can stand behind the issuer's pin.
func isVendorPin(rest string) bool {
	numbers := strings.Count(rest, ".")
	return vendorPinForm.MatchString(rest) && (!strings.HasPrefix(rest, "eku:") || leastOID <= numbers && numbers <= mostOID)
}

// readVendorPins takes who counts as the vendor.
func readVendorPins(l literal) ([]string, remark, *Error) {
	const allowed = "a list of 1 to 64 texts, each PIN:subject:NAME or PIN:eku:OID, where PIN is the base64 of the SHA-256 of the key of the issuing CA"
	const hint = "write the key of the issuing CA as in agent.trust.signers, and behind it the whole subject of the signer, or an extended key usage that only this vendor has"
	if l.value != json.Delim('[') || len(l.items) == 0 || len(l.items) > maxSigners {
		return nil, remark{}, refuse(l, allowed, hint)
	}
	pins := make([]string, 0, len(l.items))
	for _, item := range l.items {
		text, err := readText(item)
		if err != nil {
			return nil, remark{}, refuse(item, allowed, hint)
		}
		issuer, rest, _ := strings.Cut(text, ":")
		sum, decodeErr := base64.StdEncoding.Strict().DecodeString(issuer)
		if decodeErr != nil || len(sum) != signerBytes || !isVendorPin(rest) {
			return nil, remark{}, refuse(item, allowed, hint)
		}
		if usage, ok := strings.CutPrefix(rest, "eku:"); ok && usages.Everybodys(usage) {
			return nil, remark{}, &Error{Value: item.shown(), Problem: "and certificates of all sorts of people have the usage " + usage,
				Hint: "pin the signer by its whole subject (PIN:subject:NAME), or by an extended key usage that only this vendor has; agent package verify shows the signer of a file"}
		}
		pins = append(pins, text)
	}
	return pins, remark{}, nil
}

// maxFileNames is how many files a package may have.
const maxFileNames = 62

// fileNameForm is the form that names of files in packages have.
var fileNameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// readFileNames takes the names of a package's files. Two that differ in case alone
// can't stand in one package.
func readFileNames(l literal) ([]string, remark, *Error) {
	const allowed = "a list of 1 to 62 names of files, each of 1 to 64 letters, digits, dots, hyphens and underlines, none of them twice"
	const hint = "write the names that a package has, signatures beside files included; agent package inspect shows them"
	if l.value != json.Delim('[') || len(l.items) == 0 || len(l.items) > maxFileNames {
		return nil, remark{}, refuse(l, allowed, hint)
	}
	names := make([]string, 0, len(l.items))
	for _, item := range l.items {
		name, err := readText(item)
		if err != nil || !fileNameForm.MatchString(name) || slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			return nil, remark{}, refuse(item, allowed, hint)
		}
		names = append(names, name)
	}
	return names, remark{}, nil
}

// maxWords bounds the command of a hook.
const maxWords = 64

// readCommand takes a program and its arguments. No shell is there to split or
// to find them. An empty list is refused rather than taken as none: who writes
// the key wants a hook.
func readCommand(l literal) ([]string, remark, *Error) {
	const allowed = "a list of 1 to 64 texts, the first of them the absolute path of a program"
	const hint = "write the program and each argument as a text of its own; no shell takes them apart"
	if l.value != json.Delim('[') || len(l.items) == 0 || len(l.items) > maxWords {
		return nil, remark{}, refuse(l, allowed, hint)
	}
	words := make([]string, 0, len(l.items))
	for _, item := range l.items {
		word, err := readText(item)
		if err != nil || len(words) == 0 && !path.IsAbs(word) {
			return nil, remark{}, refuse(item, allowed, hint)
		}
		words = append(words, word)
	}
	return words, remark{}, nil
}
