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

// tags computes strong ETags, the SHA-256 of the content, and remembers them
// for as long as a file looks unchanged. Servers that make an ETag of date and
// size give two files one tag. Safe for concurrent use.
type tags struct {
	mu    sync.Mutex
	known map[identity]string
	turns chan struct{} // one hash at a time, so that a crowd does not hash in parallel
}

// identity is what a file's content is remembered by.
type identity struct {
	device, inode     uint64
	size              int64
	modified, changed int64 // nanoseconds since 1970
}

func newTags() *tags {
	return &tags{known: map[identity]string{}, turns: make(chan struct{}, 1)}
}

// of gives the ETag of f. It reads the file where the tag
// is not known, and leaves its offset at the start.
func (t *tags) of(ctx context.Context, f *os.File) (string, error) {
	id, ok := identify(f)
	if !ok {
		return "", errors.New("the file system does not say which file this is")
	}
	if tag, ok := t.lookUp(id); ok {
		return tag, nil
	}
	select {
	case t.turns <- struct{}{}:
		defer func() { <-t.turns }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if tag, ok := t.lookUp(id); ok { // somebody hashed it while we waited
		return tag, nil
	}
	tag, err := hashTag(ctx, f)
	if err != nil {
		return "", err
	}
	if after, ok := identify(f); !ok || after != id {
		return "", errors.New("the file changed while it was read")
	}
	t.remember(id, tag)
	return tag, nil
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

func hashTag(ctx context.Context, f *os.File) (string, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, contextReader{ctx, f}); err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	return `"` + hex.EncodeToString(sum.Sum(nil)) + `"`, nil
}
