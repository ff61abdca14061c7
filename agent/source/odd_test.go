package source_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/sourcetest"
)

// odd has the ways in which servers and caches differ from one that does all as
// it should. Each changes what goes into or comes out of a good handler, and all
// of them must be read from just as well.
var odd = map[string]func(http.Handler) http.Handler{
	"strong tags":    tags(`"%s"`),
	"weak tags":      tags(`W/"%s"`),
	"malformed tags": tags(`%s`),
	"no ranges":      noRanges,
	"tails are taken for heads": ask(func(r *http.Request) {
		r.Header.Set("Range", strings.Replace(r.Header.Get("Range"), "bytes=-", "bytes=0-", 1))
	}),
	"tails are shorter than asked": ask(func(r *http.Request) {
		r.Header.Set("Range", regexp.MustCompile(`bytes=-.*`).ReplaceAllString(r.Header.Get("Range"), "bytes=-7"))
	}),
	"tails are not satisfiable": func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.Header.Get("Range"), "bytes=-") {
				http.Error(w, "no such range", http.StatusRequestedRangeNotSatisfiable)
				return
			}
			h.ServeHTTP(w, r)
		})
	},
	"chunked":               chunked,
	"chunked and no ranges": func(h http.Handler) http.Handler { return chunked(noRanges(h)) },
	"no dates":              answer(func(h http.Header) { h["Date"] = nil; h.Del("Last-Modified") }),
	"total is a star":       contentRange(`^(.*)/.*$`, `$1/*`),
	"multipart": answer(func(h http.Header) {
		if h.Get("Content-Range") != "" {
			h.Set("Content-Type", "multipart/byteranges; boundary=x")
		}
	}),
}

// misleading has 206es that are not what was asked for, each in another way. All
// cost one request more.
var misleading = map[string]func(http.Handler) http.Handler{
	"total is too small":       contentRange(`/.*$`, `/1`),
	"nonsense Content-Range":   contentRange(`^.*$`, `bytes all`),
	"Content-Range in lines":   contentRange(`^bytes`, `lines`),
	"Content-Range a byte off": contentRange(`67232`, `67231`),
	"not the end": ask(func(r *http.Request) {
		r.Header.Set("Range", strings.Replace(r.Header.Get("Range"), "bytes=-32768", "bytes=0-99", 1))
	}),
	"another length":         contentRange(`67232`, `67233`),
	"Content-Range overlaps": contentRange(`^bytes (\d+)`, `bytes 0`),
	"no Content-Range":       contentRange(`^.*$`, ``),
	"two Content-Ranges":     answer(func(h http.Header) { h["Content-Range"] = append(h["Content-Range"], "bytes 0-0/1") }),
	"tails are longer than asked": ask(func(r *http.Request) {
		r.Header.Set("Range", strings.Replace(r.Header.Get("Range"), "bytes=-", "bytes=-9", 1))
	}),
}

var (
	noRanges = ask(func(r *http.Request) { r.Header.Del("Range") })
	chunked  = answer(func(h http.Header) { h.Del("Content-Length") })
)

// ask changes what the handler is asked.
func ask(f func(*http.Request)) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f(r); h.ServeHTTP(w, r) })
	}
}

// answer changes the header that the handler answers with.
func answer(f func(http.Header)) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(&headerWriter{ResponseWriter: w, change: f}, r)
		})
	}
}

type headerWriter struct {
	http.ResponseWriter
	change func(http.Header)
}

// WriteHeader changes the header before it goes out.
func (w *headerWriter) WriteHeader(status int) {
	w.change(w.Header())
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets the server's own writer be found.
func (w *headerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// contentRange replaces what matches in the Content-Range.
func contentRange(match, with string) func(http.Handler) http.Handler {
	re := regexp.MustCompile(match)
	return answer(func(h http.Header) {
		if was := h.Get("Content-Range"); was != "" {
			h.Set("Content-Range", re.ReplaceAllString(was, with))
		}
	})
}

// tags gives every file an entity tag of that form. It is made of the size, which
// is enough for what the tests publish.
func tags(form string) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			probe := httptest.NewRecorder()
			h.ServeHTTP(probe, &http.Request{Method: "HEAD", URL: r.URL, Header: http.Header{}})
			if probe.Code == http.StatusOK {
				w.Header().Set("ETag", fmt.Sprintf(form, probe.Header().Get("Content-Length")))
			}
			h.ServeHTTP(w, r)
		})
	}
}

// content is a handler for one object of n random bytes, which says that it is an
// hour old and has that entity tag.
func content(n int, tag string) ([]byte, http.Handler) {
	body := make([]byte, n)
	rand.Read(body)
	modified := time.Now().Add(-time.Hour)
	return body, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tag != "" {
			w.Header().Set("ETag", tag)
		}
		http.ServeContent(w, r, "updates.zip", modified, bytes.NewReader(body))
	})
}

// asked notes the requests that a handler gets.
type asked struct {
	http.Handler
	lines chan string
}

func watch(h http.Handler) *asked { return &asked{h, make(chan string, 1000)} }

// ServeHTTP notes method and range.
func (a *asked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.lines <- strings.TrimSpace(r.Method + " " + r.Header.Get("Range"))
	a.Handler.ServeHTTP(w, r)
}

// all gives what was asked since it was called last.
func (a *asked) all() string {
	var all []string
	for {
		select {
		case line := <-a.lines:
			all = append(all, line)
		default:
			return strings.Join(all, ", ")
		}
	}
}

// TestHTTPRequests has how many requests things cost, and which.
func TestHTTPRequests(t *testing.T) {
	t.Parallel()
	const size = 100_000
	const tail, plain = "GET bytes=-32768", "GET"
	tests := []struct {
		name   string
		change func(http.Handler) http.Handler
		tag    string
		r      source.Request
		off, n int64
		want   string
	}{
		{name: "all in the tail", off: size - 32768, n: 32768, want: tail},
		{name: "partly in the tail", off: size - 32769, n: 32769, want: tail + ", GET bytes=67231-67231"},
		{name: "outside the tail", off: 5, n: 10, want: tail + ", GET bytes=5-14"},
		{name: "nothing", off: 5, n: 0, want: tail},
		{name: "the hint", r: source.Request{Tail: size}, n: size, want: "GET bytes=-100000"},
		{name: "more than there is", r: source.Request{Tail: 2 * size}, n: size, want: "GET bytes=-200000"},
		{name: "more than is held", r: source.Request{Tail: 1 << 40}, n: size, want: "GET bytes=-1048576"},
		{name: "whole", r: source.Request{Whole: true}, n: size, want: plain},
		{name: "its 200 is the download", change: odd["no ranges"], n: size, want: tail},
		{name: "416", change: odd["tails are not satisfiable"], n: size, want: tail + ", " + plain},
		{name: "multipart", change: odd["multipart"], n: size, want: tail + ", " + plain},
		{name: "star", change: odd["total is a star"], n: size, want: tail + ", " + plain},
		{name: "known", tag: `"v"`, r: source.Request{Known: source.Validator{ETag: `"v"`}}, want: tail},
		{name: "known and weak", tag: `W/"v"`, r: source.Request{Known: source.Validator{ETag: `W/"v"`}}, want: tail},
		{name: "known and other", tag: `"v"`, r: source.Request{Known: source.Validator{ETag: `"u"`}}, n: size, want: tail + ", GET bytes=0-67231"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			body, h := content(size, tt.tag)
			if tt.change != nil {
				h = tt.change(h)
			}
			w := watch(h)
			tt.r.Name, tt.r.MaxBytes = source.PackageName, 1<<20
			p, err := client(t, serve(t, w)).Open(t.Context(), tt.r)
			if tt.r.Known.ETag != "" && tt.r.Known.ETag == tt.tag {
				if err != source.ErrNotModified || w.all() != tt.want {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			r, err := p.Range(t.Context(), tt.off, tt.n)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, body[tt.off:tt.off+tt.n]) {
				t.Errorf("%d bytes differ or failed: %v", len(got), err)
			}
			if all := w.all(); all != tt.want {
				t.Errorf("asked for %s\nwant %s", all, tt.want)
			}
		})
	}
}

// TestHTTPNoSuffixRanges has servers that know no ranges from the end and say so by
// a 416 with the size: the tail is asked for once more, by its place, and only where
// that fails too the whole object is.
func TestHTTPNoSuffixRanges(t *testing.T) {
	t.Parallel()
	const size, tail, plain = 100_000, "GET bytes=-32768", "GET"
	const exact = "GET bytes=67232-99999"
	tests := []struct {
		name, says string
		change     func(http.Handler) http.Handler // of what is asked after the 416
		want       string
		bytes      int64
	}{
		{"by its place", "bytes */100000", nil, tail + ", " + exact + ", GET bytes=5-14", 32768 + 10},
		{"smaller than the tail", "bytes */1000", nil, tail + ", GET bytes=0-999, " + plain, size},
		{"not the size", "bytes */99999", nil, tail + ", GET bytes=67231-99998, " + plain, size},
		{"beyond the end", "bytes */200000", nil, tail + ", GET bytes=167232-199999, " + plain, size},
		{"beyond all bounds", "bytes */9223372036854775807", nil, tail + ", GET bytes=9223372036854743039-9223372036854775806, " + plain, size},
		{"its 200 is the download", "bytes */100000", noRanges, tail + ", " + exact, size},
		{"the 206 is no use", "bytes */100000", odd["multipart"], tail + ", " + exact + ", " + plain, size},
		{"no size", "bytes */*", nil, tail + ", " + plain, size},
		{"empty", "bytes */0", nil, tail + ", " + plain, size},
		{"other unit", "lines */100000", nil, tail + ", " + plain, size},
		{"nothing said", "", nil, tail + ", " + plain, size},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			body, h := content(size, `"v"`)
			if tt.change != nil {
				h = tt.change(h)
			}
			w := watch(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.Header.Get("Range"), "bytes=-") {
					w.Header().Set("Content-Range", tt.says)
					w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
					return
				}
				h.ServeHTTP(w, r)
			}))
			var tally source.Tally
			p, err := source.Count(client(t, serve(t, w)), &tally).Open(t.Context(), large())
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			r, err := p.Range(t.Context(), 5, 10)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if got, err := io.ReadAll(r); !bytes.Equal(got, body[5:15]) || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			if all := w.all(); all != tt.want || tally.Bytes.Load() != tt.bytes {
				t.Errorf("asked for %s, %d bytes came\nwant %s, %d bytes", all, tally.Bytes.Load(), tt.want, tt.bytes)
			}
		})
	}
}

func TestHTTPMisleading(t *testing.T) {
	t.Parallel()
	for name, change := range misleading {
		body, h := content(100_000, `"v"`)
		w := watch(change(h))
		if got, err := fetch(t, client(t, serve(t, w)), large()); got != string(body) || err != nil {
			t.Errorf("%s: %d bytes differ or failed: %v", name, len(got), err)
		}
		if all := w.all(); all != "GET bytes=-32768, GET" {
			t.Errorf("%s: asked for %s", name, all)
		}
	}
}

// TestHTTPChanged has servers that answer the tail well and a later range as if
// the object were another one, or not at all.
func TestHTTPChanged(t *testing.T) {
	t.Parallel()
	later := func(status int, change func(http.Header)) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", "bytes 0-9/100000")
			w.Header().Set("ETag", `"v"`)
			w.Header().Set("Content-Length", "10")
			if change != nil {
				change(w.Header())
			}
			w.WriteHeader(status)
			io.WriteString(w, "0123456789")
		}
	}
	set := func(name, value string) func(http.Header) { return func(h http.Header) { h.Set(name, value) } }
	tests := []struct {
		name, code string
		later      func(http.ResponseWriter)
	}{
		{"all is well", "", later(206, nil)},
		{"other date, same strong tag", "", later(206, set("Last-Modified", "Mon, 23 Nov 2015 12:00:00 GMT"))},
		{"200", source.CodeChanged, later(200, nil)},
		{"416", source.CodeChanged, later(416, nil)},
		{"404", source.CodeChanged, later(404, nil)},
		{"410", source.CodeChanged, later(410, nil)},
		{"other tag", source.CodeChanged, later(206, set("ETag", `"w"`))},
		{"weak tag", source.CodeChanged, later(206, set("ETag", `W/"v"`))},
		{"no tag", source.CodeChanged, later(206, func(h http.Header) { h.Del("ETag") })},
		{"other total", source.CodeChanged, later(206, set("Content-Range", "bytes 0-9/100001"))},
		{"no total", source.CodeChanged, later(206, set("Content-Range", "bytes 0-9/*"))},
		{"shifted", source.CodeChanged, later(206, set("Content-Range", "bytes 1-10/100000"))},
		{"shorter than its body", source.CodeChanged, later(206, set("Content-Range", "bytes 0-8/100000"))},
		{"longer", source.CodeChanged, later(206, set("Content-Range", "bytes 0-10/100000"))},
		{"backwards", source.CodeChanged, later(206, set("Content-Range", "bytes 9-0/100000"))},
		{"no Content-Range", source.CodeChanged, later(206, func(h http.Header) { h.Del("Content-Range") })},
		{"multipart", source.CodeChanged, later(206, set("Content-Type", "multipart/byteranges; boundary=x"))},
		{"compressed", source.CodeUnreachable, later(206, set("Content-Encoding", "gzip"))},
		{"403", source.CodeForbidden, later(403, nil)},
		{"429", source.CodeRateLimited, later(429, nil)},
		{"304", source.CodeUnreachable, func(w http.ResponseWriter) { w.WriteHeader(304) }},
		{"500", source.CodeUnreachable, later(500, nil)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, h := content(100_000, `"v"`)
			base := server(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.Header.Get("Range"), "bytes=-") {
					h.ServeHTTP(w, r)
					return
				}
				if r.Header.Get("Range") != "bytes=0-9" || r.Header.Get("If-Range") != `"v"` {
					t.Errorf("asked for %v", r.Header)
				}
				tt.later(w)
			})
			var tally source.Tally
			p, err := source.Count(client(t, base), &tally).Open(t.Context(), large())
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			r, err := p.Range(t.Context(), 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, err := io.ReadAll(r)
			if tt.code == "" {
				if string(got) != "0123456789" || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			sourcetest.WantReason(t, err, tt.code)
			if len(got) != 0 || tally.Bytes.Load() != 32768 {
				t.Errorf("%d bytes were given, %d read", len(got), tally.Bytes.Load())
			}
			if _, again := r.Read(make([]byte, 1)); again != err {
				t.Errorf("the next read gave %v", again)
			}
		})
	}
}

// TestHTTPDatesOnly has ranges of a server without entity tags.
func TestHTTPDatesOnly(t *testing.T) {
	t.Parallel()
	var now atomic.Int64
	base := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-Range") != "" {
			t.Errorf("If-Range %q", r.Header.Get("If-Range"))
		}
		http.ServeContent(w, r, "updates.zip", time.Unix(1e9+now.Load(), 0), bytes.NewReader(make([]byte, 100_000)))
	})
	p, err := client(t, base).Open(t.Context(), large())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if got, err := readAll(t.Context(), p); len(got) != 100_000 || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	now.Store(1)
	_, err = readAll(t.Context(), p)
	sourcetest.WantReason(t, err, source.CodeChanged)
}

// TestHTTPReplicas has a server whose tag is another one in each answer: ranges
// can't be put together, and one plain GET still brings the object.
func TestHTTPReplicas(t *testing.T) {
	t.Parallel()
	body, h := content(100_000, "")
	var turn atomic.Int64
	base := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", strconv.Quote(strconv.FormatInt(turn.Add(1), 10)))
		h.ServeHTTP(w, r)
	})
	c := client(t, base)
	_, err := fetch(t, c, large())
	sourcetest.WantReason(t, err, source.CodeChanged)
	r := large()
	r.Whole = true
	if got, err := fetch(t, c, r); got != string(body) || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestHTTPTooLargeByRange makes sure that a size in a Content-Range is enough to
// refuse the object, and that not a byte of it is read.
func TestHTTPTooLargeByRange(t *testing.T) {
	t.Parallel()
	for _, total := range []string{"1048577", "9223372036854775807"} {
		last, _ := strconv.ParseInt(total, 10, 64)
		var tally source.Tally
		_, err := fetch(t, source.Count(client(t, raw(t, sourcetest.Says(fmt.Sprintf(
			"HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\nContent-Range: bytes %d-%d/%s\r\n\r\n0123456789", last-10, last-1, total)))), &tally), large())
		sourcetest.WantReason(t, err, source.CodeTooLarge)
		if b, n := tally.Bytes.Load(), tally.Requests.Load(); b != 0 || n != 1 {
			t.Errorf("%d bytes in %d requests", b, n)
		}
	}
}
