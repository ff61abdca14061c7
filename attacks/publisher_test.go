package attacks_test

import (
	"archive/zip"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"compress/flate"

	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
)

const day = 24 * time.Hour

// A party is somebody with a certificate and its key.
type party struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func (p party) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})
}

func (p party) keyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// A publisher has a chain of certificates, of which the first signs.
type publisher struct {
	t                 testing.TB
	now               time.Time
	root, inter, leaf party
}

// newPublisher makes a publisher, and an intermediate and a signer that are in
// order at now.
func newPublisher(t testing.TB, now time.Time) publisher {
	t.Helper()
	p := publisher{t: t, now: now}
	p.root = p.issue("root", nil, aCA)
	p.inter = p.issue("intermediate", &p.root, aCA)
	p.leaf = p.issue("signer", &p.inter)
	return p
}

// issue makes a certificate for code signing, valid from two months ago for a
// year. Who has no issuer signs itself. Edits say what is unusual.
func (p publisher) issue(name string, issuer *party, edits ...func(*x509.Certificate)) party {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p.must(err)
	return p.certify(name, key, issuer, edits...)
}

// certify is issue for a key that there is already.
func (p publisher) certify(name string, key crypto.Signer, issuer *party, edits ...func(*x509.Certificate)) party {
	p.t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	p.must(err)
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true,
		NotBefore: p.now.AddDate(0, -2, 0), NotAfter: p.now.AddDate(0, 10, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	for _, edit := range edits {
		edit(template)
	}
	signer := party{template, key}
	if issuer != nil {
		signer = *issuer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, key.Public(), signer.key)
	p.must(err)
	cert, err := x509.ParseCertificate(der)
	p.must(err)
	return party{cert, key}
}

func (p publisher) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// aCA makes a template that of a CA, valid for twenty years.
func aCA(c *x509.Certificate) {
	c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
	c.NotBefore, c.NotAfter = c.NotBefore.AddDate(-10, 0, 0), c.NotAfter.AddDate(10, 0, 0)
}

// valid sets the time in which a certificate is valid.
func valid(from, to time.Time) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, to }
}

// revoke gives a list of the issuer that revokes somebody from now on.
func (p publisher) revoke(issuer, whom party) []byte {
	p.t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: p.now.Add(-time.Hour), NextUpdate: p.now.Add(7 * day),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: whom.cert.SerialNumber, RevocationTime: p.now.Add(-time.Hour)}}}, issuer.cert, issuer.key)
	p.must(err)
	return der
}

// by gives what signs for somebody: its certificate and those above it.
func by(who party, above ...party) mirror.Signer {
	s := mirror.Signer{Key: who.key, Leaf: who.cert}
	for _, p := range above {
		s.Intermediates = append(s.Intermediates, p.cert)
	}
	return s
}

// A pack is a package to publish. It is made in order; who attacks changes it.
type pack struct {
	list    verifier.List
	files   map[string]string
	signer  mirror.Signer
	json    func(list []byte) []byte   // changes the list before it is signed
	object  func(signed []byte) []byte // changes the signed list
	entries []entry                    // instead of the files, what the archive holds
	bare    bool                       // the archive has no list
	deflate bool
}

// An entry is a member of an archive.
type entry struct {
	name, content string
	size          int64 // as the directory has it; zero: that of the content
}

// pack is the package of version 1.407.n.0, released and issued two hours ago and
// n seconds later, with two files of which one is as large as its content needs.
func (m *machine) pack(n uint32) pack {
	issued := m.now.Add(-2*time.Hour + time.Duration(n)*time.Second)
	return pack{
		list: verifier.List{Product: "mdatp", Platform: "linux", Arch: arch(), Rings: []string{"production"},
			Engine: verifier.Version{1, 1, 24080, 9}, Definition: verifier.Version{1, 407, n, 0}, Released: issued, Issued: issued, Expires: issued.Add(14 * day)},
		files:  map[string]string{"base.vdm": strings.Repeat("base ", 20_000), "delta.vdm": fmt.Sprintf("delta %d", n)},
		signer: by(m.pub.leaf, m.pub.inter, m.pub.root),
	}
}

// large is pack(n) with files of which none is that of another version, and of
// which the last but one takes many packets.
func (m *machine) large(n uint32) pack {
	p := m.pack(n)
	p.files = map[string]string{"a.vdm": strings.Repeat(fmt.Sprintf("a%d ", n), 20_000), "base.vdm": strings.Repeat(fmt.Sprintf("%06d ", n), 650_000), "delta.vdm": strings.Repeat(fmt.Sprintf("d%d ", n), 20_000)}
	return p
}

func (p pack) version() string { return p.list.Definition.String() }

// with changes a pack's list.
func (p pack) with(edit func(*verifier.List)) pack {
	edit(&p.list)
	return p
}

// dated changes all times of a pack at once.
func (p pack) dated(issued time.Time) pack {
	p.list.Released, p.list.Issued, p.list.Expires = issued, issued, issued.Add(14*day)
	return p
}

// replaceText changes a text in a list, which must be there.
func replaceText(from, to string) func([]byte) []byte {
	return func(list []byte) []byte {
		if !bytes.Contains(list, []byte(from)) {
			panic("the list has no " + from) // a fault of the test itself
		}
		return bytes.Replace(list, []byte(from), []byte(to), 1)
	}
}

// names are the files' names, sorted.
func (p pack) names() []string { return slices.Sorted(maps.Keys(p.files)) }

// sign gives the signed list.
func (m *machine) sign(p pack) []byte {
	m.Helper()
	list := p.list
	list.Files = nil
	for _, name := range p.names() {
		list.Files = append(list.Files, verifier.File{Name: name, Size: int64(len(p.files[name])), SHA256: sha256.Sum256([]byte(p.files[name]))})
	}
	data, err := verifier.MarshalList(&list)
	m.must(err)
	if p.json != nil {
		data = p.json(data)
	}
	object, err := p.signer.Sign(data)
	m.must(err)
	if p.object != nil {
		object = p.object(object)
	}
	return object
}

// signed signs a pack once and for all, so that each archive of it is the same.
func (m *machine) signed(p pack) pack {
	m.Helper()
	object := m.sign(p)
	p.object = func([]byte) []byte { return object }
	return p
}

// alike signs packs so that their archives have one size, whatever the lengths of
// signatures: as many versions of the same files have.
func (m *machine) alike(packs ...pack) []pack {
	m.Helper()
	size := len(m.sign(packs[0]))
	for i, p := range packs {
		object := m.sign(p)
		for len(object) != size {
			object = m.sign(p)
		}
		packs[i].object = func([]byte) []byte { return object }
	}
	return packs
}

// archive gives the bytes of a package.
func (m *machine) archive(p pack) []byte {
	m.Helper()
	entries := slices.Clone(p.entries)
	if entries == nil {
		for _, name := range p.names() {
			entries = append(entries, entry{name: name, content: p.files[name]})
		}
	}
	method := zip.Store
	if p.deflate {
		method = zip.Deflate
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, e := range entries {
		m.add(z, e, method)
	}
	if !p.bare {
		m.add(z, entry{name: verifier.ListEntry, content: string(m.sign(p))}, zip.Store)
	}
	m.must(z.Close())
	return out.Bytes()
}

// add adds an entry without a data descriptor, which packages may not have.
func (m *machine) add(z *zip.Writer, e entry, method uint16) {
	m.Helper()
	data := []byte(e.content)
	h := &zip.FileHeader{Name: e.name, CRC32: crc32.ChecksumIEEE(data), Method: method, UncompressedSize64: uint64(len(data))}
	if e.size != 0 {
		h.UncompressedSize64 = uint64(e.size)
	}
	if method == zip.Deflate {
		var packed bytes.Buffer
		w, err := flate.NewWriter(&packed, flate.BestSpeed)
		m.must(err)
		_, err = w.Write(data)
		m.must(err)
		m.must(w.Close())
		data = packed.Bytes()
	}
	h.CompressedSize64 = uint64(len(data))
	w, err := z.CreateRaw(h)
	m.must(err)
	_, err = w.Write(data)
	m.must(err)
}
