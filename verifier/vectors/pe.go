package main

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"slices"
	"unicode/utf16"
)

// PE files of the smallest kind that is whole (Microsoft's "PE Format"), and their
// certificate table.

// image is what a PE file is built from.
type image struct {
	wide     bool   // PE32+
	text     []byte // what the first section holds
	resource []byte // version resource; nil: there is none
	copies   int    // of the resource, less one
}

// anImage is one that is in order, as a vendor's definitions are: PE32, data only.
func anImage() image {
	return image{text: bytes.Repeat([]byte("definitions\n"), 10), resource: versionInfo("mpavbase.vdm", "1.407.417.0", ordinaryVersion)}
}

const (
	fileAlign, memoryAlign = 512, 4096

	headerAt   = 0x80          // of the magic
	optionalAt = headerAt + 24 // of the optional header
	sectionsAt = optionalAt + 224
	entriesAt  = optionalAt + 96 // of the directory, in PE32
	checksumAt = optionalAt + 64
)

func round(n, to int) int { return (n + to - 1) / to * to }

// encode builds the file. It ends with the last section.
func (m image) encode() []byte {
	names, bodies, addresses := []string{".text"}, [][]byte{m.text}, []int{memoryAlign}
	var tree []byte
	if m.resource != nil {
		at := memoryAlign + round(len(m.text), memoryAlign)
		tree = m.tree(at)
		names, bodies, addresses = append(names, ".rsrc"), append(bodies, tree), append(addresses, at)
	}
	last := len(bodies) - 1
	magic, size, entries := uint16(0x10b), 224, 96
	if m.wide {
		magic, size, entries = 0x20b, 240, 112
	}
	out := make([]byte, fileAlign)
	copy(out, "MZ")
	put32(out[60:], headerAt)
	copy(out[headerAt:], "PE\x00\x00")
	put16(out[headerAt+4:], 0x8664, uint16(len(bodies)))
	put16(out[headerAt+20:], uint16(size), 0x2022)
	o := out[optionalAt:]
	put16(o, magic)
	put32(o[32:], memoryAlign, fileAlign)
	put16(o[48:], 6)
	put32(o[56:], uint32(addresses[last]+round(len(bodies[last]), memoryAlign)), fileAlign)
	put32(o[entries-4:], 16)
	if tree != nil {
		put32(o[entries+2*8:], uint32(addresses[last]), uint32(len(tree)))
	}
	var rest []byte
	for i, body := range bodies {
		h := o[size+40*i:]
		copy(h, names[i])
		put32(h[8:], uint32(len(body)), uint32(addresses[i]), uint32(round(len(body), fileAlign)), uint32(fileAlign+len(rest)))
		rest = append(rest, body...)
		rest = append(rest, make([]byte, round(len(body), fileAlign)-len(body))...)
	}
	return append(out, rest...)
}

// tree is a tree of resources with the version, at that address.
func (m image) tree(at int) []byte {
	const subtree = 0x80000000
	dir := func(entries ...[2]uint32) []byte {
		b := make([]byte, 16+8*len(entries))
		put16(b[14:], uint16(len(entries)))
		for i, e := range entries {
			put32(b[16+8*i:], e[0], e[1])
		}
		return b
	}
	second := uint32(24)
	third := second + 16 + 8*uint32(m.copies+1)
	leaf := third + 24
	var names [][2]uint32
	for i := range m.copies + 1 {
		names = append(names, [2]uint32{uint32(i + 1), subtree | third})
	}
	entry := make([]byte, 16)
	put32(entry, uint32(at)+leaf+16, uint32(len(m.resource)))
	return slices.Concat(dir([2]uint32{16, subtree | second}), dir(names...), dir([2]uint32{1033, leaf}), entry, m.resource)
}

// node is one structure of a version resource. Kind 1 is text.
func node(key string, kind int, value []byte, children ...[]byte) []byte {
	b := make([]byte, 6)
	put16(b[2:], uint16(len(value)>>kind), uint16(kind))
	b = append(b, wide(key)...)
	for _, part := range append([][]byte{value}, children...) {
		b = append(b, make([]byte, -len(b)&3)...)
		b = append(b, part...)
	}
	put16(b, uint16(len(b)))
	return b
}

// wide is UTF-16 with its zero.
func wide(s string) (b []byte) {
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

var ordinaryVersion = [4]uint16{1, 407, 417, 0}

// fixedInfo is VS_FIXEDFILEINFO, with both versions the same.
func fixedInfo(v [4]uint16) []byte {
	b := make([]byte, 52)
	put32(b, 0xfeef04bd)
	put16(b[8:], v[1], v[0], v[3], v[2], v[1], v[0], v[3], v[2])
	return b
}

// versionInfo is a version resource, with more texts where they are given.
func versionInfo(name, version string, v [4]uint16, more ...[]byte) []byte {
	texts := append([][]byte{node("OriginalFilename", 1, wide(name)), node("FileVersion", 1, wide(version)), node("ProductVersion", 1, wide(version))}, more...)
	return node("VS_VERSION_INFO", 0, fixedInfo(v), node("StringFileInfo", 1, nil, node("040904B0", 1, nil, texts...)))
}

func le32(b []byte) int { return int(binary.LittleEndian.Uint32(b)) }

// place gives where a file says that its signature is, and where it says so.
func place(file []byte) (at, size, entry int) {
	entry = entriesAt + 4*8
	if binary.LittleEndian.Uint16(file[optionalAt:]) == 0x20b {
		entry += 16
	}
	return le32(file[entry:]), le32(file[entry+4:]), entry
}

// imageDigest is Authenticode's, of an image that is not signed yet.
func imageDigest(file []byte, hash crypto.Hash) []byte {
	_, _, entry := place(file)
	h := hash.New()
	h.Write(file[:checksumAt])
	h.Write(file[checksumAt+4 : entry])
	h.Write(file[entry+8:])
	return h.Sum(nil)
}

// withSignatures puts signatures behind an image, in the place of others where it has some.
func withSignatures(file []byte, objects ...[]byte) []byte {
	at, _, entry := place(file)
	if at == 0 {
		at = len(file)
	}
	out := slices.Clone(file[:at])
	for _, object := range objects {
		out = append(out, certificateEntry(object)...)
	}
	put32(out[entry:], uint32(at), uint32(len(out)-at))
	return out
}

// certificateEntry is one WIN_CERTIFICATE.
func certificateEntry(object []byte) []byte {
	head := make([]byte, 8)
	size := round(8+len(object), 8)
	put32(head, uint32(size))
	put16(head[4:], 0x0200, 2)
	return slices.Concat(head, object, make([]byte, size-8-len(object)))
}
