package source

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// refusing is a transport on which every request fails.
type refusing struct{ asked []time.Duration }

// RoundTrip notes when it was asked.
func (r *refusing) RoundTrip(*http.Request) (*http.Response, error) {
	r.asked = append(r.asked, time.Since(time.Unix(946684800, 0))) // when a bubble begins
	return nil, errors.New("no")
}

// over gives a source whose requests all go over that transport.
func over(via http.RoundTripper, retry Retry) *HTTP {
	h := NewHTTP(HTTPConfig{Base: &url.URL{Scheme: "http", Host: "h"}, Retry: retry})
	for route := range h.transports {
		h.transports[route] = via
	}
	return h
}

// TestBackOff has how long is waited, with the clock of a bubble.
func TestBackOff(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		retry Retry
		want  int             // requests
		most  []time.Duration // the longest wait before each but the first
	}{
		{"as it is", Retry{}, 3, []time.Duration{time.Second, 2 * time.Second}},
		{"once", Retry{Tries: 1}, 1, nil},
		{"often", Retry{Tries: 4, MaxWait: time.Minute}, 4, []time.Duration{4 * time.Second, 8 * time.Second, 16 * time.Second}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var sum time.Duration
			for range 50 {
				synctest.Test(t, func(t *testing.T) {
					via := &refusing{}
					_, err := over(via, tt.retry).Open(t.Context(), Request{Name: PackageName, MaxBytes: 1})
					var e *Error
					if !errors.As(err, &e) || e.Code != CodeUnreachable || len(via.asked) != tt.want {
						t.Fatalf("%d requests, %v", len(via.asked), err)
					}
					for i, most := range tt.most {
						wait := via.asked[i+1] - via.asked[i]
						sum += wait
						if wait < 0 || wait > most+time.Nanosecond {
							t.Errorf("wait %d took %s, at most %s", i, wait, most)
						}
					}
				})
			}
			var half time.Duration
			for _, most := range tt.most {
				half += most / 2
			}
			// Full jitter is half of the most in the mean; 50 runs come near to it.
			if mean := sum / 50; mean < half/2 || mean > half*3/2 {
				t.Errorf("the waits of a run are %s in the mean, want about %s", mean, half)
			}
		})
	}
}

// TestBackOffInAll makes sure that waiting is bounded over the life of a source
// from which nothing comes, and that what is asked for afterwards is still tried once.
func TestBackOffInAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		via := &refusing{}
		h := over(via, Retry{Tries: 10})
		started := time.Now()
		for range 20 {
			if _, err := h.Open(t.Context(), Request{Name: PackageName, MaxBytes: 1}); err == nil {
				t.Fatal("it was opened")
			}
		}
		if waited := time.Since(started); waited > DefaultMaxWait {
			t.Errorf("%s were spent waiting", waited)
		}
		if n := len(via.asked); n < 20 || n > 200 {
			t.Errorf("%d requests", n)
		}
	})
}

// TestBackOffEnds has a caller that gives up during a wait.
func TestBackOffEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		started := time.Now()
		_, err := over(&refusing{}, Retry{Tries: 1000, MaxWait: 1000 * time.Hour}).Open(ctx, Request{Name: PackageName, MaxBytes: 1})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(started) != time.Minute {
			t.Errorf("after %s: %v", time.Since(started), err)
		}
	})
}

// TestProgress has when failures are forgiven.
func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := over(&refusing{}, Retry{Tries: 3, MaxWait: 1000 * time.Hour}).newTries()
		failed := &Error{again: true}
		for i := range 8 { // the waits of all together stay below the bound
			if n.again(t.Context(), failed) != nil {
				t.Fatal("gave up in spite of progress")
			}
			if i%2 == 0 {
				continue
			}
			n.progress(stallBytes - 1)
			n.progress(1)
		}
		n.progress(stallBytes - 1)
		for range 2 {
			if n.again(t.Context(), failed) != nil {
				t.Fatal("gave up too soon")
			}
		}
		if n.again(t.Context(), failed) != failed {
			t.Error("goes on without progress")
		}
		if other := errors.New("other"); n.again(t.Context(), other) != other {
			t.Error("another error was tried again")
		}
	})
}

// TestProgressRefills has a line that breaks again and again, and brings enough in
// between: it waits for longer than the bound in all. Then nothing comes any more.
func TestProgressRefills(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := over(&refusing{}, Retry{Tries: 1000})
		failed := &Error{again: true}
		n, started := h.newTries(), time.Now()
		for i := range 500 {
			if err := n.again(t.Context(), failed); err != nil {
				t.Fatalf("gave up at break %d after %s", i, time.Since(started))
			}
			n.progress(stallBytes)
		}
		if waited := time.Since(started); waited <= DefaultMaxWait {
			t.Fatalf("%s of waiting prove nothing", waited)
		}
		started = time.Now()
		for n.again(t.Context(), failed) == nil {
			n.progress(1)
		}
		if waited := time.Since(started); waited > DefaultMaxWait {
			t.Errorf("%s were spent waiting for nothing", waited)
		}
	})
}

func TestContentRange(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]part{
		"bytes 0-0/1":   {0, 1, 1},
		"bytes 5-9/10":  {5, 5, 10},
		"Bytes 0-9/100": {0, 10, 100},
		"bytes 0-9223372036854775806/9223372036854775807": {0, 9223372036854775807, 9223372036854775807},
		"":                               {},
		"bytes":                          {},
		"bytes 0-9":                      {},
		"bytes 0-9/*":                    {},
		"bytes */10":                     {},
		"bytes 9-0/10":                   {},
		"bytes 0-10/10":                  {},
		"bytes 0-0/0":                    {},
		"bytes=0-9/10":                   {},
		"lines 0-9/10":                   {},
		"bytes  0-9/10":                  {},
		"bytes +0-9/10":                  {},
		"bytes 0--9/10":                  {},
		"bytes 0-9/10, 0-9/10":           {},
		"bytes 0-9/9223372036854775808":  {},
		"bytes 0x0-9/10":                 {},
		"bytes 18446744073709551615-0/1": {},
	} {
		got, ok := parseContentRange(in)
		if ok != (want.n != 0) || ok && got != want {
			t.Errorf("%q: %v, %v, want %v", in, got, ok, want)
		}
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	tests := []struct {
		a, b identity
		want bool
	}{
		{identity{`"v"`, "x", 1}, identity{`"v"`, "y", 1}, true},
		{identity{`"v"`, "x", 1}, identity{`"v"`, "x", 2}, false},
		{identity{`"v"`, "x", 1}, identity{`"w"`, "x", 1}, false},
		{identity{`"v"`, "x", 1}, identity{``, "x", 1}, false},
		{identity{`W/"v"`, "x", 1}, identity{`W/"v"`, "x", 1}, true},
		{identity{`W/"v"`, "x", 1}, identity{`W/"v"`, "y", 1}, false},
		{identity{`W/"v"`, "x", 1}, identity{`"v"`, "x", 1}, false},
		{identity{``, "x", 1}, identity{``, "x", 1}, true},
		{identity{``, "x", 1}, identity{``, "y", 1}, false},
		{identity{`"a", "b"`, "x", 1}, identity{`"a", "b"`, "x", 1}, true},
		{identity{`"a", "b"`, "x", 1}, identity{`"a", "b"`, "y", 1}, false},
	}
	for _, tt := range tests {
		if tt.a.same(tt.b) != tt.want || tt.b.same(tt.a) != tt.want {
			t.Errorf("%v and %v: %v", tt.a, tt.b, !tt.want)
		}
	}
}

// TestKeptDate has when date and size stand in for a tag.
func TestKeptDate(t *testing.T) {
	t.Parallel()
	const date, before = "Mon, 23 Nov 2026 12:00:00 GMT", "Mon, 23 Nov 2026 11:00:00 GMT"
	for name, tt := range map[string]struct {
		header http.Header
		size   int64
		keep   bool
	}{
		"old":            {http.Header{"Date": {date}, "Last-Modified": {before}}, 5, true},
		"empty":          {http.Header{"Date": {date}, "Last-Modified": {before}}, 0, true},
		"just written":   {http.Header{"Date": {date}, "Last-Modified": {date}}, 5, false},
		"no date":        {http.Header{"Last-Modified": {before}}, 5, false},
		"nonsense":       {http.Header{"Date": {date}, "Last-Modified": {"yesterday"}}, 5, false},
		"no length":      {http.Header{"Date": {date}, "Last-Modified": {before}}, -1, false},
		"malformed tag":  {http.Header{"Date": {date}, "Last-Modified": {before}, "Etag": {"x"}}, 5, false},
		"nothing at all": {http.Header{"Date": {date}}, 5, false},
	} {
		want := Validator{}
		if tt.keep {
			want = Validator{LastModified: before, Size: tt.size}
		}
		if got := keptValidator(tt.header, tt.size); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// TestVersionTellsApart has addresses, tags and sizes that must not be taken for
// one another, and a password that must make no difference.
func TestVersionTellsApart(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, place := range []string{"http://h/a", "https://h/a", "http://h/b", "http://h:81/a", "http://h/a?x=1"} {
		for _, tag := range []string{`"v"`, `"w"`} {
			for _, size := range []int64{1, 12} {
				u, _ := url.Parse(place)
				v, name := version(u, Validator{ETag: tag}, size), fmt.Sprint(place, tag, size)
				if seen[v] != "" || len(v) != 32 {
					t.Errorf("%s and %s have version %q", name, seen[v], v)
				}
				seen[v] = name
				u.User = url.UserPassword("u", "p")
				if version(u, Validator{ETag: tag}, size) != v {
					t.Errorf("%s: the password is in the version", name)
				}
			}
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-0/1", "bytes 5-9/10", "bytes 0-9/*", "bytes */10", "bytes 0-9223372036854775806/9223372036854775807", "bytes -1-0/9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, ok := parseContentRange(s)
		if ok && (p.off < 0 || p.n <= 0 || p.total <= 0 || p.off > p.total-p.n) {
			t.Errorf("%q gives %+v", s, p)
		}
	})
}

// What is read ahead of what was given must always do, however badly the content
// packs and in however small pieces it is read.
func TestUnzipKeepsUp(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	for name, content := range map[string][]byte{"nothing": nil, "noise": noise, "zeros": make([]byte, 3<<20)} {
		for _, level := range []int{gzip.NoCompression, gzip.BestSpeed, gzip.HuffmanOnly} {
			var b bytes.Buffer
			w, _ := gzip.NewWriterLevel(&b, level)
			w.Write(content)
			w.Close()
			for _, piece := range []int{1000, 256 << 10} {
				var got bytes.Buffer
				from := unzip(&answer{where: "the server"}, bytes.NewReader(b.Bytes()))
				_, err := io.CopyBuffer(struct{ io.Writer }{&got}, struct{ io.Reader }{from}, make([]byte, piece))
				if err != nil || !bytes.Equal(got.Bytes(), content) {
					t.Errorf("%s, level %d, pieces of %d: %d bytes, %v", name, level, piece, got.Len(), err)
				}
			}
		}
	}
}

func FuzzUnzip(f *testing.F) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, strings.Repeat("x", 1000))
	w.Close()
	f.Add(b.Bytes())
	f.Add(append(b.Bytes(), b.Bytes()...))
	f.Add(b.Bytes()[:20])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 4096
		a := &answer{where: "the server"}
		n, err := transfer(io.Discard, unzip(a, bytes.NewReader(data)), limit)
		var e *Error
		if n > limit+1 || err != nil && (!errors.As(err, &e) || e.again) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}
