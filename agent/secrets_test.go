package agent_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/source/sourcetest"
	"mdatp-offline-agent/health"
	"mdatp-offline-agent/mirror"
)

// The secrets of these tests, all of them unlike anything else.
const (
	mirrorSecret = "m1rr0r-Pa55"
	proxySecret  = "pr0xy-Pa55"
	tokenSecret  = "t0ken-Va1ue"
	envSecret    = "env1r0n-Pa55"
)

// guarded is a mirror that wants to know who we are, behind a proxy that does,
// too, and that alone knows the mirror's name.
type guarded struct {
	*world
	authority *sourcetest.Authority
	proxy     *sourcetest.Proxy
	answer    http.HandlerFunc // nil: the mirror
	log       *bytes.Buffer
	dir       string // of the files that the configuration names
}

const guardedRing = "https://mirror.example/linux/production/"

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{world: newWorld(t), authority: sourcetest.NewAuthority(t), log: new(bytes.Buffer), dir: t.TempDir()}
	must(t, os.MkdirAll(g.srv, 0o755))
	files := mirror.Handler(g.srv, nil)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch _, password, _ := r.BasicAuth(); {
		case password != mirrorSecret || r.Header.Get("X-Token") != tokenSecret:
			w.WriteHeader(http.StatusUnauthorized)
		case g.answer != nil:
			g.answer(w, r)
		default:
			files.ServeHTTP(w, r)
		}
	}))
	server, err := tls.LoadX509KeyPair(g.authority.Issue("mirror.example"))
	must(t, err)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: g.authority.Pool()}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	g.proxy = sourcetest.NewProxy(t, url.UserPassword("proxyuser", proxySecret), map[string]string{"mirror.example:443": s.Listener.Addr().String()})
	logger := logrus.New()
	logger.SetOutput(g.log)
	logger.SetLevel(logrus.TraceLevel)
	g.agent.Log = logger
	g.credentials(mirrorSecret, proxySecret)
	return g
}

// credentials writes the file of credentials.
func (g *guarded) credentials(mirror, proxy string) {
	g.Helper()
	data := fmt.Sprintf(`{"basic":{"username":"mirroruser","password":%q},"proxy":{"username":"proxyuser","password":%q},"headers":{"X-Token":%q}}`, mirror, proxy, tokenSecret)
	must(g, os.WriteFile(filepath.Join(g.dir, "credentials.json"), []byte(data), 0o600))
}

// configured writes the configuration, with proxy as agent.proxy where it isn't
// empty.
func (g *guarded) configured(proxy string) {
	g.Helper()
	cert, key := g.authority.Issue()
	section := fmt.Sprintf(`"caFile":%q,"clientCertFile":%q,"clientKeyFile":%q,"credentialsFile":%q`, g.authority.File, cert, key, filepath.Join(g.dir, "credentials.json"))
	if proxy != "" {
		section += fmt.Sprintf(`,"proxy":%q`, proxy)
	}
	g.offline(guardedRing, false, section)
}

// silent fails where a secret shows in anything that the agent has said or kept.
func (g *guarded) silent(r agent.Result) {
	g.Helper()
	var said bytes.Buffer
	said.Write(g.log.Bytes())
	must(g, json.NewEncoder(&said).Encode(r))
	if r.FailReason != nil {
		fmt.Fprintln(&said, r.FailReason.Message, r.FailReason.Hint)
	}
	report := health.Definitions(g.agent.Facts(context.Background()))
	fmt.Fprintf(&said, "%+v\n", report)
	settings, err := g.agent.Settings()
	must(g, err)
	fmt.Fprintf(&said, "%+v %+v\n", settings.Rows(), settings.Warnings)
	must(g, filepath.WalkDir(g.agent.Paths.State, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			said.Write(g.read(path))
		}
		return err
	}))
	for _, secret := range []string{mirrorSecret, proxySecret, tokenSecret, envSecret,
		basicOf("mirroruser", mirrorSecret), basicOf("proxyuser", proxySecret), basicOf("envuser", envSecret), "BEGIN PRIVATE KEY"} {
		if i := strings.Index(said.String(), secret); i >= 0 {
			g.Errorf("the secret %s shows in ...%s", secret, said.String()[max(0, i-200):i])
		}
	}
}

func basicOf(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

// proxyURL is the proxy without its secrets.
func (g *guarded) proxyURL() string { return "http://" + g.proxy.URL.Host }

// TestUpdateThroughEverything: proxy, TLS of an internal authority, client
// certificate, password and header at once, and nothing of it shows anywhere.
func TestUpdateThroughEverything(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.publish(pack{n: 1})
	g.configured(g.proxyURL())
	r := g.want(agent.Updated, "")
	g.has(1)
	g.silent(r)
	if len(g.proxy.Asked()) == 0 {
		t.Error("the proxy was not asked")
	}
	g.silent(g.want(agent.UpToDate, ""))
}

// TestSecretsNeverShow lets an update fail in every way that has to do with the
// network.
func TestSecretsNeverShow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, code, says string
		change           func(g *guarded)
	}{
		{"wrong password", "source_forbidden", "status 401", func(g *guarded) { g.credentials("wr0ng", proxySecret) }},
		{"wrong password for the proxy", "source_forbidden", "the proxy", func(g *guarded) { g.credentials(mirrorSecret, "wr0ng") }},
		{"proxy forbids", "source_forbidden", "the proxy", func(g *guarded) { g.proxy.Forbid("mirror.example:443") }},
		{"no proxy there", "source_unreachable", "the proxy 127.0.0.1:1 refused", func(g *guarded) { g.configured("http://127.0.0.1:1") }},
		{"not trusted", "tls_untrusted", "mirror.example", func(g *guarded) { g.authority = sourcetest.NewAuthority(g); g.configured(g.proxyURL()) }},
		{"nothing there", "source_not_found", "has no updates.zip", func(g *guarded) { g.answer = statusCode(http.StatusNotFound) }},
		{"busy", "source_rate_limited", "status 503", func(g *guarded) { g.answer = statusCode(http.StatusServiceUnavailable) }},
		{"redirect", "redirect_refused", "redirects", func(g *guarded) {
			g.answer = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://x.example/?"+r.Header.Get("Authorization"), http.StatusFound)
			}
		}},
		{"a page", "not_a_package", "", func(g *guarded) {
			g.answer = func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header) }
		}},
		{"broken key", "config_invalid", "agent.clientKeyFile", func(g *guarded) {
			key := filepath.Join(g.dir, "key.pem")
			must(g, os.WriteFile(key, []byte(tokenSecret), 0o644))
			must(g, os.Chmod(key, 0o644))
			g.offline(guardedRing, false, fmt.Sprintf(`"proxy":%q,"caFile":%q,"clientCertFile":%q,"clientKeyFile":%q,"credentialsFile":%q`,
				g.proxyURL(), g.authority.File, g.authority.File, key, filepath.Join(g.dir, "credentials.json")))
		}},
		{"broken credentials", "config_invalid", "credentials.json", func(g *guarded) {
			must(g, os.WriteFile(filepath.Join(g.dir, "credentials.json"), []byte(`{"basic":{"username":"u","pasword":"`+mirrorSecret+`"}}`), 0o600))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newGuarded(t)
			g.publish(pack{n: 1})
			g.configured(g.proxyURL())
			tt.change(g)
			r := g.want(agent.Failed, tt.code)
			if !strings.Contains(r.FailReason.Message, tt.says) {
				t.Errorf("the reason %q does not say %q", r.FailReason.Message, tt.says)
			}
			g.silent(r)
		})
	}
}

// TestSecretsOfTheEnvironment is not parallel, because it sets variables.
func TestSecretsOfTheEnvironment(t *testing.T) {
	g := newGuarded(t)
	g.publish(pack{n: 1})
	g.configured("")
	t.Setenv("https_proxy", "http://envuser:"+envSecret+"@"+g.proxy.URL.Host)
	t.Setenv("no_proxy", "")
	t.Setenv("NO_PROXY", "")
	g.silent(g.want(agent.Failed, "source_forbidden"))
	t.Setenv("https_proxy", "http://proxyuser:"+proxySecret+"@"+g.proxy.URL.Host)
	g.later(day) // the refusal may have cooled the source down
	g.silent(g.want(agent.Updated, ""))
	t.Setenv("https_proxy", "ftp://envuser:"+envSecret+"@proxy.example")
	g.silent(g.want(agent.Failed, "config_invalid"))
}
