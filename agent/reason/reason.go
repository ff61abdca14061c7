// Package reason is how failures look from outside: a code of a closed list, a
// sentence, a hint, and the exit code that goes with the code. The endpoint's
// commands and the mirror's give the same, on every system.
//
// It promises that every error becomes one of these, and that a code never
// changes its exit code. It does not know when which failure comes; errors say
// that themselves, by a method Reason.
package reason

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

// Reason gives the parts that a report shows.
func (f *Failure) Reason() (code, sentence, hint string) { return f.Code, f.Message, f.Hint }

// The codes that Explain gives.
const (
	codeInternal    = "internal"
	codeInterrupted = "interrupted"
)

// ExitCodes gives the closed list of codes, by the exit codes that go with them.
// Those are of sysexits(3), which systemd prints by name.
func ExitCodes() map[int][]string {
	return map[int][]string{
		0:  {"skipped"},
		64: {"usage"},
		65: {"not_a_package", "package_too_large", "package_malformed", "package_expired", "signature_missing", "signature_invalid",
			"signer_untrusted", "signer_expired", "signer_revoked", "list_malformed", "wrong_product", "wrong_platform", "rollback_refused",
			"issued_in_future", "content_mismatch", "known_bad", "preload_failed", "postload_failed", "set_damaged"},
		69: {"source_unreachable", "source_not_found", "source_forbidden", "source_rate_limited", "source_stalled", "source_changed",
			"source_stale", "redirect_refused", "tls_untrusted", "nothing_installed"},
		70: {codeInternal},
		73: {"disk_full", "install_failed"},
		75: {"busy", "cooling_down", codeInterrupted},
		77: {"permission_denied"},
		78: {"config_invalid", "trust_empty", "trust_invalid"},
	}
}

// ExitCode gives the exit code that goes with a reason code; 70 for one that is
// not on the list.
func ExitCode(code string) int {
	for exit, codes := range ExitCodes() {
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
