package mirror

import (
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// maxListed bounds the entries that one listing shows.
const maxListed = 1000

// list answers with the listing of a directory, as people like it in a browser:
// what it shows can be asked for, and what can't be asked for it doesn't show.
func (h *handler) list(w http.ResponseWriter, urlPath string) {
	entries, err := h.entries(urlPath)
	if err != nil {
		refuseRequest(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	title := html.EscapeString("Index of " + urlPath)
	var b strings.Builder
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<title>%s</title>\n<h1>%s</h1>\n<pre>\n", title, title)
	for _, e := range entries {
		name, size := e.Name(), fmt.Sprint(e.Size())
		if e.IsDir() {
			name, size = name+"/", "-"
		}
		fmt.Fprintf(&b, "<a href=\"./%s\">%s</a>  %s  %s\n", html.EscapeString((&url.URL{Path: name}).EscapedPath()), html.EscapeString(name),
			e.ModTime().UTC().Format(time.RFC3339), size)
	}
	b.WriteString("</pre>\n")
	_, _ = io.WriteString(w, b.String()) // a client that is gone needs no answer
}

// entries gives the files and directories in the directory of a request's path, in
// the order of their names.
func (h *handler) entries(urlPath string) ([]fs.FileInfo, error) {
	name := strings.TrimSuffix(strings.TrimPrefix(urlPath, "/"), "/")
	if name == "" {
		name = "."
	} else if !served(name) {
		return nil, errHidden
	}
	root, err := os.OpenRoot(h.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	dir, err := root.OpenFile(name, os.O_RDONLY|noWait, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	found, err := dir.ReadDir(maxListed)
	if err != nil && err != io.EOF {
		return nil, err
	}
	var shown []fs.FileInfo
	for _, e := range found {
		info, err := root.Stat(path.Join(name, e.Name())) // of what a link leads to, but not out of the tree
		if err == nil && served(e.Name()) && (info.IsDir() || info.Mode().IsRegular()) {
			shown = append(shown, info)
		}
	}
	slices.SortFunc(shown, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	return shown, nil
}
