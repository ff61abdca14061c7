package check

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/manifest"
)

// mode is what a file or directory permits.
type mode struct {
	path    string
	mode    fs.FileMode
	outside bool // it lies above the target, so that it need only be passed
}

// modes gives what decides whether a web server, or another user, can read or
// change a package: the files, and the directories on the way to them.
func (l *looker) modes(s *seen) (all []mode) {
	if l.at.dir == "" || runtime.GOOS == "windows" { // where modes say nothing
		return nil
	}
	names := []string{source.PackageName, source.SidecarName, manifest.Name}
	if s.zip != "" {
		names = append(names, s.zip)
	}
	add := func(path string, outside bool) {
		if info, err := os.Stat(path); err == nil {
			all = append(all, mode{path, info.Mode(), outside})
		}
	}
	for dir := l.at.dir; ; dir = filepath.Dir(dir) {
		add(dir, !within(dir, l.Target.at.dir))
		if dir == filepath.Dir(dir) {
			break
		}
	}
	for _, name := range names {
		add(filepath.Join(l.at.dir, name), false)
	}
	return all
}

// within tells whether path is dir or below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// others tells what other users may do with it: whether they can write, and whether
// those who are not in its group, or nobody but its owner, can't read.
func (m mode) others() (write, onlyGroup, onlyOwner bool) {
	read := fs.FileMode(0o4)
	switch {
	case m.outside:
		read = 0o1
	case m.mode.IsDir():
		read = 0o5
	}
	write = !m.outside && m.mode&0o002 != 0 && m.mode&fs.ModeSticky == 0
	if m.mode&read == read {
		return write, false, false
	}
	group := m.mode&(read<<3) == read<<3
	return write, group, !group
}
