package main

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/net/http/httpproxy"

	"mdatp-offline-agent/agent/reason"
	"mdatp-offline-agent/managedconfig"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier/trustdir"
)

func (p *program) syncCommand() *cli.Command {
	return command(cli.Command{Name: "sync", Usage: "fill a tree of packages from the vendor's cloud, by the settings.json of the vendor's downloader", Action: p.sync, Flags: append([]cli.Flag{
		&cli.StringFlag{Name: "settings", Usage: "settings `FILE` of the vendor's downloader"},
		&cli.StringFlag{Name: "base-url", Value: mirror.DefaultSyncURL, Usage: "`URL` of the cloud, to which the query for each package is added"},
		&cli.StringFlag{Name: "trust", Usage: "trust `DIR`; packages that nobody in it signed are not published"},
		&cli.StringFlag{Name: "product", Value: "mdatp", Usage: "`NAME` of the product that signed packages must be for"},
		&cli.StringSliceFlag{Name: "arch", Usage: "`NAME` of an architecture, x86_64 or arm64; repeat it for each; else both"},
		&cli.StringFlag{Name: "allow-downgrade", Usage: "publish exactly this definition `VERSION` although the mirror has a newer one"},
		&cli.Int64Flag{Name: "max-rate", Usage: "`BYTES` per second that a download may take; 0 for all that there is", DefaultText: "0"},
		boolFlag("approve", "sign what was published, where the vendor's signature of every file is good"),
		&cli.StringFlag{Name: "key", Usage: "with --approve, private key `FILE` of the signer, PEM; its passphrase is taken from " + passphraseEnv},
		&cli.StringSliceFlag{Name: "cert", Usage: "with --approve, certificate `FILE` of the signer or of its issuers, PEM; repeat it for each"},
		&cli.StringFlag{Name: "expires", Value: "14d", Usage: "with --approve, `TIME` or a number of days such as 14d, from which on the content is too old"},
	}, vendorFlags()...)})
}

func (p *program) sync(c *cli.Context) error {
	if err := arguments(c, 0, "no arguments"); err != nil {
		return err
	}
	if err := needed(c, "settings", "base-url", "product"); err != nil {
		return err
	}
	o, err := syncOptions(c)
	if err != nil {
		return err
	}
	if o.Approve, err = p.syncApproval(c); err != nil {
		return err
	}
	home, _ := os.UserHomeDir() // only a default needs it
	settings, err := mirror.ReadSyncSettings(c.String("settings"), home)
	if err != nil {
		return err
	}
	result, err := mirror.Sync(c.Context, settings, o)
	if err != nil {
		return err
	}
	return p.showSynced(c, result)
}

func syncOptions(c *cli.Context) (mirror.SyncOptions, error) {
	o := mirror.SyncOptions{BaseURL: c.String("base-url"), Product: c.String("product"), Archs: c.StringSlice("arch"), Rate: c.Int64("max-rate")}
	proxies := httpproxy.FromEnvironment()
	if err := usableProxies(proxies); err != nil {
		return o, err
	}
	o.Proxy = proxies.ProxyFunc()
	if o.Rate < 0 {
		return o, &usageError{"--max-rate takes a number of bytes per second", "for example --max-rate 1000000"}
	}
	if c.String("allow-downgrade") != "" {
		var err error
		if o.AllowDowngrade, err = versionFlag(c, "allow-downgrade", "1.407.417.0"); err != nil {
			return o, err
		}
	}
	if dir := c.String("trust"); dir != "" {
		trust, err := trustdir.Load(dir, dir, nil)
		if err != nil {
			return o, err
		}
		o.Trust = &trust
	}
	return o, nil
}

// syncApproval is who signs what was published; nil where nobody is to.
func (p *program) syncApproval(c *cli.Context) (*mirror.SyncApproval, error) {
	if !c.Bool("approve") {
		for _, name := range []string{"key", "cert", "expires", "vendor-trust", "vendor-pin"} {
			if c.IsSet(name) {
				return nil, &usageError{"--" + name + " is for --approve, which is not given", "give both, or none"}
			}
		}
		return nil, nil
	}
	if err := needed(c, "key"); err != nil {
		return nil, err
	}
	if c.String("trust") != "" {
		return nil, &usageError{"--trust wants packages that are signed before they are published, and --approve signs them after that", "leave one of them out"}
	}
	signer, err := p.signer(c)
	if err != nil {
		return nil, err
	}
	a := &mirror.SyncApproval{Signer: signer}
	if a.Expires, err = expires(c.String("expires"), time.Now()); err != nil {
		return nil, err
	}
	a.Vendor, err = p.vendorTrust(c, true)
	return a, err
}

// usableProxies refuses a proxy of the environment that can't be used. The library
// passes over such a one, and would ask directly.
func usableProxies(proxies *httpproxy.Config) error {
	for _, v := range []struct{ name, value string }{{"http_proxy", proxies.HTTPProxy}, {"https_proxy", proxies.HTTPSProxy}} {
		if v.value != "" && !proxyURL(v.value) {
			return &managedconfig.Error{Key: v.name, Problem: "the environment variable is no http or https URL of a proxy", Hint: "set it to a URL like http://proxy.example:3128, or unset it"}
		}
	}
	return nil
}

// proxyURL says whether a value names a proxy, as the environment does, where http
// may be left out.
func proxyURL(value string) bool {
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}

// syncedPair is a pair with the reason why it failed.
type syncedPair struct {
	mirror.SyncedPair
	FailReason *reason.Failure `json:"failReason"`
}

// showSynced shows all pairs; what went wrong goes to stderr. The exit code is that
// of the first failure.
func (p *program) showSynced(c *cli.Context, result mirror.SyncResult) error {
	shown := make([]syncedPair, 0, len(result.Pairs))
	outcome := mirror.SyncUpToDate
	var first *reason.Failure
	for _, pair := range result.Pairs {
		failure := reason.Explain(pair.Err)
		shown = append(shown, syncedPair{pair, failure})
		if pair.Outcome == mirror.SyncUpdated {
			outcome = mirror.SyncUpdated
		}
		if failure == nil {
			continue
		}
		p.log.WithError(pair.Err).WithField("pair", pair.Name()).Debug("the pair failed")
		first = cmp.Or(first, failure)
	}
	if first != nil {
		outcome = mirror.SyncFailed
	}
	for _, note := range result.Notes {
		p.log.Info(note)
	}
	_ = p.show(c, struct {
		Type    string             `json:"$type"`
		Outcome mirror.SyncOutcome `json:"outcome"`
		Pairs   []syncedPair       `json:"pairs"`
		Notes   []string           `json:"notes"`
	}{"mirrorSyncResult", outcome, shown, append([]string{}, result.Notes...)}, func(w io.Writer) {
		for _, pair := range shown {
			p.showSyncedText(w, pair)
		}
	})
	if first == nil {
		return nil
	}
	p.exit = reason.ExitCode(first.Code)
	return errShown
}

func (p *program) showSyncedText(w io.Writer, pair syncedPair) {
	f := pair.FailReason
	if f != nil {
		defer p.showFailure(false, &reason.Failure{Code: f.Code, Message: pair.Name() + ": " + f.Message, Hint: f.Hint})
	}
	switch {
	case pair.Outcome == mirror.SyncFailed:
	case pair.Outcome == mirror.SyncUpdated && !pair.Previous.IsZero():
		fmt.Fprintf(w, "%s: updated from %s to %s\n", pair.Name(), pair.Previous, pair.Definition)
	case pair.Outcome == mirror.SyncUpdated:
		fmt.Fprintf(w, "%s: updated to %s\n", pair.Name(), pair.Definition)
	default:
		fmt.Fprintf(w, "%s: %s is up to date\n", pair.Name(), pair.Definition)
	}
	switch pair.Approval {
	case mirror.SyncLeft:
		fmt.Fprintf(w, "%s: %s is left for a person to approve\n", pair.Name(), pair.Definition)
	case mirror.SyncApproved, mirror.SyncRenewed:
		fmt.Fprintf(w, "%s: %s is %s\n", pair.Name(), pair.Definition, pair.Approval)
	}
	for _, note := range pair.Notes {
		fmt.Fprintf(w, "%s: %s\n", pair.Name(), note)
	}
}
