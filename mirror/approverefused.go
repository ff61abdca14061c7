package mirror

import "mdatp-offline-agent/verifier"

// NotProposed is the refusal of a package whose files were looked at, so that somebody can
// see what is wrong with which.
type NotProposed struct {
	Files []VendorFile
	Err   error // why
}

func (e *NotProposed) Error() string { return e.Err.Error() }
func (e *NotProposed) Unwrap() error { return e.Err }

// allTheSame gives a refusal for want of the vendor's signatures the hint how a person
// approves the package without them. An engine for another architecture is refused then, too.
func allTheSame(err error) error {
	if code, _, _ := reasonOf(err); code == string(verifier.WrongPlatform) {
		return err
	}
	return hinted(err, "; to approve all the same, run agent mirror approve RING-DIR without --require-vendor, with --dry-run first")
}
