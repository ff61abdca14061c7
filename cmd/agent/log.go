package main

import (
	"maps"

	"github.com/sirupsen/logrus"

	"mdatp-offline-agent/printable"
)

// maxLogged is how much a log shows of one field, in bytes.
const maxLogged = 16 << 10

// logFormat gives the format of that name, for the journal or another place.
func logFormat(name string, journal bool) (logrus.Formatter, error) {
	var format logrus.Formatter
	switch name {
	case "text":
		// The journal has times of its own.
		format = &logrus.TextFormatter{DisableColors: true, FullTimestamp: true, DisableTimestamp: journal}
	case "json":
		format = &logrus.JSONFormatter{DisableHTMLEscape: true}
	default:
		return nil, &usageError{"the log format is neither text nor json", "leave --log-format out for text"}
	}
	format = printableFormat{format}
	if journal {
		format = journalFormat{format}
	}
	return format, nil
}

// printableFormat makes what an entry says fit to be shown. Causes of failures
// quote certificates, servers and file systems in the words of libraries, and this
// is where those enter.
type printableFormat struct{ inner logrus.Formatter }

func (f printableFormat) Format(e *logrus.Entry) ([]byte, error) {
	shown := *e
	shown.Message = printable.Text(e.Message, maxLogged)
	shown.Data = maps.Clone(e.Data)
	for name, value := range e.Data {
		switch v := value.(type) {
		case string:
			shown.Data[name] = printable.Text(v, maxLogged)
		case error:
			shown.Data[name] = printable.Text(v.Error(), maxLogged)
		}
	}
	return f.inner.Format(&shown)
}
