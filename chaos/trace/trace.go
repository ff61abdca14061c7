package trace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrUnsupported says that nothing can be traced here.
var ErrUnsupported = errors.New("system calls can not be traced here")

// Command is a program to run and what to do at its system calls. The functions
// are called one at a time, by one goroutine, while the thread that makes the call
// stands still.
type Command struct {
	Path           string
	Args           []string // the program's own name first
	Env            []string
	Dir            string
	Stdout, Stderr *os.File // nil is /dev/null

	// Kind gives the kind of what a call is about. A call for which it gives nothing
	// is not stopped at and not counted.
	Kind func(Call) string
	// Before is called before a call; nil goes on.
	Before func(Point) Action
	// After is called when a call has returned, with 0 where it worked; may be nil.
	// Not every call returns.
	After func(Point, syscall.Errno)
}

// Call is one system call of some thread.
type Call struct {
	Name    string // as the kernel names it: openat, write
	Path    string // absolute, or what the kernel says of a descriptor: socket:[123]; of a rename or link, the new one
	Program string // the file that the process runs
	PID     int    // of the thread
	Child   bool   // the process is not the program itself, but one that it started
	Args    [6]uint64
}

// Point is a call in the one count over all of them.
type Point struct {
	Call
	Kind string
	N    int // from 1, over everything that was stopped at
	Seq  int // from 1, over those of the same call and kind
}

// Name is the same for the same step of another run.
func (p Point) Name() string { return fmt.Sprintf("%s %s %d", p.Call.Name, p.Kind, p.Seq) }

// Action is what to do at a point. The zero value goes on.
type Action struct {
	kill  bool
	alone bool
	errno syscall.Errno
	after bool
}

// Kill ends the whole tree by SIGKILL; the call is not made.
func Kill() Action { return Action{kill: true} }

// KillAlone ends the process that makes the call by SIGKILL, and no other; the call is
// not made.
func KillAlone() Action { return Action{kill: true, alone: true} }

// Fail makes the call fail with that error number; it is not made.
func Fail(errno syscall.Errno) Action { return Action{errno: errno} }

// FailAfter makes the call and says that it failed, as close does, which gives
// the descriptor back all the same.
func FailAfter(errno syscall.Errno) Action { return Action{errno: errno, after: true} }

// End is how the program ended.
type End struct {
	Exit    int            // its exit code; -1 where a signal ended it
	Signal  syscall.Signal // that signal, or 0
	Points  int            // how many there were
	Killed  bool           // by Kill, or by KillAlone of the program itself
	Expired bool           // because the context ended
}

// Run runs the program to its end, or that of the context, and waits for every
// process that it started. The error is ErrUnsupported, or says why the program could
// not be started or traced; how the program ended is no error.
func Run(ctx context.Context, c Command) (End, error) { return run(ctx, c) }
