package verifier

// Code names the reason of a refusal. The list is closed: scripts and monitors
// compare it, so a code is never renamed.
type Code string

// The codes that this package gives.
const (
	NotAPackage      Code = "not_a_package"
	PackageTooLarge  Code = "package_too_large"
	PackageMalformed Code = "package_malformed"
	PackageExpired   Code = "package_expired"
	SignatureMissing Code = "signature_missing"
	SignatureInvalid Code = "signature_invalid"
	SignerUntrusted  Code = "signer_untrusted"
	SignerExpired    Code = "signer_expired"
	SignerRevoked    Code = "signer_revoked"
	ListMalformed    Code = "list_malformed"
	WrongProduct     Code = "wrong_product"
	WrongPlatform    Code = "wrong_platform"
	RollbackRefused  Code = "rollback_refused"
	IssuedInFuture   Code = "issued_in_future"
	ContentMismatch  Code = "content_mismatch"
	KnownBadContent  Code = "known_bad"
	TrustDirEmpty    Code = "trust_empty"
	TrustDirInvalid  Code = "trust_invalid"
)

const zipHint = "build the package with: agent package build, or zip -X -D and zip -X -D -0 for META/package.p7m"

// Refusal says why something is not accepted. Sentence is fixed text with our
// own configuration and numbers in it, never bytes that came from outside, so
// that it may be shown anywhere; Err, where set, is the cause in a library's
// words and belongs into the log only.
type Refusal struct {
	Code     Code
	Sentence string // why, in one line without a full stop
	Hint     string // what to use or do instead
	Err      error  // cause, may be nil
}

// Error gives "CODE: sentence", and the cause where there is one.
func (r *Refusal) Error() string {
	s := string(r.Code) + ": " + r.Sentence
	if r.Err != nil {
		s += " (" + r.Err.Error() + ")"
	}
	return s
}

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// Reason gives the parts that a report shows.
func (r *Refusal) Reason() (code, sentence, hint string) {
	return string(r.Code), r.Sentence, r.Hint
}

// refuse is a Refusal without a cause.
func refuse(code Code, sentence, hint string) *Refusal {
	return &Refusal{Code: code, Sentence: sentence, Hint: hint}
}
