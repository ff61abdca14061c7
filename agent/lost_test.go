package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mdatp-offline-agent/agent"
)

// spoiling is one thing that may stand in a file's place.
type spoiling struct {
	what string
	do   func(w *world, path string)
}

// spoilings are what disks, tools and people make of a file.
func spoilings() []spoiling {
	random := rand.New(rand.NewPCG(11, 12))
	content := func(data []byte) func(*world, string) {
		return func(w *world, path string) { must(w, os.RemoveAll(path)); must(w, os.WriteFile(path, data, 0o600)) }
	}
	bytesOf := func(n int) []byte {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		return data
	}
	instead := func(put func(path string) error) func(*world, string) {
		return func(w *world, path string) { must(w, os.RemoveAll(path)); must(w, put(path)) }
	}
	return []spoiling{
		{"missing", func(w *world, path string) { must(w, os.RemoveAll(path)) }},
		{"empty", content(nil)},
		{"cut", func(w *world, path string) {
			if data, err := os.ReadFile(path); err == nil {
				content(data[:len(data)/2])(w, path)
			}
		}},
		{"random", content(bytesOf(500))},
		{"other JSON", content([]byte(`["a"]`))},
		{"wrong types", func(w *world, path string) {
			var fields map[string]any
			if data, err := os.ReadFile(path); err == nil && json.Unmarshal(data, &fields) == nil {
				for name := range fields {
					fields[name] = map[string]any{"a": []int{1}}
				}
			}
			data, err := json.Marshal(fields)
			must(w, err)
			content(data)(w, path)
		}},
		{"times of the future", func(w *world, path string) {
			if data, err := os.ReadFile(path); err == nil {
				content(bytes.ReplaceAll(data, []byte(`"2026-`), []byte(`"2126-`)))(w, path)
			}
		}},
		{"huge", instead(func(path string) error {
			return os.WriteFile(path, bytes.Repeat([]byte(" "), 5<<20), 0o600)
		})},
		{"deep", content(bytes.Repeat([]byte("["), 100_000))},
		{"a directory", instead(func(path string) error { return os.MkdirAll(path+"/below", 0o700) })},
		{"a pipe", instead(func(path string) error { return unix.Mkfifo(path, 0o600) })},
		{"a link to nowhere", instead(func(path string) error { return os.Symlink("nowhere", path) })},
		{"a link elsewhere", instead(func(path string) error { return os.Symlink("/etc/passwd", path) })},
	}
}

// readers asks everything that only looks, and gives the codes of what went wrong.
// Nothing may hang, or be a fault of the program.
func (w *world) readers() (codes []string) {
	w.Helper()
	w.agent.Plan(time.Time{})
	facts := w.agent.Facts(context.Background())
	if facts.Failure != nil {
		codes = append(codes, "health "+facts.Failure.Code)
	}
	_, err := w.agent.List(context.Background())
	_, wrong := w.agent.Verify(context.Background())
	for what, err := range map[string]error{"list": err, "verify": wrong} {
		if err != nil {
			checkFailure(w, agent.Explain(err))
			codes = append(codes, what+" "+agent.Explain(err).Code)
		}
	}
	slices.Sort(codes)
	return codes
}

// Whatever becomes of the files that the agent keeps, everything that looks still
// answers, nothing older than what the sets on disk prove comes in, what was lost is
// said, and updates go on.
func TestStateFilesLost(t *testing.T) {
	t.Parallel()
	for _, files := range [][]string{{"state.json"}, {"status.json"}, {"state.json", "status.json"}, {"last-good/managed.json"}, {"last-good"}} {
		t.Run(strings.Join(files, " and "), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.offline(w.ring, false, `"keep":3`)
			w.run([]step{installed(1), installed(2)})
			n := uint32(2)
			for _, s := range spoilings() {
				// n is active, n+1 was gone back from and is known bad, updates are held.
				none := strings.HasPrefix(files[0], "last-good") // nothing of that is in there
				n += 2
				w.run([]step{installed(n)})
				if !none {
					w.run([]step{installed(n + 1)})
					w.wantChange(w.agent.Rollback, "", n)
					_, err := w.agent.Hold(t.Context(), 0)
					must(t, err)
				}
				for _, file := range files {
					s.do(w, w.state(file))
				}
				if codes := w.readers(); len(codes) > 0 {
					t.Errorf("%s: %v", s.what, codes)
				}
				heldStill := w.agent.Plan(time.Time{}).Rule != ""
				w.publish(pack{n: n - 1})
				r := w.update(agent.Options{})
				w.has(n)
				said := slices.ContainsFunc(r.Notes, func(note string) bool { return strings.Contains(note, " lost; ") })
				shown := slices.ContainsFunc(w.agent.Facts(t.Context()).Notes, func(note string) bool { return strings.Contains(note, " lost; ") })
				lost := slices.Contains(files, "state.json") // or one of its times is
				if lost && !(said && shown) || none && (said || shown) {
					t.Errorf("%s: said that it was lost: %v, %v in the report; notes %v", s.what, said, shown, r.Notes)
				}
				// What is lost in one file is in the other.
				if len(files) == 1 && !none {
					if !heldStill || w.agent.Facts(t.Context()).Rule == "" {
						t.Errorf("%s: updates are not held any more, or not by the report", s.what)
					}
					w.publish(pack{n: n + 1})
					w.want(agent.Failed, "known_bad")
				}
				must(t, w.agent.Unhold(t.Context(), 0))
				for _, file := range []string{"state.json", "status.json"} {
					if !json.Valid(w.read(w.state(file))) {
						t.Errorf("%s: %s is no JSON", s.what, file)
					}
				}
			}
		})
	}
}

// Whatever stands in the place of a lock, or in it: it is taken, or an error says
// what is wrong, and neither hangs.
func TestLockFilesSpoiled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	n := uint32(0)
	for _, s := range spoilings() {
		n++
		w.run([]step{installed(n)})
		for _, file := range []string{"lock", "daemon.lock"} {
			s.do(w, w.state(file))
		}
		if codes := w.readers(); len(codes) > 0 {
			t.Errorf("%s: %v", s.what, codes)
		}
		w.publish(pack{n: n + 1})
		r := w.update(agent.Options{})
		odd := slices.Contains([]string{"a directory", "a link to nowhere", "a link elsewhere"}, s.what)
		if odd != (codeOf(r) == "install_failed") || !odd && r.FailReason != nil {
			t.Errorf("%s: the update ended with %v", s.what, r.FailReason)
		}
		unlock, err := w.agent.LockDaemon(t.Context())
		if odd != (err != nil) {
			t.Errorf("%s: the daemon's lock: %v", s.what, err)
		}
		if err == nil {
			must(t, unlock())
		}
		for _, file := range []string{"lock", "daemon.lock"} {
			must(t, os.RemoveAll(w.state(file)))
		}
		n++
		w.update(agent.Options{})
		w.has(n)
	}
}

// A file that does not say where the sets are never means that there are none.
func TestEngineDirectoryFileSpoiled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offline(w.ring, false, "")
	w.run([]step{installed(1), installed(2)})
	w.move("moved", "")
	w.later(time.Hour)
	w.want(agent.UpToDate, "")
	dir := w.engine("")
	file := w.state("engine-directory")
	text := func(text string) func(*world, string) {
		return func(w *world, path string) { must(w, os.WriteFile(path, []byte(text), 0o644)) }
	}
	for _, s := range append(spoilings(), spoiling{"two lines", text(dir + "\n" + dir + "\n")}, spoiling{"no line", text(dir)}, spoiling{"relative", text("moved\n")},
		spoiling{"unclean", text(dir + "/../moved\n")}, spoiling{"escapes", text(dir + "\x1b[31m\n")}, spoiling{"JSON", text(`"` + dir + "\"\n")},
		spoiling{"writable by others", func(w *world, path string) { must(w, os.Chmod(path, 0o666)) }}) {
		if s.what == "times of the future" {
			continue // there are none in it
		}
		s.do(w, file)
		want := fmt.Sprint([]string{"health install_failed", "list install_failed", "verify install_failed"})
		if codes := fmt.Sprint(w.readers()); codes != want {
			t.Errorf("%s: %v", s.what, codes)
		}
		if r := w.agent.Update(t.Context(), agent.Options{}); codeOf(r) != "install_failed" {
			t.Errorf("%s: the update ended with %v", s.what, r.FailReason)
		}
		_, err := w.agent.Rollback(t.Context(), 0)
		w.wantCode(err, "install_failed")
		_, err = w.agent.Repair(t.Context(), 0)
		w.wantCode(err, "install_failed")
		gone(t, w.agent.Paths.Engine)
		_, err = w.agent.SetPath(t.Context(), dir, 0)
		w.wantCode(err, "")
		w.has(2)
		w.want(agent.UpToDate, "")
		w.status("up_to_date", "")
		must(t, os.RemoveAll(file+".damaged"))
	}
	if _, err := os.Stat(filepath.Join(dir, "previous")); err != nil {
		t.Error(err)
	}
}
