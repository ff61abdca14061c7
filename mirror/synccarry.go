package mirror

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// The sidecar of what is published as updates.zip.
const zipSidecar = zipFile + sidecarSuffix

// carryOver gives a directory that is on its way in what lies in the published one
// beside the pair, such as approved packages and their lists. Nobody knows what else
// somebody keeps there, so all of it goes along; the sidecar only where it is still
// about what it was about.
func carryOver(from, to string, sidecar bool) error {
	names, err := besidePair(from)
	for _, name := range names {
		if name == zipSidecar && !sidecar {
			continue
		}
		if err := carry(filepath.Join(from, name), filepath.Join(to, name), linkOrCopy); err != nil {
			return err
		}
	}
	return err
}

// sidecarStays says whether the sidecar in a directory goes along when the package at
// came replaces the one there. It does where it is about another package, which stays,
// and the one that came does not speak for itself.
func sidecarStays(dir, came string) bool {
	path := filepath.Join(dir, zipFile)
	object, err := readObject(path + sidecarSuffix)
	if err != nil {
		return false
	}
	claims, err := verifier.ReadClaims(object)
	if err != nil || !aboutOther(claims.List, path) {
		return false
	}
	info, err := os.Stat(filepath.Join(dir, claims.List.Zip))
	return err == nil && info.Mode().IsRegular() && !hasMeta(came)
}

// hasMeta says whether a package has any entry below META/.
func hasMeta(path string) bool {
	a, err := openArchive(path)
	if err != nil {
		return false // nor has it for endpoints, which read it in the same way
	}
	defer a.file.Close()
	return a.layout.HasMeta()
}

// besidePair names what lies in a directory beside the pair, and what the vendor's
// script leaves when it fails.
func besidePair(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case name == zipFile, name == manifestFile, name == "manifest.xml", strings.HasPrefix(name, zipFile+"_temp"):
		default:
			names = append(names, name)
		}
	}
	return names, treeError("a directory of packages", dir, err)
}

// carry takes along a file, by the function that is given, a link, or a directory with
// all that is in it. What is neither keeps the next package from coming.
func carry(from, to string, file func(from, to string) error) error {
	info, err := os.Lstat(from)
	switch {
	case err != nil:
	case info.Mode().IsRegular():
		err = file(from, to)
	case info.Mode().Type() == fs.ModeSymlink:
		err = carryLink(from, to)
	case info.IsDir():
		err = carryDir(from, to, info.Mode().Perm(), file)
	default:
		err = &Error{Code: codeInstall, Sentence: "what lies beside a package is no file, directory or link, and can not go along with the next one",
			Hint: "take " + printable.Quote(from) + " away"}
	}
	return treeError("what lies beside a package", from, err)
}

func carryLink(from, to string) error {
	target, err := os.Readlink(from)
	if err != nil {
		return err
	}
	return os.Symlink(target, to)
}

func carryDir(from, to string, mode fs.FileMode, file func(from, to string) error) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		if err := carry(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()), file); err != nil {
			return err
		}
	}
	const removable = 0o700 // by its owner, when its time has come
	return errors.Join(syncDir(to), os.Chmod(to, mode|removable))
}

// linkOrCopy gives a file a second name, or a copy where the file system has none.
func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	return copyFile(from, to)
}

// copyFile copies a file with its mode and its time, of which servers make its tag.
func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	p, err := newPending(to)
	if err != nil {
		return err
	}
	defer p.Cleanup()
	if _, err := io.Copy(p, src); err != nil {
		return err
	}
	if err := errors.Join(p.Chmod(info.Mode().Perm()), commit(p, to)); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}
