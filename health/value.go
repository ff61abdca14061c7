package health

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"mdatp-offline-agent/printable"
)

// dateLayout is how the table shows times: local, without a zone.
const dateLayout = "Jan 02, 2006 at 03:04:05 PM"

// value is one value in both of its forms.
type value struct {
	text string // one line, for the table
	json any    // what encoding/json makes of it
}

// unavailable is a value that is not known.
func unavailable() value { return value{"unavailable", nil} }

func boolean(b bool) value { return value{strconv.FormatBool(b), b} }

func number(n int64) value { return value{strconv.FormatInt(n, 10), n} }

// quoted is a string, which may be empty.
func quoted(s string) value { return value{quote(s), s} }

// known is a string for which "" means that it is not known.
func known(s string) value {
	if s == "" {
		return unavailable()
	}
	return quoted(s)
}

// enabledOrDisabled is a switch that is shown as a word.
func enabledOrDisabled(on bool) value {
	if on {
		return quoted("enabled")
	}
	return quoted("disabled")
}

// status is one of the states of the definitions. JSON has it as an object with
// nothing but a type.
func status(s string) value {
	return value{quote(s), map[string]string{"$type": camel(s)}}
}

// date is a time; the zero time is not known. A nil location is the local one.
func date(t time.Time, where *time.Location) value {
	if t.IsZero() {
		return unavailable()
	}
	if where == nil {
		where = time.Local
	}
	return value{t.In(where).Format(dateLayout), strconv.FormatInt(t.UnixMilli(), 10)}
}

// list is any number of strings, none included. There are no spaces between
// them: scripts take a value to be one word.
func list(items []string) value {
	quotes := make([]string, 0, len(items))
	for _, item := range items {
		quotes = append(quotes, quote(item))
	}
	all := append([]string{}, items...) // nil would become null
	return value{"[" + strings.Join(quotes, ",") + "]", all}
}

// quote puts a string into quotes such that it can't leave its row nor its
// quotes, whatever is in it: only printable characters remain, no quote stands
// inside, and nothing looks like the separator behind a name. The result is a
// JSON string with the same meaning (but for bytes that are no UTF-8), because
// some scripts paste it into JSON as it is.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	var last rune
	for _, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r == '"', !printable.Rune(r), r == ':' && last == ' ':
			escapeRune(&b, r)
		default:
			b.WriteRune(r)
		}
		last = r
	}
	b.WriteByte('"')
	return b.String()
}

// escapeRune writes a character as JSON has it in ASCII, which takes a pair of
// surrogates beyond the first plane.
func escapeRune(b *strings.Builder, r rune) {
	if high, low := utf16.EncodeRune(r); high != unicode.ReplacementChar {
		fmt.Fprintf(b, `\u%04x\u%04x`, high, low)
		return
	}
	fmt.Fprintf(b, `\u%04x`, r)
}
