package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// memoryLimit is the MaxBytes up to which an object is held in memory, in
// bytes. A signed list fits; packages go to a Spool.
const memoryLimit = 64 << 10

// Spool is where the body of a download is kept until it has been read. Errors
// from it, a full disk for one, reach the caller untouched. Close gives the room
// back.
type Spool interface {
	io.Writer
	io.ReaderAt
	io.Closer
}

// memory is the spool of a small object.
type memory struct{ data []byte }

// Write appends p.
func (m *memory) Write(p []byte) (int, error) {
	m.data = append(m.data, p...)
	return len(p), nil
}

// ReadAt reads what was written.
func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.data).ReadAt(p, off)
}

// Close does nothing.
func (m *memory) Close() error { return nil }

// newSpool gives room for an object of at most limit bytes, of which size are
// announced (-1 for unknown).
func (h *HTTP) newSpool(limit, size int64) (Spool, error) {
	if limit <= memoryLimit {
		return &memory{}, nil
	}
	if h.cfg.Spool == nil {
		return nil, fmt.Errorf("no spool is configured for an object of up to %d bytes", limit)
	}
	return h.cfg.Spool(size)
}

// spooled is an object that was downloaded whole.
type spooled struct {
	spool     Spool
	size      int64
	validator Validator
	version   string
}

// Spooled gives the package whose size bytes are all in spool, which its Close
// closes. Reading it counts nothing.
func Spooled(spool Spool, size int64, v Validator, version string) Package {
	return &spooled{spool: spool, size: size, validator: v, version: version}
}

// Size is the number of bytes that came.
func (p *spooled) Size() int64 { return p.size }

// Validator is the server's, where it is worth keeping.
func (p *spooled) Validator() Validator { return p.validator }

// Version is made of the server's entity tag.
func (p *spooled) Version() string { return p.version }

// Close gives the spool back.
func (p *spooled) Close() error { return p.spool.Close() }

// Range reads a section of the spool. Its bytes were counted when they came.
func (p *spooled) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if err := checkRange(off, n, p.size); err != nil {
		return nil, err
	}
	return newSection(ctx, p.spool, off, n, nil, settleSpool), nil
}

// settleSpool lets the spool's errors through, except that an early end, which
// readers would take for the end of the range, becomes an error that is none.
func settleSpool(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("a spooled download has shrunk: %w", io.ErrUnexpectedEOF)
	}
	return err
}
