package verifier

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

const hash64 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

// oneFile is a list in the words of the format's description. Rows replace a
// part of it.
const oneFile = `{
  "type": "mdatp-definitions/1",
  "product": "mdatp", "platform": "linux", "arch": "x86_64", "rings": ["production"],
  "engineVersion": "1.1.24080.9", "definitionVersion": "1.407.417.0",
  "released": "2026-11-23T06:00:00Z", "issued": "2026-11-23T08:00:00Z", "expires": "2026-12-07T08:00:00Z",
  "files": [ {"name": "mpavbase.vdm", "size": 73400320, "sha256": "` + hash64 + `"} ]
}`

// fileRow is one element of files.
func fileRow(name string, size any) string {
	return fmt.Sprintf(`{"name": %q, "size": %v, "sha256": %q}`, name, size, hash64)
}

// manyFiles is n elements of files.
func manyFiles(n int) string {
	var rows []string
	for i := range n {
		rows = append(rows, fileRow(fmt.Sprintf("f%d", i), 1))
	}
	return strings.Join(rows, ",")
}

// swap is oneFile with one part replaced; a part that isn't there fails the test.
func swap(t testing.TB, from, to string) string {
	t.Helper()
	if strings.Count(oneFile, from) != 1 {
		t.Fatalf("%q does not stand once in the list", from)
	}
	return strings.Replace(oneFile, from, to, 1)
}

func TestParseListReads(t *testing.T) {
	t.Parallel()
	l, err := ParseList([]byte(oneFile))
	must(t, err)
	at := func(day, hour int, month time.Month) time.Time {
		return time.Date(2026, month, day, hour, 0, 0, 0, time.UTC)
	}
	want := &List{
		Product: "mdatp", Platform: "linux", Arch: "x86_64", Rings: []string{"production"},
		Engine: Version{1, 1, 24080, 9}, Definition: Version{1, 407, 417, 0},
		Released: at(23, 6, 11), Issued: at(23, 8, 11), Expires: at(7, 8, 12),
		Files: []File{{"mpavbase.vdm", 73400320, l.Files[0].SHA256}},
	}
	if !reflect.DeepEqual(l, want) || fmt.Sprintf("%x", l.Files[0].SHA256) != hash64 {
		t.Errorf("got %+v", l)
	}
}

// The row's text stands in the list in the place of from.
const (
	theRings = `["production"]`
	theFile  = `{"name": "mpavbase.vdm", "size": 73400320, "sha256": "` + hash64 + `"}`
	theName  = `"mpavbase.vdm"`
	theSize  = `73400320`
	theHash  = `"` + hash64 + `"`
	theZip   = `"files"`
	released = `"2026-11-23T06:00:00Z"`
	issuedAt = `"2026-11-23T08:00:00Z"`
	expires  = `"2026-12-07T08:00:00Z"`
)

func TestParseListAccepts(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ from, to string }{
		"unknown key":                {theZip, `"more": {"a": [1, null, {"b": 2}]}, "files"`},
		"unknown key in a file":      {theName, `"mpavbase.vdm", "mode": 493`},
		"key in another case beside": {theZip, `"Type": "x", "FILES": [], "files"`},
		"one key in two objects":     {theZip, `"x": {"a": 1}, "y": {"a": 1}, "files"`},
		"sidecar's zip":              {theZip, `"zip": "updates-3f2a91bc.zip", "files"`},
		"62 files":                   {theFile, manyFiles(62)},
		"16 rings":                   {theRings, `["r` + strings.Repeat(`", "r`, 15) + `"]`},
		"empty file":                 {theSize, "0"},
		"2 GiB":                      {theSize, "2147483648"},
		"name of 64 characters":      {theName, `"` + strings.Repeat("a", 64) + `"`},
		"name of one character":      {theName, `"a"`},
		"name that ends in dots":     {theName, `"a.."`},
		"escaped name":               {theName, `"\u006dpavbase.vdm"`},
		"released when issued":       {released, issuedAt},
		"expires a second later":     {expires, `"2026-11-23T08:00:01Z"`},
		"29 February":                {released, `"2024-02-29T00:00:00Z"`},
		"depth of 16":                {theZip, `"x": ` + strings.Repeat("[", 15) + strings.Repeat("]", 15) + `, "files"`},
		"nothing":                    {theZip, theZip},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseList([]byte(swap(t, row.from, row.to)))
			want{}.check(t, err)
		})
	}
	t.Run("text with CRLF", func(t *testing.T) {
		t.Parallel()
		_, err := ParseList([]byte(strings.ReplaceAll(oneFile, "\n", "\r\n")))
		want{}.check(t, err)
	})
}

func TestParseListRefuses(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		from, to string
		cause    string // a part of the cause, which names what is wrong
	}{
		"no type":                       {`"type": "mdatp-definitions/1",`, ``, "type"},
		"unknown type":                  {`definitions/1"`, `definitions/2"`, "type"},
		"type in another case":          {`"type"`, `"Type"`, "type"},
		"no product":                    {`"product": "mdatp",`, ``, "plain words"},
		"no platform":                   {`"platform": "linux",`, ``, "plain words"},
		"no arch":                       {`"arch": "x86_64",`, ``, "plain words"},
		"no rings":                      {`, "rings": ["production"]`, ``, "rings"},
		"no engine version":             {`"engineVersion": "1.1.24080.9",`, ``, "engineVersion"},
		"no definition version":         {`, "definitionVersion": "1.407.417.0"`, ``, "definitionVersion"},
		"no released":                   {`"released": ` + released + `,`, ``, "released"},
		"no issued":                     {`"issued": ` + issuedAt + `,`, ``, "issued"},
		"no expires":                    {`, "expires": ` + expires, ``, "expires"},
		"no files":                      {`"files"`, `"Files"`, "1 to 62 files"},
		"no name":                       {`"name": "mpavbase.vdm",`, ``, "name"},
		"no size":                       {`"size": 73400320,`, ``, "size"},
		"no hash":                       {`, "sha256": ` + theHash, ``, "sha256"},
		"product null":                  {`"mdatp"`, `null`, "plain words"},
		"product a number":              {`"mdatp"`, `1`, "product"},
		"product with a space":          {`"mdatp"`, `"md atp"`, "plain words"},
		"arch a path":                   {`"x86_64"`, `"../x86_64"`, "plain words"},
		"rings null":                    {theRings, `null`, "rings"},
		"rings empty":                   {theRings, `[]`, "rings"},
		"rings a string":                {theRings, `"production"`, "rings"},
		"ring null":                     {theRings, `["production", null]`, "plain words"},
		"ring empty":                    {theRings, `[""]`, "plain words"},
		"17 rings":                      {theRings, `["r` + strings.Repeat(`", "r`, 16) + `"]`, "rings"},
		"engine version of three":       {`1.1.24080.9`, `1.1.24080`, "engineVersion"},
		"definition version with zeros": {`1.407.417.0`, `1.0407.417.0`, "definitionVersion"},
		"definition version a number":   {`"1.407.417.0"`, `1.407`, "definitionVersion"},
		"zip null":                      {theZip, `"zip": null, "files"`, "zip"},
		"zip empty":                     {theZip, `"zip": "", "files"`, "zip"},
		"zip a path":                    {theZip, `"zip": "../updates.zip", "files"`, "zip"},
		"zip a URL":                     {theZip, `"zip": "http://x/u.zip", "files"`, "zip"},
		"zip with a query":              {theZip, `"zip": "updates.zip?x", "files"`, "zip"},
		"zip of another kind":           {theZip, `"zip": "updates.tar", "files"`, "zip"},
		"zip hidden":                    {theZip, `"zip": ".zip", "files"`, "zip"},

		"files null":         {`[ ` + theFile + ` ]`, `null`, "1 to 62 files"},
		"files empty":        {theFile, ``, "1 to 62 files"},
		"63 files":           {theFile, manyFiles(63), "1 to 62 files"},
		"file null":          {theFile, `null`, "name"},
		"file a string":      {theFile, `"mpavbase.vdm"`, "file 1"},
		"two of one name":    {theFile, fileRow("a", 1) + "," + fileRow("a", 1), "twice"},
		"names in two cases": {theFile, fileRow("a.vdm", 1) + "," + fileRow("A.VDM", 2), "twice"},
		"the name META":      {theName, `"META"`, "signed list"},
		"the name meta":      {theName, `"meta"`, "signed list"},

		"name null":                  {theName, `null`, "name"},
		"name empty":                 {theName, `""`, "name"},
		"name of 65 characters":      {theName, `"` + strings.Repeat("a", 65) + `"`, "name"},
		"name ..":                    {theName, `".."`, "name"},
		"name .":                     {theName, `"."`, "name"},
		"name with a leading dot":    {theName, `".a"`, "name"},
		"name with a leading dash":   {theName, `"-a"`, "name"},
		"name with a leading _":      {theName, `"_a"`, "name"},
		"name with a slash":          {theName, `"a/b"`, "name"},
		"name with a backslash":      {theName, `"a\\b"`, "name"},
		"name with an escaped slash": {theName, `"a\u002fb"`, "name"},
		"name with a space":          {theName, `"a b"`, "name"},
		"name with a newline":        {theName, `"a\n"`, "name"},
		"name with NUL":              {theName, `"a\u0000"`, "name"},
		"name with a colon":          {theName, `"a:b"`, "name"},
		"name with an umlaut":        {theName, `"ä"`, "name"},
		"name with a Kelvin sign":    {theName, `"a\u212a"`, "name"},
		"name with a lone surrogate": {theName, `"a\ud800"`, "name"},

		"size null":          {theSize, `null`, "size"},
		"size a string":      {theSize, `"73400320"`, "size"},
		"size a fraction":    {theSize, `73400320.0`, "size"},
		"size an exponent":   {theSize, `7e7`, "size"},
		"size negative":      {theSize, `-1`, "size"},
		"size minus zero":    {theSize, `-0`, "size"},
		"size true":          {theSize, `true`, "size"},
		"size with a zero":   {theSize, `01`, ""},
		"size beyond int64":  {theSize, `9223372036854775808`, "size"},
		"size beyond 2 GiB":  {theSize, `2147483649`, "together"},
		"sizes beyond 2 GiB": {theFile, fileRow("a", 1<<31) + "," + fileRow("b", 1), "together"},

		"hash null":            {theHash, `null`, "sha256"},
		"hash in upper case":   {theHash, strings.ToUpper(theHash), "sha256"},
		"hash of 63 digits":    {hash64, hash64[1:], "sha256"},
		"hash of 65 digits":    {hash64, hash64 + "0", "sha256"},
		"hash with a newline":  {hash64, hash64 + `\n`, "sha256"},
		"hash with other text": {hash64, "g" + hash64[1:], "sha256"},

		"time without Z":         {issuedAt, `"2026-11-23T08:00:00"`, "issued"},
		"time with an offset":    {issuedAt, `"2026-11-23T08:00:00+00:00"`, "issued"},
		"time with a fraction":   {issuedAt, `"2026-11-23T08:00:00.5Z"`, "issued"},
		"time with zeros behind": {issuedAt, `"2026-11-23T08:00:00.000Z"`, "issued"},
		"time with a comma":      {issuedAt, `"2026-11-23T08:00:00,5Z"`, "issued"},
		"time in lower case":     {issuedAt, `"2026-11-23t08:00:00z"`, "issued"},
		"time with a space":      {issuedAt, `"2026-11-23 08:00:00Z"`, "issued"},
		"time without seconds":   {issuedAt, `"2026-11-23T08:00Z"`, "issued"},
		"hour of one digit":      {issuedAt, `"2026-11-23T8:00:00Z"`, "issued"},
		"hour 24":                {issuedAt, `"2026-11-23T24:00:00Z"`, "issued"},
		"second 60":              {issuedAt, `"2026-11-23T08:00:60Z"`, "issued"},
		"30 February":            {released, `"2026-02-30T08:00:00Z"`, "released"},
		"year of five digits":    {expires, `"12026-12-07T08:00:00Z"`, "expires"},
		"time a number":          {issuedAt, `1795420800`, "issued"},
		"time null":              {issuedAt, `null`, "issued"},
		"released after issued":  {released, `"2026-11-23T08:00:01Z"`, "released must"},
		"expires when issued":    {expires, issuedAt, "issued must"},
		"expires before issued":  {expires, released, "issued must"},

		"key twice":               {theZip, `"arch": "arm64", "files"`, "twice"},
		"key twice by an escape":  {theZip, `"\u0061rch": "arm64", "files"`, "twice"},
		"key of a file twice":     {theName, `"a", "name": "mpavbase.vdm"`, "twice"},
		"foreign key twice":       {theZip, `"x": 1, "x": 1, "files"`, "twice"},
		"deep foreign key twice":  {theZip, `"x": [{"y": {"a": 1, "a": 1}}], "files"`, "twice"},
		"depth of 17":             {theZip, `"x": ` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + `, "files"`, "nested"},
		"depth of 17 by objects":  {theZip, `"x": ` + strings.Repeat(`{"a":`, 16) + "1" + strings.Repeat("}", 16) + `, "files"`, "nested"},
		"trailing comma":          {theRings, `["production",]`, ""},
		"comment":                 {theZip, `/* x */ "files"`, ""},
		"single quotes":           {theName, `'a'`, ""},
		"bytes that are no UTF-8": {`"mdatp"`, "\"md\xffatp\"", "UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refusesList(t, swap(t, row.from, row.to), row.cause)
		})
	}
}

// The whole text is wrong, and not a part of it.
func TestParseListRefusesText(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ text, cause string }{
		"empty":           {"", "not a JSON object"},
		"spaces":          {" \n", "not a JSON object"},
		"null":            {"null", "not a JSON object"},
		"array":           {"[" + oneFile + "]", "not a JSON object"},
		"string":          {`"x"`, "not a JSON object"},
		"no keys":         {"{}", "type"},
		"cut":             {oneFile[:len(oneFile)-1], ""},
		"BOM":             {"\ufeff" + oneFile, "not a JSON object"},
		"two objects":     {oneFile + oneFile, "behind"},
		"brace behind":    {oneFile + "}", "behind"},
		"text behind":     {oneFile + "x", "behind"},
		"NUL behind":      {oneFile + "\x00", "behind"},
		"too long":        {oneFile + strings.Repeat(" ", MaxListSize), "more than"},
		"brackets only":   {strings.Repeat("[", MaxListSize), "not a JSON object"},
		"open objects":    {strings.Repeat(`{"a":`, MaxListSize/5), "nested"},
		"a web page":      {"<!DOCTYPE html><html></html>", "not a JSON object"},
		"UTF-16":          {"\xff\xfe{\x00}\x00", "UTF-8"},
		"wrong bracket":   {`{"a": [1}]`, ""},
		"key no string":   {`{1: 2}`, ""},
		"missing colon":   {`{"a" 1}`, ""},
		"unquoted string": {`{"a": b}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refusesList(t, row.text, row.cause)
		})
	}
}

func refusesList(t *testing.T, text, cause string) {
	t.Helper()
	l, err := ParseList([]byte(text))
	want{ListMalformed, "breaks the rules", "-binary"}.check(t, err)
	if l != nil || !strings.Contains(err.Error(), cause) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, %v; want a cause with %q", l, err, cause)
	}
}

// A list of the greatest size that ParseList takes can hold, in our own form, all
// that the rules allow.
func TestMarshalListRoundTrip(t *testing.T) {
	t.Parallel()
	largest := aList()
	largest.Files = nil
	for i := range MaxFiles {
		largest.Files = append(largest.Files, File{Name: fmt.Sprintf("%064d", i), Size: MaxContentSize / MaxFiles})
	}
	for range MaxRings - 1 {
		largest.Rings = append(largest.Rings, strings.Repeat("r", MaxNameLength))
	}
	sidecar := aList()
	sidecar.Zip = "updates-3f2a91bc.zip"
	for name, l := range map[string]*List{"ordinary": aList(), "sidecar": sidecar, "largest": largest} {
		data, err := MarshalList(l)
		must(t, err)
		back, err := ParseList(data)
		must(t, err)
		again, err := MarshalList(back)
		must(t, err)
		if !reflect.DeepEqual(l, back) || !bytes.Equal(data, again) || !bytes.HasSuffix(data, []byte("}\n")) {
			t.Errorf("%s: %+v became %+v", name, l, back)
		}
	}
}

// What ParseList would refuse is not written.
func TestMarshalListRefuses(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*List){
		"no ring":     func(l *List) { l.Rings = nil },
		"no file":     func(l *List) { l.Files = nil },
		"bad name":    func(l *List) { l.Files[0].Name = "a/b" },
		"bad size":    func(l *List) { l.Files[0].Size = -1 },
		"no time":     func(l *List) { l.Expires = time.Time{} },
		"year 10000":  func(l *List) { l.Expires = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"bad product": func(l *List) { l.Product = "<mdatp>" },
		"bad zip":     func(l *List) { l.Zip = "a/b.zip" },
	} {
		l := aList()
		edit(l)
		if data, err := MarshalList(l); err == nil || data != nil {
			t.Errorf("%s: wrote %s", name, data)
		}
	}
}

// A time in another zone and with a fraction is written as the whole second in UTC.
// TestPromotionLog: the hash comes back as it was written, and whatever stands there
// instead of one makes no other list of it.
func TestPromotionLog(t *testing.T) {
	t.Parallel()
	plain, err := ParseList([]byte(oneFile))
	must(t, err)
	named := *plain
	named.PromotionLog = hash64
	data, err := MarshalList(&named)
	must(t, err)
	back, err := ParseList(data)
	must(t, err)
	if !reflect.DeepEqual(back, &named) {
		t.Errorf("got %+v, want %+v", back, &named)
	}
	if back.Content() != plain.Content() {
		t.Error("the hash counts as content")
	}
	for _, value := range []string{`null`, `17`, `{"a": 1}`, `""`, `"ABCD"`, `"` + strings.ToUpper(hash64) + `"`, `["` + hash64 + `"]`} {
		got, err := ParseList([]byte(swap(t, `"product": "mdatp",`, `"promotionLog": `+value+`, "product": "mdatp",`)))
		must(t, err)
		if !reflect.DeepEqual(got, plain) {
			t.Errorf("%s: got %+v", value, got)
		}
	}
	named.PromotionLog = "what is no hash"
	if _, err := MarshalList(&named); err == nil {
		t.Error("what is no hash is written")
	}
}

// TestVendorSigned: what the vendor signed is read from a list that nobody signed, and from
// no other, where it is a key that nobody knows.
func TestVendorSigned(t *testing.T) {
	t.Parallel()
	plain, err := ParseList([]byte(oneFile))
	must(t, err)
	derived := *plain
	derived.VendorSigned = ContentID{1}
	data, err := MarshalList(&derived)
	must(t, err)
	if back, err := ParseDerived(data); err != nil || !reflect.DeepEqual(back, &derived) {
		t.Errorf("got %+v, %v, want %+v", back, err, &derived)
	}
	if back, err := ParseList(data); err != nil || !reflect.DeepEqual(back, plain) {
		t.Errorf("in a signed list: got %+v, %v, want %+v", back, err, plain)
	}
	for _, value := range []string{`null`, `17`, `"ABCD"`} {
		if got, err := ParseDerived([]byte(swap(t, `"product": "mdatp",`, `"vendorSigned": `+value+`, "product": "mdatp",`))); err != nil || !reflect.DeepEqual(got, plain) {
			t.Errorf("%s: got %+v, %v", value, got, err)
		}
	}
	if _, err := ParseDerived([]byte(`{}`)); err == nil {
		t.Error("what is no list is read")
	}
}

func TestMarshalListTimes(t *testing.T) {
	t.Parallel()
	l := aList()
	l.Issued = issued.Add(999 * time.Millisecond).In(time.FixedZone("x", 3600))
	data, err := MarshalList(l)
	must(t, err)
	if !bytes.Contains(data, []byte(`"issued": "2026-06-02T00:00:00Z"`)) {
		t.Errorf("got %s", data)
	}
}

func TestContent(t *testing.T) {
	t.Parallel()
	l, id := aList(), aList().Content()
	l.Files[0], l.Files[1] = l.Files[1], l.Files[0]
	l.Definition, l.Issued, l.Rings = Version{9}, soon, nil
	if l.Content() != id || len(id.String()) != 64 {
		t.Error("order, versions and dates must not count")
	}
	l.Files[0].Name = "other"
	if l.Content() == id {
		t.Error("names must count")
	}
	l = aList()
	l.Files[0].SHA256[31]++
	if l.Content() == id || l.Size() != 11 {
		t.Error("bytes must count")
	}
}

// What is accepted can be written, and read again as the same.
func FuzzList(f *testing.F) {
	f.Add([]byte(oneFile))
	f.Add([]byte(strings.ReplaceAll(oneFile, theZip, `"zip": "a.zip", "x": [{"a": null}], "files"`)))
	f.Add([]byte(strings.ReplaceAll(oneFile, theFile, manyFiles(62))))
	f.Add([]byte(`{"a": 1, "\u0061": 2}`))
	f.Add(listJSON(f))
	for _, object := range vectorLists(f) {
		if content, _, _, err := openCMS(object); err == nil {
			f.Add(content)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ParseList(data)
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatal("what is no JSON was accepted")
		}
		out, err := MarshalList(l)
		must(t, err)
		back, err := ParseList(out)
		must(t, err)
		if !reflect.DeepEqual(l, back) {
			t.Fatalf("%+v became %+v", l, back)
		}
	})
}
