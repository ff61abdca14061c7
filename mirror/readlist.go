package mirror

import "mdatp-offline-agent/verifier"

// ReadList gives the list that a package, or a bare signed list, claims to
// have, without verifying who signed it: a publisher compares with it what is
// about to be replaced. Errors have the verifier's codes, or usage where there
// is no such file.
func ReadList(path string) (*verifier.List, error) {
	c, err := openClaim(path)
	defer c.close()
	if err != nil {
		return nil, err
	}
	claims, err := verifier.ReadClaims(c.object)
	return claims.List, err
}
