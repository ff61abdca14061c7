package source

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// How many of a package's last bytes are asked for first. The most is held in
// memory for as long as the package is open.
const (
	defaultTail = 32 << 10
	maxTail     = 1 << 20
)

// tailBytes is how many last bytes to ask for, or 0 to ask for the whole object.
func tailBytes(r Request) int64 {
	if r.Whole || r.MaxBytes <= memoryLimit {
		return 0
	}
	return min(max(cmp.Or(r.Tail, defaultTail), 1), maxTail)
}

// opening is one Open on its way to a package, over all tries.
type opening struct {
	h      *HTTP
	target *url.URL
	r      Request
	tail   int64 // how many last bytes to ask for; 0 asks for the whole object
	size   int64 // of the object, as a server said that refused to count from its end; else 0
	tries  *tries
	kept   *download // what came of the whole object and can be gone on with, or nil
}

// try makes one attempt. Where the server's ranges can't be used, that is one
// request more, or two where it seems to lack only those from the end; a body that is the whole object is never asked for twice.
func (o *opening) try(ctx context.Context) (Package, error) {
	if err := o.compare(ctx); err != nil {
		return nil, err
	}
	a, err := o.h.ask(ctx, o.target, o.query(), o.r.Tally)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	ranged := o.tail > 0 || o.kept != nil
	if !ranged || a.StatusCode != http.StatusPartialContent && a.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		return o.whole(ctx, a)
	}
	if p, ok := a.part(); ok && o.kept != nil && o.kept.continuedBy(a, p) {
		o.r.Tally.setResumed()
		o.tries.progress(o.kept.last)
		return o.fill(ctx, a)
	} else if ok && o.kept == nil && p.off+p.n == p.total && p.n <= o.tail {
		return o.ranged(ctx, a, p)
	}
	a.Close()
	if size, ok := a.unsatisfied(); ok && o.kept == nil && o.size == 0 {
		o.size = size
	} else {
		o.drop()
		o.tail = 0
	}
	return o.try(ctx)
}

// compare finds out by a HEAD whether the object is still the known one, where
// that is known by time and size alone. A condition on the time would not do:
// servers answer it with 304 for an older file too. Whatever else the server says
// to a HEAD, the GET that follows decides.
func (o *opening) compare(ctx context.Context) error {
	known := o.r.Known
	if known.ETag != "" || known.LastModified == "" {
		return nil
	}
	a, err := o.h.ask(ctx, o.target, newQuery(http.MethodHead, Validator{}), o.r.Tally)
	if err != nil {
		return err
	}
	defer a.Close()
	switch a.StatusCode {
	case http.StatusOK:
		if keptValidator(a.Header, a.ContentLength) == known && a.coding() == codingNone {
			return ErrNotModified
		}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return a.statusError(o.r.Name)
	}
	o.r.Known = Validator{} // one HEAD is enough
	return nil
}

// query is what to ask for next: the rest of what is kept, the tail, or all.
func (o *opening) query() query {
	if o.kept != nil {
		q := newQuery(http.MethodGet, Validator{})
		q.header.Set("Range", fmt.Sprintf("bytes=%d-", o.kept.size))
		q.header.Set("If-Range", o.kept.id.etag)
		return q
	}
	q := newQuery(http.MethodGet, o.r.Known)
	switch {
	case o.tail > 0 && o.size > 0:
		q.header.Set("Range", fmt.Sprintf("bytes=%d-%d", max(o.size-o.tail, 0), o.size-1))
	case o.tail > 0:
		q.header.Set("Range", fmt.Sprintf("bytes=-%d", o.tail))
	}
	return q
}

// ranged reads the tail, which is the body of a, and makes it a package.
func (o *opening) ranged(ctx context.Context, a *answer, p part) (Package, error) {
	if p.total > o.r.MaxBytes {
		return nil, tooLarge(o.r.Name, a.where, o.r.MaxBytes)
	}
	tail := make([]byte, p.n)
	if _, err := io.ReadFull(o.h.body(ctx, a, o.r.Tally), tail); err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, brokenOff(a.where, err)
	} else if err != nil {
		return nil, err
	}
	announced := p.total
	if a.ContentLength < 0 {
		announced = -1 // a HEAD will have no length to compare with either
	}
	return newRanged(o, identify(a.Header, p.total), keptValidator(a.Header, announced), tail), nil
}

// whole takes a for the whole object, and begins to download its body.
func (o *opening) whole(ctx context.Context, a *answer) (Package, error) {
	if err := a.check(o.r); err != nil {
		return nil, err
	}
	o.drop()
	announced := a.ContentLength
	if a.coding() != codingNone {
		announced = -1
	}
	spool, err := o.h.newSpool(o.r.MaxBytes, announced)
	if err != nil {
		return nil, err
	}
	o.kept = &download{spool: spool, id: identify(a.Header, announced)}
	if a.coding() == codingNone {
		o.kept.validator = keptValidator(a.Header, announced)
		o.kept.resumable = announced >= 0 && strong(o.kept.validator.ETag) && a.rangesOffered()
	}
	return o.fill(ctx, a)
}

// fill reads the body of a into the download that is kept. What broke off stays
// kept only where it can be gone on with.
func (o *opening) fill(ctx context.Context, a *answer) (Package, error) {
	d := o.kept
	body := o.h.body(ctx, a, o.r.Tally)
	if a.coding() == codingGzip {
		body = unzip(a, body)
	}
	n, err := transfer(d.spool, body, o.r.MaxBytes-d.size)
	d.size += n
	if err == nil && d.size > o.r.MaxBytes {
		err = tooLarge(o.r.Name, a.where, o.r.MaxBytes)
	}
	if err == nil && d.id.size >= 0 && d.size != d.id.size {
		err = brokenOff(a.where, io.ErrUnexpectedEOF)
	}
	if err != nil && d.resumable && d.size > 0 {
		d.last = n
		return nil, err
	}
	if err != nil {
		o.drop()
		return nil, err
	}
	o.kept = nil
	return Spooled(d.spool, d.size, d.validator, version(o.target, d.validator, d.size)), nil
}

// drop gives up what is kept.
func (o *opening) drop() {
	if o.kept != nil {
		o.kept.spool.Close() // nobody reads it any more
		o.kept = nil
	}
}

// download is a whole object on its way into a spool.
type download struct {
	spool     Spool
	size      int64    // bytes in the spool
	last      int64    // of them, those of the last attempt
	id        identity // of the object; its size is -1 where none was announced
	validator Validator
	resumable bool
}

// continuedBy says whether the part in a is the rest of d.
func (d *download) continuedBy(a *answer, p part) bool {
	return p.off == d.size && p.off+p.n == p.total && d.id.same(identify(a.Header, p.total))
}

// rangesOffered says whether the server says that it knows byte ranges.
func (a *answer) rangesOffered() bool {
	return strings.EqualFold(a.Header.Get("Accept-Ranges"), "bytes")
}
