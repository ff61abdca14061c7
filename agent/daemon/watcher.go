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
// is replaced by a rename, or through a link, never shows at the file itself; and
// all directories above, since each may be removed and made anew. What it tells
// is a hint: whoever hears it has to look. On a network file system it may tell
// nothing at all.
type Watcher struct {
	root  string // directories above are not watched
	files []string
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
	timer := time.NewTimer(0)
	if !timer.Stop() {
		<-timer.C
	}
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

// matters tells whether an event is about a file, its directory, or one on the way
// to it. In the file's own directory everything is, since a swap by links names
// others than the file.
func (w *Watcher) matters(name string) bool {
	for _, file := range w.files {
		if file == name || strings.HasPrefix(file, name+"/") || filepath.Dir(name) == filepath.Dir(file) || filepath.Dir(name) == leadsTo(file) {
			return true
		}
	}
	return false
}

// leadsTo is the directory where a file really lies, empty where it does not lie
// anywhere.
func leadsTo(file string) string {
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		return ""
	}
	return filepath.Dir(real)
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

// wanted finds the directories to watch: from the root down to each file, as far
// as they exist, and where a link leads.
func (w *Watcher) wanted() map[string]inode {
	found := map[string]inode{}
	for _, file := range w.files {
		dirs := []string{leadsTo(file)}
		for dir := filepath.Dir(file); ; dir = filepath.Dir(dir) {
			dirs = append(dirs, dir)
			if dir == w.root || dir == filepath.Dir(dir) {
				break
			}
		}
		for _, dir := range slices.Compact(dirs) {
			if info, err := os.Stat(dir); dir != "" && err == nil && info.IsDir() {
				st, ok := info.Sys().(*syscall.Stat_t)
				if ok {
					found[dir] = inode{uint64(st.Dev), st.Ino}
				}
			}
		}
	}
	return found
}
