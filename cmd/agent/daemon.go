//go:build linux

package main

import (
	"os"
	"os/signal"
	"syscall"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/urfave/cli/v2"

	"mdatp-offline-agent/agent/daemon"
)

func (p *program) runCommand() *cli.Command {
	return command(cli.Command{Name: "run", Usage: "keep this machine up to date until told to stop: the daemon", Action: p.daemon})
}

// daemon is the daemon. SIGHUP makes it look at the configuration again, SIGINT and
// SIGTERM end it.
func (p *program) daemon(c *cli.Context) error {
	if err := arguments(c, 0, "no arguments"); err != nil {
		return err
	}
	a, err := p.writer()
	if err != nil {
		return err
	}
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	d := daemon.Daemon{Agent: a, Log: p.log, Reload: reload, Notify: p.notify}
	if d.Watchdog, err = sd.SdWatchdogEnabled(false); err != nil {
		p.log.WithError(err).Warn("the service manager's wish for a watchdog can not be understood")
	}
	watcher, err := daemon.NewWatcher(p.paths.Root, p.paths.Managed, p.paths.Local)
	if err != nil {
		p.log.WithError(err).Warn("changes of the configuration are seen within a minute only")
	} else {
		defer watcher.Close()
		d.Changes = watcher.Changes()
	}
	return d.Run(c.Context)
}

// notify tells systemd, where it wants to know.
func (p *program) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		p.log.WithError(err).Debug("the service manager could not be told")
	}
}
