package agent_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/engine"
	"mdatp-offline-agent/health"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
)

// base is when most tests take place, by the agent's clock.
var base = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// world is an endpoint below a root of its own, its publisher, and a mirror.
type world struct {
	testing.TB
	agent  *agent.Agent
	clock  *atomic.Int64 // seconds since 1970, read by the agent
	keys   mirror.Keys
	signer mirror.Signer
	srv    string // what a server of the mirror has as its root
	ring   string // srv/linux/production
}

// newWorld gives a machine that trusts its publisher and has no configuration.
func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{TB: t, clock: new(atomic.Int64), srv: filepath.Join(dir, "mirror")}
	w.ring = filepath.Join(w.srv, "linux", "production")
	log := logrus.New()
	log.SetOutput(io.Discard)
	w.agent = &agent.Agent{Paths: agent.PathsBelow(filepath.Join(dir, "root")), Arch: "x86_64", Log: log,
		Now: func() time.Time { return time.Unix(w.clock.Load(), 0).UTC() }}
	w.at(base)
	w.keys, w.signer = newSigner(t)
	w.trust("root.pem", w.read(w.keys.Root))
	return w
}

// newSigner makes a CA and its signer, valid for a year around base. It is not loaded as
// publishers load theirs, who ask whether it is valid today.
func newSigner(t testing.TB) (mirror.Keys, mirror.Signer) {
	t.Helper()
	keys, err := mirror.MakeKeys(filepath.Join(t.TempDir(), "keys"), mirror.KeyOptions{Now: base.AddDate(0, -6, 0)})
	must(t, err)
	leaf, err := tls.LoadX509KeyPair(keys.Leaf, keys.LeafKey)
	must(t, err)
	intermediate, err := tls.LoadX509KeyPair(keys.Intermediate, keys.IntermediateKey)
	must(t, err)
	return keys, mirror.Signer{Key: leaf.PrivateKey.(crypto.Signer), Leaf: leaf.Leaf, Intermediates: []*x509.Certificate{intermediate.Leaf}}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) at(now time.Time)       { w.clock.Store(now.Unix()) }
func (w *world) later(by time.Duration) { w.clock.Add(int64(by / time.Second)) }

// engine gives a path below the engine directory, wherever that is now.
func (w *world) engine(name string) string {
	w.Helper()
	dir, err := w.agent.EngineDirectory()
	must(w, err)
	return filepath.Join(dir, name)
}

// write puts a file in place, with directories that no other user can write to,
// whatever the umask is.
func (w *world) write(path string, data []byte) {
	w.Helper()
	must(w, os.MkdirAll(filepath.Dir(path), 0o755))
	for dir := filepath.Dir(path); len(dir) > len(w.agent.Paths.Root); dir = filepath.Dir(dir) {
		_ = os.Chmod(dir, 0o755) // the state directory's children may be another's
	}
	must(w, os.WriteFile(path, data, 0o644))
	must(w, os.Chmod(path, 0o644))
}

func (w *world) read(path string) []byte {
	w.Helper()
	data, err := os.ReadFile(path)
	must(w, err)
	return data
}

func (w *world) trust(name string, data []byte) {
	w.Helper()
	w.write(filepath.Join(w.agent.Paths.Trust, name), data)
}

// otherSigner makes a second signer that the machine trusts.
func (w *world) otherSigner() (mirror.Keys, mirror.Signer) {
	w.Helper()
	keys, signer := newSigner(w)
	w.trust("other.pem", w.read(keys.Root))
	return keys, signer
}

// revoke puts a CRL of the intermediate in place that names the signer.
func (w *world) revoke(keys mirror.Keys, signer mirror.Signer) {
	w.Helper()
	block, _ := pem.Decode(w.read(keys.IntermediateKey))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	must(w, err)
	i := slices.IndexFunc(signer.Intermediates, func(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, signer.Leaf.RawIssuer) })
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: base, NextUpdate: base.Add(day),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: signer.Leaf.SerialNumber, RevocationTime: base}}},
		signer.Intermediates[i], key.(crypto.Signer))
	must(w, err)
	w.trust("leaf.crl", der)
}

// pack is a package to publish. What is left out is as in a good one.
type pack struct {
	n                       uint32 // the third component of its definition version
	engine                  uint32 // likewise of the engine's
	issued, expires         time.Time
	released                time.Time
	product, platform, arch string
	rings                   []string
	zip                     string            // in a sidecar: the archive's name
	files                   map[string]string // nil: two, of which one has the version in it
	signer                  *mirror.Signer
	list                    func([]byte) []byte // changes the list's JSON before it is signed
	bare                    bool                // the archive has no list
	deflate                 bool                // its files are compressed
}

func v(n uint32) verifier.Version { return verifier.Version{1, 407, n, 0} }

// name is how versions of packs are written.
func name(n uint32) string { return v(n).String() }

func (w *world) fill(p pack) pack {
	or := func(t *time.Time, other time.Time) {
		if t.IsZero() {
			*t = other
		}
	}
	or(&p.issued, base.Add(time.Duration(p.n)*time.Minute-2*time.Hour))
	or(&p.released, p.issued)
	or(&p.expires, p.issued.Add(14*day))
	if p.product == "" {
		p.product = "mdatp"
	}
	if p.platform == "" {
		p.platform = "linux"
	}
	if p.arch == "" {
		p.arch = "x86_64"
	}
	if p.rings == nil {
		p.rings = []string{"production"}
	}
	if p.files == nil {
		p.files = map[string]string{"base.vdm": strings.Repeat("base ", 2000), "delta.vdm": fmt.Sprintf("delta %d", p.n)}
	}
	if p.signer == nil {
		p.signer = &w.signer
	}
	return p
}

// sign gives the signed list of a package.
func (w *world) sign(p pack) []byte {
	w.Helper()
	p = w.fill(p)
	l := &verifier.List{Product: p.product, Platform: p.platform, Arch: p.arch, Rings: p.rings, Engine: verifier.Version{1, 1, p.engine + 24080, 9},
		Definition: v(p.n), Released: p.released, Issued: p.issued, Expires: p.expires, Zip: p.zip}
	for _, f := range slices.Sorted(maps.Keys(p.files)) {
		l.Files = append(l.Files, verifier.File{Name: f, Size: int64(len(p.files[f])), SHA256: sha256.Sum256([]byte(p.files[f]))})
	}
	data, err := verifier.MarshalList(l)
	must(w, err)
	if p.list != nil {
		data = p.list(data)
	}
	object, err := p.signer.Sign(data)
	must(w, err)
	return object
}

// archive gives the bytes of a package.
func (w *world) archive(p pack) []byte {
	w.Helper()
	p = w.fill(p)
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	add := func(name string, data []byte, method uint16) {
		h := &zip.FileHeader{Name: name, CRC32: crc32.ChecksumIEEE(data), Method: method, UncompressedSize64: uint64(len(data))}
		if method == zip.Deflate {
			data = deflated(w, data)
		}
		h.CompressedSize64 = uint64(len(data))
		f, err := z.CreateRaw(h)
		must(w, err)
		_, err = f.Write(data)
		must(w, err)
	}
	method := zip.Store
	if p.deflate {
		method = zip.Deflate
	}
	for _, f := range slices.Sorted(maps.Keys(p.files)) {
		add(f, []byte(p.files[f]), method)
	}
	if !p.bare {
		add(verifier.ListEntry, w.sign(p), zip.Store)
	}
	must(w, z.Close())
	return out.Bytes()
}

// publishIn puts a package into a ring's directory, whole, with a time of
// modification that is long past.
func (w *world) publishIn(ring string, p pack) {
	w.Helper()
	w.serve(filepath.Join(ring, "arch_x86_64", "updates.zip"), w.archive(p))
}

func (w *world) publish(p pack) { w.Helper(); w.publishIn(w.ring, p) }

// serve replaces a file of a mirror. Each gets another age, so that servers
// which make their entity tags of time and size give each its own.
func (w *world) serve(path string, data []byte) {
	w.Helper()
	must(w, os.MkdirAll(filepath.Dir(path), 0o755))
	must(w, os.WriteFile(path+".new", data, 0o644))
	age := time.Hour
	if old, err := os.Stat(path); err == nil {
		age = time.Since(old.ModTime()).Round(time.Minute) - time.Minute
	}
	long := time.Now().Add(-age)
	must(w, os.Chtimes(path+".new", long, long))
	must(w, os.Rename(path+".new", path))
}

func (w *world) configure(json string) { w.Helper(); w.write(w.agent.Paths.Managed, []byte(json)) }

// offline configures the ring at url, with more of antivirusEngine and agent.
func (w *world) offline(url string, fallback bool, agentSection string) {
	w.Helper()
	w.configure(fmt.Sprintf(`{"antivirusEngine":{"offlineDefinitionUpdate":"enabled","offlineDefinitionUpdateUrl":%q,"offlineDefinitionUpdateFallbackToCloud":%v},"agent":{%s}}`,
		url, fallback, agentSection))
}

// update runs one update and checks what holds for every update: what is active
// afterwards is what was active before, or a whole new set; and a failure shows
// as a code of the list.
func (w *world) update(o agent.Options) agent.Result {
	w.Helper()
	before := w.active()
	r := w.agent.Update(context.Background(), o)
	after := w.active()
	exchanged := r.Outcome == agent.Updated || r.Outcome == agent.Renewed
	if !exchanged && before != after {
		w.Errorf("outcome %s, and yet current went from %q to %q", r.Outcome, before, after)
	}
	if exchanged {
		w.sound(after)
	}
	if r.FailReason != nil {
		checkFailure(w, r.FailReason)
	}
	if r.Outcome == agent.Failed && r.ExitCode() == 0 {
		w.Errorf("a failed update ends with exit code 0")
	}
	left, _ := os.ReadDir(w.engine(".staging"))
	for _, entry := range left {
		// What came of a large file is kept, but only of one that did not come whole.
		if r.Outcome != agent.Failed || !strings.HasPrefix(entry.Name(), "part-") {
			w.Errorf("%s is left in .staging", entry.Name())
		}
	}
	return r
}

// checkFailure checks the rules for what may be shown.
func checkFailure(t testing.TB, f *agent.Failure) {
	t.Helper()
	if f.Code == "internal" {
		t.Errorf("a fault of the program: %v", f)
	}
	if f.Message == "" || f.Hint == "" || strings.ContainsAny(f.Message, "\"\n") || strings.Contains(f.Message, " : ") || strings.HasSuffix(f.Message, ".") {
		t.Errorf("not fit to be shown: %#v", f)
	}
}

// want runs an update by hand and checks outcome and code; code is empty for none.
func (w *world) want(outcome agent.Outcome, code string, o ...agent.Options) agent.Result {
	w.Helper()
	var opts agent.Options
	if len(o) > 0 {
		opts = o[0]
	}
	r := w.update(opts)
	if r.Outcome != outcome || codeOf(r) != code {
		w.Fatalf("the update ended with %s %v, want %s %s", r.Outcome, r.FailReason, outcome, code)
	}
	return r
}

func codeOf(r agent.Result) string {
	if r.FailReason == nil {
		return ""
	}
	return r.FailReason.Code
}

// active is the name of the set that current leads to, empty for none.
func (w *world) active() string {
	w.Helper()
	target, err := os.Readlink(w.engine("current"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.Fatal(err)
	}
	return target
}

// has checks which version is active, and that it is whole.
func (w *world) has(n uint32) {
	w.Helper()
	if !strings.HasPrefix(w.active(), name(n)+"-") {
		w.Fatalf("active is %q, want %s", w.active(), name(n))
	}
	w.sound(w.active())
}

func (w *world) sound(set string) {
	w.Helper()
	if err := whole(w.engine(set), w.roots()); err != nil {
		w.Errorf("the set %q is not whole: %v", set, err)
	}
}

// roots is the trust of all roots in the trust directory, without its CRLs.
func (w *world) roots() verifier.Trust {
	w.Helper()
	var files []verifier.TrustFile
	paths, err := filepath.Glob(filepath.Join(w.agent.Paths.Trust, "*.pem"))
	must(w, err)
	for _, path := range paths {
		files = append(files, verifier.TrustFile{Name: filepath.Base(path), Data: w.read(path)})
	}
	trust, err := verifier.NewTrust(files, nil)
	must(w, err)
	return trust
}

// whole checks a set with as little of the agent's own code as possible: the list is
// signed, or made of what the vendor's files prove, and exactly the files that it names
// lie there, with their content.
func whole(dir string, trust verifier.Trust) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	raw, err := root.ReadFile(verifier.ListEntry)
	var signed verifier.Signed
	if errors.Is(err, os.ErrNotExist) {
		if raw, err = root.ReadFile("META/package.json"); err == nil {
			signed.Digest = sha256.Sum256(raw)
			signed.List, err = verifier.ParseList(raw)
		}
	} else if err == nil {
		signed, err = trust.VerifyInstalled(raw)
	}
	if err != nil {
		return err
	}
	if want := engine.SetName(signed.List.Definition, signed.Digest); filepath.Base(dir) != want {
		return fmt.Errorf("the list is that of %s", want)
	}
	for _, f := range signed.List.Files {
		data, err := root.ReadFile(f.Name)
		if err != nil {
			return err
		}
		if sha256.Sum256(data) != f.SHA256 {
			return fmt.Errorf("%s is not what the list says", f.Name)
		}
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) != len(signed.List.Files)+1 {
		err = fmt.Errorf("%d entries for %d files", len(entries), len(signed.List.Files))
	}
	return err
}

// health checks rows of the report, and gives it.
func (w *world) health(want map[string]string) health.Report {
	w.Helper()
	facts := w.agent.Facts(context.Background())
	report := health.Definitions(facts)
	for _, field := range slices.Sorted(maps.Keys(want)) {
		got, ok := report.Field(field)
		if !ok || !strings.HasPrefix(got, want[field]) {
			w.Errorf("health says %s: %s, want %s", field, got, want[field])
		}
	}
	return report
}

// status checks definitions_status, and the code of the fail reason (empty: none).
func (w *world) status(status, code string) {
	w.Helper()
	reason := `""`
	if code != "" {
		reason = `"` + code + `: `
	}
	w.health(map[string]string{"definitions_status": `"` + status + `"`, "definitions_update_fail_reason": reason})
}

// web serves the mirror and counts what is asked for.
type web struct {
	*httptest.Server
	asked  atomic.Int64 // requests
	answer atomic.Pointer[http.HandlerFunc]
}

// ringURL is the address of the ring on this server.
func (s *web) ringURL() string { return s.URL + "/linux/production/" }

// fail answers everything by f; nil serves the mirror again.
func (s *web) fail(f http.HandlerFunc) {
	if f == nil {
		s.answer.Store(nil)
		return
	}
	s.answer.Store(&f)
}

// web starts an httptest server with the agent's own handler on the mirror.
func (w *world) web() *web {
	w.Helper()
	must(w, os.MkdirAll(w.srv, 0o755))
	s := &web{}
	files := mirror.Handler(w.srv, nil)
	s.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if f := s.answer.Load(); f != nil {
			(*f)(rw, r)
			return
		}
		files.ServeHTTP(rw, r)
	}))
	w.Cleanup(s.Close)
	return s
}

// statusCode answers with that status.
func statusCode(code int) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(code) }
}
