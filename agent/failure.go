package agent

import (
	"context"
	"errors"
	"slices"
)

// Failure is why something did not work, as people and programs see it.
type Failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

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

// exitCodes are those of sysexits(3), which systemd prints by name.
func exitCodes() map[int][]string {
	return map[int][]string{
		0:  {codeSkipped},
		64: {codeUsage},
		65: {"not_a_package", "package_too_large", "package_malformed", "package_expired", "signature_missing", "signature_invalid",
			"signer_untrusted", "signer_expired", codeRevoked, "list_malformed", "wrong_product", "wrong_platform", "rollback_refused",
			"issued_in_future", "content_mismatch", codeKnownBad, codePreload, codePostload, codeDamaged},
		69: {"source_unreachable", "source_not_found", "source_forbidden", "source_rate_limited", "source_stalled", "source_changed",
			codeStale, "redirect_refused", "tls_untrusted", codeNothing},
		70: {codeInternal},
		73: {"disk_full", codeInstall},
		75: {codeBusy, codeCoolingDown, codeInterrupted},
		77: {codePermission},
		78: {codeConfig, "trust_empty", "trust_invalid"},
	}
}

// ExitCode gives the exit code that goes with a reason code; 70 for one that is
// not on the list.
func ExitCode(code string) int {
	for exit, codes := range exitCodes() {
		if slices.Contains(codes, code) {
			return exit
		}
	}
	return ExitCode(codeInternal)
}

// Explain gives the Failure that an error stands for. Errors of the packages
// below say it themselves, and come first, since the timeout of a connection
// passes for an end of the context, too; that is an interruption; anything else
// is a fault of the program.
func Explain(err error) *Failure {
	if err == nil {
		return nil
	}
	var known interface {
		error
		Reason() (code, sentence, hint string)
	}
	if errors.As(err, &known) {
		code, sentence, hint := known.Reason()
		return &Failure{code, sentence, hint}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &Failure{codeInterrupted, "the run was interrupted", "run it again, nothing is lost"}
	}
	return &Failure{codeInternal, "something happened that the program does not know", "run it again with --log-level debug and report what it says"}
}

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
