// Package printable makes bytes from outside fit to be shown: subject names of
// certificates, headers, names of files, output of other programs, and errors
// that quote them. Such bytes pass through it once, where they enter.
//
// What it gives is one line of bounded length, valid UTF-8, without anything that
// a terminal obeys or that shows as something else than it is: no control
// characters, no line ends, nothing that turns the direction of text, nothing
// without width. It does not promise that the text is true, nor that letters of
// two scripts that look the same are told apart.
//
// Lengths of time become words here, too, so that every report has the same ones.
package printable

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// What is shown in place of what can't be, and of what is too much.
const (
	instead = '?'
	cut     = "..."
)

// Rune tells whether a character may be shown as it is. U+FFFD may not: it stands
// for bytes that are no text.
func Rune(r rune) bool {
	return unicode.IsPrint(r) && r != utf8.RuneError && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// Text gives s for a line of its own, such as in a log or on a terminal, in at
// most limit bytes. What may not be shown becomes a question mark, and what is
// cut off shows as three dots. It changes nothing that it made itself.
func Text(s string, limit int) string {
	return bounded(strings.Map(func(r rune) rune {
		if Rune(r) {
			return r
		}
		return instead
	}, s), limit)
}

// Sentence gives s for a part of a sentence of a report, which is shown between
// quotes and split at " : " by people's scripts: beside what Text does, no quotes of
// any kind are in it and no " : ", nor does that come about where the part meets a
// space.
func Sentence(s string, limit int) string {
	s = " " + unquoted.Replace(Text(s, limit)) + " "
	for strings.Contains(s, " : ") { // one replacement may leave another: " : : "
		s = strings.ReplaceAll(s, " : ", " ? ")
	}
	return s[1 : len(s)-1]
}

var unquoted = strings.NewReplacer(`"`, string(instead), "'", string(instead), "`", string(instead))

// Quote gives s between quotes such that nothing is lost: what may not be shown is
// written as Go writes it in a string, and strconv.Unquote gives it back. It may
// be some times as long as s.
func Quote(s string) string {
	quoted := strconv.Quote(s)
	if !strings.ContainsFunc(quoted, func(r rune) bool { return !Rune(r) }) {
		return quoted
	}
	var out strings.Builder
	for _, r := range quoted {
		if Rune(r) {
			out.WriteRune(r)
		} else if r > 0xffff {
			fmt.Fprintf(&out, `\U%08x`, r)
		} else {
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}

// JSON gives a JSON text such that nothing is lost: what may not be shown, which can
// only be in its strings, is escaped there.
func JSON(text []byte) []byte {
	if !bytes.ContainsFunc(text, func(r rune) bool { return r != '\n' && !Rune(r) }) {
		return text
	}
	var out []byte
	for _, r := range string(text) {
		switch high, low := utf16.EncodeRune(r); {
		case r == '\n' || Rune(r):
			out = utf8.AppendRune(out, r)
		case high == utf8.RuneError: // it takes no pair
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		}
	}
	return out
}

// bounded cuts text at the last whole character that fits.
func bounded(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	end := max(limit-len(cut), 0)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + cut[:min(len(cut), max(limit, 0))]
}
