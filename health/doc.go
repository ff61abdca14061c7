// Package health says how the definitions of this endpoint are, in words that
// people read and in forms that programs parse.
//
// [Definitions], [Features] and [Summary] turn [Facts] into a [Report], which
// renders itself as a table, as JSON, or as the bare value of one field:
//
//	r := health.Definitions(facts)
//	fmt.Print(r.Text())
//
// # What is promised
//
// The package is pure: it reads no clock and no file, so the same facts always
// give the same bytes (in the local time zone, unless they name one). Names,
// order, widths and quoting are those that scripts written for mdatp on Linux
// rely on, and they are kept: the table of definitions always has the same
// twelve rows, each on one line; a key of JSON is never renamed, though new
// keys may be added.
//
// Nothing is made up. What is not known is shown as unavailable (null in JSON),
// and what this agent does not do, such as real-time protection, is reported as
// off.
//
// # What is not promised
//
// The report is as true as its facts: whether the installed set is whole and
// its signature holds is found out by who gathers them. Nothing is redacted
// either; a password that stands in the configured URL is shown.
package health
