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
	"sync"
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

// beatEvery is how often a lock shows at the most that its holder gets on.
const beatEvery = 5 * time.Second

// The locks. An update holds the first, a daemon the second for all its life.
const (
	updateLock = "lock"
	daemonLock = "daemon.lock"
)

// Lock is the right to write to the state and the engine directory, or to be the
// one daemon. Beat may be called by several goroutines at once.
type Lock struct {
	file *flock.Flock
	mu   sync.Mutex
	beat time.Time
}

// Lock takes the lock, trying for as long as wait, or two seconds where wait is
// shorter. When another process keeps
// it, the error has the code busy and says who. The file stays when the lock is
// released: removing it would let two processes hold two locks of one name.
func (s *Store) Lock(ctx context.Context, wait time.Duration, now time.Time) (*Lock, error) {
	l, err := s.take(ctx, updateLock, wait, now, holder{"is updating", "wait for it, with --wait DURATION if you like"})
	if err == nil {
		s.clean()
	}
	return l, err
}

// LockDaemon takes the lock of the one daemon, else like Lock.
func (s *Store) LockDaemon(ctx context.Context, now time.Time) (*Lock, error) {
	return s.take(ctx, daemonLock, 0, now, holder{"is the daemon", "there is nothing to do, or stop that one first"})
}

// holder is what is said of who holds a lock.
type holder struct{ does, hint string }

func (s *Store) take(ctx context.Context, name string, wait time.Duration, now time.Time, other holder) (*Lock, error) {
	path := filepath.Join(s.dir, name)
	file := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW), flock.SetPermissions(0o600))
	waiting, cancel := context.WithTimeout(ctx, max(wait, lockWait))
	defer cancel()
	locked, err := file.TryLockContext(waiting, lockPoll)
	switch {
	case locked:
		me, _ := json.Marshal(Holder{os.Getpid(), now.UTC().Truncate(time.Second)}) // an int and a time always encode
		// On a full disk the lock is held all the same, and a daemon must start.
		if err := os.WriteFile(path, me, 0o600); err != nil && !errors.Is(err, unix.ENOSPC) {
			return nil, errors.Join(s.failed("write to", err), file.Close())
		}
		l := &Lock{file: file}
		l.Beat(now)
		return l, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return nil, s.busy(name, other)
	}
	return nil, s.failed("lock", err)
}

// Unlock releases the lock.
func (l *Lock) Unlock() error { return l.file.Close() }

// Beat shows that the holder gets on, by the time of the lock's file. It is for
// whoever asks whether the holder hangs, so that it fails is no failure.
func (l *Lock) Beat(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if since := now.Sub(l.beat); since < 0 || since >= beatEvery {
		l.beat = now
		_ = os.Chtimes(l.file.Path(), now, now)
	}
}

func (s *Store) busy(name string, other holder) error {
	e := &Error{Code: "busy", Sentence: "another process " + other.does, Hint: other.hint}
	var h Holder
	if data, err := readFile(filepath.Join(s.dir, name)); err == nil && json.Unmarshal(data, &h) == nil && h.PID > 0 {
		e.Sentence = fmt.Sprintf("process %d %s since %s", h.PID, other.does, h.Since.UTC().Format(time.RFC3339))
	}
	return e
}

// Work is an update that holds the lock.
type Work struct {
	PID      int       // 0 where the kernel does not tell
	Progress time.Time // when it last got on
}

// Updating tells whether some process holds the lock, and which. It takes no lock
// itself, and any user may ask: the kernel lists all of them.
func (s *Store) Updating() (w Work, held bool) {
	info, err := os.Stat(filepath.Join(s.dir, updateLock))
	if err != nil {
		return w, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return w, false
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return w, false
	}
	defer locks.Close()
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		if pid, ok := holds(lines.Text(), uint64(stat.Dev), stat.Ino, s.onBtrfs()); ok {
			return Work{PID: pid, Progress: info.ModTime()}, true
		}
	}
	return w, false
}

// DaemonRuns tells whether a daemon holds its lock, for a process that may. It
// tries the lock, by sharing it for a moment, which a daemon that starts then
// waits for.
func (s *Store) DaemonRuns() bool {
	path := filepath.Join(s.dir, daemonLock)
	if _, err := os.Stat(path); err != nil {
		return false
	}
	file := flock.New(path, flock.SetFlag(os.O_RDONLY))
	free, err := file.TryRLock()
	defer file.Close()
	return err == nil && !free
}

// holds reads a line of /proc/locks, such as
//
//	3: FLOCK  ADVISORY  WRITE 1234 fe:00:131 0 EOF
//
// where the fifth field is the process, and the sixth is the device's numbers in
// hexadecimal and the inode.
func holds(line string, dev, inode uint64, anyDevice bool) (pid int, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 || fields[1] != "FLOCK" || fields[3] != "WRITE" {
		return 0, false
	}
	id := strings.Split(fields[5], ":")
	if len(id) != 3 || id[2] != strconv.FormatUint(inode, 10) {
		return 0, false
	}
	pid, _ = strconv.Atoi(fields[4]) // 0 is a process of another namespace
	return max(pid, 0), anyDevice || fmt.Sprintf("%02x:%02x", unix.Major(dev), unix.Minor(dev)) == id[0]+":"+id[1]
}

// onBtrfs: there, stat gives a device of the subvolume and /proc/locks another
// of the file system, so that only the inode can be compared.
func (s *Store) onBtrfs() bool {
	var fs unix.Statfs_t
	return unix.Statfs(s.dir, &fs) == nil && fs.Type == unix.BTRFS_SUPER_MAGIC
}
