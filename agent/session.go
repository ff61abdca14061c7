package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"time"

	"mdatp-offline-agent/agent/engine"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/managedconfig"
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
	trust   verifier.Trust
	seen    state.Status // the record of the run before
	current *installed   // the active set; nil: none that is whole
	damaged bool         // there is one, but it can't be used
	salvage *installed   // the damaged set, where its list is good: some files may be
	notes   []string
}

// begin starts a session: state directory, lock, memory, engine directory, trust,
// in this order. wait is how long to wait for the lock, two seconds at the least.
// The session must be closed also when there is an error, since a failure behind
// the lock is recorded.
func (a *Agent) begin(ctx context.Context, pins []verifier.Pin, wait time.Duration) (s *session, err error) {
	s = &session{Agent: a}
	if s.store, err = state.Open(a.Paths.State); err != nil {
		return s, err
	}
	if s.lock, err = s.store.Lock(ctx, wait, a.Now()); err != nil {
		return s, err
	}
	if s.memory, err = s.store.Load(); err != nil {
		return s, err
	}
	s.seen = s.store.LoadStatus()
	s.memory.Timing = timing(s.store, s.memory)
	// Behind the lock, so that a directory that can't be written to is on record.
	if s.dir, err = engine.Open(a.Paths.Engine); err != nil {
		return s, err
	}
	if err = s.dir.Clean(); err != nil {
		return s, err
	}
	if s.trust, err = a.loadTrustWith(pins); err != nil {
		return s, err
	}
	for _, note := range trustNotes(s.trust, a.Now()) {
		a.Log.Info(note)
	}
	return s, s.findCurrent(ctx)
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

// atHand is the set whose files need not come again, if they hash right: the
// active one, whole or not; nil where there is none.
func (s *session) atHand() *installed {
	if s.current != nil {
		return s.current
	}
	return s.salvage
}

// noteURL remembers the configured mirror. Changing it renews the consent to one
// step down that a URL ending in _back gives.
func (s *session) noteURL(url string) {
	if s.memory.OfflineURL != url {
		s.memory.OfflineURL, s.memory.SteppedDown = url, false
	}
}

func (s *session) note(text string) { s.notes = append(s.notes, text) }

// floor gives the greatest package that this machine has accepted. What was set
// by a signer who is revoked since does not count. A machine that remembers
// nothing starts at its seed and at what its sets prove.
func (s *session) floor() (verifier.Floor, error) {
	if len(s.memory.Floors) == 0 {
		if err := s.learnFloors(); err != nil {
			return verifier.Floor{}, err
		}
	}
	if s.current != nil && !s.current.signed.Revoked {
		s.raiseFloor(s.current.signed)
	}
	var floor verifier.Floor
	for _, f := range s.memory.Floors {
		revoked, err := s.trust.Revokes(parseChain(f.Chain))
		if err != nil {
			return verifier.Floor{}, err
		}
		if !revoked && f.Floor.Compare(floor) > 0 {
			floor = f.Floor
		}
	}
	return floor, nil
}

// learnFloors takes the floor from the seed and from the sets on disk, as far
// as their lists verify.
func (s *session) learnFloors() error {
	sets, err := s.dir.Sets()
	if err != nil {
		return err
	}
	for _, set := range sets {
		if found, err := openSet(set, s.trust); err == nil && !found.signed.Revoked {
			s.raiseFloor(found.signed)
		}
	}
	if len(s.memory.Floors) > 0 && s.memory.Lost() {
		s.note("what the agent remembers was lost, so the floor was learned anew from the sets on disk")
	}
	if raw, err := readSeedList(s.Paths.Seed); err == nil {
		if signed, err := s.trust.VerifyInstalled(raw); err == nil && !signed.Revoked {
			s.raiseFloor(signed)
		}
	}
	return nil
}

func (s *session) raiseFloor(by verifier.Signed) {
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
	return s.store.SaveRevocationLists(s.trust.ToRecall(issuers))
}

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

// parsePins reads the configured pins, whose form the configuration has checked.
func parsePins(s managedconfig.Settings) ([]verifier.Pin, error) {
	var pins []verifier.Pin
	for _, text := range s.Agent.Trust.Signers.Value {
		pin, err := verifier.ParsePin(text)
		if err != nil {
			return nil, err
		}
		pins = append(pins, pin)
	}
	return pins, nil
}

// notPermitted tells that something may not be read by this user.
func notPermitted(err error) bool { return errors.Is(err, fs.ErrPermission) }
