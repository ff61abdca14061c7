package chaos

import (
	"encoding/json"
	"fmt"

	"mdatp-offline-agent/agent"
)

// ending is how the program says that it ended.
type ending struct {
	exit int
	code string // why it failed, empty where it didn't
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
	}
	if err := json.Unmarshal(stdout, &result); err != nil {
		return e, fmt.Errorf("exit code %d, and on stdout %.300q: %w", exit, stdout, err)
	}
	if result.FailReason == nil {
		if exit != 0 {
			return e, fmt.Errorf("exit code %d, and no reason", exit)
		}
		return e, nil
	}
	e.code = result.FailReason.Code
	if e.code == "internal" || agent.ExitCode(e.code) != exit {
		return e, fmt.Errorf("exit code %d with the reason %s: %s", exit, e.code, result.FailReason.Message)
	}
	return e, nil
}
