package source_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/sourcetest"
)

func parseUser(s string) *url.Userinfo {
	u, _ := url.Parse(s)
	return u.User
}

// toward redirects everything to location.
func toward(location string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusFound)
	}
}

func TestRedirectRefused(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, location, rule string }{
		{"loop", "/updates.zip", "more than five times"},
		{"file", "file:///etc/passwd", "other than http and https"},
		{"ftp", "ftp://127.0.0.1/x", "other than http and https"},
		{"nonsense", "http://[::1", "can not be understood"},
		{"no host", "http:///x", "can not be understood"},
		{"opaque", "http:x", "can not be understood"},
		{"broken escape", "http://h/%zz", "can not be understood"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := fetch(t, client(t, server(t, toward(tt.location))), large())
			sourcetest.WantReason(t, err, source.CodeRedirect)
			if err != nil && !strings.Contains(err.Error(), tt.rule) {
				t.Errorf("error %q does not say %q", err, tt.rule)
			}
		})
	}
}

func TestRedirectNeverToPlain(t *testing.T) {
	t.Parallel()
	plain := server(t, func(http.ResponseWriter, *http.Request) { t.Error("the request was sent in the clear") })
	s := secure(t, nil, toward(plain))
	_, err := fetch(t, client(t, s.URL, trusting(s)), large())
	sourcetest.WantReason(t, err, source.CodeRedirect)
}

func TestRedirectFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			var hops atomic.Int64
			base := server(t, func(w http.ResponseWriter, _ *http.Request) {
				if n := hops.Add(1); n <= 5 {
					w.Header().Set("Location", fmt.Sprintf("hop%d#fragment", n))
					w.WriteHeader(status)
					return
				}
				io.WriteString(w, "arrived")
			})
			if got, err := fetch(t, client(t, base), large()); got != "arrived" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// TestRedirectSendsNoSecrets looks at what another server gets to see: one on
// another port is another server.
func TestRedirectSendsNoSecrets(t *testing.T) {
	t.Parallel()
	var got http.Header
	other := server(t, func(w http.ResponseWriter, r *http.Request) { got = r.Header; io.WriteString(w, "ok") })
	base := server(t, toward(strings.Replace(other, "http://", "http://eve:trap@", 1)+"/x"))
	h := client(t, base, func(c *source.HTTPConfig) {
		c.Base.User = parseUser("http://u:p@h")
		c.Header = http.Header{"X-Token": {"secret"}}
	})
	r := large()
	r.Known.ETag = `"v1"`
	if body, err := fetch(t, h, r); body != "ok" || err != nil {
		t.Fatalf("got %q, %v", body, err)
	}
	want := http.Header{"User-Agent": {"mdatp-offline-agent"}, "If-None-Match": {`"v1"`}, "Accept-Encoding": {"identity"}, "Range": {"bytes=-32768"}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the other server was sent %v, want %v", got, want)
	}
}

// TestRedirectNamesNoOtherServer makes sure that the place a redirect leads to,
// which is the server's choice of bytes, stays out of sentences and hints.
func TestRedirectNamesNoOtherServer(t *testing.T) {
	t.Parallel()
	other := server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	base := server(t, toward(other+"/marker"))
	_, err := fetch(t, client(t, base), large())
	sourcetest.WantReason(t, err, source.CodeNotFound)
	e, ok := err.(*source.Error)
	if !ok {
		t.Fatal(err)
	}
	for _, s := range []string{e.Sentence, e.Hint} {
		if strings.Contains(s, "marker") || strings.Contains(s, strings.TrimPrefix(other, "http://")) {
			t.Errorf("%q names where the redirect led", s)
		}
	}
	if !strings.Contains(e.Sentence, "redirects to") {
		t.Errorf("%q does not say that there was a redirect", e.Sentence)
	}
}

// TestRedirectNeverToLoopback has a server on another address of this machine
// send us to services that listen on loopback alone.
func TestRedirectNeverToLoopback(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", net.JoinHostPort(sourcetest.OuterAddress(t), "0"))
	if err != nil {
		t.Skipf("SKIPPED: no server can be run on the machine's own address: %v", err)
	}
	inner := server(t, func(http.ResponseWriter, *http.Request) { t.Error("the loopback service was asked") })
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(inner, "http://"))
	outer := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// /literal/updates.zip leads to a literal address, /name/... to a name,
		// which shows what it is only once it has been resolved.
		host := map[string]string{"literal": "127.0.0.1", "name": "localhost", "mapped": "[::ffff:127.0.0.1]", "zero": "0.0.0.0"}[strings.Split(r.URL.Path, "/")[1]]
		toward("http://"+host+":"+port)(w, r)
	})}
	go outer.Serve(l)
	t.Cleanup(func() { outer.Close() })
	for _, path := range []string{"/literal", "/name", "/mapped", "/zero"} {
		_, err := fetch(t, client(t, "http://"+l.Addr().String()+path), large())
		sourcetest.WantReason(t, err, source.CodeRedirect)
		if err != nil && !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%s: %v", path, err)
		}
	}
}
