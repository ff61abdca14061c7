package agent

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"mdatp-offline-agent/agent/source/apart"
	"mdatp-offline-agent/managedconfig"
)

// network is how the web server of one place is reached, and what it is told
// about who we are. Its zero value is the plain way.
type network struct {
	rate        int64                                // bytes per second, 0 for no limit
	proxy       httpproxy.Config                     // zero: none
	roots       []byte                               // authorities beside the system's, in PEM form
	certificate func() (cert, key []byte, err error) // nil: none
	header      http.Header                          // for the configured server alone
}

// networkFor gives the network of one place: settings, the files that they name,
// and the proxy variables of env. Errors are *managedconfig.Error, and name what
// is wrong without the value.
//
// Name, password, headers and client certificate are the mirror's. The cloud is
// somebody else's server and is sent none of them.
func networkFor(s managedconfig.Settings, place Place, env func(string) string) (n network, err error) {
	if place.Cloud == nil && place.Ring.URL == nil {
		return network{}, nil // a directory
	}
	secrets, err := readCredentials(s.Agent.CredentialsFile.Value)
	if err != nil {
		return network{}, err
	}
	n.rate = int64(s.Agent.MaxDownloadRate.Value)
	if n.proxy, err = proxies(s, place.Cloud != nil, secrets.proxy, env); err != nil {
		return network{}, err
	}
	if n.roots, err = readRoots(s.Agent.CAFile.Value); err != nil {
		return network{}, err
	}
	if place.Cloud == nil {
		n.header = secrets.header
		n.certificate, err = clientCertificate(s.Agent)
	}
	return n, err
}

// apply puts the network into what a source is made of.
func (n network) apply(to *apart.Config) {
	to.Rate, to.Proxy, to.Roots, to.ClientCertificate, to.Header = n.rate, n.proxy, n.roots, n.certificate, n.header
}

// proxies decides on the proxy for each URL; zero where there is none at all.
//
// agent.proxy is for everything. Without it, cloudService.proxy is for the cloud
// alone, as in the product, since a mirror is usually on this side of it. Without
// that, the environment's proxies are taken. Whichever it is, agent.noProxy and
// the environment's NO_PROXY together name who is asked directly, and loopback
// always is. user goes to proxies that the configuration names; those of the
// environment have their own in their URL.
func proxies(s managedconfig.Settings, cloud bool, user *url.Userinfo, env func(string) string) (httpproxy.Config, error) {
	configured := s.Agent.Proxy.Value
	if cloud {
		configured = cmp.Or(configured, s.CloudService.Proxy.Value)
	}
	_, none := fromEnv(env, "no_proxy")
	c := httpproxy.Config{NoProxy: s.Agent.NoProxy.Value + "," + none}
	var err error
	if configured != "" {
		c.HTTPProxy = withUser(configured, user)
		c.HTTPSProxy = c.HTTPProxy
	} else if c.HTTPProxy, err = envProxy(env, "http_proxy"); err != nil {
		return httpproxy.Config{}, err
	} else if c.HTTPSProxy, err = envProxy(env, "https_proxy"); err != nil {
		return httpproxy.Config{}, err
	}
	if c.HTTPProxy == "" && c.HTTPSProxy == "" {
		return httpproxy.Config{}, nil
	}
	return c, nil
}

// withUser puts user into the URL of a proxy, whose form the configuration has
// checked.
func withUser(proxy string, user *url.Userinfo) string {
	u, err := url.Parse(proxy)
	if err != nil { // not after that check
		return proxy
	}
	u.User = user
	return u.String()
}

// fromEnv gives a variable by its lower-case name, which wins, or its upper-case
// one, and the name that it had.
func fromEnv(env func(string) string, lower string) (name, value string) {
	if value = env(lower); value != "" {
		return lower, value
	}
	upper := strings.ToUpper(lower)
	return upper, env(upper)
}

// envProxy gives the URL of a proxy in the environment, where a host and port
// alone mean http. One that can't be used is refused, or the user would believe
// that requests go by it.
func envProxy(env func(string) string, lower string) (string, error) {
	name, value := fromEnv(env, lower)
	if value == "" {
		return "", nil
	}
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		// The cause would show the value, which may have a password in it.
		return "", &managedconfig.Error{Key: name, Problem: "the environment variable is no http or https URL of a proxy",
			Hint: "set it to a URL like http://proxy.example:3128, or unset it"}
	}
	return value, nil
}

// readRoots gives the authorities in the file, in PEM form; nil where there is no
// file.
func readRoots(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	data, err := readNamed("agent.caFile", file, writableByOthers)
	if err != nil {
		return nil, err
	}
	found := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		_, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			return nil, badAuthorities(file, err)
		}
		found++
	}
	if found == 0 {
		return nil, badAuthorities(file, nil)
	}
	return data, nil
}

func badAuthorities(file string, cause error) error {
	return &managedconfig.Error{File: file, Key: "agent.caFile", Problem: "the file is not made of PEM certificates", Err: cause,
		Hint: "put the certificates of the authorities that issued the mirror's certificate into it, in PEM form, and nothing else"}
}

// clientCertificate gives what reads the client certificate and its key, anew
// each time, so that a rotated pair is used without a restart; nil for none.
func clientCertificate(a managedconfig.Agent) (func() (cert, key []byte, err error), error) {
	certFile, keyFile := a.ClientCertFile.Value, a.ClientKeyFile.Value
	switch {
	case certFile == "" && keyFile == "":
		return nil, nil
	case keyFile == "":
		return nil, halfPair(a.ClientCertFile.File, "agent.clientCertFile", "agent.clientKeyFile")
	case certFile == "":
		return nil, halfPair(a.ClientKeyFile.File, "agent.clientKeyFile", "agent.clientCertFile")
	}
	return func() (cert, key []byte, err error) { return readPair(certFile, keyFile) }, nil
}

func halfPair(file, set, missing string) error {
	return &managedconfig.Error{File: file, Key: set, Problem: "it is set without " + missing, Hint: "set both, or none"}
}

// readPair reads a client certificate and its key, which belong together.
func readPair(certFile, keyFile string) (cert, key []byte, err error) {
	if cert, err = readNamed("agent.clientCertFile", certFile, writableByOthers); err != nil {
		return nil, nil, err
	}
	if key, err = readNamed("agent.clientKeyFile", keyFile, openToOthers); err != nil {
		return nil, nil, err
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return nil, nil, &managedconfig.Error{File: certFile, Key: "agent.clientCertFile", Problem: "the certificate and its key can not be used together", Err: err,
			Hint: "put the certificate and its intermediates, and in agent.clientKeyFile its key without a passphrase, all in PEM form"}
	}
	return cert, key, nil
}
