package printable

import (
	"math"
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		math.MinInt64:                  "0 minutes",
		-time.Hour:                     "0 minutes",
		0:                              "0 minutes",
		59 * time.Second:               "0 minutes",
		time.Minute:                    "1 minutes",
		2*time.Hour - 1:                "119 minutes",
		2 * time.Hour:                  "2 hours",
		48*time.Hour - 1:               "47 hours",
		48 * time.Hour:                 "2 days",
		30*24*time.Hour + 23*time.Hour: "30 days",
		math.MaxInt64:                  "106751 days",
	} {
		if got := Span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
