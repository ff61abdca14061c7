package agent_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

// A time stamp can be taken off by anybody, so what has none comes below what has one,
// and opens no way to one that is older.
func TestVendorAloneStampTakenOff(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.firstAlone(2)
	off := w.vdm("vendor", "mpavdlta.vdm", v(2), time.Time{})
	w.plain(2, map[string]string{"mpavdlta.vdm": off, "mpavbase.vdm": w.vdm("vendor", "mpavbase.vdm", baseVersion, base.Add(-time.Minute))})
	w.want(agent.UpToDate, "") // the same under other stamps
	w.plain(2, map[string]string{"mpavdlta.vdm": off, "mpavbase.vdm": string(w.vendor.Definitions(w, "vendor", "mpavbase.vdm", baseVersion, "another", base.Add(-time.Minute)))})
	w.want(agent.Failed, "rollback_refused")
	w.has(2)
	w.plain(3, map[string]string{"mpavdlta.vdm": w.vdm("vendor", "mpavdlta.vdm", v(3), time.Time{})})
	w.want(agent.Failed, "rollback_refused")
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(3)})
	w.has(3)
}

// From a list to the vendor's signatures alone: the very same files are installed anew,
// also where their list stated an engine and was issued after the vendor signed. What
// is older stays refused.
func TestVendorAloneAfterAList(t *testing.T) {
	t.Parallel()
	for _, profile := range []string{"list", "list+vendor"} {
		w := newVendored(t)
		w.profile(profile, ":eku:"+sigtest.Usage)
		w.first(2)
		w.profile("vendor", ":eku:"+sigtest.Usage)
		w.plain(1, nil)
		w.want(agent.Failed, "rollback_refused")
		w.plain(2, map[string]string{"mpavbase.vdm": w.vdm("vendor", "mpavbase.vdm", baseVersion, base.Add(-2*day))})
		w.want(agent.Failed, "rollback_refused") // by the files of the set before
		w.plain(2, nil)
		w.want(agent.Updated, "")
		w.has(2)
		w.status("up_to_date", "")
		w.want(agent.UpToDate, "")
		w.plain(2, map[string]string{"mpavdlta.vdm": string(w.vendor.Definitions(t, "vendor", "mpavdlta.vdm", v(2), "another", base.Add(-2*time.Hour)))})
		w.want(agent.Failed, "rollback_refused") // by the floor that the vendor's files set
	}
}

// A floor is void once somebody is revoked by whose word it is as high, be it that
// another signed the newest file.
func TestVendorAloneFloorOfTwo(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.vendor.Signer(t, "second", base.AddDate(-1, 0, 0), base.AddDate(1, 0, 0))
	of := func(n uint32) map[string]string { // all of it by the second
		return map[string]string{"mpavbase.vdm": w.vdm("second", "mpavbase.vdm", baseVersion, base.Add(-time.Minute)), "mpavdlta.vdm": w.vdm("second", "mpavdlta.vdm", v(n), base.Add(-time.Hour)),
			soName + ".sig": string(w.vendor.Beside(w, "second", []byte(w.engine)))}
	}
	nine := of(9)
	nine["mpavdlta.vdm"] = w.vdm("vendor", "mpavdlta.vdm", v(9), base.Add(-2*time.Hour))
	w.plain(9, nine)
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(9)})
	w.plain(2, of(2))
	w.want(agent.Failed, "rollback_refused")
	w.trust("vendor/issuer.crl", w.vendor.Revoke(t, "vendor"))
	w.want(agent.Updated, "")
	w.has(2)
}

// What a signed list states is shown as it stands there, whatever a derived one would
// mean by it.
func TestListStatesItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.srv+"/linux/production", false, "")
	p := pack{n: 1, expires: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}
	p.list = func(list []byte) []byte { return bytes.ReplaceAll(list, []byte("1.1.24080.9"), []byte("0.0.0.0")) }
	w.publish(p)
	if r := w.want(agent.Updated, ""); r.Engine != "0.0.0.0" {
		t.Errorf("the engine is %q", r.Engine)
	}
	w.health(map[string]string{"engine_version": `"0.0.0.0"`, "definitions_expires": "Dec 31, 9999 at 11:59:59 PM"})
	sets, err := w.agent.List(context.Background())
	must(t, err)
	if s := sets.Sets[0]; s.Engine == nil || *s.Engine != "0.0.0.0" || s.Expires == nil || s.Expires.Year() != 9999 {
		t.Errorf("the set is listed as %+v", s)
	}
}

// A floor that is learned anew is not learned from some of the sets only, be it that a
// file can't be read, by which alone the set proves what it is.
func TestVendorAloneFloorIsNotLearnedFromUnreadSets(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.firstAlone(1)
	w.plain(5, nil)
	w.want(agent.Updated, "")
	w.wantChange(w.agent.Rollback, "", 1)
	w.plain(3, nil)
	must(t, os.Remove(w.state("state.json")))
	if out := w.failing("update", w.world.engine(w.setOf(5)+"/mpavdlta.vdm"), "read,pread64", "1+"); !strings.HasPrefix(out, "failed install_failed") {
		t.Errorf("the update says %q", out)
	}
	w.has(1)
	w.update(agent.Options{})
	w.has(1) // and not 3, which is below 5
}

// What the disk does not give of an installed file once is no reason to refuse a package
// for as long as that is installed.
func TestVendorUnreadIsNoRefusal(t *testing.T) {
	t.Parallel()
	for _, profile := range []string{"vendor", "list+vendor"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			w := newVendored(t)
			if profile == "vendor" {
				w = newAlone(t)
			}
			publish := func(n uint32) {
				p := w.pack(n, nil)
				p.bare = profile == "vendor"
				w.publish(p)
			}
			publish(1)
			w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(1)})
			publish(2)
			if out := w.failing("update", w.world.engine(w.active()+"/"+soName), "read,pread64", "1+"); !strings.HasPrefix(out, "failed install_failed") {
				t.Errorf("the update says %q", out)
			}
			w.has(1)
			w.want(agent.Updated, "")
			w.has(2)
		})
	}
}

// A user who can't read the configuration gets the same report, by the profile of the
// last run, and hashes nothing that nobody touched.
func TestVendorReportForAnyUser(t *testing.T) {
	t.Parallel()
	for _, profile := range []string{"vendor", "list+vendor"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			w := newUnder(t, profile)
			w.reachable()
			w.health(map[string]string{"definitions_trust_profile": `"` + profile + `"`, "definitions_status": `"up_to_date"`})
			want := w.health(nil).Text()
			must(t, os.Chmod(w.agent.Paths.Managed, 0o600))
			asked := func(role string) string {
				out, err := asNobody(t, w.child(role)).CombinedOutput()
				must(t, err)
				return string(out)
			}
			if got := asked("health"); got != want {
				t.Errorf("%s\nwant\n%s", got, want)
			}
			if got := asked("look"); !strings.HasPrefix(got, "<nil>\n<nil> [] [the vendor's signatures were not judged") {
				t.Errorf("a look says %s", got)
			}
			file := w.world.engine(filepath.Join(w.active(), "mpavdlta.vdm")) // damaged so that nobody sees it who does not hash
			was, err := os.Stat(file)
			must(t, err)
			data := w.read(file)
			data[len(data)/2] ^= 1
			must(t, os.Chmod(file, 0o644))
			must(t, os.WriteFile(file, data, 0o644))
			must(t, os.Chmod(file, was.Mode()))
			must(t, os.Chtimes(file, was.ModTime(), was.ModTime()))
			if got := asked("health"); got != want {
				t.Errorf("an untouched set was hashed:\n%s", got)
			}
			if got := asked("look"); !strings.Contains(got, "mpavdlta.vdm") {
				t.Errorf("a look does not see damage: %s", got)
			}
			must(t, os.Chtimes(file, base, base))
			if got := asked("health"); got == want {
				t.Error("a damaged set is reported as whole")
			}
		})
	}
}

// Sets of before the profile was changed are shown as what they are, and are nothing
// that is wrong, unless one of them is active.
func TestSetsOfAnotherProfile(t *testing.T) {
	t.Parallel()
	w := newVendored(t)
	w.first(1)
	w.profile("vendor", ":eku:"+sigtest.Usage)
	_, err := w.agent.List(t.Context())
	w.wantCode(err, "signature_missing")
	_, err = w.agent.Verify(t.Context())
	w.wantCode(err, "signature_missing")
	w.plain(2, nil)
	w.want(agent.Updated, "")
	for i, profile := range []string{"vendor", "list+vendor"} {
		n := uint32(i + 1) // of the set that is of another profile
		if profile != "vendor" {
			w.profile(profile, ":eku:"+sigtest.Usage)
			w.publish(w.pack(3, nil))
			w.want(agent.Updated, "")
		}
		sets, err := w.agent.List(t.Context())
		w.wantCode(err, "")
		for _, s := range sets.Sets {
			if other := strings.HasPrefix(s.Name, name(n)+"-"); strings.HasPrefix(s.Reason, "signature_missing: ") != other {
				t.Errorf("under %s the reason of %s is %q", profile, s.Name, s.Reason)
			}
		}
		v, err := w.agent.Repair(t.Context(), 0)
		w.wantCode(err, "")
		if len(v.Problems) != 0 || len(v.Repairs) != 0 {
			t.Errorf("under %s: %+v", profile, v)
		}
	}
}

// The notes are about the vendor's revocation lists as about those of who signs lists,
// also for a user who can't read the configuration.
func TestVendorListsAreNoted(t *testing.T) {
	t.Parallel()
	w := newVendored(t)
	w.overWeb()
	w.first(1)
	w.reachable()
	must(t, os.Chmod(w.agent.Paths.Managed, 0o600))
	named := func(number int64) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) { l.Number = big.NewInt(number) }
	}
	overdue := func(l *x509.RevocationList) { l.NextUpdate = base.Add(-day) }
	nobody := func(l *x509.RevocationList) { l.RevokedCertificateEntries = nil }
	for _, c := range []struct {
		what string
		list []byte // nil: none
		note string
	}{
		{"in order", w.vendor.Revoke(t, "stranger", named(2)), ""},
		{"overdue", w.vendor.Revoke(t, "stranger", named(3), overdue), "the revocation list vendor/issuer.crl in the trust directory is overdue, and still counts"},
		{"older", w.vendor.Revoke(t, "stranger", named(1)), "the revocation list vendor/issuer.crl in the trust directory is older than one that was there before, which still counts"},
		{"newer, and names nobody", w.vendor.Revoke(t, "stranger", named(4), nobody), ""},
		{"gone", nil, "a revocation list was taken out of the trust directory, and still counts"},
	} {
		w.trust("vendor/issuer.crl", c.list)
		if c.list == nil {
			must(t, os.Remove(filepath.Join(w.agent.Paths.Trust, "vendor", "issuer.crl")))
		}
		got := fmt.Sprint(w.agent.Facts(t.Context()).Notes)
		if got != "["+c.note+"]" {
			t.Errorf("%s: the notes are %s, want %q", c.what, got, c.note)
		}
		out, err := asNobody(t, w.child("look")).CombinedOutput()
		if err != nil || !strings.HasSuffix(string(out), got+"\n") {
			t.Errorf("%s: another user has %v %s", c.what, err, out)
		}
		w.want(agent.UpToDate, "") // which keeps the list
	}
}

// newUpdated is an endpoint under the profile list+vendor that had 1 and has 2.
func newUpdated(t *testing.T) *vendored {
	t.Helper()
	w := newVendored(t)
	w.first(1)
	w.publish(w.pack(2, nil))
	w.want(agent.Updated, "")
	return w
}

// noted gives the settings that the report tells of.
func (w *vendored) noted() state.Settings {
	w.Helper()
	var status state.Status
	must(w, json.Unmarshal(w.read(w.state("status.json")), &status))
	if status.Settings == nil {
		return state.Settings{}
	}
	return *status.Settings
}

// Whatever writes the report anew where it was lost says by which profile sets are judged:
// who may not read the configuration knows it from there.
func TestLostReportHasTheProfile(t *testing.T) {
	t.Parallel()
	w := newUpdated(t)
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"hold", func() error { _, err := w.agent.Hold(t.Context(), 0); return err }},
		{"unhold", func() error { return w.agent.Unhold(t.Context(), 0) }},
		{"rollback", func() error { _, err := w.agent.Rollback(t.Context(), 0); return err }},
		{"repair", func() error { _, err := w.agent.Repair(t.Context(), 0); return err }},
		{"hashing again", func() error {
			file := w.world.engine(filepath.Join(w.active(), soName))
			must(t, os.Chmod(file, 0o644))
			must(t, os.WriteFile(file, []byte("damaged"), 0o644))
			if err := w.agent.Rehash(t.Context()); err == nil {
				return errors.New("what is damaged was not found")
			}
			return nil
		}},
	} {
		must(t, os.WriteFile(w.state("status.json"), []byte("damaged"), 0o644))
		must(t, c.do())
		if s := w.noted(); s.Profile != "list+vendor" {
			t.Errorf("after %s the report has the settings %+v", c.what, s)
		}
	}
}

// A configuration file that is away for a moment changes nothing of what the report says was
// in force.
func TestReportKeepsTheProfile(t *testing.T) {
	t.Parallel()
	w := newUpdated(t)
	must(t, os.Rename(w.agent.Paths.Managed, w.agent.Paths.Managed+".away"))
	if _, err := w.agent.Rollback(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if s := w.noted(); s.Profile != "list+vendor" || s.OfflineURL.Value == "" {
		t.Errorf("the report has the settings %+v", s)
	}
}
