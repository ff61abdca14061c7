package source_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/sourcetest"
)

// TestByteByByte has servers that send one byte at a time.
func TestByteByByte(t *testing.T) {
	t.Parallel()
	body, h := content(3000, `"v"`)
	base := server(t, func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(&dripWriter{w}, r) })
	r := large()
	r.Tail = 1000
	if got, err := fetch(t, client(t, base), r); got != string(body) || err != nil {
		t.Errorf("%d bytes differ or failed: %v", len(got), err)
	}
}

type dripWriter struct{ http.ResponseWriter }

// Write sends each byte by itself.
func (w *dripWriter) Write(p []byte) (n int, err error) {
	for ; n < len(p) && err == nil; n++ {
		_, err = w.ResponseWriter.Write(p[n : n+1])
		w.ResponseWriter.(http.Flusher).Flush()
	}
	return n, err
}

// TestConnectionsAreReused counts the connections that many ranges take.
func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	_, h := content(1<<20, `"v"`)
	var connections atomic.Int64
	s := httptest.NewUnstartedServer(h)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	p, err := client(t, s.URL).Open(t.Context(), large())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := range int64(10) {
		r, err := p.Range(t.Context(), i*1000, 100_000)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 100_000)); err != nil {
			t.Error(err)
		}
		r.Close()
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("ranges one after another took %d connections", n)
	}
	var all sync.WaitGroup
	for range 10 {
		for i := range int64(2) {
			all.Go(func() {
				r, err := p.Range(t.Context(), i*1000, 100_000)
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Close()
				io.Copy(io.Discard, r)
			})
		}
		all.Wait()
	}
	// A request that finds no free connection begins to dial, and may still be
	// served by one that becomes free, so it can be a few more than two.
	if n := connections.Load(); n > 6 {
		t.Errorf("two ranges at a time took %d connections", n)
	}
}

// TestRangeCancelled has a caller that gives up while a range is on its way, and
// a package that is closed meanwhile.
func TestRangeCancelled(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"context", "package"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			_, h := content(100_000, `"v"`)
			arrived := make(chan bool, 1)
			base := server(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.Header.Get("Range"), "bytes=-") {
					h.ServeHTTP(w, r)
					return
				}
				arrived <- true
				<-r.Context().Done()
			})
			p, err := client(t, base, patient(3)).Open(t.Context(), large())
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r, err := p.Range(ctx, 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			go func() {
				<-arrived
				if what == "package" {
					p.Close()
				} else {
					cancel()
				}
			}()
			_, err = io.ReadAll(r)
			var failure *source.Error
			if !errors.Is(err, context.Canceled) || errors.As(err, &failure) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestRangesFollowRedirects has a server that redirects each request to another
// one. What counts is not who answers, but that it is the same object.
func TestRangesFollowRedirects(t *testing.T) {
	t.Parallel()
	body, h := content(100_000, `"v"`)
	_, stale := content(100_000, `"u"`)
	places := []string{serve(t, h), serve(t, h), serve(t, stale)}
	var turn atomic.Int64
	base := server(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, places[min(turn.Add(1), 3)-1]+"/updates.zip", http.StatusFound)
	})
	var tally source.Tally
	p, err := source.Count(client(t, base, patient(3)), &tally).Open(t.Context(), large())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if got, err := readAll(t.Context(), p); got != string(body) || err != nil || tally.Requests.Load() != 4 {
		t.Errorf("%d bytes after %d requests, %v", len(got), tally.Requests.Load(), err)
	}
	_, err = readAll(t.Context(), p)
	sourcetest.WantReason(t, err, source.CodeChanged)
}

// TestHead has objects that are known by date and size alone.
func TestHead(t *testing.T) {
	t.Parallel()
	modified := time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)
	other := time.Now().Add(-2 * time.Hour).UTC().Format(http.TimeFormat)
	tests := []struct {
		name   string
		known  source.Validator
		change func(http.Handler) http.Handler
		want   string
		code   string
	}{
		{name: "the same", known: source.Validator{LastModified: modified, Size: 1000}, want: "HEAD"},
		{name: "other date", known: source.Validator{LastModified: other, Size: 1000}, want: "HEAD, GET bytes=-32768"},
		{name: "other size", known: source.Validator{LastModified: modified, Size: 1001}, want: "HEAD, GET bytes=-32768"},
		{name: "a tag now", known: source.Validator{LastModified: modified, Size: 1000}, change: tags(`"%s"`), want: "HEAD, GET bytes=-32768"},
		{name: "a tag is known", known: source.Validator{ETag: `"x"`}, want: "GET bytes=-32768"},
		{name: "no length", known: source.Validator{LastModified: modified, Size: 1000}, change: chunked, want: "HEAD, GET bytes=-32768"},
		{name: "compressed", known: source.Validator{LastModified: modified, Size: 1000}, want: "HEAD, GET bytes=-32768",
			change: onHead(func(w http.ResponseWriter) {
				w.Header().Set("Content-Encoding", "gzip")
				w.Header().Set("Content-Length", "1000")
			})},
		{name: "HEAD is unknown", known: source.Validator{LastModified: modified, Size: 1000}, want: "HEAD, GET bytes=-32768",
			change: onHead(func(w http.ResponseWriter) { w.WriteHeader(405) })},
		{name: "HEAD is forbidden", known: source.Validator{LastModified: modified, Size: 1000}, want: "HEAD, GET bytes=-32768",
			change: onHead(func(w http.ResponseWriter) { w.WriteHeader(403) })},
		{name: "busy", known: source.Validator{LastModified: modified, Size: 1000}, want: "HEAD", code: source.CodeRateLimited,
			change: onHead(func(w http.ResponseWriter) { w.WriteHeader(503) })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			date, _ := http.ParseTime(modified)
			var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("If-Modified-Since") != "" {
					t.Error("If-Modified-Since was sent")
				}
				http.ServeContent(w, r, "updates.zip", date, bytes.NewReader(make([]byte, 1000)))
			})
			if tt.change != nil {
				h = tt.change(h)
			}
			w := watch(h)
			r := large()
			r.Known = tt.known
			p, err := client(t, serve(t, w)).Open(t.Context(), r)
			switch {
			case tt.code != "":
				sourcetest.WantReason(t, err, tt.code)
			case tt.want == "HEAD" && err != source.ErrNotModified, tt.want != "HEAD" && err != nil:
				t.Errorf("got %v", err)
			}
			if err == nil {
				p.Close()
			}
			if all := w.all(); all != tt.want {
				t.Errorf("asked %s, want %s", all, tt.want)
			}
		})
	}
}

// TestHeadOnce makes sure that a GET which is tried again is not preceded by
// another HEAD.
func TestHeadOnce(t *testing.T) {
	t.Parallel()
	_, h := content(1000, "")
	var turn atomic.Int64
	w := watch(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if turn.Add(1) == 2 {
			w.WriteHeader(500)
			return
		}
		h.ServeHTTP(w, r)
	}))
	r := large()
	r.Known = source.Validator{LastModified: "Mon, 23 Nov 2015 12:00:00 GMT", Size: 1000}
	if _, err := fetch(t, client(t, serve(t, w), patient(2)), r); err != nil {
		t.Error(err)
	}
	if all := w.all(); all != "HEAD, GET bytes=-32768, GET bytes=-32768" {
		t.Errorf("asked for %s", all)
	}
}

// onHead answers HEAD by f.
func onHead(f func(http.ResponseWriter)) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				f(w)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
}

// TestUnaskedGzip has servers and proxies that compress whatever they send.
func TestUnaskedGzip(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("definitions ", 50_000)
	good := zipped(text)
	tests := []struct {
		name string
		body []byte
		code string
		says string
		most int64 // coded bytes that may be read; 0: any
	}{
		{name: "good", body: good},
		{name: "two members", body: append(zipped(text[:1000]), zipped(text[1000:])...)},
		{name: "cut short", body: good[:len(good)-9], code: source.CodeUnreachable, says: "compressed"},
		{name: "wrong sum", body: append(good[:len(good)-8:len(good)-8], make([]byte, 8)...), code: source.CodeUnreachable, says: "compressed"},
		{name: "none at all", body: []byte(text), code: source.CodeUnreachable, says: "compressed"},
		{name: "something behind", body: append(good[:len(good):len(good)], "xyz"...), code: source.CodeUnreachable, says: "compressed"},
		{name: "a bomb", body: zipped(strings.Repeat("\x00", 4<<20)), code: source.CodeTooLarge, says: "1048576"},
		{name: "empty members without end", body: bytes.Repeat(zipped(""), 50_000), code: source.CodeUnreachable, says: "compressed", most: 128 << 10},
	}
	for _, tt := range tests {
		for _, name := range []string{"gzip", "X-GZIP"} {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				t.Parallel()
				base := server(t, func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Accept-Encoding") != "identity" {
						t.Errorf("Accept-Encoding %q", r.Header.Get("Accept-Encoding"))
					}
					w.Header().Set("Content-Encoding", name)
					w.Header().Set("ETag", `"v"`)
					w.(http.Flusher).Flush() // no length
					w.Write(tt.body)
				})
				r := large()
				var tally source.Tally
				r.Tally = &tally
				p, err := client(t, base).Open(t.Context(), r)
				if n := tally.Bytes.Load(); tt.most > 0 && n > tt.most {
					t.Errorf("%d coded bytes were read, at most %d may be", n, tt.most)
				}
				if tt.code != "" {
					sourcetest.WantReason(t, err, tt.code)
					if err != nil && !strings.Contains(err.Error(), tt.says) {
						t.Errorf("error %q does not say %q", err, tt.says)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				if got, err := readAll(t.Context(), p); got != text || err != nil {
					t.Errorf("%d bytes differ or failed: %v", len(got), err)
				}
				if p.Validator() != (source.Validator{}) || p.Version() != "" {
					t.Errorf("kept %v, %q", p.Validator(), p.Version())
				}
			})
		}
	}
}

// zipped compresses s.
func zipped(s string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, s)
	w.Close()
	return b.Bytes()
}

// TestVersion has when bytes may be kept for the next run, and that they are told
// apart by all that makes a difference.
func TestVersion(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for name, tt := range map[string]struct {
		n    int
		tag  string
		keep bool
	}{
		"strong": {100_000, `"v"`, true}, "small": {1000, `"v"`, true}, "other tag": {100_000, `"w"`, true},
		"weak": {100_000, `W/"v"`, false}, "no tag": {100_000, "", false}, "malformed": {100_000, "v", false},
	} {
		_, h := content(tt.n, tt.tag)
		base := serve(t, h)
		var first string
		for _, r := range []source.Request{large(), {Name: source.PackageName, MaxBytes: 1 << 20, Whole: true}} {
			p, err := client(t, base).Open(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if (p.Version() != "") != tt.keep {
				t.Errorf("%s: version %q", name, p.Version())
			}
			if first != "" && p.Version() != first {
				t.Errorf("%s: another version each time", name)
			}
			first = p.Version()
		}
		if other, taken := seen[first]; taken && first != "" {
			t.Errorf("%s and %s have one version", name, other)
		}
		seen[first] = name
	}
}

// TestCacheCostsTheOriginOneFetch has a crowd behind nginx's slice cache.
func TestCacheCostsTheOriginOneFetch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const size = 500_000
	writeOld(t, dir, strings.Repeat("x", size))
	origin, log := sourcetest.NginxLogged(t, dir)
	cache := sourcetest.NginxCache(t, origin, 64, "1h")
	var crowd sync.WaitGroup
	for range 8 {
		crowd.Go(func() {
			c := client(t, cache, patient(3))
			got, err := fetch(t, c, large())
			if len(got) != size || err != nil {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	crowd.Wait()
	p, err := client(t, cache).Open(t.Context(), large())
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	r := large()
	r.Known = p.Validator()
	if _, err := client(t, cache).Open(t.Context(), r); err != source.ErrNotModified {
		t.Errorf("the cache does not say that nothing changed: %v", err)
	}
	var sum int
	for _, line := range log() {
		var method, path string
		var status, bytes int
		if _, err := fmt.Sscan(line, &method, &path, &status, &bytes); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		sum += bytes
	}
	if sum != size {
		t.Errorf("the origin sent %d bytes for %d:\n%s", sum, size, strings.Join(log(), "\n"))
	}
}
