//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/chaos"
	"mdatp-offline-agent/chaos/trace"
)

func (p *program) selftestCommand() *cli.Command {
	return command(cli.Command{Name: "selftest", Usage: "prove on a file system that no crash and no failing call harms an update", Action: p.selftest, Flags: []cli.Flag{
		&cli.StringFlag{Name: "crash", Usage: "`DIR` on that file system, below which to work"},
		&cli.IntFlag{Name: "points", DefaultText: "all", Usage: "`NUMBER` of kills, and of failing calls, chosen at random"},
		&cli.Uint64Flag{Name: "seed", DefaultText: "chosen at random", Usage: "`NUMBER` that the choice begins with, to repeat it"},
		&cli.StringFlag{Name: "only", Usage: "make only the runs whose `NAME` has this in it, as a violation tells it"},
	}})
}

func (p *program) selftest(c *cli.Context) error {
	if err := errors.Join(arguments(c, 0, "no arguments"), needed(c, "crash")); err != nil {
		return err
	}
	o := chaos.Options{Dir: c.String("crash"), Version: programVersion(), Points: c.Int("points"), Seed: c.Uint64("seed"), Only: c.String("only")}
	if o.Points < 0 {
		return &usageError{"--points takes a number of points", "leave it out for all of them"}
	}
	if !c.IsSet("seed") {
		o.Seed = rand.Uint64()
	}
	var err error
	if o.Program, err = os.Executable(); err != nil {
		return err
	}
	o.Progress = p.sweepProgress(c.String("output") == "json")
	o.Found = func(v chaos.Violation) { p.log.WithField("run", v.Run).Warn("a violation was found: " + v.What) }
	certificate, err := chaos.Sweep(c.Context, o)
	if err != nil {
		return p.selftestFailure(o.Dir, err)
	}
	if err := p.show(c, certificate, certificate.Text); err != nil {
		return err
	}
	if certificate.Passed() {
		return nil
	}
	p.exit = agent.ExitCode("internal")
	if c.String("output") != "json" {
		p.showFailure(false, notPassed(certificate))
	}
	return errShown
}

func notPassed(c chaos.Certificate) *agent.Failure {
	if n := len(c.Violations); n > 0 {
		return &agent.Failure{Code: "internal", Message: fmt.Sprintf("the self-test found %d violations", n),
			Hint: "report them with the whole certificate, unless the file system itself is at fault"}
	}
	return &agent.Failure{Code: "internal", Message: fmt.Sprintf("no run of the self-test came to %d of its points, which is too many to say that it passed", c.Unreached()),
		Hint: "try it once more on a machine that does less beside it"}
}

// sweepProgress shows on a terminal how many runs are made, and elsewhere in the
// log.
func (p *program) sweepProgress(asJSON bool) func(done, all int) {
	file, ok := p.stderr.(*os.File)
	if asJSON || !ok || !term.IsTerminal(int(file.Fd())) {
		return func(done, all int) {
			if done%100 == 0 {
				p.log.WithField("runs", all).Infof("%d runs are made", done)
			}
		}
	}
	var on *progressbar.ProgressBar
	return func(done, all int) {
		if on == nil {
			on = progressbar.NewOptions(all, progressbar.OptionSetWriter(file), progressbar.OptionShowCount(), progressbar.OptionSetDescription("runs"),
				progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth())
		}
		_ = on.Set(done) // a terminal that can't be written to changes nothing
	}
}

// selftestFailure says why no self-test was made. The cause, which has its names and
// numbers from outside, is for the log.
func (p *program) selftestFailure(dir string, err error) error {
	p.log.WithError(err).Debug("no self-test was made")
	switch {
	case errors.Is(err, chaos.ErrForeign):
		return &usageError{"another user could exchange the directory " + dir + ", or one above it", "name one that is yours or root's, as are those above it, and that nobody else may write to"}
	case errors.Is(err, chaos.ErrNoRuns):
		return &usageError{"no run of the self-test has that in its name", "give --only a name as a violation tells it"}
	case errors.Is(err, trace.ErrUnsupported):
		return &agent.Failure{Code: "permission_denied", Message: "system calls can not be traced here", Hint: "run it on Linux, on x86_64 or arm64, where ptrace is allowed"}
	case errors.Is(err, fs.ErrExist):
		return &usageError{"a self-test works below this directory, or an earlier one was killed", "remove " + filepath.Join(dir, "agent-selftest") + " if none is running"}
	case errors.Is(err, fs.ErrNotExist):
		return &usageError{"the directory " + dir + " is not there", "make it, on the file system that is to be looked at"}
	case errors.Is(err, fs.ErrPermission):
		return &agent.Failure{Code: "permission_denied", Message: "this user can not write to " + dir, Hint: "name a directory of your own"}
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return &agent.Failure{Code: "disk_full", Message: "there is no room for a self-test in " + dir, Hint: "free 100 MB there"}
	case errors.Is(err, context.Canceled):
		return context.Canceled // whatever it broke off
	case errors.As(err, new(*agent.Failure)): // the agent's own words for why it does not work there
		return err
	case errors.Is(err, chaos.ErrWithoutFault):
		return &agent.Failure{Code: "install_failed", Message: "on this file system an update fails even without a fault", Hint: "run it with --log-level debug, which shows the cause"}
	}
	return err
}
