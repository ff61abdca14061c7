package attacks_test

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"os/exec"
	"path/filepath"

	"mdatp-offline-agent/mirror"
)

// Row 1, arbitrary install: who owns the mirror, and no key, publishes a package
// of their own.
func arbitraryInstall() []attack {
	row := func(name, does, code, says string, edit func(*machine, *pack)) attack {
		return attack{row: 1, name: name, does: does, code: code, exit: badData, says: says, static: true, mirror: func(m *machine) {
			p := m.pack(418)
			edit(m, &p)
			m.site.put("updates.zip", m.archive(p))
		}}
	}
	signer := func(name, does, code, says string, who func(publisher) mirror.Signer) attack {
		return row(name, does, code, says, func(m *machine, p *pack) { p.signer = who(m.pub) })
	}
	const invalid, untrusted = "signature_invalid", "signer_untrusted"
	return []attack{
		row("unsigned", "a package without a signed list, and nothing beside it", "signature_missing", "no signed list", func(_ *machine, p *pack) { p.bare = true }),
		signer("self-signed", "signed by a certificate that signed itself", untrusted, "", func(p publisher) mirror.Signer { return by(p.issue("self", nil)) }),
		signer("other-root", "signed by a signer of another root, with the names of the right ones", untrusted, "", func(p publisher) mirror.Signer {
			other := newPublisher(p.t, p.now)
			return by(other.leaf, other.inter, other.root)
		}),
		row("vendor-chain", "signed by a signer whom a vendor's root certified, which is trusted for the vendor's own signatures alone", untrusted, "",
			func(m *machine, p *pack) {
				vendor := newPublisher(m, m.now)
				m.trust(filepath.Join("vendor", "root.pem"), vendor.root.pem())
				p.signer = by(vendor.leaf, vendor.inter, vendor.root)
			}),
		signer("system-chain", "signed by a signer with a certificate for web servers, as any public authority issues", untrusted, "", func(p publisher) mirror.Signer {
			return by(p.issue("web", &p.inter, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), p.inter)
		}),
		signer("no-usage", "signed by a signer whose certificate names no usage at all", untrusted, "", func(p publisher) mirror.Signer {
			return by(p.issue("any", &p.inter, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), p.inter)
		}),
		signer("root-signs", "signed by the trusted root itself", untrusted, "", func(p publisher) mirror.Signer { return by(p.root) }),
		signer("intermediate-signs", "signed by the intermediate itself", untrusted, "", func(p publisher) mirror.Signer { return by(p.inter, p.root) }),
		signer("leaf-issues", "signed by a certificate that the signer issued, who is no authority", untrusted, "", func(p publisher) mirror.Signer {
			return by(p.issue("below", &p.leaf), p.leaf, p.inter)
		}),
		row("zero-signers", "the list of the publisher, in an object that nobody signed", "signature_missing", "no signer", func(_ *machine, p *pack) { p.object = withoutSigners }),
		row("no-certificates", "a good signature without the certificates it was made with", invalid, "", func(_ *machine, p *pack) { p.object = withoutCertificates }),
		row("other-digest", "the signature of another list, whose digest is among what was signed", invalid, "", func(_ *machine, p *pack) {
			p.object = func(signed []byte) []byte {
				return bytes.Replace(signed, []byte("1.407.418.0"), []byte("1.407.499.0"), 1)
			}
		}),
		row("detached-signature", "a detached signature of another file by the right signer", invalid, "", func(m *machine, p *pack) {
			p.object = func([]byte) []byte { return m.detached("another file") }
		}),
		row("swapped-signature", "the signed list of another package, which was never published", "content_mismatch", "", func(m *machine, p *pack) {
			other := m.pack(419)
			other.files = map[string]string{"other.vdm": "other"}
			p.object = func([]byte) []byte { return m.sign(other) }
		}),
		{row: 1, name: "sidecar-of-another", does: "an unsigned package, with the signed list of another one beside it", code: "content_mismatch", exit: badData, static: true,
			mirror: func(m *machine) {
				p, other := m.pack(418), m.pack(419)
				p.bare = true
				other.files = map[string]string{"other.vdm": "other"}
				m.site.put("updates.zip", m.archive(p))
				m.site.put("updates.zip.p7m", m.sign(other))
			}},
		{row: 1, name: "good-sidecar-bad-list", does: "a package that somebody else signed, with a good signed list beside it", code: untrusted, exit: badData, static: true,
			mirror: func(m *machine) {
				p := m.pack(418)
				m.site.put("updates.zip.p7m", m.sign(p))
				p.signer = by(m.pub.issue("self", nil))
				m.site.put("updates.zip", m.archive(p))
			}},
		{row: 1, name: "captive-portal", does: "a page of HTML in place of the package", code: "not_a_package", exit: badData, static: true,
			mirror: func(m *machine) { m.site.put("updates.zip", []byte("<!DOCTYPE html><title>Please log in</title>")) }},
		row("nested-headers", "a signed list of nested headers without lengths, on which lenient parsers overflow", invalid, "", func(_ *machine, p *pack) {
			p.object = func([]byte) []byte { return bytes.Repeat([]byte{0x30, 0x80}, 500) }
		}),
		row("other-bytes", "the published package, with one byte of a file changed", "content_mismatch", "", func(_ *machine, p *pack) {
			p.entries = []entry{{name: "base.vdm", content: p.files["base.vdm"][1:] + "!"}, {name: "delta.vdm", content: p.files["delta.vdm"][1:] + "!"}}
		}),
	}
}

// detached is a detached signature of a text by the publisher, made by OpenSSL.
func (m *machine) detached(text string) []byte {
	m.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		m.Skip("SKIPPED: openssl is missing; get it with: apt-get install openssl")
	}
	dir := m.TempDir()
	cert, key := filepath.Join(dir, "leaf.pem"), filepath.Join(dir, "leaf.key")
	m.write(cert, m.pub.leaf.pem())
	m.write(key, m.pub.leaf.keyPEM(m))
	cmd := exec.Command(path, "cms", "-sign", "-binary", "-nosmimecap", "-outform", "DER", "-md", "sha256", "-signer", cert, "-inkey", key)
	cmd.Stdin = bytes.NewReader([]byte(text))
	out, err := cmd.Output()
	m.must(err)
	return out
}

// contentInfo is what a signed list is: a SEQUENCE of several parts in a SEQUENCE.
type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"explicit,tag:0"`
}

// reassemble takes a signed list apart and puts it together again without some
// of it. What it is handed is always whole, so an error is the test's own fault.
func reassemble(signed []byte, edit func(parts [][]byte) [][]byte) []byte {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var info contentInfo
	_, err := asn1.Unmarshal(signed, &info)
	must(err)
	var data asn1.RawValue
	_, err = asn1.Unmarshal(info.Content.Bytes, &data)
	must(err)
	var parts [][]byte
	for rest := data.Bytes; len(rest) > 0; {
		var part asn1.RawValue
		rest, err = asn1.Unmarshal(rest, &part)
		must(err)
		parts = append(parts, part.FullBytes)
	}
	inner, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: bytes.Join(edit(parts), nil)})
	must(err)
	outer, err := asn1.Marshal(struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue
	}{info.Type, asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: inner}})
	must(err)
	return outer
}

// withoutSigners leaves an empty set of signers.
func withoutSigners(signed []byte) []byte {
	return reassemble(signed, func(parts [][]byte) [][]byte { return append(parts[:len(parts)-1], []byte{0x31, 0}) })
}

// withoutCertificates leaves out the optional third but last part.
func withoutCertificates(signed []byte) []byte {
	return reassemble(signed, func(parts [][]byte) [][]byte { return append(parts[:3], parts[4:]...) })
}
