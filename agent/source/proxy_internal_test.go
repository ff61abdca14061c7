package source

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// trip is a transport of one function.
type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// throughTry is a request by way of a proxy that is bounded by 30 seconds in all.
func throughTry(t *testing.T, via trip) (took time.Duration, err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	one := &try{where: "the mirror", proxy: &url.URL{Scheme: "http", Host: "p:1", User: url.UserPassword("u", "s3cret")},
		timeouts: Timeouts{Connect: 10 * time.Second, TLS: 10 * time.Second, Header: 10 * time.Second}}
	start := time.Now()
	resp, err := one.do(ctx, via, &http.Request{URL: &url.URL{Scheme: "https", Host: "h"}})
	took = time.Since(start)
	if err == nil {
		time.Sleep(time.Hour) // as long as a body may well take
		if ended := resp.Request.Context().Err(); ended != nil {
			t.Errorf("the body was cut: %v", ended)
		}
	}
	return took, err
}

// TestProxyConnectsInTime runs in a bubble: the transport itself gives a proxy a
// minute to answer CONNECT.
func TestProxyConnectsInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		took, err := throughTry(t, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeUnreachable || !strings.Contains(e.Sentence, "the proxy p:1 took too long") || took != 30*time.Second {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

// TestProxyLimitEndsWithConnecting: once connected, nothing cuts the transfer.
func TestProxyLimitEndsWithConnecting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		took, err := throughTry(t, func(r *http.Request) (*http.Response, error) {
			time.Sleep(29 * time.Second)
			httptrace.ContextClientTrace(r.Context()).GotConn(httptrace.GotConnInfo{Conn: near})
			time.Sleep(9 * time.Second)
			return &http.Response{Request: r}, nil
		})
		if err != nil || took != 38*time.Second {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

// TestProxyVanishes: a request that was to go by way of a proxy never goes
// straight, where nothing would check whom it reaches.
func TestProxyVanishes(t *testing.T) {
	t.Parallel()
	calls := 0
	h := NewHTTP(HTTPConfig{Base: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, Proxy: func(*url.URL) (*url.URL, error) {
		if calls++; calls == 1 {
			return &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, nil
		}
		return nil, nil
	}})
	one, via, err := h.newTry(h.cfg.Base, h.host, reachAll)
	if err != nil {
		t.Fatal(err)
	}
	_, err = one.do(t.Context(), via, h.newRequest(h.cfg.Base, newQuery(http.MethodGet, Validator{})))
	if !errors.Is(err, errNoProxy) {
		t.Errorf("got %v, want the refusal", err)
	}
}
