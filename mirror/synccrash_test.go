package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"mdatp-offline-agent/agent/source/sourcetest"
	"mdatp-offline-agent/chaos/trace"
)

// With these in its environment the test binary fills a tree and ends.
const (
	folderEnv = "SYNC_TEST_FOLDER"
	cloudEnv  = "SYNC_TEST_CLOUD"
)

func TestMain(m *testing.M) {
	if ring := os.Getenv(ringEnv); ring != "" {
		approveForTest(ring)
	}
	if folder := os.Getenv(folderEnv); folder != "" {
		result, err := Sync(context.Background(),
			SyncSettings{DownloadFolder: folder, LogFile: filepath.Join(folder, "sync.log"), Linux: true, Backup: true},
			SyncOptions{BaseURL: os.Getenv(cloudEnv), Archs: []string{"x86_64"}})
		if err == nil {
			err = result.Pairs[0].Err
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(promoteEnv); dir != "" {
		os.Exit(promoteForTest(dir))
	}
	os.Exit(m.Run())
}

// program gives the program that fills the tree of a site, and its environment.
func (s *site) program() (path string, env []string) {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	return self, append(os.Environ(), folderEnv+"="+s.settings.DownloadFolder, cloudEnv+"="+s.o.BaseURL, "GORACE=atexit_sleep_ms=0")
}

// ready gives a site whose tree holds 1.402.0.0 and 1.401.0.0, while the cloud offers
// 1.403.0.0.
func ready(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	for _, v := range []string{"1.401.0.0", "1.402.0.0"} {
		s.offer(linux, v)
		s.want(SyncUpdated, "")
	}
	s.offer(linux, "1.403.0.0")
	return s
}

// state is what readers of both rings find, a pair in each.
func (s *site) state() string {
	s.t.Helper()
	return pairIn(s.t, s.tree("linux/production/arch_x86_64")) + " " + pairIn(s.t, s.tree("linux/production_back/arch_x86_64"))
}

// whole says whether a state is one that readers may find on the way.
func whole(state string) bool {
	return state == "1.402.0.0 1.401.0.0" || state == "1.403.0.0 1.401.0.0" || state == "1.403.0.0 1.402.0.0"
}

// traced runs the program on the tree, and stops it before each call that changes
// something there. It gives false where nothing can be traced here.
func (s *site) traced(before func(trace.Point) trace.Action) trace.End {
	s.t.Helper()
	path, env := s.program()
	return traced(s.t, s.settings.DownloadFolder, path, env, before)
}

// traced runs a program that changes what is in folder.
func traced(t testing.TB, folder, path string, env []string, before func(trace.Point) trace.Action) trace.End {
	t.Helper()
	end, err := trace.Run(t.Context(), trace.Command{Path: path, Args: []string{path}, Env: env, Dir: t.TempDir(), Before: before,
		Kind: func(c trace.Call) string {
			switch {
			case !strings.HasPrefix(c.Path, folder), strings.HasSuffix(c.Path, "sync.log"):
				return ""
			case strings.Contains(c.Name, "rename"), strings.Contains(c.Name, "link"), strings.Contains(c.Name, "mkdir"), strings.Contains(c.Name, "chmod"),
				strings.Contains(c.Name, "sync"), strings.Contains(c.Name, "write"), strings.Contains(c.Name, "truncate"),
				c.Name == "openat" && c.Args[2]&syscall.O_CREAT != 0:
				return "tree"
			}
			return ""
		}})
	if errors.Is(err, trace.ErrUnsupported) {
		t.Skip("SKIPPED: system calls can not be traced here (ptrace is not permitted)")
	}
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// TestSyncUmask: under a strict umask, too, the web server can read the whole tree.
func TestSyncUmask(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	made := s.settings.DownloadFolder
	s.settings.DownloadFolder = filepath.Join(made, "in", "it")
	path, env := s.program()
	for _, v := range []string{"1.401.0.0", "1.402.0.0"} {
		s.offer(linux, v)
		cmd := exec.Command(tool(t, "sh"), "-c", `umask 077; exec "$0"`, path)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	s.holds(linux, "1.402.0.0", "1.401.0.0")
	err := filepath.WalkDir(made, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.Name() == ".sync":
			return fs.SkipDir
		case e.IsDir():
			info, err := e.Info()
			if err == nil && info.Mode().Perm() != 0o755 {
				t.Errorf("%s has the mode %o", path, info.Mode().Perm())
			}
			return err
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestSyncEveryMoment looks at the tree before each system call that changes it: both
// rings hold a pair at each of these moments.
func TestSyncEveryMoment(t *testing.T) {
	t.Parallel()
	s := ready(t)
	seen := map[string]bool{}
	end := s.traced(func(p trace.Point) trace.Action {
		state := s.state()
		if seen[state] = true; !whole(state) {
			t.Errorf("before %s %s: %s", p.Name(), p.Path, state)
		}
		return trace.Action{}
	})
	const least = 15
	if end.Exit != 0 || end.Points < least {
		t.Fatalf("the run ended so: %+v", end)
	}
	s.holds(linux, "1.403.0.0", "1.402.0.0")
	if len(seen) != 3 {
		t.Errorf("readers saw %v", seen)
	}
}

// exchanges says whether a call exchanges two names.
func exchanges(p trace.Point) bool {
	const renameExchange = 2
	return p.Call.Name == "renameat2" && p.Args[4] == renameExchange
}

// crashPoints gives the system calls at which a program is to be ended, one in each run,
// until it is past the last. These are a third, left to chance, or with CRASH_POINTS=all
// every one.
func crashPoints() iter.Seq[int] {
	step := 3
	if os.Getenv("CRASH_POINTS") == "all" {
		step = 1
	}
	return func(yield func(int) bool) {
		for n := 1 + rand.IntN(step); yield(n); n += step {
		}
	}
}

// TestSyncCrash ends the program before each system call that changes the tree, as far as
// crashPoints gives them, or makes that call fail. Readers find a pair in both rings
// afterwards, and the next run gets to the end. Where a file system can't exchange names,
// production may be missing until that run, and is never torn.
func TestSyncCrash(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		action   trace.Action
		exchange bool
	}{
		"kill":                  {trace.Kill(), true},
		"no room":               {trace.Fail(syscall.ENOSPC), true},
		"kill without exchange": {trace.Kill(), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := ready(t)
			for n := range crashPoints() {
				s := origin.copy(t)
				met := ""
				end := s.traced(func(p trace.Point) trace.Action {
					if p.N == n {
						met = p.Name() + " " + p.Path
						return c.action
					}
					if !c.exchange && exchanges(p) {
						return trace.Fail(syscall.EINVAL)
					}
					return trace.Action{}
				})
				if met == "" {
					const least = 15
					if end.Exit != 0 || end.Points < least {
						t.Fatalf("the run ended so: %+v", end)
					}
					break
				}
				if c.exchange {
					if state := s.state(); !whole(state) {
						t.Errorf("%s at %s: %s", name, met, state)
					}
				}
				if got := s.sync()[0]; got.Err != nil {
					t.Fatalf("%s at %s: the next run: %v", name, met, got.Err)
				}
				if state := s.state(); state != "1.403.0.0 1.402.0.0" {
					t.Errorf("%s at %s: after the next run %s", name, met, state)
				}
				s.sync() // which clears away what is left of the two
				onlyFiles(t, s.tree("linux/production/.sync/arch_x86_64"), "state.json")
			}
		})
	}
}

// copy gives a site with the same cloud and a tree of its own, which holds the same.
func (s *site) copy(t *testing.T) *site {
	t.Helper()
	other := *s
	other.t = t
	other.settings.DownloadFolder = filepath.Join(t.TempDir(), "tree")
	other.settings.LogFile = other.settings.DownloadFolder + ".log"
	if out, err := exec.Command("cp", "-a", s.settings.DownloadFolder, other.settings.DownloadFolder).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return &other
}

// TestSyncReaders: nginx serves the tree to a crowd of readers while it is filled again
// and again, often by a program that is killed in the middle. No request fails; what
// comes is always a whole file; and a manifest that is the same before and after
// belongs to the package that came between.
func TestSyncReaders(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.offer(linux, "1.401.0.0")
	s.want(SyncUpdated, "")
	s.offer(linux, "1.402.0.0")
	s.want(SyncUpdated, "")
	base := sourcetest.Nginx(t, s.settings.DownloadFolder) + "/linux/"
	var stop atomic.Bool
	var pairs, straddled atomic.Int64
	readers, ctx := errgroup.WithContext(t.Context())
	for i := range 4 {
		dir := base + []string{"production", "production_back"}[i%2] + "/arch_x86_64/"
		readers.Go(func() error {
			for !stop.Load() {
				same, err := readPair(ctx, dir)
				if err != nil {
					return err
				}
				if pairs.Add(1); !same {
					straddled.Add(1)
				}
			}
			return nil
		})
	}
	path, env := s.program()
	killed := 0
	for n := range 20 {
		s.offer(linux, fmt.Sprintf("1.403.%d.0", n))
		cmd := exec.Command(path)
		cmd.Env = env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(rand.IntN(400))*time.Millisecond, func() { cmd.Process.Kill() })
		if cmd.Wait() != nil {
			killed++
		}
	}
	s.sync()
	stop.Store(true)
	if err := readers.Wait(); err != nil {
		t.Error(err)
	}
	if got := pairIn(t, s.tree("linux/production/arch_x86_64")); got != "1.403.19.0" {
		t.Errorf("production holds %s", got)
	}
	t.Logf("%d pairs were read, %d of them across an exchange; %d of 20 runs were killed", pairs.Load(), straddled.Load(), killed)
}

// readPair reads manifest, package, manifest. It gives false where the two manifests
// differ, which is the reader's sign to begin anew.
func readPair(ctx context.Context, dir string) (same bool, err error) {
	var bodies [3][]byte
	for i, name := range []string{"manifest.json", "updates.zip", "manifest.json"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, dir+name, nil)
		if err != nil {
			return false, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, err
		}
		bodies[i], err = io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return false, fmt.Errorf("%s%s: status %d, %w", dir, name, resp.StatusCode, err)
		}
	}
	inside := versionInside(bodies[1])
	before, okBefore := parseManifest(bodies[0])
	after, okAfter := parseManifest(bodies[2])
	if inside == "" || !okBefore || !okAfter {
		return false, fmt.Errorf("%s: package %q, manifests %q and %q", dir, inside, bodies[0], bodies[2])
	}
	if before == after && before.Definition.String() != inside {
		return false, fmt.Errorf("%s: the manifest says %s before and after, and the package is %s", dir, before.Definition, inside)
	}
	return before == after, nil
}

// TestSyncNoRoom: a full disk fails the run by name, is not filled to its brim, and
// leaves the tree as it was.
func TestSyncNoRoom(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if err := os.MkdirAll(s.settings.DownloadFolder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", s.settings.DownloadFolder, "tmpfs", 0, "size=18m"); err != nil {
		t.Skipf("SKIPPED: no small file system can be mounted, which takes root: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(s.settings.DownloadFolder, syscall.MNT_DETACH) })
	for _, v := range []string{"1.401.0.0", "1.402.0.0"} {
		s.offer(linux, v)
		s.want(SyncUpdated, "")
	}
	s.offer(linux, "1.403.0.0")
	write(t, s.path(linux, "updates.zip"), vendorZip(t, "1.403.0.0", 4<<20))
	s.age(linux)
	s.want(SyncFailed, codeDiskFull)
	s.holds(linux, "1.402.0.0", "1.401.0.0")
	// What was looked at before may be gone when it is written.
	var fs syscall.Statfs_t
	if err := syscall.Statfs(s.settings.DownloadFolder, &fs); err != nil || int64(fs.Bavail)*fs.Bsize < roomReserve {
		t.Errorf("%d bytes are left on the disk, %v", int64(fs.Bavail)*fs.Bsize, err)
	}
}
