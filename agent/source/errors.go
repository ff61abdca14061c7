package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mdatp-offline-agent/printable"
)

// The reason codes of this package. They are part of the program's interface:
// the same in text, JSON and metrics.
const (
	CodeUnreachable = "source_unreachable"  // no answer, or none that can be used
	CodeNotFound    = "source_not_found"    // the source says that it has no such object
	CodeForbidden   = "source_forbidden"    // the source does not let us read it
	CodeRateLimited = "source_rate_limited" // the source asks us to come back later
	CodeStalled     = "source_stalled"      // the transfer became too slow to be one
	CodeChanged     = "source_changed"      // the object changed while it was read
	CodeRedirect    = "redirect_refused"    // a redirect broke one of our rules
	CodeTLS         = "tls_untrusted"       // the server's certificate was not accepted
	CodeTooLarge    = "package_too_large"   // the object is larger than the caller allows
)

// Codes gives all of them.
func Codes() []string {
	return []string{CodeUnreachable, CodeNotFound, CodeForbidden, CodeRateLimited, CodeStalled, CodeChanged, CodeRedirect, CodeTLS, CodeTooLarge}
}

// Stage is how far a request got on its way to an answer.
type Stage string

// The stages of a connection.
const (
	StageName  Stage = "name"  // the server's name was looked up
	StageTCP   Stage = "tcp"   // the server, or whoever is in its place, was connected
	StageProxy Stage = "proxy" // a proxy was to connect us
	StageTLS   Stage = "tls"   // both agreed on a secure connection
	StageHTTP  Stage = "http"  // the request was sent
)

// Stages gives all of them.
func Stages() []Stage { return []Stage{StageName, StageTCP, StageProxy, StageTLS, StageHTTP} }

// Error is a failure of a source that a user can meet.
type Error struct {
	// Code is one of the Code constants of this package.
	Code string
	// Sentence says what happened, out of our own configuration and numbers alone.
	Sentence string
	// Hint says what the user can do.
	Hint string
	// Stage is where a connection failed; empty where there was an answer, or no
	// connection was wanted, and the code says what is wrong.
	Stage Stage
	// Issuer is who issued a certificate that was not accepted, in the words of that
	// certificate. It is fit to be shown, and no part of a sentence.
	Issuer string
	// Missing says that the source has no such object, as far as one can tell.
	Missing bool
	// RetryAfter is how long the server asked us to stay away, from nothing to
	// six hours; zero where it named no time.
	RetryAfter time.Duration
	// Err is the cause, for logs. It may hold bytes from outside.
	Err error
	// again says that the same request may well succeed a moment later.
	again bool
}

// Error gives the code, the sentence and, where there is one, the cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Code + ": " + e.Sentence
	}
	return e.Code + ": " + e.Sentence + ": " + e.Err.Error()
}

// Unwrap gives the cause, or nil.
func (e *Error) Unwrap() error { return e.Err }

// Reason gives what may be shown to users and recorded.
func (e *Error) Reason() (code, sentence, hint string) {
	return e.Code, e.Sentence, e.Hint
}

// NotThere says whether err means that the source has no such object. A 403
// counts, because servers that don't list their files answer it for a missing
// one; a file that the file system forbids us to read does not.
func NotThere(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Missing
}

// stopped is the error for work that ended because the caller's ctx did, or
// nil where ctx is still alive.
func stopped(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("reading from the source was stopped: %w", err)
	}
	return nil
}

// tooLarge refuses an object of more than limit bytes.
func tooLarge(name, where string, limit int64) error {
	return &Error{
		Code:     CodeTooLarge,
		Sentence: fmt.Sprintf("%s from %s is larger than the %d bytes that are allowed", label(name), where, limit),
		Hint:     "check that the configured address leads to a definition package",
	}
}

// maxShown is how much of one piece of configuration a sentence shows, in bytes.
const maxShown = 512

// plain makes a piece of our own configuration fit for a sentence.
func plain(s string) string { return printable.Sentence(s, maxShown) }
