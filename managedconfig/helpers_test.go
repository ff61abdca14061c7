package managedconfig

import (
	"errors"
	"strings"
	"testing"
)

// parse reads text as the managed file m.json.
func parse(t *testing.T, text string) (Document, error) {
	t.Helper()
	return Parse(Source{Origin: OriginManaged, File: "m.json", Data: []byte(text)})
}

// mustParse reads text that is right.
func mustParse(t *testing.T, origin Origin, text string) Document {
	t.Helper()
	doc, err := Parse(Source{Origin: origin, File: string(origin) + ".json", Data: []byte(text)})
	if err != nil {
		t.Fatalf("Parse(%s): %v", text, err)
	}
	return doc
}

// checkReason makes sure that err is an *Error that is fit for a report, and
// that its sentence and hint have these parts.
func checkReason(t *testing.T, err error, inSentence, inHint string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v (%T), want an *Error with %q", err, err, inSentence)
	}
	code, sentence, hint := e.Reason()
	if code != "config_invalid" || hint == "" {
		t.Errorf("code %q, hint %q", code, hint)
	}
	checkLine(t, sentence)
	checkLine(t, hint)
	if !strings.Contains(sentence, inSentence) {
		t.Errorf("sentence %q lacks %q", sentence, inSentence)
	}
	if !strings.Contains(hint, inHint) {
		t.Errorf("hint %q lacks %q", hint, inHint)
	}
}

// checkLine makes sure that text keeps a report's rows apart.
func checkLine(t *testing.T, text string) {
	t.Helper()
	if strings.ContainsAny(text, "\"'`\n\r\t\x00") || strings.Contains(text, " : ") {
		t.Errorf("not fit for a report: %q", text)
	}
}

// checkWarnings makes sure that the warnings are these, each known by a part of
// its sentence and hint.
func checkWarnings(t *testing.T, got []Warning, want ...string) {
	t.Helper()
	for i, w := range got {
		checkLine(t, w.Sentence)
		checkLine(t, w.Hint)
		if w.Hint == "" || w.Key == "" || w.File == "" {
			t.Errorf("warning lacks a part: %+v", w)
		}
		if i < len(want) && !strings.Contains(w.Sentence+" | "+w.Hint, want[i]) {
			t.Errorf("warning %d is %q | %q, want %q", i, w.Sentence, w.Hint, want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d warnings, want %d: %+v", len(got), len(want), got)
	}
}

// row finds a row by its name.
func row(t *testing.T, s Settings, name string) Row {
	t.Helper()
	for _, r := range s.Rows() {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("no row %s", name)
	return Row{}
}
