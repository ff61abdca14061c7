package apart

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// maxUnended is how many processes may be left behind at a time, whatever they
// were to read. Each holds a thread and a descriptor of the agent's.
const maxUnended = 8

// burial is how long the next one waits for a process that was killed: a busy
// machine takes a moment to end it, and the kernel may not be able to.
const burial = 5 * time.Second

// Unended knows the processes that live, and with that those that were killed and
// have not ended, such as one that waits in the kernel for a share whose server is
// gone. A source with one of them is not asked again before it has ended, so that a
// daemon does not gather them. The zero value is ready, and is to be shared by all
// sources, for as long as the program runs.
type Unended struct {
	mu   sync.Mutex
	live map[*process]string // and the source that each is to read
}

func (u *Unended) add(p *process, name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.live == nil {
		u.live = map[*process]string{}
	}
	u.live[p] = name
}

func (u *Unended) remove(p *process) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.live, p)
}

// inTheWay gives a process that keeps the source from being read, and why: one of
// its own that was left behind, or any where they are too many. It gives nil for none.
func (u *Unended) inTheWay(name string) (in *process, why string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for p, of := range u.live {
		if !p.given.Load() {
			continue
		}
		if of == name {
			return p, "an earlier reader of it has not ended"
		}
		in = p
		n++
	}
	if n < maxUnended {
		return nil, ""
	}
	return in, fmt.Sprintf("%d earlier readers have not ended", n)
}

// clear waits a moment until nothing is in the way. It gives why something stays
// there, or ctx has ended.
func (u *Unended) clear(ctx context.Context, name string) (why string) {
	ctx, cancel := context.WithTimeout(ctx, burial)
	defer cancel()
	for {
		p, why := u.inTheWay(name)
		if p == nil {
			return ""
		}
		select {
		case <-p.ended:
		case <-ctx.Done():
			return why
		}
	}
}
