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

// newPlace gives the place of one architecture in the directory of a ring, and makes
// the directories that are not there yet, but for those of packages.
func newPlace(ring, archDir string) (place, error) {
	if err := os.MkdirAll(ring, 0o755); err != nil {
		return place{}, err
	}
	arch, err := resolve(filepath.Join(ring, archDir))
	if err != nil {
		return place{}, err
	}
	back, err := resolve(filepath.Join(ring+"_back", archDir))
	if err != nil {
		return place{}, err
	}
	// Beside what is published, so that both are on one file system.
	hidden := filepath.Join(filepath.Dir(arch), ".sync")
	t := place{arch: arch, back: back, work: filepath.Join(hidden, filepath.Base(arch))}
	for _, dir := range []string{hidden, t.work} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return place{}, err
		}
	}
	return t, nil
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
	return replace(filepath.Join(t.work, stateFile), data)
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
			if err := os.MkdirAll(filepath.Dir(t.back), 0o755); err != nil {
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

// publish makes next, which is complete, the published directory, and what was there
// before n-1 where came says so. It is durable when it returns, and finished by settle
// where it does not.
func (t place) publish(came syncState) error {
	next := t.next()
	// Whatever the umask is, the web server must be able to read it.
	if err := errors.Join(os.Chmod(next, 0o755), os.Chmod(filepath.Join(next, zipFile), 0o644), syncDir(next)); err != nil {
		return err
	}
	var there bool
	if came.File, there = zipIn(next); !there {
		return os.ErrNotExist
	}
	if err := t.writeState(came); err != nil {
		return err
	}
	if err := swap(next, t.arch); err != nil {
		return err
	}
	return t.settle(came)
}

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

// carryOver gives next what lies in the published directory beside the pair, such as
// approved packages and their lists, by a second name for each file.
func carryOver(from, to string) (left []string, err error) {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case name == zipFile, name == manifestFile, name == "manifest.xml", strings.HasPrefix(name, zipFile+"_temp"):
			// The pair, and what the vendor's script leaves when it fails.
		case !e.Type().IsRegular():
			left = append(left, name)
		default:
			err = errors.Join(err, linkOrCopy(filepath.Join(from, name), filepath.Join(to, name)))
		}
	}
	return left, err
}

// linkOrCopy gives a file a second name, or a copy where the file system has none.
func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	p, err := newPending(to)
	if err != nil {
		return err
	}
	defer p.Cleanup()
	if _, err := io.Copy(p, src); err != nil {
		return err
	}
	return commit(p, to)
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
