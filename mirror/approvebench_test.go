package mirror

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"mdatp-offline-agent/verifier/vendorsig/vendortest"
)

// BenchmarkApprove approves a package of 300 MB whose files the vendor signed, by the
// program itself, and then renews that: how many times as long as sha256sum and unzip -t
// need for the same package, in turns, and the most memory that it had.
func BenchmarkApprove(b *testing.B) {
	for _, tool := range []string{"go", "zip", "unzip", "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skip("SKIPPED: " + tool + " is missing")
		}
	}
	l, vendor, now := newLab(b, KeyOptions{}), vendortest.New(b), time.Now()
	agent := filepath.Join(l.dir, "agent")
	run(b, ".", "go", "build", "-tags", "urfave_cli_no_docs", "-o", agent, "../cmd/agent")
	content := filepath.Join(l.dir, "content")
	noise := rand.NewChaCha8([32]byte{})
	definitions := func(name string, megabytes int, said string, version [4]uint16) {
		text := make([]byte, megabytes*1_000_000)
		_, _ = noise.Read(text)
		file := vendortest.Image{Text: text, Resource: vendortest.VersionInfo(name, said, version)}.Encode()
		write(b, filepath.Join(content, name), vendor.Sign(b, file, now.AddDate(0, 0, -1)))
	}
	definitions("mpasbase.vdm", 80, "1.407.0.0", [4]uint16{1, 407, 0, 0})
	definitions("mpavbase.vdm", 180, "1.407.0.0", [4]uint16{1, 407, 0, 0})
	definitions("mpavdlta.vdm", 10, "1.407.417.0", [4]uint16{1, 407, 417, 0})
	engine := elf(62)
	for len(engine) < 30_000_000 {
		engine = append(engine, engine[:min(len(engine), 1<<20)]...)
	}
	write(b, filepath.Join(content, "libmpengine.so"), engine)
	write(b, filepath.Join(content, "libmpengine.so.sig"), vendor.Detached(b, engine))
	ring := filepath.Join(l.dir, "linux", "production")
	dir := filepath.Join(ring, "arch_x86_64")
	zip := filepath.Join(dir, "updates.zip")
	write(b, filepath.Join(dir, "manifest.json"), []byte(manifestFor(417)))
	run(b, content, "zip", "-q", "-r", zip, ".")

	approve := func(more ...string) *exec.Cmd {
		return exec.Command(agent, append([]string{"mirror", "approve", ring, "--key", l.keys.LeafKey, "--cert", l.keys.Leaf, "--cert", l.keys.Intermediate,
			"--vendor-trust", vendor.Trust, "--require-vendor"}, more...)...)
	}
	type cost struct{ wall, cpu time.Duration }
	var first, renewal, stock cost
	var peak int64 // KiB
	timed := func(total *cost, cmd *exec.Cmd) {
		start := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
		total.wall += time.Since(start)
		total.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok && cmd.Path == agent {
			peak = max(peak, usage.Maxrss)
		}
	}
	for b.Loop() {
		timed(&stock, exec.Command("sh", "-c", `sha256sum "$1" && unzip -tq "$1"`, "sh", zip))
		timed(&first, approve())
		timed(&renewal, approve("--renew"))
		approved, err := filepath.Glob(filepath.Join(dir, "updates-*.zip"))
		wantCode(b, err, "")
		for _, path := range append(approved, zip+".p7m", filepath.Join(ring, ".approve")) {
			if err := os.RemoveAll(path); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(first.wall.Seconds()/float64(b.N), "s/approval")
	b.ReportMetric(stock.wall.Seconds()/float64(b.N), "s/sha256sum-and-unzip")
	b.ReportMetric(first.wall.Seconds()/stock.wall.Seconds(), "x-approval")
	b.ReportMetric(first.cpu.Seconds()/stock.cpu.Seconds(), "x-approval-cpu")
	b.ReportMetric(renewal.wall.Seconds()/stock.wall.Seconds(), "x-renewal")
	b.ReportMetric(renewal.cpu.Seconds()/stock.cpu.Seconds(), "x-renewal-cpu")
	b.ReportMetric(float64(peak)*1024/1e6, "MB-peak")
}
