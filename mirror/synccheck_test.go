package mirror

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"mdatp-offline-agent/verifier"
)

// zipOf makes an archive as a stream, with data descriptors, a directory, and what
// else a vendor's archive may have and an endpoint's not.
func zipOf(t *testing.T, comment string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for name, content := range map[string]string{"sub/": "", "sub/a b": strings.Repeat("content ", 1000), "empty": "", "b.vdm": noise(5000)} {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write([]byte(content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.SetComment(comment); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func noise(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%x", crc32.ChecksumIEEE([]byte{byte(i), byte(i >> 8)}))
	}
	return b.String()[:n]
}

// oneStream is an archive with one entry on disk, stored, that the directory has n
// times; change makes of the end record what it likes.
func oneStream(n int, content string, change func(end []byte)) []byte {
	le := binary.LittleEndian
	sum, size := crc32.ChecksumIEEE([]byte(content)), uint32(len(content))
	data := append([]byte("PK\x03\x04\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00"), le.AppendUint32(nil, sum)...)
	data = le.AppendUint32(le.AppendUint32(data, size), size)
	data = append(data, "\x01\x00\x00\x00a"+content...)
	offset := uint32(len(data))
	entry := append([]byte("PK\x01\x02\x14\x00\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00"), le.AppendUint32(nil, sum)...)
	entry = le.AppendUint32(le.AppendUint32(entry, size), size)
	entry = append(entry, "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00a"...)
	data = append(data, bytes.Repeat(entry, n)...)
	end := append([]byte("PK\x05\x06\x00\x00\x00\x00"), le.AppendUint16(le.AppendUint16(nil, uint16(n)), uint16(n))...)
	end = le.AppendUint32(le.AppendUint32(end, uint32(n*len(entry))), offset)
	end = append(end, 0, 0)
	if change != nil {
		change(end)
	}
	return append(data, end...)
}

// TestCheckZip: what a hostile cloud can make of an archive costs nothing, and what a
// vendor may make of one is taken.
func TestCheckZip(t *testing.T) {
	t.Parallel()
	le := binary.LittleEndian
	field := func(at int, value uint32) func([]byte) { return func(end []byte) { le.PutUint32(end[at:], value) } }
	// Behind the directory of one entry there are a record of zip64 that names the
	// same directory with all its entries, and its locator.
	zip64 := oneStream(2000, "x", nil)
	dirEnd := len(zip64) - 22
	record := append([]byte("PK\x06\x06"), le.AppendUint64(nil, 44)...)
	record = append(record, make([]byte, 12)...)
	record = le.AppendUint64(le.AppendUint64(record, 2000), 2000)
	record = le.AppendUint64(le.AppendUint64(record, 2000*47), 32)
	record = append(append(record, "PK\x06\x07\x00\x00\x00\x00"...), le.AppendUint64(nil, uint64(dirEnd))...)
	record = append(record, 1, 0, 0, 0)
	zip64 = append(append(zip64[:dirEnd:dirEnd], record...), "PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00\x2f\x00\x00\x00\xff\xff\xff\xff\x00\x00"...)
	for name, c := range map[string]struct {
		data []byte
		code verifier.Code // empty: it is good
		text string        // part of the sentence
	}{
		"a vendor's":                   {zipOf(t, ""), "", ""},
		"a vendor's with a comment":    {zipOf(t, "made by somebody"), "", ""},
		"one entry":                    {oneStream(1, "content", nil), "", ""},
		"more entries than the record": {oneStream(1<<16+1, "x", func(end []byte) { le.PutUint32(end[12:], 47) }), verifier.PackageMalformed, "does not end where"},
		"more of them within bounds":   {oneStream(2000, "x", func(end []byte) { le.PutUint32(end[8:], 1<<16|1) }), verifier.PackageMalformed, "directory is damaged"},
		"an honest crowd":              {oneStream(2000, "x", nil), verifier.PackageMalformed, "more than 1024"},
		"zip64":                        {zip64, verifier.PackageMalformed, "zip64"},
		"zip64 by the size":            {oneStream(1, "x", field(12, 1<<16-1)), verifier.PackageMalformed, "zip64"},
		"one stream, many entries":     {oneStream(1000, noise(1<<20), nil), verifier.PackageMalformed, "lie over each other"},
		"a gap before the end":         {oneStream(1, "x", field(12, 46)), verifier.PackageMalformed, "does not end where"},
		"content that is none":         {oneStream(1, "", nil), verifier.PackageMalformed, "holds nothing"},
		"damaged content":              {bytes.Replace(oneStream(1, "content", nil), []byte("content"), []byte("c0ntent"), 1), verifier.PackageMalformed, "damaged"},
		"behind the archive":           {bytes.ReplaceAll(oneStream(1, "four", nil), []byte("\x04\x00\x00\x00\x04"), []byte("\xff\x00\x00\x00\xff")), verifier.PackageMalformed, "ends behind"},
	} {
		err := checkZip(context.Background(), bytes.NewReader(c.data), int64(len(c.data)))
		code, sentence, _ := reasonOf(err)
		if code != string(c.code) || !strings.Contains(sentence, c.text) || (err == nil) != (c.code == "") {
			t.Errorf("%s: %v, want %s, %s", name, err, c.code, c.text)
		}
	}
}
