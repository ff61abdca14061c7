package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MaxRetryAfter bounds how long a server can send us away.
const MaxRetryAfter = 6 * time.Hour

// query is one request, less what goes with every one of them.
type query struct {
	method string
	header http.Header
}

// newQuery asks for an object unless it still has the known entity tag. We don't
// want a content coding, since ranges, lengths and tags would be the coded bytes'.
func newQuery(method string, known Validator) query {
	q := query{method: method, header: http.Header{"Accept-Encoding": {"identity"}}}
	if wellFormed(known.ETag) {
		q.header.Set("If-None-Match", known.ETag)
	}
	return q
}

// answer is a server's final answer: the one that is no redirect we follow.
type answer struct {
	*http.Response
	where string // who gave it, as sentences show it
	asked string // what was asked for by configuration, as hints show it
	// conditional says that an If-None-Match was sent.
	conditional bool
	cut         context.CancelFunc // ends the request, whatever it is waiting for
}

// Close ends the request. The connection serves the next one where the body was
// read to its end.
func (a *answer) Close() {
	a.Body.Close()
	a.cut()
}

// The content codings of a body, as far as they make a difference to us.
type coding int

const (
	codingNone coding = iota
	codingGzip
	codingOther
)

// coding says how the body is coded.
func (a *answer) coding() coding {
	found := codingNone
	for _, name := range a.Header.Values("Content-Encoding") {
		switch {
		case name == "" || strings.EqualFold(name, "identity"):
		case found == codingNone && (strings.EqualFold(name, "gzip") || strings.EqualFold(name, "x-gzip")):
			found = codingGzip
		default:
			return codingOther
		}
	}
	return found
}

// codingError refuses a body that we don't decode.
func (a *answer) codingError(err error) error {
	return &Error{
		Code:     CodeUnreachable,
		Sentence: fmt.Sprintf("%s sent a compressed body that was not asked for and can not be used", a.where),
		Hint:     "turn content compression off for packages on the server or on a proxy before it",
		Err:      err,
	}
}

// check decides whether the body is the whole object that r asks for, before a
// byte of it is read.
func (a *answer) check(r Request) error {
	switch {
	case a.StatusCode == http.StatusNotModified && a.conditional:
		return ErrNotModified
	case a.StatusCode != http.StatusOK:
		return a.statusError(r.Name)
	case a.coding() == codingOther:
		return a.codingError(nil)
	case a.ContentLength > r.MaxBytes:
		return tooLarge(r.Name, a.where, r.MaxBytes)
	}
	return nil
}

// statusError is what a status means that no body is taken from. Sentences hold
// the number and never the text, which is the server's. Servers that failed are
// worth another attempt, except where they say when to come back.
func (a *answer) statusError(name string) error {
	e := &Error{Code: CodeUnreachable, again: a.StatusCode >= 500 && a.StatusCode != http.StatusServiceUnavailable}
	switch code := a.StatusCode; code {
	case http.StatusNotFound, http.StatusGone:
		e.Code, e.Missing = CodeNotFound, true
		what, todo := absent(name, "check the configured URL and that the mirror has been filled")
		e.Sentence = fmt.Sprintf("%s has no %s (status %d)", a.where, what, code)
		e.Hint = "it was asked for at " + a.asked + "; " + todo
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		e.Code, e.Missing = CodeForbidden, code == http.StatusForbidden
		if code == http.StatusForbidden {
			e.RetryAfter = retryAfter(a.Header) // some servers limit requests by a 403
		}
		e.Sentence = fmt.Sprintf("%s does not permit reading %s (status %d)", a.where, label(name), code)
		e.Hint = "it was asked for at " + a.asked + "; check access rules on the server, and whether it may read the file there, by mode (chmod a+r) and by SELinux (restorecon)"
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
		return min(time.Duration(seconds)*time.Second, MaxRetryAfter)
	}
	if errors.Is(err, strconv.ErrRange) {
		return MaxRetryAfter
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return min(max(until.Sub(now), 0), MaxRetryAfter)
}
