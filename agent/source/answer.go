package source

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter bounds how long a server can send us away.
const maxRetryAfter = 6 * time.Hour

// maxETag is the longest entity tag that is kept, in bytes, quotes included.
const maxETag = 256

// freshWindow is how near to the answer's Date a Last-Modified makes the entity
// tag worthless: common servers derive the tag from time and size, and a file
// written twice within a second has one tag for two contents.
const freshWindow = 2 * time.Second

// answer is a server's final answer: the one that is no redirect we follow.
type answer struct {
	*http.Response
	where string // who gave it, as sentences show it
	asked string // what was asked for by configuration, as hints show it
	// conditional says that an If-None-Match was sent.
	conditional bool
}

// check decides whether the body is the object that r asks for, before a byte
// of it is read.
func (a *answer) check(r Request) error {
	if a.StatusCode == http.StatusNotModified && a.conditional {
		return ErrNotModified
	}
	if a.StatusCode != http.StatusOK {
		return a.statusError(r.Name)
	}
	for _, coding := range a.Header.Values("Content-Encoding") {
		if coding != "" && !strings.EqualFold(coding, "identity") {
			return &Error{
				Code:     CodeUnreachable,
				Sentence: fmt.Sprintf("%s sent a compressed body that was not asked for", a.where),
				Hint:     "turn content compression off for packages on the server or on a proxy before it",
			}
		}
	}
	if a.ContentLength > r.MaxBytes {
		return tooLarge(r.Name, a.where, r.MaxBytes)
	}
	return nil
}

// statusError is what any status but 200 means. Sentences hold the number and
// never the text, which is the server's.
func (a *answer) statusError(name string) error {
	e := &Error{Code: CodeUnreachable}
	switch code := a.StatusCode; code {
	case http.StatusNotFound, http.StatusGone:
		e.Code, e.Missing = CodeNotFound, true
		e.Sentence = fmt.Sprintf("%s has no %s (status %d)", a.where, label(name), code)
		e.Hint = "it was asked for at " + a.asked + "; check the configured URL and that the mirror has been filled"
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		e.Code, e.Missing = CodeForbidden, code == http.StatusForbidden
		e.Sentence = fmt.Sprintf("%s does not permit reading %s (status %d)", a.where, label(name), code)
		e.Hint = "it was asked for at " + a.asked + "; check access rules on the server and file permissions there"
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		e.Code = CodeRateLimited
		e.RetryAfter = retryAfter(a.Header)
		e.Sentence = fmt.Sprintf("%s asks to come back later (status %d)", a.where, code)
		e.Hint = "the server is busy or limits requests; the next attempt waits as long as it asked for"
	case http.StatusNotModified:
		e.Sentence = fmt.Sprintf("%s answered 304 to a request without a condition", a.where)
		e.Hint = "a broken cache or proxy is likely; empty it or go around it"
	default:
		e.Sentence = fmt.Sprintf("%s answered with status %d in place of a package", a.where, code)
		e.Hint = "it was asked for at " + a.asked + "; the server's log tells more"
	}
	return e
}

// retryAfter reads how long the server asks us to stay away, as seconds or as a
// date. A date is taken against the server's own Date, whose clock it was made
// by; ours may be wrong. What can't be read is no wish.
func retryAfter(h http.Header) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	seconds, err := strconv.ParseUint(value, 10, 31)
	if err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	if errors.Is(err, strconv.ErrRange) {
		return maxRetryAfter
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return min(max(until.Sub(now), 0), maxRetryAfter)
}

// keptValidator gives the validator in an answer's header, or zero where there
// is none that a later 304 could be trusted for.
func keptValidator(h http.Header) Validator {
	tags := h.Values("ETag")
	if len(tags) != 1 || !wellFormed(tags[0]) || justWritten(h) {
		return Validator{}
	}
	return Validator{ETag: tags[0]}
}

// wellFormed says whether s is an entity tag, weak or strong, of visible ASCII
// characters between quotes. It also guards what goes out again in a header.
func wellFormed(s string) bool {
	opaque, found := strings.CutPrefix(strings.TrimPrefix(s, "W/"), `"`)
	opaque, closed := strings.CutSuffix(opaque, `"`)
	if !found || !closed || len(s) > maxETag {
		return false
	}
	return !strings.ContainsFunc(opaque, func(r rune) bool {
		return r <= ' ' || r == '"' || r > '~'
	})
}

// justWritten says whether the object may still be being written. Without a Date
// to compare with, a Last-Modified proves nothing, and that counts as yes.
func justWritten(h http.Header) bool {
	if h.Get("Last-Modified") == "" {
		return false
	}
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil {
		return true
	}
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return true
	}
	return date.Sub(modified).Abs() <= freshWindow
}
