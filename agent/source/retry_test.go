package source_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/sourcetest"
)

// patient lets a client try often; the waits stay within milliseconds.
func patient(tries int) func(*source.HTTPConfig) {
	return func(c *source.HTTPConfig) { c.Retry = source.Retry{Tries: tries, MaxWait: 200 * time.Millisecond} }
}

// quick makes a client wait for next to nothing.
func quick(tries int) func(*source.HTTPConfig) {
	return func(c *source.HTTPConfig) { c.Retry = source.Retry{Tries: tries, MaxWait: 30 * time.Millisecond} }
}

// TestRetryStatus has which statuses are worth another attempt, at Open and later.
func TestRetryStatus(t *testing.T) {
	t.Parallel()
	for status, again := range map[int]bool{
		500: true, 501: true, 502: true, 504: true, 599: true,
		503: false, 429: false, 400: false, 401: false, 403: false, 404: false, 418: false, 304: false, 300: false,
	} {
		for _, failing := range []string{"bytes=-", "bytes=0-"} {
			t.Run(fmt.Sprint(status, failing), func(t *testing.T) {
				t.Parallel()
				_, h := content(100_000, `"v"`)
				var asked atomic.Int64
				base := server(t, func(w http.ResponseWriter, r *http.Request) {
					if strings.HasPrefix(r.Header.Get("Range"), failing) && asked.Add(1) < 3 {
						w.WriteHeader(status)
						return
					}
					h.ServeHTTP(w, r)
				})
				got, err := fetch(t, client(t, base, quick(3)), large())
				if again && (len(got) != 100_000 || err != nil || asked.Load() != 3) {
					t.Errorf("%d bytes after %d requests: %v", len(got), asked.Load(), err)
				}
				if !again && (err == nil || asked.Load() != 1) {
					t.Errorf("%d requests, %v", asked.Load(), err)
				}
			})
		}
	}
}

// TestRetryGivesUp counts the attempts at what never works.
func TestRetryGivesUp(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, code string
		answer     func(net.Conn)
		want       int64
	}{
		{"hangs up", source.CodeUnreachable, func(net.Conn) {}, 3},
		{"no header", source.CodeUnreachable, sourcetest.Hang, 3},
		{"breaks off", source.CodeUnreachable, sourcetest.Says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), 3},
		{"breaks off though it has ranges", source.CodeUnreachable, sourcetest.Says("HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\nETag: \"v\"\r\nContent-Length: 9\r\n\r\nx"), 3},
		{"breaks off late", source.CodeUnreachable, sourcetest.Says("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 90_000)), 3},
		{"breaks off in the tail", source.CodeUnreachable, sourcetest.Says("HTTP/1.1 206 OK\r\nContent-Range: bytes 0-8/9\r\nContent-Length: 9\r\n\r\nx"), 3},
		{"chunks end early", source.CodeUnreachable, sourcetest.Says("HTTP/1.1 206 OK\r\nContent-Range: bytes 0-8/9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"), 3},
		{"stalls", source.CodeStalled, func(c net.Conn) {
			sourcetest.Says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")(c)
			sourcetest.Hang(c)
		}, 3},
		{"too large", source.CodeTooLarge, sourcetest.Says("HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\nx"), 1},
		{"redirect", source.CodeRedirect, sourcetest.Says("HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n"), 1},
		{"coding", source.CodeUnreachable, sourcetest.Says("HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"), 1},
		{"broken gzip", source.CodeUnreachable, sourcetest.Says("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"), 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var tally source.Tally
			var asked atomic.Int64
			h := client(t, raw(t, func(c net.Conn) { asked.Add(1); tt.answer(c) }), func(c *source.HTTPConfig) {
				c.Timeouts.Header, c.Timeouts.Stall = 100*time.Millisecond, 100*time.Millisecond
			}, patient(3))
			_, err := fetch(t, source.Count(h, &tally), large())
			sourcetest.WantReason(t, err, tt.code)
			if n := asked.Load(); n != tt.want || tally.Requests.Load() != n {
				t.Errorf("%d requests, %d counted, want %d", n, tally.Requests.Load(), tt.want)
			}
		})
	}
}

// TestRetryRefused has a server that does not listen yet.
func TestRetryRefused(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	var tally source.Tally
	_, err = fetch(t, source.Count(client(t, "http://"+l.Addr().String(), patient(4)), &tally), large())
	sourcetest.WantReason(t, err, source.CodeUnreachable)
	if n := tally.Requests.Load(); n != 4 {
		t.Errorf("%d attempts, want 4", n)
	}
}

// TestRetryUntrusted makes sure that a certificate is refused once and for all.
func TestRetryUntrusted(t *testing.T) {
	t.Parallel()
	s := secure(t, nil, func(http.ResponseWriter, *http.Request) { t.Error("the request was sent") })
	var tally source.Tally
	_, err := fetch(t, source.Count(client(t, s.URL, patient(3)), &tally), large())
	sourcetest.WantReason(t, err, source.CodeTLS)
	if n := tally.Requests.Load(); n != 1 {
		t.Errorf("%d attempts", n)
	}
}
