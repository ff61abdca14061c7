package managedconfig

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// codeInvalid is the one code of this package's errors.
const codeInvalid = "config_invalid"

// Bounds, in bytes, of what is quoted in a sentence or a hint.
const (
	maxShownValue = 64
	maxShownPath  = 512
)

// Error says why a file, or one value, can't be used. All its parts are our own
// configuration, cleaned so that they stay on one line; only Err may hold more,
// and belongs into the log.
type Error struct {
	File    string // as it was given; empty for a value that came from no file
	Line    int    // counted from 1; 0 where no line is at fault
	Column  int    // in characters, counted from 1; 0 where only the line is known
	Key     string // section.key as it stands in the file, or empty
	Value   string // the value, cleaned and cut to 64 bytes, or empty
	Problem string // what is wrong, or what is allowed
	Hint    string // what to do
	Err     error  // cause, may be nil
}

// Reason gives the code (always config_invalid), a sentence of one line without
// quotes, and what to do.
func (e *Error) Reason() (code, sentence, hint string) {
	return codeInvalid, compose(e.File, e.Line, e.Column, e.Key, e.Value, e.Problem), e.Hint
}

// Error gives "config_invalid: sentence", and the cause where there is one.
func (e *Error) Error() string {
	code, text, _ := e.Reason()
	text = code + ": " + text
	if e.Err != nil {
		text += " (" + e.Err.Error() + ")"
	}
	return text
}

// Unwrap gives the cause, or nil.
func (e *Error) Unwrap() error { return e.Err }

// at gives e its place in a file.
func (e *Error) at(file string, line int, key string) *Error {
	e.File, e.Line, e.Key = file, line, key
	return e
}

// Warning is something that an administrator should see but that stops nothing.
type Warning struct {
	File     string // the file that it is about
	Key      string // section.key as it stands there
	Sentence string // complete by itself: file, line, key and what is the matter
	Hint     string // what to do
}

// compose makes a sentence of the parts that are known.
func compose(file string, line, column int, key, value, problem string) string {
	var parts []string
	where := clean(file, maxShownPath)
	if line > 0 {
		where = strings.TrimSpace(fmt.Sprintf("%s line %d", where, line))
	}
	if column > 0 {
		where += fmt.Sprintf(" column %d", column)
	}
	if where != "" {
		parts = append(parts, where)
	}
	switch key = clean(key, maxShownPath); {
	case key != "" && value != "":
		parts = append(parts, key+" is "+value)
	case key != "" || value != "":
		parts = append(parts, key+value)
	}
	return strings.Join(append(parts, problem), ", ")
}

// clean makes text fit for a sentence: printable, on one line, without quotes
// and without the " : " that parsers of the health report split at. What does
// not fit into limit bytes is cut, and shown to be.
func clean(text string, limit int) string {
	const cut = "..."
	var out strings.Builder
	before := ' ' // the text follows a space where it is used
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		shown := escapeRune(r, before)
		if r == utf8.RuneError && size == 1 {
			shown = fmt.Sprintf(`\x%02x`, text[0])
		}
		text = text[size:]
		if room := limit - out.Len(); len(shown) > room || text != "" && len(shown)+len(cut) > room {
			return out.String() + cut
		}
		out.WriteString(shown)
		before = r
	}
	return out.String()
}

// escapeRune gives the spelling of r behind another rune.
func escapeRune(r, before rune) string {
	switch {
	case strings.ContainsRune("\"'`\\", r), r == ':' && before == ' ':
		return fmt.Sprintf(`\x%02x`, r)
	case !unicode.IsPrint(r):
		return fmt.Sprintf(`\u%04x`, r)
	}
	return string(r)
}
