package agent_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/source/apart"
)

// The environment of a child process: what it is to do, and below which root.
const (
	roleEnv = "AGENT_TEST_ROLE"
	rootEnv = "AGENT_TEST_ROOT"
)

// TestMain lets the test binary be an agent of its own, which can be killed or
// run as another user.
func TestMain(m *testing.M) {
	if apart.Started() {
		os.Exit(apart.Serve())
	}
	role := os.Getenv(roleEnv)
	if role == "" {
		os.Exit(m.Run())
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	a := &agent.Agent{Paths: agent.PathsBelow(os.Getenv(rootEnv)), Arch: "x86_64", Log: log, Now: func() time.Time { return base }}
	os.Exit(play(a, role))
}

// play is the child: update until it is killed, or say something once.
func play(a *agent.Agent, role string) int {
	ctx := context.Background()
	switch role {
	case "backAndForth":
		if err := os.WriteFile(begunBy(a), nil, 0o644); err != nil {
			fmt.Println(err)
			return 1
		}
		for n := uint32(1); ; n = 3 - n { // 1 and 2 in turns; the floor is consented to
			r := a.Update(ctx, agent.Options{AllowDowngrade: v(n)})
			if r.Outcome == agent.Failed && codeOf(r) != "rollback_refused" {
				fmt.Println(r.FailReason)
				return 1
			}
			if err := publishLink(a, n); err != nil {
				fmt.Println(err)
				return 1
			}
		}
	case "moveAbout":
		for n := 0; ; n++ {
			to := []string{"a", "b"}[n%2]
			_, err := a.SetPath(ctx, filepath.Join(a.Paths.Root, to), 0)
			if err == nil && n == 0 {
				err = os.WriteFile(begunBy(a), nil, 0o644)
			}
			if err != nil {
				fmt.Println(err)
				return 1
			}
		}
	case "repair":
		err := os.WriteFile(begunBy(a), nil, 0o644)
		for err == nil {
			_, err = a.Repair(ctx, 0)
		}
		fmt.Println(err)
		return 1
	case "repairOnce":
		_, err := a.Repair(ctx, 0)
		if err != nil {
			fmt.Println(err)
			fmt.Println(agent.Explain(err).Code)
		}
	case "moveOnce":
		if _, err := a.SetPath(ctx, filepath.Join(a.Paths.Root, "new"), 0); err != nil {
			fmt.Println(agent.Explain(err).Code)
		}
	case "becomeOwnerAndUpdate":
		if err := a.BecomeOwner(); err != nil {
			fmt.Println(err)
			return 1
		}
		fallthrough
	case "update":
		r := a.Update(ctx, agent.Options{})
		fmt.Println(r.Outcome, codeOf(r), os.Geteuid(), os.Getegid())
		return r.ExitCode()
	case "look":
		_, err := a.List(ctx)
		fmt.Println(err)
		v, err := a.Verify(ctx)
		fmt.Println(err, v.Problems, v.Notes)
		fmt.Println(a.Facts(ctx).Notes)
	case "health":
		report := reportOf(a)
		fmt.Print(report.Text())
	}
	return 0
}

// begunBy is the file by which a child says that it has started, however long a
// busy machine took for that.
func begunBy(a *agent.Agent) string { return filepath.Join(a.Paths.Root, "..", "begun") }

// publishLink makes the mirror of the crash test offer the other package.
func publishLink(a *agent.Agent, n uint32) error {
	dir := filepath.Join(a.Paths.Root, "..", "mirror", "linux", "production")
	made := filepath.Join(dir, fmt.Sprintf("link%d", os.Getpid()))
	if err := os.Symlink(fmt.Sprintf("arch%d", n), made); err != nil {
		return err
	}
	return os.Rename(made, filepath.Join(dir, "arch_x86_64"))
}

// child prepares the test binary as an agent of its own.
func (w *world) child(role string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	// Not a second of the race detector's at the end of each.
	cmd.Env = append(os.Environ(), roleEnv+"="+role, rootEnv+"="+w.agent.Paths.Root, "GORACE=atexit_sleep_ms=10")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Killed at any moment, the agent leaves a whole set active, and the next run
// needs no help. A reader that resolves current once never sees anything else.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.killedAtAnyMoment(25, func(n uint32) pack {
		return pack{n: n, files: map[string]string{"base.vdm": strings.Repeat("base ", 2000), "delta.vdm": strings.Repeat(fmt.Sprint(n), 300_000)}}
	})
}

// The same goes where the vendor's signatures stand in for a list.
func TestVendorAloneKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.killedAtAnyMoment(8, func(n uint32) pack {
		p := w.pack(n, nil)
		p.bare = true
		return p
	})
}

func (w *world) killedAtAnyMoment(kills int, packed func(n uint32) pack) {
	w.Helper()
	for n := uint32(1); n <= 2; n++ {
		w.serve(filepath.Join(w.ring, fmt.Sprintf("arch%d", n), "updates.zip"), w.archive(packed(n)))
	}
	must(w, publishLink(w.agent, 1))
	began := time.Now()
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(1)})
	window := 3 * time.Since(began) // in which the moments are: some updates, however long one takes on this machine

	seen, stop := w.readCurrent()
	random := rand.New(rand.NewPCG(1, 2))
	seenSets := map[string]bool{}
	for i := 0; i < kills || i < kills+10 && (seen.Load() < 100 || len(seenSets) < 2); i++ {
		if i >= kills {
			window *= 2 // this machine is slow today
		}
		w.killAt("backAndForth", time.Duration(random.Int64N(int64(window))))
		w.sound(w.active())
		seenSets[w.active()] = true
	}
	if err := stop(); err != nil {
		w.Errorf("a reader saw something else than a whole set: %v", err)
	}
	if seen.Load() < 100 || len(seenSets) < 2 {
		w.Errorf("too little was seen to prove anything: %d reads, sets %v", seen.Load(), seenSets)
	}
	must(w, publishLink(w.agent, 2))
	r := w.update(agent.Options{})
	if r.FailReason != nil {
		w.Errorf("the run after: %v", r.FailReason)
	}
	w.has(2)
	w.status("up_to_date", "")
	if w.link("previous") == w.active() {
		w.Error("previous equals current")
	}
}

// killAt starts a child, and kills it that long after it began its work.
func (w *world) killAt(role string, after time.Duration) {
	w.Helper()
	var out bytes.Buffer
	cmd := w.child(role)
	cmd.Stdout, cmd.Stderr = &out, &out
	must(w, cmd.Start())
	for tries := 0; os.Remove(begunBy(w.agent)) != nil; tries++ {
		if tries > 3000 {
			w.Fatalf("the child did not start: %s", &out)
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(after) // the moment is what is tested
	must(w, cmd.Process.Kill())
	if err := cmd.Wait(); err == nil || out.Len() > 0 {
		w.Fatalf("the child ended by itself: %v %s", err, &out)
	}
}

// readCurrent reads the active set over and over until it is stopped.
func (w *world) readCurrent() (seen *atomic.Int64, stop func() error) {
	seen = new(atomic.Int64)
	trust := w.roots()
	done, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-done:
				ended <- nil
				return
			default:
			}
			dir, err := w.agent.EngineDirectory()
			var target string
			if err == nil {
				target, err = os.Readlink(filepath.Join(dir, "current"))
			}
			if err == nil {
				err = whole(filepath.Join(dir, target), trust)
			}
			if now, _ := w.agent.EngineDirectory(); err != nil && now != dir {
				continue // moved, and this reader was too slow: it looks again where the sets are
			}
			if err != nil {
				ended <- err
				return
			}
			seen.Add(1)
			time.Sleep(time.Millisecond)
		}
	}()
	return seen, func() error { close(done); return <-ended }
}

// Random damage to a package is a refusal with a code of its own, and never a
// fault, whatever byte it hits; only where it hits nothing that counts, such as
// a file's time in the archive, the package installs, whole.
func TestRandomDamageToPackage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1)})
	random := rand.New(rand.NewPCG(3, 4))
	refused := 0
	for i := range 60 {
		n := uint32(i + 2)
		good := w.archive(pack{n: n, deflate: i%2 == 0, files: map[string]string{"a.vdm": strings.Repeat("a", 50) + fmt.Sprint(n), "b.vdm": ""}})
		w.serve(w.object("updates.zip"), damaged(random, good))
		r := w.update(agent.Options{})
		if r.FailReason != nil {
			refused++
		}
		if r.FailReason != nil && r.ExitCode() != 65 || r.FailReason == nil && r.Definitions != name(n) {
			t.Fatalf("damage %d: %v, exit %d, %s", i, r.FailReason, r.ExitCode(), r.Definitions)
		}
	}
	if refused < 40 {
		t.Errorf("only %d packages were refused", refused)
	}
	w.run([]step{installed(1000)})
}

// damaged flips a bit, cuts, adds a byte, or overwrites some.
func damaged(random *rand.Rand, good []byte) []byte {
	at := random.IntN(len(good))
	switch random.IntN(4) {
	case 0:
		good[at] ^= 1 << random.IntN(8)
	case 1:
		return good[:at]
	case 2:
		return slices.Insert(good, at, byte(random.IntN(256)))
	default:
		for i := at; i < min(at+8, len(good)); i++ {
			good[i] = byte(random.IntN(256))
		}
	}
	return good
}

// Interrupted at any moment, an update is done or not begun.
func TestInterruptedAtAnyMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.offline(site.ringURL(), false, "")
	w.run([]step{installed(1)})
	random := rand.New(rand.NewPCG(5, 6))
	for n := uint32(2); n < 42; n++ {
		w.publish(pack{n: n})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Duration(random.IntN(25000))*time.Microsecond, cancel)
		before := w.active()
		r := w.agent.Update(ctx, agent.Options{})
		cancel()
		switch {
		case codeOf(r) == "interrupted" && r.ExitCode() == 75 && w.active() == before:
		case r.Outcome == agent.Updated && r.FailReason == nil && w.active() != before:
		default:
			t.Fatalf("%s %v, current went from %s to %s", r.Outcome, r.FailReason, before, w.active())
		}
		w.sound(w.active())
	}
	w.run([]step{installed(100)})
	w.status("up_to_date", "")
}
