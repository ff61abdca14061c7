package main

import (
	"debug/elf"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

// vendor [-into DIR] [-unsigned FILE] [-engine TEXT] VERSION puts a package as a vendor makes it, and
// its manifest.json, into the mirror, or into a tree of that name: definitions that the
// vendor signed three days ago, and an engine with a signature beside it. FILE is left
// unsigned. $VENDOR is a directory with the vendor's roots, and $VENDORPIN the key of the
// CA that issued the signer, as pins have it.
func cmdVendor(ts *testscript.TestScript, _ bool, args []string) {
	l, tree, unsigned := labOf(ts), ts.Getenv("MIRROR"), ""
	text := strings.Repeat("the engine\n", 3000)
	for ; len(args) > 1; args = args[2:] {
		switch args[0] {
		case "-into":
			tree = ts.MkAbs(args[1])
		case "-unsigned":
			unsigned = args[1]
		case "-engine":
			text = args[1]
		}
	}
	if _, err := exec.LookPath("zip"); err != nil {
		l.tb.Skip("SKIPPED: zip is missing, install it with: apt-get install zip")
	}
	if l.vendor == nil {
		l.vendor = sigtest.New(l.tb)
		ts.Setenv("VENDOR", l.vendor.Trust)
		ts.Setenv("VENDORPIN", l.vendor.Issuer().String())
	}
	v, err := verifier.ParseVersion(args[0])
	ts.Check(err)
	machine := map[string]elf.Machine{"x86_64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[hostArch()]
	engine := sigtest.Engine(machine, text)
	files := map[string][]byte{"libmpengine.so": engine, "libmpengine.so.sig": l.vendor.Beside(l.tb, "vendor", engine)}
	for name, version := range map[string]verifier.Version{"mpavbase.vdm": {v[0], v[1], 0, 0}, "mpavdlta.vdm": v} {
		files[name] = sigtest.Definitions(name, version, name+version.String())
		if name != unsigned {
			files[name] = l.vendor.Sign(l.tb, "vendor", files[name], l.now.AddDate(0, 0, -3))
		}
	}
	dir, out := ts.MkAbs("vendor-"+args[0]), filepath.Join(tree, "linux", "production", "arch_"+hostArch())
	for _, d := range []string{dir, out} {
		ts.Check(os.MkdirAll(d, 0o755))
	}
	zip := exec.Command("zip", "-q", "all.zip")
	zip.Dir = dir
	for _, name := range slices.Sorted(maps.Keys(files)) {
		ts.Check(os.WriteFile(filepath.Join(dir, name), files[name], 0o644))
		zip.Args = append(zip.Args, name)
	}
	ts.Check(zip.Run())
	ts.Check(os.Rename(filepath.Join(dir, "all.zip"), filepath.Join(out, "updates.zip")))
	manifest := fmt.Sprintf("{\n  \"EngineVersion\": \"1.1.24080.9\",\n  \"DefinitionVersion\": %q\n}\n", args[0])
	ts.Check(os.WriteFile(filepath.Join(out, "manifest.json"), []byte(manifest), 0o644))
	ts.Setenv("PACKAGE", filepath.Join(out, "updates.zip"))
}
