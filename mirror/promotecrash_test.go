package mirror

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mdatp-offline-agent/chaos/trace"
	"mdatp-offline-agent/verifier"
)

// With these in its environment the test binary promotes in a tree, or takes that back,
// and ends.
const (
	promoteEnv = "PROMOTE_TEST_DIR" // of a lab
	undoEnv    = "PROMOTE_TEST_UNDO"
)

func promoteForTest(dir string) (exit int) {
	linux, keys := filepath.Join(dir, "tree", "linux"), os.Getenv(keysEnv)
	if os.Getenv(undoEnv) != "" {
		if _, err := UndoPromotion(filepath.Join(linux, "production"), nil, nil); err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	}
	signer, err := LoadSigner(filepath.Join(keys, "leaf.key"), []string{filepath.Join(keys, "leaf.pem"), filepath.Join(keys, "intermediate.pem")}, nil)
	var trust verifier.Trust
	if err == nil {
		var root []byte
		if root, err = os.ReadFile(filepath.Join(keys, "root.pem")); err == nil {
			trust, err = verifier.NewTrust([]verifier.TrustFile{{Name: "root.pem", Data: root}}, nil)
		}
	}
	if err == nil {
		_, err = Promote(context.Background(), PromoteOptions{From: filepath.Join(linux, "preview"), To: filepath.Join(linux, "production"), Product: "mdatp", Trust: trust, Sign: &signer})
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// sound gives the definitions of a ring, whose package, manifest and list must belong
// together, for an endpoint of production; in brackets where that has only the sidecar to
// find them by.
func (r *rings) sound(ring string) string {
	r.t.Helper()
	verified := func(path string) string {
		r.t.Helper()
		got, err := Verify(r.t.Context(), path, r.trust, time.Now(), &verifier.Identity{Product: "mdatp", Platform: "linux", Arch: "x86_64", Ring: "production"})
		if err != nil {
			r.t.Fatal(err)
		}
		return got.Signed.List.Definition.String()
	}
	if !exists(r.in(ring, "updates.zip")) {
		return "(" + verified(r.in(ring, "updates.zip.p7m")) + ")"
	}
	v := verified(r.in(ring, "updates.zip"))
	if pair := pairIn(r.t, r.in(ring)); pair != v {
		r.t.Fatalf("%s has %s with the list of %s", ring, pair, v)
	}
	return v
}

func (r *rings) state() string { return r.sound("production") + " " + r.sound("production_back") }

// copy gives the same rings in a tree of their own.
func (r *rings) copy(t *testing.T) *rings {
	t.Helper()
	other := *r
	other.t, other.dir = t, t.TempDir()
	other.o.From, other.o.To = strings.Replace(r.o.From, r.dir, other.dir, 1), strings.Replace(r.o.To, r.dir, other.dir, 1)
	if out, err := exec.Command("cp", "-a", filepath.Join(r.dir, "tree"), other.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return &other
}

// TestPromoteCrash ends the program before each system call that changes the tree, as far as
// crashPoints gives them, or makes that call fail, while it promotes and while it takes that
// back. Readers find whole packages with their lists in both rings at any of these moments,
// the log holds together, and the next run gets to the end.
func TestPromoteCrash(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		action   trace.Action
		exchange bool // else the file system can't, and production may be missing for a while
		undo     bool
		noZip    bool     // updates.zip is missing when it begins
		states   []string // that readers may see; the last is the end
	}{
		"promote, kill":                     {trace.Kill(), true, false, false, []string{"1.402.0.0 1.401.0.0", "1.403.0.0 1.401.0.0", "1.403.0.0 1.402.0.0"}},
		"promote, no room":                  {trace.Fail(syscall.ENOSPC), true, false, false, []string{"1.402.0.0 1.401.0.0", "1.403.0.0 1.401.0.0", "1.403.0.0 1.402.0.0"}},
		"promote, kill without exchange":    {trace.Kill(), false, false, false, []string{"1.402.0.0 1.401.0.0", "1.403.0.0 1.401.0.0", "1.403.0.0 1.402.0.0"}},
		"promote, kill without updates.zip": {trace.Kill(), true, false, true, []string{"(1.402.0.0) 1.401.0.0", "1.402.0.0 1.401.0.0", "1.403.0.0 1.401.0.0", "1.403.0.0 1.402.0.0"}},
		"undo, kill":                        {trace.Kill(), true, true, false, []string{"1.402.0.0 1.401.0.0", "1.401.0.0 1.401.0.0", "1.401.0.0 1.402.0.0"}},
		"undo, kill without exchange":       {trace.Kill(), false, true, false, []string{"1.402.0.0 1.401.0.0", "1.401.0.0 1.401.0.0", "1.401.0.0 1.402.0.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := newRings(t)
			origin.o.Now = nil
			origin.promoted("1.401.0.0", "1.402.0.0")
			if !c.undo {
				origin.approve("1.403.0.0", nil)
			}
			if c.noZip {
				if err := os.Remove(origin.in("production", "updates.zip")); err != nil {
					t.Fatal(err)
				}
			}
			last := c.states[len(c.states)-1]
			env := append(os.Environ(), keysEnv+"="+filepath.Join(origin.dir, "keys"), "GORACE=atexit_sleep_ms=0")
			if c.undo {
				env = append(env, undoEnv+"=yes")
			}
			for n := range crashPoints() {
				r := origin.copy(t)
				met := ""
				end := traced(t, filepath.Join(r.dir, "tree"), self, append(slices.Clone(env), promoteEnv+"="+r.dir), func(p trace.Point) trace.Action {
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
					if end.Exit != 0 || end.Points < least || r.state() != last {
						t.Fatalf("the run left %s, and ended so: %+v", r.state(), end)
					}
					return
				}
				if c.exchange {
					if state := r.state(); !slices.Contains(c.states, state) {
						t.Errorf("%s at %s: %s", name, met, state)
					}
					r.log()
					// What is published goes on to the next ring, and can be renewed.
					dir := r.in("production")
					if readLedger((ringPlace{arch: dir}).ledger()).superseded(standingAt(approvedIn(dir))) {
						t.Errorf("%s at %s: what is published counts as replaced", name, met)
					}
				}
				var err error
				if c.undo {
					_, err = UndoPromotion(r.o.To, nil, nil)
					if code, _, _ := reasonOf(err); code == codeNothing {
						err = nil // it was done
					}
				} else {
					_, err = Promote(t.Context(), r.o)
				}
				if err != nil {
					t.Fatalf("%s at %s: the next run: %v", name, met, err)
				}
				if state := r.state(); state != last {
					t.Errorf("%s at %s: after the next run %s", name, met, state)
				}
				r.log()
			}
		})
	}
}
