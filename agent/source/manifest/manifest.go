// Package manifest reads manifest.json, which the vendor's tools keep beside a package.
//
// Whatever of this project reads one reads it by this package, so that a mirror's
// side and an endpoint's call the same file good. What is read is bounded by
// MaxSize, which is for the caller to keep. Nothing here is believed: nobody signs
// the file, and no endpoint goes by it.
package manifest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"unicode/utf16"

	"mdatp-offline-agent/verifier"
)

// Name is the name of the file.
const Name = "manifest.json"

// MaxSize is the most that it may have, in bytes. The vendor's has less than a hundred.
const MaxSize = 64 << 10

// Manifest is what it says.
type Manifest struct {
	Engine, Definition verifier.Version
}

// Why a manifest can't be used.
var (
	ErrForm    = errors.New("it is no JSON object with the two versions as texts")
	ErrEmpty   = errors.New("a version in it is empty")
	ErrVersion = errors.New("a version in it is not made of four numbers")
)

// Parse reads a manifest, as the vendor's scripts write it in bash and in PowerShell.
// The one for Linux leaves the versions empty where it could not get them. The error
// is one of ErrForm, ErrEmpty and ErrVersion.
func Parse(data []byte) (Manifest, error) {
	var text struct{ EngineVersion, DefinitionVersion *string }
	if err := json.Unmarshal(UTF8(data), &text); err != nil || text.EngineVersion == nil || text.DefinitionVersion == nil {
		return Manifest{}, ErrForm
	}
	if *text.EngineVersion == "" || *text.DefinitionVersion == "" {
		return Manifest{}, ErrEmpty
	}
	engine, errEngine := verifier.ParseVersion(*text.EngineVersion)
	definition, errDefinition := verifier.ParseVersion(*text.DefinitionVersion)
	if errEngine != nil || errDefinition != nil || engine.IsZero() || definition.IsZero() {
		return Manifest{}, ErrVersion
	}
	return Manifest{Engine: engine, Definition: definition}, nil
}

// UTF8 takes a byte order mark away, and turns UTF-16 into UTF-8: older PowerShell
// writes it, also by the vendor's settings.ps1.
func UTF8(data []byte) []byte {
	const mark8 = "\xef\xbb\xbf"
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
		order = binary.LittleEndian
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		order = binary.BigEndian
	default:
		return bytes.TrimPrefix(data, []byte(mark8))
	}
	var units []uint16
	for rest := data[2:]; len(rest) >= 2; rest = rest[2:] {
		units = append(units, order.Uint16(rest))
	}
	return []byte(string(utf16.Decode(units)))
}
