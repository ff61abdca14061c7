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
	"net/url"
	"sync/atomic"
	"syscall"
	"time"

	"mdatp-offline-agent/printable"
)

// maxHeaderBytes bounds the header of an answer.
const maxHeaderBytes = 64 << 10

// idleTimeout is how long a connection is kept for the next request.
const idleTimeout = 30 * time.Second

// idleConnections is how many connections to a server are kept for the next
// request, as many as ranges are usually read at once.
const idleConnections = 4

// errNoProxy says that what was to go by way of a proxy has none. It stays inside
// the package.
var errNoProxy = errors.New("there is no proxy for this address any more")

// errOutOfReach is how the dialer refuses an address. It stays inside the package.
var errOutOfReach = errors.New("the address is out of a redirect's reach")

// isOutOfReach says whether err is the dialer's refusal.
func isOutOfReach(err error) bool { return errors.Is(err, errOutOfReach) }

// route is how a request travels. Requests of different routes share no
// connections: one that was made for the configured server never serves a
// redirect that would not have been permitted to make it, or that may not be
// shown our certificate.
type route struct {
	within  reach // which addresses we may connect to; reachAll where proxied
	own     bool  // to the configured scheme, host and port
	proxied bool  // by way of a proxy, which resolves and connects in our place
}

// newTransports gives one transport for each route.
func newTransports(cfg HTTPConfig) map[route]http.RoundTripper {
	all := map[route]http.RoundTripper{}
	for _, own := range []bool{true, false} {
		for _, within := range []reach{reachAll, reachLink, reachRouted} {
			r := route{within: within, own: own}
			all[r] = newTransport(cfg, r)
		}
		r := route{own: own, proxied: true}
		all[r] = newTransport(cfg, r)
	}
	return all
}

// newTransport gives a transport that asks for no compression, uses no proxy but
// where the route says so, and waits for nothing without a limit.
func newTransport(cfg HTTPConfig, r route) *http.Transport {
	dialer := &net.Dialer{Timeout: cfg.Timeouts.Connect, Control: r.within.control}
	transport := &http.Transport{
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		TLSHandshakeTimeout:    cfg.Timeouts.TLS,
		ResponseHeaderTimeout:  cfg.Timeouts.Header,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConnsPerHost:    idleConnections,
		IdleConnTimeout:        idleTimeout,
		TLSClientConfig:        tlsConfig(cfg),
	}
	if r.own && cfg.ClientCertificate != nil {
		transport.TLSClientConfig.GetClientCertificate = showCertificate(cfg.ClientCertificate)
	}
	if r.proxied {
		throughProxy(transport, cfg, dialer)
	}
	return transport
}

// tlsConfig is what TLS means everywhere.
func tlsConfig(cfg HTTPConfig) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs, Time: cfg.Time}
}

// throughProxy makes every request of a transport go by way of a proxy.
func throughProxy(transport *http.Transport, cfg HTTPConfig, dialer *net.Dialer) {
	transport.Proxy = func(req *http.Request) (*url.URL, error) {
		proxy, err := cfg.Proxy(req.URL)
		if err == nil && proxy == nil {
			err = errNoProxy // and not straight to the server, unchecked
		}
		return proxy, err
	}
	transport.ProxyConnectHeader = http.Header{"User-Agent": {cfg.UserAgent}}
	// All that is dialed by TLS here is the proxy itself, since TLS with the
	// server comes after CONNECT. So the proxy is never shown the certificate
	// that is meant for the server, and is not offered HTTP/2.
	transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, cfg.Timeouts.Connect+cfg.Timeouts.TLS)
		defer cancel()
		return (&tls.Dialer{NetDialer: dialer, Config: tlsConfig(cfg)}).DialContext(ctx, network, address)
	}
	transport.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
		if resp.StatusCode != http.StatusOK {
			return &proxyRefusal{resp.StatusCode}
		}
		return nil
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
	where    string   // whom we ask, as sentences show it
	proxy    *url.URL // by way of which; nil for none
	timeouts Timeouts
	step     atomic.Int32
	late     atomic.Bool // a proxy took too long to connect us
	remote   atomic.Pointer[net.TCPAddr]
}

// do sends req and waits for the answer's header. Errors are ours already.
func (t *try) do(ctx context.Context, via http.RoundTripper, req *http.Request) (*http.Response, error) {
	connected := func() {}
	if t.proxy != nil {
		ctx, connected = t.limitConnecting(ctx)
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// Also for the second attempt that the transport makes by itself where a
		// kept connection turns out to be dead.
		GetConn:           func(string) { t.step.Store(stepConnect) },
		TLSHandshakeStart: func() { t.step.Store(stepTLS) },
		GotConn: func(info httptrace.GotConnInfo) {
			connected()
			t.step.Store(stepHeader)
			if addr, ok := info.Conn.RemoteAddr().(*net.TCPAddr); ok {
				t.remote.Store(addr)
			}
		},
	})
	resp, err := via.RoundTrip(req.WithContext(ctx))
	connected()
	if err != nil {
		return nil, t.failure(err)
	}
	return resp, nil
}

// limitConnecting bounds the time in which a proxy must have connected us. The
// transport bounds each step but the proxy's answer to CONNECT, which it gives a
// minute. The context ends with its parent; connected is to be called in time.
func (t *try) limitConnecting(parent context.Context) (ctx context.Context, connected func()) {
	ctx, cancel := context.WithCancel(parent)
	timer := time.AfterFunc(t.timeouts.Connect+t.timeouts.Header+t.timeouts.TLS, func() {
		t.late.Store(true)
		cancel()
	})
	return ctx, func() { timer.Stop() }
}

// server gives the address of who answered, or the zero address. Behind a proxy
// it is known only where the URL itself has it: the connection's other end is
// the proxy, and its address must not widen a redirect's reach.
func (t *try) server(asked *url.URL) netip.Addr {
	if t.proxy != nil {
		literal, _ := netip.ParseAddr(asked.Hostname())
		return literal
	}
	if addr := t.remote.Load(); addr != nil {
		return addr.AddrPort().Addr()
	}
	return netip.Addr{}
}

// failure turns what the transport says into an Error that tells which step
// failed and what to look at.
func (t *try) failure(err error) error {
	var (
		file    *certificateError
		refusal *proxyRefusal
		op      *net.OpError
	)
	switch {
	case errors.As(err, &file):
		return file.err
	case errors.As(err, &refusal):
		return refusedByProxy(t.proxy, refusal.status)
	case t.late.Load():
		return &Error{Code: CodeUnreachable, Stage: StageProxy, Sentence: proxyName(t.proxy) + " took too long to connect to the server", Hint: proxyHelp, Err: err}
	case t.proxy != nil && errors.As(err, &op) && op.Op == "proxyconnect":
		return t.proxyFailure(err)
	case wantsCertificate(err):
		return &Error{
			Code:     CodeForbidden,
			Stage:    StageTLS,
			Sentence: fmt.Sprintf("%s wants another client certificate or one at all", t.where),
			Hint:     certificateHelp,
			Err:      err,
		}
	}
	return t.networkFailure(err)
}

// proxyFailure is the same for a connection that did not get as far as the proxy.
func (t *try) proxyFailure(err error) error {
	p := &try{where: proxyName(t.proxy), timeouts: t.timeouts}
	p.step.Store(t.step.Load())
	e := p.networkFailure(err)
	e.Stage = StageProxy
	if e.Code == CodeUnreachable {
		e.Hint = proxyHelp
	}
	return e
}

// networkFailure is failure for what went wrong on the line.
func (t *try) networkFailure(err error) *Error {
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
			Stage:    StageTLS,
			Sentence: fmt.Sprintf("the TLS certificate of %s is not trusted", t.where),
			Hint:     certificateHint(cert),
			Issuer:   issuerOf(cert),
			Err:      err,
		}
	case errors.As(err, &record):
		return t.unreachable(StageTLS, err, "%s does not speak TLS", "check port and scheme of the configured URL")
	case errors.As(err, &dns):
		return t.unreachable(StageName, err, "the name of %s could not be resolved", "check the name in the URL, and DNS on this machine")
	case errors.Is(err, syscall.ECONNREFUSED):
		return t.unreachable(StageTCP, err, "%s refused the connection", "check that the server runs, and its port")
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return t.unreachable(StageTCP, err, "there is no route to %s", "check this machine's network and routes")
	case errors.As(err, &wait) && wait.Timeout():
		return t.timeout(err)
	}
	return t.broken(err)
}

// timeout says which step took too long.
func (t *try) timeout(err error) *Error {
	switch t.step.Load() {
	case stepConnect:
		return t.unreachable(StageTCP, err, "connecting to %s took more than "+t.timeouts.Connect.String(),
			"check that the server runs and that no firewall drops the connection")
	case stepTLS:
		return t.unreachable(StageTLS, err, "the TLS handshake with %s took more than "+t.timeouts.TLS.String(),
			"check that the port speaks TLS, and the server's load")
	default:
		return t.unreachable(StageHTTP, err, "%s gave no answer within "+t.timeouts.Header.String(),
			"check the server's load and proxies between")
	}
}

// broken says at which step things went wrong, where nothing better is known.
func (t *try) broken(err error) *Error {
	switch t.step.Load() {
	case stepConnect:
		return t.unreachable(StageTCP, err, "no connection to %s could be made", "check the URL and this machine's network")
	case stepTLS:
		return t.unreachable(StageTLS, err, "the TLS handshake with %s failed", "the server must offer TLS 1.2 or newer, and may want a client certificate (agent.clientCertFile); its log tells more")
	default:
		return t.unreachable(StageHTTP, err, "%s gave no answer that is proper HTTP", "check port and scheme of the URL, and the server's log")
	}
}

// unreachable makes the Error. The sentence has one place for the server.
func (t *try) unreachable(at Stage, err error, sentence, hint string) *Error {
	return &Error{Code: CodeUnreachable, Stage: at, Sentence: fmt.Sprintf(sentence, t.where), Hint: hint, Err: err}
}

// maxIssuer is how much of a certificate's issuer is shown, in bytes.
const maxIssuer = 256

// issuerOf gives who issued the certificate that the server showed, as it says.
func issuerOf(err *tls.CertificateVerificationError) string {
	if len(err.UnverifiedCertificates) == 0 {
		return ""
	}
	return printable.Sentence(err.UnverifiedCertificates[0].Issuer.String(), maxIssuer)
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
		return "where an internal authority issued it, or a proxy that inspects TLS, name a file with that authority's certificate in agent.caFile; else somebody may be between"
	}
}
