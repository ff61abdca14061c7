package mirror

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"syscall"

	"mdatp-offline-agent/printable"
)

// The reason codes of this package's own errors. Judgements on packages come as
// *verifier.Refusal with the codes that an endpoint would give.
const (
	codeUsage      = "usage"
	codeInternal   = "internal"
	codeDiskFull   = "disk_full"
	codePermission = "permission_denied"
	codeInterrupt  = "interrupted"
	codeConfig     = "config_invalid"
	codeBusy       = "busy"
	codeInstall    = "install_failed"

	codeCoolingDown = "cooling_down"
	codeTest        = "preload_failed"
	codeNothing     = "nothing_installed"
)

// Error is a failure that the user of the mirror's commands can meet.
type Error struct {
	Code     string // one of the program's closed list of reason codes
	Sentence string // why, fixed text with our own numbers in it
	Hint     string // what to do; may quote a path from the command line
	Err      error  // cause, for logs; may be nil
}

// Error gives "CODE: sentence", followed by the cause where there is one.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Code + ": " + e.Sentence
	}
	return e.Code + ": " + e.Sentence + ": " + e.Err.Error()
}

// Unwrap gives the cause, or nil.
func (e *Error) Unwrap() error { return e.Err }

// Reason gives the parts that are shown to the user.
func (e *Error) Reason() (code, sentence, hint string) { return e.Code, e.Sentence, e.Hint }

func usage(sentence, hint string, err error) error {
	return &Error{Code: codeUsage, Sentence: sentence, Hint: hint, Err: err}
}

// fileError turns what the operating system said about a file into an Error.
// what names the file's part in the matter, such as "the key file". An error
// that has a reason already is left alone.
func fileError(what, path string, err error) error {
	if code, _, _ := reasonOf(err); err == nil || code != "" {
		return err
	}
	quoted := printable.Quote(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return usage(what+" does not exist", "check the path "+quoted, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return &Error{codePermission, what + " can not be read or written by this user", "check owner and mode of " + quoted, err}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &Error{codeDiskFull, "there is no room on the disk for " + what, "make room below the directory of " + quoted, err}
	}
	return &Error{codeInternal, what + " can not be used", "look at " + quoted + " and at the cause in the log", err}
}

// reasonOf gives the parts of an error that has a reason, and nothing for others.
func reasonOf(err error) (code, sentence, hint string) {
	var reasoned interface {
		Reason() (code, sentence, hint string)
	}
	if errors.As(err, &reasoned) {
		return reasoned.Reason()
	}
	return "", "", ""
}

// contextReader lets go of a long stream when ctx ends.
type contextReader struct {
	ctx  context.Context
	from io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, &Error{codeInterrupt, "the command was interrupted", "run it again", err}
	}
	return r.from.Read(p)
}
