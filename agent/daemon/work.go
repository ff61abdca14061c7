package daemon

import (
	"context"
	"sync"
	"time"
)

// work is a job that runs beside the loop. It is also how the job tells how it
// gets on: an agent.Progress.
type work struct {
	cancel  context.CancelFunc
	stepped chan struct{} // has something after a step
	ended   chan struct{}
	then    func() // what the loop is to do when it has ended

	mu   sync.Mutex
	step string
	last time.Time // when it last got on
}

// job is what runs beside the loop. What it gives touches the loop and is for the
// loop to call.
type job func(context.Context, *work) (then func())

// begin runs a job that does what step says, until it says otherwise.
func begin(ctx context.Context, step string, do job) *work {
	ctx, cancel := context.WithCancel(ctx)
	w := &work{cancel: cancel, stepped: make(chan struct{}, 1), ended: make(chan struct{}), step: step, last: time.Now()}
	go func() {
		defer cancel()
		defer close(w.ended)
		w.then = do(ctx, w)
	}()
	return w
}

// stop tells the job to end, and whether it has within limit.
func (w *work) stop(limit time.Duration) bool {
	w.cancel()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-w.ended:
		return true
	case <-timer.C:
		return false
	}
}

// Step notes what the job does next.
func (w *work) Step(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.step, w.last = what, time.Now()
	select {
	case w.stepped <- struct{}{}:
	default: // the loop has yet to look
	}
}

// Expect is for bars.
func (w *work) Expect(int64) {}

// Got notes that the job gets on.
func (w *work) Got(int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
}

// what is what the job does.
func (w *work) what() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.step
}

// idle is how long the job has shown nothing.
func (w *work) idle() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.last)
}
