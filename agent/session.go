package agent

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"mdatp-offline-agent/agent/engine"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/verifier"
)

// session is the exclusive right to write, and what a writer starts from: the
// agent's memory, whom to trust, and what is installed.
type session struct {
	*Agent
	store   *state.Store
	lock    *state.Lock
	dir     *engine.Dir
	memory  *state.State
	trust   trusted
	seen    state.Status // the record of the run before
	current *installed   // the active set; nil: none that is whole
	damaged bool         // there is one, but it can't be used
	salvage *installed   // the damaged set, where its list is good: some files may be
	notes   []string
}

// begin starts a session: state directory, lock, memory, engine directory, trust,
// in this order. wait is how long to wait for the lock, two seconds at the least.
// Unless it acts, nothing is decided about where sets go.
// The session must be closed also when there is an error, since a failure behind
// the lock is recorded.
func (a *Agent) begin(ctx context.Context, rules trustRules, wait time.Duration, acts bool) (s *session, err error) {
	if s, err = a.lockState(ctx, wait); err != nil {
		return s, err
	}
	if acts {
		err = s.avoidNoexec()
	}
	if err != nil {
		return s, err
	}
	// Behind the lock, so that a directory that can't be written to is on record.
	if s.dir, err = a.openEngine(); err != nil {
		return s, err
	}
	if err = s.dir.Clean(); err != nil {
		return s, err
	}
	if err = s.lookAround(ctx, rules); err != nil {
		return s, err
	}
	s.settleMove()
	return s, nil
}

// lockState takes the lock and reads what is remembered.
func (a *Agent) lockState(ctx context.Context, wait time.Duration) (s *session, err error) {
	s = &session{Agent: a}
	if s.store, err = state.Open(a.Paths.State); err != nil {
		return s, err
	}
	if s.lock, err = s.store.Lock(ctx, wait, a.Now()); err != nil {
		return s, err
	}
	if s.memory, err = recall(s.store); err != nil {
		return s, err
	}
	s.seen = a.loadStatus(s.store)
	s.noteLoss()
	return s, nil
}

// noteLoss says what was lost with the agent's memory, to whoever reads the result,
// the log, and the report. A machine on which nothing was ever done has lost nothing.
func (s *session) noteLoss() {
	if note := lossOf(s.memory, s.seen); note != "" {
		s.tellLoss(note)
	} else if s.seen.Damaged {
		s.tellLoss(noteNoReport)
	}
}

func (s *session) tellLoss(note string) {
	s.Log.Warn(note)
	s.note(note)
	s.seen.Notes = append(slices.Clone(s.seen.Notes), note)
}

// lookAround finds out whom to trust and what is installed.
func (s *session) lookAround(ctx context.Context, rules trustRules) (err error) {
	if s.trust, err = s.loadTrustBy(rules); err != nil {
		return err
	}
	for _, note := range s.trust.notes(s.Now()) {
		s.Log.Info(note)
	}
	return s.findCurrent(ctx)
}

// Close gives the lock back.
func (s *session) Close() {
	if s == nil {
		return
	}
	if s.lock != nil {
		if err := s.lock.Unlock(); err != nil {
			s.Log.WithError(err).Warn("the lock could not be given back")
		}
	}
	if s.dir != nil {
		if err := s.dir.Close(); err != nil {
			s.Log.WithError(err).Warn("the engine directory could not be closed")
		}
	}
}

// findCurrent looks at what is installed. A set that is damaged, or whose
// signer is not trusted any more, counts as none; a trust directory that can't
// be used, or an interruption, is not the set's fault.
func (s *session) findCurrent(ctx context.Context) error {
	current, why := openCurrent(ctx, s.dir, s.trust, s.seen.Current)
	if why != nil {
		if f := Explain(why); f.Code == codeInterrupted || f.Code == string(engine.InstallFailed) || ExitCode(f.Code) == ExitCode(codeConfig) {
			return why
		}
		s.Log.WithError(why).Warn("the active set can not be used and will be replaced")
		s.damaged, s.salvage = true, current
		return nil
	}
	s.current = current
	return nil
}

// last is the set that was accepted last, whole or not; nil for none.
func (s *session) last() *installed { return cmp.Or(s.current, s.salvage) }

// atHand gives the sets whose files need not come again for the set of this name, if
// they hash right: the active one, whole or not, and what is left of that very set.
func (s *session) atHand(name string) (hands []*installed) {
	switch {
	case s.current != nil:
		hands = append(hands, s.current)
	case s.salvage != nil:
		hands = append(hands, s.salvage)
	}
	if set, ok, err := s.dir.Find(name); err == nil && ok && (len(hands) == 0 || hands[0].set.Name != name) {
		if left, err := openSet(set, s.trust); err == nil {
			hands = append(hands, left)
		}
	}
	return hands
}

// noteURL remembers the configured mirror. Changing it renews the consent to one
// step down that a URL ending in _back gives.
func (s *session) noteURL(url string) {
	if s.memory.OfflineURL != url {
		s.memory.OfflineURL, s.memory.SteppedDown = url, false
	}
}

func (s *session) note(text string) { s.notes = append(s.notes, text) }

// floor gives the greatest package that this machine has accepted, as far as the
// profile can compare with it, and when the greatest was issued, before which it can't
// be now. What was set by a signer who is revoked since does not count. A machine that
// remembers nothing starts at its seed and at what its sets prove.
func (s *session) floor(ctx context.Context) (floor verifier.Floor, issued time.Time, err error) {
	s.voidTimes()
	if len(s.memory.Floors) == 0 || s.memory.Relearn {
		if err := s.learn(ctx); err != nil {
			return verifier.Floor{}, time.Time{}, err
		}
	}
	if s.current != nil && !s.current.signed.Revoked {
		s.raiseFloor(s.current.signed)
	}
	var greatest verifier.Floor
	for _, f := range s.memory.Floors {
		revoked, err := s.trust.Revokes(parseChain(f.Chain))
		if err != nil {
			return verifier.Floor{}, time.Time{}, err
		}
		if revoked {
			continue
		}
		if f.Floor.Compare(greatest) > 0 {
			greatest = f.Floor
		}
		if comparable := s.trust.comparable(f.Floor); comparable.Compare(floor) > 0 {
			floor = comparable
		}
	}
	return floor, greatest.Issued, nil
}

// comparable is what a floor says to the profile. Under the profile vendor no package
// states its engine's version, and what a list calls issued is not when the vendor
// signed: of a floor that a list set only the definitions can be compared.
func (t trusted) comparable(f verifier.Floor) verifier.Floor {
	if t.alone() && !f.Engine.IsZero() {
		return verifier.Floor{Definition: f.Definition}
	}
	return f
}

// voidTimes forgets when packages were issued that can't have been: nobody accepts one
// that is later than the end of its signer's certificate, and a clock that went by it
// would call every certificate expired. The versions stay.
func (s *session) voidTimes() {
	for i := range s.memory.Floors {
		f := &s.memory.Floors[i]
		if chain := parseChain(f.Chain); len(chain) > 0 && f.Issued.After(chain[0].NotAfter) {
			f.Issued, s.memory.Relearn = time.Time{}, true
			s.tellLoss(noteVoid)
		}
	}
}

// learn takes the floor from the seed and from the sets on disk, as far as their
// lists verify, and what is known bad of them from the report of the last run. A set
// that can't be read might prove more than those that can, so that is an error.
func (s *session) learn(ctx context.Context) error {
	sets, err := s.dir.Sets()
	if err != nil {
		return err
	}
	for _, set := range sets {
		found, err := openSet(set, s.trust)
		if unread := set.Unread(err); unread != nil {
			return unread
		}
		if err == nil && s.trust.alone() { // what such a list says is true once the files prove it
			err = found.whole(ctx)
			if unread := set.Unread(err); unread != nil {
				return unread
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			continue
		}
		if note := s.memory.Sets[set.Name]; note.Bad != "" {
			if !s.knownBad(found) {
				s.condemn(found.list(), note.Bad)
			}
			note.Bad = ""
			s.memory.NoteSet(set.Name, note)
		}
		if !found.signed.Revoked {
			s.raiseFloor(found.signed)
		}
	}
	if s.memory.Lost() && !s.memory.Relearn && (s.current != nil || s.damaged) {
		s.tellLoss(noteAllLost) // not even a report is left, but sets are
	}
	s.memory.Relearn = false
	if raw, err := readSeedList(s.Paths.Seed); err == nil {
		if signed, err := s.trust.VerifyInstalled(raw); err == nil && !signed.Revoked {
			s.raiseFloor(signed)
		}
	}
	return nil
}

func (s *session) raiseFloor(by verifier.Signed) {
	if s.trust.alone() && by.Chain == nil {
		return // it was raised when the files were judged, and would be that of nobody now
	}
	s.memory.RaiseFloor(verifier.FloorOf(by.List), rawChain(by.Chain))
}

// keepRevocations keeps what the trust directory revokes, so that it stays revoked
// when a list is taken out of it or exchanged for another.
func (s *session) keepRevocations() error {
	var issuers []*x509.Certificate
	for _, f := range s.memory.Floors {
		issuers = append(issuers, parseChain(f.Chain)...)
	}
	if s.current != nil {
		issuers = append(issuers, s.current.signed.Chain...)
	}
	keep, evicted := s.trust.ToRecall(issuers)
	if s.trust.vendor != nil {
		of, tooMany := s.trust.vendor.Trust.ToRecall(issuers)
		keep, evicted = union(keep, of), union(evicted, tooMany)
	}
	for _, der := range evicted {
		s.tellLoss(fmt.Sprintf(noteEvicted, sha256.Sum256(der)))
	}
	return s.store.SaveRevocationLists(keep)
}

// noteEvicted is the note of a list that there is no room to keep, by its SHA-256.
const noteEvicted = "a revocation list that was taken out of the trust directory is forgotten, since more than 16 MiB of them were kept; " +
	"whom it alone revoked is trusted again; it was %x.crl"

func rawChain(chain []*x509.Certificate) [][]byte {
	raw := make([][]byte, len(chain))
	for i, c := range chain {
		raw[i] = c.Raw
	}
	return raw
}

// parseChain reads a chain out of the agent's memory. A damaged one gives none,
// and then nobody can be said to have revoked it: the floor stays.
func parseChain(raw [][]byte) []*x509.Certificate {
	var chain []*x509.Certificate
	for _, der := range raw {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil
		}
		chain = append(chain, c)
	}
	return chain
}

// notPermitted tells that something may not be read by this user.
func notPermitted(err error) bool { return errors.Is(err, fs.ErrPermission) }
