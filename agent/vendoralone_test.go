package agent_test

import (
	"context"
	"debug/elf"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

// newAlone gives a machine that trusts the vendor and nobody who signs lists.
func newAlone(t testing.TB) *vendored {
	t.Helper()
	w := newVendored(t)
	must(t, os.Remove(filepath.Join(w.agent.Paths.Trust, "root.pem")))
	w.profile("vendor", ":eku:"+sigtest.Usage)
	return w
}

// plain publishes a package as the vendor makes it, without any list.
func (w *vendored) plain(n uint32, edits map[string]string) {
	w.Helper()
	p := w.pack(n, edits)
	p.bare = true
	w.publish(p)
}

// firstAlone installs a package although nobody knows how old its engine is, nor which
// files there should be.
func (w *vendored) firstAlone(n uint32) {
	w.Helper()
	w.plain(n, nil)
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(n)})
	w.has(n)
}

// newUnder gives a machine that asks a server and has a package installed under that profile.
func newUnder(t *testing.T, profile string) *vendored {
	t.Helper()
	if profile == "vendor" {
		w := newAlone(t)
		w.overWeb()
		w.firstAlone(1)
		return w
	}
	w := newVendored(t)
	w.profile(profile, ":eku:"+sigtest.Usage)
	w.overWeb()
	w.first(1)
	return w
}

// overWeb lets the machine ask a server.
func (w *vendored) overWeb() *web {
	w.Helper()
	s := w.web()
	w.configure(strings.Replace(string(w.read(w.agent.Paths.Managed)), w.srv+"/linux/production", s.ringURL(), 1))
	return s
}

// filesAre configures which files a package has.
func (w *vendored) filesAre(names string) {
	w.Helper()
	w.configure(strings.Replace(string(w.read(w.agent.Paths.Managed)), `"trust":{`, `"trust":{"vendorFiles":[`+names+`],`, 1))
}

const allNames = `"mpavbase.vdm","mpavdlta.vdm","libmpengine.so","libmpengine.so.sig"`

func TestVendorAlone(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.overWeb()
	w.plain(1, nil)
	r := w.want(agent.Failed, "config_invalid")
	if !strings.HasSuffix(r.FailReason.Hint, `'["libmpengine.so","libmpengine.so.sig","mpavbase.vdm","mpavdlta.vdm"]'`) || r.BytesDownloaded > 64<<10 {
		t.Errorf("%d bytes for: %s", r.BytesDownloaded, r.FailReason.Hint)
	}
	w.filesAre(allNames)
	w.want(agent.Failed, "rollback_refused") // an engine of unknown age, and none to compare it with
	if r := w.want(agent.Failed, "rollback_refused"); r.BytesDownloaded != 0 {
		t.Errorf("fetched again, %d bytes", r.BytesDownloaded)
	}
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(1)})
	w.has(1)
	w.health(map[string]string{"definitions_trust_profile": `"vendor"`, "definitions_status": `"up_to_date"`, "definitions_version": `"` + name(1),
		"definitions_released": "Nov 01, 2026 at 11:00", "definitions_expires": "unavailable", "engine_version": "unavailable"})
	if r := w.want(agent.UpToDate, ""); r.BytesDownloaded != 0 || r.Requests != 1 {
		t.Errorf("nothing new took %d bytes, %d requests", r.BytesDownloaded, r.Requests)
	}
	w.plain(2, nil)
	if r := w.want(agent.WouldUpdate, "", agent.Options{DryRun: true}); r.Definitions != "" || r.BytesDownloaded > 64<<10 {
		t.Errorf("a dry run gave %+v", r)
	}
	w.want(agent.Updated, "")
	w.has(2)
	if _, err := w.agent.Rollback(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	w.has(1)
	w.want(agent.Failed, "known_bad")
	if r := w.want(agent.Failed, "known_bad"); r.BytesDownloaded != 0 {
		t.Errorf("known bad, and fetched again, %d bytes", r.BytesDownloaded)
	}
	w.want(agent.Updated, "", agent.Options{RetryKnownBad: true})
	if _, err := w.agent.Verify(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := w.agent.Restore(context.Background(), 0); agent.Explain(err).Code != "nothing_installed" {
		t.Errorf("restore: %v", err)
	}
	w.has(2)
}

// Everything that is not the vendor's, or older than what is installed, changes
// nothing, and is not fetched again for as long as it is the same.
func TestVendorAloneRefuses(t *testing.T) {
	t.Parallel()
	engine := func(w *vendored, m elf.Machine, text string) map[string]string {
		engine := string(sigtest.Engine(m, text))
		return map[string]string{soName: engine, soName + ".sig": string(w.vendor.Beside(w, "vendor", []byte(engine)))}
	}
	for _, c := range []struct {
		what  string
		edits func(*vendored) map[string]string
		code  string
		says  string
		looks bool // it is refused for what is installed, by the archive's end
	}{
		{"a file that nobody signed", func(*vendored) map[string]string { return map[string]string{"mpavdlta.vdm": "delta"} }, "signature_missing", "mpavdlta.vdm", false},
		{"a file by somebody else", func(w *vendored) map[string]string {
			w.profile("vendor", ":subject:CN=vendor")
			return map[string]string{"mpavdlta.vdm": w.vdm("stranger", "mpavdlta.vdm", v(2), base)}
		}, "signer_untrusted", "mpavdlta.vdm", false},
		{"a renamed file", func(w *vendored) map[string]string {
			return map[string]string{"mpavdlta.vdm": w.vdm("vendor", "mpasdlta.vdm", v(2), base)}
		}, "content_mismatch", "mpavdlta.vdm", false},
		{"a base of an older package", func(w *vendored) map[string]string {
			return map[string]string{"mpavbase.vdm": w.vdm("vendor", "mpavbase.vdm", baseVersion, base.Add(-2*day))}
		}, "rollback_refused", "mpavbase.vdm", false},
		{"a base of another generation", func(w *vendored) map[string]string {
			return map[string]string{"mpavbase.vdm": w.vdm("vendor", "mpavbase.vdm", verifier.Version{1, 406, 0, 0}, base)}
		}, "content_mismatch", "", false},
		{"a file that is missing", func(*vendored) map[string]string { return map[string]string{"mpavbase.vdm": ""} }, "content_mismatch", "mpavbase.vdm", true},
		{"a file more", func(w *vendored) map[string]string {
			return map[string]string{"mpasdlta.vdm": w.vdm("vendor", "mpasdlta.vdm", v(2), base)}
		}, "content_mismatch", "mpasdlta.vdm", true},
		{"another engine of unknown age", func(w *vendored) map[string]string { return engine(w, elf.EM_X86_64, "another") }, "rollback_refused", soName, false},
		{"an engine of another architecture", func(w *vendored) map[string]string { return engine(w, elf.EM_AARCH64, "engine") }, "wrong_platform", "", false},
		{"an expired signer without a stamp", func(w *vendored) map[string]string {
			return map[string]string{"mpavdlta.vdm": w.vdm("old", "mpavdlta.vdm", v(2), time.Time{})}
		}, "signer_expired", "mpavdlta.vdm", false},
		{"a list that somebody made", func(*vendored) map[string]string { return map[string]string{"META/list.json": "{}"} }, "package_malformed", "", true},
		{"a file in the list's place", func(*vendored) map[string]string { return map[string]string{"META": "x"} }, "package_malformed", "", true},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := newAlone(t)
			edits := c.edits(w) // which may configure
			w.overWeb()
			w.firstAlone(1)
			w.plain(2, edits)
			r := w.want(agent.Failed, c.code)
			if !strings.Contains(r.FailReason.Message, c.says) {
				t.Errorf("it does not name %s: %s", c.says, r.FailReason.Message)
			}
			w.has(1)
			if r := w.want(agent.Failed, c.code); !c.looks && r.BytesDownloaded != 0 {
				t.Errorf("fetched again, %d bytes", r.BytesDownloaded)
			}
			w.has(1)
			w.plain(3, nil)
			w.want(agent.Updated, "")
			w.has(3)
		})
	}
}

// An older package is refused, fetched once, and installed where somebody consents.
func TestVendorAloneFloor(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.overWeb()
	w.firstAlone(2)
	w.plain(1, nil)
	w.want(agent.Failed, "rollback_refused")
	if r := w.want(agent.Failed, "rollback_refused"); r.BytesDownloaded != 0 {
		t.Errorf("fetched again, %d bytes", r.BytesDownloaded)
	}
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(1)})
	w.has(1)
	w.plain(3, map[string]string{"mpasdlta.vdm": w.vdm("vendor", "mpasdlta.vdm", v(3), base)})
	w.want(agent.Failed, "content_mismatch", agent.Options{AllowDowngrade: v(2)}) // is consent to another package
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(3)})
	w.has(3)
	must(t, os.Remove(filepath.Join(w.agent.Paths.State, "state.json")))
	w.plain(2, nil)
	w.want(agent.Failed, "content_mismatch") // the vendor's packages have another file by now
	w.plain(2, map[string]string{"mpasdlta.vdm": w.vdm("vendor", "mpasdlta.vdm", v(2), base)})
	w.want(agent.UpToDate, "") // by what the sets on disk prove; the source is behind
	if r := w.want(agent.UpToDate, ""); r.BytesDownloaded != 0 {
		t.Errorf("behind, and fetched again, %d bytes", r.BytesDownloaded)
	}
	w.has(3)
}

// A URL that ends in _back consents to one step down, of the vendor's files as well.
func TestVendorAloneStepsBack(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.firstAlone(2)
	back := filepath.Join(w.srv, "linux", "production_back")
	p := w.pack(1, map[string]string{"mpavbase.vdm": w.vdm("vendor", "mpavbase.vdm", baseVersion, base.Add(-2*day))})
	p.bare = true
	w.publishIn(back, p)
	w.configure(strings.Replace(string(w.read(w.agent.Paths.Managed)), w.ring, back, 1))
	w.want(agent.Updated, "")
	w.has(1)
	w.want(agent.UpToDate, "")
	p = w.pack(0, nil)
	p.bare = true
	w.publishIn(back, p)
	w.want(agent.Failed, "rollback_refused")
	w.has(1)
}

// A list that is there does not become one that counts, inside or beside the package.
func TestVendorAloneAsksForNoList(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.firstAlone(1)
	w.publish(w.pack(2, nil)) // with a list inside
	w.want(agent.Failed, "package_malformed")
	_, stranger := newSigner(t)
	p := w.pack(3, nil)
	p.signer = &stranger
	w.publish(p)
	w.want(agent.Failed, "package_malformed")
	w.has(1)
	w.plain(4, nil)
	p.bare, p.n = true, 5
	w.serve(filepath.Join(w.ring, "arch_x86_64", "updates.zip.p7m"), w.sign(p))
	w.want(agent.Updated, "")
	w.has(4)
}

// Each set is judged by the profile in force, in both directions.
func TestVendorAloneAndBack(t *testing.T) {
	t.Parallel()
	w := newVendored(t)
	w.first(1) // by list+vendor
	w.profile("vendor", ":eku:"+sigtest.Usage)
	w.status("unavailable", "signature_missing")
	w.plain(2, nil)
	w.has(1)                  // which the engine goes on with
	w.want(agent.Updated, "") // its files prove what they are, as ever
	w.has(2)
	w.status("up_to_date", "")
	if _, err := w.agent.Rollback(context.Background(), 0); agent.Explain(err).Code != "nothing_installed" {
		t.Errorf("went back to a set of another profile: %v", err)
	}
	w.profile("list", ":eku:"+sigtest.Usage)
	w.status("unavailable", "signature_missing")
	if _, err := w.agent.Repair(context.Background(), 0); err != nil {
		t.Errorf("repair: %v", err)
	}
	w.has(1) // which holds under this profile
	w.publish(w.pack(3, nil))
	w.want(agent.Updated, "")
	w.has(3)
	w.profile("vendor", ":eku:"+sigtest.Usage)
	w.plain(2, nil)
	w.want(agent.Failed, "rollback_refused", agent.Options{AllowDowngrade: v(1)}) // the floor is that of all profiles
}

// What lies in the set's list is not believed before the files prove it.
func TestVendorAloneDamage(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.firstAlone(1)
	w.plain(2, nil)
	w.want(agent.Updated, "")
	list := w.world.engine(filepath.Join(w.active(), "META", "package.json"))
	good := w.read(list)
	for what, change := range map[string]func(string) string{
		"a later list":     func(s string) string { return strings.ReplaceAll(s, "2026-11-01T11:00:00Z", "2026-11-01T11:30:00Z") },
		"a higher version": func(s string) string { return strings.ReplaceAll(s, name(2), name(9)) },
		"no list":          func(string) string { return "" },
	} {
		changed := change(string(good))
		must(t, os.Remove(list))
		must(t, os.WriteFile(list, []byte(changed), 0o444))
		if changed == string(good) {
			t.Fatalf("%s: nothing changed", what)
		}
		if _, err := w.agent.Verify(context.Background()); err == nil {
			t.Errorf("%s: nothing is found", what)
		}
		w.want(agent.Updated, "") // anew
		w.has(2)
		list = w.world.engine(filepath.Join(w.active(), "META", "package.json"))
	}
	file := w.world.engine(filepath.Join(w.active(), "mpavdlta.vdm")) // which no other set has
	must(t, os.Chmod(file, 0o644))
	must(t, os.WriteFile(file, []byte("x"), 0o644))
	w.status("unavailable", "set_damaged")
	w.want(agent.Updated, "")
	w.has(2)
	must(t, os.Remove(w.world.engine(filepath.Join(w.active(), "mpavbase.vdm"))))
	if _, err := w.agent.Repair(context.Background(), 0); err != nil {
		t.Error(err)
	}
	w.has(2)
	w.status("up_to_date", "")
	to := filepath.Join(w.agent.Paths.Root, "elsewhere")
	if _, err := w.agent.SetPath(context.Background(), to, 0); err != nil {
		t.Fatal(err)
	}
	w.has(2)
	w.want(agent.UpToDate, "")
	if _, err := w.agent.Verify(context.Background()); err != nil {
		t.Error(err)
	}
}

// Time that passes takes nothing away, and a revocation keeps the set, says so, and
// makes its floor void.
func TestVendorAloneOverTime(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.vendor.Signer(t, "second", base.AddDate(-1, 0, 0), base.AddDate(1, 0, 0))
	w.plain(1, map[string]string{"mpavdlta.vdm": w.vdm("vendor", "mpavdlta.vdm", v(1), time.Time{})})
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(1)})
	w.at(base.AddDate(2, 0, 0)) // the signer has expired
	if _, err := w.agent.Verify(context.Background()); err != nil {
		t.Errorf("after two years: %v", err)
	}
	w.status("out_of_date", "")
	w.at(base)
	w.trust("vendor/issuer.crl", w.vendor.Revoke(t, "vendor"))
	w.status("update_failed", "signer_revoked")
	w.want(agent.Failed, "signer_revoked")
	w.plain(2, nil)
	w.want(agent.Failed, "signer_revoked")
	w.has(1)
	of := func(n uint32) map[string]string {
		return map[string]string{"mpavbase.vdm": w.vdm("second", "mpavbase.vdm", baseVersion, base.Add(-day)), "mpavdlta.vdm": w.vdm("second", "mpavdlta.vdm", v(n), base),
			soName + ".sig": string(w.vendor.Beside(w, "second", []byte(w.engine)))}
	}
	edits := of(0)
	w.plain(0, edits)
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(0)})
	w.has(0)
	w.status("up_to_date", "")
}

// Servers without validators send the archive's end each time, and the rest once. That
// goes for a package that is behind, too.
func TestVendorAloneWithoutValidators(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	s := w.overWeb()
	s.fail(w.unvalidated)
	big := strings.Repeat("x", 256<<10)
	add := func(n uint32) map[string]string {
		return map[string]string{"mpavbase.vdm": string(w.vendor.Definitions(w, "vendor", "mpavbase.vdm", baseVersion, big, base.Add(-day)))}
	}
	edits := add(1)
	w.plain(1, edits)
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(1)})
	for range 2 {
		if r := w.want(agent.UpToDate, ""); r.BytesDownloaded > 64<<10 {
			t.Errorf("%d bytes for what is installed", r.BytesDownloaded)
		}
		w.later(2 * day)
	}
}

// noValidators takes away by what a client could ask whether anything changed.
type noValidators struct{ http.ResponseWriter }

func (w noValidators) WriteHeader(code int) {
	w.Header().Del("Last-Modified")
	w.ResponseWriter.WriteHeader(code)
}

// A transfer that breaks off goes on in the next run. What was kept is believed by
// nobody: where it is damaged, the file comes anew.
func TestVendorAloneGoesOn(t *testing.T) {
	t.Parallel()
	for _, spoilt := range []bool{false, true} {
		w := newAlone(t)
		s := w.overWeb()
		w.plain(1, map[string]string{"mpavbase.vdm": string(w.vendor.Definitions(w, "vendor", "mpavbase.vdm", baseVersion, noise(1, 6<<20), base.Add(-day)))})
		s.cutAfter(w.world, 4<<20)
		w.want(agent.Failed, "source_unreachable", agent.Options{AllowDowngrade: v(1)})
		s.fail(nil)
		parts, err := filepath.Glob(w.world.engine(".staging/part-*/*"))
		if err != nil || len(parts) == 0 {
			t.Fatalf("parts %q, %v", parts, err)
		}
		for _, part := range parts {
			if data := w.read(part); spoilt && len(data) > 0 {
				data[len(data)/2] ^= 1
				w.write(part, data)
			}
		}
		if r := w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(1)}); !r.Resumed {
			t.Error("the transfer was not resumed")
		}
		w.has(1)
	}
}

// Where the mirror fails, the vendor's package comes from the cloud; and a list that
// is bad there leads nowhere.
func TestVendorAloneFromTheCloud(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	site := w.web()
	p := w.pack(1, nil)
	p.bare = true
	cloud := filepath.Join(w.srv, "cloud", "updates.zip")
	w.serve(cloud, w.archive(p))
	w.offline(site.ringURL(), true, fmt.Sprintf(`"cloudUrl":"%s/cloud/updates.zip","trust":{"profile":"vendor","vendorFiles":[%s],"vendorPins":["%s:subject:CN=vendor"]}`, site.URL, allNames, w.vendor.Issuer()))
	w.want(agent.Updated, "source_not_found", agent.Options{AllowDowngrade: v(1)})
	w.has(1)
	w.serve(cloud, w.archive(w.pack(2, nil))) // with a list
	w.want(agent.Failed, "source_not_found")
	w.has(1)
}

// Under the profile vendor the vendor's cloud is a source.
func TestVendorAloneAsksTheCloud(t *testing.T) {
	t.Parallel()
	for profile, want := range map[string]string{"vendor": "[https://go.microsoft.com/fwlink/?linkid=2144709&arch=arm64]", "list": "[]", "list+vendor": "[]"} {
		s := settings(t, fmt.Sprintf(`{"agent":{"trust":{"profile":%q}}}`, profile))
		var got []string
		d := agent.Decide(s, agent.Known{Arch: "arm64"})
		for _, place := range d.Places {
			got = append(got, place.Cloud.String())
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: asks %v", profile, got)
		}
	}
}
