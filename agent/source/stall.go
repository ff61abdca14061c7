package source

import (
	"errors"
	"io"
	"time"
)

// stallBytes is what must come within each stall window, in bytes. With the
// default window of 30 s, anything that keeps up 1 KiB/s lives.
const stallBytes = 30 << 10

// errStalled is what a stallWatch reports. It stays inside the package.
var errStalled = errors.New("too few bytes came in too long a time")

// stallWatch is a reader that gives up on a body that hardly moves. It bounds no
// total time: a package of any size may take as long as its bytes keep coming.
//
// Only time spent waiting inside Read counts, so a slow disk or a rate limit
// above, during which nothing is asked of the server, is never its fault.
type stallWatch struct {
	body   io.Reader
	window time.Duration
	timer  *time.Timer
	waited time.Duration // in this window
	got    int           // bytes, in this window
}

// newStallWatch watches body. cut is called, from another goroutine, to make a
// Read return that has waited too long.
func newStallWatch(body io.Reader, window time.Duration, cut func()) *stallWatch {
	timer := time.AfterFunc(window, cut)
	timer.Stop()
	return &stallWatch{body: body, window: window, timer: timer}
}

// Read reads from the body. It gives errStalled where the window ran out before
// stallBytes came; a new window begins as soon as they have.
func (w *stallWatch) Read(p []byte) (int, error) {
	start := time.Now()
	w.timer.Reset(w.window - w.waited)
	n, err := w.body.Read(p)
	inTime := w.timer.Stop()
	if !inTime && err != io.EOF {
		return n, errStalled
	}
	w.waited += time.Since(start)
	w.got += n
	if w.got >= stallBytes {
		w.waited, w.got = 0, 0
	}
	return n, err
}
