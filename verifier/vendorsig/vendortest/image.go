// Package vendortest makes what a vendor would make, for tests: PE files of the
// smallest kind that is whole, and a laboratory that signs them with osslsigncode and
// openssl. Nothing of it is for anything else.
package vendortest

import (
	"encoding/binary"
	"slices"
	"unicode/utf16"
)

// Image is what a PE file is built from.
type Image struct {
	Wide     bool   // PE32+
	Text     []byte // what the first section holds
	Resource []byte // version resource; nil: none
	Copies   int    // of the resource, less one
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
	headers := o[optionalSize:]
	for i, body := range bodies {
		h := headers[i*40:]
		copy(h, []string{".text", ".rsrc"}[i])
		size := round(len(body), fileAlign)
		put32(h[8:], len(body))
		put32(h[12:], addresses[i])
		put32(h[16:], size)
		put32(h[20:], len(out))
		out = append(append(out, body...), make([]byte, size-len(body))...)
		o = out[at+24:]
		headers = o[optionalSize:]
	}
	put32(o[56:], addresses[len(addresses)-1]+round(len(bodies[len(bodies)-1]), memoryAlign))
	return out
}

// tree is a tree with the version resource, at that address.
func (m Image) tree(at int) []byte {
	dir := func(entries ...[2]int) []byte {
		b := make([]byte, 16)
		put16(b[14:], len(entries))
		for _, e := range entries {
			b = binary.LittleEndian.AppendUint32(b, uint32(e[0]))
			b = binary.LittleEndian.AppendUint32(b, uint32(e[1]))
		}
		return b
	}
	var names [][2]int
	for i := range m.Copies + 1 {
		names = append(names, [2]int{i + 1, 0})
	}
	second := 24
	third := second + 16 + 8*len(names)
	leaf := third + 24
	for i := range names {
		names[i][1] = 0x80000000 | third
	}
	tree := slices.Concat(dir([2]int{16, 0x80000000 | second}), dir(names...), dir([2]int{1033, leaf}))
	entry := make([]byte, 16)
	put32(entry, at+leaf+16)
	put32(entry[4:], len(m.Resource))
	return slices.Concat(tree, entry, m.Resource)
}

// Node builds one structure of the version resource.
func Node(key string, kind int, value []byte, children ...[]byte) []byte {
	b := make([]byte, 6)
	put16(b[4:], kind)
	put16(b[2:], len(value))
	if kind == 1 {
		put16(b[2:], len(value)/2)
	}
	b = append(b, Wide(key)...)
	for _, part := range append([][]byte{value}, children...) {
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
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
func FixedInfo(v [4]uint16) []byte {
	b := make([]byte, 52)
	put32(b, 0xfeef04bd)
	for i, at := range []int{10, 8, 14, 12} {
		put16(b[at:], int(v[i]))
		put16(b[at+8:], int(v[i]))
	}
	return b
}

// VersionInfo is a version resource, with more texts where they are given.
func VersionInfo(name, version string, v [4]uint16, more ...[]byte) []byte {
	strings := Node("040904B0", 1, nil, append([][]byte{
		Node("CompanyName", 1, Wide("Vendor")), Node("OriginalFilename", 1, Wide(name)),
		Node("FileVersion", 1, Wide(version)), Node("ProductVersion", 1, Wide(version))}, more...)...)
	translation := Node("VarFileInfo", 1, nil, Node("Translation", 0, []byte{9, 4, 0xb0, 4}))
	return Node("VS_VERSION_INFO", 0, FixedInfo(v), Node("StringFileInfo", 1, nil, strings), translation)
}

func put16(b []byte, v int) { binary.LittleEndian.PutUint16(b, uint16(v)) }
func put32(b []byte, v int) { binary.LittleEndian.PutUint32(b, uint32(v)) }
