package source

import (
	"context"
	"io"
)

// section streams a range of something that can be read at offsets, and makes
// sure that it is never silently short.
type section struct {
	ctx   context.Context
	r     io.Reader
	left  int64
	tally *Tally
	// settle judges the end of the range: with nil once the last byte has been
	// read, with the cause where reading ended before it.
	settle func(error) error
	err    error // the first failure, repeated for ever
}

// newSection gives the n bytes of r from offset off. The range must have passed
// checkRange.
func newSection(ctx context.Context, r io.ReaderAt, off, n int64, t *Tally, settle func(error) error) *section {
	return &section{ctx: ctx, r: io.NewSectionReader(r, off, n), left: n, tally: t, settle: settle}
}

// Read gives the next bytes of the range. The bytes that complete it are given
// only after the range was judged good: readers such as io.ReadFull ignore an
// error that arrives together with the last byte.
func (s *section) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.left == 0 {
		return 0, io.EOF
	}
	if s.err = stopped(s.ctx); s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	s.left -= int64(n)
	s.tally.addBytes(n)
	switch {
	case s.left == 0:
		s.err = s.settle(nil)
	case err != nil:
		s.err = s.settle(err)
	}
	if s.err != nil {
		return 0, s.err
	}
	return n, nil
}

// Close ends the range. What it is a section of stays open.
func (s *section) Close() error { return nil }
