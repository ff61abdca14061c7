package verifier

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

const text = "the quick brown fox, the quick brown fox, the quick brown fox"

// open reads the only file of an archive of one, by sidecar's rules.
func openOnly(t *testing.T, p part) ([]byte, error) {
	t.Helper()
	data := buildZip(nil, p)
	return readEntry(data, mustRead(t, data).Entries[0])
}

func TestOpen(t *testing.T) {
	t.Parallel()
	local16 := func(at int, value uint16) func(*part) {
		return func(p *part) { p.local = func(h []byte) { put16(h[at:], value) } }
	}
	local32 := func(at int, value uint32) func(*part) {
		return func(p *part) { p.local = func(h []byte) { binary.LittleEndian.PutUint32(h[at:], value) } }
	}
	streamed := func(edit func(p *part, d []byte) []byte) func(*part) {
		return func(p *part) { p.flags, p.descriptor = flagDescriptor, edit(p, p.marked()) }
	}
	flip := func(at int) func(*part) {
		return streamed(func(_ *part, d []byte) []byte { d[at] ^= 1; return d })
	}
	dirSize := func(n uint32) func(*part) {
		return func(p *part) {
			size := func(at int) func([]byte) {
				return func(h []byte) { binary.LittleEndian.PutUint32(h[at:], n) }
			}
			p.local, p.dir = size(22), size(24)
		}
	}
	deflated := file("a", text).compressed()
	const header, hidden, size, descriptor = "own header does not agree", "hidden behind", "another size", "data descriptor does not agree"
	for name, row := range map[string]struct {
		edit     func(*part)
		sentence string // empty: read
	}{
		"deflated":                    {func(*part) {}, ""},
		"stored":                      {func(p *part) { p.method = methodStored }, ""},
		"extra fields":                {func(p *part) { p.localExtra = make([]byte, 28) }, ""},
		"extra fields, stored":        {func(p *part) { p.localExtra, p.method = make([]byte, 28), methodStored }, ""},
		"descriptor":                  {streamed(func(_ *part, d []byte) []byte { return d }), ""},
		"descriptor without its mark": {streamed(func(_ *part, d []byte) []byte { return d[4:] }), ""},
		"descriptor, stored":          {func(p *part) { p.method = methodStored; p.flags, p.descriptor = flagDescriptor, p.marked() }, ""},
		"descriptor, sizes in the header": {func(p *part) {
			streamed(func(p *part, d []byte) []byte { return d })(p)
			p.local = func(h []byte) { p.sizes(h[14:], len(deflated)) }
		}, ""},
		"descriptor, one size there": {func(p *part) {
			streamed(func(p *part, d []byte) []byte { return d })(p)
			local32(22, uint32(len(text)))(p)
		}, ""},
		"descriptor, a wrong size there":   {func(p *part) { streamed(func(p *part, d []byte) []byte { return d })(p); local32(22, 1)(p) }, header},
		"descriptor, missing":              {func(p *part) { p.flags = flagDescriptor }, hidden},
		"descriptor, cut":                  {streamed(func(_ *part, d []byte) []byte { return d[:11] }), hidden},
		"descriptor, twice":                {streamed(func(_ *part, d []byte) []byte { return append(d, d...) }), hidden},
		"descriptor of zip64":              {streamed(func(_ *part, d []byte) []byte { return append(d, make([]byte, 8)...) }), hidden},
		"descriptor, other mark":           {flip(0), descriptor},
		"descriptor, other CRC":            {flip(4), descriptor},
		"descriptor, other stored size":    {flip(8), descriptor},
		"descriptor, other size":           {flip(12), descriptor},
		"descriptor without the flag":      {func(p *part) { p.descriptor = p.marked() }, hidden},
		"other magic":                      {local16(0, 0), header},
		"flag of a descriptor":             {local16(6, flagDescriptor), header},
		"encrypted":                        {local16(6, 1), header},
		"other method":                     {local16(8, methodStored), header},
		"other CRC":                        {local32(14, 1), header},
		"no CRC":                           {local32(14, 0), header},
		"other compressed size":            {local32(18, 1), header},
		"no compressed size":               {local32(18, 0), header},
		"other size":                       {local32(22, 1), header},
		"longer name":                      {local16(26, 2), header},
		"name of 64 KiB":                   {local16(26, 65535), header},
		"extra field that is content":      {local16(28, 1), header},
		"extra field of 64 KiB":            {local16(28, 65535), header},
		"other name":                       {func(p *part) { p.name = "b"; p.dir = nil; p.local = func(h []byte) {} }, ""},
		"hidden byte behind":               {func(p *part) { p.descriptor = []byte{0} }, hidden},
		"hidden byte behind deflate's end": {func(p *part) { p.raw = append(bytes.Clone(deflated), 0) }, hidden},
		"second deflate stream":            {func(p *part) { p.raw = slices.Concat(deflated, deflated) }, hidden},
		"deflate stream that is cut":       {func(p *part) { p.raw = deflated[:len(deflated)-2] }, "an entry is cut"},
		"no deflate stream":                {func(p *part) { p.raw = []byte{} }, "an entry is cut"},
		"damaged deflate stream":           {func(p *part) { p.raw = bytes.Repeat([]byte{0xff}, 9) }, "compressed bytes are damaged"},
		"content longer than it says":      {dirSize(uint32(len(text) - 1)), size},
		"content shorter than it says":     {dirSize(uint32(len(text) + 1)), size},
		"content that should be none":      {dirSize(0), size},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := openOnly(t, file("a", text).with(row.edit))
			if row.sentence != "" {
				want{PackageMalformed, row.sentence, "zip"}.check(t, err)
				return
			}
			if err != nil || string(got) != text {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// The name in the local header is another one of the same length.
func TestOpenOtherName(t *testing.T) {
	t.Parallel()
	data := buildZip(nil, file("a", text))
	e := mustRead(t, data).Entries[0]
	data[localHeaderSize] = 'b'
	_, err := readEntry(data, e)
	want{PackageMalformed, "own header does not agree", ""}.check(t, err)
}

// However many bytes come before the source ends, it is never a whole entry. A
// clean end is the archive's fault, an error the source's.
func TestOpenCut(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection reset")
	for name, p := range map[string]part{
		"deflated":   file("a", text),
		"stored":     {name: "a", data: []byte(text)},
		"descriptor": file("a", text).with(func(p *part) { p.flags, p.descriptor = flagDescriptor, p.marked() }),
	} {
		data := buildZip(nil, p)
		e := mustRead(t, data).Entries[0]
		for n := range e.End {
			err := readFrom(e, bytes.NewReader(data[:n]))
			want{code: PackageMalformed}.check(t, err)
			for _, fault := range []error{broken, io.ErrUnexpectedEOF} {
				err = readFrom(e, io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(fault)))
				if err != fault {
					t.Fatalf("%s, cut after %d bytes: got %v, want the source's %v", name, n, err, fault)
				}
			}
		}
	}
}

func readFrom(e Entry, from io.Reader) error {
	r, err := e.Open(from)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	return err
}

// A reader that is asked again says the same, and one that is given more than
// its region reads no further.
func TestOpenEnds(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]part{
		"plain":      file("a", text),
		"descriptor": file("a", text).with(func(p *part) { p.flags, p.descriptor = flagDescriptor, p.marked() }),
	} {
		data := buildZip(nil, p)
		e := mustRead(t, data).Entries[0]
		from := strings.NewReader(string(data))
		r, err := e.Open(iotest.OneByteReader(from))
		must(t, err)
		must(t, iotest.TestReader(r, []byte(text)))
		for range 3 {
			if n, err := r.Read(make([]byte, 9)); n != 0 || err != io.EOF {
				t.Errorf("%s: asked again it gave %d bytes, %v", name, n, err)
			}
		}
		if at := int64(len(data) - from.Len()); at != e.End {
			t.Errorf("%s: read up to %d, not %d", name, at, e.End)
		}
	}
}

// An entry that inflates without end is left as soon as it is too long.
func TestOpenBomb(t *testing.T) {
	t.Parallel()
	p := file("a", strings.Repeat("\x00", 64<<20))
	small := func(at int) func([]byte) {
		return func(h []byte) { binary.LittleEndian.PutUint32(h[at:], 10) }
	}
	p.local, p.dir = small(22), small(24)
	data := buildZip(nil, p)
	r, err := mustRead(t, data).Entries[0].Open(region(data, mustRead(t, data).Entries[0]))
	must(t, err)
	n, err := io.Copy(io.Discard, r)
	want{PackageMalformed, "another size", ""}.check(t, err)
	if n > 1<<20 {
		t.Errorf("%d bytes came", n)
	}
}
