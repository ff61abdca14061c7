package mirror

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"mdatp-offline-agent/printable"
)

// maxLog is from how many bytes on the log is put aside, as NAME.1, at the start of
// a run. It is what the vendor's script means; that one's own arithmetic makes it
// a thousand times as much.
const maxLog = 100 << 10

// maxLogLine bounds one line of the log, in bytes.
const maxLogLine = 4 << 10

// syncLog is the log at logFilePath. A nil log takes everything and keeps nothing.
type syncLog struct{ file *os.File }

// openSyncLog opens the log for appending. The default place is one where every
// user may write, so what somebody else put there is refused: a link, a file that
// belongs to another user, anything that is no regular file.
func openSyncLog(path string) (*syncLog, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := openOwnLog(path, 0o644)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil || info.Size() <= maxLog {
		return &syncLog{f}, err
	}
	// By one rename: the log is never half of itself, and whoever reads it reads on.
	if err := errors.Join(f.Close(), os.Rename(path, path+".1")); err != nil {
		return nil, err
	}
	if f, err = openOwnLog(path, 0o644); err != nil {
		return nil, err
	}
	return &syncLog{f}, nil
}

// openOwnLog opens a regular file of this user's to append to it, or makes it with
// that mode. It is never a link, a pipe, or a file that has a second name: what
// somebody else has put there would make us write elsewhere.
func openOwnLog(path string, mode fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|noFollow, mode)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || !ours(info)) {
		err = fmt.Errorf("%w: it is no regular file of this user", fs.ErrPermission)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// printf writes one line, with the time before it. That a line can't be written
// keeps no definitions from coming.
func (l *syncLog) printf(format string, args ...any) {
	if l == nil {
		return
	}
	line := printable.Text(fmt.Sprintf(format, args...), maxLogLine)
	_, _ = fmt.Fprintf(l.file, "%s %s\n", time.Now().UTC().Format(time.RFC3339), line)
}

func (l *syncLog) close() {
	if l != nil {
		l.file.Close()
	}
}
