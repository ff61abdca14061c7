package managedconfig

import (
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"

	"mdatp-offline-agent/printable"
)

// RingURL is where a ring of packages lies: a directory, or an http or https
// URL. Exactly one of Dir and URL is set; the zero value is no ring at all.
type RingURL struct {
	Raw string   // as it was configured, for reports
	Dir string   // absolute and clean, or empty
	URL *url.URL // with scheme and host, or nil; not to be changed
}

const ringAllowed = "an http or https URL, file:///directory or an absolute directory that ends at the ring"

// ParseRingURL reads the address of a ring: an http or https URL, the same
// without a scheme (http is meant), a file URL of this machine, or an absolute
// directory. Empty text gives the zero value. An address that goes on behind
// the ring (arch_*, updates.zip, a query) or has credentials in it is refused.
// Every error is an *Error, whose hint shows the right address where it is known.
func ParseRingURL(raw string) (RingURL, error) {
	u, err := parseRingURL(raw)
	if err != nil {
		return RingURL{}, err
	}
	return u, nil
}

func parseRingURL(raw string) (RingURL, *Error) {
	if raw == "" {
		return RingURL{}, nil
	}
	if !fitText(raw) {
		return RingURL{}, refuseRing(raw, ringAllowed, "keep it short, and without tabs, line ends and the like")
	}
	if strings.HasPrefix(raw, "/") {
		return ringDir(raw, raw)
	}
	scheme, rest, hasScheme := strings.Cut(raw, "://")
	switch {
	case !hasScheme || strings.ContainsAny(scheme, "/?#"):
		if err := checkBareHost(raw); err != nil {
			return RingURL{}, err
		}
		return ringWeb(raw, "http", raw)
	case strings.EqualFold(scheme, "http"), strings.EqualFold(scheme, "https"):
		return ringWeb(raw, strings.ToLower(scheme), rest)
	case strings.EqualFold(scheme, "file"):
		return ringFile(raw, rest)
	}
	return RingURL{}, refuseRing(raw, ringAllowed, "mount the share and give its absolute directory, or serve it over http or https")
}

// checkBareHost tells an address without a scheme from a relative path: the
// first element of the former has a dot, a port or brackets.
func checkBareHost(raw string) *Error {
	host := strings.ToLower(authority(raw))
	switch scheme, _, _ := strings.Cut(host, ":"); {
	case strings.HasPrefix(host, "."), !strings.ContainsAny(host, ".:"):
		return refuseRing(raw, ringAllowed, "begin with http:// or https:// for a server, or with / for a directory")
	case host == scheme+":" && (scheme == "http" || scheme == "https" || scheme == "file"):
		return refuseRing(raw, ringAllowed, "write two slashes behind the colon, as in http://mirror.example/linux/production/")
	case host == scheme+":":
		return refuseRing(raw, ringAllowed, "mount the share and give its absolute directory, or put a port behind the colon")
	}
	return nil
}

// ringWeb reads what follows the scheme of an http or https URL.
func ringWeb(raw, scheme, rest string) (RingURL, *Error) {
	if strings.Contains(authority(rest), "@") {
		return RingURL{}, refuseRing(raw, "a URL without credentials",
			"take user and password out of the URL, because every user of the machine can read this file")
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil || !goodHost(u) {
		refusal := refuseRing(raw, "a URL with a host and a port from 1 to 65535", "write it like http://mirror.example:8000/linux/production/, with an IPv6 address in brackets")
		refusal.Err = urlCause(raw, err)
		return RingURL{}, refusal
	}
	if strings.Contains(u.RawPath, "%") && u.EscapedPath() != u.RawPath {
		// net/url would encode such a path anew, and so change its escapes.
		return RingURL{}, refuseRing(raw, "a URL whose path is escaped throughout or not at all", "write spaces and other special characters as percent-escapes")
	}
	right := *u
	right.RawQuery, right.ForceQuery, right.Fragment, right.RawFragment = "", false, "", ""
	right = withPath(right, upToRing(u.EscapedPath()))
	if upToRing(u.EscapedPath()) != u.EscapedPath() {
		return RingURL{}, refusePastRing(raw, right.String())
	}
	if strings.ContainsAny(rest, "?#") {
		return RingURL{}, refuseRing(raw, "a URL without query and fragment", "set it to "+printable.Sentence(right.String(), maxShownPath))
	}
	return RingURL{Raw: raw, URL: u}, nil
}

// ringFile reads what follows file://.
func ringFile(raw, rest string) (RingURL, *Error) {
	u, err := url.Parse("file://" + rest)
	if err != nil || u.Host != "" && u.Host != "localhost" || u.User != nil || !strings.HasPrefix(u.Path, "/") {
		return RingURL{}, refuseRing(raw, "file:/// and an absolute directory of this machine", "write it like file:///srv/mirror/linux/production")
	}
	if strings.ContainsAny(rest, "?#") || !fitText(u.Path) {
		return RingURL{}, refuseRing(raw, "a file URL without query, fragment and control characters",
			"set it to "+printable.Sentence(path.Clean(upToRing(u.Path)), maxShownPath))
	}
	return ringDir(raw, u.Path)
}

// ringDir reads an absolute directory.
func ringDir(raw, dir string) (RingURL, *Error) {
	dir = path.Clean(dir)
	if right := upToRing(dir); right != dir {
		return RingURL{}, refusePastRing(raw, path.Clean(right))
	}
	return RingURL{Raw: raw, Dir: dir}, nil
}

// upToRing cuts what the agent itself adds behind the ring: the name of the
// package, and the directory of the architecture.
func upToRing(p string) string {
	dir, last := splitLast(p)
	if last == "updates.zip" {
		p = dir
		dir, last = splitLast(p)
	}
	if strings.HasPrefix(last, "arch_") {
		return dir
	}
	return p
}

// splitLast splits a path behind the slash before its last element; slashes at
// the end don't count.
func splitLast(p string) (dir, last string) {
	p = strings.TrimRight(p, "/")
	i := strings.LastIndexByte(p, '/') + 1
	return p[:i], p[i:]
}

// authority is the part of an address up to its path, query or fragment.
func authority(rest string) string {
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return rest[:i]
	}
	return rest
}

// goodHost tells whether u names a host, and a port that exists if any.
func goodHost(u *url.URL) bool {
	if u.Hostname() == "" || strings.HasSuffix(u.Host, ":") {
		return false
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return u.Port() == "" || err == nil && port > 0
}

// withPath is u with another path, given in its escaped form.
func withPath(u url.URL, escaped string) url.URL {
	decoded, err := url.PathUnescape(escaped)
	if err != nil { // not after url.Parse took it
		decoded = escaped
	}
	u.Path, u.RawPath = decoded, escaped
	return u
}

func refuseRing(raw, allowed, hint string) *Error {
	return &Error{Value: shownURL(raw), Problem: "allowed is " + allowed, Hint: hint}
}

func refusePastRing(raw, right string) *Error {
	return &Error{Value: shownURL(raw), Problem: "it must end at the ring, because the agent adds the architecture and updates.zip itself",
		Hint: "set it to " + printable.Sentence(right, maxShownPath)}
}

// shownURL is an address without the parts that may hold a secret.
func shownURL(raw string) string {
	if i := strings.LastIndexByte(raw, '@'); i >= 0 {
		scheme, _, ok := strings.Cut(raw[:i], "://")
		if raw = "***" + raw[i:]; ok {
			raw = scheme + "://" + raw
		}
	}
	if i := strings.IndexAny(raw, "?#"); i >= 0 {
		raw = raw[:i+1] + "..."
	}
	return printable.Sentence(raw, maxShownValue)
}

// urlCause is net/url's complaint, unless the address might hold a password.
func urlCause(raw string, err error) error {
	if err == nil || strings.ContainsAny(raw, "@?") {
		return nil
	}
	return fmt.Errorf("the address is no URL: %w", err)
}

// IsZero tells whether no ring is configured.
func (r RingURL) IsZero() bool { return r.Dir == "" && r.URL == nil }

// last is the last element of the path, still escaped.
func (r RingURL) last() string {
	p := r.Dir
	if r.URL != nil {
		p = r.URL.EscapedPath()
	}
	_, last := splitLast(p)
	return last
}

// Ring is the last element of the path less _back, where that is production or
// preview; otherwise the address does not name its ring.
func (r RingURL) Ring() (string, bool) {
	ring := strings.TrimSuffix(r.last(), "_back")
	if ring != "production" && ring != "preview" {
		return "", false
	}
	return ring, true
}

// Back tells whether the address is that of a ring's backup, by which an
// administrator consents to a step down.
func (r RingURL) Back() bool { return strings.HasSuffix(r.last(), "_back") }

// Arch is the same address with arch_<arch> appended: the directory of the
// package. Escapes of the path stay as they are, and so does Raw.
func (r RingURL) Arch(arch string) RingURL {
	name := "arch_" + arch
	if r.Dir != "" {
		r.Dir = path.Join(r.Dir, name)
	}
	if r.URL != nil {
		u := withPath(*r.URL, strings.TrimRight(r.URL.EscapedPath(), "/")+"/"+url.PathEscape(name))
		r.URL = &u
	}
	return r
}
