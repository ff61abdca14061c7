package manifest

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	const good = `{"EngineVersion": "1.1.24080.9", "DefinitionVersion": "1.407.417.0"}`
	tests := []struct {
		name, text string
		want       error
	}{
		{"as it should be", good, nil},
		{"as the vendor's script for Windows writes it", "\xef\xbb\xbf{\r\n  \"DefinitionVersion\":  \"1.407.417.0\",\r\n  \"EngineVersion\":  \"1.1.24080.9\"\r\n}\r\n", nil},
		{"as older PowerShell writes it", "\xff\xfe" + wide(good), nil},
		{"with more in it", `{"EngineVersion": "1.1.24080.9", "DefinitionVersion": "1.407.417.0", "Size": 3}`, nil},
		{"as the vendor's script leaves it when the cloud fails", `{"EngineVersion": "", "DefinitionVersion": ""}`, ErrEmpty},
		{"half of it", `{"EngineVersion": "1.1.24080.9", "DefinitionVersion": ""}`, ErrEmpty},
		{"cut", good[:20], ErrForm},
		{"nothing", "", ErrForm},
		{"null", "null", ErrForm},
		{"a number", `{"EngineVersion": 1.1, "DefinitionVersion": "1.407.417.0"}`, ErrForm},
		{"one is not there", `{"EngineVersion": "1.1.24080.9"}`, ErrForm},
		{"a list", "[" + good + "]", ErrForm},
		{"more behind it", good + good, ErrForm},
		{"a web page", "<html><body>404</body></html>", ErrForm},
		{"zero, which is none", `{"EngineVersion": "0.0.0.0", "DefinitionVersion": "1.407.417.0"}`, ErrVersion},
		{"UTF-16 that is cut", "\xff\xfe" + wide(good)[:41], ErrForm},
		{"no version", `{"EngineVersion": "latest", "DefinitionVersion": "1.407.417.0"}`, ErrVersion},
		{"no version of definitions", `{"EngineVersion": "1.1.24080.9", "DefinitionVersion": "1.407"}`, ErrVersion},
	}
	for _, tt := range tests {
		m, err := Parse([]byte(tt.text))
		if !errors.Is(err, tt.want) || tt.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err == nil && (m.Engine.String() != "1.1.24080.9" || m.Definition.String() != "1.407.417.0") {
			t.Errorf("%s: %+v", tt.name, m)
		}
	}
}

// wide is an ASCII text in UTF-16, the least byte first.
func wide(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		b.WriteByte(c)
		b.WriteByte(0)
	}
	return b.String()
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"EngineVersion": "1.1.24080.9", "DefinitionVersion": "1.407.417.0"}`))
	f.Add([]byte("\xef\xbb\xbf{}"))
	f.Add([]byte("\xfe\xff\x00{\x00}"))
	f.Add([]byte(`{"EngineVersion": "", "DefinitionVersion": null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil {
			return
		}
		// What was understood has one spelling, which is understood as the same.
		again, err := Parse([]byte(`{"EngineVersion":"` + m.Engine.String() + `","DefinitionVersion":"` + m.Definition.String() + `"}`))
		if err != nil || again != m {
			t.Errorf("%+v becomes %+v, %v", m, again, err)
		}
	})
}
