package mirror

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// maxTags bounds how many ETags are remembered; a mirror has a handful of files.
const maxTags = 1024

// settleTime is how long ago a file must have been changed for its ETag to be
// remembered. Within one tick of the file system's clock a file can change
// again and look the same.
const settleTime = 2 * time.Second

// maxHashing bounds the files that wait to be hashed or are. Who asks for another one
// then gets it without a tag.
const maxHashing = 64

// tags computes strong ETags, the SHA-256 of the content, and remembers them
// for as long as a file looks unchanged. Servers that make an ETag of date and
// size give two files one tag. Safe for concurrent use.
type tags struct {
	// ctx is the server's, not a request's: a file is hashed for all who ask for it,
	// also for those who come again after they lost their patience.
	ctx context.Context

	mu      sync.Mutex
	known   map[identity]string
	running map[identity]*hashing
	turns   chan struct{} // one hash at a time, so that a crowd does not hash in parallel
}

// hashing is a hash that is waited for. tag and err count once done is closed.
type hashing struct {
	done chan struct{}
	tag  string
	err  error
}

// identity is what a file's content is remembered by.
type identity struct {
	device, inode     uint64
	size              int64
	modified, changed int64 // nanoseconds since 1970
}

func newTags() *tags {
	return &tags{ctx: context.Background(), known: map[identity]string{}, running: map[identity]*hashing{}, turns: make(chan struct{}, 1)}
}

// of gives the ETag of f. Where it is not known, f's content is read from what open
// opens, the same file once more, since that may go on when ctx and f are over.
func (t *tags) of(ctx context.Context, f *os.File, open func() (*os.File, error)) (string, error) {
	id, ok := identify(f)
	if !ok {
		return "", errors.New("the file system does not say which file this is")
	}
	if tag, ok := t.lookUp(id); ok {
		return tag, nil
	}
	h, err := t.join(id, open)
	if err != nil {
		return "", err
	}
	select {
	case <-h.done:
		return h.tag, h.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// join gives the hash of a file that is under way, or begins it.
func (t *tags) join(id identity, open func() (*os.File, error)) (*hashing, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.running[id]; h != nil {
		return h, nil
	}
	if len(t.running) >= maxHashing {
		return nil, errors.New("too many files wait to be hashed")
	}
	h := &hashing{done: make(chan struct{})}
	t.running[id] = h
	go func() {
		h.tag, h.err = t.hash(id, open)
		if h.err == nil {
			t.remember(id, h.tag)
		}
		t.mu.Lock()
		delete(t.running, id)
		t.mu.Unlock()
		close(h.done)
	}()
	return h, nil
}

// hash reads a file when its turn comes, and makes sure that it is the one of id,
// before and after.
func (t *tags) hash(id identity, open func() (*os.File, error)) (string, error) {
	select {
	case t.turns <- struct{}{}:
		defer func() { <-t.turns }()
	case <-t.ctx.Done():
		return "", t.ctx.Err()
	}
	f, err := open()
	if err != nil {
		return "", err
	}
	defer f.Close()
	if is, ok := identify(f); !ok || is != id {
		return "", errors.New("the file was replaced before it was read")
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, contextReader{t.ctx, f}); err != nil {
		return "", err
	}
	if after, ok := identify(f); !ok || after != id {
		return "", errors.New("the file changed while it was read")
	}
	return `"` + hex.EncodeToString(sum.Sum(nil)) + `"`, nil
}

func (t *tags) lookUp(id identity) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tag, ok := t.known[id]
	return tag, ok
}

func (t *tags) remember(id identity, tag string) {
	// The time of change is the machine's own; that of modification is anybody's.
	if time.Since(time.Unix(0, id.changed)) < settleTime {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.known) >= maxTags {
		clear(t.known) // simple, and hashing again is all that it costs
	}
	t.known[id] = tag
}
