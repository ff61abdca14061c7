package vendorsig

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"unicode/utf16"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// Resource is what a PE file says of itself in its version resource. The texts are
// fit to be shown, and for people; the versions are those that programs compare.
type Resource struct {
	OriginalFilename                    string
	FileVersion, ProductVersion         verifier.Version
	FileVersionText, ProductVersionText string
}

// ReadResource reads the version resource of a PE file. It is as true as the file's
// signature is good, so ask [Verify] first. There must be exactly one, in one
// language, and all that it says of one thing must be the same. Otherwise the
// error is a refusal with the code package_malformed.
func ReadResource(r io.ReaderAt, size int64) (Resource, error) {
	pe, err := readPE(r, size)
	if errors.Is(err, errNotPE) {
		return Resource{}, malformed("the file is not a PE file, and has no version resource")
	}
	if err != nil {
		return Resource{}, err
	}
	data, err := resourceReader{pe, r}.version()
	if err != nil {
		return Resource{}, err
	}
	return parseVersionInfo(data)
}

func malformed(sentence string) error {
	return refuse(verifier.PackageMalformed, sentence, damaged)
}

func badResource() error { return malformed("the file's version resource can not be read") }

// resourceReader reads the tree of resources piece by piece: it can have hundreds
// of megabytes, as in definition files.
type resourceReader struct {
	pe *peFile
	r  io.ReaderAt
}

const (
	versionType = 16         // RT_VERSION
	subtree     = 0x80000000 // of an offset: it leads to a directory
	maxTypes    = 4096       // entries in a directory that are looked at
)

// version goes down the tree: types, names of that type, languages of that name.
func (r resourceReader) version() ([]byte, error) {
	types, err := r.directory(0)
	if err != nil {
		return nil, err
	}
	at := int64(-1)
	for _, e := range types {
		if e.id == versionType {
			if at >= 0 {
				return nil, malformed("the file has more than one version resource")
			}
			at = e.offset
		}
	}
	if at < 0 {
		return nil, malformed("the file has no version resource")
	}
	for range 2 { // name, language
		if at&subtree == 0 {
			return nil, badResource()
		}
		entries, err := r.directory(at &^ subtree)
		if err != nil {
			return nil, err
		}
		if len(entries) != 1 {
			return nil, malformed("the file has more than one version resource")
		}
		at = entries[0].offset
	}
	if at&subtree != 0 {
		return nil, badResource()
	}
	leaf, err := r.at(r.pe.resources.at+at, 16)
	if err != nil {
		return nil, err
	}
	data := span{le32(leaf), le32(leaf[4:])}
	if data.size > maxResource {
		return nil, badResource()
	}
	return r.at(data.at, data.size)
}

type resourceItem struct{ id, offset int64 }

// directory reads one directory, whose offset counts from the root's.
func (r resourceReader) directory(at int64) ([]resourceItem, error) {
	if r.pe.resources == (span{}) {
		return nil, nil
	}
	const header, item = 16, 8
	head, err := r.at(r.pe.resources.at+at, header)
	if err != nil {
		return nil, err
	}
	count := int64(le16(head[12:])) + int64(le16(head[14:]))
	if count > maxTypes {
		return nil, badResource()
	}
	body, err := r.at(r.pe.resources.at+at+header, count*item)
	if err != nil {
		return nil, err
	}
	var out []resourceItem
	for ; len(body) > 0; body = body[item:] {
		out = append(out, resourceItem{le32(body), le32(body[4:])})
	}
	return out, nil
}

// at reads what will lie at an address in memory. Exactly one section must have it,
// as a whole.
func (r resourceReader) at(address, size int64) ([]byte, error) {
	want := span{address, size}
	found := int64(-1)
	for _, s := range r.pe.sections {
		in := span{s.memory.at, s.file.size}
		if want.at < in.at || want.end() > in.end() {
			continue
		}
		if found >= 0 {
			return nil, badResource()
		}
		found = s.file.at + want.at - in.at
	}
	if found < 0 {
		return nil, badResource()
	}
	data := make([]byte, size)
	if n, err := r.r.ReadAt(data, found); n < len(data) {
		return nil, err
	}
	return data, nil
}

// versionNode is one of the nested structures that VS_VERSIONINFO is made of. All
// begin alike: length, length of the value, type, key, and fill up to 4 bytes.
type versionNode struct {
	key             string
	value, children []byte // value is up to the node's end where it is text
}

// nextNode splits the first node off.
func nextNode(data []byte) (node versionNode, rest []byte, err error) {
	const header = 6
	if len(data) < header {
		return node, nil, badResource()
	}
	length, valueLength := int(le16(data)), int(le16(data[2:]))
	if length < header || length > len(data) {
		return node, nil, badResource()
	}
	rest = data[min(aligned(length), len(data)):]
	data = data[:length]
	key, ok := text(data[header:])
	if !ok {
		return node, nil, badResource()
	}
	value := data[min(aligned(header+2*len(utf16.Encode([]rune(key)))+2), length):]
	node = versionNode{key: key, value: value}
	if valueLength <= len(value) {
		node.children = value[min(aligned(valueLength), len(value)):]
	}
	return node, rest, nil
}

func aligned(n int) int { return (n + 3) &^ 3 }

// text reads UTF-16 up to its zero, which must be there. It refuses what is no
// UTF-16, so that a text has one form.
func text(data []byte) (s string, ok bool) {
	var units []uint16
	for ; len(data) >= 2; data = data[2:] {
		u := binary.LittleEndian.Uint16(data)
		if u == 0 {
			s := string(utf16.Decode(units))
			return s, !strings.ContainsRune(s, '\uFFFD')
		}
		units = append(units, u)
	}
	return "", false
}

// parseVersionInfo reads VS_VERSIONINFO.
func parseVersionInfo(data []byte) (Resource, error) {
	root, _, err := nextNode(data)
	if err != nil {
		return Resource{}, err
	}
	const fixedSize, magic = 52, 0xfeef04bd
	if root.key != "VS_VERSION_INFO" || le16(data[2:]) != fixedSize || len(root.value) < fixedSize || le32(root.value) != magic {
		return Resource{}, badResource()
	}
	quad := func(at int) verifier.Version {
		f := root.value[at:]
		return verifier.Version{uint32(le16(f[2:])), uint32(le16(f)), uint32(le16(f[6:])), uint32(le16(f[4:]))}
	}
	out := Resource{FileVersion: quad(8), ProductVersion: quad(16)}
	err = eachNode(root.children, func(info versionNode) error {
		if info.key != "StringFileInfo" {
			return nil
		}
		return eachNode(info.children, func(table versionNode) error {
			return eachNode(table.children, out.add)
		})
	})
	if err != nil {
		return Resource{}, err
	}
	return out, nil
}

func eachNode(data []byte, do func(versionNode) error) error {
	for len(data) > 0 {
		node, rest, err := nextNode(data)
		if err != nil {
			return err
		}
		if err := do(node); err != nil {
			return err
		}
		data = rest
	}
	return nil
}

// add takes one of the texts. The same may stand there for several languages, if it
// is the same.
func (r *Resource) add(node versionNode) error {
	var to *string
	switch strings.ToLower(node.key) {
	case "originalfilename":
		to = &r.OriginalFilename
	case "fileversion":
		to = &r.FileVersionText
	case "productversion":
		to = &r.ProductVersionText
	default:
		return nil
	}
	value, ok := text(node.value)
	if !ok {
		return badResource()
	}
	value = printable.Text(value, maxShown)
	if *to != "" && *to != value {
		return malformed("the file's version resource contradicts itself")
	}
	*to = value
	return nil
}
