package source

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"
)

// Tally counts what reading from a source costs. Its zero value is ready, and
// it is safe for concurrent use. The source itself does the counting, so bytes
// of transfers that failed are in it too, and a spooled download is not counted
// again when it is read.
type Tally struct {
	// Bytes counts the bytes of content that came from the source: bodies over
	// HTTP, and what was read of files. Headers are not in it.
	Bytes atomic.Int64
	// Requests counts HTTP requests, those after a redirect included. A
	// directory makes none.
	Requests atomic.Int64
	// Watch, unless nil, is told of each count of bytes, by whichever goroutine
	// read them.
	Watch func(bytes int)
	// ServerClock is the time that a server said it has when it last answered, in
	// seconds since 1970; zero where none said so. It is the server's word.
	ServerClock atomic.Int64
	// Resumed is set where a transfer went on in the middle instead of starting
	// over.
	Resumed atomic.Bool
}

// addBytes counts n more bytes; a nil tally counts nothing.
func (t *Tally) addBytes(n int) {
	if t != nil {
		t.Bytes.Add(int64(n))
		if t.Watch != nil {
			t.Watch(n)
		}
	}
}

// addRequest counts one more request; a nil tally counts nothing.
func (t *Tally) addRequest() {
	if t != nil {
		t.Requests.Add(1)
	}
}

// noteClock notes what time it is by an answer. One from a cache is as old as that
// says. A nil tally notes nothing.
func (t *Tally) noteClock(h http.Header) {
	date, err := http.ParseTime(h.Get("Date"))
	if t == nil || err != nil {
		return
	}
	age, err := strconv.ParseUint(h.Get("Age"), 10, 31)
	if err != nil {
		age = 0
	}
	t.ServerClock.Store(date.Unix() + int64(age))
}

// setResumed notes that a transfer went on in the middle; a nil tally notes nothing.
func (t *Tally) setResumed() {
	if t != nil {
		t.Resumed.Store(true)
	}
}

// Count gives a source that is s, except that everything opened through it is
// counted in t, in place of a tally that the request names.
func Count(s Source, t *Tally) Source {
	return &counted{source: s, tally: t}
}

type counted struct {
	source Source
	tally  *Tally
}

// Open opens the object on the source beneath, counted.
func (c *counted) Open(ctx context.Context, r Request) (Package, error) {
	r.Tally = c.tally
	return c.source.Open(ctx, r)
}
