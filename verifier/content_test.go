package verifier

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestCheckedReader(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, row := range map[string]struct {
		listed   string
		from     io.Reader
		sentence string // empty: read as a whole
		err      error  // or this very error
	}{
		"equal":                   {listed: "abc", from: strings.NewReader("abc")},
		"equal, byte by byte":     {listed: "abc", from: iotest.OneByteReader(strings.NewReader("abc"))},
		"equal, error with data":  {listed: "abc", from: iotest.DataErrReader(strings.NewReader("abc"))},
		"empty":                   {listed: "", from: strings.NewReader("")},
		"different":               {listed: "abc", from: strings.NewReader("abd"), sentence: "not the one"},
		"shorter":                 {listed: "abc", from: strings.NewReader("ab"), sentence: "shorter"},
		"nothing":                 {listed: "abc", from: strings.NewReader(""), sentence: "shorter"},
		"longer":                  {listed: "abc", from: strings.NewReader("abcd"), sentence: "longer"},
		"longer, byte by byte":    {listed: "abc", from: iotest.OneByteReader(strings.NewReader("abcd")), sentence: "longer"},
		"longer than nothing":     {listed: "", from: strings.NewReader("x"), sentence: "longer"},
		"source fails":            {listed: "abc", from: io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(broken)), err: broken},
		"source fails at the end": {listed: "abc", from: io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)), err: broken},
		"source is cut":           {listed: "abc", from: io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(io.ErrUnexpectedEOF)), err: io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := NewCheckedReader(row.from, File{Name: "a", Size: int64(len(row.listed)), SHA256: sha256.Sum256([]byte(row.listed))})
			got, err := io.ReadAll(r)
			switch {
			case row.err != nil:
				if err != row.err {
					t.Errorf("got %v, want %v", err, row.err)
				}
			case row.sentence != "":
				want{ContentMismatch, row.sentence, "agent package verify"}.check(t, err)
				if _, again := r.Read(make([]byte, 1)); again == nil || again == io.EOF {
					t.Errorf("asked again it says %v", again)
				}
			case err != nil || string(got) != row.listed:
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// No surplus byte is handed on, and a source without end is left.
func TestCheckedReaderEndless(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	n, err := io.Copy(&out, NewCheckedReader(endless{}, File{Name: "a", Size: 100_000}))
	want{ContentMismatch, "longer", ""}.check(t, err)
	if n > 100_000 {
		t.Errorf("%d bytes came", n)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
