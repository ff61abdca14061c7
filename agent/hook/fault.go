package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Fault is why a hook gave no verdict. It condemns nothing.
type Fault struct {
	Sentence string // what happened, with the hook as "it", in one line without a full stop
	Hint     string // what to do
	Err      error  // cause, for the log; may be nil, and may hold bytes from outside
}

// Error gives the sentence, and the cause where there is one.
func (f *Fault) Error() string {
	s := "the hook is at fault: " + f.Sentence
	if f.Err != nil {
		s += " (" + f.Err.Error() + ")"
	}
	return s
}

// Unwrap gives the cause, or nil.
func (f *Fault) Unwrap() error { return f.Err }

func notAbsolute() error {
	return &Fault{"its program is not named by an absolute path",
		"begin the hook's command with the absolute path of a program", nil}
}

// notRun is for a hook that could not be started.
func notRun(err error) error {
	hint := "look into the log for the cause, and run the hook's command by hand as the agent's user"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint = "check that the hook's program exists, and the interpreter that its first line names"
	case errors.Is(err, fs.ErrPermission):
		hint = "make the hook's program a file that the agent's user may execute, on a file system without noexec"
	case errors.Is(err, syscall.ENOEXEC):
		hint = "begin the hook's script with the line that names its interpreter, such as #!/bin/sh"
	}
	return &Fault{"it could not be run", hint, err}
}

func notLimited(err error) error {
	return &Fault{"its limits could not be set",
		"let the hook's program run as the agent's user, without a change of user on its file", err}
}

func notWatched(err error) error {
	return &Fault{"its processes could not be watched",
		"give the agent a proc file system in which it sees its own processes", err}
}

func tooLong(timeout time.Duration) error {
	return &Fault{fmt.Sprintf("it ran longer than %g seconds", timeout.Seconds()),
		"make the hook faster, or give it more time with timeoutSeconds", nil}
}

func notKilled() error {
	return &Fault{"it could not be killed",
		"look for what keeps the hook's process in the kernel, such as a network file system that does not answer", nil}
}

func leftBehind() error {
	return &Fault{"it left processes behind",
		"let the hook wait for everything that it starts, and leave services to systemd", nil}
}

// verdict reads how the main process ended.
func verdict(state *os.ProcessState) (Verdict, error) {
	status, _ := state.Sys().(syscall.WaitStatus) // always is one, on Linux
	switch {
	case status.Signaled():
		return 0, killedBy(status.Signal())
	case status.ExitStatus() == 0:
		return Good, nil
	case status.ExitStatus() == 1:
		return Condemned, nil
	}
	return 0, &Fault{fmt.Sprintf("it ended with exit code %d", status.ExitStatus()),
		"let the hook end with 0 for a good set and with 1 for a bad one; the log shows what it wrote", nil}
}

func killedBy(signal syscall.Signal) error {
	name := unix.SignalName(signal)
	if name == "" {
		name = fmt.Sprintf("signal %d", int(signal)) // a real-time signal has no name
	}
	hint := "look into the log for what the hook wrote before"
	if signal == syscall.SIGKILL {
		hint = "look into the kernel's log whether memory ran out, and give the hook or the machine more"
	}
	return &Fault{"it was killed by " + name, hint, nil}
}
