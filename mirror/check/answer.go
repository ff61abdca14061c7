package check

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// tagKind says what an entity tag is worth.
type tagKind string

const (
	tagStrong tagKind = "strong"
	tagWeak   tagKind = "weak"
	tagNone   tagKind = "none" // or none that can be used
)

// answer is what a server said about a package, as far as it matters to endpoints.
type answer struct {
	ranges   bool // it sent the part that was asked for
	tag      tagKind
	modified time.Time     // zero: it did not say
	skew     time.Duration // by how much the server's clock is behind ours; zero where it did not say its time
	html     bool
}

// readAnswer reads the header of an answer to a request for a part, which came at
// that time of this machine.
func readAnswer(status int, h http.Header, now time.Time) answer {
	kind, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	a := answer{ranges: status == http.StatusPartialContent, tag: tagOf(h.Values("ETag")), html: kind == "text/html"}
	a.modified, _ = http.ParseTime(h.Get("Last-Modified")) // zero on error
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		// A cache hands on the Date of the server behind it, and says how old it is.
		age, _ := strconv.ParseUint(h.Get("Age"), 10, 31) // none on error
		a.skew = now.Sub(date) - time.Duration(age)*time.Second
	}
	return a
}

func tagOf(tags []string) tagKind {
	if len(tags) != 1 {
		return tagNone
	}
	tag, weak := strings.CutPrefix(tags[0], "W/")
	switch {
	case len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"':
		return tagNone
	case weak:
		return tagWeak
	}
	return tagStrong
}
