package hook

import (
	"github.com/sirupsen/logrus"

	"mdatp-offline-agent/printable"
)

// tailBytes is how much of a hook's output is kept. The end of it is where
// programs say why they failed.
const tailBytes = 4 << 10

// tail keeps the end of what is written to it.
type tail struct {
	kept    []byte
	dropped int64
}

// Write takes all of b. It never fails.
func (t *tail) Write(b []byte) (int, error) {
	n := len(b)
	if over := n - tailBytes; over > 0 {
		b = b[over:]
		t.dropped += int64(over)
	}
	if over := len(t.kept) + len(b) - tailBytes; over > 0 {
		t.kept = t.kept[:copy(t.kept, t.kept[over:])]
		t.dropped += int64(over)
	}
	t.kept = append(t.kept, b...)
	return n, nil
}

// fields are what a log shows of it: escaped, since it comes from a program that
// may write anything, and with the number of bytes that are missing before it.
func (t *tail) fields() logrus.Fields {
	f := logrus.Fields{}
	if len(t.kept) > 0 {
		f["output"] = printable.Quote(string(t.kept))
	}
	if t.dropped > 0 {
		f["outputDropped"] = t.dropped
	}
	return f
}
