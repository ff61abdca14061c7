package main

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"slices"
	"strings"
	"time"
)

// vendorVector is a file with a vendor's signature, or with a version resource, and
// what is to be said of it.
type vendorVector struct {
	about, what string
	file        []byte
	sig         []byte   // beside it; nil: there is none
	trust       []string // nil: both roots
	kind        string   // of the signature; empty: authenticode
	verdict     string
	sentence    string
	stamp       string // the time that a good file is judged at by its time stamp
	resource    string // what a good version resource says

	// What other programs answer: good or refused; empty where they are not asked.
	osslsigncode, openssl string
	differs               string // why one answers otherwise
}

// name is what the vector is about, and what is special about it.
func (v vendorVector) name() string {
	letters := func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r == ' ':
			return '-'
		case r == '+':
			return 'p'
		}
		return -1
	}
	return v.about + "-" + strings.Map(letters, strings.ToLower(v.what))
}

// header is the text of the vector's own file, as testdata/README.md describes it.
func (v vendorVector) header() string {
	var signature, trust, judged string
	if v.sig != nil {
		signature = v.name() + ".bin.sig"
	}
	if v.about != "resource" {
		trust, judged = strings.Join(v.trust, " "), judgedAt.Format(time.RFC3339)
	}
	return lines("name", v.name(), "what", v.what, "file", v.name()+".bin", "signature", signature, "trust", trust, "time", judged, "kind", v.kind,
		"verdict", v.verdict, "sentence", v.sentence, "stamp", v.stamp, "resource", v.resource,
		"osslsigncode", v.osslsigncode, "openssl", v.openssl, "differs", v.differs)
}

func (v vendorVector) complete() vendorVector {
	if v.trust == nil {
		v.trust = []string{"vendor-root.pem", "time-root.pem"}
	}
	if v.kind == "" && v.about != "resource" {
		v.kind = "authenticode"
	}
	return v
}

// vendors gives the vectors of vendors' files, complete.
func vendors() (out []vendorVector) {
	for _, v := range slices.Concat(peFiles(), peHeaders(), authenticodes(), vendorSigners(), stamps(), detached(), resources()) {
		out = append(out, v.complete())
	}
	return out
}

// vendorFiles gives their files, by name.
func vendorFiles() map[string][]byte {
	out := map[string][]byte{}
	for _, v := range vendors() {
		if _, twice := out[v.name()+".txt"]; twice {
			panic("two vectors are called " + v.name())
		}
		out[v.name()+".txt"] = []byte(v.header())
		out[v.name()+".bin"] = v.file
		if v.sig != nil {
			out[v.name()+".bin.sig"] = v.sig
		}
	}
	return out
}

// Why osslsigncode takes what is refused, or the other way.
const (
	theirLeaves     = "it leaves to its caller which algorithms are good enough"
	theirUnsigned   = "it looks at what it knows and passes over the rest, in which anybody can keep anything"
	theirAttributes = "of the signed attributes it wants the digest alone, and where there are none it does without"
	theirForms      = "it takes the newer form of the content, too, which Windows does not write"
	theirPolicy     = "it looks at the extended key usages of a certificate alone, and only where there are any"
	theirFirst      = "it looks at the first and no further"
	theirStrictness = "RFC 3161 forbids it, and neither it nor openssl looks"
	theirTime       = "it does not use a time stamp that it finds bad, and judges the file as of now"
)

const (
	altered = "not what was signed"

	ordinaryStamp = "2026-11-23T09:00:00Z"
)

// stampedFile is the ordinary file: signed, with a time stamp, and with padding behind
// the signature.
func stampedFile() []byte {
	file := signing{stamp: ordinaryStamp}.sign(anImage().encode())
	if at, size, _ := place(file); size == 8+len(embedded(file)) || at == 0 {
		panic("the ordinary file has no padding, so say something else in it")
	}
	return file
}

// embedded gives the object in a signed file, as a copy.
func embedded(file []byte) []byte {
	at, _, _ := place(file)
	var whole asn1.RawValue
	must(asn1.Unmarshal(file[at+8:], &whole))
	return bytes.Clone(whole.FullBytes)
}

// edited is the ordinary file with its signature edited as a tree.
func edited(edit func(cmsTree)) []byte {
	file := stampedFile()
	c := cmsTree{parseElement(embedded(file))}
	edit(c)
	return withSignatures(file, c.root.encode())
}

// resigned is a file whose signature was edited and made anew, without a time stamp,
// which would be that of another.
func resigned(edit func(cmsTree)) []byte {
	file := signing{}.sign(anImage().encode())
	c := cmsTree{parseElement(embedded(file))}
	edit(c)
	c.signAgain(vendor.key)
	return withSignatures(file, c.root.encode())
}

// peFiles are about the file around the signature.
func peFiles() (out []vendorVector) {
	onFile := func(edit func(file []byte, at, size, entry int) []byte) []byte {
		file := stampedFile()
		at, size, entry := place(file)
		return edit(file, at, size, entry)
	}
	flip := func(i int) []byte {
		return onFile(func(file []byte, _, _, _ int) []byte { file[i] ^= 1; return file })
	}
	set := func(where func(at, entry int) int, by func(at, size int) int) []byte {
		return onFile(func(file []byte, at, size, entry int) []byte {
			put32(file[where(at, entry):], uint32(by(at, size)))
			return file
		})
	}
	entryAt := func(_, entry int) int { return entry }
	entrySize := func(_, entry int) int { return entry + 4 }
	ownLength := func(at, _ int) int { return at }
	grown := func(by int, own bool) []byte {
		return onFile(func(file []byte, at, size, entry int) []byte {
			put32(file[entry+4:], uint32(size+by))
			if own {
				put32(file[at:], uint32(size+by))
			}
			return append(file, make([]byte, by)...)
		})
	}
	crafted := anImage().encode()
	rsrc := crafted[sectionsAt+40:]
	put32(rsrc[16:], uint32(le32(rsrc[16:])+fileAlign))
	other := anImage()
	other.text = []byte("other")
	wide := anImage()
	wide.wide = true
	for _, r := range []struct {
		what              string
		file              []byte
		verdict, sentence string
		theirs, differs   string
	}{
		{"as it should be", stampedFile(), good, "", good, ""},
		{"PE32+", signing{stamp: ordinaryStamp}.sign(wide.encode()), good, "", good, ""},
		{"code changed", flip(fileAlign + 5), mismatch, altered, refused, ""},
		{"DOS header changed", flip(20), mismatch, altered, refused, ""},
		{"entry point changed", flip(optionalAt + 16), mismatch, altered, refused, ""},
		{"section header changed", flip(sectionsAt + 36), mismatch, altered, refused, ""},
		{"last byte before the signature changed", onFile(func(f []byte, at, _, _ int) []byte { f[at-1] ^= 1; return f }), mismatch, altered, refused, ""},
		{"checksum changed", flip(checksumAt), good, "", good, ""},
		{"bytes behind", append(stampedFile(), make([]byte, 8)...), invalid, "stand behind", refused, ""},
		{"a byte behind", append(stampedFile(), 0), invalid, "stand behind", refused, ""},
		{"cut", onFile(func(f []byte, _, _, _ int) []byte { return f[:len(f)-8] }), invalid, "ends before", refused, ""},
		{"cut by a byte", onFile(func(f []byte, _, _, _ int) []byte { return f[:len(f)-1] }), invalid, "ends before", refused, ""},
		{"table made longer", grown(8, false), invalid, "more room", refused, ""},
		{"table and entry made longer", grown(16, true), invalid, "not filled with zeros", good, theirUnsigned},
		{"table made shorter", set(entrySize, func(_, size int) int { return size - 8 }), invalid, "stand behind", refused, ""},
		{"table at an odd place", set(entryAt, func(at, _ int) int { return at + 4 }), invalid, "where one can be", refused, ""},
		{"table in the headers", onFile(func(f []byte, _, _, entry int) []byte { put32(f[entry:], headerAt, uint32(len(f)-headerAt)); return f }), invalid, "where one can be", refused, ""},
		{"table of no size", set(entrySize, func(_, _ int) int { return 0 }), invalid, "where one can be", refused, ""},
		{"no table", onFile(func(f []byte, _, _, entry int) []byte { put32(f[entry:], 0, 0); return f }), missing, "no signature", refused, ""},
		{"not signed", anImage().encode(), missing, "no signature", refused, ""},
		{"padding not zero", onFile(func(f []byte, _, _, _ int) []byte { f[len(f)-1] = 1; return f }), invalid, "filled with zeros", good, theirUnsigned},
		{"entry longer than the table", set(ownLength, func(_, size int) int { return size + 8 }), invalid, "length can not be right", refused, ""},
		{"entry of length 0", set(ownLength, func(_, _ int) int { return 0 }), invalid, "length can not be right", refused, ""},
		{"entry shorter than its object", set(ownLength, func(_, size int) int { return size - 8 }), invalid, "more room", refused, ""},
		{"entry of an old revision", onFile(func(f []byte, at, _, _ int) []byte { put16(f[at+4:], 0x0100); return f }), invalid, "unknown kind", refused, ""},
		{"entry with a bare certificate", onFile(func(f []byte, at, _, _ int) []byte { put16(f[at+6:], 1); return f }), invalid, "unknown kind", refused, ""},
		{"two entries", withSignatures(stampedFile(), embedded(stampedFile()), embedded(stampedFile())), invalid, "more than one signature", refused, ""},
		{"an entry of zeros behind", grown(64, false), invalid, "more than one signature", refused, ""},
		{"a section that reaches into the signature", signing{}.sign(crafted), invalid, "reaches into the signature", good, "it hashes what lies before the signature and does not look at sections"},
		{"signature of another file", withSignatures(stampedFile(), signing{stamp: ordinaryStamp}.object(other.encode()).root.encode()), mismatch, altered, refused, ""},
	} {
		v := vendorVector{about: "pe", what: r.what, file: r.file, verdict: r.verdict, sentence: r.sentence, osslsigncode: r.theirs, differs: r.differs}
		if r.verdict == good {
			v.stamp = ordinaryStamp
		}
		if r.verdict == missing {
			v.kind = "none"
		}
		out = append(out, v)
	}
	return out
}

// peHeaders are about headers that no linker writes. Each file is either no PE file at
// all, so that its signature could lie beside it, or is refused.
func peHeaders() (out []vendorVector) {
	file := func(edit func([]byte) []byte) []byte { return edit(anImage().encode()) }
	cut := func(n int) []byte { return anImage().encode()[:n] }
	set16 := func(at int, v uint16) []byte {
		return file(func(f []byte) []byte { put16(f[at:], v); return f })
	}
	set32 := func(at int, v ...uint32) []byte {
		return file(func(f []byte) []byte { put32(f[at:], v...); return f })
	}
	const (
		count = entriesAt - 4
		table = entriesAt + 4*8
		size  = uint32(2 * fileAlign) // of the two sections
		none  = "neither inside nor beside"
		built = "not built as a PE file"
	)
	for _, r := range []struct {
		what     string
		file     []byte
		sentence string
	}{
		{"an empty file", []byte{}, none},
		{"two bytes", []byte("MZ"), none},
		{"a DOS program", append([]byte("MZ"), make([]byte, 200)...), none},
		{"ELF", []byte("\x7fELF" + string(make([]byte, 200))), none},
		{"beyond the end", set32(60, 1<<30), none},
		{"at 2 GiB", set32(60, 1<<31), none},
		{"at the end", cut(headerAt + 4), none},
		{"in the DOS header", file(func(f []byte) []byte { copy(f[40:], "PE\x00\x00"); put32(f[60:], 40); return f }), built},
		{"cut behind the COFF header", cut(optionalAt), built},
		{"cut in the optional header", cut(optionalAt + 100), built},
		{"cut in the sections", cut(sectionsAt + 50), built},
		{"optional header of no size", set16(headerAt+20, 0), built},
		{"optional header too small", set16(headerAt+20, 95), built},
		{"optional header without its end", set16(headerAt+20, 223), built},
		{"optional header of 64 KiB", set16(headerAt+20, 0xffff), built},
		{"ROM image", set16(optionalAt, 0x107), built},
		{"17 directories", set32(count, 17), built},
		{"4 billion directories", set32(count, 0xffffffff), built},
		{"4 directories", set32(count, 4), none},
		{"no directory", set32(count, 0), none},
		{"97 sections", set16(headerAt+6, 97), built},
		{"a section beyond the end", set32(sectionsAt+40+16, 0xfffffe00), built},
		{"table beyond the end", set32(table, 1<<31, 1<<31), "ends before"},
		{"table that is the file", set32(table+4, fileAlign+size), "where one can be"},
		{"table over the sections", set32(table, fileAlign, size), "reaches into"},
		{"table of nothing", append(set32(table, fileAlign+size, 16), make([]byte, 16)...), "length can not be right"},
	} {
		v := vendorVector{about: "headers", what: r.what, file: r.file, verdict: invalid, sentence: r.sentence, osslsigncode: refused}
		switch r.sentence {
		case none:
			v.kind, v.verdict = "none", missing
		case built:
			v.kind = "unknown"
		}
		out = append(out, v)
	}
	return out
}

// Certificates with the name and the key of a CA of the vendor, and of the authority for
// time stamps, by somebody whom nobody trusts.
var (
	falseIssuer = issue("issuer of a vendor", &stranger, p256("issuer of a vendor"), aCA, anything)
	falseTimeCA = issue("root of time", &stranger, p256("root of time"), aCA, anything)
)

// anything is an extension that nobody knows.
func anything(c *x509.Certificate) {
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oid("1.2.3.4"), Value: []byte("whatever somebody wants to keep here")})
}

// authenticodes are about the CMS object in the file.
func authenticodes() (out []vendorVector) {
	plainFile := anImage().encode()
	signed := func(s signing) []byte { return s.sign(plainFile) }
	edit := func(change func(*element, cmsTree)) []byte { return edited(func(c cmsTree) { change(c.data(), c) }) }
	again := func(change func(*element, cmsTree)) []byte {
		return resigned(func(c cmsTree) { change(c.indirect(), c) })
	}
	rsa := func(name string, key []byte) *party {
		p := issue(name, &vendorIssuer, rsaKey(key))
		return &p
	}
	on := func(name string, curve elliptic.Curve) *party {
		p := issue(name, &vendorIssuer, keyOf(name, curve))
		return &p
	}
	withParameters := func() *element {
		return parseElement(algorithm(oidSHA256, enc([]byte("whatever"))))
	}
	nested := func() []byte {
		c, inner := signing{}.object(plainFile), signing{hash: crypto.SHA384}.object(plainFile)
		c.unsigned().kids = []*element{parseElement(attribute(oidNested, inner.root.encode()))}
		return withSignatures(plainFile, c.root.encode())
	}
	noAttributes := func() []byte {
		m := signing{}.complete().message(indirectContent(imageDigest(plainFile, crypto.SHA256), crypto.SHA256, nil), oidIndirect)
		m.noAttributes = true
		return withSignatures(plainFile, m.encode())
	}
	ber := func() []byte {
		o := embedded(stampedFile())
		return withSignatures(stampedFile(), slices.Concat([]byte{0x30, 0x80}, o[4:], []byte{0, 0}))
	}
	strangers := issue("stranger in the bag", nil, p256("stranger in the bag"))
	inBag := func(more ...party) []byte {
		return edit(func(_ *element, c cmsTree) {
			for _, p := range more {
				c.bag().kids = append(c.bag().kids, parseElement(p.cert.Raw))
			}
		})
	}
	seven := parseElement(enc(7))
	for _, r := range []struct {
		what              string
		file              []byte
		verdict, sentence string
		theirs, differs   string
	}{
		{"RSA-2048", signed(signing{by: rsa("vendor with RSA of 2048 bits", rsa2048)}), good, "", good, ""},
		{"RSA-3072 and SHA-384", signed(signing{by: rsa("vendor with RSA of 3072 bits", rsa3072), hash: crypto.SHA384}), good, "", good, ""},
		{"RSA-4096 and SHA-512", signed(signing{by: rsa("vendor with RSA of 4096 bits", rsa4096), hash: crypto.SHA512}), good, "", good, ""},
		{"P-256", signed(signing{}), good, "", good, ""},
		{"P-384 and SHA-384", signed(signing{by: on("vendor on P-384", elliptic.P384()), hash: crypto.SHA384}), good, "", good, ""},
		{"P-521 and SHA-512", signed(signing{by: on("vendor on P-521", elliptic.P521()), hash: crypto.SHA512}), good, "", good, ""},
		{"page hashes that are wrong", signed(signing{pages: make([]byte, 2*(4+32))}), good, "", refused, "it compares page hashes, which say nothing that the digest of the whole file does not"},
		{"SHA-1", signed(signing{by: rsa("vendor with RSA of 2048 bits", rsa2048), hash: crypto.SHA1}), invalid, "weaker than SHA-256", good, theirLeaves},
		{"RSA-1024", signed(signing{by: rsa("vendor with RSA of 1024 bits", rsa1024)}), untrusted, "key is too weak", good, theirLeaves},
		{"P-224", signed(signing{by: on("vendor on P-224", elliptic.P224())}), untrusted, "key is too weak", good, theirLeaves},
		{"nested signature", nested(), invalid, "nested", good, "it judges the nested one, too, and here one signature is enough"},
		{"a certificate that nobody asked for", edit(func(_ *element, c cmsTree) { c.bag().kids = append(c.bag().kids, parseElement(strangers.cert.Raw)) }), invalid, "nothing to do with", good, theirUnsigned},
		{"the root comes along", edit(func(_ *element, c cmsTree) { c.bag().kids = append(c.bag().kids, parseElement(vendorRoot.cert.Raw)) }), good, "", good, ""},
		{"a certificate of the issuer by a stranger", inBag(falseIssuer), invalid, "genuine", good, theirUnsigned},
		{"a certificate of the issuer by a stranger who comes along", inBag(falseIssuer, stranger), invalid, "genuine", good, theirUnsigned},
		{"something behind a certificate", edit(func(_ *element, c cmsTree) { c.bag().kids[1].kids = append(c.bag().kids[1].kids, seven) }), invalid, "behind a certificate", refused, ""},
		{"something behind the number of the signer's certificate", edit(func(_ *element, c cmsTree) { c.signer().kids[1].kids = append(c.signer().kids[1].kids, seven) }), invalid, "RFC 5652", refused, ""},
		{"of a version that nobody knows", edit(func(d *element, _ cmsTree) { d.kids[0] = seven }), invalid, "RFC 5652", good, theirUnsigned},
		{"the signer is of a version that nobody knows", edit(func(_ *element, c cmsTree) { c.signer().kids[0] = seven }), invalid, "RFC 5652", good, theirUnsigned},
		{"without the issuer", edit(func(_ *element, c cmsTree) { c.bag().kids = c.bag().kids[:1] }), untrusted, "no root", refused, ""},
		{"without certificates", edit(func(d *element, _ cmsTree) { d.kids = slices.Delete(d.kids, 3, 4) }), invalid, "no certificate", refused, ""},
		{"no signer", edit(func(_ *element, c cmsTree) { c.signers().kids = nil }), missing, "no signer", refused, ""},
		{"two signers", edit(func(_ *element, c cmsTree) { c.signers().kids = append(c.signers().kids, c.signer()) }), invalid, "more than one signer", refused, ""},
		{"signature value changed", edit(func(_ *element, c cmsTree) { c.value().body[20] ^= 1 }), invalid, "does not match", refused, ""},
		{"digest of the file changed", edit(func(_ *element, c cmsTree) { c.indirect().kids[1].kids[1].body[3] ^= 1 }), invalid, "does not match", refused, ""},
		{"digest of the file is SHA-384, by name", again(func(i *element, _ cmsTree) { i.kids[1].kids[0] = parseElement(algorithm(oidSHA384)) }), invalid, "not that of the signature", refused, ""},
		{"digest of the file is SHA-1", again(func(i *element, _ cmsTree) {
			i.kids[1].kids[0] = parseElement(algorithm(oidSHA1))
			i.kids[1].kids[1].body = make([]byte, crypto.SHA1.Size())
		}), invalid, "weak", refused, ""},
		{"digest too short", again(func(i *element, _ cmsTree) { i.kids[1].kids[1].body = make([]byte, 31) }), invalid, "not that of the signature", refused, ""},
		{"something behind the digest", again(func(i *element, _ cmsTree) { i.kids = append(i.kids, parseElement(enc(1))) }), invalid, "not built as Authenticode", refused, ""},
		{"signed as a script", again(func(i *element, _ cmsTree) { i.kids[0].kids[0] = parseElement(enc(oid(oidScript))) }), invalid, "not a PE file", good, "it takes the digest and does not look what it is said to be of"},
		{"signed as plain data", again(func(_ *element, c cmsTree) { c.content().kids[0] = parseElement(enc(oid(oidData))) }), invalid, "not the digest of a PE file", refused, ""},
		{"content as a string", again(func(i *element, c cmsTree) { c.content().kids[1].kids[0] = &element{tag: 4, body: i.encode()} }), invalid, "RFC 5652", good, theirForms},
		{"no content", edit(func(_ *element, c cmsTree) { c.content().kids = c.content().kids[:1] }), invalid, "detached", refused, ""},
		{"signed content type is another", again(func(_ *element, c cmsTree) {
			find(c.signed(), oidContentType).kids[0] = parseElement(enc(oid(oidData)))
		}), invalid, "signed content type", good, theirAttributes},
		{"no signed content type", again(func(_ *element, c cmsTree) { drop(c.signed(), oidContentType) }), invalid, "signed content type", good, theirAttributes},
		{"no signed digest", again(func(_ *element, c cmsTree) { drop(c.signed(), oidMessageDigest) }), invalid, "no message digest", refused, ""},
		{"a signed attribute twice", again(func(_ *element, c cmsTree) { c.signed().kids = append(c.signed().kids, c.signed().kids[0]) }), invalid, "stands twice", good, theirAttributes},
		{"signed attributes out of order", edit(func(_ *element, c cmsTree) { slices.Reverse(c.signed().kids) }), invalid, "RFC 5652", refused, ""},
		{"no signed attributes", noAttributes(), invalid, "no signed attributes", good, theirAttributes},
		{"a revocation list comes along", edit(func(d *element, _ cmsTree) {
			d.kids = slices.Insert(d.kids, 4, &element{tag: 0xa1, kids: []*element{parseElement(crl(vendorRoot, 1, at("2125-01-01T00:00:00Z")))}})
		}), invalid, "revocation lists", refused, ""},
		{"two digests are announced", edit(func(d *element, _ cmsTree) {
			d.kids[1].kids = append(d.kids[1].kids, parseElement(algorithm(oidSHA512)))
		}), invalid, "descriptions of algorithms", good, theirUnsigned},
		{"a digest with parameters", edit(func(d *element, _ cmsTree) { d.kids[1].kids[0] = withParameters() }), invalid, "descriptions of algorithms", good, theirUnsigned},
		{"the signer's digest with parameters", edit(func(_ *element, c cmsTree) { c.signer().kids[2] = withParameters() }), invalid, "descriptions of algorithms", good, theirUnsigned},
		{"BER", ber(), invalid, "strict DER", good, "openssl reads BER, of which one object has many forms"},
		{"unknown attribute that nobody signed", edit(func(_ *element, c cmsTree) {
			c.unsigned().kids = append(c.unsigned().kids, parseElement(attribute("1.2.3.4", enc(7))))
		}), invalid, "nobody signed", good, theirUnsigned},
		{"time stamp of the old kind", edit(func(_ *element, c cmsTree) {
			c.unsigned().kids = []*element{parseElement(attribute(oidCounterSign, der(0x30)))}
		}), invalid, "before RFC 3161", good, theirTime},
		{"garbage in its place", withSignatures(stampedFile(), []byte("this is no signature of any kind")), invalid, "not strict DER", refused, ""},
	} {
		v := vendorVector{about: "authenticode", what: r.what, file: r.file, verdict: r.verdict, sentence: r.sentence, osslsigncode: r.theirs, differs: r.differs}
		if r.what == "the root comes along" {
			v.stamp = ordinaryStamp
		}
		out = append(out, v)
	}
	return out
}

// vendorSigners are about who signed.
func vendorSigners() (out []vendorVector) {
	plainFile := anImage().encode()
	const day, ended = "2026-03-01T00:00:00Z", "2026-06-01T00:00:00Z"
	past := valid("2026-01-01T00:00:00Z", ended)
	by := func(name string, s signing, edits ...func(*x509.Certificate)) []byte {
		p := issue(name, &vendorIssuer, p256(name), edits...)
		s.by = &p
		return s.sign(plainFile)
	}
	use := func(use x509.KeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.KeyUsage = use }
	}
	falseRoot := issue("root of a vendor", nil, p256("another root of a vendor"), aCA)
	falseVendor := issue("vendor", &falseRoot, p256("another vendor"))
	weakRoot := issue("issuer with a weak key", &vendorRoot, rsaKey(rsa1024), aCA)
	belowWeak := issue("vendor below a weak key", &weakRoot, p256("vendor below a weak key"))
	for _, r := range []struct {
		what              string
		file              []byte
		trust             []string
		stamp             string
		verdict, sentence string
		theirs, differs   string
	}{
		{"of somebody else", signing{by: &falseVendor, above: []party{falseRoot}, stamp: ordinaryStamp}.sign(plainFile), nil, "", untrusted, "no root", refused, ""},
		{"nobody is trusted but for time", stampedFile(), []string{"time-root.pem"}, "", untrusted, "the signer's chain ends at no root", refused, ""},
		{"nobody is trusted for time", stampedFile(), []string{"vendor-root.pem"}, "", untrusted, "the time stamp's chain ends at no root", good, theirTime},
		{"revoked", stampedFile(), []string{"vendor-root.pem", "time-root.pem", "vendor-revoked.crl"}, "", revoked, "is revoked", refused, ""},
		{"below a weak key", signing{by: &belowWeak, above: []party{weakRoot}}.sign(plainFile), nil, "", invalid, "nothing to do with", good, theirLeaves},
		{"for TLS", by("vendor for TLS", signing{}, extended(false, "1.3.6.1.5.5.7.3.1")), nil, "", untrusted, "not made for that", refused, ""},
		{"for anything", by("vendor for anything", signing{}, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), nil, "", untrusted, "not made for that", good, theirPolicy},
		{"a CA", by("vendor that is a CA", signing{}, aCA), nil, "", untrusted, "a CA itself", good, theirPolicy},
		{"without key usages", by("vendor without key usages", signing{}, use(0)), nil, "", good, "", good, ""},
		{"not for signatures", by("vendor that may not sign", signing{}, use(x509.KeyUsageKeyEncipherment)), nil, "", untrusted, "does not allow", good, theirPolicy},
		{"expired", by("vendor of the past", signing{at: day}, past), nil, "", expired, "has expired", refused, ""},
		{"not valid yet", by("vendor of the future", signing{at: "2124-06-02T00:00:00Z"}, valid("2124-06-01T00:00:00Z", "2124-12-01T00:00:00Z")), nil, "", expired, "not valid yet", refused, ""},
		{"expired since the time stamp", by("vendor of the past", signing{at: day, stamp: day}, past), nil, day, good, "", good, ""},
		{"expired before the time stamp", by("vendor of the past", signing{at: day, stamp: "2026-07-01T00:00:00Z"}, past), nil, "", expired, "has expired", refused, ""},
		{"time stamp before the certificate", by("vendor of the past", signing{at: day, stamp: "2026-01-01T00:00:00Z"}, valid("2026-02-01T00:00:00Z", ended)), nil, "", expired, "not valid yet", refused, ""},
		{"expired since, and for its lifetime only", by("vendor for its lifetime", signing{at: day, stamp: day}, past, extended(false, oidSignsCode, oidLifetime)), nil, "", expired, "has expired", good, "it does not know that usage of Microsoft's"},
	} {
		out = append(out, vendorVector{about: "signer", what: r.what, file: r.file, trust: r.trust, stamp: r.stamp, verdict: r.verdict, sentence: r.sentence, osslsigncode: r.theirs, differs: r.differs})
	}
	return out
}

// stamps are about time stamps.
func stamps() (out []vendorVector) {
	plainFile := anImage().encode()
	restamped := func(edit func(cmsTree), statement func(*element)) []byte {
		return edited(func(c cmsTree) {
			token := c.stamp()
			whole := token.indirect()
			info := parseElement(whole.body)
			if statement != nil {
				statement(info)
			}
			whole.body = info.encode()
			if edit != nil {
				edit(token)
			}
			token.signAgain(stamper.key)
		})
	}
	stated := func(edit func(*element)) []byte { return restamped(nil, edit) }
	atTime := func(edit func(time string) string) []byte {
		return stated(func(info *element) {
			info.kids[4].body = []byte(edit(strings.TrimSuffix(string(info.kids[4].body), "Z")))
		})
	}
	by := func(name string, stamp string, edits ...func(*x509.Certificate)) []byte {
		p := issue(name, &timeRoot, p256(name), edits...)
		return signing{stamp: stamp, stamper: &p}.sign(plainFile)
	}
	naming := func(c *x509.Certificate) []byte {
		return restamped(func(token cmsTree) {
			drop(token.signed(), oidCertificateV2)
			if c != nil {
				token.signed().kids = append(token.signed().kids, parseElement(cades(party{cert: c})))
			}
		}, nil)
	}
	falseRoot := issue("root of time", nil, p256("another root of time"), aCA)
	falseTime := issue("time", &falseRoot, p256("another time"), stampsTime)
	strangers := issue("stranger in the bag", nil, p256("stranger in the bag"))
	const day = "2026-03-01T00:00:00Z"
	past := valid("2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z")
	pastVendor := issue("vendor of the past", &vendorIssuer, p256("vendor of the past"), past)
	pastTime := issue("time of the past", &timeRoot, p256("time of the past"), stampsTime, past)
	later := func(d time.Duration) string { return judgedAt.Add(d).Format(time.RFC3339) }
	const only = "made for time stamps alone"
	for _, r := range []struct {
		what              string
		file              []byte
		stamp             string
		verdict, sentence string
		theirs, differs   string
	}{
		{"time stamp taken away", edited(func(c cmsTree) { c.signer().kids = c.signer().kids[:6] }), "", good, "", good, ""},
		{"time stamp of another file", edited(func(c cmsTree) {
			c.unsigned().kids = signing{hash: crypto.SHA384, stamp: ordinaryStamp}.object(plainFile).unsigned().kids
		}), "", invalid, "of another signature", good, theirTime},
		{"two time stamps", edited(func(c cmsTree) { c.unsigned().kids = append(c.unsigned().kids, c.unsigned().kids[0]) }), "", invalid, "stands twice", good, theirFirst},
		{"two time stamps in one", edited(func(c cmsTree) {
			values := c.unsigned().kids[0].kids[1]
			values.kids = append(values.kids, values.kids[0])
		}), "", invalid, "RFC 5652", good, theirFirst},
		{"statement changed", edited(func(c cmsTree) {
			body := c.stamp().indirect().body
			body[bytes.LastIndexByte(body, 'Z')-1] ^= 1
		}), "", invalid, "does not match a time stamp", good, theirTime},
		{"signature of the time stamp changed", edited(func(c cmsTree) { c.stamp().value().body[9] ^= 1 }), "", invalid, "does not match a time stamp", good, theirTime},
		{"no time stamp in its place", edited(func(c cmsTree) { c.unsigned().kids[0].kids[1].kids[0] = parseElement(enc(7)) }), "", invalid, "not a signed one", good, theirTime},
		{"a signature in place of the time stamp", edited(func(c cmsTree) {
			c.unsigned().kids[0].kids[1].kids[0] = signing{}.object(plainFile).root
		}), "", invalid, "what is signed is not a time stamp", good, theirTime},
		{"time stamp with an attribute certificate", edited(func(c cmsTree) {
			c.stamp().bag().kids = append(c.stamp().bag().kids, parseElement(der(0xa2, enc(1), enc([]byte("whatever an attribute certificate is")))))
		}), ordinaryStamp, good, "", good, ""},
		{"time stamp with an old attribute certificate and a revocation list", edited(func(c cmsTree) {
			token := c.stamp()
			token.bag().kids = append(token.bag().kids, parseElement(der(0xa1, enc(1))))
			token.data().kids = slices.Insert(token.data().kids, 4, &element{tag: 0xa1, kids: []*element{parseElement(crl(timeRoot, 1, at("2125-01-01T00:00:00Z")))}})
		}), ordinaryStamp, good, "", good, ""},
		{"time stamp with a certificate that nobody asked for", edited(func(c cmsTree) { c.stamp().bag().kids = append(c.stamp().bag().kids, parseElement(strangers.cert.Raw)) }), "", invalid, "nothing to do with", good, theirUnsigned},
		{"time stamp with something that nobody signed", edited(func(c cmsTree) { c.stamp().unsigned().kids = []*element{parseElement(attribute("1.2.3.4", enc(7)))} }), "", invalid, "nobody signed", good, theirUnsigned},
		{"time stamp with a certificate of the authority by a stranger", edited(func(c cmsTree) {
			c.stamp().bag().kids = append(c.stamp().bag().kids, parseElement(falseTimeCA.cert.Raw))
		}), "", invalid, "genuine", good, theirUnsigned},
		{"time stamp that announces two digests", edited(func(c cmsTree) {
			digests := c.stamp().data().kids[1]
			digests.kids = append(digests.kids, parseElement(algorithm(oidSHA512)))
		}), "", invalid, "descriptions of algorithms", good, theirUnsigned},
		{"time stamp whose digest has parameters", edited(func(c cmsTree) {
			c.stamp().signer().kids[2] = parseElement(algorithm(oidSHA256, enc([]byte("whatever"))))
		}), "", invalid, "descriptions of algorithms", good, theirUnsigned},
		{"time stamp of a stranger", signing{stamp: ordinaryStamp, stamper: &falseTime, root: &falseRoot}.sign(plainFile), "", untrusted, "no root", good, theirTime},
		{"stamper's usage not critical", by("time, not critical", ordinaryStamp, extended(false, oidStampsTime)), "", untrusted, only, good, theirStrictness},
		{"stamper also for TLS", by("time, and TLS", ordinaryStamp, extended(true, oidStampsTime, "1.3.6.1.5.5.7.3.1")), "", untrusted, only, good, theirStrictness},
		{"stamper for code", by("time, for code", ordinaryStamp, extended(true, oidSignsCode)), "", untrusted, "not made for that", good, theirTime},
		{"stamper a CA", by("time that is a CA", ordinaryStamp, aCA, stampsTime), "", untrusted, "a CA itself", good, theirStrictness},
		{"stamper expired since", signing{by: &pastVendor, at: day, stamp: day, stamper: &pastTime}.sign(plainFile), day, good, "", good, ""},
		{"stamper expired before", by("time of the past", ordinaryStamp, stampsTime, past), "", expired, "has expired", good, theirTime},
		{"dated in three days", signing{stamp: later(72 * time.Hour)}.sign(plainFile), "", "issued_in_future", "in the future", good, "it does not compare the time stamp with the clock"},
		{"dated in an hour", signing{stamp: later(time.Hour)}.sign(plainFile), later(time.Hour), good, "", good, ""},
		{"time stamp signed anew", restamped(nil, nil), ordinaryStamp, good, "", good, ""},
		{"statement of version 2", stated(func(info *element) { info.kids[0] = parseElement(enc(2)) }), "", invalid, "RFC 3161", good, theirStrictness},
		{"statement with an extension", stated(func(info *element) {
			info.kids = append(info.kids, parseElement(der(0xa1, der(0x30, enc(oid("1.2.3")), enc([]byte{})))))
		}), "", invalid, "RFC 3161", good, theirStrictness},
		{"imprint by SHA-1", stated(func(info *element) { info.kids[2].kids[0].kids[0] = parseElement(enc(oid(oidSHA1))) }), "", invalid, "weaker than SHA-256", good, theirTime},
		{"time of no zone", atTime(func(at string) string { return at }), "", invalid, "time can not be read", good, theirTime},
		{"time with a comma", atTime(func(at string) string { return at + ",5Z" }), "", invalid, "time can not be read", good, theirTime},
		{"time of the year 1", atTime(func(string) string { return "00010101000000Z" }), "", expired, "not valid yet", good, theirTime},
		{"time with a fraction", atTime(func(at string) string { return at + ".25Z" }), strings.TrimSuffix(ordinaryStamp, "Z") + ".25Z", good, "", good, ""},
		{"does not name its stamper", naming(nil), "", invalid, "does not name", good, theirStrictness},
		{"names another stamper", naming(timeRoot.cert), "", invalid, "does not name", good, theirStrictness},
	} {
		out = append(out, vendorVector{about: "stamp", what: r.what, file: r.file, stamp: r.stamp, verdict: r.verdict, sentence: r.sentence, osslsigncode: r.theirs, differs: r.differs})
	}
	return out
}

// detached are about signatures beside a file.
func detached() (out []vendorVector) {
	engine := []byte("\x7fELF an engine\nof some lines\n")
	olderEngine := []byte("\x7fELF an older engine\nof some lines\n")
	const anew = "2026-11-24T09:00:00Z"
	plainSig := signing{}.beside(engine).root.encode()
	edit := func(change func(*message)) []byte { return signing{}.beside(engine, change).root.encode() }
	rsaParty := issue("vendor with RSA of 3072 bits", &vendorIssuer, rsaKey(rsa3072))
	changed := bytes.Clone(plainSig)
	changed[len(changed)-5] ^= 1
	stampedWrong := signing{}.beside(engine)
	stampedWrong.unsigned().kids = []*element{parseElement(attribute(oidStamp, signing{stamp: ordinaryStamp}.complete().token(stampedWrong.value().body)))}
	pastVendor := issue("vendor of the past", &vendorIssuer, p256("vendor of the past"), valid("2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"))
	const day = "2026-03-01T00:00:00Z"
	const unknown, cmsKind, none = "unknown", "cms", "none"
	pemOf := func(kind string) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: plainSig}) }
	for _, r := range []struct {
		what              string
		file, sig         []byte
		kind              string
		verdict, sentence string
		theirs, differs   string
	}{
		{"DER", engine, plainSig, cmsKind, good, "", good, ""},
		{"PEM", engine, armoured(plainSig), cmsKind, good, "", "", ""},
		{"PEM of type PKCS7", engine, pemOf("PKCS7"), cmsKind, good, "", "", ""},
		{"PEM with CRLF", engine, bytes.ReplaceAll(armoured(plainSig), []byte("\n"), []byte("\r\n")), cmsKind, good, "", "", ""},
		{"PEM with headers", engine, pem.EncodeToMemory(&pem.Block{Type: "CMS", Headers: map[string]string{"Comment": "whatever"}, Bytes: plainSig}), unknown, missing, "kind that is not known", "", ""},
		{"PEM of another type", engine, pemOf("WHATEVER SOMEBODY WANTS TO SAY"), unknown, missing, "kind that is not known", "", ""},
		{"PEM behind a damaged block", engine, append([]byte("-----BEGIN CMS-----\n\x00 whatever\n"), armoured(plainSig)...), unknown, missing, "kind that is not known", "", ""},
		{"PEM and an empty line", engine, append(armoured(plainSig), '\n'), unknown, missing, "kind that is not known", "", ""},
		{"PEM and a tab", engine, bytes.Replace(armoured(plainSig), []byte("\nMI"), []byte("\n\tMI"), 1), unknown, missing, "kind that is not known", "", ""},
		{"RSA-3072", engine, signing{by: &rsaParty}.beside(engine).root.encode(), cmsKind, good, "", good, ""},
		{"P-384 and SHA-384", engine, func() []byte {
			p := issue("vendor on P-384", &vendorIssuer, keyOf("vendor on P-384", elliptic.P384()))
			return signing{by: &p, hash: crypto.SHA384}.beside(engine).root.encode()
		}(), cmsKind, good, "", good, ""},
		{"a time stamp", engine, signing{stamp: ordinaryStamp}.beside(engine).root.encode(), cmsKind, good, "", good, ""},
		{"an older file, stamped anew", olderEngine, signing{at: "2026-11-22T08:00:00Z", stamp: anew}.beside(olderEngine).root.encode(), cmsKind, good, "", good, ""},
		{"expired since the time stamp", engine, signing{by: &pastVendor, at: day, stamp: day}.beside(engine).root.encode(), cmsKind, good, "", refused, "openssl cms does not look at time stamps"},
		{"expired", engine, signing{by: &pastVendor, at: day}.beside(engine).root.encode(), cmsKind, expired, "has expired", refused, ""},
		{"a time stamp in Authenticode's attribute", engine, stampedWrong.root.encode(), cmsKind, invalid, "nobody signed", good, itsForms},
		{"SHA-1", engine, signing{by: &rsaParty, hash: crypto.SHA1}.beside(engine).root.encode(), cmsKind, invalid, "weaker than SHA-256", good, itsPolicy},
		{"no attributes", engine, edit(func(m *message) { m.noAttributes = true }), cmsKind, invalid, "no signed attributes", good, itsForms},
		{"with content", engine, edit(func(m *message) { m.detached = false }), cmsKind, invalid, "content of its own", good, itsForms},
		{"two signers", engine, edit(func(m *message) {
			m.signers = func(s [][]byte) [][]byte { return append(s, signedBy(rsaParty, engine).signerInfo()) }
			m.bag = append(m.bag, rsaParty.cert.Raw)
		}), cmsKind, invalid, "more than one signer", good, itsForms},
		{"another file", []byte("another"), plainSig, cmsKind, mismatch, altered, refused, ""},
		{"an empty file", []byte{}, plainSig, cmsKind, mismatch, altered, refused, ""},
		{"a byte more", append(bytes.Clone(engine), 0), plainSig, cmsKind, mismatch, altered, refused, ""},
		{"signature changed", engine, changed, cmsKind, invalid, "does not match the file", refused, ""},
		{"bytes behind", engine, append(bytes.Clone(plainSig), 0), cmsKind, invalid, "stand behind", good, itsRead},
		{"cut", engine, plainSig[:len(plainSig)-1], cmsKind, invalid, "strict DER", refused, ""},
		{"begins like a CMS", engine, plainSig[:15], cmsKind, invalid, "strict DER", refused, ""},
		{"none", engine, nil, none, missing, "neither inside nor beside", "", ""},
		{"empty", engine, []byte{}, none, missing, "is empty", refused, ""},
		{"of unknown format", engine, []byte("\x01\x00\x00\x00 whatever the engine's own is"), unknown, missing, "kind that is not known", refused, ""},
		{"text", engine, []byte("untrusted comment: minisign\n"), unknown, missing, "kind that is not known", refused, ""},
		{"OpenPGP", engine, []byte("-----BEGIN PGP SIGNATURE-----\n\niQEzBAABCAAdFiEE\n=abcd\n-----END PGP SIGNATURE-----\n"), unknown, missing, "kind that is not known", refused, ""},
		{"bare RSA", engine, bytes.Repeat([]byte{0x30}, 256), unknown, missing, "kind that is not known", refused, ""},
		{"a certificate", engine, vendor.cert.Raw, unknown, missing, "kind that is not known", refused, ""},
		{"two PEM blocks", engine, bytes.Repeat(armoured(plainSig), 2), unknown, missing, "kind that is not known", "", ""},
		{"one byte", engine, []byte{0x30}, unknown, missing, "kind that is not known", refused, ""},
	} {
		v := vendorVector{about: "detached", what: r.what, file: r.file, sig: r.sig, kind: r.kind, verdict: r.verdict, sentence: r.sentence, openssl: r.theirs, differs: r.differs}
		switch r.what {
		case "a time stamp":
			v.stamp = ordinaryStamp
		case "an older file, stamped anew":
			v.stamp = anew
		case "expired since the time stamp":
			v.stamp = day
		}
		out = append(out, v)
	}
	inside := vendorVector{about: "detached", what: "beside a file that has one inside", file: stampedFile(), sig: []byte("whatever"), verdict: good, stamp: ordinaryStamp, osslsigncode: good}
	unsigned := anImage().encode()
	beside := vendorVector{about: "detached", what: "beside a PE file that has none inside", file: unsigned, sig: signing{}.beside(unsigned).root.encode(), kind: cmsKind, verdict: good, openssl: good}
	return append(out, inside, beside)
}

// resources are about version resources, of files that are not signed.
func resources() (out []vendorVector) {
	v := ordinaryVersion
	usual := versionInfo("mpavbase.vdm", "1.407.417.0", v)
	of := func(resource []byte, edits ...func(*image)) []byte {
		m := anImage()
		m.resource = resource
		for _, edit := range edits {
			edit(&m)
		}
		return m.encode()
	}
	changed := func(edit func([]byte)) []byte {
		b := bytes.Clone(usual)
		edit(b)
		return of(b)
	}
	inFile := func(edit func([]byte)) []byte {
		file := of(usual)
		edit(file)
		return file
	}
	texts := func(tables ...[]byte) []byte {
		return of(node("VS_VERSION_INFO", 0, fixedInfo(v), node("StringFileInfo", 1, nil, tables...)))
	}
	table := func(name []byte) []byte { return node("040904B0", 1, nil, node("OriginalFilename", 1, name)) }
	// typeEntry is where the tree of resources says which types there are.
	typeEntry := func(file []byte) []byte {
		return file[bytes.LastIndex(file, []byte{16, 0, 0, 0, 24, 0, 0, 0x80}):]
	}
	const malformed, unread, contradicts, more = "package_malformed", "can not be read", "contradicts itself", "more than one"
	for _, r := range []struct {
		what              string
		file              []byte
		resource          string
		verdict, sentence string
	}{
		{"as it should be", of(usual), "mpavbase.vdm 1.407.417.0", good, ""},
		{"PE32+", of(usual, func(m *image) { m.wide = true }), "mpavbase.vdm 1.407.417.0", good, ""},
		{"only numbers", of(node("VS_VERSION_INFO", 0, fixedInfo(v))), "- 1.407.417.0", good, ""},
		{"text that is not the numbers", of(versionInfo("mpavbase.vdm", "1.2", v)), "mpavbase.vdm 1.407.417.0", good, ""},
		{"the greatest version", of(versionInfo("a", "1.2", [4]uint16{65535, 65535, 65535, 65535})), "a 65535.65535.65535.65535", good, ""},
		{"name not fit to be shown", of(versionInfo("a\x1b[31m\u202eb", "1", v)), "a?[31m?b 1.407.417.0", good, ""},
		{"two languages that agree", texts(table(wide("a")), table(wide("a"))), "a 1.407.417.0", good, ""},
		{"two languages that do not", texts(table(wide("a")), table(wide("b"))), "", malformed, contradicts},
		{"one text twice", of(versionInfo("a", "1", v, node("originalFILENAME", 1, wide("b")))), "", malformed, contradicts},
		{"two resources", of(usual, func(m *image) { m.copies = 1 }), "", malformed, more},
		{"none", of(nil), "", malformed, "no version resource"},
		{"empty", of([]byte{}), "", malformed, unread},
		{"another magic", changed(func(b []byte) { b[40] ^= 1 }), "", malformed, unread},
		{"another key", changed(func(b []byte) { b[6] = 'X' }), "", malformed, unread},
		{"length beyond the end", changed(func(b []byte) { put16(b, uint16(len(b)+1)) }), "", malformed, unread},
		{"length 0", changed(func(b []byte) { put16(b, 0) }), "", malformed, unread},
		{"length of a child 0", changed(func(b []byte) { put16(b[92:], 0) }), "", malformed, unread},
		{"length of a child 65535", changed(func(b []byte) { put16(b[92:], 65535) }), "", malformed, unread},
		{"length of the value 0", changed(func(b []byte) { put16(b[2:], 0) }), "", malformed, unread},
		{"length of the value 65535", changed(func(b []byte) { put16(b[2:], 65535) }), "", malformed, unread},
		{"key without an end", changed(func(b []byte) { copy(b[6:], bytes.Repeat([]byte("x"), len(b))) }), "", malformed, unread},
		{"half of a surrogate pair in a text that nobody needs", of(versionInfo("a", "1", v, node("x", 1, []byte{0x00, 0xd8, 0, 0}))), "a 1.407.417.0", good, ""},
		{"half of a surrogate pair in the name", texts(table([]byte{0x00, 0xd8, 0, 0})), "", malformed, unread},
		{"name without an end", texts(table([]byte("a\x00b\x00"))), "", malformed, unread},
		{"directory beyond its section", inFile(func(f []byte) { put32(f[entriesAt+2*8:], 0x7fffffff) }), "", malformed, unread},
		{"two sections at one address", inFile(func(f []byte) { put32(f[sectionsAt+12:], 2*memoryAlign) }), "", malformed, unread},
		{"directory of many entries", inFile(func(f []byte) {
			at := len(f) - len(typeEntry(f))
			put16(f[at-4:], 0xffff)
		}), "", malformed, unread},
		{"a directory that is its own child", inFile(func(f []byte) { put32(typeEntry(f)[4:], 0x80000000) }), "", malformed, unread},
		{"no PE file", []byte("\x7fELF"), "", malformed, "not a PE file"},
	} {
		out = append(out, vendorVector{about: "resource", what: r.what, file: r.file, resource: r.resource, verdict: r.verdict, sentence: r.sentence})
	}
	return out
}
