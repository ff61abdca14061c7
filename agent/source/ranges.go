package source

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// ranged is an object on a server that is read by one request for each range,
// except for its last bytes, which are in memory.
type ranged struct {
	h         *HTTP
	target    *url.URL // the configured one: each range follows redirects anew
	name      string
	tally     *Tally
	id        identity
	validator Validator
	tail      []byte
	open      context.Context // ends when the package is closed
	close     context.CancelFunc
}

// newRanged gives the package that o found.
func newRanged(o *opening, id identity, v Validator, tail []byte) *ranged {
	p := &ranged{h: o.h, target: o.target, name: o.r.Name, tally: o.r.Tally, id: id, validator: v, tail: tail}
	p.open, p.close = context.WithCancel(context.Background())
	return p
}

// Size is the size that the server gave.
func (p *ranged) Size() int64 { return p.id.size }

// Validator is the server's, where it is worth keeping.
func (p *ranged) Validator() Validator { return p.validator }

// Version is made of the server's entity tag.
func (p *ranged) Version() string { return version(p.target, p.validator, p.id.size) }

// Close ends all requests.
func (p *ranged) Close() error {
	p.close()
	return nil
}

// Range gives what lies in the tail from there, and fetches the rest. Nothing is
// sent before the first byte is read.
func (p *ranged) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if err := checkRange(off, n, p.id.size); err != nil {
		return nil, err
	}
	if p.open.Err() != nil {
		return nil, errors.New("the package is closed")
	}
	both, cancel := context.WithCancel(ctx)
	unlink := context.AfterFunc(p.open, cancel)
	r := &rangeReader{ctx: both, release: func() { unlink(); cancel() }}
	tailStart := p.id.size - int64(len(p.tail))
	memory := io.NewSectionReader(bytes.NewReader(p.tail), max(off-tailStart, 0), max(off+n-max(off, tailStart), 0))
	r.line = &line{p: p, ctx: both, next: off, end: min(off+n, max(off, tailStart)), tries: p.h.newTries()}
	r.all = io.MultiReader(r.line, memory)
	return r, nil
}

// rangeReader streams a range out of requests and memory.
type rangeReader struct {
	ctx     context.Context
	line    *line
	all     io.Reader
	release func()
}

// Read gives the next bytes of the range.
func (r *rangeReader) Read(p []byte) (int, error) {
	// That the package was closed reaches our context a little later.
	if err := cmp.Or(stopped(r.line.p.open), stopped(r.ctx)); err != nil {
		return 0, err
	}
	return r.all.Read(p)
}

// Close ends the request, if one is running.
func (r *rangeReader) Close() error {
	r.line.hangUp()
	r.release()
	return nil
}

// line streams bytes that are fetched, over as many requests as it takes.
type line struct {
	p         *ranged
	ctx       context.Context
	next, end int64 // what is still to come
	tries     *tries
	resumed   bool // bytes came over a request that did not bring all it promised
	answer    *answer
	stop      int64     // where the part that answer promised ends, at end or before
	body      io.Reader // of answer
	err       error     // what it has given up with
}

// Read gives the next bytes. It ends only where the range does: a body that
// breaks off is gone on with by another request, and so is, without a wait, a
// part that is properly shorter than what was asked for, which servers may send.
func (l *line) Read(buf []byte) (int, error) {
	for l.err == nil && l.next < l.end {
		n, err := l.read(buf)
		if err != nil {
			l.hangUp()
			l.err = l.tries.again(l.ctx, err)
		}
		if n > 0 || len(buf) == 0 {
			return n, nil
		}
	}
	if l.err == nil {
		l.err = io.EOF
		l.hangUp()
	}
	return 0, l.err
}

// read makes one attempt at it.
func (l *line) read(buf []byte) (int, error) {
	if l.answer == nil {
		if err := l.dial(); err != nil {
			return 0, err
		}
	}
	n, err := l.body.Read(buf[:min(int64(len(buf)), l.stop-l.next)])
	l.next += int64(n)
	l.tries.progress(int64(n))
	l.resumed = l.resumed || n > 0
	if l.next == l.stop {
		l.hangUp()
		l.resumed = false
		return n, nil
	}
	if err == io.EOF {
		err = brokenOff(l.answer.where, io.ErrUnexpectedEOF)
	}
	return n, err
}

// dial asks for what is still to come. Where the entity tag is strong the server
// compares it too, so that a new object is not sent for nothing.
func (l *line) dial() error {
	q := newQuery(http.MethodGet, Validator{})
	q.header.Set("Range", fmt.Sprintf("bytes=%d-%d", l.next, l.end-1))
	if strong(l.p.id.etag) {
		q.header.Set("If-Range", l.p.id.etag)
	}
	a, err := l.p.h.ask(l.ctx, l.p.target, q, l.p.tally)
	if err != nil {
		return err
	}
	n, err := l.p.judge(a, l.next, l.end)
	if err != nil {
		a.Close()
		return err
	}
	l.stop = l.next + n
	if l.resumed {
		l.p.tally.setResumed()
	}
	l.answer, l.body = a, l.p.h.body(l.ctx, a, l.p.tally)
	return nil
}

// hangUp ends the request that is running, if any.
func (l *line) hangUp() {
	if l.answer != nil {
		l.answer.Close()
		l.answer, l.body = nil, nil
	}
}

// judge decides how many of the bytes from off to end of the very object that was
// opened the body of a has, from off on, before it is read. A part may be shorter
// than what was asked for, but not so short that a hostile server could make each
// request bring next to nothing. An object that has vanished has changed as well.
func (p *ranged) judge(a *answer, off, end int64) (int64, error) {
	switch a.StatusCode {
	case http.StatusPartialContent:
		if a.coding() != codingNone {
			return 0, a.codingError(nil)
		}
		got, ok := a.part()
		if ok && got.off == off && got.n <= end-off && got.n >= min(end-off, stallBytes) && p.id.same(identify(a.Header, got.total)) {
			return got.n, nil
		}
		return 0, p.changed(a)
	case http.StatusOK, http.StatusRequestedRangeNotSatisfiable, http.StatusNotFound, http.StatusGone:
		return 0, p.changed(a)
	default:
		return 0, a.statusError(p.name)
	}
}

// changed is the error for ranges that don't fit together.
func (p *ranged) changed(a *answer) error {
	return &Error{
		Code:     CodeChanged,
		Sentence: fmt.Sprintf("%s on %s changed while it was read", label(p.name), p.h.host),
		Hint:     "it was asked for at " + a.asked + "; where several servers or caches answer there, they must hold the same file",
	}
}
