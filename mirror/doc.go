// Package mirror is the publisher's side: it makes, signs, inspects and checks
// definition packages, and serves a tree of them.
//
// # What is promised
//
// What [Build] and [Attach] put in place, an endpoint that trusts the signer
// can install: before a package replaces the one before it, the finished file
// is read back and judged by the very functions that endpoints use. A file
// that is replaced is replaced whole or not at all, also in a crash. What would
// strand a fleet is refused before a byte is published: a list that outlives
// its signer's certificate, one that is not newer than the list it replaces, a
// version that goes back or leaps ahead.
//
// Given the same files, options and release of Go, two builds give the same
// bytes except for the signed list, which has a time and, with ECDSA, a random
// number in it. The size of a package does not show in the memory that is used.
//
// [Verify] answers as an endpoint would that has nothing installed. [Inspect]
// reports what a file claims; it believes nobody, and nothing that it says may
// be taken as a reason to trust.
//
// [Sync] fills a tree from a cloud that it does not believe: a package that is damaged,
// older, not what was announced, or, where somebody is trusted, not signed, changes
// nothing. Package and manifest of what it publishes are exchanged together.
//
// # What is not promised
//
// What [Build] writes, updates.zip and the manifest.json beside it, are two files, so a
// crash between the two leaves the older manifest; updates never ask for it. [MakeKeys] is
// for labs: its keys lie unencrypted on disk. [Serve] is a plain file server
// for small fleets and tests; the bytes it serves protect themselves by their
// signature, and it has no logins. Windows and macOS are compiled for, and nothing
// was run there.
package mirror
