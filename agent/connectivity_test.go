package agent_test

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/source/sourcetest"
	"mdatp-offline-agent/mirror"
)

// tested runs a test of the sources, of which the first is given back.
func (w *world) tested() agent.Tested {
	w.Helper()
	found, err := w.agent.TestConnectivity(w.Context(), time.Minute)
	must(w, err)
	if failed := found.State == agent.TestFailed; failed != (found.FailReason != nil) {
		w.Errorf("the state is %s, and the reason %v", found.State, found.FailReason)
	}
	for _, t := range found.Tests {
		if (t.State == agent.TestOK) != (len(t.Findings) == 0) {
			w.Errorf("the state is %s, with %v", t.State, t.Findings)
		}
		for _, f := range t.Findings {
			checkFailure(w, &agent.Failure{Code: f.Code, Message: f.Message, Hint: f.Hint})
		}
	}
	return found.Tests[0]
}

// code is that of the first finding; empty where there is none, or a warning.
func code(t agent.Tested) string {
	if len(t.Findings) == 0 {
		return ""
	}
	return t.Findings[0].Code
}

// What a test says of a package is what an update then does with it.
func TestConnectivityTellsWhatAnUpdateWouldDo(t *testing.T) {
	t.Parallel()
	_, stranger := newSigner(t)
	yesterday := base.AddDate(0, 0, -1)
	for what, c := range map[string]struct {
		does  func(*world)
		stage string
		code  string
	}{
		"a good one":             {publish(pack{n: 2}), "", ""},
		"the same":               {publish(pack{n: 1}), "", ""},
		"nothing":                {func(w *world) { w.drop("updates.zip") }, "path", "source_not_found"},
		"text":                   {func(w *world) { w.serve(w.object("updates.zip"), []byte(strings.Repeat("text ", 100))) }, "package", "not_a_package"},
		"an older one":           {publish(pack{n: 0}), "package", "rollback_refused"},
		"another signer":         {publish(pack{n: 2, signer: &stranger}), "signature", "signer_untrusted"},
		"another product":        {publish(pack{n: 2, product: "other"}), "package", "wrong_product"},
		"another architecture":   {publish(pack{n: 2, arch: "arm64"}), "package", "wrong_platform"},
		"of the future":          {publish(pack{n: 2, issued: base.AddDate(0, 0, 3)}), "package", "issued_in_future"},
		"no list":                {publish(pack{n: 2, bare: true}), "signature", "signature_missing"},
		"a list with other keys": {publish(pack{n: 2, list: func([]byte) []byte { return []byte(`{"type":"mdatp-definitions/1"}`) }}), "signature", "list_malformed"},
		"another archive beside": {func(w *world) {
			w.serve(w.object("updates.zip"), w.archive(pack{n: 2, bare: true}))
			w.serve(w.object("updates.zip.p7m"), w.sign(pack{n: 3, files: map[string]string{"other.vdm": "x"}}))
		}, "package", "content_mismatch"},
		"a sidecar": {func(w *world) {
			w.serve(w.object("updates-2.zip"), w.archive(pack{n: 2, bare: true}))
			w.serve(w.object("updates.zip"), w.archive(pack{n: 3, bare: true}))
			w.serve(w.object("manifest.json"), []byte(`{"EngineVersion":"1.1.24080.9","DefinitionVersion":"1.407.3.0"}`)) // of the one that nobody approved
			w.serve(w.object("updates.zip.p7m"), w.sign(pack{n: 2, zip: "updates-2.zip"}))
		}, "", ""},
		"a sidecar of nothing": {func(w *world) {
			w.serve(w.object("updates.zip"), w.archive(pack{n: 3, bare: true}))
			w.serve(w.object("updates.zip.p7m"), w.sign(pack{n: 2, zip: "updates-2.zip"}))
		}, "path", "source_not_found"},
		"stale": {func(w *world) { w.later(8 * day); w.publish(pack{n: 1}) }, "package", "source_stale"},
		"expired, and the first": {func(w *world) {
			w.agent.Paths = agent.PathsBelow(w.TempDir())
			w.trust("root.pem", w.read(w.keys.Root))
			w.offline(w.ring, false, "")
			w.publish(pack{n: 2, issued: yesterday, expires: yesterday.Add(time.Hour)})
		}, "package", "package_expired"},
		"nobody is trusted": {func(w *world) { w.agent.Paths.Trust = w.TempDir() }, "signature", "trust_empty"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.publish(pack{n: 1})
			w.offline(w.ring, false, "")
			w.want(agent.Updated, "")
			c.does(w)
			got := w.tested()
			if code(got) != c.code || c.code != "" && got.Findings[0].Stage != c.stage {
				t.Errorf("the test found %+v, want %s at %s", got.Findings, c.code, c.stage)
			}
			if r := w.update(agent.Options{}); codeOf(r) != c.code {
				t.Errorf("the update ended with %v, and the test with %s", r.FailReason, c.code)
			}
		})
	}
}

// After a sidecar, an archive that is not there, or that is none, is nothing that
// matters, for a test no more than for an update.
func TestConnectivityOfSidecars(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve(w.object("updates-1.zip"), w.archive(pack{n: 1, bare: true}))
	w.serve(w.object("updates.zip"), w.archive(pack{n: 1, bare: true}))
	w.serve(w.object("updates.zip.p7m"), w.sign(pack{n: 1, zip: "updates-1.zip"}))
	w.offline(w.ring, false, "")
	w.want(agent.Updated, "")
	w.serve(w.object("updates.zip"), []byte("the next one, half of it"))
	if got := w.tested(); got.State != agent.TestOK || *got.Verdict != "upToDate" {
		t.Errorf("%s, %v", got.State, got.Findings)
	}
}

// No more of a package comes than its end, and no request has a condition: what was
// seen before is no proof that the source has it still.
func TestConnectivityReadsEndsOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(pack{n: 1, files: map[string]string{"base.vdm": strings.Repeat("x", 1<<20)}})
	s := w.web()
	w.offline(s.ringURL(), false, "")
	w.want(agent.Updated, "")
	files := mirror.Handler(w.srv, nil)
	sent := make(chan int, 100)
	s.fail(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") != "" {
			t.Error("a request has a condition")
		}
		counted := &countedAnswer{ResponseWriter: rw}
		files.ServeHTTP(counted, r)
		sent <- counted.n
	})
	if got := w.tested(); *got.Definitions != name(1) || *got.Verdict != "upToDate" {
		t.Errorf("%+v", got)
	}
	sum := 0
	for len(sent) > 0 {
		sum += <-sent
	}
	if sum == 0 || sum > 64<<10 {
		t.Errorf("%d bytes came", sum)
	}
}

// countedAnswer counts the bytes of a body.
type countedAnswer struct {
	http.ResponseWriter
	n int
}

func (c *countedAnswer) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n += n
	return n, err
}

// What is old is installed all the same, and yet something is wrong.
func TestConnectivityFindsOldPackages(t *testing.T) {
	t.Parallel()
	for says, p := range map[string]pack{
		"list of the newest package there ended at 2026-10-30T12:00:00Z": {n: 2, issued: base.AddDate(0, 0, -5), expires: base.AddDate(0, 0, -2)},
		"was released 30 days ago,":                                      {n: 2, released: base.AddDate(0, 0, -30)},
	} {
		w := newWorld(t)
		w.publish(pack{n: 1})
		w.offline(w.ring, false, "")
		w.want(agent.Updated, "")
		w.publish(p)
		if got := w.tested(); code(got) != "source_stale" || !strings.Contains(got.Findings[0].Message, says) || *got.Verdict != "install" {
			t.Errorf("%+v", got)
		}
		w.want(agent.Updated, "")
	}
}

// A server that fails is asked once. Somebody waits for the answer.
func TestConnectivityTriesOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.web()
	s.fail(statusCode(http.StatusInternalServerError))
	w.offline(s.ringURL(), false, "")
	if got := w.tested(); code(got) != "source_unreachable" || got.Findings[0].Stage != "http" || s.asked.Load() != 1 {
		t.Errorf("%d requests, %+v", s.asked.Load(), got.Findings)
	}
}

// Where the sets lie is not known, and the way is tested all the same.
func TestConnectivityWithoutTheSets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(pack{n: 1})
	w.offline(w.ring, false, "")
	w.write(filepath.Join(w.agent.Paths.State, "engine-directory"), []byte("/not/mounted\n"))
	found, err := w.agent.TestConnectivity(t.Context(), time.Minute)
	must(t, err)
	if found.State != agent.TestOK || !strings.Contains(strings.Join(found.Notes, "\n"), "what is installed can not be compared, since ") {
		t.Errorf("%+v", found)
	}
}

// stalls tests the sources for so long, and wants to be told that it was too long.
func (w *world) stalls(within time.Duration) {
	w.Helper()
	found, err := w.agent.TestConnectivity(w.Context(), within)
	if err != nil { // also on a machine so slow that it did not even begin
		found.FailReason = agent.Explain(err)
	}
	if found.FailReason == nil || found.FailReason.Code != "source_stalled" {
		w.Errorf("it ended with %+v, %v", found, err)
	}
}

// Whatever hangs, a test ends in time, and who stops it does not wait.
func TestConnectivityEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(pack{n: 1})
	came := make(chan struct{}, 100)
	s := w.web()
	s.fail(func(_ http.ResponseWriter, r *http.Request) {
		came <- struct{}{}
		<-r.Context().Done()
	})
	w.offline(s.ringURL(), false, "")
	w.stalls(time.Second)

	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-came; cancel() }()
	if _, err := w.agent.TestConnectivity(ctx, time.Hour); !errors.Is(err, context.Canceled) || agent.Explain(err).Code != "interrupted" {
		t.Errorf("stopped, it ended with %v", err)
	}
}

// A share whose server is gone holds nobody up, be it the mirror or this machine's own.
func TestConnectivityOfDeadMounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(pack{n: 1})
	m := sourcetest.NewMount(t, w.srv)
	w.offline(filepath.Join(m.Dir, "linux", "production"), false, `"stallTimeout":5`)
	m.Die()
	got := w.tested()
	if code(got) != "source_stalled" || got.Findings[0].Stage != "path" || !strings.Contains(got.Findings[0].Hint, "mount") {
		t.Errorf("%+v", got.Findings)
	}
	m.Revive()

	local := sourcetest.NewMount(t, w.agent.Paths.Root)
	w.agent.Paths = agent.PathsBelow(local.Dir)
	local.Die()
	w.stalls(time.Second)
}
