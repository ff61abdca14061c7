package check

import (
	"errors"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/manifest"
	"mdatp-offline-agent/managedconfig"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/printable"
)

// maxShown is how much of an address is shown, in bytes.
const maxShown = 512

// location is a directory: of a file system, or on a server.
type location struct {
	dir string   // absolute, or empty
	url *url.URL // without credentials, or nil
}

func (l location) join(names ...string) location {
	if l.url != nil {
		return location{url: l.url.JoinPath(names...)}
	}
	return location{dir: filepath.Join(append([]string{l.dir}, names...)...)}
}

// last is the last element of the path, empty for the top.
func (l location) last() string {
	p := filepath.ToSlash(l.dir)
	if l.url != nil {
		p = l.url.Path
	}
	if last := path.Base(p); last != "/" && last != "." {
		return last
	}
	return ""
}

// String is the address as it may be shown.
func (l location) String() string {
	if l.url != nil {
		return shown(l.url.String())
	}
	return shown(l.dir)
}

// Target is what is to be checked: a mirror, from any of its directories on.
type Target struct {
	at   location
	arch string // where the address named an architecture's directory of the ring at
}

// ParseTarget reads what a user names: a directory, or a URL with or without its
// scheme. An address that ends at a file of a package means the file's directory.
// What can't be an address gives an error with the code usage.
func ParseTarget(text string) (Target, error) {
	absolute, text := strings.HasPrefix(text, "/"), strings.TrimRight(text, "/")
	if slices.Contains([]string{source.PackageName, source.SidecarName, manifest.Name}, path.Base(text)) {
		text = above(text)
	}
	var t Target
	if name, ok := strings.CutPrefix(path.Base(text), "arch_"); ok {
		t.arch, text = shown(name), above(text)
	}
	switch {
	case text == "" && absolute:
		text = "/"
	case text == "":
		text = "."
	}
	var err error
	t.at, err = locate(text)
	return t, err
}

// above cuts the last element of an address.
func above(text string) string {
	return strings.TrimRight(text[:len(text)-len(path.Base(text))], "/")
}

func locate(text string) (location, error) {
	if info, err := os.Stat(text); err == nil && info.IsDir() {
		dir, err := filepath.Abs(text)
		return location{dir: dir}, err
	}
	ring, err := managedconfig.ParseRingURL(text)
	if err != nil {
		hint := "give a directory that is there, or a URL such as http://mirror.example:8000/linux/production/"
		var refused *managedconfig.Error
		if errors.As(err, &refused) && strings.Contains(text, "://") {
			hint = refused.Hint
		}
		return location{}, &mirror.Error{Code: "usage", Sentence: "what is to be checked is neither a directory that is there nor a URL", Hint: hint, Err: err}
	}
	if ring.URL == nil {
		return location{dir: ring.Dir}, nil
	}
	// Without a path of its own, joining a name to it would make a relative one.
	return location{url: ring.URL.JoinPath("/")}, nil
}

// shown makes a piece of the command line fit for a sentence.
func shown(s string) string { return printable.Sentence(s, maxShown) }
