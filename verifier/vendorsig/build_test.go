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

	"mdatp-offline-agent/verifier/vendorsig/vendortest"
)

// PE files of the smallest kind that is whole, and an editor for the DER of what
// real tools have signed.

// image is what a PE file is built from, as in [vendortest.Image].
type image struct {
	wide     bool
	text     []byte
	resource []byte
	copies   int
}

// anImage is one that is in order, as the vendor's definitions are: PE32, data only.
func anImage() image {
	return image{text: bytes.Repeat([]byte("definitions\n"), 100), resource: versionInfo("mpavbase.vdm", "1.407.417.0", [4]uint16{1, 407, 417, 0})}
}

// encode builds the file. It ends with the last section.
func (m image) encode() []byte {
	return vendortest.Image{Wide: m.wide, Text: m.text, Resource: m.resource, Copies: m.copies}.Encode()
}

const fileAlign, memoryAlign = 512, 4096

func round(n, to int) int { return (n + to - 1) / to * to }

func node(key string, kind int, value []byte, children ...[]byte) []byte {
	return vendortest.Node(key, kind, value, children...)
}

func wide(s string) []byte { return vendortest.Wide(s) }

func fixedInfo(v [4]uint16) []byte { return vendortest.FixedInfo(v) }

func versionInfo(name, version string, v [4]uint16, more ...[]byte) []byte {
	return vendortest.VersionInfo(name, version, v, more...)
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
