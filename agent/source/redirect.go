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

// get asks for the object at target and follows redirects by our rules to the
// answer that is none.
func (h *HTTP) get(ctx context.Context, target *url.URL, r Request) (*answer, error) {
	asked := shownURL(target)
	where, within := h.host, reachAll
	for redirects := 0; ; redirects++ {
		t := &try{where: where, timeouts: h.cfg.Timeouts}
		req := h.newRequest(target, r.Known)
		r.Tally.addRequest()
		resp, err := t.do(ctx, h.transports[within], req)
		if err != nil {
			return nil, h.refusedOr(err)
		}
		location := resp.Header.Get("Location")
		if !isRedirect(resp.StatusCode) || location == "" {
			conditional := req.Header.Get("If-None-Match") != ""
			return &answer{Response: resp, where: where, asked: asked, conditional: conditional}, nil
		}
		resp.Body.Close()
		if redirects == maxRedirects {
			return nil, h.redirectError(ruleTooMany)
		}
		within = reachFrom(t.server())
		next, rule := redirectTarget(target, location, within)
		if rule != "" {
			return nil, h.redirectError(rule)
		}
		target, where = next, "the server that "+h.host+" redirects to"
	}
}

// newRequest makes a GET for target. Name and password go out where target is on
// the configured host and port. If-None-Match goes to whoever holds the object:
// it is no secret, and an object behind a redirect has its tag from there.
func (h *HTTP) newRequest(target *url.URL, known Validator) *http.Request {
	req := &http.Request{Method: http.MethodGet, URL: target, Host: target.Host, Header: http.Header{}}
	req.Header.Set("User-Agent", h.cfg.UserAgent)
	if wellFormed(known.ETag) {
		req.Header.Set("If-None-Match", known.ETag)
	}
	if user := h.cfg.Base.User; user != nil && sameServer(target, h.cfg.Base) {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
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
