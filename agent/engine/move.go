package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// lostFound is what a file system of its own has at its top. It is nobody's.
const lostFound = "lost+found"

// ErrNotIt is the cause of an error about a Place where something else is at the path.
var ErrNotIt = errors.New("not the directory that the sets were moved to")

// Place is an engine directory that somebody chose by hand. Unlike the default one it
// is made once, and never anew: where nothing of the agent's is in it, most likely its
// file system is not mounted. And since others may come by where it lies, each opening
// looks at whose it is.
type Place struct {
	Path  string
	Owner int // the user id that it belongs to, if not to root
}

// Make opens the place for writing, and makes it and what is missing above it. From
// then on there is something in it to know it by, durably. The error is an *Error.
func (p Place) Make() (*Dir, error) {
	d := &Dir{path: p.Path}
	err := makeDirs(p.Path)
	if err == nil {
		err = p.open(d)
	}
	if err == nil {
		err = d.openStaging()
	}
	if err == nil {
		err = syncDir(d.root, ".")
	}
	return d.opened(d.writing("the engine directory can't be made", err))
}

// Open opens the place for writing. The error is an *Error, and an ErrNotIt where this
// is not the directory that was made.
func (p Place) Open() (*Dir, error) {
	d := &Dir{path: p.Path}
	err := p.find(d)
	if err == nil {
		err = d.openStaging()
	}
	return d.opened(d.writing("the engine directory can't be opened", err))
}

// View opens the place for reading; the error is like that of Open.
func (p Place) View() (*Dir, error) {
	d := &Dir{path: p.Path}
	return d.opened(d.viewing(p.find(d)))
}

// opened gives the directory, or closes it where there was an error.
func (d *Dir) opened(err error) (*Dir, error) {
	if err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// open opens the directory, and judges what it has opened.
func (p Place) open(d *Dir) (err error) {
	if d.root, err = openDir(p.Path); err != nil {
		return err
	}
	info, err := d.root.Stat(".")
	if err != nil {
		return err
	}
	if uid := owner(info); uid != 0 && uid != p.Owner {
		return anothers(p.Path, uid, p.Owner)
	}
	return unshared(p.Path, info.Mode())
}

// find opens what was made before.
func (p Place) find(d *Dir) error {
	err := p.open(d)
	if errors.Is(err, fs.ErrNotExist) {
		return p.away("is not there", err)
	}
	if err != nil {
		return err
	}
	names, _, err := readNames(d.root, ".", maxEntries)
	if err == nil && !slices.ContainsFunc(names, isOwn) {
		return p.away("has nothing of the agent in it", nil)
	}
	return err
}

func (p Place) away(what string, err error) error {
	return &Error{InstallFailed, "the engine directory " + p.Path + " " + what,
		"mount the file system that it is on, or begin anew elsewhere with agent definitions path set --path DIR", errors.Join(ErrNotIt, err)}
}

// Fit tells whether path may become an engine directory, and makes nothing. It need
// not be there yet. Nobody but root and this user may be able to put something else
// in its place, now or when it is away; it must not lie where nothing may be executed,
// since an engine is part of what lies there; and it holds nothing, or, where sets may
// be there already, nothing but sets. What lies above top is not asked about: whoever
// can exchange that has all of the agent's files. The error is an *Error.
func Fit(path string, sets bool, top string) error {
	there, err := nearest(path)
	if err != nil {
		return writing(path, "the directory can't be looked at", err)
	}
	for dir := there; ; dir = filepath.Dir(dir) {
		if err := ownWay(dir, dir == path); err != nil {
			return err
		}
		if dir == top || dir == filepath.Dir(dir) {
			break
		}
	}
	if err := executable(there); err != nil {
		return err
	}
	if there != path {
		return mayMake(path, there)
	}
	root, err := openDir(path)
	if err != nil {
		return writing(path, "the directory can't be opened", err)
	}
	defer root.Close()
	if err := writable(root); err != nil {
		return writing(path, "the directory can't be written to", err)
	}
	return onlySets(root, path, sets)
}

// nearest is path itself, or what is nearest above it and exists.
func nearest(path string) (string, error) {
	for {
		info, err := os.Lstat(path)
		if err == nil && !info.IsDir() {
			return "", unix.ENOTDIR
		}
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return path, err
		}
		path = filepath.Dir(path)
	}
}

// ownWay checks a directory on the way to the sets.
func ownWay(dir string, last bool) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return writing(dir, "the directory can't be looked at", err)
	}
	uid, mode := owner(info), info.Mode()
	if uid != os.Geteuid() && (last || uid != 0) {
		return anothers(dir, uid, os.Geteuid())
	}
	return unshared(dir, mode)
}

// anothers is the error of a directory that is not the agent's.
func anothers(dir string, uid, want int) error {
	return &Error{PermissionDenied, fmt.Sprintf("the directory %s belongs to another user, uid %d", dir, uid), giveHint(dir, want), ErrNotIt}
}

// unshared refuses a directory in which others can make something. Where they can't
// remove what is another's, as in /tmp, they can still take a name that became free.
func unshared(dir string, mode fs.FileMode) error {
	switch {
	case mode.Perm()&othersWrite == 0:
		return nil
	case mode&fs.ModeSticky != 0:
		return &Error{Code: PermissionDenied, Sentence: "everybody can make directories in " + dir,
			Hint: "choose a directory that lies where only root or the agent's user can write"}
	}
	return &Error{Code: PermissionDenied, Sentence: "the directory " + dir + " can be written by its group or by everybody", Hint: "chmod go-w " + dir}
}

func giveHint(dir string, uid int) string {
	return fmt.Sprintf("make it as root, and give it to the agent's user, with install -d -m 755 -o %d %s", uid, dir)
}

// Noexec tells whether a path is known to lie, or would lie if it were made, where
// nothing may be executed. Links are followed. What can't be looked at is not known.
func Noexec(path string) bool {
	for {
		var st unix.Statfs_t
		err := unix.Statfs(path, &st)
		if err == nil {
			return st.Flags&unix.ST_NOEXEC != 0
		}
		if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return false
		}
		path = filepath.Dir(path)
	}
}

// executable refuses a file system that is mounted noexec.
func executable(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return writing(dir, "the file system can't be looked at", err)
	}
	if st.Flags&unix.ST_NOEXEC == 0 {
		return nil
	}
	return &Error{Code: InstallFailed, Sentence: "nothing can be executed on the file system of " + dir + ", which is mounted noexec",
		Hint: "mount it with exec, or choose another directory, since an engine that is part of the definitions could not be loaded there"}
}

// mayMake tells whether path can be made, of which dir is the part that is there.
func mayMake(path, dir string) error {
	root, err := openDir(dir)
	if err == nil {
		defer root.Close()
		err = writable(root)
	}
	if errors.Is(err, fs.ErrPermission) {
		return &Error{PermissionDenied, "no directory can be made in " + dir + " by this user", giveHint(path, os.Geteuid()), err}
	}
	return writing(path, "the directory can't be made", err)
}

// onlySets tells whether a directory holds what an engine directory may.
func onlySets(root *os.Root, dir string, sets bool) error {
	names, _, err := readNames(root, ".", maxEntries)
	if err != nil {
		return writing(dir, "the directory can't be listed", err)
	}
	for _, name := range names {
		if name == lostFound || sets && (isOwn(name)) {
			continue
		}
		return &Error{Code: InstallFailed, Sentence: "the directory " + dir + " is not empty",
			Hint: "choose an empty directory, or one that is not there yet, so that nothing of anybody's is touched"}
	}
	return nil
}

// isOwn tells whether a name in an engine directory is one of the agent's.
func isOwn(name string) bool {
	_, set := parseName(name)
	return set || name == currentLink || name == previousLink || name == stagingDir
}

// LinkLike makes the links of this directory, which nobody reads yet, those of
// another one: with the same targets and the same times, as far as the sets are
// here, and durable. The error is an *Error.
func (d *Dir) LinkLike(other *Dir) error {
	if err := d.forWriting(); err != nil {
		return err
	}
	current, _, err := other.Current()
	if err != nil {
		return err
	}
	previous, _, err := other.Previous()
	if err != nil && !isDamage(err) {
		return err
	}
	if previous.Name == current.Name { // as a crash leaves it
		previous = Set{}
	}
	for link, set := range map[string]Set{previousLink: previous, currentLink: current} {
		if err := d.linkLike(other, link, set.Name); err != nil {
			return d.writing("a link can't be made", err)
		}
	}
	return d.writing("a link can't be made", syncDir(d.root, "."))
}

// linkLike makes one link, or none where the set it leads to is not here.
func (d *Dir) linkLike(other *Dir, link, target string) error {
	_, here, err := d.Find(target)
	if err != nil {
		return err
	}
	if !here {
		if _, taken, err := exists(d.root, link); err != nil || !taken {
			return err
		}
		return d.evict(link)
	}
	if err := d.link(link, target); err != nil {
		return err
	}
	// Reports take this time for that of the last update.
	info, err := other.root.Lstat(link)
	if err != nil {
		return err
	}
	dir, err := d.root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	at := unix.NsecToTimespec(info.ModTime().UnixNano())
	return unix.UtimesNanoAt(int(dir.Fd()), link, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}

// Remove removes what is the agent's from the engine directory at path, which is
// not in force, and the directory itself, unless something else is in it or it is a
// mount point, be it one where nothing is mounted now. That there is none is no error.
// The error is an *Error.
func Remove(path string) error {
	some, err := Clear(path)
	if some && err == nil {
		_ = os.Remove(path) // what is another's stays
	}
	return err
}

// Clear is Remove, but leaves the directory itself. It tells whether there was
// something of the agent's in it. The links go first, so that nobody finds half a set
// by them.
func Clear(path string) (some bool, err error) {
	root, err := openDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, writing(path, "an engine directory that was left can't be opened", err)
	}
	defer root.Close()
	some, err = removeOwn(root)
	return some, writing(path, "an engine directory that was left can't be removed", err)
}

func removeOwn(root *os.Root) (some bool, err error) {
	for _, link := range []string{currentLink, previousLink} {
		if err := root.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		} else if err == nil {
			some = true
		}
	}
	names, complete, err := readNames(root, ".", maxEntries)
	if err == nil && !complete {
		err = errors.New("more entries than an engine directory has")
	}
	for _, name := range names {
		if isOwn(name) {
			some = true
			err = errors.Join(err, removeTree(root, path.Clean(name)))
		}
	}
	return some, errors.Join(err, syncDir(root, "."))
}
