package verifier

import (
	"archive/zip"
	"bytes"
	"encoding/asn1"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"testing"

	"mdatp-offline-agent/verifier/internal/cms"
)

// vectorArchives gives the archives of the corpus of hostile packages, to begin
// with where the known ends.
func vectorArchives(t testing.TB) (archives [][]byte) {
	t.Helper()
	paths, err := filepath.Glob("../testdata/vectors/*.zip")
	must(t, err)
	if len(paths) < 300 {
		t.Fatalf("only %d archives lie in testdata/vectors", len(paths))
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		must(t, err)
		archives = append(archives, data)
	}
	return archives
}

// vectorLists gives the signed lists inside of them.
func vectorLists(t testing.TB) (objects [][]byte) {
	t.Helper()
	for _, data := range vectorArchives(t) {
		a, err := readZip(data)
		if err != nil {
			continue
		}
		e, err := a.SignedList()
		if err != nil {
			continue
		}
		if object, err := readEntry(data, e); err == nil {
			objects = append(objects, object)
		}
	}
	if len(objects) < 150 {
		t.Fatalf("only %d of the archives have a list that can be read", len(objects))
	}
	return objects
}

// What passes the walk is one element that the standard library reads, too, to
// its last byte and no further.
func FuzzDER(f *testing.F) {
	for _, object := range vectorLists(f) {
		f.Add(object)
	}
	f.Add(nested(32))
	f.Add(der(0x30, bytes.Repeat([]byte{5, 0}, cms.MaxElements-1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		err := cms.CheckDER(data)
		known := errors.Is(err, cms.ErrIndefinite) || errors.Is(err, cms.ErrDER) || errors.Is(err, cms.ErrBounds) || errors.Is(err, cms.ErrTrailing)
		if err != nil {
			if !known {
				t.Fatalf("an error that nobody knows: %v", err)
			}
			return
		}
		var whole asn1.RawValue
		if rest, err := asn1.Unmarshal(data, &whole); err != nil || len(rest) > 0 || !bytes.Equal(whole.FullBytes, data) {
			t.Fatalf("the walk takes it for one element, and encoding/asn1 does not: %d bytes left, %v", len(rest), err)
		}
	})
}

// A file of the trust directory is understood as a whole or refused by its name,
// and whoever is trusted by it is a CA. Nobody's list becomes anybody's by it.
func FuzzTrustFile(f *testing.F) {
	paths, err := filepath.Glob("../testdata/vectors/trust/*")
	must(f, err)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		must(f, err)
		f.Add(data, filepath.Ext(path) == ".crl")
	}
	p, stranger := newPKI(f), newPKI(f)
	object := p.message(f).encode(f)
	f.Add(p.root.pem(), false)
	f.Add(append(p.root.pem(), stranger.inter.pem()...), false)
	f.Add(crlBy(f, p.inter, []party{p.leaf}), true)
	f.Add(crlPEM(crlBy(f, p.root, []party{p.inter})), true)
	f.Add(p.leaf.cert.Raw, true)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), false)
	f.Fuzz(func(t *testing.T, data []byte, isCRL bool) {
		file := TrustFile{"fuzzed.pem", data}
		if isCRL {
			file.Name = "fuzzed.crl"
		}
		trust, err := NewTrust([]TrustFile{{"stranger.pem", stranger.root.pem()}, file}, nil)
		if err != nil {
			want{code: TrustDirInvalid, sentence: "fuzzed"}.check(t, err)
			return
		}
		for _, c := range trust.Roots() {
			if !c.IsCA {
				t.Fatal("somebody is trusted who is no CA")
			}
		}
		trust.Stale(soon)
		// A file that is understood can be kept, and says the same out of the memory.
		lists, _ := trust.ToRecall(nil)
		past, err := NewTrust(withRoot(p.root), nil)
		must(t, err)
		past = recall(t, past, lists)
		past.Older()
		past.Removed()
		if again, _ := past.ToRecall(nil); len(again) != len(lists) {
			t.Fatalf("%d lists were kept, and %d come back", len(lists), len(again))
		}
		s, err := trust.Verify(object, soon)
		trusted := bytes.Contains(data, p.root.pem()) || bytes.Contains(data, p.inter.pem())
		if err == nil && !trusted && !includes(trust, p) {
			t.Fatalf("a file that is neither the root nor the intermediate made them trusted: %+v", s)
		}
	})
}

// includes tells whether somebody above the signer is a root, in whatever form
// the file had it.
func includes(trust Trust, p pki) bool {
	for _, c := range trust.Roots() {
		if c.Equal(p.root.cert) || c.Equal(p.inter.cert) {
			return true
		}
	}
	return false
}

// Whatever an entry's compressed bytes are, reading ends, gives no more than the
// directory says, and what is read as whole is what archive/zip reads.
func FuzzInflate(f *testing.F) {
	for _, data := range []string{"", "x", "the quick brown fox, the quick brown fox"} {
		f.Add(file("a", data).compressed(), uint32(len(data)), true)
		f.Add([]byte(data), uint32(len(data)), false)
	}
	for _, data := range vectorArchives(f) {
		a, err := readZip(data)
		if err != nil {
			continue
		}
		for _, e := range a.Entries {
			if e.method == methodDeflated {
				f.Add(data[e.End-e.Compressed:e.End], uint32(e.Size), true)
			}
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, size uint32, deflated bool) {
		const most = 1 << 20 // a megabyte shows whatever a gigabyte would
		if size > most {
			return
		}
		p := part{name: "a", raw: raw, attributes: 0o100644 << 16}
		if deflated {
			p.method = methodDeflated
		}
		setSize := func(at int) func([]byte) {
			return func(h []byte) { copy(h[at:], []byte{byte(size), byte(size >> 8), byte(size >> 16), byte(size >> 24)}) }
		}
		p.local, p.dir = setSize(22), setSize(24)
		data := buildZip(nil, p)
		a, err := readZip(data)
		if err != nil {
			return
		}
		got, err := readEntry(data, a.Entries[0])
		if int64(len(got)) > int64(size) {
			t.Fatalf("%d bytes came of %d", len(got), size)
		}
		var r *Refusal
		if err != nil {
			if !errors.As(err, &r) {
				t.Fatalf("not a refusal: %v", err)
			}
			return
		}
		z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		must(t, err)
		z.File[0].CRC32 = crc32.ChecksumIEEE(got) // which is not ours to check
		theirs, err := z.File[0].Open()
		must(t, err)
		content, err := io.ReadAll(theirs)
		if err != nil || !bytes.Equal(content, got) {
			t.Fatalf("read as %d bytes, and by archive/zip as %d, %v", len(got), len(content), err)
		}
	})
}
