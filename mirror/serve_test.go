package mirror

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

// serveTree serves a small tree with all that must not come out of it, and gives
// the server's URL without the last slash, and the tree's directory.
func serveTree(t *testing.T) (url, dir string) {
	t.Helper()
	top := t.TempDir()
	dir = filepath.Join(top, "tree")
	write(t, filepath.Join(top, "secret"), []byte("secret"))
	write(t, filepath.Join(dir, "arch_x86_64", "updates.zip"), bytes.Repeat([]byte("0123456789"), 100_000))
	write(t, filepath.Join(dir, ".hidden"), []byte("secret"))
	write(t, filepath.Join(dir, ".git", "config"), []byte("secret"))
	for name, target := range map[string]string{"out": "../secret", "abs": filepath.Join(top, "secret"), "updir": "..", "in": "arch_x86_64/updates.zip"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- Serve(ctx, ServeOptions{Dir: dir, Ready: func(u string) { ready <- u }}) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	select {
	case url = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	return strings.TrimSuffix(url, "/"), dir
}

func get(t *testing.T, method, url string, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func TestServe(t *testing.T) {
	t.Parallel()
	base, dir := serveTree(t)
	if !strings.HasPrefix(base, "http://127.0.0.1:") {
		t.Errorf("listens at %s", base)
	}
	url := base + "/arch_x86_64/updates.zip"
	content := read(t, filepath.Join(dir, "arch_x86_64", "updates.zip"))
	tag := fmt.Sprintf("\"%x\"", sha256.Sum256(content))
	for _, c := range []struct {
		name, method string
		header       []string
		status       int
		body         []byte
	}{
		{"whole", "GET", nil, 200, content},
		{"head", "HEAD", nil, 200, nil},
		{"range", "GET", []string{"Range", "bytes=5-9"}, 206, content[5:10]},
		{"tail", "GET", []string{"Range", "bytes=-3"}, 206, content[len(content)-3:]},
		{"beyond", "GET", []string{"Range", "bytes=2000000-"}, 416, []byte("invalid range: failed to overlap\n")},
		{"if-range", "GET", []string{"Range", "bytes=5-9", "If-Range", tag}, 206, content[5:10]},
		{"if-range changed", "GET", []string{"Range", "bytes=5-9", "If-Range", `"x"`}, 200, content},
		{"unchanged", "GET", []string{"If-None-Match", tag}, 304, nil},
		{"unchanged tail", "GET", []string{"If-None-Match", tag, "Range", "bytes=-3"}, 304, nil},
		{"changed", "GET", []string{"If-None-Match", `"x"`}, 200, content},
		{"older date", "GET", []string{"If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"}, 200, content},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body := get(t, c.method, url, c.header...)
			if resp.StatusCode != c.status || !bytes.Equal(body, c.body) {
				t.Errorf("status %d, %d bytes", resp.StatusCode, len(body))
			}
			if got := resp.Header.Get("ETag"); got != tag && c.status != 416 {
				t.Errorf("ETag %s, want %s", got, tag)
			}
		})
	}
	resp, _ := get(t, "GET", url)
	if resp, _ := get(t, "GET", url, "If-Modified-Since", resp.Header.Get("Last-Modified")); resp.StatusCode != 304 {
		t.Errorf("the same date gives %d", resp.StatusCode)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/zip" {
		t.Errorf("content type %s", got)
	}
	if _, body := get(t, "GET", base+"/in"); !bytes.Equal(body, content) {
		t.Error("a symlink inside of the tree is not followed")
	}
	if resp, _ := get(t, "POST", url); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST gives %d", resp.StatusCode)
	}
}

// TestServeNothingElse asks, byte for byte as written here, for what must not
// be served: clients would tidy such paths up before they send them.
func TestServeNothingElse(t *testing.T) {
	t.Parallel()
	base, _ := serveTree(t)
	address := strings.TrimPrefix(base, "http://")
	for _, path := range []string{
		"/", "/arch_x86_64", "/arch_x86_64/", "/arch_x86_64/updates.zip/", "//arch_x86_64/updates.zip", "/none",
		"/../secret", "/%2e%2e/secret", "/..%2fsecret", "/arch_x86_64/../../secret", "/arch_x86_64/%2e%2e/%2e%2e/secret", "/..%5csecret",
		"/./in", "/out", "/abs", "/updir/secret", "/updir/tree/in", "/.hidden", "/%2ehidden", "/.git/config", "/pipe", "/in%00", "/arch_x86_64%2f..%2f.hidden",
	} {
		conn, err := net.DialTimeout("tcp", address, patience)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		answer, err := io.ReadAll(conn)
		conn.Close()
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		status, _, _ := strings.Cut(string(answer), "\r\n")
		if status != "HTTP/1.0 404 Not Found" && status != "HTTP/1.0 400 Bad Request" || bytes.Contains(answer, []byte("secret")) || bytes.Contains(answer, []byte("updates.zip")) {
			t.Errorf("%s gives %s", path, answer)
		}
	}
}

// TestTagFollowsContent replaces a file by one of the same size and date.
func TestTagFollowsContent(t *testing.T) {
	t.Parallel()
	base, dir := serveTree(t)
	path := filepath.Join(dir, "arch_x86_64", "updates.zip")
	old := time.Now().Add(-time.Hour)
	tagOf := func(content string) string {
		write(t, path, []byte(content))
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
		resp, _ := get(t, "GET", base+"/arch_x86_64/updates.zip")
		return resp.Header.Get("ETag")
	}
	a, b := tagOf("one"), tagOf("two")
	if a == "" || a == b {
		t.Errorf("ETags %s and %s", a, b)
	}
}

// TestTagIsRemembered hashes an old file once only.
func TestTagIsRemembered(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, []byte("content"))
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tags := newTags()
	if _, err := tags.of(context.Background(), f, func() (*os.File, error) { return os.Open(path) }); err != nil {
		t.Fatal(err)
	}
	if len(tags.known) != 0 {
		t.Error("the tag of a file that is just being written is remembered")
	}
	id, _ := identify(f)
	id.changed -= settleTime.Nanoseconds()
	for i := range maxTags + 1 {
		id.inode = uint64(i)
		tags.remember(id, "tag")
	}
	if _, ok := tags.lookUp(id); !ok || len(tags.known) > maxTags {
		t.Errorf("%d tags are remembered", len(tags.known))
	}
}

// TestTagForImpatient: a client that leaves before its file is hashed leaves the hash
// to those who come after it.
func TestTagForImpatient(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.zip")
	write(t, path, []byte("content"))
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id, _ := identify(f)
	h := newHandler(dir, nil)
	server := httptest.NewServer(h)
	defer server.Close()
	h.tags.turns <- struct{}{} // as a large file would
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/a.zip", nil)
		if err != nil {
			t.Error(err)
			return
		}
		if resp, err := http.DefaultTransport.RoundTrip(request); err == nil {
			resp.Body.Close()
			t.Error("the answer came before the hash")
		}
	}()
	underWay := func() *hashing {
		h.tags.mu.Lock()
		defer h.tags.mu.Unlock()
		return h.tags.running[id]
	}
	for underWay() == nil {
		time.Sleep(time.Millisecond)
	}
	hash := underWay()
	leave()
	<-gone
	if again, err := h.tags.join(id, nil); err != nil || again != hash {
		t.Errorf("a second client does not wait for the same hash: %v", err)
	}
	<-h.tags.turns
	<-hash.done
	if want := fmt.Sprintf("\"%x\"", sha256.Sum256([]byte("content"))); hash.err != nil || hash.tag != want {
		t.Errorf("%s, %v, want %s", hash.tag, hash.err, want)
	}
	if underWay() != nil {
		t.Error("it is still under way")
	}
}

func TestServeForbidden(t *testing.T) {
	t.Parallel()
	out := httptest.NewRecorder()
	refuseRequest(out, &fs.PathError{Op: "open", Path: "/secret/path", Err: syscall.EACCES})
	if out.Code != http.StatusForbidden || strings.Contains(out.Body.String(), "secret") {
		t.Errorf("%d %s", out.Code, out.Body)
	}
}

// TestServeCutsStalledClient has a client that reads nothing, and sees the
// handler give up.
func TestServeCutsStalledClient(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "big.zip")
	write(t, path, nil)
	if err := os.Truncate(path, 64<<20); err != nil { // more than sockets buffer
		t.Fatal(err)
	}
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	finished := make(chan struct{})
	h := &handler{dir: dir, log: silent, tags: newTags(), stall: 200 * time.Millisecond}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		close(finished)
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /big.zip HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case <-finished:
	case <-time.After(patience):
		t.Error("a client that reads nothing is served for ever")
	}
}

// TestDeadlineOfEarlierRequest: an answer without a body must come out although
// the deadline of the download before it, on the same connection, is over.
func TestDeadlineOfEarlierRequest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.zip"), []byte("content"))
	h := newHandler(dir, nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		control := http.NewResponseController(w)
		if err := errors.Join(control.Flush(), control.SetWriteDeadline(time.Now().Add(-time.Hour))); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	conn := dial(t, server.Listener.Addr().String(), "GET /a.zip HTTP/1.1\r\nHost: x\r\n\r\n")
	answers := bufio.NewReader(conn) // of a client that does not try again on another connection
	first, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, first.Body); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET /a.zip HTTP/1.1\r\nHost: x\r\nIf-None-Match: %s\r\n\r\n", first.Header.Get("ETag"))
	second, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	if second.StatusCode != http.StatusNotModified {
		t.Errorf("status %d", second.StatusCode)
	}
}

func TestServeRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), nil)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, o := range []ServeOptions{
		{Dir: filepath.Join(dir, "none")}, {Dir: filepath.Join(dir, "file")},
		{Dir: dir, Listen: "8080"}, {Dir: dir, Listen: taken.Addr().String()}, {Dir: dir, Listen: "192.0.2.1:0"},
	} {
		wantCode(t, Serve(ctx, o), codeUsage)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Error("a refusal took for ever")
	}
}

func TestListenIsLoopback(t *testing.T) {
	t.Parallel()
	for address, loopback := range map[string]bool{"": true, ":0": true, "127.0.0.1:0": true, "0.0.0.0:0": false} {
		l, err := listen(context.Background(), address)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Addr().(*net.TCPAddr).IP.IsLoopback(); got != loopback {
			t.Errorf("%q listens at %s", address, l.Addr())
		}
		l.Close()
	}
}

func FuzzServePath(f *testing.F) {
	dir := f.TempDir()
	write(f, filepath.Join(dir, "tree", "a.zip"), []byte("good"))
	write(f, filepath.Join(dir, "secret"), []byte("secret"))
	if err := os.Symlink("..", filepath.Join(dir, "tree", "up")); err != nil {
		f.Fatal(err)
	}
	h := &handler{dir: filepath.Join(dir, "tree")}
	for _, s := range []string{"/a.zip", "/../secret", "/up/secret", "//secret", "/.", "", "/a.zip\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		file, info, err := h.open(path)
		if err != nil {
			return
		}
		defer file.Close()
		if info.Name() != "a.zip" {
			t.Errorf("%q opens %s", path, info.Name())
		}
	})
}

// TestServeDoesNotWaitForBody: a client that announces a body and sends none is
// answered, and does not hold the connection.
func TestServeDoesNotWaitForBody(t *testing.T) {
	t.Parallel()
	base, _ := serveTree(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /none HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 404")) {
		t.Errorf("%s (%v)", answer, err)
	}
}
