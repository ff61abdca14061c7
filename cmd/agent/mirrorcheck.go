package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/net/http/httpproxy"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/mirror/check"
	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/trustdir"
)

func (p *program) mirrorCheckCommand() *cli.Command {
	return command(cli.Command{Name: "check", Usage: "say what endpoints would find on a mirror, and what is to be mended", ArgsUsage: "URL-OR-DIR", Action: p.checkMirror, Flags: []cli.Flag{
		&cli.StringFlag{Name: "trust", Usage: "trust `DIR` of the endpoints; else that of this machine"},
		&cli.StringFlag{Name: "arch", DefaultText: "both", Usage: "`NAME` of the one architecture to look at, x86_64 or arm64"},
		&cli.StringFlag{Name: "max-age", Value: "7d", Usage: "`AGE` from which on definitions are too old, such as 3d or 36h"},
		&cli.StringFlag{Name: "timeout", Value: "5m", Usage: "`DURATION` after which to give up, such as 30s or 1h"},
		boolFlag("full", "read packages whole, and hash each file as an endpoint would"),
		&cli.StringFlag{Name: "product", Value: "mdatp", Usage: "`NAME` of the product"},
		&cli.StringFlag{Name: "ring", Value: "production", Usage: "`NAME` of the ring, where the address does not have it"},
		&cli.StringFlag{Name: "ca-file", Usage: "`FILE` with the authorities of the server's certificate, PEM; else those of the system"},
		&cli.StringFlag{Name: "client-cert", Usage: "certificate `FILE` to show to the server, PEM"},
		&cli.StringFlag{Name: "client-key", Usage: "private key `FILE` of the client's certificate, PEM"},
		&cli.StringFlag{Name: "header-file", Usage: "`FILE` with headers for the server alone, one to a line, such as Authorization"},
		&cli.StringFlag{Name: "proxy", Usage: "`URL` of a proxy; else that of the environment"},
	}})
}

// checkMirror answers as a monitor's plug-in does: what is wrong with the mirror is
// the result, and its exit code is no failure of the command.
func (p *program) checkMirror(c *cli.Context) error {
	if err := arguments(c, 1, "one URL or directory"); err != nil {
		return err
	}
	o, err := p.checkOptions(c)
	if err != nil {
		return err
	}
	report, err := check.Check(c.Context, o)
	if err != nil {
		return err
	}
	if err := p.show(c, report, report.Text); err != nil || report.Exit == 0 {
		return err
	}
	p.exit = report.Exit
	return errShown
}

func (p *program) checkOptions(c *cli.Context) (o check.Options, err error) {
	o = check.Options{Arch: c.String("arch"), Product: c.String("product"), Ring: c.String("ring"), Full: c.Bool("full")}
	if o.Arch != "" && !slices.Contains(fewValues()["arch"], o.Arch) {
		return o, &usageError{"there is no architecture " + typed(o.Arch) + " on mirrors", "give --arch x86_64 or --arch arm64"}
	}
	if o.MaxAge, err = ageFlag("max-age", c.String("max-age")); err != nil {
		return o, err
	}
	if o.Timeout, err = time.ParseDuration(c.String("timeout")); err != nil || o.Timeout <= 0 {
		return o, &usageError{"--timeout takes a duration", "for example --timeout 30s or --timeout 1h"}
	}
	if o.Target, err = check.ParseTarget(c.Args().First()); err != nil {
		return o, err
	}
	if o.Trust, err = p.endpointTrust(c.String("trust")); err != nil {
		return o, err
	}
	o.HTTP, err = p.connection(c)
	return o, err
}

// endpointTrust is the trust directory that is named, else this machine's; nil
// where this machine trusts nobody, as a mirror's host usually does not.
func (p *program) endpointTrust(dir string) (*verifier.Trust, error) {
	root := dir
	if dir == "" {
		dir, root = p.paths.Trust, p.paths.Root
	}
	if dir == "" { // where no endpoint runs
		return nil, nil
	}
	trust, err := trustdir.Load(root, dir, nil)
	var refused *verifier.Refusal
	if root != dir && errors.As(err, &refused) && refused.Code == verifier.TrustDirEmpty {
		return nil, nil
	}
	return &trust, err
}

// connection is how a server is reached, as the options say.
func (p *program) connection(c *cli.Context) (config source.HTTPConfig, err error) {
	config.UserAgent = "mdatp-offline-agent/" + programVersion()
	proxy := httpproxy.FromEnvironment()
	if named := c.String("proxy"); named != "" {
		if u, err := url.Parse(named); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			return config, &usageError{"--proxy is no http or https URL", "for example --proxy http://proxy.example:3128"}
		}
		proxy.HTTPProxy, proxy.HTTPSProxy = named, named
	}
	config.Proxy = proxy.ProxyFunc()
	if config.RootCAs, err = authorities(c.String("ca-file")); err != nil {
		return config, err
	}
	if config.Header, err = headers(c.String("header-file")); err != nil {
		return config, err
	}
	cert, key := c.String("client-cert"), c.String("client-key")
	if (cert == "") != (key == "") {
		return config, &usageError{"--client-cert and --client-key belong together", "give both, or none"}
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return config, withCause{&usageError{"the client's certificate and its key can not be used", "give the certificate with its intermediates, and its key without a passphrase, both in PEM form"}, err}
		}
		config.ClientCertificate = func() (*tls.Certificate, error) { return &pair, nil }
	}
	return config, nil
}

// authorities reads the file of --ca-file; nil, the system's, where there is none.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	bad := &usageError{"--ca-file has no certificate in PEM form", "give the certificates of the authorities that issued the server's certificate"}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, withCause{bad, err}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, bad
	}
	return pool, nil
}

// headers reads the file of --header-file, in the form of HTTP. Its values may be
// secret, and stand on no command line for that.
func headers(file string) (http.Header, error) {
	if file == "" {
		return nil, nil
	}
	bad := &usageError{"--header-file is no list of headers", "write one to a line, such as Authorization, a colon, and its value"}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, withCause{bad, err}
	}
	text := strings.TrimSpace(string(data)) + "\n\n"
	found, err := textproto.NewReader(bufio.NewReader(strings.NewReader(text))).ReadMIMEHeader()
	if err != nil || len(found) == 0 {
		return nil, bad // the cause would quote what may be secret
	}
	return http.Header(found), nil
}

// withCause is a usage error whose cause the log has.
type withCause struct {
	*usageError
	cause error
}

// Error gives the cause, too.
func (e withCause) Error() string { return e.usageError.Error() + ": " + e.cause.Error() }

// ageFlag reads a number of days such as 7d, or a duration such as 36h.
func ageFlag(name, text string) (time.Duration, error) {
	bad := &usageError{"--" + name + " takes an age", "for example --" + name + " 7d or --" + name + " 36h"}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 1 || n > 3650 {
			return 0, bad
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, bad
	}
	return d, nil
}
