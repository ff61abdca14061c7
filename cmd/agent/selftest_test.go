package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/chaos"
)

// The sentences have nothing from outside in them, so the log is where the cause is
// found, as the hint says.
func TestSelftestCauseIsLogged(t *testing.T) {
	t.Parallel()
	for _, why := range []error{chaos.ErrWithoutFault, chaos.ErrForeign} {
		var logged bytes.Buffer
		p := &program{log: &logrus.Logger{Out: &logged, Formatter: &logrus.TextFormatter{}, Level: logrus.DebugLevel}}
		err := p.selftestFailure("disk", fmt.Errorf("%w: %w", why, errors.New("the scenario full, and why")))
		if !strings.Contains(logged.String(), "the scenario full, and why") {
			t.Errorf("%v: logged was %q", why, logged.String())
		}
		if f := agent.Explain(err); f.Code == "internal" || strings.Contains(f.Error(), "scenario") {
			t.Errorf("%v: shown is %v", why, f)
		}
	}
}
