package agent

import (
	"errors"
	"fmt"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/verifier"
)

// Under the profile vendor all of a package comes before it shows whether it is of any
// use, and nobody signed what tells one archive from another. So a source could have
// gigabytes inflated, written and hashed at each poll, for a few bytes that it changes.
// How often periodic runs do so in vain is bounded here; a person may always ask.

// vainPause is how long no other package is fetched from a source after one that came in
// vain. It doubles with each more, up to longestVainPause.
const (
	vainPause        = time.Hour
	longestVainPause = 24 * time.Hour
)

// tooSoon refuses to fetch another package so shortly after those that came in vain. Under
// another trust or configuration they might not have. A time in the future was written
// with a wrong clock. What broke off last is no other, and may go on.
func (at *attempt) tooSoon(layout string) error {
	v := at.memory.Vain
	if v.Times == 0 || v.Layout == layout || v.Under != at.under || !at.opts.Scheduled || at.opts.Now {
		return nil
	}
	pause := min(vainPause<<min(v.Times-1, 5), longestVainPause)
	if age := at.started.Sub(v.Last); age < 0 || age >= pause {
		return nil
	}
	return &Failure{codeCoolingDown, fmt.Sprintf("packages of this source came in vain, and no other is fetched from it before %s", v.Last.Add(pause).UTC().Format(time.RFC3339)),
		"look at what the source sends; agent definitions update fetches it at once"}
}

// noteVain counts what came whole and was refused or nothing new, or changed all the
// while. A transfer that breaks off is no such thing, unless it is of another archive than
// the one that broke off before. Nor is what a person asked for, nor what a hook of ours
// does, unless the same content came for it before: what it condemned is known bad then,
// and refused.
func (at *attempt) noteVain(err error) {
	if at.received == "" {
		return
	}
	m := &at.memory
	var refused *verifier.Refusal
	var failed *source.Error
	broken := errors.As(err, &failed) && !changed(err)
	same := m.Vain.Layout == "" || m.Vain.Layout == at.received
	if broken {
		m.Vain.Layout = at.received
	}
	switch {
	case err == nil && at.result.Outcome == Updated:
		m.Vain = state.Vain{}
	case !at.opts.Scheduled || broken && same:
	case err == nil || broken || at.again || errors.As(err, &refused) || changed(err) || Explain(err).is(codeStale):
		if age := at.started.Sub(m.Vain.Last); age < 0 || age > 2*longestVainPause {
			m.Vain.Times = 0
		}
		m.Vain = state.Vain{Times: m.Vain.Times + 1, Last: at.started, Under: at.under, Layout: m.Vain.Layout}
	}
	at.session.memory.SetSource(at.key, *m)
}
