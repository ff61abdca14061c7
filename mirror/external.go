package mirror

import (
	"path/filepath"

	"mdatp-offline-agent/verifier"
)

// listName is the list that Build leaves beside an unsigned package.
const listName = "package.json"

// ReadSignedList reads a signed list that somebody else made, for Attach. Errors:
// usage, signature_invalid where the file is too large to be one.
func ReadSignedList(path string) ([]byte, error) { return readObject(path) }

// SignUnsigned signs the list that Build left beside the unsigned package zip,
// for Attach. Errors: usage, list_malformed.
func SignUnsigned(zip string, s Signer) ([]byte, error) {
	data, err := readObject(filepath.Join(filepath.Dir(zip), listName))
	if err != nil {
		return nil, err
	}
	if _, err := verifier.ParseList(data); err != nil {
		return nil, err
	}
	return s.Sign(data)
}
