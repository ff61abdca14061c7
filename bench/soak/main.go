// Command soak puts one daemon through what years do to it, in minutes: thousands
// of changes of its configuration, and an update after every few of them.
//
//	soak [-program FILE] [-changes N] [-updates N]
//
// With -program it watches that program, run as agent run: its resident memory,
// its descriptors and its threads. Without it, the same daemon runs inside this
// process, and what is watched is goroutines, which nobody can count from outside,
// and descriptors. It prints the curve as a table of tenths, and ends with 1 where
// the last tenth is above the first by more than limits allow.
//
// Packages come over HTTP from loopback and are small, since what is looked for is
// what stays behind each update, and not what one takes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"mdatp-offline-agent/agent/source/apart"
)

func main() {
	if apart.Started() { // by the daemon inside of this process
		os.Exit(apart.Serve())
	}
	program := flag.String("program", "", "the program to watch; empty: a daemon inside of this process")
	var p plan
	flag.IntVar(&p.changes, "changes", 10_000, "how many changes of the configuration")
	flag.IntVar(&p.updates, "updates", 1000, "how many updates; as many changes go before each")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *program, p); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// plan is how much there is to go through.
type plan struct{ changes, updates int }

// run soaks a daemon and writes what it saw.
func run(ctx context.Context, out io.Writer, program string, p plan) (err error) {
	if p.updates < tenths || p.changes < p.updates {
		return fmt.Errorf("at least %d updates, and a change for each, make a curve", tenths)
	}
	dir, err := os.MkdirTemp("", "agent-soak.")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := newSite(dir)
	if err != nil {
		return err
	}
	defer s.server.Close()
	began := time.Now()
	start := s.inside
	if program != "" {
		start = s.process(program)
	}
	daemon, err := start(ctx)
	if err != nil {
		return err
	}
	c, err := s.soak(ctx, daemon, p)
	if err = errors.Join(err, daemon.stop()); err != nil {
		return err
	}
	c.write(out, p, time.Since(began))
	return c.judge()
}

// soak goes through the plan, and samples the daemon after each update.
func (s *site) soak(ctx context.Context, daemon subject, p plan) (c curve, err error) {
	done := 0
	for n := 1; n <= p.updates; n++ {
		if err := s.publish(ctx, n); err != nil {
			return nil, err
		}
		for ; done < p.changes*n/p.updates; done++ {
			if err := s.change(done, n); err != nil {
				return nil, err
			}
		}
		if err := s.installed(ctx, n); err != nil {
			return nil, err
		}
		now, err := settled(daemon.sample)
		if err != nil {
			return nil, err
		}
		c = append(c, now)
		if err := s.tidy(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// settled gives, of a few samples, the one with the fewest descriptors: a daemon that
// has installed an update may still be ending it, and a leak is in all of them.
func settled(look func() (sample, error)) (least sample, err error) {
	for i := range 5 {
		now, err := look()
		if err != nil {
			return sample{}, err
		}
		if i == 0 || now.descriptors < least.descriptors {
			least = now
		}
		time.Sleep(20 * time.Millisecond)
	}
	return least, nil
}
