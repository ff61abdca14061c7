package attacks_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Row 12, unverified residue: what a killed run leaves is never trusted.
func residue() []attack {
	return []attack{
		{row: 12, name: "killed-while-downloading", does: "a good package, of which the run is killed in the middle; then another one", ends: "nothing that was left counts, and it is cleared away",
			story: func(m *machine) {
				m.killedInTheMiddle(m.large(418))
				m.publish(m.large(419))
				if r := m.wantUpdated(m.installed); r.Resumed {
					m.Error("it went on with bytes of another package")
				}
				m.wantHealth("up_to_date", "")
			}},
		{row: 12, name: "killed-with-a-bad-package", does: "a package with other bytes than its list has, of which the run is killed when they are on disk; then the same again",
			ends: "content_mismatch and cleared away, as if nothing lay there", story: func(m *machine) {
				p := m.signed(m.large(418))
				bad := p.forged()
				m.killedInTheMiddle(bad)
				m.cutAt(m.archive(bad), len(m.archive(bad)))
				before := m.snapshot()
				m.wantFailed("content_mismatch")
				m.wantSame(before)
				m.checkActive()
				m.wantHealth("update_failed", "content_mismatch")
				m.checkStaging()
				m.publish(m.large(419))
				m.wantUpdated(m.installed)
			}},
		{row: 12, name: "bad-bytes-then-good", does: "other bytes than the list has, of which the run is killed; then the good bytes under the same entity tag", ends: "installed; the bytes that were kept are thrown away when the hash disagrees",
			story: func(m *machine) {
				p := m.signed(m.large(418))
				m.killedInTheMiddle(p.forged())
				m.cutAt(m.archive(p), len(m.archive(p)))
				m.wantUpdated(p)
			}},
		{row: 12, name: "kept-bytes-changed", does: "a good package, of which the run is killed, and what was kept is changed on disk", ends: "installed right; the bytes that were kept are thrown away when the hash disagrees",
			story: func(m *machine) {
				p := m.signed(m.large(418))
				m.killedInTheMiddle(p)
				m.eachKept(func(path string, size int64) {
					m.must(os.WriteFile(path, bytes.Repeat([]byte("evil"), int(size/4)), 0o600))
				})
				m.cutAt(m.archive(p), len(m.archive(p)))
				m.wantUpdated(p)
			}},
		{row: 12, name: "kept-bytes-too-many", does: "a good package, of which the run is killed, and what was kept is made a gigabyte", ends: "installed right; what can't be a part of it is thrown away",
			story: func(m *machine) {
				p := m.signed(m.large(418))
				m.killedInTheMiddle(p)
				m.eachKept(func(path string, _ int64) { m.must(os.Truncate(path, gib)) })
				m.cutAt(m.archive(p), len(m.archive(p)))
				m.wantUpdated(p)
			}},
		{row: 12, name: "planted", does: "a killed run, and a whole set, links and a pipe that somebody laid into .staging", ends: "cleared away, and nothing that a link leads to is touched",
			story: func(m *machine) {
				staging := filepath.Join(m.paths.Engine, ".staging")
				precious := filepath.Join(m.TempDir(), "precious")
				m.must(os.Mkdir(precious, 0o755))
				m.must(os.WriteFile(filepath.Join(precious, "file"), []byte("precious"), 0o600))
				m.must(os.MkdirAll(filepath.Join(staging, "1.407.999.0-00000000", "META"), 0o755))
				m.must(os.WriteFile(filepath.Join(staging, "1.407.999.0-00000000", "evil.so"), []byte("evil"), 0o755))
				m.must(os.Symlink(precious, filepath.Join(staging, "link")))
				m.must(os.Symlink(precious, filepath.Join(staging, "part-link")))
				m.publish(m.pack(418))
				m.wantUpdated(m.installed)
				if data, err := os.ReadFile(filepath.Join(precious, "file")); string(data) != "precious" {
					m.Errorf("what a link led to is %q, %v", data, err)
				}
			}},
	}
}

// forged gives the package with its own list and other bytes of the same size in
// its large file.
func (p pack) forged() pack {
	for _, name := range p.names() {
		content := p.files[name]
		if name == "base.vdm" {
			content = strings.Repeat("evil!!!", len(content)/7)
		}
		p.entries = append(p.entries, entry{name: name, content: content})
	}
	return p
}

// killedInTheMiddle has the mirror offer a package, and kills the run, as the
// kernel would, when much of the large file is on disk and nothing more comes.
func (m *machine) killedInTheMiddle(p pack) {
	m.Helper()
	archive := m.archive(p)
	cut := len(archive) - len(archive)/4
	m.cutAt(archive, cut)
	before := m.snapshot()
	r := m.start("definitions", "update")
	for deadline := time.Now().Add(patience); m.kept() < int64(cut/2); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.Fatalf("only %d bytes came within %s", m.kept(), patience)
		}
		select {
		case <-r.done:
			m.Fatalf("the run has ended: %s%s", &r.stdout, &r.stderr)
		default:
		}
	}
	r.kill()
	m.wantSame(before)
	m.checkActive()
	if m.kept() == 0 {
		m.Error("nothing was left, so this shows nothing")
	}
}
