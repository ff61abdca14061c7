package vendorsig

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

// Who is believed: roots, pins and revocation lists, all of them the caller's.
func TestTrust(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	bare, stamped := l.sign(t, anImage().Encode(), "leaf", ""), l.sign(t, anImage().Encode(), "leaf", stampArgs)
	future := l.sign(t, anImage().Encode(), "leaf", fmt.Sprintf("%s -TSA-time %d", stampArgs, time.Now().AddDate(0, 0, 3).Unix()))
	trust := func(pins []verifier.Pin, files ...string) verifier.Trust {
		var out []verifier.TrustFile
		for i := 0; i < len(files); i += 2 {
			out = append(out, verifier.TrustFile{Name: files[i], Data: []byte(files[i+1])})
		}
		made, err := verifier.NewTrust(out, pins)
		must(t, err)
		return made
	}
	root, tsa, both := string(sigtest.PEM(l.root)), string(sigtest.PEM(l.tsaRoot)), string(sigtest.PEM(l.root, l.tsaRoot))
	pin := func(p party) []verifier.Pin { return []verifier.Pin{verifier.PinOf(p.Cert)} }
	list := func(ca party, revoked ...party) string { return string(crl(t, ca, revoked...)) }
	now := verifier.Clock{Time: time.Now()}
	untrusted := func(sentence string) want { return want{verifier.SignerUntrusted, sentence} }
	for name, row := range map[string]struct {
		file  []byte
		trust verifier.Trust
		clock verifier.Clock
		want  want
	}{
		"nobody":                           {bare, verifier.Trust{}, now, untrusted("the signer's chain ends at no root")},
		"nobody, stamped":                  {stamped, verifier.Trust{}, now, untrusted("the time stamp's chain ends at no root")},
		"no root for time":                 {stamped, trust(nil, "a.pem", root), now, untrusted("the time stamp's chain ends at no root")},
		"no root for signers":              {stamped, trust(nil, "a.pem", tsa), now, untrusted("the signer's chain ends at no root")},
		"both":                             {stamped, trust(nil, "a.pem", both), now, want{}},
		"the issuer as root":               {stamped, trust(nil, "a.pem", string(sigtest.PEM(l.inter, l.tsaRoot))), now, want{}},
		"signer pinned":                    {stamped, trust(pin(l.leaf), "a.pem", both), now, want{}},
		"issuer pinned":                    {stamped, trust(pin(l.inter), "a.pem", both), now, want{}},
		"root pinned":                      {stamped, trust(pin(l.root), "a.pem", both), now, untrusted("neither the signer nor its issuer is pinned")},
		"stamper pinned":                   {stamped, trust(pin(l.tsa), "a.pem", both), now, untrusted("neither the signer nor its issuer is pinned")},
		"signer revoked":                   {stamped, trust(nil, "a.pem", both, "a.crl", list(l.inter, l.leaf)), now, want{verifier.SignerRevoked, "the signer's certificate"}},
		"issuer revoked":                   {stamped, trust(nil, "a.pem", both, "a.crl", list(l.root, l.inter)), now, want{verifier.SignerRevoked, "the signer's certificate"}},
		"stamper revoked":                  {stamped, trust(nil, "a.pem", both, "a.crl", list(l.tsaRoot, l.tsa)), now, want{verifier.SignerRevoked, "the time stamp's certificate"}},
		"another revoked":                  {stamped, trust(nil, "a.pem", both, "a.crl", list(l.inter, l.tsa)), now, want{}},
		"stamped, years later":             {stamped, trust(nil, "a.pem", both), verifier.Clock{Time: date(2090)}, want{}},
		"not stamped, years later":         {bare, trust(nil, "a.pem", both), verifier.Clock{Time: date(2090)}, want{verifier.SignerExpired, "has expired"}},
		"stamped, before":                  {stamped, trust(nil, "a.pem", both), verifier.Clock{Time: date(2020)}, want{verifier.IssuedInFuture, "in the future"}},
		"stamped, the clock wrong":         {stamped, trust(nil, "a.pem", both), verifier.Clock{Time: date(2020), Wrong: true}, want{}},
		"of the future, clock wrong":       {future, trust(nil, "a.pem", both), verifier.Clock{Time: date(2020), Wrong: true}, want{}},
		"of the future, and it is so late": {future, trust(nil, "a.pem", both), verifier.Clock{Time: time.Now().AddDate(0, 0, 3)}, want{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := verify(row.file, nil, row.trust, row.clock)
			row.want.check(t, err)
		})
	}
}

// A certificate beside a signature is genuine where somebody who is trusted says so, in
// however many steps, and not for the name and the key that stand in it.
func TestCertificatesBeside(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	other := sigtest.Issue(t, "other root", nil, nil, sigtest.AsCA)
	again := func(of party, by *party) party {
		return sigtest.Issue(t, of.Cert.Subject.CommonName, by, of.Key, sigtest.AsCA)
	}
	kept := func(of party, by party) party {
		return sigtest.Issue(t, of.Cert.Subject.CommonName, &by, of.Key, sigtest.AsCA, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: make([]byte, 600_000)}}
		})
	}
	trust := func(roots ...party) verifier.Trust {
		made, err := verifier.NewTrust([]verifier.TrustFile{{Name: "a.pem", Data: sigtest.PEM(append(roots, l.tsaRoot)...)}}, nil)
		must(t, err)
		return made
	}
	notGenuine := want{verifier.SignatureInvalid, "of which nobody who is trusted says that it is genuine"}
	for name, row := range map[string]struct {
		beside []party
		trust  verifier.Trust
		want   want
	}{
		"issuer":                                   {[]party{l.inter}, trust(l.root), want{}},
		"issuer, and nobody is trusted":            {[]party{l.inter}, verifier.Trust{}, want{verifier.SignerUntrusted, "no root"}},
		"issuer twice, and root":                   {[]party{l.inter, l.inter, l.root}, trust(l.root), want{}},
		"root above the issuer that is trusted":    {[]party{l.inter, l.root}, trust(l.inter), want{}},
		"issuer certified by another, too":         {[]party{l.inter, again(l.inter, &other)}, trust(l.root), notGenuine},
		"the same, and that is trusted":            {[]party{l.inter, again(l.inter, &other)}, trust(l.root, other), want{}},
		"the same, with its root":                  {[]party{l.inter, again(l.inter, &other), other}, trust(l.root), notGenuine},
		"root certified by another":                {[]party{l.inter, again(l.root, &other)}, trust(l.root), notGenuine},
		"root certified by another who is trusted": {[]party{l.inter, again(l.root, &other)}, trust(other), want{}},
		"root made anew":                           {[]party{l.inter, again(l.root, nil)}, trust(l.root), want{}},
		"half a megabyte by a stranger":            {[]party{l.inter, kept(l.inter, other)}, trust(l.root), notGenuine},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l.leaf.Write(t, dir, "leaf", row.beside...)
			file := (&lab{dir: dir}).sign(t, anImage().Encode(), "leaf", "")
			s, err := verify(file, nil, row.trust, clock())
			row.want.check(t, err)
			if (err == nil) != (s.Signer.Chain != nil) {
				t.Errorf("%v, and a chain of %d", err, len(s.Signer.Chain))
			}
		})
	}
}

// A pin by subject is of all that the subject says, and so is what a report shows.
func TestPinWholeSubject(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	common := func(name string) pkix.RelativeDistinguishedNameSET {
		return pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: name}}
	}
	sigtest.Issue(t, "two", &l.inter, nil, func(c *x509.Certificate) {
		raw, err := asn1.Marshal(pkix.RDNSequence{common("Somebody Else"), common("Vendor")})
		must(t, err)
		c.RawSubject = raw
	}).Write(t, l.dir, "two", l.inter)
	file := l.sign(t, anImage().Encode(), "two", stampArgs)
	for subject, good := range map[string]bool{"CN=Vendor": false, "CN=Somebody Else": false, "CN=Somebody Else,CN=Vendor": false, "CN=Vendor,CN=Somebody Else": true} {
		pin, err := ParsePin(verifier.PinOf(l.inter.Cert).String() + ":subject:" + subject)
		must(t, err)
		e, err := Policy{l.trust(t), []Pin{pin}}.examine(Named{verifier.File{Name: "mpavbase.vdm", Size: int64(len(file))}, bytes.NewReader(file)}, Named{}, clock())
		must(t, err)
		if (e.Err == nil) != good || e.Signature.Signer.Subject != "CN=Vendor,CN=Somebody Else" {
			t.Errorf("%s: %v, and %s is shown", subject, e.Err, e.Signature.Signer.Subject)
		}
	}
}

// The documentation names a command that shows a subject as pins have it, and for which
// subjects it does not.
func TestSubject(t *testing.T) {
	t.Parallel()
	needs(t, "openssl")
	type part = pkix.AttributeTypeAndValue
	of := func(last int, value string) pkix.RelativeDistinguishedNameSET {
		return pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{2, 5, 4, last}, Value: value}}
	}
	const cn, serial, country, locality, state, street, org, unit, business, zip = 3, 5, 6, 7, 8, 9, 10, 11, 15, 17
	for what, row := range map[string]struct {
		name   pkix.RDNSequence
		shown  string
		theirs string // what openssl shows, where that is another
	}{
		"the usual":          {pkix.RDNSequence{of(country, "US"), of(state, "Washington"), of(locality, "Redmond"), of(org, "Vendor Corporation"), of(cn, "Vendor")}, "CN=Vendor,O=Vendor Corporation,L=Redmond,ST=Washington,C=US", ""},
		"another order":      {pkix.RDNSequence{of(cn, "Vendor"), of(org, "Vendor"), of(country, "US")}, "C=US,O=Vendor,CN=Vendor", ""},
		"two units":          {pkix.RDNSequence{of(org, "Vendor"), of(unit, "A"), of(unit, "B"), of(cn, "Vendor")}, "CN=Vendor,OU=B,OU=A,O=Vendor", ""},
		"two names":          {pkix.RDNSequence{of(cn, "Somebody Else"), of(cn, "Vendor")}, "CN=Vendor,CN=Somebody Else", ""},
		"parts that are one": {pkix.RDNSequence{{part{Type: asn1.ObjectIdentifier{2, 5, 4, cn}, Value: "Vendor"}, part{Type: asn1.ObjectIdentifier{2, 5, 4, unit}, Value: "A"}}}, "OU=A+CN=Vendor", "CN=Vendor+OU=A"},
		"signs of the form":  {pkix.RDNSequence{of(org, `Vendor, Inc. <"A+B;C\D">`), of(unit, " #x "), of(cn, "#Vendor=1")}, `CN=\#Vendor=1,OU=\ #x\ ,O=Vendor\, Inc. \<\"A\+B\;C\\D\"\>`, ""},
		"no ASCII":           {pkix.RDNSequence{of(org, "Anbieter Größe"), of(cn, "供應商")}, "CN=供應商,O=Anbieter Größe", ""},
		"a number": {pkix.RDNSequence{of(serial, "7"), of(street, "A 1"), of(zip, "98052"), of(business, "B"), of(cn, "Vendor")},
			"CN=Vendor,2.5.4.15=#130142,POSTALCODE=98052,STREET=A 1,SERIALNUMBER=7", "CN=Vendor,businessCategory=B,postalCode=98052,street=A 1,serialNumber=7"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c := sigtest.Issue(t, "x", nil, nil, func(c *x509.Certificate) {
				raw, err := asn1.Marshal(row.name)
				must(t, err)
				c.RawSubject = raw
			}).Cert
			if got := nameText(c.RawSubject); got != row.shown {
				t.Errorf("%q, want %q", got, row.shown)
			}
			path := filepath.Join(t.TempDir(), "c.der")
			must(t, os.WriteFile(path, c.Raw, 0o600))
			out, err := (&lab{}).run(t, "openssl", "x509", "-inform", "DER", "-in", path, "-noout", "-subject", "-nameopt", "RFC2253,-esc_msb")
			must(t, err)
			if got := strings.TrimPrefix(strings.TrimSuffix(string(out), "\n"), "subject="); got != cmp.Or(row.theirs, row.shown) {
				t.Errorf("openssl shows %q, want %q", got, cmp.Or(row.theirs, row.shown))
			}
		})
	}
	if got := nameText([]byte{0x30, 1, 0}); got != "" {
		t.Errorf("what is no name is shown as %s", got)
	}
}

// The vendor states when it signed where the signature says so, and nothing else counts
// as that.
func TestSigningTime(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(t, "engine", []byte("\x7fELF"))
	l.write(t, "inter.pem", sigtest.PEM(l.inter))
	_, err := l.run(t, "openssl", "cms", "-sign", "-binary", "-outform", "DER", "-md", "sha256", "-in", "engine", "-signer", "leaf.pem", "-inkey", "leaf.key", "-certfile", "inter.pem", "-out", "sig")
	must(t, err)
	sig, err := os.ReadFile(l.path("sig"))
	must(t, err)
	s, err := verify([]byte("\x7fELF"), sig, l.trust(t), clock())
	must(t, err)
	if since := time.Since(s.SigningTime); since < -time.Minute || since > time.Hour || s.TimeStamp != nil {
		t.Errorf("signed %s ago, stamped: %v", since, s.TimeStamp)
	}
}

// No byte of a file can be another, but those of the checksum, and four numbers of
// versions in the signature, by which nothing is decided. A seventh of them is tried here,
// and the rest by FuzzPE.
func TestChangedByte(t *testing.T) {
	t.Parallel()
	trust := fixtureTrust(t)
	file := fixture(t, "signed.vdm")
	at, _, _ := place(file)
	first, err := verify(file, nil, trust, fixtureClock())
	must(t, err)
	accepted := 0 // in the signature
	const step = 7
	for i := 0; i < len(file); i += step {
		changed := bytes.Clone(file)
		changed[i] ^= 1 << (i % 8)
		s, err := verify(changed, nil, trust, fixtureClock())
		if err != nil {
			continue
		}
		if checksum := 0x80 + 24 + 64; i < at && (i < checksum || i >= checksum+4) {
			t.Errorf("byte %d of the file was changed", i)
		}
		if i >= at {
			accepted++
		}
		if !s.Signer.Certificate.Equal(first.Signer.Certificate) || !s.TimeStamp.Time.Equal(first.TimeStamp.Time) || !s.TimeStamp.Signer.Certificate.Equal(first.TimeStamp.Signer.Certificate) {
			t.Errorf("byte %d was changed, and with it who signed: %+v", i, s)
		}
	}
	if accepted > 4 {
		t.Errorf("%d bytes of the signature were changed", accepted)
	}
}

// No part of a file is a file.
func TestEveryCut(t *testing.T) {
	t.Parallel()
	trust, file := fixtureTrust(t), fixture(t, "signed.vdm")
	for n := range file {
		if _, err := verify(file[:n], nil, trust, fixtureClock()); err == nil {
			t.Fatalf("%d of %d bytes were accepted", n, len(file))
		}
	}
}

// counted counts the bytes that are read.
type counted struct {
	io.ReaderAt
	read int64
}

func (c *counted) ReadAt(p []byte, at int64) (n int, err error) {
	n, err = c.ReaderAt.ReadAt(p, at)
	c.read += int64(n)
	return n, err
}

// A large file costs no more memory than a small one, and is read once but for its
// headers, so that its digest is what takes the time. BenchmarkLarge measures it.
func TestLarge(t *testing.T) {
	l := newLab(t)
	m := anImage()
	m.Text = bytes.Repeat([]byte("definitions, many of them"), 4<<20/25*8)
	file := l.sign(t, m.Encode(), "leaf", stampArgs)
	path := filepath.Join(l.dir, "large.vdm")
	must(t, os.WriteFile(path, file, 0o600))
	size := int64(len(file))
	file = nil
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	trust := l.trust(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	content := &counted{ReaderAt: f}
	_, err = Verify(File{content, size, nil}, trust, clock())
	must(t, err)
	_, err = ReadResource(content, size)
	must(t, err)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("%d bytes for a file of %d", used, size)
	}
	if more := content.read - size; more > 3*maxHeaders {
		t.Errorf("%d bytes were read of a file of %d", content.read, size)
	}
}

// Signatures beside a file, made as people make them.
func TestDetached(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	file := []byte("\x7fELF an engine\nof some lines\n")
	l.write(t, "engine", file)
	l.write(t, "other", []byte("another"))
	sigtest.Issue(t, "rsa", &l.inter, rsaKey(t, 3072)).Write(t, l.dir, "rsa", l.inter)
	l.write(t, "inter.pem", sigtest.PEM(l.inter))
	sign := func(signer, args string) []byte {
		t.Helper()
		all := append([]string{"cms", "-sign", "-in", "engine", "-signer", signer + ".pem", "-inkey", signer + ".key", "-certfile", "inter.pem", "-out", "sig"}, strings.Fields(args)...)
		_, err := l.run(t, "openssl", all...)
		must(t, err)
		sig, err := os.ReadFile(l.path("sig"))
		must(t, err)
		return sig
	}
	_, err := l.run(t, "openssl", "smime", "-sign", "-binary", "-outform", "PEM", "-md", "sha256", "-in", "engine", "-signer", "leaf.pem", "-inkey", "leaf.key", "-certfile", "inter.pem", "-out", "smime")
	must(t, err)
	smime, err := os.ReadFile(l.path("smime"))
	must(t, err)
	const der, usual = "-binary -outform DER", "-binary -outform DER -md sha256"
	sig := func(sentence string) want { return want{verifier.SignatureInvalid, sentence} }
	for name, row := range map[string]struct {
		sig  []byte
		want want
	}{
		"DER":           {sign("leaf", usual), want{}},
		"PEM":           {sign("leaf", "-binary -outform PEM -md sha256"), want{}},
		"PEM, smime":    {smime, want{}},
		"RSA":           {sign("rsa", usual), want{}},
		"RSA, SHA-512":  {sign("rsa", der+" -md sha512"), want{}},
		"SHA-384":       {sign("leaf", der+" -md sha384"), want{}},
		"CAdES":         {sign("leaf", usual+" -cades"), want{}},
		"SHA-1":         {sign("rsa", der+" -md sha1"), sig("weaker than SHA-256")},
		"no attributes": {sign("rsa", usual+" -noattr"), sig("no signed attributes")},
		"RSA-PSS":       {sign("rsa", usual+" -keyopt rsa_padding_mode:pss"), sig("RSA-PSS")},
		"BER":           {sign("leaf", usual+" -stream"), sig("BER form")},
		"with content":  {sign("leaf", usual+" -nodetach"), sig("content of its own")},
		"as text":       {sign("leaf", "-outform DER -md sha256"), want{verifier.ContentMismatch, "not what was signed"}},
		"two signers":   {sign("leaf", usual+" -signer rsa.pem -inkey rsa.key"), sig("more than one signer")},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := verify(file, row.sig, l.trust(t), clock())
			row.want.check(t, err)
			if s.Kind != Detached {
				t.Errorf("kind %s", s.Kind)
			}
			if err == nil && (s.Signer.Chain == nil || s.Signer.Issuer != "CN=vendor issuer") {
				t.Errorf("%+v", s)
			}
		})
	}
}
