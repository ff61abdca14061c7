package apart

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"mdatp-offline-agent/agent/source"
)

// object is an object that the process has open.
type object struct {
	s     *Source
	p     *process
	said  opened
	tally *source.Tally
	open  context.Context // ends when the object is closed
	close context.CancelFunc
}

// Size is the size that the process gave.
func (o *object) Size() int64 { return o.said.Size }

// Validator is the source's.
func (o *object) Validator() source.Validator { return o.said.Validator }

// Version is the source's.
func (o *object) Version() string { return o.said.Version }

// Close ends the process.
func (o *object) Close() error {
	o.close()
	o.p.finish()
	return nil
}

// Range asks the process for a range, by a stream of its own.
func (o *object) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if off < 0 || n < 0 || off > o.Size() || n > o.Size()-off {
		return nil, fmt.Errorf("range of %d bytes at %d is outside an object of %d bytes", n, off, o.Size())
	}
	if err := o.gone(ctx); err != nil {
		return nil, err
	}
	if n == 0 {
		return io.NopCloser(strings.NewReader("")), nil
	}
	conn, err := o.p.dial()
	if err != nil {
		return nil, o.s.failure(ctx, o.p, err)
	}
	if _, err := conn.Write(rangeFrame(off, n)); err != nil {
		conn.Close()
		return nil, o.s.failure(ctx, o.p, err)
	}
	line := &patient{UnixConn: conn, patience: o.s.patience, pace: o.s.pace}
	return &stream{o: o, ctx: ctx, conn: conn, line: line, from: bufio.NewReader(line), left: n, undo: closeOn(conn, ctx, o.open)}, nil
}

// gone is the error for reading what is closed, or what nobody wants any more.
func (o *object) gone(ctx context.Context) error {
	if o.open.Err() != nil {
		return &source.Error{Code: source.CodeUnreachable, Sentence: "the package is closed", Hint: "the next attempt opens it anew"}
	}
	err := stopped(ctx)
	if err != nil {
		o.p.given.Store(true) // whether or not it hangs
	}
	return err
}

// stream is one range on its way.
type stream struct {
	o     *object
	ctx   context.Context
	conn  *net.UnixConn
	line  *patient
	from  *bufio.Reader
	left  int64 // of the range
	frame int   // of the bytes in a frame
	undo  func()
	err   error // the first failure, repeated for ever
}

// Read gives the next bytes of the range.
func (s *stream) Read(b []byte) (int, error) {
	if s.err = cmp.Or(s.err, s.o.gone(s.ctx)); s.err != nil {
		return 0, s.err
	}
	if s.left == 0 {
		return 0, io.EOF
	}
	for s.frame == 0 {
		if s.err = s.next(); s.err != nil {
			return 0, s.err
		}
	}
	n, err := s.from.Read(b[:min(len(b), s.frame)])
	s.frame -= n
	s.left -= int64(n)
	if n == 0 && err != nil {
		s.err = s.failure(err)
	}
	return n, s.err
}

// next takes what stands before the next bytes.
func (s *stream) next() error {
	kind, length, err := readHead(s.from, mostFrom)
	if err == nil {
		err = s.line.heard(kind, length)
	}
	if err == nil && kind == frameBytes {
		if length == 0 || int64(length) > s.left {
			err = errRules
		}
		s.frame = length
	} else if err == nil {
		err = s.hear(kind, length)
	}
	var ours *ownError
	if errors.As(err, &ours) {
		return ours.err
	}
	if err != nil {
		return s.failure(err)
	}
	return nil
}

// hear takes a frame that is no content.
func (s *stream) hear(kind byte, length int) error {
	content, err := talk(s.from, length)
	if err != nil {
		return err
	}
	switch kind {
	case frameTally:
		c, err := parseCost(content)
		if err == nil {
			c.addTo(s.o.tally)
		}
		return err
	case frameFailed:
		f, err := parseFailed(content)
		if err != nil {
			return err
		}
		if failed := f.sourceError(); failed != nil {
			return &ownError{failed}
		}
		return errors.New(f.Text)
	}
	return errRules
}

// failure is the error for a stream that ended where it should not have.
func (s *stream) failure(err error) error {
	if gone := s.o.gone(s.ctx); gone != nil {
		return gone
	}
	return s.o.s.failure(s.ctx, s.o.p, err)
}

// Close ends the range, and the process's work for it.
func (s *stream) Close() error {
	s.undo()
	return s.conn.Close()
}
