//go:build unix

package trustdir

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// guarded is how a file is opened: a FIFO can't hold the agent, and a link that
// took the file's place in the meantime is not followed.
const guarded = unix.O_NONBLOCK | unix.O_NOFOLLOW

// walk resolves path as the kernel would, and checks every directory that a
// name or a symlink on the way was found in: whoever can write there decides
// where the path leads. Root and what lies above it are not checked.
func walk(root, path string) (string, error) {
	const maxLinks = 40 // as the kernel has it
	at, links := "/", 0
	for rest := components(path); len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if err := checkDir(root, at); err != nil {
			return "", err
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		if err != nil {
			return "", invalid(next, "can not be looked at", "check that it exists and the permissions of the directories above it", err)
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		target, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			return "", invalid(next, "can not be resolved", "replace the link by the file", err)
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(components(target), rest...)
	}
	return at, nil
}

func components(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// checkDir checks one directory, unless it is root or above it.
func checkDir(root, dir string) error {
	above := strings.TrimSuffix(dir, "/") + "/"
	if strings.HasPrefix(strings.TrimSuffix(root, "/")+"/", above) {
		return nil
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return invalid(dir, "can not be looked at", "check the permissions of the directories above it", err)
	}
	return checkOwner(dir, dir, info)
}

func checkOwner(shown, path string, info fs.FileInfo) error {
	if readOnly(path) {
		return nil
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return invalid(shown, "has no owner", "keep it on a file system that has owners", nil)
	}
	if stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return invalid(shown, "belongs to another user", "chown root "+path, nil)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return invalid(shown, "can be written by its group or by everybody", "chmod go-w "+path, nil)
	}
	return nil
}

func readOnly(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Flags&mountedReadOnly != 0
}
