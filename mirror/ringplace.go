package mirror

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// ringPlace is where approvals of one architecture lie in a ring:
//
//	RING/arch_x86_64/updates.zip             what came last
//	RING/arch_x86_64/updates-3f2a91bc.zip    what was approved, or is about to be
//	RING/arch_x86_64/updates.zip.p7m         the approval
//	RING/.approve/                           0700, ours alone: copies that have no name yet
//	RING/.approve/arch_x86_64.json           what was seen when, and approved as what; what is in force
//	RING/.approve/arch_x86_64.first.p7m      the first approval of what is approved now
type ringPlace struct{ ring, arch string }

func (p ringPlace) zip() string     { return filepath.Join(p.arch, source.PackageName) }
func (p ringPlace) sidecar() string { return filepath.Join(p.arch, source.SidecarName) }
func (p ringPlace) ledger() string  { return filepath.Join(p.work(), filepath.Base(p.arch)+".json") }
func (p ringPlace) first() string   { return filepath.Join(p.work(), filepath.Base(p.arch)+".first.p7m") }

// work lies beside what is served, so that both are on one file system.
func (p ringPlace) work() string { return filepath.Join(filepath.Dir(p.arch), ".approve") }

// openRing finds the directory of an architecture, and locks the tree against whoever
// else fills it: the lock is that of Sync and of Promote.
func openRing(ring, arch string) (ringPlace, io.Closer, error) {
	if strings.HasPrefix(filepath.Base(ring), "arch_") {
		return ringPlace{}, nil, usage("the directory is not that of a ring", "name the directory that holds arch_x86_64 or arch_arm64", nil)
	}
	if !slices.Contains(SyncArchs(), arch) { // it may be that of a list
		return ringPlace{}, nil, usage("the architecture is none that there are packages for", "give --arch x86_64 or --arch arm64", nil)
	}
	ring, err := realRing(ring)
	if err != nil {
		return ringPlace{}, nil, fileError("the ring", ring, err)
	}
	place := ringPlace{ring: ring}
	if place.arch, err = resolve(filepath.Join(ring, "arch_"+arch)); err != nil {
		return place, nil, fileError("the directory of the architecture", ring, err)
	}
	if info, err := os.Stat(place.arch); err != nil || !info.IsDir() {
		return place, nil, usage("the ring has no directory for the architecture "+arch, "check the path "+printable.Quote(ring)+" and --arch", err)
	}
	for _, dir := range []string{treeOf(ring), filepath.Dir(ring), ring, place.arch} {
		if err := refuseRoot(dir); err != nil {
			return place, nil, err
		}
	}
	lock, err := lockSync(treeOf(ring))
	return place, lock, err
}

// platformOf is the platform by a ring's path.
func platformOf(ring string) (platform string, known bool) {
	platform = filepath.Base(filepath.Dir(ring))
	return platform, platform == verifier.Linux || platform == "mac"
}

// identityIn is what endpoints are told to be that are led to a ring's directory. What its
// path does not say is as in other.
func identityIn(ring string, other verifier.Identity) verifier.Identity {
	if platform, known := platformOf(ring); known {
		other.Platform = platform
	}
	other.Ring = ringOf(ring, other.Ring)
	return other
}

// realRing is the absolute path of a ring's directory. A link leads to the ring that it
// is for: its own name and place say nothing. But where it stands in a tree for a
// directory somewhere else, whose path says less, the tree's path counts.
func realRing(path string) (string, error) {
	typed, err := filepath.Abs(path)
	if err != nil {
		return path, err
	}
	real, err := resolve(typed)
	if inTree(typed) && !inTree(real) {
		return typed, err
	}
	return real, err
}

// inTree says whether a path tells both ring and platform, as in a tree that Sync makes.
func inTree(ring string) bool {
	_, known := platformOf(ring)
	return known && ringOf(ring, "") != ""
}

// RingArchs are the architectures that a ring has a package for.
func RingArchs(ring string) (archs []string) {
	for _, arch := range SyncArchs() {
		if _, err := os.Stat(filepath.Join(ring, "arch_"+arch, source.PackageName)); err == nil {
			archs = append(archs, arch)
		}
	}
	return archs
}
