package sourcetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"mdatp-offline-agent/agent/source"
)

// bodySize is the size of the suite's object: more than any buffer on the way,
// and no multiple of one.
const bodySize = 400<<10 + 4321

// Suite checks that a source keeps the contract of source.Source and
// source.Package. publish gives a source that shows what is in dir; it is called
// once, and dir is filled before.
func Suite(t *testing.T, publish func(t *testing.T, dir string) source.Source) {
	s := &suite{dir: t.TempDir(), body: make([]byte, bodySize)}
	rand.Read(s.body)
	s.write(t, source.PackageName, s.body)
	s.write(t, "empty.zip", nil)
	s.src = publish(t, s.dir)

	t.Run("whole", s.whole)
	t.Run("ranges", s.ranges)
	t.Run("tails", s.tails)
	t.Run("by pieces", s.byPieces)
	t.Run("closed", s.closed)
	t.Run("outside", s.outside)
	t.Run("concurrent", s.concurrent)
	t.Run("empty", s.empty)
	t.Run("missing", s.missing)
	t.Run("names", s.names)
	t.Run("limit", s.limit)
	t.Run("cancelled", s.cancelled)
	t.Run("known", s.known)
	t.Run("counted", s.counted)
	t.Run("replaced", s.replaced) // the last: it publishes something else
}

type suite struct {
	dir  string
	body []byte
	src  source.Source
}

// write publishes a file as a careful mirror does, by a rename, and an hour old.
func (s *suite) write(t *testing.T, name string, data []byte) {
	t.Helper()
	temp := filepath.Join(s.dir, "upload.tmp")
	if err := os.WriteFile(temp, data, 0o644); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(temp, past, past); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, filepath.Join(s.dir, name)); err != nil {
		t.Fatal(err)
	}
}

// request asks for the suite's object with room to spare.
func request() source.Request {
	return source.Request{Name: source.PackageName, MaxBytes: 2 * bodySize}
}

// open opens the suite's object.
func (s *suite) open(t *testing.T) source.Package {
	t.Helper()
	p, err := s.src.Open(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// read reads one range to its end.
func read(ctx context.Context, p source.Package, off, n int64) ([]byte, error) {
	r, err := p.Range(ctx, off, n)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (s *suite) whole(t *testing.T) {
	p := s.open(t)
	if p.Size() != bodySize {
		t.Errorf("size %d, want %d", p.Size(), bodySize)
	}
	got, err := read(t.Context(), p, 0, p.Size())
	if err != nil || !bytes.Equal(got, s.body) {
		t.Errorf("%d bytes differ or failed: %v", len(got), err)
	}
}

func (s *suite) ranges(t *testing.T) {
	p := s.open(t)
	for _, c := range []struct{ off, n int64 }{
		{0, 1}, {1, 1}, {bodySize - 1, 1}, {bodySize - 22, 22}, {4096, 100_000},
		{0, 0}, {bodySize, 0}, {bodySize / 2, 0}, {bodySize / 3, bodySize - bodySize/3},
	} {
		got, err := read(t.Context(), p, c.off, c.n)
		if err != nil || !bytes.Equal(got, s.body[c.off:c.off+c.n]) {
			t.Errorf("range %d+%d: %d bytes differ or failed: %v", c.off, c.n, len(got), err)
		}
	}
}

// tails checks that the hints of a request change nothing in what is read, above
// all not where a range begins before the tail and ends in it.
func (s *suite) tails(t *testing.T) {
	for _, r := range []source.Request{
		{Tail: 1}, {Tail: 1000}, {Tail: bodySize - 1}, {Tail: bodySize}, {Tail: bodySize + 1}, {Tail: 1 << 60}, {Tail: -1},
		{Whole: true}, {Whole: true, Tail: 1000},
	} {
		r.Name, r.MaxBytes = source.PackageName, 2*bodySize
		p, err := s.src.Open(t.Context(), r)
		if err != nil {
			t.Errorf("tail %d, whole %v: %v", r.Tail, r.Whole, err)
			continue
		}
		for _, off := range []int64{bodySize - 1, bodySize - 1000, bodySize - 1001, bodySize - 2000} {
			n := min(1500, bodySize-off)
			got, err := read(t.Context(), p, off, n)
			if err != nil || !bytes.Equal(got, s.body[off:off+n]) {
				t.Errorf("tail %d, whole %v, range %d+%d: %d bytes differ or failed: %v", r.Tail, r.Whole, off, n, len(got), err)
			}
		}
		p.Close()
	}
}

// byPieces reads as an agent does: the end first, then ranges that meet, each by
// small reads, and one of them only in part.
func (s *suite) byPieces(t *testing.T) {
	p := s.open(t)
	var got []byte
	for _, off := range []int64{0, bodySize / 4, bodySize / 2, bodySize - bodySize/4} {
		end := min(off+bodySize/4, bodySize)
		if off == bodySize-bodySize/4 {
			end = bodySize
		}
		abandoned, err := p.Range(t.Context(), off, end-off)
		if err != nil {
			t.Fatal(err)
		}
		io.ReadFull(abandoned, make([]byte, 10))
		abandoned.Close()
		r, err := p.Range(t.Context(), int64(len(got)), end-int64(len(got)))
		if err != nil {
			t.Fatal(err)
		}
		piece, err := io.ReadAll(struct{ io.Reader }{iotest.HalfReader(r)})
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, piece...)
	}
	if !bytes.Equal(got, s.body) {
		t.Errorf("%d bytes differ", len(got))
	}
}

// closed checks that nothing comes from a package after it was closed.
func (s *suite) closed(t *testing.T) {
	p, err := s.src.Open(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Range(t.Context(), 0, bodySize)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p.Close()
	if n, err := io.Copy(io.Discard, r); err == nil {
		t.Errorf("a range gave its %d bytes after the package was closed", n)
	}
	if got, err := read(t.Context(), p, bodySize-1, 1); err == nil {
		t.Errorf("a closed package gave %d bytes", len(got))
	}
}

func (s *suite) outside(t *testing.T) {
	p := s.open(t)
	for _, c := range []struct{ off, n int64 }{
		{-1, 1}, {0, -1}, {0, bodySize + 1}, {bodySize, 1}, {bodySize + 1, 0}, {1, 1<<63 - 1},
	} {
		if r, err := p.Range(t.Context(), c.off, c.n); err == nil {
			r.Close()
			t.Errorf("range %d+%d of %d bytes was given", c.off, c.n, bodySize)
		}
	}
}

func (s *suite) concurrent(t *testing.T) {
	p := s.open(t)
	var all sync.WaitGroup
	for i := range int64(8) {
		all.Go(func() {
			off, n := i*bodySize/16, int64(bodySize/2)
			got, err := read(t.Context(), p, off, n)
			if err != nil || !bytes.Equal(got, s.body[off:off+n]) {
				t.Errorf("range %d+%d: %d bytes differ or failed: %v", off, n, len(got), err)
			}
		})
	}
	all.Wait()
}

func (s *suite) empty(t *testing.T) {
	p, err := s.src.Open(t.Context(), source.Request{Name: "empty.zip", MaxBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	got, err := read(t.Context(), p, 0, 0)
	if p.Size() != 0 || len(got) != 0 || err != nil {
		t.Errorf("size %d, %d bytes, %v", p.Size(), len(got), err)
	}
}

func (s *suite) missing(t *testing.T) {
	_, err := s.src.Open(t.Context(), source.Request{Name: source.SidecarName, MaxBytes: 1 << 16})
	if !source.NotThere(err) {
		t.Errorf("a missing object gave %v", err)
	}
	WantReason(t, err, source.CodeNotFound)
}

func (s *suite) names(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../updates.zip", "/etc/passwd", "a/b", "updates.zip?x=1", "a\x00b", "updates.zip\n"} {
		_, err := s.src.Open(t.Context(), source.Request{Name: name, MaxBytes: 1 << 30})
		WantReason(t, err, source.CodeNotFound)
	}
}

func (s *suite) limit(t *testing.T) {
	r := request()
	r.MaxBytes = bodySize
	p, err := s.src.Open(t.Context(), r)
	if err != nil {
		t.Fatalf("an object of just the limit gave %v", err)
	}
	p.Close()
	r.MaxBytes--
	_, err = s.src.Open(t.Context(), r)
	WantReason(t, err, source.CodeTooLarge)
}

func (s *suite) cancelled(t *testing.T) {
	p := s.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.src.Open(ctx, request()); !errors.Is(err, context.Canceled) {
		t.Errorf("open gave %v", err)
	}
	if _, err := read(ctx, p, 0, p.Size()); !errors.Is(err, context.Canceled) {
		t.Errorf("range gave %v", err)
	}
}

// known checks that a validator, where there is one, leads to ErrNotModified.
func (s *suite) known(t *testing.T) {
	r := request()
	r.Known = s.open(t).Validator()
	if r.Known == (source.Validator{}) {
		return // the source has none to give, which is its right
	}
	if _, err := s.src.Open(t.Context(), r); !errors.Is(err, source.ErrNotModified) {
		t.Errorf("an unchanged object gave %v", err)
	}
	r.Known = source.Validator{ETag: `"something else"`}
	p, err := s.src.Open(t.Context(), r)
	if err != nil {
		t.Fatalf("another validator gave %v", err)
	}
	p.Close()
}

func (s *suite) counted(t *testing.T) {
	var tally source.Tally
	p, err := source.Count(s.src, &tally).Open(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := read(t.Context(), p, 0, p.Size()); err != nil {
		t.Fatal(err)
	}
	if got := tally.Bytes.Load(); got != bodySize {
		t.Errorf("%d bytes were counted, want %d", got, bodySize)
	}
}

// replaced checks that an open package stays one version when another is
// published, and that the next Open sees that one.
func (s *suite) replaced(t *testing.T) {
	old := s.open(t)
	before := old.Validator()
	s.write(t, source.PackageName, []byte("another version"))
	got, err := read(t.Context(), old, 0, old.Size())
	// A source that reads by requests may notice instead.
	if err != nil {
		WantReason(t, err, source.CodeChanged)
	} else if !bytes.Equal(got, s.body) {
		t.Error("an open package changed its content")
	}
	r := request()
	r.Known = before
	p, err := s.src.Open(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	got, err = read(t.Context(), p, 0, p.Size())
	if err != nil || string(got) != "another version" {
		t.Errorf("after publishing: %d bytes, %v", len(got), err)
	}
}
