package source_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/sourcetest"
)

// client makes an HTTP source with short waiting times, and checks at the end
// that it left no spool open.
func client(t *testing.T, base string, change ...func(*source.HTTPConfig)) *source.HTTP {
	t.Helper()
	spools := &sourcetest.Spools{Dir: t.TempDir()}
	t.Cleanup(func() {
		if n := spools.Open(); n != 0 {
			t.Errorf("%d spools were left open", n)
		}
	})
	cfg := source.HTTPConfig{
		Base:  parse(t, base),
		Spool: spools.New,
		Retry: source.Retry{Tries: 1},
		Timeouts: source.Timeouts{
			Connect: 5 * time.Second, TLS: 5 * time.Second, Header: 5 * time.Second, Stall: 5 * time.Second,
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	return source.NewHTTP(cfg)
}

// large asks for a package that is spooled, of at most 1 MiB.
func large() source.Request {
	return source.Request{Name: source.PackageName, MaxBytes: 1 << 20}
}

// server runs a handler until the test ends.
func server(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections() // a handler may still be sending
		s.Close()
	})
	return s.URL
}

// fetch opens and reads an object whole.
func fetch(t *testing.T, s source.Source, r source.Request) (string, error) {
	t.Helper()
	p, err := s.Open(t.Context(), r)
	if err != nil {
		return "", err
	}
	defer p.Close()
	return readAll(t.Context(), p)
}

func TestHTTPRequest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, path, want string
		known            string
		change           func(*source.HTTPConfig)
		header           http.Header
	}{
		{name: "mirror", path: "/linux/production/arch_x86_64", want: "/linux/production/arch_x86_64/updates.zip"},
		{name: "slash at the end", path: "/ring/arch_arm64/", want: "/ring/arch_arm64/updates.zip"},
		{name: "root", path: "", want: "/updates.zip"},
		{name: "single", path: "/fwlink/?linkid=1&arch=arm64", want: "/fwlink/?linkid=1&arch=arm64",
			change: func(c *source.HTTPConfig) { c.Single = true }},
		{name: "single at the root", path: "?linkid=1", want: "/?linkid=1",
			change: func(c *source.HTTPConfig) { c.Single = true }},
		{name: "condition", want: "/updates.zip", known: `W/"1-2"`, header: http.Header{"If-None-Match": {`W/"1-2"`}}},
		{name: "broken validator", want: "/updates.zip", known: "\"a\r\nX-Evil: 1\""},
		{name: "user agent", want: "/updates.zip", change: func(c *source.HTTPConfig) { c.UserAgent = "x/1" },
			header: http.Header{"User-Agent": {"x/1"}}},
		{name: "password", want: "/updates.zip", change: func(c *source.HTTPConfig) {
			c.Base.User = parseUser("http://u:p@h")
		}, header: http.Header{"Authorization": {"Basic dTpw"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got *http.Request
			base := server(t, func(w http.ResponseWriter, r *http.Request) { got = r; io.WriteString(w, "ok") })
			h := client(t, base+tt.path, func(c *source.HTTPConfig) {
				if tt.change != nil {
					tt.change(c)
				}
			})
			r := large()
			r.Known.ETag = tt.known
			if body, err := fetch(t, h, r); body != "ok" || err != nil {
				t.Fatalf("got %q, %v", body, err)
			}
			want := http.Header{"User-Agent": {"mdatp-offline-agent"}, "Accept-Encoding": {"identity"}, "Range": {"bytes=-32768"}}
			for k, v := range tt.header {
				want[k] = v
			}
			if got.Method != "GET" || got.URL.RequestURI() != tt.want || fmt.Sprint(got.Header) != fmt.Sprint(want) {
				t.Errorf("sent %s %s %v\nwant GET %s %v", got.Method, got.URL.RequestURI(), got.Header, tt.want, want)
			}
		})
	}
}

func TestHTTPSingle(t *testing.T) {
	t.Parallel()
	h := client(t, "http://127.0.0.1:1/", func(c *source.HTTPConfig) { c.Single = true })
	_, err := h.Open(t.Context(), source.Request{Name: source.SidecarName, MaxBytes: 1})
	sourcetest.WantReason(t, err, source.CodeNotFound)
	if !source.NotThere(err) {
		t.Error("a sidecar beside the cloud's package is not NotThere")
	}
}

// TestHTTPStatus has what each status is taken for, with the body of a page.
func TestHTTPStatus(t *testing.T) {
	t.Parallel()
	tests := []struct {
		status   int
		known    string
		code     string
		notThere bool
	}{
		{status: 404, code: source.CodeNotFound, notThere: true},
		{status: 410, code: source.CodeNotFound, notThere: true},
		{status: 403, code: source.CodeForbidden, notThere: true},
		{status: 401, code: source.CodeForbidden},
		{status: 407, code: source.CodeForbidden},
		{status: 429, code: source.CodeRateLimited},
		{status: 503, code: source.CodeRateLimited},
		{status: 304, code: source.CodeUnreachable},
		{status: 304, known: "no tag", code: source.CodeUnreachable},
		{status: 201, code: source.CodeUnreachable},
		{status: 204, code: source.CodeUnreachable},
		{status: 206, code: source.CodeUnreachable},
		{status: 300, code: source.CodeUnreachable},
		{status: 302, code: source.CodeUnreachable}, // without a Location
		{status: 400, code: source.CodeUnreachable},
		{status: 500, code: source.CodeUnreachable},
		{status: 502, code: source.CodeUnreachable},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.status, tt.known), func(t *testing.T) {
			t.Parallel()
			base := server(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				w.Header().Set("Retry-After", "120")
				w.WriteHeader(tt.status)
				io.WriteString(w, "<html>not a package</html>")
			})
			r := large()
			r.Known.ETag = tt.known
			_, err := fetch(t, client(t, base), r)
			sourcetest.WantReason(t, err, tt.code)
			var e *source.Error
			if !errors.As(err, &e) || source.NotThere(err) != tt.notThere {
				t.Fatalf("NotThere is %v for %v", !tt.notThere, err)
			}
			if !strings.Contains(e.Sentence, fmt.Sprint(tt.status)) || !strings.Contains(e.Sentence, strings.TrimPrefix(base, "http://")) {
				t.Errorf("sentence %q lacks status or server", e.Sentence)
			}
			if waits := e.RetryAfter == 2*time.Minute; waits != (tt.code == source.CodeRateLimited || tt.status == 403) {
				t.Errorf("RetryAfter is %s", e.RetryAfter)
			}
		})
	}
}

func TestHTTPNotModified(t *testing.T) {
	t.Parallel()
	base := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v2"`)
		if r.Header.Get("If-None-Match") == `"v2"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		io.WriteString(w, "second")
	})
	h := client(t, base)
	r := large()
	r.Known.ETag = `"v1"`
	p, err := h.Open(t.Context(), r) // a 200 in spite of the condition is the new object
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if got, err := readAll(t.Context(), p); got != "second" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if r.Known = p.Validator(); r.Known.ETag != `"v2"` {
		t.Errorf("validator is %q", r.Known.ETag)
	}
	if _, err := h.Open(t.Context(), r); err != source.ErrNotModified {
		t.Errorf("the known object gave %v", err)
	}
}

func TestHTTPCounts(t *testing.T) {
	t.Parallel()
	base := server(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/updates.zip":
			http.Redirect(w, r, "/moved", http.StatusFound)
		default:
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, strings.Repeat("x", 600)) // and breaks off
		}
	})
	var tally source.Tally
	_, err := fetch(t, source.Count(client(t, base), &tally), large())
	sourcetest.WantReason(t, err, source.CodeUnreachable)
	if b, n := tally.Bytes.Load(), tally.Requests.Load(); b != 600 || n != 2 {
		t.Errorf("counted %d bytes, %d requests, want 600 and 2", b, n)
	}
}

// What time a server has is by its last answer, also where that is a failure; one
// from a cache has aged since.
func TestServerClock(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		date, age string
		want      int64
	}{
		{"Mon, 02 Jan 2006 15:04:05 GMT", "", 1136214245},
		{"Mon, 02 Jan 2006 15:04:05 GMT", "100", 1136214345},
		{"Mon, 02 Jan 2006 15:04:05 GMT", "-100", 1136214245},
		{"yesterday", "", 0},
	} {
		base := server(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", tt.date)
			w.Header().Set("Age", tt.age)
			http.NotFound(w, r)
		})
		var tally source.Tally
		_, err := fetch(t, source.Count(client(t, base), &tally), large())
		sourcetest.WantReason(t, err, source.CodeNotFound)
		if got := tally.ServerClock.Load(); got != tt.want {
			t.Errorf("Date %q, Age %q: it is %d, want %d", tt.date, tt.age, got, tt.want)
		}
	}
}

func TestHTTPCancelled(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"header", "body"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			base := server(t, func(w http.ResponseWriter, r *http.Request) {
				if where == "body" {
					io.WriteString(w, "begin")
					w.(http.Flusher).Flush()
				}
				cancel()
				<-r.Context().Done()
			})
			_, err := client(t, base).Open(ctx, large())
			var failure *source.Error // giving up is no failure of the source
			if !errors.Is(err, context.Canceled) || errors.As(err, &failure) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// failingSpool is full after a while, or loses what it was given.
type failingSpool struct {
	failure error
	closed  *atomic.Bool
}

func (s failingSpool) Write(p []byte) (int, error)       { return len(p), s.failure }
func (s failingSpool) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }
func (s failingSpool) Close() error                      { s.closed.Store(true); return nil }

func TestHTTPSpoolFails(t *testing.T) {
	t.Parallel()
	base := server(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "content") })
	full := &os.PathError{Op: "write", Err: errors.New("full")}
	var closed atomic.Bool
	with := func(give source.Spool, err error) *source.HTTP {
		return client(t, base, func(c *source.HTTPConfig) {
			c.Spool = func(size int64) (source.Spool, error) {
				if size != int64(len("content")) {
					t.Errorf("spool for %d bytes", size)
				}
				return give, err
			}
		})
	}
	if _, err := fetch(t, with(nil, full), large()); err != error(full) {
		t.Errorf("a spool that can't be made gave %v", err)
	}
	if _, err := fetch(t, with(failingSpool{full, &closed}, nil), large()); err != error(full) || !closed.Load() {
		t.Errorf("a full spool gave %v, closed: %v", err, closed.Load())
	}
	if _, err := fetch(t, with(failingSpool{nil, &closed}, nil), large()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a spool that lost its content gave %v", err)
	}
	none := client(t, base, func(c *source.HTTPConfig) { c.Spool = nil })
	if _, err := fetch(t, none, large()); err == nil {
		t.Error("a large object without a spool was read")
	}
	if got, err := fetch(t, none, small()); got != "content" || err != nil {
		t.Errorf("a small object needs no spool, but gave %q, %v", got, err)
	}
}

// TestHTTPAnswered: whoever reports on a server sees the header of each answer that
// counts, and none of those that lead there.
func TestHTTPAnswered(t *testing.T) {
	t.Parallel()
	base := server(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/real/") {
			http.Redirect(w, r, "/real"+r.URL.Path, http.StatusFound)
			return
		}
		w.Header().Set("ETag", `"one"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader("a package"))
	})
	var seen []string
	h := client(t, base, func(c *source.HTTPConfig) {
		c.Answered = func(status int, header http.Header) {
			seen = append(seen, fmt.Sprint(status, header.Get("ETag"), header.Get("Location")))
		}
	})
	if _, err := fetch(t, h, large()); err != nil {
		t.Fatal(err)
	}
	if want := []string{`206"one"`}; !slices.Equal(seen, want) {
		t.Errorf("told of %q, want %q", seen, want)
	}
}
