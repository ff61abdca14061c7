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

// unsaid is why it is not known how the program ended: it said nothing, or something
// else than it did.
type unsaid struct{ error }

// found is the code of a verification that ends with what it found, which its JSON shows
// in full and not as one reason.
const found = "found"

// nothingInstalled is the code of going back where there is nothing to go back to.
const nothingInstalled = "nothing_installed"

// endingOf reads what the program wrote, by the rules for its JSON: one object on
// stdout, nothing on stderr, and a code that goes with the exit code. The error is
// unsaid.
func endingOf(exit int, stdout, stderr []byte) (ending, error) {
	e := ending{exit: exit}
	if len(stderr) > 0 {
		return e, unsaid{fmt.Errorf("exit code %d, and on stderr %.300q", exit, stderr)}
	}
	var result struct {
		Type       string         `json:"$type"`
		FailReason *agent.Failure `json:"failReason"`
		Notes      []string       `json:"notes"`
	}
	if err := json.Unmarshal(stdout, &result); err != nil {
		return e, unsaid{fmt.Errorf("exit code %d, and on stdout %.300q: %w", exit, stdout, err)}
	}
	e.why, e.notes = result.FailReason, result.Notes
	switch {
	case e.why == nil && result.Type == "definitionsVerifyResult" && exit != 0 && exit != agent.ExitCode("internal"):
		e.why = &agent.Failure{Code: found}
	case e.why == nil && exit != 0:
		return e, unsaid{fmt.Errorf("exit code %d, and no reason", exit)}
	case e.why != nil && (e.why.Code == "internal" || agent.ExitCode(e.why.Code) != exit):
		return e, unsaid{fmt.Errorf("exit code %d with the reason %s: %s", exit, e.why.Code, e.why.Message)}
	}
	return e, nil
}
