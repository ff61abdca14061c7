package agent

import (
	"net/url"
	"time"

	"mdatp-offline-agent/agent/machine"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/managedconfig"
)

// cloudArch is the query parameter that the cloud wants for an architecture;
// empty for the one that it takes for granted.
func cloudArch(arch string) string {
	if arch == "x86_64" {
		return ""
	}
	return "arch=" + arch
}

// Place is one place to ask for a package.
type Place struct {
	Name  string                // as reports show it: the ring's URL as configured, or the cloud's
	Ring  managedconfig.RingURL // the ring; zero for the cloud
	Cloud *url.URL              // the package itself; nil for a mirror
}

// Known is what a decision is made from, beside the settings.
type Known struct {
	Now       time.Time
	Up        machine.Uptime
	Machine   machine.Identity
	Location  *time.Location // of the clock on the wall; nil: the local one
	Arch      string
	Timing    state.Timing // what is remembered of earlier runs
	Since     time.Time    // when this machine was started, or woke; zero: long ago
	Changed   time.Time    // when the configuration was last written; zero: long ago
	HeldSince time.Time    // zero: not held
	Inhibited string       // the directory whose files inhibit updates, where there are any
	Daemon    bool         // another process is the daemon, and does what is due
	Installed bool         // something valid is installed
	AskNow    bool         // a periodic run that is not to wait until it is due
}

// Decision says where to ask, in which order, and when, or which rule says not to.
type Decision struct {
	Places []Place
	Rule   string    // the rule that keeps periodic updates off; empty: they are on
	Due    time.Time // when the next periodic update is due; zero where a rule keeps them off
	Ring   string    // what packages must name among their rings
	Notes  []string  // what a reader of the report should know
}

// Decide is the second step of the cycle. It looks at nothing but its arguments.
func Decide(s managedconfig.Settings, k Known) Decision {
	d := Decision{Ring: ringOf(s), Rule: stoppedBy(s, k)}
	d.Places, d.Notes = places(s, k.Arch)
	if d.Rule == "" {
		d.Due = nextDue(s, k)
	}
	return d
}

// Skip says why a periodic update does not begin now; empty where it does.
func (d Decision) Skip(now time.Time) string {
	if d.Rule == "" && now.Before(d.Due) {
		return "the next update is due at " + d.Due.UTC().Format(time.RFC3339)
	}
	return d.Rule
}

// ringOf is the ring that the offline URL names, where offline updates are on
// and it names one, else the configured one.
func ringOf(s managedconfig.Settings) string {
	if s.AntivirusEngine.OfflineDefinitionUpdate.Value {
		if ring, ok := s.AntivirusEngine.OfflineDefinitionUpdateURL.Value.Ring(); ok {
			return ring
		}
	}
	return s.Agent.Ring.Value
}

// places gives the mirror first and the cloud where fallback allows it; the
// cloud alone where offline updates are off.
func places(s managedconfig.Settings, arch string) (list []Place, notes []string) {
	ring := s.AntivirusEngine.OfflineDefinitionUpdateURL.Value
	offline := s.AntivirusEngine.OfflineDefinitionUpdate.Value
	if offline && !ring.IsZero() {
		list = append(list, Place{Name: ring.Raw, Ring: ring})
	}
	if offline && !s.AntivirusEngine.OfflineDefinitionUpdateFallbackToCloud.Value {
		return list, nil
	}
	if offline && ring.Back() {
		return list, []string{"the cloud is not asked, since a URL that ends in _back asks for the older package"}
	}
	cloud, err := url.Parse(s.Agent.CloudURL.Value)
	if s.Agent.CloudURL.Value == "" || err != nil {
		return list, []string{"the cloud is not asked, since agent.cloudUrl is not set and what the vendor publishes carries no signed list"}
	}
	name := shown(*cloud)
	if q := cloudArch(arch); q != "" {
		if cloud.RawQuery != "" {
			q = cloud.RawQuery + "&" + q
		}
		cloud.RawQuery = q
	}
	return append(list, Place{Name: name, Cloud: cloud}), nil
}

// shown is how reports name the cloud: without what may be a token, that is any
// query but those of the vendor's own address.
func shown(cloud url.URL) string {
	for key := range cloud.Query() {
		if key != "linkid" && key != "arch" {
			cloud.RawQuery = ""
		}
	}
	cloud.User = nil
	return cloud.String()
}

// stoppedBy gives the first rule that keeps periodic updates off.
func stoppedBy(s managedconfig.Settings, k Known) string {
	level := s.AntivirusEngine.EnforcementLevel.Value
	switch {
	case !s.Configured():
		return "this machine was never configured for updates"
	case k.Daemon:
		return "the daemon runs, and updates when that is due"
	case !k.HeldSince.IsZero():
		return "updates are held since " + k.HeldSince.UTC().Format(time.RFC3339)
	case k.Inhibited != "":
		return "updates are inhibited by a file in " + k.Inhibited
	case !s.CloudService.AutomaticDefinitionUpdateEnabled.Value:
		return "cloudService.automaticDefinitionUpdateEnabled is false"
	case level != "" && level != "real_time" && level != "audit":
		return "antivirusEngine.enforcementLevel is " + level + ", and periodic updates need real_time"
	}
	if !s.AntivirusEngine.OfflineDefinitionUpdate.Value && s.Agent.CloudURL.Value == "" {
		return "antivirusEngine.offlineDefinitionUpdate is disabled and agent.cloudUrl is not set"
	}
	return ""
}
