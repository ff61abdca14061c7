package hook

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// confine sets the limits of the main process, and of all that it started by
// then. What a process starts later inherits them. It looks again until it finds
// nobody without: then nobody is left who could start one without, either.
func (p *process) confine(memory int64) error {
	if _, err := limit(p.pid, memory); err != nil {
		return notLimited(err)
	}
	for again := true; again; {
		list, err := p.members()
		if err != nil {
			return err
		}
		again = false
		for _, m := range list {
			changed, err := limit(m.pid, memory)
			if err != nil {
				return notLimited(err)
			}
			again = again || changed
		}
	}
	return nil
}

// limit limits one process, and tells whether it had been without. That one has
// ended is no error.
func limit(pid int, memory int64) (changed bool, err error) {
	// The kernel's choice when memory runs out is asked for and not insisted on.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("1000"), 0)
	changed, err = lower(pid, unix.RLIMIT_CORE, 0)
	if err == nil && memory > 0 {
		var data bool
		data, err = lower(pid, unix.RLIMIT_DATA, uint64(memory))
		changed = changed || data
	}
	if errors.Is(err, syscall.ESRCH) {
		return false, nil
	}
	return changed, err
}

// lower sets a limit that only root could raise again, and tells whether it was
// higher. A lower one stays.
func lower(pid, resource int, most uint64) (changed bool, err error) {
	var is unix.Rlimit
	if err := unix.Prlimit(pid, resource, nil, &is); err != nil {
		return false, err
	}
	if is.Max <= most {
		return false, nil
	}
	return true, unix.Prlimit(pid, resource, &unix.Rlimit{Cur: min(is.Cur, most), Max: most}, nil)
}
