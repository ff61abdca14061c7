package source_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/sourcetest"
)

// basic is the header of a name and password.
func basic(t *testing.T, user, password string) http.Header {
	t.Helper()
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header
}

// pair reads a certificate and its key anew each time.
func pair(cert, key string) func() (*tls.Certificate, error) {
	return func() (*tls.Certificate, error) {
		p, err := tls.LoadX509KeyPair(cert, key)
		return &p, err
	}
}

// wantShown checks what a user would see of err.
func wantShown(t *testing.T, err error, code, inSentence string) {
	t.Helper()
	sourcetest.WantReason(t, err, code)
	if e, ok := err.(*source.Error); ok && !strings.Contains(e.Sentence, inSentence) {
		t.Errorf("sentence %q does not say %q", e.Sentence, inSentence)
	}
}

// TestNginxSecure goes through what a mirror may ask for before it gives a
// package, and what its owner is told where something lacks.
func TestNginxSecure(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, source.PackageName), []byte("package"), 0o644); err != nil {
		t.Fatal(err)
	}
	ours, theirs := sourcetest.NewAuthority(t), sourcetest.NewAuthority(t)
	addr := sourcetest.NginxSecure(t, dir, ours, "u", "right")
	cert, key := ours.Issue()
	alien, alienKey := theirs.Issue()
	for _, tt := range []struct {
		name        string
		certificate func() (*tls.Certificate, error)
		header      http.Header
		roots       *x509.CertPool
		code, says  string
	}{
		{"all there", pair(cert, key), basic(t, "u", "right"), ours.Pool(), "", ""},
		{"no certificate", nil, basic(t, "u", "right"), ours.Pool(), source.CodeForbidden, "client certificate"},
		{"somebody else's", pair(alien, alienKey), basic(t, "u", "right"), ours.Pool(), source.CodeForbidden, "client certificate"},
		{"wrong password", pair(cert, key), basic(t, "u", "wrong"), ours.Pool(), source.CodeForbidden, "status 401"},
		{"no password", pair(cert, key), nil, ours.Pool(), source.CodeForbidden, "status 401"},
		{"not trusted", pair(cert, key), basic(t, "u", "right"), theirs.Pool(), source.CodeTLS, "not trusted"},
	} {
		for _, proxied := range []bool{false, true} {
			base := "https://" + addr
			if proxied {
				base = "https://mirror.example"
			}
			proxy := sourcetest.NewProxy(t, url.UserPassword("p", "x:y@/"), map[string]string{"mirror.example:443": addr})
			got, err := fetch(t, client(t, base, func(c *source.HTTPConfig) {
				c.ClientCertificate, c.Header, c.RootCAs = tt.certificate, tt.header, tt.roots
				if proxied {
					c.Proxy = proxy.For
				}
			}), large())
			if tt.code == "" {
				if got != "package" || err != nil {
					t.Errorf("%s, proxied %v: got %q, %v", tt.name, proxied, got, err)
				}
				continue
			}
			wantShown(t, err, tt.code, tt.says)
		}
	}
}

// TestCertificateDemanded has servers that end the handshake instead.
func TestCertificateDemanded(t *testing.T) {
	t.Parallel()
	s := secure(t, func(s *httptest.Server) { s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert} },
		func(http.ResponseWriter, *http.Request) { t.Error("the request was served") })
	_, err := fetch(t, client(t, s.URL, trusting(s)), large())
	wantShown(t, err, source.CodeForbidden, "wants another client certificate or one at all")
}

// TestCertificateUnreadable: what is wrong with our own files is not the server's
// fault, and the caller's own error tells it.
func TestCertificateUnreadable(t *testing.T) {
	t.Parallel()
	s := secure(t, func(s *httptest.Server) { s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert} },
		func(http.ResponseWriter, *http.Request) { t.Error("the request was served") })
	broken := errors.New("the key is gone")
	_, err := fetch(t, client(t, s.URL, trusting(s), func(c *source.HTTPConfig) {
		c.ClientCertificate = func() (*tls.Certificate, error) { return nil, broken }
	}), large())
	if err != broken {
		t.Errorf("got %v, want the error of the certificate itself", err)
	}
	none := client(t, s.URL, trusting(s), func(c *source.HTTPConfig) {
		c.ClientCertificate = func() (*tls.Certificate, error) { return nil, nil }
	})
	if _, err := fetch(t, none, large()); err == nil {
		t.Error("nothing at all counts as a certificate")
	}
}

// TestCertificateRotates replaces the pair between two handshakes.
func TestCertificateRotates(t *testing.T) {
	t.Parallel()
	a := sourcetest.NewAuthority(t)
	var shown []string
	s := secure(t, func(s *httptest.Server) { s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert} }, func(w http.ResponseWriter, r *http.Request) {
		shown = append(shown, r.TLS.PeerCertificates[0].SerialNumber.String())
		w.Header().Set("Connection", "close")
		io.WriteString(w, "ok")
	})
	var current atomic.Pointer[func() (*tls.Certificate, error)]
	h := client(t, s.URL, trusting(s), func(c *source.HTTPConfig) {
		c.ClientCertificate = func() (*tls.Certificate, error) { return (*current.Load())() }
	})
	for range 2 {
		get := pair(a.Issue())
		current.Store(&get)
		if got, err := fetch(t, h, large()); got != "ok" || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	if len(shown) != 2 || shown[0] == shown[1] {
		t.Errorf("certificates %v were shown, want two that differ", shown)
	}
}

// TestCertificateForNobodyElse: neither a server that we are redirected to, nor a
// proxy that speaks TLS, is shown the certificate or sent a header, however it asks.
func TestCertificateForNobodyElse(t *testing.T) {
	t.Parallel()
	a := sourcetest.NewAuthority(t)
	ask := func(s *httptest.Server) { s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert} }
	other := secure(t, ask, func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 || r.Header.Get("Authorization") != "" || r.Header.Get("X-Token") != "" {
			t.Errorf("the other server was shown %d certificates and sent %v", len(r.TLS.PeerCertificates), r.Header)
		}
		io.WriteString(w, "ok")
	})
	first := secure(t, ask, func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) != 1 || r.Header.Get("X-Token") != "s3cret" || r.Header.Get("Proxy-Authorization") != "" {
			t.Errorf("the configured server was shown %d certificates and sent %v", len(r.TLS.PeerCertificates), r.Header)
		}
		toward(other.URL+"/x")(w, r)
	})
	hosts := map[string]string{}
	for _, s := range []*httptest.Server{first, other} {
		hosts[s.Listener.Addr().String()] = s.Listener.Addr().String()
	}
	behind := sourcetest.NewProxy(t, url.UserPassword("p", "p4ss"), hosts)
	proxy := secure(t, ask, func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 || r.Header.Get("X-Token") != "" || r.Header.Get("Authorization") != "" {
			t.Errorf("the proxy was shown %d certificates and sent %v", len(r.TLS.PeerCertificates), r.Header)
		}
		behind.ServeHTTP(w, r)
	})
	through := *behind.URL
	through.Scheme, through.Host = "https", proxy.Listener.Addr().String()
	for name, use := range map[string]func(*url.URL) (*url.URL, error){"direct": nil, "proxied": func(*url.URL) (*url.URL, error) { return &through, nil }} {
		h := client(t, first.URL, trusting(first), func(c *source.HTTPConfig) {
			c.ClientCertificate, c.Header, c.Proxy = pair(a.Issue()), http.Header{"X-Token": {"s3cret"}}, use
		})
		if got, err := fetch(t, h, large()); got != "ok" || err != nil {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if got := behind.Asked(); len(got) != 2 {
		t.Errorf("the proxy connected %v, want both servers", got)
	}
}

// TestProxy has a mirror whose name only the proxy knows, over http and https.
func TestProxy(t *testing.T) {
	t.Parallel()
	plain := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "" {
			t.Errorf("the server was sent %v", r.Header)
		}
		io.WriteString(w, "ok")
	})
	user := url.UserPassword("dom\\user", "p:4/@ss")
	proxy := sourcetest.NewProxy(t, user, map[string]string{"mirror.example:80": strings.TrimPrefix(plain, "http://")})
	h := client(t, "http://mirror.example", func(c *source.HTTPConfig) { c.Proxy = proxy.For })
	if got, err := fetch(t, h, large()); got != "ok" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if got, want := proxy.Asked()[:1], []string{"GET mirror.example:80"}; !reflect.DeepEqual(got, want) {
		t.Errorf("the proxy was asked for %v, want %v", got, want)
	}
}

// TestProxyRefuses has the ways in which a proxy fails. Each names it, and never
// its password.
func TestProxyRefuses(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	proxy := sourcetest.NewProxy(t, url.UserPassword("u", "right"), map[string]string{"forbidden.example:443": "", "forbidden.example:80": "", "dead.example:443": closed, "dead.example:80": closed})
	proxy.Forbid("forbidden.example:443")
	proxy.Forbid("forbidden.example:80")
	for _, tt := range []struct{ name, host, proxy, code, says string }{
		{"wrong password", "mirror.example", "http://u:s3cret@" + proxy.URL.Host, source.CodeForbidden, "the proxy " + proxy.URL.Host + " wants another name and password"},
		{"no password", "mirror.example", "http://" + proxy.URL.Host, source.CodeForbidden, "(status 407)"},
		{"forbidden", "forbidden.example", "http://u:right@" + proxy.URL.Host, source.CodeForbidden, "the proxy " + proxy.URL.Host + " does not permit"},
		{"no such host", "nobody.example", "http://u:right@" + proxy.URL.Host, source.CodeUnreachable, "the proxy " + proxy.URL.Host},
		{"dead server", "dead.example", "http://u:right@" + proxy.URL.Host, source.CodeUnreachable, "status 502"},
		{"refused", "mirror.example", "http://u:s3cret@" + closed, source.CodeUnreachable, "the proxy " + closed + " refused the connection"},
		{"no such proxy", "mirror.example", "http://u:s3cret@proxy.invalid:1", source.CodeUnreachable, "the name of the proxy proxy.invalid:1 could not be resolved"},
		{"silent", "mirror.example", "http://u:s3cret@" + silent.Addr().String(), source.CodeUnreachable, silent.Addr().String()},
		{"no TLS there", "mirror.example", "https://u:s3cret@" + proxy.URL.Host, source.CodeUnreachable, "the proxy " + proxy.URL.Host + " does not speak TLS"},
	} {
		for _, scheme := range []string{"http", "https"} {
			t.Run(tt.name+" "+scheme, func(t *testing.T) {
				t.Parallel()
				h := client(t, scheme+"://"+tt.host, func(c *source.HTTPConfig) {
					c.Proxy = func(*url.URL) (*url.URL, error) { return url.Parse(tt.proxy) }
					c.Retry.Tries = 1
					if tt.name == "silent" {
						c.Timeouts = source.Timeouts{Connect: 50 * time.Millisecond, TLS: 50 * time.Millisecond, Header: 50 * time.Millisecond}
					}
				})
				_, err := fetch(t, h, large())
				wantShown(t, err, tt.code, tt.says)
				e, ok := err.(*source.Error)
				if ok && strings.Contains(e.Error()+e.Hint, "s3cret") {
					t.Errorf("a password shows: %v", e)
				}
				if ok && scheme == "https" && e.Stage != source.StageProxy { // by CONNECT, so it is the proxy that fails
					t.Errorf("it failed at stage %q", e.Stage)
				}
			})
		}
	}
}

// TestProxyWidensNoReach: that the proxy listens on loopback must not let the
// server behind it redirect us there.
func TestProxyWidensNoReach(t *testing.T) {
	t.Parallel()
	inner := server(t, func(http.ResponseWriter, *http.Request) { t.Error("the loopback service was asked") })
	for _, location := range []string{inner, strings.Replace(inner, "127.0.0.1", "localhost", 1)} {
		base := server(t, toward(location))
		proxy := sourcetest.NewProxy(t, nil, map[string]string{"mirror.example:80": strings.TrimPrefix(base, "http://")})
		h := client(t, "http://mirror.example", func(c *source.HTTPConfig) {
			c.Proxy = func(u *url.URL) (*url.URL, error) {
				if u.Hostname() != "mirror.example" {
					return nil, nil // as the rule about loopback has it
				}
				return proxy.URL, nil
			}
		})
		_, err := fetch(t, h, large())
		wantShown(t, err, source.CodeRedirect, "to a loopback or link-local address")
	}
}
