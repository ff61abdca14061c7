package main

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"slices"
	"strings"
)

// content is what the packages hold beside their list.
func content() []entry {
	return []entry{plain("libmpengine.so", "engine\n"), plain("mpavbase.vdm", "base\n"), plain("mpavdlta.vdm", "delta\n")}
}

// pack is the package with that signed list.
func pack(object []byte) []byte {
	return archive(append(content(), plain(listName, string(object)))...)
}

// Why OpenSSL takes what is refused here.
const (
	itsPolicy   = "openssl leaves it to its caller which algorithms are good enough"
	itsPurpose  = "openssl is told -purpose any, since 3.0 has no purpose for signing code"
	itsForms    = "openssl can do it, and this format does without, so that a verifier stays small"
	itsRead     = "openssl reads the first object of its input and no further"
	itsCompare  = "the library that checks signatures here and openssl disagree about it, so it is refused before either sees it"
	allReadable = "openssl checks a signature and knows no list"
)

type signature struct {
	name, what string
	object     []byte
	verdict    string
	sentence   string
	openssl    string
	differs    string
}

func (s signature) vector() vector {
	return vector{name: "signature-" + s.name, what: s.what, archive: pack(s.object), verdict: s.verdict, sentence: s.sentence, openssl: s.openssl, differs: s.differs}
}

const (
	missing = "signature_missing"
	invalid = "signature_invalid"
)

// signatures are about the form of the CMS object.
func signatures() (out []vector) {
	m := ordinary()
	object := m.encode()
	edit := func(change func(*message)) []byte {
		m := ordinary()
		change(&m)
		return m.encode()
	}
	inRSA := func(change func(*message)) []byte {
		m := signedBy(leafRSA, list(), intermediate)
		change(&m)
		return m.encode()
	}
	null := enc(asn1.NullRawValue)
	other := []byte("another file\n")
	for _, s := range []signature{
		{"good", "nothing is wrong", object, good, "", good, ""},
		{"good-rsa", "RSA of 2048 bits", inRSA(func(*message) {}), good, "", good, ""},
		{"good-sha384", "SHA-384", edit(func(m *message) {
			m.hash, m.digest, m.alg = crypto.SHA384, algorithm(oidSHA384), algorithm(oidECDSASHA384)
		}), good, "", good, ""},
		{"good-sha512-rsa", "SHA-512 with RSA", inRSA(func(m *message) { m.hash, m.digest = crypto.SHA512, algorithm(oidSHA512) }), good, "", good, ""},
		{"good-cades", "CAdES, with the digest of the signer's certificate among the signed attributes", edit(func(m *message) {
			m.attributes = func(a [][]byte) [][]byte { return append(a, cades(leaf)) }
		}), good, "", good, ""},
		{"good-no-signing-time", "the optional time of signing is not stated", edit(func(m *message) { m.attributes = func(a [][]byte) [][]byte { return a[:2] } }), good, "", good, ""},
		{"good-with-root", "the root is inside, too", edit(func(m *message) { m.bag = append(m.bag, root.cert.Raw) }), good, "", good, ""},
		{"good-reversed-bag", "the certificates stand from the issuer to the signer", edit(func(m *message) { slices.Reverse(m.bag) }), good, "", good, ""},
		{"good-stranger-in-bag", "certificates of people who have nothing to do with it are inside", edit(func(m *message) { m.bag = append(m.bag, stranger.cert.Raw) }), good, "", good, ""},
		{"good-two-digests-announced", "two digests are announced and one is used", edit(func(m *message) {
			m.announced = append(algorithm(oidSHA256), algorithm(oidSHA512)...)
		}), good, "", good, ""},
		{"good-crlf", "signed without -binary, so that the list's lines end in CRLF", signedBy(leaf, bytes.ReplaceAll(list(), []byte("\n"), []byte("\r\n")), intermediate).encode(), good, "", good, ""},
		{"good-16-certificates", "as many certificates as may be inside", edit(func(m *message) {
			m.bag = append(m.bag, slices.Repeat([][]byte{root.cert.Raw}, 14)...)
		}), good, "", good, ""},

		{"sha1", "the digest is SHA-1", inRSA(func(m *message) { m.hash, m.digest = crypto.SHA1, algorithm(oidSHA1, null) }),
			invalid, "weaker than SHA-256", good, itsPolicy},
		{"sha1-ecdsa", "the digest is SHA-1, signed with ECDSA", edit(func(m *message) {
			m.hash, m.digest, m.alg = crypto.SHA1, algorithm(oidSHA1), algorithm(oidECDSASHA1)
		}), invalid, "weaker than SHA-256", good, itsPolicy},
		{"sha224", "the digest is SHA-224", inRSA(func(m *message) { m.hash, m.digest = crypto.SHA224, algorithm(oidSHA224, null) }),
			invalid, "weaker than SHA-256", good, itsPolicy},
		{"digest-mismatch", "the digest is said to be SHA-384, the signature to be ECDSA with SHA-256", edit(func(m *message) { m.digest = algorithm(oidSHA384) }),
			invalid, "does not go with its digest", refused, ""},
		{"digest-unannounced", "the digest is not the one that is announced before the content", edit(func(m *message) { m.announced = algorithm(oidSHA512) }),
			invalid, "does not announce the digest", refused, ""},
		{"ecdsa-sha1-signature", "a SHA-256 digest, and a signature said to be ECDSA with SHA-1", edit(func(m *message) { m.alg = algorithm(oidECDSASHA1) }),
			invalid, "does not go with its digest", good, "openssl takes the digest from its own field and looks only at the kind of key in the other"},
		{"rsa-pss", "RSA-PSS", inRSA(func(m *message) {
			hash := algorithm(oidSHA256, null)
			m.alg = algorithm(oidRSAPSS, der(0x30, der(0xa0, hash), der(0xa1, algorithm(oidMGF1, hash)), der(0xa2, enc(32))))
			m.signature = m.signPSS
		}), invalid, "RSA-PSS or Ed25519", good, itsForms},
		{"ed25519", "Ed25519", func() []byte {
			m := signedBy(issue("signer with Ed25519", &intermediate, edKey("signer")), list(), intermediate)
			m.hash, m.digest, m.alg = crypto.SHA512, algorithm(oidSHA512), algorithm(oidEd25519)
			return m.encode()
		}(), invalid, "RSA-PSS or Ed25519", refused, ""},
		{"key-id", "the signer is named by a key identifier (-keyid)", func() []byte {
			p := issue("signer with a key identifier", &intermediate, p256("signer with a key identifier"), withKeyID)
			m := signedBy(p, list(), intermediate)
			m.byKeyID = p.cert.SubjectKeyId
			return m.encode()
		}(), invalid, "key identifier", good, itsForms},
		{"no-attributes", "no signed attributes (-noattr)", edit(func(m *message) { m.noAttributes = true }), invalid, "no signed attributes", good,
			words(itsForms, "a signature with attributes would be one without them over its own attributes")},
		{"content-type", "what is signed calls itself a time stamp (-econtent_type)", edit(func(m *message) { m.contentType = oidTSTInfo }),
			invalid, "not plain data", good, itsForms},
		{"detached", "the list is not inside", edit(func(m *message) { m.detached = true }), invalid, "detached", refused, ""},
		{"pem", "PEM instead of DER", armoured(object), invalid, "PEM", refused, ""},
		{"stream", "BER, as openssl writes it with -stream", edit(func(m *message) { m.stream = true }), invalid, "BER", good, itsForms},
		{"no-certificates", "no certificates (-nocerts)", edit(func(m *message) { m.bag = nil }), invalid, "no certificate is in", refused, ""},
		{"empty-certificates", "the set of certificates is there, and empty", edit(func(m *message) { m.bag = [][]byte{} }),
			invalid, "signer's certificate is not in", refused, ""},
		{"issuer-only", "the issuer's certificate is inside, and the signer's is not", edit(func(m *message) { m.bag = m.bag[1:] }),
			invalid, "signer's certificate is not in", refused, ""},
		{"17-certificates", "one certificate more than may be inside", edit(func(m *message) { m.bag = append(m.bag, slices.Repeat([][]byte{root.cert.Raw}, 15)...) }),
			invalid, "too many", good, "the bound is this format's own"},
		{"certificate-of-another-kind", "an attribute certificate is inside", edit(func(m *message) { m.bag = append(m.bag, der(0xa1, enc(1))) }),
			invalid, "unknown kind", good, "openssl takes the element as an attribute certificate and does not look inside"},
		{"byte-behind", "one byte stands behind the object", append(slices.Clone(object), '\n'), invalid, "bytes stand behind", good, itsRead},
		{"object-behind", "the object stands there twice", slices.Concat(object, object), invalid, "bytes stand behind", good, itsRead},
		{"cut", "the last byte is missing", object[:len(object)-1], invalid, "not strict DER", refused, ""},
		{"empty", "the signed list is empty", []byte{}, missing, "is empty", refused, ""},
		{"web-page", "a web page in the place of the object", []byte("<!DOCTYPE html><title>Please log in</title>\n"), invalid, "not a CMS object", refused, ""},
		{"bare-list", "the list itself, unsigned, in the place of the object", list(), invalid, "not a CMS object", refused, ""},
		{"certificate", "the signer's certificate in the place of the object", leaf.cert.Raw, invalid, "not a signed one", refused, ""},
		{"no-signers", "no signer at all (CVE-2020-10759)", edit(func(m *message) { m.signers = func([][]byte) [][]byte { return nil } }),
			missing, "has no signer", refused, ""},
		{"two-signers", "two good signers", edit(func(m *message) {
			m.signers = func(s [][]byte) [][]byte { return append(s, signedBy(leafRSA, list()).signerInfo()) }
			m.bag = append(m.bag, leafRSA.cert.Raw)
		}), invalid, "more than one signer", good, itsForms},
		{"two-signers-one-bad", "a good signer and one whose signature is wrong", edit(func(m *message) {
			bad := signedBy(leafRSA, list())
			bad.signature = func([]byte) []byte { return make([]byte, 256) }
			m.signers = func(s [][]byte) [][]byte { return append(s, bad.signerInfo()) }
			m.bag = append(m.bag, leafRSA.cert.Raw)
		}), invalid, "more than one signer", refused, ""},
		{"signer-twice", "one signer, twice", edit(func(m *message) { m.signers = func(s [][]byte) [][]byte { return append(s, s[0]) } }),
			invalid, "more than one signer", good, itsForms},
		{"empty-signer", "the signer is an empty sequence", edit(func(m *message) { m.signers = func([][]byte) [][]byte { return [][]byte{der(0x30)} } }),
			invalid, "RFC 5652", refused, ""},
		{"digest-of-another-file", "the signed digest is that of another file", edit(func(m *message) {
			m.attributes = func(a [][]byte) [][]byte { return [][]byte{a[0], attribute(oidMessageDigest, enc(m.sum(other))), a[2]} }
		}), invalid, "does not match", refused, ""},
		{"content-exchanged", "the list was exchanged after it was signed", edit(func(m *message) { m.content2 = list(`"1.407.417.0"`, `"1.407.999.0"`) }),
			invalid, "does not match", refused, ""},
		{"signature-of-another", "another key made the signature", edit(func(m *message) {
			m.signature = func(signed []byte) []byte { return must(stranger.key.Sign(nil, m.sum(signed), crypto.SHA256)) }
		}), invalid, "does not match", refused, ""},
		{"attributes-as-content", "signed attributes in the place of the list, with the signature that was made over them", func() []byte {
			m, forged := ordinary(), ordinary()
			signed := der(0x31, m.encodedAttributes()...)
			forged.content, forged.noAttributes = signed, true
			return forged.encode()
		}(), invalid, "no signed attributes", good, "it is a good signature over those bytes, which are no list"},
		{"attribute-twice", "the digest stands twice among the signed attributes", edit(func(m *message) {
			m.attributes = func(a [][]byte) [][]byte { return append(a, attribute(oidMessageDigest, enc(m.sum(other)))) }
		}), invalid, "stands twice", refused, ""},
		{"attribute-two-values", "the digest has two values", edit(func(m *message) {
			m.attributes = func(a [][]byte) [][]byte {
				return [][]byte{a[0], attribute(oidMessageDigest, enc(m.sum(m.content)), enc(m.sum(other))), a[2]}
			}
		}), invalid, "RFC 5652", refused, ""},
		{"attributes-unsorted", "the signed attributes are signed as they stand, which is not in DER's order", edit(func(m *message) {
			m.unsorted = true
			m.attributes = func(a [][]byte) [][]byte { return [][]byte{a[1], a[2], a[0]} }
		}), invalid, "RFC 5652", good, itsCompare},
		{"attributes-empty", "the signed attributes are there, and none is among them", edit(func(m *message) { m.attributes = func([][]byte) [][]byte { return nil } }),
			invalid, "signed content type", refused, ""},
		{"no-content-type", "no content type among the signed attributes", edit(func(m *message) { m.attributes = func(a [][]byte) [][]byte { return a[1:] } }),
			invalid, "signed content type", refused, ""},
		{"other-content-type", "another content type among the signed attributes than before the content", edit(func(m *message) {
			m.attributes = func(a [][]byte) [][]byte {
				return [][]byte{attribute(oidContentType, enc(oid(oidTSTInfo))), a[1], a[2]}
			}
		}), invalid, "signed content type", good, "openssl compares the two only where the content is not plain data"},
		{"no-message-digest", "no digest among the signed attributes", edit(func(m *message) { m.attributes = func(a [][]byte) [][]byte { return [][]byte{a[0], a[2]} } }),
			invalid, "no message digest", refused, ""},
		{"deep-indefinite", "two thousand headers of indefinite length in each other", []byte(strings.Repeat("\x30\x80", 2000)), invalid, "BER", refused, ""},
		{"deep", "33 sequences in each other, one more than may be", nested(33), invalid, "not strict DER", refused, ""},
		{"bomb", "248 bytes that a reader which bounds a child by the whole input reads for longer than the universe is old",
			append(bytes.Repeat([]byte{0x30, 6, 0x30, 2}, 58), bytes.Repeat([]byte{5, 0}, 8)...), invalid, "not strict DER", refused, ""},
		{"4097-elements", "one element more than may be, as unsigned attributes that nobody needs", padded(4097), invalid, "not strict DER", good, "the bound is this format's own"},
		{"4096-elements", "as many elements as may be", padded(4096), good, "", good, ""},
		{"long-length", "the first length has a byte more than it needs", func() []byte {
			length := len(object) - 4
			return slices.Concat([]byte{0x30, 0x83, 0, byte(length >> 8), byte(length)}, object[4:])
		}(), invalid, "not strict DER", good, itsForms},
		{"padded-identifier", "an object identifier has a byte more than it needs (found by fuzzing)", paddedIdentifier(object), invalid, "not a signed one", refused, ""},
		{"list-of-nothing", "a good signature over nothing", signedBy(leaf, []byte{}, intermediate).encode(), "list_malformed", "not a JSON object", good, allReadable},
		{"web-page-signed", "a good signature over a web page", signedBy(leaf, []byte("<html></html>"), intermediate).encode(), "list_malformed", "not a JSON object", good, allReadable},
	} {
		out = append(out, s.vector())
	}
	return out
}

func nested(depth int) []byte {
	var out []byte
	for range depth {
		out = der(0x30, out)
	}
	return out
}

// padded is a good object of exactly that many elements.
func padded(elements int) []byte {
	m := ordinary()
	with := func(n int) []byte {
		m.signers = func(s [][]byte) [][]byte {
			unsigned := attribute("1.2.3.4", slices.Repeat([][]byte{enc(asn1.NullRawValue)}, n)...)
			body := s[0][2:] // a length below 128 has one byte, and one below 256 has two
			if s[0][1] > 0x80 {
				body = s[0][2+s[0][1]&0x7f:]
			}
			return [][]byte{der(0x30, body, der(0xa1, unsigned))}
		}
		return m.encode()
	}
	return with(elements - count(with(0)))
}

// count gives the number of elements of a DER object.
func count(data []byte) (n int) {
	for len(data) > 0 {
		var v asn1.RawValue
		data = must(asn1.Unmarshal(data, &v))
		if n++; v.IsCompound {
			n += count(v.Bytes)
		}
	}
	return n
}

// paddedIdentifier puts 0x80 before a component of the first object identifier,
// and corrects the lengths around it.
func paddedIdentifier(object []byte) []byte {
	var info struct {
		Kind asn1.ObjectIdentifier
		Rest asn1.RawValue
	}
	must(asn1.Unmarshal(object, &info))
	kind := enc(info.Kind)
	return der(0x30, der(0x06, slices.Concat(kind[2:3], []byte{0x80}, kind[3:])), info.Rest.FullBytes)
}
