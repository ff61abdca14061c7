package agent_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/health"
	"mdatp-offline-agent/mirror"
)

// both gives a mirror and a cloud, with fallback from the one to the other.
// The cloud has the package n.
func (w *world) both(n uint32) (site *web, cloudURL string) {
	w.Helper()
	site = w.web()
	cloudURL = site.URL + "/cloud/updates.zip"
	w.serve(filepath.Join(w.srv, "cloud", "updates.zip"), w.archive(pack{n: n}))
	w.offline(site.ringURL(), true, `"cloudUrl":"`+cloudURL+`"`)
	return site, cloudURL
}

// onRing answers requests for the mirror by f, and all others as usual.
func (s *web) onRing(w *world, f http.HandlerFunc) {
	files := mirror.Handler(w.srv, nil)
	s.fail(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/linux/") {
			f(rw, r)
			return
		}
		files.ServeHTTP(rw, r)
	})
}

// Whatever is wrong with the mirror, the cloud helps, and the failure shows.
func TestFallback(t *testing.T) {
	t.Parallel()
	answer := func(data []byte) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(data) }
	}
	for _, c := range []struct {
		code  string
		serve func(*world) http.HandlerFunc
	}{
		{"source_not_found", func(*world) http.HandlerFunc { return statusCode(404) }},
		{"source_not_found", func(*world) http.HandlerFunc { return statusCode(410) }},
		{"source_forbidden", func(*world) http.HandlerFunc { return statusCode(401) }},
		{"source_forbidden", func(*world) http.HandlerFunc { return statusCode(403) }},
		{"source_rate_limited", func(*world) http.HandlerFunc { return statusCode(503) }},
		{"source_rate_limited", func(*world) http.HandlerFunc { return statusCode(429) }},
		{"source_unreachable", func(*world) http.HandlerFunc { return statusCode(500) }},
		{"source_unreachable", func(*world) http.HandlerFunc { return statusCode(206) }},
		{"source_unreachable", func(*world) http.HandlerFunc {
			return func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Length", "5000")
				_, _ = io.WriteString(rw, "PK")
			}
		}},
		{"redirect_refused", func(*world) http.HandlerFunc {
			return func(rw http.ResponseWriter, r *http.Request) {
				http.Redirect(rw, r, "ftp://mirror.example/x", http.StatusFound)
			}
		}},
		{"not_a_package", func(*world) http.HandlerFunc { return answer([]byte("<html>please log in</html>")) }},
		{"signature_missing", func(w *world) http.HandlerFunc {
			plain, none := answer(w.archive(pack{n: 9, bare: true})), statusCode(404)
			return func(rw http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, ".p7m") {
					none(rw, r)
					return
				}
				plain(rw, r)
			}
		}},
		{"wrong_product", func(w *world) http.HandlerFunc { return answer(w.archive(pack{n: 9, product: "x"})) }},
		{"signer_untrusted", func(w *world) http.HandlerFunc {
			_, s := newSigner(w)
			return answer(w.archive(pack{n: 9, signer: &s}))
		}},
		{"content_mismatch", func(w *world) http.HandlerFunc {
			return answer(bytes.Replace(w.archive(pack{n: 9}), []byte("delta 9"), []byte("delta X"), 1))
		}},
		{"rollback_refused", func(w *world) http.HandlerFunc { return answer(w.archive(pack{n: 0})) }},
	} {
		t.Run(c.code, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			site, cloudURL := w.both(2)
			w.publish(pack{n: 1})
			w.want(agent.Updated, "")
			w.status("up_to_date", "")
			site.onRing(w, c.serve(w))

			r := w.want(agent.Updated, c.code)
			if r.ExitCode() != 0 || r.Source != cloudURL {
				t.Errorf("exit %d, source %s", r.ExitCode(), r.Source)
			}
			w.has(2)
			w.status("up_to_date", c.code)
			w.health(map[string]string{"definitions_update_source_uri": `"` + cloudURL + `"`})

			w.later(7 * time.Hour) // past every cool-down
			site.fail(func(rw http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/linux/") {
					c.serve(w)(rw, r)
					return
				}
				rw.WriteHeader(http.StatusTeapot)
			})
			r = w.want(agent.Failed, c.code) // and not the cloud's
			if r.ExitCode() != agent.ExitCode(c.code) {
				t.Errorf("exit code %d", r.ExitCode())
			}
			w.has(2)
			w.status("update_failed", c.code)
			site.fail(nil)
			w.publish(pack{n: 10})
			w.want(agent.Updated, "")
			w.status("up_to_date", "")
		})
	}
}

// A mirror that has nothing newer, while what is installed is too old, has failed.
func TestStaleMirrorFallsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, _ = w.both(2)
	w.publish(pack{n: 1})
	w.want(agent.Updated, "")
	w.at(base.Add(8 * day))
	r := w.want(agent.Updated, "source_stale")
	if !strings.Contains(r.Source, "/cloud/") {
		t.Errorf("source %s", r.Source)
	}
	w.has(2)
	w.at(base.Add(9 * day)) // both are stale now
	w.want(agent.Failed, "source_stale")
	w.status("out_of_date", "source_stale")
}

// What is wrong with this machine is not mended by another source.
func TestLocalFailuresDoNotFallBack(t *testing.T) {
	t.Parallel()
	t.Run("known bad", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		site, _ := w.both(9)
		w.publish(pack{n: 1})
		w.want(agent.Updated, "")
		w.publish(pack{n: 2})
		w.want(agent.Updated, "")
		w.wantChange(w.agent.Rollback, "", 1)
		before := site.asked.Load()
		w.want(agent.Failed, "known_bad")
		if n := site.asked.Load() - before; n != 1 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		site, _ := w.both(9)
		ctx, cancel := context.WithCancel(context.Background())
		site.onRing(w, func(http.ResponseWriter, *http.Request) { cancel(); panic(http.ErrAbortHandler) })
		r := w.agent.Update(ctx, agent.Options{})
		if codeOf(r) != "interrupted" || r.ExitCode() != 75 || w.active() != "" {
			t.Errorf("%+v, active %q", r.FailReason, w.active())
		}
		w.status("unavailable", "") // says nothing about the machine's protection
	})
	t.Run("trust breaks", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		site, _ := w.both(9)
		w.trust("broken.pem", []byte("-----BEGIN CERTIFICATE-----"))
		if r := w.want(agent.Failed, "trust_invalid"); r.ExitCode() != 78 || site.asked.Load() != 0 {
			t.Errorf("exit %d after %d requests", r.ExitCode(), site.asked.Load())
		}
	})
}

// The disk is as full as an engine directory on a small file system makes it.
func TestFullDiskDoesNotFallBack(t *testing.T) {
	w := newWorld(t)
	site, _ := w.both(9)
	w.publish(pack{n: 1})
	w.want(agent.Updated, "")
	mountSmall(t, w, 1)
	w.publish(pack{n: 2, files: map[string]string{"big.vdm": strings.Repeat("x", 3<<20)}})
	before := site.asked.Load()
	r := w.agent.Update(context.Background(), agent.Options{})
	if codeOf(r) != "disk_full" || r.ExitCode() != 73 || site.asked.Load()-before != 1 {
		t.Errorf("%v, %d requests", r.FailReason, site.asked.Load()-before)
	}
	w.has(1)
	w.status("update_failed", "disk_full")
}

func TestReadOnlyEngineDirectory(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root may write everywhere; run this test as a plain user")
	}
	w := newWorld(t)
	site, _ := w.both(9)
	w.publish(pack{n: 1})
	w.want(agent.Updated, "")
	before := site.asked.Load()
	must(t, os.Chmod(w.agent.Paths.Engine, 0o555))
	defer os.Chmod(w.agent.Paths.Engine, 0o755)
	if r := w.want(agent.Failed, "permission_denied"); r.ExitCode() != 77 || site.asked.Load() != before {
		t.Errorf("exit %d after %d requests", r.ExitCode(), site.asked.Load()-before)
	}
	w.has(1)
}

// The real product can not go back from the cloud to a mirror. Here every order
// of three places works, with versions that rise from step to step.
func TestSwitchingBackAndForth(t *testing.T) {
	t.Parallel()
	places := []string{"mirror", "cloud", "other mirror"}
	for order := range 27 {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			site := w.web()
			steps := []int{order / 9, order / 3 % 3, order % 3}
			for i, which := range steps {
				w.switchTo(site, places[which], pack{n: uint32(i + 1)})
				w.want(agent.Updated, "")
				w.has(uint32(i + 1))
				w.want(agent.UpToDate, "")
				w.status("up_to_date", "")
			}
		})
	}
}

// A mirror that is behind the cloud is no failure, and catches up.
func TestMirrorBehindTheCloud(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.web()
	w.switchTo(site, "mirror", pack{n: 1})
	w.want(agent.Updated, "")
	w.switchTo(site, "cloud", pack{n: 5})
	w.want(agent.Updated, "")
	for _, n := range []uint32{1, 3} {
		w.switchTo(site, "mirror", pack{n: n})
		if r := w.want(agent.UpToDate, ""); len(r.Notes) != 1 {
			t.Errorf("notes %v", r.Notes)
		}
		w.has(5)
		w.status("up_to_date", "")
	}
	w.switchTo(site, "mirror", pack{n: 2})
	w.want(agent.Failed, "rollback_refused") // it served more before
	w.switchTo(site, "mirror", pack{n: 6})
	w.want(agent.Updated, "")
	w.has(6)
}

// switchTo publishes a package at a place and configures that place.
func (w *world) switchTo(site *web, place string, p pack) {
	w.Helper()
	cloud := fmt.Sprintf(`"agent":{"cloudUrl":"%s/cloud/updates.zip"}`, site.URL)
	switch place {
	case "cloud":
		w.serve(filepath.Join(w.srv, "cloud", "updates.zip"), w.archive(p))
		w.configure(`{"antivirusEngine":{"offlineDefinitionUpdate":"disabled","offlineDefinitionUpdateUrl":"` + site.ringURL() + `"},` + cloud + `}`)
	case "mirror":
		w.publish(p)
		w.configure(`{` + offlineAt(site.ringURL(), false) + `,` + cloud + `}`)
	case "other mirror":
		w.publishIn(filepath.Join(w.srv, "other", "production"), p)
		w.configure(`{` + offlineAt(site.URL+"/other/production", false) + `,` + cloud + `}`)
	}
}

// A server that asks to be left alone is left alone: by a periodic run always,
// by hand where it said so itself, and never with --now.
func TestCoolDown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what       string
		retryAfter string
		opts       agent.Options
		after      time.Duration
		code       string
		outcome    agent.Outcome
	}{
		{"by hand, asked to wait", "3600", agent.Options{}, time.Minute, "cooling_down", agent.Failed},
		{"by hand, not asked to wait", "", agent.Options{}, time.Minute, "", agent.Updated},
		{"scheduled, not asked to wait", "", agent.Options{Scheduled: true}, time.Minute, "skipped", agent.Skipped},
		{"scheduled, asked to wait", "3600", agent.Options{Scheduled: true}, 59 * time.Minute, "skipped", agent.Skipped},
		{"now", "3600", agent.Options{Now: true}, time.Minute, "", agent.Updated},
		{"scheduled and now", "3600", agent.Options{Now: true, Scheduled: true}, time.Minute, "", agent.Updated},
		{"it asked for less than the usual", "10", agent.Options{}, 11 * time.Second, "", agent.Updated},
		{"scheduled, it asked for less", "61", agent.Options{Scheduled: true}, 68 * time.Second, "", agent.Updated},
		{"after it", "3600", agent.Options{}, time.Hour, "", agent.Updated},
		{"six hours are the most", "99999999999999999999", agent.Options{}, 6 * time.Hour, "", agent.Updated},
		{"the clock was set back by days", "3600", agent.Options{}, -3 * day, "", agent.Updated},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			site := w.web()
			w.publish(pack{n: 1, issued: base.Add(-5 * day)})
			w.configure(`{` + offlineAt(site.ringURL(), false) + `,"cloudService":{"definitionUpdatesInterval":60}}`)
			site.fail(func(rw http.ResponseWriter, _ *http.Request) {
				if c.retryAfter != "" {
					rw.Header().Set("Retry-After", c.retryAfter)
				}
				rw.WriteHeader(http.StatusServiceUnavailable)
			})
			w.want(agent.Failed, "source_rate_limited")
			site.fail(nil)
			w.later(c.after)
			before := site.asked.Load()
			r := w.want(c.outcome, c.code, c.opts)
			if (site.asked.Load() == before) != (c.code != "") {
				t.Errorf("%d requests", site.asked.Load()-before)
			}
			if exits := map[agent.Outcome]int{agent.Failed: 75}; r.ExitCode() != exits[c.outcome] {
				t.Errorf("exit code %d", r.ExitCode())
			}
			if c.code != "" { // the last result stays what it was
				w.status("unavailable", "source_rate_limited")
			}
		})
	}
}

// Why the cloud is not asked stands in the report.
func TestReportSaysWhyNoCloud(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, true, "")
	w.want(agent.Failed, "source_not_found")
	data, err := health.Definitions(w.agent.Facts(context.Background())).JSON()
	must(t, err)
	if !bytes.Contains(data, []byte("agent.cloudUrl is not set")) {
		t.Errorf("the report is %s", data)
	}
}

// While a mirror is left alone, the cloud stands in: the mirror's own failure
// still shows, and the cloud is asked no more often than is due, even if it
// fails, too.
func TestCoolDownWithFallback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site, cloudURL := w.both(1)
	w.configure(`{` + offlineAt(site.ringURL(), true) + `,"agent":{"cloudUrl":"` + cloudURL + `"},"cloudService":{"definitionUpdatesInterval":600}}`)
	busy := func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Retry-After", "7200")
		rw.WriteHeader(http.StatusServiceUnavailable)
	}
	site.onRing(w, busy)
	scheduled := agent.Options{Scheduled: true}
	w.want(agent.Updated, "source_rate_limited", scheduled)
	w.later(11 * time.Minute)
	w.want(agent.UpToDate, "cooling_down", scheduled)
	w.status("up_to_date", "source_rate_limited")

	site.fail(busy)
	w.later(11 * time.Minute)
	before := site.asked.Load()
	// The mirror is left alone, which is no reason; the cloud's failure is one.
	if r := w.want(agent.Failed, "source_rate_limited", scheduled); r.Source != cloudURL {
		t.Errorf("the failure is said to be of %s", r.Source)
	}
	w.status("update_failed", "source_rate_limited")
	w.later(time.Minute)
	w.want(agent.Skipped, "skipped", scheduled) // not due
	if n := site.asked.Load() - before; n != 1 {
		t.Errorf("the cloud was asked %d times", n)
	}
}

// A mirror that takes the request and says nothing is as good as none, and not
// an interruption of this run.
func TestSilentMirror(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site, cloudURL := w.both(2)
	w.configure(`{` + offlineAt(site.ringURL(), true) + `,"agent":{"headerTimeout":1,"cloudUrl":"` + cloudURL + `"}}`)
	site.onRing(w, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	w.want(agent.Updated, "source_unreachable")
	w.has(2)
	w.status("up_to_date", "source_unreachable")
}
