package mirror

import (
	"io/fs"

	"golang.org/x/sys/windows"
)

// errOtherDisk is what a rename to another file system gives.
const errOtherDisk = windows.ERROR_NOT_SAME_DEVICE

// Windows has no directory that every user may write to and take for granted.
const noFollow = 0

// private is about owners and modes, which are lists of access there.
func private(fs.FileInfo) bool { return true }

// rootOnOthers is about a user who may do everything, and does it as another.
func rootOnOthers(fs.FileInfo) (string, bool) { return "", false }

func ours(fs.FileInfo) bool { return true }
