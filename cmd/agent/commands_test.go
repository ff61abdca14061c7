package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/source/sourcetest"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

func pathsFor(root string) agent.Paths { return agent.PathsBelow(root) }

func hostArch() string { return agent.HostArch() }

// lab is what the commands of one script share.
type lab struct {
	tb        testing.TB
	now       time.Time // start of the script
	published int
	announced int
	trees     map[string]map[string]string // of snapshot, by name
	lock      *state.Lock
	connected chan struct{} // a client of silent's server came
	fleet     []string      // the machines of fleet
	vendor    *sigtest.Vendor
	env       []string // as a script begins with it
}

type labKey struct{}

func labOf(ts *testscript.TestScript) *lab { return ts.Value(labKey{}).(*lab) }

// labCommands are those that scripts of one machine have beside testscript's own.
func labCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"nginx-with":  cmdNginxWith,
		"nginx-tls":   cmdNginxTLS,
		"clock-ahead": cmdClockAhead,
		"proxy":       cmdProxy,
		"noise":       cmdNoise,
		"address":     cmdAddress,
		"vendor":      cmdVendor,

		"nginx-secure": cmdNginxSecure,

		"exit":      cmdExit,
		"together":  cmdTogether,
		"until":     cmdUntil,
		"expand":    cmdExpand,
		"lab":       cmdLab,
		"publish":   cmdPublish,
		"configure": cmdConfigure,
		"serve":     cmdServe,
		"nginx":     cmdNginx,
		"host":      cmdHost,
		"python":    cmdPython,
		"cloud":     cmdCloud,
		"announce":  cmdAnnounce,
		"silent":    cmdSilent,
		"connected": cmdConnected,
		"tamper":    cmdTamper,
		"snapshot":  cmdSnapshot,
		"unchanged": cmdUnchanged,
		"json":      cmdJSON,
		"json-keys": cmdJSONKeys,
		"lock":      cmdLock,
		"unlock":    cmdUnlock,
		"tmpfs":     cmdTmpfs,
		"chown":     cmdChown,
		"owned":     cmdOwned,
		"fill":      cmdFill,
		"save":      cmdSave,
		"parsers":   cmdParsers,
	}
}

// exit CODE COMMAND... runs a command that must end with that exit code.
func cmdExit(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if neg || err != nil {
		ts.Fatalf("usage: exit CODE COMMAND [ARG...]")
	}
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		got = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// together CODE TEXT LINE... runs the commands of all lines at once, so that what each of
// them waits for is waited for once. Each must end with that exit code, and say the text.
func cmdTogether(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	text, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	lines := args[2:]
	wrong := make([]string, len(lines)) // what a line did in place of that
	var all sync.WaitGroup
	for i, line := range lines {
		words := strings.Fields(line)
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Dir, cmd.Env = ts.MkAbs("."), labOf(ts).env
		all.Go(func() {
			said, err := cmd.CombinedOutput()
			if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want || !text.Match(said) {
				wrong[i] = fmt.Sprintf("%s: %v, want exit code %d and %q:\n%s", line, err, want, args[1], said)
			}
		})
	}
	all.Wait()
	if text := strings.Join(wrong, ""); text != "" {
		ts.Fatalf("%s", text)
	}
}

// until TEXT COMMAND... runs a command again and again, until its output contains
// the text. What a daemon does by itself comes in two seconds; that a machine is busy
// is no reason to fail.
func cmdUntil(ts *testscript.TestScript, _ bool, args []string) {
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		_ = ts.Exec(args[1], args[2:]...) // its output tells
		if strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("it never said %q", args[0])
		}
	}
}

// expand FILE puts environment variables into a file, in place.
func cmdExpand(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
	}
}

// lab makes keys, and trusts their root.
func cmdLab(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(ts.Exec("agent", "package", "keys", "--out", "keys"))
	root := ts.ReadFile("keys/root.pem")
	ts.Check(os.WriteFile(filepath.Join(ts.Getenv("TRUST"), "root.pem"), []byte(root), 0o644))
}

// publish [-to RING] [-from DIR] VERSION [OPTION...] builds a signed package of
// DIR, or of three small files of that version, and puts it into the mirror. Each
// is issued a minute after the one before, all of them in the last hours.
func cmdPublish(ts *testscript.TestScript, _ bool, args []string) {
	l, ring, dir := labOf(ts), "production", ""
	for ; len(args) > 1 && strings.HasPrefix(args[0], "-"); args = args[2:] {
		switch args[0] {
		case "-to":
			ring = args[1]
		case "-from":
			dir = args[1]
		}
	}
	version := args[0]
	if dir == "" {
		dir = content(ts, version)
	}
	l.published++
	issued := l.now.Add(time.Duration(l.published-120) * time.Minute)
	out := filepath.Join(ts.Getenv("MIRROR"), "linux", ring, "arch_"+hostArch(), "updates.zip")
	ts.Check(ts.Exec("agent", append([]string{"package", "build", dir, "--out", out,
		"--engine-version", "1.1.24080.9", "--definition-version", version,
		"--ring", strings.TrimSuffix(ring, "_back"), "--issued", issued.Format(time.RFC3339),
		"--key", "keys/leaf.key", "--cert", "keys/leaf.pem", "--cert", "keys/intermediate.pem"}, args[1:]...)...))
	ts.Setenv("PACKAGE", out)
}

// content makes the files of a package. One of them is the same in all versions.
func content(ts *testscript.TestScript, version string) string {
	dir := ts.MkAbs("content-" + version)
	ts.Check(os.MkdirAll(dir, 0o755))
	for name, text := range map[string]string{
		"libmpengine.so": strings.Repeat("the engine\n", 3000),
		"mpavbase.vdm":   "base of " + version + "\n",
		"mpavdlta.vdm":   "delta of " + version + "\n",
	} {
		ts.Check(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

// configure URL [SECTION.KEY=VALUE...] writes the managed configuration: offline
// updates from URL, and what else is named. Values are JSON.
func cmdConfigure(ts *testscript.TestScript, _ bool, args []string) {
	writeManaged(ts, ts.Getenv("MANAGED"), args)
}

func writeManaged(ts *testscript.TestScript, path string, args []string) {
	file := map[string]map[string]any{"antivirusEngine": {"offlineDefinitionUpdate": "enabled", "offlineDefinitionUpdateUrl": args[0]}}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		section, key, _ := strings.Cut(name, ".")
		if file[section] == nil {
			file[section] = map[string]any{}
		}
		file[section][key] = json.RawMessage(value)
	}
	data, err := json.Marshal(file)
	ts.Check(err)
	ts.Check(os.WriteFile(path, data, 0o644))
}

// serve DIR [OPTION...] serves a directory by agent mirror serve on a free port of
// loopback until the script ends, and puts its URL into $URL, without a slash at the
// end, and the number of the process into $SERVER_PID.
func cmdServe(ts *testscript.TestScript, _ bool, args []string) {
	path, err := exec.LookPath("agent")
	ts.Check(err)
	cmd := exec.Command(path, append([]string{"mirror", "serve", ts.MkAbs(args[0]), "--listen", "127.0.0.1:0", "--output", "json"}, args[1:]...)...)
	cmd.Dir = ts.MkAbs(".")
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			labOf(ts).tb.Errorf("mirror serve, told to end: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	ts.Check(err)
	var ready struct{ URL string }
	ts.Check(json.Unmarshal(line, &ready))
	ts.Setenv("URL", strings.TrimSuffix(ready.URL, "/"))
	ts.Setenv("SERVER_PID", strconv.Itoa(cmd.Process.Pid))
}

// nginx DIR and python DIR are serve with the servers that people have.
func cmdNginx(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv("URL", sourcetest.Nginx(labOf(ts).tb, ts.MkAbs(args[0])))
}

func cmdPython(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv("URL", sourcetest.PythonHTTP(labOf(ts).tb, ts.MkAbs(args[0])))
}

// cloud DIR serves the packages of a directory as the vendor's cloud does, and puts
// its address into $CLOUD.
func cmdCloud(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv("CLOUD", sourcetest.Cloud(labOf(ts).tb, ts.MkAbs(args[0])))
}

// announce VERSION puts what a cloud says of a package beside the one that was
// published last, whose date is set back to when it was announced, some minutes ago.
func cmdAnnounce(ts *testscript.TestScript, _ bool, args []string) {
	l, zip := labOf(ts), ts.Getenv("PACKAGE")
	info := filepath.Join(filepath.Dir(zip), "info.xml")
	ts.Check(os.WriteFile(info, []byte("<versions><engine>1.1.24080.9</engine><signatures date=\"2026-11-26\">"+args[0]+"</signatures></versions>\n"), 0o644))
	l.announced++
	when := l.now.Add(time.Duration(l.announced-60) * time.Minute)
	for _, path := range []string{zip, info} {
		ts.Check(os.Chtimes(path, when, when))
	}
}

// silent starts a server that takes connections and never answers, and puts its
// URL into $URL; connected waits until somebody came.
func cmdSilent(ts *testscript.TestScript, _ bool, _ []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv("URL", "http://"+l.Addr().String())
	came := make(chan struct{})
	labOf(ts).connected = came
	go func() {
		var open []net.Conn
		for {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			if open = append(open, conn); len(open) == 1 {
				close(came)
			}
		}
		for _, conn := range open {
			conn.Close()
		}
	}()
	ts.Defer(func() { l.Close() })
}

func cmdConnected(ts *testscript.TestScript, _ bool, _ []string) {
	select {
	case <-labOf(ts).connected:
	case <-time.After(30 * time.Second):
		ts.Fatalf("nobody came")
	}
}

// tamper ZIP ENTRY changes one byte of an entry's content, as an attacker would:
// the file is replaced, and all else stays as it was.
func cmdTamper(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	name := []byte(args[1])
	at := bytes.Index(data, name) // in the entry's local header, which the content follows
	if at < 0 {
		ts.Fatalf("%s has no entry %s", args[0], args[1])
	}
	data[at+len(name)+4] ^= 1
	ts.Check(os.WriteFile(path+".new", data, 0o644))
	ts.Check(os.Rename(path+".new", path))
}

// snapshot NAME DIR remembers a tree; unchanged NAME compares it with now.
func cmdSnapshot(ts *testscript.TestScript, _ bool, args []string) {
	l := labOf(ts)
	if l.trees == nil {
		l.trees = map[string]map[string]string{}
	}
	l.trees[args[0]] = treeOf(ts, args[1])
}

func cmdUnchanged(ts *testscript.TestScript, _ bool, args []string) {
	before, ok := labOf(ts).trees[args[0]]
	if !ok {
		ts.Fatalf("there is no snapshot %s", args[0])
	}
	now := treeOf(ts, before[""])
	for _, path := range slices.Sorted(maps.Keys(mergeKeys(before, now))) {
		if before[path] != now[path] {
			ts.Fatalf("%s was %q, and is %q", path, before[path], now[path])
		}
	}
}

func mergeKeys(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// json FIELD VALUE checks that stdout is one JSON object on one line, that stderr
// is empty, and that FIELD, a path such as failReason.code or sets.0.state, has
// that value: its JSON, less the quotes of a string.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	got := "(nothing)"
	if value, ok := lookUp(jsonObject(ts), strings.Split(args[0], ".")); ok {
		raw, err := json.Marshal(value)
		ts.Check(err)
		got = strings.Trim(string(raw), `"`)
	}
	if (got == args[1]) == neg {
		ts.Fatalf("%s is %s", args[0], got)
	}
}

// json-keys [NAME...] checks that the object on stdout has exactly these fields.
func cmdJSONKeys(ts *testscript.TestScript, _ bool, args []string) {
	got := slices.Sorted(maps.Keys(jsonObject(ts)))
	slices.Sort(args)
	if !slices.Equal(got, args) {
		ts.Fatalf("fields %q, want %q", got, args)
	}
}

func jsonObject(ts *testscript.TestScript) map[string]any {
	if complaint := ts.ReadFile("stderr"); complaint != "" {
		ts.Fatalf("stderr is not empty: %s", complaint)
	}
	out := ts.ReadFile("stdout")
	if strings.Count(out, "\n") != 1 || !strings.HasSuffix(out, "\n") {
		ts.Fatalf("stdout is not one line: %s", out)
	}
	var object map[string]any
	d := json.NewDecoder(strings.NewReader(out))
	d.UseNumber()
	ts.Check(d.Decode(&object))
	if d.More() {
		ts.Fatalf("stdout is more than one object: %s", out)
	}
	return object
}

func lookUp(value any, path []string) (any, bool) {
	for len(path) > 0 {
		switch v := value.(type) {
		case map[string]any:
			// Names of settings have a dot in them.
			whole := strings.Join(path, ".")
			for name := range v {
				if rest, ok := strings.CutPrefix(whole+".", name+"."); ok {
					if rest == "" {
						return v[name], true
					}
					return lookUp(v[name], strings.Split(strings.TrimSuffix(rest, "."), "."))
				}
			}
			return nil, false
		case []any:
			i, err := strconv.Atoi(path[0])
			if err != nil || i >= len(v) {
				return nil, false
			}
			value, path = v[i], path[1:]
		default:
			return nil, false
		}
	}
	return value, true
}

// lock takes the agent's lock, as an update that runs does; unlock lets it go.
func cmdLock(ts *testscript.TestScript, _ bool, _ []string) {
	store, err := state.Open(ts.Getenv("STATE"))
	ts.Check(err)
	labOf(ts).lock, err = store.Lock(context.Background(), 0, time.Now())
	ts.Check(err)
	ts.Setenv("HOLDER", strconv.Itoa(os.Getpid()))
}

func cmdUnlock(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(labOf(ts).lock.Unlock())
}

// tmpfs DIR SIZE mounts a file system of that size; tmpfs DIR ro makes it
// read-only, and tmpfs DIR noexec lets nothing be executed there. Where that is not
// permitted the script is skipped.
func cmdTmpfs(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	if flag, ok := map[string]uintptr{"ro": syscall.MS_RDONLY, "noexec": syscall.MS_NOEXEC}[args[1]]; ok {
		ts.Check(syscall.Mount("", dir, "", syscall.MS_REMOUNT|flag, ""))
		return
	}
	ts.Check(os.MkdirAll(dir, 0o755))
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size="+args[1])
	if errors.Is(err, syscall.EPERM) {
		labOf(ts).tb.Skip("SKIPPED: file systems can not be mounted here; run the test as root outside of a container, or in a privileged one")
	}
	ts.Check(err)
	ts.Defer(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			labOf(ts).tb.Errorf("unmount: %v", err)
		}
	})
}

// fill FILE writes until the file system is full.
func cmdFill(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	for range 1 << 14 {
		if _, err = f.Write(bytes.Repeat([]byte("x"), 4096)); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		ts.Fatalf("the file system is larger than a test should fill: %v", err)
	}
}

// chown UID DIR gives a tree to a user; owned UID DIR checks that all of it is
// that user's. Only root can do the first.
func cmdChown(ts *testscript.TestScript, _ bool, args []string) {
	eachOf(ts, args, func(path string, uid int) error { return os.Lchown(path, uid, uid) })
}

func cmdOwned(ts *testscript.TestScript, _ bool, args []string) {
	eachOf(ts, args, func(path string, uid int) error {
		var stat syscall.Stat_t
		if err := syscall.Lstat(path, &stat); err != nil {
			return err
		}
		if int(stat.Uid) != uid {
			return fmt.Errorf("%s belongs to user %d", path, stat.Uid)
		}
		return nil
	})
}

// save VARIABLE puts the last command's output into a variable, less the line's
// end and the quotes around it.
func cmdSave(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.Trim(strings.TrimSpace(ts.ReadFile("stdout")), `"`))
}
