package engine

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// What must stay free after everything has been written: the agent has a state
// to record, and it should not be the one that fills a system's disk.
const (
	reserveBytes = 16 << 20
	reserveFiles = 16
)

// Room tells whether so many bytes in so many files can be written, and a small
// reserve stays. It is asked before the first byte is written. The error is an
// *Error: disk_full, with the numbers in its sentence.
// A directory that View found missing has room: nothing is known of its disk.
func (d *Dir) Room(bytes int64, files int) error {
	if d.root == nil {
		return nil
	}
	free, err := statfs(d.root)
	if err != nil {
		return d.writing("the free space of the engine directory can't be told", err)
	}
	return enough(free, bytes, files)
}

// Shares tells whether files can have names in this directory and in another one at
// the same time, because both are on one file system.
func (d *Dir) Shares(other *Dir) bool {
	if d.root == nil || other.root == nil {
		return false
	}
	a, errA := d.root.Stat(".")
	b, errB := other.root.Stat(".")
	if errA != nil || errB != nil {
		return false
	}
	return device(a) == device(b)
}

func device(info fs.FileInfo) uint64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return uint64(st.Dev)
}

// space is what a file system has left.
type space struct {
	block  int64  // bytes of one block
	blocks uint64 // free for this user
	inodes uint64 // free
	fixed  bool   // the number of inodes has a limit
}

func statfs(root *os.Root) (space, error) {
	f, err := root.Open(".")
	if err != nil {
		return space{}, err
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return space{}, err
	}
	block := int64(st.Frsize) // the unit of the counts, where it is told
	if block <= 0 {
		block = max(int64(st.Bsize), 1)
	}
	// Not the root user's share: it keeps the system alive. And btrfs, for one,
	// makes inodes as they are needed and tells of none.
	return space{block: block, blocks: st.Bavail, inodes: st.Ffree, fixed: st.Files > 0}, nil
}

// enough decides. It counts in blocks: a file begins a block of its own, and
// a bogus count of blocks times their size might not fit a number.
func enough(free space, bytes int64, files int) error {
	need := uint64((max(bytes, 0)+reserveBytes)/free.block) + uint64(files) + 1
	if free.blocks < need {
		return &Error{Code: DiskFull, Sentence: fmt.Sprintf("%.0f MB are needed for the engine directory, and %.0f MB are free",
			megabytes(need, free.block), megabytes(free.blocks, free.block)), Hint: roomHint}
	}
	if needed := uint64(files + reserveFiles); free.fixed && free.inodes < needed {
		return &Error{Code: DiskFull, Sentence: fmt.Sprintf("%d inodes are needed for the engine directory, and %d are free",
			needed, free.inodes), Hint: "remove small files on that file system, or give the engine directory a larger one"}
	}
	return nil
}

func megabytes(blocks uint64, block int64) float64 {
	return float64(blocks) * float64(block) / 1e6
}
