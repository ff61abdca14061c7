package attacks_test

import (
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mdatp-offline-agent/agent/source/sourcetest"
)

// A site is a mirror: a directory of files, and a server on TCP that is honest
// until it is told what else to do.
type site struct {
	t      testing.TB
	dir    string // the ring's directory for this machine's architecture
	server *httptest.Server
	tag    string // begins its entity tags, so that none is another site's
	other  string // the ring's URL on another server, where there is one

	mu    sync.Mutex
	plays http.HandlerFunc // nil: the files
	asked []request
	age   time.Duration
}

// A request is what the mirror was asked for.
type request struct {
	method, path string
	header       http.Header
}

func newSite(t testing.TB) *site { t.Helper(); return newSiteIn(t, tempDir(t)) }

func newSiteIn(t testing.TB, root string) *site {
	t.Helper()
	s := &site{t: t, dir: filepath.Join(root, "linux", "production", "arch_"+arch()), age: 100 * time.Hour, tag: rand.Text()}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.server = httptest.NewUnstartedServer(s)
	s.server.Start()
	t.Cleanup(func() {
		s.server.CloseClientConnections()
		s.server.Close()
	})
	return s
}

// root is what a server of the mirror has as its root.
func (s *site) root() string { return filepath.Dir(filepath.Dir(filepath.Dir(s.dir))) }

// ring is the URL of the ring.
func (s *site) ring() string {
	if s.other != "" {
		return s.other
	}
	return s.server.URL + "/linux/production/"
}

// ServeHTTP answers as the site is told to.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, request{r.Method, r.URL.Path, r.Header.Clone()})
	plays := s.plays
	s.mu.Unlock()
	if plays == nil {
		plays = s.serve
	}
	plays(w, r)
}

// serve gives a file as nginx does, with an entity tag of its time and size.
func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	f, err := os.Open(filepath.Join(s.root(), filepath.Clean(r.URL.Path)))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.IsDir() {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", fmt.Sprintf("\"%s-%x-%x\"", s.tag, info.ModTime().Unix(), info.Size()))
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// play has the site answer everything by h; nil is to serve its files.
func (s *site) play(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plays = h
}

// forget gives what was asked for so far, and forgets it.
func (s *site) forget() (asked []request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked, s.asked = s.asked, nil
	return asked
}

// put replaces a file of the mirror. Each is an hour younger than the one before,
// and none is new, so that servers which make entity tags of time and size give
// each its own.
func (s *site) put(name string, data []byte) {
	s.t.Helper()
	s.make(name, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// make replaces a file of the mirror by what fill writes, or leaves out.
func (s *site) make(name string, fill func(*os.File) error) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	f, err := os.Create(path + ".new")
	if err == nil {
		err = fill(f)
	}
	if err == nil {
		err = f.Close()
	}
	s.age -= time.Hour
	at := time.Now().Add(-s.age)
	if err == nil {
		err = os.Chtimes(path+".new", at, at)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// remove takes a file off the mirror.
func (s *site) remove(name string) { _ = os.Remove(filepath.Join(s.dir, name)) }

// raw has the site speak whatever answer writes, once it has been asked.
func (s *site) raw(answer func(net.Conn)) {
	s.play(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		answer(c)
	})
}

// perDrop is how often a mirror that never gets on sends something.
const perDrop = 100 * time.Millisecond

// then gives one answer behind the other.
func then(first, second func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) { first(c); second(c) }
}

// status answers with that status, and a page that says so.
func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, http.StatusText(code), code) }
}

// toward redirects everything.
func toward(location string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusFound)
	}
}

// listen runs a server that is not even asked before it answers.
func listen(t testing.TB, answer func(net.Conn)) string {
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
				answer(c)
			}()
		}
	}()
	return l.Addr().String()
}

// secure serves h over TLS with a certificate of the authority.
func secure(t testing.TB, a *sourcetest.Authority, h http.Handler) *httptest.Server {
	t.Helper()
	certFile, keyFile := a.Issue()
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// ranges gives which ranges of packages were asked for, empty for all of one.
func ranges(asked []request) (all []string) {
	for _, r := range asked {
		if strings.HasSuffix(r.path, ".zip") {
			all = append(all, r.header.Get("Range"))
		}
	}
	return slices.Clip(all)
}
