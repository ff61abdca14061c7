package attacks_test

import (
	"crypto/sha256"
	"crypto/x509"
	"debug/elf"
	"encoding/base64"
	"fmt"
	"maps"
	"time"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

// Row 10, keys over time: what a mirror can do with keys that were good once, or
// are not yet. What happens on the machine's own side, in every order, is tested
// where the verifier is.
func keysOverTime() []attack {
	row := func(name, does, code string, sign func(*machine, *pack)) attack {
		return attack{row: 10, name: name, does: does, code: code, exit: badData, static: true, mirror: func(m *machine) {
			p := m.pack(418)
			sign(m, &p)
			m.site.put("updates.zip", m.archive(p))
		}}
	}
	good := func(name, does string, sign func(*machine, *pack)) attack {
		return attack{row: 10, name: name, does: does, ends: "installed", story: func(m *machine) {
			p := m.pack(418)
			sign(m, &p)
			m.publish(p)
			m.wantUpdated(p)
			m.wantHealth("up_to_date", "")
		}}
	}
	const revoked, expired, untrusted = "signer_revoked", "signer_expired", "signer_untrusted"
	past := func(m *machine) func(*x509.Certificate) { return valid(m.now.Add(-60*day), m.now.Add(-time.Hour)) }
	future := func(m *machine) func(*x509.Certificate) { return valid(m.now.Add(time.Hour), m.now.Add(60*day)) }
	return []attack{
		row("revoked-signer", "signed by a signer who is on a revocation list", revoked, func(m *machine, p *pack) {
			leaf := m.pub.issue("stolen", &m.pub.inter)
			m.trust("stolen.crl", m.pub.revoke(m.pub.inter, leaf))
			p.signer = by(leaf, m.pub.inter)
		}),
		row("revoked-intermediate", "signed by a signer whose issuer is on a revocation list", revoked, func(m *machine, p *pack) {
			inter := m.pub.issue("stolen", &m.pub.root, aCA)
			m.trust("stolen.crl", m.pub.revoke(m.pub.root, inter))
			p.signer = by(m.pub.issue("signer", &inter), inter)
		}),
		row("expired-signer", "signed in its time by a signer whose certificate has expired since", expired, func(m *machine, p *pack) {
			p.signer = by(m.pub.issue("expired", &m.pub.inter, past(m)), m.pub.inter)
		}),
		row("expired-intermediate", "signed by a signer whose issuer's certificate has expired", expired, func(m *machine, p *pack) {
			inter := m.pub.issue("expired", &m.pub.root, aCA, past(m))
			p.signer = by(m.pub.issue("signer", &inter), inter)
		}),
		row("expired-root", "signed by a signer of a trusted root that has expired", expired, func(m *machine, p *pack) {
			other := m.pub
			other.root = m.pub.issue("expired", nil, aCA, past(m))
			other.inter = other.issue("intermediate", &other.root, aCA)
			m.trust("expired.pem", other.root.pem())
			p.signer = by(other.issue("signer", &other.inter), other.inter)
		}),
		row("not-yet-valid", "signed by a signer whose certificate begins later", expired, func(m *machine, p *pack) {
			p.signer = by(m.pub.issue("early", &m.pub.inter, future(m)), m.pub.inter)
		}),
		row("not-pinned", "signed by a signer of the trusted root whose key is not pinned", untrusted, func(m *machine, p *pack) {
			m.configure(`"trust":{"signers":["` + pin(m.pub.leaf) + `"]}`)
			other := m.pub.issue("other", &m.pub.root, aCA)
			p.signer = by(m.pub.issue("signer", &other), other)
		}),
		good("new-signer", "signed by a new signer of the same intermediate", func(m *machine, p *pack) {
			p.signer = by(m.pub.issue("new", &m.pub.inter), m.pub.inter)
		}),
		good("new-intermediate", "signed by a signer of a new intermediate of the same root", func(m *machine, p *pack) {
			inter := m.pub.issue("new", &m.pub.root, aCA)
			p.signer = by(m.pub.issue("signer", &inter), inter)
		}),
		good("new-root", "signed by a signer of a new root, which lies beside the old one", func(m *machine, p *pack) {
			other := newPublisher(m, m.now)
			m.trust("new.pem", other.root.pem())
			p.signer = by(other.leaf, other.inter, other.root)
		}),
		good("cross-signed", "signed by a signer whose intermediate has a certificate of a root that nobody trusts and one of a root that is trusted", func(m *machine, p *pack) {
			stranger := m.pub.issue("stranger", nil, aCA)
			inter := m.pub.issue("crossed", &stranger, aCA)
			crossed := m.pub.certify("crossed", inter.key, &m.pub.root, aCA)
			p.signer = by(m.pub.issue("signer", &inter), inter, crossed)
		}),
		{row: 10, name: "revoked-while-active", does: "newer packages by the signer of what is installed, who is revoked",
			ends: "signer_revoked; the set stays active and the report says why; a new signer's package mends it", story: func(m *machine) {
				old := m.pub.leaf
				m.trust("stolen.crl", m.pub.revoke(m.pub.inter, old))
				active := m.installed
				m.publish(m.pack(418))
				before := m.snapshot()
				m.wantFailed("signer_revoked")
				m.wantSame(before)
				m.installed = active
				m.checkActive()
				m.wantHealth("update_failed", "signer_revoked")
				m.pub.leaf = m.pub.issue("new", &m.pub.inter)
				m.publish(m.pack(419))
				m.wantUpdated(m.installed)
				m.wantHealth("up_to_date", "")
			}},
		{row: 10, name: "expired-while-active", does: "nothing new, then newer packages by the same signer, after the whole chain of what is installed has expired",
			ends: "signer_expired; the set stays active and whole, and the report says why; a signer of the next root mends it", story: func(m *machine) {
				// The chain ends in an hour, and the program that runs then was built in two,
				// before which it believes no clock.
				b := newMachine(m.TB, m.program, m.now)
				soon := valid(m.now.Add(-60*day), m.now.Add(time.Hour))
				b.pub.root = b.pub.issue("root", nil, aCA, soon)
				b.pub.inter = b.pub.issue("intermediate", &b.pub.root, aCA, soon)
				b.pub.leaf = b.pub.issue("signer", &b.pub.inter, soon)
				b.trust("root.pem", b.pub.root.pem())
				b.publish(b.pack(417))
				b.wantUpdated(b.installed)
				b.wantHealth("up_to_date", "")

				b.program = m.programs.program(m, m.now.Add(2*time.Hour).Format(time.RFC3339))
				b.wantHealth("up_to_date", "") // nobody has asked the mirror yet
				active, before := b.installed, b.snapshot()
				for _, n := range []uint32{417, 418} {
					b.publish(b.pack(n))
					b.wantFailed("signer_expired")
					b.wantSame(before)
					b.installed = active
					b.checkActive()
					b.wantVerified()
					b.wantHealth("update_failed", "signer_expired")
				}
				next := newPublisher(m, m.now)
				b.trust("next.pem", next.root.pem())
				b.pub = next
				b.publish(b.pack(419))
				b.wantUpdated(b.installed)
				b.wantHealth("up_to_date", "")
			}},
		{row: 10, name: "stolen-list-key", does: "packages by who has stolen the key of the lists, where the vendor's signatures are wanted as well: files that nobody signed, another's, exchanged, older, mixed",
			ends: "signature_missing, signer_untrusted, content_mismatch or rollback_refused; the set stays active, and a package of the vendor's files is installed", story: stolenListKey},
		{row: 10, name: "vendor-alone", does: "packages without a list, where the vendor's signatures are all that counts: files that nobody signed, another's, exchanged, older, mixed, missing, too many; and with a list",
			ends: "signature_missing, signer_untrusted, content_mismatch, rollback_refused or package_malformed; the set stays active, and a package of the vendor's files is installed", story: vendorAlone},
	}
}

// vendored is a machine that wants a vendor's signatures, and the files of that vendor.
type vendored struct {
	*machine
	vendor *sigtest.Vendor
	base   string
}

// newVendored gives the machine that profile of trust.
func newVendored(m *machine, profile string) vendored {
	v := vendored{machine: m, vendor: sigtest.New(m)}
	for _, name := range []string{"vendor", "stranger"} {
		v.vendor.Signer(m, name, m.now.AddDate(-1, 0, 0), m.now.AddDate(1, 0, 0))
	}
	m.trust("vendor/root.pem", v.vendor.Root)
	m.trust("vendor/time.pem", v.vendor.TimeRoot)
	m.configure(fmt.Sprintf(`"trust":{"profile":%q,"vendorPins":["%s:subject:CN=vendor"]}`, profile, v.vendor.Issuer()))
	v.base = v.vdm("vendor", "base.vdm", 0, m.now.Add(-day))
	return v
}

// engine adds an engine and its signature.
func (v vendored) engine(text string, to map[string]string) map[string]string {
	machineOf := map[string]elf.Machine{"x86_64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch()]
	to["engine.so"] = string(sigtest.Engine(machineOf, text))
	to["engine.so.sig"] = string(v.vendor.Beside(v, "vendor", []byte(to["engine.so"])))
	return to
}

func (v vendored) vdm(signer, name string, n uint32, stamp time.Time) string {
	return string(v.vendor.Definitions(v, signer, name, verifier.Version{1, 407, n, 0}, fmt.Sprint(n), stamp))
}

// pack gives a package of the vendor's files, less those that are empty in edits, and
// with the others.
func (v vendored) pack(n uint32, edits map[string]string) pack {
	p := v.machine.pack(n)
	p.files = v.engine("engine", map[string]string{"base.vdm": v.base, "delta.vdm": v.vdm("vendor", "delta.vdm", n, v.now.Add(-time.Hour))})
	maps.Copy(p.files, edits)
	maps.DeleteFunc(p.files, func(_, content string) bool { return content == "" })
	return p
}

// first installs the package although nobody knows how old its engine is.
func (v vendored) first(p pack, code string) {
	v.publish(p)
	v.wantFailed(code)
	v.wantUpdated(v.installed, "--allow-downgrade", v.installed.version())
	v.wantHealth("up_to_date", "")
}

// forgery is what somebody makes of the vendor's package who can't sign as the vendor.
type forgery struct {
	code  string
	edits map[string]string
}

// forgeries are of a package that is newer than the active one.
func (v vendored) forgeries() []forgery {
	return []forgery{
		{"signature_missing", map[string]string{"delta.vdm": "delta"}},
		{"signature_missing", map[string]string{"engine.so.sig": "of a kind of its own"}},
		{"signer_untrusted", map[string]string{"delta.vdm": v.vdm("stranger", "delta.vdm", 420, v.now)}},
		{"content_mismatch", map[string]string{"delta.vdm": v.vdm("vendor", "other.vdm", 420, v.now)}},
		{"rollback_refused", map[string]string{"base.vdm": v.vdm("vendor", "base.vdm", 0, v.now.Add(-2*day))}},
		{"rollback_refused", v.engine("older", map[string]string{})},
		{"content_mismatch", map[string]string{"other.vdm": v.vdm("vendor", "other.vdm", 1, v.now)}},
	}
}

// refuses plays packages that must change nothing, and then a good one.
func (v vendored) refuses(all []forgery, packed func(n int, f forgery) pack, good pack) {
	active, before := v.installed, v.snapshot()
	for n, f := range all {
		v.publish(packed(n, f))
		v.wantFailed(f.code)
		v.wantSame(before)
		v.installed = active
		v.checkActive()
	}
	v.publish(good)
	v.wantUpdated(v.installed)
	v.wantHealth("up_to_date", "")
}

// stolenListKey plays who has the publisher's key, and not the vendor's.
func stolenListKey(m *machine) {
	v := newVendored(m, "list+vendor")
	v.first(v.pack(418, nil), "rollback_refused")
	all := append(v.forgeries(),
		forgery{"signature_missing", map[string]string{"extra.bin": "x"}},
		forgery{"content_mismatch", map[string]string{"delta.vdm": v.installed.files["delta.vdm"]}})
	v.refuses(all, func(n int, f forgery) pack {
		return v.pack(420, f.edits).with(func(l *verifier.List) { l.Issued = l.Issued.Add(time.Duration(n) * time.Second) })
	}, v.pack(421, nil))
}

// vendorAlone plays who has the mirror, where nobody signs lists.
func vendorAlone(m *machine) {
	v := newVendored(m, "vendor")
	bare := func(p pack) pack { p.bare = true; return p }
	v.first(bare(v.pack(418, nil)), "content_mismatch") // the set before has other files
	all := append(v.forgeries(),
		forgery{"content_mismatch", map[string]string{"extra.bin": "x"}},
		forgery{"content_mismatch", map[string]string{"base.vdm": ""}},
		forgery{"package_malformed", map[string]string{"META/package.json": "{}"}})
	v.refuses(all, func(_ int, f forgery) pack { return bare(v.pack(420, f.edits)) }, bare(v.pack(421, nil)))
	before := v.snapshot()
	active := v.installed
	v.publish(v.pack(422, nil)) // by a good list
	v.wantFailed("package_malformed")
	v.wantSame(before)
	v.installed = active
	v.checkActive()
}

// pin is how the configuration names a key.
func pin(p party) string {
	sum := sha256.Sum256(p.cert.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}
