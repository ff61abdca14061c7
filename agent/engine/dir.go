package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// The names below the engine directory that are no sets.
const (
	currentLink  = "current"
	previousLink = "previous"
	stagingDir   = ".staging"
)

// The modes of everything here. They are set on open descriptors, so that no
// umask takes part; nothing sealed is ever writable, not even by its owner.
const (
	dirMode     fs.FileMode = 0o755
	fileMode    fs.FileMode = 0o444
	privateDir  fs.FileMode = 0o700
	privateFile fs.FileMode = 0o600
)

// maxEntries is how many names the engine directory may hold before it is
// clearly not a directory of the agent's own.
const maxEntries = 4096

// Dir is an engine directory. All names below it are resolved through a
// descriptor of it, so that they can't lead out of it. Reading is safe for
// concurrent use; writing is for one holder of the caller's lock at a time.
type Dir struct {
	path    string
	root    *os.Root // nil where View found nothing
	staging *os.Root // nil where only reading was asked for
}

// Open prepares the engine directory at path for writing and makes it, the
// directories above it and .staging where they are missing. The error is an
// *Error: permission_denied where this user could not install anything there.
func Open(path string) (*Dir, error) {
	err := makeDirs(path)
	if err != nil {
		return nil, writing(path, "the engine directory can't be made", err)
	}
	d := &Dir{path: path}
	if d.root, err = openDir(path); err == nil {
		err = d.openStaging()
	}
	if err != nil {
		d.Close()
		return nil, d.writing("the engine directory can't be opened", err)
	}
	return d, nil
}

// View opens the engine directory for reading. It makes nothing, and takes a
// missing directory for an empty one. The error is an *Error.
func View(path string) (*Dir, error) {
	d := &Dir{path: path}
	var err error
	d.root, err = openDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, d.viewing(err)
	}
	return d, nil
}

// Path is the path the directory was opened by.
func (d *Dir) Path() string { return d.path }

// Close gives the descriptors back. Spools and stagings must be done by then.
func (d *Dir) Close() error {
	var errs []error
	for _, r := range []*os.Root{d.staging, d.root} {
		if r != nil {
			errs = append(errs, r.Close())
		}
	}
	return errors.Join(errs...)
}

// openStaging makes sure that this user can write here, before anything is
// fetched for nothing, and that .staging is a private directory.
func (d *Dir) openStaging() error {
	if err := writable(d.root); err != nil {
		return err
	}
	if err := d.root.Mkdir(stagingDir, privateDir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	var err error
	if d.staging, err = openSub(d.root, stagingDir); err != nil {
		if errors.Is(err, unix.ENOTDIR) {
			return &Error{InstallFailed, "something that is no directory stands in the place of .staging", foreignHint, err}
		}
		return err
	}
	info, err := d.staging.Stat(".")
	if err != nil {
		return err
	}
	if info.Mode().Perm() != privateDir {
		if err := d.staging.Chmod(".", privateDir); err != nil {
			return err
		}
	}
	return writable(d.staging)
}

// forWriting is the guard of everything that writes.
func (d *Dir) forWriting() error {
	if d.staging == nil {
		return &Error{Code: InstallFailed, Sentence: "the engine directory was opened for reading only", Hint: faultHint}
	}
	return nil
}

// Current is the active set; false where there is none. A link that leads to
// anything but a set gives an *Error with set_damaged.
func (d *Dir) Current() (Set, bool, error) { return d.linked(currentLink) }

// Previous is the set that was active before; else like Current.
func (d *Dir) Previous() (Set, bool, error) { return d.linked(previousLink) }

// linked resolves a link once. Whatever happens to the link later, the Set
// keeps naming the same directory.
func (d *Dir) linked(link string) (Set, bool, error) {
	target, err := d.target(link)
	if err != nil || target == "" {
		return Set{}, false, err
	}
	set, ok := d.set(target)
	if !ok {
		return Set{}, false, &Error{Code: SetDamaged, Sentence: "the link " + link + " leads to something that is no set", Hint: damagedHint}
	}
	info, err := d.root.Lstat(target)
	if err == nil && !info.IsDir() {
		err = unix.ENOTDIR
	}
	if err != nil {
		return Set{}, false, d.reading("the link "+link+" leads to a set that is not there", err)
	}
	return set, true, nil
}

// target is what a link says, empty where there is no link. It need not be the
// name of a set.
func (d *Dir) target(link string) (string, error) {
	if d.root == nil {
		return "", nil
	}
	target, err := d.root.Readlink(link)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return target, d.reading(link+" is not a link", err)
}

// Find gives the sealed set of that name; false where there is none. The error,
// where it could not look, is an *Error.
func (d *Dir) Find(name string) (Set, bool, error) {
	set, ok := d.set(name)
	if !ok || d.root == nil {
		return set, false, nil
	}
	ok, err := set.isSealed()
	return set, ok, err
}

// Sets gives every set here, the newest definition version first, sets of one
// version by name. What has no set's name or holds no signed list is not ours
// and is passed over. The error is an *Error; where it is about some of the sets,
// the others come along with it.
func (d *Dir) Sets() (sets []Set, err error) {
	if d.root == nil {
		return nil, nil
	}
	names, complete, err := readNames(d.root, ".", maxEntries)
	if err != nil {
		return nil, d.reading("the engine directory can't be listed", err)
	}
	if !complete {
		return nil, &Error{Code: InstallFailed, Sentence: fmt.Sprintf("the engine directory holds more than %d entries", maxEntries),
			Hint: "give the agent a directory of its own"}
	}
	for _, name := range names {
		set, ok, unread := d.Find(name)
		if ok {
			sets = append(sets, set)
		}
		err = cmp.Or(err, unread)
	}
	slices.SortFunc(sets, func(a, b Set) int {
		return cmp.Or(b.version.Compare(a.version), cmp.Compare(a.Name, b.Name))
	})
	return sets, err
}
