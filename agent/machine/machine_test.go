package machine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// net makes a directory like /sys/class/net: name, ifindex, address, and whether
// there is a device behind it.
func net(t *testing.T, cards ...[4]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, c := range cards {
		at := filepath.Join(dir, c[0])
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"ifindex": c[1], "address": c[2], c[3]: ""} {
			if name == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(at, name), []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func TestFirstAddress(t *testing.T) {
	t.Parallel()
	lo := [4]string{"lo", "1", "00:00:00:00:00:00", ""}
	eth0 := [4]string{"eth0", "3", "02:00:00:00:00:03", "device"}
	eth1 := [4]string{"eth1", "2", "02:00:00:00:00:02", "device"}
	bridge := [4]string{"br0", "1", "02:00:00:00:00:01", ""}
	for _, c := range []struct {
		what  string
		cards [][4]string
		want  string
	}{
		{"none", nil, ""},
		{"loopback", [][4]string{lo}, ""},
		{"the first that the kernel met", [][4]string{lo, eth0, eth1}, eth1[2]},
		{"a card before what software made", [][4]string{bridge, eth0}, eth0[2]},
		{"a container has nothing else", [][4]string{lo, bridge}, bridge[2]},
		{"a tunnel without an address", [][4]string{{"tun0", "1", "", ""}}, ""},
	} {
		if got := firstAddress(net(t, c.cards...)); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	if got := firstAddress(filepath.Join(t.TempDir(), "none")); got != "" {
		t.Errorf("no directory: %q", got)
	}
}

// Each mark sets machines apart, and the same marks give the same identity.
func TestIdentity(t *testing.T) {
	t.Parallel()
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "machine-id")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	host := func(name string) func() (string, error) { return func() (string, error) { return name, nil } }
	nameless := func() (string, error) { return "", errors.New("no name") }
	a := [4]string{"eth0", "2", "02:00:00:00:00:02", "device"}
	b := [4]string{"eth0", "2", "02:00:00:00:00:0b", "device"}
	same := readIdentity(file("0123\n"), host("x"), net(t, a))
	if same != readIdentity(file("0123\n"), host("x"), net(t, a)) {
		t.Error("one machine has two identities")
	}
	for what, other := range map[string]Identity{
		"another machine-id": readIdentity(file("0124\n"), host("x"), net(t, a)),
		"another name":       readIdentity(file("0123\n"), host("y"), net(t, a)),
		"another card":       readIdentity(file("0123\n"), host("x"), net(t, b)),
		"nothing at all":     readIdentity("/nonexistent", nameless, "/nonexistent"),
	} {
		if other == same {
			t.Errorf("%s makes no difference", what)
		}
	}
	if first, second := ReadIdentity(), ReadIdentity(); first != second {
		t.Error("this machine has two identities")
	}
}

func TestUptime(t *testing.T) {
	t.Parallel()
	first := ReadUptime()
	if first.Boot == "" || first.Seconds <= 0 {
		t.Fatalf("uptime is %+v", first)
	}
	time.Sleep(20 * time.Millisecond)
	if d, ok := ReadUptime().Since(first); !ok || d < 20*time.Millisecond || d > time.Minute {
		t.Errorf("%s %t passed", d, ok)
	}
	for what, c := range map[string][2]Uptime{
		"another boot": {{"a", 9}, {"b", 1}},
		"backwards":    {{"a", 1}, {"a", 2}},
		"unknown":      {{}, {}},
	} {
		if d, ok := c[0].Since(c[1]); ok {
			t.Errorf("%s: %s passed", what, d)
		}
	}
}
