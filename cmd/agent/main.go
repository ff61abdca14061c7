// Command agent keeps the definitions of a Linux endpoint current from a mirror
// without internet, and is the tool of whoever runs that mirror.
//
// It promises the exit codes of sysexits(3), one reason code for each failure,
// results on stdout and everything else on stderr. It holds no logic of its
// own: each command turns its flags into one call and the answer into text or
// JSON.
package main

import (
	"context"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(Main()) }

// Main runs the program with the process's arguments and gives its exit code.
func Main() int {
	if code, served := serveSource(); served {
		return code
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The HTTP library tells this logger what servers send unasked. That is bytes
	// from outside, and belongs on nobody's terminal.
	log.SetOutput(io.Discard)
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	return p.run(ctx, os.Args)
}
