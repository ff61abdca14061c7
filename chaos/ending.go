package chaos

import (
	"encoding/json"
	"fmt"

	"mdatp-offline-agent/agent"
)

// ending is how the program says that it ended.
type ending struct {
	exit  int
	why   *agent.Failure // why it failed; nil where it didn't
	notes []string
}

// code is that of the failure, empty for none.
func (e ending) code() string {
	if e.why == nil {
		return ""
	}
	return e.why.Code
}

// endingOf reads what the program wrote, by the rules for its JSON: one object on
// stdout, nothing on stderr, and a code that goes with the exit code.
func endingOf(exit int, stdout, stderr []byte) (ending, error) {
	e := ending{exit: exit}
	if len(stderr) > 0 {
		return e, fmt.Errorf("exit code %d, and on stderr %.300q", exit, stderr)
	}
	var result struct {
		FailReason *agent.Failure `json:"failReason"`
		Notes      []string       `json:"notes"`
	}
	if err := json.Unmarshal(stdout, &result); err != nil {
		return e, fmt.Errorf("exit code %d, and on stdout %.300q: %w", exit, stdout, err)
	}
	e.why, e.notes = result.FailReason, result.Notes
	switch {
	case e.why == nil && exit != 0:
		return e, fmt.Errorf("exit code %d, and no reason", exit)
	case e.why != nil && (e.why.Code == "internal" || agent.ExitCode(e.why.Code) != exit):
		return e, fmt.Errorf("exit code %d with the reason %s: %s", exit, e.why.Code, e.why.Message)
	}
	return e, nil
}
