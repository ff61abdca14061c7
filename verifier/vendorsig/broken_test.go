package vendorsig

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
)

// good and refused are what another verifier may answer.
const (
	good    = "good"
	refused = "refused"
)

// row is one way in which a file can be odd or broken, and what comes of it.
type row struct {
	name string
	make func(t *testing.T, l *lab) []byte
	want want

	osslsigncode string
	differs      string // why it answers otherwise
}

// Why osslsigncode takes what is refused here, or the other way.
const (
	leaves     = "it leaves to its caller which algorithms are good enough"
	unsigned   = "it looks at what it knows and passes over the rest, in which anybody can keep anything"
	attributes = "of the signed attributes it wants the digest alone, and where there are none it does without"
	oldForm    = "it takes the newer form of the content, too, which Windows does not write"
	leafPolicy = "it looks at the extended key usages of a certificate alone, and only where there are any"
	first      = "it looks at the first and no further"
	strict     = "RFC 3161 forbids it, and neither it nor openssl looks"
	judgesAt   = "it does not use a time stamp that it finds bad, and judges the file as of now"
)

// edited is a file whose signature was edited as a tree.
func (l *lab) edited(edit func(cmsTree)) func(*testing.T, *lab) []byte {
	return func(t *testing.T, l *lab) []byte {
		file := l.stamped(t)
		c := parseCMS(embedded(file))
		edit(c)
		return embed(file, c.root.encode())
	}
}

// stamped is the ordinary file: signed, with a time stamp, and with padding behind
// the signature.
func (l *lab) stamped(t *testing.T) []byte {
	t.Helper()
	for l.stampedFile == nil {
		file := l.sign(t, anImage().encode(), "leaf", stampArgs)
		if _, size, _ := place(file); 8+len(embedded(file)) < size {
			l.stampedFile = file
		}
	}
	return bytes.Clone(l.stampedFile)
}

// resigned is a file whose signature was edited and made anew, without the time
// stamp, which would be that of another.
func resigned(edit func(cmsTree)) func(*testing.T, *lab) []byte {
	return func(t *testing.T, l *lab) []byte {
		file := l.sign(t, anImage().encode(), "leaf", "")
		c := parseCMS(embedded(file))
		edit(c)
		c.signAgain(t, l.leaf.key, crypto.SHA256, nil)
		return embed(file, c.root.encode())
	}
}

// restamped is a file whose time stamp was edited and signed anew; statement is
// edited as a tree of its own.
func restamped(edit func(token cmsTree), statement func(*tree)) func(*testing.T, *lab) []byte {
	return func(t *testing.T, l *lab) []byte {
		file := l.stamped(t)
		c := parseCMS(embedded(file))
		token := cmsTree{c.token()}
		if statement != nil {
			whole := token.content().kids[1].kids[0]
			info := parseTree(whole.body)
			statement(info)
			whole.body = info.encode()
		}
		if edit != nil {
			edit(token)
		}
		token.signAgain(t, l.tsa.key, crypto.SHA256, nil)
		return embed(file, c.root.encode())
	}
}

// bySigner is a file of another signer.
func bySigner(args string, key func(testing.TB) crypto.Signer, edits ...func(*x509.Certificate)) func(*testing.T, *lab) []byte {
	return func(t *testing.T, l *lab) []byte {
		var k crypto.Signer
		if key != nil {
			k = key(t)
		}
		l.add(t, "other", issue(t, "other", &l.inter, k, edits...), l.inter)
		return l.sign(t, anImage().encode(), "other", args)
	}
}

// byStamper is a file with a time stamp of another authority below the same root.
func byStamper(edits ...func(*x509.Certificate)) func(*testing.T, *lab) []byte {
	return func(t *testing.T, l *lab) []byte {
		return l.restampedBy(t, l.stamped(t), issue(t, "time", &l.tsaRoot, rsaKey(t, 2048), edits...))
	}
}

// restampedBy exchanges who stamped a file: no tool stamps by certificates of the
// wrong kind. The time stays.
func (l *lab) restampedBy(t *testing.T, file []byte, other party) []byte {
	t.Helper()
	c := parseCMS(embedded(file))
	token := cmsTree{c.token()}
	for i, n := range token.bag().kids {
		if bytes.Equal(n.encode(), l.tsa.cert.Raw) {
			token.bag().kids[i] = parseTree(other.cert.Raw)
		}
	}
	token.signer().kids[1] = parseTree(der(0x30, other.cert.RawIssuer, enc(other.cert.SerialNumber)))
	drop(token.signed(), "1.2.840.113549.1.9.5") // the time at which the tool ran
	certID(token, other.cert)
	token.signAgain(t, other.key, crypto.SHA256, nil)
	return embed(file, c.root.encode())
}

// onFile edits the bytes of the ordinary file.
func onFile(edit func(file []byte, at, size, directory int) []byte) func(*testing.T, *lab) []byte {
	return func(t *testing.T, l *lab) []byte {
		file := l.stamped(t)
		at, size, directory := place(file)
		return edit(file, at, size, directory)
	}
}

func flip(at int) func(*testing.T, *lab) []byte {
	return onFile(func(file []byte, _, _, _ int) []byte { file[at] ^= 1; return file })
}

// crafted signs a file whose headers were edited before.
func crafted(edit func([]byte)) func(*testing.T, *lab) []byte {
	return func(t *testing.T, l *lab) []byte {
		file := anImage().encode()
		edit(file)
		return l.sign(t, file, "leaf", "")
	}
}

func sectionOf(file []byte, i int) []byte { return file[0x80+24+224+i*40:] }

func rows(l *lab) []row {
	sig := func(sentence string) want { return want{verifier.SignatureInvalid, sentence} }
	untrusted := func(sentence string) want { return want{verifier.SignerUntrusted, sentence} }
	mismatch := want{verifier.ContentMismatch, "not what was signed"}
	rsa1024 := func(t testing.TB) crypto.Signer { return rsaKey(t, 1024) }
	rsa2048 := func(t testing.TB) crypto.Signer { return rsaKey(t, 2048) }
	p224 := func(t testing.TB) crypto.Signer { return ecKey(t, elliptic.P224()) }
	past := valid(date(2020), date(2021))
	stampedIn := func(at time.Time) string { return fmt.Sprintf("%s -TSA-time %d", stampArgs, at.Unix()) }
	signedIn := func(at time.Time) string { return fmt.Sprintf("-time %d ", at.Unix()) }
	midst := date(2020).AddDate(0, 6, 0)
	const tsaUsages = "made for time stamps alone"
	return []row{
		{"as it should be", func(t *testing.T, l *lab) []byte { return l.stamped(t) }, want{}, good, ""},

		// The file.
		{"code changed", flip(fileAlign + 5), mismatch, refused, ""},
		{"DOS header changed", flip(20), mismatch, refused, ""},
		{"entry point changed", flip(0x80 + 24 + 16), mismatch, refused, ""},
		{"section header changed", flip(0x80 + 24 + 224 + 36), mismatch, refused, ""},
		{"last byte before the signature changed", onFile(func(f []byte, at, _, _ int) []byte { f[at-1] ^= 1; return f }), mismatch, refused, ""},
		{"checksum changed", flip(0x80 + 24 + 64), want{}, good, ""},
		{"bytes behind", onFile(func(f []byte, _, _, _ int) []byte { return append(f, make([]byte, 8)...) }), sig("stand behind"), refused, ""},
		{"a byte behind", onFile(func(f []byte, _, _, _ int) []byte { return append(f, 0) }), sig("stand behind"), refused, ""},
		{"cut", onFile(func(f []byte, _, _, _ int) []byte { return f[:len(f)-8] }), sig("ends before"), refused, ""},
		{"cut by a byte", onFile(func(f []byte, _, _, _ int) []byte { return f[:len(f)-1] }), sig("ends before"), refused, ""},
		{"table made longer", onFile(func(f []byte, _, size, d int) []byte {
			put32(f[d+4:], size+8)
			return append(f, make([]byte, 8)...)
		}), sig("more room"), refused, ""},
		{"table and entry made longer", onFile(func(f []byte, at, size, d int) []byte {
			put32(f[d+4:], size+16)
			put32(f[at:], size+16)
			return append(f, make([]byte, 16)...)
		}), sig("not filled with zeros"), good, unsigned},
		{"table made shorter", onFile(func(f []byte, _, size, d int) []byte { put32(f[d+4:], size-8); return f }), sig("stand behind"), refused, ""},
		{"table at an odd place", onFile(func(f []byte, at, _, d int) []byte { put32(f[d:], at+4); return f }), sig("where one can be"), refused, ""},
		{"table in the headers", onFile(func(f []byte, _, _, d int) []byte { put32(f[d:], 0x80); put32(f[d+4:], len(f)-0x80); return f }), sig("where one can be"), refused, ""},
		{"table of no size", onFile(func(f []byte, _, _, d int) []byte { put32(f[d+4:], 0); return f }), sig("where one can be"), refused, ""},
		{"no table", onFile(func(f []byte, _, _, d int) []byte { put32(f[d:], 0); put32(f[d+4:], 0); return f }), want{verifier.SignatureMissing, "no signature"}, refused, ""},
		{"padding not zero", onFile(func(f []byte, _, _, _ int) []byte { f[len(f)-1] = 1; return f }), sig("filled with zeros"), good, unsigned},
		{"entry longer than the table", onFile(func(f []byte, at, size, _ int) []byte { put32(f[at:], size+8); return f }), sig("length can not be right"), refused, ""},
		{"entry of length 0", onFile(func(f []byte, at, _, _ int) []byte { put32(f[at:], 0); return f }), sig("length can not be right"), refused, ""},
		{"entry shorter than its object", onFile(func(f []byte, at, size, _ int) []byte { put32(f[at:], size-8); return f }), sig("more room"), refused, ""},
		{"entry of an old revision", onFile(func(f []byte, at, _, _ int) []byte { put16(f[at+4:], 0x0100); return f }), sig("unknown kind"), refused, ""},
		{"entry with a bare certificate", onFile(func(f []byte, at, _, _ int) []byte { put16(f[at+6:], 1); return f }), sig("unknown kind"), refused, ""},
		{"two entries", func(t *testing.T, l *lab) []byte { f := l.stamped(t); return embed(f, embedded(f), embedded(f)) }, sig("more than one signature"), refused, ""},
		{"an entry of zeros behind", onFile(func(f []byte, _, size, d int) []byte {
			put32(f[d+4:], size+64)
			return append(f, make([]byte, 64)...)
		}), sig("more than one signature"), refused, ""},
		{"a section that reaches into the signature", crafted(func(f []byte) {
			put32(sectionOf(f, 1)[16:], int(binary.LittleEndian.Uint32(sectionOf(f, 1)[16:]))+fileAlign)
		}), sig("reaches into the signature"), good, "it hashes what lies before the signature and does not look at sections"},
		{"signature of another file", func(t *testing.T, l *lab) []byte {
			other := anImage()
			other.text = []byte("other")
			return embed(l.stamped(t), embedded(l.sign(t, other.encode(), "leaf", stampArgs)))
		}, mismatch, refused, ""},

		// The signature.
		{"SHA-1", bySigner("-h sha1", nil), sig("weaker than SHA-256"), good, leaves},
		{"RSA-1024", bySigner("", rsa1024), untrusted("key is too weak"), good, leaves},
		{"P-224", bySigner("", p224), untrusted("key is too weak"), good, leaves},
		{"nested signature", func(t *testing.T, l *lab) []byte {
			return l.sign(t, l.sign(t, anImage().encode(), "leaf", ""), "leaf", "-nest -h sha384")
		}, sig("nested"), good, "it judges the nested one, too, and here one signature is enough"},
		{"a blob that nobody signed", func(t *testing.T, l *lab) []byte {
			return l.sign(t, anImage().encode(), "leaf", "-addUnauthenticatedBlob")
		}, sig("nobody signed"), good, unsigned},
		{"a certificate that nobody asked for", l.edited(func(c cmsTree) {
			c.bag().kids = append(c.bag().kids, parseTree(issue(t0{}, "stranger", nil, nil).cert.Raw))
		}), sig("nothing to do with"), good, unsigned},
		{"the root comes along", l.edited(func(c cmsTree) { c.bag().kids = append(c.bag().kids, parseTree(l.root.cert.Raw)) }), want{}, good, ""},
		{"without the issuer", l.edited(func(c cmsTree) {
			c.bag().kids = slices.DeleteFunc(c.bag().kids, func(n *tree) bool { return bytes.Equal(n.encode(), l.inter.cert.Raw) })
		}), untrusted("no root"), refused, ""},
		{"without certificates", l.edited(func(c cmsTree) { c.data().kids = slices.Delete(c.data().kids, 3, 4) }), sig("no certificate"), refused, ""},
		{"no signer", l.edited(func(c cmsTree) { c.signers().kids = nil }), want{verifier.SignatureMissing, "no signer"}, refused, ""},
		{"two signers", l.edited(func(c cmsTree) { c.signers().kids = append(c.signers().kids, c.signer()) }), sig("more than one signer"), refused, ""},
		{"signature value changed", l.edited(func(c cmsTree) { c.value().body[20] ^= 1 }), sig("does not match"), refused, ""},
		{"digest of the file changed", l.edited(func(c cmsTree) { indirect(c).kids[1].kids[1].body[3] ^= 1 }), sig("does not match"), refused, ""},
		{"digest of the file is SHA-384, by name", resigned(func(c cmsTree) {
			indirect(c).kids[1].kids[0] = parseTree(der(0x30, enc(oid("2.16.840.1.101.3.4.2.2"))))
		}), sig("not that of the signature"), refused, ""},
		{"digest of the file is SHA-1", resigned(func(c cmsTree) {
			indirect(c).kids[1].kids[0] = parseTree(der(0x30, enc(oid("1.3.14.3.2.26"))))
			indirect(c).kids[1].kids[1].body = make([]byte, sha1.Size)
		}), sig("weak"), refused, ""},
		{"digest too short", resigned(func(c cmsTree) { indirect(c).kids[1].kids[1].body = make([]byte, 31) }), sig("not that of the signature"), refused, ""},
		{"something behind the digest", resigned(func(c cmsTree) { indirect(c).kids = append(indirect(c).kids, parseTree(enc(1))) }), sig("not built as Authenticode"), refused, ""},
		{"signed as a script", resigned(func(c cmsTree) { indirect(c).kids[0].kids[0] = parseTree(enc(oid("1.3.6.1.4.1.311.2.1.30"))) }), sig("not a PE file"), good, "it takes the digest and does not look what it is said to be of"},
		{"signed as plain data", resigned(func(c cmsTree) { c.content().kids[0] = parseTree(enc(oid("1.2.840.113549.1.7.1"))) }), sig("not the digest of a PE file"), refused, ""},
		{"content as a string", resigned(func(c cmsTree) {
			c.content().kids[1].kids[0] = &tree{tag: 4, body: indirect(c).encode()}
		}), sig("RFC 5652"), good, oldForm},
		{"no content", l.edited(func(c cmsTree) { c.content().kids = c.content().kids[:1] }), sig("detached"), refused, ""},
		{"signed content type is another", resigned(func(c cmsTree) {
			find(c.signed(), "1.2.840.113549.1.9.3").kids[0] = parseTree(enc(oid("1.2.840.113549.1.7.1")))
		}), sig("signed content type"), good, attributes},
		{"no signed content type", resigned(func(c cmsTree) { drop(c.signed(), "1.2.840.113549.1.9.3") }), sig("signed content type"), good, attributes},
		{"no signed digest", resigned(func(c cmsTree) { drop(c.signed(), "1.2.840.113549.1.9.4") }), sig("no message digest"), refused, ""},
		{"a signed attribute twice", resigned(func(c cmsTree) { c.signed().kids = append(c.signed().kids, c.signed().kids[0]) }), sig("stands twice"), good, attributes},
		{"signed attributes out of order", l.edited(func(c cmsTree) { slices.Reverse(c.signed().kids) }), sig("RFC 5652"), refused, ""},
		{"no signed attributes", func(t *testing.T, l *lab) []byte {
			file := l.sign(t, anImage().encode(), "leaf", "")
			c := parseCMS(embedded(file))
			var over []byte
			for _, kid := range indirect(c).kids {
				over = append(over, kid.encode()...)
			}
			sum := sha256.Sum256(over)
			value, err := l.leaf.key.Sign(rand.Reader, sum[:], crypto.SHA256)
			must(t, err)
			c.value().body = value
			c.signer().kids = slices.Delete(c.signer().kids, 3, 4)
			return embed(file, c.root.encode())
		}, sig("no signed attributes"), good, attributes},
		{"a revocation list comes along", l.edited(func(c cmsTree) {
			c.data().kids = slices.Insert(c.data().kids, 4, &tree{tag: 0xa1, kids: []*tree{parseTree(crl(t0{}, l.root))}})
		}), sig("revocation lists"), refused, ""},
		{"two digests are announced", l.edited(func(c cmsTree) {
			c.data().kids[1].kids = append(c.data().kids[1].kids, parseTree(der(0x30, enc(oid("2.16.840.1.101.3.4.2.3")))))
		}), sig("descriptions of algorithms"), good, unsigned},
		{"a digest with parameters", l.edited(func(c cmsTree) {
			c.data().kids[1].kids[0] = parseTree(der(0x30, enc(oid("2.16.840.1.101.3.4.2.1")), enc([]byte("whatever"))))
		}), sig("descriptions of algorithms"), good, unsigned},
		{"the signer's digest with parameters", l.edited(func(c cmsTree) {
			c.signer().kids[2] = parseTree(der(0x30, enc(oid("2.16.840.1.101.3.4.2.1")), enc([]byte("whatever"))))
		}), sig("descriptions of algorithms"), good, unsigned},
		{"BER", func(t *testing.T, l *lab) []byte {
			f := l.stamped(t)
			o := embedded(f)
			return embed(f, slices.Concat([]byte{0x30, 0x80}, o[4:], []byte{0, 0}))
		}, sig("strict DER"), good, "openssl reads BER, of which one object has many forms"},
		{"unknown attribute that nobody signed", l.edited(func(c cmsTree) { c.unsigned().kids = append(c.unsigned().kids, attribute("1.2.3.4", enc(7))) }), sig("nobody signed"), good, unsigned},
		{"time stamp of the old kind", func(t *testing.T, l *lab) []byte {
			file := l.sign(t, anImage().encode(), "leaf", "")
			c := parseCMS(embedded(file))
			c.unsigned().kids = append(c.unsigned().kids, attribute(oidCounterSign, der(0x30)))
			return embed(file, c.root.encode())
		}, sig("before RFC 3161"), good, judgesAt},

		// The signer.
		{"of somebody else", func(t *testing.T, l *lab) []byte {
			root := issue(t, "vendor root", nil, nil, aCA)
			l.add(t, "stranger", issue(t, "vendor", &root, nil), root)
			return l.sign(t, anImage().encode(), "stranger", stampArgs)
		}, untrusted("no root"), refused, ""},
		{"for TLS", bySigner("", nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), untrusted("not made for that"), refused, ""},
		{"for anything", bySigner("", nil, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), untrusted("not made for that"), good, leafPolicy},
		{"a CA", bySigner("", nil, aCA), untrusted("a CA itself"), good, leafPolicy},
		{"without key usages", bySigner("", nil, func(c *x509.Certificate) { c.KeyUsage = 0 }), want{}, good, ""},
		{"not for signatures", bySigner("", rsa2048, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), untrusted("does not allow"), good, leafPolicy},
		{"expired", bySigner(signedIn(midst), nil, past), want{verifier.SignerExpired, "has expired"}, refused, ""},
		{"not valid yet", bySigner(signedIn(date(2090).AddDate(0, 6, 0)), nil, valid(date(2090), date(2091))), want{verifier.SignerExpired, "not valid yet"}, refused, ""},
		{"expired since the time stamp", bySigner(signedIn(midst)+stampedIn(midst), nil, past), want{}, good, ""},
		{"expired before the time stamp", bySigner(signedIn(midst)+stampedIn(date(2022)), nil, past), want{verifier.SignerExpired, "has expired"}, refused, ""},
		{"time stamp before the certificate", bySigner(signedIn(midst)+stampedIn(date(2019)), nil, past), want{verifier.SignerExpired, "not valid yet"}, refused, ""},
		{"expired since, and for its lifetime only", bySigner(signedIn(midst)+stampedIn(midst), nil, past, usages(false, signsCode, "1.3.6.1.4.1.311.10.3.13")),
			want{verifier.SignerExpired, "has expired"}, good, "it does not know that usage of Microsoft's"},

		// The time stamp.
		{"time stamp taken away", l.edited(func(c cmsTree) { c.signer().kids = c.signer().kids[:6] }), want{}, good, ""},
		{"time stamp of another file", func(t *testing.T, l *lab) []byte {
			file, other := l.stamped(t), parseCMS(embedded(l.sign(t, anImage().encode(), "leaf", "-h sha384 "+stampArgs)))
			c := parseCMS(embedded(file))
			c.unsigned().kids = other.unsigned().kids
			return embed(file, c.root.encode())
		}, sig("of another signature"), good, judgesAt},
		{"two time stamps", l.edited(func(c cmsTree) { c.unsigned().kids = append(c.unsigned().kids, c.unsigned().kids[0]) }), sig("stands twice"), good, first},
		{"two time stamps in one", l.edited(func(c cmsTree) {
			values := c.unsigned().kids[0].kids[1]
			values.kids = append(values.kids, values.kids[0])
		}), sig("RFC 5652"), good, first},
		{"statement changed", l.edited(func(c cmsTree) {
			body := cmsTree{c.token()}.content().kids[1].kids[0].body
			at := bytes.Index(body, []byte("Z")) - 1
			body[at] ^= 1
		}), sig("does not match a time stamp"), good, judgesAt},
		{"signature of the time stamp changed", l.edited(func(c cmsTree) { cmsTree{c.token()}.value().body[9] ^= 1 }), sig("does not match a time stamp"), good, judgesAt},
		{"no time stamp in its place", l.edited(func(c cmsTree) { c.unsigned().kids[0].kids[1].kids[0] = parseTree(enc(7)) }), sig("not a signed one"), good, judgesAt},
		{"a signature in place of the time stamp", l.edited(func(c cmsTree) {
			copied := parseCMS(c.root.encode())
			copied.signer().kids = copied.signer().kids[:6]
			c.unsigned().kids[0].kids[1].kids[0] = copied.root
		}), sig("what is signed is not a time stamp"), good, judgesAt},
		{"time stamp with an attribute certificate", l.edited(func(c cmsTree) {
			bag := cmsTree{c.token()}.bag()
			bag.kids = append(bag.kids, parseTree(der(0xa2, enc(1), enc([]byte("whatever an attribute certificate is")))))
		}), want{}, good, ""},
		{"time stamp with an old attribute certificate and a revocation list", l.edited(func(c cmsTree) {
			token := cmsTree{c.token()}
			token.bag().kids = append(token.bag().kids, parseTree(der(0xa1, enc(1))))
			token.data().kids = slices.Insert(token.data().kids, 4, &tree{tag: 0xa1, kids: []*tree{parseTree(crl(t0{}, l.tsaRoot))}})
		}), want{}, good, ""},
		{"time stamp with a certificate that nobody asked for", l.edited(func(c cmsTree) {
			bag := cmsTree{c.token()}.bag()
			bag.kids = append(bag.kids, parseTree(issue(t0{}, "stranger", nil, nil).cert.Raw))
		}), sig("nothing to do with"), good, unsigned},
		{"time stamp with something that nobody signed", l.edited(func(c cmsTree) {
			cmsTree{c.token()}.unsigned().kids = []*tree{attribute("1.2.3.4", enc(7))}
		}), sig("nobody signed"), good, unsigned},
		{"time stamp of a stranger", func(t *testing.T, l *lab) []byte {
			root := issue(t, "time root", nil, nil, aCA)
			l.add(t, "tsa2", issue(t, "time", &root, nil, stamps), root)
			return l.sign(t, anImage().encode(), "leaf", "-TSA-certs tsa2.pem -TSA-key tsa2.key")
		}, untrusted("no root"), good, judgesAt},
		{"stamper's usage not critical", byStamper(usages(false, stampsTime)), untrusted(tsaUsages), good, strict},
		{"stamper also for TLS", byStamper(usages(true, stampsTime, "1.3.6.1.5.5.7.3.1")), untrusted(tsaUsages), good, strict},
		{"stamper for code", byStamper(usages(true, signsCode)), untrusted("not made for that"), good, judgesAt},
		{"stamper a CA", byStamper(aCA, usages(true, stampsTime)), untrusted("a CA itself"), good, strict},
		{"stamper expired since", func(t *testing.T, l *lab) []byte {
			l.add(t, "other", issue(t, "other", &l.inter, nil, past), l.inter)
			file := l.sign(t, anImage().encode(), "other", signedIn(midst)+stampedIn(midst))
			return l.restampedBy(t, file, issue(t, "time", &l.tsaRoot, rsaKey(t, 2048), stamps, past))
		}, want{}, good, ""},
		{"stamper expired before", byStamper(stamps, past), want{verifier.SignerExpired, "has expired"}, good, judgesAt},
		{"dated in three days", func(t *testing.T, l *lab) []byte {
			return l.sign(t, anImage().encode(), "leaf", stampedIn(time.Now().AddDate(0, 0, 3)))
		}, want{verifier.IssuedInFuture, "in the future"}, good, "it does not compare the time stamp with the clock"},
		{"dated in an hour", func(t *testing.T, l *lab) []byte {
			return l.sign(t, anImage().encode(), "leaf", stampedIn(time.Now().Add(time.Hour)))
		}, want{}, good, ""},
		{"time stamp signed anew", restamped(nil, nil), want{}, good, ""},
		{"statement of version 2", restamped(nil, func(info *tree) { info.kids[0] = parseTree(enc(2)) }), sig("RFC 3161"), good, strict},
		{"statement with an extension", restamped(nil, func(info *tree) {
			info.kids = append(info.kids, parseTree(der(0xa1, der(0x30, enc(oid("1.2.3")), enc([]byte{})))))
		}), sig("RFC 3161"), good, strict},
		{"imprint by SHA-1", restamped(nil, func(info *tree) { info.kids[2].kids[0].kids[0] = parseTree(enc(oid("1.3.14.3.2.26"))) }), sig("weaker than SHA-256"), good, judgesAt},
		{"time of no zone", restamped(nil, func(info *tree) { info.kids[4].body = bytes.TrimSuffix(info.kids[4].body, []byte("Z")) }), sig("time can not be read"), good, judgesAt},
		{"time with a comma", restamped(nil, func(info *tree) {
			info.kids[4].body = append(bytes.TrimSuffix(info.kids[4].body, []byte("Z")), ",5Z"...)
		}), sig("time can not be read"), good, judgesAt},
		{"time of the year 1", restamped(nil, func(info *tree) { info.kids[4].body = []byte("00010101000000Z") }), want{verifier.SignerExpired, "not valid yet"}, good, judgesAt},
		{"time with a fraction", restamped(nil, func(info *tree) {
			info.kids[4].body = append(bytes.TrimSuffix(info.kids[4].body, []byte("Z")), ".25Z"...)
		}), want{}, good, ""},
		{"does not name its stamper", restamped(func(token cmsTree) {
			drop(token.signed(), "1.2.840.113549.1.9.16.2.12")
			drop(token.signed(), "1.2.840.113549.1.9.16.2.47")
		}, nil), sig("does not name"), good, strict},
		{"names another stamper", restamped(func(token cmsTree) { certID(token, l.root.cert) }, nil), sig("does not name"), good, strict},
		{"names its stamper by SHA-256", restamped(func(token cmsTree) { certID(token, l.tsa.cert) }, nil), want{}, good, ""},
	}
}

// t0 stands in where a helper wants a test to fail, in tables that are built before
// their tests are.
type t0 struct{ testing.TB }

func (t0) Helper()           {}
func (t0) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func indirect(c cmsTree) *tree { return c.content().kids[1].kids[0] }

func drop(attributes *tree, kind string) {
	attributes.kids = slices.DeleteFunc(attributes.kids, func(a *tree) bool { return bytes.Equal(a.kids[0].encode(), enc(oid(kind))) })
}

// certID has a token name that certificate, by signingCertificateV2.
func certID(token cmsTree, c *x509.Certificate) {
	drop(token.signed(), "1.2.840.113549.1.9.16.2.12")
	drop(token.signed(), "1.2.840.113549.1.9.16.2.47")
	sum := sha256.Sum256(c.Raw)
	id := der(0x30, der(0x30, der(0x30, enc(sum[:]))))
	token.signed().kids = append(token.signed().kids, attribute("1.2.840.113549.1.9.16.2.47", id))
}

func crl(t testing.TB, ca party, revoked ...party) []byte {
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: date(2020), NextUpdate: date(2090)}
	for _, p := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: p.cert.SerialNumber, RevocationTime: time.Now()})
	}
	out, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
	must(t, err)
	return out
}

// TestBroken has every row judged here and by osslsigncode.
func TestBroken(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, row := range rows(l) {
		t.Run(row.name, func(t *testing.T) {
			file := row.make(t, l)
			s, err := verify(file, nil, l.trust(t), clock())
			if s.Kind != Authenticode && row.name != "no table" {
				t.Errorf("kind %s", s.Kind)
			}
			theirs, why := refused, ""
			if ok, out := l.theirs(t, file); ok {
				theirs, why = good, out
			} else {
				why = out
			}
			if theirs != row.osslsigncode {
				t.Errorf("osslsigncode: %s, want %s: %s", theirs, row.osslsigncode, strings.TrimSpace(why))
			}
			row.want.check(t, err)
		})
	}
}

// line is how the documentation has a row.
func (r row) line() string {
	verdict := good
	if r.want.code != "" {
		verdict = "`" + string(r.want.code) + "`"
	}
	return fmt.Sprintf("| %s | %s | %s | %s |\n", r.name, verdict, r.osslsigncode, r.differs)
}

// TestExplained wants a reason wherever osslsigncode answers otherwise, and only
// there, and the documentation to have them all.
func TestExplained(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/vendor-packages.md")
	must(t, err)
	for _, r := range rows(&lab{}) {
		if differs := (r.want.code == "") != (r.osslsigncode == good); differs != (r.differs != "") {
			t.Errorf("%s: do they differ? %v, and why: %q", r.name, differs, r.differs)
		} else if differs && !strings.Contains(string(page), r.line()) {
			t.Errorf("vendor-packages.md lacks the line: %s", r.line())
		}
	}
}
