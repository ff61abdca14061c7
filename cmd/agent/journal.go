package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/sirupsen/logrus"
)

// Where output goes to systemd's journal, a number in front of a line is its
// level there, as in sd-daemon(3).

// journalFormat puts its level in front of each line of a formatted entry.
type journalFormat struct{ inner logrus.Formatter }

func (f journalFormat) Format(e *logrus.Entry) ([]byte, error) {
	text, err := f.inner.Format(e)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for line := range strings.Lines(string(text)) {
		fmt.Fprintf(&out, "<%d>%s", journalLevel(e.Level), line)
	}
	return out.Bytes(), nil
}

// journalLevel is syslog's number for a level.
func journalLevel(l logrus.Level) int {
	switch l {
	case logrus.PanicLevel, logrus.FatalLevel:
		return 2
	case logrus.ErrorLevel:
		return 3
	case logrus.WarnLevel:
		return 4
	case logrus.InfoLevel:
		return 6
	default:
		return 7
	}
}
