package agent

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// BecomeOwner makes a process that was started by root go on as the owner of
// the state directory, where there is one and it isn't root: what a run with
// sudo leaves there must be the service's own, and root must never walk paths
// that another user can change. There is no way back. It is called before
// anything is written.
func (a *Agent) BecomeOwner() error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(a.Paths.State)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it will be root's
	}
	if err != nil {
		return noOwner(a.Paths.State)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid == 0 {
		return nil
	}
	uid, gid := int(stat.Uid), int(stat.Gid)
	// The order matters: who has given up being root can't change groups.
	err = errors.Join(syscall.Setgroups(groupsOf(uid, gid)), syscall.Setresgid(gid, gid, gid), syscall.Setresuid(uid, uid, uid))
	if err != nil {
		return noOwner(a.Paths.State)
	}
	return nil
}

func noOwner(dir string) error {
	return &Failure{codePermission, "could not become the owner of " + dir, "run the command as the user who owns that directory"}
}

// groupsOf gives a user's groups, which may be what lets it read a mirror's
// directory; the owner's group alone for a user that has no entry.
func groupsOf(uid, gid int) []int {
	groups := []int{gid}
	owner, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return groups
	}
	ids, err := owner.GroupIds()
	if err != nil {
		return groups
	}
	for _, id := range ids {
		if n, err := strconv.Atoi(id); err == nil {
			groups = append(groups, n)
		}
	}
	return groups
}
