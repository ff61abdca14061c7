package vendorsig

import (
	"bytes"
	"slices"
	"testing"

	"mdatp-offline-agent/verifier"
)

func TestReadResource(t *testing.T) {
	t.Parallel()
	v := [4]uint16{1, 407, 417, 0}
	usual := versionInfo("mpavbase.vdm", "1.407.417.0", v)
	what := Resource{OriginalFilename: "mpavbase.vdm", FileVersion: verifier.Version{1, 407, 417, 0}, ProductVersion: verifier.Version{1, 407, 417, 0},
		FileVersionText: "1.407.417.0", ProductVersionText: "1.407.417.0"}
	changed := func(edit func(*Resource)) Resource { r := what; edit(&r); return r }
	edited := func(edit func([]byte) []byte) []byte { return edit(bytes.Clone(usual)) }
	bad := func(sentence string) want { return want{verifier.PackageMalformed, sentence} }
	unread := bad("can not be read")
	twoTables := func(a, b string) []byte {
		table := func(name string) []byte { return node("040904B0", 1, nil, node("OriginalFilename", 1, wide(name))) }
		return node("VS_VERSION_INFO", 0, fixedInfo(v), node("StringFileInfo", 1, nil, table(a), table(b)))
	}
	for name, row := range map[string]struct {
		resource []byte
		edit     func(*image)
		file     func([]byte) []byte
		what     Resource
		want     want
	}{
		"as it should be": {resource: usual, what: what},
		"PE32+":           {resource: usual, edit: func(m *image) { m.wide = true }, what: what},
		"only numbers": {resource: node("VS_VERSION_INFO", 0, fixedInfo(v)),
			what: Resource{FileVersion: what.FileVersion, ProductVersion: what.ProductVersion}},
		"text that is not the numbers": {resource: versionInfo("mpavbase.vdm", "1.2", v), what: changed(func(r *Resource) { r.FileVersionText, r.ProductVersionText = "1.2", "1.2" })},
		"name not fit to be shown":     {resource: versionInfo("a\x1b[31m\u202eb", "1.407.417.0", v), what: changed(func(r *Resource) { r.OriginalFilename = "a?[31m?b" })},
		"two languages that agree":     {resource: twoTables("a", "a"), what: Resource{OriginalFilename: "a", FileVersion: what.FileVersion, ProductVersion: what.ProductVersion}},
		"two languages that do not":    {resource: twoTables("a", "b"), want: bad("contradicts itself")},
		"one text twice":               {resource: versionInfo("a", "1", v, node("originalFILENAME", 1, wide("b"))), want: bad("contradicts itself")},
		"two resources":                {resource: usual, edit: func(m *image) { m.copies = 1 }, want: bad("more than one")},
		"none":                         {edit: func(m *image) { m.resource = nil }, want: bad("no version resource")},
		"too large":                    {resource: append(bytes.Clone(usual), make([]byte, maxResource)...), want: unread},
		"empty":                        {resource: []byte{}, want: unread},
		"another magic":                {resource: edited(func(b []byte) []byte { b[40] ^= 1; return b }), want: unread},
		"another key":                  {resource: edited(func(b []byte) []byte { b[6] = 'X'; return b }), want: unread},
		"length beyond the end":        {resource: edited(func(b []byte) []byte { put16(b, len(b)+1); return b }), want: unread},
		"length 0":                     {resource: edited(func(b []byte) []byte { put16(b, 0); return b }), want: unread},
		"length of a child 0":          {resource: edited(func(b []byte) []byte { put16(b[92:], 0); return b }), want: unread},
		"length of a child 65535":      {resource: edited(func(b []byte) []byte { put16(b[92:], 65535); return b }), want: unread},
		"length of the value 0":        {resource: edited(func(b []byte) []byte { put16(b[2:], 0); return b }), want: unread},
		"length of the value 65535":    {resource: edited(func(b []byte) []byte { put16(b[2:], 65535); return b }), want: unread},
		"key without an end":           {resource: edited(func(b []byte) []byte { return append(b[:6], bytes.Repeat([]byte("x"), len(b)-6)...) }), want: unread},
		"half of a surrogate pair":     {resource: versionInfo("a", "1", v, node("x", 1, []byte{0x00, 0xd8, 0, 0})), what: Resource{OriginalFilename: "a", FileVersion: what.FileVersion, ProductVersion: what.ProductVersion, FileVersionText: "1", ProductVersionText: "1"}},
		"half of one in the name":      {resource: node("VS_VERSION_INFO", 0, fixedInfo(v), node("StringFileInfo", 1, nil, node("040904B0", 1, nil, node("OriginalFilename", 1, []byte{0x00, 0xd8, 0, 0})))), want: unread},
		"name without an end":          {resource: node("VS_VERSION_INFO", 0, fixedInfo(v), node("StringFileInfo", 1, nil, node("040904B0", 1, nil, node("OriginalFilename", 1, []byte("a\x00b\x00"))))), want: unread},
		"directory beyond its section": {resource: usual, file: func(f []byte) []byte { put32(f[0x80+24+96+2*8:], 0x7fffffff); return f }, want: unread},
		"two sections at one address": {resource: usual, file: func(f []byte) []byte {
			put32(sectionOf(f, 0)[12:], 2*memoryAlign)
			return f
		}, want: unread},
		"directory of many entries": {resource: usual, file: func(f []byte) []byte {
			put16(f[bytes.LastIndex(f, []byte{16, 0, 0, 0, 24, 0, 0, 0x80})-4:], 0xffff)
			return f
		}, want: unread},
		"a directory that is its own child": {resource: usual, file: func(f []byte) []byte {
			put32(f[bytes.LastIndex(f, []byte{16, 0, 0, 0, 24, 0, 0, 0x80})+4:], subtree)
			return f
		}, want: unread},
		"no PE file": {resource: usual, file: func([]byte) []byte { return []byte("\x7fELF") }, want: bad("not a PE file")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := anImage()
			m.resource = row.resource
			if row.edit != nil {
				row.edit(&m)
			}
			file := m.encode()
			if row.file != nil {
				file = row.file(file)
			}
			got, err := ReadResource(bytes.NewReader(file), int64(len(file)))
			row.want.check(t, err)
			if err == nil && got != row.what {
				t.Errorf("got %+v, want %+v", got, row.what)
			}
		})
	}
}

// Headers that no linker writes. Each is either no PE file at all, so that its
// signature may lie beside it, or is refused.
func TestReadPE(t *testing.T) {
	t.Parallel()
	const at = 0x80
	file := func(edit func([]byte) []byte) []byte { return edit(anImage().encode()) }
	set := func(put func([]byte, int), offset, v int) []byte {
		return file(func(f []byte) []byte { put(f[offset:], v); return f })
	}
	broken := want{verifier.SignatureInvalid, "not built as a PE file"}
	none := want{verifier.SignatureMissing, "neither inside nor beside"}
	for name, row := range map[string]struct {
		file []byte
		want want
	}{
		"unsigned":                        {file(slices.Clone[[]byte]), none},
		"empty":                           {nil, none},
		"two bytes":                       {[]byte("MZ"), none},
		"DOS program":                     {append([]byte("MZ"), make([]byte, 200)...), none},
		"ELF":                             {[]byte("\x7fELF" + string(make([]byte, 200))), none},
		"header beyond the end":           {set(put32, 60, 1<<30), none},
		"header at 2 GiB":                 {set(put32, 60, 1<<31), none},
		"header at the end":               {file(func(f []byte) []byte { return f[:at+4] }), none},
		"header in the DOS header":        {file(func(f []byte) []byte { copy(f[40:], "PE\x00\x00"); put32(f[60:], 40); return f }), broken},
		"cut behind the COFF header":      {file(func(f []byte) []byte { return f[:at+24] }), broken},
		"cut in the optional header":      {file(func(f []byte) []byte { return f[:at+24+100] }), broken},
		"cut in the sections":             {file(func(f []byte) []byte { return f[:at+24+224+50] }), broken},
		"optional header of no size":      {set(put16, at+20, 0), broken},
		"optional header too small":       {set(put16, at+20, 95), broken},
		"optional header without its end": {set(put16, at+20, 223), broken},
		"optional header of 64 KiB":       {set(put16, at+20, 0xffff), broken},
		"ROM image":                       {set(put16, at+24, 0x107), broken},
		"17 directories":                  {set(put32, at+24+92, 17), broken},
		"4 billion directories":           {set(put32, at+24+92, 0xffffffff), broken},
		"4 directories":                   {set(put32, at+24+92, 4), none},
		"no directory":                    {set(put32, at+24+92, 0), none},
		"97 sections":                     {set(put16, at+6, 97), broken},
		"a section beyond the end":        {file(func(f []byte) []byte { put32(sectionOf(f, 1)[16:], 0xfffffe00); return f }), broken},
		"table beyond the end":            {file(func(f []byte) []byte { put32(f[at+24+128:], 1<<31); put32(f[at+24+132:], 1<<31); return f }), want{verifier.SignatureInvalid, "ends before"}},
		"table that is the file":          {file(func(f []byte) []byte { put32(f[at+24+132:], len(f)); return f }), want{verifier.SignatureInvalid, "where one can be"}},
		"table over the sections": {file(func(f []byte) []byte {
			put32(f[at+24+128:], fileAlign)
			put32(f[at+24+132:], len(f)-fileAlign)
			return f
		}), want{verifier.SignatureInvalid, "reaches into"}},
		"table of nothing": {file(func(f []byte) []byte {
			f = append(f, make([]byte, 16)...)
			put32(f[at+24+128:], len(f)-16)
			put32(f[at+24+132:], 16)
			return f
		}), want{verifier.SignatureInvalid, "length can not be right"}},
		"table larger than a signature may": {file(func(f []byte) []byte {
			n := len(f)
			f = append(f, make([]byte, MaxSignature+8)...)
			put32(f[at+24+128:], n)
			put32(f[at+24+132:], len(f)-n)
			return f
		}), want{verifier.SignatureInvalid, "larger than one may be"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := verify(row.file, nil, verifier.Trust{}, clock())
			row.want.check(t, err)
		})
	}
}
