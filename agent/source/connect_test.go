package source_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/sourcetest"
	"mdatp-offline-agent/printable"
)

// secure runs an HTTPS server with the certificate of httptest.
func secure(t *testing.T, change func(*httptest.Server), h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if change != nil {
		change(s)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// trusting makes a client trust the server's certificate.
func trusting(s *httptest.Server) func(*source.HTTPConfig) {
	return func(c *source.HTTPConfig) {
		c.RootCAs = x509.NewCertPool()
		c.RootCAs.AddCert(s.Certificate())
	}
}

func TestHTTPSWorks(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		var proto string
		s := secure(t, func(s *httptest.Server) { s.EnableHTTP2 = http2 }, func(w http.ResponseWriter, r *http.Request) {
			proto = r.Proto
			io.WriteString(w, "ok")
		})
		got, err := fetch(t, client(t, s.URL, trusting(s)), large())
		if got != "ok" || err != nil || (proto == "HTTP/2.0") != http2 {
			t.Errorf("HTTP/2 %v: got %q by %s, %v", http2, got, proto, err)
		}
	}
}

// TestHTTP2Bounds repeats over HTTP/2 what bounds a body.
func TestHTTP2Bounds(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		code    string
		handler http.HandlerFunc
	}{
		"endless": {source.CodeTooLarge, func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					return
				}
			}
		}},
		"short": {source.CodeUnreachable, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "short")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}},
		"stalled": {source.CodeStalled, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}},
		"no header": {source.CodeUnreachable, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := secure(t, func(s *httptest.Server) { s.EnableHTTP2 = true }, tt.handler)
			h := client(t, s.URL, trusting(s), func(c *source.HTTPConfig) {
				c.Timeouts.Header, c.Timeouts.Stall = 500*time.Millisecond, 500*time.Millisecond
			})
			_, err := fetch(t, h, large())
			sourcetest.WantReason(t, err, tt.code)
		})
	}
}

func TestHTTPSRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, code, says string
		server           func(*httptest.Server)
		url              func(string) string
		client           func(*source.HTTPConfig)
	}{
		{name: "unknown authority", code: source.CodeTLS, says: "internal authority",
			client: func(c *source.HTTPConfig) { c.RootCAs = x509.NewCertPool() }},
		{name: "expired by our clock", code: source.CodeTLS, says: "clock",
			client: func(c *source.HTTPConfig) {
				c.Time = func() time.Time { return time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC) }
			}},
		{name: "other name", code: source.CodeTLS, says: "use the name",
			url: func(u string) string { return strings.Replace(u, "127.0.0.1", "localhost", 1) }},
		{name: "old protocol", code: source.CodeUnreachable, says: "TLS 1.2",
			server: func(s *httptest.Server) {
				s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := secure(t, tt.server, func(http.ResponseWriter, *http.Request) { t.Error("the request was sent") })
			u := s.URL
			if tt.url != nil {
				u = tt.url(u)
			}
			h := client(t, u, trusting(s), func(c *source.HTTPConfig) {
				if tt.client != nil {
					tt.client(c)
				}
			})
			_, err := fetch(t, h, large())
			sourcetest.WantReason(t, err, tt.code)
			e, ok := err.(*source.Error)
			if !ok || !strings.Contains(e.Hint, tt.says) {
				t.Fatalf("hint of %+v does not say %q", err, tt.says)
			}
			issuer := ""
			if e.Code == source.CodeTLS {
				issuer = s.Certificate().Issuer.String()
			}
			if e.Stage != source.StageTLS || e.Issuer != issuer {
				t.Errorf("stage %q, issued by %q", e.Stage, e.Issuer)
			}
		})
	}
}

// Who issued a certificate is said in the words of whoever shows it, less what a
// terminal would obey or a script would split at.
func TestIssuerIsFitToBeShown(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a\n\x1b[2J\u202e : \"b\"" + strings.Repeat("c", 1000)},
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s := secure(t, func(s *httptest.Server) {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}}
	}, func(http.ResponseWriter, *http.Request) {})
	_, err = fetch(t, client(t, s.URL), large())
	sourcetest.WantReason(t, err, source.CodeTLS)
	var e *source.Error
	if errors.As(err, &e) && (!strings.HasPrefix(e.Issuer, "CN=a") || printable.Sentence(e.Issuer, 256) != e.Issuer) {
		t.Errorf("issued by %q", e.Issuer)
	}
}

// TestHTTPNoConnection has the ways of not getting as far as a request.
func TestHTTPNoConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // its backlog takes connections
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	page := server(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "page") })

	tests := []struct {
		name, base, sentence string
		stage                source.Stage
		timeouts             source.Timeouts
	}{
		{"refused", "http://" + closed, "refused the connection", source.StageTCP, source.Timeouts{}},
		{"no such name", "http://mirror.invalid", "the name of mirror.invalid:80 could not be resolved", source.StageName, source.Timeouts{Connect: 2 * time.Second}},
		{"connecting takes too long", "http://127.0.0.1:9", "took more than 1ns", source.StageTCP, source.Timeouts{Connect: 1}},
		{"handshake takes too long", "https://" + silent.Addr().String(), "the TLS handshake with " + silent.Addr().String() + " took more than 50ms",
			source.StageTLS, source.Timeouts{TLS: 50 * time.Millisecond}},
		{"header takes too long", "http://" + silent.Addr().String(), "gave no answer within 50ms", source.StageHTTP, source.Timeouts{Header: 50 * time.Millisecond}},
		{"no TLS there", strings.Replace(page, "http:", "https:", 1), "does not speak TLS", source.StageTLS, source.Timeouts{}},
		{"not http", "ftp://127.0.0.1", "no connection", source.StageTCP, source.Timeouts{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := client(t, tt.base, func(c *source.HTTPConfig) { c.Timeouts = tt.timeouts })
			_, err := fetch(t, h, large())
			sourcetest.WantReason(t, err, source.CodeUnreachable)
			if err != nil && !strings.Contains(err.Error(), tt.sentence) {
				t.Errorf("error %q does not say %q", err, tt.sentence)
			}
			var e *source.Error
			if errors.As(err, &e) && e.Stage != tt.stage {
				t.Errorf("it failed at stage %q, want %q", e.Stage, tt.stage)
			}
		})
	}
}
