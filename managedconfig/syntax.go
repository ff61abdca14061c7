package managedconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"mdatp-offline-agent/printable"
)

const byteOrderMark = "\ufeff"

// checkSyntax makes sure that data is one JSON value in UTF-8, and else says
// where it stops being so. What it accepts, the walk can read token by token.
func checkSyntax(file string, data []byte) *Error {
	if len(data) > MaxFileSize {
		return tooLarge(file)
	}
	if !utf8.Valid(data) {
		return brokenAt(file, data, firstInvalid(data), "the file is not UTF-8 text", "save it as UTF-8, not as UTF-16 or Latin-1", nil)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return &Error{File: file, Problem: "the file is empty", Hint: "write {} into it for no settings, or remove it"}
	}
	var whole json.RawMessage
	err := json.Unmarshal(data, &whole)
	if err == nil {
		return nil
	}
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) || syntax.Offset < 1 || syntax.Offset > int64(len(data)) {
		return &Error{File: file, Problem: "the file is not valid JSON", Hint: tryTool(file), Err: err}
	}
	bad := int(syntax.Offset) - 1
	problem, hint := explain(data, bad, strings.HasPrefix(syntax.Error(), "unexpected end"))
	return brokenAt(file, data, bad, problem, hint+", and check with "+tryTool(file), err)
}

// explain guesses from the byte where reading stopped, and from what stands
// before it, which of the usual slips it was.
func explain(data []byte, bad int, atEnd bool) (problem, hint string) {
	before := bytes.TrimRight(data[:bad], " \t\r\n")
	var last byte
	if len(before) > 0 {
		last = before[len(before)-1]
	}
	switch c := data[bad]; {
	case atEnd:
		return "the file ends too early", "close what is open, a brace, a bracket or a quote"
	case (c == '}' || c == ']') && last == ',':
		return "a comma stands before the closing bracket", "remove that comma"
	case c == '\n' || c == '\r' || c == '\t':
		return "a text is not closed on its line, or has a tab in it", "add the missing quote"
	case c == '\'':
		return "a single quote is no JSON", "use double quotes"
	case c == '/' || c == '#':
		return "JSON has no comments", "remove the comment"
	case c == '"' && last != ',' && last != '{':
		return "a comma or colon is missing before this text", "add it"
	case c == '}' || c == ']':
		return "a bracket is closed that does not fit, or a value is missing", "add what is missing before it"
	}
	return "the file is not valid JSON", "look for a missing quote, comma or bracket"
}

func tryTool(file string) string {
	return "python3 -m json.tool " + printable.Sentence(file, maxShownPath)
}

// brokenAt is an error at a byte of data.
func brokenAt(file string, data []byte, offset int, problem, hint string, cause error) *Error {
	start := bytes.LastIndexByte(data[:offset], '\n') + 1
	return &Error{
		File: file, Line: 1 + bytes.Count(data[:offset], []byte("\n")), Column: 1 + utf8.RuneCount(data[start:offset]),
		Problem: problem, Hint: hint, Err: cause,
	}
}

// firstInvalid is the offset of the first byte that is no UTF-8.
func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return 0
}
