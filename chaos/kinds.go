package chaos

import (
	"path"
	"regexp"
	"strings"

	"mdatp-offline-agent/chaos/trace"
)

// The agent's directories below a root.
const (
	stateDir  = "var/opt/mdatp-agent"
	engineDir = stateDir + "/definitions.noindex"
	movedDir  = "srv/definitions" // where a move goes
	etcDir    = "etc/opt/mdatp-agent"
	trustDir  = etcDir + "/trust"
	seedDir   = "opt/mdatp-agent/definitions"
	managed   = "etc/opt/microsoft/mdatp/managed/mdatp_managed.json"
)

// kinds tells the kinds of things that an agent's calls are about.
type kinds struct {
	program string // the agent's own; what others do is a hook's
	root    string
	output  string // the directory of what it writes to stdout and stderr
}

// ofProcesses is what a hook's keeper reads of each process on the machine, of
// which there are more or fewer.
var ofProcesses = regexp.MustCompile(`^/proc/[0-9]+/(stat|environ)$`)

// of is the kind of what a call is about, empty for what is of no interest: the
// runtime's own means of waking itself.
func (k kinds) of(c trace.Call) string {
	if c.Program != k.program && c.Program != "" {
		return "hook"
	}
	if below, ok := strings.CutPrefix(c.Path, k.root); ok && (below == "" || below[0] == '/') {
		return kindBelow(strings.TrimPrefix(below, "/"))
	}
	if path.Dir(c.Path) == k.output {
		return "output"
	}
	for _, other := range []struct{ prefix, kind string }{
		{"anon_inode:", ""}, {"socket:", "socket"}, {"pipe:", "pipe"}, {"/dev/", "device"}, {"/sys/", "sys"}, {"/etc/", "system"},
	} {
		if strings.HasPrefix(c.Path, other.prefix) {
			return other.kind
		}
	}
	switch {
	case ofProcesses.MatchString(c.Path):
		return ""
	case c.Path == "/proc" || strings.HasPrefix(c.Path, "/proc/"):
		return "proc"
	case c.Path == "" && (c.Name == "socket" || c.Name == "connect"):
		return "socket"
	case c.Path == "" && strings.HasPrefix(c.Name, "pipe"):
		return "pipe"
	}
	return "other"
}

// kindBelow is the kind of a path below the root.
func kindBelow(name string) string {
	if strings.HasPrefix(path.Base(name), "#") || strings.HasSuffix(name, " (deleted)") {
		return "nameless"
	}
	if below, ok := under(name, engineDir); ok {
		return inEngine(below)
	}
	if below, ok := under(name, movedDir); ok {
		return "moved-" + inEngine(below)
	}
	if below, ok := under(name, stateDir); ok {
		return inState(below)
	}
	if _, ok := under(name, trustDir); ok {
		return "trust"
	}
	if _, ok := under(name, seedDir); ok {
		return "seed"
	}
	for _, dir := range []string{etcDir, path.Dir(managed)} {
		if _, ok := under(name, dir); ok {
			return "configuration"
		}
	}
	return "other"
}

func under(name, dir string) (string, bool) {
	if name == dir {
		return "", true
	}
	return strings.CutPrefix(name, dir+"/")
}

func inEngine(name string) string {
	parts := strings.Split(name, "/")
	switch {
	case name == "":
		return "engine-dir"
	case name == "current", name == "previous":
		return name
	case parts[0] == ".staging" && len(parts) == 1:
		return "staging"
	case parts[0] == ".staging" && strings.HasPrefix(parts[1], "part-"):
		return "part"
	case parts[0] == ".staging":
		return "staged-" + inSet(parts[2:])
	}
	return "set-" + inSet(parts[1:])
}

func inSet(parts []string) string {
	switch {
	case len(parts) == 0:
		return "dir"
	case parts[0] != "META":
		return "file"
	case len(parts) == 1:
		return "meta"
	}
	return "list"
}

// temporary is how the temporary file of a file that is replaced is called.
var temporary = regexp.MustCompile(`^\.([a-z-]+(\.json)?|[0-9a-f]{64}\.crl)[0-9]+$`)

func inState(name string) string {
	base := path.Base(name)
	if path.Dir(name) == "crls" { // they are called by what is in them
		if temporary.MatchString(base) {
			return "crl-new"
		}
		return "crl"
	}
	if m := temporary.FindStringSubmatch(base); m != nil {
		return m[1] + "-new"
	}
	switch {
	case name == "":
		return "state-dir"
	case name == "last-good", path.Dir(name) == "last-good":
		return "last-good"
	}
	return base
}
