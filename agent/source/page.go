package source

import (
	"net/http"
	"strings"
)

// PageBytes is how much of the beginning of something IsPage looks at, in bytes.
const PageBytes = 512

// IsPage tells by its first bytes that something is a web page, or the XML in which
// object stores say what is wrong.
func IsPage(begin []byte) bool {
	kind := http.DetectContentType(begin)
	return strings.HasPrefix(kind, "text/html") || strings.HasPrefix(kind, "text/xml")
}
