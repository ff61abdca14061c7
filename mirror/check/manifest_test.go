package check

import (
	"errors"
	"testing"
)

func TestParseManifest(t *testing.T) {
	t.Parallel()
	const good = `{"EngineVersion": "1.1.24080.9", "DefinitionVersion": "1.407.417.0"}`
	tests := []struct {
		name, text string
		want       error
	}{
		{"as it should be", good, nil},
		{"as the vendor's script for Windows writes it", "\xef\xbb\xbf{\r\n  \"DefinitionVersion\":  \"1.407.417.0\",\r\n  \"EngineVersion\":  \"1.1.24080.9\"\r\n}\r\n", nil},
		{"with more in it", `{"EngineVersion": "1.1.24080.9", "DefinitionVersion": "1.407.417.0", "Size": 3}`, nil},
		{"as the vendor's script leaves it when the cloud fails", `{"EngineVersion": "", "DefinitionVersion": ""}`, errManifestEmpty},
		{"half of it", `{"EngineVersion": "1.1.24080.9", "DefinitionVersion": ""}`, errManifestEmpty},
		{"cut", good[:20], errManifestForm},
		{"nothing", "", errManifestForm},
		{"null", "null", errManifestForm},
		{"a number", `{"EngineVersion": 1.1, "DefinitionVersion": "1.407.417.0"}`, errManifestForm},
		{"one is not there", `{"EngineVersion": "1.1.24080.9"}`, errManifestForm},
		{"a list", "[" + good + "]", errManifestForm},
		{"more behind it", good + good, errManifestForm},
		{"a web page", "<html><body>404</body></html>", errManifestForm},
		{"no version", `{"EngineVersion": "latest", "DefinitionVersion": "1.407.417.0"}`, errManifestForms},
		{"no version of definitions", `{"EngineVersion": "1.1.24080.9", "DefinitionVersion": "1.407"}`, errManifestForms},
	}
	for _, tt := range tests {
		m, err := parseManifest([]byte(tt.text))
		if !errors.Is(err, tt.want) || tt.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err == nil && (m.Engine.String() != "1.1.24080.9" || m.Definition.String() != "1.407.417.0") {
			t.Errorf("%s: %+v", tt.name, m)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"EngineVersion": "1.1.24080.9", "DefinitionVersion": "1.407.417.0"}`))
	f.Add([]byte("\xef\xbb\xbf{}"))
	f.Add([]byte(`{"EngineVersion": "", "DefinitionVersion": null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest(data)
		if err != nil {
			return
		}
		// What was understood has one spelling, which is understood as the same.
		again, err := parseManifest([]byte(`{"EngineVersion":"` + m.Engine.String() + `","DefinitionVersion":"` + m.Definition.String() + `"}`))
		if err != nil || again != m {
			t.Errorf("%+v becomes %+v, %v", m, again, err)
		}
	})
}
