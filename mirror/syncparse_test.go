package mirror

import (
	"encoding/binary"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"mdatp-offline-agent/printable"
)

// vendorSettings is a settings.json as the vendor gives it away, with other values.
const vendorSettings = `{
  "downloadFolder": "/srv/mirror",
  "downloadLinuxUpdates": true,
  "logFilePath": "/var/log/sync.log",
  "downloadMacUpdates": true,
  "downloadPreviewUpdates": true,
  "backupPreviousUpdates": true 
}
`

// utf16File is a text as older PowerShell writes it.
func utf16File(order binary.AppendByteOrder, text string) string {
	out := order.AppendUint16(nil, 0xfeff)
	for _, unit := range utf16.Encode([]rune(text)) {
		out = order.AppendUint16(out, unit)
	}
	return string(out)
}

func TestSyncSettings(t *testing.T) {
	t.Parallel()
	full := SyncSettings{DownloadFolder: "/srv/mirror", LogFile: "/var/log/sync.log", Linux: true, Mac: true, Preview: true, Backup: true}
	defaults := SyncSettings{DownloadFolder: "/home/u/wdav-update", LogFile: "/tmp/mdatp_offline_updates.log", Linux: true}
	unknown := defaults
	unknown.Unknown = []string{"a ? b", "backupPreviousUpdate"}
	for name, c := range map[string]struct {
		text string
		want SyncSettings
		bad  string // what the sentence has in it
	}{
		"the vendor's":      {vendorSettings, full, ""},
		"byte order mark":   {"\ufeff" + vendorSettings, full, ""},
		"little endian":     {utf16File(binary.LittleEndian, vendorSettings), full, ""},
		"big endian":        {utf16File(binary.BigEndian, vendorSettings), full, ""},
		"line ends":         {strings.ReplaceAll(vendorSettings, "\n", "\r\n"), full, ""},
		"defaults":          {`{"downloadLinuxUpdates": true}`, defaults, ""},
		"null":              {`{"downloadLinuxUpdates": true, "downloadFolder": null, "logFilePath": null, "downloadMacUpdates": null, "backupPreviousUpdates": null}`, defaults, ""},
		"text for boolean":  {`{"downloadLinuxUpdates": "true", "downloadMacUpdates": "false"}`, defaults, ""},
		"the last one wins": {`{"downloadLinuxUpdates": false, "downloadLinuxUpdates": true}`, defaults, ""},
		"unknown":           {`{"downloadLinuxUpdates": true, "backupPreviousUpdate": true, "a : b": 1}`, unknown, ""},
		"nothing wanted":    {`{"downloadFolder": "/srv/mirror"}`, SyncSettings{}, "asks for nothing"},
		"empty":             {"", SyncSettings{}, "no JSON object"},
		"list":              {"[]", SyncSettings{}, "no JSON object"},
		"null alone":        {"null", SyncSettings{}, "no JSON object"},
		"two objects":       {`{"downloadLinuxUpdates": true} {}`, SyncSettings{}, "follows behind"},
		"number":            {`{"downloadLinuxUpdates": 1}`, SyncSettings{}, "downloadLinuxUpdates in the settings file is neither true nor false"},
		"number for path":   {`{"downloadLinuxUpdates": true, "downloadFolder": 7}`, SyncSettings{}, "downloadFolder in the settings file is no path"},
		"empty path":        {`{"downloadLinuxUpdates": true, "logFilePath": ""}`, SyncSettings{}, "logFilePath in the settings file is no path"},
		"tilde":             {`{"downloadLinuxUpdates": true, "downloadFolder": "~/m"}`, SyncSettings{}, "only a shell"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseSyncSettings([]byte(c.text), "/home/u")
			if c.bad != "" {
				wantCode(t, err, codeConfig)
				if _, sentence, _ := reasonOf(err); !strings.Contains(sentence, c.bad) {
					t.Errorf("%q, want %q in it", sentence, c.bad)
				}
				return
			}
			if err != nil || !slices.Equal(got.Unknown, c.want.Unknown) {
				t.Fatalf("%+v, %v", got, err)
			}
			got.Unknown, c.want.Unknown = nil, nil
			a, b := asJSON(t, got), asJSON(t, c.want)
			if a != b {
				t.Errorf("%s, want %s", a, b)
			}
		})
	}
	if _, err := parseSyncSettings([]byte(`{"downloadLinuxUpdates": true}`), ""); err == nil {
		t.Error("there is a default without a home directory")
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestParseInfo(t *testing.T) {
	t.Parallel()
	want := versions{version("1.1.24080.9"), version("1.407.417.0")}
	for name, text := range map[string]string{
		"known form":     `<?xml version="1.0" encoding="utf-8"?><versions><engine>1.1.24080.9</engine><platform>4.18.24080.9</platform><signatures date="2024-03-14T12:13:17Z">1.407.417.0</signatures></versions>`,
		"another order":  `<v><signatures date="">1.407.417.0</signatures><engine>1.1.24080.9</engine></v>`,
		"white space":    "\n<v>\n <engine>\n1.1.24080.9 </engine>\r\n<signatures> 1.407.417.0</signatures></v>",
		"deeper":         `<a><b><engine>1.1.24080.9</engine></b><c><signatures date="x" kind="y">1.407.417.0</signatures></c></a>`,
		"utf-16 by name": `<?xml version="1.0" encoding="utf-16"?><v><engine>1.1.24080.9</engine><signatures>1.407.417.0</signatures></v>`,
		"utf-16":         utf16File(binary.LittleEndian, `<?xml version="1.0" encoding="utf-16"?><v><engine>1.1.24080.9</engine><signatures>1.407.417.0</signatures></v>`),
		"said twice":     `<v><engine>1.1.24080.9</engine><signatures>1.407.417.0</signatures><engine>1.1.24080.9</engine></v>`,
	} {
		if got, err := parseInfo([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, text := range map[string]string{
		"nothing":          "",
		"no XML":           "1.407.417.0",
		"page":             "<!DOCTYPE html><html><body>Hello<br></body></html>",
		"no engine":        `<v><signatures>1.407.417.0</signatures></v>`,
		"empty engine":     `<v><engine/><signatures>1.407.417.0</signatures></v>`,
		"no number":        `<v><engine>new</engine><signatures>1.407.417.0</signatures></v>`,
		"three components": `<v><engine>1.1.24080</engine><signatures>1.407.417.0</signatures></v>`,
		"zero":             `<v><engine>0.0.0.0</engine><signatures>1.407.417.0</signatures></v>`,
		"two answers":      `<v><engine>1.1.24080.9</engine><signatures>1.407.417.0</signatures><signatures>1.407.418.0</signatures></v>`,
		"cut":              `<v><engine>1.1.24080.9</engine><signatures>1.407.417.0</signatures>`,
		"control":          "<v><engine>1.1.24080.9\x1b[31m</engine><signatures>1.407.417.0</signatures></v>",
	} {
		if got, err := parseInfo([]byte(text)); err == nil {
			t.Errorf("%s gives %v", name, got)
		} else {
			wantCode(t, err, "source_unreachable")
		}
	}
}

func TestDecideSync(t *testing.T) {
	t.Parallel()
	v := func(definition, engine string) versions { return versions{version(engine), version(definition)} }
	have := present{good: true, versions: v("1.407.417.0", "1.1.24080.9")}
	for name, c := range map[string]struct {
		have    present
		offered versions
		allowed string
		fetch   bool
		refused bool
	}{
		"nothing there":            {present{}, v("1.1.1.1", "1.1.1.1"), "", true, false},
		"bad, and newer by name":   {present{versions: v("9.9.9.9", "9.9.9.9")}, v("1.1.1.1", "1.1.1.1"), "", false, true},
		"bad, and the same":        {present{versions: have.versions}, have.versions, "", true, false},
		"bad, and older":           {present{versions: have.versions}, v("1.407.418.0", "1.1.24080.9"), "", true, false},
		"bad, newer, allowed":      {present{versions: v("9.9.9.9", "9.9.9.9")}, v("1.1.1.1", "1.1.1.1"), "1.1.1.1", true, false},
		"the same":                 {have, have.versions, "", false, false},
		"newer":                    {have, v("1.407.418.0", "1.1.24080.9"), "", true, false},
		"newer by number":          {have, v("1.1000.0.0", "1.1.24080.9"), "", true, false},
		"newer, an older engine":   {have, v("1.407.418.0", "1.1.24070.1"), "", true, false},
		"another engine alone":     {have, v("1.407.417.0", "1.1.24090.1"), "", true, false},
		"older":                    {have, v("1.407.416.0", "1.1.24090.1"), "", false, true},
		"older by number":          {have, v("1.99.0.0", "1.1.24090.1"), "", false, true},
		"an older engine alone":    {have, v("1.407.417.0", "1.1.24070.1"), "", false, true},
		"older, allowed":           {have, v("1.407.416.0", "1.1.24080.9"), "1.407.416.0", true, false},
		"older, another's allowed": {have, v("1.407.416.0", "1.1.24080.9"), "1.407.415.0", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			allowed := versions{}.Engine
			if c.allowed != "" {
				allowed = version(c.allowed)
			}
			fetch, err := decideSync(c.have, c.offered, allowed)
			if fetch != c.fetch || (err != nil) != c.refused {
				t.Errorf("%v, %v", fetch, err)
			}
		})
	}
}

// TestSyncAddresses holds the addresses to those that the vendor's script asks.
func TestSyncAddresses(t *testing.T) {
	t.Parallel()
	base, err := url.Parse(DefaultSyncURL)
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[syncPair]string{
		{"linux", "production", "x86_64"}: "https://go.microsoft.com/fwlink/?linkid=2144709",
		{"linux", "production", "arm64"}:  "https://go.microsoft.com/fwlink/?linkid=2144709&arch=arm64",
		{"linux", "preview", "x86_64"}:    "https://go.microsoft.com/fwlink/?linkid=2144709&engRing=3&sigRing=1",
		{"mac", "preview", "arm64"}:       "https://go.microsoft.com/fwlink/?linkid=2120136&arch=arm64&engRing=3&sigRing=1",
	} {
		if zip, info := p.address(base); zip.String() != want || info.String() != want+"&action=info" {
			t.Errorf("%s: %s and %s, want %s", p, zip, info, want)
		}
	}
}

// FuzzSyncSettings: no text breaks the parser, and no byte of it gets into a sentence.
func FuzzSyncSettings(f *testing.F) {
	for _, text := range []string{vendorSettings, `{"downloadLinuxUpdates": true, "x": "y"}`, utf16File(binary.BigEndian, vendorSettings), "\xff\xfe\x00", "[", "null"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseSyncSettings(data, "/home/u")
		if err != nil {
			if code, sentence, _ := reasonOf(err); code != codeConfig || printable.Sentence(sentence, len(sentence)) != sentence {
				t.Errorf("%q: %q", code, sentence)
			}
			return
		}
		if s.DownloadFolder == "" || s.LogFile == "" || !s.Linux && !s.Mac {
			t.Errorf("%+v", s)
		}
		for _, name := range s.Unknown {
			if printable.Sentence(name, len(name)) != name {
				t.Errorf("%q can not be shown", name)
			}
		}
	})
}

// FuzzSyncInfo: no answer breaks the parser, and what it gives are versions, which stand
// in the text.
func FuzzSyncInfo(f *testing.F) {
	for _, text := range []string{infoXML("1.407.417.0"), "<engine>", "<v><engine>1.1.1.1</engine><signatures>1.2.3.4</signatures></v>", "\xff\xfe<\x00", "<!DOCTYPE html><html>"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := parseInfo(data)
		if err != nil {
			if code, _, hint := reasonOf(err); code != "source_unreachable" || hint == "" {
				t.Errorf("%v", err)
			}
			return
		}
		if v.Engine.IsZero() || v.Definition.IsZero() {
			t.Errorf("%v", v)
		}
	})
}

// FuzzSyncManifest: the same for what lies in a tree.
func FuzzSyncManifest(f *testing.F) {
	for _, text := range []string{infoJSON("1.407.417.0"), "{}", `{"EngineVersion": 1}`, "\xef\xbb\xbf{}"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, ok := parseManifest(data)
		if !ok {
			return
		}
		again, err := manifestOf(v)
		if err != nil {
			t.Fatal(err)
		}
		if back, ok := parseManifest(again); !ok || back != v {
			t.Errorf("%v becomes %v", v, back)
		}
	})
}
