package mirror

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// maxLogField is how much of one field a line of the access log shows, in bytes, so
// that nobody fills the disk by asking for long names.
const maxLogField = 1 << 10

// accessLog has a line for each request in the form that Apache and nginx call
// combined, so that what reads their logs reads this one. Safe for concurrent use.
type accessLog struct {
	path string // empty where it is no file

	mu sync.Mutex
	to io.Writer
}

// openAccessLog opens the file at path to append to it.
func openAccessLog(path string) (*accessLog, error) {
	f, err := openLogFile(path)
	if err != nil {
		return nil, err
	}
	return &accessLog{path: path, to: f}, nil
}

func openLogFile(path string) (*os.File, error) {
	f, err := openOwnLog(path, 0o640)
	if err != nil {
		return nil, fileError("the access log or its directory", path, err)
	}
	return f, nil
}

// reopen goes on in a new file of the same name, after the old one was renamed.
// Where there can be none it goes on in the old one.
func (l *accessLog) reopen() error {
	if l == nil || l.path == "" {
		return nil
	}
	f, err := openLogFile(l.path)
	if err != nil {
		return err
	}
	l.mu.Lock()
	old := l.to
	l.to = f
	l.mu.Unlock()
	return closeLog(old)
}

func (l *accessLog) close() error {
	if l == nil || l.path == "" {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return closeLog(l.to)
}

func closeLog(to io.Writer) error {
	if f, ok := to.(*os.File); ok {
		return f.Close()
	}
	return nil
}

// note writes the line of one request. A line that can't be written changes nothing
// about the answer; a nil log writes none.
func (l *accessLog) note(r *http.Request, at time.Time, status int, bytes int64) {
	if l == nil {
		return
	}
	line := combined(r, at, status, bytes)
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = io.WriteString(l.to, line)
}

// combined is the line of one request.
func combined(r *http.Request, at time.Time, status int, bytes int64) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = "-"
	}
	return fmt.Sprintf("%s - - [%s] \"%s %s %s\" %d %d \"%s\" \"%s\"\n", host, at.Format("02/Jan/2006:15:04:05 -0700"),
		logged(r.Method), logged(r.RequestURI), logged(r.Proto), status, bytes, orDash(r.Referer()), orDash(r.UserAgent()))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return logged(s)
}

// logged escapes what a client sent as nginx does: a line stays a line, quotes don't
// end a field, and no terminal takes it for orders.
func logged(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if b.Len() >= maxLogField {
			b.WriteString("...")
			break
		}
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			fmt.Fprintf(&b, "\\x%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
