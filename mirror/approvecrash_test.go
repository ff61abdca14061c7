package mirror

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"mdatp-offline-agent/chaos/trace"
)

// With these in its environment the test binary approves a package, in one of the ways
// of approveAs, and ends.
const (
	ringEnv = "APPROVE_TEST_RING"
	howEnv  = "APPROVE_TEST_HOW"
	listEnv = "APPROVE_TEST_LIST"
	keysEnv = "SIGNER_TEST_KEYS" // of a signer
)

func approveForTest(ring string) {
	keys := os.Getenv(keysEnv)
	signer, err := LoadSigner(filepath.Join(keys, "leaf.key"), []string{filepath.Join(keys, "leaf.pem"), filepath.Join(keys, "intermediate.pem")}, nil)
	if err == nil {
		err = approveAs(os.Getenv(howEnv), ring, os.Getenv(listEnv), signer)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// approveAs approves what came last, renews what is approved, or attaches a list that was
// signed elsewhere.
func approveAs(how, ring, signed string, signer Signer) error {
	if how == "attach" {
		object, err := ReadSignedList(signed)
		if err == nil {
			_, _, err = AttachApproval(context.Background(), ring, object, ApproveOptions{})
		}
		return err
	}
	p, err := Propose(context.Background(), ring, ApproveOptions{Arch: "x86_64", Renew: how == "renew", Signer: &signer})
	if err != nil {
		return err
	}
	_, err = p.Sign(signer)
	return errors.Join(err, p.Close())
}

// TestApproveCrash ends the program before each system call that changes the tree, as far as
// crashPoints gives them, or makes that call fail. Endpoints find the one approval or the
// other, whole, at each moment and afterwards, and the next run gets to the end.
func TestApproveCrash(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	self, err := os.Executable()
	wantCode(t, err, "")
	origins := t.TempDir()
	ringIn := func(tree string) string { return filepath.Join(tree, "linux", "production") }
	news, external, signed := filepath.Join(origins, "news"), filepath.Join(origins, "external"), filepath.Join(origins, "list.p7m")
	for n := 1; n <= 3; n++ { // the third makes the first superfluous
		ringSite{ring: ringIn(news)}.come(t, map[string][]byte{"mpavbase.vdm": []byte(fmt.Sprint("definitions ", n))}, manifestFor(n))
		if n < 3 {
			wantCode(t, approveAs("", ringIn(news), "", l.signer), "")
		}
	}
	was, err := ReadList(filepath.Join(ringIn(news), "arch_x86_64", "updates.zip.p7m"))
	wantCode(t, err, "")
	copyTree := func(t *testing.T, from, to string) {
		t.Helper()
		if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	copyTree(t, news, external)
	p, err := Propose(t.Context(), ringIn(external), ApproveOptions{Arch: "x86_64"})
	wantCode(t, err, "")
	wantCode(t, errors.Join(p.External(filepath.Join(origins, "list.json")), p.Close()), "")
	object, err := SignList(p.List, l.signer)
	wantCode(t, err, "")
	write(t, signed, object)

	found := func(tree string) string {
		good, err := Verify(t.Context(), filepath.Join(ringIn(tree), "arch_x86_64", "updates.zip.p7m"), l.trust, time.Now(), nil)
		switch {
		case err != nil:
			return err.Error()
		case good.Signed.List.Content() == was.Content() && good.Signed.List.Issued.After(was.Issued):
			return "renewed"
		}
		return good.Signed.List.Definition.String()
	}
	const before, next = "1.407.2.0", "1.407.3.0"
	kill, noRoom, broken := trace.Kill(), trace.Fail(syscall.ENOSPC), trace.Fail(syscall.EIO)
	for name, c := range map[string]struct {
		how, origin, after string
		action             trace.Action
	}{
		"kill":                 {"", news, next, kill},
		"no room":              {"", news, next, noRoom},
		"broken disk":          {"", news, next, broken},
		"renewal, kill":        {"renew", news, "renewed", kill},
		"renewal, broken disk": {"renew", news, "renewed", broken},
		"attach, kill":         {"attach", external, next, kill},
		"attach, broken disk":  {"attach", external, next, broken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := append(os.Environ(), keysEnv+"="+filepath.Join(l.dir, "keys"), howEnv+"="+c.how, listEnv+"="+signed, "GORACE=atexit_sleep_ms=0")
			for n := range crashPoints() {
				tree := filepath.Join(t.TempDir(), "tree")
				copyTree(t, c.origin, tree)
				met := ""
				end := traced(t, tree, self, append(slices.Clone(env), ringEnv+"="+ringIn(tree)), func(p trace.Point) trace.Action {
					if p.N != n { // each moment is that of one run
						return trace.Action{}
					}
					if got := found(tree); got != before && got != c.after {
						t.Errorf("%s: before %s %s: %s", name, p.Name(), p.Path, got)
					}
					met = p.Name() + " " + p.Path
					return c.action
				})
				if met == "" {
					const least = 8
					if end.Exit != 0 || end.Points < least || found(tree) != c.after {
						t.Fatalf("the run ended so: %+v, with %s", end, found(tree))
					}
					break
				}
				got := found(tree)
				if got != before && got != c.after {
					t.Errorf("%s at %s: %s", name, met, got)
				}
				place := ringPlace{arch: filepath.Join(ringIn(tree), "arch_x86_64")}
				if object, err := readObject(place.sidecar()); err != nil {
					t.Error(err)
				} else if now, err := standingOf(object); err != nil || readLedger(place.ledger()).superseded(now) {
					t.Errorf("%s at %s: what is published counts as replaced, or %v", name, met, err)
				}
				code, most := "", 2
				if c.how == "attach" && got == c.after { // it is in force already, and the next one clears up
					code, most = codeUsage, 3
				}
				wantCode(t, approveAs(c.how, ringIn(tree), signed, l.signer), code)
				if got := found(tree); got != c.after {
					t.Errorf("%s at %s: after the next run %s", name, met, got)
				}
				onlyFiles(t, filepath.Join(ringIn(tree), ".approve"), "arch_x86_64.first.p7m", "arch_x86_64.json")
				if left, err := filepath.Glob(filepath.Join(ringIn(tree), "arch_x86_64", ".*")); err != nil || len(left) > 0 {
					t.Errorf("%s at %s: %v is left", name, met, left)
				}
				if zips, err := filepath.Glob(filepath.Join(ringIn(tree), "arch_x86_64", "updates-*.zip")); err != nil || len(zips) > most {
					t.Errorf("%s at %s: %v are there", name, met, zips)
				}
			}
		})
	}
}
