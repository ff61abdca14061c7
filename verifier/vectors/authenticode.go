package main

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"time"
)

// Authenticode signatures with time stamps of RFC 3161, and an editor for what was
// signed.

const (
	oidIndirect    = "1.3.6.1.4.1.311.2.1.4"
	oidPEImage     = "1.3.6.1.4.1.311.2.1.15"
	oidScript      = "1.3.6.1.4.1.311.2.1.30"
	oidNested      = "1.3.6.1.4.1.311.2.4.1"
	oidStamp       = "1.3.6.1.4.1.311.3.3.1"
	oidStampOfCMS  = "1.2.840.113549.1.9.16.2.14"
	oidCounterSign = "1.2.840.113549.1.9.6"
	oidSignsCode   = "1.3.6.1.5.5.7.3.3"
	oidStampsTime  = "1.3.6.1.5.5.7.3.8"
	oidLifetime    = "1.3.6.1.4.1.311.10.3.13"
)

// The vendor, and the authority for time stamps that it asks.
var (
	vendorRoot   = issue("root of a vendor", nil, p256("root of a vendor"), aCA)
	vendorIssuer = issue("issuer of a vendor", &vendorRoot, p256("issuer of a vendor"), aCA)
	vendor       = issue("vendor", &vendorIssuer, p256("vendor"))
	timeRoot     = issue("root of time", nil, p256("root of time"), aCA)
	stamper      = issue("time", &timeRoot, p256("time"), stampsTime)
)

func stampsTime(c *x509.Certificate) { extended(true, oidStampsTime)(c) }

// extended replaces the extended key usages, which are critical where it says so.
func extended(critical bool, ids ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		var list []asn1.ObjectIdentifier
		for _, id := range ids {
			list = append(list, oid(id))
		}
		c.ExtKeyUsage = nil
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oid("2.5.29.37"), Critical: critical, Value: enc(list)})
	}
}

// signing is how a file gets signed. The zero value: by the vendor, with no stamp.
type signing struct {
	by      *party
	above   []party     // nil: the vendor's issuer
	hash    crypto.Hash // 0: SHA-256
	at      string      // time of signing; empty: that of all signatures here
	stamp   string      // time; empty: there is no stamp
	stamper *party      // nil: the ordinary one
	root    *party      // above the stamper
	pages   []byte      // page hashes
}

func (s signing) complete() signing {
	if s.by == nil {
		s.by = &vendor
	}
	if s.above == nil {
		s.above = []party{vendorIssuer}
	}
	if s.hash == 0 {
		s.hash = crypto.SHA256
	}
	if s.stamper == nil {
		s.stamper = &stamper
	}
	if s.root == nil {
		s.root = &timeRoot
	}
	return s
}

// message is what the signer signs.
func (s signing) message(content []byte, kind string) message {
	m := signedBy(*s.by, content, s.above...).by(s.hash)
	m.contentType = kind
	if s.at != "" {
		m.signedAt = at(s.at)
	}
	return m
}

// finish signs, and has the signature stamped.
func (s signing) finish(m message, stampType string) cmsTree {
	c := cmsTree{parseElement(m.encode())}
	if s.stamp != "" {
		c.unsigned().kids = append(c.unsigned().kids, parseElement(attribute(stampType, s.token(c.value().body))))
	}
	return c
}

// object is the signature of an image.
func (s signing) object(file []byte) cmsTree {
	s = s.complete()
	return s.finish(s.message(indirectContent(imageDigest(file, s.hash), s.hash, s.pages), oidIndirect), oidStamp)
}

// sign puts a signature into an image.
func (s signing) sign(file []byte) []byte { return withSignatures(file, s.object(file).root.encode()) }

// beside is a signature beside a file.
func (s signing) beside(file []byte, edits ...func(*message)) cmsTree {
	s = s.complete()
	m := s.message(file, oidData)
	m.detached = true
	for _, edit := range edits {
		edit(&m)
	}
	return s.finish(m, oidStampOfCMS)
}

// indirectContent is the body of SpcIndirectDataContent.
func indirectContent(digest []byte, hash crypto.Hash, pages []byte) []byte {
	by := map[crypto.Hash]string{crypto.SHA1: oidSHA1, crypto.SHA256: oidSHA256, crypto.SHA384: oidSHA384, crypto.SHA512: oidSHA512}[hash]
	file := der(0xa2, der(0x80)) // a name, which nobody fills in
	if pages != nil {
		class := []byte{0xa6, 0xb5, 0x86, 0xd5, 0xb4, 0xa1, 0x24, 0x66, 0xae, 0x05, 0xa2, 0x17, 0xda, 0x8e, 0x60, 0xd6}
		file = der(0xa1, enc(class), enc(der(0x31, der(0x30, enc(oid("1.3.6.1.4.1.311.2.3.2")), der(0x31, enc(pages))))))
	}
	data := der(0x30, enc(asn1.BitString{}), der(0xa0, file))
	return slices.Concat(der(0x30, enc(oid(oidPEImage)), data), der(0x30, algorithm(by, enc(asn1.NullRawValue)), enc(digest)))
}

// token is a time stamp over a signature.
func (s signing) token(over []byte) []byte {
	h := crypto.SHA256.New()
	h.Write(over)
	info := der(0x30, enc(1), enc(oid("1.2.3.4")), der(0x30, algorithm(oidSHA256), enc(h.Sum(nil))), enc(7), generalized(at(s.stamp)))
	m := signedBy(*s.stamper, info, *s.root)
	m.contentType = oidTSTInfo
	m.attributes = func(a [][]byte) [][]byte { return append(a[:2:2], cades(*s.stamper)) }
	return m.encode()
}

func generalized(t time.Time) []byte {
	return der(0x18, []byte(t.UTC().Format("20060102150405Z")))
}

// element is one of DER that can be edited.
type element struct {
	tag  byte
	body []byte // of a primitive one
	kids []*element
}

func parseElement(data []byte) *element {
	n, rest := firstElement(data)
	if len(rest) > 0 {
		panic("bytes behind the element")
	}
	return n
}

func firstElement(data []byte) (*element, []byte) {
	var v asn1.RawValue
	rest := must(asn1.Unmarshal(data, &v))
	n := &element{tag: data[0], body: v.Bytes}
	if v.IsCompound {
		n.body = nil
		for left := v.Bytes; len(left) > 0; {
			var kid *element
			kid, left = firstElement(left)
			n.kids = append(n.kids, kid)
		}
	}
	return n, rest
}

func (n *element) encode() []byte {
	parts := [][]byte{n.body}
	for _, kid := range n.kids {
		parts = append(parts, kid.encode())
	}
	return der(n.tag, parts...)
}

// inside is what stands between the element's header and its end.
func (n *element) inside() []byte {
	out := n.body
	for _, kid := range n.kids {
		out = append(out, kid.encode()...)
	}
	return out
}

// cmsTree is a CMS object whose parts have names.
type cmsTree struct{ root *element }

func (c cmsTree) data() *element     { return c.root.kids[1].kids[0] }
func (c cmsTree) content() *element  { return c.data().kids[2] }
func (c cmsTree) indirect() *element { return c.content().kids[1].kids[0] }
func (c cmsTree) bag() *element      { return c.data().kids[3] }
func (c cmsTree) signers() *element  { return c.data().kids[len(c.data().kids)-1] }
func (c cmsTree) signer() *element   { return c.signers().kids[0] }
func (c cmsTree) signed() *element   { return c.signer().kids[3] }
func (c cmsTree) value() *element    { return c.signer().kids[5] }

// unsigned makes the unsigned attributes, where there are none.
func (c cmsTree) unsigned() *element {
	s := c.signer()
	if len(s.kids) == 6 {
		s.kids = append(s.kids, &element{tag: 0xa1})
	}
	return s.kids[6]
}

// stamp is the one unsigned attribute of a stamped signature, as an object.
func (c cmsTree) stamp() cmsTree { return cmsTree{c.unsigned().kids[0].kids[1].kids[0]} }

// find gives the values of an attribute.
func find(attributes *element, kind string) *element {
	for _, a := range attributes.kids {
		if bytes.Equal(a.kids[0].encode(), enc(oid(kind))) {
			return a.kids[1]
		}
	}
	return nil
}

func drop(attributes *element, kind string) {
	attributes.kids = slices.DeleteFunc(attributes.kids, func(a *element) bool { return bytes.Equal(a.kids[0].encode(), enc(oid(kind))) })
}

// signAgain makes digest and signature right for what was edited.
func (c cmsTree) signAgain(key crypto.Signer) {
	sum := func(data []byte) []byte { h := crypto.SHA256.New(); h.Write(data); return h.Sum(nil) }
	if digest := find(c.signed(), oidMessageDigest); digest != nil {
		digest.kids[0].body = sum(c.indirect().inside())
	}
	slices.SortFunc(c.signed().kids, func(a, b *element) int { return bytes.Compare(a.encode(), b.encode()) })
	set := &element{tag: 0x31, kids: c.signed().kids}
	c.value().body = must(key.Sign(nil, sum(set.encode()), crypto.SHA256))
}
