package trustdir

import (
	"io/fs"
	"path/filepath"
)

// guarded is nothing here, since no path leads to a pipe that waits.
const guarded = 0

// walk resolves path. Who could change it is not looked at.
func walk(_, path string) (string, error) {
	at, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", invalid(path, "can not be looked at", "check that it exists, and the rights to the directories above it", err)
	}
	return at, nil
}

func checkDir(_, _ string) error { return nil }

func checkOwner(_, _ string, _ fs.FileInfo) error { return nil }
