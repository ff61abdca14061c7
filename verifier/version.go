package verifier

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Version is a version of the product's kind: four numbers, compared from left
// to right. The zero value is lower than every version that can be published.
type Version [4]uint32

// ParseVersion reads exactly four decimal numbers joined by dots, each below
// 2^32, without signs, spaces or leading zeros. There is then one spelling for
// each version, so that 1.10 and 1.010 can't be two names for one thing.
func ParseVersion(s string) (Version, error) {
	var v Version
	if len(s) > len("4294967295.4294967295.4294967295.4294967295") {
		return Version{}, broken("version is longer than four numbers can be")
	}
	parts := strings.Split(s, ".")
	if len(parts) != len(v) {
		return Version{}, broken("version has %d components, not four", len(parts))
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 32)
		if err != nil || strconv.FormatUint(n, 10) != p {
			return Version{}, broken("component %d of the version is not a plain number below 2^32", i+1)
		}
		v[i] = uint32(n)
	}
	return v, nil
}

// Compare is negative where v is older than w, positive where it is newer.
func (v Version) Compare(w Version) int {
	for i := range v {
		if c := cmp.Compare(v[i], w[i]); c != 0 {
			return c
		}
	}
	return 0
}

// IsZero tells whether v is no version at all.
func (v Version) IsZero() bool { return v == Version{} }

// String is the one spelling that ParseVersion takes.
func (v Version) String() string {
	return fmt.Sprintf("%d.%d.%d.%d", v[0], v[1], v[2], v[3])
}

// MarshalText writes the spelling of String; the zero value becomes empty text.
func (v Version) MarshalText() ([]byte, error) {
	if v.IsZero() {
		return nil, nil
	}
	return []byte(v.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (v *Version) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*v = Version{}
		return nil
	}
	parsed, err := ParseVersion(string(text))
	if err == nil {
		*v = parsed
	}
	return err
}
