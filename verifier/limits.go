package verifier

import "time"

// The limits of a package, all in one place. They bound what is read before
// anything is known about who made it. Sizes are bytes.
const (
	MaxListSize     = 64 << 10     // META/package.p7m, or a sidecar
	MaxFiles        = 62           // files that a list may name
	MaxContentSize  = 2 << 30      // all files of a list together
	MaxArchiveSize  = 1 << 30      // updates.zip
	MaxEntries      = 64           // entries in the archive
	MaxDirSize      = 64 << 10     // central directory of the archive
	MaxNameLength   = 64           // a file's name
	MaxRings        = 16           // rings that a list may name
	MaxJSONDepth    = 16           // nesting of the list's JSON
	MaxCertificates = 16           // certificates inside one CMS object
	MaxTrustFile    = 8 << 20      // one file of the trust directory
	MaxTrustFiles   = 256          // files in the trust directory
	MaxPast         = 16 << 20     // all revocation lists that are kept of those it does not hold any more
	minPastRoom     = MaxPast / 64 // what each of them counts for at the least, so there are no more than 64

	// Below the least a key is weak; above the most, checking one signature takes
	// seconds (a list has room for a key of half a million bits: ten seconds).
	minRSABits = 2048
	maxRSABits = 8192
)

// ClockTolerance is how far a package's time of issue may lie ahead of the
// endpoint's time, and how far the clock may lie behind what is already known
// before it is called wrong.
const ClockTolerance = 24 * time.Hour
