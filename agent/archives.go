package agent

import (
	"slices"

	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/verifier"
)

// Under the profile vendor all of an archive has to come before anybody knows what it is.
// So what was found out of the last few that a source showed is remembered, by how each is
// laid out, and the same one does not come again: replicas of a source that are out of
// step show theirs by turns. An archive is known for as long as what was found would be
// found again:
//
//   - that it is the installed set, while that is whole and its signer is not revoked;
//   - that it is older, while the same set is installed and nobody consents to older ones;
//   - that it was refused, under the same trust and configuration, for a day. Being shown
//     once a day is what a refused package has to do under every profile.
//
// Somebody who fits another archive to the layout of a known one has it taken for that,
// and nothing is installed.

// maxOthers is how many archives are remembered beside the one that was seen last.
const maxOthers = 4

// knownArchive is what was found out of an archive before, and still holds.
type knownArchive struct {
	layout  string   // of the archive; empty: nothing is known
	refused *Failure // it was refused
	behind  bool     // it is older than what was accepted; else it is the installed one
}

// knownOf gives what is known of the archive that is laid out so.
func (at *attempt) knownOf(layout string) (k knownArchive) {
	if m, ok := at.shownBefore(layout); ok {
		k = at.knownArchive(m)
	}
	return k
}

// shownBefore gives what is remembered of the archive that is laid out so.
func (at *attempt) shownBefore(layout string) (state.Archive, bool) {
	all := append([]state.Archive{at.memory.Archive()}, at.memory.Others...)
	i := slices.IndexFunc(all, func(m state.Archive) bool { return m.Layout == layout })
	if i < 0 {
		return state.Archive{}, false
	}
	return all[i], true
}

// knownArchive gives of what is remembered of an archive what still holds.
func (at *attempt) knownArchive(m state.Archive) (k knownArchive) {
	current := at.session.current
	switch {
	case at.opts.RetryKnownBad:
		return k
	case m.Refused != nil:
		if !at.lately(m.Checked) || m.Under != at.under && (m.Under != at.underCurrent() || !at.opts.AllowDowngrade.IsZero()) {
			return k
		}
		k.refused = (*Failure)(m.Refused)
	case current == nil || current.signed.Revoked: // the same archive may be what replaces it
		return k
	case at.isInstalled(m):
	case m.Under == at.underCurrent() && at.opts.AllowDowngrade.IsZero():
		k.behind = true
	default:
		return k
	}
	k.layout = m.Layout
	return k
}

// isInstalled tells whether that archive is the installed set.
func (at *attempt) isInstalled(m state.Archive) bool {
	current := at.session.current
	return m.Refused == nil && current != nil && m.List == current.signed.Digest.String()
}

// stillThere is what follows from an archive that is the known one.
func (at *attempt) stillThere(n *news, known knownArchive) (verifier.Verdict, error) {
	switch {
	case known.refused != nil:
		at.decided(state.Step{Rule: ruleStillThere})
		return "", known.refused
	case known.behind:
		at.decided(state.Step{Rule: ruleUnchanged})
		return verifier.Behind, nil
	}
	n.raw, n.signed = at.session.current.raw, at.session.current.signed
	return at.compared(n)
}

// setAside keeps what is remembered of the archive that was seen last where another one
// came, or something that is none. Where there are too many, the oldest goes, but for that
// of the installed set.
func (at *attempt) setAside(n *news) {
	m := &at.memory
	if n.layout == m.Layout {
		return
	}
	others := slices.DeleteFunc(slices.Clone(m.Others), func(a state.Archive) bool { return a.Layout == n.layout || a.Layout == m.Layout })
	if m.Layout != "" {
		others = append(others, m.Archive())
	}
	for len(others) > maxOthers {
		oldest := max(0, slices.IndexFunc(others, func(a state.Archive) bool { return !at.isInstalled(a) }))
		others = slices.Delete(others, oldest, oldest+1)
	}
	m.Others = others
}
