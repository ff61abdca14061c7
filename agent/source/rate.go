package source

import (
	"context"
	"io"

	"golang.org/x/time/rate"
)

// The most that comes at once under a rate limit, in bytes: a quarter of a
// second's worth, so that the line is loaded evenly, but no less than a packet
// and no more than one copy's buffer.
const (
	minBurst = 1 << 10
	maxBurst = copyBytes
)

// newLimiter gives the one limiter that all bodies of a source share, or nil
// where perSecond, in bytes, is zero and nothing is limited.
func newLimiter(perSecond int64) *rate.Limiter {
	if perSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), int(min(max(perSecond/4, minBurst), maxBurst)))
}

// throttle gives body at no more than the limiter's rate; a nil limiter gives
// body itself. It belongs above the stall watch, which times only what is spent
// waiting for the server: waiting here is our own choice and no stall.
func throttle(ctx context.Context, limiter *rate.Limiter, body io.Reader) io.Reader {
	if limiter == nil {
		return body
	}
	return &throttled{ctx: ctx, limiter: limiter, body: body}
}

type throttled struct {
	ctx     context.Context
	limiter *rate.Limiter
	body    io.Reader
}

// Read reads no more than the limiter can ever grant at once, and then waits
// until it is granted. Where ctx ends meanwhile, it gives ctx's error.
func (t *throttled) Read(p []byte) (int, error) {
	n, err := t.body.Read(p[:min(len(p), t.limiter.Burst())])
	// WaitN itself refuses at once where ctx's deadline comes before the grant.
	if waitErr := t.limiter.WaitN(t.ctx, n); waitErr != nil && n > 0 {
		<-t.ctx.Done()
		return 0, t.ctx.Err()
	}
	return n, err
}
