// Package source reads definition packages from where they are published: a
// directory (local disk or a mount), an HTTP(S) mirror, or a single URL such as
// the cloud's.
//
// There is one seam. A [Source] opens an object by its flat name, and the
// [Package] that comes back is read by ranges, each range a stream. Whoever
// reads cannot tell whether a range is a section of a file, a spooled download
// or a request of its own, and must not need to.
//
// What the package promises:
//
//   - Every object is bounded before it is read: [Request].MaxBytes holds for
//     what a server announces and for what it really sends.
//   - A range gives exactly the bytes that were asked for, or an error. There
//     is no silent short read.
//   - Over HTTP a 200 is the package, a 206 counts only where it is the part that
//     was asked for, or its beginning, of the object that was opened, a 304 only where it
//     was asked for, and redirects, headers, waiting times, retries and content
//     codings are bounded by rule.
//   - An error a user can meet is an [*Error] with a reason code, a sentence that
//     holds nothing but our own configuration and numbers, and a hint.
//
// What it does not promise: that the bytes are genuine, complete or even a
// package. Nothing read here may be believed before the verifier has seen it.
// Reads on a directory whose network mount is dead block in the kernel, where
// no context reaches; that is what [mdatp-offline-agent/agent/source/apart] is for.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// PackageName is the name of the definition package in every mirror's
// architecture directory, and the only name a single-object source knows.
const PackageName = "updates.zip"

// SidecarName is the name of the signed list that may lie beside a package.
const SidecarName = PackageName + ".p7m"

// ErrNotModified says that the object is still the one [Request].Known stood
// for. It is an answer and no failure.
var ErrNotModified = errors.New("the object has not changed")

// Source is a place that packages come from. It is safe for concurrent use.
type Source interface {
	// Open looks for one object and prepares it for reading. It gives
	// ErrNotModified where the object is still the known one, an error for which
	// NotThere is true where the source has no such object, an error that wraps
	// ctx's where ctx ended, whatever the spool gave where that failed, and an
	// *Error for everything else.
	Open(ctx context.Context, r Request) (Package, error)
}

// Request says which object is wanted, and on what terms.
type Request struct {
	// Name is the object's flat name in the architecture directory.
	Name string
	// MaxBytes is the most the object may have, in bytes. What announces or
	// sends more is refused with CodeTooLarge.
	MaxBytes int64
	// Known is the validator of the object that the caller still has, or zero
	// to ask without a condition.
	Known Validator
	// Tail is how many of the object's last bytes are wanted first, in bytes; zero
	// means a default. It is a hint: where the server can, Open asks for just these.
	Tail int64
	// Whole asks for the whole object with one plain GET, for sources whose ranges
	// don't fit together.
	Whole bool
	// Tally counts what opening and reading the object costs; nil counts nothing.
	Tally *Tally
}

// Package is one object, opened. Ranges may be read concurrently.
type Package interface {
	// Size is the object's size in bytes, fixed when it was opened.
	Size() int64
	// Validator is what to hand to the next Open as Known; zero where the
	// source gave none that is worth keeping.
	Validator() Validator
	// Version is a key for bytes that are kept from one run to the next: the same
	// string stands for the same bytes. It is empty where the source can't promise
	// that.
	Version() string
	// Range streams the n bytes from offset off. The reader gives exactly n
	// bytes and then io.EOF, or fails: with an *Error where the source changed
	// or broke, with ctx's error, wrapped, where ctx ended. A range outside the
	// object is an error.
	Range(ctx context.Context, off, n int64) (io.ReadCloser, error)
	// Close releases the object. Ranges still open fail.
	Close() error
}

// Validator names one version of an object, in the source's own terms. Two are
// equal where they name the same version; zero names none.
type Validator struct {
	// ETag is the entity tag just as the server sent it, weak or strong, with
	// its quotes.
	ETag string `json:"etag,omitempty"`
	// LastModified is the header of that name just as the server sent it. It and
	// Size, in bytes, are set only where there is no entity tag.
	LastModified string `json:"lastModified,omitempty"`
	Size         int64  `json:"size,omitempty"`
}

// flatName is what may be asked for by name. The rule is that of names in the
// signed list, so that a list may name a zip, but no path and no query.
var flatName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// checkName refuses a name that is not flat, for every kind of source alike.
func checkName(name string) error {
	if flatName.MatchString(name) {
		return nil
	}
	return &Error{
		Code:     CodeNotFound,
		Sentence: "the name that was asked for is not a flat file name",
		Hint:     "objects are named by letters, digits, dots, dashes and underscores, without a directory",
		Missing:  true,
	}
}

// label is how a sentence names an object. Other names than the two fixed ones
// come out of somebody's list, and sentences hold no bytes from outside.
func label(name string) string {
	if name == PackageName || name == SidecarName {
		return name
	}
	return "the package"
}

// absent is how a sentence names an object that is not there, behind no, and what is to
// be done. Other names than the two fixed ones come out of a sidecar, which is there.
func absent(name, remedy string) (what, todo string) {
	if name == PackageName || name == SidecarName {
		return name, remedy
	}
	return "archive of the name that " + SidecarName + " gives", "approve the package again on the mirror, with agent mirror approve RING-DIR, or put the archive back"
}

// checkRange refuses a range that does not lie inside the object.
func checkRange(off, n, size int64) error {
	if off < 0 || n < 0 || off > size || n > size-off {
		return fmt.Errorf("range of %d bytes at %d is outside an object of %d bytes", n, off, size)
	}
	return nil
}
