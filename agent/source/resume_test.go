package source_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/sourcetest"
)

// cutting ends every connection after some bytes of body.
func cutting(after int, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&cutWriter{ResponseWriter: w, left: after}, r)
	})
}

type cutWriter struct {
	http.ResponseWriter
	left int
}

// Write sends what is left, and ends the connection where that is not all.
func (w *cutWriter) Write(p []byte) (int, error) {
	if len(p) <= w.left {
		w.left -= len(p)
		return w.ResponseWriter.Write(p)
	}
	w.ResponseWriter.Write(p[:w.left])
	http.NewResponseController(w.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// TestResumed has servers that cut every connection after so many kilobytes. What
// has come must never be sent again where the server can do ranges; where it can't,
// that must come to an end.
func TestResumed(t *testing.T) {
	t.Parallel()
	const size = 200_000
	tests := []struct {
		kib     int
		tag     string
		change  func(http.Handler) http.Handler
		whole   bool
		resumed bool
		fails   bool
		most    int64 // bytes of body in all
	}{
		{kib: 33, tag: `"v"`, resumed: true, most: size},
		{kib: 40, tag: `W/"v"`, resumed: true, most: size},
		{kib: 64, resumed: true, most: size},
		{kib: 100, tag: `"v"`, resumed: true, most: size},
		{kib: 50, tag: `"v"`, whole: true, resumed: true, most: size},
		{kib: 1000, tag: `"v"`, most: size},
		{kib: 50, tag: `W/"v"`, whole: true, fails: true},
		{kib: 50, whole: true, fails: true},
		{kib: 50, tag: `"v"`, change: noRanges, fails: true},
		{kib: 50, tag: `"v"`, change: chunked, whole: true, fails: true},
	}
	for _, tt := range tests {
		if tt.fails {
			tt.most = 4 * size
		}
		t.Run(fmt.Sprintf("%d KiB %s whole %v fails %v", tt.kib, tt.tag, tt.whole, tt.fails), func(t *testing.T) {
			t.Parallel()
			body, h := content(size, tt.tag)
			h = cutting(tt.kib<<10, h)
			if tt.change != nil {
				h = tt.change(h)
			}
			var tally source.Tally
			c := source.Count(client(t, quiet(t, h), patient(4)), &tally)
			r := large()
			r.Whole = tt.whole
			got, err := fetch(t, c, r)
			if tt.fails {
				sourcetest.WantReason(t, err, source.CodeUnreachable)
			} else if got != string(body) || err != nil {
				t.Errorf("%d bytes differ or failed: %v", len(got), err)
			}
			if n := tally.Bytes.Load(); n > tt.most || tally.Resumed.Load() != tt.resumed {
				t.Errorf("%d bytes, resumed %v", n, tally.Resumed.Load())
			}
		})
	}
}

// TestResumedOften has a line that breaks more than forty times, each time after
// enough has come, and waits for longer in all than it may for nothing.
func TestResumedOften(t *testing.T) {
	t.Parallel()
	const size = 45 * 33 << 10
	body, h := content(size, `"v"`)
	h = cutting(33<<10, h)
	for _, whole := range []bool{false, true} {
		var tally source.Tally
		r := source.Request{Name: source.PackageName, MaxBytes: size, Whole: whole}
		got, err := fetch(t, source.Count(client(t, quiet(t, h), quick(4)), &tally), r)
		if got != string(body) || err != nil || tally.Bytes.Load() != size || tally.Requests.Load() <= 40 {
			t.Errorf("whole %v: %d bytes after %d requests and %d bytes: %v", whole, len(got), tally.Requests.Load(), tally.Bytes.Load(), err)
		}
	}
}

// TestResumedAnywhere cuts one connection at every k-th kilobyte, first of a range
// and then of a plain download.
func TestResumedAnywhere(t *testing.T) {
	t.Parallel()
	const size = 60_000
	body, h := content(size, `"v"`)
	var cut atomic.Int64
	base := quiet(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if after := cut.Load(); after >= 0 && !strings.HasPrefix(r.Header.Get("Range"), "bytes=-") {
			cut.Store(-1)
			cutting(int(after), h).ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	}))
	for k := range int64(size >> 10) {
		for _, whole := range []bool{false, true} {
			var tally source.Tally
			cut.Store(k << 10)
			r := large()
			r.Whole, r.Tail = whole, 1000
			got, err := fetch(t, source.Count(client(t, base, quick(2)), &tally), r)
			if got != string(body) || err != nil {
				t.Fatalf("cut at %d KiB, whole %v: %d bytes differ or failed: %v", k, whole, len(got), err)
			}
			if n := tally.Bytes.Load(); n != size || tally.Resumed.Load() != (k > 0) {
				t.Errorf("cut at %d KiB, whole %v: %d bytes, resumed %v", k, whole, n, tally.Resumed.Load())
			}
		}
	}
}

// quiet serves h, and keeps its panics out of the log.
func quiet(t *testing.T, h http.Handler) string {
	t.Helper()
	return server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		h.ServeHTTP(w, r)
	})
}

// TestResumedDownloadRestarts has a plain download that breaks off and is another
// object when it would go on: it begins anew, in a spool of its own, and what the
// server then sends whole is not asked for again.
func TestResumedDownloadRestarts(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]struct {
		change  func(http.Handler) http.Handler
		want    string
		resumed bool
	}{
		"the condition fails": {nil, "GET, GET bytes=51200-", false},
		"no condition known":  {ask(func(r *http.Request) { r.Header.Del("If-Range") }), "GET, GET bytes=51200-, GET", false},
		"no ranges any more":  {noRanges, "GET, GET bytes=51200-", false},
		"no such range":       {contentRange(`/.*`, `/1`), "GET, GET bytes=51200-", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, first := content(100_000, `"v1"`)
			body, then := content(100_000, `"v2"`)
			if second.change != nil {
				then = second.change(then)
			}
			first = cutting(50<<10, first)
			var turn atomic.Int64
			w := watch(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if turn.Add(1) == 1 {
					first.ServeHTTP(w, r)
				} else {
					then.ServeHTTP(w, r)
				}
			}))
			var tally source.Tally
			r := large()
			r.Whole = true
			got, err := fetch(t, source.Count(client(t, quiet(t, w), patient(3)), &tally), r)
			if got != string(body) || err != nil {
				t.Errorf("%d bytes differ or failed: %v", len(got), err)
			}
			if all := w.all(); all != second.want || tally.Resumed.Load() != second.resumed {
				t.Errorf("asked for %s, resumed %v\nwant %s", all, tally.Resumed.Load(), second.want)
			}
		})
	}
}

// TestResumedElsewhere has a server that goes on at another byte than it was asked
// to, and says so.
func TestResumedElsewhere(t *testing.T) {
	t.Parallel()
	body, h := content(100_000, `"v"`)
	cut := cutting(50<<10, h)
	var turn atomic.Int64
	w := watch(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if turn.Add(1) == 1 {
			cut.ServeHTTP(w, r)
			return
		}
		if r.Header.Get("Range") != "" {
			r.Header.Set("Range", "bytes=51000-")
		}
		h.ServeHTTP(w, r)
	}))
	r := large()
	r.Whole = true
	if got, err := fetch(t, client(t, quiet(t, w), patient(3)), r); got != string(body) || err != nil {
		t.Errorf("%d bytes differ or failed: %v", len(got), err)
	}
	if all := w.all(); all != "GET, GET bytes=51200-, GET" {
		t.Errorf("asked for %s", all)
	}
}

// TestResumedRangeChanged has a range that breaks off, and another object when
// it would go on.
func TestResumedRangeChanged(t *testing.T) {
	t.Parallel()
	body, first := content(100_000, `"v1"`)
	_, then := content(100_000, `"v2"`)
	first = cutting(40<<10, first)
	var turn atomic.Int64
	base := quiet(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if turn.Add(1) <= 2 {
			first.ServeHTTP(w, r)
		} else {
			then.ServeHTTP(w, r)
		}
	}))
	got, err := fetch(t, client(t, base, patient(3)), large())
	sourcetest.WantReason(t, err, source.CodeChanged)
	if !bytes.Equal([]byte(got), body[:len(got)]) {
		t.Error("bytes of two objects were mixed")
	}
}

// TestReplacedInTheMiddle is the same with nginx, and a file renamed over.
func TestReplacedInTheMiddle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeOld(t, dir, strings.Repeat("old", 100_000))
	p, err := client(t, sourcetest.Nginx(t, dir), patient(3)).Open(t.Context(), large())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	next := t.TempDir()
	path := writeOld(t, next, strings.Repeat("new", 100_000))
	earlier := time.Now().Add(-2 * time.Hour)
	if err := errors.Join(os.Chtimes(path, earlier, earlier), os.Rename(path, filepath.Join(dir, source.PackageName))); err != nil {
		t.Fatal(err)
	}
	_, err = readAll(t.Context(), p)
	sourcetest.WantReason(t, err, source.CodeChanged)
}

// TestRangesCapped has a server that sends at most 64 KiB of a range, properly: each
// part is gone on with at once, which no client that tries only once would do after a
// failure, and no byte comes twice.
func TestRangesCapped(t *testing.T) {
	t.Parallel()
	const size, limit = 300_000, 64 << 10
	capped := ask(func(r *http.Request) {
		var first, last int
		if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); n == 2 && first >= 0 {
			r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", first, min(last, first+limit-1)))
		}
	})
	for name, change := range map[string]func(http.Handler) http.Handler{
		"as it is": capped,
		"chunked":  func(h http.Handler) http.Handler { return capped(chunked(h)) },
	} {
		body, h := content(size, `"v"`)
		w := watch(change(h))
		var tally source.Tally
		got, err := fetch(t, source.Count(client(t, serve(t, w)), &tally), large())
		if got != string(body) || err != nil || tally.Bytes.Load() != size || tally.Resumed.Load() {
			t.Errorf("%s: %d bytes, %d came, resumed %v: %v", name, len(got), tally.Bytes.Load(), tally.Resumed.Load(), err)
		}
		const want = "GET bytes=-32768, GET bytes=0-267231, GET bytes=65536-267231, GET bytes=131072-267231, GET bytes=196608-267231, GET bytes=262144-267231"
		if all := w.all(); all != want {
			t.Errorf("%s: asked for %s\nwant %s", name, all, want)
		}
	}
}

// TestRangeEndsEarly has a range whose chunks end, properly, before its end.
func TestRangeEndsEarly(t *testing.T) {
	t.Parallel()
	body, h := content(100_000, `"v"`)
	base := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "bytes=0-67231" {
			h.ServeHTTP(w, r)
			return
		}
		w.Header().Set("ETag", `"v"`)
		w.Header().Set("Content-Range", "bytes 0-67231/100000")
		w.WriteHeader(http.StatusPartialContent)
		w.(http.Flusher).Flush()
		w.Write(body[:40_000])
	})
	var tally source.Tally
	got, err := fetch(t, source.Count(client(t, base, patient(2)), &tally), large())
	if got != string(body) || err != nil || !tally.Resumed.Load() {
		t.Errorf("%d bytes differ or failed: %v", len(got), err)
	}
}
