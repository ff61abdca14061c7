package source

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// certificateError is a client certificate that could not be had. It stays
// inside the package: what ClientCertificate gave reaches the caller untouched,
// since it is about this machine's files and no server's fault.
type certificateError struct{ err error }

// Error gives the cause's text.
func (e *certificateError) Error() string { return e.err.Error() }

// Unwrap gives the cause.
func (e *certificateError) Unwrap() error { return e.err }

// showCertificate makes what a TLS handshake calls when the server asks for a
// client certificate. The certificate is got anew for each, so that a rotated
// one is used without a restart. It is shown whatever authorities the server
// says it likes, because servers name them wrongly and refuse by themselves.
func showCertificate(get func() (*tls.Certificate, error)) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		cert, err := get()
		if err == nil && cert == nil {
			err = errors.New("there is no client certificate")
		}
		if err != nil {
			return nil, &certificateError{err}
		}
		return cert, nil
	}
}

// addSecrets puts into req what only the configured server may see: the extra
// headers, and name and password of the configured URL.
func (h *HTTP) addSecrets(req *http.Request) {
	for name, values := range h.cfg.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if user := h.cfg.Base.User; user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
}

// certificateHelp is the hint wherever a client certificate may be what lacks.
const certificateHelp = "set agent.clientCertFile and agent.clientKeyFile; where they are set, check that the certificate is not expired and that the server trusts its issuer"

// wantsCertificate tells whether the other side ended TLS with an alert about
// our certificate, or about our having none. Such alerts have no type of their
// own; their text is that of crypto/tls and not the server's.
func wantsCertificate(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && strings.Contains(op.Err.Error(), "certificate")
}

// turnedAway is the error for an answer that is about who we are and tells it
// in a way of its own; nil for all others. 407 is the proxy's word alone, and
// 400 over TLS is what nginx answers to a missing or unknown client certificate.
func (t *try) turnedAway(target *url.URL, status int) error {
	switch {
	case status == http.StatusProxyAuthRequired && t.proxy != nil:
		return refusedByProxy(t.proxy, status)
	case status == http.StatusBadRequest && target.Scheme == "https":
		return &Error{
			Code:     CodeForbidden,
			Stage:    StageTLS,
			Sentence: fmt.Sprintf("%s refuses the request (status %d), as servers do that want another client certificate or one at all", t.where, status),
			Hint:     certificateHelp,
		}
	}
	return nil
}

// proxyRefusal is a proxy's answer to CONNECT that is not 200. It stays inside
// the package.
type proxyRefusal struct{ status int }

// Error gives the status, and nothing of the proxy's own words.
func (e *proxyRefusal) Error() string {
	return fmt.Sprintf("the proxy answered with status %d", e.status)
}

// refusedByProxy is the error for a proxy that does not pass a request on.
func refusedByProxy(proxy *url.URL, status int) error {
	e := &Error{Code: CodeUnreachable, Stage: StageProxy, Hint: proxyHelp}
	switch status {
	case http.StatusProxyAuthRequired:
		e.Code = CodeForbidden
		e.Sentence = fmt.Sprintf("%s wants another name and password or any at all (status %d)", proxyName(proxy), status)
		e.Hint = "put name and password for the proxy into the file that agent.credentialsFile names, or into the proxy variable of the environment"
	case http.StatusUnauthorized, http.StatusForbidden:
		e.Code = CodeForbidden
		e.Sentence = fmt.Sprintf("%s does not permit connecting to the server (status %d)", proxyName(proxy), status)
		e.Hint = "allow the server's host and port on the proxy, or go around it with agent.noProxy"
	default:
		e.Sentence = fmt.Sprintf("%s could not connect to the server (status %d)", proxyName(proxy), status)
	}
	return e
}

// proxyHelp is the hint for a proxy that does not work.
const proxyHelp = "check agent.proxy, cloudService.proxy and the proxy variables of the environment, and that the proxy works; agent.noProxy goes around it"

// proxyName is how sentences name a proxy, never with its name and password.
func proxyName(proxy *url.URL) string { return "the proxy " + plain(proxy.Host) }
