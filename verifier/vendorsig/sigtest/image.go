package sigtest

import (
	"encoding/binary"
	"slices"
	"unicode/utf16"

	"mdatp-offline-agent/verifier"
)

// Image is what a PE file is built from, of the smallest kind that is whole.
type Image struct {
	Wide     bool   // PE32+
	Text     []byte // what the first section holds
	Resource []byte // version resource; nil: none
}

const fileAlign, memoryAlign = 512, 4096

func round(n, to int) int { return (n + to - 1) / to * to }

// Encode builds the file. It ends with the last section.
func (m Image) Encode() []byte {
	bodies := [][]byte{m.Text}
	addresses := []int{memoryAlign}
	var resources [2]int
	if m.Resource != nil {
		at := memoryAlign + round(len(m.Text), memoryAlign)
		tree := m.tree(at)
		bodies, addresses, resources = append(bodies, tree), append(addresses, at), [2]int{at, len(tree)}
	}
	out := make([]byte, fileAlign)
	copy(out, "MZ")
	const at = 0x80
	put32(out[60:], at)
	copy(out[at:], "PE\x00\x00")
	magic, optionalSize, directories := 0x10b, 224, 96
	if m.Wide {
		magic, optionalSize, directories = 0x20b, 240, 112
	}
	put16(out[at+4:], 0x8664)
	put16(out[at+6:], len(bodies))
	put16(out[at+20:], optionalSize)
	put16(out[at+22:], 0x2022)
	o := out[at+24:]
	put16(o, magic)
	put32(o[32:], memoryAlign)
	put32(o[36:], fileAlign)
	put16(o[48:], 6)
	put32(o[60:], fileAlign) // size of headers
	put32(o[directories-4:], 16)
	put32(o[directories+2*8:], resources[0])
	put32(o[directories+2*8+4:], resources[1])
	last := len(bodies) - 1
	put32(o[56:], addresses[last]+round(len(bodies[last]), memoryAlign))
	var rest []byte
	for i, body := range bodies {
		h := o[optionalSize+i*40:]
		copy(h, []string{".text", ".rsrc"}[i])
		size := round(len(body), fileAlign)
		put32(h[8:], len(body))
		put32(h[12:], addresses[i])
		put32(h[16:], size)
		put32(h[20:], fileAlign+len(rest))
		rest = slices.Concat(rest, body, make([]byte, size-len(body)))
	}
	return append(out, rest...)
}

// tree is a tree of resources with the one version, at that address.
func (m Image) tree(at int) []byte {
	const subtree, level = 1 << 31, 24
	tree := make([]byte, 3*level+16)
	for i, entry := range [][2]int{{16, subtree | level}, {1, subtree | 2*level}, {1033, 3 * level}} {
		put16(tree[i*level+14:], 1)
		put32(tree[i*level+16:], entry[0])
		put32(tree[i*level+20:], entry[1])
	}
	put32(tree[3*level:], at+len(tree))
	put32(tree[3*level+4:], len(m.Resource))
	return append(tree, m.Resource...)
}

// Node builds one structure of the version resource. Kind 1 is text.
func Node(key string, kind int, value []byte, children ...[]byte) []byte {
	b := make([]byte, 6)
	put16(b[2:], len(value)>>kind)
	put16(b[4:], kind)
	b = append(b, Wide(key)...)
	for _, part := range append([][]byte{value}, children...) {
		b = append(b, make([]byte, -len(b)&3)...)
		b = append(b, part...)
	}
	put16(b, len(b))
	return b
}

// Wide is UTF-16 with its zero.
func Wide(s string) (b []byte) {
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// FixedInfo is VS_FIXEDFILEINFO, with both versions the same.
func FixedInfo(v verifier.Version) []byte {
	b := make([]byte, 52)
	put32(b, 0xfeef04bd)
	for i, at := range []int{10, 8, 14, 12} {
		put16(b[at:], int(v[i]))
		put16(b[at+8:], int(v[i]))
	}
	return b
}

// VersionInfo is a version resource, with more texts where they are given.
func VersionInfo(name, version string, v verifier.Version, more ...[]byte) []byte {
	strings := Node("040904B0", 1, nil, append([][]byte{
		Node("CompanyName", 1, Wide("Vendor")), Node("OriginalFilename", 1, Wide(name)),
		Node("FileVersion", 1, Wide(version)), Node("ProductVersion", 1, Wide(version))}, more...)...)
	translation := Node("VarFileInfo", 1, nil, Node("Translation", 0, []byte{9, 4, 0xb0, 4}))
	return Node("VS_VERSION_INFO", 0, FixedInfo(v), Node("StringFileInfo", 1, nil, strings), translation)
}

// Definitions is a file of definitions that calls itself by that name and version. Files
// of different text are different.
func Definitions(name string, version verifier.Version, text string) []byte {
	return Image{Text: []byte(text), Resource: VersionInfo(name, version.String(), version)}.Encode()
}

func put16(b []byte, v int) { binary.LittleEndian.PutUint16(b, uint16(v)) }
func put32(b []byte, v int) { binary.LittleEndian.PutUint32(b, uint32(v)) }
