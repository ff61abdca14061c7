package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"mdatp-offline-agent/mirror"
)

func (p *program) serveCommand() *cli.Command {
	return command(cli.Command{Name: "serve", Usage: "serve the packages below a directory by HTTP, for labs and small fleets", ArgsUsage: "DIR", Action: p.serve, Flags: []cli.Flag{
		&cli.StringFlag{Name: "listen", Value: "127.0.0.1:8000", Usage: "`ADDRESS` to listen on, host:port; port 0 picks a free one"},
		&cli.StringFlag{Name: "tls-cert", Usage: "certificate `FILE` of the server and its issuers, PEM, to speak TLS; read anew when it is renewed"},
		&cli.StringFlag{Name: "tls-key", Usage: "private key `FILE` of that certificate, PEM"},
		&cli.StringFlag{Name: "access-log", Usage: "`FILE` to write a line to for each request, in the combined format; - for stdout; SIGHUP opens it anew"},
		&cli.IntFlag{Name: "max-connections", Value: mirror.DefaultMaxConnections, Usage: "`NUMBER` of connections at a time; more of them wait"},
		boolFlag("listing", "show what is in directories"),
	}})
}

// serve serves until it is told to end. Only who has a log to go on with gets
// SIGHUP; else it ends the program with its terminal.
func (p *program) serve(c *cli.Context) error {
	if err := arguments(c, 1, "one directory"); err != nil {
		return err
	}
	if c.Int("max-connections") < 1 {
		return &usageError{"--max-connections takes a number of connections, at least one", "leave it out for the default"}
	}
	if c.String("access-log") == "-" && c.String("output") == "json" {
		return &usageError{"stdout has room for either JSON or the access log", "give --access-log a file"}
	}
	o := mirror.ServeOptions{
		Dir: c.Args().First(), Listen: c.String("listen"), Log: p.log, CertFile: c.String("tls-cert"), KeyFile: c.String("tls-key"),
		AccessLog: c.String("access-log"), Stdout: p.stdout, MaxConnections: c.Int("max-connections"), Listing: c.Bool("listing"),
		Ready: func(url string) {
			_ = p.show(c, struct {
				Type string `json:"$type"`
				URL  string `json:"url"`
			}{"mirrorServeReady", url}, func(w io.Writer) { fmt.Fprintf(w, "Serving %s at %s\n", c.Args().First(), url) })
		},
	}
	if o.AccessLog != "" {
		reopen := make(chan os.Signal, 1)
		signal.Notify(reopen, syscall.SIGHUP)
		defer signal.Stop(reopen)
		o.Reopen = reopen
	}
	return mirror.Serve(c.Context, o)
}
