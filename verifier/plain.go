package verifier

import (
	"fmt"
	"strings"
)

// PlainFiles gives the files of an archive as a vendor publishes it, without a list and
// within the limits that lists set. Errors: package_malformed, also for a list: one that
// is there and bad must not lead to judging the files without it.
func (a *Archive) PlainFiles() (files []Entry, err error) {
	malformed := func(sentence string) error {
		return &Refusal{Code: PackageMalformed, Sentence: sentence, Hint: "publish the package as the vendor made it"}
	}
	if a.HasMeta() {
		return nil, &Refusal{Code: PackageMalformed, Sentence: "the package has a list of its own, which the profile vendor does not go by",
			Hint: "publish the package as the vendor made it, or set agent.trust.profile to list or list+vendor"}
	}
	var size int64
	for _, e := range a.Entries {
		if strings.HasSuffix(e.Name, "/") {
			continue
		}
		if !ValidName(e.Name) || strings.EqualFold(e.Name, "META") {
			return nil, malformed("an entry of the package is no flat file")
		}
		files, size = append(files, e), size+e.Size
	}
	if len(files) == 0 || len(files) > MaxFiles || size > MaxContentSize {
		return nil, malformed(fmt.Sprintf("the package does not have 1 to %d files of %d bytes at the most together", MaxFiles, int64(MaxContentSize)))
	}
	return files, nil
}
