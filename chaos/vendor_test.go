package chaos

import (
	"bytes"
	"debug/elf"
	"runtime"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

// newVendor is a vendor whose packages are half as large as those that are made for most
// other scenarios, since they are read several times over.
func newVendor(t testing.TB) *Vendor {
	t.Helper()
	v := sigtest.New(t)
	at := issued(1)
	v.Signer(t, "stranger", at.AddDate(-1, 0, 0), at.AddDate(1, 0, 0))
	vendor := &Vendor{Pin: v.Issuer().String() + ":eku:" + sigtest.Usage, Packages: map[uint32]VendorPackage{},
		Trust: map[string][]byte{"root.pem": v.Root, "time.pem": v.TimeRoot, "issuer.crl": v.Revoke(t, "stranger")}}
	engine := sigtest.Engine(map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH], string(noise(engineFile, engineSize/2)))
	beside := v.Beside(t, "vendor", engine)
	for _, n := range []uint32{1, 2} {
		at, files := issued(n), map[string][]byte{engineFile: engine, engineFile + ".sig": beside}
		for name, size := range fileSizes {
			version := verifier.Version{1, 407, n, 0}
			if strings.HasSuffix(name, "base.vdm") {
				version[2] = 0
			}
			if strings.HasSuffix(name, ".vdm") {
				files[name] = v.Definitions(t, "vendor", name, version, string(noise(version.String()+name, size)), at)
			}
		}
		vendor.Packages[n] = VendorPackage{files, at, signedIn(t, vendor, files, at)}
	}
	return vendor
}

// signedIn identifies what the vendor signed in the files, as who looks at them at that
// time finds it.
func signedIn(t testing.TB, vendor *Vendor, files map[string][]byte, at time.Time) verifier.ContentID {
	t.Helper()
	trust, err := verifier.NewTrust([]verifier.TrustFile{{Name: "root.pem", Data: vendor.Trust["root.pem"]}, {Name: "time.pem", Data: vendor.Trust["time.pem"]}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := vendorsig.ParsePin(vendor.Pin)
	if err != nil {
		t.Fatal(err)
	}
	var named []vendorsig.Named
	for name, data := range files {
		named = append(named, vendorsig.Named{File: verifier.File{Name: name, Size: int64(len(data))}, Content: bytes.NewReader(data)})
	}
	content, err := vendorsig.Policy{Trust: trust, Pins: []vendorsig.Pin{pin}}.Judge(named, verifier.NewClock(at, time.Time{}, time.Time{}))
	if err != nil {
		t.Fatal(err)
	}
	return content.ID()
}
