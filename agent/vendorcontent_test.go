package agent_test

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"encoding/pem"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

// What anybody on the way can do to a package without breaking a signature. Each makes
// another archive of it.

// checksum gives it another checksum in the header of a PE file, which is not signed.
func checksum(p pack, sum uint32) pack {
	const toHeader, toChecksum = 60, 24 + 64
	file := []byte(p.files["mpavbase.vdm"])
	binary.LittleEndian.PutUint32(file[binary.LittleEndian.Uint32(file[toHeader:])+toChecksum:], sum)
	return p.with("mpavbase.vdm", string(file))
}

// asPEM gives it the engine's signature in another form.
func asPEM(p pack) pack {
	sig := p.files[soName+".sig"]
	return p.with(soName+".sig", string(pem.EncodeToMemory(&pem.Block{Type: "CMS", Bytes: []byte(sig)})))
}

// with gives a package that has another content of one file.
func (p pack) with(name, content string) pack {
	p.files = maps.Clone(p.files)
	p.files[name] = content
	return p
}

// bare gives a package as the vendor makes it, of enough bytes that it shows when they come.
func (w *vendored) bare(n uint32) pack {
	w.Helper()
	p := w.pack(n, w.large("vendor"))
	p.bare = true
	return p
}

// came tells whether files came, and not only an archive's end.
func came(r agent.Result) bool { return r.BytesDownloaded > 200<<10 }

// What is known bad stays so, whatever somebody does to bytes that nobody signed.
func TestVendorKnownBadWhateverItsForm(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.overWeb()
	w.firstAlone(1)
	p := w.bare(2)
	w.publish(p)
	w.want(agent.Updated, "")
	w.wantChange(w.agent.Rollback, "", 1)
	for what, other := range map[string]pack{
		"checksum": checksum(p, 7), "signature in PEM": asPEM(p),
		"time stamp taken off": p.with("mpavdlta.vdm", w.vdm("vendor", "mpavdlta.vdm", v(2), time.Time{})),
	} {
		w.publish(other)
		r := w.update(agent.Options{})
		if codeOf(r) != "known_bad" || !came(r) {
			t.Errorf("%s: %s %v, %d bytes", what, r.Outcome, r.FailReason, r.BytesDownloaded)
		}
		w.has(1)
	}
	w.want(agent.Failed, "known_bad", agent.Options{AllowDowngrade: v(2)})
	w.want(agent.Updated, "", agent.Options{RetryKnownBad: true, AllowDowngrade: v(2)})
	w.want(agent.UpToDate, "")
	w.wantChange(w.agent.Rollback, "", 1)
	w.publish(p)
	w.want(agent.Failed, "known_bad") // also that form of it which was never rolled back
	w.publish(w.bare(3))
	w.want(agent.Updated, "")
	w.has(3)
}

// What was rolled back under one profile does not come back under another.
func TestVendorKnownBadUnderAnotherProfile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, to string }{{"vendor", "list+vendor"}, {"list+vendor", "vendor"}} {
		t.Run(c.from, func(t *testing.T) {
			t.Parallel()
			w := newVendored(t)
			w.profile(c.from, ":eku:"+sigtest.Usage)
			packs := []pack{w.pack(1, nil), w.pack(2, nil)} // once: who signs again signs something else
			publish := func(n uint32) {
				p := packs[n-1]
				p.bare = strings.Contains(string(w.read(w.agent.Paths.Managed)), `"vendor"`)
				w.publish(p)
			}
			for n := uint32(1); n <= 2; n++ {
				publish(n)
				w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(n)})
			}
			w.wantChange(w.agent.Rollback, "", 1)
			w.profile(c.to, ":eku:"+sigtest.Usage)
			publish(2)
			w.want(agent.Failed, "known_bad")
			w.has(1)
		})
	}
}

// A package that a hook does not take comes once more at the most for each time that
// periodic runs are held off, whatever form a mirror gives it, and is one known bad content.
func TestVendorCondemnedOnce(t *testing.T) {
	t.Parallel()
	for verdict, c := range map[string]struct{ tests, bad int }{"exit 1": {1, 2}, "exit 3": {2, 0}} {
		t.Run(verdict, func(t *testing.T) {
			t.Parallel()
			w := newAlone(t)
			w.overWeb()
			w.often()
			w.firstAlone(1)
			log := filepath.Join(filepath.Dir(w.srv), "tested")
			w.hook("preload")("echo $AGENT_SET_DIR >> " + log + "\n" + verdict)
			p := w.bare(2)
			fetched := 0
			for n := range uint32(6) {
				w.later(5 * time.Minute)
				w.publish(checksum(p, n))
				if r := w.agent.Update(context.Background(), agent.Options{Scheduled: true}); came(r) {
					fetched++
				} else if codeOf(r) != "cooling_down" {
					t.Errorf("run %d: %s %v", n, r.Outcome, r.FailReason)
				}
			}
			sets := map[string]bool{}
			for _, set := range strings.Fields(string(w.read(log))) {
				sets[set] = true
			}
			if fetched != 2 || len(sets) != c.tests || len(w.memory().KnownBad) != c.bad {
				t.Errorf("fetched %d times, %d sets were tested, known bad: %v", fetched, len(sets), w.memory().KnownBad)
			}
			w.has(1)
		})
	}
}

// A mirror that changes what nobody signed has nothing installed, and nothing fetched but
// now and then; the set before stays the one to go back to.
func TestVendorSameContentIsNoNews(t *testing.T) {
	t.Parallel()
	w, p := newPolled(t)
	before := w.active()
	fetched := 0
	for n := range uint32(12) {
		w.later(5 * time.Minute)
		w.publish(checksum(p, n))
		r := w.update(agent.Options{Scheduled: true})
		if came(r) {
			fetched++
		}
		if r.Outcome == agent.Updated || len(r.Notes) > 0 {
			t.Errorf("run %d: %s %q", n, r.Outcome, r.Notes)
		}
	}
	if fetched != 1 || w.active() != before {
		t.Errorf("fetched %d times, and %s is active", fetched, w.active())
	}
	w.publish(asPEM(p))
	for range 2 { // as that of the installed set, and not as an older one
		if r := w.want(agent.UpToDate, ""); len(r.Notes) > 0 {
			t.Errorf("notes: %q", r.Notes)
		}
	}
	sets, err := os.ReadDir(w.world.engine("."))
	must(t, err)
	if n := len(sets); n != 5 { // two sets, two links, .staging
		t.Errorf("%d entries are in the engine directory", n)
	}
	w.wantChange(w.agent.Rollback, "", 1)
}

// What the vendor signed anew under the same version of the definitions is news.
func TestVendorNewsOfTheSameVersion(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.firstAlone(1)
	was := w.active()
	p := w.pack(1, map[string]string{"mpavbase.vdm": string(w.vendor.Definitions(w, "vendor", "mpavbase.vdm", baseVersion, "another", base.Add(-2*time.Hour)))})
	p.bare = true
	w.publish(p)
	w.want(agent.Updated, "")
	w.has(1)
	engine := string(sigtest.Engine(elf.EM_X86_64, "another"))
	p = p.with(soName, engine).with(soName+".sig", string(w.vendor.Beside(w, "vendor", []byte(engine))))
	w.publish(p)
	w.want(agent.Failed, "rollback_refused") // nobody says when that engine was made
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(1)})
	w.has(1)
	if w.active() == was || string(w.read(w.world.engine(filepath.Join(w.active(), soName)))) != engine {
		t.Error("the engine is not the new one")
	}
}

// The same files under a later time stamp are no news: who can get a stamp may stamp them
// again, and as often as they like.
func TestVendorStampedAnew(t *testing.T) {
	t.Parallel()
	w, p := newPolled(t)
	fetched := 0
	for n := range 6 {
		w.later(5 * time.Minute)
		w.publish(p.with("mpavdlta.vdm", w.vdm("vendor", "mpavdlta.vdm", v(2), base.Add(time.Duration(n)*time.Minute))))
		r := w.update(agent.Options{Scheduled: true})
		if want := map[bool]agent.Outcome{true: agent.UpToDate, false: agent.Skipped}[n == 0]; r.Outcome != want {
			t.Errorf("run %d: %s %v, want %s", n, r.Outcome, r.FailReason, want)
		}
		if came(r) {
			fetched++
		}
	}
	if fetched != 1 {
		t.Errorf("fetched %d times", fetched)
	}
	w.has(2)
	w.wantChange(w.agent.Rollback, "", 1)
}
