package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"mdatp-offline-agent/agent/source/sourcetest"
)

// TestHosting runs one script against each web server that docs/mirror.md has a
// configuration for, with that very file.
func TestHosting(t *testing.T) {
	openToAll(t)
	for server, config := range map[string]string{"nginx": "nginx.conf", "apache": "apache.conf", "caddy": "Caddyfile"} {
		t.Run(server, func(t *testing.T) {
			work := t.TempDir()
			if err := os.Chmod(filepath.Dir(work), 0o755); err != nil { // started by root, servers become another user
				t.Fatal(err)
			}
			testscript.Run(t, testscript.Params{
				Dir: filepath.Join("testdata", "hosting"), WorkdirRoot: work, RequireExplicitExec: true, Cmds: commands(), Condition: condition,
				Setup: func(env *testscript.Env) error {
					env.Setenv("SERVER", server)
					env.Setenv("CONFIG", config)
					return setup(env)
				},
			})
		})
	}
}

// host SERVER CONFIG DIR [ORIGIN] runs a server with one of the examples for mirrors,
// until the script ends, and puts its URL into $URL, without a slash at the end. Of
// the file only what must be another one here is exchanged: the port, the
// directories, and the mirror that a cache asks.
func cmdHost(ts *testscript.TestScript, _ bool, args []string) {
	data, err := os.ReadFile(filepath.Join("..", "..", "packaging", "examples", "mirror", args[1]))
	ts.Check(err)
	const port = "8000"
	dir, logs := ts.MkAbs(args[2]), ts.MkAbs("log")
	ts.Check(os.MkdirAll(logs, 0o755))
	config := regexp.MustCompile(`/var/log/[a-z0-9]+`).ReplaceAllString(string(data), logs)
	config = strings.ReplaceAll(config, "/srv/mdatp", dir)
	config = strings.ReplaceAll(config, "/var/cache/nginx/mdatp", ts.MkAbs("cache"))
	if len(args) > 3 {
		config = strings.ReplaceAll(config, "http://mirror.example.com:"+port, args[3])
	}
	ts.Setenv("URL", sourcetest.Hosted(labOf(ts).tb, args[0], config, port, dir))
}
