package agent

import (
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"mdatp-offline-agent/agent/machine"
	"mdatp-offline-agent/agent/source/apart"
	"mdatp-offline-agent/verifier"
)

// Platform is what packages for this agent name as their platform.
const Platform = verifier.Linux

// Agent is one endpoint's agent. Its fields are set once, before use.
type Agent struct {
	Paths   Paths
	Arch    string           // as mirrors spell it: x86_64, arm64
	Built   time.Time        // when the program was built; zero where unknown
	Version string           // of the program, for metrics
	Now     func() time.Time // the machine's clock
	Log     logrus.FieldLogger

	// Uptime is the clock that nobody sets; nil where there is none.
	Uptime func() machine.Uptime
	// Identity is what spreads a fleet.
	Identity machine.Identity

	readers apart.Unended // of all sources, since one may outlive an update
}

// uptime is the present time by the clock that nobody sets.
func (a *Agent) uptime() machine.Uptime {
	if a.Uptime == nil {
		return machine.Uptime{}
	}
	return a.Uptime()
}

// Paths are the places that the agent uses. All but Root lie below it.
type Paths struct {
	Root    string // "/" unless the agent runs in a directory of its own
	Managed string // the managed configuration file
	Local   string // the local configuration file
	Trust   string // the trust directory
	State   string // the state directory
	Engine  string // the engine directory, unless it was moved elsewhere
	Second  string // the engine directory where nothing can be executed at the first
	Seed    string // the set shipped with the program, if any
	Inhibit string // a directory: while there is a file in it, there are no periodic updates
}

// PathsBelow gives the paths with root, an absolute directory, before them.
func PathsBelow(root string) Paths {
	at := func(path string) string { return filepath.Join(root, path) }
	return Paths{
		Root:    filepath.Clean(root),
		Managed: at("/etc/opt/microsoft/mdatp/managed/mdatp_managed.json"),
		Local:   at("/etc/opt/mdatp-agent/agent.json"),
		Trust:   at("/etc/opt/mdatp-agent/trust"),
		State:   at("/var/opt/mdatp-agent"),
		Engine:  at("/var/opt/mdatp-agent/definitions.noindex"),
		Second:  at("/opt/mdatp-agent/definitions.noindex"),
		Seed:    at("/opt/mdatp-agent/definitions"),
		Inhibit: at("/run/mdatp-agent/inhibit"),
	}
}

// HostArch is the architecture of this machine as mirrors spell it.
func HostArch() string { return verifier.HostArch() }
