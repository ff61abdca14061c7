package verifier

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// wireList is the JSON of a list, in the order in which MarshalList writes it.
type wireList struct {
	Type              string     `json:"type"`
	Product           string     `json:"product"`
	Platform          string     `json:"platform"`
	Arch              string     `json:"arch"`
	Rings             []string   `json:"rings"`
	EngineVersion     string     `json:"engineVersion"`
	DefinitionVersion string     `json:"definitionVersion"`
	Released          string     `json:"released"`
	Issued            string     `json:"issued"`
	Expires           string     `json:"expires"`
	Zip               string     `json:"zip,omitempty"`
	PromotionLog      hint       `json:"promotionLog,omitempty"`
	VendorSigned      hint       `json:"vendorSigned,omitempty"`
	Files             []wireFile `json:"files"`

	rawFiles []json.RawMessage
	hasZip   bool
}

type wireFile struct {
	Name   string          `json:"name"`
	Size   json.RawMessage `json:"size"` // raw, since json.Number would take a string, too
	SHA256 string          `json:"sha256"`
}

// keys says where the value of each key of a list goes when it is read. A null
// leaves its target empty, and no rule of a list lets an empty value pass.
func (w *wireList) keys() map[string]any {
	return map[string]any{
		"type": &w.Type, "product": &w.Product, "platform": &w.Platform, "arch": &w.Arch, "rings": &w.Rings,
		"engineVersion": &w.EngineVersion, "definitionVersion": &w.DefinitionVersion,
		"released": &w.Released, "issued": &w.Issued, "expires": &w.Expires,
		"zip": &optional{&w.Zip, &w.hasZip}, "promotionLog": &w.PromotionLog, "files": &w.rawFiles,
	}
}

func (f *wireFile) keys() map[string]any {
	return map[string]any{"name": &f.Name, "size": &f.Size, "sha256": &f.SHA256}
}

// optional tells an absent key from an empty value.
type optional struct {
	value   *string
	present *bool
}

func (o *optional) UnmarshalJSON(data []byte) error {
	*o.present = true
	return json.Unmarshal(data, o.value)
}

// hint is a value that decides nothing by itself: what is no SHA-256 in hexadecimal is as good
// as absent, as it is for a reader that does not know the key.
type hint string

func (h *hint) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil && lowerHex.MatchString(text) {
		*h = hint(text)
	}
	return nil
}

// decodeExact reads the object in data into targets, key by key. encoding/json
// by itself would take Files for files and let the last of several spellings
// win; here a key in another case is simply an unknown one, and ignored.
func decodeExact(data []byte, targets map[string]any) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return err
	}
	for key, target := range targets {
		raw, ok := members[key]
		if !ok {
			continue
		}
		if err := json.Unmarshal(raw, target); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

// checkJSON makes sure that data is one JSON object, in valid UTF-8, of bounded
// depth, with nothing behind it and no key twice in one object: whatever reads
// it, reads the same.
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return broken("it is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return broken("it is not a JSON object")
	}
	if err := checkObject(dec, 1); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return broken("something stands behind the JSON object")
	}
	return nil
}

func checkObject(dec *json.Decoder, depth int) error {
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return err
		}
		key, _ := tok.(string) // the decoder gives nothing else here
		if seen[key] {
			return broken("a key stands twice in one object")
		}
		seen[key] = true
		if err := checkValue(dec, depth); err != nil {
			return err
		}
	}
	_, err := dec.Token() // the closing brace
	return err
}

func checkValue(dec *json.Decoder, depth int) error {
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	open, isDelim := tok.(json.Delim)
	if !isDelim {
		return nil
	}
	if depth++; depth > MaxJSONDepth {
		return broken("it is nested deeper than %d", MaxJSONDepth)
	}
	if open == '{' {
		return checkObject(dec, depth)
	}
	for dec.More() {
		if err := checkValue(dec, depth); err != nil {
			return err
		}
	}
	_, err = dec.Token() // the closing bracket
	return err
}
