package source

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxETag is the longest entity tag that is kept, in bytes, quotes included.
const maxETag = 256

// freshWindow is how near to the answer's Date a Last-Modified makes validators
// worthless: common servers derive the entity tag from time and size, and a file
// written twice within a second has one tag for two contents.
const freshWindow = 2 * time.Second

// keptValidator gives the validator in the header of an answer that announced an
// object of size bytes, -1 for unknown, or zero where there is none that could be
// trusted later. Time and size together stand in for an entity tag only where
// there is none at all.
func keptValidator(h http.Header, size int64) Validator {
	tags := h.Values("ETag")
	switch {
	case len(tags) > 1 || justWritten(h):
		return Validator{}
	case len(tags) == 1 && wellFormed(tags[0]):
		return Validator{ETag: tags[0]}
	case len(tags) == 0 && h.Get("Last-Modified") != "" && size >= 0:
		return Validator{LastModified: h.Get("Last-Modified"), Size: size}
	}
	return Validator{}
}

// version makes the key for bytes of the object at target that are kept from one
// run to the next, or nothing where only a digest could tell that they still fit.
// Two servers may use one tag for two contents, so the address is part of it.
func version(target *url.URL, v Validator, size int64) string {
	if !strong(v.ETag) {
		return ""
	}
	place := url.URL{Scheme: target.Scheme, Host: target.Host, Path: target.Path, RawPath: target.RawPath, RawQuery: target.RawQuery}
	sum := sha256.Sum256([]byte(place.String() + "\n" + v.ETag + "\n" + strconv.FormatInt(size, 10)))
	return hex.EncodeToString(sum[:16])
}

// identity is what one answer says about the version of the object that its body
// is from. Unlike a Validator it is compared within minutes and never kept, so it
// may be less than certain.
type identity struct {
	etag, lastModified string
	size               int64
}

// identify reads the identity from the header of an answer about an object of
// size bytes.
func identify(h http.Header, size int64) identity {
	return identity{etag: strings.Join(h.Values("ETag"), ", "), lastModified: h.Get("Last-Modified"), size: size}
}

// same says whether two answers are about one version. Last-Modified says nothing
// more where the tag is strong: servers leave it out then, and replicas differ.
func (i identity) same(other identity) bool {
	return i.size == other.size && i.etag == other.etag && (strong(i.etag) || i.lastModified == other.lastModified)
}

// strong says whether tag promises that the bytes are the same.
func strong(tag string) bool {
	return wellFormed(tag) && !strings.HasPrefix(tag, "W/")
}

// wellFormed says whether s is an entity tag, weak or strong, of visible ASCII
// characters between quotes. It also guards what goes out again in a header.
func wellFormed(s string) bool {
	opaque, found := strings.CutPrefix(strings.TrimPrefix(s, "W/"), `"`)
	opaque, closed := strings.CutSuffix(opaque, `"`)
	if !found || !closed || len(s) > maxETag {
		return false
	}
	return !strings.ContainsFunc(opaque, func(r rune) bool {
		return r <= ' ' || r == '"' || r > '~'
	})
}

// justWritten says whether the object may still be being written. Without a Date
// to compare with, a Last-Modified proves nothing, and that counts as yes.
func justWritten(h http.Header) bool {
	if h.Get("Last-Modified") == "" {
		return false
	}
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil {
		return true
	}
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return true
	}
	return date.Sub(modified).Abs() <= freshWindow
}
