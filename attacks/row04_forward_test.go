package attacks_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/verifier"
)

// Row 4, fast-forward: a version so great that nothing will ever be newer. It takes
// the signer's key, or the signer's mistake; and then each documented way leads
// back. What is not signed leads nowhere.
func fastForward() []attack {
	greatest := verifier.Version{math.MaxUint32, math.MaxUint32, math.MaxUint32, math.MaxUint32}
	rejected := func(name, does, version string) attack {
		return attack{row: 4, name: name, does: does, code: "list_malformed", exit: badData, static: true, mirror: func(m *machine) {
			p := m.pack(418)
			p.json = replaceText("1.407.418.0", version)
			m.site.put("updates.zip", m.archive(p))
		}}
	}
	return []attack{
		{row: 4, name: "unsigned-pointer", does: "an unsigned manifest.json that names version 999.999.999.999", ends: "never asked for; the next package is installed",
			story: func(m *machine) {
				m.site.put("manifest.json", []byte(`{"EngineVersion":"999.999.999.999","DefinitionVersion":"999.999.999.999"}`))
				m.site.forget()
				m.wantUpToDate()
				m.publish(m.pack(418))
				m.wantUpdated(m.installed)
				for _, r := range m.site.forget() {
					if strings.Contains(r.path, "manifest") {
						m.Errorf("the unsigned %s was asked for", r.path)
					}
				}
			}},
		rejected("beyond-the-greatest", "a signed list with a version of 2^32", "1.407.4294967296.0"),
		rejected("beyond-all-numbers", "a signed list with a version of thirty digits", "1.407.999999999999999999999999999999.0"),
		{row: 4, name: "allow-downgrade", does: "a signed package of version 999.999.999.999, then normal ones", ends: "rollback_refused, until somebody allows the normal version by name; then all is as before",
			story: func(m *machine) {
				m.wedge(verifier.Version{999, 999, 999, 999})
				m.wantUpdated(m.installed, "--allow-downgrade", m.installed.version())
				m.unwedged()
			}},
		{row: 4, name: "revoked-signer", does: "a signed package of the greatest version there is, then normal ones by a new signer", ends: "rollback_refused, until the old signer is revoked; then all is as before",
			story: func(m *machine) {
				old := m.pub.leaf
				m.wedge(greatest)
				m.pub.leaf = m.pub.issue("new signer", &m.pub.inter)
				m.trust("revoked.crl", m.pub.revoke(m.pub.inter, old))
				m.publish(m.pack(419))
				m.wantUpdated(m.installed)
				m.unwedged()
			}},
		{row: 4, name: "step-back-by-url", does: "a signed package of the greatest version there is, then normal ones", ends: "rollback_refused, until the configured URL ends in _back; then all is as before",
			story: func(m *machine) {
				m.wedge(greatest)
				back := filepath.Join(m.site.root(), "linux", "production_back")
				m.must(os.Symlink("production", back))
				m.configureFor(strings.Replace(m.site.ring(), "production/", "production_back/", 1), false, "")
				m.wantUpdated(m.installed)
				m.configure("")
				m.unwedged()
			}},
		{row: 4, name: "renewed-hostage", does: "the greatest version, and its list renewed again and again", ends: "renewed, and the way back stays open",
			story: func(m *machine) {
				p := m.pack(418).with(func(l *verifier.List) { l.Definition = greatest })
				for range 2 {
					m.publish(p)
					r, _ := m.update()
					if !slices.Contains([]agent.Outcome{agent.Updated, agent.Renewed}, r.Outcome) {
						m.Fatalf("the update ended with %s %v", r.Outcome, r.FailReason)
					}
					p.list.Issued = p.list.Issued.Add(3600e9)
				}
				m.publish(m.pack(418))
				m.wantFailed("rollback_refused")
				m.wantUpdated(m.installed, "--allow-downgrade", m.installed.version())
				m.unwedged()
			}},
	}
}

// wedge has the signer sign a version above all others, and then a normal one,
// which is refused.
func (m *machine) wedge(version verifier.Version) {
	m.Helper()
	m.publish(m.pack(418).with(func(l *verifier.List) { l.Definition = version }))
	m.wantUpdated(m.installed)
	hostage := m.installed
	m.publish(m.pack(418))
	before := m.snapshot()
	m.wantFailed("rollback_refused")
	m.wantSame(before)
	m.wantHealth("update_failed", "rollback_refused")
	normal := m.installed
	m.installed = hostage
	m.checkActive()
	m.installed = normal
}

// unwedged checks that normal updates go on by themselves.
func (m *machine) unwedged() {
	m.Helper()
	m.publish(m.pack(600))
	m.wantUpdated(m.installed)
	m.wantHealth("up_to_date", "")
}
