package agent

import (
	"os"
	"syscall"
	"time"

	"mdatp-offline-agent/agent/state"
)

// known gathers what a decision about periodic updates is made from, less what
// depends on who asks.
func (a *Agent) known(timing state.Timing, heldSince time.Time) Known {
	k := Known{Now: a.Now(), Up: a.uptime(), Machine: a.Identity, Arch: a.Arch, Timing: timing, HeldSince: heldSince}
	if k.Up.Boot != "" {
		k.Since = k.Now.Add(-time.Duration(k.Up.Seconds * float64(time.Second)))
	}
	k.Changed = later(written(a.Paths.Managed), written(a.Paths.Local))
	// A directory that is not there inhibits nothing.
	if files, err := os.ReadDir(a.Paths.Inhibit); err == nil && len(files) > 0 {
		k.Inhibited = a.Paths.Inhibit
	}
	return k
}

// written is when a file was put in its place or written to, whatever time of
// modification it came with; zero for none.
func written(path string) time.Time {
	var at time.Time
	for _, stat := range []func(string) (os.FileInfo, error){os.Lstat, os.Stat} { // a link, and what it leads to
		if info, err := stat(path); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				at = later(at, time.Unix(st.Ctim.Unix()))
			}
		}
	}
	return at
}
