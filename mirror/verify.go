package mirror

import (
	"context"
	"time"

	"mdatp-offline-agent/verifier"
)

// Verified is a package that an endpoint would install.
type Verified struct {
	Archive string // path of the archive
	Size    int64  // of the archive, in bytes
	Origin  Origin // where the signed list is
	Signed  verifier.Signed
}

// Verify checks a package, or the package of a sidecar, as an endpoint would
// that has nothing installed, and reads all of its content; it installs
// nothing. now is the endpoint's time. With want, the package must also be for
// that product, platform, architecture and ring. A refusal is a
// *verifier.Refusal with the code that the endpoint would give.
func Verify(ctx context.Context, path string, trust verifier.Trust, now time.Time, want *verifier.Identity) (Verified, error) {
	c, err := openClaim(path)
	defer c.close()
	if err != nil {
		return Verified{}, err
	}
	signed, err := verifySigned(trust, c.object, now)
	if err != nil {
		return Verified{}, err
	}
	if err := judge(signed, now, want); err != nil {
		return Verified{}, err
	}
	if err := c.settle(path, signed.List); err != nil {
		return Verified{}, err
	}
	if err := checkContent(ctx, c.archive.file, c.archive.layout, signed.List); err != nil {
		return Verified{}, fileError("the package", c.archive.path, err)
	}
	return Verified{c.archive.path, c.archive.size, c.origin, signed}, nil
}

// verifySigned verifies a signed list, and gives the empty trust its own name.
func verifySigned(trust verifier.Trust, object []byte, now time.Time) (verifier.Signed, error) {
	if trust.Empty() {
		return verifier.Signed{}, &verifier.Refusal{Code: verifier.TrustDirEmpty, Sentence: "there is no root to trust", Hint: "give the endpoints' trust directory, with the root's certificate in it"}
	}
	return trust.Verify(object, now)
}

// judge is what an endpoint asks once it believes the list.
func judge(signed verifier.Signed, now time.Time, want *verifier.Identity) error {
	if want != nil {
		if err := signed.List.CheckIdentity(*want); err != nil {
			return err
		}
	}
	clock := verifier.NewClock(now, time.Time{}, time.Time{})
	if err := clock.CheckIssued(signed.List); err != nil {
		return err
	}
	_, err := verifier.Judge(signed, verifier.Situation{Now: clock.Time})
	return err
}
