package agent

import (
	"mdatp-offline-agent/agent/state"
)

// recall reads what the agent remembers. Of a memory that was lost, and of one that a
// later version wrote and this one can't read, the status has what anybody may know
// of it; the floor and what is known bad are proved by the sets on disk (session.learn).
func recall(store *state.Store) (*state.State, error) {
	memory, err := store.Load()
	if err != nil {
		return nil, err
	}
	if !memory.Lost() && !memory.Newer() {
		return memory, nil
	}
	status := store.LoadStatus()
	memory.Timing = status.Timing
	if memory.HeldSince.IsZero() {
		memory.HeldSince = status.HeldSince
	}
	if len(memory.Sets) == 0 {
		memory.Sets = status.Sets
	}
	if memory.Lost() && memory.Totals.Requests == 0 {
		memory.Totals = status.Totals
	}
	memory.Relearn = memory.Relearn || lossOf(memory, status) != ""
	return memory, nil
}

// The notes of a memory that was lost, and of one that can't be true.
const (
	noteNoReport = "the report of the last run was damaged, and is lost; it is made anew"
	noteVoid     = "a time in what the agent remembers was further ahead than it can be, and is lost; it was learned anew from the sets on disk"
	noteLost     = "what the agent remembers was lost; the floor was learned anew from the sets on disk, and the hold and the schedule from the last report; " +
		"forgotten are floors of sets that were removed, known bad packages that are not on disk, and what was seen of the sources"
	noteAllLost = "what the agent remembers and its last report were lost; the floor was learned anew from the sets on disk; " +
		"forgotten are floors of sets that were removed, every known bad package, whether updates were held, the schedule, and what was seen of the sources"
)

// lossOf says what a lost memory means; empty where nothing was lost. Only a report
// tells a machine that lost its memory without a trace from one that never had one.
func lossOf(memory *state.State, status state.Status) string {
	known := !status.LastAttempt.IsZero() || len(status.Sets) > 0
	switch {
	case !memory.Relearn && (!memory.Lost() || !known && !memory.Damaged()):
		return ""
	case known:
		return noteLost
	}
	return noteAllLost
}
