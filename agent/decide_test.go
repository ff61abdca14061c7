package agent_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/managedconfig"
)

func settings(t testing.TB, json string) managedconfig.Settings {
	t.Helper()
	doc, err := managedconfig.Parse(managedconfig.Source{Origin: managedconfig.OriginManaged, File: "test.json", Data: []byte(json)})
	must(t, err)
	return managedconfig.Resolve(doc)
}

// offlineAt is the section of a machine with a mirror.
func offlineAt(url string, fallback bool) string {
	return fmt.Sprintf(`"antivirusEngine":{"offlineDefinitionUpdate":"enabled","offlineDefinitionUpdateUrl":%q,"offlineDefinitionUpdateFallbackToCloud":%v}`, url, fallback)
}

const (
	mirrorURL = "http://mirror.example/linux/production"
	cloud     = `"agent":{"cloudUrl":"https://cloud.example/updates.zip"}`
)

// Which sources are asked, in which order, for which ring.
func TestDecideWhere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, config, arch string
		places             []string
		ring               string
		note               string // part of it; empty: none
	}{
		{what: "nothing configured", config: `{}`, ring: "production", note: "agent.cloudUrl is not set"},
		{what: "offline", config: `{` + offlineAt(mirrorURL, false) + `,` + cloud + `}`, places: []string{mirrorURL}, ring: "production"},
		{what: "offline, fallback", config: `{` + offlineAt(mirrorURL, true) + `,` + cloud + `}`, places: []string{mirrorURL, "https://cloud.example/updates.zip"}, ring: "production"},
		{what: "fallback to no cloud", config: `{` + offlineAt(mirrorURL, true) + `}`, places: []string{mirrorURL}, ring: "production", note: "agent.cloudUrl is not set"},
		{what: "back ring", config: `{` + offlineAt(mirrorURL+"_back", true) + `,` + cloud + `}`, places: []string{mirrorURL + "_back"}, ring: "production", note: "_back"},
		{what: "preview", config: `{` + offlineAt("/srv/preview/", false) + `}`, places: []string{"/srv/preview/"}, ring: "preview"},
		{what: "preview's back", config: `{` + offlineAt("/srv/preview_back", false) + `}`, places: []string{"/srv/preview_back"}, ring: "preview"},
		{what: "a path that names no ring", config: `{` + offlineAt("/srv/canary", false) + `,"agent":{"ring":"canary"}}`, places: []string{"/srv/canary"}, ring: "canary"},
		{what: "the URL before agent.ring", config: `{` + offlineAt("/srv/preview", false) + `,"agent":{"ring":"canary"}}`, places: []string{"/srv/preview"}, ring: "preview"},
		{what: "offline disabled", config: `{"antivirusEngine":{"offlineDefinitionUpdateUrl":"/srv/preview"},` + cloud + `}`, places: []string{"https://cloud.example/updates.zip"}, ring: "production"},
		{what: "arm64", config: `{` + cloud + `}`, arch: "arm64", places: []string{"https://cloud.example/updates.zip?arch=arm64"}, ring: "production"},
		{what: "arm64 and a query", config: `{"agent":{"cloudUrl":"https://cloud.example/?linkid=1"}}`, arch: "arm64", places: []string{"https://cloud.example/?linkid=1&arch=arm64"}, ring: "production"},
		{what: "offline without a URL", config: `{"antivirusEngine":{"offlineDefinitionUpdate":"enabled"}}`, ring: "production"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			arch := c.arch
			if arch == "" {
				arch = "x86_64"
			}
			d := agent.Decide(settings(t, c.config), agent.Known{Now: base, Arch: arch})
			var asked []string
			for _, p := range d.Places {
				asked = append(asked, p.Name)
				if p.Cloud != nil {
					asked[len(asked)-1] = p.Cloud.String()
				}
			}
			if fmt.Sprint(asked) != fmt.Sprint(c.places) || d.Ring != c.ring {
				t.Errorf("asked %v for ring %q; want %v for %q", asked, d.Ring, c.places, c.ring)
			}
			notes := strings.Join(d.Notes, "\n")
			if (c.note == "") != (notes == "") || !strings.Contains(notes, c.note) {
				t.Errorf("notes %q, want %q", notes, c.note)
			}
		})
	}
}

// The rules that keep periodic updates off, in their order.
func TestDecideWhether(t *testing.T) {
	t.Parallel()
	const off = `"cloudService":{"automaticDefinitionUpdateEnabled":false,"definitionUpdatesInterval":3600}`
	level := func(l string) string {
		return `{"antivirusEngine":{"enforcementLevel":"` + l + `","offlineDefinitionUpdate":"enabled","offlineDefinitionUpdateUrl":"` + mirrorURL + `"},"cloudService":{"definitionUpdatesInterval":3600},"agent":{"jitter":0}}`
	}
	good := level("real_time")
	done := func(ago time.Duration) agent.Known {
		return agent.Known{Timing: state.Timing{LastCheck: base.Add(-ago), Source: sourceOf(mirrorURL)}, Installed: true}
	}
	edit := func(k agent.Known, f func(*agent.Known)) agent.Known { f(&k); return k }
	for _, c := range []struct {
		what, config string
		known        agent.Known
		skip         string // part of it; empty: go ahead
	}{
		{"never configured", `{}`, agent.Known{}, "never configured"},
		{"never configured comes first", `{}`, agent.Known{HeldSince: base}, "never configured"},
		{"only foreign keys", `{"antivirusEngine":{"threads":2}}`, agent.Known{}, "never configured"},
		{"a daemon", good, agent.Known{Daemon: true, HeldSince: base}, "the daemon runs"},
		{"inhibited", good, agent.Known{Inhibited: "/run/x"}, "inhibited by a file in /run/x"},
		{"held", `{` + off + `}`, agent.Known{HeldSince: base}, "held since 2026-11-01T12:00:00Z"},
		{"automatic off", `{` + off + `,` + offlineAt(mirrorURL, false) + `}`, agent.Known{}, "automaticDefinitionUpdateEnabled"},
		{"on demand", level("on_demand"), agent.Known{}, "on_demand"},
		{"passive", level("passive"), agent.Known{}, "passive"},
		{"audit", level("audit"), agent.Known{}, ""},
		{"first time", good, agent.Known{}, ""},
		{"not due", good, done(3599 * time.Second), "due at 2026-11-01T12:00:01Z"},
		{"due", good, done(3600 * time.Second), ""},
		{"asked for now", good, edit(done(time.Second), func(k *agent.Known) { k.AskNow = true }), ""},
		{"nothing installed", good, edit(done(time.Second), func(k *agent.Known) { k.Installed = false }), ""},
		{"another URL", good, edit(done(time.Second), func(k *agent.Known) { k.Timing.Source = sourceOf(mirrorURL + "/") }), ""},
		{"last check in the future", good, done(-time.Second), ""},
		{"asked for now, but held", good, edit(done(time.Second), func(k *agent.Known) { k.AskNow, k.HeldSince = true, base }), "held"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			k := c.known
			k.Now, k.Arch = base, "x86_64"
			d := agent.Decide(settings(t, c.config), k)
			if skip := d.Skip(base); (c.skip == "") != (skip == "") || !strings.Contains(skip, c.skip) {
				t.Errorf("skip %q, want %q", skip, c.skip)
			}
			if d.Due.IsZero() != (d.Rule != "") {
				t.Errorf("due at %s, and the rule is %q", d.Due, d.Rule)
			}
		})
	}
}

// A decision is made of its arguments alone, and changes none of them.
func TestDecideLeavesSettingsAlone(t *testing.T) {
	t.Parallel()
	s := settings(t, `{`+offlineAt(mirrorURL, true)+`,`+cloud+`}`)
	first := fmt.Sprint(s.Rows())
	for range 2 {
		agent.Decide(s, agent.Known{Arch: "arm64"})
	}
	if now := fmt.Sprint(s.Rows()); now != first {
		t.Errorf("settings went from %s to %s", first, now)
	}
}

// What may be a token in the cloud's URL shows in no report.
func TestCloudIsShownWithoutTokens(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://go.microsoft.com/fwlink/?linkid=2144709": "https://go.microsoft.com/fwlink/?linkid=2144709",
		"https://store.example/c.zip?sig=SECRET&se=2027":  "https://store.example/c.zip",
		"https://store.example/c.zip":                     "https://store.example/c.zip",
	} {
		doc, err := managedconfig.Parse(managedconfig.Source{Origin: managedconfig.OriginLocal, File: "f", Data: []byte(`{"agent":{"cloudUrl":"` + url + `"}}`)})
		if err != nil {
			t.Fatal(err)
		}
		places := agent.Decide(managedconfig.Resolve(doc), agent.Known{Arch: "x86_64"}).Places
		if len(places) != 1 || places[0].Name != want || places[0].Cloud.String() != url {
			t.Errorf("%s is shown as %v", url, places)
		}
	}
}
