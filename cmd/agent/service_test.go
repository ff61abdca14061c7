package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
)

// What tests need that run the real program as a service: a machine below a root
// of its own, a mirror that is served, and a service manager's side.

// endpoint is the root, its publisher, and the mirror's server.
type endpoint struct {
	*testing.T
	dir    string // readable for every user
	paths  agent.Paths
	signer mirror.Signer
	ring   string // the mirror's directory of it
	url    string // and its URL
	asked  atomic.Int64
	served atomic.Int64 // bytes of bodies
	n      uint32       // packages so far
}

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	dir := t.TempDir()
	m := &endpoint{T: t, dir: dir, paths: agent.PathsBelow(filepath.Join(dir, "root")), ring: filepath.Join(dir, "mirror", "linux", "production")}
	keys, err := mirror.MakeKeys(filepath.Join(dir, "keys"), mirror.KeyOptions{Now: time.Now().Add(-24 * time.Hour)})
	m.must(err)
	m.signer, err = mirror.LoadSigner(keys.LeafKey, keys.Certificates(), nil)
	m.must(err)
	root, err := os.ReadFile(keys.Root)
	m.must(err)
	m.write(filepath.Join(m.paths.Trust, "root.pem"), string(root), 0o644)
	m.must(os.MkdirAll(m.ring, 0o755))
	files := mirror.Handler(filepath.Join(dir, "mirror"), nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.asked.Add(1)
		files.ServeHTTP(&counted{w, &m.served}, r)
	}))
	t.Cleanup(server.Close)
	m.url = server.URL + "/linux/production"
	return m
}

// counted counts the bytes of a body.
type counted struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n.Add(int64(n))
	return n, err
}

func (m *endpoint) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

// write replaces a file as a whole.
func (m *endpoint) write(path, text string, mode os.FileMode) {
	m.Helper()
	m.must(os.MkdirAll(filepath.Dir(path), 0o755))
	m.must(os.WriteFile(path+".new", []byte(text), mode))
	m.must(os.Rename(path+".new", path))
}

// publish puts a newer package of files of a size into the ring, issued long ago,
// since a server's fresh file would get no entity tag that anybody relies on.
func (m *endpoint) publish(files, size int) {
	m.Helper()
	m.n++
	content, noise := m.TempDir(), make([]byte, size)
	for i := range files {
		_, _ = rand.Read(noise) // it never fails
		m.write(filepath.Join(content, fmt.Sprintf("file%d.vdm", i)), string(noise), 0o644)
	}
	issued := time.Now().Add(time.Duration(m.n)*time.Second - time.Hour)
	zip := filepath.Join(m.ring, "arch_"+hostArch(), "updates.zip")
	_, err := mirror.Build(context.Background(), zip, mirror.BuildOptions{Dir: content, Product: "mdatp", Platform: agent.Platform, Arch: hostArch(), Rings: []string{"production"},
		Engine: verifier.Version{1, 1, 1, 1}, Definition: verifier.Version{1, 1, m.n, 0}, Issued: issued, Level: 1}, &m.signer)
	m.must(err)
	m.must(os.Chtimes(zip, issued, issued))
}

// configure names the mirror, and more of the section agent.
func (m *endpoint) configure(more string) {
	m.Helper()
	m.write(m.paths.Managed, fmt.Sprintf(`{"antivirusEngine":{"offlineDefinitionUpdate":"enabled","offlineDefinitionUpdateUrl":%q},"agent":{"jitter":0%s}}`, m.url, more), 0o644)
}

// command is the program on this machine.
func (m *endpoint) command(args ...string) *exec.Cmd {
	m.Helper()
	path, err := exec.LookPath("agent")
	m.must(err)
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "AGENT_ROOT="+m.paths.Root)
	return cmd
}

// unit is the daemon's process, as its service manager sees it.
type unit struct {
	*endpoint
	pid    int
	ended  chan int // the exit code, once
	stderr io.Reader

	mu    sync.Mutex
	said  []string // to the manager, but for the watchdog's pings
	read  int      // how many of them wait has passed
	pings []time.Time
}

// manage listens as a service manager does, and gives the unit and the variables
// that tell a service so. watchdog is how often it wants to hear from it.
func (m *endpoint) manage(watchdog time.Duration) (u *unit, env []string) {
	m.Helper()
	// The kernel wants the name of a socket to be short.
	dir, err := os.MkdirTemp("", "")
	m.must(err)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(dir, "notify")})
	m.must(err)
	u = &unit{endpoint: m, ended: make(chan int, 1)}
	heard := make(chan struct{})
	go func() { defer close(heard); u.hear(socket) }()
	m.Cleanup(func() {
		socket.Close()
		<-heard
		m.must(os.RemoveAll(dir))
	})
	return u, []string{"NOTIFY_SOCKET=" + filepath.Join(dir, "notify"), fmt.Sprintf("WATCHDOG_USEC=%d", watchdog.Microseconds())}
}

func (u *unit) hear(socket *net.UnixConn) {
	buf := make([]byte, 4096)
	for {
		n, err := socket.Read(buf)
		if err != nil {
			return
		}
		u.mu.Lock()
		if string(buf[:n]) == "WATCHDOG=1" {
			u.pings = append(u.pings, time.Now())
		} else {
			u.said = append(u.said, string(buf[:n]))
		}
		u.mu.Unlock()
	}
}

// start starts the daemon under a service manager; wrap is put before it, such as
// strace and its options. The test ends it, if it runs by then.
func (m *endpoint) start(watchdog time.Duration, wrap ...string) *unit {
	m.Helper()
	u, env := m.manage(watchdog)
	cmd := m.command("--log-level", "info", "run")
	var log bytes.Buffer
	u.begin(cmd, env, &log, wrap...)
	u.stderr = &log
	return u
}

// begin starts cmd as the unit's process, whose number it also tells to the process
// itself, as systemd does.
func (u *unit) begin(cmd *exec.Cmd, env []string, stderr io.Writer, wrap ...string) {
	u.Helper()
	numbered := filepath.Join(u.TempDir(), "pid")
	args := append(wrap, "sh", "-c", `export WATCHDOG_PID=$$; echo $$ >"$0.new"; mv "$0.new" "$0"; exec "$@"`, numbered)
	path, err := exec.LookPath(args[0])
	u.must(err)
	cmd.Args = append(args, cmd.Args...)
	cmd.Path, cmd.Env, cmd.Stderr = path, append(cmd.Env, env...), stderr
	u.must(cmd.Start())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the code has it
		u.ended <- cmd.ProcessState.ExitCode()
		close(ended)
	}()
	u.Cleanup(func() {
		if u.pid != 0 {
			_ = syscall.Kill(u.pid, syscall.SIGKILL) // it may have ended
		}
		_ = cmd.Process.Kill() // likewise
		<-ended
	})
	for u.pid == 0 {
		text, err := os.ReadFile(numbered)
		if err == nil {
			u.pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
			u.must(err)
		} else if !errors.Is(err, os.ErrNotExist) {
			u.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// soon is how long a test waits for what comes by itself.
const soon = 20 * time.Second

// wait waits for the next message with a text in it, and gives it.
func (u *unit) wait(text string) string {
	u.Helper()
	for deadline := time.Now().Add(soon); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		u.mu.Lock()
		for u.read < len(u.said) {
			message := u.said[u.read]
			u.read++
			if strings.Contains(message, text) {
				u.mu.Unlock()
				return message
			}
		}
		u.mu.Unlock()
	}
	u.Fatalf("it never said %q, only %q", text, u.all())
	return ""
}

// all is what it has said so far.
func (u *unit) all() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.said...)
}

// longest is the longest time between two pings of the watchdog, or without one
// at the end.
func (u *unit) longest(from, to time.Time) (gap time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	last := from
	for _, ping := range append(u.pings, to) {
		if ping.After(from) && !ping.After(to) {
			gap, last = max(gap, ping.Sub(last)), ping
		}
	}
	return gap
}

func (u *unit) signal(s syscall.Signal) { u.Helper(); u.must(syscall.Kill(u.pid, s)) }

// stop ends the daemon as systemd does, and checks that it ends well and in time.
func (u *unit) stop() {
	u.Helper()
	began := time.Now()
	u.signal(syscall.SIGTERM)
	select {
	case code := <-u.ended:
		took := time.Since(began)
		if code != 0 || took > time.Second {
			u.Errorf("it ended with %d after %s", code, took)
		}
		u.Logf("stopped in %s", took.Round(time.Millisecond))
	case <-time.After(soon):
		u.Fatal("it does not stop")
	}
	u.wait("STOPPING=1")
}

// logged is the log of a daemon that has ended.
func (u *unit) logged() string {
	u.Helper()
	text, err := io.ReadAll(u.stderr)
	u.must(err)
	return string(text)
}

// needs finds a tool that a test can't do without.
func needs(t *testing.T, tool, debian string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Skipf("SKIPPED: %s is missing; install Debian's package %s", tool, debian)
	}
	return path
}
