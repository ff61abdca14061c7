package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

// withCloud configures a server's ring and, where that fails, a package of the vendor's
// on the same server; more is more of the agent's section.
func (w *vendored) withCloud(more string) (site *web, cloud string) {
	w.Helper()
	site = w.web()
	w.offline(site.ringURL(), true, fmt.Sprintf(`"cloudUrl":"%s/cloud/updates.zip","trust":{"profile":"vendor","vendorPins":["%s:eku:%s"]}%s`,
		site.URL, w.vendor.Issuer(), sigtest.Usage, more))
	return site, filepath.Join(w.srv, "cloud", "updates.zip")
}

// A mirror that says its files are larger than the disk does not keep the machine from
// the cloud, since nobody signed how large they are.
func TestVendorAloneTooLargeForTheDisk(t *testing.T) {
	w := newAlone(t)
	_, cloud := w.withCloud("")
	w.firstAlone(1)
	mountSmall(t, w.world, 40)
	p := w.pack(2, nil)
	p.bare = true
	w.serve(cloud, w.archive(p))
	p = w.pack(3, map[string]string{"mpavbase.vdm": strings.Repeat("\x00", 64<<20)})
	p.bare, p.deflate = true, true
	w.publish(p)
	w.want(agent.WouldUpdate, "disk_full", agent.Options{DryRun: true})
	w.want(agent.Updated, "disk_full")
	w.has(2)
}

// once checks that the next update ends in the same way, without the package coming
// again, also from a server by whose answers nobody can tell whether anything changed.
func (w *vendored) once(code string) {
	w.Helper()
	if r := w.want(agent.Failed, code); r.BytesDownloaded > 64<<10 {
		w.Errorf("%s: fetched again, %d bytes", code, r.BytesDownloaded)
	}
}

// large is so much that has to come that it is told from a look at the archive's end.
func (w *vendored) large(signer string) map[string]string {
	w.Helper()
	return map[string]string{"mpavbase.vdm": string(w.vendor.Definitions(w, signer, "mpavbase.vdm", baseVersion, noise(1, 256<<10), base.Add(-day)))}
}

// What a revoked vendor signed is refused, and does not come again at each poll.
func TestVendorAloneRevokedOnce(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.overWeb()
	w.plain(1, w.large("vendor"))
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(1)})
	w.trust("vendor/issuer.crl", w.vendor.Revoke(t, "vendor"))
	if r := w.want(agent.Failed, "signer_revoked"); r.BytesDownloaded < 256<<10 {
		t.Errorf("refused unseen, after %d bytes", r.BytesDownloaded)
	}
	w.once("signer_revoked")
	w.once("signer_revoked")
	w.has(1)
}

// A source that has nothing newer, while what is installed is out of date, sends it once,
// and nothing is kept of it to go on with.
func TestVendorAloneStaleOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what       string
		n          uint32
		validators bool
	}{{"the same files", 2, true}, {"the same files, without validators", 2, false}, {"older ones", 1, true}, {"older ones, without validators", 1, false}} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := newAlone(t)
			s := w.overWeb()
			if !c.validators {
				s.fail(w.unvalidated)
			}
			packs := []pack{w.pack(1, w.large("vendor")), w.pack(2, w.large("vendor"))}
			for i, p := range packs {
				p.bare = true
				w.publish(p)
				w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(uint32(i) + 1)})
			}
			p := packs[c.n-1]
			p.bare, p.deflate = true, true // another archive
			if c.n < 2 {
				must(t, os.Remove(filepath.Join(w.agent.Paths.State, "state.json"))) // which knows that this source had more
			}
			w.publish(p)
			w.later(30 * day)
			if r := w.want(agent.Failed, "source_stale"); r.BytesDownloaded < 256<<10 {
				t.Errorf("%d bytes came of another archive", r.BytesDownloaded)
			}
			if left, err := os.ReadDir(w.world.engine(".staging")); err != nil || len(left) > 0 {
				t.Errorf("%d entries are left in .staging, %v", len(left), err)
			}
			for range 3 {
				w.once("source_stale")
				w.later(day)
			}
			w.has(2)
		})
	}
}

// unvalidated serves the mirror without validators.
func (w *vendored) unvalidated(rw http.ResponseWriter, r *http.Request) {
	http.ServeFile(noValidators{rw}, r, filepath.Join(w.srv, filepath.FromSlash(r.URL.Path)))
}

// What is dated in the future comes once a day.
func TestVendorAloneInTheFutureOnce(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.overWeb()
	w.firstAlone(1)
	edits := w.large("vendor")
	edits["mpavdlta.vdm"] = w.vdm("vendor", "mpavdlta.vdm", v(2), base.Add(3*day))
	w.plain(2, edits)
	if r := w.want(agent.Failed, "issued_in_future"); r.BytesDownloaded < 256<<10 {
		t.Errorf("refused unseen, after %d bytes", r.BytesDownloaded)
	}
	w.once("issued_in_future")
	w.once("issued_in_future")
	w.has(1)
	w.later(3 * day)
	w.want(agent.Updated, "")
	w.has(2)
}

// hook configures a hook of that kind, and gives what makes it that script.
func (w *vendored) hook(kind string) func(text string) {
	w.Helper()
	script := filepath.Join(filepath.Dir(w.srv), "hook")
	w.configure(strings.Replace(string(w.read(w.agent.Paths.Managed)), `"trust":{`, `"hooks":{"`+kind+`":{"command":["/bin/sh","`+script+`"]}},"trust":{`, 1))
	return func(text string) { w.Helper(); w.write(script, []byte(text)) }
}

// A preload hook that gives no verdict does not have the package come again, whatever
// server it is from; nor does one that condemns it.
func TestVendorAloneUntestedOnce(t *testing.T) {
	t.Parallel()
	for _, validators := range []bool{true, false} {
		t.Run(fmt.Sprintf("validators %v", validators), func(t *testing.T) {
			t.Parallel()
			w := newAlone(t)
			s := w.overWeb()
			if !validators {
				s.fail(w.unvalidated)
			}
			w.firstAlone(1)
			hook := w.hook("preload")
			hook("exit 3")
			w.plain(2, w.large("vendor"))
			if r := w.want(agent.Failed, "preload_failed"); r.BytesDownloaded < 256<<10 {
				t.Errorf("tested unseen, after %d bytes", r.BytesDownloaded)
			}
			w.once("preload_failed")
			w.later(2 * day)
			w.once("preload_failed")
			w.has(1)
			hook("exit 0")
			if r := w.want(agent.Updated, ""); r.BytesDownloaded > 64<<10 {
				t.Errorf("%d bytes for a set that is on disk", r.BytesDownloaded)
			}
			w.has(2)

			hook("exit 3")
			w.plain(3, w.large("vendor"))
			w.want(agent.Failed, "preload_failed")
			pending, err := filepath.Glob(w.world.engine(name(3) + "-*/mpavdlta.vdm"))
			if err != nil || len(pending) != 1 {
				t.Fatalf("%q, %v", pending, err)
			}
			must(t, os.Remove(pending[0]))
			hook("exit 1")
			if r := w.want(agent.Failed, "preload_failed"); r.BytesDownloaded < 256<<10 {
				t.Errorf("%d bytes for a set that is not whole", r.BytesDownloaded)
			}
			w.once("known_bad")
			w.once("known_bad")
			w.has(2)
		})
	}
}

// A set that the postload hook condemned does not come again to be called known bad, and
// one that it could not judge not to be called up to date.
func TestVendorAloneUntakenOnce(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.overWeb()
	w.firstAlone(1)
	hook := w.hook("postload")
	hook("exit 3")
	w.plain(2, w.large("vendor"))
	if r := w.agent.Update(context.Background(), agent.Options{}); codeOf(r) != "postload_failed" {
		t.Fatal(r.FailReason)
	}
	w.once("postload_failed")
	hook(about(3, "exit 1"))
	w.want(agent.UpToDate, "")
	w.plain(3, w.large("vendor"))
	if r := w.agent.Update(context.Background(), agent.Options{}); codeOf(r) != "postload_failed" {
		t.Fatal(r.FailReason)
	}
	w.has(2)
	w.once("known_bad")
	w.has(2)
}

// newPolled is an endpoint that had 1 and has 2, of a mirror that it asks every minute. It
// gives the package that the mirror has.
func newPolled(t *testing.T) (*vendored, pack) {
	t.Helper()
	w := newAlone(t)
	w.overWeb()
	w.often()
	w.firstAlone(1)
	p := w.bare(2)
	w.publish(p)
	w.want(agent.Updated, "")
	return w, p
}

// often has periodic runs ask every minute.
func (w *vendored) often() {
	w.Helper()
	w.configure(strings.Replace(string(w.read(w.agent.Paths.Managed)), `"agent":{`, `"cloudService":{"definitionUpdatesInterval":60},"agent":{`, 1))
}

// A mirror that sends ever other archives in vain has periodic runs fetch one now and
// then, and does not keep them from what is of use for longer than that, nor a person.
func TestVendorAloneInVain(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	s := w.overWeb()
	w.often()
	w.firstAlone(1)
	began := w.agent.Now()
	var fetched []time.Duration
	for n := range 60 {
		w.later(5 * time.Minute)
		w.plain(9, map[string]string{"mpavbase.vdm": noise(uint64(n), 256<<10)})
		before := s.asked.Load()
		r := w.update(agent.Options{Scheduled: true})
		if s.asked.Load() == before {
			t.Fatalf("the mirror was not asked: %+v", r.FailReason)
		}
		if r.BytesDownloaded > 200<<10 {
			fetched = append(fetched, w.agent.Now().Sub(began))
		}
	}
	if want := fmt.Sprint([]time.Duration{5 * time.Minute, 65 * time.Minute, 185 * time.Minute}); fmt.Sprint(fetched) != want {
		t.Errorf("fetched after %v, want %s", fetched, want)
	}
	w.status("update_failed", "signature_missing")
	w.plain(2, nil)
	if r := w.update(agent.Options{Scheduled: true}); r.Outcome != agent.Skipped {
		t.Errorf("%s %v", r.Outcome, r.FailReason)
	}
	w.want(agent.Updated, "")
	w.has(2)
	w.later(5 * time.Minute)
	w.plain(3, nil)
	w.want(agent.Updated, "", agent.Options{Scheduled: true}) // no other came in vain since
	w.has(3)
}

// What a mirror sends to be refused does not take away what came of the cloud's package
// to go on with.
func TestVendorAloneGoesOnBesideABadMirror(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	site, cloud := w.withCloud("")
	w.firstAlone(1)
	p := w.pack(2, map[string]string{"mpavbase.vdm": string(w.vendor.Definitions(w, "vendor", "mpavbase.vdm", baseVersion, noise(1, 6<<20), base.Add(-day)))})
	p.bare = true
	w.serve(cloud, w.archive(p))
	w.plain(3, map[string]string{"mpavdlta.vdm": "nobody's"})
	site.cutAfter(w.world, 4<<20)
	w.want(agent.Failed, "signature_missing")
	site.fail(nil)
	w.plain(4, map[string]string{"mpavdlta.vdm": "somebody's"})
	if r := w.want(agent.Updated, "signature_missing"); !r.Resumed {
		t.Error("the transfer was not resumed")
	}
	w.has(2)
}

// Replicas of a mirror that are out of step do not have what is known of either sent again,
// nor does what a person had fetched in vain: what is newer comes with the next run.
func TestVendorAloneReplicasOutOfStep(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.overWeb()
	w.often()
	packs := map[uint32]pack{}
	for n := uint32(1); n <= 4; n++ {
		p := w.pack(n, w.large("vendor"))
		p.bare = true
		packs[n] = p
	}
	for n := uint32(1); n <= 3; n++ {
		w.publish(packs[n])
		w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(n)})
	}
	for i := range 9 { // the daemon's runs
		w.later(2 * time.Hour)
		w.publish(packs[uint32(i%3)+1])
		r := w.update(agent.Options{Scheduled: true})
		if want := []string{"rollback_refused", "rollback_refused", ""}[i%3]; codeOf(r) != want {
			t.Fatalf("run %d: %s %v, want %s", i, r.Outcome, r.FailReason, want)
		}
		if all := r.BytesDownloaded > 200<<10; all != (i < 2) {
			t.Errorf("run %d: %d bytes", i, r.BytesDownloaded)
		}
	}
	for n := range 3 {
		w.plain(9, map[string]string{"mpavbase.vdm": noise(uint64(n), 256<<10)})
		w.want(agent.Failed, "signature_missing")
	}
	w.later(2 * time.Hour)
	w.publish(packs[4])
	w.want(agent.Updated, "", agent.Options{Scheduled: true})
	w.has(4)
}

// A mirror that breaks off before the end of ever other archives is held off as well, and
// the one that broke off last can be gone on with.
func TestVendorAloneBrokenOffInVain(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	s := w.overWeb()
	w.often()
	w.firstAlone(1)
	began := w.agent.Now()
	var fetched []time.Duration
	for n := range 11 {
		w.later(20 * time.Minute)
		w.plain(uint32(n)+2, map[string]string{"mpavbase.vdm": string(w.vendor.Definitions(w, "vendor", "mpavbase.vdm", baseVersion, noise(uint64(n), 6<<20), base.Add(-day)))})
		s.cutAfter(w.world, 4<<20)
		// One that is held off leaves what came before, to be gone on with.
		if r := w.agent.Update(context.Background(), agent.Options{Scheduled: true}); r.BytesDownloaded > 200<<10 {
			fetched = append(fetched, w.agent.Now().Sub(began))
		}
	}
	if want := fmt.Sprint([]time.Duration{20 * time.Minute, 40 * time.Minute, 100 * time.Minute, 220 * time.Minute}); fmt.Sprint(fetched) != want {
		t.Errorf("fetched after %v, want %s", fetched, want)
	}
	w.status("update_failed", "source_unreachable")
	for range 3 {
		w.later(5 * time.Minute)
		s.cutAfter(w.world, 100<<10)
		w.want(agent.Failed, "source_unreachable", agent.Options{Scheduled: true})
	}
	s.fail(nil)
	w.later(5 * time.Minute)
	if r := w.want(agent.Updated, "", agent.Options{Scheduled: true}); !r.Resumed {
		t.Error("the transfer was not resumed")
	}
	w.has(12)
}

// That the vendor is revoked is found out once, and not by hashing the set at each look
// and run; what is judged by another trust, or was touched, is judged anew.
func TestVendorRevokedIsJudgedOnce(t *testing.T) {
	t.Parallel()
	for _, profile := range []string{"vendor", "list+vendor"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			w := newUnder(t, profile)
			w.trust("vendor/issuer.crl", w.vendor.Revoke(t, "vendor"))
			for range 2 {
				w.update(agent.Options{})
				w.status("update_failed", "signer_revoked")
			}
			if sets, err := w.agent.List(t.Context()); err != nil || len(sets.Sets) != 1 || !strings.HasPrefix(sets.Sets[0].Reason, "signer_revoked: ") {
				t.Errorf("%+v, %v", sets, err)
			}
			w.spoil(w.world.engine(filepath.Join(w.active(), "mpavdlta.vdm")), true)
			w.status("update_failed", "signer_revoked") // nothing was hashed, or the damage would be seen
			w.update(agent.Options{})
			w.status("update_failed", "signer_revoked")
			w.trust("vendor/other.pem", sigtest.New(t).Root)
			w.status("unavailable", "set_damaged")
		})
	}
}
