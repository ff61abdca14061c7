package mirror

import (
	"errors"

	"golang.org/x/sys/unix"
)

// exchange makes two names change places at once. It gives errNoExchange where
// the file system can't.
func exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) {
		return errNoExchange
	}
	return err
}

// freeBytes is what this user can still write below dir, or false where the system
// does not say.
func freeBytes(dir string) (int64, bool) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Frsize <= 0 {
		return 0, false
	}
	return int64(fs.Bavail) * fs.Frsize, true
}
