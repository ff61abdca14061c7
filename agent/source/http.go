package source

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/time/rate"
)

// What Timeouts mean where they are zero.
const (
	DefaultConnectTimeout = 10 * time.Second
	DefaultTLSTimeout     = 10 * time.Second
	DefaultHeaderTimeout  = 10 * time.Second
	DefaultStallWindow    = 30 * time.Second
)

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

func (t Timeouts) orDefault() Timeouts {
	return Timeouts{
		Connect: cmp.Or(t.Connect, DefaultConnectTimeout),
		TLS:     cmp.Or(t.TLS, DefaultTLSTimeout),
		Header:  cmp.Or(t.Header, DefaultHeaderTimeout),
		Stall:   cmp.Or(t.Stall, DefaultStallWindow),
	}
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
	// Retry bounds what is tried again after a failure that may pass.
	Retry Retry
	// Rate bounds all bodies together, in bytes per second; zero means no bound.
	Rate int64
	// Proxy gives the proxy for a URL, or nil for none; nil means none for all. A
	// name and password in the proxy's URL are sent to that proxy only.
	Proxy func(*url.URL) (*url.URL, error)
	// ClientCertificate gives what is shown to the configured host and port, and
	// to nobody else, where it asks for a certificate; nil means none.
	ClientCertificate func() (*tls.Certificate, error)
	// Header is sent in addition, to the configured scheme, host and port alone.
	Header http.Header
	// Answered, unless nil, is told of each answer that is no redirect, before its
	// body is read, for tools that report on a server. It is called on the
	// goroutine that asks. What the header says is the server's word.
	Answered func(status int, header http.Header)
}

// HTTP is a source on a web server. Opening a package asks for its last bytes;
// its ranges are requests of their own. Where a server does not do that, its
// answer is the whole object, which is kept, and ranges are read from there. What
// breaks off is tried again, and goes on where it stopped if the object is proved
// to be the same.
type HTTP struct {
	cfg        HTTPConfig
	host       string // the configured host and port, as sentences show it
	transports map[route]http.RoundTripper
	limiter    *rate.Limiter // shared by all bodies; nil for none
	waiting    budget        // for the waits between tries
}

// NewHTTP gives the source for cfg. Nothing is sent before something is opened.
func NewHTTP(cfg HTTPConfig) *HTTP {
	base := *cfg.Base
	// Without a path of its own, joining a name to it would make a relative one.
	base.Path = cmp.Or(base.Path, "/")
	cfg.Base = &base
	cfg.UserAgent = cmp.Or(cfg.UserAgent, defaultUserAgent)
	cfg.Timeouts = cfg.Timeouts.orDefault()
	cfg.Retry = Retry{
		Tries:   cmp.Or(cfg.Retry.Tries, DefaultTries),
		MaxWait: cmp.Or(cfg.Retry.MaxWait, DefaultMaxWait),
	}
	if cfg.Time == nil {
		cfg.Time = time.Now
	}
	h := &HTTP{cfg: cfg, host: plain(hostPort(&base)), transports: newTransports(cfg), limiter: newLimiter(cfg.Rate)}
	h.waiting.refill(cfg.Retry.MaxWait)
	return h
}

// Close gives back the connections that are kept for the next request. Packages
// that are open stay so.
func (h *HTTP) Close() {
	for _, t := range h.transports {
		if idle, ok := t.(interface{ CloseIdleConnections() }); ok {
			idle.CloseIdleConnections()
		}
	}
}

// Open finds out whether the object has changed, and how it can be read. When it
// returns, either the object's tail is in memory, or the whole of it is in memory
// or in the spool.
func (h *HTTP) Open(ctx context.Context, r Request) (Package, error) {
	target, err := h.locate(r.Name)
	if err != nil {
		return nil, err
	}
	o := &opening{h: h, target: target, r: r, tail: tailBytes(r), tries: h.newTries()}
	defer o.drop()
	for {
		p, err := o.try(ctx)
		if err == nil {
			return p, nil
		}
		if err = o.tries.again(ctx, err); err != nil {
			return nil, err
		}
	}
}

// ask sends q to target. What it gives must be closed; what went wrong is marked
// where trying again may help.
func (h *HTTP) ask(ctx context.Context, target *url.URL, q query, tally *Tally) (*answer, error) {
	// A context of its own, so that a stall can cut the transfer and still be
	// told from the caller giving up.
	inner, cut := context.WithCancel(ctx)
	a, err := h.get(inner, target, q, tally)
	if err != nil {
		cut()
		if gone := stopped(ctx); gone != nil {
			return nil, gone
		}
		var e *Error
		if errors.As(err, &e) {
			e.again = e.Code == CodeUnreachable
		}
		return nil, err
	}
	a.cut = cut
	return a, nil
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
