package attacks_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"mdatp-offline-agent/agent/source/sourcetest"
)

// Row 11, redirects: the mirror sends the machine elsewhere.
func redirects() []attack {
	const refused = "redirect_refused"
	to := func(name, does, says, location string) attack {
		return attack{row: 11, name: name, does: does, code: refused, exit: unavailable, says: says, mirror: func(m *machine) { m.site.play(toward(location)) }}
	}
	const rule = "other than http and https"
	return []attack{
		to("loop", "redirects to itself", "more than five times", "updates.zip"),
		{row: 11, name: "endless", does: "redirects to another place each time", code: refused, exit: unavailable, says: "more than five times", mirror: func(m *machine) {
			m.site.play(func(w http.ResponseWriter, r *http.Request) { toward(r.URL.Path+"x")(w, r) })
		}},
		to("file", "redirects to a file of the machine's", rule, "file:///etc/passwd"),
		to("ftp", "redirects to ftp", rule, "ftp://127.0.0.1/updates.zip"),
		to("data", "redirects to data in the URL itself", rule, "data:application/zip;base64,UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA=="),
		to("nonsense", "redirects to what is no URL", "can not be understood", "http://[::1"),
		{row: 11, name: "to-plain", does: "redirects from https to http", code: refused, exit: unavailable, says: "https", mirror: func(m *machine) {
			plain := newSite(m)
			plain.put("updates.zip", m.archive(m.pack(418)))
			m.overTLS(toward(plain.ring() + "arch_" + arch() + "/updates.zip"))
			m.Cleanup(func() {
				if asked := plain.forget(); len(asked) > 0 {
					m.Errorf("the request was sent in the clear: %v", asked)
				}
			})
		}},
		{row: 11, name: "to-plain-at-last", does: "redirects from https to https, and from there to http", code: refused, exit: unavailable, says: "https", mirror: func(m *machine) {
			m.overTLS(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/again") {
					toward("http://"+r.Host+"/x")(w, r)
					return
				}
				toward("/again")(w, r)
			})
		}},
		{row: 11, name: "strange-certificate", does: "a certificate of an authority that the machine does not know", code: "tls_untrusted", exit: unavailable, mirror: func(m *machine) {
			s := secure(m, sourcetest.NewAuthority(m), status(http.StatusNotFound))
			m.configureFor(s.URL+"/linux/production/", false, "")
		}},
		elsewhere("to-loopback", "redirects to a service that listens on the machine's own loopback", "loopback", "127.0.0.1"),
		elsewhere("to-localhost", "redirects to a name that leads to the machine's own loopback", "loopback", "localhost"),
		elsewhere("to-mapped-loopback", "redirects to the loopback as an address of IPv6", "loopback", "[::ffff:127.0.0.1]"),
		elsewhere("to-zero", "redirects to the address of zeros, which leads to the loopback", "loopback", "0.0.0.0"),
		elsewhere("to-link-local", "redirects to the link-local address under which clouds keep a machine's secrets", "link-local", "169.254.169.254"),
		{row: 11, name: "credentials", does: "redirects to another host, while there are name, password and headers for the mirror", ends: "followed; the other host sees none of them",
			story: func(m *machine) {
				other := newSite(m)
				news := m.pack(418)
				other.put("updates.zip", m.archive(news))
				file := filepath.Join(m.TempDir(), "credentials.json")
				m.must(os.WriteFile(file, []byte(`{"basic":{"username":"hermione","password":"alohomora"},"headers":{"X-Token":"colloportus"}}`), 0o600))
				m.configure(fmt.Sprintf(`"credentialsFile":%q`, file))
				m.site.forget()
				m.site.play(toward(other.ring() + "arch_" + arch() + "/updates.zip"))
				m.wantUpdated(news)
				mine := m.site.forget()[0].header
				if mine.Get("Authorization") == "" || mine.Get("X-Token") == "" {
					m.Errorf("the mirror itself was sent %v", mine)
				}
				asked := other.forget()
				if len(asked) == 0 {
					m.Error("the other host was not asked")
				}
				for _, r := range asked {
					for _, name := range []string{"Authorization", "X-Token", "Cookie", "Referer"} {
						if r.header.Get(name) != "" {
							m.Errorf("the other host was sent %s", name)
						}
					}
				}
			}},
	}
}

// overTLS has the machine use a mirror over TLS that it knows the authority of.
func (m *machine) overTLS(h http.HandlerFunc) {
	m.Helper()
	authority := sourcetest.NewAuthority(m)
	s := secure(m, authority, h)
	m.configureFor(s.URL+"/linux/production/", false, fmt.Sprintf(`"caFile":%q`, authority.File))
}

// elsewhere is a redirect by a mirror that is not on this machine's loopback to
// something that is.
func elsewhere(name, does, says, host string) attack {
	return attack{row: 11, name: name, does: does, code: "redirect_refused", exit: unavailable, says: says, mirror: func(m *machine) {
		l, err := net.Listen("tcp", net.JoinHostPort(sourcetest.OuterAddress(m), "0"))
		if err != nil {
			m.Skipf("SKIPPED: no server can be run on the machine's own address: %v", err)
		}
		_, port, err := net.SplitHostPort(m.site.server.Listener.Addr().String())
		m.must(err)
		outer := &httptest.Server{Listener: l, Config: &http.Server{Handler: toward("http://" + host + ":" + port + "/secret")}}
		outer.Start()
		m.Cleanup(outer.Close)
		m.site.forget()
		m.site.play(func(http.ResponseWriter, *http.Request) { m.Error("the service on the loopback was asked") })
		m.configureFor(outer.URL+"/linux/production/", false, "")
	}}
}
