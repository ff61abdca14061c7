package attacks_test

import (
	"bytes"
	"net/http"
	"os"
	"time"

	"mdatp-offline-agent/verifier"
)

// Row 5, indefinite freeze: the mirror keeps the machine where it is. It can't be
// made to give news; but nobody may be told that all is well.
func freeze() []attack {
	notModified := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }
	return []attack{
		{row: 5, name: "replay", does: "the signed package of last week, to who has this week's", code: "rollback_refused", exit: badData, static: true,
			mirror: func(m *machine) { m.site.put("updates.zip", m.archive(m.pack(410).dated(m.now.Add(-7*day)))) }},
		{row: 5, name: "304-for-ever", does: "304 to every question, until the definitions are too old", ends: "up to date while they are young; then source_stale and out_of_date, until there is news",
			story: func(m *machine) { m.freeze(notModified) }},
		{row: 5, name: "same-for-ever", does: "the same package for ever, until the definitions are too old", ends: "up to date while they are young; then source_stale and out_of_date, until there is news",
			story: func(m *machine) { m.freeze(nil) }},
		{row: 5, name: "304-unasked", does: "304 to a question without a condition", code: "source_unreachable", exit: unavailable, says: "304",
			mirror: func(m *machine) {
				m.must(os.Remove(m.state())) // so that nothing is known to ask with
				m.site.play(notModified)
			}},
		{row: 5, name: "old-date", does: "news under a Last-Modified of long ago, and no entity tag", ends: "installed, since the size or the time is another one",
			story: func(m *machine) {
				p := m.pack(418)
				m.installed = p
				m.site.play(dated(m.archive(p), time.Unix(1, 0)))
				m.wantUpdated(p)
				p = m.pack(419)
				p.files["more.vdm"] = "more"
				m.site.play(dated(m.archive(p), time.Unix(1, 0)))
				m.wantUpdated(p)
			}},
		{row: 5, name: "same-date", does: "news under the Last-Modified and the length of what is installed, and no entity tag", ends: "found within a day, or when asked by hand; the age of the definitions shows meanwhile",
			story: func(m *machine) {
				at := m.now.Add(-time.Hour)
				packs := m.alike(m.pack(418), m.pack(419))
				old, next := packs[0], packs[1]
				m.site.play(dated(m.archive(old), at))
				m.wantUpdated(old)
				m.site.play(dated(m.archive(next), at))
				m.wantUpToDate()
				m.wantUpdated(next, "--retry-known-bad") // which asks without a condition, as each day does
			}},
		{row: 5, name: "fallback", does: "nothing new for ever, where falling back to the cloud is allowed", ends: "news come from the cloud in the same run; the report still names the mirror's failure",
			story: func(m *machine) {
				m.age(8 * day)
				cloud := newSite(m)
				news := m.pack(418)
				cloud.put("updates.zip", m.archive(news))
				m.configureFor(m.site.ring(), true, `"cloudUrl":"`+cloud.ring()+"arch_"+arch()+`/updates.zip"`)
				r := m.wantUpdated(news)
				if r.code() != "source_stale" {
					m.Errorf("the mirror's failure is %q, want source_stale", r.code())
				}
				m.wantHealth("up_to_date", "source_stale")
			}},
		{row: 5, name: "clock-a-year-behind", does: "a normal package, to a machine whose clock is a year behind", ends: "installed, and the report says that the clock is wrong",
			story: func(m *machine) {
				// The same seen from here: packages and the program are from next year.
				later := m.now.AddDate(1, 0, 0)
				b := newMachine(m.TB, m.programs.program(m, later.Format(time.RFC3339)), later.Add(time.Hour))
				b.pub.leaf = b.pub.issue("signer", &b.pub.inter, valid(m.now.Add(-day), b.now.Add(60*day)))
				b.publish(b.pack(417))
				b.wantUpdated(b.installed)
				b.publish(b.pack(418))
				b.wantUpdated(b.installed)
				b.wantHealth("up_to_date", "")
				b.wantNote("clock_wrong")
			}},
		{row: 5, name: "clock-a-year-behind-at-first", does: "a package from next year, to a machine that has never seen one, nor a clock", ends: "issued_in_future, until the clock is right",
			story: func(m *machine) {
				b := newMachine(m.TB, m.program, m.now.AddDate(1, 0, 0))
				b.pub.leaf = b.pub.issue("signer", &b.pub.inter, valid(m.now.Add(-day), b.now.Add(60*day)))
				b.publish(b.pack(417))
				b.wantFailed("issued_in_future")
				b.wantHealth("unavailable", "issued_in_future")
				b.now = m.now
				b.publish(b.pack(418))
				b.wantUpdated(b.installed)
				b.wantHealth("up_to_date", "")
			}},
		{row: 5, name: "clock-a-year-ahead", does: "a normal package, to a machine whose clock is a year ahead", ends: "installed, and out_of_date; protection stays; when the clock is right, all is well",
			story: func(m *machine) {
				// The same seen from here: packages are from last year, and so long are
				// certificates valid.
				b := newMachine(m.TB, m.program, m.now.AddDate(-1, 0, 0))
				b.pub.leaf = b.pub.issue("signer", &b.pub.inter, valid(b.now.AddDate(0, -2, 0), m.now.AddDate(1, 0, 0)))
				b.publish(b.pack(417))
				b.wantFailed("package_expired")
				b.wantUpdated(b.installed, "--allow-expired")
				b.wantHealth("out_of_date", "")
				b.publish(b.pack(418))
				b.wantUpdated(b.installed)
				b.wantHealth("out_of_date", "")
				b.now = m.now
				b.publish(b.pack(419))
				b.wantUpdated(b.installed)
				b.wantHealth("up_to_date", "")
			}},
		{row: 5, name: "expired", does: "a newer package that has expired", ends: "installed, since late definitions beat old ones, and out_of_date; the next one mends it",
			story: func(m *machine) {
				m.publish(m.pack(418).with(func(l *verifier.List) { l.Expires = m.now.Add(-time.Minute) }))
				m.wantUpdated(m.installed)
				m.wantHealth("out_of_date", "package_expired")
				m.publish(m.pack(419))
				m.wantUpdated(m.installed)
				m.wantHealth("up_to_date", "")
			}},
		{row: 5, name: "expired-at-first", does: "an expired package, to a machine that has none", ends: "package_expired, unless it is allowed by hand",
			story: func(m *machine) {
				b := newMachine(m.TB, m.program, m.now)
				p := b.pack(417).dated(m.now.Add(-30 * day))
				b.publish(p)
				b.wantFailed("package_expired")
				b.wantHealth("unavailable", "package_expired")
				b.publish(b.pack(418))
				b.wantUpdated(b.installed)
				b.wantHealth("up_to_date", "")
			}},
		{row: 5, name: "renewal", does: "the same files for weeks, with a list that the publisher renews", ends: "renewed; the age counts from the release all the same",
			story: func(m *machine) {
				p := m.age(6 * day)
				p.list.Issued, p.list.Expires = m.now.Add(-time.Minute), m.now.Add(14*day)
				m.publish(p)
				if r, _ := m.update(); r.Outcome != "renewed" {
					m.Fatalf("the update ended with %s %v", r.Outcome, r.FailReason)
				}
				m.wantHealth("up_to_date", "")
				m.checkActive()
			}},
	}
}

// age has the machine start anew with a package that was released so long ago.
func (m *machine) age(by time.Duration) pack {
	m.Helper()
	b := newMachine(m.TB, m.program, m.now)
	p := b.pack(400).dated(m.now.Add(-by))
	p.list.Expires = m.now.Add(14 * day)
	b.publish(p)
	b.wantUpdated(p)
	b.programs, b.peak = m.programs, m.peak
	*m = *b
	return p
}

// freeze has a mirror that answers so for ever. The time that passes is the age of
// what it froze the machine at.
func (m *machine) freeze(answer http.HandlerFunc) {
	m.Helper()
	young := m.age(6 * day)
	m.site.play(answer)
	m.wantUpToDate()
	m.wantHealth("up_to_date", "")
	m.installed = young
	old := m.age(8 * day)
	m.site.play(answer)
	before := m.snapshot()
	m.wantFailed("source_stale")
	m.wantSame(before)
	m.installed = old
	m.checkActive()
	m.wantHealth("out_of_date", "source_stale")
	m.publish(m.pack(500))
	m.wantUpdated(m.installed)
	m.wantHealth("up_to_date", "")
}

// dated serves one file with a Last-Modified and nothing else to tell it from others.
func dated(data []byte, at time.Time) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.ServeContent(w, r, "", at, bytes.NewReader(data)) }
}
