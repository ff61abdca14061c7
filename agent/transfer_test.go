package agent_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/mirror"
)

// noise is content that does not compress, the same for the same seed.
func noise(seed uint64, size int) string {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b) // it never fails
	return string(b)
}

// heavy is a package of one large file, two middling ones, and small ones of
// which one differs in each version.
func heavy(n uint32) pack {
	return pack{n: n, files: map[string]string{
		"base.vdm": noise(1, 9<<20), "engine.so": noise(2, 3<<20), "extra.vdm": noise(3, 1<<20),
		"delta.vdm": noise(uint64(100+n), 200<<10), "note.txt": fmt.Sprintf("version %d", n),
	}}
}

func size(w *world, ring string) int64 {
	w.Helper()
	info, err := os.Stat(filepath.Join(ring, "arch_x86_64", "updates.zip"))
	must(w, err)
	return info.Size()
}

// cutter lets so many bytes of bodies pass, and then breaks every connection.
type cutter struct {
	http.ResponseWriter
	left *atomic.Int64
}

func (c *cutter) Write(b []byte) (int, error) {
	if c.left.Add(-int64(len(b))) < 0 {
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(b)
}

// cutAfter makes the server break off after that many bytes.
func (s *web) cutAfter(w *world, n int64) {
	files := mirror.Handler(w.srv, nil)
	left := new(atomic.Int64)
	left.Store(n)
	s.fail(func(rw http.ResponseWriter, r *http.Request) { files.ServeHTTP(&cutter{rw, left}, r) })
}

// Only what changed moves: the changed entries, the directory, the list, and at
// most 64 KiB more.
func TestOnlyChangesMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.offline(site.ringURL(), false, "")
	w.publish(heavy(1))
	first := w.want(agent.Updated, "")
	if whole := size(w, w.ring); first.BytesDownloaded > whole+64<<10 {
		t.Errorf("%d bytes for a package of %d", first.BytesDownloaded, whole)
	}
	w.publish(heavy(2))
	r := w.want(agent.Updated, "")
	changed := int64(200<<10 + len("version 2"))
	const listAndDirectory = 4 << 10
	if r.BytesDownloaded < changed || r.BytesDownloaded > changed+listAndDirectory+64<<10 {
		t.Errorf("%d bytes for %d that changed", r.BytesDownloaded, changed)
	}
	if r.BytesReused != 13<<20 || r.Resumed {
		t.Errorf("%d bytes reused, resumed %v", r.BytesReused, r.Resumed)
	}
	if r = w.want(agent.UpToDate, ""); r.Requests != 1 || r.BytesDownloaded != 0 {
		t.Errorf("%d requests and %d bytes for nothing new", r.Requests, r.BytesDownloaded)
	}
}

// A transfer that breaks off goes on in the next run where it stopped.
func TestGoesOnInNextRun(t *testing.T) {
	t.Parallel()
	for _, percent := range []int64{50, 90} {
		w := newWorld(t)
		site := w.web()
		w.offline(site.ringURL(), false, "")
		w.publish(heavy(1))
		whole := size(w, w.ring)
		site.cutAfter(w, whole*percent/100) // what is on its way then is lost with the connection
		broken := w.want(agent.Failed, "source_unreachable")
		site.fail(nil)
		r := w.want(agent.Updated, "")
		if !r.Resumed {
			t.Errorf("cut at %d %%: the transfer was not resumed", percent)
		}
		// Each run asks for the tail, and what was on its way is lost.
		if sum := broken.BytesDownloaded + r.BytesDownloaded; sum > whole+whole/50+128<<10 {
			t.Errorf("cut at %d %%: %d bytes in all for a package of %d", percent, sum, whole)
		}
		w.has(1)
	}
}

// What was kept is believed by nobody: where it is damaged, the file comes anew,
// and where the package is another by now, it is removed.
func TestKeptBytesAreNotBelieved(t *testing.T) {
	t.Parallel()
	spoil := map[string]func(w *world, part string){
		"changed": func(w *world, part string) {
			data := []byte(w.read(part))
			data[len(data)/2] ^= 1
			w.write(part, data)
		},
		"longer": func(w *world, part string) { w.write(part, bytes.Repeat([]byte("x"), 20<<20)) },
		"empty":  func(w *world, part string) { w.write(part, nil) },
		"zeros":  func(w *world, part string) { w.write(part, make([]byte, 1<<20)) },
		"of another package": func(w *world, _ string) {
			p := heavy(2)
			p.files["base.vdm"] = noise(7, 9<<20)
			w.publish(p)
		},
	}
	for name, do := range spoil {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			site := w.web()
			w.offline(site.ringURL(), false, "")
			w.publish(heavy(1))
			site.cutAfter(w, 6<<20)
			w.want(agent.Failed, "source_unreachable")
			site.fail(nil)
			parts, err := filepath.Glob(w.engine(".staging/part-*/from-0"))
			if err != nil || len(parts) != 1 {
				t.Fatalf("parts %q, %v", parts, err)
			}
			do(w, parts[0])
			w.want(agent.Updated, "")
		})
	}
}

// A package that was refused is not fetched again while package, trust and
// configuration stay; and no longer than a day.
func TestRefusedIsRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.offline(site.ringURL(), false, "")
	w.publish(pack{n: 1})
	w.want(agent.Updated, "")
	bad := heavy(2)
	archive := w.archive(bad)
	archive[5<<20] ^= 1
	path := filepath.Join(w.ring, "arch_x86_64", "updates.zip")
	w.serve(path, archive)
	again := func(what string, fetched bool) {
		t.Helper()
		r := w.want(agent.Failed, "content_mismatch")
		if got := r.BytesDownloaded > 1<<20; got != fetched || !fetched && r.Requests != 1 {
			t.Errorf("%s: %d bytes in %d requests", what, r.BytesDownloaded, r.Requests)
		}
		w.has(1)
	}
	again("at first", true)
	again("again", false)
	again("and again", false)
	w.offline(site.ringURL(), false, `"keep":3`)
	again("after a change of configuration", true)
	again("again", false)
	w.later(25 * time.Hour)
	again("a day later", true)
	w.publish(bad)
	w.want(agent.Updated, "")
	w.has(2)
}

// A mirror whose replicas call one file by different tags is fetched from by one
// plain request, and is remembered as such.
func TestReplicasThatDiffer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.offline(site.ringURL(), false, "")
	files := mirror.Handler(w.srv, nil)
	var asked atomic.Int64
	site.fail(func(rw http.ResponseWriter, r *http.Request) {
		r.Header.Del("If-Range") // it is another replica's tag
		files.ServeHTTP(&retagged{rw, fmt.Sprintf(`"replica-%d"`, asked.Add(1))}, r)
	})
	w.publish(heavy(1))
	w.want(agent.Updated, "")
	w.publish(heavy(2))
	if r := w.want(agent.Updated, ""); r.Requests != 1 {
		t.Errorf("%d requests where one has to do", r.Requests)
	}
}

// retagged exchanges the entity tag of an answer.
type retagged struct {
	http.ResponseWriter
	tag string
}

func (r *retagged) WriteHeader(code int) {
	r.Header().Set("ETag", r.tag)
	r.ResponseWriter.WriteHeader(code)
}

// replaceInTheMiddle publishes another package behind the first one's tail and
// before the rest of it.
func (s *web) replaceInTheMiddle(w *world, by pack) {
	files := mirror.Handler(w.srv, nil)
	var asked atomic.Int64
	s.fail(func(rw http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 2 {
			w.publish(by)
		}
		files.ServeHTTP(rw, r)
	})
}

// A package that is replaced while it is fetched is fetched once more; one that
// never stays the same is an error of its own.
func TestReplacedInTheMiddle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.offline(site.ringURL(), false, "")
	w.publish(heavy(1))
	site.replaceInTheMiddle(w, heavy(2))
	w.want(agent.Updated, "")
	w.has(2)
}

// 403 and 429 cool down, each source for itself; by hand only what the server
// asked for binds.
func TestForbiddenCoolsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.offline(site.ringURL(), false, `"jitter":0`)
	w.publish(pack{n: 1})
	site.fail(statusCode(http.StatusForbidden))
	scheduled := agent.Options{Scheduled: true}
	w.want(agent.Failed, "source_forbidden", scheduled)
	site.fail(nil)
	w.want(agent.Skipped, "skipped", scheduled) // its next one is due when the cool-down is over
	w.later(6 * time.Minute)
	w.want(agent.Updated, "", scheduled)
}

// watcher notes what a progress bar would be told.
type watcher struct {
	expected, got atomic.Int64
	mu            sync.Mutex
	steps         []string
}

func (p *watcher) Expect(bytes int64) { p.expected.Add(bytes) }
func (p *watcher) Got(bytes int)      { p.got.Add(int64(bytes)) }
func (p *watcher) Step(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps = append(p.steps, what)
}

// Who watches a transfer is told how much is to come, and all of it.
func TestProgress(t *testing.T) {
	t.Parallel()
	for _, ranges := range []bool{true, false} {
		w := newWorld(t)
		site := w.web()
		if !ranges {
			files := mirror.Handler(w.srv, nil)
			site.fail(func(rw http.ResponseWriter, r *http.Request) {
				r.Header.Del("Range")
				files.ServeHTTP(rw, r)
			})
		}
		w.offline(site.ringURL(), false, "")
		w.publish(heavy(1))
		var p watcher
		w.want(agent.Updated, "", agent.Options{Progress: &p})
		if want := []string{"asking " + site.ringURL(), "fetching definitions 1.407.1.0", "making definitions 1.407.1.0 durable", "activating definitions 1.407.1.0"}; !slices.Equal(p.steps, want) {
			t.Errorf("steps %q, want %q", p.steps, want)
		}
		whole := size(w, w.ring)
		if off := p.expected.Load() - whole; off < -64<<10 || off > 64<<10 {
			t.Errorf("ranges %v: %d bytes were expected for a package of %d", ranges, p.expected.Load(), whole)
		}
		if off := p.got.Load() - p.expected.Load(); off < -64<<10 || off > 64<<10 {
			t.Errorf("ranges %v: %d bytes came, %d were expected", ranges, p.got.Load(), p.expected.Load())
		}
	}
}

// Both a mirror and the cloud may break off; what came from each is kept.
func TestEachSourceKeepsItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site, cloud := w.web(), w.web()
	w.offline(site.ringURL(), true, `"cloudUrl":"`+cloud.URL+`/linux/production/arch_x86_64/updates.zip"`)
	w.publish(heavy(1))
	site.cutAfter(w, 8<<20)
	cloud.cutAfter(w, 8<<20)
	w.want(agent.Failed, "source_unreachable")
	parts, err := filepath.Glob(w.engine(".staging/part-*"))
	if err != nil || len(parts) != 2 {
		t.Errorf("parts of %d sources, %v; want 2", len(parts), err)
	}
	site.fail(nil)
	if r := w.want(agent.Updated, ""); !r.Resumed {
		t.Error("the mirror's transfer was not resumed")
	}
}

// What was kept of a transfer counts as room that is taken already, and on a disk
// that has room for the set alone nothing is kept, and the update is made all the
// same. (A set of 10 MB, as much again to keep, and a reserve of 16.)
func TestKeepingNeedsRoom(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		megabytes int
		resumed   bool
	}{{40, true}, {32, false}} {
		w := newWorld(t)
		must(t, os.MkdirAll(w.engine(""), 0o755))
		mountSmall(t, w, c.megabytes)
		site := w.web()
		w.offline(site.ringURL(), false, "")
		p := heavy(1)
		delete(p.files, "engine.so")
		w.publish(p)
		site.cutAfter(w, 8<<20)
		w.want(agent.Failed, "source_unreachable")
		site.fail(nil)
		if r := w.want(agent.Updated, ""); r.Resumed != c.resumed {
			t.Errorf("%d MB: resumed %v, want %v", c.megabytes, r.Resumed, c.resumed)
		}
	}
}

// Files of a damaged set that are still right need not come again.
func TestDamagedSetIsReused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.web().ringURL(), false, "")
	w.publish(heavy(1))
	w.want(agent.Updated, "")
	w.spoil(w.engine("current/note.txt"), false)
	if r := w.want(agent.Updated, ""); r.BytesDownloaded > 1<<20 || r.BytesReused < 13<<20 {
		t.Errorf("%d bytes came and %d were reused for one small damaged file", r.BytesDownloaded, r.BytesReused)
	}
	w.has(1)
}

// What is reused is counted once, however often a package is begun.
func TestReuseIsCountedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.offline(site.ringURL(), false, "")
	w.publish(heavy(1))
	w.want(agent.Updated, "")
	w.publish(heavy(2))
	site.replaceInTheMiddle(w, heavy(3))
	if r := w.want(agent.Updated, ""); r.BytesReused != 13<<20 {
		t.Errorf("%d bytes reused", r.BytesReused)
	}
	w.has(3)
}

// The vendor's downloader replaces the package and the manifest beside it one
// after the other. Nobody here asks for the manifest, so neither half of a torn
// pair disturbs anybody.
func TestTornPair(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.offline(site.ringURL(), false, "")
	files := mirror.Handler(w.srv, nil)
	var others atomic.Int64
	site.fail(func(rw http.ResponseWriter, r *http.Request) {
		if path.Base(r.URL.Path) != "updates.zip" {
			others.Add(1)
		}
		files.ServeHTTP(rw, r)
	})
	manifest := func(n uint32) {
		w.serve(filepath.Join(w.ring, "arch_x86_64", "manifest.json"), fmt.Appendf(nil, `{"EngineVersion":"1.1.1.1","DefinitionVersion":%q}`, name(n)))
	}
	manifest(9) // newer than the package
	w.run([]step{installed(1)})
	manifest(1) // older
	w.run([]step{installed(2)})
	w.serve(filepath.Join(w.ring, "arch_x86_64", "manifest.json"), nil)
	w.run([]step{installed(3)})
	if n := others.Load(); n != 0 {
		t.Errorf("%d requests for something else than the package", n)
	}
}
