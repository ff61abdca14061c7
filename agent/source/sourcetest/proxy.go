package sourcetest

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Proxy is an HTTP proxy on loopback that serves CONNECT and plain requests. It
// knows servers by names of its own, as a real one knows what its clients can't
// resolve.
type Proxy struct {
	URL *url.URL // with the name and password that it wants, if any

	hosts  map[string]string // from host:port to the address that it stands for
	closed sync.Map          // host:port that it does not permit
	mu     sync.Mutex
	asked  []string
	server *httptest.Server
}

// NewProxy runs a proxy until the test ends. Each of hosts, as host:port, leads
// to an address on loopback. user is who may use it; nil lets everybody.
func NewProxy(t testing.TB, user *url.Userinfo, hosts map[string]string) *Proxy {
	t.Helper()
	p := &Proxy{hosts: hosts}
	p.server = httptest.NewServer(p)
	t.Cleanup(func() {
		p.server.CloseClientConnections()
		p.server.Close()
	})
	p.URL = &url.URL{Scheme: "http", User: user, Host: p.server.Listener.Addr().String()}
	return p
}

// For is what a source wants to have as its Proxy.
func (p *Proxy) For(*url.URL) (*url.URL, error) { return p.URL, nil }

// Forbid makes the proxy answer 403 for a host:port.
func (p *Proxy) Forbid(host string) { p.closed.Store(host, true) }

// Asked gives method and host:port of each request so far that it let through.
func (p *Proxy) Asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

// ServeHTTP answers a client of the proxy.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user := p.URL.User; user != nil {
		password, _ := user.Password()
		want := "Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password))
		if r.Header.Get("Proxy-Authorization") != want {
			http.Error(w, "who are you", http.StatusProxyAuthRequired)
			return
		}
	}
	host := r.Host
	if r.Method != http.MethodConnect && r.URL.Port() == "" {
		host += ":80"
	}
	address, known := p.hosts[host]
	if _, closed := p.closed.Load(host); closed {
		http.Error(w, "not there", http.StatusForbidden)
		return
	}
	if !known {
		http.Error(w, "no such host", http.StatusBadGateway)
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+host)
	p.mu.Unlock()
	if r.Method == http.MethodConnect {
		tunnel(w, address)
		return
	}
	forward(w, r, address)
}

// tunnel connects the client with address.
func tunnel(w http.ResponseWriter, address string) {
	server, err := net.Dial("tcp", address)
	if err != nil {
		http.Error(w, "no connection", http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		io.Copy(server, buffered)
		server.Close()
	}()
	io.Copy(client, server)
}

// forward passes a plain request on.
func forward(w http.ResponseWriter, r *http.Request, address string) {
	out := r.Clone(r.Context())
	out.URL.Host, out.RequestURI = address, ""
	out.Header.Del("Proxy-Authorization")
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		http.Error(w, "no answer", http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	io.Copy(w, resp.Body)
}

// NginxTLS serves dir by nginx over TLS, with a certificate of the authority for
// 127.0.0.1 and for the names, and gives the server's host:port.
func NginxTLS(t testing.TB, dir string, a *Authority, names ...string) string {
	t.Helper()
	cert, key := a.Issue(names...)
	addr := freeAddress(t)
	nginx(t, "", fmt.Sprintf("listen %s ssl; ssl_certificate %q; ssl_certificate_key %q; root %q;", addr, cert, key, dir))
	return addr
}

// NginxSecure serves dir by nginx over TLS, to clients with a certificate of the
// authority that also give that name and password, and gives the server's
// host:port.
func NginxSecure(t testing.TB, dir string, a *Authority, username, password string) string {
	t.Helper()
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte(username+":{PLAIN}"+password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key := a.Issue("mirror.example")
	addr := freeAddress(t)
	nginx(t, "", fmt.Sprintf(`listen %s ssl;
    ssl_certificate %q;
    ssl_certificate_key %q;
    ssl_client_certificate %q;
    ssl_verify_client on;
    location / { auth_basic "mirror"; auth_basic_user_file %q; root %q; }`, addr, cert, key, a.File, users, strings.TrimSuffix(dir, "/")))
	return addr
}
