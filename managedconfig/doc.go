// Package managedconfig reads the product's managed configuration file and the
// agent's local one, and layers them: managed over local over defaults, key by
// key, with the origin of every value kept.
//
// # What is promised
//
// The same bytes always give the same settings, or the same error. Everything
// is bounded before it is read: a file to MaxFileSize, its nesting to MaxDepth,
// its warnings to MaxWarnings. No input panics.
//
// A key of ours that can't be used as it stands makes the whole file invalid,
// with an Error that names file, line, key, value and what is allowed: half a
// configuration is worse than the last good one. A key of ours that stands
// twice is refused for the same reason, since two readers of the file may
// take different ones.
//
// The managed file serves the whole product, so keys that are not ours are no
// business of this package: unknown keys, and duplicates among them, are
// tolerated, and only what looks like a misspelt key of ours is warned about.
// Below agent.trust and agent.hooks it is the other way round. There an unknown
// key is an error, because a misspelt restriction would be no restriction.
//
// Names are made canonical before files are layered: a misspelt key in the
// managed file beats the right spelling in the local one.
//
// [Set] and [Unset] give the bytes of a file with one key changed, checked as a whole,
// and with everything else as it was.
//
// # What is not promised
//
// The package knows no update logic: it doesn't say whether an update is due,
// whether a mirror answers, or whether a signer is to be trusted. It doesn't
// keep a last good copy; who does so hands it in with OriginLastGood. It reads
// no directory, follows no change, and writes nothing.
package managedconfig
