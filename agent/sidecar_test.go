package agent_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
)

// tool runs a program in dir, and skips the test where it is missing.
func tool(t testing.TB, dir, program string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("SKIPPED: %s is missing; get it with: apt-get install %s", program, program)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
}

// foreignZip gives the bytes of a package as somebody else's zip makes it: with
// extra fields, a directory entry, and, as it is written to a pipe, descriptors.
func (w *world) foreignZip(p pack) []byte {
	w.Helper()
	p = w.fill(p)
	dir := w.TempDir()
	for f, content := range p.files {
		must(w, os.WriteFile(filepath.Join(dir, f), []byte(content), 0o644))
	}
	must(w, os.Mkdir(filepath.Join(dir, "empty"), 0o755))
	args := append([]string{"-c", `zip -q -r - "$@" | cat > foreign.zip`, "sh", "empty"}, slices.Sorted(maps.Keys(p.files))...)
	if _, err := exec.LookPath("zip"); err != nil {
		w.Skip("SKIPPED: zip is missing; get it with: apt-get install zip")
	}
	tool(w, dir, "sh", args...)
	data := w.read(filepath.Join(dir, "foreign.zip"))
	if !strings.Contains(string(data), "PK\x07\x08") {
		w.Fatal("the archive has no data descriptor, and proves nothing")
	}
	return data
}

func (w *world) object(name string) string { return filepath.Join(w.ring, "arch_x86_64", name) }

func (w *world) drop(name string) { w.Helper(); must(w, os.Remove(w.object(name))) }

// approve puts a sidecar beside whatever lies there.
func (w *world) approve(p pack) { w.Helper(); w.serve(w.object("updates.zip.p7m"), w.sign(p)) }

func TestSidecar(t *testing.T) {
	t.Parallel()
	stranger := func(w *world) *mirror.Signer { _, s := newSigner(w); return &s }
	foreign := func(n uint32) func(*world) {
		return func(w *world) { w.serve(w.object("updates.zip"), w.foreignZip(pack{n: n})); w.approve(pack{n: n}) }
	}
	first := step{does: foreign(1), outcome: agent.Updated, active: 1}
	for _, c := range []struct {
		what  string
		steps []step
	}{
		{"a foreign zip installs", []step{first, {outcome: agent.UpToDate, active: 1}, {does: foreign(2), outcome: agent.Updated, active: 2}}},
		{"without it, the signature is missing", []step{{does: func(w *world) { foreign(1)(w); w.drop("updates.zip.p7m") }, outcome: agent.Failed, code: "signature_missing"},
			{does: func(w *world) { w.approve(pack{n: 1}) }, outcome: agent.Updated, active: 1}}},
		{"one that comes later is seen", []step{{does: publish(pack{n: 1}), outcome: agent.Updated, active: 1},
			{does: func(w *world) { w.serve(w.object("updates.zip"), w.foreignZip(pack{n: 2})) }, outcome: agent.Failed, code: "signature_missing", active: 1},
			{does: func(w *world) { w.approve(pack{n: 2}) }, outcome: agent.Updated, active: 2}}},
		{"one that goes again is missed", []step{first, {does: func(w *world) { w.drop("updates.zip.p7m") }, outcome: agent.Failed, code: "signature_missing", active: 1}}},
		{"and the zip then speaks for itself", []step{first, {does: func(w *world) { w.drop("updates.zip.p7m"); w.publish(pack{n: 2}) }, outcome: agent.Updated, active: 2}}},
		{"of a stranger", []step{first, {does: func(w *world) { w.approve(pack{n: 2, signer: stranger(w)}) }, outcome: agent.Failed, code: "signer_untrusted", active: 1}}},
		{"of another product", []step{first, {does: func(w *world) { w.approve(pack{n: 2, product: "x"}) }, outcome: agent.Failed, code: "wrong_product", active: 1}}},
		{"of another ring", []step{first, {does: func(w *world) { w.approve(pack{n: 2, rings: []string{"preview"}}) }, outcome: agent.Failed, code: "wrong_platform", active: 1}}},
		{"from the future", []step{first, {does: func(w *world) { w.approve(pack{n: 2, issued: base.Add(2 * day)}) }, outcome: agent.Failed, code: "issued_in_future", active: 1}}},
		{"older", []step{{does: foreign(2), outcome: agent.Updated, active: 2}, {does: foreign(1), outcome: agent.Failed, code: "rollback_refused", active: 2}}},
		{"garbage", []step{first, {does: func(w *world) { w.serve(w.object("updates.zip.p7m"), []byte("<html>")) }, outcome: agent.Failed, code: "signature_invalid", active: 1}}},
		{"empty", []step{first, {does: func(w *world) { w.serve(w.object("updates.zip.p7m"), nil) }, outcome: agent.Failed, code: "signature_missing", active: 1}}},
		{"too large", []step{first, {does: func(w *world) { w.serve(w.object("updates.zip.p7m"), make([]byte, verifier.MaxListSize+1)) }, outcome: agent.Failed, code: "package_too_large", active: 1}}},
		{"of other content", []step{first, {does: func(w *world) { w.approve(pack{n: 2}) }, outcome: agent.Failed, code: "content_mismatch", active: 1}}},
		{"a renewal", []step{first, {does: func(w *world) { w.approve(pack{n: 1, issued: base}) }, outcome: agent.Renewed, active: 1}}},
		{"a bad list inside never leads to it", []step{{does: func(w *world) {
			w.serve(w.object("updates.zip"), w.archive(pack{n: 1, signer: stranger(w)}))
			w.approve(pack{n: 1})
		}, outcome: agent.Failed, code: "signer_untrusted"}}},
		{"nor does a list in the wrong place", []step{{does: func(w *world) {
			dir := w.TempDir()
			must(w, os.MkdirAll(dir+"/META", 0o755))
			for f, content := range w.fill(pack{n: 1}).files {
				must(w, os.WriteFile(filepath.Join(dir, f), []byte(content), 0o644))
			}
			must(w, os.WriteFile(dir+"/META/other.p7m", []byte("x"), 0o644))
			tool(w, dir, "zip", "-q", "-X", "-D", "-r", "all.zip", ".")
			w.serve(w.object("updates.zip"), w.read(dir+"/all.zip"))
			w.approve(pack{n: 1})
		}, outcome: agent.Failed, code: "package_malformed"}}},
		{"it may name another zip", []step{{does: func(w *world) {
			w.serve(w.object("updates.zip"), w.foreignZip(pack{n: 9})) // not yet approved
			w.serve(w.object("updates-1.zip"), w.foreignZip(pack{n: 1}))
			w.approve(pack{n: 1, zip: "updates-1.zip"})
		}, outcome: agent.Updated, active: 1}, {outcome: agent.UpToDate, active: 1}, {does: func(w *world) {
			w.serve(w.object("updates-2.zip"), w.foreignZip(pack{n: 2}))
			w.approve(pack{n: 2, zip: "updates-2.zip"})
			w.drop("updates.zip")
		}, outcome: agent.Updated, active: 2}}},
		{"the zip that it names is not there", []step{{does: func(w *world) {
			w.serve(w.object("updates.zip"), w.foreignZip(pack{n: 1}))
			w.approve(pack{n: 1, zip: "updates-1.zip"})
		}, outcome: agent.Failed, code: "source_not_found"}}},
		{"the zip that it names has a list of its own", []step{first, {does: func(w *world) {
			w.serve(w.object("updates.zip"), w.archive(pack{n: 2}))
			w.approve(pack{n: 3})
		}, outcome: agent.Updated, active: 2}}},
		{"inside a package, zip means nothing", []step{{does: func(w *world) { w.publish(pack{n: 1, zip: "elsewhere.zip"}) }, outcome: agent.Updated, active: 1}}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.offline(w.ring, false, "")
			w.run(c.steps)
		})
	}
}

// Once a source was seen to work by sidecar, the poll asks for the sidecar alone.
func TestSidecarPoll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	var asked []string
	files := mirror.Handler(w.srv, nil)
	site.fail(func(rw http.ResponseWriter, r *http.Request) {
		asked = append(asked, filepath.Base(r.URL.Path))
		files.ServeHTTP(rw, r)
	})
	w.offline(site.ringURL(), false, "")
	w.serve(w.object("updates.zip"), w.foreignZip(pack{n: 1}))
	w.approve(pack{n: 1})
	for i, want := range []string{"[updates.zip updates.zip.p7m]", "[updates.zip.p7m]", "[updates.zip.p7m]"} {
		asked = nil
		w.update(agent.Options{})
		if fmt.Sprint(asked) != want {
			t.Errorf("poll %d asked for %v, want %s", i+1, asked, want)
		}
	}
	w.serve(w.object("updates.zip"), w.foreignZip(pack{n: 2}))
	w.approve(pack{n: 2})
	asked = nil
	if r := w.want(agent.Updated, ""); r.Requests != 2 || fmt.Sprint(asked) != "[updates.zip.p7m updates.zip]" {
		t.Errorf("%d requests for %v", r.Requests, asked)
	}
	for _, code := range []int{403, 404, 410} { // there is none
		site.fail(func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, ".p7m") {
				rw.WriteHeader(code)
				return
			}
			files.ServeHTTP(rw, r)
		})
		w.want(agent.Failed, "signature_missing")
	}
	site.fail(func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(500) })
	w.want(agent.Failed, "source_unreachable")
	w.has(2)
}

// A package made by hand, with stock tools alone.
func TestHandMadePackage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	dir := w.TempDir()
	p := w.fill(pack{n: 1})
	names := slices.Sorted(maps.Keys(p.files))
	for f, content := range p.files {
		must(t, os.WriteFile(filepath.Join(dir, f), []byte(content), 0o644))
	}
	must(t, os.Mkdir(filepath.Join(dir, "META"), 0o755))
	list := `{"type":"mdatp-definitions/1","product":"mdatp","platform":"linux","arch":"x86_64","rings":["production"],
	"engineVersion":"1.1.24080.9","definitionVersion":"` + name(1) + `","note":"unknown keys are ignored",
	"released":"2026-11-01T06:00:00Z","issued":"2026-11-01T08:00:00Z","expires":"2026-11-15T08:00:00Z","files":[`
	for i, f := range names {
		out, err := exec.Command("sha256sum", filepath.Join(dir, f)).Output()
		must(t, err)
		if i > 0 {
			list += ","
		}
		list += fmt.Sprintf(`{"name":%q,"size":%d,"sha256":%q}`, f, len(p.files[f]), out[:64])
	}
	must(t, os.WriteFile(filepath.Join(dir, "package.json"), []byte(list+"]}"), 0o644))
	tool(t, dir, "openssl", "cms", "-sign", "-nodetach", "-binary", "-nosmimecap", "-outform", "DER", "-md", "sha256", "-in", "package.json",
		"-signer", w.keys.Leaf, "-inkey", w.keys.LeafKey, "-certfile", w.keys.Intermediate, "-out", "META/package.p7m")
	tool(t, dir, "zip", append([]string{"-q", "-X", "-D", "updates.zip"}, names...)...)
	tool(t, dir, "zip", "-q", "-X", "-D", "-0", "updates.zip", "META/package.p7m")
	tool(t, dir, "openssl", "cms", "-verify", "-inform", "DER", "-purpose", "any", "-CAfile", w.keys.Root, "-in", "META/package.p7m", "-attime",
		fmt.Sprint(base.Unix()))
	w.serve(w.object("updates.zip"), w.read(filepath.Join(dir, "updates.zip")))
	w.want(agent.Updated, "")
	w.has(1)
}

// And one made by the mirror's own tools.
func TestBuiltPackage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	dir := w.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a.vdm"), []byte(strings.Repeat("a", 100_000)), 0o644))
	_, err := mirror.Build(t.Context(), w.object("updates.zip"), mirror.BuildOptions{Dir: dir, Product: "mdatp", Platform: "linux", Arch: "x86_64",
		Rings: []string{"production"}, Engine: verifier.Version{1, 1, 24080, 9}, Definition: v(1), Now: base}, &w.signer)
	must(t, err)
	w.want(agent.Updated, "")
	w.has(1)
}

// A sidecar that was left beside a package with a list of its own hides it for a
// day at the most.
func TestLeftoverSidecar(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.web().ringURL(), false, "")
	w.publish(pack{n: 1, bare: true})
	w.approve(pack{n: 1})
	w.want(agent.Updated, "")
	w.publish(pack{n: 2})
	w.want(agent.UpToDate, "")
	w.later(25 * time.Hour)
	w.want(agent.Updated, "")
	w.has(2)
}

// What lies as updates.zip disturbs nobody who follows a sidecar that names
// another package, also not on the day's look at it.
func TestJunkBesideSidecar(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.web().ringURL(), false, "")
	w.publish(pack{n: 1, bare: true})
	w.approve(pack{n: 1})
	w.want(agent.Updated, "")
	w.serve(w.object("updates-2.zip"), w.archive(pack{n: 2, bare: true}))
	w.approve(pack{n: 2, zip: "updates-2.zip"})
	w.serve(w.object("updates.zip"), []byte("half a download"))
	w.later(25 * time.Hour)
	w.want(agent.Updated, "")
	w.has(2)
}

// A sidecar can't speak for a package that has a list of its own, whatever its
// name.
func TestSidecarNamesListedPackage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.web().ringURL(), false, "")
	w.publish(pack{n: 1, bare: true})
	w.serve(w.object("updates-x.zip"), w.archive(pack{n: 1}))
	w.approve(pack{n: 1, zip: "updates-x.zip"})
	w.want(agent.Failed, "package_malformed")
}

// A sidecar that was refused and then corrected is seen at once, though the
// package did not change.
func TestCorrectedSidecar(t *testing.T) {
	t.Parallel()
	_, foreign := newSigner(t)
	for name, wrong := range map[string]pack{"signer_untrusted": {n: 1, signer: &foreign}, "wrong_platform": {n: 1, rings: []string{"preview"}},
		"content_mismatch": {n: 1, files: map[string]string{"base.vdm": "other", "delta.vdm": "content"}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.offline(w.web().ringURL(), false, "")
			w.publish(pack{n: 1, bare: true})
			w.approve(wrong)
			w.want(agent.Failed, name)
			w.want(agent.Failed, name)
			w.approve(pack{n: 1})
			w.want(agent.Updated, "")
			w.want(agent.UpToDate, "")
		})
	}
}

// Where nothing changed, a sidecar costs no more than a package: one request, and
// no body.
func TestSidecarNotModified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.web().ringURL(), false, "")
	w.publish(pack{n: 1, bare: true})
	w.approve(pack{n: 1})
	w.want(agent.Updated, "")
	if r := w.want(agent.UpToDate, ""); r.Requests != 1 || r.BytesDownloaded != 0 {
		t.Errorf("%d requests and %d bytes for nothing new", r.Requests, r.BytesDownloaded)
	}
	w.publish(pack{n: 2, bare: true})
	w.approve(pack{n: 2})
	w.want(agent.Updated, "")
	w.has(2)
}
