package mirror

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/net/netutil"
)

// Limits of the server. A client that is slower than this is cut, so that idle
// connections can't pile up; a slow but steady download may take for ever. Endpoints
// ask what they have to ask in one go, so an idle connection is soon worth less than
// the place that it takes.
const (
	headerTimeout  = 10 * time.Second // for the handshake of TLS, and for a request's header
	idleTimeout    = 15 * time.Second
	stallTimeout   = 30 * time.Second // for one write, of some 32 KiB
	stopTimeout    = 5 * time.Second  // for running downloads when the server is told to stop
	maxHeaderBytes = 16 << 10
)

// DefaultMaxConnections is how many connections are served at a time unless
// somebody says otherwise. Each takes some 100 KiB.
const DefaultMaxConnections = 256

// ServeOptions says what Serve serves and where.
type ServeOptions struct {
	// Dir is the tree to serve. It is opened anew for each request, so that a
	// symlink to it may be swapped while the server runs.
	Dir string
	// Listen is the address, host:port. Without a host, or empty, it is on
	// loopback only: to be heard by other machines, name an address of this one,
	// or 0.0.0.0 or [::] for all. Port 0 picks a free one.
	Listen string
	// Ready, unless nil, is called once with the server's URL when it listens.
	Ready func(url string)
	// Log gets one line for each request, and what is wrong with connections; nil:
	// none.
	Log logrus.FieldLogger
	// CertFile and KeyFile, PEM, make it speak TLS. They are read anew when they were
	// replaced. Both or none.
	CertFile, KeyFile string
	// AccessLog gets a line for each request in the combined form: the path of a
	// file, or "-" for Stdout; empty: none. What comes from Reopen makes it go on in
	// a new file of that name.
	AccessLog string
	Stdout    io.Writer
	Reopen    <-chan os.Signal
	// MaxConnections is how many connections are served at a time; 0 means the
	// default. More of them wait until one ends.
	MaxConnections int
	// Listing shows what is in directories.
	Listing bool
}

// Serve serves a tree until ctx ends, then lets running downloads finish for
// some seconds and gives nil. Errors: usage, permission_denied.
func Serve(ctx context.Context, o ServeOptions) error {
	if info, err := os.Stat(o.Dir); err != nil {
		return fileError("the directory to serve", o.Dir, err)
	} else if !info.IsDir() {
		return usage("what is to be served is not a directory", "give the directory that holds arch_x86_64 or the rings", nil)
	}
	h := newHandler(o.Dir, o.Log)
	h.listing, h.tags.ctx = o.Listing, ctx
	server := newServer(h, headerTimeout)
	if err := o.secure(server, h.log); err != nil {
		return err
	}
	listener, err := listen(ctx, o.Listen)
	if err != nil {
		return err
	}
	defer listener.Close() // again, where the server did
	if h.access, err = o.accessLog(); err != nil {
		return err
	}
	defer h.access.close()
	limited := netutil.LimitListener(listener, cmp.Or(o.MaxConnections, DefaultMaxConnections))
	scheme, start := "http", server.Serve
	if server.TLSConfig != nil {
		scheme, start = "https", func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	if o.Ready != nil {
		o.Ready(scheme + "://" + listener.Addr().String() + "/")
	}
	done := make(chan error, 1)
	go func() { done <- start(limited) }()
	for {
		select {
		case err := <-done:
			return &Error{codeInternal, "the server stopped by itself", "look at the cause in the log", err}
		case <-o.Reopen:
			if err := h.access.reopen(); err != nil {
				h.log.WithError(err).Warn("the access log could not be opened anew")
			}
		case <-ctx.Done():
			stop(ctx, server, stopTimeout)
			return nil
		}
	}
}

// newServer gives a server with the limits on slow clients. It speaks HTTP/1 alone:
// then a connection has one request at a time, and a limit on connections is one on
// everything.
func newServer(h *handler, header time.Duration) *http.Server {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: header, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		Protocols: new(http.Protocols), ErrorLog: log.New(faults{h.log}, "", 0),
	}
	server.Protocols.SetHTTP1(true)
	return server
}

// faults puts what the server says about connections into the log. Clients cause it
// as they like, so it is for who looks for it.
type faults struct{ log logrus.FieldLogger }

func (f faults) Write(p []byte) (int, error) {
	f.log.Debug(strings.TrimSpace(string(p)))
	return len(p), nil
}

// secure makes the server speak TLS, where a certificate is given.
func (o ServeOptions) secure(server *http.Server, log logrus.FieldLogger) error {
	if (o.CertFile == "") != (o.KeyFile == "") {
		return usage("TLS needs a certificate and its key", "give both --tls-cert and --tls-key, or none", nil)
	}
	if o.CertFile == "" {
		return nil
	}
	c, err := loadCertificate(o.CertFile, o.KeyFile, log)
	if err != nil {
		return err
	}
	server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
	return nil
}

func (o ServeOptions) accessLog() (*accessLog, error) {
	switch o.AccessLog {
	case "":
		return nil, nil
	case "-":
		return &accessLog{to: o.Stdout}, nil
	}
	return openAccessLog(o.AccessLog)
}

// stop lets running downloads finish. ctx is over, so they have a time of their own.
func stop(ctx context.Context, server *http.Server, grace time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		server.Close()
	}
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	if address == "" {
		address = ":0"
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, usage("the address to listen on is not host and port", "write it like 127.0.0.1:8080 or 0.0.0.0:8080", err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if errors.Is(err, fs.ErrPermission) {
		return nil, &Error{codePermission, "this user may not listen on this port", "choose a port above 1023", err}
	}
	if err != nil {
		return nil, usage("the address can not be listened on", "choose a free port, and an address of this machine", err)
	}
	return l, nil
}

// Handler serves the regular files below dir, for GET and HEAD, with ranges and
// strong ETags. It shows no directories and no names that begin with a dot, and
// follows no way out of dir. log may be nil.
func Handler(dir string, log logrus.FieldLogger) http.Handler { return newHandler(dir, log) }

func newHandler(dir string, log logrus.FieldLogger) *handler {
	if log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		log = silent
	}
	return &handler{dir: dir, log: log, tags: newTags(), stall: stallTimeout}
}

type handler struct {
	dir     string
	log     logrus.FieldLogger
	access  *accessLog // nil for none
	tags    *tags
	stall   time.Duration
	listing bool
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	out := &response{ResponseWriter: w, control: http.NewResponseController(w), stall: h.stall}
	if r.ContentLength != 0 {
		_ = out.control.SetReadDeadline(started) // a body has no business here, and nobody waits for it
	}
	h.serve(out, r)
	h.access.note(r, started, out.status, out.written)
	h.log.WithFields(logrus.Fields{
		"remote": r.RemoteAddr, "method": r.Method, "path": r.URL.Path, "range": r.Header.Get("Range"),
		"status": out.status, "bytes": out.written, "seconds": time.Since(started).Seconds(),
	}).Info("request")
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	if h.listing && strings.HasSuffix(r.URL.Path, "/") {
		h.list(w, r.URL.Path)
		return
	}
	f, info, err := h.open(r.URL.Path)
	if h.listing && errors.Is(err, errDirectory) {
		w.Header().Set("Location", "./"+(&url.URL{Path: path.Base(r.URL.Path)}).EscapedPath()+"/")
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	if err != nil {
		refuseRequest(w, err)
		return
	}
	defer f.Close()
	again := func() (*os.File, error) {
		f, _, err := h.open(r.URL.Path)
		return f, err
	}
	if tag, err := h.tags.of(r.Context(), f, again); err == nil {
		w.Header().Set("ETag", tag)
	}
	dropOlderDate(r, info.ModTime())
	w.Header().Set("Content-Type", contentType(info.Name()))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, info.Name(), info.ModTime(), f)
}

// dropOlderDate makes If-Modified-Since mean "is it still the one of that
// date". As the protocol has it, a file that is replaced by one with an older
// date, as cp -p and rsync -t do, would count as unchanged.
func dropOlderDate(r *http.Request, modified time.Time) {
	if r.Header.Get("If-Modified-Since") != modified.UTC().Format(http.TimeFormat) {
		r.Header.Del("If-Modified-Since")
	}
}

// errHidden is for paths that are never served, whether they exist or not.
var errHidden = errors.New("not a path that is served")

// errDirectory is for what is a directory, which only a listing shows.
var errDirectory = errors.New("it is a directory")

// open opens the regular file of a request's path. os.Root follows no symlink
// out of the tree.
func (h *handler) open(urlPath string) (*os.File, fs.FileInfo, error) {
	name := strings.TrimPrefix(urlPath, "/")
	if !served(name) {
		return nil, nil, errHidden
	}
	root, err := os.OpenRoot(h.dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDONLY|noWait, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = errDirectory
	} else if err == nil && !info.Mode().IsRegular() {
		err = errHidden
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// served says whether a path, relative to the tree, can be one of its files. Names
// with a dot in front are nobody's business; backslash, colon and tilde are what
// Windows reads more into: other directories, streams and short names.
func served(name string) bool {
	hidden := strings.HasPrefix(name, ".") || strings.Contains(name, "/.") || strings.ContainsAny(name, "\x00\\:~")
	return fs.ValidPath(name) && !hidden
}

// refuseRequest tells "may not" from "is not there", because the first is the
// administrator's mistake and should be seen; all else looks alike.
func refuseRequest(w http.ResponseWriter, err error) {
	if errors.Is(err, fs.ErrPermission) {
		http.Error(w, "the server may not read this file", http.StatusForbidden)
		return
	}
	http.Error(w, "no such file", http.StatusNotFound)
}

// contentType is fixed for each ending: nothing is sniffed, and nothing depends
// on the machine's own tables.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".zip":
		return "application/zip"
	case ".json":
		return "application/json"
	}
	return "application/octet-stream"
}

// response counts what is sent, and cuts a client that takes nothing for stall.
type response struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	status  int
	written int64 // bytes of the body
}

// WriteHeader notes the status. It also sets the deadline, since one of an
// earlier request may have passed on a connection that is used again.
func (r *response) WriteHeader(status int) {
	r.status = status
	r.extend()
	r.ResponseWriter.WriteHeader(status)
}

// extend gives the next write its time. A connection that has no deadlines, as
// in tests without sockets, does without.
func (r *response) extend() {
	_ = r.control.SetWriteDeadline(time.Now().Add(r.stall))
}

// Write sends one piece, which has r.stall to get out.
func (r *response) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	r.extend()
	n, err := r.ResponseWriter.Write(p)
	r.written += int64(n)
	return n, err
}
