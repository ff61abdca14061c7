package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"mdatp-offline-agent/agent/reason"
	"mdatp-offline-agent/printable"
)

// program is one run of the command.
type program struct {
	stdin          *os.File
	stdout, stderr io.Writer
	paths          paths // these two are made of the global options, by prepare
	log            *logrus.Logger
	exit           int // what a command that has told its failure itself wants
}

// usageError is a command line that can't be understood.
type usageError struct{ text, hint string }

func (e *usageError) Error() string { return "usage: " + e.text }

// Reason gives the parts that are shown to the user.
func (e *usageError) Reason() (code, sentence, hint string) { return "usage", e.text, e.hint }

// errShown ends a command whose failure has been told already.
var errShown = errors.New("the failure has been shown")

// run understands the line, runs the command and gives the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	app := p.app()
	line, err := normalise(app, args[1:])
	if err == nil {
		err = app.RunContext(ctx, append([]string{app.Name}, line...))
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errShown):
		return p.exit
	}
	if p.log != nil {
		p.log.WithError(err).Debug("the command failed")
	}
	failure := reason.Explain(err)
	p.showFailure(wantsJSON(args[1:]), failure)
	return reason.ExitCode(failure.Code)
}

// showFailure is the one place where failures become text: two lines on stderr,
// or one object on stdout.
func (p *program) showFailure(asJSON bool, f interface {
	Reason() (code, sentence, hint string)
}) {
	code, sentence, hint := f.Reason()
	if asJSON {
		p.showJSON(struct {
			Type       string         `json:"$type"`
			FailReason reason.Failure `json:"failReason"`
		}{"failure", reason.Failure{Code: code, Message: sentence, Hint: hint}})
		return
	}
	fmt.Fprintf(p.stderr, "agent: %s\n", printable.Text(code+": "+sentence, maxRow))
	if hint != "" {
		fmt.Fprintf(p.stderr, "hint: %s\n", printable.Text(hint, maxRow))
	}
}

// showJSON writes one object on one line.
func (p *program) showJSON(v any) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)                                  // our own values always encode
	_, _ = p.stdout.Write(printable.JSON(out.Bytes())) // nobody reads a closed stdout
}

// show writes a result: v as JSON where that is wanted, else what text gives.
func (p *program) show(c *cli.Context, v any, text func(io.Writer)) error {
	if c.String("output") == "json" {
		p.showJSON(v)
	} else {
		text(p.stdout)
	}
	return nil
}

// prepare checks the global options and makes what all commands need of them.
func (p *program) prepare(c *cli.Context) error {
	if c.String("root") == "" {
		return &usageError{"--root is empty", "leave it out to work on this machine itself"}
	}
	if out := c.String("output"); out != "text" && out != "json" {
		return &usageError{"the output is neither text nor json", "leave --output out for text"}
	}
	root, err := filepath.Abs(c.String("root"))
	if err != nil {
		return err
	}
	p.paths = pathsBelow(root)
	p.log, err = p.logger(c)
	return err
}

func (p *program) logger(c *cli.Context) (*logrus.Logger, error) {
	log := logrus.New()
	log.SetOutput(p.stderr)
	level, err := logrus.ParseLevel(c.String("log-level"))
	if err != nil {
		return nil, &usageError{"the log level is none of error, warning, info, debug", "leave --log-level out for warning"}
	}
	log.SetLevel(level)
	if c.String("output") == "json" && !c.IsSet("log-level") {
		log.SetOutput(io.Discard) // one object is the whole answer, unless somebody asks for more
	}
	format, err := logFormat(c.String("log-format"), toJournal(p.stderr))
	if err != nil {
		return nil, err
	}
	log.SetFormatter(format)
	return log, nil
}

// wantsJSON tells, of the line as it was typed, whether JSON is wanted; it is
// needed where the line is not understood otherwise.
func wantsJSON(args []string) (want bool) {
	for i, arg := range args {
		if arg == "--" {
			break
		}
		name, inline, isOption := parseOption(arg)
		if !isOption || name != "output" {
			continue
		}
		_, value, _ := strings.Cut(arg, "=")
		if !inline && i+1 < len(args) {
			value = args[i+1]
		}
		want = value == "json"
	}
	return want
}
