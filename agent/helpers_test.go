package agent_test

import (
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/mirror"
)

// canReflink tells whether the file system of dir can clone files.
func canReflink(t testing.TB, dir string) bool {
	t.Helper()
	from, err := os.CreateTemp(t.TempDir(), "")
	must(t, err)
	defer from.Close()
	_, err = from.WriteString("x")
	must(t, err)
	to, err := os.Create(filepath.Join(t.TempDir(), "to"))
	must(t, err)
	defer to.Close()
	return unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil
}

// wantChange runs a rollback or restore, and checks the code (empty: success)
// and what is active after it (0: nothing).
func (w *world) wantChange(do func(context.Context, time.Duration) (agent.Change, error), code string, active uint32) {
	w.Helper()
	change, err := do(context.Background(), 0)
	w.wantCode(err, code)
	if err == nil && change.Definitions != name(active) {
		w.Errorf("it says that %q is active now, want %s", change.Definitions, name(active))
	}
	if active == 0 {
		if w.active() != "" {
			w.Fatalf("active is %s, want nothing", w.active())
		}
		return
	}
	w.has(active)
}

// wantCode checks the code of an error; empty is none.
func (w *world) wantCode(err error, code string) {
	w.Helper()
	got := ""
	if err != nil {
		f := agent.Explain(err)
		checkFailure(w, f)
		got = f.Code
	}
	if got != code {
		w.Fatalf("got %q (%v), want %q", got, err, code)
	}
}

// mountSmall moves the engine directory to a file system of that many megabytes.
func mountSmall(t testing.TB, w *world, megabytes int) {
	t.Helper()
	dir := w.agent.Paths.Engine
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: mounting a small file system needs root; run this test as root")
	}
	aside := dir + ".aside"
	must(t, os.Rename(dir, aside))
	must(t, os.Mkdir(dir, 0o755))
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=755", megabytes)); err != nil {
		must(t, os.Remove(dir))
		must(t, os.Rename(aside, dir))
		t.Skipf("SKIPPED: this machine does not let root mount a tmpfs (%v); run it where CAP_SYS_ADMIN is given", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	must(t, os.CopyFS(dir, os.DirFS(aside)))
}

// blockOnce serves the mirror, but lets the first answer wait for let.
func blockOnce(w *world, held, let chan struct{}) http.HandlerFunc {
	files := mirror.Handler(w.srv, nil)
	var once sync.Once
	return func(rw http.ResponseWriter, r *http.Request) {
		once.Do(func() { close(held); <-let })
		files.ServeHTTP(rw, r)
	}
}

// deflated compresses data as it stands in an archive.
func deflated(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := flate.NewWriter(&out, flate.BestSpeed)
	must(t, err)
	_, err = z.Write(data)
	must(t, err)
	must(t, z.Close())
	return out.Bytes()
}
