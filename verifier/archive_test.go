package verifier

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestParseEnd(t *testing.T) {
	t.Parallel()
	good := buildZip(nil, file("a", "x"))
	end := func(at int, value uint16) []byte {
		return buildZip(func(r []byte) { binary.LittleEndian.PutUint16(r[at:], value) }, file("a", "x"))
	}
	comment := append(end(20, 1), 'x')
	inComment := append(end(20, uint16(len(good))), good...)
	zip64 := func() []byte {
		locator := make([]byte, 20)
		copy(locator, "PK\x06\x07")
		at := len(good) - EndSize
		return bytes.Join([][]byte{good[:at], locator, good[at:]}, nil)
	}()
	malformed := func(part string) want { return want{PackageMalformed, part, "zip -X -D"} }
	for name, row := range map[string]struct {
		data []byte
		want want
	}{
		"good":                       {good, want{}},
		"nothing":                    {nil, want{NotAPackage, "not a zip", "web page"}},
		"21 bytes":                   {good[len(good)-21:], want{NotAPackage, "not a zip", ""}},
		"a web page":                 {[]byte("<!DOCTYPE html><html><body>please log in</body></html>"), want{NotAPackage, "not a zip", "web page"}},
		"cut":                        {good[:len(good)-1], malformed("behind")},
		"cut in the middle":          {good[:len(good)/2], want{NotAPackage, "not a zip", ""}},
		"byte behind":                {append(bytes.Clone(good), 0), malformed("behind")},
		"comment":                    {comment, malformed("behind")},
		"comment's length alone":     {end(20, 1), malformed("comment")},
		"another archive in comment": {inComment, malformed("directory does not end")},
		"byte in front":              {append([]byte{0}, good...), malformed("directory does not end")},
		"byte behind the directory":  {bytes.Join([][]byte{good[:len(good)-EndSize], {0}, good[len(good)-EndSize:]}, nil), malformed("directory does not end")},
		"zip64 locator":              {zip64, malformed("directory does not end")},
		"zip64 offset":               {buildZip(func(r []byte) { copy(r[16:], "\xff\xff\xff\xff") }, file("a", "x")), malformed("directory does not end")},
		"zip64 count":                {buildZip(func(r []byte) { copy(r[8:], "\xff\xff\xff\xff") }, file("a", "x")), malformed("1 to 64")},
		"no entry":                   {buildZip(nil), malformed("1 to 64")},
		"64 entries":                 {buildZip(nil, numbered(64)...), want{}},
		"65 entries":                 {buildZip(nil, numbered(65)...), malformed("1 to 64")},
		"disk 1":                     {end(4, 1), malformed("split")},
		"directory on disk 1":        {end(6, 1), malformed("split")},
		"other count on this disk":   {end(8, 2), malformed("split")},
		"count too small":            {end(8, 0), malformed("split")},
		"directory too large":        {buildZip(nil, file("a", "x").with(func(p *part) { p.dirExtra = make([]byte, 65535) })), malformed("directory does not end")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := readZip(row.data)
			row.want.check(t, err)
		})
	}
	t.Run("too large", func(t *testing.T) {
		t.Parallel()
		_, err := ParseEnd(good, MaxArchiveSize+1)
		want{PackageTooLarge, "1073741825 bytes", "URL"}.check(t, err)
	})
	t.Run("tail of a larger archive", func(t *testing.T) {
		t.Parallel()
		_, err := ParseEnd(good[len(good)-10:], 1000)
		want{NotAPackage, "", ""}.check(t, err)
	})
}

func TestCheckBeginning(t *testing.T) {
	t.Parallel()
	must(t, CheckBeginning(buildZip(nil, file("a", "x"))[:4]))
	for _, begin := range []string{"", "PK", "PK\x05\x06", "<!DOCTYPE html>", "\x00PK\x03\x04"} {
		want{NotAPackage, "not a zip", "web page"}.check(t, CheckBeginning([]byte(begin)))
	}
}

func numbered(n int) []part {
	var parts []part
	for i := range n {
		parts = append(parts, file(fmt.Sprintf("f%d", i), "x"))
	}
	return parts
}

// A million entries, with a count that wraps to something small, are refused
// without memory being spent on them.
func TestManyEntries(t *testing.T) {
	const entries = 1_000_000
	one := part{name: "a"}.dirHeader(0, 0)
	record := make([]byte, EndSize)
	copy(record, endMagic)
	put16(record[8:], 10, 10)
	binary.LittleEndian.PutUint32(record[12:], uint32(entries*len(one)))
	tail := append(bytes.Repeat(one, TailSize/len(one)), record...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := ParseEnd(tail, int64(entries*len(one)+EndSize))
	runtime.ReadMemStats(&after)
	want{PackageMalformed, "directory does not end", ""}.check(t, err)
	if spent := after.TotalAlloc - before.TotalAlloc; spent > 1<<20 {
		t.Errorf("spent %d bytes", spent)
	}
}

// Rules of the layout that hold for every package. Each row is an archive of
// three entries, whose second is changed.
func TestParseDirectory(t *testing.T) {
	t.Parallel()
	dir16 := func(at int, value uint16) func(*part) {
		return func(p *part) { p.dir = func(h []byte) { binary.LittleEndian.PutUint16(h[at:], value) } }
	}
	dir32 := func(at int, value uint32) func(*part) {
		return func(p *part) { p.dir = func(h []byte) { binary.LittleEndian.PutUint32(h[at:], value) } }
	}
	attributes := func(a uint32) func(*part) { return func(p *part) { p.attributes = a } }
	name := func(n string) func(*part) { return func(p *part) { p.name = n } }
	directory := func(n string, mode uint32) func(*part) {
		return func(p *part) { *p = part{name: n, attributes: mode} }
	}
	const gaps, plain, damaged = "without gaps or overlaps", "neither a plain file", "damaged"
	for label, row := range map[string]struct {
		edit     func(*part)
		sentence string // empty: accepted
	}{
		"as it should be":           {func(*part) {}, ""},
		"stored":                    {func(p *part) { p.method = methodStored }, ""},
		"empty file":                {func(p *part) { p.data, p.method = nil, methodStored }, ""},
		"extra fields":              {func(p *part) { p.localExtra, p.dirExtra = make([]byte, 28), make([]byte, 24) }, ""},
		"descriptor":                {func(p *part) { p.flags, p.descriptor = flagDescriptor, p.marked() }, ""},
		"name in UTF-8":             {func(p *part) { p.flags = 1 << 11 }, ""},
		"best compression":          {func(p *part) { p.flags = 1 << 1 }, ""},
		"directory":                 {directory("dir/", 0o40755<<16|0x10), ""},
		"directory of DOS":          {func(p *part) { directory("dir/", 0x10)(p); dir16(4, 20)(p) }, ""},
		"no mode at all":            {attributes(0), ""},
		"DOS, archive bit":          {attributes(0x20), ""},
		"setuid":                    {attributes(0o104755 << 16), ""}, // modes are never used
		"symlink":                   {attributes(0o120777 << 16), plain},
		"character device":          {attributes(0o020666 << 16), plain},
		"block device":              {attributes(0o060666 << 16), plain},
		"FIFO":                      {attributes(0o010666 << 16), plain},
		"socket":                    {attributes(0o140666 << 16), plain},
		"directory by its mode":     {attributes(0o040755 << 16), plain},
		"directory by DOS":          {attributes(0x10), plain},
		"file mode, directory name": {directory("dir/", 0o100644<<16), plain},
		"link mode, directory name": {directory("dir/", 0o120777<<16), plain},
		"directory with content":    {name("dir/"), "directory entry has content"},
		"empty name":                {name(""), plain},
		"slash":                     {directory("/", 0), plain},
		"absolute":                  {name("/etc/passwd"), plain},
		"dot dot":                   {name("../b"), plain},
		"dot dot inside":            {name("a/../b"), plain},
		"dot":                       {name("./b"), plain},
		"two slashes":               {name("a//b"), plain},
		"backslash":                 {name(`..\b`), plain},
		"NUL":                       {name("b\x00.vdm"), plain},
		"newline":                   {name("b\n"), plain},
		"drive":                     {name("c:b"), plain},
		"hidden":                    {name(".b"), plain},
		"not ASCII":                 {name("b\xc3\xa4"), plain},
		"65 characters":             {name(strings.Repeat("b", 65)), plain},
		"same name":                 {name("first"), "one name"},
		"same name in capitals":     {name("FIRST"), "one name"},
		"encrypted":                 {func(p *part) { p.flags = 1 }, "encrypted"},
		"strongly encrypted":        {func(p *part) { p.flags = 1 << 6 }, "encrypted"},
		"masked directory":          {func(p *part) { p.flags = 1 << 13 }, "encrypted"},
		"patch data":                {func(p *part) { p.flags = 1 << 5 }, "encrypted"},
		"needs zip64":               {dir16(6, 45), "newer version"},
		"bzip2":                     {func(p *part) { p.method, p.raw = 12, []byte("x") }, "neither stored nor deflated"},
		"deflate64":                 {func(p *part) { p.method, p.raw = 9, []byte("x") }, "neither stored nor deflated"},
		"zstandard":                 {func(p *part) { p.method, p.raw = 93, []byte("x") }, "neither stored nor deflated"},
		"AES":                       {func(p *part) { p.method, p.raw = 99, []byte("x") }, "neither stored nor deflated"},
		"stored with two sizes":     {func(p *part) { p.method, p.raw = methodStored, []byte("too long") }, "two sizes"},
		"comment":                   {func(p *part) { p.comment = []byte("x") }, "comment"},
		"other disk":                {dir16(34, 1), "another disk"},
		"other magic":               {dir16(0, 0), damaged},
		"name longer than it is":    {dir16(28, 60000), damaged},
		"extra longer than it is":   {dir16(30, 60000), damaged},
		"comment longer than it is": {dir16(32, 60000), damaged},
		"hidden bytes in front":     {func(p *part) { p.before = make([]byte, 1<<17) }, gaps},
		"hidden bytes behind":       {func(p *part) { p.descriptor = make([]byte, 1<<17) }, gaps},
		"offset of the first":       {dir32(42, 0), gaps},
		"offset in the first":       {dir32(42, 10), gaps},
		"offset one on":             {func(p *part) { p.dir = func(h []byte) { h[42]++ } }, gaps},
		"offset beyond the end":     {dir32(42, 1<<31), gaps},
		"zip64 offset":              {dir32(42, 1<<32-1), gaps},
		"zip64 sizes":               {dir32(20, 1<<32-1), gaps},
		"larger than its room":      {dir32(20, 1<<20), gaps},
	} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			second := file("second", "the second file").with(row.edit)
			a, err := readZip(buildZip(nil, file("first", "the first"), second, file("third", "the third")))
			if row.sentence != "" {
				want{PackageMalformed, row.sentence, "zip -X -D"}.check(t, err)
				return
			}
			want{}.check(t, err)
			if len(a.Entries) != 3 || a.Entries[1].Name != second.name {
				t.Errorf("got %+v", a.Entries)
			}
		})
	}
}

func TestParseDirectoryWhole(t *testing.T) {
	t.Parallel()
	first, second := file("first", "x"), file("second", "y")
	swapped := buildZip(nil, first, second)
	end, err := ParseEnd(swapped, int64(len(swapped)))
	must(t, err)
	dir := swapped[end.DirOffset:][:end.DirSize]
	at := dirHeaderSize + len("first")
	for name, row := range map[string]struct {
		dir      []byte
		end      End
		sentence string
	}{
		"in another order":    {bytes.Join([][]byte{dir[at:], dir[:at]}, nil), end, "without gaps"},
		"cut":                 {dir[:len(dir)-1], end, "cut"},
		"one entry too few":   {dir, End{end.DirOffset, end.DirSize, 1}, "belong to no entry"},
		"one entry too many":  {dir, End{end.DirOffset, end.DirSize, 3}, "damaged"},
		"one entry, twice":    {bytes.Repeat(dir[:at], 2), End{end.DirOffset, int64(2 * at), 2}, "without gaps"},
		"begins before it":    {dir, End{end.DirOffset - 1, end.DirSize, 2}, "without gaps"},
		"does not begin at 0": {dir[at:], End{end.DirOffset, end.DirSize - int64(at), 1}, "without gaps"},
		"nothing":             {nil, End{0, 0, 1}, "damaged"},
	} {
		_, err := ParseDirectory(row.dir, row.end)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		want{PackageMalformed, row.sentence, ""}.check(t, err)
	}
}

func TestSignedList(t *testing.T) {
	t.Parallel()
	list := signedPart("the list")
	edit := func(e func(*part)) part { return file("a", "x").with(e) }
	meta := func(name string) part { return file(name, "x") }
	for name, row := range map[string]struct {
		parts []part
		want  want
	}{
		"last":                  {[]part{file("a", "x"), list}, want{}},
		"alone":                 {[]part{list}, want{}},
		"of the greatest size":  {[]part{signedPart(strings.Repeat("x", MaxListSize))}, want{}},
		"none":                  {[]part{file("a", "x")}, want{SignatureMissing, "no signed list", "mirror approve"}},
		"not last":              {[]part{list, file("a", "x")}, want{PackageMalformed, "not the archive's last", ""}},
		"compressed":            {[]part{list.with(func(p *part) { p.method = methodDeflated })}, want{PackageMalformed, "not stored", "-0"}},
		"too large":             {[]part{signedPart(strings.Repeat("x", MaxListSize+1))}, want{PackageMalformed, "more than 65536", ""}},
		"in another case":       {[]part{meta("meta/package.p7m")}, want{PackageMalformed, "not the archive's last", ""}},
		"another name":          {[]part{meta("META/other.p7m")}, want{PackageMalformed, "not the archive's last", ""}},
		"something beside it":   {[]part{meta("META/other"), list}, want{PackageMalformed, "flat file", ""}},
		"file in a directory":   {[]part{meta("dir/a"), list}, want{PackageMalformed, "flat file", ""}},
		"directory META":        {[]part{{name: "META/", attributes: 0o40755<<16 | 0x10}, list}, want{PackageMalformed, "flat file", ""}},
		"directory":             {[]part{{name: "dir/", attributes: 0o40755<<16 | 0x10}, list}, want{PackageMalformed, "flat file", ""}},
		"extra, directory":      {[]part{edit(func(p *part) { p.dirExtra = make([]byte, 4) }), list}, want{PackageMalformed, "extra fields", "-X"}},
		"extra, local":          {[]part{edit(func(p *part) { p.localExtra = make([]byte, 4) }), list}, want{PackageMalformed, "extra fields", "-X"}},
		"descriptor":            {[]part{edit(func(p *part) { p.flags, p.descriptor = flagDescriptor, p.marked() }), list}, want{PackageMalformed, "data descriptor", ""}},
		"descriptor, unflagged": {[]part{edit(func(p *part) { p.descriptor = p.marked() }), list}, want{PackageMalformed, "data descriptor", ""}},
		"descriptor of list":    {[]part{list.with(func(p *part) { p.flags, p.descriptor = flagDescriptor, p.marked() })}, want{PackageMalformed, "data descriptor", ""}},
		"gap of a byte":         {[]part{edit(func(p *part) { p.descriptor = []byte{0} }), list}, want{PackageMalformed, "extra fields", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := mustRead(t, buildZip(nil, row.parts...))
			e, err := a.SignedList()
			row.want.check(t, err)
			if a.HasMeta() != (row.want.code != SignatureMissing) {
				t.Errorf("below META/: %v", a.HasMeta())
			}
			if err == nil && e.Name != ListEntry {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// The tail holds all that a decision needs, in the largest package that there can be.
func TestTailSize(t *testing.T) {
	t.Parallel()
	var parts []part
	for i := range MaxFiles {
		parts = append(parts, file(fmt.Sprintf("%064d", i), strings.Repeat("x", i)))
	}
	data := buildZip(nil, append(parts, signedPart(strings.Repeat("x", MaxListSize)))...)
	a := mustRead(t, data)
	e, err := a.SignedList()
	must(t, err)
	if first := len(data) - TailSize; e.Offset < int64(first) {
		t.Errorf("the list begins at %d, the tail at %d", e.Offset, first)
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	l := &List{Files: []File{{Name: "a", Size: 1}, {Name: "b", Size: 2}}}
	a, b, list := file("a", "x"), file("b", "yy"), signedPart("the list")
	lacks := want{ContentMismatch, "lacks a file", "publish it there again"}
	more := want{ContentMismatch, "does not name", ""}
	for name, row := range map[string]struct {
		parts []part
		want  want
	}{
		"the same":         {[]part{a, b, list}, want{}},
		"another order":    {[]part{b, a, list}, want{}},
		"by sidecar":       {[]part{a, {name: "dir/", attributes: 0x10}, b}, want{}},
		"one missing":      {[]part{a, list}, lacks},
		"one more":         {[]part{a, b, file("c", "z"), list}, more},
		"another size":     {[]part{a, file("b", "y"), list}, lacks},
		"another case":     {[]part{file("A", "x"), b, list}, lacks},
		"in a directory":   {[]part{file("dir/a", "x"), b}, lacks},
		"more in META":     {[]part{a, b, file("META/x", "z")}, more},
		"nothing but list": {[]part{list}, lacks},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entries, err := mustRead(t, buildZip(nil, row.parts...)).Match(l)
			row.want.check(t, err)
			if err == nil && (entries[0].Name != "a" || entries[1].Name != "b") {
				t.Errorf("not in the list's order: %+v", entries)
			}
		})
	}
}

// zip, the program, as people call it. Each way makes archives of its own kind.
func TestRealZip(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("zip"); err != nil {
		t.Skip("SKIPPED: zip is missing, install it with: apt-get install zip")
	}
	bySidecar := want{PackageMalformed, "extra fields or a data descriptor", "zip -X -D"}
	for name, row := range map[string]struct {
		script string
		want   want // of SignedList; everything must match by sidecar
	}{
		"as documented":  {"zip -q -X -D u.zip a b && zip -q -X -D -0 u.zip META/package.p7m", want{}},
		"plain zip":      {"zip -q -0 u.zip a b META/package.p7m", bySidecar},
		"to a pipe":      {"zip -q -0 - a b META/package.p7m | cat > u.zip", bySidecar},
		"run again":      {"zip -q -X -D -0 u.zip a META/package.p7m && zip -q -X -D u.zip b", want{PackageMalformed, "not the archive's last", "-X -D"}},
		"list deflated":  {"zip -q -X -D -9 u.zip a b && zip -q -X -D -9 u.zip META/package.p7m", want{PackageMalformed, "not stored", "-0"}},
		"no list":        {"zip -q u.zip a b", want{SignatureMissing, "no signed list", ""}},
		"no list, piped": {"zip -q - a b | cat > u.zip", want{SignatureMissing, "no signed list", ""}},
		"with directory": {"zip -q -r u.zip a b dir", want{SignatureMissing, "no signed list", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			must(t, os.Mkdir(filepath.Join(dir, "META"), 0o755))
			must(t, os.Mkdir(filepath.Join(dir, "dir"), 0o755))
			contents := map[string]string{"a": strings.Repeat("aaa", 10000), "b": "b", "META/package.p7m": strings.Repeat("list", 99)}
			for n, c := range contents {
				must(t, os.WriteFile(filepath.Join(dir, n), []byte(c), 0o644))
			}
			cmd := exec.Command("sh", "-e", "-c", row.script)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			data, err := os.ReadFile(filepath.Join(dir, "u.zip"))
			must(t, err)
			a := mustRead(t, data)
			_, err = a.SignedList()
			row.want.check(t, err)
			entries, err := a.Match(&List{Files: []File{{Name: "a", Size: 30000}, {Name: "b", Size: 1}}})
			must(t, err)
			for _, e := range entries {
				if got, err := readEntry(data, e); err != nil || string(got) != contents[e.Name] {
					t.Errorf("%s: %d bytes, %v", e.Name, len(got), err)
				}
			}
		})
	}
}

func readEntry(data []byte, e Entry) ([]byte, error) {
	r, err := e.Open(region(data, e))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// What Go's own writer makes: descriptors behind everything.
func TestGoZip(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, name := range []string{"a", "b"} {
		f, err := w.Create(name)
		must(t, err)
		_, err = io.WriteString(f, strings.Repeat(name, 1000))
		must(t, err)
	}
	must(t, w.Close())
	a := mustRead(t, out.Bytes())
	for _, e := range a.Entries {
		if got, err := readEntry(out.Bytes(), e); err != nil || string(got) != strings.Repeat(e.Name, 1000) {
			t.Errorf("%s: %d bytes, %v", e.Name, len(got), err)
		}
	}
}

// Whatever is accepted as an archive with a list is read the same by Go's own
// library, and opening any entry of any archive ends without a panic.
func FuzzArchive(f *testing.F) {
	list := signedPart("the list")
	f.Add(buildZip(nil, file("a", "xxxx"), list))
	f.Add(buildZip(nil, file("a", "x").with(func(p *part) { p.method = methodStored }), file("b", "y"), list))
	f.Add(buildZip(nil, file("a", "x").with(func(p *part) { p.flags, p.descriptor = flagDescriptor, p.marked() })))
	f.Add(buildZip(nil, file("a", "x").with(func(p *part) { p.localExtra = make([]byte, 28) }), part{name: "dir/", attributes: 0x10}))
	f.Add([]byte("<!DOCTYPE html>"))
	for _, data := range vectorArchives(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := readZip(data)
		if err != nil {
			return
		}
		contents := map[string][]byte{}
		for _, e := range a.Entries {
			got, err := readEntry(data, e)
			var r *Refusal
			if err != nil && !errors.As(err, &r) {
				t.Fatalf("not a refusal: %v", err)
			}
			if err == nil {
				contents[e.Name] = got
			}
		}
		if _, err := a.SignedList(); err != nil {
			return
		}
		agreesWithLibrary(t, data, a, contents)
	})
}

func agreesWithLibrary(t *testing.T, data []byte, a *Archive, contents map[string][]byte) {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatalf("accepted here, and by archive/zip: %v", err)
	}
	if len(z.File) != len(a.Entries) {
		t.Fatalf("%d entries here, %d there", len(a.Entries), len(z.File))
	}
	for i, f := range z.File {
		e := a.Entries[i]
		if f.Name != e.Name || int64(f.UncompressedSize64) != e.Size || int64(f.CompressedSize64) != e.Compressed {
			t.Fatalf("entry %d is %+v here, %+v there", i, e, f.FileHeader)
		}
		ours, ok := contents[f.Name]
		if !ok {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatalf("%s opens here, and there: %v", f.Name, err)
		}
		theirs, err := io.ReadAll(r)
		if err != nil && !errors.Is(err, zip.ErrChecksum) { // CRCs are not ours to check
			t.Fatalf("%s is read here, and there: %v", f.Name, err)
		}
		if err == nil && !bytes.Equal(ours, theirs) {
			t.Fatalf("%s is %q here, %q there", f.Name, ours, theirs)
		}
	}
}
