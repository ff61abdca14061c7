package apart

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/printable"
)

// The two talk by frames: one byte for the kind, four for the length of what
// follows. What the agent says by a socket is one frame, and all else are answers.
const (
	frameJob      = 'j' // to the process: what to open, as JSON
	frameRange    = 'r' // to the process: offset and length
	frameStarted  = 'a' // the process runs
	frameConfined = 'c' // what it can not do any more, as JSON
	frameTally    = 't' // what reading has cost since the last of them
	frameSpool    = 's' // the object comes whole from here on; its size, if that is known
	frameBytes    = 'b' // the next bytes of a range or of a whole object
	frameOpened   = 'o' // the object is open, as JSON
	frameFailed   = 'f' // why it is not, or the range ends, as JSON
)

// Lengths in bytes, and bounds.
const (
	headBytes   = 5
	tallyBytes  = 13
	rangeBytes  = 16
	mostBytes   = 256 << 10 // in a frame of content
	mostTalk    = 64 << 10  // in any other from the process
	mostOrders  = 8 << 20   // in what the agent itself sends: authorities and certificates are in it
	mostText    = 1 << 10   // of one text
	mostTag     = 1 << 10   // of one part of a validator
	mostCounted = 1 << 30   // bytes or requests in one tally

	mostTalkInRow = 32 // frames without content between
	mostSpools    = 16 // times that an object begins to come whole
)

// errRules says that the other end does not keep to what is above.
var errRules = errors.New("the other end breaks the rules of their conversation")

// head is the beginning of a frame.
func head(kind byte, length int) []byte {
	return binary.BigEndian.AppendUint32([]byte{kind}, uint32(length))
}

// frame is a whole frame with a short content.
func frame(kind byte, content []byte) []byte { return append(head(kind, len(content)), content...) }

// readHead reads the beginning of a frame, and refuses one of more than most bytes.
func readHead(r io.Reader, most func(kind byte) int) (kind byte, length int, err error) {
	var b [headBytes]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, 0, err
	}
	n := binary.BigEndian.Uint32(b[1:])
	if int64(n) > int64(most(b[0])) {
		return 0, 0, fmt.Errorf("%w: a frame of %d bytes", errRules, n)
	}
	return b[0], int(n), nil
}

// readOrders reads the one frame that an order is, of a kind and at most so long.
func readOrders(r io.Reader, kind byte, most int) ([]byte, error) {
	got, n, err := readHead(r, func(byte) int { return most })
	if err != nil {
		return nil, err
	}
	if got != kind {
		return nil, errRules
	}
	content := make([]byte, n)
	_, err = io.ReadFull(r, content)
	return content, err
}

// mostFrom is how many bytes a frame from the process may have.
func mostFrom(kind byte) int {
	switch kind {
	case frameBytes:
		return mostBytes
	case frameConfined, frameOpened, frameFailed:
		return mostTalk
	case frameTally:
		return tallyBytes
	case frameSpool:
		return 8
	}
	return 0
}

// talk reads a short content whole.
func talk(r io.Reader, length int) ([]byte, error) {
	content := make([]byte, length)
	_, err := io.ReadFull(r, content)
	return content, err
}

// cost is what a tally counted.
type cost struct {
	bytes, requests int64
	resumed         bool
}

// counted is what was told of a tally.
type counted struct {
	mu   sync.Mutex
	told cost
}

// since gives what the tally has beyond what was told, and takes it for told.
func (c *counted) since(t *source.Tally) cost {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := cost{t.Bytes.Load(), t.Requests.Load(), t.Resumed.Load()}
	more := cost{now.bytes - c.told.bytes, now.requests - c.told.requests, now.resumed && !c.told.resumed}
	c.told = now
	return more
}

// untold takes back what since gave, which did not reach the agent.
func (c *counted) untold(lost cost) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told.bytes -= lost.bytes
	c.told.requests -= lost.requests
	c.told.resumed = c.told.resumed && !lost.resumed
}

// addTo counts it in the agent's tally, which may be nil.
func (c cost) addTo(t *source.Tally) {
	if t == nil {
		return
	}
	t.Requests.Add(c.requests)
	if c.resumed {
		t.Resumed.Store(true)
	}
	if t.Bytes.Add(c.bytes); c.bytes > 0 && t.Watch != nil {
		t.Watch(int(c.bytes))
	}
}

// frame is the frame that tells it.
func (c cost) frame() []byte {
	b := binary.BigEndian.AppendUint64(head(frameTally, tallyBytes), uint64(c.bytes))
	b = binary.BigEndian.AppendUint32(b, uint32(c.requests))
	if c.resumed {
		return append(b, 1)
	}
	return append(b, 0)
}

// parseCost reads a frame's content.
func parseCost(b []byte) (cost, error) {
	if len(b) != tallyBytes {
		return cost{}, errRules
	}
	c := cost{bytes: int64(binary.BigEndian.Uint64(b)), requests: int64(binary.BigEndian.Uint32(b[8:])), resumed: b[12] == 1}
	if c.bytes < 0 || c.bytes > mostCounted || c.requests > mostCounted || b[12] > 1 {
		return cost{}, errRules
	}
	return c, nil
}

// sizeFrame says that the object comes whole.
func sizeFrame(size int64) []byte {
	return binary.BigEndian.AppendUint64(head(frameSpool, 8), uint64(size))
}

// parseSize reads the size of what comes whole; -1 stands for an unknown one.
func parseSize(b []byte, most int64) (int64, error) {
	if len(b) != 8 {
		return 0, errRules
	}
	size := int64(binary.BigEndian.Uint64(b))
	if size < -1 || size > most {
		return 0, errRules
	}
	return size, nil
}

// rangeFrame asks for n bytes from an offset.
func rangeFrame(off, n int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(head(frameRange, rangeBytes), uint64(off)), uint64(n))
}

// readRange reads what rangeFrame wrote.
func readRange(r io.Reader) (off, n int64, err error) {
	b, err := readOrders(r, frameRange, rangeBytes)
	if err != nil {
		return 0, 0, err
	}
	if len(b) != rangeBytes {
		return 0, 0, errRules
	}
	return int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:])), nil
}

// parseConfinement reads what the process says of itself.
func parseConfinement(b []byte) (c Confinement, err error) {
	if json.Unmarshal(b, &c) != nil || c.Landlock < 0 {
		return Confinement{}, errRules
	}
	return c, nil
}

// opened is what the process says of an object that it has open.
type opened struct {
	Size        int64
	Validator   source.Validator
	Version     string
	ServerClock int64 // as in source.Tally
}

// parseOpened reads it, for an object of at most that many bytes.
func parseOpened(b []byte, most int64) (o opened, err error) {
	if json.Unmarshal(b, &o) != nil || o.Size < 0 || o.Size > most || o.Validator.Size < 0 {
		return opened{}, errRules
	}
	for _, text := range []string{o.Validator.ETag, o.Validator.LastModified, o.Version} {
		if printable.Text(text, mostTag) != text {
			return opened{}, errRules
		}
	}
	return o, nil
}

// failed is an error on its way to the agent.
type failed struct {
	Code, Sentence, Hint string // of a *source.Error
	Stage                source.Stage
	Issuer               string
	Missing              bool
	RetryAfter           time.Duration
	ServerClock          int64  // as in source.Tally
	NotModified          bool   // it is source.ErrNotModified
	Certificate          bool   // a server asked for the client certificate, which could not be read
	Text                 string // the cause, for logs
}

// errCertificate stands for the client certificate that the agent could not read.
var errCertificate = errors.New("there is no client certificate that can be used")

// failedBy takes an error apart.
func failedBy(err error) failed {
	f := failed{NotModified: errors.Is(err, source.ErrNotModified), Certificate: errors.Is(err, errCertificate)}
	var e *source.Error
	if !errors.As(err, &e) {
		f.Text = printable.Text(err.Error(), mostText)
		return f
	}
	f.Code, f.Sentence, f.Hint, f.Stage, f.Issuer, f.Missing, f.RetryAfter = e.Code, e.Sentence, e.Hint, e.Stage, e.Issuer, e.Missing, e.RetryAfter
	if e.Err != nil {
		f.Text = printable.Text(e.Err.Error(), mostText)
	}
	return f
}

// parseFailed reads it. One without a code is no source's error, and means that the
// process itself has failed.
func parseFailed(b []byte) (f failed, err error) {
	if json.Unmarshal(b, &f) != nil {
		return failed{}, errRules
	}
	known := slices.Contains(source.Codes(), f.Code)
	if f.Code != "" && (!known || f.Sentence == "" || f.RetryAfter < 0 || f.RetryAfter > source.MaxRetryAfter) {
		return failed{}, errRules
	}
	if f.Stage != "" && !slices.Contains(source.Stages(), f.Stage) {
		return failed{}, errRules
	}
	f.Issuer = printable.Sentence(f.Issuer, mostText)
	f.Sentence, f.Hint, f.Text = printable.Sentence(f.Sentence, mostText), printable.Text(f.Hint, mostText), printable.Text(f.Text, mostText)
	return f, nil
}

// sourceError puts an error together again; nil where it is no source's.
func (f failed) sourceError() error {
	if f.Code == "" {
		return nil
	}
	e := &source.Error{Code: f.Code, Sentence: f.Sentence, Hint: f.Hint, Stage: f.Stage, Issuer: f.Issuer, Missing: f.Missing, RetryAfter: f.RetryAfter}
	if f.Text != "" {
		e.Err = errors.New(f.Text)
	}
	return e
}
