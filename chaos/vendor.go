package chaos

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/chaos/invariant"
	"mdatp-offline-agent/managedconfig"
	"mdatp-offline-agent/verifier"
)

// Vendor is a vendor of packages whose files carry its own signatures, and no list.
// Nothing in this program signs as one does, so whoever wants the scenarios of the
// profiles that ask for a vendor brings one.
type Vendor struct {
	Trust    map[string][]byte        // the files of trust/vendor: the roots root.pem and time.pem, and revocation lists
	Pin      string                   // of who signs, as agent.trust.vendorPins has it
	Packages map[uint32]VendorPackage // for versions 1 and 2, whose engine is the same
}

// VendorPackage is a package of a vendor's.
type VendorPackage struct {
	Files  map[string][]byte
	At     time.Time          // the newest time stamp, which is one of definitions
	Signed verifier.ContentID // of what is signed in the files
}

// vendorScenarios are those of the profiles that ask for a vendor.
func vendorScenarios() []scenario {
	as := func(name string, prepare func(context.Context, *machine) error) scenario {
		return scenario{name: name, command: update, between: []uint32{1, 2}, active: 2, previous: 1, sets: []uint32{1, 2}, ends: []string{""}, prepare: prepare}
	}
	outdated := func(profile string) func(context.Context, *machine) error {
		return func(ctx context.Context, m *machine) error { return m.vendorOutdated(ctx, profile) }
	}
	vendor := outdated(managedconfig.ProfileVendor)
	return []scenario{
		as(managedconfig.ProfileVendor, vendor),
		as(managedconfig.ProfileListAndVendor, outdated(managedconfig.ProfileListAndVendor)),
		as("resumed-vendor", func(ctx context.Context, m *machine) error { return errors.Join(vendor(ctx, m), m.interrupt(ctx)) }),
		// The preload hook could not tell what it thinks of a set that lies there sealed. Once
		// there is no hook, that set is taken, and nothing is fetched.
		as("untested-vendor", func(ctx context.Context, m *machine) error {
			err := errors.Join(vendor(ctx, m), m.configure(`,"hooks":{"preload":{"command":["/bin/sh","-c","exit 3"]}}`))
			if err != nil {
				return err
			}
			e, err := m.runPlain(ctx, m.root, update)
			if err == nil && e.code() != "preload_failed" {
				err = fmt.Errorf("the hook at fault ends with %d %s", e.exit, e.code())
			}
			return errors.Join(err, m.configure(""))
		}),
	}
}

// vendorOutdated is a machine with version 1, on whose mirror version 2 is, under a
// profile that asks for the vendor. Its first engine needs consent, since nothing tells
// how old that is.
func (m *machine) vendorOutdated(ctx context.Context, profile string) error {
	m.profile = profile
	for name, data := range m.vendor.Trust {
		if err := m.write(trustDir+"/vendor/"+name, data); err != nil {
			return err
		}
	}
	publish := func(n uint32) error { return m.publish(ctx, n, m.vendor.Packages[n].Files) }
	if profile == managedconfig.ProfileVendor {
		publish = func(n uint32) error { return m.publishPlain(ctx, n) }
		if err := os.Remove(filepath.Join(m.root, trustDir, "root.pem")); err != nil { // nobody signs lists
			return err
		}
	}
	if err := errors.Join(m.configure(""), publish(1)); err != nil {
		return err
	}
	return errors.Join(m.take(ctx, "--allow-downgrade", version(1)), publish(2))
}

// publishPlain puts a package on the machine's ring as the vendor makes it.
func (m *machine) publishPlain(ctx context.Context, n uint32) error {
	signed := m.vendor.Packages[n]
	src, p, err := m.lay(n, signed.Files)
	if err != nil {
		return err
	}
	p.Derived, p.Issued = true, signed.At
	if p.List, err = provedBy(n, p, signed.Signed); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.archive()), 0o755); err != nil {
		return err
	}
	out, err := os.Create(m.archive())
	if err != nil {
		return err
	}
	z := zip.NewWriter(out)
	if err := errors.Join(z.AddFS(os.DirFS(src)), z.Close(), out.Close(), os.Chtimes(m.archive(), signed.At, signed.At)); err != nil {
		return err
	}
	m.published = append(m.published, p)
	return invariant.CheckVendorSignatures(ctx, filepath.Join(m.root, trustDir, "vendor"), src, p)
}

// provedBy is the list that the files of a package prove, byte for byte, as it follows
// from what the vendor signed. Whatever the program comes to write there, has to be here
// as well.
func provedBy(n uint32, p invariant.Publication, signed verifier.ContentID) ([]byte, error) {
	l := verifier.List{VendorSigned: signed, Product: "unknown", Platform: agent.Platform, Arch: agent.HostArch(), Rings: []string{"unknown"}, Definition: verifier.Version{1, 407, n, 0},
		Released: p.Issued, Issued: p.Issued, Expires: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}
	for _, name := range slices.Sorted(maps.Keys(p.Files)) {
		l.Files = append(l.Files, verifier.File{Name: name, Size: p.Files[name].Size, SHA256: p.Files[name].SHA256})
	}
	return verifier.MarshalList(&l)
}

// trustRules are the settings of the machine's profile; empty for that of lists.
func (m *machine) trustRules() string {
	if !strings.Contains(m.profile, managedconfig.ProfileVendor) {
		return ""
	}
	return fmt.Sprintf(`,"trust":{"profile":%q,"vendorPins":[%q]}`, m.profile, m.vendor.Pin)
}
