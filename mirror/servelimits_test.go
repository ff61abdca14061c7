package mirror

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a busy machine may take for what comes by itself.
const patience = time.Minute

// startServer runs Serve until the test ends, and gives the server's address.
func startServer(t *testing.T, o ServeOptions) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	o.Ready = func(url string) { ready <- url }
	go func() { done <- Serve(ctx, o) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	select {
	case url := <-ready:
		return strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/")
	case err := <-done:
		done <- nil
		t.Fatal(err)
	}
	return ""
}

// dial opens a connection that sends what is given, until the test ends.
func dial(t *testing.T, address, send string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, send); err != nil {
		t.Fatal(err)
	}
	return conn
}

// running counts the goroutines that are inside of a function.
func running(function string) int {
	for size := 1 << 20; ; size *= 2 {
		stacks := make([]byte, size)
		if n := runtime.Stack(stacks, true); n < size {
			return strings.Count(string(stacks[:n]), function+"(")
		}
	}
}

// until waits for a condition that comes by itself.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to this: %s", what)
		}
	}
}

// TestManyConnections has many more clients than the server takes, each of which
// asks for a large file and reads nothing. What is served at a time is bounded, and
// so is its memory; and when they are gone the next is served. It counts the
// goroutines of the whole process, so it does not run beside other tests.
func TestManyConnections(t *testing.T) {
	const most, clients = 32, 200
	dir := t.TempDir()
	path := filepath.Join(dir, "big.zip")
	write(t, path, nil)
	if err := os.Truncate(path, 64<<20); err != nil { // more than sockets buffer
		t.Fatal(err)
	}
	address := startServer(t, ServeOptions{Dir: dir, MaxConnections: most})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	conns := make([]net.Conn, clients)
	for i := range conns {
		conns[i] = dial(t, address, "GET /big.zip HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	sending := func() int { return running("mirror.(*response).Write") }
	until(t, "as many as may be are served", func() bool { return sending() == most })
	if n := running("net/http.(*conn).serve"); n > most {
		t.Errorf("%d connections are served at a time, and %d may be", n, most)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	const each = 128 << 10
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > most*each {
		t.Errorf("%d downloads take %d bytes", most, grown)
	}
	for _, conn := range conns {
		conn.Close()
	}
	resp, _ := get(t, "HEAD", "http://"+address+"/big.zip")
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// TestSlowHeader has clients that send their header a byte at a time, or nothing at
// all. The server closes their connections.
func TestSlowHeader(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(newHandler(t.TempDir(), nil), 300*time.Millisecond)
	go func() { _ = server.Serve(listener) }() // ends with Close
	defer server.Close()
	silent := dial(t, listener.Addr().String(), "")
	slow := dial(t, listener.Addr().String(), "GET / HTTP/1.1\r\n")
	go func() {
		for range 1000 {
			if _, err := io.WriteString(slow, "X"); err != nil {
				return // closed, as it is to be
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	for name, conn := range map[string]net.Conn{"silent": silent, "slow": slow} {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("a %s client keeps its connection", name)
		}
	}
}

// TestStop: a download that runs when the server is told to stop comes to its end,
// and nobody new is let in.
func TestStop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<19) // 8 MiB, more than sockets buffer
	write(t, filepath.Join(dir, "a.zip"), content)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	server := newServer(newHandler(dir, nil), headerTimeout)
	go func() { _ = server.Serve(listener) }() // ends with stop
	resp, err := http.Get("http://" + address + "/a.zip")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop(over, server, patience) }()
	until(t, "nobody new is let in", func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes came (%v)", len(got), err)
	}
	<-stopped
}

// TestCombined: whatever a client sends, a request is one line of known fields.
func TestCombined(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	r := &http.Request{Method: "GET", RequestURI: "/a\"b\\c\x1b[31m\n\xff", Proto: "HTTP/1.1", RemoteAddr: "[::1]:4711", Header: http.Header{
		"User-Agent": {"\"\n127.0.0.1 - - forged"}, "Referer": {strings.Repeat("\"", 5000)},
	}}
	line := combined(r, at, 200, 5)
	want := `::1 - - [26/Nov/2026:08:00:00 +0000] "GET /a\x22b\x5Cc\x1B[31m\x0A\xFF HTTP/1.1" 200 5 "`
	if !strings.HasPrefix(line, want) || strings.Count(line, "\n") != 1 || strings.Count(line, `"`) != 6 || len(line) > 3*maxLogField {
		t.Errorf("line of %d bytes: %s", len(line), line)
	}
	if line := combined(&http.Request{}, at, 400, 0); line != "- - - [26/Nov/2026:08:00:00 +0000] \"  \" 400 0 \"-\" \"-\"\n" {
		t.Errorf("an empty request gives %s", line)
	}
}

func FuzzCombined(f *testing.F) {
	f.Add("GET", "/", "\"", "\\\n")
	f.Fuzz(func(t *testing.T, method, uri, referer, agent string) {
		r := &http.Request{Method: method, RequestURI: uri, Proto: "HTTP/1.1", RemoteAddr: "127.0.0.1:1", Header: http.Header{"Referer": {referer}, "User-Agent": {agent}}}
		line := combined(r, time.Now(), 200, 1)
		if strings.Count(line, "\n") != 1 || strings.Count(line, `"`) != 6 || strings.ContainsFunc(line[:len(line)-1], func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("line %q", line)
		}
	})
}

// TestAccessLogIsOwn: what somebody else put in the log's place is not written to.
func TestAccessLogIsOwn(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(target, log string) error{
		"link":      os.Symlink,
		"hard link": os.Link,
		"pipe": func(target, log string) error {
			if err := syscall.Mkfifo(log, 0o644); err != nil {
				return err
			}
			reader, err := os.OpenFile(log, os.O_RDONLY|syscall.O_NONBLOCK, 0)
			if err == nil {
				t.Cleanup(func() { reader.Close() })
			}
			return err
		},
	} {
		dir := t.TempDir()
		target, log := filepath.Join(dir, "target"), filepath.Join(dir, "log")
		write(t, target, []byte("content"))
		if err := plant(target, log); err != nil {
			t.Fatal(err)
		}
		if _, err := openAccessLog(log); err == nil {
			t.Errorf("a %s is written to", name)
		}
	}
	if l, err := openAccessLog(filepath.Join(t.TempDir(), "log")); err != nil {
		t.Error(err)
	} else if err := l.close(); err != nil {
		t.Error(err)
	}
}
