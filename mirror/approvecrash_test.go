package mirror

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"mdatp-offline-agent/chaos/trace"
)

// With these in its environment the test binary approves a package and ends.
const (
	ringEnv = "APPROVE_TEST_RING"
	keysEnv = "SIGNER_TEST_KEYS" // of a signer
)

func approveForTest(ring string) {
	keys := os.Getenv(keysEnv)
	signer, err := LoadSigner(filepath.Join(keys, "leaf.key"), []string{filepath.Join(keys, "leaf.pem"), filepath.Join(keys, "intermediate.pem")}, nil)
	if err == nil {
		var p *Proposal
		if p, err = Propose(context.Background(), ring, ApproveOptions{Arch: "x86_64"}); err == nil {
			_, err = p.Sign(signer)
			err = errors.Join(err, p.Close())
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// TestApproveCrash ends the program before each system call that changes the tree, or
// makes that call fail. Endpoints find the one approval or the other, whole, at each
// moment and afterwards, and the next run gets to the end.
func TestApproveCrash(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	self, err := os.Executable()
	wantCode(t, err, "")
	origin := filepath.Join(t.TempDir(), "origin")
	approve := func(tree string) {
		t.Helper()
		p, err := Propose(t.Context(), filepath.Join(tree, "linux", "production"), ApproveOptions{Arch: "x86_64"})
		wantCode(t, err, "")
		defer p.Close()
		_, err = p.Sign(l.signer)
		wantCode(t, err, "")
	}
	come := func(n int) {
		ringSite{ring: filepath.Join(origin, "linux", "production")}.come(t, map[string][]byte{"mpavbase.vdm": []byte(fmt.Sprint("definitions ", n))}, manifestFor(n))
	}
	for n := 1; n <= 3; n++ { // the third makes the first superfluous
		come(n)
		if n < 3 {
			approve(origin)
		}
	}
	found := func(tree string) string {
		good, err := Verify(t.Context(), filepath.Join(tree, "linux", "production", "arch_x86_64", "updates.zip.p7m"), l.trust, time.Now(), nil)
		if err != nil {
			return err.Error()
		}
		return good.Signed.List.Definition.String()
	}
	const before, after = "1.407.2.0", "1.407.3.0"
	for name, action := range map[string]trace.Action{"kill": trace.Kill(), "no room": trace.Fail(syscall.ENOSPC)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				tree := filepath.Join(t.TempDir(), "tree")
				if out, err := exec.Command("cp", "-a", origin, tree).CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				met := ""
				env := append(os.Environ(), ringEnv+"="+filepath.Join(tree, "linux", "production"), keysEnv+"="+filepath.Join(l.dir, "keys"), "GORACE=atexit_sleep_ms=0")
				end := traced(t, tree, self, env, func(p trace.Point) trace.Action {
					if got := found(tree); got != before && got != after {
						t.Errorf("%s: before %s %s: %s", name, p.Name(), p.Path, got)
					}
					if p.N != n {
						return trace.Action{}
					}
					met = p.Name() + " " + p.Path
					return action
				})
				if met == "" {
					const least = 12
					if end.Exit != 0 || n < least || found(tree) != after {
						t.Fatalf("the run had %d points and ended so: %+v, with %s", n-1, end, found(tree))
					}
					t.Logf("%s: at each of %d points", name, n-1)
					break
				}
				if got := found(tree); got != before && got != after {
					t.Errorf("%s at %s: %s", name, met, got)
				}
				approve(tree)
				if got := found(tree); got != after {
					t.Errorf("%s at %s: after the next run %s", name, met, got)
				}
				ring := filepath.Join(tree, "linux", "production")
				onlyFiles(t, filepath.Join(ring, ".approve"), "arch_x86_64.json")
				if left, err := filepath.Glob(filepath.Join(ring, "arch_x86_64", ".*")); err != nil || len(left) > 0 {
					t.Errorf("%s at %s: %v is left", name, met, left)
				}
				if zips, err := filepath.Glob(filepath.Join(ring, "arch_x86_64", "updates-*.zip")); err != nil || len(zips) > 2 {
					t.Errorf("%s at %s: %v are there", name, met, zips)
				}
			}
		})
	}
}
