package hook

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/sirupsen/logrus"
)

// Command is a hook as configured.
type Command struct {
	Path    []string      // the program, as an absolute path, and its arguments
	Timeout time.Duration // how long one try may take; more than nothing
	Memory  int64         // bytes of private memory that each of its processes may have; 0: no limit
}

// Set is what a hook is told of the set that it is about.
type Set struct {
	Dir         string // the set's directory
	Definitions string // version of the definitions in it
	Engine      string // version of the engine in it
	Previous    string // version of the definitions that were active before; empty: none
}

// Verdict is what a hook says of a set. The zero value is none, which goes with
// every error.
type Verdict int

// The verdicts that a hook can give.
const (
	Good      Verdict = iota + 1 // the set may be used
	Condemned                    // the set must not be used
)

// maxTries is how often Judge runs a hook at most.
const maxTries = 4

// Run runs a hook once and tells what it says of the set. The error is a *Fault
// where the hook is to blame and not the set, and ctx's where ctx ended first;
// either way the set is as good as it was before.
//
// What the hook wrote goes to log, as a warning where it condemns or is at fault:
// it is all that tells why, and nobody could ask the hook for it later.
func Run(ctx context.Context, c Command, s Set, log logrus.FieldLogger) (Verdict, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if len(c.Path) == 0 || !filepath.IsAbs(c.Path[0]) {
		return 0, notAbsolute()
	}
	p, err := start(c.Path, s.environment())
	if err != nil {
		err = notRun(err)
		log.WithError(err).WithField("hook", c.Path[0]).Warn("a hook is at fault")
		return 0, err
	}
	verdict, err := p.run(ctx, c)
	report(log.WithFields(p.output.fields()).WithField("hook", c.Path[0]), verdict, err)
	return verdict, err
}

// Judge runs a hook and, while it is at fault, runs it up to three times more,
// after about one, two and four seconds. The result is that of the last run.
func Judge(ctx context.Context, c Command, s Set, log logrus.FieldLogger) (Verdict, error) {
	return judge(ctx, c, s, log, &backoff.ExponentialBackOff{
		InitialInterval: time.Second, RandomizationFactor: 0.3, Multiplier: 2, MaxInterval: 8 * time.Second,
	})
}

// judge is Judge with the waits between the runs.
func judge(ctx context.Context, c Command, s Set, log logrus.FieldLogger, waits backoff.BackOff) (Verdict, error) {
	verdict, err := backoff.Retry(ctx, func() (Verdict, error) { return Run(ctx, c, s, log) },
		backoff.WithBackOff(waits), backoff.WithMaxTries(maxTries), backoff.WithMaxElapsedTime(0))
	if err != nil && ctx.Err() != nil {
		return 0, ctx.Err() // as it is, and not the cause that was given for it
	}
	return verdict, err
}

// environment is all that a hook finds in its environment.
func (s Set) environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"AGENT_SET_DIR=" + s.Dir,
		"AGENT_DEFINITIONS_VERSION=" + s.Definitions,
		"AGENT_ENGINE_VERSION=" + s.Engine,
		"AGENT_PREVIOUS_VERSION=" + s.Previous,
	}
}

// report logs how a hook ended.
func report(log logrus.FieldLogger, verdict Verdict, err error) {
	var fault *Fault
	switch {
	case errors.As(err, &fault):
		log.WithError(err).Warn("a hook is at fault")
	case err != nil:
		log.Info("a hook was stopped before it had an answer")
	case verdict == Condemned:
		log.Warn("a hook condemned the set")
	default:
		log.Debug("a hook found the set good")
	}
}
