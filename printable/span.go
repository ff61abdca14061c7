package printable

import (
	"fmt"
	"time"
)

// Span gives a length of time in the largest unit of which there are at least two, rounded
// down: days, hours or minutes. One that is negative counts as none.
func Span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	default:
		return fmt.Sprintf("%d minutes", max(d, 0)/time.Minute)
	}
}
