package apart_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"mdatp-offline-agent/agent/source/apart"
)

// confinedEnv makes a process of the test binary try what it must not be able to
// do: "directory" or "server", and then a directory and three addresses.
const confinedEnv = "APART_TEST_CONFINED"

// attempts are what a process that was taken over might try. The value says
// whether one that reads from a server can do it.
func attempts(dir, tcp, abstract, path string) map[string]struct {
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
		"be heard by path":   {func() error { return closing(net.Dial("unix", path)) }, false},
		"start a process":    {fork, false},
		"wait for others":    {func() error { return closing(listenMultipath()) }, false},
		"send datagrams":     {func() error { return closing(net.Dial("udp", tcp)) }, true},
		"start threads":      {threads, true},
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

// listenMultipath is a server of multipath TCP, of which Landlock knows nothing.
func listenMultipath() (net.Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(true)
	return config.Listen(context.Background(), "tcp", "127.0.0.1:0")
}

// fork starts a process that runs no other program, and ends at once.
func fork() error {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
	_, err := syscall.Wait4(int(pid), nil, 0, nil)
	return err
}

// threads needs many at once, and the signals by which the runtime stops them.
func threads() error {
	const many = 20
	var ready, all sync.WaitGroup
	ready.Add(many) // all before the first waits
	for range many {
		all.Go(func() {
			runtime.LockOSThread() // and ends its thread with it
			ready.Done()
			ready.Wait()
		})
	}
	all.Wait()
	runtime.GC()
	return nil
}

// beConfined is the process that tries.
func beConfined(orders string) {
	parts := strings.Split(orders, "\n")
	network := parts[0] == "server"
	c := apart.Confine(network)
	if !c.Filter {
		fmt.Println(0)
		return
	}
	fmt.Println(c.Landlock)
	for what, a := range attempts(parts[1], parts[2], parts[3], parts[4]) {
		if err := a.try(); (err == nil) != (network && a.server || what == "start threads") {
			fmt.Printf("%s: %v\n", what, err)
		}
	}
}

// What a process that reads can't do, whoever has taken it over.
func TestConfined(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: much of what is tried is forbidden to a plain user anyway, and would prove nothing; run this test as root")
	}
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
	path, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer path.Close()
	t.Run("without", func(t *testing.T) {
		// All of it works where nothing is confined, else the rest proves nothing.
		for what, a := range attempts(dir, tcp.Addr().String(), abstract.Addr().String(), path.Addr().String()) {
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
			cmd.Env = append(os.Environ(), confinedEnv+"="+strings.Join([]string{kind, dir, tcp.Addr().String(), abstract.Addr().String(), path.Addr().String()}, "\n"))
			out, err := cmd.CombinedOutput()
			version, rest, _ := bytes.Cut(out, []byte("\n"))
			switch {
			case err != nil:
				t.Fatalf("%v: %s", err, out)
			case string(version) == "0":
				t.Skip("SKIPPED: this kernel has no Landlock or no seccomp, or does not permit it, so nobody tests what it keeps a process from")
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
		"landlock 7, seccomp, no_new_privs, limits":         {Landlock: 7, Filter: true, NoNewPrivs: true, Limits: true},
		"seccomp, no_new_privs, limits; without landlock":   {Filter: true, NoNewPrivs: true, Limits: true},
		"landlock 1; without seccomp, no_new_privs, limits": {Landlock: 1},
		"without landlock, seccomp, no_new_privs, limits":   {},
	} {
		if got := c.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
