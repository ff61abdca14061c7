package mirror

import (
	"fmt"

	"mdatp-offline-agent/verifier"
)

// present is what is in one directory of the tree.
type present struct {
	// good says that a package is there with a manifest, and is one as far as can
	// be told. Only such a pair becomes n-1.
	good bool
	// What the manifest says, also of a package that is not good: readers have seen
	// it, so what comes is not to be older. Zero where no manifest can be read.
	versions
	file    fileID // of updates.zip
	found   finding
	fetched bool // by this program, which has seen that the versions belong to it
}

// served gives the versions of a good package, and zero for one that is none.
func (p present) served() versions {
	if !p.good {
		return versions{}
	}
	return p.versions
}

// decideSync says whether what the cloud offers has to be fetched. allowed is the
// one definition version that may come although it is older.
func decideSync(have present, offered versions, allowed verifier.Version) (fetch bool, err error) {
	switch c := offered.compare(have.versions); {
	case c == 0:
		return !have.good, nil
	case c > 0, offered.Definition == allowed:
		return true, nil
	}
	return false, &verifier.Refusal{Code: verifier.RollbackRefused,
		Sentence: fmt.Sprintf("the cloud offers definitions %s with engine %s, and the mirror has %s with %s already", offered.Definition, offered.Engine, have.Definition, have.Engine),
		Hint:     "wait for the next release, or, where the vendor took one back, give --allow-downgrade " + offered.Definition.String()}
}

// becomesPrevious says whether what was there is to be the n-1 of what came: it
// must be good, older, since nobody is to be led back to a release that was taken
// back, and another package. The vendor's script can leave one package under the
// versions of the one before.
func becomesPrevious(have present, came versions, cameSHA256 string) bool {
	return have.good && came.compare(have.versions) > 0 && have.found.SHA256 != cameSHA256
}
