package sourcetest

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Hosted runs a web server with a configuration as administrators have it, on a
// free loopback port in the place of port, until the test ends. server is nginx,
// apache or caddy; dir is the tree that it serves, itself or by way of another. It
// gives the URL of the root, without a slash at the end. Where the server is
// missing the test is skipped.
func Hosted(t testing.TB, server, config, port, dir string) string {
	t.Helper()
	token := rand.Text() // who answers with it is our server, and no other on the port
	ready := filepath.Join(dir, "ready-"+token)
	if err := os.WriteFile(ready, []byte(token), 0o644); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(ready)
	for range 5 { // another program can take the port before the server does
		address := freeAddress(t)
		_, free, _ := strings.Cut(address, ":")
		p := start(t, hosting(t, server, strings.ReplaceAll(config, port, free)))
		if p.serves("http://"+address+"/ready-"+token, token) {
			return "http://" + address
		}
		select {
		case <-p.done:
			if strings.Contains(p.log.String(), "ddress already in use") {
				continue
			}
		default:
		}
		t.Fatalf("%s does not serve: %s", server, p.log.String())
	}
	t.Fatalf("%s found no free port in five attempts", server)
	return ""
}

// serves waits until the answer is the content, or the process has ended, or
// patience has. A busy machine starts servers slowly.
func (p *process) serves(url, content string) bool {
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(4 * patience); time.Now().Before(deadline); {
		if resp, err := client.Get(url); err == nil {
			body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
			resp.Body.Close()
			if err == nil && string(body) == content {
				return true
			}
		}
		select {
		case <-p.done:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	return false
}

// hosting is the command of a server in the foreground. What it needs around a
// site's configuration, distributions have in files of their own.
func hosting(t testing.TB, server, config string) *exec.Cmd {
	t.Helper()
	home := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(home, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	site := write("site.conf", config)
	switch server {
	case "nginx":
		path := lookUp(t, "nginx", "/usr/sbin/nginx", "apt-get install nginx-light")
		return exec.Command(path, "-e", "stderr", "-p", home, "-c", write("nginx.conf", nginxFile(home, fmt.Sprintf("include %q;", site))))
	case "apache":
		path := lookUp(t, "apache2", "/usr/sbin/apache2", "apt-get install apache2-bin")
		return exec.Command(path, "-X", "-f", write("apache.conf", apacheFile(home, site)))
	case "caddy":
		path := lookUp(t, "caddy", "/usr/bin/caddy", "apt-get install caddy")
		cmd := exec.Command(path, "run", "--config", site, "--adapter", "caddyfile")
		cmd.Env = append(cmd.Environ(), "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home, "CADDY_ADMIN=unix/"+filepath.Join(home, "admin"))
		return cmd
	}
	t.Fatalf("there is no server %s", server)
	return nil
}

// apacheFile has the modules that Debian loads by itself. Started by root, it must
// be told who to be.
func apacheFile(home, site string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ServerName localhost\nServerRoot %q\nDefaultRuntimeDir %q\nPidFile %q\nErrorLog /proc/self/fd/2\nTypesConfig /dev/null\n",
		home, home, filepath.Join(home, "apache.pid"))
	for _, module := range []string{"mpm_event", "authz_core", "mime", "env", "filter", "deflate", "autoindex", "reqtimeout"} {
		fmt.Fprintf(&b, "LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", module, module)
	}
	if os.Geteuid() == 0 {
		b.WriteString("User nobody\nGroup nogroup\n")
	}
	b.WriteString(`LogFormat "%h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\"" combined` + "\n")
	fmt.Fprintf(&b, "Include %q\n", site)
	return b.String()
}
