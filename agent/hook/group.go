package hook

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What is left of a hook is killed in rounds, since it may be starting more.
const (
	killRounds = 5
	killWait   = 50 * time.Millisecond // for one round
	look       = 10 * time.Millisecond // between two looks
)

// member is a living process of a hook's.
type member struct {
	pid     int
	escaped bool // it is in another group by now
}

// members finds what lives of the hook: its group, and what left the group but
// still has its environment.
func (p *process) members() ([]member, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, notWatched(err)
	}
	var list []member
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		st, err := readStat(pid)
		switch {
		case err != nil || st.dead: // it ended while we looked
		case st.group == p.pid:
			list = append(list, member{pid, false})
		case p.begot(pid, st):
			list = append(list, member{pid, true})
		}
	}
	return list, nil
}

// begot tells whether a process outside the group certainly comes from the hook:
// it is younger, and carries every variable that the hook was given. Older
// processes are left in peace, since reading from one that hangs may hang, too.
func (p *process) begot(pid int, st stat) bool {
	if st.born < p.born {
		return false
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false // another user's, or it ended
	}
	its := bytes.Split(data, []byte{0})
	for _, ours := range p.cmd.Env {
		if !slices.ContainsFunc(its, func(v []byte) bool { return string(v) == ours }) {
			return false
		}
	}
	return true
}

// clear kills what lives of the hook, and tells whether anything did after wait.
func (p *process) clear(wait time.Duration) (left bool, err error) {
	list, err := p.waitForNone(wait)
	left = len(list) > 0
	for range killRounds {
		if err != nil || len(list) == 0 {
			break
		}
		p.kill(list)
		list, err = p.waitForNone(killWait)
	}
	if err != nil {
		p.signalGroup(syscall.SIGKILL)
	}
	return left, err
}

// waitForNone gives what lives of the hook, as soon as that is nothing or when
// limit is over.
func (p *process) waitForNone(limit time.Duration) ([]member, error) {
	for end := time.Now().Add(limit); ; time.Sleep(look) {
		list, err := p.members()
		if err != nil || len(list) == 0 || !time.Now().Before(end) {
			return list, err
		}
	}
}

// kill ends the group at one stroke, and those outside one by one.
func (p *process) kill(list []member) {
	p.signalGroup(syscall.SIGKILL)
	for _, m := range list {
		if m.escaped {
			p.killEscaped(m.pid)
		}
	}
}

// killEscaped takes hold of the process before it looks once more whose it is, so
// that a pid which was given to another one meanwhile hits nobody.
func (p *process) killEscaped(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it ended, or the kernel is too old to do it safely
	}
	defer unix.Close(fd)
	if st, err := readStat(pid); err == nil && p.begot(pid, st) {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // the next round sees whether it helped
	}
}

// stat is what the kernel tells of a process.
type stat struct {
	group int
	born  uint64 // in ticks since the machine started
	dead  bool   // it ended and was not reaped yet
}

func readStat(pid int) (stat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(data)
}

// parseStat reads a line of /proc/PID/stat, such as
//
//	1234 (name) S 1 1234 ...
//
// The name may hold anything, so what counts begins after the last parenthesis:
// with the state, the parent and the group. The start is the twentieth of these.
func parseStat(line []byte) (stat, error) {
	fields := bytes.Fields(line[bytes.LastIndexByte(line, ')')+1:])
	if len(fields) < 20 {
		return stat{}, fmt.Errorf("a process has %d fields, less than 20", len(fields))
	}
	group, err := strconv.Atoi(string(fields[2]))
	if err != nil {
		return stat{}, err
	}
	born, err := strconv.ParseUint(string(fields[19]), 10, 64)
	return stat{group, born, fields[0][0] == 'Z' || fields[0][0] == 'X'}, err
}
