package check

import (
	"bytes"
	"encoding/json"
	"errors"

	"mdatp-offline-agent/verifier"
)

// manifestName is the file beside a package that the vendor's tools read.
const manifestName = "manifest.json"

// maxManifest bounds it, in bytes. The vendor's has less than a hundred.
const maxManifest = 16 << 10

// Manifest is what manifest.json says. Nobody signs it, and endpoints never ask
// for it.
type Manifest struct {
	Engine, Definition verifier.Version
}

// Why a manifest can't be used.
var (
	errManifestForm  = errors.New("it is no JSON object with the two versions as texts")
	errManifestEmpty = errors.New("a version in it is empty")
	errManifestForms = errors.New("a version in it is not made of four numbers")
)

// parseManifest reads manifest.json. The vendor's script for Windows may put a byte
// order mark before it, and its script for Linux leaves the versions empty where it
// could not get them.
func parseManifest(data []byte) (Manifest, error) {
	var text struct{ EngineVersion, DefinitionVersion *string }
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if err := json.Unmarshal(data, &text); err != nil || text.EngineVersion == nil || text.DefinitionVersion == nil {
		return Manifest{}, errManifestForm
	}
	if *text.EngineVersion == "" || *text.DefinitionVersion == "" {
		return Manifest{}, errManifestEmpty
	}
	engine, err := verifier.ParseVersion(*text.EngineVersion)
	if err != nil {
		return Manifest{}, errManifestForms
	}
	definition, err := verifier.ParseVersion(*text.DefinitionVersion)
	if err != nil {
		return Manifest{}, errManifestForms
	}
	return Manifest{Engine: engine, Definition: definition}, nil
}
