package apart_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mdatp-offline-agent/agent/source/apart"
)

// confinedEnv makes a process of the test binary try what it must not be able to
// do: "directory" or "server", and then a directory and two addresses.
const confinedEnv = "APART_TEST_CONFINED"

// attempts are what a process that was taken over might try. The value says
// whether one that reads from a server can do it.
func attempts(dir, tcp, abstract string) map[string]struct {
	try    func() error
	server bool
} {
	state := filepath.Join(dir, "state.json")
	closing := func(c interface{ Close() error }, err error) error {
		if err == nil {
			c.Close()
		}
		return err
	}
	type attempt = struct {
		try    func() error
		server bool
	}
	return map[string]attempt{
		"read the state":     {func() error { return closing(os.Open(state)) }, false},
		"list a directory":   {func() error { _, err := os.ReadDir(dir); return err }, false},
		"read the agent":     {func() error { _, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", os.Getppid())); return err }, false},
		"write the state":    {func() error { return closing(os.OpenFile(state, os.O_WRONLY, 0)) }, false},
		"shorten the state":  {func() error { return os.Truncate(state, 0) }, false},
		"make a file":        {func() error { return closing(os.Create(filepath.Join(dir, "new"))) }, false},
		"make a directory":   {func() error { return os.Mkdir(filepath.Join(dir, "new"), 0o755) }, false},
		"make a link":        {func() error { return os.Symlink("a", filepath.Join(dir, "new")) }, false},
		"rename the state":   {func() error { return os.Rename(state, state+"2") }, false},
		"remove the state":   {func() error { return os.Remove(state) }, false},
		"start a program":    {func() error { return exec.Command("/bin/true").Run() }, false},
		"be a server":        {func() error { return closing(listenTCP()) }, false},
		"be heard by others": {func() error { return closing(net.Dial("unix", abstract)) }, false},
		"end the agent":      {func() error { return syscall.Kill(os.Getppid(), 0) }, false},
		"connect":            {func() error { return closing(net.Dial("tcp", tcp)) }, true},
		"read a host's name": {func() error { return closing(os.Open("/etc/hosts")) }, true},
	}
}

// listenTCP is a server of plain TCP, which the library's own is not any more.
func listenTCP() (net.Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	return config.Listen(context.Background(), "tcp", "127.0.0.1:0")
}

// beConfined is the process that tries.
func beConfined(orders string) {
	parts := strings.Split(orders, "\n")
	network := parts[0] == "server"
	c := apart.Confine(network)
	fmt.Println(c.Landlock)
	for what, a := range attempts(parts[1], parts[2], parts[3]) {
		if err := a.try(); (err == nil) != (network && a.server) {
			fmt.Printf("%s: %v\n", what, err)
		}
	}
}

// What a process that reads can't do, whoever has taken it over.
func TestConfined(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	abstract, err := net.Listen("unix", "@apart"+filepath.Base(filepath.Dir(dir)))
	if err != nil {
		t.Fatal(err)
	}
	defer abstract.Close()
	t.Run("without", func(t *testing.T) {
		// All of it works where nothing is confined, else the rest proves nothing.
		for what, a := range attempts(dir, tcp.Addr().String(), abstract.Addr().String()) {
			switch what {
			case "make a directory", "make a link", "remove the state", "rename the state", "shorten the state":
				continue // would be in the way of others
			}
			if err := a.try(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		os.Remove(filepath.Join(dir, "new"))
	})
	for _, kind := range []string{"directory", "server"} {
		t.Run(kind, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), confinedEnv+"="+strings.Join([]string{kind, dir, tcp.Addr().String(), abstract.Addr().String()}, "\n"))
			out, err := cmd.CombinedOutput()
			version, rest, _ := bytes.Cut(out, []byte("\n"))
			switch {
			case err != nil:
				t.Fatalf("%v: %s", err, out)
			case string(version) == "0":
				t.Skip("SKIPPED: this kernel has no Landlock, or does not permit it, so nobody tests what it keeps a process from")
			case len(version) == 1 && version[0] < '7':
				t.Skipf("SKIPPED: this kernel has version %s of Landlock, and only 7 does all that is tested", version)
			case len(rest) > 0:
				t.Errorf("it could do what it must not, or not what it must:\n%s", rest)
			}
		})
	}
}

func TestConfinementShown(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]apart.Confinement{
		"landlock 7, no_new_privs, limits":         {Landlock: 7, NoNewPrivs: true, Limits: true},
		"no_new_privs, limits; without landlock":   {NoNewPrivs: true, Limits: true},
		"landlock 1; without no_new_privs, limits": {Landlock: 1},
		"without landlock, no_new_privs, limits":   {},
	} {
		if got := c.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
