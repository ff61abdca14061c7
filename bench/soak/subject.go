package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/daemon"
	"mdatp-offline-agent/agent/machine"
)

// subject is a daemon that is watched.
type subject struct {
	sample func() (sample, error)
	stop   func() error // ends it; the error is how it ended
}

// sample is what a daemon has at a moment. What can't be seen is 0.
type sample struct {
	resident    int // KiB
	descriptors int
	threads     int
	goroutines  int
}

// process gives what starts a program as the daemon.
func (s *site) process(program string) func(context.Context) (subject, error) {
	return func(context.Context) (subject, error) {
		cmd := exec.Command(program, "--root", s.paths.Root, "run")
		var log bytes.Buffer // it meets files that are half written, and says so
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			return subject{}, err
		}
		return subject{
			sample: func() (sample, error) { return look(cmd.Process.Pid) },
			stop: func() error {
				err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait())
				if err != nil {
					err = fmt.Errorf("%w; it said:\n%s", err, log.String())
				}
				return err
			},
		}, nil
	}
}

// look samples a process from outside.
func look(pid int) (now sample, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return now, err
	}
	for line := range strings.Lines(string(status)) {
		name, rest, _ := strings.Cut(line, ":")
		switch name {
		case "VmRSS":
			_, err = fmt.Sscan(rest, &now.resident)
		case "Threads":
			_, err = fmt.Sscan(rest, &now.threads)
		}
		if err != nil {
			return now, err
		}
	}
	now.descriptors, err = descriptors(pid)
	return now, err
}

func descriptors(pid int) (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(entries), err
}

// inside starts the daemon in this process. Of what this process has, the site's
// part is the same at each sample, but for connections that the server may be about
// to close.
func (s *site) inside(ctx context.Context) (subject, error) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	watcher, err := daemon.NewWatcher(s.paths.Root, s.paths.Managed, s.paths.Local)
	if err != nil {
		return subject{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	d := &daemon.Daemon{Agent: &agent.Agent{Paths: s.paths, Arch: agent.HostArch(), Now: time.Now, Log: log, Uptime: machine.ReadUptime, Identity: machine.ReadIdentity()},
		Log: log, Changes: watcher.Changes()}
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	return subject{
		sample: func() (sample, error) {
			s.server.CloseClientConnections()
			time.Sleep(20 * time.Millisecond)
			n, err := descriptors(os.Getpid())
			return sample{descriptors: n, goroutines: runtime.NumGoroutine()}, err
		},
		stop: func() error {
			cancel()
			return errors.Join(<-ended, watcher.Close())
		},
	}, nil
}
