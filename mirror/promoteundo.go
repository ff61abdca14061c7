package mirror

import (
	"path/filepath"
	"slices"
	"time"

	"mdatp-offline-agent/verifier"
)

// UndoPromotion takes back what the last promotion to a ring has published, for all
// architectures that it was about: n-1 becomes what is published, and what was
// published becomes n-1. No key is needed, since n-1 has its own list. Whether that is by
// somebody in trust, the endpoints', is told where it is not nil. now is the clock; nil
// means time.Now.
//
// Endpoints that have the newer package keep it: they go back only where they are told
// to. Errors: nothing_installed where there is nothing to take back; those of the tree
// and of the log.
func UndoPromotion(ring string, trust *verifier.Trust, now func() time.Time) (undone []PromotedPair, err error) {
	if real, err := realRing(ring); err == nil && !exists(filepath.Join(filepath.Dir(real), promotionsFile)) {
		return nil, nothingToUndo("nothing was promoted to this ring")
	}
	t, err := openTarget(ring)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if now == nil {
		now = time.Now
	}
	found, err := t.standings(trust)
	if err != nil {
		return nil, treeError("the tree of packages", t.ring, err)
	}
	came := func(line LoggedPromotion) bool { return found[line.Arch].has(line.Content) }
	var steps []undoStep
	for _, line := range lastPromotion(t.log.lines, t.name(), came) {
		step, err := t.lookBack(line, found[line.Arch])
		if err != nil {
			return nil, err
		}
		if step.needed {
			steps = append(steps, step)
		}
	}
	if len(steps) == 0 {
		return nil, nothingToUndo("no promotion to this ring is in force")
	}
	started := now().UTC()
	for _, step := range steps {
		pair, err := t.undo(step, trust, started)
		if err != nil {
			return undone, treeError("the tree of packages", t.ring, err)
		}
		undone = append(undone, pair)
	}
	return undone, nil
}

// lastPromotion gives the lines of the last run that promoted something to a ring. A
// line is there before anything is published, so those that a crash has left without
// what they tell, for which came is false, count for nothing.
func lastPromotion(lines []LoggedPromotion, ring string, came func(LoggedPromotion) bool) (last []LoggedPromotion) {
	for _, l := range slices.Backward(lines) {
		if l.To != ring || l.Action != actionPromote || !came(l) {
			continue
		}
		if len(last) > 0 && !l.Time.Equal(last[0].Time) || slices.ContainsFunc(last, func(o LoggedPromotion) bool { return o.Arch == l.Arch }) {
			break
		}
		last = append(last, l)
	}
	return last
}

func nothingToUndo(sentence string) error {
	return &Error{Code: codeNothing, Sentence: sentence, Hint: "look at the log with agent mirror promotions"}
}

// takenBack says whether the last that the log has of this content in a ring is that
// it was promoted, and then undone.
func takenBack(lines []LoggedPromotion, ring, arch string, content verifier.ContentID) bool {
	var brought verifier.ContentID // by the last promotion, for lines of undo that don't name it
	back := false
	for _, l := range lines {
		switch {
		case l.To != ring || l.Arch != arch:
		case l.Action == actionPromote:
			brought = l.Content
			back = back && brought != content
		case l.Action == actionUndo:
			undone := l.Undone
			if undone == (verifier.ContentID{}) {
				undone = brought
			}
			back = back || undone == content
		}
	}
	return back
}

// undoStep is one architecture that can be taken back.
type undoStep struct {
	arch         string
	place        place
	have, before standing // published, and n-1
	counts       bool     // and the list of what is published is one to go by
	needed       bool     // else it was taken back already
}

// has says whether a content is published, or n-1.
func (s undoStep) has(content verifier.ContentID) bool {
	return slices.ContainsFunc([]standing{s.have, s.before}, func(s standing) bool { return s.list != nil && s.list.Content() == content })
}

// standings looks at all architectures that were promoted to the ring.
func (t *target) standings(trust *verifier.Trust) (map[string]undoStep, error) {
	found := map[string]undoStep{}
	for _, arch := range SyncArchs() {
		if !slices.ContainsFunc(t.log.lines, func(l LoggedPromotion) bool { return l.To == t.name() && l.Arch == arch }) {
			continue
		}
		p, err := t.place(arch)
		if err != nil {
			return nil, err
		}
		counts := func(s standing) bool {
			return s.list != nil && ringPlace{ring: t.ring, arch: p.arch}.counts(s, trust, t.identityOf(s.list, arch))
		}
		have := standingIn(p.arch, counts)
		found[arch] = undoStep{arch: arch, place: p, have: have, counts: counts(have), before: standingIn(p.back, counts)}
	}
	return found, nil
}

// lookBack makes sure that what a line of the log brought can be taken back.
func (t *target) lookBack(line LoggedPromotion, s undoStep) (undoStep, error) {
	// What is published decides, and not whether the log has a line of an undo: a crash
	// may have come between the two.
	s.needed = s.have.list != nil && s.have.list.Content() == line.Content
	switch {
	case !s.needed && !takenBack(t.log.lines, t.name(), line.Arch, line.Content):
		return s, nothingToUndo("what is published is not what the last promotion brought")
	case s.needed && (s.before.archive == "" || s.before.about(s.have)):
		return s, nothingToUndo("no other package is kept from before the last promotion")
	}
	if !s.counts { // anybody who writes to the tree could put it there, to keep the package from being taken back
		return s, nil
	}
	return s, t.keepsAnchor(s.have.list, s.place.arch)
}

// undo takes one architecture back.
func (t *target) undo(s undoStep, trust *verifier.Trust, started time.Time) (PromotedPair, error) {
	approvals, inForce := ringPlace{ring: t.ring, arch: s.place.arch}, s.before
	next := s.place.next()
	err := carry(s.place.back, next, linkOrCopy)
	if err != nil {
		return PromotedPair{}, err
	}
	if _, err := s.place.identified(next, s.before); err != nil {
		return PromotedPair{}, err
	}
	// Endpoints ask for it by the name that its list has.
	if l := s.before.list; l != nil && s.before.origin == Sidecar && l.Zip != "" && standingAt(approvedIn(next)).archive == "" {
		if err := linkOrCopy(filepath.Join(next, filepath.Base(s.before.archive)), filepath.Join(next, l.Zip)); err != nil {
			return PromotedPair{}, err
		}
	}
	pair := PromotedPair{Arch: s.arch, Outcome: PromoteUndone, Previous: s.have.definition()}
	entry := Promotion{Time: started, Action: actionUndo, To: t.name(), Arch: s.arch, Undone: s.have.list.Content()}
	if l := s.before.list; l != nil {
		entry.Engine, entry.Definition, entry.Content = l.Engine, l.Definition, l.Content()
		pair.Engine, pair.Definition, pair.Expired = l.Engine, l.Definition, !started.Before(l.Expires)
		if pair.Untrusted = trust != nil && !s.before.believed(*trust, t.identityOf(l, s.arch)); pair.Untrusted {
			inForce = standing{} // endpoints go on without any, and so does the next promotion
		}
	}
	if makePrivate(approvals.work()) == nil {
		if err := approvals.comesIntoForce(inForce, s.have, trust, t.identityOf(s.have.list, s.arch)); err != nil {
			return PromotedPair{}, err
		}
	}
	have, err := s.place.identified(s.place.arch, s.have)
	if err != nil {
		return PromotedPair{}, err
	}
	entry.User, entry.Host = caller()
	if pair.Logged, err = t.log.append(entry); err != nil {
		return PromotedPair{}, err
	}
	manifest, _ := readManifest(next)
	if err := s.place.putNext(syncState{Versions: manifest, Previous: &previous{fileID: have}}); err != nil {
		return pair, err
	}
	return pair, approvals.cameIntoForce(inForce)
}

// identityOf is what a list must be for in this ring; as to what nobody tells here, it is
// taken at its word.
func (t *target) identityOf(l *verifier.List, arch string) verifier.Identity {
	return identityIn(t.ring, verifier.Identity{Product: l.Product, Platform: l.Platform, Arch: arch, Ring: l.Rings[0]})
}
