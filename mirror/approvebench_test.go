package mirror

import (
	"debug/elf"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
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
	l, vendor, now := newLab(b, KeyOptions{}), sigtest.New(b), time.Now()
	agent := filepath.Join(l.dir, "agent")
	run(b, ".", "go", "build", "-tags", "urfave_cli_no_docs", "-o", agent, "../cmd/agent")
	content := filepath.Join(l.dir, "content")
	noise := rand.NewChaCha8([32]byte{})
	definitions := func(name string, megabytes int, version verifier.Version) {
		text := make([]byte, megabytes*1_000_000)
		_, _ = noise.Read(text)
		write(b, filepath.Join(content, name), vendor.Definitions(b, "vendor", name, version, string(text), now.AddDate(0, 0, -1)))
	}
	definitions("mpasbase.vdm", 80, verifier.Version{1, 407, 0, 0})
	definitions("mpavbase.vdm", 180, verifier.Version{1, 407, 0, 0})
	definitions("mpavdlta.vdm", 10, verifier.Version{1, 407, 417, 0})
	engine := sigtest.Engine(elf.EM_X86_64, strings.Repeat("engine", 5_000_000))
	write(b, filepath.Join(content, "libmpengine.so"), engine)
	write(b, filepath.Join(content, "libmpengine.so.sig"), vendor.Beside(b, "vendor", engine))
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
