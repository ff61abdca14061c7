package attacks_test

import (
	"maps"
	"os"
	"slices"

	"mdatp-offline-agent/verifier"
)

// Row 8, rollback: an older package, which was genuine in its time.
func rollback() []attack {
	static := func(name, does, code string, publish func(*machine)) attack {
		return attack{row: 8, name: name, does: does, code: code, exit: badData, static: true, mirror: publish}
	}
	const refused = "rollback_refused"
	older := func(m *machine) { m.site.put("updates.zip", m.archive(m.pack(416))) }
	all := []attack{
		static("older", "the genuine package before the installed one", refused, older),
		static("older-engine", "a package with the same definitions and an older engine", refused, func(m *machine) {
			m.site.put("updates.zip", m.archive(m.pack(417).with(func(l *verifier.List) { l.Engine[2]-- })))
		}),
		static("same-version-earlier", "other files under the installed version, signed earlier", refused, func(m *machine) {
			p := m.pack(417).with(func(l *verifier.List) { l.Issued, l.Released = l.Issued.Add(-60e9), l.Released.Add(-60e9) })
			p.files["delta.vdm"] = "other"
			m.site.put("updates.zip", m.archive(p))
		}),
		{row: 8, name: "same-list-other-bytes", does: "the installed list, with other bytes under it", ends: "up to date; nothing of it is fetched, let alone installed",
			story: func(m *machine) {
				p := m.pack(417)
				p.entries = []entry{{name: "base.vdm", content: "other"}, {name: "delta.vdm", content: "other"}}
				m.site.put("updates.zip", m.archive(p))
				before := m.snapshot()
				m.wantUpToDate()
				m.wantSame(before)
				m.checkActive()
			}},
		{row: 8, name: "numbers-not-text", does: "version 1.407.999.0 after 1.407.1000.0", ends: "refused, though as text it would be greater; 1.407.10000.0 is installed",
			story: func(m *machine) {
				m.publish(m.pack(1000))
				m.wantUpdated(m.installed)
				newest := m.installed
				m.publish(m.pack(999))
				m.wantFailed(refused)
				m.installed = newest
				m.checkActive()
				m.publish(m.pack(10000))
				m.wantUpdated(m.installed)
			}},
		{row: 8, name: "engine-directory-lost", does: "an older package, after the engine directory was deleted", ends: "refused, since the floor is kept apart; the right package is installed anew",
			story: func(m *machine) {
				m.must(os.RemoveAll(m.paths.Engine))
				older(m)
				m.wantFailed(refused)
				m.wantHealth("unavailable", refused)
				m.publish(m.pack(417))
				m.wantUpdated(m.installed)
				m.wantHealth("up_to_date", "")
			}},
		{row: 8, name: "state-lost", does: "an older package, after all that the agent remembers was deleted", ends: "not installed, since the installed set proves the floor",
			story: func(m *machine) {
				m.must(os.RemoveAll(m.paths.State + "/state.json"))
				m.must(os.RemoveAll(m.paths.State + "/status.json"))
				older(m)
				r := m.wantUpToDate()
				if !slices.Contains(r.Notes, "the source is behind what this machine has accepted already") {
					m.Errorf("it says nothing of being behind: %v", r.Notes)
				}
				m.checkActive()
				m.site.put("updates.zip", m.archive(m.pack(415)))
				m.wantFailed(refused) // the mirror goes backwards now
				m.checkActive()
			}},
		{row: 8, name: "everything-lost", does: "an older package, after engine directory and memory were deleted", ends: "refused where agent.minDefinitionVersion says so, which no option goes below",
			story: func(m *machine) {
				m.must(os.RemoveAll(m.paths.State))
				m.configure(`"minDefinitionVersion":"1.407.417.0"`)
				older(m)
				m.wantFailed(refused)
				m.wantFailed(refused, "--allow-downgrade", "1.407.416.0")
				m.publish(m.pack(418))
				m.wantUpdated(m.installed)
			}},
		{row: 8, name: "killed", does: "an older package, after the update before was killed in the middle", ends: "refused; the floor has survived",
			story: func(m *machine) {
				m.killedInTheMiddle(m.large(418))
				m.site.play(nil)
				older(m)
				m.wantFailed(refused)
				m.checkActive()
				m.publish(m.large(418))
				m.wantUpdated(m.installed)
			}},
		{row: 8, name: "after-rollback", does: "an older package, after somebody went back to the set before by hand", ends: "refused; going back does not lower the floor",
			story: func(m *machine) {
				m.publish(m.pack(418))
				m.wantUpdated(m.installed)
				if e := m.run("definitions", "rollback"); e.exit != 0 {
					m.Fatalf("rollback: exit %d\n%s", e.exit, e.stderr)
				}
				m.installed = m.pack(417)
				m.checkActive()
				m.site.put("updates.zip", m.archive(m.pack(418)))
				m.wantFailed("known_bad")
				older(m)
				m.wantFailed(refused)
				m.checkActive()
				m.publish(m.pack(419))
				m.wantUpdated(m.installed)
			}},
	}
	tricks := map[string]string{
		"leading-zero": "1.0418.0.0", "two-components": "1.418", "three-components": "1.0010.0", "five-components": "1.407.418.0.0",
		"leading-space": " 1.407.418.0", "trailing-space": "1.407.418.0 ", "nul": `1.407.418.0\u0000`, "other-digits": "1.407.４18.0",
		"plus": "1.+407.418.0", "minus": "1.-407.418.0", "hexadecimal": "1.0x407.418.0", "exponent": "1.1e9.418.0", "empty-component": "1..418.0", "empty": "",
		"newline": `1.407.418.0\n`,
	}
	for _, name := range slices.Sorted(maps.Keys(tricks)) {
		version := tricks[name]
		all = append(all, static("version-"+name, "a signed list with the version “"+version+"”", "list_malformed", func(m *machine) {
			p := m.pack(418)
			p.json = replaceText("1.407.418.0", version)
			m.site.put("updates.zip", m.archive(p))
		}))
	}
	return all
}
