package apart

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/printable"
)

// said joins what a process says.
func said(frames ...[]byte) []byte { return slices.Concat(frames...) }

func asJSON(kind byte, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return frame(kind, b)
}

// memory is a spool that counts.
type memory struct {
	bytes.Buffer
	closed bool
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.Bytes()).ReadAt(p, off)
}
func (m *memory) Close() error { m.closed = true; return nil }

// hear lets the agent's end listen to what a process says while it opens an object
// of at most most bytes.
func hear(words []byte, most int64, tally *source.Tally) (*opened, []*memory, error) {
	var spools []*memory
	s := New(Config{Dir: "/mirror", Spool: func(int64) (source.Spool, error) {
		spools = append(spools, &memory{})
		return spools[len(spools)-1], nil
	}})
	o := &opening{s: s, r: source.Request{MaxBytes: most, Tally: tally}}
	defer o.drop()
	from := bufio.NewReader(bytes.NewReader(words))
	for {
		if done, err := o.step(from); err != nil || done != nil {
			return done, spools, err
		}
	}
}

// TestRules has what a process that was taken over might say.
func TestRules(t *testing.T) {
	t.Parallel()
	good := opened{Size: 3, Validator: source.Validator{ETag: `"a"`}, Version: "v"}
	tests := map[string][]byte{
		"nothing":                     nil,
		"half a head":                 {frameOpened, 0},
		"an unknown kind":             frame('x', nil),
		"started again":               frame(frameStarted, nil),
		"too long":                    head(frameOpened, mostTalk+1),
		"far too long":                {frameBytes, 255, 255, 255, 255},
		"shorter than it says":        head(frameOpened, 100),
		"no JSON":                     frame(frameOpened, []byte("x")),
		"a negative size":             asJSON(frameOpened, opened{Size: -1}),
		"a size over the limit":       asJSON(frameOpened, opened{Size: 11}),
		"a tag that is none":          asJSON(frameOpened, opened{Validator: source.Validator{ETag: "a\nb"}}),
		"a tag without end":           asJSON(frameOpened, opened{Validator: source.Validator{ETag: strings.Repeat("a", mostTag+1)}}),
		"a negative validator":        asJSON(frameOpened, opened{Validator: source.Validator{Size: -1}}),
		"bytes of nothing":            said(frame(frameBytes, []byte("abc"))),
		"no bytes":                    said(sizeFrame(3), frame(frameBytes, nil)),
		"a size that is none":         sizeFrame(-2),
		"an announced size too large": sizeFrame(11),
		"more than the limit":         said(sizeFrame(-1), frame(frameBytes, make([]byte, 12))),
		"another size than came":      said(sizeFrame(3), frame(frameBytes, []byte("ab")), asJSON(frameOpened, good)),
		"a negative count":            frame(frameTally, bytes.Repeat([]byte{255}, tallyBytes)),
		"a short count":               frame(frameTally, make([]byte, tallyBytes-1)),
		"a code that is none":         asJSON(frameFailed, failed{Code: "config_invalid", Sentence: "a"}),
		"no sentence":                 asJSON(frameFailed, failed{Code: source.CodeNotFound}),
		"for ever":                    asJSON(frameFailed, failed{Code: source.CodeRateLimited, Sentence: "a", RetryAfter: source.MaxRetryAfter + 1}),
		"a stage that is none":        asJSON(frameFailed, failed{Code: source.CodeNotFound, Sentence: "a", Stage: "elsewhere"}),
		"no error at all":             asJSON(frameFailed, failed{}),
		"a certificate not asked for": asJSON(frameFailed, failed{Certificate: true}),
		"talk without end":            bytes.Repeat(cost{}.frame(), mostTalkInRow+1),
		"confined without end":        bytes.Repeat(asJSON(frameConfined, Confinement{}), mostTalkInRow+1),
		"begun again without end":     bytes.Repeat(said(sizeFrame(1), frame(frameBytes, []byte("x"))), mostSpools+1),
		"a Landlock below zero":       asJSON(frameConfined, Confinement{Landlock: -1}),
	}
	for name, words := range tests {
		done, _, err := hear(words, 10, nil)
		var ours *ownError
		if err == nil || errors.As(err, &ours) {
			t.Errorf("%s: %v, %v", name, done, err)
		}
	}
	var tally source.Tally
	done, spools, err := hear(said(sizeFrame(-1), frame(frameBytes, []byte("x")), sizeFrame(3), cost{3, 2, true}.frame(), frame(frameBytes, []byte("abc")), asJSON(frameOpened, good)), 10, &tally)
	if err != nil || *done != good || len(spools) != 2 || !spools[0].closed || spools[1].String() != "abc" {
		t.Errorf("%v %v %v", done, spools, err)
	}
	if tally.Bytes.Load() != 3 || tally.Requests.Load() != 2 || !tally.Resumed.Load() {
		t.Error("costs are not counted")
	}
}

// What comes all the time, and yet makes up for less than it lets wait, ends; what
// comes at its pace does not.
func TestPatience(t *testing.T) {
	t.Parallel()
	ours, theirs, err := pair(unix.SOCK_STREAM)
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	go func() {
		defer theirs.Close()
		for {
			time.Sleep(10 * time.Millisecond)
			if _, err := theirs.Write(said(cost{1, 1, false}.frame(), frame(frameBytes, []byte("x")))); err != nil {
				return
			}
		}
	}()
	line := &patient{UnixConn: ours, patience: 200 * time.Millisecond, pace: time.Millisecond}
	s := &stream{o: &object{s: New(Config{Dir: "/mirror"}), open: context.Background(), p: &process{kill: func() {}, ended: make(chan struct{})}},
		ctx: t.Context(), line: line, from: bufio.NewReader(line), left: 1 << 40}
	_, err = io.Copy(io.Discard, s)
	var failed *source.Error
	if !errors.As(err, &failed) || failed.Code != source.CodeStalled {
		t.Errorf("it ended with %v", err)
	}
	for pace, left := range map[time.Duration]time.Duration{time.Millisecond: 9 * time.Second, time.Second: 0} {
		p := &patient{waited: 10 * time.Second, pace: pace}
		if err := p.heard(frameBytes, 1000); err != nil || p.waited != left {
			t.Errorf("%s is left of the waiting, %v", p.waited, err)
		}
	}
}

// The limits of a source become those of its process, below what the daemon calls stuck.
func TestPatienceOfSource(t *testing.T) {
	t.Parallel()
	long := source.Timeouts{Connect: time.Hour, Stall: time.Hour}
	for _, c := range []Config{{Dir: "/mirror", Timeouts: long}, {URL: "http://mirror.example", Timeouts: long}} {
		if s := New(c); s.patience != maxPatience {
			t.Errorf("a patience of %s", s.patience)
		}
	}
	// Under a limit of 1 KiB in a second, 30 KiB take another 30 s, each four times.
	s := New(Config{URL: "http://mirror.example", Rate: 1 << 10})
	if took := s.pace * 30 << 10; took.Round(time.Second) != 4*time.Minute {
		t.Errorf("30 KiB may take %s", took)
	}
}

// TestFailuresCross: an error is the same behind the socket, and is fit to be shown.
func TestFailuresCross(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		source.ErrNotModified,
		&source.Error{Code: source.CodeRateLimited, Sentence: "busy", Hint: "wait", RetryAfter: 17},
		&source.Error{Code: source.CodeTLS, Sentence: "not trusted", Hint: "look", Stage: source.StageTLS, Issuer: "CN=corp"},
		&source.Error{Code: source.CodeNotFound, Sentence: "none", Hint: "look", Missing: true, Err: errors.New("a\n\x1b[2J")},
	} {
		_, _, got := hear(asJSON(frameFailed, failedBy(err)), 10, nil)
		var ours *ownError
		if !errors.As(got, &ours) {
			t.Errorf("%v became %v", err, got)
			continue
		}
		var want, is *source.Error
		if errors.As(err, &want) {
			if !errors.As(ours.err, &is) || is.Code != want.Code || is.Sentence != want.Sentence || is.Hint != want.Hint || is.Missing != want.Missing || is.Stage != want.Stage || is.Issuer != want.Issuer || is.RetryAfter != want.RetryAfter {
				t.Errorf("%v became %v", err, ours.err)
			}
			if want.Err != nil && is.Err.Error() != "a??[2J" {
				t.Errorf("the cause became %q", is.Err)
			}
		} else if !errors.Is(ours.err, err) {
			t.Errorf("%v became %v", err, ours.err)
		}
	}
}

// FuzzProcess has a process say anything, while an object is opened and while a
// range of 5 bytes is read.
func FuzzProcess(f *testing.F) {
	f.Add(said(cost{1, 1, false}.frame(), asJSON(frameConfined, Confinement{Landlock: 7}), asJSON(frameOpened, opened{Size: 5})))
	f.Add(said(sizeFrame(5), frame(frameBytes, []byte("abcde")), asJSON(frameOpened, opened{Size: 5})))
	f.Add(said(cost{5, 0, true}.frame(), frame(frameBytes, []byte("abc")), frame(frameBytes, []byte("de"))))
	f.Add(asJSON(frameFailed, failed{Code: source.CodeStalled, Sentence: "a : \"b\"\n", Hint: "\u202e"}))
	f.Fuzz(func(t *testing.T, words []byte) {
		done, spools, err := hear(words, 1000, new(source.Tally))
		if err == nil && (done.Size < 0 || done.Size > 1000) {
			t.Errorf("opened %v", done)
		}
		for _, s := range spools {
			if s.Len() > 1001 || !s.closed {
				t.Errorf("a spool of %d bytes, closed %v", s.Len(), s.closed)
			}
		}
		fit(t, err)

		ended := make(chan struct{})
		close(ended)
		o := &object{s: New(Config{Dir: "/mirror"}), p: &process{kill: func() {}, ended: ended, cmd: &exec.Cmd{}}, open: context.Background()}
		got, err := io.ReadAll(&stream{o: o, ctx: t.Context(), line: new(patient), from: bufio.NewReader(bytes.NewReader(words)), left: 5})
		if len(got) > 5 || err == nil && len(got) != 5 {
			t.Errorf("a range of 5 bytes has %d: %v", len(got), err)
		}
		fit(t, err)
	})
}

// fit checks that whatever an error quotes is fit to be shown.
func fit(t *testing.T, err error) {
	if err == nil {
		return
	}
	var e *source.Error
	if errors.As(err, &e) {
		if !slices.Contains(source.Codes(), e.Code) || printable.Sentence(e.Sentence, 1<<20) != e.Sentence || printable.Sentence(e.Issuer, 1<<20) != e.Issuer {
			t.Errorf("not fit to be shown: %q", e.Sentence)
		}
	}
	if printable.Text(err.Error(), 1<<20) != err.Error() {
		t.Errorf("not fit for a log: %q", err)
	}
}

// FuzzOrders has the process read anything as its orders.
func FuzzOrders(f *testing.F) {
	f.Add(asJSON(frameJob, job{Config: Config{Dir: "/mirror"}, Request: request{Name: source.PackageName, MaxBytes: 5}}))
	f.Add(rangeFrame(1, 2))
	f.Fuzz(func(t *testing.T, words []byte) {
		if b, err := readOrders(bytes.NewReader(words), frameJob, 1000); err == nil {
			var j job
			if json.Unmarshal(b, &j) == nil && len(j.Request.Name) > 1000 {
				t.Errorf("%d bytes are read as %v", len(b), j)
			}
		}
		if off, n, err := readRange(bytes.NewReader(words)); err == nil && !bytes.HasPrefix(words, rangeFrame(off, n)) {
			t.Errorf("%d+%d was read from %x", off, n, words)
		}
	})
}

// What a stream could not tell, since nobody listens to it any more, the next one tells.
func TestUntold(t *testing.T) {
	t.Parallel()
	a := &answers{tally: new(source.Tally), counted: new(counted)}
	stream := func() *net.UnixConn {
		ours, theirs, err := pair(unix.SOCK_STREAM)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.FileConn(theirs)
		if err := errors.Join(err, theirs.Close()); err != nil {
			t.Fatal(err)
		}
		a.conn = conn.(*net.UnixConn)
		t.Cleanup(func() { ours.Close(); conn.Close() })
		return ours
	}
	left := stream()
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	a.tally.Bytes.Store(1000)
	a.tally.Requests.Store(2)
	a.tally.Resumed.Store(true)
	if err := a.tell(frame(frameStarted, nil)); err == nil {
		t.Fatal("nobody listens, and yet it was told")
	}
	heard := stream()
	a.tally.Bytes.Store(1024)
	if err := errors.Join(a.tell(), a.conn.Close()); err != nil {
		t.Fatal(err)
	}
	told, err := io.ReadAll(heard)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parseCost(told[len(told)-tallyBytes:]); err != nil || got != (cost{1024, 2, true}) {
		t.Errorf("told %+v, %v", got, err)
	}

	// What was heard is not told again where the rest was not.
	partly := stream()
	go func() {
		_, _ = io.CopyN(io.Discard, partly, headBytes+tallyBytes)
		partly.Close()
	}()
	a.tally.Bytes.Store(2024)
	if err := a.tell(make([]byte, 8<<20)); err == nil {
		t.Fatal("nobody listens to all of it, and yet it was told")
	}
	if got := a.counted.since(a.tally); got.bytes != 0 || got.requests != 0 {
		t.Errorf("%+v is told twice", got)
	}
}
