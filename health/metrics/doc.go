// Package metrics writes what a health report knows as metrics of Prometheus,
// into a file that node_exporter's textfile collector reads.
//
// [Write] replaces the file as a whole, so that nobody reads half of one. Points
// in time are Unix times and never ages: an age would stay young in a file that
// nobody writes any more, which is what the reader wants to find out. No sample
// has a timestamp of its own, since the collector refuses files that have one.
//
// What is not known is left out, rather than 0. Strings become labels as they
// are, but for bytes that are no UTF-8. Names of metrics are never changed.
//
// The package does not promise that the file survives a loss of power; the next
// update writes it anew. Nor does it make directories: one with the wrong owner
// would be worse than none.
package metrics
