package agent

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/http/httpproxy"

	"mdatp-offline-agent/agent/source/sourcetest"
	"mdatp-offline-agent/managedconfig"
)

// settingsOf gives the settings of a local file whose agent section this is.
func settingsOf(t testing.TB, section string) managedconfig.Settings {
	t.Helper()
	doc, err := managedconfig.Parse(managedconfig.Source{Origin: managedconfig.OriginLocal, File: "agent.json", Data: []byte(section)})
	if err != nil {
		t.Fatal(err)
	}
	return managedconfig.Resolve(doc)
}

// mirrorAt and cloudAt are places.
func mirrorAt(t testing.TB, raw string) Place {
	t.Helper()
	ring, err := managedconfig.ParseRingURL(raw)
	if err != nil {
		t.Fatal(err)
	}
	return Place{Name: raw, Ring: ring}
}

func cloudAt(t testing.TB, raw string) Place {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return Place{Name: raw, Cloud: u}
}

// envOf is an environment.
func envOf(pairs ...string) func(string) string {
	return func(name string) string {
		for _, p := range pairs {
			if value, ok := strings.CutPrefix(p, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

// secretFile writes a file that is only ours.
func secretFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantInvalid checks that err blames the configuration, says this, and shows no
// value of a secret file.
func wantInvalid(t testing.TB, err error, says string) {
	t.Helper()
	var e *managedconfig.Error
	if !errors.As(err, &e) {
		t.Errorf("got %v, want an error of the configuration with %q", err, says)
		return
	}
	f := Explain(err)
	if f.Code != codeConfig || f.Hint == "" || !strings.Contains(f.Message, says) {
		t.Errorf("%v (hint %s) does not say %q", f, f.Hint, says)
	}
	if strings.Contains(e.Error()+f.Hint, "s3cret") {
		t.Errorf("a secret shows: %v, hint %s", e, f.Hint)
	}
}

// TestProxies is the order in which proxies are chosen.
func TestProxies(t *testing.T) {
	t.Parallel()
	const mirror, cloud = "http://mirror.example/linux/production", "https://cloud.example/x"
	both := `"cloudService": {"proxy": "http://product:1"}`
	env := []string{"http_proxy=http://u:s3cret@env:2", "HTTPS_PROXY=envtls:3"}
	file := secretFile(t, "c.json", `{"proxy": {"username": "n@me", "password": "s3:/cret"}}`)
	for _, tt := range []struct {
		name, settings string
		env            []string
		place, asked   string
		want           string
	}{
		{"none", `{}`, nil, mirror, "", ""},
		{"agent's for the mirror", `{"agent": {"proxy": "http://agent:1"}, ` + both + `}`, env, mirror, "", "http://agent:1"},
		{"agent's for the cloud", `{"agent": {"proxy": "http://agent:1"}, ` + both + `}`, env, cloud, "", "http://agent:1"},
		{"the product's for the cloud", `{` + both + `}`, env, cloud, "", "http://product:1"},
		{"the product's not for the mirror", `{` + both + `}`, nil, mirror, "", ""},
		{"the environment's for the mirror", `{` + both + `}`, env, mirror, "", "http://u:s3cret@env:2"},
		{"the environment's, without a scheme", `{}`, env, cloud, "", "http://envtls:3"},
		{"lower case wins", `{}`, []string{"HTTP_PROXY=http://upper:1", "http_proxy=http://lower:1"}, mirror, "", "http://lower:1"},
		{"only for https", `{}`, env[1:], mirror, "", ""},
		{"for what it redirects to", `{}`, env, mirror, "https://other.example/", "http://envtls:3"},
		{"credentials", `{"agent": {"proxy": "https://agent:1", "credentialsFile": "` + file + `"}}`, nil, mirror, "", "https://n%40me:s3%3A%2Fcret@agent:1"},
		{"credentials not for the environment's", `{"agent": {"credentialsFile": "` + file + `"}}`, env, cloud, "", "http://envtls:3"},
		{"noProxy", `{"agent": {"proxy": "http://agent:1", "noProxy": ".example"}}`, nil, mirror, "", ""},
		{"NO_PROXY also there", `{"agent": {"proxy": "http://agent:1", "noProxy": "a.test"}}`, []string{"NO_PROXY=b.test, mirror.example:80"}, mirror, "", ""},
		{"noProxy for the environment's", `{"agent": {"noProxy": "*"}}`, env, mirror, "", ""},
		{"NO_PROXY of somebody else", `{"agent": {"proxy": "http://agent:1"}}`, []string{"no_proxy=other.example"}, mirror, "", "http://agent:1"},
		{"loopback by name", `{"agent": {"proxy": "http://agent:1"}}`, env, "http://localhost:8000/linux/production", "", ""},
		{"loopback by address", `{"agent": {"proxy": "http://agent:1"}}`, env, "http://127.0.0.1:8000/linux/production", "", ""},
		{"loopback version 6", `{"agent": {"proxy": "http://agent:1"}}`, env, "http://[::1]:8000/linux/production", "", ""},
		{"a directory needs none", `{"agent": {"credentialsFile": "/nowhere"}}`, []string{"http_proxy=socks5://x"}, "/srv/linux/production", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			place, asked := mirrorAt(t, tt.place), tt.place
			if tt.place == cloud {
				place = cloudAt(t, tt.place)
			}
			if tt.asked != "" {
				asked = tt.asked
			}
			n, err := networkFor(settingsOf(t, tt.settings), place, envOf(tt.env...))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if u, _ := url.Parse(asked); n.proxy != (httpproxy.Config{}) {
				proxy, err := n.proxy.ProxyFunc()(u)
				if err != nil {
					t.Fatal(err)
				}
				if proxy != nil {
					got = proxy.String()
				}
			}
			if got != tt.want {
				t.Errorf("the proxy is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestNetworkRefused(t *testing.T) {
	t.Parallel()
	cert, key := sourcetest.NewAuthority(t).Issue()
	_, other := sourcetest.NewAuthority(t).Issue()
	open := secretFile(t, "open", "{}")
	if err := os.Chmod(open, 0o640); err != nil {
		t.Fatal(err)
	}
	shared := secretFile(t, "shared.pem", "")
	if err := os.Chmod(shared, 0o664); err != nil {
		t.Fatal(err)
	}
	big := secretFile(t, "big", strings.Repeat(" ", maxNamedFile+1))
	for _, tt := range []struct {
		name, agent string
		env         []string
		says        string
	}{
		{"environment, no proxy's scheme", ``, []string{"HTTPS_PROXY=socks5://u:s3cret@h:1"}, "HTTPS_PROXY, the environment variable is no http or https URL"},
		{"environment, nonsense", ``, []string{"http_proxy=http://u:s3cret@h:port"}, "http_proxy, the environment"},
		{"environment, no host", ``, []string{"http_proxy=http://"}, "http_proxy"},
		{"no CA file", `"caFile": "/nowhere/ca.pem"`, nil, "/nowhere/ca.pem, agent.caFile, the file can not be opened"},
		{"CA file for everybody to change", `"caFile": "` + shared + `"`, nil, "permitted to write"},
		{"CA file is a key", `"caFile": "` + key + `"`, nil, "not made of PEM certificates"},
		{"CA file is empty", `"caFile": "` + secretFile(t, "e", "") + `"`, nil, "not made of PEM certificates"},
		{"CA file is a directory", `"caFile": "` + t.TempDir() + `"`, nil, "no regular file"},
		{"CA file too large", `"caFile": "` + big + `"`, nil, "larger than 1 MiB"},
		{"certificate without key", `"clientCertFile": "` + cert + `"`, nil, "agent.clientCertFile, it is set without agent.clientKeyFile"},
		{"key without certificate", `"clientKeyFile": "` + key + `"`, nil, "agent.clientKeyFile, it is set without agent.clientCertFile"},
		{"key is not there", `"clientCertFile": "` + cert + `", "clientKeyFile": "/nowhere"`, nil, "/nowhere, agent.clientKeyFile"},
		{"key for everybody to read", `"clientCertFile": "` + cert + `", "clientKeyFile": "` + open + `"`, nil, "agent.clientKeyFile, other users are permitted to use"},
		{"key of another", `"clientCertFile": "` + cert + `", "clientKeyFile": "` + other + `"`, nil, "can not be used together"},
		{"key is none", `"clientCertFile": "` + cert + `", "clientKeyFile": "` + secretFile(t, "k", "s3cret") + `"`, nil, "can not be used together"},
		{"credentials for everybody to read", `"credentialsFile": "` + open + `"`, nil, "agent.credentialsFile, other users"},
		{"no credentials", `"credentialsFile": "/nowhere"`, nil, "/nowhere, agent.credentialsFile"},
		{"credentials are none", `"credentialsFile": "` + secretFile(t, "c", "s3cret") + `"`, nil, "line 1, it is no JSON object"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n, err := networkFor(settingsOf(t, `{"agent": {`+tt.agent+`}}`), mirrorAt(t, "https://mirror.example/linux/production"), envOf(tt.env...))
			if err == nil && n.certificate != nil { // whose files are read when they are wanted
				_, _, err = n.certificate()
			}
			wantInvalid(t, err, tt.says)
		})
	}
}

// TestSecretsAreTheMirrors: the cloud is somebody else's server.
func TestSecretsAreTheMirrors(t *testing.T) {
	t.Parallel()
	a := sourcetest.NewAuthority(t)
	cert, key := a.Issue()
	file := secretFile(t, "c.json", `{"basic": {"username": "u", "password": "p"}, "headers": {"x-token": "t"}}`)
	s := settingsOf(t, `{"agent": {"caFile": "`+a.File+`", "clientCertFile": "`+cert+`", "clientKeyFile": "`+key+`", "credentialsFile": "`+file+`", "maxDownloadRate": 4096}}`)
	n, err := networkFor(s, mirrorAt(t, "https://mirror.example/linux/production"), envOf())
	if err != nil {
		t.Fatal(err)
	}
	if n.header.Get("Authorization") != "Basic dTpw" || n.header.Get("X-Token") != "t" || n.roots == nil || n.rate != 4096 || n.proxy != (httpproxy.Config{}) {
		t.Errorf("the mirror's network is %+v", n)
	}
	if cert, key, err := n.certificate(); err != nil || len(cert) == 0 || len(key) == 0 {
		t.Errorf("no certificate: %v", err)
	}
	n, err = networkFor(s, cloudAt(t, "https://cloud.example/x"), envOf())
	if err != nil || n.header != nil || n.certificate != nil || n.roots == nil || n.rate != 4096 {
		t.Errorf("the cloud's network is %+v, %v", n, err)
	}
}

// TestParseCredentials has what is refused, each with a secret in it that must
// not show.
func TestParseCredentials(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		``:                                  "line 1, it is no JSON object",
		`["s3cret"]`:                        "it is no JSON object",
		`{`:                                 "it is not valid JSON",
		`{"basic" "s3cret"}`:                "basic, it is no JSON object",
		`{"basic": "s3cret"}`:               "basic, it is no JSON object",
		`{"s3cret": {}}`:                    "none of basic, proxy and headers",
		`{"Basic": {}}`:                     "none of basic, proxy and headers",
		`{"basic": {"username": "u"}}`:      "basic, it must have username and password",
		`{"basic": {"password": "s3cret"}}`: "basic, it must have username and password",
		`{"proxy": {"username": "u", "password": "s3cret", "s3cret": "x"}}`:                     "proxy, it must have",
		`{"proxy": {"username": "u", "pasword": "s3cret"}}`:                                     "proxy, it must have",
		`{"basic": {"username": "u", "password": 7}}`:                                           "basic, a value is no text",
		`{"basic": {"username": "u", "password": {"s3cret": 1}}}`:                               "basic, a value is no text",
		`{"basic": {"username": "", "password": "s3cret"}}`:                                     "basic.username, allowed",
		`{"basic": {"username": "u:s3cret", "password": "s3cret"}}`:                             "basic.username, allowed",
		`{"proxy": {"username": "u", "password": "s3cret\n"}}`:                                  "proxy.password, allowed",
		`{"basic": {"username": "u", "username": "s3cret"}}`:                                    "basic, a name stands twice",
		`{"headers": {}, "headers": {"X-s3cret": "s3cret"}}`:                                    "a name stands twice",
		`{"headers": {"X Y": "s3cret"}}`:                                                        "headers, a name or a value",
		`{"headers": {"X-Token": "s3cret\r\nX: y"}}`:                                            "headers, a name or a value",
		`{"headers": {"Host": "s3cret"}}`:                                                       "headers, a header is one that",
		`{"headers": {"proxy-authorization": "s3cret"}}`:                                        "headers, a header is one that",
		`{"headers": {"If-None-Match": "s3cret"}}`:                                              "headers, a header is one that",
		`{"headers": {"X-a": "1", "x-A": "s3cret"}}`:                                            "set already",
		`{"basic": {"username": "u", "password": "p"}, "headers": {"authorization": "s3cret"}}`: "set already",
		`{"headers": {"authorization": "s3cret"}, "basic": {"username": "u", "password": "p"}}`: "set already",
		"{\n\"headers\": {},\n} s3cret":                                                         "line 3",
		`{} s3cret`:                                                                             "something follows",
		"{\"headers\": {\"X\": \"\xff\"}":                                                       "not UTF-8",
		`{"headers": {"s3cret": "x",}}`:                                                         "not valid JSON",
	} {
		_, err := parseCredentials("c.json", []byte(text))
		if err == nil {
			t.Errorf("%s is taken", text)
			continue
		}
		wantInvalid(t, err, says)
	}
	c, err := parseCredentials("c.json", []byte(`{"proxy": {"username": "p", "password": ""}, "headers": {"x-token": "a b"}}`))
	if err != nil || c.header.Get("X-Token") != "a b" || c.proxy.String() != "p:" || c.header.Get("Authorization") != "" {
		t.Errorf("got %v, %v", c.header, err)
	}
}

// FuzzCredentials: any bytes give credentials that can be sent, or an error that
// is fit for a report and has no text of the file in it.
func FuzzCredentials(f *testing.F) {
	for _, text := range []string{`{}`, `{"basic": {"username": "u", "password": "p"}, "proxy": {"username": "u", "password": "p"}, "headers": {"X-Token": "t"}}`,
		`{"headers": {"A": "\u0000"}}`, `{"basic": [[[[`, "\xef\xbb\xbf{}", `{"headers": {"Authorization": "x"}}`, `null`, `{"proxy": {"username": "\ud800", "password": "\n"}}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseCredentials("c.json", data)
		if err != nil {
			var e *managedconfig.Error
			if !errors.As(err, &e) || e.Err != nil || e.Value != "" || strings.ContainsAny(e.Error()+e.Hint, "\"\n\r\x00") {
				t.Fatalf("the error is %#v", err)
			}
			return
		}
		if len(c.header) > maxHeaders+1 {
			t.Errorf("%d headers", len(c.header))
		}
		for name, values := range c.header {
			if len(values) != 1 || strings.ContainsAny(name+values[0], "\r\n\x00") || reserved(name) {
				t.Errorf("header %q is %q", name, values)
			}
		}
		if c.proxy != nil && c.proxy.Username() == "" {
			t.Error("a proxy's user has no name")
		}
	})
}
