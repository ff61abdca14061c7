package state

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
)

// lockWait is how long a lock is tried when nobody asked for longer.
const lockWait = 2 * time.Second

// lockPoll is how often it is tried meanwhile.
const lockPoll = 50 * time.Millisecond

// Holder is who holds the lock.
type Holder struct {
	PID   int       `json:"pid"`
	Since time.Time `json:"since"`
}

// Lock is the right to write to the state and the engine directory.
type Lock struct{ file *flock.Flock }

// Lock takes the lock, trying for as long as wait, or two seconds where wait is
// shorter. When another process keeps
// it, the error has the code busy and says who. The file stays when the lock is
// released: removing it would let two processes hold two locks of one name.
func (s *Store) Lock(ctx context.Context, wait time.Duration, now time.Time) (*Lock, error) {
	path := filepath.Join(s.dir, "lock")
	file := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	waiting, cancel := context.WithTimeout(ctx, max(wait, lockWait))
	defer cancel()
	locked, err := file.TryLockContext(waiting, lockPoll)
	switch {
	case locked:
		me, _ := json.Marshal(Holder{os.Getpid(), now.UTC().Truncate(time.Second)}) // an int and a time always encode
		if err := os.WriteFile(path, me, 0o600); err != nil {
			return nil, errors.Join(s.failed("write to", err), file.Close())
		}
		return &Lock{file}, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return nil, s.busy()
	}
	return nil, s.failed("lock", err)
}

// Unlock releases the lock.
func (l *Lock) Unlock() error { return l.file.Close() }

func (s *Store) busy() error {
	e := &Error{Code: "busy", Sentence: "another process is updating", Hint: "wait for it, with --wait DURATION if you like"}
	var h Holder
	if data, err := readFile(filepath.Join(s.dir, "lock")); err == nil && json.Unmarshal(data, &h) == nil && h.PID > 0 {
		e.Sentence = fmt.Sprintf("process %d is updating since %s", h.PID, h.Since.UTC().Format(time.RFC3339))
	}
	return e
}

// Updating tells whether some process holds the lock. It takes no lock itself,
// and any user may ask: the kernel lists all of them.
func (s *Store) Updating() bool {
	info, err := os.Stat(filepath.Join(s.dir, "lock"))
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return false
	}
	defer locks.Close()
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		if holds(lines.Text(), uint64(stat.Dev), stat.Ino, s.onBtrfs()) {
			return true
		}
	}
	return false
}

// holds reads a line of /proc/locks, such as
//
//	3: FLOCK  ADVISORY  WRITE 1234 fe:00:131 0 EOF
//
// where the sixth field is the device's numbers in hexadecimal and the inode.
func holds(line string, dev, inode uint64, anyDevice bool) bool {
	fields := strings.Fields(line)
	if len(fields) < 6 || fields[1] != "FLOCK" || fields[3] != "WRITE" {
		return false
	}
	id := strings.Split(fields[5], ":")
	if len(id) != 3 || id[2] != strconv.FormatUint(inode, 10) {
		return false
	}
	return anyDevice || fmt.Sprintf("%02x:%02x", unix.Major(dev), unix.Minor(dev)) == id[0]+":"+id[1]
}

// onBtrfs: there, stat gives a device of the subvolume and /proc/locks another
// of the file system, so that only the inode can be compared.
func (s *Store) onBtrfs() bool {
	var fs unix.Statfs_t
	return unix.Statfs(s.dir, &fs) == nil && fs.Type == unix.BTRFS_SUPER_MAGIC
}
