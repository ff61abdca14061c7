package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// maxHeaderBytes bounds the header of an answer.
const maxHeaderBytes = 64 << 10

// idleTimeout is how long a connection is kept for the next request.
const idleTimeout = 30 * time.Second

// errOutOfReach is how the dialer refuses an address. It stays inside the package.
var errOutOfReach = errors.New("the address is out of a redirect's reach")

// isOutOfReach says whether err is the dialer's refusal.
func isOutOfReach(err error) bool { return errors.Is(err, errOutOfReach) }

// newTransports gives one transport for each reach. They share no connections:
// one that was made for the configured server never serves a redirect that
// would not have been permitted to make it.
func newTransports(cfg HTTPConfig) map[reach]http.RoundTripper {
	all := map[reach]http.RoundTripper{}
	for _, r := range []reach{reachAll, reachLink, reachRouted} {
		all[r] = newTransport(cfg, r)
	}
	return all
}

// newTransport gives a transport that asks for no compression, uses no proxy
// from the environment and waits for nothing without a limit.
func newTransport(cfg HTTPConfig, r reach) *http.Transport {
	dialer := &net.Dialer{Timeout: cfg.Timeouts.Connect, Control: r.control}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		TLSHandshakeTimeout:    cfg.Timeouts.TLS,
		ResponseHeaderTimeout:  cfg.Timeouts.Header,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        idleTimeout,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			RootCAs:    cfg.RootCAs,
			Time:       cfg.Time,
		},
	}
}

// The steps of a request, to tell which of them a timeout ended.
const (
	stepConnect int32 = iota
	stepTLS
	stepHeader
)

// try is one request on its way to an answer.
type try struct {
	where    string // whom we ask, as sentences show it
	timeouts Timeouts
	step     atomic.Int32
	remote   atomic.Pointer[net.TCPAddr]
}

// do sends req and waits for the answer's header. Errors are ours already.
func (t *try) do(ctx context.Context, via http.RoundTripper, req *http.Request) (*http.Response, error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// Also for the second attempt that the transport makes by itself where a
		// kept connection turns out to be dead.
		GetConn:           func(string) { t.step.Store(stepConnect) },
		TLSHandshakeStart: func() { t.step.Store(stepTLS) },
		GotConn: func(info httptrace.GotConnInfo) {
			t.step.Store(stepHeader)
			if addr, ok := info.Conn.RemoteAddr().(*net.TCPAddr); ok {
				t.remote.Store(addr)
			}
		},
	})
	resp, err := via.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, t.failure(err)
	}
	return resp, nil
}

// server gives the address that answered, or the zero address.
func (t *try) server() netip.Addr {
	if addr := t.remote.Load(); addr != nil {
		return addr.AddrPort().Addr()
	}
	return netip.Addr{}
}

// failure turns what the transport says into an Error that tells which step
// failed and what to look at.
func (t *try) failure(err error) error {
	var (
		cert   *tls.CertificateVerificationError
		record tls.RecordHeaderError
		dns    *net.DNSError
		wait   net.Error
	)
	switch {
	case errors.As(err, &cert):
		return &Error{
			Code:     CodeTLS,
			Sentence: fmt.Sprintf("the TLS certificate of %s is not trusted", t.where),
			Hint:     certificateHint(cert),
			Err:      err,
		}
	case errors.As(err, &record):
		return t.unreachable(err, "%s does not speak TLS", "check port and scheme of the configured URL")
	case errors.As(err, &dns):
		return t.unreachable(err, "the name of %s could not be resolved", "check the name in the URL, and DNS on this machine")
	case errors.Is(err, syscall.ECONNREFUSED):
		return t.unreachable(err, "%s refused the connection", "check that the server runs, and its port")
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return t.unreachable(err, "there is no route to %s", "check this machine's network and routes")
	case errors.As(err, &wait) && wait.Timeout():
		return t.timeout(err)
	}
	return t.broken(err)
}

// timeout says which step took too long.
func (t *try) timeout(err error) error {
	switch t.step.Load() {
	case stepConnect:
		return t.unreachable(err, "connecting to %s took more than "+t.timeouts.Connect.String(),
			"check that the server runs and that no firewall drops the connection")
	case stepTLS:
		return t.unreachable(err, "the TLS handshake with %s took more than "+t.timeouts.TLS.String(),
			"check that the port speaks TLS, and the server's load")
	default:
		return t.unreachable(err, "%s gave no answer within "+t.timeouts.Header.String(),
			"check the server's load and proxies between")
	}
}

// broken says at which step things went wrong, where nothing better is known.
func (t *try) broken(err error) error {
	switch t.step.Load() {
	case stepConnect:
		return t.unreachable(err, "no connection to %s could be made", "check the URL and this machine's network")
	case stepTLS:
		return t.unreachable(err, "the TLS handshake with %s failed", "the server must offer TLS 1.2 or newer; its log tells more")
	default:
		return t.unreachable(err, "%s gave no answer that is proper HTTP", "check port and scheme of the URL, and the server's log")
	}
}

// unreachable makes the Error. The sentence has one place for the server.
func (t *try) unreachable(err error, sentence, hint string) error {
	return &Error{Code: CodeUnreachable, Sentence: fmt.Sprintf(sentence, t.where), Hint: hint, Err: err}
}

// certificateHint says what to do about a certificate, by what is wrong with it.
func certificateHint(err error) string {
	var (
		invalid x509.CertificateInvalidError
		name    x509.HostnameError
	)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the server's certificate, or set this machine's clock"
	case errors.As(err, &name):
		return "use the name that is in the server's certificate"
	default:
		return "where an internal authority issued it, add that to this machine's trusted certificates; else somebody may be between"
	}
}
