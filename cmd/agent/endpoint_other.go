//go:build !linux

package main

import (
	"io"

	"github.com/urfave/cli/v2"
)

// A mirror may stand on any system, an endpoint is Linux. Here the endpoint's
// commands are in the tree to say so.

func (p *program) definitionsCommand() *cli.Command  { return onLinux("definitions") }
func (p *program) healthCommand() *cli.Command       { return onLinux("health") }
func (p *program) connectivityCommand() *cli.Command { return onLinux("connectivity") }
func (p *program) configCommand() *cli.Command       { return onLinux("config") }
func (p *program) runCommand() *cli.Command          { return onLinux("run") }
func (p *program) selftestCommand() *cli.Command     { return onLinux("selftest") }

func (p *program) readSourceCommand() *cli.Command {
	c := onLinux("read-source")
	c.Hidden = true
	return c
}

// paths has the endpoint's, of which there are none.
type paths struct{ Root, Trust string }

func pathsBelow(root string) paths { return paths{Root: root} }

func serveSource() (code int, served bool) { return 0, false }

func toJournal(io.Writer) bool { return false }
