package metrics

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"mdatp-offline-agent/health"
)

// Error is a failure to write the file.
type Error struct {
	Code     string // config_invalid, permission_denied, disk_full or install_failed
	Sentence string
	Hint     string
	Err      error // cause, may be nil
}

// Error gives "CODE: sentence", and the cause where there is one.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Code + ": " + e.Sentence
	}
	return e.Code + ": " + e.Sentence + " (" + e.Err.Error() + ")"
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Reason gives the parts that a report shows.
func (e *Error) Reason() (code, sentence, hint string) { return e.Code, e.Sentence, e.Hint }

// Write replaces the file by the metrics of the facts, readable for everybody.
// The path ends in .prom, since the collector passes over other names; its
// directory exists and is writable, because a temporary file is made beside it.
// app is the program's version. An error is an *Error, and leaves the file as it
// was: its age then tells the monitor.
func Write(path string, f health.Facts, app string) error {
	if !strings.HasSuffix(path, ".prom") {
		return &Error{Code: "config_invalid", Sentence: "the name of the metrics file does not end in .prom", Hint: "correct agent.metricsFile, since other names are not collected"}
	}
	registry := prometheus.NewRegistry() // the default one would add the runtime of a process that ends
	err := registry.Register(collect(f, app))
	if err == nil {
		err = prometheus.WriteToTextfile(path, registry)
	}
	return failed(err)
}

// failed says why writing failed; nil where it did not.
func failed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return &Error{"disk_full", "there is no room for the metrics file", "free some space where agent.metricsFile lies", err}
	case errors.Is(err, unix.EROFS):
		return &Error{"permission_denied", "the metrics file lies on a read-only file system", "let the unit write to the directory of agent.metricsFile, with ReadWritePaths", err}
	case errors.Is(err, fs.ErrPermission):
		return &Error{"permission_denied", "this user may not write the metrics file", "give the agent's user the right to make files in the directory of agent.metricsFile", err}
	}
	return &Error{"install_failed", "the metrics file can not be written", "make the directory of agent.metricsFile, and check its file system", err}
}
