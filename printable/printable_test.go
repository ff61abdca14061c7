package printable_test

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"mdatp-offline-agent/printable"
)

func TestText(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, text, sentence string }{
		{"plain", "CN=Mirror of Zürich, O=例", "CN=Mirror of Zürich, O=例", "CN=Mirror of Zürich, O=例"},
		{"empty", "", "", ""},
		{"lines", "a\nb\r\nc\td\x00e\u2028f", "a?b??c?d?e?f", "a?b??c?d?e?f"},
		{"escapes of a terminal", "\x1b[2Ja\x9b", "?[2Ja?", "?[2Ja?"},
		{"not UTF-8", "a\xffb\xc3", "a?b?", "a?b?"},
		{"U+FFFD itself", "\ufffd", "?", "?"},
		{"turned", "a\u202eb\u2066c\u200f", "a?b?c?", "a?b?c?"},
		{"without width", "a\u200bb\u200dc\ufeffd\u034fe\ufe0ff\u00adg", "a?b?c?d?e?f?g", "a?b?c?d?e?f?g"},
		{"blank letters", "a\u3164b\u115fc", "a?b?c", "a?b?c"},
		{"other spaces", "a\u00a0b\u3000c", "a?b?c", "a?b?c"},
		{"quotes", `say "so"`, `say "so"`, `say ?so?`},
		{"separators", "a : b : : c :", "a : b : : c :", "a ? b ? ? c ?"},
		{"separators at an end", ": a", ": a", "? a"},
		{"separators alone", ":", ":", "?"},
		{"colons", "a: b:c::1", "a: b:c::1", "a: b:c::1"},
	}
	for _, tt := range tests {
		if got := printable.Text(tt.in, 1000); got != tt.text {
			t.Errorf("%s: text %q, want %q", tt.name, got, tt.text)
		}
		if got := printable.Sentence(tt.in, 1000); got != tt.sentence {
			t.Errorf("%s: sentence %q, want %q", tt.name, got, tt.sentence)
		}
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int]string{-1: "", 0: "", 1: ".", 3: "...", 4: "...", 5: "ü...", 6: "ü...", 7: "üü...", 8: "üüüü", 9: "üüüü"} {
		if got := printable.Text("üüüü", limit); got != want {
			t.Errorf("limit %d: %q, want %q", limit, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\nb", 10)
	f.Add("\ufffd\ufe0f\U000e0100\U000e0001\"\\", 100)
	f.Add("\u202e : \" : : \xff", 5)
	f.Add(strings.Repeat("ü", 10), 7)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		for name, show := range map[string]func(string, int) string{"Text": printable.Text, "Sentence": printable.Sentence} {
			got := show(s, limit)
			if len(got) > max(limit, 0) || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !printable.Rune(r) || unicode.IsControl(r) }) {
				t.Errorf("%s(%q, %d) = %q", name, s, limit, got)
			}
			if again := show(got, limit); again != got {
				t.Errorf("%s changes its own %q to %q", name, got, again)
			}
		}
		if got := printable.Sentence(s, limit); strings.ContainsAny(got, "\"'`") || strings.Contains(" "+got+" ", " : ") {
			t.Errorf("Sentence(%q, %d) = %q", s, limit, got)
		}
		object, err := json.Marshal([]string{s})
		if err != nil {
			t.Fatal(err)
		}
		var before, after []string
		shown := printable.JSON(object)
		if json.Unmarshal(object, &before) != nil || json.Unmarshal(shown, &after) != nil || before[0] != after[0] || bytes.ContainsFunc(shown, func(r rune) bool { return !printable.Rune(r) }) {
			t.Errorf("JSON(%s) = %s", object, shown)
		}
		quoted := printable.Quote(s)
		if back, err := strconv.Unquote(quoted); err != nil || back != s || strings.ContainsFunc(quoted, func(r rune) bool { return !printable.Rune(r) }) {
			t.Errorf("Quote(%q) = %s: %v", s, quoted, err)
		}
	})
}
