package source

import (
	"io"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeptValidator(t *testing.T) {
	t.Parallel()
	const date = "Mon, 23 Nov 2026 12:00:00 GMT"
	long := `"` + strings.Repeat("x", maxETag-2) + `"`
	tests := []struct {
		name   string
		header http.Header
		want   string
	}{
		{"strong", http.Header{"Etag": {`"abc"`}}, `"abc"`},
		{"weak", http.Header{"Etag": {`W/"abc"`}}, `W/"abc"`},
		{"empty tag", http.Header{"Etag": {`""`}}, `""`},
		{"none", http.Header{}, ""},
		{"no quotes", http.Header{"Etag": {`abc`}}, ""},
		{"one quote", http.Header{"Etag": {`"`}}, ""},
		{"open", http.Header{"Etag": {`"abc`}}, ""},
		{"wrong weak", http.Header{"Etag": {`w/"abc"`}}, ""},
		{"quote inside", http.Header{"Etag": {`"a"b"`}}, ""},
		{"space inside", http.Header{"Etag": {`"a b"`}}, ""},
		{"bytes above ASCII", http.Header{"Etag": {"\"a\xff\""}}, ""},
		{"list", http.Header{"Etag": {`"a", "b"`}}, ""},
		{"twice", http.Header{"Etag": {`"a"`, `"b"`}}, ""},
		{"longest", http.Header{"Etag": {long}}, long},
		{"too long", http.Header{"Etag": {`W/` + long}}, ""},
		{"old file", http.Header{"Etag": {`"a"`}, "Date": {date}, "Last-Modified": {"Mon, 23 Nov 2026 11:59:57 GMT"}}, `"a"`},
		{"two seconds old", http.Header{"Etag": {`"a"`}, "Date": {date}, "Last-Modified": {"Mon, 23 Nov 2026 11:59:58 GMT"}}, ""},
		{"just written", http.Header{"Etag": {`"a"`}, "Date": {date}, "Last-Modified": {date}}, ""},
		{"written in a second", http.Header{"Etag": {`"a"`}, "Date": {date}, "Last-Modified": {"Mon, 23 Nov 2026 12:00:01 GMT"}}, ""},
		{"unreadable time", http.Header{"Etag": {`"a"`}, "Date": {date}, "Last-Modified": {"yesterday"}}, ""},
		{"no date", http.Header{"Etag": {`"a"`}, "Last-Modified": {date}}, ""},
	}
	for _, tt := range tests {
		if got := keptValidator(tt.header, 1).ETag; got != tt.want {
			t.Errorf("%s: kept %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	const date = "Mon, 23 Nov 2026 12:00:00 GMT"
	tests := []struct {
		value, date string
		want        time.Duration
	}{
		{"", date, 0},
		{"0", date, 0},
		{"120", "", 2 * time.Minute},
		{" 120 ", "", 2 * time.Minute},
		{"86400", "", 6 * time.Hour},
		{"99999999999999999999999", "", 6 * time.Hour},
		{"-5", date, 0},
		{"1.5", date, 0},
		{"soon", date, 0},
		{"Mon, 23 Nov 2026 12:01:00 GMT", date, time.Minute},
		{"Mon, 23 Nov 2026 11:00:00 GMT", date, 0},
		{"Fri, 31 Dec 9999 23:59:59 GMT", date, 6 * time.Hour},
		{"Mon, 23 Nov 2026 12:01:00 GMT", "", 0},
	}
	for _, tt := range tests {
		h := http.Header{"Retry-After": {tt.value}, "Date": {tt.date}}
		if got := retryAfter(h); got != tt.want {
			t.Errorf("%q at %q: %s, want %s", tt.value, tt.date, got, tt.want)
		}
	}
}

func TestReach(t *testing.T) {
	t.Parallel()
	tests := []struct {
		server string
		may    string
		mayNot string
	}{
		{"127.0.0.1", "127.0.0.2 ::1 0.0.0.0 169.254.169.254 10.0.0.1 203.0.113.1", ""},
		{"::ffff:127.0.0.1", "127.0.0.2 ::1", ""},
		{"169.254.1.1", "169.254.169.254 fe80::1%eth0 10.0.0.1", "127.0.0.1 ::1 0.0.0.0 :: ::ffff:127.0.0.1"},
		{"10.0.0.1", "10.0.0.2 192.168.0.1 203.0.113.1 fd00::1 2001:db8::1",
			"127.0.0.1 127.255.255.254 ::1 0.0.0.0 :: 169.254.169.254 fe80::1 fe80::1%eth0 ::ffff:127.0.0.1 ::ffff:169.254.169.254"},
		{"", "10.0.0.1", "127.0.0.1 169.254.169.254"},
	}
	for _, tt := range tests {
		server, _ := netip.ParseAddr(tt.server)
		r := reachFrom(server)
		for _, s := range strings.Fields(tt.may) {
			if !r.permits(netip.MustParseAddr(s)) {
				t.Errorf("a server at %q may not redirect to %s", tt.server, s)
			}
		}
		for _, s := range strings.Fields(tt.mayNot) {
			if addr := netip.MustParseAddr(s); r.permits(addr) || r.control("tcp", netip.AddrPortFrom(addr, 80).String(), nil) == nil {
				t.Errorf("a server at %q may redirect to %s", tt.server, s)
			}
		}
	}
	if reachAll.control("tcp", "nonsense", nil) == nil {
		t.Error("an address that can't be read is dialed")
	}
}

func TestHostPort(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"http://Mirror.Example/x":      "mirror.example:80",
		"https://mirror.example":       "mirror.example:443",
		"http://mirror.example:":       "mirror.example:80",
		"http://u:p@mirror.example:81": "mirror.example:81",
		"http://[2001:DB8::1]":         "[2001:db8::1]:80",
		"https://[::1]:8443":           "[::1]:8443",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := hostPort(u); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// TestTransportsAreApart makes sure that a connection to loopback that one
// request was permitted does not serve another that is not.
func TestTransportsAreApart(t *testing.T) {
	t.Parallel()
	h := NewHTTP(HTTPConfig{Base: &url.URL{Scheme: "http", Host: "h"}})
	seen := map[http.RoundTripper]bool{}
	for _, transport := range h.transports {
		seen[transport] = true
	}
	if len(h.transports) != 8 || len(seen) != 8 {
		t.Errorf("transports are shared: %v", h.transports)
	}
}

// TestStallWatch runs in a bubble, where time passes only while all wait.
func TestStallWatch(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		block       int // bytes that come at a time
		every, work time.Duration
		blocks      int
		want        error
	}{
		{"just enough", stallBytes, 29 * time.Second, 0, 50, nil},
		{"one KiB a second", 1 << 10, 999 * time.Millisecond, 0, 300, nil},
		{"a little too slow", 1 << 10, 1040 * time.Millisecond, 0, 300, errStalled},
		{"one byte a second", 1, time.Second, 0, 100, errStalled},
		{"nothing", stallBytes, time.Hour, 0, 1, errStalled},
		{"small and soon over", 1, time.Second, 0, 20, nil},
		{"we are slow, not the server", 1 << 10, 0, time.Minute, 100, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body, feed := io.Pipe()
				var feeder sync.WaitGroup
				defer feeder.Wait()
				defer body.Close()
				feeder.Go(func() {
					var err error
					for i := 0; i < tt.blocks && err == nil; i++ {
						time.Sleep(tt.every)
						_, err = feed.Write(make([]byte, tt.block))
					}
					feed.Close()
				})
				w := newStallWatch(body, 30*time.Second, func() { body.Close() })
				n, err := drain(w, tt.work)
				if err != tt.want {
					t.Errorf("after %d bytes: %v, want %v", n, err, tt.want)
				}
				if tt.want == nil && n != tt.blocks*tt.block {
					t.Errorf("%d bytes came, want %d", n, tt.blocks*tt.block)
				}
			})
		})
	}
}

// drain reads to the end, and works on every piece for a while.
func drain(r io.Reader, work time.Duration) (total int, err error) {
	buf := make([]byte, copyBytes)
	for {
		n, err := r.Read(buf)
		total += n
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		time.Sleep(work)
	}
}

// TestTransferLimit has the limit at which adding one would overflow.
func TestTransferLimit(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int64]int64{0: 1, 2: 3, 5: 5, 6: 5, math.MaxInt64: 5} {
		if n, err := transfer(io.Discard, strings.NewReader("bytes"), limit); n != want || err != nil {
			t.Errorf("limit %d: %d bytes, %v, want %d", limit, n, err, want)
		}
	}
}

func FuzzAnswerHeader(f *testing.F) {
	f.Add(`"abc"`, "Mon, 23 Nov 2026 12:00:00 GMT", "Mon, 23 Nov 2026 11:00:00 GMT", "120")
	f.Add(`W/"1-2"`, "", "", "Mon, 23 Nov 2026 12:00:00 GMT")
	f.Add("\"a\r\nX: 1\"", "Fri, 31 Dec 9999 23:59:59 GMT", "Sat, 01 Jan 0000 00:00:00 GMT", "99999999999999999999")
	f.Fuzz(func(t *testing.T, tag, date, modified, retry string) {
		h := http.Header{"Etag": {tag}, "Date": {date}, "Last-Modified": {modified}, "Retry-After": {retry}}
		if v := keptValidator(h, 1).ETag; v != "" && (v != tag || len(v) > maxETag || strings.ContainsAny(v, " \r\n\x00,") && strings.Count(v, `"`) != 2) {
			t.Errorf("kept %q of %q", v, tag)
		}
		if d := retryAfter(h); d < 0 || d > MaxRetryAfter {
			t.Errorf("%q sends us away for %s", retry, d)
		}
	})
}

func FuzzRedirectTarget(f *testing.F) {
	for _, s := range []string{"/x", "x#y", "http://h/", "//h:80/x", "https://u:p@h/", "file:///etc/passwd", "http://127.0.0.1/", "https://127.0.0.1/", "https://[::1]/", "http://[fe80::1%25eth0]:1/", "HTTP:x", "http://0/", "\x00"} {
		f.Add(s)
	}
	from := &url.URL{Scheme: "https", Host: "mirror.example", Path: "/updates.zip"}
	f.Fuzz(func(t *testing.T, location string) {
		next, rule := redirectTarget(from, location, reachRouted)
		if (next == nil) == (rule == "") {
			t.Fatalf("%q gives %v and rule %q", location, next, rule)
		}
		if next == nil {
			return
		}
		if next.Scheme != "https" || next.Hostname() == "" || next.User != nil || next.Opaque != "" {
			t.Errorf("%q leads to %v", location, next)
		}
		if addr, err := netip.ParseAddr(next.Hostname()); err == nil && !reachRouted.permits(addr) {
			t.Errorf("%q leads to %v", location, next)
		}
	})
}
