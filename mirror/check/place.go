package check

import (
	"slices"
	"strings"
)

// The directories of a mirror, as the vendor's tools lay them out and as endpoints
// look for them: platform, ring, architecture.
func platforms() []string { return []string{"linux", "mac"} }
func rings() []string     { return []string{"production", "production_back", "preview", "preview_back"} }
func arches() []string    { return []string{"x86_64", "arm64"} }

// backSuffix is what the ring with the package before has behind its name.
const backSuffix = "_back"

// place is the directory of one package.
type place struct {
	platform string // empty where the path does not say
	ring     string // with its _back; empty where the path does not say
	arch     string // empty where the path does not say
	at       location
}

// String names the place within its mirror.
func (p place) String() string {
	var parts []string
	for _, part := range []string{p.platform, p.ring, p.arch} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return p.at.String()
	}
	return strings.Join(parts, "/")
}

// isBack tells whether the ring holds the package before.
func (p place) isBack() bool { return strings.HasSuffix(p.ring, backSuffix) }

// Level is which directory of a mirror an address leads to.
type Level string

// The levels, from the top down.
const (
	Tree         Level = "tree"         // holds linux and mac
	Platform     Level = "platform"     // holds the rings
	Ring         Level = "ring"         // holds arch_x86_64 and arch_arm64
	Architecture Level = "architecture" // holds the package
)

// reading is one way to understand a target: what would be where.
type reading struct {
	level  Level
	places []place
}

// readings gives the ways to understand a target, in the order in which to ask.
// What its name promises comes first; without that, the top does.
func (t Target) readings(only string) []reading {
	wanted := arches()
	if only != "" {
		wanted = []string{only}
	}
	if t.arch != "" {
		return []reading{{Architecture, ringPlaces(t.at, []string{t.arch})}}
	}
	var all, platform, direct reading
	all.level, platform.level, direct.level = Tree, Platform, Architecture
	for _, name := range platforms() {
		all.places = append(all.places, platformPlaces(t.at.join(name), name, wanted)...)
	}
	platform.places = platformPlaces(t.at, t.at.last(), wanted)
	direct.places = []place{{at: t.at}}
	order := []reading{all, platform, {Ring, ringPlaces(t.at, wanted)}, direct}
	if promised := promisedBy(t.at.last()); promised != "" {
		slices.SortStableFunc(order, func(a, b reading) int {
			switch {
			case a.level == promised:
				return -1
			case b.level == promised:
				return 1
			}
			return 0
		})
	}
	return order
}

// promisedBy is the level that a directory's name says, or nothing.
func promisedBy(name string) Level {
	switch {
	case slices.Contains(platforms(), name):
		return Platform
	case slices.Contains(rings(), name):
		return Ring
	}
	return ""
}

func platformPlaces(at location, platform string, arches []string) (all []place) {
	if !slices.Contains(platforms(), platform) {
		platform = ""
	}
	for _, ring := range rings() {
		all = append(all, archPlaces(at.join(ring), platform, ring, arches)...)
	}
	return all
}

// ringPlaces are those of one ring, and of the ring beside it that holds the
// package before.
func ringPlaces(at location, arches []string) []place {
	ring, platform := at.last(), at.join("..").last()
	if !slices.Contains(platforms(), platform) {
		platform = ""
	}
	all := archPlaces(at, platform, ring, arches)
	if ring != "" && !strings.HasSuffix(ring, backSuffix) {
		all = append(all, archPlaces(at.join("..", ring+backSuffix), platform, ring+backSuffix, arches)...)
	}
	return all
}

func archPlaces(at location, platform, ring string, arches []string) (all []place) {
	for _, arch := range arches {
		all = append(all, place{platform: platform, ring: shown(ring), arch: arch, at: at.join("arch_" + arch)})
	}
	return all
}
