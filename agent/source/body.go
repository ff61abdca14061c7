package source

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
)

// copyBytes is the size of the one buffer that a download passes through.
const copyBytes = 256 << 10

// body gives the body of a, as it comes over the line. ctx is the caller's.
func (h *HTTP) body(ctx context.Context, a *answer, tally *Tally) io.Reader {
	return &bodyReader{
		r:       throttle(ctx, h.limiter, newStallWatch(a.Body, h.cfg.Timeouts.Stall, a.cut)),
		tally:   tally,
		explain: func(err error) error { return h.bodyFailure(ctx, a.where, err) },
	}
}

// transfer copies at most one byte more than limit, so that a body that is too
// large shows as such and is not cut to a size that fits.
func transfer(w io.Writer, body io.Reader, limit int64) (int64, error) {
	limit = min(limit, math.MaxInt64-1)
	// Hiding what else the spool can do makes io.CopyBuffer use our buffer.
	return io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(body, limit+1), make([]byte, copyBytes))
}

// bodyReader counts what a body gives, and turns its errors into ours on the
// spot, so that after a copy they can't be mistaken for the spool's.
type bodyReader struct {
	r       io.Reader
	tally   *Tally
	explain func(error) error
}

// Read reads from the body.
func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.tally.addBytes(n)
	if err != nil && err != io.EOF {
		err = b.explain(err)
	}
	return n, err
}

// bodyFailure is the error for a transfer that ended before its end.
func (h *HTTP) bodyFailure(ctx context.Context, where string, err error) error {
	if gone := stopped(ctx); gone != nil {
		return gone
	}
	if errors.Is(err, errStalled) {
		return &Error{
			Code:     CodeStalled,
			Sentence: fmt.Sprintf("%s sent less than %d KiB in %s", where, stallBytes>>10, h.cfg.Timeouts.Stall),
			Hint:     "check the line to the server and its load",
			again:    true,
		}
	}
	return brokenOff(where, err)
}

// brokenOff is the error for a body that ended early.
func brokenOff(where string, err error) error {
	return &Error{
		Code:     CodeUnreachable,
		Sentence: fmt.Sprintf("the transfer from %s broke off", where),
		Hint:     "check the line to the server, proxies and firewalls between, and the server's log",
		Err:      err,
		again:    true,
	}
}

// unzipped decodes a gzip body that nobody asked for; some servers compress all
// that they send. It reads as many coded bytes as it gave decoded ones, and a little
// more, because gzip can go on for ever without a byte of content.
type unzipped struct {
	a     *answer
	coded io.LimitedReader
	zip   *gzip.Reader
}

// unzip gives the decoded content of body.
func unzip(a *answer, body io.Reader) *unzipped {
	return &unzipped{a: a, coded: io.LimitedReader{R: body, N: 2 * memoryLimit}}
}

// Read gives decoded bytes. Errors of the body beneath stay what they are.
func (u *unzipped) Read(p []byte) (n int, err error) {
	if u.zip == nil {
		u.zip, err = gzip.NewReader(&u.coded)
	}
	if err == nil {
		n, err = u.zip.Read(p)
	}
	// Content that can't be compressed grows by less than a thousandth.
	u.coded.N += int64(n) + int64(n)/256 + 1
	var ours *Error
	if err == nil || err == io.EOF || errors.As(err, &ours) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return n, err
	}
	return n, u.a.codingError(err)
}
