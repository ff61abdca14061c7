package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/manifest"
	"mdatp-offline-agent/agent/source/sourcetest"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
)

// site is a mirror on disk, and who signs its packages.
type site struct {
	t      *testing.T
	dir    string // of the mirror
	signer mirror.Signer
	trust  *verifier.Trust
	files  string // what packages are built of
	issued time.Time
}

// newSite makes a mirror without packages.
func newSite(t *testing.T) *site {
	t.Helper()
	top := t.TempDir()
	for _, dir := range []string{top, filepath.Dir(top)} { // which is for its owner alone
		must(t, os.Chmod(dir, 0o755))
	}
	s := &site{t: t, dir: filepath.Join(top, "mirror"), files: filepath.Join(top, "files"), issued: time.Now().Add(-3 * time.Hour)}
	keys, err := mirror.MakeKeys(filepath.Join(top, "keys"), mirror.KeyOptions{Now: time.Now().AddDate(0, 0, -10)})
	must(t, err)
	s.signer, err = mirror.LoadSigner(keys.LeafKey, keys.Certificates(), nil)
	must(t, err)
	root, err := os.ReadFile(keys.Root)
	must(t, err)
	trust, err := verifier.NewTrust([]verifier.TrustFile{{Name: "root.pem", Data: root}}, nil)
	must(t, err)
	s.trust = &trust
	s.write(filepath.Join(s.files, "libmpengine.so"), "an engine")
	s.write(filepath.Join(s.files, "mpavbase.vdm"), noise(8<<10))
	s.write(filepath.Join(s.dir, "about.txt"), "a mirror")
	return s
}

// whole fills it as it should be.
func (s *site) whole() *site {
	s.t.Helper()
	for _, arch := range arches() {
		s.build("linux/production_back/arch_"+arch, "1.407.417.0")
		s.build("linux/production/arch_"+arch, "1.407.418.0")
	}
	return s
}

// noise gives n bytes that can't be compressed.
func noise(n int) string {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(data) // never fails
	return string(data)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *site) write(path, text string) {
	s.t.Helper()
	must(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(s.t, os.WriteFile(path, []byte(text), 0o644))
}

// put writes a file of the mirror, and at gives where it is.
func (s *site) put(name, text string) { s.t.Helper(); s.write(s.at(name), text) }

func (s *site) at(name string) string { return filepath.Join(s.dir, name) }

// build puts a package into a place of the mirror, such as
// linux/production/arch_x86_64. It is made for what the path says, less what change
// makes of it.
func (s *site) build(place, version string, change ...func(*mirror.BuildOptions)) {
	s.t.Helper()
	parts := strings.Split(place, "/")
	definition, err := verifier.ParseVersion(version)
	must(s.t, err)
	engine, err := verifier.ParseVersion("1.1.24080.9")
	must(s.t, err)
	s.issued = s.issued.Add(time.Second)
	o := mirror.BuildOptions{Dir: s.files, Product: "mdatp", Platform: parts[0], Arch: strings.TrimPrefix(parts[2], "arch_"), Rings: []string{strings.TrimSuffix(parts[1], "_back")},
		Engine: engine, Definition: definition, Issued: s.issued, Level: 1, Force: true}
	for _, c := range change {
		c(&o)
	}
	_, err = mirror.Build(context.Background(), s.at(place+"/updates.zip"), o, &s.signer)
	must(s.t, err)
	old := time.Now().Add(-time.Hour) // or servers would call it just written
	must(s.t, os.Chtimes(s.at(place+"/updates.zip"), old, old))
}

// check looks at an address of the site, trusting its signer.
func (s *site) check(address string, change ...func(*Options)) Report {
	s.t.Helper()
	target, err := ParseTarget(address)
	must(s.t, err)
	o := Options{Target: target, Trust: s.trust, HTTP: source.HTTPConfig{Retry: source.Retry{Tries: 1}}}
	for _, c := range change {
		c(&o)
	}
	r, err := Check(s.t.Context(), o)
	must(s.t, err)
	fitToShow(s.t, r.Findings)
	return r
}

// want checks which findings there are, each as severity, code and places, less the
// listing that some servers have, and what concerns no more than them.
func want(t *testing.T, r Report, findings ...string) {
	t.Helper()
	var got []string
	for _, f := range r.Findings {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Severity, f.Code, strings.Join(f.Places, " "))))
	}
	slices.Sort(got)
	slices.Sort(findings)
	if !slices.Equal(got, findings) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(findings, "\n"))
		for _, f := range r.Findings {
			t.Logf("%+v", f)
		}
	}
}

// served runs a handler, and gives its URL.
func served(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		server.CloseClientConnections() // a handler may still be waiting
		server.Close()
	})
	return server.URL
}

// dated makes a server give another Date than its own.
func dated(h http.Handler, by time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat))
		h.ServeHTTP(w, r)
	})
}

// TestEveryWay looks at one mirror by each kind of server and from each of its
// directories.
func TestEveryWay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.write(filepath.Join(s.files, "mpavbase.vdm"), noise(2<<20)) // more than is read of any package without being asked
	s.whole()
	nginx, asked := sourcetest.NginxLogged(t, s.dir)
	ways := map[string]struct {
		base  string
		found []string // beside what is wrong with the mirror, which is nothing
	}{
		"directory":    {s.dir, nil},
		"mirror serve": {served(t, mirror.Handler(s.dir, nil)), nil},
		"nginx":        {nginx, nil},
		"python":       {sourcetest.PythonHTTP(t, s.dir), []string{"info listing_enabled", "info etag_missing", "warning range_unsupported"}},
	}
	const places = " linux/production/x86_64 linux/production/arm64 linux/production_back/x86_64 linux/production_back/arm64"
	reads := map[Level][]bool{Tree: {false, true}, Platform: {false}, Ring: {false}, Architecture: {false, true}} // whether packages are read whole
	for name, way := range ways {
		for below, taken := range map[string]Level{"": Tree, "/linux": Platform, "/linux/production/": Ring, "/linux/production/arch_x86_64": Architecture} {
			for _, full := range reads[taken] {
				r := s.check(way.base+below, func(o *Options) { o.Full = full })
				if r.Taken == nil || *r.Taken != taken || !r.Complete {
					t.Errorf("%s%s is taken as %v", name, below, r.Taken)
				}
				if taken == Tree {
					var found []string
					for _, f := range way.found {
						if !strings.Contains(f, "listing") {
							f += places
						}
						found = append(found, f)
					}
					want(t, r, found...)
				}
				good(t, name+below, r, taken, full || name != "python")
				if !full && r.Bytes > 600<<10 {
					t.Errorf("%s%s: %d bytes were read of packages of 8 MiB", name, below, r.Bytes)
				}
			}
		}
	}
	for _, line := range asked() {
		if strings.HasPrefix(line, "GET") && strings.Contains(line, " 200 ") {
			t.Errorf("nginx was asked for a whole package: %s", line)
		}
	}
}

// good checks the rows of the whole mirror.
func good(t *testing.T, name string, r Report, taken Level, judged bool) {
	t.Helper()
	rows := 4
	if taken == Architecture {
		rows = 2
	}
	if len(r.Packages) != rows {
		t.Fatalf("%s: %d rows, want %d", name, len(r.Packages), rows)
	}
	for _, p := range r.Packages {
		if judged && (p.Verdict != "good" || p.Pair != "consistent" || p.List == nil || *p.List != *p.Manifest || p.Issued == nil || p.AgeSeconds == nil) || !judged && p.Verdict != "notRead" {
			t.Errorf("%s: %+v", name, p)
		}
		if p.Size == nil || *p.Size < 2<<20 || p.LastModified == nil {
			t.Errorf("%s: %+v", name, p)
		}
		if r.Full && (len(p.Files) != 2 || p.Files[1].Name != "mpavbase.vdm" || p.Files[1].Size != 2<<20) {
			t.Errorf("%s: read %+v", name, p.Files)
		}
		if isBack := strings.HasSuffix(*p.Ring, "_back"); isBack != (p.Previous == nil) || !isBack && *p.Previous != "present" {
			t.Errorf("%s: previous of %s is %v", name, *p.Ring, p.Previous)
		}
	}
}

// TestFaults breaks one thing of a good mirror, and looks what is found of it by a
// real server.
func TestFaults(t *testing.T) {
	t.Parallel()
	const x86, arm, back = "linux/production/arch_x86_64/", "linux/production/arch_arm64/", "linux/production_back/arch_x86_64/"
	tests := []struct {
		name   string
		damage func(s *site)
		full   bool
		found  []string
	}{
		{"one architecture is not there", func(s *site) {
			must(s.t, os.RemoveAll(s.at(arm)))
			must(s.t, os.RemoveAll(s.at("linux/production_back/arch_arm64")))
		}, false, []string{"warning arch_missing linux/production/arm64"}},
		{"a web page was stored as the package", func(s *site) { s.put(x86+"updates.zip", "<!DOCTYPE html><html><body>Not found</body></html>") }, false,
			[]string{"critical not_a_package linux/production/x86_64"}},
		{"half a package", func(s *site) { must(s.t, os.Truncate(s.at(x86+"updates.zip"), 4<<10)) }, false,
			[]string{"critical not_a_package linux/production/x86_64"}},
		{"the manifest is older", func(s *site) {
			s.put(x86+"manifest.json", `{"EngineVersion": "1.1.24080.9", "DefinitionVersion": "1.407.417.0"}`)
		}, false, []string{"warning pair_torn linux/production/x86_64"}},
		{"the manifest is empty, as the vendor's script writes it", func(s *site) { s.put(x86+"manifest.json", `{"EngineVersion": "", "DefinitionVersion": ""}`) }, false,
			[]string{"warning manifest_invalid linux/production/x86_64"}},
		{"a manifest without an end", func(s *site) { s.put(x86+"manifest.json", noise(manifest.MaxSize+1)) }, false,
			[]string{"warning manifest_invalid linux/production/x86_64"}},
		{"no manifest", func(s *site) { must(s.t, os.Remove(s.at(x86+"manifest.json"))) }, false,
			[]string{"warning manifest_missing linux/production/x86_64"}},
		{"the manifest alone", func(s *site) { must(s.t, os.Remove(s.at(x86+"updates.zip"))) }, false,
			[]string{"critical source_not_found linux/production/x86_64"}},
		{"made for another ring", func(s *site) {
			s.build(x86, "1.407.418.0", func(o *mirror.BuildOptions) { o.Rings = []string{"preview"} })
		}, false, []string{"critical wrong_platform linux/production/x86_64"}},
		{"made for another architecture", func(s *site) {
			s.build(x86, "1.407.418.0", func(o *mirror.BuildOptions) { o.Arch = "arm64" })
		}, false, []string{"critical wrong_platform linux/production/x86_64"}},
		{"made for another product", func(s *site) {
			s.build(x86, "1.407.418.0", func(o *mirror.BuildOptions) { o.Product = "yara" })
		}, false, []string{"critical wrong_product linux/production/x86_64"}},
		{"signed by a stranger", func(s *site) {
			stranger := newSite(s.t)
			s.signer = stranger.signer
			s.build(x86, "1.407.418.0")
		}, false, []string{"critical signer_untrusted linux/production/x86_64"}},
		{"expired", func(s *site) {
			must(s.t, os.Remove(s.at(x86+"updates.zip")))
			s.build(x86, "1.407.418.0", func(o *mirror.BuildOptions) {
				o.Now = time.Now().AddDate(0, 0, -2)
				o.Issued, o.Expires = o.Now, o.Now.AddDate(0, 0, 1)
			})
		}, false, []string{"critical package_expired linux/production/x86_64"}},
		{"old", func(s *site) {
			s.build(x86, "1.407.418.0", func(o *mirror.BuildOptions) { o.Released = time.Now().AddDate(0, 0, -8) })
		}, false, []string{"critical stale linux/production/x86_64"}},
		{"about to expire", func(s *site) {
			s.build(x86, "1.407.418.0", func(o *mirror.BuildOptions) { o.Expires = s.issued.Add(3*time.Hour + 30*time.Minute) })
		}, false, []string{"warning ends_soon linux/production/x86_64"}},
		{"a byte of a file was changed, which only --full finds", func(s *site) { s.flip(x86+"updates.zip", 4<<10) }, false, nil},
		{"a byte of a file was changed", func(s *site) { s.flip(x86+"updates.zip", 4<<10) }, true, []string{"critical content_mismatch linux/production/x86_64"}},
		{"no way back", func(s *site) { must(s.t, os.RemoveAll(s.at(back))) }, false, []string{"warning previous_missing linux/production/x86_64"}},
		{"the same package before", func(s *site) { s.build(back, "1.407.418.0") }, false, []string{"warning previous_same linux/production/x86_64"}},
		{"a newer package before", func(s *site) { s.build(back, "1.407.419.0") }, false, []string{"warning previous_newer linux/production/x86_64"}},
		{"the package before is broken", func(s *site) { s.put(back+"updates.zip", "nothing") }, false,
			[]string{"warning not_a_package linux/production_back/x86_64", "warning previous_unusable linux/production/x86_64"}},
		{"architectures differ", func(s *site) { s.build(arm, "1.407.420.0") }, false, []string{"info versions_differ linux/production/arm64 linux/production/x86_64"}},
		{"a sidecar that does not count", func(s *site) { s.put(x86+"updates.zip.p7m", "anything") }, false, []string{"info sidecar_ignored linux/production/x86_64"}},
		{"a sidecar that is none", func(s *site) {
			s.vendor(x86)
			s.put(x86+"updates.zip.p7m", "anything")
		}, false, []string{"critical signature_invalid linux/production/x86_64"}},
		{"a good sidecar", func(s *site) { s.approve(x86, "") }, true, nil},
		{"a sidecar that names another archive", func(s *site) { s.approve(x86, "updates-1.zip") }, true, nil},
		{"that one is not there", func(s *site) {
			s.approve(x86, "updates-1.zip")
			must(s.t, os.Remove(s.at(x86+"updates-1.zip")))
		}, false, []string{"critical sidecar_zip_missing linux/production/x86_64"}},
		{"that one has a list of its own", func(s *site) {
			own, err := os.ReadFile(s.at(x86 + "updates.zip"))
			must(s.t, err)
			s.approve(x86, "updates-1.zip")
			s.put(x86+"updates-1.zip", string(own))
		}, false, []string{"critical package_malformed linux/production/x86_64"}},
		{"a sidecar for another archive than the one beside it", func(s *site) {
			s.approve(x86, "")
			s.write(filepath.Join(s.files, "mpavdlta.vdm"), "one more file")
			s.vendor(x86)
		}, false, []string{"critical content_mismatch linux/production/x86_64"}},
		{"no list at all", func(s *site) { s.vendor(x86) }, true, []string{"critical signature_missing linux/production/x86_64"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t).whole()
			tt.damage(s)
			full := func(o *Options) { o.Full = tt.full }
			want(t, s.check(s.dir, full), tt.found...)
			want(t, s.check(sourcetest.Nginx(t, s.dir)+"/linux/production/", full), tt.found...)
		})
	}
}

// flip changes one byte of a file.
func (s *site) flip(name string, at int) {
	s.t.Helper()
	data, err := os.ReadFile(s.at(name))
	must(s.t, err)
	data[at] ^= 1
	s.put(name, string(data))
}

// vendor puts a package in place as the vendor makes them: without a list, by a
// common tool.
func (s *site) vendor(place string) {
	s.t.Helper()
	if _, err := exec.LookPath("zip"); err != nil {
		s.t.Skip("SKIPPED: zip is not installed; get it with: apt-get install zip")
	}
	out := s.at(place + "updates.zip")
	must(s.t, os.MkdirAll(filepath.Dir(out), 0o755))
	if err := os.Remove(out); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	cmd := exec.Command("zip", "-q", "-r", out, ".")
	cmd.Dir = s.files
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("zip: %v: %s", err, out)
	}
}

// approve puts the vendor's package in place, and a sidecar for it; under the name
// zip where that is not empty.
func (s *site) approve(place, zip string) {
	s.t.Helper()
	s.vendor(place)
	list, err := mirror.ReadList(s.at("linux/production/arch_arm64/updates.zip"))
	must(s.t, err)
	list.Arch, list.Zip = "x86_64", zip
	object, err := mirror.SignList(list, s.signer)
	must(s.t, err)
	s.put(place+"updates.zip.p7m", string(object))
	if zip != "" {
		must(s.t, os.Rename(s.at(place+"updates.zip"), s.at(place+zip)))
		s.write(filepath.Join(s.files, "newer.vdm"), "what is not approved yet")
		s.vendor(place)
	}
}

// TestVendorMirror: on a mirror of the vendor's own packages there is nothing to be
// judged, and still much to be seen.
func TestVendorMirror(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for i, place := range []string{"linux/production/arch_x86_64/", "linux/production_back/arch_x86_64/", "mac/preview/arch_arm64/", "mac/preview_back/arch_arm64/"} {
		s.vendor(place)
		s.put(place+"manifest.json", fmt.Sprintf(`{"EngineVersion": "1.1.24080.9", "DefinitionVersion": "1.407.%d.0"}`, 420-i))
	}
	const all = " linux/production/x86_64 linux/production_back/x86_64 mac/preview/arm64 mac/preview_back/arm64"
	for _, full := range []bool{false, true} {
		r := s.check(sourcetest.Nginx(t, s.dir), func(o *Options) { o.Trust, o.Full = nil, full })
		want(t, r, "info signature_missing"+all, "warning arch_missing linux/production/arm64 mac/preview/x86_64")
	}
	r := s.check(s.dir, func(o *Options) { o.Trust, o.Arch = nil, "x86_64" })
	want(t, r, "info signature_missing linux/production/x86_64 linux/production_back/x86_64")
	if p := r.Packages[0]; p.Verdict != "noList" || *p.Manifest != "1.407.420.0" || p.List != nil || *p.Size == 0 || *p.Previous != "present" || p.Pair != "unknown" || p.AgeSeconds == nil {
		t.Errorf("%+v", p)
	}
	r = s.check(s.dir, func(o *Options) { o.Trust, o.Arch, o.Now = nil, "x86_64", time.Now().AddDate(0, 0, 9) })
	want(t, r, "info signature_missing linux/production/x86_64 linux/production_back/x86_64", "warning stale linux/production/x86_64")

	// Damage is seen where content is read.
	const zip = "linux/production/arch_x86_64/updates.zip"
	data, err := os.ReadFile(s.at(zip))
	must(t, err)
	s.flip(zip, strings.Index(string(data), noise(8 << 10)[:1<<10])+100)
	for full, verdict := range map[bool]string{false: "noList", true: "package_malformed"} {
		r := s.check(s.dir, func(o *Options) { o.Trust, o.Arch, o.Full = nil, "x86_64", full })
		if p := r.Packages[0]; p.Verdict != verdict || full != (r.Exit == 2) || len(p.Files) > 0 {
			t.Errorf("damaged, full %v: %+v, %+v", full, p, r.Findings)
		}
	}
}

// refusing gives a URL where nobody listens, on a port that nobody else gets meanwhile.
func refusing(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	must(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	must(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	at, err := syscall.Getsockname(fd)
	must(t, err)
	return fmt.Sprintf("http://127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
}

// TestNoMirror: what is no mirror, or gives no answer, is told as such.
func TestNoMirror(t *testing.T) {
	t.Parallel()
	s := newSite(t).whole()
	portal := served(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<html><body>Please log in</body></html>")
	}))
	secure := httptest.NewTLSServer(mirror.Handler(s.dir, nil))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // that the client hangs up is the point
	t.Cleanup(secure.Close)
	for name, tt := range map[string]struct {
		address string
		code    string
	}{
		"an empty directory":            {t.TempDir(), source.CodeNotFound},
		"no directory":                  {s.dir + "/not/mounted", source.CodeNotFound},
		"another server":                {served(t, http.NotFoundHandler()), source.CodeNotFound},
		"forbidden":                     {served(t, status(http.StatusForbidden)), source.CodeForbidden},
		"a password is wanted":          {served(t, status(http.StatusUnauthorized)), source.CodeForbidden},
		"a portal":                      {portal, "not_a_package"},
		"a server that fails":           {served(t, status(http.StatusInternalServerError)), source.CodeUnreachable},
		"a busy server":                 {served(t, status(http.StatusServiceUnavailable)), source.CodeRateLimited},
		"nobody":                        {refusing(t), source.CodeUnreachable},
		"an authority that is not ours": {secure.URL, source.CodeTLS},
		"a redirect without an end": {served(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		})), source.CodeRedirect},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := s.check(tt.address)
			if r.Exit != 2 || r.State != "critical" || r.Findings[0].Code != tt.code || r.Findings[0].Hint == "" {
				t.Errorf("%+v", r)
			}
			for _, f := range r.Findings {
				if f.Severity != Critical {
					t.Errorf("there is more to it: %+v", f)
				}
			}
		})
	}
}

func status(code int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
}

// TestSilentServer: one that takes connections and never answers is asked once, and
// not for every place.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.check(silentServer(t), func(o *Options) { o.HTTP.Timeouts.Header = 100 * time.Millisecond })
	want(t, r, "critical source_unreachable linux/production/x86_64")
	if r.Complete || r.Taken != nil || r.Requests != 1 {
		t.Errorf("%+v", r)
	}
}

// silentServer takes connections and says nothing.
func silentServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				sourcetest.Hang(conn)
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// TestServersWays: what a server gives, or leaves out, shows.
func TestServersWays(t *testing.T) {
	t.Parallel()
	s := newSite(t).whole()
	tree := mirror.Handler(s.dir, nil)
	const all = " linux/production/x86_64 linux/production/arm64 linux/production_back/x86_64 linux/production_back/arm64"
	for name, tt := range map[string]struct {
		server http.Handler
		found  []string
	}{
		"a clock that is behind": {dated(tree, -2*time.Hour), []string{"warning clock_differs"}},
		"a clock that is before": {dated(tree, 10*time.Minute), []string{"warning clock_differs"}},
		"a cache with an old answer": {dated(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Age", "7200")
			tree.ServeHTTP(w, r)
		}), -2*time.Hour), nil},
		"weak tags":                {headed(tree, func(h http.Header) { h.Set("ETag", "W/"+h.Get("ETag")) }), []string{"info etag_weak" + all}},
		"no tags":                  {headed(tree, func(h http.Header) { h.Del("ETag") }), []string{"info etag_missing" + all}},
		"tags that are none":       {headed(tree, func(h http.Header) { h.Set("ETag", "abc") }), []string{"info etag_missing" + all}},
		"no dates":                 {headed(tree, func(h http.Header) { h.Del("Last-Modified") }), []string{"info last_modified_missing" + all}},
		"neither tags nor dates":   {headed(tree, func(h http.Header) { h.Del("ETag"); h.Del("Last-Modified") }), []string{"warning etag_missing" + all}},
		"conditions are ignored":   {without(tree, "If-None-Match"), []string{"warning condition_ignored" + all}},
		"no ranges":                {without(tree, "Range"), []string{"warning range_unsupported" + all}},
		"behind a redirect":        {redirected(tree), nil},
		"nothing to be said of it": {tree, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want(t, s.check(served(t, tt.server)), tt.found...)
		})
	}
}

// headed lets change alter the header of a server's answers.
func headed(h http.Handler, change func(http.Header)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&headWriter{ResponseWriter: w, change: change}, r)
	})
}

type headWriter struct {
	http.ResponseWriter
	change func(http.Header)
}

func (w *headWriter) WriteHeader(code int) {
	w.change(w.Header())
	w.ResponseWriter.WriteHeader(code)
}

// without is a server that does not look at a header of requests.
func without(h http.Handler, header string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del(header)
		h.ServeHTTP(w, r)
	})
}

func redirected(h http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/real/", http.StripPrefix("/real", h))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/real"+r.URL.Path, http.StatusFound)
	})
	return mux
}

// TestAuthority: the server's authority may be named.
func TestAuthority(t *testing.T) {
	t.Parallel()
	s := newSite(t).whole()
	authority := sourcetest.NewAuthority(t)
	server := httptest.NewUnstartedServer(mirror.Handler(s.dir, nil))
	pair, err := tls.LoadX509KeyPair(authority.Issue())
	must(t, err)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	want(t, s.check(server.URL, func(o *Options) { o.HTTP.RootCAs = authority.Pool() }))
}

// TestWhileItChanges: a pair that is exchanged between the two requests is no torn
// one.
func TestWhileItChanges(t *testing.T) {
	t.Parallel()
	s := newSite(t).whole()
	tree, once := mirror.Handler(s.dir, nil), true
	address := served(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if once && r.URL.Path == "/linux/production/arch_x86_64/manifest.json" { // one request comes after the other
			once = false
			s.build("linux/production/arch_x86_64", "1.407.419.0")
		}
		tree.ServeHTTP(w, r)
	}))
	want(t, s.check(address), "info versions_differ linux/production/arm64 linux/production/x86_64")
}

// TestModes: who could read and change the files of a directory.
func TestModes(t *testing.T) {
	t.Parallel()
	s := newSite(t).whole()
	const zip, arch = "linux/production/arch_x86_64/updates.zip", "linux/production/arch_x86_64"
	for name, tt := range map[string]struct {
		path  string
		mode  os.FileMode
		found []string
	}{
		"a file of its owner":         {zip, 0o600, []string{"warning unreadable_by_others linux/production/x86_64"}},
		"a file of its group":         {zip, 0o640, []string{"info unreadable_by_others linux/production/x86_64"}},
		"a file of everybody":         {zip, 0o666, []string{"warning writable_by_others linux/production/x86_64"}},
		"a directory of its owner":    {arch, 0o700, []string{"warning unreadable_by_others linux/production/x86_64"}},
		"a directory of everybody":    {arch, 0o777, []string{"warning writable_by_others linux/production/x86_64"}},
		"a ring that can't be passed": {"linux/production", 0o700, []string{"warning unreadable_by_others linux/production/x86_64 linux/production/arm64"}},
		"as it should be":             {arch, 0o755, nil},
	} {
		was, err := os.Stat(s.at(tt.path))
		must(t, err)
		must(t, os.Chmod(s.at(tt.path), tt.mode))
		r := s.check(s.dir)
		must(t, os.Chmod(s.at(tt.path), was.Mode()))
		t.Log(name)
		want(t, r, tt.found...)
	}
	must(t, os.Chmod(filepath.Dir(s.dir), 0o700))
	want(t, s.check(s.dir), "warning unreadable_by_others linux/production/x86_64 linux/production/arm64 linux/production_back/x86_64 linux/production_back/arm64")
}

// TestFullMemory: reading packages whole takes no more memory where they are larger.
// It counts all that the process allocates, so it runs beside no other test.
func TestFullMemory(t *testing.T) {
	s := newSite(t)
	cost := func(mib int) uint64 {
		s.write(filepath.Join(s.files, "mpavbase.vdm"), noise(mib<<20))
		s.build("linux/production/arch_x86_64", "1.407.418.0")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := s.check(s.dir, func(o *Options) { o.Full, o.Arch = true, "x86_64" })
		runtime.ReadMemStats(&after)
		want(t, r, "info previous_missing linux/production/x86_64")
		return after.TotalAlloc - before.TotalAlloc
	}
	cost(1)
	if small, large := cost(1), cost(9); large > small+2<<20 {
		t.Errorf("a package of 1 MiB took %d bytes, and one of 9 MiB %d", small, large)
	}
}

// TestInterrupted: an interruption is no finding.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	s := newSite(t).whole()
	target, err := ParseTarget(s.dir)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := Check(ctx, Options{Target: target}); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestTimeout: neither a dead mount nor a server that never comes to an end keeps a
// check from ending, and it is the mirror that has failed then.
func TestTimeout(t *testing.T) {
	s := newSite(t).whole()
	released := make(chan struct{})
	defer close(released)
	endless := served(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-released:
		}
	}))
	late := func(name, address string) {
		r := s.check(address, func(o *Options) { o.Timeout = time.Second })
		want(t, r, "critical source_stalled")
		if r.Exit != 2 || r.Complete || !strings.Contains(r.Findings[0].Message, "within 1s") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	late("server", endless)
	mount := sourcetest.NewMount(t, s.dir)
	mount.Die()
	defer mount.Revive()                                           // what was left behind ends
	late("mount", filepath.Join(mount.Dir, "linux", "production")) // which the kernel has not seen yet
}

// TestNoRoom: where a package can't be kept, that is no fault of the mirror's.
func TestNoRoom(t *testing.T) {
	s := newSite(t).whole()
	address := sourcetest.PythonHTTP(t, s.dir)
	t.Setenv("TMPDIR", s.at("about.txt"))
	target, err := ParseTarget(address)
	must(t, err)
	_, err = Check(t.Context(), Options{Target: target, Full: true})
	var own *mirror.Error
	if !errors.As(err, &own) || own.Code != "permission_denied" || own.Hint == "" {
		t.Errorf("%v", err)
	}
	if own := new(mirror.Error); !errors.As(noRoom(syscall.ENOSPC), &own) || own.Code != "disk_full" {
		t.Errorf("%v", own)
	}
}

// TestText: the first line is for monitors, and nothing in the report needs a wide
// eye to be found.
func TestText(t *testing.T) {
	t.Parallel()
	s := newSite(t).whole()
	s.put("linux/production/arch_x86_64/updates.zip", "nothing")
	var text strings.Builder
	s.check(s.dir).Text(&text)
	lines := strings.Split(text.String(), "\n")
	if lines[0] != "MIRROR CRITICAL - 1 critical, 0 warning, 0 info - "+s.dir+", taken as a whole mirror" {
		t.Errorf("%s", lines[0])
	}
	for _, part := range []string{"RING ", "not_a_package  unknown ", "critical: not_a_package: ", "  at: linux/production/x86_64\n", "  hint: "} {
		if !strings.Contains(text.String(), part) {
			t.Errorf("%q is not in\n%s", part, text.String())
		}
	}
}
