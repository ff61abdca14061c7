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

	when  state.Step   // what makes it due, or keeps it off
	where []state.Step // which sources are not asked
}

// Decide is the second step of the cycle. It looks at nothing but its arguments.
func Decide(s managedconfig.Settings, k Known) Decision {
	d := Decision{Ring: ringOf(s)}
	d.Places, d.where = places(s, k.Arch)
	for _, step := range d.where {
		if step.Rule == ruleCloudBack || step.Rule == ruleCloudUnset { // nobody chose these
			d.Notes = append(d.Notes, sentence(step))
		}
	}
	var stopped bool
	if d.when, stopped = stoppedBy(s, k); stopped {
		d.Rule = sentence(d.when)
		return d
	}
	d.when = nextDue(s, k)
	d.Due = d.when.At
	return d
}

// Skip says why a periodic update does not begin now; empty where it does.
func (d Decision) Skip(now time.Time) string {
	if d.Rule == "" && now.Before(d.Due) {
		return sentence(state.Step{Rule: ruleNotYet, At: d.Due})
	}
	return d.Rule
}

// steps is the decision as the beginning of a run's chain. An update by hand need not
// be due.
func (d Decision) steps(now time.Time, scheduled bool) []state.Step {
	when := []state.Step{d.when}
	switch {
	case !scheduled:
		when[0] = state.Step{Rule: ruleByHand}
	case d.Rule == "" && now.Before(d.Due):
		when = append(when, state.Step{Rule: ruleNotYet, At: d.Due})
	}
	return append(when, d.where...)
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

// vendorCloud is where the vendor publishes.
const vendorCloud = "https://go.microsoft.com/fwlink/?linkid=2144709"

// cloudURL is the cloud's; empty where nothing could come of asking one. The vendor's
// own serves no signed list, so it is asked where none is wanted.
func cloudURL(s managedconfig.Settings) string {
	if s.Agent.CloudURL.Value == "" && s.Agent.Trust.Profile.Value == managedconfig.ProfileVendor {
		return vendorCloud
	}
	return s.Agent.CloudURL.Value
}

// places gives the mirror first and the cloud where fallback allows it; the
// cloud alone where offline updates are off. The steps say why one is left out.
func places(s managedconfig.Settings, arch string) (list []Place, left []state.Step) {
	ring := s.AntivirusEngine.OfflineDefinitionUpdateURL.Value
	offline := s.AntivirusEngine.OfflineDefinitionUpdate.Value
	switch {
	case offline && !ring.IsZero():
		list = append(list, Place{Name: ring.Raw, Ring: ring})
	case !ring.IsZero():
		left = append(left, state.Step{Rule: ruleMirrorOff})
	}
	if offline && !s.AntivirusEngine.OfflineDefinitionUpdateFallbackToCloud.Value {
		return list, append(left, state.Step{Rule: ruleCloudOff})
	}
	if offline && ring.Back() {
		return list, append(left, state.Step{Rule: ruleCloudBack})
	}
	cloud, err := url.Parse(cloudURL(s))
	if cloudURL(s) == "" || err != nil {
		return list, append(left, state.Step{Rule: ruleCloudUnset})
	}
	name := shown(*cloud)
	if q := cloudArch(arch); q != "" {
		if cloud.RawQuery != "" {
			q = cloud.RawQuery + "&" + q
		}
		cloud.RawQuery = q
	}
	return append(list, Place{Name: name, Cloud: cloud}), left
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
func stoppedBy(s managedconfig.Settings, k Known) (rule state.Step, stopped bool) {
	level := s.AntivirusEngine.EnforcementLevel.Value
	switch {
	case !s.Configured():
		rule.Rule = ruleNeverConfigured
	case k.Daemon:
		rule.Rule = ruleDaemonRuns
	case !k.HeldSince.IsZero():
		rule = state.Step{Rule: ruleHeld, At: k.HeldSince}
	case k.Inhibited != "":
		rule = state.Step{Rule: ruleInhibited, Text: k.Inhibited}
	case !s.CloudService.AutomaticDefinitionUpdateEnabled.Value:
		rule.Rule = ruleAutomaticOff
	case level != "" && level != "real_time" && level != "audit":
		rule = state.Step{Rule: ruleEnforcement, Text: level}
	case !s.AntivirusEngine.OfflineDefinitionUpdate.Value && cloudURL(s) == "":
		rule.Rule = ruleNoSource
	}
	return rule, rule.Rule != ""
}
