package source

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
)

// maxRedirects is how many redirects one request follows.
const maxRedirects = 5

// The rules that a redirect can break, as the end of a sentence.
const (
	ruleTooMany  = "more than five times"
	ruleNoTarget = "to an address that can not be understood"
	ruleScheme   = "to something other than http and https"
	rulePlain    = "from https to http"
	ruleLocal    = "to a loopback or link-local address"
)

// reach is which addresses a request may connect to. What the configuration
// names is its owner's choice; a redirect is the server's, which must not be
// able to make us talk to services that only this machine or its link can see.
type reach int

const (
	reachAll    reach = iota // any address: the configured server itself, or sent by a loopback one
	reachLink                // no loopback: sent by a link-local server
	reachRouted              // neither loopback nor link-local: sent by any other server
)

// reachFrom gives what a server at that address may redirect to. An address that
// is not known gives the least.
func reachFrom(server netip.Addr) reach {
	switch addr := server.Unmap(); {
	case addr.IsLoopback():
		return reachAll
	case addr.IsLinkLocalUnicast():
		return reachLink
	default:
		return reachRouted
	}
}

// permits says whether a connection to addr is within reach. The unspecified
// address is loopback by another name.
func (r reach) permits(addr netip.Addr) bool {
	addr = addr.Unmap()
	switch {
	case addr.IsLoopback(), addr.IsUnspecified():
		return r == reachAll
	case addr.IsLinkLocalUnicast(), addr.IsLinkLocalMulticast():
		return r != reachRouted
	default:
		return addr.IsValid()
	}
}

// control is called by the dialer with each resolved address before it connects,
// so that no trick with names gets around the rule.
func (r reach) control(_, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil || !r.permits(addr.Addr()) {
		return errOutOfReach
	}
	return nil
}

// redirectTarget decides on one redirect: it gives where to go next, or else the
// rule that forbids it. from is the URL that was asked, location what it answered.
func redirectTarget(from *url.URL, location string, r reach) (next *url.URL, rule string) {
	next, err := from.Parse(location)
	if err != nil {
		return nil, ruleNoTarget
	}
	switch {
	case next.Scheme != "http" && next.Scheme != "https":
		return nil, ruleScheme
	case from.Scheme == "https" && next.Scheme == "http":
		return nil, rulePlain
	case next.Hostname() == "":
		return nil, ruleNoTarget
	}
	if addr, err := netip.ParseAddr(next.Hostname()); err == nil && !r.permits(addr) {
		return nil, ruleLocal
	}
	next.User, next.Fragment, next.RawFragment = nil, "", ""
	return next, ""
}

// get sends q to target and follows redirects by our rules to the answer that is
// none.
func (h *HTTP) get(ctx context.Context, target *url.URL, q query, tally *Tally) (*answer, error) {
	asked := shownURL(target)
	where, within := h.host, reachAll
	for redirects := 0; ; redirects++ {
		t, via, err := h.newTry(target, where, within)
		if err != nil {
			return nil, err
		}
		req := h.newRequest(target, q)
		tally.addRequest()
		resp, err := t.do(ctx, via, req)
		if err != nil {
			return nil, h.refusedOr(err)
		}
		tally.noteClock(resp.Header)
		if err := t.turnedAway(target, resp.StatusCode); err != nil {
			resp.Body.Close()
			return nil, err
		}
		location := resp.Header.Get("Location")
		if !isRedirect(resp.StatusCode) || location == "" {
			if h.cfg.Answered != nil {
				h.cfg.Answered(resp.StatusCode, resp.Header)
			}
			conditional := req.Header.Get("If-None-Match") != ""
			return &answer{Response: resp, where: t.where, asked: asked, conditional: conditional}, nil
		}
		resp.Body.Close()
		if redirects == maxRedirects {
			return nil, h.redirectError(ruleTooMany)
		}
		within = reachFrom(t.server(target))
		next, rule := redirectTarget(target, location, within)
		if rule != "" {
			return nil, h.redirectError(rule)
		}
		target, where = next, "the server that "+h.host+" redirects to"
	}
}

// newTry chooses the way for one request. By way of a proxy only what the URL
// itself shows is checked against the reach, in redirectTarget: the proxy
// resolves the name and connects, and what it may reach is its owner's rule. So
// an address on loopback that is a name's is not noticed there, but it would be
// the proxy's loopback and not ours.
func (h *HTTP) newTry(target *url.URL, where string, within reach) (*try, http.RoundTripper, error) {
	t := &try{where: where, timeouts: h.cfg.Timeouts}
	r := route{within: within, own: sameServer(target, h.cfg.Base)}
	if h.cfg.Proxy == nil {
		return t, h.transports[r], nil
	}
	proxy, err := h.cfg.Proxy(target)
	if err != nil {
		return nil, nil, &Error{Code: CodeUnreachable, Stage: StageProxy, Sentence: fmt.Sprintf("the proxy for %s can not be used", where), Hint: proxyHelp, Err: err}
	}
	if proxy != nil {
		t.proxy, t.where = proxy, where+" by way of "+proxyName(proxy)
		r.within, r.proxied = reachAll, true
	}
	return t, h.transports[r], nil
}

// newRequest makes the request for q to target. What is secret goes out where
// target is on the configured scheme, host and port. What q says goes to whoever
// holds the object: it is no secret, and an object behind a redirect has its tag
// from there.
func (h *HTTP) newRequest(target *url.URL, q query) *http.Request {
	req := &http.Request{Method: q.method, URL: target, Host: target.Host, Header: q.header.Clone()}
	req.Header.Set("User-Agent", h.cfg.UserAgent)
	if sameServer(target, h.cfg.Base) {
		h.addSecrets(req)
	}
	return req
}

// redirectError is the error for a redirect that broke a rule.
func (h *HTTP) redirectError(rule string) error {
	return &Error{
		Code:     CodeRedirect,
		Sentence: fmt.Sprintf("%s redirects %s, which is refused", h.host, rule),
		Hint:     "configure the address that the package really has, or correct the server's redirect",
	}
}

// refusedOr gives the redirect's error where err came from the dialer's control,
// and err itself where it did not.
func (h *HTTP) refusedOr(err error) error {
	if isOutOfReach(err) {
		return h.redirectError(ruleLocal)
	}
	return err
}

// isRedirect says whether a status is a redirect that a GET follows.
func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// sameServer says whether a and b are on one host and port, by one scheme.
func sameServer(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && hostPort(a) == hostPort(b)
}

// hostPort gives u's host in lower case and its port, written out where it is
// the scheme's own.
func hostPort(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch {
	case u.Port() != "":
		return host
	case u.Scheme == "https":
		return strings.TrimSuffix(host, ":") + ":443"
	default:
		return strings.TrimSuffix(host, ":") + ":80"
	}
}

// shownURL gives u for a hint, without name, password and query.
func shownURL(u *url.URL) string {
	return plain((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String())
}
