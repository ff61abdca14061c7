package managedconfig

import (
	"fmt"
	"strings"

	"mdatp-offline-agent/printable"
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
	where := printable.Sentence(file, maxShownPath)
	if line > 0 {
		where = strings.TrimSpace(fmt.Sprintf("%s line %d", where, line))
	}
	if column > 0 {
		where += fmt.Sprintf(" column %d", column)
	}
	if where != "" {
		parts = append(parts, where)
	}
	switch key = printable.Sentence(key, maxShownPath); {
	case key != "" && value != "":
		parts = append(parts, key+" is "+value)
	case key != "" || value != "":
		parts = append(parts, key+value)
	}
	return strings.Join(append(parts, problem), ", ")
}
