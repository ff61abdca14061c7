package check

import (
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
)

// DefaultMaxAge is how old definitions may be where Options does not say: as old as
// endpoints let them become.
const DefaultMaxAge = 7 * 24 * time.Hour

// DefaultTimeout is how long a check may take where Options does not say.
const DefaultTimeout = 5 * time.Minute

// Options says what to check, and how.
type Options struct {
	Target Target
	Arch   string          // look at this architecture alone; empty: at both
	Trust  *verifier.Trust // whom endpoints trust; nil: lists are read and not judged
	// Product and Ring are what packages must be for; Ring counts where the path
	// names neither production nor preview. Empty: mdatp, production.
	Product, Ring string
	MaxAge        time.Duration     // how old definitions may be; zero: DefaultMaxAge
	Full          bool              // read packages whole
	Timeout       time.Duration     // how long all of it may take; zero: DefaultTimeout
	Now           time.Time         // zero: the clock's
	HTTP          source.HTTPConfig // how a server is reached; Base, Spool and Answered are not looked at
}

// Check looks at a mirror. What is wrong there is told by the report, also where
// there is no mirror or no answer. An error means that this machine could not look:
// it was interrupted, or had no room for a package.
//
// It returns when its time is over, also where a file system does not answer. What
// waits for that one is left behind, and ends with it or with the process.
func Check(ctx context.Context, o Options) (Report, error) {
	o = o.withDefaults()
	within, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	type result struct {
		report Report
		err    error
	}
	done := make(chan result, 1)
	go func() {
		report, err := o.check(within)
		done <- result{report, err}
	}()
	var got result
	select {
	case got = <-done:
	case <-within.Done():
		got.err = within.Err()
	}
	if errors.Is(got.err, context.DeadlineExceeded) && ctx.Err() == nil {
		return o.report("", nil, []Finding{o.late()}, &checking{stopped: true}), nil
	}
	return got.report, got.err
}

// late is the finding where the time was over before all was seen.
func (o Options) late() Finding {
	f := Finding{Critical, source.CodeStalled, "the check was not done within " + o.Timeout.String() + ", and gave up", "look at the server and the line to it, or give --timeout more time, above all with --full", []string{}}
	if o.Target.at.url == nil {
		f.Hint = "look whether the file system or share below the directory answers, or give --timeout more time, above all with --full"
	}
	return f
}

// check looks for as long as it takes.
func (o Options) check(ctx context.Context) (Report, error) {
	c := &checking{Options: o}
	all, level, err := c.lookAround(ctx)
	if err != nil {
		return Report{}, err
	}
	found := o.findings(all)
	switch {
	case c.stopped:
	case level == "":
		found = settle(append(found, o.nothing(all)))
	case slices.ContainsFunc(all, func(s seen) bool { return s.solid() }) && c.listing(ctx):
		found = settle(append(found, Finding{Info, codeListing, "the server shows what its directories hold", "turn listings off where that is nobody's business; endpoints need none", []string{}}))
	}
	return o.report(level, all, found, c), ctx.Err()
}

func (o Options) withDefaults() Options {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.MaxAge == 0 {
		o.MaxAge = DefaultMaxAge
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Product == "" {
		o.Product = "mdatp"
	}
	if o.Ring == "" {
		o.Ring = "production"
	}
	return o
}

// checking is one check.
type checking struct {
	Options
	tally   source.Tally
	stopped bool // the server gives no answers, so that not all places were asked for
}

// lookAround finds out which directory of a mirror the target is, by asking for
// what would be there, and gives what it saw there. Where nothing is a mirror it
// gives what is there instead, at the lowest level, and none where there is nothing.
func (c *checking) lookAround(ctx context.Context) (all []seen, level Level, err error) {
	for _, r := range c.Target.readings(c.Arch) {
		found, err := c.lookAt(ctx, r.places)
		if err != nil {
			return nil, "", err
		}
		if slices.ContainsFunc(found, func(s seen) bool { return s.solid() }) {
			return found, r.level, nil
		}
		if c.stopped {
			return found, "", nil
		}
		if level == "" || slices.ContainsFunc(found, func(s seen) bool { return s.there() }) {
			all = found
		}
		if slices.ContainsFunc(found, func(s seen) bool { return s.there() }) {
			level = r.level
		}
	}
	return all, level, nil
}

// lookAt looks at places one after the other. A server that does not answer is not
// asked for the rest, since each time would take as long.
func (c *checking) lookAt(ctx context.Context, places []place) (all []seen, err error) {
	for _, p := range places {
		s := c.look(ctx, p, &c.tally)
		all = append(all, s)
		for _, err := range []error{s.err, s.zipErr} {
			if err := ours(ctx, err); err != nil {
				return nil, err
			}
		}
		if s.silent {
			c.stopped = true
			return all, nil
		}
	}
	return all, nil
}

// ours gives back what is this machine's own failure: an interruption, no room.
func ours(ctx context.Context, err error) error {
	var own *mirror.Error
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &own):
		return err
	}
	return nil
}

// silent tells whether it is the server that fails, and not one object on it.
func silent(err error) bool {
	var e *source.Error
	if !errors.As(err, &e) || e.Missing {
		return false
	}
	return !slices.Contains([]string{source.CodeTooLarge, source.CodeChanged}, e.Code)
}

// nothing is the finding where no mirror is.
func (o Options) nothing(all []seen) Finding {
	f := Finding{Critical, source.CodeNotFound, "neither a mirror nor a part of one is there", "name the directory that holds linux, or one below it", []string{}}
	if o.Arch != "" {
		f.Message = "no mirror for the architecture " + shown(o.Arch) + " is there, nor a part of one"
	}
	if info, err := os.Stat(o.Target.at.dir); o.Target.at.url == nil && (err != nil || !info.IsDir()) {
		f.Message, f.Hint = "there is no directory "+o.Target.at.String(), "check the path, and that the file system or share below it is mounted"
	}
	for _, s := range all {
		var e *source.Error
		if errors.As(s.err, &e) && e.Code == source.CodeForbidden {
			f.Code, f.Message, f.Hint = e.Code, e.Sentence, e.Hint
		}
	}
	return f
}

// listing tells whether a server shows what lies in the target.
func (c *checking) listing(ctx context.Context) bool {
	if c.Target.at.url == nil {
		return false
	}
	const enough = 64 << 10 // bytes; a longer answer is refused, and it is one all the same
	config, html := c.HTTP, false
	config.Base, config.Single = c.Target.at.url.JoinPath("/"), true
	config.Answered = func(status int, h http.Header) {
		html = status == http.StatusOK && readAnswer(status, h, time.Time{}).html
	}
	server := source.NewHTTP(config)
	defer server.Close()
	if pkg, err := server.Open(ctx, source.Request{Name: source.PackageName, MaxBytes: enough, Tally: &c.tally}); err == nil {
		pkg.Close()
	}
	return html
}
