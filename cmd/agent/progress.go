//go:build linux

package main

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// bar shows on a terminal how a transfer goes: size, rate and time left.
// Everywhere else there is none.
type bar struct {
	to  io.Writer
	mu  sync.Mutex
	max int64
	got int64
	on  *progressbar.ProgressBar // nil until something is expected
}

// progress gives a bar where results go to people at a terminal, else nil.
func (p *program) progress(asJSON bool) *bar {
	file, ok := p.stderr.(*os.File)
	if asJSON || !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	return &bar{to: file}
}

// Step shows nothing: people see what takes time by the bar itself.
func (b *bar) Step(string) {}

// Expect makes the bar longer; it appears with the first call.
func (b *bar) Expect(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.max += bytes
	if b.on == nil {
		b.on = progressbar.NewOptions64(b.max, progressbar.OptionSetWriter(b.to), progressbar.OptionShowBytes(true), progressbar.OptionShowCount(),
			progressbar.OptionSetDescription("downloading"), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth())
		return
	}
	b.on.ChangeMax64(b.max)
}

// Got moves the bar on.
func (b *bar) Got(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.on == nil {
		return // the small requests before the transfer
	}
	b.got = min(b.got+int64(bytes), b.max)
	_ = b.on.Set64(b.got) // a terminal that can't be written to changes nothing
}

// done takes the bar away.
func (b *bar) done() {
	if b == nil || b.on == nil {
		return
	}
	_ = b.on.Clear()
}
