package source

import (
	"net/http"
	"strconv"
	"strings"
)

// part is which bytes of an object the body of a 206 has: n of them from offset
// off, of total.
type part struct{ off, n, total int64 }

// part reads which bytes the body has. It gives false where the body is not one
// plain piece of an object whose size is said, or says two things about itself.
func (a *answer) part() (part, bool) {
	if a.StatusCode != http.StatusPartialContent || a.coding() != codingNone {
		return part{}, false
	}
	if strings.HasPrefix(strings.ToLower(a.Header.Get("Content-Type")), "multipart/byteranges") {
		return part{}, false
	}
	values := a.Header.Values("Content-Range")
	if len(values) != 1 {
		return part{}, false
	}
	p, ok := parseContentRange(values[0])
	return p, ok && (a.ContentLength < 0 || a.ContentLength == p.n)
}

// unsatisfied reads how many bytes the object has from a 416, or gives false where
// it does not say. That is a hint for the next request and nothing to rely on.
func (a *answer) unsatisfied() (int64, bool) {
	values := a.Header.Values("Content-Range")
	if a.StatusCode != http.StatusRequestedRangeNotSatisfiable || len(values) != 1 {
		return 0, false
	}
	unit, total, _ := strings.Cut(values[0], " */")
	n, err := strconv.ParseUint(total, 10, 63)
	return int64(n), err == nil && n > 0 && strings.EqualFold(unit, "bytes")
}

// parseContentRange reads "bytes FIRST-LAST/TOTAL". A total that is not known
// does not do: nothing would bound the object.
func parseContentRange(s string) (part, bool) {
	unit, rest, _ := strings.Cut(s, " ")
	span, total, _ := strings.Cut(rest, "/")
	first, last, _ := strings.Cut(span, "-")
	var numbers [3]int64
	for i, digits := range []string{first, last, total} {
		n, err := strconv.ParseUint(digits, 10, 63)
		if err != nil {
			return part{}, false
		}
		numbers[i] = int64(n)
	}
	p := part{off: numbers[0], n: numbers[1] - numbers[0] + 1, total: numbers[2]}
	ok := strings.EqualFold(unit, "bytes") && numbers[0] <= numbers[1] && numbers[1] < numbers[2]
	return p, ok
}
