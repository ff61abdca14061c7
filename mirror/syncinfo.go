package mirror

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/manifest"
	"mdatp-offline-agent/verifier"
)

// versions are those of one package.
type versions struct {
	Engine, Definition verifier.Version
}

// compare orders as endpoints do: by the definitions, then by the engine.
func (v versions) compare(w versions) int {
	if c := v.Definition.Compare(w.Definition); c != 0 {
		return c
	}
	return v.Engine.Compare(w.Engine)
}

// maxInfo is the most that the cloud's answer to action=info may have, in bytes.
// It is also what a source keeps in memory.
const maxInfo = 64 << 10

// parseInfo reads the cloud's answer to action=info: an XML document with an
// element engine and an element signatures somewhere in it. The document is not
// published, so nothing else of it is relied upon; what says two different things
// about one version is refused.
func parseInfo(data []byte) (versions, error) {
	var v versions
	dec := xml.NewDecoder(bytes.NewReader(manifest.UTF8(data)))
	// All that matters is ASCII, whatever the document calls itself.
	dec.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	for {
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return v, badInfo(err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		to := map[string]*verifier.Version{"engine": &v.Engine, "signatures": &v.Definition}[start.Name.Local]
		if to == nil {
			continue
		}
		var text string
		if err := dec.DecodeElement(&text, &start); err != nil {
			return v, badInfo(err)
		}
		parsed, err := verifier.ParseVersion(strings.TrimSpace(text))
		if err != nil || !to.IsZero() && *to != parsed {
			return v, badInfo(err)
		}
		*to = parsed
	}
	if v.Engine.IsZero() || v.Definition.IsZero() {
		return v, badInfo(nil)
	}
	return v, nil
}

func badInfo(cause error) error {
	return &source.Error{Code: source.CodeUnreachable, Sentence: "the answer to action=info does not name an engine and a definition version",
		Hint: "a portal or a proxy may answer in place of the cloud, so fetch the address with action=info by hand and look at it", Err: cause}
}

// parseManifest reads a manifest.json. It gives false where the versions are not
// there or are no versions.
func parseManifest(data []byte) (versions, bool) {
	m, err := manifest.Parse(data)
	return versions(m), err == nil
}
