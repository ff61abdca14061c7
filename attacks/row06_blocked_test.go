package attacks_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/source/sourcetest"
)

// Row 6, blocked updates: the mirror does not work, and the cloud does, where
// falling back to it is allowed.
func blockedUpdates() []attack {
	onRow := func(news func(*machine) pack, name, does, code string, hurry timeouts, mirror func(*machine)) attack {
		return attack{row: 6, name: name, does: does, hurry: hurry, ends: code + " of the mirror is shown, and the update comes from the cloud in the same run",
			story: func(m *machine) {
				mirror(m)
				cloud := m.cloud()
				news := news(m)
				cloud.put("updates.zip", m.archive(news))
				r := m.wantUpdated(news)
				if r.code() != code || r.Source == m.site.ring() {
					m.Errorf("from %s, and the mirror's failure is %q, want %s", r.Source, r.code(), code)
				}
				m.wantHealth("up_to_date", code)
				// The mirror again, as if it had never been bad.
				m.waits = generous
				m.cloud()
				m.publish(m.pack(500))
				if r := m.wantUpdated(m.installed, "--now"); r.Source != m.site.ring() || r.code() != "" {
					m.Errorf("from %s with %q, want it from the mirror", r.Source, r.code())
				}
				m.wantHealth("up_to_date", "")
			}}
	}
	row := func(name, does, code string, hurry timeouts, mirror func(*machine)) attack {
		return onRow(func(m *machine) pack { return m.pack(418) }, name, does, code, hurry, mirror)
	}
	// What the cloud has would not go beside what the mirror's body has filled.
	small := func(name, does string, body func(net.Conn)) attack {
		return onRow(func(m *machine) pack {
			p := m.pack(418)
			p.files["more.vdm"] = string(noise(smallDisk / 9))
			return p
		}, name, does+", to a machine with little room", "disk_full", timeouts{}, func(m *machine) {
			m.onSmallDisk()
			m.site.raw(body)
		})
	}
	answer := func(h http.HandlerFunc) func(*machine) { return func(m *machine) { m.site.play(h) } }
	return []attack{
		row("status-500", "status 500 to everything", "source_unreachable", generous, answer(status(500))),
		row("status-403", "status 403 to everything", "source_forbidden", timeouts{}, answer(status(403))),
		row("status-404", "status 404 to everything", "source_not_found", timeouts{}, answer(status(404))),
		row("status-429", "status 429 to everything", "source_rate_limited", timeouts{}, answer(status(429))),
		row("garbage", "random bytes in place of the package", "not_a_package", timeouts{}, func(m *machine) { m.site.put("updates.zip", noise(100_000)) }),
		row("bad-package", "a package that somebody else signed", "signer_untrusted", timeouts{}, func(m *machine) {
			p := m.pack(418)
			p.signer = by(m.pub.issue("self", nil))
			m.site.put("updates.zip", m.archive(p))
		}),
		row("slow", "an answer that never gets on", "source_stalled", shortStall, func(m *machine) {
			m.site.raw(sourcetest.Drip("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", "x", perDrop))
		}),
		row("silent", "no answer", "source_unreachable", shortHeader, func(m *machine) { m.site.raw(sourcetest.Hang) }),
		small("no-room", "a body that never ends", endlessChunks()),
		small("no-room-for-length", "a Content-Length of a gigabyte", sourcetest.Endless(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", gib), "x")),
		{row: 6, name: "no-room-both-bad", does: "a body that never ends, to a machine with little room, and the cloud has garbage", code: "disk_full", exit: 73, disk: smallDisk,
			mirror: func(m *machine) {
				m.onSmallDisk()
				m.cloud().put("updates.zip", noise(1000))
				m.site.raw(endlessChunks())
			}},
		{row: 6, name: "cooled-down", does: "status 503 with a Retry-After of an hour", ends: "the mirror is not asked again before, and the cloud works meanwhile",
			story: func(m *machine) {
				m.site.play(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Retry-After", "3600")
					status(503)(w, r)
				})
				cloud := m.cloud()
				for n := range uint32(3) {
					news := m.pack(418 + n)
					cloud.put("updates.zip", m.archive(news))
					m.wantUpdated(news)
				}
				if asked := len(m.site.forget()) - 1; asked > 3 { // one was for what is installed
					m.Errorf("the mirror was asked %d times", asked)
				}
				m.publish(m.pack(500))
				r, _ := m.update("--now")
				if r.Outcome != agent.Updated || r.Source != m.site.ring() {
					m.Errorf("with --now: %s from %s, %v", r.Outcome, r.Source, r.FailReason)
				}
			}},
		{row: 6, name: "no-fallback", does: "status 403 to everything, where falling back is not allowed", code: "source_forbidden", exit: unavailable,
			mirror: func(m *machine) { m.site.play(status(403)) }},
		{row: 6, name: "both-bad", does: "status 403, and the cloud has garbage", code: "source_forbidden", exit: unavailable,
			mirror: func(m *machine) {
				m.site.play(status(403))
				m.cloud().put("updates.zip", noise(1000))
			}},
		{row: 6, name: "empty", does: "an empty file in place of the package", code: "not_a_package", exit: badData, static: true, mirror: func(m *machine) { m.site.put("updates.zip", nil) }},
		{row: 6, name: "hangs-up", does: "the connection is closed at once", code: "source_unreachable", exit: unavailable, slow: true, mirror: func(m *machine) {
			m.site.raw(sourcetest.Says(""))
		}},
		{row: 6, name: "nobody-there", does: "nobody listens", code: "source_unreachable", exit: unavailable, slow: true, mirror: func(m *machine) {
			gone := newSite(m)
			gone.server.Close()
			m.configureFor(gone.ring(), false, "")
		}},
	}
}

// noise is that many bytes that look random, the same in each run.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{6}).Read(b) // which never fails
	return b
}

// cloud gives the machine a cloud to fall back to.
func (m *machine) cloud() *site {
	m.Helper()
	cloud := newSite(m)
	m.configureFor(m.site.ring(), true, `"cloudUrl":"`+cloud.ring()+"arch_"+arch()+`/updates.zip"`)
	return cloud
}
