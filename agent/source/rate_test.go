package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// TestThrottle runs in a bubble, where waiting costs nothing.
func TestThrottle(t *testing.T) {
	t.Parallel()
	for _, perSecond := range []int64{1 << 10, 100 << 10, 10 << 20} {
		synctest.Test(t, func(t *testing.T) {
			size := 60 * perSecond
			limiter := newLimiter(perSecond)
			start := time.Now()
			body := io.LimitReader(zeros{}, size)
			// The watch beneath would end a body that is as slow as this by its server.
			watched := newStallWatch(body, time.Second, func() { t.Error("waiting for the limiter was taken for a stall") })
			n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, throttle(t.Context(), limiter, watched), make([]byte, copyBytes))
			took := time.Since(start)
			if n != size || err != nil || took < 58*time.Second || took > 61*time.Second {
				t.Errorf("%d bytes a second: %d of %d bytes in %s, %v, want about a minute", perSecond, n, size, took, err)
			}
		})
	}
}

// TestThrottleIsShared reads two bodies at once, which together keep the rate.
func TestThrottleIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := newLimiter(64 << 10)
		start := time.Now()
		done := make(chan error)
		for range 2 {
			go func() {
				_, err := io.Copy(io.Discard, throttle(t.Context(), limiter, io.LimitReader(zeros{}, 640<<10)))
				done <- err
			}()
		}
		if err := errors.Join(<-done, <-done); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < 19*time.Second {
			t.Errorf("two bodies of ten seconds each took %s together", took)
		}
	})
}

func TestThrottleEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := io.Copy(io.Discard, throttle(ctx, newLimiter(1<<10), zeros{}))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
	})
	plain := bytes.NewReader(nil)
	if newLimiter(0) != nil || throttle(t.Context(), nil, plain) != io.Reader(plain) {
		t.Error("no limit is a limit")
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
