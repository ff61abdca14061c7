package daemon

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How long a burst of changes is waited out: until nothing came for a while, and
// not for ever.
const (
	quietTime = 150 * time.Millisecond
	burstTime = 600 * time.Millisecond
)

// Watcher tells when files may have changed. It watches directories, since what
// is replaced by a rename, or through a link, never shows at the file itself; all
// directories above, since each may be removed and made anew; and, where a link
// leads elsewhere, those there. What it tells is a hint: whoever hears it has to
// look. On a network file system it may tell nothing at all.
type Watcher struct {
	root  string // directories above are not watched
	files []string
	ways  []string // to the files, over links
	inner *fsnotify.Watcher
	on    map[string]inode // the directories that are watched
	hints chan struct{}
	ended chan struct{}
}

// inode tells a directory from another one at the same path.
type inode struct{ dev, ino uint64 }

// NewWatcher watches files below root, whether or not they exist. Close ends it.
func NewWatcher(root string, files ...string) (*Watcher, error) {
	inner, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch the configuration: %w", err)
	}
	w := &Watcher{root: root, files: files, inner: inner, on: map[string]inode{}, hints: make(chan struct{}, 1), ended: make(chan struct{})}
	w.rewatch()
	go w.run()
	return w, nil
}

// Changes gives the hints. Several that nobody took become one.
func (w *Watcher) Changes() <-chan struct{} { return w.hints }

// Close ends the watcher.
func (w *Watcher) Close() error {
	err := w.inner.Close()
	<-w.ended
	return err
}

func (w *Watcher) run() {
	defer close(w.ended)
	timer := time.NewTimer(quietTime)
	timer.Stop()
	var began time.Time // of the burst; zero: none
	for {
		select {
		case e, ok := <-w.inner.Events:
			if !ok {
				return
			}
			if !w.matters(e.Name) {
				continue
			}
		case _, ok := <-w.inner.Errors: // events were lost, for one
			if !ok {
				return
			}
		case <-timer.C:
			began = time.Time{}
			w.rewatch()
			select {
			case w.hints <- struct{}{}:
			default:
			}
			continue
		}
		if began.IsZero() {
			began = time.Now()
		}
		timer.Reset(max(0, min(quietTime, burstTime-time.Since(began))))
	}
}

// matters tells whether an event is about something on the way to a file, or in its
// directory, where people swap files in ways of their own.
func (w *Watcher) matters(name string) bool {
	name = filepath.Clean(name) // what lies in / comes with two slashes
	inDir := func(file string) bool { return filepath.Dir(name) == filepath.Dir(file) }
	onWay := func(way string) bool { return way == name || strings.HasPrefix(way, name+"/") }
	return slices.ContainsFunc(w.files, inDir) || slices.ContainsFunc(w.ways, onWay)
}

// rewatch watches what there is now. A directory may be made between the look and
// the watch, so it looks until nothing is new.
func (w *Watcher) rewatch() {
	// A directory that went took its watch with it, and the one that was made anew
	// may well have its number.
	watched := w.inner.WatchList()
	maps.DeleteFunc(w.on, func(dir string, _ inode) bool { return !slices.Contains(watched, dir) })
	const tries = 10 // somebody may be making and removing all the time
	for range tries {
		w.ways = w.findWays()
		now := w.wanted()
		if maps.Equal(now, w.on) {
			return
		}
		for dir, id := range w.on {
			if now[dir] != id {
				_ = w.inner.Remove(dir) // it may be gone already
			}
		}
		for dir, id := range now {
			if w.on[dir] != id && w.inner.Add(dir) != nil {
				delete(now, dir) // the next look tries again
			}
		}
		w.on = now
	}
}

// wanted finds the directories to watch: from the root down to the end of each
// way, as far as they exist.
func (w *Watcher) wanted() map[string]inode {
	found := map[string]inode{}
	for _, way := range w.ways {
		for dir := filepath.Dir(way); ; dir = filepath.Dir(dir) {
			if id, ok := identify(dir); ok {
				found[dir] = id
			}
			if dir == w.root || dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return found
}

// identify tells which directory there is at a path, if one is.
func identify(dir string) (inode, bool) {
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return inode{}, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, false
	}
	return inode{uint64(st.Dev), st.Ino}, true
}

// findWays gives for each file the links that lead to it, one after the other, and
// where the last one leads. No link is above any of them, so each directory has
// one name here: of two names for one, the kernel would tell by the first.
func (w *Watcher) findWays() (ways []string) {
	const links = 40 // more the kernel does not follow
	for _, at := range w.files {
		for range links {
			link, next := w.firstLink(at)
			if link == "" {
				break
			}
			ways, at = append(ways, link), next
		}
		ways = append(ways, at)
	}
	return ways
}

// firstLink finds the first link on a path below the root, and what the path is
// behind it; empty where there is none.
func (w *Watcher) firstLink(path string) (link, next string) {
	for end := 1; end <= len(path); end++ {
		if end < len(path) && path[end] != '/' || strings.HasPrefix(w.root+"/", path[:end]+"/") {
			continue
		}
		target, err := os.Readlink(path[:end])
		if err != nil {
			continue
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path[:end]), target)
		}
		return path[:end], filepath.Join(target, path[end:])
	}
	return "", ""
}
