package apart

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// maxOpen is how many descriptors the process may have: connections, ranges, and
// what the runtime needs.
const maxOpen = 256

// Confinement is what keeps the process from everything that it does not need.
type Confinement struct {
	Landlock   int  // the version of the kernel's Landlock that is in force; 0: none
	Filter     bool // no process started, none signalled, few kinds of sockets
	NoNewPrivs bool // nothing that it starts could have more rights
	Limits     bool // no core, no file written, few descriptors, and nobody looks into it
}

// String gives it for reports.
func (c Confinement) String() string {
	var in, without []string
	for _, part := range []struct {
		on   bool
		name string
	}{
		{c.Landlock > 0, fmt.Sprintf("landlock %d", c.Landlock)},
		{c.Filter, "seccomp"},
		{c.NoNewPrivs, "no_new_privs"},
		{c.Limits, "limits"},
	} {
		if part.on {
			in = append(in, part.name)
		} else {
			without = append(without, strings.TrimSuffix(part.name, " 0"))
		}
	}
	text := strings.Join(in, ", ")
	if len(without) > 0 {
		text = strings.TrimPrefix(text+"; without "+strings.Join(without, ", "), "; ")
	}
	return text
}

// limit is what can be taken from a process before it has opened anything.
func limit() (c Confinement) {
	c.NoNewPrivs = llsys.AllThreadsPrctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == nil
	c.Limits = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) == nil
	for resource, most := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_FSIZE: 0, unix.RLIMIT_NOFILE: maxOpen} {
		var is unix.Rlimit
		err := unix.Prlimit(0, resource, nil, &is)
		if err == nil {
			err = unix.Prlimit(0, resource, &unix.Rlimit{Cur: min(is.Cur, most), Max: min(is.Max, most)}, nil)
		}
		c.Limits = c.Limits && err == nil
	}
	return c
}

// lock is all the rest, for good.
func (c *Confinement) lock(network bool) {
	c.Landlock = landlocked(network)
	c.Filter = filter(network)
}

// publicFiles are what reading from a server takes beside the network: the files of
// Go's own resolver, and the bundles and directories in which crypto/x509 looks for
// the system's authorities when a server shows its first certificate. They hold no
// secrets.
func publicFiles() (files, dirs []string) {
	files = []string{"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/mdns.allow",
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/cacert.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem"}
	dirs = []string{"/etc/ssl/certs", "/etc/pki/tls/certs"}
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		files = append(files, file)
	}
	if list := os.Getenv("SSL_CERT_DIR"); list != "" {
		dirs = append(dirs, filepath.SplitList(list)...)
	}
	return files, dirs
}

// landlocked takes away, for good, all of the file system that the process has not open
// yet, and, without a network, all connections of TCP; with one, being a server and
// everything but the public files. It gives the version of Landlock that does
// so, 0 where the kernel has none or does not permit it.
func landlocked(network bool) (version int) {
	version, err := llsys.LandlockGetABIVersion()
	if err != nil || version < 1 {
		return 0
	}
	all := landlock.V11
	var rules []landlock.Rule
	if network {
		all.HandledAccessNet = llsys.AccessNetBindTCP
		files, dirs := publicFiles()
		// The library's rules for reading permit execution, too.
		rules = append(rules, landlock.PathAccess(llsys.AccessFSReadFile, files...).IgnoreIfMissing(),
			landlock.PathAccess(llsys.AccessFSReadFile|llsys.AccessFSReadDir, dirs...).IgnoreIfMissing())
	}
	if version == 6 { // which took the runtime's signals between threads for those to other processes
		all.Scoped &^= llsys.ScopeSignal
	}
	if err := all.BestEffort().Restrict(rules...); err != nil {
		return 0
	}
	return version
}
