package source_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/sourcetest"
)

// raw runs a server that speaks whatever answer writes, after the request came.
func raw(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					answer(c)
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// TestHTTPHostile has servers that lie, stall and flood. Each must be refused,
// for the right reason, soon, and within bounds.
func TestHTTPHostile(t *testing.T) {
	t.Parallel()
	const ok = "HTTP/1.1 200 OK\r\n"
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 32<<10, strings.Repeat("x", 32<<10))
	tests := []struct {
		name, code, sentence string
		answer               func(net.Conn)
		most                 int64 // bytes of body that may have been read
	}{
		{"endless chunks", source.CodeTooLarge, "1048576 bytes", sourcetest.Endless(ok+"Transfer-Encoding: chunked\r\n\r\n", chunk), 1<<20 + 1},
		{"endless without a length", source.CodeTooLarge, "1048576 bytes", sourcetest.Endless(ok+"\r\n", chunk), 1<<20 + 1},
		{"endless chunk extension", source.CodeUnreachable, "broke off", sourcetest.Endless(ok+"Transfer-Encoding: chunked\r\n\r\n1;", strings.Repeat("e", 4096)), 0},
		{"announces too much", source.CodeTooLarge, "1048576 bytes", sourcetest.Says(ok + "Content-Length: 1048577\r\n\r\nx"), 0},
		{"announces exabytes", source.CodeTooLarge, "1048576 bytes", sourcetest.Says(ok + "Content-Length: 9223372036854775807\r\n\r\nx"), 0},
		{"announces nonsense", source.CodeUnreachable, "proper HTTP", sourcetest.Says(ok + "Content-Length: -1\r\n\r\nx"), 0},
		{"two lengths", source.CodeUnreachable, "proper HTTP", sourcetest.Says(ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"), 0},
		{"sends less than announced", source.CodeUnreachable, "broke off", sourcetest.Says(ok + "Content-Length: 100\r\n\r\nshort"), 100},
		{"ends within a chunk", source.CodeUnreachable, "broke off", sourcetest.Says(ok + "Transfer-Encoding: chunked\r\n\r\nff\r\nshort"), 100},
		{"resets in the body", source.CodeUnreachable, "broke off", func(c net.Conn) {
			io.WriteString(c, ok+"Content-Length: 100\r\n\r\nshort")
			c.(*net.TCPConn).SetLinger(0)
		}, 100},
		{"hangs up at once", source.CodeUnreachable, "proper HTTP", func(net.Conn) {}, 0},
		{"other protocol", source.CodeUnreachable, "proper HTTP", sourcetest.Says("SSH-2.0-OpenSSH_9.2\r\n"), 0},
		{"gzip unasked", source.CodeUnreachable, "compressed", sourcetest.Says(ok + "Content-Encoding: GZIP\r\nContent-Length: 1\r\n\r\nx"), 1},
		{"gzip as a second coding", source.CodeUnreachable, "compressed", sourcetest.Says(ok + "Content-Encoding: identity\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"), 0},
		{"gzip as a transfer coding", source.CodeUnreachable, "proper HTTP", sourcetest.Says(ok + "Transfer-Encoding: gzip\r\n\r\nx"), 0},
		{"huge header", source.CodeUnreachable, "proper HTTP", sourcetest.Endless(ok, "X-Filler: "+strings.Repeat("x", 1000)+"\r\n"), 0},
		{"endless header line", source.CodeUnreachable, "proper HTTP", sourcetest.Endless(ok+"X-Filler: ", strings.Repeat("x", 1000)), 0},
		{"endless early hints", source.CodeUnreachable, "proper HTTP", sourcetest.Endless("", "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"), 0},
		{"no header", source.CodeUnreachable, "no answer within", sourcetest.Hang, 0},
		{"half a header", source.CodeUnreachable, "no answer within", func(c net.Conn) { sourcetest.Says(ok + "X-")(c); sourcetest.Hang(c) }, 0},
		{"header by drops", source.CodeUnreachable, "no answer within", sourcetest.Drip(ok+"X-Filler: ", "x", 10*time.Millisecond), 0},
		{"no body", source.CodeStalled, "less than 30 KiB", func(c net.Conn) { sourcetest.Says(ok + "Content-Length: 5\r\n\r\n")(c); sourcetest.Hang(c) }, 0},
		{"body by drops", source.CodeStalled, "less than 30 KiB", sourcetest.Drip(ok+"Content-Length: 1000000\r\n\r\n", "x", 10*time.Millisecond), 1000},
		{"stops at the end", source.CodeStalled, "less than 30 KiB", func(c net.Conn) {
			sourcetest.Says(ok + "Content-Length: 100001\r\n\r\n" + strings.Repeat("x", 100_000))(c)
			sourcetest.Hang(c)
		}, 100_000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := client(t, raw(t, tt.answer), func(c *source.HTTPConfig) {
				// Short is only what is to run out: on a slow machine another would, too.
				c.Timeouts.Header, c.Timeouts.Stall = time.Minute, time.Minute
				switch tt.sentence {
				case "no answer within":
					c.Timeouts.Header = 300 * time.Millisecond
				case "less than 30 KiB":
					c.Timeouts.Stall = 300 * time.Millisecond
				}
			})
			var tally source.Tally
			_, err := fetch(t, source.Count(h, &tally), large())
			sourcetest.WantReason(t, err, tt.code)
			if err != nil && !strings.Contains(err.Error(), tt.sentence) {
				t.Errorf("error %q does not say %q", err, tt.sentence)
			}
			if n := tally.Bytes.Load(); n > tt.most {
				t.Errorf("%d bytes of body were read, at most %d may be", n, tt.most)
			}
		})
	}
}

// TestHTTPTolerates has odd answers that are packages nevertheless.
func TestHTTPTolerates(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"sends more than announced": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbytesand more",
		"HTTP/1.0 without a length": "HTTP/1.0 200 OK\r\n\r\nbytes",
		"identity coding":           "HTTP/1.1 200 OK\r\nContent-Encoding: Identity\r\nContent-Length: 5\r\n\r\nbytes",
		"early hints":               "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbytes",
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := fetch(t, client(t, raw(t, sourcetest.Says(answer))), large()); got != "bytes" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// TestHTTPSlowIsFine has a transfer that takes several windows as a whole and
// brings enough in each.
func TestHTTPSlowIsFine(t *testing.T) {
	t.Parallel()
	const block, blocks = 40 << 10, 12
	h := client(t, raw(t, func(c net.Conn) {
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", block*blocks)
		for range blocks {
			io.WriteString(c, strings.Repeat("x", block))
			time.Sleep(100 * time.Millisecond)
		}
	}), func(c *source.HTTPConfig) { c.Timeouts.Stall = 500 * time.Millisecond })
	if got, err := fetch(t, h, large()); len(got) != block*blocks || err != nil {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}
