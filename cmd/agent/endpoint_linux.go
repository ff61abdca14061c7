package main

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/machine"
	"mdatp-offline-agent/agent/source/apart"
)

// What the commands of an endpoint need. They are built for Linux alone, since the
// endpoint's side is; endpoint_other.go takes their place elsewhere.

type paths = agent.Paths

func pathsBelow(root string) paths { return agent.PathsBelow(root) }

// agent is this machine's.
func (p *program) agent() *agent.Agent {
	return &agent.Agent{Paths: p.paths, Arch: agent.HostArch(), Built: built(), Version: programVersion(), Now: time.Now, Log: p.log,
		Uptime: machine.ReadUptime, Identity: machine.ReadIdentity()}
}

// writer is agent for commands that write.
func (p *program) writer() (*agent.Agent, error) {
	a := p.agent()
	return a, a.BecomeOwner()
}

// serveSource is the program where the agent has started it to read a source.
func serveSource() (code int, served bool) {
	if !apart.Started() {
		return 0, false
	}
	return apart.Serve(), true
}

// readSourceCommand is for the agent itself, which starts it with descriptors of its
// own, and then it never gets as far as here.
func (p *program) readSourceCommand() *cli.Command {
	return command(cli.Command{Name: apart.Command, Usage: "read one file of a source, for the agent itself", Hidden: true, Action: func(*cli.Context) error {
		return &usageError{"the command is for the agent itself, which starts it to read a source", "agent definitions update reads the configured source"}
	}})
}

// toJournal tells whether w is the stream that systemd made for the journal.
func toJournal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	var st syscall.Stat_t
	if syscall.Fstat(int(file.Fd()), &st) != nil {
		return false
	}
	return os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
