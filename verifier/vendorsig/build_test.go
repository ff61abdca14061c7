package vendorsig

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/rand"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// PE files of the smallest kind that is whole, and an editor for the DER of what
// real tools have signed.

// image is what a PE file is built from.
type image struct {
	wide     bool   // PE32+
	text     []byte // what the first section holds
	resource []byte // version resource; nil: none
	copies   int    // of the resource, less one
}

// anImage is one that is in order, as the vendor's definitions are: PE32, data only.
func anImage() image {
	return image{text: bytes.Repeat([]byte("definitions\n"), 100), resource: versionInfo("mpavbase.vdm", "1.407.417.0", [4]uint16{1, 407, 417, 0})}
}

const fileAlign, memoryAlign = 512, 4096

func round(n, to int) int { return (n + to - 1) / to * to }

// encode builds the file. It ends with the last section.
func (m image) encode() []byte {
	bodies := [][]byte{m.text}
	addresses := []int{memoryAlign}
	var resources span
	if m.resource != nil {
		at := memoryAlign + round(len(m.text), memoryAlign)
		tree := m.resources(at)
		bodies, addresses, resources = append(bodies, tree), append(addresses, at), span{int64(at), int64(len(tree))}
	}
	out := make([]byte, fileAlign)
	copy(out, "MZ")
	const at = 0x80
	put32(out[60:], at)
	copy(out[at:], "PE\x00\x00")
	magic, optionalSize, directories := 0x10b, 224, 96
	if m.wide {
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
	put32(o[directories+2*8:], int(resources.at))
	put32(o[directories+2*8+4:], int(resources.size))
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

// resources is a tree with the version resource, at that address.
func (m image) resources(at int) []byte {
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
	for i := range m.copies + 1 {
		names = append(names, [2]int{i + 1, 0})
	}
	second := 24
	third := second + 16 + 8*len(names)
	leaf := third + 24
	for i := range names {
		names[i][1] = subtree | third
	}
	tree := slices.Concat(dir([2]int{versionType, subtree | second}), dir(names...), dir([2]int{1033, leaf}))
	entry := make([]byte, 16)
	put32(entry, at+leaf+16)
	put32(entry[4:], len(m.resource))
	return slices.Concat(tree, entry, m.resource)
}

// node builds one structure of the version resource.
func node(key string, kind int, value []byte, children ...[]byte) []byte {
	b := make([]byte, 6)
	put16(b[4:], kind)
	put16(b[2:], len(value))
	if kind == 1 {
		put16(b[2:], len(value)/2)
	}
	b = append(b, wide(key)...)
	for _, part := range append([][]byte{value}, children...) {
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		b = append(b, part...)
	}
	put16(b, len(b))
	return b
}

// wide is UTF-16 with its zero.
func wide(s string) (b []byte) {
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func fixedInfo(v [4]uint16) []byte {
	b := make([]byte, 52)
	put32(b, 0xfeef04bd)
	for i, at := range []int{10, 8, 14, 12} {
		put16(b[at:], int(v[i]))
		put16(b[at+8:], int(v[i]))
	}
	return b
}

func versionInfo(name, version string, v [4]uint16, more ...[]byte) []byte {
	strings := node("040904B0", 1, nil, append([][]byte{
		node("CompanyName", 1, wide("Vendor")), node("OriginalFilename", 1, wide(name)),
		node("FileVersion", 1, wide(version)), node("ProductVersion", 1, wide(version))}, more...)...)
	translation := node("VarFileInfo", 1, nil, node("Translation", 0, []byte{9, 4, 0xb0, 4}))
	return node("VS_VERSION_INFO", 0, fixedInfo(v), node("StringFileInfo", 1, nil, strings), translation)
}

func put16(b []byte, v int) { binary.LittleEndian.PutUint16(b, uint16(v)) }
func put32(b []byte, v int) { binary.LittleEndian.PutUint32(b, uint32(v)) }

// place gives where a built file says that its signature is, and where it says so.
func place(file []byte) (at, size, directory int) {
	optional := int(binary.LittleEndian.Uint32(file[60:])) + 24
	directory = optional + 96 + 4*8
	if binary.LittleEndian.Uint16(file[optional:]) == 0x20b {
		directory += 16
	}
	return int(binary.LittleEndian.Uint32(file[directory:])), int(binary.LittleEndian.Uint32(file[directory+4:])), directory
}

// embedded gives the CMS object in a signed file.
func embedded(file []byte) []byte {
	at, _, _ := place(file)
	var whole asn1.RawValue
	if _, err := asn1.Unmarshal(file[at+8:], &whole); err != nil {
		panic(err) // the tool wrote something else than DER
	}
	return whole.FullBytes
}

// embed replaces the signature of a signed file, by one or by several.
func embed(file []byte, objects ...[]byte) []byte {
	at, _, directory := place(file)
	out := bytes.Clone(file[:at])
	for _, object := range objects {
		out = append(out, certificate(object)...)
	}
	put32(out[directory+4:], len(out)-at)
	return out
}

// certificate is one WIN_CERTIFICATE.
func certificate(object []byte) []byte {
	head := make([]byte, 8)
	size := round(8+len(object), 8)
	put32(head, size)
	put16(head[4:], 0x0200)
	put16(head[6:], 2)
	return append(append(head, object...), make([]byte, size-8-len(object))...)
}

// tree is an element of DER that can be edited.
type tree struct {
	tag  byte
	body []byte // of a primitive one
	kids []*tree
}

func parseTree(data []byte) *tree {
	n, rest := oneTree(data)
	if len(rest) > 0 {
		panic("bytes behind the element")
	}
	return n
}

func oneTree(data []byte) (*tree, []byte) {
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(data, &v)
	if err != nil {
		panic(err)
	}
	n := &tree{tag: data[0], body: v.Bytes}
	if v.IsCompound {
		n.body = nil
		for left := v.Bytes; len(left) > 0; {
			var kid *tree
			kid, left = oneTree(left)
			n.kids = append(n.kids, kid)
		}
	}
	return n, rest
}

func (n *tree) encode() []byte {
	body := n.body
	for _, kid := range n.kids {
		body = append(body, kid.encode()...)
	}
	return der(n.tag, body)
}

func der(tag byte, parts ...[]byte) []byte {
	out, err := asn1.Marshal(asn1.RawValue{Class: int(tag >> 6), Tag: int(tag & 0x1f), IsCompound: tag&0x20 != 0, Bytes: slices.Concat(parts...)})
	if err != nil {
		panic(err)
	}
	return out
}

func enc(v any) []byte {
	out, err := asn1.Marshal(v)
	if err != nil {
		panic(err)
	}
	return out
}

func oid(dotted string) (id asn1.ObjectIdentifier) {
	for part := range strings.SplitSeq(dotted, ".") {
		n, _ := new(big.Int).SetString(part, 10)
		id = append(id, int(n.Int64()))
	}
	return id
}

func attribute(kind string, value []byte) *tree {
	return parseTree(der(0x30, enc(oid(kind)), der(0x31, value)))
}

// cmsTree is a CMS object whose parts have names.
type cmsTree struct{ root *tree }

func parseCMS(object []byte) cmsTree { return cmsTree{parseTree(object)} }

func (c cmsTree) data() *tree    { return c.root.kids[1].kids[0] }
func (c cmsTree) content() *tree { return c.data().kids[2] }
func (c cmsTree) bag() *tree     { return c.data().kids[3] }
func (c cmsTree) signers() *tree { return c.data().kids[len(c.data().kids)-1] }
func (c cmsTree) signer() *tree  { return c.signers().kids[0] }
func (c cmsTree) signed() *tree  { return c.signer().kids[3] }
func (c cmsTree) value() *tree   { return c.signer().kids[5] }

// unsigned makes the unsigned attributes, where there are none.
func (c cmsTree) unsigned() *tree {
	s := c.signer()
	if len(s.kids) == 6 {
		s.kids = append(s.kids, &tree{tag: 0xa1})
	}
	return s.kids[6]
}

// find gives the value of an attribute.
func find(attributes *tree, kind string) *tree {
	for _, a := range attributes.kids {
		if bytes.Equal(a.kids[0].body, parseTree(enc(oid(kind))).body) {
			return a.kids[1]
		}
	}
	return nil
}

// token is the time stamp of an Authenticode signature.
func (c cmsTree) token() *tree { return find(c.unsigned(), oidStamp).kids[0] }

// signAgain makes digest and signature right for what was edited. over is what the
// digest is over, nil for the object's own content.
func (c cmsTree) signAgain(t testing.TB, key crypto.Signer, hash crypto.Hash, over []byte) {
	t.Helper()
	if over == nil {
		whole := c.content().kids[1].kids[0]
		over = whole.body
		for _, kid := range whole.kids {
			over = append(over, kid.encode()...)
		}
	}
	sum := func(data []byte) []byte { h := hash.New(); h.Write(data); return h.Sum(nil) }
	if digest := find(c.signed(), "1.2.840.113549.1.9.4"); digest != nil {
		digest.kids[0].body = sum(over)
	}
	slices.SortFunc(c.signed().kids, func(a, b *tree) int { return cmp.Or(bytes.Compare(a.encode(), b.encode())) })
	set := &tree{tag: 0x31, kids: c.signed().kids}
	value, err := key.Sign(rand.Reader, sum(set.encode()), hash)
	must(t, err)
	c.value().body = value
}
