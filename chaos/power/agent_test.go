package power_test

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"mdatp-offline-agent/chaos"
	"mdatp-offline-agent/chaos/power"
)

// TestAgent cuts the power while the agent works, at a few moments of each
// scenario, with the file systems taken in turn. Each on all of them, at all moments,
// is for `make chaos`.
func TestAgent(t *testing.T) {
	lab := newLab(t)
	program := filepath.Join(t.TempDir(), "agent")
	if out, err := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-o", program, "mdatp-offline-agent/cmd/agent").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	works, stop, err := chaos.Works(t.Context(), t.TempDir(), program)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	systems := power.FileSystems()
	for i, w := range works {
		f := systems[i%len(systems)]
		t.Run(f.Name+", "+w.Name, func(t *testing.T) {
			start := time.Now()
			r, err := lab.Sweep(t.Context(), f, power.Job{Prepare: w.Prepare, Run: w.Run, Check: w.Check}, power.Options{Seed: 1, Moments: 4})
			if err != nil {
				t.Fatal(err)
			}
			t.Log(r.Moments, r.Flushes, r.Cuts, time.Since(start))
			for _, v := range r.Violations {
				t.Error(v)
			}
		})
	}
}
