package mirror

import (
	"encoding/json"
	"io"
)

// maxRemembered is how many bytes are read of what a run before has noted.
const maxRemembered = 64 << 10

// readRemembered reads what a run before has noted as JSON. It may lie in a tree of
// somebody else's, so nothing but a regular file is opened: a pipe would wait for ever.
func readRemembered(path string, into any) error {
	f, _, err := openRegular("what is remembered", path)
	if err != nil {
		return err
	}
	defer f.Close()
	return json.NewDecoder(io.LimitReader(f, maxRemembered)).Decode(into)
}
