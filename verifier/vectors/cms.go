package main

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // some signatures are made with it
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"time"
)

// A writer of CMS objects (RFC 5652), since most of the objects in question are
// such as no signing tool makes.

// Object identifiers.
const (
	oidData          = "1.2.840.113549.1.7.1"
	oidSignedData    = "1.2.840.113549.1.7.2"
	oidContentType   = "1.2.840.113549.1.9.3"
	oidMessageDigest = "1.2.840.113549.1.9.4"
	oidSigningTime   = "1.2.840.113549.1.9.5"
	oidCertificateV2 = "1.2.840.113549.1.9.16.2.47" // of CAdES
	oidSHA1          = "1.3.14.3.2.26"
	oidSHA224        = "2.16.840.1.101.3.4.2.4"
	oidSHA256        = "2.16.840.1.101.3.4.2.1"
	oidSHA384        = "2.16.840.1.101.3.4.2.2"
	oidSHA512        = "2.16.840.1.101.3.4.2.3"
	oidRSA           = "1.2.840.113549.1.1.1"
	oidRSAPSS        = "1.2.840.113549.1.1.10"
	oidMGF1          = "1.2.840.113549.1.1.8"
	oidECDSASHA1     = "1.2.840.10045.4.1"
	oidECDSASHA256   = "1.2.840.10045.4.3.2"
	oidECDSASHA384   = "1.2.840.10045.4.3.3"
	oidECDSASHA512   = "1.2.840.10045.4.3.4"
	oidEd25519       = "1.3.101.112"
	oidTSTInfo       = "1.2.840.113549.1.9.16.1.4"
)

func oid(dotted string) asn1.ObjectIdentifier {
	var id asn1.ObjectIdentifier
	for part := range strings.SplitSeq(dotted, ".") {
		n, _ := new(big.Int).SetString(part, 10)
		id = append(id, int(n.Int64()))
	}
	return id
}

// enc is the DER form of a plain value.
func enc(v any) []byte { return must(asn1.Marshal(v)) }

// der joins parts into one element with that tag.
func der(tag byte, parts ...[]byte) []byte {
	return enc(asn1.RawValue{Class: int(tag >> 6), Tag: int(tag & 0x1f), IsCompound: tag&0x20 != 0, Bytes: bytes.Join(parts, nil)})
}

// ber is an element of indefinite length.
func ber(tag byte, parts ...[]byte) []byte {
	return slices.Concat([]byte{tag, 0x80}, bytes.Join(parts, nil), []byte{0, 0})
}

func algorithm(id string, parameters ...[]byte) []byte {
	return der(0x30, append([][]byte{enc(oid(id))}, parameters...)...)
}

func attribute(kind string, values ...[]byte) []byte {
	return der(0x30, enc(oid(kind)), der(0x31, values...))
}

// message is what an object is made from.
type message struct {
	content     []byte
	contentType string
	signer      party
	bag         [][]byte // certificates; nil: the field is not there at all
	hash        crypto.Hash
	digest, alg []byte // AlgorithmIdentifiers of the SignerInfo
	announced   []byte // instead of digest, before the content
	signedAt    time.Time
	byKeyID     []byte

	noAttributes bool
	attributes   func([][]byte) [][]byte    // changes them before they are signed
	unsorted     bool                       // they stand in the order that attributes gives
	transmitted  []byte                     // stands for the signed attributes
	signature    func(signed []byte) []byte // instead of the signer's
	signers      func([][]byte) [][]byte    // changes the SignerInfos
	content2     []byte                     // stands for the content once it is signed
	detached     bool
	stream       bool // as OpenSSL writes it with -stream
}

// signedBy is an ordinary message.
func signedBy(p party, content []byte, bag ...party) message {
	m := message{
		content: content, contentType: oidData, signer: p, hash: crypto.SHA256, bag: [][]byte{},
		digest: algorithm(oidSHA256), alg: algorithm(oidECDSASHA256), signedAt: at("2026-11-23T08:00:00Z"),
	}
	if _, ok := p.key.(*rsa.PrivateKey); ok {
		m.alg = algorithm(oidRSA, enc(asn1.NullRawValue))
	}
	for _, b := range append([]party{p}, bag...) {
		m.bag = append(m.bag, b.cert.Raw)
	}
	return m
}

// by is the message with that digest, and the algorithm that goes with it.
func (m message) by(hash crypto.Hash) message {
	m.hash = hash
	ids := map[crypto.Hash][2]string{crypto.SHA1: {oidSHA1, oidECDSASHA1}, crypto.SHA256: {oidSHA256, oidECDSASHA256},
		crypto.SHA384: {oidSHA384, oidECDSASHA384}, crypto.SHA512: {oidSHA512, oidECDSASHA512}}[hash]
	m.digest = algorithm(ids[0])
	if _, ok := m.signer.key.(*rsa.PrivateKey); !ok {
		m.alg = algorithm(ids[1])
	}
	return m
}

// ordinary is a message of the ordinary signer over the ordinary list.
func ordinary() message { return signedBy(leaf, list(), intermediate) }

func (m message) sum(data []byte) []byte {
	h := m.hash.New()
	h.Write(data)
	return h.Sum(nil)
}

func (m message) encodedAttributes() [][]byte {
	attrs := [][]byte{
		attribute(oidContentType, enc(oid(m.contentType))),
		attribute(oidMessageDigest, enc(m.sum(m.content))),
		attribute(oidSigningTime, enc(m.signedAt)),
	}
	if m.attributes != nil {
		attrs = m.attributes(attrs)
	}
	if !m.unsorted {
		slices.SortFunc(attrs, bytes.Compare)
	}
	return attrs
}

// sign signs as the ordinary algorithms of the key do.
func (m message) sign(signed []byte) []byte {
	if key, ok := m.signer.key.(ed25519.PrivateKey); ok {
		return ed25519.Sign(key, signed)
	}
	return must(m.signer.key.Sign(nil, m.sum(signed), m.hash))
}

// zeros is a source of salt that is always the same.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func (m message) signPSS(signed []byte) []byte {
	return must(rsa.SignPSS(zeros{}, m.signer.key.(*rsa.PrivateKey), m.hash, m.sum(signed), &rsa.PSSOptions{SaltLength: m.hash.Size()}))
}

func (m message) signerInfo() []byte {
	signed, transmitted := m.content, []byte(nil)
	if !m.noAttributes {
		attrs := m.encodedAttributes()
		signed, transmitted = der(0x31, attrs...), der(0xa0, attrs...)
		if m.unsorted {
			signed = slices.Concat([]byte{0x31}, transmitted[1:])
		}
	}
	if m.transmitted != nil {
		transmitted = m.transmitted
	}
	sign := m.sign
	if m.signature != nil {
		sign = m.signature
	}
	version, name := 1, der(0x30, m.signer.cert.RawIssuer, enc(m.signer.cert.SerialNumber))
	if m.byKeyID != nil {
		version, name = 3, der(0x80, m.byKeyID)
	}
	return der(0x30, enc(version), name, m.digest, transmitted, m.alg, enc(sign(signed)))
}

// encode builds the object.
func (m message) encode() []byte {
	signers := [][]byte{m.signerInfo()}
	if m.signers != nil {
		signers = m.signers(signers)
	}
	content := m.content
	if m.content2 != nil {
		content = m.content2
	}
	if m.announced == nil {
		m.announced = m.digest
	}
	version := 1
	if m.byKeyID != nil || m.contentType != oidData && m.contentType != oidIndirect {
		version = 3
	}
	var certs []byte
	if m.bag != nil {
		certs = der(0xa0, m.bag...)
	}
	rest := append([][]byte{certs}, der(0x31, signers...))
	kind, digests := enc(oid(m.contentType)), der(0x31, m.announced)
	if m.stream {
		encap := ber(0x30, kind, ber(0xa0, ber(0x24, enc(content))))
		return ber(0x30, enc(oid(oidSignedData)), ber(0xa0, ber(0x30, append([][]byte{enc(version), digests, encap}, rest...)...)))
	}
	explicit := der(0xa0, enc(content))
	if m.contentType == oidIndirect { // PKCS #7: what is signed is its body
		explicit = der(0xa0, der(0x30, content))
	}
	if m.detached {
		explicit = nil
	}
	return der(0x30, enc(oid(oidSignedData)), der(0xa0, der(0x30, append([][]byte{enc(version), digests, der(0x30, kind, explicit)}, rest...)...)))
}

// cades is the attribute that names the signer's certificate by its digest.
func cades(p party) []byte {
	sum := sha256.Sum256(p.cert.Raw)
	return attribute(oidCertificateV2, der(0x30, der(0x30, der(0x30, enc(sum[:])))))
}

func armoured(object []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CMS", Bytes: object})
}
