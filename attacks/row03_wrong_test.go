package attacks_test

import (
	"bytes"

	"mdatp-offline-agent/verifier"
)

// Row 3, wrong software: what is genuine, but not for this machine, or not all of
// what lies in the archive.
func wrongSoftware() []attack {
	row := func(name, does, code, says string, edit func(*pack)) attack {
		return attack{row: 3, name: name, does: does, code: code, exit: badData, says: says, static: true, mirror: func(m *machine) {
			p := m.pack(418)
			edit(&p)
			m.site.put("updates.zip", m.archive(p))
		}}
	}
	identity := func(name, does, code, says string, edit func(*verifier.List)) attack {
		return row(name, does, code, says, func(p *pack) { edit(&p.list) })
	}
	extra := func(p *pack, e ...entry) {
		for _, name := range p.names() {
			p.entries = append(p.entries, entry{name: name, content: p.files[name]})
		}
		p.entries = append(p.entries, e...)
	}
	other := map[string]string{"x86_64": "arm64", "arm64": "x86_64"}[arch()]
	const platform, malformed, mismatch = "wrong_platform", "package_malformed", "content_mismatch"
	return []attack{
		identity("arch", "the publisher's package for another architecture", platform, "architecture", func(l *verifier.List) { l.Arch = other }),
		identity("platform", "the publisher's package for macOS", platform, "not for linux", func(l *verifier.List) { l.Platform = "mac" }),
		identity("product", "a package of another product by the same publisher", "wrong_product", "", func(l *verifier.List) { l.Product = "other" }),
		identity("ring", "a package of the ring preview alone", platform, "ring", func(l *verifier.List) { l.Rings = []string{"preview"} }),
		row("unlisted-member", "a member that the list does not name", mismatch, "", func(p *pack) { extra(p, entry{name: "extra.so", content: "extra"}) }),
		row("unlisted-below-meta", "a member below META/ beside the list", malformed, "", func(p *pack) { extra(p, entry{name: "META/extra", content: "extra"}) }),
		row("unlisted-path", "a member that leads out of the directory", malformed, "", func(p *pack) { extra(p, entry{name: "../../extra.so", content: "extra"}) }),
		row("twice", "a listed file, and another one of the same name", malformed, "", func(p *pack) { extra(p, entry{name: "delta.vdm", content: "delta 999"}) }),
		row("missing-member", "a file that the list names is left out", mismatch, "", func(p *pack) {
			p.entries = []entry{{name: "base.vdm", content: p.files["base.vdm"]}}
		}),
		row("listed-path", "a list whose signer names a path", "list_malformed", "", func(p *pack) {
			p.json = func(list []byte) []byte { return bytes.Replace(list, []byte(`"delta.vdm"`), []byte(`"../d.vdm"`), 1) }
		}),
	}
}
