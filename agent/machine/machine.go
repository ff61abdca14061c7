// Package machine tells this machine from all others, and how much time passed
// on it whatever people do to its clock.
//
// It promises that [Identity] is the same at each start and differs between
// clones of one image that have a host name or a network card of their own; and
// that [Uptime] only ever grows while the machine runs, through sleep too.
//
// It does not promise that an identity is secret, or that nobody else has it: it
// spreads a fleet's requests, and nothing is trusted for it. On a machine that
// shows none of its marks, all share one.
package machine

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Identity is a digest of machine-id, host name and first network address.
// Cloned machines share the first, and often nobody gives them another one.
type Identity [32]byte

// ReadIdentity reads what sets this machine apart. What can't be read is left out.
func ReadIdentity() Identity { return readIdentity("/etc/machine-id", os.Hostname, "/sys/class/net") }

func readIdentity(machineID string, hostname func() (string, error), netDir string) Identity {
	id, _ := os.ReadFile(machineID)
	name, _ := hostname()
	return sha256.Sum256([]byte(strings.TrimSpace(string(id)) + "\n" + name + "\n" + firstAddress(netDir)))
}

// firstAddress is the hardware address of the first network card, empty for none.
// Cards come before what software made, since bridges and tunnels come and go
// with new addresses.
func firstAddress(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	var cards []card
	for _, e := range entries {
		cards = append(cards, readCard(filepath.Join(dir, e.Name())))
	}
	slices.SortFunc(cards, card.compare)
	for _, c := range cards {
		if address := text(c.dir, "address"); strings.Trim(address, "0:") != "" { // loopback and tunnels have none
			return address
		}
	}
	return ""
}

// card is one network interface.
type card struct {
	dir      string // of it in sysfs
	hardware bool
	index    int // in the order in which the kernel met them
}

func (c card) compare(other card) int {
	switch {
	case c.hardware && !other.hardware:
		return -1
	case !c.hardware && other.hardware:
		return 1
	}
	return c.index - other.index
}

func readCard(dir string) card {
	index, _ := strconv.Atoi(text(dir, "ifindex"))
	_, err := os.Stat(filepath.Join(dir, "device"))
	return card{dir: dir, hardware: err == nil, index: index}
}

// text is the content of a small file, empty where it can't be read.
func text(dir, name string) string {
	data, _ := os.ReadFile(filepath.Join(dir, name))
	return strings.TrimSpace(string(data))
}

// Uptime is a point in time that the kernel counted from one boot on. The zero
// Uptime is none.
type Uptime struct {
	Boot    string  `json:"boot"`    // which boot
	Seconds float64 `json:"seconds"` // since then, sleep included
}

// ReadUptime gives the present point, the zero Uptime where the kernel does not
// tell.
func ReadUptime() Uptime {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	var now unix.Timespec
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return Uptime{}
	}
	return Uptime{Boot: strings.TrimSpace(string(boot)), Seconds: time.Duration(now.Nano()).Seconds()}
}

// Since gives how much time passed since then, and false where both are not of
// one boot.
func (u Uptime) Since(then Uptime) (time.Duration, bool) {
	if u.Boot == "" || u.Boot != then.Boot || u.Seconds < then.Seconds {
		return 0, false
	}
	return time.Duration((u.Seconds - then.Seconds) * float64(time.Second)), true
}
