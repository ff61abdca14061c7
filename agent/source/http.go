package source

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"time"
)

// What Timeouts mean where they are zero.
const (
	DefaultConnectTimeout = 10 * time.Second
	DefaultTLSTimeout     = 10 * time.Second
	DefaultHeaderTimeout  = 10 * time.Second
	DefaultStallWindow    = 30 * time.Second
)

// copyBytes is the size of the one buffer that a download passes through.
const copyBytes = 256 << 10

// defaultUserAgent names us where the configuration does not.
const defaultUserAgent = "mdatp-offline-agent"

// Timeouts bound how long each step of a request may wait. Zero means the
// default. There is none for a whole transfer: large packages over thin lines
// take their time.
type Timeouts struct {
	Connect time.Duration // resolving the name and connecting
	TLS     time.Duration // the handshake
	Header  time.Duration // from the request to the last byte of the answer's header
	Stall   time.Duration // the window in which at least 30 KiB of the body must come
}

// HTTPConfig is what an HTTP source is made of. Base is required, and Spool for
// objects of more than 64 KiB.
type HTTPConfig struct {
	// Base is the http or https URL of the architecture directory. A user name
	// and password in it go to this host and port alone.
	Base *url.URL
	// Single says that Base is the package itself, as in the cloud. Only
	// PackageName is there then.
	Single bool
	// Spool makes room for a body of size bytes, -1 where that is not known.
	Spool func(size int64) (Spool, error)
	// Timeouts bound the waiting.
	Timeouts Timeouts
	// UserAgent is sent with every request; empty means the program's name.
	UserAgent string
	// Time is the clock that servers' certificates are checked against, which
	// need not be the machine's; nil means time.Now.
	Time func() time.Time
	// RootCAs are the authorities that servers' certificates must chain to; nil
	// means the system's.
	RootCAs *x509.CertPool
}

// HTTP is a source on a web server. Opening an object fetches the whole of it
// with one GET; ranges are answered from what was kept.
type HTTP struct {
	cfg        HTTPConfig
	host       string // the configured host and port, as sentences show it
	transports map[reach]http.RoundTripper
}

// NewHTTP gives the source for cfg. Nothing is sent before something is opened.
func NewHTTP(cfg HTTPConfig) *HTTP {
	base := *cfg.Base
	// Without a path of its own, joining a name to it would make a relative one.
	base.Path = cmp.Or(base.Path, "/")
	cfg.Base = &base
	cfg.UserAgent = cmp.Or(cfg.UserAgent, defaultUserAgent)
	cfg.Timeouts = Timeouts{
		Connect: cmp.Or(cfg.Timeouts.Connect, DefaultConnectTimeout),
		TLS:     cmp.Or(cfg.Timeouts.TLS, DefaultTLSTimeout),
		Header:  cmp.Or(cfg.Timeouts.Header, DefaultHeaderTimeout),
		Stall:   cmp.Or(cfg.Timeouts.Stall, DefaultStallWindow),
	}
	if cfg.Time == nil {
		cfg.Time = time.Now
	}
	return &HTTP{cfg: cfg, host: plain(hostPort(&base)), transports: newTransports(cfg)}
}

// Open fetches the object into memory or the spool. When it returns, the
// transfer is over, one way or the other.
func (h *HTTP) Open(ctx context.Context, r Request) (Package, error) {
	target, err := h.locate(r.Name)
	if err != nil {
		return nil, err
	}
	// A context of its own, so that a stall can cut the transfer and still be
	// told from the caller giving up.
	inner, cut := context.WithCancel(ctx)
	defer cut()
	a, err := h.get(inner, target, r)
	if err != nil {
		if gone := stopped(ctx); gone != nil {
			return nil, gone
		}
		return nil, err
	}
	defer a.Body.Close()
	if err := a.check(r); err != nil {
		return nil, err
	}
	return h.keep(ctx, a, r, cut)
}

// locate gives the URL of the object of that name.
func (h *HTTP) locate(name string) (*url.URL, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if !h.cfg.Single {
		return h.cfg.Base.JoinPath(name), nil
	}
	if name == PackageName {
		return h.cfg.Base, nil
	}
	return nil, &Error{
		Code:     CodeNotFound,
		Sentence: fmt.Sprintf("%s is a single package, and nothing lies beside it", h.host),
		Hint:     "use a mirror where a signed list beside the package is wanted",
		Missing:  true,
	}
}

// keep reads the body into a spool, and gives the spool back where that fails.
func (h *HTTP) keep(ctx context.Context, a *answer, r Request, cut func()) (Package, error) {
	spool, err := h.newSpool(r.MaxBytes, a.ContentLength)
	if err != nil {
		return nil, err
	}
	body := &bodyReader{
		r:       newStallWatch(a.Body, h.cfg.Timeouts.Stall, cut),
		tally:   r.Tally,
		explain: func(err error) error { return h.bodyFailure(ctx, a.where, err) },
	}
	n, err := transfer(spool, body, r.MaxBytes)
	if err == nil && n > r.MaxBytes {
		err = tooLarge(r.Name, a.where, r.MaxBytes)
	}
	if err != nil {
		spool.Close()
		return nil, err
	}
	return &spooled{spool: spool, size: n, validator: keptValidator(a.Header)}, nil
}

// transfer copies at most one byte more than limit, so that a body that is too
// large shows as such and is not cut to a size that fits.
func transfer(w io.Writer, body io.Reader, limit int64) (int64, error) {
	limit = min(limit, math.MaxInt64-1)
	// Hiding what else the spool can do makes io.CopyBuffer use our buffer.
	return io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(body, limit+1), make([]byte, copyBytes))
}

// bodyReader counts what a body gives, and turns its errors into ours on the
// spot, so that after a copy they can't be mistaken for the spool's.
type bodyReader struct {
	r       io.Reader
	tally   *Tally
	explain func(error) error
}

// Read reads from the body.
func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.tally.addBytes(n)
	if err != nil && err != io.EOF {
		err = b.explain(err)
	}
	return n, err
}

// bodyFailure is the error for a transfer that ended before its end.
func (h *HTTP) bodyFailure(ctx context.Context, where string, err error) error {
	if gone := stopped(ctx); gone != nil {
		return gone
	}
	if errors.Is(err, errStalled) {
		return &Error{
			Code:     CodeStalled,
			Sentence: fmt.Sprintf("%s sent less than %d KiB in %s", where, stallBytes>>10, h.cfg.Timeouts.Stall),
			Hint:     "check the line to the server and its load; the next attempt starts anew",
		}
	}
	return &Error{
		Code:     CodeUnreachable,
		Sentence: fmt.Sprintf("the transfer from %s broke off", where),
		Hint:     "check the line to the server, proxies and firewalls between, and the server's log",
		Err:      err,
	}
}
