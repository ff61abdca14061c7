package managedconfig

import "strings"

// suggest finds what the unknown key at p may have been meant to be, or gives
// ok=false. It compares with names only, and only in sections of ours: the same
// name elsewhere in the file is the product's own business.
func suggest(p place) (right place, ok bool) {
	for _, k := range keys {
		switch same := strings.EqualFold(p.name, k.name); {
		case same && p.section != k.section: // the right key in the wrong section
			right, ok = k.place, true
		case p.section == k.section && (same || near(p.name, k.name)):
			return k.place, true
		case p.String() == k.String(): // "agent.trust.signers" as one name
			return k.place, true
		}
	}
	for _, s := range sections {
		here := p.section == s.section && (strings.EqualFold(p.name, s.name) || near(p.name, s.name))
		if here || p.String() == s.String() {
			return s, true
		}
	}
	return right, ok
}

// failsOpen tells whether the key at p was meant to restrict trust or hooks, so
// that ignoring it would be dangerous. Outside of agent it may still be a key
// of the product that only looks like one of ours.
func failsOpen(p, meant place) bool {
	return strings.HasPrefix(p.String(), "agent.") && (closed(meant.section) || closed(meant.String()))
}

// near tells whether a few slips of the finger lie between two names. Short
// names get one only, or they would be near to everything. Case is not counted.
func near(a, b string) bool {
	const long = 8
	slips := 1
	if len(b) >= long {
		slips = 2
	}
	if d := len(a) - len(b); d > slips || -d > slips {
		return false // and nothing long is ever compared
	}
	return distance(strings.ToLower(a), strings.ToLower(b)) <= slips
}

// distance counts the bytes to insert, remove, replace or swap with their
// neighbour to get from a to b.
func distance(a, b string) int {
	older, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], older[j-2]+1)
			}
		}
		older, prev, cur = prev, cur, older
	}
	return prev[len(b)]
}
