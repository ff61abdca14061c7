package managedconfig

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"mdatp-offline-agent/printable"
)

// MaxDepth is how deep objects and arrays of a file may be nested.
const MaxDepth = 32

// maxItems is how many items of a list are kept: one more than is ever allowed,
// so that a list that is too long can be told.
const maxItems = maxSigners + 1

// found is one value of ours, where it was found.
type found struct {
	place     // as it is written, not made canonical
	key   key // the key that is meant
	line  int // of the key
	value literal
}

// walk goes once through the tokens of a file and picks out what is ours.
type walk struct {
	file string
	data []byte
	dec  *json.Decoder

	line    int // of the token read last
	counted int // offset up to which line has counted

	seen     map[place]int // lines of our keys and sections
	values   []found       // in the order of the file
	warnings []Warning
}

// run reads data, which checkSyntax has accepted.
func (w *walk) run() *Error {
	w.dec = json.NewDecoder(bytes.NewReader(w.data))
	w.dec.UseNumber()
	w.seen = map[place]int{}
	w.line = 1
	tok, err := w.token()
	if err != nil {
		return err
	}
	if tok != json.Delim('{') {
		return &Error{File: w.file, Line: w.line, Problem: "the file is JSON, but not an object", Hint: "put the sections between { and }"}
	}
	return w.members("", 1)
}

// token reads one token, and counts lines. No JSON token contains a line end,
// so the line of its end is that of its start.
func (w *walk) token() (json.Token, *Error) {
	tok, err := w.dec.Token()
	if err != nil { // not after checkSyntax
		return nil, &Error{File: w.file, Line: w.line, Problem: "the file is not valid JSON", Hint: tryTool(w.file), Err: err}
	}
	end := int(w.dec.InputOffset())
	w.line += bytes.Count(w.data[w.counted:end], []byte("\n"))
	w.counted = end
	return tok, nil
}

// members reads what follows the opening brace of one of our sections (or of
// the file), to the closing one.
func (w *walk) members(section string, depth int) *Error {
	for w.dec.More() {
		tok, err := w.token()
		if err != nil {
			return err
		}
		name, _ := tok.(string) // the decoder gives nothing else here
		if err := w.member(place{section, name}, depth); err != nil {
			return err
		}
	}
	_, err := w.token()
	return err
}

// member reads the value of one member, ours or not.
func (w *walk) member(at place, depth int) *Error {
	line := w.line
	if isSection(at) {
		return w.section(at, depth)
	}
	k, ours := keyAt(at)
	if !ours {
		if err := w.stranger(at); err != nil {
			return err
		}
		return w.skip(depth)
	}
	if err := w.once(at); err != nil {
		return err
	}
	value, err := w.literal(depth)
	if err != nil {
		return err
	}
	w.values = append(w.values, found{place: at, key: k, line: line, value: value})
	return nil
}

func isSection(at place) bool {
	for _, s := range sections {
		if s == at {
			return true
		}
	}
	return false
}

// section reads one of our sections.
func (w *walk) section(at place, depth int) *Error {
	if err := w.once(at); err != nil {
		return err
	}
	line := w.line
	tok, err := w.token()
	if err != nil {
		return err
	}
	if tok != json.Delim('{') {
		return refuse(literal{value: tok}, "an object", "put the keys of the section between { and }, or remove it").at(w.file, line, at.String())
	}
	return w.members(at.String(), depth+1)
}

// once refuses what is ours and stands twice: one reader would take the first,
// another the last.
func (w *walk) once(at place) *Error {
	if first, ok := w.seen[at]; ok {
		return &Error{File: w.file, Line: w.line, Key: at.String(),
			Problem: fmt.Sprintf("it stands twice, on lines %d and %d", first, w.line), Hint: "keep one of the two and remove the other"}
	}
	w.seen[at] = w.line
	return nil
}

// stranger decides about a key that is not ours: nothing, a warning, or an
// error where ignoring it would fail open.
func (w *walk) stranger(at place) *Error {
	if slices.Contains(retired, at) {
		w.warn(at, w.line, "", "which the real product has given up, and which is not looked at here", "set antivirusEngine.enforcementLevel to real_time, on_demand or passive")
		return nil
	}
	meant, near := suggest(at)
	hint := "remove it, or use a version of the agent that knows it"
	if near {
		hint = fmt.Sprintf("did you mean %s", meant)
	}
	switch {
	case closed(at.section), near && failsOpen(at, meant):
		return &Error{File: w.file, Line: w.line, Key: at.String(), Hint: hint,
			Problem: "there is no such key, and a misspelt restriction would be none"}
	case near:
		w.warn(at, w.line, "", "which is no key of ours, but looks like one", hint)
	}
	return nil
}

// MaxWarnings is how many warnings of one file are kept.
const MaxWarnings = 100

func (w *walk) warn(at place, line int, value, text, hint string) {
	if len(w.warnings) >= MaxWarnings {
		return
	}
	key := at.String()
	w.warnings = append(w.warnings, Warning{File: w.file, Key: printable.Sentence(key, maxShownPath), Hint: hint,
		Sentence: compose(w.file, line, 0, key, value, text)})
}

// skip reads one value and forgets it.
func (w *walk) skip(depth int) *Error {
	tok, err := w.token()
	if err != nil {
		return err
	}
	return w.finish(tok, depth)
}

// finish reads to the end of the value that begins with tok, in a container at
// depth. It keeps a number instead of recursing.
func (w *walk) finish(tok json.Token, depth int) *Error {
	for open := 0; ; {
		switch tok {
		case json.Delim('{'), json.Delim('['):
			open++
		case json.Delim('}'), json.Delim(']'):
			open--
		}
		if depth+open > MaxDepth {
			return &Error{File: w.file, Line: w.line, Problem: fmt.Sprintf("the file is nested deeper than %d", MaxDepth),
				Hint: "check that it is the right file"}
		}
		if open == 0 {
			return nil
		}
		var err *Error
		if tok, err = w.token(); err != nil {
			return err
		}
	}
}

// literal reads the value of a key of ours, with the items of a list.
func (w *walk) literal(depth int) (literal, *Error) {
	tok, err := w.token()
	if err != nil {
		return literal{}, err
	}
	l := literal{value: tok}
	if tok != json.Delim('[') {
		return l, w.finish(tok, depth)
	}
	for w.dec.More() {
		item, err := w.token()
		if err != nil {
			return l, err
		}
		if err := w.finish(item, depth+1); err != nil {
			return l, err
		}
		if len(l.items) < maxItems {
			l.items = append(l.items, literal{value: item})
		}
	}
	_, err = w.token()
	return l, err
}
