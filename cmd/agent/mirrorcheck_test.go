package main

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"mdatp-offline-agent/agent/source/sourcetest"
	"mdatp-offline-agent/mirror"
)

// TestMirrorCheckPrivate: a mirror that shows itself only by TLS of an authority of
// its own, to clients with a certificate and a password.
func TestMirrorCheckPrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file("tree/linux/production/arch_x86_64/manifest.json", `{"EngineVersion": "1.1.24080.9", "DefinitionVersion": "1.407.417.0"}`)
	authority := sourcetest.NewAuthority(t)
	certFile, keyFile := authority.Issue()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	tree := mirror.Handler(filepath.Join(dir, "tree"), nil)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "endpoint" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		tree.ServeHTTP(w, r)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool()}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // that connections fail is the point
	server.StartTLS()
	t.Cleanup(server.Close)

	program, err := exec.LookPath("agent")
	if err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	known := []string{"--ca-file", authority.File}
	shown := append([]string{"--client-cert", certFile, "--client-key", keyFile}, known...)
	for _, tt := range []struct {
		name    string
		options []string
		code    string // of the worst finding
	}{
		{"unknown authority", nil, "tls_untrusted"},
		{"no certificate", known, "source_forbidden"},
		{"no password", shown, "source_forbidden"},
		{"all of it", append([]string{"--header-file", file("headers", "Authorization: Basic ZW5kcG9pbnQ6c2VjcmV0\n")}, shown...), "source_not_found"}, // of the package, which is not there
		{"a file that is no list of headers", append([]string{"--header-file", file("other", "secret\n")}, shown...), "usage"},
		{"a file that is no certificate", []string{"--ca-file", file("other", "secret\n")}, "usage"},
		{"half a pair", []string{"--client-cert", certFile}, "usage"},
		{"no pair", []string{"--client-cert", certFile, "--client-key", certFile}, "usage"},
		{"a file without an end", []string{"--ca-file", "/dev/zero"}, "usage"},
		{"a file that is not there", []string{"--ca-file", filepath.Join(dir, "none")}, "usage"},
		{"a pipe", []string{"--header-file", pipe}, "usage"},
		{"a pair of pipes", []string{"--client-cert", pipe, "--client-key", pipe}, "usage"},
		{"a proxy that is none", []string{"--proxy", "here"}, "usage"},
	} {
		cmd := exec.Command(program, append([]string{"--root", dir, "--output", "json", "mirror", "check", server.URL, "--arch", "x86_64"}, tt.options...)...)
		out, _ := cmd.Output() // its exit code says that something was found
		var got struct {
			Findings   []struct{ Code string }
			FailReason struct{ Code string }
		}
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%s: %v: %s", tt.name, err, out)
		}
		code := got.FailReason.Code
		if len(got.Findings) > 0 {
			code = got.Findings[0].Code
		}
		if code != tt.code {
			t.Errorf("%s: %s, want %s: %s", tt.name, code, tt.code, out)
		}
	}
}
