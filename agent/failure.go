package agent

import (
	"slices"

	"mdatp-offline-agent/agent/reason"
)

// Failure is why something did not work, as people and programs see it.
type Failure reason.Failure

// Error makes a Failure an error. It gives "CODE: message".
func (f *Failure) Error() string { return f.Code + ": " + f.Message }

// Reason gives the parts that a report shows.
func (f *Failure) Reason() (code, sentence, hint string) { return f.Code, f.Message, f.Hint }

// Field gives what a log has of a failure: in JSON the object that reports have,
// in text its sentence.
func (f *Failure) Field() (name string, value any) { return "failReason", loggedFailure(*f) }

// loggedFailure is a Failure that is no error, of which a log would show nothing
// but the text.
type loggedFailure Failure

// String is what a text has.
func (f loggedFailure) String() string { return f.Code + ": " + f.Message }

// is tells whether f has that code; no failure has none.
func (f *Failure) is(code string) bool { return f != nil && f.Code == code }

// Codes that this package gives itself, beside those of the packages below it.
const (
	codeUsage       = "usage"
	codeInternal    = "internal"
	codeInterrupted = "interrupted"
	codeSkipped     = "skipped"
	codeCoolingDown = "cooling_down"
	codeConfig      = "config_invalid"
	codeStale       = "source_stale"
	codeNothing     = "nothing_installed"
	codeDamaged     = "set_damaged"
	codePermission  = "permission_denied"
	codeKnownBad    = "known_bad"
	codeRevoked     = "signer_revoked"
	codePreload     = "preload_failed"
	codePostload    = "postload_failed"
	codeBusy        = "busy"
	codeInstall     = "install_failed"
)

// ExitCode gives the exit code that goes with a reason code; 70 for one that is
// not on the list.
func ExitCode(code string) int { return reason.ExitCode(code) }

// Explain gives the Failure that an error stands for, as reason.Explain does.
func Explain(err error) *Failure { return (*Failure)(reason.Explain(err)) }

// local tells a failure of this machine, which no other source can mend, from
// one of a source or its package.
func local(f *Failure) bool {
	switch ExitCode(f.Code) {
	case 70, 73, 77, 78:
		return true
	}
	return slices.Contains([]string{codeKnownBad, codePreload, codePostload, codeDamaged, codeBusy, codeInterrupted}, f.Code)
}

// unrecorded tells a failure that says nothing about the machine's protection
// and must not hide the result before it.
func unrecorded(f *Failure) bool {
	return slices.Contains([]string{codeBusy, codeCoolingDown, codeSkipped, codeUsage, codeInterrupted}, f.Code)
}
