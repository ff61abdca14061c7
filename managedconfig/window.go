package managedconfig

import (
	"fmt"
	"regexp"
	"strconv"
)

// Window is a part of every day by the clock on the wall, from From to before To,
// both in minutes since midnight. Where To comes first, it goes on past midnight.
// The zero Window is the whole day.
type Window struct{ From, To int }

// IsZero tells that there is no limit.
func (w Window) IsZero() bool { return w == Window{} }

// Contains tells whether a minute of the day lies in the window.
func (w Window) Contains(minute int) bool {
	if w.From < w.To {
		return w.From <= minute && minute < w.To
	}
	return w.IsZero() || minute >= w.From || minute < w.To
}

// UntilOpen is how many minutes it is from a minute of the day until the window is open,
// where no clock changes; zero in the window.
func (w Window) UntilOpen(minute int) int {
	if w.Contains(minute) {
		return 0
	}
	return (w.From - minute + minutesOfDay) % minutesOfDay
}

// UntilClosed is likewise until it is closed; zero outside.
func (w Window) UntilClosed(minute int) int {
	if !w.Contains(minute) {
		return 0
	}
	return (w.To - minute + minutesOfDay) % minutesOfDay
}

// SinceOpen is how many minutes before one in the window it was opened.
func (w Window) SinceOpen(minute int) int { return (minute - w.From + minutesOfDay) % minutesOfDay }

const minutesOfDay = 24 * 60

// String gives the form that the configuration has, empty for the zero Window.
func (w Window) String() string {
	if w.IsZero() {
		return ""
	}
	return fmt.Sprintf("%02d:%02d-%02d:%02d", w.From/60, w.From%60, w.To/60, w.To%60)
}

// shortestWindow is the length, in minutes, below which a timer that looks now and
// then could miss the window every day.
const shortestWindow = 15

var windowForm = regexp.MustCompile(`^([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])$`)

func readWindow(l literal) (Window, remark, *Error) {
	text, _ := l.value.(string)
	refused := refuse(l, fmt.Sprintf("a part of the day like 22:00-05:30, in local time, of %d minutes or more", shortestWindow),
		"write two times of 24 hours with a hyphen between them, or remove the key to allow updates at all times")
	m := windowForm.FindStringSubmatch(text)
	if m == nil {
		return Window{}, remark{}, refused
	}
	minute := func(i int) int {
		hours, _ := strconv.Atoi(m[i]) // digits, by the form
		minutes, _ := strconv.Atoi(m[i+1])
		return 60*hours + minutes
	}
	w := Window{From: minute(1), To: minute(3)}
	if (w.To-w.From+minutesOfDay)%minutesOfDay < shortestWindow {
		return Window{}, remark{}, refused
	}
	return w, remark{}, nil
}
