package agent_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
)

// An answer that is no package, or one of other files, takes nothing away of what is known
// of the installed package's archive: it does not come again, and news does not wait.
func TestVendorInstalledArchiveIsNotForgotten(t *testing.T) {
	t.Parallel()
	w, p := newPolled(t)
	for n := range 4 {
		w.later(5 * time.Minute)
		if n%2 == 0 {
			must(t, os.WriteFile(filepath.Join(w.ring, "arch_x86_64", "updates.zip"), []byte("<html>"+noise(1, 300)), 0o644))
		} else {
			w.publish(p.with("mpasdlta.vdm", w.vdm("vendor", "mpasdlta.vdm", v(2), base)))
		}
		if r := w.update(agent.Options{Scheduled: true}); r.Outcome != agent.Failed {
			t.Errorf("run %d: %s", n, r.Outcome)
		}
		w.later(5 * time.Minute)
		w.publish(p)
		if r := w.update(agent.Options{Scheduled: true}); r.Outcome != agent.UpToDate || came(r) {
			t.Errorf("run %d: %s %v, %d bytes", n, r.Outcome, r.FailReason, r.BytesDownloaded)
		}
	}
	w.later(5 * time.Minute)
	w.publish(w.bare(3))
	w.want(agent.Updated, "", agent.Options{Scheduled: true})
	w.has(3)
}

// Nor does it take away that a set waits for its preload hook.
func TestVendorUntestedArchiveIsNotForgotten(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.overWeb()
	w.often()
	w.firstAlone(1)
	hook := w.hook("preload")
	hook("exit 3")
	p := w.bare(2)
	w.publish(p)
	w.want(agent.Failed, "preload_failed")
	must(t, os.WriteFile(filepath.Join(w.ring, "arch_x86_64", "updates.zip"), []byte("<html>"+noise(1, 300)), 0o644))
	w.want(agent.Failed, "not_a_package")
	hook("exit 0")
	w.publish(p)
	if r := w.update(agent.Options{}); r.Outcome != agent.Updated || came(r) {
		t.Errorf("%s %v, %d bytes", r.Outcome, r.FailReason, r.BytesDownloaded)
	}
	w.has(2)
}
