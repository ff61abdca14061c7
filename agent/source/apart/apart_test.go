package apart_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http/httpproxy"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/apart"
	"mdatp-offline-agent/agent/source/sourcetest"
)

// dieEnv names a directory that a process of its own has open, until it is killed.
const dieEnv = "APART_TEST_DIE"

// TestMain lets the test binary be the process that reads.
func TestMain(m *testing.M) {
	if apart.Started() {
		os.Exit(apart.Serve())
	}
	if orders := os.Getenv(confinedEnv); orders != "" {
		beConfined(orders)
		return
	}
	if dir := os.Getenv(dieEnv); dir != "" {
		_, err := apart.New(apart.Config{Dir: dir}).Open(context.Background(), small())
		fmt.Println(err)
		select {}
	}
	// A race in that process ends it, and so the test.
	os.Setenv("GORACE", "halt_on_error=1")
	os.Exit(m.Run())
}

// small asks for a package of a few bytes.
func small() source.Request {
	return source.Request{Name: source.PackageName, MaxBytes: 1 << 20}
}

// put publishes a package in a directory of its own.
func put(t testing.TB, content string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, source.PackageName), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t testing.TB, s source.Source, r source.Request) source.Package {
	t.Helper()
	p, err := s.Open(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func read(ctx context.Context, p source.Package) (string, error) {
	r, err := p.Range(ctx, 0, p.Size())
	if err != nil {
		return "", err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	return string(data), err
}

func proc(pid int, name string) string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name)) // it may have ended
	return string(data)
}

// field is a line of a process's status.
func field(pid int, name string) string {
	for line := range strings.Lines(proc(pid, "status")) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// eventually waits for something that must come about, however long a busy machine
// takes.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 6000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("it never came about: %s", what)
}

func TestDirConforms(t *testing.T) {
	sourcetest.Suite(t, func(_ *testing.T, dir string) source.Source { return apart.New(apart.Config{Dir: dir}) })
}

func TestHTTPConforms(t *testing.T) {
	for name, serve := range map[string]func(testing.TB, string) string{"ranges": sourcetest.Nginx, "whole": sourcetest.PythonHTTP} {
		t.Run(name, func(t *testing.T) {
			spools := &sourcetest.Spools{Dir: t.TempDir()}
			sourcetest.Suite(t, func(t *testing.T, dir string) source.Source {
				return apart.New(apart.Config{URL: serve(t, dir), Spool: spools.New})
			})
			if n := spools.Open(); n != 0 {
				t.Errorf("%d spools were left open", n)
			}
		})
	}
}

// Neither processes nor dead ones remain.
func TestNothingRemains(t *testing.T) {
	s := apart.New(apart.Config{Dir: put(t, "content")})
	for range 5 {
		p := open(t, s, small())
		if len(sourcetest.Readers(t)) == 0 {
			t.Error("nobody reads")
		}
		p.Close()
		if _, err := s.Open(t.Context(), source.Request{Name: "missing", MaxBytes: 1}); !source.NotThere(err) {
			t.Error(err)
		}
	}
	eventually(t, "no process is left", func() bool { return len(sourcetest.Readers(t)) == 0 })
}

// TestSeen looks at the process from outside.
func TestSeen(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root may look into a process that nobody else may look into; run this test as root")
	}
	inherited, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer inherited.Close()
	careless, err := syscall.Dup(int(inherited.Fd())) // as programs leave it that start the agent
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(careless)
	t.Setenv("http_proxy", "http://u:s3cret@proxy.example")
	t.Setenv("SSL_CERT_FILE", "/nowhere.pem")
	var confined []apart.Confinement
	base := sourcetest.Nginx(t, put(t, "content"))
	for name, c := range map[string]apart.Config{
		"directory": {Dir: put(t, "content")},
		"server":    {URL: strings.Replace(base, "//", "//user:s3cret@", 1), Header: http.Header{"X-Token": {"s3cret"}}},
	} {
		c.Confined = func(c apart.Confinement) { confined = append(confined, c) }
		p := open(t, apart.New(c), small())
		pids := sourcetest.Readers(t)
		if len(pids) != 1 {
			t.Fatalf("%s: %d processes", name, len(pids))
		}
		pid := pids[0]
		if field(pid, "NoNewPrivs") != "1" {
			t.Errorf("%s: it may gain rights", name)
		}
		limits := strings.Join(strings.Fields(proc(pid, "limits")), " ")
		for _, limit := range []string{"Max core file size 0 0", "Max file size 0 0", "Max open files 256 256"} {
			if !strings.Contains(limits, limit) {
				t.Errorf("%s: no %s in %s", name, limit, limits)
			}
		}
		if shown := proc(pid, "cmdline") + proc(pid, "environ"); strings.Contains(shown, "s3cret") || strings.Contains(shown, "proxy") || !strings.Contains(shown, "SSL_CERT_FILE") {
			t.Errorf("%s: the system shows %q", name, shown)
		}
		fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil || len(fds) == 0 {
			t.Errorf("%s: descriptors %v, %v", name, fds, err)
		}
		for _, fd := range fds {
			target, _ := os.Readlink(fd)
			known := slices.ContainsFunc([]string{"/dev/null", "pipe:", "socket:", "anon_inode:", "/sys/fs/cgroup", "/proc/self/"}, func(p string) bool { return strings.HasPrefix(target, p) })
			if !known && !(c.Dir != "" && target == filepath.Join(c.Dir, source.PackageName)) {
				t.Errorf("%s: it has %s open", name, target)
			}
		}
		p.Close()
		eventually(t, "it is gone", func() bool { return len(sourcetest.Readers(t)) == 0 })
	}
	if len(confined) != 2 || !confined[0].NoNewPrivs || !confined[0].Limits || confined[0] != confined[1] {
		t.Errorf("what is in force is said to be %v", confined)
	}
}

// A process that ends by itself is a failure of the source, and no more.
func TestKilled(t *testing.T) {
	s := apart.New(apart.Config{Dir: put(t, strings.Repeat("content", 100_000))})
	p := open(t, s, small())
	r, err := p.Range(t.Context(), 0, p.Size())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	for _, pid := range sourcetest.Readers(t) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	_, err = io.Copy(io.Discard, r)
	sourcetest.WantReason(t, err, source.CodeUnreachable)
	if !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("nobody says how it ended: %v", err)
	}
	_, err = read(t.Context(), p)
	sourcetest.WantReason(t, err, source.CodeUnreachable)
}

// It takes no signal that is meant for the agent: whoever stops both would else see
// a failure of the source.
func TestSignals(t *testing.T) {
	p := open(t, apart.New(apart.Config{Dir: put(t, "content")}), small())
	for _, pid := range sourcetest.Readers(t) {
		for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
			syscall.Kill(pid, s)
		}
	}
	if got, err := read(t.Context(), p); got != "content" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// It ends with the agent.
func TestAgentKilled(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), dieEnv+"="+put(t, "content"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, len("<nil>\n"))
	if _, err := io.ReadFull(out, said); err != nil || string(said) != "<nil>\n" {
		t.Fatalf("%q, %v", said, err)
	}
	list, err := exec.Command("ps", "-o", "pid=", "--ppid", strconv.Itoa(cmd.Process.Pid)).Output()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(list)))
	if err != nil || !strings.Contains(proc(pid, "cmdline"), "read-source") {
		t.Fatalf("its processes are %q, %v", list, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	eventually(t, "it is gone", func() bool { return !strings.Contains(proc(pid, "cmdline"), "read-source") })
}

// A dead mount holds nobody up.
func TestDeadMount(t *testing.T) {
	m := sourcetest.NewMount(t, put(t, strings.Repeat("content", 100_000)))
	// While the mount lives, a busy machine may take its time.
	alive := apart.New(apart.Config{Dir: m.Dir, Timeouts: source.Timeouts{Stall: time.Hour}})
	p := open(t, apart.New(apart.Config{Dir: m.Dir, Timeouts: source.Timeouts{Stall: 15 * time.Second}}), small())
	m.Die()
	_, err := read(t.Context(), p)
	sourcetest.WantReason(t, err, source.CodeStalled)
	if _, _, hint := reason(err); !strings.Contains(hint, "mount") {
		t.Errorf("the hint is %q", hint)
	}
	_, err = apart.New(apart.Config{Dir: m.Dir, Timeouts: source.Timeouts{Stall: time.Second}}).Open(t.Context(), small())
	sourcetest.WantReason(t, err, source.CodeStalled)

	// Who gives up does not wait even for that.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := alive.Open(ctx, small())
		done <- err
	}()
	eventually(t, "a process hangs", func() bool { return len(sourcetest.Readers(t)) > 0 })
	time.Sleep(50 * time.Millisecond) // so that it most likely hangs in the kernel by now; either way must do
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the end was %v", err)
	}
	m.Revive()
	eventually(t, "what hung is gone", func() bool { return len(sourcetest.Readers(t)) <= 1 })
	if got, err := read(t.Context(), open(t, alive, small())); len(got) != 700_000 || err != nil {
		t.Errorf("alive again, it gives %d bytes, %v", len(got), err)
	}
	eventually(t, "what hung is gone", func() bool { return len(sourcetest.Readers(t)) <= 1 })
}

func reason(err error) (code, sentence, hint string) {
	var e *source.Error
	errors.As(err, &e)
	return e.Reason()
}

// TestOddFiles has names that lead to nothing that can be read.
func TestOddFiles(t *testing.T) {
	for name, c := range map[string]struct {
		make func(path string) error
		code string
	}{
		"a FIFO":            {func(p string) error { return syscall.Mkfifo(p, 0o600) }, source.CodeUnreachable},
		"a link to a FIFO":  {func(p string) error { return errors.Join(syscall.Mkfifo(p+"2", 0o600), os.Symlink(p+"2", p)) }, source.CodeUnreachable},
		"a loop":            {func(p string) error { return os.Symlink(p, p) }, source.CodeUnreachable},
		"a device":          {func(p string) error { return os.Symlink("/dev/zero", p) }, source.CodeUnreachable},
		"a link to nothing": {func(p string) error { return os.Symlink("nowhere", p) }, source.CodeNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := c.make(filepath.Join(dir, source.PackageName)); err != nil {
				t.Fatal(err)
			}
			_, err := apart.New(apart.Config{Dir: dir}).Open(t.Context(), small())
			sourcetest.WantReason(t, err, c.code)
		})
	}
}

// Links that lead anywhere, and a directory with a great many entries, are as good
// as any other.
func TestLargeLinkedDir(t *testing.T) {
	dir := put(t, "content")
	for i := range 100_000 {
		if err := os.Symlink("nowhere", filepath.Join(dir, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := t.TempDir()
	if err := errors.Join(os.Symlink(dir, filepath.Join(elsewhere, "arch")), os.Rename(filepath.Join(dir, source.PackageName), filepath.Join(elsewhere, "real")),
		os.Symlink(filepath.Join(elsewhere, "real"), filepath.Join(dir, source.PackageName))); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t.Context(), open(t, apart.New(apart.Config{Dir: filepath.Join(elsewhere, "arch")}), small())); got != "content" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// What is taken from the process does not keep it from servers that have addresses
// of version 6 alone, nor from names.
func TestAddresses(t *testing.T) {
	for _, host := range []string{"[::1]", "127.0.0.1", "localhost"} {
		address := host + ":0"
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("SKIPPED: nothing can listen on %s here: %v", host, err)
			continue
		}
		server := httptest.NewUnstartedServer(http.FileServer(http.Dir(put(t, "content"))))
		server.Listener.Close()
		server.Listener = listener
		server.Start()
		defer server.Close()
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		if got, err := read(t.Context(), open(t, apart.New(apart.Config{URL: "http://" + host + ":" + port}), source.Request{Name: source.PackageName, MaxBytes: 1 << 10})); got != "content" || err != nil {
			t.Errorf("%s: %q, %v", host, got, err)
		}
	}
}

// What the agent's own spool says reaches the caller as it is.
func TestSpoolFails(t *testing.T) {
	full := errors.New("the disk is full")
	base := sourcetest.PythonHTTP(t, put(t, strings.Repeat("content", 100_000)))
	for name, spool := range map[string]func(int64) (source.Spool, error){
		"at once": func(int64) (source.Spool, error) { return nil, full },
		"later":   func(int64) (source.Spool, error) { return &fullSpool{err: full}, nil },
	} {
		if _, err := apart.New(apart.Config{URL: base, Spool: spool}).Open(t.Context(), small()); !errors.Is(err, full) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// fullSpool takes one write.
type fullSpool struct {
	source.Spool
	err error
	n   int
}

func (s *fullSpool) Write(p []byte) (int, error) {
	if s.n++; s.n > 1 {
		return 0, s.err
	}
	return len(p), nil
}

func (s *fullSpool) Close() error { return nil }

// TestSecure reads from a server that wants to see a certificate and a password,
// by way of a proxy, with an authority of its own and at a time of its own.
func TestSecure(t *testing.T) {
	a := sourcetest.NewAuthority(t)
	addr := sourcetest.NginxSecure(t, put(t, "content"), a, "user", "s3cret")
	proxy := sourcetest.NewProxy(t, nil, map[string]string{"mirror.example:443": addr})
	pem, err := os.ReadFile(a.File)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := a.Issue()
	good := apart.Config{URL: "https://user:s3cret@mirror.example/", Roots: pem, Proxy: httpproxy.Config{HTTPSProxy: proxy.URL.String()},
		Time:              time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		ClientCertificate: func() (cert, key []byte, err error) { return readBoth(certFile, keyFile) }}
	if got, err := read(t.Context(), open(t, apart.New(good), small())); got != "content" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if len(proxy.Asked()) == 0 {
		t.Error("the proxy was not asked")
	}
	unreadable := errors.New("the key may not be read")
	for name, change := range map[string]struct {
		change func(*apart.Config)
		code   string
	}{
		"no authority":   {func(c *apart.Config) { c.Roots = nil }, source.CodeTLS},
		"too late":       {func(c *apart.Config) { c.Time = time.Date(2400, 1, 1, 0, 0, 0, 0, time.UTC) }, source.CodeTLS},
		"no certificate": {func(c *apart.Config) { c.ClientCertificate = nil }, source.CodeForbidden},
		"no password":    {func(c *apart.Config) { c.URL = "https://mirror.example/" }, source.CodeForbidden},
		"certificate that can not be read": {func(c *apart.Config) {
			c.ClientCertificate = func() (cert, key []byte, err error) { return nil, nil, unreadable }
		}, ""},
	} {
		bad := good
		change.change(&bad)
		_, err := apart.New(bad).Open(t.Context(), small())
		if change.code == "" {
			if !errors.Is(err, unreadable) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		t.Run(name, func(t *testing.T) { sourcetest.WantReason(t, err, change.code) })
	}
}

// The system's authorities are read when a server shows its first certificate, and
// not before: the process may do that, and a plain mirror costs nothing for it.
func TestSystemAuthorities(t *testing.T) {
	a := sourcetest.NewAuthority(t)
	addr := sourcetest.NginxSecure(t, put(t, "content"), a, "user", "s3cret")
	proxy := sourcetest.NewProxy(t, nil, map[string]string{"mirror.example:443": addr})
	certFile, keyFile := a.Issue()
	config := apart.Config{URL: "https://user:s3cret@mirror.example/", Proxy: httpproxy.Config{HTTPSProxy: proxy.URL.String()},
		ClientCertificate: func() (cert, key []byte, err error) { return readBoth(certFile, keyFile) }}
	t.Setenv("SSL_CERT_FILE", a.File)
	if got, err := read(t.Context(), open(t, apart.New(config), small())); got != "content" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func readBoth(certFile, keyFile string) (cert, key []byte, err error) {
	if cert, err = os.ReadFile(certFile); err == nil {
		key, err = os.ReadFile(keyFile)
	}
	return cert, key, err
}
