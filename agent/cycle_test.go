package agent_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/source/sourcetest"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
)

// Every kind of mirror takes a machine through the same life.
func TestLifeOnEveryMirror(t *testing.T) {
	t.Parallel()
	for _, kind := range []struct {
		name string
		url  func(*world) string
		http bool // requests are counted
		tags bool // it has entity tags
	}{
		{"directory", func(w *world) string { return w.ring }, false, false},
		{"file URL", func(w *world) string { return "file://" + w.ring }, false, false},
		{"own server", func(w *world) string { return w.web().ringURL() }, true, true},
		{"without a scheme", func(w *world) string { return strings.TrimPrefix(w.web().ringURL(), "http://") }, true, true},
		{"nginx", func(w *world) string { return sourcetest.Nginx(t, w.srv) + "/linux/production" }, true, true},
		{"python", func(w *world) string { return sourcetest.PythonHTTP(t, w.srv) + "/linux/production" }, true, false},
	} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.publish(pack{n: 1})
			url := kind.url(w)
			w.offline(url, false, "")
			requests := func(r agent.Result, want int64) {
				t.Helper()
				if kind.http && r.Requests != want {
					t.Errorf("%d requests, want %d", r.Requests, want)
				}
			}

			first := w.want(agent.Updated, "")
			requests(first, 1)
			if first.Previous != "" || first.Definitions != name(1) || first.Source != url || first.BytesDownloaded == 0 {
				t.Errorf("unexpected result %+v", first)
			}
			w.has(1)
			w.status("up_to_date", "")
			w.health(map[string]string{"definitions_update_source_uri": `"` + url + `"`, "definitions_version": `"` + name(1) + `"`})

			same := w.want(agent.UpToDate, "")
			requests(same, 1)
			if kind.tags && same.BytesDownloaded != 0 {
				t.Errorf("%d bytes for nothing new, want a 304", same.BytesDownloaded)
			}

			w.publish(pack{n: 2})
			newer := w.want(agent.Updated, "")
			asking := int64(1)
			if !kind.tags {
				asking = 2 // without an entity tag, the question comes by a HEAD before
			}
			requests(newer, asking)
			if newer.Previous != name(1) || newer.BytesReused == 0 {
				t.Errorf("unexpected result %+v", newer)
			}
			w.has(2)

			w.publish(pack{n: 1, issued: base})
			w.want(agent.Failed, "rollback_refused")
			w.has(2)
			w.status("update_failed", "rollback_refused")

			must(t, os.Remove(filepath.Join(w.ring, "arch_x86_64", "updates.zip")))
			requests(w.want(agent.Failed, "source_not_found"), asking)
			w.has(2)
		})
	}
}

// A renewal exchanges the list alone: files are shared, previous stays.
func TestRenewal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.publish(pack{n: 1})
	w.want(agent.Updated, "")
	w.publish(pack{n: 2})
	w.want(agent.Updated, "")
	old, previous := w.active(), w.link("previous")
	w.publish(pack{n: 2, issued: base, expires: base.Add(20 * day)})
	r := w.want(agent.Renewed, "")
	if r.Definitions != name(2) || w.active() == old || w.link("previous") != previous {
		t.Errorf("current %s, previous %s, result %+v", w.active(), w.link("previous"), r)
	}
	if r.BytesDownloaded > 20<<10 {
		t.Errorf("%d bytes for a list", r.BytesDownloaded)
	}
	for _, f := range []string{"base.vdm", "delta.vdm"} {
		a, errA := os.Stat(w.engine(old + "/" + f))
		b, errB := os.Stat(w.engine(w.active() + "/" + f))
		if errA != nil || errB != nil || !sharesBytes(t, w.engine("."), a, b) {
			t.Errorf("%s is not shared: %v %v", f, errA, errB)
		}
	}
	w.publish(pack{n: 2, issued: base.Add(-time.Minute), expires: base.Add(21 * day)})
	w.want(agent.UpToDate, "")
}

// sharesBytes tells whether a file was linked and not written anew. Where the
// file system has reflinks, inodes differ, and then nothing can be told.
func sharesBytes(t testing.TB, dir string, a, b os.FileInfo) bool {
	if os.SameFile(a, b) {
		return true
	}
	return canReflink(t, dir)
}

func (w *world) link(name string) string {
	target, _ := os.Readlink(w.engine(name))
	return target
}

// After a rollback the same package does not come back by itself, a newer one does.
func TestRollback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.wantChange(w.agent.Rollback, "nothing_installed", 0)
	w.publish(pack{n: 1})
	w.want(agent.Updated, "")
	w.wantChange(w.agent.Rollback, "nothing_installed", 1)
	w.publish(pack{n: 2})
	w.want(agent.Updated, "")
	w.wantChange(w.agent.Rollback, "", 1)

	r := w.want(agent.Failed, "known_bad")
	if r.ExitCode() != 65 {
		t.Errorf("exit code %d", r.ExitCode())
	}
	w.has(1)
	// The same content under a higher version is as bad.
	w.publish(pack{n: 3, files: w.fill(pack{n: 2}).files})
	w.want(agent.Failed, "known_bad")
	w.want(agent.WouldUpdate, "", agent.Options{DryRun: true, RetryKnownBad: true})
	w.want(agent.Updated, "", agent.Options{RetryKnownBad: true})
	w.has(3)
	w.want(agent.UpToDate, "") // it was asked for, so it is no longer bad

	w.wantChange(w.agent.Rollback, "", 1) // 2 has the same content as 3, and is bad
	w.publish(pack{n: 4})
	w.want(agent.Updated, "")
	w.has(4)
}

// A rollback leaves the floor alone: what lies between stays refused.
func TestRollbackKeepsFloor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	for _, n := range []uint32{1, 5} {
		w.publish(pack{n: n})
		w.want(agent.Updated, "")
	}
	w.wantChange(w.agent.Rollback, "", 1)
	w.publish(pack{n: 3})
	w.want(agent.Failed, "rollback_refused")
	w.has(1)
}

func TestRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.wantChange(w.agent.Restore, "nothing_installed", 0)
	seed := w.fill(pack{n: 3})
	for f, content := range seed.files {
		w.write(filepath.Join(w.agent.Paths.Seed, f), []byte(content))
	}
	w.write(filepath.Join(w.agent.Paths.Seed, verifier.ListEntry), w.sign(seed))
	w.publish(pack{n: 2})
	w.want(agent.Failed, "rollback_refused") // the floor starts at the seed
	w.publish(pack{n: 4})
	w.want(agent.Updated, "")
	w.wantChange(w.agent.Restore, "", 3)
	w.want(agent.Updated, "") // forward again
	w.has(4)
	w.write(filepath.Join(w.agent.Paths.Seed, "delta.vdm"), []byte("delta X"))
	w.wantChange(w.agent.Restore, "set_damaged", 4)
}

// Each step is a change of the URL: one consents to one step down.
func TestBackRing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	back := w.ring + "_back"
	w.publish(pack{n: 5})
	w.publishIn(back, pack{n: 4})
	w.offline(w.ring, true, `"cloudUrl":"http://127.0.0.1:1/updates.zip"`)
	w.want(agent.Updated, "")
	w.offline(back, true, `"cloudUrl":"http://127.0.0.1:1/updates.zip"`)
	r := w.want(agent.Updated, "")
	if len(r.Notes) == 0 {
		t.Error("a downgrade goes without a note")
	}
	w.has(4)
	w.want(agent.UpToDate, "")
	w.publishIn(back, pack{n: 3})
	w.want(agent.Failed, "rollback_refused")
	w.publishIn(back, pack{n: 4})
	w.want(agent.UpToDate, "")
	w.offline(w.ring, false, "")
	w.want(agent.Updated, "")
	w.has(5)
	w.offline(back, false, "")
	w.want(agent.Updated, "")
	w.has(4)
}

// One package that is not for this machine, or not good, for each code.
func TestRefusals(t *testing.T) {
	t.Parallel()
	stranger := func(t *testing.T) *mirror.Signer { _, s := newSigner(t); return &s }
	for _, c := range []struct {
		code string
		pack func(t *testing.T) pack
		data func([]byte) []byte // changes the archive
	}{
		{code: "wrong_product", pack: func(*testing.T) pack { return pack{product: "other"} }},
		{code: "wrong_platform", pack: func(*testing.T) pack { return pack{platform: "mac"} }},
		{code: "wrong_platform", pack: func(*testing.T) pack { return pack{arch: "arm64"} }},
		{code: "wrong_platform", pack: func(*testing.T) pack { return pack{rings: []string{"preview"}} }},
		{code: "issued_in_future", pack: func(*testing.T) pack { return pack{issued: base.Add(day + time.Minute)} }},
		{code: "signer_untrusted", pack: func(t *testing.T) pack { return pack{signer: stranger(t)} }},
		{code: "signer_expired", pack: func(*testing.T) pack { return pack{issued: base.AddDate(1, 0, 0)} }},
		{code: "list_malformed", pack: func(*testing.T) pack {
			return pack{list: func(l []byte) []byte { return append(l, '{') }}
		}},
		{code: "signature_missing", pack: func(*testing.T) pack { return pack{bare: true} }},
		{code: "content_mismatch", data: func(z []byte) []byte { return []byte(strings.Replace(string(z), "delta 2", "delta X", 1)) }},
		{code: "signature_invalid", data: func(z []byte) []byte { return []byte(strings.Replace(string(z), `"product"`, `"produkt"`, 1)) }},
		{code: "not_a_package", data: func([]byte) []byte { return []byte("<html>not found</html>") }},
		{code: "not_a_package", data: func([]byte) []byte { return nil }},
		{code: "not_a_package", data: func(z []byte) []byte { return z[:len(z)/2] }},
		{code: "package_malformed", data: func(z []byte) []byte { return append(z, 0) }},
		{code: "package_malformed", data: func(z []byte) []byte { return append([]byte{0}, z...) }},
	} {
		t.Run(c.code, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.offline(w.ring, false, "")
			w.publish(pack{n: 1})
			w.want(agent.Updated, "")
			bad := pack{}
			if c.pack != nil {
				bad = c.pack(t)
			}
			bad.n = 2
			data := w.archive(bad)
			if c.data != nil {
				data = c.data(data)
			}
			w.serve(filepath.Join(w.ring, "arch_x86_64", "updates.zip"), data)
			r := w.want(agent.Failed, c.code)
			if r.ExitCode() != 65 {
				t.Errorf("exit code %d", r.ExitCode())
			}
			w.has(1)
			w.status("update_failed", c.code)
			w.publish(pack{n: 3})
			w.want(agent.Updated, "")
			w.status("up_to_date", "")
		})
	}
}

// A dry run says what would happen, and changes neither record nor sets.
func TestDryRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.publish(pack{n: 1})
	r := w.want(agent.WouldUpdate, "", agent.Options{DryRun: true})
	if r.Definitions != name(1) || !r.DryRun || len(r.Notes) == 0 {
		t.Errorf("unexpected result %+v", r)
	}
	for _, file := range []string{"state.json", "status.json", "last-good"} {
		if _, err := os.Stat(filepath.Join(w.agent.Paths.State, file)); err == nil {
			t.Errorf("a dry run wrote %s", file)
		}
	}
	w.want(agent.Updated, "")
	w.want(agent.UpToDate, "", agent.Options{DryRun: true})
	w.publish(pack{n: 2, product: "other"})
	w.want(agent.Failed, "wrong_product", agent.Options{DryRun: true})
	w.status("up_to_date", "") // the recorded result is that of the run before
}

// The host's architecture picks the directory, and for the cloud the query.
func TestArchitecture(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.agent.Arch = "arm64"
	site := w.web()
	w.publish(pack{n: 9})
	w.serve(filepath.Join(w.ring, "arch_arm64", "updates.zip"), w.archive(pack{n: 1, arch: "arm64"}))
	w.offline(site.ringURL(), false, "")
	w.want(agent.Updated, "")
	w.has(1)
	data := w.archive(pack{n: 2, arch: "arm64"})
	site.fail(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "linkid=1&arch=arm64" {
			_, _ = rw.Write(data)
		}
	})
	w.configure(`{"agent":{"cloudUrl":"` + site.URL + `/?linkid=1"}}`)
	w.want(agent.Updated, "")
	w.has(2)
}

// Sets that nobody needs go, but not before readers had time to let go of them.
func TestOldSetsGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	count := func(want int) {
		t.Helper()
		sets, err := filepath.Glob(w.engine("1.*"))
		must(t, err)
		if len(sets) != want {
			t.Errorf("%d sets, want %d", len(sets), want)
		}
	}
	w.run([]step{installed(1), installed(2), installed(3), installed(4)})
	count(4)
	w.later(9 * time.Minute)
	w.want(agent.UpToDate, "")
	count(4)
	w.later(time.Minute)
	w.want(agent.UpToDate, "")
	count(2)
	w.has(4)
	w.sound(w.link("previous"))
}

// A 304 is worth what we have of it: it is asked for only while what it stands
// for is installed whole, not longer than a day, and it does not make old
// definitions young or a revoked signer good.
func TestNotModified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.offline(site.ringURL(), false, "")
	conditional := 0
	files := mirror.Handler(w.srv, nil)
	site.fail(func(rw http.ResponseWriter, r *http.Request) { // whatever is new, it says that nothing is
		if r.Header.Get("If-None-Match") != "" {
			conditional++
			rw.WriteHeader(http.StatusNotModified)
			return
		}
		files.ServeHTTP(rw, r)
	})
	asks := func(want int) {
		t.Helper()
		if conditional != want {
			t.Errorf("%d conditional requests, want %d", conditional, want)
		}
		conditional = 0
	}
	w.run([]step{installed(1)})
	asks(0)
	w.publish(pack{n: 2})
	w.want(agent.UpToDate, "")
	asks(1)
	w.want(agent.Updated, "", agent.Options{RetryKnownBad: true}) // by hand, without a condition
	asks(0)
	w.publish(pack{n: 3})
	w.later(day)
	w.want(agent.UpToDate, "")
	asks(1)
	w.later(time.Second)
	w.run([]step{{outcome: agent.Updated, active: 3}}) // once a day
	asks(0)
	w.spoil(w.engine(w.active()+"/delta.vdm"), false)
	w.run([]step{{outcome: agent.Updated, active: 3}})
	asks(0)
	w.wantChange(w.agent.Rollback, "", 2)
	w.want(agent.Failed, "known_bad")
	asks(0)
	w.publish(pack{n: 4})
	w.want(agent.Failed, "known_bad") // which is remembered with its tag
	asks(1)
	w.want(agent.Updated, "", agent.Options{RetryKnownBad: true})
	w.has(4)
	asks(0)
	w.want(agent.UpToDate, "")
	asks(1)
	w.configure(`{` + offlineAt(site.ringURL(), false) + `,"cloudService":{"definitionUpdateDue":1}}`)
	w.later(20 * time.Hour)
	w.want(agent.Failed, "source_stale")
	asks(1)
	w.revoke(w.keys, w.signer)
	w.want(agent.Failed, "signer_revoked")
	asks(1)
}
