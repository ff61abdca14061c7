package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Code names what went wrong. The list is closed: scripts compare it.
type Code string

// The codes that this package gives.
const (
	DiskFull         Code = "disk_full"         // no room, no inodes, or over a quota
	InstallFailed    Code = "install_failed"    // any other failure of writing
	PermissionDenied Code = "permission_denied" // not ours to read or write, or mounted read-only
	SetDamaged       Code = "set_damaged"       // what is installed is not what was installed
)

// Error is a failure that a user can meet. Sentence holds no bytes from outside
// and may be shown anywhere; Err, the cause, belongs into the log only.
type Error struct {
	Code     Code
	Sentence string // what happened, in one line without a full stop
	Hint     string // what to do
	Err      error  // cause, may be nil
}

// Error gives "CODE: sentence", and the cause where there is one.
func (e *Error) Error() string {
	s := string(e.Code) + ": " + e.Sentence
	if e.Err != nil {
		s += " (" + e.Err.Error() + ")"
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Reason gives the parts that a report shows.
func (e *Error) Reason() (code, sentence, hint string) {
	return string(e.Code), e.Sentence, e.Hint
}

const (
	roomHint    = "free space on that file system, or give the engine directory a larger one"
	damagedHint = "run agent definitions update, which installs the set anew"
	foreignHint = "move away what does not belong into the engine directory, and run the update again"
	faultHint   = "report this as a fault of the agent"
)

// isOurs tells whether err already says what has to be said: an Error, or a
// context that ended, which is no failure of the disk.
func isOurs(err error) bool {
	var e *Error
	return errors.As(err, &e) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// writing classifies the failure of a write below the engine directory. The
// sentence is used where nothing better is known than that it failed.
func (d *Dir) writing(sentence string, err error) error {
	return writing(d.path, sentence, err)
}

func writing(dir, sentence string, err error) error {
	switch {
	case err == nil || isOurs(err):
		return err
	case errors.Is(err, syscall.ENOSPC):
		return &Error{DiskFull, "the file system of the engine directory is full", roomHint, err}
	case errors.Is(err, syscall.EDQUOT):
		return &Error{DiskFull, "the disk quota of the agent's user is used up", roomHint, err}
	case errors.Is(err, syscall.EROFS):
		return &Error{PermissionDenied, "the engine directory lies on a read-only file system",
			"mount it for writing; where only the service finds it so, name the directory in ReadWritePaths= of its unit", err}
	case errors.Is(err, fs.ErrPermission):
		return &Error{PermissionDenied, "the engine directory can't be written by this user", ownerHint(dir), err}
	}
	return &Error{InstallFailed, sentence, "look into the log for the cause, and check the file system with its own tools", err}
}

// reading classifies a failure of reading what is installed.
func (d *Dir) reading(sentence string, err error) error {
	switch {
	case err == nil || isOurs(err):
		return err
	case errors.Is(err, fs.ErrPermission):
		return &Error{PermissionDenied, "the engine directory can't be read by this user", ownerHint(d.path), err}
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
		// This says nothing about the set, and nobody should install another for it.
		return &Error{InstallFailed, "the system has no more files or memory for the agent", "look for what uses them up, or raise LimitNOFILE in the agent's unit", err}
	}
	return &Error{SetDamaged, sentence, damagedHint, err}
}

// unread classifies a failure of looking at something, which says nothing about
// what is there: nobody should remove it for that.
func (d *Dir) unread(sentence string, err error) error {
	read := d.reading(sentence, err)
	if isDamage(read) {
		return &Error{InstallFailed, sentence, "look into the log for the cause, and check the file system with its own tools", err}
	}
	return read
}

// viewing classifies a failure of opening the engine directory for reading. Where a
// call failed that may work the next time, nobody must take the sets for lost and
// begin without them elsewhere.
func (d *Dir) viewing(err error) error {
	const sentence = "the engine directory can't be opened"
	if provesNothing(err) {
		return d.unread(sentence, err)
	}
	return d.reading(sentence, err)
}

// provesNothing tells an error of the system, which may be gone the next time, from
// one that shows what is there, or that nothing is.
func provesNothing(err error) bool {
	var cause syscall.Errno
	return errors.As(err, &cause) && cause != syscall.ENOENT && cause != syscall.ENOTDIR && cause != syscall.ELOOP
}

// ownerHint names who may write to dir: the owner of it, or of the nearest
// directory above it that exists.
func ownerHint(dir string) string {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err == nil {
			return fmt.Sprintf("run the agent as the owner of %s, which is uid %d, or give it to the agent's user, with chown -R %d", dir, owner(info), os.Geteuid())
		}
		if dir == filepath.Dir(dir) {
			return "run the agent as the owner of its directories, or as root"
		}
	}
}

// owner is the numeric user id, or -1 where the file system tells none.
func owner(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}
