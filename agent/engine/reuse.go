package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"mdatp-offline-agent/verifier"
)

// Reuse takes the file f from an installed set, where it lies under its name or
// under another one, instead of fetching it. What is there is hashed first; the
// answer is false, without an error, where it is not the listed file. An error
// is an *Error of writing, or that of the context.
//
// The bytes are shared where that is possible: by a reflink, else by a hard link
// to the very inode that was hashed, else they are copied.
func (s *Staging) Reuse(ctx context.Context, f verifier.File, from Set) (bool, error) {
	root, err := from.open()
	if err != nil {
		return false, nil
	}
	defer root.Close()
	for _, name := range candidates(root, f) {
		if ok, err := s.reuse(ctx, f, root, name); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// candidates are the names of files that could be f, because their size is the
// listed one; the one of the same name comes first.
func candidates(root *os.Root, f verifier.File) []string {
	found, _, err := inventory(root)
	if err != nil {
		return nil
	}
	var names []string
	for _, name := range append([]string{f.Name}, slices.Sorted(maps.Keys(found))...) {
		stat, ok := found[name]
		if ok && stat.Size == f.Size && verifier.ValidName(name) {
			names = append(names, name)
		}
		delete(found, name)
	}
	return names
}

// reuse takes one installed file, if it is f. All that follows works on the
// descriptor that was hashed, never on the name again.
func (s *Staging) reuse(ctx context.Context, f verifier.File, root *os.Root, name string) (bool, error) {
	source, err := openRegular(root, name)
	if err != nil {
		return false, nil
	}
	defer source.Close()
	if hashed(ctx, source, f) != nil {
		return false, ctx.Err()
	}
	file, err := s.reflink(source, f.Name)
	if err != nil {
		file, err = s.hardlink(source, f.Name)
	}
	if err == nil {
		s.keep(f, file)
		return true, nil
	}
	if _, err := source.Seek(0, io.SeekStart); err != nil {
		return false, nil
	}
	return s.copied(ctx, f, source)
}

// copied falls back on a copy, which is hashed again while it is made.
func (s *Staging) copied(ctx context.Context, f verifier.File, source *os.File) (bool, error) {
	err := s.Write(ctx, f, source)
	if err == nil || isOurs(err) {
		return err == nil, err
	}
	return false, nil // it changed meanwhile, or can't be read
}

// reflink makes a new file that shares the blocks of the open one.
func (s *Staging) reflink(source *os.File, name string) (*os.File, error) {
	file, err := s.create(name)
	if err != nil {
		return nil, err
	}
	if err := unix.IoctlFileClone(int(file.Fd()), int(source.Fd())); err != nil {
		file.Close()
		_ = s.root.Remove(name)
		return nil, err
	}
	return file, nil
}

// hardlink gives the open file a name in the staging. Only what nobody can open
// for writing is shared between sets: a file of another mode or another owner
// could be changed in the new set by way of the old one.
func (s *Staging) hardlink(source *os.File, name string) (*os.File, error) {
	info, err := source.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode() != fileMode || owner(info) != os.Geteuid() {
		return nil, errors.New("not a sealed file of this user")
	}
	dir, err := s.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	// The one way of linking by descriptor that needs no capability.
	proc := fmt.Sprintf("/proc/self/fd/%d", source.Fd())
	if err := unix.Linkat(unix.AT_FDCWD, proc, int(dir.Fd()), name, unix.AT_SYMLINK_FOLLOW); err != nil {
		return nil, err
	}
	file, err := openRegular(s.root, name)
	if err != nil {
		return nil, err
	}
	linked, err := file.Stat()
	if err == nil && !os.SameFile(info, linked) {
		err = errors.New("something else was linked than what was hashed")
	}
	if err != nil {
		file.Close()
		_ = s.root.Remove(name)
		return nil, err
	}
	return file, nil
}
