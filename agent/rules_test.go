package agent_test

import (
	"fmt"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
)

// step is one thing that happens to a machine, and what must come of it.
type step struct {
	does    func(*world)
	opts    agent.Options
	outcome agent.Outcome
	code    string
	active  uint32 // after it; 0: nothing
}

func (w *world) run(steps []step) {
	w.Helper()
	for i, s := range steps {
		if s.does != nil {
			s.does(w)
		}
		r := w.update(s.opts)
		if r.Outcome != s.outcome || codeOf(r) != s.code {
			w.Fatalf("step %d ended with %s %v, want %s %s", i+1, r.Outcome, r.FailReason, s.outcome, s.code)
		}
		if s.active == 0 && w.active() != "" {
			w.Fatalf("step %d: active is %s", i+1, w.active())
		} else if s.active != 0 {
			w.has(s.active)
		}
	}
}

func publish(p pack) func(*world) { return func(w *world) { w.publish(p) } }

// installed is the start of most stories.
func installed(n uint32) step {
	return step{does: publish(pack{n: n}), outcome: agent.Updated, active: n}
}

// The rules of "Newer or older", in the order of the text.
func TestNewerOrOlder(t *testing.T) {
	t.Parallel()
	same := map[string]string{"x.vdm": "the same in every version"}
	seed := func(w *world) {
		w.write(w.agent.Paths.Seed+"/META/package.p7m", w.sign(pack{n: 4}))
	}
	configure := func(section string) func(*world) {
		return func(w *world) { w.offline(w.ring, false, section) }
	}
	rollback := func(w *world) { w.wantChange(w.agent.Rollback, "", 1) }
	retry := agent.Options{RetryKnownBad: true}
	down := func(n uint32) agent.Options { return agent.Options{AllowDowngrade: v(n)} }
	for _, c := range []struct {
		what  string
		steps []step
	}{
		{"1 the very same", []step{installed(2), {outcome: agent.UpToDate, active: 2}}},
		{"1 the same with a later issue is a renewal", []step{installed(2),
			{does: publish(pack{n: 2, issued: base}), outcome: agent.Renewed, active: 2}}},
		{"1 the same with an earlier issue is up to date", []step{installed(2),
			{does: publish(pack{n: 2, issued: base.Add(-day)}), outcome: agent.UpToDate, active: 2}}},
		{"1 the same with the same issue is up to date", []step{installed(2),
			{does: publish(pack{n: 2, expires: base.Add(3 * day)}), outcome: agent.UpToDate, active: 2}}},
		{"1 the same content under another version is installed", []step{
			{does: publish(pack{n: 2, files: same}), outcome: agent.Updated, active: 2},
			{does: publish(pack{n: 3, files: same}), outcome: agent.Updated, active: 3}}},
		{"1 comes before 2: what is active is not known bad again", []step{installed(1), installed(2),
			{does: rollback, opts: retry, outcome: agent.Updated, active: 2}, {outcome: agent.UpToDate, active: 2}}},
		{"2 known bad", []step{installed(1), installed(2), {does: rollback, outcome: agent.Failed, code: "known_bad", active: 1}}},
		{"2 comes before 3: known bad and below the floor", []step{installed(1), installed(2), {does: rollback, outcome: agent.Failed, code: "known_bad", active: 1},
			installed(3), {does: publish(pack{n: 2}), outcome: agent.Failed, code: "known_bad", active: 3}}},
		{"2 a newer one comes", []step{installed(1), installed(2), {does: rollback, outcome: agent.Failed, code: "known_bad", active: 1}, installed(3)}},
		{"2 asked for by hand", []step{installed(1), installed(2), {does: rollback, opts: retry, outcome: agent.Updated, active: 2}}},
		{"3 older than this source served", []step{installed(2), {does: publish(pack{n: 1}), outcome: agent.Failed, code: "rollback_refused", active: 2}}},
		{"3 older engine", []step{{does: publish(pack{n: 2, engine: 5}), outcome: agent.Updated, active: 2},
			{does: publish(pack{n: 2, engine: 4, issued: base, files: same}), outcome: agent.Failed, code: "rollback_refused", active: 2}}},
		{"3 older issue, other content", []step{installed(2),
			{does: publish(pack{n: 2, issued: base.Add(-day), files: same}), outcome: agent.Failed, code: "rollback_refused", active: 2}}},
		{"3 another source is only behind", []step{installed(2), {does: func(w *world) {
			w.publishIn(w.srv+"/other/production", pack{n: 1})
			w.offline(w.srv+"/other/production", false, "")
		}, outcome: agent.UpToDate, active: 2}, {outcome: agent.UpToDate, active: 2}, {does: func(w *world) {
			w.publishIn(w.srv+"/other/production", pack{n: 0})
		}, outcome: agent.Failed, code: "rollback_refused", active: 2}}},
		{"3 the version that is named", []step{installed(3), {does: publish(pack{n: 1}), opts: down(1), outcome: agent.Updated, active: 1},
			{outcome: agent.UpToDate, active: 1}, installed(2)}},
		{"3 not another version than the named", []step{installed(3), {does: publish(pack{n: 1}), opts: down(2), outcome: agent.Failed, code: "rollback_refused", active: 3}}},
		{"3 the floor becomes what was consented to", []step{installed(3), {does: publish(pack{n: 2}), opts: down(2), outcome: agent.Updated, active: 2},
			{does: publish(pack{n: 1}), outcome: agent.Failed, code: "rollback_refused", active: 2}}},
		{"3 naming a version that needs no consent", []step{installed(1), {does: publish(pack{n: 2}), opts: down(2), outcome: agent.Updated, active: 2}}},
		{"3 a dry run of a downgrade lowers nothing", []step{installed(2),
			{does: publish(pack{n: 1}), opts: agent.Options{DryRun: true, AllowDowngrade: v(1)}, outcome: agent.WouldUpdate, active: 2},
			{outcome: agent.Failed, code: "rollback_refused", active: 2}}},
		{"4 newer definitions", []step{installed(1), installed(2)}},
		{"4 newer engine", []step{installed(1), {does: publish(pack{n: 1, engine: 1, files: same, issued: base}), outcome: agent.Updated, active: 1}}},
		{"4 leaps are the publisher's affair", []step{installed(1), installed(4294967295)}},
		{"4 the floor itself, though current is older", []step{installed(1), installed(2), {does: rollback, opts: retry, outcome: agent.Updated, active: 2}}},
		{"the floor starts at the seed", []step{{does: func(w *world) { seed(w); w.publish(pack{n: 3}) }, outcome: agent.Failed, code: "rollback_refused"}, installed(4)}},
		{"and at the minimum", []step{{does: func(w *world) {
			configure(`"minDefinitionVersion":"` + name(5) + `"`)(w)
			w.publish(pack{n: 4})
		}, outcome: agent.Failed, code: "rollback_refused"}, {opts: down(4), outcome: agent.Failed, code: "rollback_refused"}, installed(5)}},
		{"the minimum does not unload", []step{installed(1), {does: configure(`"minDefinitionVersion":"` + name(5) + `"`), outcome: agent.UpToDate, active: 1},
			{does: publish(pack{n: 2}), outcome: agent.UpToDate, active: 1}, installed(6)}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.offline(w.ring, false, "")
			w.run(c.steps)
		})
	}
}

// The rules of "Times", in the order of the text.
func TestTimes(t *testing.T) {
	t.Parallel()
	at := func(now time.Time, p pack) func(*world) { return func(w *world) { w.at(now); w.publish(p) } }
	in1970 := time.Unix(0, 0)
	old := pack{n: 2, issued: base.Add(-10 * day), expires: base.Add(-2 * day)}
	for _, c := range []struct {
		what   string
		steps  []step
		built  time.Time
		notes  string // of the last step
		status string
	}{
		{"a clock in 1970 is lifted by the build", []step{{does: at(in1970, pack{n: 1}), outcome: agent.Updated, active: 1}}, base.Add(-day), "[clock_wrong]", "up_to_date"},
		{"and by what was accepted", []step{installed(1), {does: at(in1970, pack{n: 2}), outcome: agent.Updated, active: 2}}, time.Time{}, "[clock_wrong]", "up_to_date"},
		{"a wrong clock holds no issue against a package", []step{installed(1),
			{does: at(in1970, pack{n: 2, issued: base.Add(90 * day)}), outcome: agent.Updated, active: 2}}, time.Time{}, "[clock_wrong]", "up_to_date"},
		{"a clock that is behind by less is not wrong", []step{installed(1), {does: at(base.Add(-20*time.Hour), pack{n: 2}), outcome: agent.Updated, active: 2}}, time.Time{}, "[]", "up_to_date"},
		{"a day ahead is fine", []step{{does: publish(pack{n: 1, issued: base.Add(day)}), outcome: agent.Updated, active: 1}}, time.Time{}, "[]", "up_to_date"},
		{"more is not", []step{{does: publish(pack{n: 1, issued: base.Add(day + time.Second)}), outcome: agent.Failed, code: "issued_in_future"}}, time.Time{}, "[]", "unavailable"},
		{"in 1970, knowing nothing, the present is the future", []step{{does: at(in1970, pack{n: 1}), outcome: agent.Failed, code: "issued_in_future"}}, time.Time{}, "[]", "unavailable"},
		{"a chain that has ended", []step{installed(1), {does: at(base.AddDate(2, 0, 0), pack{n: 2}), outcome: agent.Failed, code: "signer_expired", active: 1}}, time.Time{}, "[]", "out_of_date"},
		{"an expired package that is newer", []step{{does: at(base.Add(-9*day), pack{n: 1, issued: base.Add(-11 * day)}), outcome: agent.Updated, active: 1},
			{does: at(base, old), outcome: agent.Updated, active: 2}}, time.Time{}, "[]", "out_of_date"},
		{"an expired package with nothing installed", []step{{does: publish(old), outcome: agent.Failed, code: "package_expired"}}, time.Time{}, "[]", "unavailable"},
		{"by hand it is installed", []step{{does: publish(old), opts: agent.Options{AllowExpired: true}, outcome: agent.Updated, active: 2}}, time.Time{}, "[]", "out_of_date"},
		{"an expiry unloads nothing, and the source is stale", []step{installed(1),
			{does: func(w *world) { w.at(base.Add(30 * day)) }, outcome: agent.Failed, code: "source_stale", active: 1}}, time.Time{}, "[]", "out_of_date"},
		{"nor does the end of the signer", []step{installed(1),
			{does: func(w *world) { w.at(base.AddDate(2, 0, 0)) }, outcome: agent.Failed, code: "signer_expired", active: 1}}, time.Time{}, "[]", "out_of_date"},
		{"a late renewal helps", []step{installed(1),
			{does: at(base.Add(20*day), pack{n: 1, issued: base.Add(20 * day)}), outcome: agent.Renewed, active: 1}}, time.Time{}, "[]", "up_to_date"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.agent.Built = c.built
			w.offline(w.ring, false, "")
			last := len(c.steps) - 1
			w.run(c.steps[:last])
			s := c.steps[last]
			if s.does != nil {
				s.does(w)
			}
			r := w.want(s.outcome, s.code, s.opts)
			if s.active != 0 {
				w.has(s.active)
			}
			if got := fmt.Sprint(r.Notes); got != c.notes {
				t.Errorf("notes %s, want %s", got, c.notes)
			}
			w.health(map[string]string{"definitions_status": `"` + c.status + `"`})
		})
	}
}
