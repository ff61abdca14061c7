package agent_test

import (
	"context"
	"debug/elf"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

// vendored is a world whose packages hold files that a vendor signed.
type vendored struct {
	*world
	vendor *sigtest.Vendor
	engine string // its content
}

const soName = "libmpengine.so"

// newVendored gives a machine that wants the vendor's signatures, and has nothing
// installed.
func newVendored(t testing.TB) *vendored {
	t.Helper()
	w := &vendored{world: newWorld(t), vendor: sigtest.New(t)}
	w.engine = string(sigtest.Engine(elf.EM_X86_64, "engine"))
	w.vendor.Signer(t, "vendor", base.AddDate(-1, 0, 0), base.AddDate(1, 0, 0))
	w.vendor.Signer(t, "stranger", base.AddDate(-1, 0, 0), base.AddDate(1, 0, 0))
	w.vendor.Signer(t, "old", base.AddDate(-3, 0, 0), base.AddDate(-1, 0, 0))
	w.trust("vendor/root.pem", w.vendor.Root)
	w.trust("vendor/time.pem", w.vendor.TimeRoot)
	w.profile("list+vendor", ":eku:"+sigtest.Usage)
	return w
}

// profile configures a profile, and as the vendor whoever the issuer says that of.
func (w *vendored) profile(profile, vendor string) {
	w.Helper()
	w.offline(w.srv+"/linux/production", false, fmt.Sprintf(`"trust":{"profile":%q,"vendorPins":[%q]}`, profile, w.vendor.Issuer().String()+vendor))
}

// vdm gives definitions of that version.
func (w *vendored) vdm(signer, name string, version verifier.Version, stamp time.Time) string {
	w.Helper()
	return string(w.vendor.Definitions(w, signer, name, version, "of "+version.String(), stamp))
}

var baseVersion = verifier.Version{1, 407, 0, 0}

// pack gives a package that is in order, less the files that are empty in edits, and
// with the others.
func (w *vendored) pack(n uint32, edits map[string]string) pack {
	w.Helper()
	files := map[string]string{
		"mpavbase.vdm": w.vdm("vendor", "mpavbase.vdm", baseVersion, base.Add(-day)), "mpavdlta.vdm": w.vdm("vendor", "mpavdlta.vdm", v(n), base.Add(-time.Hour)),
		soName: w.engine, soName + ".sig": string(w.vendor.Beside(w, "vendor", []byte(w.engine))),
	}
	maps.Copy(files, edits)
	maps.DeleteFunc(files, func(_, content string) bool { return content == "" })
	return pack{n: n, files: files}
}

// first installs a package although nobody knows how old its engine is.
func (w *vendored) first(n uint32) {
	w.Helper()
	w.publish(w.pack(n, nil))
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(n)})
	w.has(n)
}

func TestVendorProfile(t *testing.T) {
	t.Parallel()
	w := newVendored(t)
	w.publish(w.pack(1, nil))
	w.want(agent.Failed, "rollback_refused") // an engine of unknown age, and none to compare it with
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(1)})
	w.health(map[string]string{"definitions_trust_profile": `"list+vendor"`, "definitions_status": `"up_to_date"`})
	w.want(agent.UpToDate, "")
	w.publish(w.pack(2, nil))
	w.want(agent.Updated, "")
	w.has(2)
	if _, err := w.agent.Rollback(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	w.has(1)
	if _, err := w.agent.Verify(context.Background()); err != nil {
		t.Error(err)
	}
	w.health(map[string]string{"definitions_trust_profile": `"list+vendor"`})
	w.profile("list", ":eku:"+sigtest.Usage)
	w.health(map[string]string{"definitions_trust_profile": `"list"`, "definitions_version": `"` + name(1)})
}

// Who has the key that signs lists, and not the vendor's, gets nothing installed but
// what the vendor signed, and nothing older than what is installed.
func TestStolenListKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what  string
		edits func(*vendored) map[string]string
		code  string
	}{
		{"a file that nobody signed", func(*vendored) map[string]string { return map[string]string{"extra.bin": "x"} }, "signature_missing"},
		{"definitions that nobody signed", func(*vendored) map[string]string { return map[string]string{"mpavdlta.vdm": "delta"} }, "signature_missing"},
		{"definitions of another customer of the CA", func(w *vendored) map[string]string {
			w.profile("list+vendor", ":subject:CN=vendor")
			return map[string]string{"mpavdlta.vdm": w.vdm("stranger", "mpavdlta.vdm", v(2), base)}
		}, "signer_untrusted"},
		{"another name's file under a good signature", func(w *vendored) map[string]string {
			return map[string]string{"mpavdlta.vdm": w.vdm("vendor", "mpasdlta.vdm", v(2), base)}
		}, "content_mismatch"},
		{"files of before under a new list", func(w *vendored) map[string]string {
			return map[string]string{"mpavdlta.vdm": w.vdm("vendor", "mpavdlta.vdm", v(1), base)}
		}, "content_mismatch"},
		{"mixed generations", func(w *vendored) map[string]string {
			return map[string]string{"mpavbase.vdm": w.vdm("vendor", "mpavbase.vdm", verifier.Version{1, 406, 0, 0}, base)}
		}, "content_mismatch"},
		{"an older file", func(w *vendored) map[string]string {
			return map[string]string{"mpavbase.vdm": w.vdm("vendor", "mpavbase.vdm", baseVersion, base.Add(-2*day))}
		}, "rollback_refused"},
		{"half of the definitions", func(*vendored) map[string]string { return map[string]string{"mpavbase.vdm": ""} }, "rollback_refused"},
		{"another engine of unknown age", func(w *vendored) map[string]string {
			engine := string(sigtest.Engine(elf.EM_X86_64, "another"))
			return map[string]string{soName: engine, soName + ".sig": string(w.vendor.Beside(w, "vendor", []byte(engine)))}
		}, "rollback_refused"},
		{"an engine of another architecture", func(w *vendored) map[string]string {
			engine := string(sigtest.Engine(elf.EM_AARCH64, "engine"))
			return map[string]string{soName: engine, soName + ".sig": string(w.vendor.Beside(w, "vendor", []byte(engine)))}
		}, "wrong_platform"},
		{"an engine that nobody signed", func(*vendored) map[string]string { return map[string]string{soName + ".sig": ""} }, "signature_missing"},
		{"an expired signer without a stamp", func(w *vendored) map[string]string {
			return map[string]string{"mpavdlta.vdm": w.vdm("old", "mpavdlta.vdm", v(2), time.Time{})}
		}, "signer_expired"},
		{"an expired signer, stamped while it was valid", func(w *vendored) map[string]string {
			return map[string]string{"new.vdm": w.vdm("old", "new.vdm", v(2), base.AddDate(-2, 0, 0))}
		}, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := newVendored(t)
			w.first(1)
			w.publish(w.pack(2, c.edits(w)))
			if c.code == "" {
				w.want(agent.Updated, "")
				w.has(2)
				return
			}
			w.want(agent.Failed, c.code)
			w.has(1)
			w.want(agent.Failed, c.code)
			w.has(1)
			w.publish(w.pack(3, nil))
			w.want(agent.Updated, "")
			w.has(3)
		})
	}
}

// What the vendor's signatures refuse is not fetched again for as long as nothing
// changes that it was refused for, be it that somebody consents to older files.
func TestRefusedOnce(t *testing.T) {
	t.Parallel()
	w := newVendored(t)
	s := w.web()
	w.configure(strings.Replace(string(w.read(w.agent.Paths.Managed)), w.srv+"/linux/production", s.ringURL(), 1))
	w.first(1)
	for i, edits := range []map[string]string{{"extra.bin": "x"}, {"mpavbase.vdm": ""}} {
		code := []string{"signature_missing", "rollback_refused"}[i]
		w.publish(w.pack(uint32(i)+2, edits))
		if r := w.want(agent.Failed, code); r.BytesDownloaded == 0 {
			t.Errorf("%s: refused unseen", code)
		}
		if r := w.want(agent.Failed, code); r.BytesDownloaded != 0 {
			t.Errorf("%s: fetched again, %d bytes", code, r.BytesDownloaded)
		}
		w.has(1)
	}
	w.publish(w.pack(4, map[string]string{"mpavbase.vdm": ""}))
	w.want(agent.Failed, "rollback_refused")
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(4)})
	w.has(4)
}

// The vendor's signatures do not stand in for a list that is missing or bad.
func TestNoOtherProfile(t *testing.T) {
	t.Parallel()
	w := newVendored(t)
	w.first(1)
	p := w.pack(2, nil)
	p.bare = true
	w.publish(p)
	w.want(agent.Failed, "signature_missing")
	_, stranger := newSigner(t)
	p.bare, p.signer = false, &stranger
	w.publish(p)
	w.want(agent.Failed, "signer_untrusted")
	w.has(1)
}

// A set that was installed by its list alone does not count once the vendor's
// signatures are asked for and it has none. It does again when they are not.
func TestProfileChanges(t *testing.T) {
	t.Parallel()
	w := newVendored(t)
	w.profile("list", ":eku:"+sigtest.Usage)
	w.publish(pack{n: 1})
	w.want(agent.Updated, "")
	w.profile("list+vendor", ":eku:"+sigtest.Usage)
	w.status("unavailable", "signature_missing")
	w.want(agent.Failed, "signature_missing")
	w.has(1) // which the engine goes on with
	if v, err := w.agent.Repair(context.Background(), 0); err == nil || len(v.Problems) == 0 {
		t.Errorf("repaired: %+v", v)
	}
	w.has(1)
	w.profile("list", ":eku:"+sigtest.Usage)
	w.want(agent.UpToDate, "")
	w.status("up_to_date", "")
	w.profile("list+vendor", ":eku:"+sigtest.Usage)
	w.first(2)
}

// A set that is damaged is mended by the same package, and nobody has to consent: the
// files that are not damaged prove what they are, each by itself.
func TestVendorMendsDamage(t *testing.T) {
	t.Parallel()
	w := newVendored(t)
	w.first(1)
	file := w.world.engine(filepath.Join(w.active(), "mpavdlta.vdm"))
	must(t, os.Chmod(file, 0o644))
	must(t, os.WriteFile(file, []byte("x"), 0o644))
	w.status("unavailable", "set_damaged")
	w.want(agent.Updated, "")
	w.has(1)
}

// What the profile needs and is missing is an error, and nobody is trusted for it.
func TestProfileNeeds(t *testing.T) {
	t.Parallel()
	w := newVendored(t)
	w.publish(w.pack(1, nil))
	w.offline(w.srv+"/linux/production", false, `"trust":{"profile":"list+vendor"}`)
	w.want(agent.Failed, "config_invalid")
	w.status("unavailable", "config_invalid")
	w.profile("list+vendor", ":eku:"+sigtest.Usage)
	for _, name := range []string{"root.pem", "time.pem"} {
		must(t, os.Remove(filepath.Join(w.agent.Paths.Trust, "vendor", name)))
	}
	w.want(agent.Failed, "trust_empty")
	w.trust("vendor/notes.txt", []byte("x"))
	w.want(agent.Failed, "trust_invalid")
}

// Time that passes takes nothing away, and a revocation keeps the set and says so.
func TestVendorOverTime(t *testing.T) {
	t.Parallel()
	w := newVendored(t)
	p := w.pack(1, map[string]string{"mpavdlta.vdm": w.vdm("vendor", "mpavdlta.vdm", v(1), time.Time{})})
	p.expires = base.AddDate(5, 0, 0)
	w.publish(p)
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(1)})
	w.at(base.AddDate(2, 0, 0)) // the signers of list and files have expired
	if _, err := w.agent.Verify(context.Background()); err != nil {
		t.Errorf("after two years: %v", err)
	}
	w.at(base)
	crl := filepath.Join(w.agent.Paths.Trust, "vendor", "issuer.crl")
	w.trust("vendor/issuer.crl", w.vendor.Revoke(t, "vendor"))
	w.status("update_failed", "signer_revoked")
	if _, err := w.agent.Verify(context.Background()); err != nil {
		t.Errorf("a revocation is no damage: %v", err)
	}
	w.publish(w.pack(2, nil))
	w.want(agent.Failed, "signer_revoked")
	w.has(1)
	must(t, os.Remove(crl)) // which un-revokes nobody
	w.want(agent.Failed, "signer_revoked")
	w.status("update_failed", "signer_revoked")
}

// A file that the vendor drops or renames does not stop a fleet for good: the files of a
// package can be named for all machines, and it has these then and no others. The
// installed files go on as they are until such a package comes.
func TestVendorDropsAFile(t *testing.T) {
	t.Parallel()
	w := newVendored(t)
	s := w.overWeb()
	w.first(1)
	more := map[string]string{"mpasbase.vdm": w.vdm("vendor", "mpasbase.vdm", baseVersion, base.Add(-day))}
	p := w.pack(2, more)
	w.publish(p)
	w.want(agent.Updated, "")
	w.has(2)
	w.publish(w.pack(3, nil))
	if r := w.want(agent.Failed, "rollback_refused"); !strings.Contains(r.FailReason.Hint, "agent.trust.vendorFiles") {
		t.Error(r.FailReason.Hint)
	}
	w.filesAre(allNames)
	w.want(agent.WouldUpdate, "", agent.Options{DryRun: true})
	must(t, os.Remove(filepath.Join(w.agent.Paths.State, "state.json"))) // which knows that this source had more
	w.later(time.Hour)
	p.issued = w.agent.Now()
	w.publish(p)
	w.want(agent.Renewed, "")
	p = w.pack(4, nil)
	p.issued = w.agent.Now()
	w.publish(p)
	w.want(agent.Updated, "")
	w.has(4)
	for i, edits := range []map[string]string{more, {"mpavbase.vdm": ""}} {
		n := uint32(i) + 5
		p := w.pack(n, edits)
		p.issued = w.agent.Now()
		w.publish(p)
		w.want(agent.Failed, "content_mismatch", agent.Options{DryRun: true})
		w.want(agent.Failed, "content_mismatch", agent.Options{AllowDowngrade: v(n)})
		before := s.asked.Load()
		if r := w.want(agent.Failed, "content_mismatch"); r.BytesDownloaded != 0 || s.asked.Load() == before {
			t.Errorf("%d bytes", r.BytesDownloaded)
		}
		w.has(4)
	}
}
