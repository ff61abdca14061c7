package mirror

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"mdatp-offline-agent/verifier"
)

// ledger is what is remembered of the packages of one architecture: when the content
// was seen first, and under which name it was approved. It keeps what comes back from
// looking fresh; who can write to the tree can forge it, as well as the dates of files.
type ledger struct {
	// InForce is the SHA-256, in hexadecimal, of the signed list that came into force
	// last, inside a package or beside it; of the one before, too, where a crash left it
	// open whether it did. Issued is the latest date of all that were. See superseded.
	InForce []string  `json:"inForce"`
	Issued  time.Time `json:"issued"`

	Seen []seenContent `json:"seen"` // the latest last
	Zips []string      `json:"zips"` // names under which packages were approved or promoted, and which may be there still; the latest last
}

type seenContent struct {
	Content verifier.ContentID `json:"content"`
	First   time.Time          `json:"first"`
}

const (
	maxSeen = 256
	maxZips = 64
)

// readLedger gives an empty one where there is none that can be read.
func readLedger(path string) (l ledger) {
	if readRemembered(path, &l) != nil {
		return ledger{}
	}
	// Files are removed by these names, so nothing else than ours may be among them.
	l.Zips = slices.DeleteFunc(l.Zips, func(zip string) bool { return !approvedName(zip) })
	return l
}

// approvedName tells whether a name is one that approved packages get: made of the first
// digits of a SHA-256.
func approvedName(zip string) bool {
	digits, ours := strings.CutPrefix(strings.TrimSuffix(zip, ".zip"), "updates-")
	return ours && strings.HasSuffix(zip, ".zip") && strings.Trim(digits, "0123456789abcdef") == "" && slices.Contains([]int{8, 16, 32, 64}, len(digits))
}

// lastBut is the name that was given last, other than zip; empty where there is none.
func (l ledger) lastBut(zip string) string {
	for _, name := range slices.Backward(l.Zips) {
		if name != zip {
			return name
		}
	}
	return ""
}

// first is when the content was seen first; false where it never was.
func (l ledger) first(content verifier.ContentID) (time.Time, bool) {
	for _, e := range l.Seen {
		if e.Content == content {
			return e.First, true
		}
	}
	return time.Time{}, false
}

func (l ledger) write(path string) error {
	data, err := json.Marshal(l)
	if err == nil {
		err = replace(path, data)
	}
	return fileError("what is remembered of approvals", path, err)
}

// remember notes that the content was seen by now, and, where zip is not empty,
// approved or promoted under that name.
func (place ringPlace) remember(list *verifier.List, zip string, now time.Time) error {
	l := readLedger(place.ledger())
	e := seenContent{list.Content(), now.UTC().Truncate(time.Second)}
	if list.Released.Before(e.First) {
		e.First = list.Released
	}
	if known, ok := l.first(e.Content); ok && known.Before(e.First) {
		e.First = known
	}
	l.Seen = append(slices.DeleteFunc(l.Seen, func(other seenContent) bool { return other.Content == e.Content }), e)
	l.Seen = l.Seen[max(0, len(l.Seen)-maxSeen):]
	if approvedName(zip) {
		l.Zips = append(slices.DeleteFunc(l.Zips, func(other string) bool { return other == zip }), zip)
	}
	l.Zips = l.Zips[max(0, len(l.Zips)-maxZips):]
	return l.write(place.ledger())
}
