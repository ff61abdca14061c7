package mirror

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// place is where one ring's packages of one architecture lie:
//
//	FOLDER/linux/production/arch_x86_64/         what is published
//	FOLDER/linux/production_back/arch_x86_64/    n-1
//	FOLDER/linux/production/.sync/arch_x86_64/   0700, ours alone
//	    state.json                               what is remembered
//	    refused.json                             the package that was refused last
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
	if err := makeDirs(ring); err != nil {
		return place{}, err
	}
	arch, err := resolve(filepath.Join(ring, archDir))
	if err != nil {
		return place{}, err
	}
	back := filepath.Join(ring+"_back", archDir)
	// What leads nowhere can't lead to the ring, and is told when n-1 is to be kept.
	if real, err := resolve(back); err == nil {
		back = real
	}
	if overlap(arch, back) {
		return place{}, &Error{Code: codeInstall, Sentence: "the place of n-1 is that of the ring itself, or one of the two lies in the other",
			Hint: "make " + printable.Quote(ring+"_back") + " a directory of its own, and no link to the ring"}
	}
	work, err := workBeside(arch)
	return place{arch: arch, back: back, work: work}, err
}

// workBeside makes the work directory for a directory of packages: beside it, so that
// both are on one file system.
func workBeside(dir string) (string, error) {
	hidden := filepath.Join(filepath.Dir(dir), ".sync")
	work := filepath.Join(hidden, filepath.Base(dir))
	// One after the other: nothing is made in a directory that is none of ours.
	if err := makePrivate(hidden); err != nil {
		return "", err
	}
	return work, makePrivate(work)
}

// overlap says whether two directories are the same, or will be once they are made, or
// one lies in the other.
func overlap(a, b string) bool {
	if inside(a, b) || inside(b, a) {
		return true
	}
	if filepath.Base(a) == filepath.Base(b) && sameFile(filepath.Dir(a), filepath.Dir(b)) {
		return true
	}
	return sameFile(a, b)
}

func inside(outer, path string) bool {
	rel, err := filepath.Rel(outer, path)
	return err == nil && filepath.IsLocal(rel)
}

// sameFile sees through mounts, which links and names don't show.
func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
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
		Hint: "take " + printable.Quote(dir) + " away, which is made anew with the mode 0700; where that does not help, the file system keeps no owners and modes, so put the tree on another one"}
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
// is given as it will be.
func resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if _, missing := os.Lstat(path); errors.Is(missing, fs.ErrNotExist) && filepath.Dir(path) != path {
		parent, err := resolve(filepath.Dir(path))
		return filepath.Join(parent, filepath.Base(path)), err
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
	finding
	Fetched bool `json:"fetched"` // else taken over
	// Previous is the package that is to be n-1; nil where none is.
	Previous *previous `json:"previous,omitempty"`
	// What was asked, and what to ask by next time.
	URL     string           `json:"url"`
	Info    source.Validator `json:"info"`
	Package source.Validator `json:"package"`
}

// previous is what is remembered of a package that was published.
type previous struct {
	fileID
	Content verifier.ContentID `json:"content"` // as in finding
}

// readState reads what is remembered. What can't be read is not remembered: then
// everything is looked at and asked for anew.
func (t place) readState() (s syncState) {
	if readRemembered(filepath.Join(t.work, stateFile), &s) != nil {
		return syncState{}
	}
	return s
}

func (t place) writeState(s syncState) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return replaceAs(filepath.Join(t.work, stateFile), data, 0o600)
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
