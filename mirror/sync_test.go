package mirror

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent/source/sourcetest"
)

// site is a cloud, and a tree that is filled from it.
type site struct {
	t        testing.TB
	cloud    string // directory
	settings SyncSettings
	o        SyncOptions
	aged     int // how often age was called
}

func newSite(t testing.TB, directives ...string) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t: t, cloud: filepath.Join(dir, "cloud")}
	if err := os.Mkdir(s.cloud, 0o755); err != nil {
		t.Fatal(err)
	}
	s.settings = SyncSettings{DownloadFolder: filepath.Join(dir, "tree"), LogFile: filepath.Join(dir, "sync.log"), Linux: true, Backup: true}
	s.o = SyncOptions{BaseURL: sourcetest.Cloud(t, s.cloud, directives...), Archs: []string{"x86_64"}, Product: "mdatp"}
	return s
}

// linux is the pair that most tests are about.
var linux = syncPair{"linux", "production", "x86_64"}

// engineOf is the engine that goes with definitions, so that a pair can be told.
func engineOf(definition string) string {
	return "1.1." + strings.Join(strings.Split(definition, ".")[1:3], ".")
}

func infoXML(definition string) string {
	return fmt.Sprintf("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<versions><engine>%s</engine><platform>4.18.1.2</platform><signatures date=\"2026-11-26T10:00:00Z\">%s</signatures></versions>\n", engineOf(definition), definition)
}

// vendorZip is a package as the vendor's: no list of ours, one file that tells its
// version, and some noise of size bytes.
func vendorZip(t testing.TB, definition string, size int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	noise := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(len(definition)), definition[len(definition)-3]}).Read(noise)
	for _, f := range []struct {
		name string
		data []byte
	}{{"version.txt", []byte(definition)}, {"mpavbase.vdm", noise}} {
		e, err := w.Create(f.name)
		if err != nil {
			t.Fatal(err)
		}
		e.Write(f.data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (s *site) path(p syncPair, name string) string {
	return filepath.Join(s.cloud, p.platform, p.ring, p.archDir(), name)
}

// offer puts a package into the cloud.
func (s *site) offer(p syncPair, definition string) {
	s.t.Helper()
	write(s.t, s.path(p, "updates.zip"), vendorZip(s.t, definition, 100<<10))
	write(s.t, s.path(p, "info.xml"), []byte(infoXML(definition)))
	s.age(p)
}

// age makes what the cloud has older than a moment, as anything in a cloud is, so
// that its tags are worth keeping. nginx makes them of time and size, so each call
// makes it less old than the one before.
func (s *site) age(p syncPair) {
	s.t.Helper()
	s.aged++
	when := time.Now().Add(-time.Hour + time.Duration(s.aged)*2*time.Second)
	for _, name := range []string{"updates.zip", "info.xml"} {
		if err := os.Chtimes(s.path(p, name), when, when); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.t.Fatal(err)
		}
	}
}

func (s *site) sync() []SyncedPair {
	s.t.Helper()
	result, err := Sync(s.t.Context(), s.settings, s.o)
	if err != nil {
		s.t.Fatal(err)
	}
	return result.Pairs
}

// want syncs one pair, and gives it.
func (s *site) want(outcome SyncOutcome, code string) SyncedPair {
	s.t.Helper()
	pairs := s.sync()
	if len(pairs) != 1 {
		s.t.Fatalf("%d pairs, want 1", len(pairs))
	}
	got, _, hint := reasonOf(pairs[0].Err)
	if pairs[0].Outcome != outcome || got != code || code != "" && hint == "" {
		s.t.Fatalf("%s, %v; want %s, %s with a hint", pairs[0].Outcome, pairs[0].Err, outcome, code)
	}
	return pairs[0]
}

// tree gives a path below the download folder.
func (s *site) tree(elem ...string) string {
	return filepath.Join(append([]string{s.settings.DownloadFolder}, elem...)...)
}

// pairIn gives the definition version of the pair in a directory, which must be a
// pair; nothing where there is none.
func pairIn(t testing.TB, dir string) string {
	t.Helper()
	zipData, errZip := os.ReadFile(filepath.Join(dir, "updates.zip"))
	manifest, errManifest := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if errors.Is(errZip, os.ErrNotExist) && errors.Is(errManifest, os.ErrNotExist) {
		return ""
	}
	if errZip != nil || errManifest != nil {
		t.Fatalf("%s holds no pair: %v, %v", dir, errZip, errManifest)
	}
	v, ok := parseManifest(manifest)
	if inside := versionInside(zipData); !ok || inside != v.Definition.String() || engineOf(inside) != v.Engine.String() {
		t.Fatalf("%s: the manifest says %v (%v), and the package is %s", dir, v, ok, inside)
	}
	return v.Definition.String()
}

// versionInside reads what vendorZip wrote; nothing where it is none.
func versionInside(data []byte) string {
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return ""
	}
	f, err := r.Open("version.txt")
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(f)
	return string(text)
}

// holds wants these versions in production and n-1, and nothing else in either.
func (s *site) holds(p syncPair, production, back string) {
	s.t.Helper()
	for ring, want := range map[string]string{p.ring: production, p.ring + "_back": back} {
		dir := s.tree(p.platform, ring, p.archDir())
		if got := pairIn(s.t, dir); got != want {
			s.t.Errorf("%s holds %q, want %q", ring, got, want)
		}
		if want != "" {
			onlyFiles(s.t, dir, "manifest.json", "updates.zip")
		}
	}
}

// TestSync fills the whole tree, all rings of both platforms, and goes on with it.
func TestSync(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.settings.Mac, s.settings.Preview, s.o.Archs = true, true, nil
	all := s.settings.pairs(SyncArchs())
	if len(all) != 8 {
		t.Fatalf("%d pairs, want 8", len(all))
	}
	version := func(minor, i int) string { return fmt.Sprintf("1.40%d.%d.0", minor, i+100) }
	for i, p := range all {
		s.offer(p, version(1, i))
	}
	for _, got := range s.sync() {
		if got.Outcome != SyncUpdated || !got.Previous.IsZero() {
			t.Errorf("%s: %s from %s, %v", got.Name(), got.Outcome, got.Previous, got.Err)
		}
	}
	for i, p := range all {
		s.holds(p, version(1, i), "")
	}
	// Nothing new: one conditional request for each, redirected once.
	for _, got := range s.sync() {
		if got.Outcome != SyncUpToDate || got.Bytes != 0 || got.Requests != 2 {
			t.Errorf("%s: %s, %d bytes, %d requests, %v", got.Name(), got.Outcome, got.Bytes, got.Requests, got.Err)
		}
	}
	// Two updates, each run again: n-1 is the one before, and stays.
	for i, p := range all {
		s.offer(p, version(2, i))
	}
	s.sync()
	for i, p := range all {
		s.holds(p, version(2, i), version(1, i))
		s.offer(p, version(3, i))
	}
	for range 3 {
		s.sync()
	}
	for i, p := range all {
		s.holds(p, version(3, i), version(2, i))
	}
	// The web server can read it, whatever else is there is private and small.
	for path, mode := range map[string]os.FileMode{
		"linux/production/arch_x86_64": 0o755, "linux/production/arch_x86_64/updates.zip": 0o644,
		"linux/production/arch_x86_64/manifest.json": 0o644, "linux/production/.sync": 0o700,
		"linux/production/.sync/arch_x86_64/state.json": 0o600,
	} {
		if info, err := os.Stat(s.tree(path)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want mode %o", path, info.Mode(), err, mode)
		}
	}
	onlyFiles(t, s.tree("linux/production/.sync/arch_x86_64"), "state.json")
	if log := string(read(t, s.settings.LogFile)); !strings.Contains(log, "mac/preview/arch_arm64 updated to definitions 1.403.107.0") {
		t.Errorf("the log says\n%s", log)
	}
}

// TestSyncOwnCloud runs the cloud that the documentation shows.
func TestSyncOwnCloud(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, text, _ := strings.Cut(string(read(t, "../docs/mirror-sync.md")), "\n```nginx\n")
	text, _, found := strings.Cut(text, "\n}\n```\n")
	http, server, ok := strings.Cut(strings.ReplaceAll(text, "/srv/cloud", s.cloud), "server {")
	if !found || !ok {
		t.Fatal("the documentation shows no cloud any more")
	}
	s.o.BaseURL, s.o.Archs = sourcetest.NginxWith(t, http, server)+"/cloud", nil
	arm := syncPair{"linux", "production", "arm64"}
	for _, v := range []string{"1.401.0.0", "1.402.0.0"} {
		s.offer(linux, v)
		s.offer(arm, strings.Replace(v, "0.0", "64.0", 1))
		for _, got := range s.sync() {
			if got.Outcome != SyncUpdated {
				t.Errorf("%s: %v", got.Name(), got.Err)
			}
		}
	}
	s.holds(linux, "1.402.0.0", "1.401.0.0")
	s.holds(arm, "1.402.64.0", "1.401.64.0")
}

// TestSyncFaults: whatever the cloud does wrong, the run fails by name, and what is
// published stays, n-1 included. The faults of the vendor's script are among them.
func TestSyncFaults(t *testing.T) {
	t.Parallel()
	const page = "<!DOCTYPE html><html><body>Please log in<br></body></html>"
	remove := func(s *site, name string) {
		if err := os.Remove(s.path(linux, name)); err != nil {
			s.t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		code  string
		fault func(s *site)
	}{
		"no package":       {"source_not_found", func(s *site) { remove(s, "updates.zip") }},
		"no information":   {"source_not_found", func(s *site) { remove(s, "info.xml") }},
		"page for package": {"not_a_package", func(s *site) { write(s.t, s.path(linux, "updates.zip"), []byte(page)) }},
		"page before a package": {"not_a_package", func(s *site) {
			write(s.t, s.path(linux, "updates.zip"), append([]byte(page), vendorZip(s.t, "1.409.0.0", 100)...))
		}},
		"page for information": {"source_unreachable", func(s *site) { write(s.t, s.path(linux, "info.xml"), []byte(page)) }},
		"empty information":    {"source_unreachable", func(s *site) { write(s.t, s.path(linux, "info.xml"), nil) }},
		"empty version": {"source_unreachable", func(s *site) {
			write(s.t, s.path(linux, "info.xml"), []byte("<v><engine></engine><signatures date=\"\">1.2.3.4</signatures></v>"))
		}},
		"empty package": {"not_a_package", func(s *site) { write(s.t, s.path(linux, "updates.zip"), nil) }},
		"cut package": {"not_a_package", func(s *site) {
			data := read(s.t, s.path(linux, "updates.zip"))
			write(s.t, s.path(linux, "updates.zip"), data[:len(data)/2])
		}},
		"damaged package": {"package_malformed", func(s *site) {
			data := read(s.t, s.path(linux, "updates.zip"))
			data[len(data)/2] ^= 1
			write(s.t, s.path(linux, "updates.zip"), data)
		}},
		"too many entries": {"package_malformed", func(s *site) {
			var b bytes.Buffer
			w := zip.NewWriter(&b)
			for i := range maxZipEntries + 1 {
				w.Create(fmt.Sprint(i))
			}
			w.Close()
			write(s.t, s.path(linux, "updates.zip"), b.Bytes())
		}},
		// Announced before it is served: the script makes a pair of the two.
		"package behind its announcement": {"source_changed", func(s *site) {
			write(s.t, s.path(linux, "updates.zip"), vendorZip(s.t, "1.402.0.0", 100<<10))
		}},
		"older": {"rollback_refused", func(s *site) { s.offer(linux, "1.401.99.0") }},
		// As text it is greater.
		"older by number": {"rollback_refused", func(s *site) { s.offer(linux, "1.99.0.0") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			for _, v := range []string{"1.401.0.0", "1.402.0.0"} {
				s.offer(linux, v)
				s.want(SyncUpdated, "")
			}
			s.offer(linux, "1.403.0.0")
			c.fault(s)
			s.age(linux)
			left := []string{"state.json"}
			if slices.Contains([]string{"not_a_package", "package_malformed"}, c.code) {
				left = []string{refusedFile, "state.json"}
			}
			for range 2 {
				s.want(SyncFailed, c.code)
				s.holds(linux, "1.402.0.0", "1.401.0.0")
				onlyFiles(t, s.tree("linux/production/.sync/arch_x86_64"), left...)
			}
			s.offer(linux, "1.404.0.0")
			s.want(SyncUpdated, "")
			s.holds(linux, "1.404.0.0", "1.402.0.0")
		})
	}
}

// TestSyncStatus: an HTTP error is no package, whatever comes with it.
func TestSyncStatus(t *testing.T) {
	t.Parallel()
	for status, code := range map[int]string{403: "source_forbidden", 500: "source_unreachable", 429: "source_rate_limited"} {
		s := newSite(t, fmt.Sprintf(`if ($uri ~ zip) { return %d "not today"; }`, status))
		s.offer(linux, "1.401.0.0")
		s.want(SyncFailed, code)
		s.holds(linux, "", "")
	}
	s := newSite(t)
	s.o.BaseURL = "http://127.0.0.1:1/" // nobody listens there
	s.want(SyncFailed, "source_unreachable")
}

// TestSyncStillOld: a package that is still the one before costs no transfer, whatever
// is announced.
func TestSyncStillOld(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.offer(linux, "1.401.0.0")
	s.want(SyncUpdated, "")
	write(t, s.path(linux, "info.xml"), []byte(infoXML("1.402.0.0")))
	if got := s.want(SyncFailed, "source_changed"); got.Bytes > 1000 {
		t.Errorf("%d bytes came", got.Bytes)
	}
	s.holds(linux, "1.401.0.0", "")
}

// TestSyncDowngrade: only the version that is named may go back, and the release that
// was taken back does not become n-1.
func TestSyncDowngrade(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, v := range []string{"1.400.0.0", "1.402.0.0"} {
		s.offer(linux, v)
		s.want(SyncUpdated, "")
	}
	s.offer(linux, "1.401.0.0")
	s.o.AllowDowngrade = version("1.400.0.0")
	s.want(SyncFailed, "rollback_refused")
	s.o.AllowDowngrade = version("1.401.0.0")
	s.want(SyncUpdated, "")
	s.holds(linux, "1.401.0.0", "1.400.0.0")
}

// TestSyncNoBackup leaves n-1 alone, as the vendor's script does.
func TestSyncNoBackup(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, v := range []string{"1.401.0.0", "1.402.0.0"} {
		s.offer(linux, v)
		s.want(SyncUpdated, "")
	}
	s.settings.Backup = false
	s.offer(linux, "1.403.0.0")
	s.want(SyncUpdated, "")
	s.holds(linux, "1.403.0.0", "1.401.0.0")
	onlyFiles(t, s.tree("linux/production/.sync/arch_x86_64"), "state.json")
}

// TestSyncTrust: what fails verification is not published and pushes nothing out.
func TestSyncTrust(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	s := newSite(t)
	s.o.Trust = &l.trust
	s.offer(linux, "1.400.0.0")
	s.want(SyncFailed, "signature_missing")
	s.offerSigned(l, linux, "1.401.0.0", nil)
	s.want(SyncUpdated, "")
	s.offerSigned(l, linux, "1.402.0.0", nil)
	s.want(SyncUpdated, "")
	s.offerSigned(l, linux, "1.403.0.0", func(o *BuildOptions) { o.Arch = "arm64" })
	s.want(SyncFailed, "wrong_platform")
	s.offerSigned(l, linux, "1.404.0.0", func(o *BuildOptions) { o.Definition = version("1.404.1.0") })
	s.want(SyncFailed, "source_changed")
	s.offerSigned(l, linux, "1.405.0.0", nil)
	data := read(t, s.path(linux, "updates.zip"))
	data[60] ^= 1
	write(t, s.path(linux, "updates.zip"), data)
	s.age(linux)
	if got := s.sync()[0]; got.Err == nil {
		t.Error("a damaged package is published")
	}
	other := newLab(t, KeyOptions{})
	s.o.Trust = &other.trust
	s.offerSigned(l, linux, "1.406.0.0", nil)
	s.want(SyncFailed, "signer_untrusted")
	s.announces("1.402.0.0", "1.401.0.0")
}

// TestSyncScript: a tree of the vendor's script is gone on with, and the script goes on
// with one of ours. The commands are what that one does with files.
func TestSyncScript(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("SKIPPED: bash is not installed; get it with: apt-get install bash")
	}
	s := newSite(t)
	script := func(definition string) {
		t.Helper()
		write(t, filepath.Join(s.cloud, "came"), vendorZip(t, definition, 100<<10))
		cmd := exec.Command(bash, "-euc", `
			ring=$1/linux/production; arch=$ring/arch_x86_64; back=${ring}_back/arch_x86_64
			[[ -d $arch ]] || mkdir -p "$arch"
			[[ -d $back ]] || mkdir -p "$back"
			if [[ -f $arch/updates.zip && -f $arch/manifest.json ]]; then
				cp -rf "$arch/updates.zip" "$back"
				cp -rf "$arch/manifest.json" "$back"
			fi
			cat "$2" >"$arch/updates.zip_temp"
			echo '<info/>' >"$arch/manifest.xml"
			mv "$arch/updates.zip_temp" "$arch/updates.zip"
			printf '{\n  "EngineVersion": "%s",\n  "DefinitionVersion": "%s"\n}\n' "$3" "$4" >"$arch/manifest.json"
			rm -rf "$arch/manifest.xml"`,
			"sh", s.settings.DownloadFolder, filepath.Join(s.cloud, "came"), engineOf(definition), definition)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	script("1.401.0.0")
	script("1.402.0.0")
	s.holds(linux, "1.402.0.0", "1.401.0.0")

	s.offer(linux, "1.402.0.0")
	if got := s.want(SyncUpToDate, ""); got.Bytes > maxInfo {
		t.Errorf("%d bytes came for a package that was there", got.Bytes)
	}
	s.offer(linux, "1.403.0.0")
	s.want(SyncUpdated, "")
	s.holds(linux, "1.403.0.0", "1.402.0.0")

	script("1.404.0.0")
	s.holds(linux, "1.404.0.0", "1.403.0.0")
	s.offer(linux, "1.404.0.0")
	s.want(SyncUpToDate, "")
	script("1.405.0.0")
	s.offer(linux, "1.406.0.0")
	s.want(SyncUpdated, "")
	s.holds(linux, "1.406.0.0", "1.405.0.0")
	script("1.407.0.0")
	s.holds(linux, "1.407.0.0", "1.406.0.0")
}

// TestSyncTakesOver: what is wrong in a tree that is taken over is replaced and never
// becomes n-1; what somebody put beside the pair stays.
func TestSyncTakesOver(t *testing.T) {
	t.Parallel()
	good := vendorZip(t, "1.402.0.0", 1000)
	for name, c := range map[string]struct{ zip, manifest, back string }{
		"page for package":   {"<html>502 Bad Gateway</html>", infoJSON("1.402.0.0"), "1.400.0.0"},
		"empty versions":     {string(good), `{"EngineVersion": "", "DefinitionVersion": ""}`, "1.400.0.0"},
		"no manifest":        {string(good), "", "1.400.0.0"},
		"cut manifest":       {string(good), `{"EngineVersion": "1.1.402`, "1.400.0.0"},
		"cut package":        {string(good[:len(good)-30]), infoJSON("1.402.0.0"), "1.400.0.0"},
		"windows' own json":  {string(good), "\ufeff" + strings.ReplaceAll(infoJSON("1.402.0.0"), "\n", "\r\n"), "1.402.0.0"},
		"as the script does": {string(good), infoJSON("1.402.0.0"), "1.402.0.0"},
		// The script was killed between the two.
		"torn": {string(vendorZip(t, "1.403.0.0", 100<<10)), infoJSON("1.402.0.0"), "1.400.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			arch, back := s.tree("linux/production/arch_x86_64"), s.tree("linux/production_back/arch_x86_64")
			write(t, filepath.Join(arch, "updates.zip"), []byte(c.zip))
			if c.manifest != "" {
				write(t, filepath.Join(arch, "manifest.json"), []byte(c.manifest))
			}
			write(t, filepath.Join(arch, "updates.zip_temp"), []byte("half"))
			write(t, filepath.Join(arch, "updates-3f2a91bc.zip"), []byte("approved"))
			write(t, filepath.Join(back, "updates.zip"), vendorZip(t, "1.400.0.0", 100))
			write(t, filepath.Join(back, "manifest.json"), []byte(infoJSON("1.400.0.0")))
			s.offer(linux, "1.403.0.0")
			s.want(SyncUpdated, "")
			if got := pairIn(t, arch); got != "1.403.0.0" {
				t.Errorf("production holds %s", got)
			}
			if got := pairIn(t, back); got != c.back {
				t.Errorf("n-1 is %s, want %s", got, c.back)
			}
			onlyFiles(t, arch, "manifest.json", "updates-3f2a91bc.zip", "updates.zip")
		})
	}
}

func infoJSON(definition string) string {
	return fmt.Sprintf("{\n  \"EngineVersion\": %q,\n  \"DefinitionVersion\": %q\n}\n", engineOf(definition), definition)
}

// TestSyncResumes: what came before a run ended need not come again, and what is
// wrong with it is found.
func TestSyncResumes(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]bool{"whole": false, "spoiled": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.offer(linux, "1.401.0.0")
			const size = 2 << 20
			write(t, s.path(linux, "updates.zip"), vendorZip(t, "1.401.0.0", size))
			s.age(linux)
			part := s.interrupt(size)
			if spoil {
				f, err := os.OpenFile(part, os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				f.WriteAt(make([]byte, 1000), 5000)
				f.Close()
			}
			s.o.Rate = 0
			got := s.want(SyncUpdated, "")
			if !got.Resumed || !spoil && got.Bytes > size-100<<10 {
				t.Errorf("resumed: %v, %d bytes came", got.Resumed, got.Bytes)
			}
			s.holds(linux, "1.401.0.0", "")
		})
	}
}

// interrupt ends a slow run when some of a download of size bytes has come, and gives
// the part that is left.
func (s *site) interrupt(size int64) string {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	s.o.Rate = 256 << 10
	done := make(chan []SyncedPair)
	go func() {
		result, _ := Sync(ctx, s.settings, s.o)
		done <- result.Pairs
	}()
	part := s.partOf(200<<10, done)
	cancel()
	if pairs := <-done; len(pairs) != 1 || !errors.Is(pairs[0].Err, context.Canceled) {
		s.t.Fatalf("the run gave %v", pairs)
	}
	if info, err := os.Stat(part); err != nil || info.Size() >= size {
		s.t.Fatalf("nothing is left to come: %v, %v", info, err)
	}
	return part
}

// TestSyncWithoutRanges: a server that knows no ranges is slower, and no obstacle.
func TestSyncWithoutRanges(t *testing.T) {
	t.Parallel()
	s := newSite(t, "max_ranges 0;")
	for _, v := range []string{"1.401.0.0", "1.402.0.0"} {
		s.offer(linux, v)
		s.want(SyncUpdated, "")
	}
	s.holds(linux, "1.402.0.0", "1.401.0.0")
	onlyFiles(t, s.tree("linux/production/.sync/arch_x86_64"), "state.json")
}

// TestSyncFolder: what is in the way is told by name.
func TestSyncFolder(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	write(t, s.settings.DownloadFolder, []byte("a file"))
	_, err := Sync(t.Context(), s.settings, s.o)
	wantCode(t, err, codeInstall)
	os.Remove(s.settings.DownloadFolder)
	write(t, s.tree("linux/production/arch_x86_64"), []byte("a file"))
	s.offer(linux, "1.401.0.0")
	s.want(SyncFailed, codeInstall)
	os.Remove(s.tree("linux/production/arch_x86_64"))
	s.want(SyncUpdated, "")
	s.holds(linux, "1.401.0.0", "")
	os.RemoveAll(s.tree("linux/production/.sync"))
	write(t, s.tree("linux/production/.sync"), []byte("a file"))
	s.want(SyncFailed, codeInstall)
	s.holds(linux, "1.401.0.0", "")
}

// TestSyncWorkDirectory: what is removed in a work directory is never removed
// somewhere else, to which somebody has made it lead.
func TestSyncWorkDirectory(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(s *site, victim string) error{
		"link for all": func(s *site, victim string) error {
			return errors.Join(os.RemoveAll(filepath.Join(victim, "arch_x86_64")), os.Symlink(victim, s.tree("linux/production/.sync")))
		},
		"link for one": func(s *site, victim string) error {
			return errors.Join(os.Mkdir(s.tree("linux/production/.sync"), 0o700), os.Symlink(victim, s.tree("linux/production/.sync/arch_x86_64")))
		},
		"open to others": func(s *site, victim string) error {
			return errors.Join(os.Mkdir(s.tree("linux/production/.sync"), 0o700), os.Chmod(s.tree("linux/production/.sync"), 0o777))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.offer(linux, "1.401.0.0")
			s.want(SyncUpdated, "")
			victim := t.TempDir()
			for _, path := range []string{"precious", "arch_x86_64/precious", "next/precious"} {
				write(t, filepath.Join(victim, path), []byte("mine"))
			}
			os.Chmod(victim, 0o700)
			want := []string{"arch_x86_64", "next", "precious"}
			if name == "link for all" {
				want = want[1:]
			}
			if err := errors.Join(os.RemoveAll(s.tree("linux/production/.sync")), spoil(s, victim)); err != nil {
				t.Fatal(err)
			}
			s.offer(linux, "1.402.0.0")
			s.want(SyncFailed, codeInstall)
			s.holds(linux, "1.401.0.0", "")
			onlyFiles(t, victim, want...)
			os.RemoveAll(s.tree("linux/production/.sync")) // the remedy
			s.want(SyncUpdated, "")
		})
	}
}

// TestSyncCarries: whatever somebody keeps beside the pair stays there, or keeps the
// next package from coming.
func TestSyncCarries(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.offer(linux, "1.401.0.0")
	s.want(SyncUpdated, "")
	arch := s.tree("linux/production/arch_x86_64")
	write(t, filepath.Join(arch, "notes/2026/november.txt"), []byte("mine"))
	write(t, filepath.Join(arch, "approved.zip"), []byte("approved"))
	if err := errors.Join(os.Symlink("approved.zip", filepath.Join(arch, "latest.zip")), os.Chmod(filepath.Join(arch, "notes"), 0o750)); err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"1.402.0.0", "1.403.0.0", "1.404.0.0"} {
		s.offer(linux, v)
		s.want(SyncUpdated, "")
		if got := pairIn(t, arch); got != v {
			t.Errorf("production holds %s", got)
		}
		onlyFiles(t, arch, "approved.zip", "latest.zip", "manifest.json", "notes", "updates.zip")
		if a, b := string(read(t, filepath.Join(arch, "latest.zip"))), string(read(t, filepath.Join(arch, "notes/2026/november.txt"))); a != "approved" || b != "mine" {
			t.Errorf("%q and %q are there", a, b)
		}
		if info, err := os.Stat(filepath.Join(arch, "notes")); err != nil || info.Mode().Perm() != 0o750 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
	run(t, arch, "mkfifo", "notes/pipe")
	s.offer(linux, "1.405.0.0")
	got := s.want(SyncFailed, codeInstall)
	if _, _, hint := reasonOf(got.Err); !strings.Contains(hint, "arch_x86_64/notes/pipe") {
		t.Errorf("the hint is %s", hint)
	}
	if got := pairIn(t, arch); got != "1.404.0.0" {
		t.Errorf("production holds %s", got)
	}
	os.Remove(filepath.Join(arch, "notes/pipe"))
	s.want(SyncUpdated, "")
}

// TestSyncPreviousElsewhere keeps n-1 on another file system.
func TestSyncPreviousElsewhere(t *testing.T) {
	t.Parallel()
	elsewhere, err := os.MkdirTemp("/dev/shm", "n-1-")
	if err != nil {
		t.Skipf("SKIPPED: there is no other file system at /dev/shm: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(elsewhere) })
	s := newSite(t)
	s.offer(linux, "1.401.0.0")
	s.want(SyncUpdated, "")
	if err := os.Symlink(elsewhere, s.tree("linux/production_back")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.tree("linux/production/arch_x86_64/updates.zip"), filepath.Join(elsewhere, "moved")); !errors.Is(err, errOtherDisk) {
		t.Skipf("SKIPPED: /dev/shm is no other file system: %v", err)
	}
	last := "1.401.0.0"
	for _, v := range []string{"1.402.0.0", "1.403.0.0"} {
		before, err := os.Stat(s.tree("linux/production/arch_x86_64/updates.zip"))
		if err != nil {
			t.Fatal(err)
		}
		s.offer(linux, v)
		s.want(SyncUpdated, "")
		s.holds(linux, v, last)
		last = v
		// Its tag, which servers make of size and time, is what it was.
		if after, err := os.Stat(filepath.Join(elsewhere, "arch_x86_64/updates.zip")); err != nil || !after.ModTime().Equal(before.ModTime()) {
			t.Errorf("n-1 is of %v, %v; want %v", after, err, before.ModTime())
		}
		onlyFiles(t, filepath.Join(elsewhere, ".sync/arch_x86_64"))
		onlyFiles(t, s.tree("linux/production/.sync/arch_x86_64"), "state.json")
	}
}

// TestSyncPreviousFails: that n-1 can't be kept is told each time, and keeps nothing
// new from coming.
func TestSyncPreviousFails(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(back string) error{
		"file":             func(back string) error { return os.WriteFile(back, nil, 0o644) },
		"link to nothing":  func(back string) error { return os.Symlink("nowhere", back) },
		"nothing can hold": func(back string) error { return os.Symlink("/proc/self", back) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			back := s.tree("linux/production_back")
			s.offer(linux, "1.401.0.0")
			s.want(SyncUpdated, "")
			if err := spoil(back); err != nil {
				t.Fatal(err)
			}
			for _, v := range []string{"1.402.0.0", "1.403.0.0"} {
				s.offer(linux, v)
				for range 2 {
					got := s.sync()[0]
					if got.Err == nil || got.Definition != version(v) {
						t.Errorf("%s, %v", got.Definition, got.Err)
					}
					if got := pairIn(t, s.tree("linux/production/arch_x86_64")); got != v {
						t.Errorf("production holds %s, want %s", got, v)
					}
				}
			}
			os.Remove(back)
			s.want(SyncUpToDate, "")
			s.holds(linux, "1.403.0.0", "1.402.0.0")
		})
	}
}

// TestSyncPreviousIsRing: n-1 has no place in the ring itself.
func TestSyncPreviousIsRing(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(s *site) error{
		"ring": func(s *site) error { return os.Symlink("production", s.tree("linux/production_back")) },
		"directory": func(s *site) error {
			return errors.Join(os.Mkdir(s.tree("linux/production_back"), 0o755),
				os.Symlink("../production/arch_x86_64", s.tree("linux/production_back/arch_x86_64")))
		},
		"below": func(s *site) error {
			return os.Symlink("production/arch_x86_64", s.tree("linux/production_back"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.offer(linux, "1.401.0.0")
			s.want(SyncUpdated, "")
			if err := spoil(s); err != nil {
				t.Fatal(err)
			}
			s.offer(linux, "1.402.0.0")
			if got := s.want(SyncFailed, codeInstall); got.Requests != 0 {
				t.Errorf("%d requests were made", got.Requests)
			}
			if got := pairIn(t, s.tree("linux/production/arch_x86_64")); got != "1.401.0.0" {
				t.Errorf("production holds %s", got)
			}
			os.RemoveAll(s.tree("linux/production_back"))
			s.want(SyncUpdated, "")
			s.holds(linux, "1.402.0.0", "1.401.0.0")
		})
	}
	s := newSite(t)
	if err := errors.Join(os.MkdirAll(s.tree("linux/production"), 0o755), os.Symlink("production", s.tree("linux/production_back"))); err != nil {
		t.Fatal(err)
	}
	s.offer(linux, "1.401.0.0")
	s.want(SyncFailed, codeInstall) // before there is anything, too
}

// anotherUser is the user nobody, for tests in which root meets files of others.
func anotherUser(t *testing.T) (uid int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can act on another user's folder")
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skipf("SKIPPED: there is no other user: %v", err)
	}
	if uid, err = strconv.Atoi(nobody.Uid); err != nil {
		t.Fatal(err)
	}
	return uid
}

// TestSyncRoot: root leaves nothing in a folder that is another user's, who could not
// go on with it.
func TestSyncRoot(t *testing.T) {
	t.Parallel()
	uid := anotherUser(t)
	s := newSite(t)
	if err := errors.Join(os.Mkdir(s.settings.DownloadFolder, 0o755), os.Chown(s.settings.DownloadFolder, uid, -1)); err != nil {
		t.Fatal(err)
	}
	s.offer(linux, "1.401.0.0")
	_, err := Sync(t.Context(), s.settings, s.o)
	wantCode(t, err, codePermission)
	if _, _, hint := reasonOf(err); !strings.Contains(hint, "runuser -u nobody -- ") {
		t.Errorf("the hint is %s", hint)
	}
	onlyFiles(t, s.settings.DownloadFolder)
	if err := os.Chown(s.settings.DownloadFolder, 0, -1); err != nil {
		t.Fatal(err)
	}
	s.want(SyncUpdated, "")
}

// TestSyncBusy: there is one at a time.
func TestSyncBusy(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if err := os.MkdirAll(s.settings.DownloadFolder, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := lockSync(s.settings.DownloadFolder)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Sync(t.Context(), s.settings, s.o)
	wantCode(t, err, codeBusy)
	lock.Close()
	s.offer(linux, "1.401.0.0")
	s.want(SyncUpdated, "")
}

// TestSyncLog: the log is put aside by one rename when it is large, and nothing is
// written through what somebody else could have put there.
func TestSyncLog(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.offer(linux, "1.401.0.0")
	write(t, s.settings.LogFile, bytes.Repeat([]byte("x"), maxLog+1))
	s.want(SyncUpdated, "")
	if aside, now := read(t, s.settings.LogFile+".1"), read(t, s.settings.LogFile); len(aside) != maxLog+1 || len(now) == 0 || len(now) > 1000 {
		t.Errorf("%d bytes are put aside, and %d are in the new log", len(aside), len(now))
	}
	victim := filepath.Join(t.TempDir(), "victim")
	for name, make := range map[string]func(path string) error{
		"link":      func(path string) error { return os.Symlink(victim, path) },
		"hard link": func(path string) error { return os.Link(victim, path) },
		"directory": func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		write(t, victim, []byte("untouched"))
		os.RemoveAll(s.settings.LogFile)
		if err := make(s.settings.LogFile); err != nil {
			t.Fatal(err)
		}
		got, err := Sync(t.Context(), s.settings, s.o)
		if err != nil || len(got.Notes) != 1 || got.Pairs[0].Outcome != SyncUpToDate {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if string(read(t, victim)) != "untouched" {
			t.Errorf("%s: the log is written to another file", name)
		}
	}
}

// TestSyncLinks: a directory of the tree that is a link stays one.
func TestSyncLinks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	real := filepath.Join(filepath.Dir(s.settings.DownloadFolder), "elsewhere")
	for _, dir := range []string{real, s.tree("linux/production")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(real, s.tree("linux/production/arch_x86_64")); err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"1.401.0.0", "1.402.0.0"} {
		s.offer(linux, v)
		s.want(SyncUpdated, "")
	}
	s.holds(linux, "1.402.0.0", "1.401.0.0")
	if got := pairIn(t, real); got != "1.402.0.0" {
		t.Errorf("the link leads to %s", got)
	}
}

// TestSyncAnnounced: versions that are announced while a package comes do not become
// those of that package. Once both have moved, the new pair comes.
func TestSyncAnnounced(t *testing.T) {
	t.Parallel()
	for name, both := range map[string]bool{"announcement alone": false, "both": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.offer(linux, "1.401.0.0")
			s.want(SyncUpdated, "")
			s.offer(linux, "1.402.0.0")
			const size = 1 << 20
			write(t, s.path(linux, "updates.zip"), vendorZip(t, "1.402.0.0", size))
			s.age(linux)
			done := make(chan []SyncedPair)
			s.o.Rate = 256 << 10
			go func() { done <- s.sync() }()
			s.partOf(200<<10, done)
			next := filepath.Join(s.cloud, "next")
			write(t, next, []byte(infoXML("1.403.0.0")))
			if err := os.Rename(next, s.path(linux, "info.xml")); err != nil {
				t.Fatal(err)
			}
			if both {
				write(t, next, vendorZip(t, "1.403.0.0", 100<<10))
				if err := os.Rename(next, s.path(linux, "updates.zip")); err != nil {
					t.Fatal(err)
				}
			}
			got := (<-done)[0]
			if both {
				if got.Outcome != SyncUpdated {
					t.Errorf("%s: %v", got.Outcome, got.Err)
				}
				s.holds(linux, "1.403.0.0", "1.401.0.0")
				return
			}
			wantCode(t, got.Err, "source_changed")
			s.holds(linux, "1.401.0.0", "")
		})
	}
}

// partOf waits until a download has that many bytes, and gives its file. done tells
// that the run has ended.
func (s *site) partOf(size int64, done <-chan []SyncedPair) string {
	s.t.Helper()
	for {
		found, _ := filepath.Glob(s.tree("linux/production/.sync/arch_x86_64/part-*"))
		for _, path := range found {
			if info, err := os.Stat(path); err == nil && info.Size() > size {
				return path
			}
		}
		select {
		case pairs := <-done:
			s.t.Fatalf("the run ended by itself: %+v", pairs)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestSyncMoves: what came of one package is of no use for the next.
func TestSyncMoves(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.offer(linux, "1.401.0.0")
	const size = 1 << 20
	write(t, s.path(linux, "updates.zip"), vendorZip(t, "1.401.0.0", size))
	s.age(linux)
	s.interrupt(size)
	s.o.Rate = 0
	s.offer(linux, "1.402.0.0")
	s.want(SyncUpdated, "")
	s.holds(linux, "1.402.0.0", "")
}
