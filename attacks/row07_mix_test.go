package attacks_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"mdatp-offline-agent/agent"
)

// Row 7, mix and match: parts of several packages, each of them genuine.
func mixAndMatch() []attack {
	static := func(name, does string, publish func(*machine)) attack {
		return attack{row: 7, name: name, does: does, code: "content_mismatch", exit: badData, static: true, mirror: publish}
	}
	return []attack{
		{row: 7, name: "manifest-newer", does: "an unsigned manifest.json newer than the package, then one that is older", ends: "never asked for; the package alone counts",
			story: func(m *machine) {
				for i, version := range []string{"1.407.499.0", "1.407.1.0"} {
					m.site.put("manifest.json", fmt.Appendf(nil, `{"EngineVersion":"1.1.24080.9","DefinitionVersion":%q}`, version))
					m.wantUpToDate()
					m.publish(m.pack(418 + uint32(i)))
					m.wantUpdated(m.installed)
				}
				if slices.ContainsFunc(m.site.forget(), func(r request) bool { return strings.HasSuffix(r.path, ".json") }) {
					m.Error("the unsigned manifest.json was asked for")
				}
			}},
		static("sidecar-newer", "an unsigned package, with the signed list of the next one beside it", func(m *machine) { m.splitSidecar(418, 419) }),
		static("sidecar-older", "an unsigned package, with the signed list of the one before beside it", func(m *machine) { m.splitSidecar(419, 418) }),
		static("spliced-member", "a signed package with a file of the one before in it", func(m *machine) {
			p, old := m.pack(418), m.pack(417)
			p.entries = []entry{{name: "base.vdm", content: p.files["base.vdm"]}, {name: "delta.vdm", content: old.files["delta.vdm"]}}
			m.site.put("updates.zip", m.archive(p))
		}),
		static("spliced-list", "the files of a package under the signed list of the next one", func(m *machine) {
			p, next := m.pack(418), m.pack(419)
			p.object = func([]byte) []byte { return m.sign(next) }
			m.site.put("updates.zip", m.archive(p))
		}),
		static("swapped-members", "a signed package whose files have each other's names", func(m *machine) {
			p := m.pack(418)
			p.files["delta.vdm"], p.files["third.vdm"] = "delta 1", "delta 2"
			p.entries = []entry{{name: "base.vdm", content: p.files["base.vdm"]}, {name: "delta.vdm", content: "delta 2"}, {name: "third.vdm", content: "delta 1"}}
			m.site.put("updates.zip", m.archive(p))
		}),
		{row: 7, name: "swapped-once", does: "another package from the second request on", ends: "read once more from the beginning, by itself, and installed",
			story: func(m *machine) {
				first, second := m.large(418), m.large(419)
				asked := m.generations(strong, []pack{first, second}, func(n int) int { return min(n, 1) })
				r := m.wantUpdated(second)
				if got := asked(); len(got) < 3 || got[0] != tail || slices.Index(got[1:], tail) < 0 {
					m.Errorf("it was asked for %v in %d requests, want the tail twice", got, r.Requests)
				}
			}},
		{row: 7, name: "head-and-get", does: "another package to a GET than to the HEAD before it, and no entity tags", ends: "the GET decides",
			story: func(m *machine) {
				at := m.now.Add(-time.Hour)
				old, news := m.large(418), m.large(419)
				m.site.play(dated(m.archive(old), at))
				m.wantUpdated(old)
				was, is := dated(m.archive(old), at.Add(time.Minute)), dated(m.archive(news), at.Add(2*time.Minute))
				m.site.play(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodHead {
						was(w, r)
						return
					}
					is(w, r)
				})
				m.wantUpdated(news)
			}},
		{row: 7, name: "never-the-same", does: "another package to each request, for ever, under entity tags that tell", ends: "read once more, then fetched by one plain request, and installed",
			story: func(m *machine) {
				for n := range uint32(3) {
					first := 418 + 10*n
					packs := []pack{m.large(first), m.large(first + 1), m.large(first + 2)}
					m.generations(strong, packs, func(n int) int { return n % len(packs) })
					m.wantOneOf(packs)
				}
			}},
		{row: 7, name: "never-the-same-nor-whole", does: "another package to each request, of which none ever comes whole", code: "source_unreachable", says: "broke off", exit: unavailable, slow: true,
			mirror: func(m *machine) {
				packs := []pack{m.large(418), m.large(419), m.large(420)}
				m.generations(strong, packs, func(n int) int { return n % len(packs) })
				serve := m.site.plays
				m.site.play(func(w http.ResponseWriter, r *http.Request) { serve(&halved{ResponseWriter: w}, r) })
			}},
		replicas("replicas-tagged", "entity tags that tell the generations apart", strong),
		replicas("replicas-weak", "weak entity tags that tell the generations apart", weak),
		replicas("replicas-dated", "a Last-Modified that tells the generations apart", dates),
		replicas("replicas-alike", "nothing that tells the generations apart", nothing),
		replicas("replicas-one-tag", "one strong entity tag for all of them, which is a lie", lie),
		{row: 7, name: "torn-under-one-tag", does: "parts of two packages under one strong entity tag, and then one of them alone under the same", ends: "refused; the other is found within a day, or when asked by hand, and at once under another tag",
			story: func(m *machine) {
				active, packs := m.installed, m.alike(m.large(418), m.large(419))
				m.generations(lie, packs, func(n int) int { return min(n, 1) })
				before := m.snapshot()
				m.wantFailed("package_malformed")
				m.wantSame(before)
				m.installed = active
				m.checkActive()
				m.generations(lie, packs, func(int) int { return 1 })
				m.wantFailed("package_malformed") // the tag says that it is the same
				m.wantUpdated(packs[1], "--retry-known-bad")
			}},
	}
}

// splitSidecar publishes the archive of one version with the list of another.
func (m *machine) splitSidecar(archive, list uint32) {
	m.Helper()
	p := m.pack(archive)
	p.bare = true
	m.site.put("updates.zip", m.archive(p))
	m.site.put("updates.zip.p7m", m.sign(m.pack(list)))
}

// halved is an answer that breaks off.
type halved struct {
	http.ResponseWriter
	sent int
}

func (h *halved) Write(p []byte) (int, error) {
	const most = 1 << 20
	if h.sent += len(p); h.sent > most {
		panic(http.ErrAbortHandler)
	}
	return h.ResponseWriter.Write(p)
}

// tail is the range that a package's end is asked for by.
const tail = "bytes=-32768"

// How a server tells one generation of a package from another.
type telling func(h http.Header, generation int) time.Time

var longAgo = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

func strong(h http.Header, n int) time.Time {
	h.Set("ETag", fmt.Sprintf(`"generation-%d"`, n))
	return longAgo
}

func weak(h http.Header, n int) time.Time {
	h.Set("ETag", fmt.Sprintf(`W/"generation-%d"`, n))
	return longAgo
}

func dates(_ http.Header, n int) time.Time { return longAgo.Add(time.Duration(n) * time.Hour) }

func nothing(http.Header, int) time.Time { return longAgo }

func lie(h http.Header, _ int) time.Time {
	h.Set("ETag", `"always"`)
	return longAgo
}

// generations has the mirror answer each request by one of several packages: pick
// chooses, by the request's number. What it gives tells the ranges asked for.
func (m *machine) generations(tell telling, packs []pack, pick func(n int) int) (asked func() []string) {
	m.Helper()
	var archives [][]byte
	for _, p := range packs {
		archives = append(archives, m.archive(p))
	}
	var mu sync.Mutex
	n := 0
	m.site.forget()
	m.site.play(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "updates.zip") {
			http.NotFound(w, r)
			return
		}
		mu.Lock()
		i := pick(n)
		n++
		mu.Unlock()
		at := tell(w.Header(), int(packs[i].list.Definition[2]))
		http.ServeContent(w, r, "", at, bytes.NewReader(archives[i]))
	})
	return func() []string { return ranges(m.site.forget()) }
}

// wantOneOf runs an update that must install one of the packages, whole.
func (m *machine) wantOneOf(packs []pack) {
	m.Helper()
	r, _ := m.update()
	if r.Outcome != agent.Updated {
		m.Fatalf("the update ended with %s %v", r.Outcome, r.FailReason)
	}
	i := slices.IndexFunc(packs, func(p pack) bool { return p.version() == r.Version })
	m.installed = packs[max(i, 0)]
	m.checkActive()
}

// replicas is a row of three servers with three generations of the package, of
// which the next one answers each request, in every order. What comes of it is one
// of them, whole, or nothing; and all of them once they are the same.
func replicas(name, does string, tell telling) attack {
	return attack{row: 7, name: name, does: "three generations of the package, another one to each request, in every order; " + does,
		ends: "one of them is installed, whole, or none; then, once they are the same, the newest",
		story: func(m *machine) {
			orders := [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}
			for i, order := range orders {
				first := 420 + 10*uint32(i)
				packs := m.alike(m.large(first), m.large(first+1), m.large(first+2))
				m.generations(tell, packs, func(n int) int { return order[n%len(order)] })
				r, _ := m.update()
				switch j := slices.IndexFunc(packs, func(p pack) bool { return p.version() == r.Version }); {
				case r.Outcome == agent.Updated && j >= 0:
					m.installed = packs[j]
				case r.Outcome == agent.UpToDate && j < 0: // none of them, since they can't be told from what is installed
				case r.Outcome != agent.Failed || !slices.Contains([]string{"content_mismatch", "package_malformed", "source_changed", "rollback_refused"}, r.code()):
					m.Errorf("order %v: the update ended with %s %v", order, r.Outcome, r.FailReason)
				default:
					m.Logf("order %v: %s", order, r.code())
				}
				m.checkActive()
			}
			m.publish(m.large(500))
			m.wantUpdated(m.installed)
			m.wantHealth("up_to_date", "")
		}}
}
