package health

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// keyWidth is the column of the table at which the separator stands. Every name
// is shorter, so that a space is left between the two.
const keyWidth = 44

// Report is one view of the endpoint's health. The zero Report has no rows.
type Report struct {
	kind string // what JSON calls $type
	rows []row  // what the table shows, in its order
	more []row  // what only JSON has, and whoever asks by name
}

// row is one named value of a report.
type row struct {
	name      string // in snake case
	value     value
	isSetting bool // configurable, hence wrapped in JSON
	managed   bool
	hidden    bool // not in the table, which JSON says of settings
}

// plain is a row that nobody configures.
func plain(name string, v value) row { return row{name: name, value: v} }

// setting is a row whose value was configured, or could be.
func setting(name string, v value, managed bool) row {
	return row{name: name, value: v, isSetting: true, managed: managed}
}

// unless keeps a setting out of the table for as long as nobody has set it.
func (r row) unless(isSet bool) row {
	r.hidden = !isSet
	return r
}

// Text gives the table: per row the name padded to 44 columns, a colon, the
// value, for managed settings a marker, and a newline.
func (r Report) Text() string {
	var b strings.Builder
	for _, row := range r.rows {
		if row.hidden {
			continue
		}
		fmt.Fprintf(&b, "%-*s: %s", keyWidth, row.name, row.value.text)
		if row.managed {
			b.WriteString(" [managed]")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Field gives the value of one row as the table shows it, but without the
// managed marker, since scripts compare it whole; strings keep their quotes.
// What the table leaves out and JSON has is found, too. It is false where the
// report has no row of that name.
func (r Report) Field(name string) (string, bool) {
	for _, row := range slices.Concat(r.rows, r.more) {
		if row.name == name {
			return row.value.text, true
		}
	}
	return "", false
}

// Fields gives the names of the table's rows in their order.
func (r Report) Fields() []string {
	names := make([]string, 0, len(r.rows))
	for _, row := range r.rows {
		if !row.hidden {
			names = append(names, row.name)
		}
	}
	return names
}

// wrapped is how JSON shows a setting.
type wrapped struct {
	DisplayValue bool `json:"displayValue"` // the table shows it
	IsManaged    bool `json:"isManaged"`
	Value        any  `json:"value"`
}

// JSON gives the report as one object on one line, without a newline at its
// end: $type first, then the names in camel case in ASCII order. Times are
// milliseconds since 1970 in a string, what is not known is null. An error
// would mean that a value can't be encoded, which no facts can bring about.
func (r Report) JSON() ([]byte, error) {
	object := map[string]any{"$type": r.kind} // maps are encoded in the order of their keys, and $ is before all letters
	for _, row := range r.rows {
		object[camel(row.name)] = row.json()
	}
	for _, row := range r.more {
		object[camel(row.name)] = row.json()
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // URLs are full of ampersands
	if err := e.Encode(object); err != nil {
		return nil, fmt.Errorf("encode the health report: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// json gives what JSON has as the row's value.
func (r row) json() any {
	if !r.isSetting {
		return r.value.json
	}
	return wrapped{DisplayValue: !r.hidden, IsManaged: r.managed, Value: r.value.json}
}

// camel turns a name in snake case into camel case.
func camel(snake string) string {
	first, rest, _ := strings.Cut(snake, "_")
	var b strings.Builder
	b.WriteString(first)
	for word := range strings.SplitSeq(rest, "_") {
		if word != "" {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}
