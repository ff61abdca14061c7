package mirror

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/printable"
)

// place is where one ring's packages of one architecture lie:
//
//	FOLDER/linux/production/arch_x86_64/         what is published
//	FOLDER/linux/production_back/arch_x86_64/    n-1
//	FOLDER/linux/production/.sync/arch_x86_64/   0700, ours alone
//	    state.json                               what is remembered
//	    part-*                                   what came so far of a download
//	    next/                                    a directory on its way in, or out
//
// What is published are plain directories, as the vendor's script makes them, so
// each of the two programs takes over from the other, and no server needs to follow
// links. A whole directory is published at once: next and arch_x86_64 exchange
// their names in one system call. Then next is what was there before, and exchanges
// its name with n-1 in the same way.
type place struct {
	arch string // published; links resolved
	back string // n-1; links resolved
	work string
}

// Names in a published directory and in the work directory.
const (
	zipFile      = source.PackageName
	manifestFile = "manifest.json"
	stateFile    = "state.json"
	nextDir      = "next"
	partPrefix   = "part-"
)

// asideSuffix is for the file systems that can't exchange names.
const asideSuffix = ".aside"

// newPlace makes the directories that are not there yet, but for those of packages.
func newPlace(folder string, p syncPair) (place, error) {
	ring := filepath.Join(folder, p.platform, p.ring)
	if err := makeDirs(ring); err != nil {
		return place{}, err
	}
	arch, err := resolve(filepath.Join(ring, p.archDir()))
	if err != nil {
		return place{}, err
	}
	back, err := resolve(filepath.Join(ring+"_back", p.archDir()))
	if err != nil {
		return place{}, err
	}
	// Beside what is published, so that both are on one file system.
	hidden := filepath.Join(filepath.Dir(arch), ".sync")
	t := place{arch: arch, back: back, work: filepath.Join(hidden, filepath.Base(arch))}
	// One after the other: nothing is made in a directory that is none of ours.
	if err := makePrivate(hidden); err != nil {
		return place{}, err
	}
	return t, makePrivate(t.work)
}

// makePrivate makes a work directory where it is missing. In one that exists things
// are removed, so it must be a directory of this user's alone, and no link to one.
func makePrivate(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil || info.IsDir() && private(info) {
		return err
	}
	return &Error{Code: codeInstall, Sentence: "a work directory in the tree of packages is no directory of this user alone",
		Hint: "take " + printable.Quote(dir) + " away; mirror sync makes it anew, with the mode 0700, and loses nothing but a download that was begun"}
}

// makeDirs makes the directories of a path that are missing. Whatever the umask is,
// the web server must be able to go through them.
func makeDirs(path string) error {
	err := os.Mkdir(path, 0o755)
	switch {
	case err == nil:
		return os.Chmod(path, 0o755)
	case errors.Is(err, fs.ErrExist):
		return os.MkdirAll(path, 0o755) // says whether it is a directory
	case errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path:
		if err := makeDirs(filepath.Dir(path)); err != nil {
			return err
		}
		return makeDirs(path)
	}
	return err
}

// resolve follows links of a layout that somebody made by hand. What does not exist
// is given as it is.
func resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if _, missing := os.Lstat(path); errors.Is(missing, fs.ErrNotExist) {
		return path, nil
	}
	return real, err
}

func (t place) next() string { return filepath.Join(t.work, nextDir) }

// fileID tells a file from what it was before, for as long as nobody sets its time
// by hand. Renaming leaves it alone.
type fileID struct {
	Size     int64 `json:"size"`
	Modified int64 `json:"modified"` // nanoseconds since 1970
}

// zipIn gives the identity of a directory's package; false where there is none.
func zipIn(dir string) (fileID, bool) {
	info, err := os.Stat(filepath.Join(dir, zipFile))
	if err != nil || !info.Mode().IsRegular() {
		return fileID{}, false
	}
	return fileID{info.Size(), info.ModTime().UnixNano()}, true
}

// syncState is what is remembered of one place. It is about a package that was
// published or is just about to be, and counts for nothing where another one is
// published.
type syncState struct {
	File     fileID   `json:"file"`
	Versions versions `json:"versions"`
	SHA256   string   `json:"sha256"`
	Fetched  bool     `json:"fetched"`  // else taken over
	Verified bool     `json:"verified"` // against a trust directory
	// Previous is the package that is to be n-1; nil where none is.
	Previous *fileID `json:"previous,omitempty"`
	// What was asked, and what to ask by next time.
	URL     string           `json:"url"`
	Info    source.Validator `json:"info"`
	Package source.Validator `json:"package"`
}

// readState reads what is remembered. What can't be read is not remembered: then
// everything is looked at and asked for anew.
func (t place) readState() (s syncState) {
	f, err := os.Open(filepath.Join(t.work, stateFile))
	if err != nil {
		return syncState{}
	}
	defer f.Close()
	const most = 64 << 10
	if err := json.NewDecoder(io.LimitReader(f, most)).Decode(&s); err != nil {
		return syncState{}
	}
	return s
}

func (t place) writeState(s syncState) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	path := filepath.Join(t.work, stateFile)
	p, err := newPending(path)
	if err != nil {
		return err
	}
	defer p.Cleanup()
	if _, err := p.Write(data); err != nil {
		return err
	}
	return errors.Join(p.Chmod(0o600), commit(p, path))
}

// settle finishes what a run before this one, or this one itself, has begun: what was
// published pushes what was there before into n-1. Doing it twice does nothing more.
func (t place) settle(s syncState) error {
	for _, to := range []string{t.arch, t.back} {
		if err := undoAside(t.next(), to); err != nil {
			return err
		}
	}
	published, ok := zipIn(t.arch)
	if ok && published == s.File && s.Previous != nil {
		if old, ok := zipIn(t.next()); ok && old == *s.Previous {
			if err := makeDirs(filepath.Dir(t.back)); err != nil {
				return err
			}
			if err := swap(t.next(), t.back); err != nil {
				return err
			}
		}
	}
	// What is left was n-1 before, was never published, or is a file that was only
	// begun.
	return t.clear(func(name string) bool { return name != stateFile && !strings.HasPrefix(name, partPrefix) })
}

// publish makes next the published directory. It is durable when it returns.
func (t place) publish() error { return swap(t.next(), t.arch) }

var errNoExchange = errors.New("the file system can not exchange two names at once")

// swap makes from and to change places, or moves from where to does not exist. Where
// the file system can't exchange names, there is a moment in which to is missing.
func swap(from, to string) error {
	err := exchange(from, to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = os.Rename(from, to)
	case errors.Is(err, errNoExchange):
		err = swapByThree(from, to)
	}
	if err != nil {
		return err
	}
	return errors.Join(syncDir(filepath.Dir(to)), syncDir(filepath.Dir(from)))
}

// aside is where to waits while from takes its place.
func aside(from, to string) string {
	return filepath.Join(filepath.Dir(from), filepath.Base(filepath.Dir(to))+asideSuffix)
}

// swapByThree is swap in three steps. undoAside mends what a crash leaves of it.
func swapByThree(from, to string) error {
	waiting := aside(from, to)
	err := os.Rename(to, waiting)
	if errors.Is(err, fs.ErrNotExist) {
		return os.Rename(from, to)
	}
	if err != nil {
		return err
	}
	return errors.Join(os.Rename(from, to), undoAside(from, to))
}

// undoAside ends a swap in three steps: back to where it began, where to is missing,
// else to its end.
func undoAside(from, to string) error {
	waiting := aside(from, to)
	if _, err := os.Lstat(waiting); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
		return os.Rename(waiting, to)
	}
	return os.Rename(waiting, from)
}

// clear removes what is useless from the work directory.
func (t place) clear(useless func(name string) bool) error {
	entries, err := os.ReadDir(t.work)
	for _, e := range entries {
		if useless(e.Name()) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(t.work, e.Name())))
		}
	}
	return err
}

// keepPart removes all downloads but that of the name keep.
func (t place) keepPart(keep string) error {
	return t.clear(func(name string) bool { return name != keep && strings.HasPrefix(name, partPrefix) })
}
