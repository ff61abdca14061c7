package verifier

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ListType is the type of the lists that this package reads. What a reader must
// not ignore gets a new type, so an unknown type is refused.
const ListType = "mdatp-definitions/1"

// ListEntry is the archive's name for the signed list.
const ListEntry = "META/package.p7m"

// TimeFormat is the one form of a time in a list: UTC, whole seconds.
const TimeFormat = "2006-01-02T15:04:05Z"

// List is the content of a signed list: what a package claims to be.
type List struct {
	Product, Platform, Arch string
	Rings                   []string
	Engine, Definition      Version
	Released                time.Time // when the content was made
	Issued                  time.Time // when the list was signed
	Expires                 time.Time // when the content is too old to rely on
	Zip                     string    // in a sidecar: the archive it is about; empty: updates.zip
	// PromotionLog is the hash of a line of the log of promotions, in lower-case
	// hexadecimal; empty: none. It is for whoever reads that log, and decides nothing.
	PromotionLog string
	// VendorSigned identifies what the vendor signed of the files. It stands in a list that
	// they proved by themselves; zero: somebody signed the list.
	VendorSigned ContentID
	Files        []File
}

// File is one file of a package.
type File struct {
	Name   string
	Size   int64 // bytes
	SHA256 [sha256.Size]byte
}

// Size is the sum of the files' sizes in bytes.
func (l *List) Size() int64 {
	var sum int64
	for _, f := range l.Files {
		sum += f.Size
	}
	return sum
}

// ContentID identifies what is in a package whatever its versions and dates; see
// [List.ContentIDs].
type ContentID [sha256.Size]byte

// String is the lower-case hexadecimal form.
func (c ContentID) String() string { return hex.EncodeToString(c[:]) }

// MarshalText gives the form of String.
func (c ContentID) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (c *ContentID) UnmarshalText(text []byte) error {
	if !lowerHex.Match(text) {
		return errors.New("a content's identity is 64 hexadecimal digits in lower case")
	}
	_, err := hex.Decode(c[:], text)
	return err
}

// Content is a digest over the sorted pairs of name and SHA-256.
func (l *List) Content() ContentID {
	lines := make([]string, len(l.Files))
	for i, f := range l.Files {
		lines[i] = fmt.Sprintf("%s %x\n", f.Name, f.SHA256)
	}
	slices.Sort(lines)
	return sha256.Sum256([]byte(strings.Join(lines, "")))
}

// ContentIDs gives all by which the content is known: Content and, where the files
// proved the list by themselves, VendorSigned, since anybody can change bytes of such
// files that nobody signed. Lists that share one of them are of the same content.
func (l *List) ContentIDs() []ContentID {
	if l.VendorSigned == (ContentID{}) {
		return []ContentID{l.Content()}
	}
	return []ContentID{l.Content(), l.VendorSigned}
}

// SameContent tells whether two lists are of the same content.
func (l *List) SameContent(other *List) bool {
	ids := other.ContentIDs()
	return slices.ContainsFunc(l.ContentIDs(), func(id ContentID) bool { return slices.Contains(ids, id) })
}

// ValidName tells whether a name may stand in a list: flat, plain ASCII, no
// leading dot. Such a name can't leave a directory, hide, or mean two things.
func ValidName(name string) bool {
	if name == "" || len(name) > MaxNameLength || !isAlnum(name[0]) {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r > 127 || !isAlnum(byte(r)) && r != '.' && r != '_' && r != '-'
	})
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// brokenRule says which rule a list breaks, in words of ours alone, so that it
// can be shown. What encoding/json says has bytes of the list in it.
type brokenRule string

func (r brokenRule) Error() string { return string(r) }

func broken(format string, a ...any) error { return brokenRule(fmt.Sprintf(format, a...)) }

// ParseList reads the JSON of a list and checks every rule that a list must
// hold by itself. A refusal has the code list_malformed. It must only be called
// on bytes whose signature was verified.
func ParseList(data []byte) (*List, error) {
	l, err := parseList(data)
	if err != nil {
		why := "it is not JSON of the right form"
		if rule := brokenRule(""); errors.As(err, &rule) {
			why = err.Error() // what is wrapped around it is the name of a key of ours, or a number
		}
		return nil, &Refusal{
			Code:     ListMalformed,
			Sentence: "the signed list breaks the rules of the package format, since " + why,
			Hint:     "make the list with agent package build, or by the rules of docs/package-format.md; sign with openssl cms -binary",
			Err:      err,
		}
	}
	return l, nil
}

// ParseDerived is ParseList for a list that nobody signed, and which the files must prove.
// It gives VendorSigned as well, which in a signed list is a key that nobody knows.
func ParseDerived(data []byte) (*List, error) {
	l, err := ParseList(data)
	if err != nil {
		return nil, err
	}
	var id hint
	if err := decodeExact(data, map[string]any{"vendorSigned": &id}); err != nil {
		return nil, err
	}
	_, err = hex.Decode(l.VendorSigned[:], []byte(id))
	return l, err
}

func parseList(data []byte) (*List, error) {
	if len(data) > MaxListSize {
		return nil, broken("it has more than %d bytes", MaxListSize)
	}
	if err := checkJSON(data); err != nil {
		return nil, err
	}
	var w wireList
	if err := decodeExact(data, w.keys()); err != nil {
		return nil, err
	}
	for i, raw := range w.rawFiles {
		var f wireFile
		if err := decodeExact(raw, f.keys()); err != nil {
			return nil, fmt.Errorf("file %d: %w", i+1, err)
		}
		w.Files = append(w.Files, f)
	}
	return w.list()
}

// list checks the rules and converts.
func (w *wireList) list() (*List, error) {
	if w.Type != ListType {
		return nil, broken("its type is unknown")
	}
	l := &List{Product: w.Product, Platform: w.Platform, Arch: w.Arch, Rings: w.Rings, PromotionLog: string(w.PromotionLog)}
	for _, word := range append([]string{l.Product, l.Platform, l.Arch}, l.Rings...) {
		if !ValidName(word) {
			return nil, broken("product, platform, arch and rings must be plain words")
		}
	}
	if len(l.Rings) == 0 || len(l.Rings) > MaxRings {
		return nil, broken("it must name 1 to %d rings", MaxRings)
	}
	if w.hasZip {
		if l.Zip = w.Zip; !ValidName(l.Zip) || !strings.HasSuffix(l.Zip, ".zip") {
			return nil, broken("zip must be a plain file name ending in .zip")
		}
	}
	if err := cmp.Or(w.versions(l), w.times(l), w.files(l)); err != nil {
		return nil, err
	}
	return l, nil
}

func (w *wireList) versions(l *List) (err error) {
	if l.Engine, err = ParseVersion(w.EngineVersion); err != nil {
		return fmt.Errorf("engineVersion: %w", err)
	}
	if l.Definition, err = ParseVersion(w.DefinitionVersion); err != nil {
		return fmt.Errorf("definitionVersion: %w", err)
	}
	return nil
}

func (w *wireList) times(l *List) error {
	for _, t := range []struct {
		name string
		from string
		to   *time.Time
	}{{"released", w.Released, &l.Released}, {"issued", w.Issued, &l.Issued}, {"expires", w.Expires, &l.Expires}} {
		parsed, err := time.Parse(TimeFormat, t.from)
		if err != nil || parsed.Format(TimeFormat) != t.from {
			return broken("%s is not of the form YYYY-MM-DDTHH:MM:SSZ", t.name)
		}
		*t.to = parsed
	}
	if l.Released.After(l.Issued) || !l.Issued.Before(l.Expires) {
		return broken("released must not be after issued, and issued must be before expires")
	}
	return nil
}

var (
	wholeNumber = regexp.MustCompile(`^(0|[1-9][0-9]{0,9})$`)
	lowerHex    = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func (w *wireList) files(l *List) error {
	if len(w.Files) == 0 || len(w.Files) > MaxFiles {
		return broken("it must name 1 to %d files", MaxFiles)
	}
	seen := make(map[string]bool, len(w.Files))
	for i, wf := range w.Files {
		f, err := wf.file()
		if err != nil {
			return fmt.Errorf("file %d: %w", i+1, err)
		}
		folded := strings.ToLower(f.Name)
		if seen[folded] {
			return broken("file %d: name stands twice", i+1)
		}
		seen[folded] = true
		l.Files = append(l.Files, f)
	}
	if l.Size() > MaxContentSize {
		return broken("its files have more than %d bytes together", int64(MaxContentSize))
	}
	return nil
}

func (wf wireFile) file() (f File, err error) {
	f.Name = wf.Name
	if !ValidName(f.Name) {
		return f, broken("name must be flat, of letters, digits, dot, dash and underscore")
	}
	if strings.EqualFold(f.Name, "META") {
		return f, broken("name is that of the directory of the signed list")
	}
	if !wholeNumber.Match(wf.Size) {
		return f, broken("size must be a whole number of bytes")
	}
	if f.Size, err = strconv.ParseInt(string(wf.Size), 10, 64); err != nil {
		return f, err
	}
	if !lowerHex.MatchString(wf.SHA256) {
		return f, broken("sha256 must be 64 hexadecimal digits in lower case")
	}
	_, err = hex.Decode(f.SHA256[:], []byte(wf.SHA256))
	return f, err
}

// MarshalList writes the JSON that ParseList reads, in the one form that this
// project makes: keys in the order of the format's description, two spaces, a
// final newline.
func MarshalList(l *List) ([]byte, error) {
	w := wireList{
		Type: ListType, Product: l.Product, Platform: l.Platform, Arch: l.Arch, Rings: l.Rings,
		EngineVersion: l.Engine.String(), DefinitionVersion: l.Definition.String(),
		Released: l.Released.UTC().Format(TimeFormat), Issued: l.Issued.UTC().Format(TimeFormat),
		Expires: l.Expires.UTC().Format(TimeFormat), Zip: l.Zip, PromotionLog: hint(l.PromotionLog),
	}
	if l.PromotionLog != "" && !lowerHex.MatchString(l.PromotionLog) {
		return nil, errors.New("the hash of the log of promotions is not 64 hexadecimal digits in lower case")
	}
	if l.VendorSigned != (ContentID{}) {
		w.VendorSigned = hint(l.VendorSigned.String())
	}
	for _, f := range l.Files {
		w.Files = append(w.Files, wireFile{f.Name, strconv.AppendInt(nil, f.Size, 10), hex.EncodeToString(f.SHA256[:])})
	}
	out, err := json.MarshalIndent(w, "", "  ")
	if err != nil {
		return nil, err
	}
	out = append(out, '\n')
	if _, err := ParseList(out); err != nil {
		return nil, err // what we could not read, we do not write
	}
	return out, nil
}
