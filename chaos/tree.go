package chaos

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// copyTree copies a directory, with modes and times. Files that nobody may write
// to are linked, which is quick and keeps their inodes, by which the agent knows
// that a set was not touched; it never writes into one.
func copyTree(from, to string) error {
	times := map[string]time.Time{} // of directories, which change while they are filled
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			times[target] = info.ModTime()
			return makeDir(target, info.Mode().Perm())
		case e.Type() == fs.ModeSymlink:
			leads, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(leads, target)
		case info.Mode().Perm()&0o222 == 0:
			if err := os.Link(path, target); !errors.Is(err, syscall.EXDEV) {
				return err
			}
		}
		return copyFile(path, target, info)
	})
	if err != nil {
		return err
	}
	for dir, at := range times {
		if err := os.Chtimes(dir, at, at); err != nil {
			return err
		}
	}
	return nil
}

// makeDir makes a directory with that mode, whatever the umask is.
func makeDir(path string, mode fs.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

func copyFile(from, to string, info fs.FileInfo) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	if err := os.Chmod(to, info.Mode().Perm()); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}
