package agent

import (
	"testing"
	"time"

	"mdatp-offline-agent/agent/engine"
	"mdatp-offline-agent/agent/state"
)

// A set stays for its readers for ten minutes after it was last in use, also where
// it could not be seen when stock was taken and nothing is known of it.
func TestKeeper(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	s := &session{Agent: &Agent{Now: func() time.Time { return now }}, memory: &state.State{Sets: map[string]state.Set{
		"linked": {}, "just left": {Retired: now.Add(-grace + time.Second)}, "long left": {Retired: now.Add(-grace)},
	}}}
	keep := s.keeper(nil, map[string]bool{"linked": true}, 2)
	for name, want := range map[string]bool{"linked": true, "just left": true, "long left": false, "not seen": true} {
		if got := keep(engine.Set{Name: name}); got != want {
			t.Errorf("%s stays: %v", name, got)
		}
	}
}
