package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
)

// How much of TestFiftyAtOnce there is. CHAOS_ROUNDS=100 is an hour's worth, and
// CHAOS_SEED repeats a run, as far as the kernel's scheduling lets it.
const (
	fiftyRounds    = 2
	fiftyProcesses = 50
)

// crowd is an endpoint that fifty processes work on at once.
type crowd struct {
	*testing.T
	program string
	dir     string
	paths   agent.Paths
	random  *rand.Rand
	sets    sync.Map // by version: the files of the set, name to content
	killed  sync.Map // processes that were killed, by number
	seen    atomic.Int64
	newest  int
}

// commandsAtOnce is every subcommand that works on an endpoint. wait is for those that
// take the lock; place is a directory to move to.
func commandsAtOnce(place string) (lines []string) {
	lines = []string{"health", "health --details definitions --output json", "health --check", "definitions list", "definitions verify", "definitions path show",
		"config show", "version", "definitions update --dry-run", "definitions update --scheduled"}
	for _, line := range []string{"update", "update --retry-known-bad", "rollback", "restore", "hold", "unhold", "verify --repair", "path set --path " + place} {
		lines = append(lines, "definitions "+line, "definitions "+line+" --wait 1m")
	}
	return lines
}

// Fifty processes of every subcommand at once, of which some are killed: one of them
// has the say at a time, all of them end, nobody ever sees half of anything, and
// afterwards one update puts all right.
func TestFiftyAtOnce(t *testing.T) {
	t.Parallel()
	rounds, err := strconv.Atoi(os.Getenv("CHAOS_ROUNDS"))
	if err != nil {
		rounds = fiftyRounds
	}
	seed, err := strconv.ParseUint(os.Getenv("CHAOS_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("CHAOS_SEED=%d CHAOS_ROUNDS=%d", seed, rounds)
	c := newCrowd(t, seed)
	stop := c.watch()
	kills, ends := 0, map[string]int{}
	for range rounds {
		c.newest++
		c.publish(c.newest)
		kills += c.round(ends)
		c.converges()
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if kills == 0 || c.seen.Load() < 50 {
		t.Errorf("too little happened to prove anything: %d kills, %d looks", kills, c.seen.Load())
	}
	if overlaps, err := os.ReadFile(filepath.Join(c.dir, "overlaps")); err == nil {
		c.judgeOverlaps(string(overlaps))
	}
	t.Logf("%d kills, %d looks at current, state and report; exit codes %v", kills, c.seen.Load(), ends)
}

func newCrowd(t *testing.T, seed uint64) *crowd {
	t.Helper()
	c := &crowd{T: t, program: installed(t), dir: t.TempDir(), random: rand.New(rand.NewPCG(seed, seed))}
	c.paths = agent.PathsBelow(filepath.Join(c.dir, "root"))
	c.ok("package keys --out " + c.dir + "/keys")
	c.put(filepath.Join(c.paths.Trust, "root.pem"), c.get(c.dir+"/keys/root.pem"), 0o644)
	hook := filepath.Join(c.dir, "hook")
	c.put(hook, []byte(strings.ReplaceAll(overlapHook, "DIR", c.dir)), 0o755)
	config, err := json.Marshal(map[string]any{
		"antivirusEngine": map[string]any{"offlineDefinitionUpdate": "enabled", "offlineDefinitionUpdateUrl": filepath.Join(c.dir, "mirror/linux/production")},
		"agent":           map[string]any{"hooks": map[string]any{"preload": map[string]any{"command": []string{hook}}, "postload": map[string]any{"command": []string{hook}}}},
	})
	c.must(err)
	c.put(c.paths.Managed, config, 0o644)
	for ; c.newest < 3; c.newest++ {
		c.publish(c.newest + 1)
		c.ok("definitions update")
		if c.newest == 0 {
			c.unpack(filepath.Join(c.dir, "mirror/linux/production/arch_"+agent.HostArch()+"/updates.zip"), c.paths.Seed)
		}
	}
	return c
}

// overlapHook notes when it finds another one at work, and for whom both are. A hook
// that outlives its agent, which was killed, does no harm: the lock is gone with the
// agent. So the numbers of both agents are written down, and judged at the end.
const overlapHook = `#!/bin/sh
if ! mkdir DIR/busy 2>/dev/null; then
  other=$(cat DIR/busy/pid 2>/dev/null)
  [ -n "$other" ] && [ "$other" != $PPID ] && echo "$PPID $other" >>DIR/overlaps
fi
mkdir -p DIR/busy && echo $PPID >DIR/busy/pid
sleep 0.02
rm -rf DIR/busy
exit 0
`

// judgeOverlaps complains of two hooks at work at once whose agents both lived.
func (c *crowd) judgeOverlaps(overlaps string) {
	for _, line := range strings.Split(strings.TrimSpace(overlaps), "\n") {
		tolerable := false
		for _, pid := range strings.Fields(line) {
			_, killed := c.killed.Load(pid)
			tolerable = tolerable || killed
		}
		if !tolerable {
			c.Errorf("two processes were at work at once: %s", line)
		}
	}
}

func (c *crowd) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *crowd) put(path string, data []byte, mode os.FileMode) {
	c.Helper()
	c.must(os.MkdirAll(filepath.Dir(path), 0o755))
	c.must(os.WriteFile(path, data, mode))
}

func (c *crowd) get(path string) []byte {
	c.Helper()
	data, err := os.ReadFile(path)
	c.must(err)
	return data
}

func (c *crowd) command(line string) *exec.Cmd {
	cmd := exec.Command(c.program, append([]string{"--root", c.paths.Root}, strings.Fields(line)...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// ok runs a command that must work.
func (c *crowd) ok(line string) string {
	c.Helper()
	out, err := c.command(line).CombinedOutput()
	if err != nil {
		c.Fatalf("agent %s: %v\n%s", line, err, out)
	}
	return string(out)
}

// publish puts the package of a version into the mirror, and remembers its files.
func (c *crowd) publish(n int) {
	c.Helper()
	version := fmt.Sprintf("1.1.%d.0", n)
	files := map[string]string{"engine.so": strings.Repeat("engine\n", 20_000), "base.vdm": strings.Repeat(version+"\n", 10_000), "delta.vdm": version}
	content := filepath.Join(c.dir, "content-"+version)
	for name, text := range files {
		c.put(filepath.Join(content, name), []byte(text), 0o644)
	}
	c.sets.Store(version, files)
	issued := time.Now().UTC().Add(time.Duration(n)*time.Second - 12*time.Hour).Format(time.RFC3339)
	keys := c.dir + "/keys/"
	c.ok("package build " + content + " --out " + c.dir + "/mirror/linux/production/arch_" + agent.HostArch() + "/updates.zip --engine-version 1.1.1.1 --definition-version " + version +
		" --ring production --issued " + issued + " --key " + keys + "leaf.key --cert " + keys + "leaf.pem --cert " + keys + "intermediate.pem")
}

// unpack makes a seed of a package.
func (c *crowd) unpack(archive, to string) {
	c.Helper()
	z, err := zip.OpenReader(archive)
	c.must(err)
	defer z.Close()
	for _, f := range z.File {
		r, err := f.Open()
		c.must(err)
		data, err := io.ReadAll(r)
		c.must(err)
		c.put(filepath.Join(to, f.Name), data, 0o644)
	}
}

// ended is how one process ended.
type ended struct {
	line, exit, out string
	killed          bool
}

// round starts all processes, kills some, and waits until all have ended. It gives
// how many were killed, and adds up how the others ended.
func (c *crowd) round(ends map[string]int) (kills int) {
	c.Helper()
	lines := commandsAtOnce(filepath.Join(c.paths.Root, []string{"a", "b"}[c.random.IntN(2)]))
	all := make(chan ended, fiftyProcesses)
	for i := range fiftyProcesses {
		line, after := lines[i%len(lines)], time.Duration(-1)
		if c.random.IntN(3) == 0 {
			after = time.Duration(c.random.IntN(1500)) * time.Millisecond
		}
		cmd := c.command(line)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		c.must(cmd.Start())
		if after >= 0 {
			time.AfterFunc(after, func() {
				c.killed.Store(strconv.Itoa(cmd.Process.Pid), true)
				_ = cmd.Process.Kill() // unless it has ended
			})
		}
		go func() {
			err := cmd.Wait()
			var failed *exec.ExitError
			killed := errors.As(err, &failed) && !failed.Exited()
			all <- ended{line, strconv.Itoa(cmd.ProcessState.ExitCode()), out.String(), killed}
		}()
	}
	for range fiftyProcesses {
		select {
		case e := <-all:
			if e.killed {
				kills++
				continue
			}
			ends[e.exit]++
			c.judge(e)
		case <-time.After(5 * time.Minute):
			c.Fatal("processes are left that do not end")
		}
	}
	return kills
}

// judge looks at how a process ended that nobody killed. Most may find that another
// one is at work; what was rolled back is known bad; there may be nothing to go back to.
func (c *crowd) judge(e ended) {
	allowed := []string{"0", "75"}
	switch {
	case strings.HasPrefix(e.line, "health --check"):
		allowed = []string{"0", "1", "2"}
	case strings.HasPrefix(e.line, "health"), e.line == "version", e.line == "config show", e.line == "definitions list", e.line == "definitions path show", e.line == "definitions verify":
		allowed = []string{"0"}
	case strings.HasPrefix(e.line, "definitions update"):
		allowed = append(allowed, "65") // known_bad
	case strings.HasPrefix(e.line, "definitions rollback"):
		allowed = append(allowed, "69") // nothing older
	}
	if !slices.Contains(allowed, e.exit) || strings.Contains(e.out, "panic") || strings.Contains(e.out, "set_damaged") || e.exit == "65" && !strings.Contains(e.out, "known_bad") {
		c.Errorf("agent %s ended with %s\n%s", e.line, e.exit, e.out)
	}
}

// watch looks at what everybody may read, again and again, until it is stopped.
func (c *crowd) watch() (stop func() error) {
	done, result := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-done:
				result <- nil
				return
			default:
			}
			if err := c.look(); err != nil {
				result <- err
				return
			}
			c.seen.Add(1)
			time.Sleep(time.Millisecond)
		}
	}()
	return func() error { close(done); return <-result }
}

// place is where the sets are, by the file that says so.
func (c *crowd) place() string {
	data, err := os.ReadFile(filepath.Join(c.paths.State, "engine-directory"))
	if err != nil {
		return c.paths.Engine
	}
	return strings.TrimSuffix(string(data), "\n")
}

// look is one look, with nothing of the agent's own code in it: state and report are
// JSON, and current leads to the files that were published as that version, and to
// nothing else.
func (c *crowd) look() error {
	for _, name := range []string{"state.json", "status.json"} {
		data, err := os.ReadFile(filepath.Join(c.paths.State, name))
		if err != nil || !json.Valid(data) {
			return fmt.Errorf("%s is torn: %v %s", name, err, data)
		}
	}
	dir := c.place()
	target, err := os.Readlink(filepath.Join(dir, "current"))
	if err == nil {
		err = c.isWhole(filepath.Join(dir, target))
	}
	if err != nil && c.place() != dir {
		return nil // it moved while this one looked
	}
	return err
}

func (c *crowd) isWhole(set string) error {
	version, _, _ := strings.Cut(filepath.Base(set), "-")
	want, ok := c.sets.Load(version)
	if !ok {
		return fmt.Errorf("nobody published %s", set)
	}
	files := want.(map[string]string)
	for name, text := range files {
		if data, err := os.ReadFile(filepath.Join(set, name)); err != nil || string(data) != text {
			return fmt.Errorf("%s of %s is not what was published: %w", name, set, err)
		}
	}
	entries, err := os.ReadDir(set)
	if err == nil && len(entries) != len(files)+1 {
		err = fmt.Errorf("%s holds %d entries", set, len(entries))
	}
	return err
}

// converges checks that one update by hand puts all right, and that nothing is left.
func (c *crowd) converges() {
	c.Helper()
	c.ok("definitions unhold")
	c.ok("definitions update --retry-known-bad --wait 1m")
	version := fmt.Sprintf("1.1.%d.0", c.newest)
	if out := c.ok("health --field definitions_version"); !strings.Contains(out, version) {
		c.Errorf("%s is active, want %s", out, version)
	}
	c.ok("definitions verify")
	if out := c.ok("health --field definitions_status"); !strings.Contains(out, "up_to_date") {
		c.Errorf("the status is %s", out)
	}
	if left, _ := filepath.Glob(filepath.Join(c.place(), ".staging", "*")); len(left) > 0 {
		c.Errorf("left in .staging: %v", left)
	}
	known := regexp.MustCompile(`^(lock|state\.json|status\.json|last-good|engine-directory|definitions\.noindex|cut-short\.(json|lock))$`)
	entries, err := os.ReadDir(c.paths.State)
	c.must(err)
	for _, entry := range entries {
		if !known.MatchString(entry.Name()) {
			c.Errorf("%s is left in the state directory", entry.Name())
		}
	}
}
