package engine

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"mdatp-offline-agent/verifier"
)

// metaDir is the directory of the list inside a set.
const metaDir = "META"

// derivedEntry is where the list of a set lies that nobody signed, since it was made
// of what the files themselves prove. Only one of it and verifier.ListEntry is there.
const derivedEntry = metaDir + "/package.json"

// Derived tells a list that nobody signed, which is JSON, from a signed one.
func Derived(list []byte) bool { return len(list) > 0 && list[0] == '{' }

// isList tells whether a set's list lies under that name.
func isList(name string) bool { return name == verifier.ListEntry || name == derivedEntry }

// entryOf is where that list lies in a set.
func entryOf(list []byte) string {
	if Derived(list) {
		return derivedEntry
	}
	return verifier.ListEntry
}

// digestDigits is how many hexadecimal digits of the list's digest are part of
// a set's name: enough to tell the lists of one version apart. Nothing is
// believed because of it.
const digestDigits = 8

// Set is one sealed set of files below an engine directory. Its methods stop
// working when the Dir is closed.
type Set struct {
	Name    string // as of SetName
	version verifier.Version
	dir     *Dir
}

// SetName is the name of the set with this definition version and this SHA-256
// of its list. Two lists of one version have two names.
func SetName(definition verifier.Version, listDigest [32]byte) string {
	return definition.String() + "-" + hex.EncodeToString(listDigest[:])[:digestDigits]
}

// parseName reads what SetName wrote, and nothing else.
func parseName(name string) (verifier.Version, bool) {
	number, digest, ok := strings.Cut(name, "-")
	if !ok || len(digest) != digestDigits || strings.Trim(digest, "0123456789abcdef") != "" {
		return verifier.Version{}, false
	}
	version, err := verifier.ParseVersion(number)
	return version, err == nil
}

// set makes a Set of a name, where it is the name of one.
func (d *Dir) set(name string) (Set, bool) {
	version, ok := parseName(name)
	return Set{Name: name, version: version, dir: d}, ok
}

// Path is where the set lies, empty for the zero Set.
func (s Set) Path() string {
	if s.dir == nil {
		return ""
	}
	return filepath.Join(s.dir.path, s.Name)
}

// open gives the set's directory. A symlink in its place is not followed.
func (s Set) open() (*os.Root, error) {
	if s.dir == nil || s.dir.root == nil {
		return nil, fs.ErrNotExist
	}
	return openSub(s.dir.root, s.Name)
}

// isSealed tells whether there is a directory with a list in it. It says nothing
// about what is in that list. The error, where it could not look, is an *Error.
func (s Set) isSealed() (bool, error) {
	for _, name := range []string{".", metaDir} {
		if ok, err := s.has(name, fs.ModeDir); !ok {
			return false, err
		}
	}
	ok, err := s.has(verifier.ListEntry, 0)
	if !ok && err == nil {
		ok, err = s.has(derivedEntry, 0)
	}
	return ok, err
}

// has tells whether there is something of that name and kind in the set.
func (s Set) has(name string, kind fs.FileMode) (bool, error) {
	info, err := s.dir.root.Lstat(path.Join(s.Name, name))
	return err == nil && info.Mode().Type() == kind, s.Unread(err)
}

// Gone tells that there is no set of that name any more, whatever it was.
func (s Set) Gone() bool { return s.dir.isGone(s.Name) }

// Unread tells damage from what could not be read. Where err, which came of reading
// the set, proves nothing about what is in it, it gives an *Error that says so, and
// nil for any other.
func (s Set) Unread(err error) error {
	if !provesNothing(err) {
		return nil
	}
	return s.dir.unread("the set "+s.Name+" can't be read", err)
}

// List is the content of META/package.p7m or, where there is none, of
// META/package.json, at most verifier.MaxListSize bytes. They are as they lie there:
// whether they are true is for the caller to find out. The error is an *Error.
func (s Set) List() ([]byte, error) {
	data, err := s.listAt(verifier.ListEntry)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = s.listAt(derivedEntry)
	}
	if err != nil {
		return nil, s.dir.reading("the list of an installed set can't be read", err)
	}
	return data, nil
}

// listAt reads the list that lies there, which must be one of the kind for that place.
func (s Set) listAt(entry string) ([]byte, error) {
	root, err := s.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	meta, err := openSub(root, metaDir)
	if err != nil {
		return nil, err
	}
	defer meta.Close()
	f, err := openRegular(meta, path.Base(entry))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, verifier.MaxListSize+1))
	if err == nil && len(data) > verifier.MaxListSize {
		err = fmt.Errorf("more than %d bytes", verifier.MaxListSize)
	}
	if err == nil && Derived(data) != (entry == derivedEntry) {
		err = errors.New("a list of another kind")
	}
	return data, err
}

// FileStat is what can be told of a file without reading it. Two that are equal
// are taken for the same content by whoever can't afford to hash.
type FileStat struct {
	Size  int64  `json:"size"`  // bytes
	MTime int64  `json:"mtime"` // nanoseconds since 1970
	Inode uint64 `json:"inode"`
}

// Stat looks at everything in the set and opens none of it. The keys are names
// relative to the set, its list among them; META itself is none, where
// it is the directory that it should be. The error is an *Error: set_damaged
// also where there is more in the set than any list can name.
func (s Set) Stat() (map[string]FileStat, error) {
	root, err := s.open()
	if err != nil {
		return nil, s.dir.reading("an installed set is not there", err)
	}
	defer root.Close()
	found, complete, err := inventory(root)
	if err == nil && !complete {
		err = errors.New("more files than a list can name")
	}
	if err != nil {
		return nil, s.dir.reading("an installed set can't be looked through", err)
	}
	return found, nil
}

// inventory is what lies in a set's directory; complete is false where it
// stopped at more entries than a set can have.
func inventory(root *os.Root) (found map[string]FileStat, complete bool, err error) {
	found = make(map[string]FileStat)
	complete = true
	dirs := []string{"."}
	if info, err := root.Lstat(metaDir); err == nil && info.IsDir() {
		dirs = append(dirs, metaDir)
	}
	for _, dir := range dirs {
		names, all, err := readNames(root, dir, verifier.MaxEntries)
		if err != nil {
			return nil, false, err
		}
		complete = complete && all
		for _, name := range names {
			if err := note(found, root, path.Join(dir, name)); err != nil {
				return nil, false, err
			}
		}
	}
	return found, complete, nil
}

// note enters one name into an inventory.
func note(found map[string]FileStat, root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if name == metaDir && info.IsDir() {
		return nil
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("the file system tells no inodes")
	}
	found[name] = FileStat{Size: info.Size(), MTime: info.ModTime().UnixNano(), Inode: st.Ino}
	return nil
}

// Check hashes the whole set. The files must be the listed ones, all of them,
// and nothing else may lie beside them but one list, which is for the caller to
// check. The error is an *Error, set_damaged where anything
// is missing, changed or too much, or that of the context.
func (s Set) Check(ctx context.Context, files []verifier.File) error {
	extra, err := s.Stat()
	if err != nil {
		return err
	}
	list, err := s.List()
	if err != nil {
		return err
	}
	delete(extra, entryOf(list))
	root, err := s.open()
	if err != nil {
		return s.dir.reading("an installed set is not there", err)
	}
	defer root.Close()
	for i, f := range files {
		if err := checkFile(ctx, root, f); err != nil {
			return s.dir.reading(fmt.Sprintf("file %d of %d of an installed set is missing or changed", i+1, len(files)), err)
		}
		delete(extra, f.Name)
	}
	if len(extra) > 0 {
		return &Error{Code: SetDamaged, Sentence: fmt.Sprintf("an installed set holds %d files that its list does not name", len(extra)), Hint: damagedHint}
	}
	return nil
}

// checkFile tells whether the named file of a set is the listed one.
func checkFile(ctx context.Context, root *os.Root, f verifier.File) error {
	file, err := openRegular(root, f.Name)
	if err != nil {
		return err
	}
	defer file.Close()
	return hashed(ctx, file, f)
}

// Open opens a file of the set for reading. The error is an *Error.
func (s Set) Open(name string) (*os.File, error) {
	root, err := s.open()
	if err != nil {
		return nil, s.dir.reading("an installed set is not there", err)
	}
	defer root.Close()
	file, err := openRegular(root, name)
	if err != nil {
		return nil, s.dir.reading("a file of an installed set can't be read", err)
	}
	return file, nil
}
