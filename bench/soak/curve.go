package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
)

// tenths is how many rows the table has.
const tenths = 10

// curve has a sample for each update.
type curve []sample

// quantity is one thing that is looked at.
type quantity struct {
	name string
	of   func(sample) int
	// grow is how much more the last tenth may have than the first; why it is not 0
	// stands at limits.
	grow int
}

// limits says what may grow, by how much.
func limits() []quantity {
	return []quantity{
		// The collector lets a heap of some 3 MiB grow to twice that before it works,
		// and gives pages back a little later: which moment of that a sample meets is
		// chance. A leak of 3 KiB for each of a thousand updates would show.
		{"resident memory, KiB", func(s sample) int { return s.resident }, 3 << 10},
		{"descriptors", func(s sample) int { return s.descriptors }, 0},
		// The runtime starts a thread when all others wait for the disk, and keeps it.
		// How many ever wait at once is bounded by what one update does at once.
		{"threads", func(s sample) int { return s.threads }, 6},
		{"goroutines", func(s sample) int { return s.goroutines }, 0},
	}
}

// tenth gives the median of a quantity in the ith tenth, from 0. A sample may meet
// a daemon that is about to close the last file of an update.
func (c curve) tenth(i int, q quantity) int {
	part := c[len(c)*i/tenths : len(c)*(i+1)/tenths]
	values := make([]int, len(part))
	for n, s := range part {
		values[n] = q.of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// seen are the quantities that could be seen.
func (c curve) seen() (list []quantity) {
	for _, q := range limits() {
		if c.tenth(0, q) > 0 {
			list = append(list, q)
		}
	}
	return list
}

// write writes the curve as a table.
func (c curve) write(out io.Writer, p plan, took time.Duration) {
	fmt.Fprintf(out, "%d changes of the configuration and %d updates in %s, %s %s/%s. Medians of each tenth.\n\n", p.changes, p.updates, took.Round(time.Second),
		runtime.Version(), runtime.GOOS, runtime.GOARCH)
	seen := c.seen()
	fmt.Fprint(out, "| updates |")
	for _, q := range seen {
		fmt.Fprintf(out, " %s |", q.name)
	}
	fmt.Fprint(out, "\n|---:|")
	for range seen {
		fmt.Fprint(out, "---:|")
	}
	for i := range tenths {
		fmt.Fprintf(out, "\n| %d |", len(c)*(i+1)/tenths)
		for _, q := range seen {
			fmt.Fprintf(out, " %d |", c.tenth(i, q))
		}
	}
	fmt.Fprint(out, "\n| may grow by |")
	for _, q := range seen {
		fmt.Fprintf(out, " %d |", q.grow)
	}
	fmt.Fprint(out, "\n\n")
}

// judge is an error where something has grown.
func (c curve) judge() (err error) {
	for _, q := range c.seen() {
		first, last := c.tenth(0, q), c.tenth(tenths-1, q)
		if last-first > q.grow {
			err = errors.Join(err, fmt.Errorf("%s: %d in the first tenth, %d in the last, which is more than %d above", q.name, first, last, q.grow))
		}
	}
	return err
}
