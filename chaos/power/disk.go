package power

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
)

// pageSize is in what pieces a disk is kept, in bytes.
const pageSize = 4096

type page = [pageSize]byte

// image is what a disk holds: pages by number, and nothing where it is all zeros.
// Pages are never changed, so that images can share them.
type image map[int64]*page

// Disk is a disk in memory. It is safe for concurrent use.
type Disk struct {
	size int64

	mu      sync.Mutex
	holds   image
	started image   // what it held when the recording began
	events  []event // since then
	records bool
}

// event is a write, or a flush of all writes before it.
type event struct {
	off  int64
	data []byte // nil: a flush
}

// NewDisk gives an empty disk of size bytes.
func NewDisk(size int64) *Disk { return &Disk{size: size, holds: image{}} }

// read copies what lies at off.
func (d *Disk) read(to []byte, off int64) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := int(max(min(int64(len(to)), d.size-off), 0))
	for done := 0; done < n; {
		number, at := (off+int64(done))/pageSize, (off+int64(done))%pageSize
		piece := to[done:min(n, done+pageSize-int(at))]
		if p := d.holds[number]; p != nil {
			copy(piece, p[at:])
		} else {
			clear(piece)
		}
		done += len(piece)
	}
	return n
}

// write puts data at off, and keeps it in the record.
func (d *Disk) write(data []byte, off int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.records {
		d.events = append(d.events, event{off, append([]byte{}, data...)})
	}
	d.holds.write(data, off)
}

// flush makes what was written so far last.
func (d *Disk) flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.records {
		d.events = append(d.events, event{})
	}
}

func (i image) write(data []byte, off int64) {
	for len(data) > 0 {
		number, at := off/pageSize, off%pageSize
		n := min(len(data), pageSize-int(at))
		p := new(page)
		if old := i[number]; old != nil {
			*p = *old
		}
		copy(p[at:], data[:n])
		if *p == (page{}) {
			delete(i, number)
		} else {
			i[number] = p
		}
		data, off = data[n:], off+int64(n)
	}
}

// Record begins to keep what is written and flushed from now on.
func (d *Disk) Record() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.started, d.events, d.records = maps.Clone(d.holds), nil, true
}

// Moment is the number of events that are on record up to now.
func (d *Disk) Moment() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.events)
}

// Stop ends the recording and gives it.
func (d *Disk) Stop() *Recording {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.records = false
	return &Recording{size: d.size, started: d.started, events: d.events}
}

// Recording is all that happened to a disk.
type Recording struct {
	size    int64
	started image
	events  []event
}

// Moments is the number of moments at which the power can be cut: before the
// first event, and after each.
func (r *Recording) Moments() int { return len(r.events) + 1 }

// Flushes is how many of the events are flushes.
func (r *Recording) Flushes() int {
	n := 0
	for _, e := range r.events {
		if e.data == nil {
			n++
		}
	}
	return n
}

// At gives the disk as it was after that many events. Where lose is not nil, each
// write that no flush followed is lost or kept as lose says, as by a disk which
// holds them in a cache and writes them in an order of its own.
func (r *Recording) At(moment int, lose *rand.Rand) *Disk {
	d := &Disk{size: r.size, holds: maps.Clone(r.started)}
	last := 0 // writes before this event are on the medium
	if lose != nil {
		for i, e := range slices.Backward(r.events[:moment]) {
			if e.data == nil {
				last = i
				break
			}
		}
	} else {
		last = moment
	}
	for i, e := range r.events[:moment] {
		if e.data != nil && (i < last || lose.IntN(2) == 0) {
			d.holds.write(e.data, e.off)
		}
	}
	return d
}
