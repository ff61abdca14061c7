package agent

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	"mdatp-offline-agent/agent/state"
)

// known gathers what a decision about periodic updates is made from, less what
// depends on who asks.
func (a *Agent) known(store *state.Store, config configuration, timing state.Timing, heldSince time.Time) Known {
	k := Known{Now: a.Now(), Up: a.uptime(), Machine: a.Identity, Arch: a.Arch, Timing: timing, HeldSince: heldSince}
	if k.Up.Boot != "" {
		k.Since = k.Now.Add(-time.Duration(k.Up.Seconds * float64(time.Second)))
	}
	for _, f := range config.files {
		k.Changed = later(k.Changed, f.written(store))
	}
	if !config.settings.Agent.UpdateWindow.Value.IsZero() {
		k.Location = localZone()
	}
	// A directory that is not there inhibits nothing.
	files, err := os.ReadDir(a.Paths.Inhibit)
	if len(files) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.Inhibited = a.Paths.Inhibit
	}
	return k
}

// written is when the file came to say what it says; zero for none. Where its copy
// says the same, that is when the copy was made: management tools write files anew
// all day, and nothing would ever be due if each time counted. Else it is when the
// file was put in its place or written to, whatever time it came with.
func (f configFile) written(store *state.Store) time.Time {
	if f.data != nil && bytes.Equal(store.LastGood(f.name), f.data) {
		return store.LastGoodSince(f.name)
	}
	var at time.Time
	for _, stat := range []func(string) (os.FileInfo, error){os.Lstat, os.Stat} { // a link, and what it leads to
		if info, err := stat(f.path); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				at = later(at, time.Unix(st.Ctim.Unix()))
			}
		}
	}
	return at
}

// localZone is the zone of the clock on the wall as it is now. The standard library
// reads it once, and a daemon outlives that. Nil is what the library has.
func localZone() *time.Location {
	if os.Getenv("TZ") != "" {
		return nil
	}
	data, err := os.ReadFile("/etc/localtime")
	if err != nil {
		return nil
	}
	zone, err := time.LoadLocationFromTZData("Local", data)
	if err != nil {
		return nil
	}
	return zone
}
