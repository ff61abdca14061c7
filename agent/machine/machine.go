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
		if c, ok := readCard(filepath.Join(dir, e.Name())); ok {
			cards = append(cards, c)
		}
	}
	if len(cards) == 0 {
		return ""
	}
	return slices.MinFunc(cards, card.compare).address
}

// card is one network interface.
type card struct {
	hardware bool
	index    int // in the order in which the kernel met them
	address  string
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

// readCard reads an interface's directory in sysfs. It is false for one without
// an address of its own, such as loopback.
func readCard(dir string) (c card, ok bool) {
	text := func(name string) string {
		data, _ := os.ReadFile(filepath.Join(dir, name))
		return strings.TrimSpace(string(data))
	}
	c.address = text("address")
	c.index, _ = strconv.Atoi(text("ifindex"))
	_, err := os.Stat(filepath.Join(dir, "device"))
	c.hardware = err == nil
	return c, strings.Trim(c.address, "0:") != ""
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
