package apart_test

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/apart"
	"mdatp-offline-agent/agent/source/sourcetest"
)

// silent is a file system that does not say what it has, until it is let go. Who asks
// it can't be ended by anybody.
type silent struct {
	fs.Inode
	release chan struct{}
}

// Lookup waits.
func (s *silent) Lookup(context.Context, string, *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	<-s.release
	return nil, syscall.ENOENT
}

// newSilent mounts one.
func newSilent(t *testing.T) (dir string, release func()) {
	t.Helper()
	dir = t.TempDir()
	s := &silent{release: make(chan struct{})}
	server, err := fs.Mount(dir, s, &fs.Options{MountOptions: fuse.MountOptions{DirectMount: true, FsName: "silent"}})
	if err != nil {
		t.Skipf("SKIPPED: nothing can be mounted by FUSE here (it takes root), so nobody tests a process that can not be ended: %v", err)
	}
	released := false
	release = func() {
		if !released {
			released = true
			close(s.release)
		}
	}
	t.Cleanup(func() {
		release()
		eventually(t, "what hung is gone", func() bool { return len(sourcetest.Readers(t)) == 0 })
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return dir, release
}

// descriptors is how many this process has.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// A process that can't be ended is one for its source, however often that is tried,
// and some in all. What they hold is nothing but that.
func TestUnended(t *testing.T) {
	dir, release := newSilent(t)
	var unended apart.Unended
	hangs := func(dir, why string) {
		t.Helper()
		_, err := apart.New(apart.Config{Dir: dir, Unended: &unended, Timeouts: source.Timeouts{Stall: 2 * time.Second}}).Open(t.Context(), small())
		sourcetest.WantReason(t, err, source.CodeStalled)
		if _, sentence, _ := reason(err); !strings.Contains(sentence, why) {
			t.Errorf("the sentence is %q", sentence)
		}
	}
	before := descriptors(t)
	hangs(dir, "too little came from "+dir)
	// Had the process ended, this would say the same as before.
	hangs(dir, "nothing is read from "+dir+", since an earlier reader of it has not ended")
	// Other names of the same directory stand for other sources.
	for n := 1; n < apart.MaxUnended; n++ {
		hangs(dir+strings.Repeat("/", n), "too little came from "+dir)
	}
	hangs(dir+"/.", "since 8 earlier readers have not ended")
	// One whose first thread has ended is not seen among them.
	if n := len(sourcetest.Readers(t)); n > apart.MaxUnended {
		t.Errorf("%d processes were left behind", n)
	}
	// The kernel's handle of each process is what Go waits by.
	if n := descriptors(t) - before; n > apart.MaxUnended {
		t.Errorf("they hold %d descriptors of the agent's", n)
	}
	release()
	eventually(t, "what hung is gone", func() bool { return len(sourcetest.Readers(t)) == 0 })
	_, err := apart.New(apart.Config{Dir: dir, Unended: &unended}).Open(t.Context(), small())
	if !source.NotThere(err) {
		t.Errorf("let go, it gives %v", err)
	}
}
