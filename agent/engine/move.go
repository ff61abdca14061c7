package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lostFound is what a file system of its own has at its top. It is nobody's.
const lostFound = "lost+found"

// Fit tells whether path may become an engine directory, and makes nothing. It need
// not be there yet. Nobody but root and this user may be able to put something else
// in its place; it must not lie where nothing may be executed, since an engine is
// part of what lies there; and it holds nothing, or, where sets may be there
// already, nothing but sets. The error is an *Error.
func Fit(path string, sets bool) error {
	there, err := nearest(path)
	if err != nil {
		return writing(path, "the directory can't be looked at", err)
	}
	for dir := there; ; dir = filepath.Dir(dir) {
		if err := ownWay(dir, dir == path); err != nil {
			return err
		}
		if dir == filepath.Dir(dir) {
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

// ownWay checks a directory on the way to the sets. One that everybody may write to
// is fit to lead there where nobody can rename what is another's.
func ownWay(dir string, last bool) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return writing(dir, "the directory can't be looked at", err)
	}
	uid, mode := owner(info), info.Mode()
	if uid != os.Geteuid() && (last || uid != 0) {
		return &Error{Code: PermissionDenied, Sentence: fmt.Sprintf("the directory %s belongs to another user, uid %d", dir, uid), Hint: giveHint(dir)}
	}
	if mode.Perm()&0o022 != 0 && (last || mode&fs.ModeSticky == 0) {
		return &Error{Code: PermissionDenied, Sentence: "the directory " + dir + " can be written by its group or by everybody", Hint: "chmod go-w " + dir}
	}
	return nil
}

func giveHint(dir string) string {
	return fmt.Sprintf("make it as root, and give it to the agent's user, with install -d -m 755 -o %d %s", os.Geteuid(), dir)
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
		return &Error{PermissionDenied, "no directory can be made in " + dir + " by this user", giveHint(path), err}
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
// not in force: the links first, so that nobody finds half a set by them, and at
// last the directory itself, unless something else is in it or it is a mount point.
// That there is none is no error. The error is an *Error.
func Remove(path string) error {
	root, err := openDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return writing(path, "an engine directory that was left can't be opened", err)
	}
	defer root.Close()
	err = removeOwn(root)
	if err == nil {
		_ = os.Remove(path) // what is another's stays
	}
	return writing(path, "an engine directory that was left can't be removed", err)
}

func removeOwn(root *os.Root) error {
	for _, link := range []string{currentLink, previousLink} {
		if err := root.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	names, complete, err := readNames(root, ".", maxEntries)
	if err == nil && !complete {
		err = errors.New("more entries than an engine directory has")
	}
	for _, name := range names {
		if isOwn(name) {
			err = errors.Join(err, removeTree(root, path.Clean(name)))
		}
	}
	return errors.Join(err, syncDir(root, "."))
}
