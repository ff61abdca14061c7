package source

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// What Retry means where it is zero.
const (
	DefaultTries   = 3
	DefaultMaxWait = 15 * time.Second
)

// firstWait is the part of Retry.MaxWait that the first wait takes at most.
const firstWait = 15

// Retry bounds what is tried again after a failure that may pass: no connection,
// no answer, a server's own fault, a transfer that stalls or breaks off. The waits
// between are chosen at random between nothing and a bound that doubles each time,
// so that a fleet that failed at one moment does not come back at one moment.
// Zero means the default.
type Retry struct {
	// Tries is how often one thing is tried in a row, the first time included.
	// The count begins anew with every 30 KiB that came.
	Tries int
	// MaxWait bounds the sum of all waiting between tries, of all that is read
	// from the source, since 30 KiB last came that will not be asked for again.
	// The first wait is at most a fifteenth of it.
	MaxWait time.Duration
}

// budget is the waiting that a source has left until something comes again.
type budget struct{ left atomic.Int64 } // nanoseconds

// take takes d from the budget, or nothing and gives false where that is too much.
func (b *budget) take(d time.Duration) bool {
	for {
		left := b.left.Load()
		if left < int64(d) {
			return false
		}
		if b.left.CompareAndSwap(left, left-int64(d)) {
			return true
		}
	}
}

// refill makes it most again, whatever was taken.
func (b *budget) refill(most time.Duration) { b.left.Store(int64(most)) }

// tries counts the attempts at one thing.
type tries struct {
	most    int
	maxWait time.Duration // what waiting is refilled to
	failed  int           // attempts in a row
	came    int64         // bytes since the last failures were forgiven
	pause   *backoff.ExponentialBackOff
	waiting *budget
}

// newTries begins to count.
func (h *HTTP) newTries() *tries {
	first := h.cfg.Retry.MaxWait / firstWait
	return &tries{
		most:    h.cfg.Retry.Tries,
		maxWait: h.cfg.Retry.MaxWait,
		waiting: &h.waiting,
		// A factor of 1 spreads each wait over nothing to twice the interval.
		pause: &backoff.ExponentialBackOff{
			InitialInterval: first / 2, RandomizationFactor: 1, Multiplier: 2, MaxInterval: h.cfg.Retry.MaxWait,
		},
	}
}

// again decides on what failed with err. It gives nil, after a wait, where it is
// to be tried again, and else the error to give up with.
func (t *tries) again(ctx context.Context, err error) error {
	var e *Error
	if !errors.As(err, &e) || !e.again {
		return err
	}
	t.failed++
	if t.failed >= t.most {
		return err
	}
	wait := t.pause.NextBackOff()
	if !t.waiting.take(wait) {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return stopped(ctx)
	}
}

// progress says that n more bytes came that will not be asked for again. Many of
// them make up for failures: a line that breaks every minute is slow, not dead.
func (t *tries) progress(n int64) {
	if t.came += n; t.came >= stallBytes {
		t.failed, t.came = 0, 0
		t.pause.Reset()
		t.waiting.refill(t.maxWait)
	}
}

// Silence is how long at most an HTTP source waits before it gives something or
// gives up, for whoever watches it from outside: each try with all its redirects,
// each perhaps by way of a proxy, then a stall, and the waits between.
func Silence(t Timeouts) time.Duration {
	t = t.orDefault()
	return DefaultTries*((maxRedirects+1)*2*(t.Connect+t.TLS+t.Header)+t.Stall) + DefaultMaxWait
}

// Pace is how long a byte of content may take on average while content comes, under
// a limit of rate bytes per second (zero: none), for whoever watches a source from
// outside.
func Pace(t Timeouts, rate int64) time.Duration {
	pace := t.orDefault().Stall / stallBytes
	if rate > 0 {
		pace += time.Second / time.Duration(rate)
	}
	return pace
}
