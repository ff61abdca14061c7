package agent_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/source/sourcetest"
	"mdatp-offline-agent/agent/state"
)

// A share whose server is gone is a source that has stalled: the update ends, what
// is installed stays, and the lock is free. What comes later works.
func TestDeadMount(t *testing.T) {
	w := newWorld(t)
	w.publish(pack{n: 1})
	m := sourcetest.NewMount(t, w.srv)
	ring := filepath.Join(m.Dir, "linux", "production")
	w.offline(ring, false, `"stallTimeout":3600`)
	w.want(agent.Updated, "")
	w.publish(pack{n: 2})
	w.offline(ring, false, `"stallTimeout":5`)
	m.Die()
	r := w.want(agent.Failed, "source_stalled")
	if r.ExitCode() != 69 || !strings.Contains(r.FailReason.Hint, "mount") || !strings.Contains(r.FailReason.Message, ring) {
		t.Errorf("exit %d, %v, hint %s", r.ExitCode(), r.FailReason, r.FailReason.Hint)
	}
	w.free()
	w.has(1)
	w.status("update_failed", "source_stalled")

	// Who stops it does not wait for that.
	w.offline(ring, false, `"stallTimeout":3600`)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan agent.Result)
	go func() { ended <- w.agent.Update(ctx, agent.Options{Now: true}) }()
	for len(sourcetest.Readers(t)) == 0 { // else the test never ends
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if r := <-ended; codeOf(r) != "interrupted" || r.ExitCode() != 75 {
		t.Errorf("stopped, it ended with %v", r.FailReason)
	}
	w.free()

	// Another mirror is asked although the share still hangs, and then the share.
	w.offline(w.web().ringURL(), false, "")
	w.want(agent.Updated, "")
	w.has(2)
	m.Revive()
	for len(sourcetest.Readers(t)) > 0 { // else the share is left alone
		time.Sleep(10 * time.Millisecond)
	}
	w.publish(pack{n: 3})
	w.offline(ring, false, `"stallTimeout":3600`)
	w.want(agent.Updated, "")
	w.has(3)
	w.health(map[string]string{"definitions_source_isolation": `"`})
}

// free checks that nobody holds the lock.
func (w *world) free() {
	w.Helper()
	if work, held := state.View(w.agent.Paths.State).Updating(); held {
		w.Errorf("the lock is still held by %v", work)
	}
}

// The mirror's place can have anything in it.
func TestNoPackageAtAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(pack{n: 1})
	w.offline(w.ring, false, "")
	w.want(agent.Updated, "")
	zip := filepath.Join(w.ring, "arch_x86_64", "updates.zip")
	for name, put := range map[string]func() error{
		"a FIFO":             func() error { return syscall.Mkfifo(zip, 0o644) },
		"a link to a FIFO":   func() error { _ = syscall.Mkfifo(zip+".fifo", 0o644); return os.Symlink(zip+".fifo", zip) },
		"a link to itself":   func() error { return os.Symlink(zip, zip) },
		"a directory":        func() error { return os.Mkdir(zip, 0o755) },
		"a link to a device": func() error { return os.Symlink("/dev/zero", zip) },
	} {
		must(t, os.RemoveAll(zip))
		must(t, put())
		if r := w.update(agent.Options{}); codeOf(r) != "source_unreachable" || r.ExitCode() != 69 {
			t.Errorf("%s: %v", name, r.FailReason)
		}
		w.has(1)
	}
}
