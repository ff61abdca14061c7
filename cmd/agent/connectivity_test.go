package main

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mdatp-offline-agent/agent/source/sourcetest"
)

// nginx-with DIRECTIVES is nginx with a server block of that.
func cmdNginxWith(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv("URL", sourcetest.NginxWith(labOf(ts).tb, "", args[0]))
}

// nginx-tls DIR [NAME...] is nginx over TLS, with a certificate of a new authority for
// 127.0.0.1 and for the names. $CA is the authority's own.
func cmdNginxTLS(ts *testscript.TestScript, _ bool, args []string) {
	authority := newAuthority(ts)
	address := sourcetest.NginxTLS(labOf(ts).tb, ts.MkAbs(args[0]), authority, args[1:]...)
	ts.Setenv("URL", "https://"+address)
	ts.Setenv("PORT", address[strings.LastIndexByte(address, ':')+1:])
}

// newAuthority makes an authority, whose certificate is in $CA.
func newAuthority(ts *testscript.TestScript) *sourcetest.Authority {
	authority := sourcetest.NewAuthority(labOf(ts).tb)
	ts.Setenv("CA", filepath.Join(ts.Getenv("WORK"), "ca.pem"))
	ts.Check(os.WriteFile(ts.Getenv("CA"), []byte(ts.ReadFile(authority.File)), 0o644))
	return authority
}

// nginx-secure DIR NAME PASSWORD is nginx over TLS, to clients with a certificate of a
// new authority, such as that in $CERT with the key $KEY, who give name and password.
func cmdNginxSecure(ts *testscript.TestScript, _ bool, args []string) {
	authority := newAuthority(ts)
	ts.Setenv("URL", "https://"+sourcetest.NginxSecure(labOf(ts).tb, ts.MkAbs(args[0]), authority, args[1], args[2]))
	cert, key := authority.Issue("endpoint.example")
	ts.Setenv("CERT", cert)
	ts.Setenv("KEY", key)
}

// clock-ahead DIR DURATION serves a directory by a server whose clock is that much
// ahead.
func cmdClockAhead(ts *testscript.TestScript, _ bool, args []string) {
	ahead, err := time.ParseDuration(args[1])
	ts.Check(err)
	files := http.FileServer(http.Dir(ts.MkAbs(args[0])))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		files.ServeHTTP(w, r)
	}))
	ts.Defer(server.Close)
	ts.Setenv("URL", server.URL)
}

// proxy HOST:PORT ADDRESS starts a proxy that connects who wants to go to HOST:PORT
// with ADDRESS, and puts its own URL into $PROXY.
func cmdProxy(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv("PROXY", sourcetest.NewProxy(labOf(ts).tb, nil, map[string]string{args[0]: args[1]}).URL.String())
}

// noise FILE BYTES makes a file that can't be packed.
func cmdNoise(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o755))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o644))
}

// address puts the host and port of $URL into $ADDRESS.
func cmdAddress(ts *testscript.TestScript, _ bool, _ []string) {
	_, address, _ := strings.Cut(ts.Getenv("URL"), "://")
	ts.Setenv("ADDRESS", address)
}
