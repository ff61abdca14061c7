package sourcetest

import (
	"errors"
	"strings"
	"testing"

	"mdatp-offline-agent/agent/source"
)

// WantReason checks that err is a source's Error with that code, and that what
// it shows to users keeps the rules: one line, no quotes, no " : ", no full stop
// at the end, and a hint.
func WantReason(t testing.TB, err error, code string) {
	t.Helper()
	var e *source.Error
	if !errors.As(err, &e) {
		t.Errorf("got %v, want an Error with code %s", err, code)
		return
	}
	got, sentence, hint := e.Reason()
	if got != code {
		t.Errorf("code %s, want %s, in: %v", got, code, err)
	}
	if sentence == "" || strings.ContainsAny(sentence, "\"\n\r\x00") || strings.Contains(sentence, " : ") || strings.HasSuffix(sentence, ".") {
		t.Errorf("sentence breaks the rules: %q", sentence)
	}
	if hint == "" || strings.ContainsAny(hint, "\n\r\x00") {
		t.Errorf("hint breaks the rules: %q", hint)
	}
	if !strings.HasPrefix(err.Error(), code+": "+sentence) {
		t.Errorf("error text %q does not begin with code and sentence", err)
	}
}
