package sourcetest

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Nginx serves dir by nginx on a free loopback port until the test ends, and
// gives the URL of its root, without a slash at the end. It runs as the user of
// the test. Where nginx is missing the test is skipped.
func Nginx(t testing.TB, dir string) string {
	t.Helper()
	return nginx(t, "", fmt.Sprintf("root %q;", dir))
}

// NginxLogged is Nginx with an access log: log gives a line for each request so
// far, with method, path, status, bytes of body and the Range that was asked for.
func NginxLogged(t testing.TB, dir string) (base string, log func() []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "access.log")
	base = nginx(t, `log_format asked '$request_method $uri $status $body_bytes_sent $http_range';`,
		fmt.Sprintf("root %q; location ~ zip { access_log %q asked; }", dir, path))
	return base, func() []string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		return strings.Split(strings.TrimSpace(string(data)), "\n")
	}
}

// NginxCache runs nginx as a caching proxy before the server at origin, as sites
// have it: objects are got and kept in slices of that many KiB, for that time in
// nginx's own form. With "0" nothing is kept.
func NginxCache(t testing.TB, origin string, slice int, valid string) string {
	t.Helper()
	cache, lock := filepath.Join(t.TempDir(), "cache"), "on"
	if valid == "0" {
		lock = "off" // it would make requests wait for what is never kept
	}
	return nginx(t, fmt.Sprintf("proxy_cache_path %q keys_zone=packages:1m max_size=64m;", cache), fmt.Sprintf(`location / {
      slice %dk;
      proxy_cache packages;
      proxy_cache_key $uri$slice_range;
      proxy_cache_valid 200 206 %s;
      proxy_cache_lock %s;
      proxy_set_header Range $slice_range;
      proxy_http_version 1.1;
      proxy_pass %s;
    }`, slice, valid, lock, origin))
}

// NginxWith serves by nginx as directives for its http block and its server block say.
func NginxWith(t testing.TB, http, server string) string {
	t.Helper()
	return nginx(t, http, server)
}

// nginx runs nginx with directives for its http block and its server block, until
// the test ends, and gives the server's URL.
func nginx(t testing.TB, http, server string) string {
	t.Helper()
	path := lookUp(t, "nginx", "/usr/sbin/nginx", "apt-get install nginx-light")
	// nginx binds its port itself, so another program can take the port between
	// our finding and its binding it. Then the next one is tried.
	for range 5 {
		if base, ok := tryNginx(t, path, http, server); ok {
			return base
		}
	}
	t.Fatal("nginx found no free port in five attempts")
	return ""
}

// tryNginx starts nginx on a port that is free now. It gives false where the port
// was taken meanwhile; every other failure ends the test.
func tryNginx(t testing.TB, path, httpBlock, serverBlock string) (base string, ok bool) {
	t.Helper()
	addr, ready := freeAddress(t), "/ready-"+rand.Text()
	home := t.TempDir()
	conf := filepath.Join(home, "nginx.conf")
	if err := os.WriteFile(conf, []byte(nginxConf(home, addr, ready, httpBlock, serverBlock)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, exec.Command(path, "-e", "stderr", "-p", home, "-c", conf))
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if answers("http://" + addr + ready) {
			return "http://" + addr, true
		}
		select {
		case <-p.done:
			if strings.Contains(p.log.String(), "Address already in use") {
				return "", false
			}
			t.Fatalf("nginx ended: %s", p.log.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatalf("nginx gave no answer within %s: %s", patience, p.log.String())
	return "", false
}

// nginxConf is one server. The path ready is answered by this very server and no
// other on the port.
func nginxConf(home, addr, ready, httpBlock, serverBlock string) string {
	return nginxFile(home, fmt.Sprintf(`%s
  server {
    listen %s;
    location = %s { return 204; }
    %s
  }`, httpBlock, addr, ready, serverBlock))
}

// nginxFile keeps everything that nginx writes below home, and makes it one
// process in the foreground, which does not change its user.
func nginxFile(home, httpBlock string) string {
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "  %s_temp_path %q;\n", kind, filepath.Join(home, kind))
	}
	return fmt.Sprintf(`daemon off;
master_process off;
pid %q;
error_log stderr warn;
events { worker_connections 128; }
http {
  access_log off;
  default_type application/octet-stream;
%s  %s
}
`, filepath.Join(home, "nginx.pid"), temp.String(), httpBlock)
}

// answers says whether a GET of url gives 204.
func answers(url string) bool {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusNoContent
}

// freeAddress gives a loopback address whose port nobody listens on now.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// pythonPort finds the port in the line that Python's server greets with.
var pythonPort = regexp.MustCompile(` port (\d+) `)

// PythonHTTP serves dir by Python's http.server on a free loopback port until
// the test ends, and gives the URL of its root, without a slash at the end. That
// server knows neither ranges nor entity tags. Where Python is missing the test
// is skipped.
func PythonHTTP(t testing.TB, dir string) string {
	t.Helper()
	path := lookUp(t, "python3", "/usr/bin/python3", "apt-get install python3")
	// Port 0 lets the server choose and say which it took.
	cmd := exec.Command(path, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", dir)
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	cmd.Stdout = in
	p := start(t, cmd)
	in.Close()
	// The cleanup of start runs first and ends the server, and with it the copy.
	greeting := make(chan string, 1)
	go func() {
		r := bufio.NewReader(out)
		line, _ := r.ReadString('\n')
		greeting <- line
		io.Copy(io.Discard, r)
	}()
	select {
	case line := <-greeting:
		if m := pythonPort.FindStringSubmatch(line); m != nil {
			return "http://127.0.0.1:" + m[1]
		}
		t.Fatalf("http.server said %q instead of its port: %s", line, p.log.String())
	case <-time.After(patience):
		t.Fatalf("http.server said nothing within %s: %s", patience, p.log.String())
	}
	return ""
}

// lookUp finds a program in PATH or at its usual place, which for daemons is
// often not in a plain user's PATH. Where it is missing, the test is skipped.
func lookUp(t testing.TB, name, usual, install string) string {
	t.Helper()
	for _, candidate := range []string{name, usual} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	t.Skipf("SKIPPED: %s is not installed; get it with: %s", name, install)
	return ""
}
