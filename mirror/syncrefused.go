package mirror

import (
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"slices"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/verifier"
)

// refusedFile, in the work directory, has the package that was refused last.
const refusedFile = "refused.json"

// refusedFor is how long the cloud's word is taken that a refused package is still the
// same. Then it is fetched once more: it may be the transfer that had damaged it.
const refusedFor = 24 * time.Hour

// refusal is a package that came and was refused, and what that followed from. While
// all of it is the same, its body need not come again.
type refusal struct {
	URL      string           `json:"url"`
	Package  source.Validator `json:"package"`
	Versions versions         `json:"versions"` // announced
	Under    string           `json:"under"`    // whom and what the run trusted
	At       time.Time        `json:"at"`
	Code     string           `json:"code"`
	Sentence string           `json:"sentence"`
	Hint     string           `json:"hint"`
}

// again is the error of a run that finds it unchanged.
func (r refusal) again() error {
	return &Error{Code: r.Code, Sentence: r.Sentence + ", as it was at " + r.At.UTC().Format(verifier.TimeFormat) + ", so it was not fetched again", Hint: r.Hint}
}

// refusedBefore gives the package that was refused under these versions; false where
// there is none, or something that led to it is another now.
func (r *syncRun) refusedBefore(offered versions) (before refusal, known bool) {
	if readRemembered(filepath.Join(r.place.work, refusedFile), &before) != nil {
		return refusal{}, false
	}
	age := r.o.Now().Sub(before.At)
	return before, before.URL == r.zip.String() && before.Versions == offered && before.Under == r.check.under() &&
		before.Package != source.Validator{} && age >= 0 && age < refusedFor
}

// keepRefused remembers a package that was refused for good.
func (r *syncRun) keepRefused(v source.Validator, offered versions, why error) error {
	code, sentence, hint := reasonOf(why)
	if v == (source.Validator{}) || !lasting(code) {
		return nil
	}
	data, err := json.Marshal(refusal{r.zip.String(), v, offered, r.check.under(), r.o.Now(), code, sentence, hint})
	if err != nil {
		return err
	}
	return replaceAs(filepath.Join(r.place.work, refusedFile), data, 0o600)
}

// lasting tells a refusal that will be the same with the same package, versions and
// trust. One that depends on the time will not.
func lasting(code string) bool {
	return code == source.CodeChanged || slices.Contains([]verifier.Code{verifier.NotAPackage, verifier.PackageTooLarge, verifier.PackageMalformed,
		verifier.SignatureMissing, verifier.SignatureInvalid, verifier.SignerUntrusted, verifier.SignerRevoked, verifier.ListMalformed,
		verifier.WrongProduct, verifier.WrongPlatform, verifier.ContentMismatch}, verifier.Code(code))
}

// under tells one checker from another, for as long as the program is the same.
func (c checker) under() string {
	if c.trust == nil {
		return ""
	}
	trust := c.trust.Digest()
	return hex.EncodeToString(trust[:]) + " " + c.product
}
