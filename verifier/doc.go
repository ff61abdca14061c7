// Package verifier decides whether a definition package may be trusted.
//
// # Who signs what
//
// A publisher builds a package: an archive (updates.zip) of an engine and its
// definitions. The publisher's signer — a leaf certificate for code signing,
// issued below a root that the endpoint's administrator put into the trust
// directory — signs one JSON document, the signed list. The list names the
// product, platform, architecture and rings the package is for, its versions,
// its times, and every file with its size and SHA-256. List and signature are
// one CMS object, so they cannot be torn apart:
//
//	root (trust directory) ── issues ──> [intermediate] ── issues ──> leaf
//	leaf ── signs ──> list { identity, versions, times, files } = META/package.p7m
//	list ── names ──> every byte of every file in the archive
//
// Nothing outside the list is signed, and nothing outside it is believed: not
// the archive's own names, checksums and dates, not the server's headers, not
// the unsigned manifest.json beside the archive.
//
// # What a mirror can and cannot do
//
// A mirror, or anybody on the way to it, can withhold news, serve old signed
// packages again, and waste a bounded amount of time, memory and disk. It
// cannot bring one unsigned byte into a set, nor combine files of several
// packages, nor pass a package off as one for another product, architecture or
// ring, nor walk an endpoint back below what it has already accepted. Against
// withholding there are dates: a list expires, and the report says so.
//
// # What is promised
//
// Every function here is pure: bytes, times and [Trust] in, a verdict out. No
// clock, network or file is touched; package verifier/trustdir reads the trust
// directory from disk. Every input is bounded before it is parsed ([MaxListSize]
// and its neighbours), a strict DER walk stands before the CMS library, and
// nothing is believed before it is verified. A refusal is a [Refusal]: one of a
// closed list of codes, a fixed sentence without foreign bytes, and a hint.
//
// # What is not promised
//
// Authentic is not the same as good: a publisher can sign a broken engine.
// A stolen signing key is only answered by revocation (a CRL in the trust
// directory), by pins, and by the publisher's own care. Neither the system's
// certificate bundle nor OCSP is ever asked.
package verifier
