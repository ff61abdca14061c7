// Package state keeps what the agent remembers between runs, in its state
// directory:
//
//	state.json   what it needs to act: floors, sources, what is known bad (0600)
//	status.json  what anybody may read of the last run (0644, no secrets)
//	cut-short.json  the last runs that were interrupted or found another one at work (0644)
//	last-good/   the last configuration files that were valid
//	crls/        revocation lists that the trust directory held (0644)
//	engine-directory   where the sets lie, where that is not the default (0644)
//	lock         who may write (0600, never removed)
//
// It promises that each file is replaced as a whole and is on disk when Save
// returns, that fields which a later version of the program wrote at the top of
// state.json or status.json survive, and that a state of a later schema is read but
// never overwritten.
//
// It does not promise that what it reads is true: a time from the future or a
// floor of a revoked signer is for the caller to judge. Packages on disk prove
// themselves by their signatures; nothing here is needed to trust them.
package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"mdatp-offline-agent/verifier"
)

// Schema is the version of state.json and status.json that this program writes.
const Schema = 1

// Bounds of what is remembered; the oldest goes first.
const (
	maxKnownBad = 64
	maxSources  = 64
	maxFloors   = 16
	maxSets     = 64
)

// State is the content of state.json. The zero value is a machine that
// remembers nothing.
type State struct {
	Schema      int                  `json:"schema"`
	Floors      []Floor              `json:"floors,omitempty"`
	Sources     map[string]Source    `json:"sources,omitempty"`     // by the URL of the package's directory
	KnownBad    []Bad                `json:"knownBad,omitempty"`    // oldest first
	Sets        map[string]Set       `json:"sets,omitempty"`        // by the set's name
	Previous    string               `json:"previous,omitempty"`    // the set that previous pointed to when this was written
	SteppedDown bool                 `json:"steppedDown,omitempty"` // the consent of a _back URL was used for OfflineURL
	HeldSince   time.Time            `json:"heldSince,omitzero"`
	Missing     map[string]time.Time `json:"missing,omitempty"` // by the name of its copy, since when a configuration file is away
	Pending     string               `json:"pending,omitempty"` // a sealed set that the preload hook could not judge yet
	Left        []Left               `json:"left,omitempty"`    // places of the engine directory that are not in force
	Relearn     bool                 `json:"relearn,omitempty"` // it was lost, and what the sets on disk prove was not learned yet
	Totals      Totals               `json:"totals,omitzero"`
	Timing

	read    []byte // as it was read, with the fields that this version doesn't know; nil: it was not
	lost    bool
	damaged bool
}

// Floor is the greatest package accepted from one signer, with the signer's
// chain, so that the floor can be void when the signer is revoked.
type Floor struct {
	verifier.Floor
	Chain [][]byte `json:"chain"` // DER, leaf first
}

// Source is what is remembered of one source.
type Source struct {
	Best         verifier.Floor `json:"best"`                  // the greatest package it served
	Validator    Validator      `json:"validator,omitzero"`    // of updates.zip as it was seen last ...
	Beside       Validator      `json:"beside,omitzero"`       // of its sidecar
	Layout       string         `json:"layout,omitempty"`      // ... how it is laid out, under the profile vendor,
	List         string         `json:"list,omitempty"`        // ... and the digest of the list it stood for,
	Refused      *Failure       `json:"refused,omitempty"`     // ... or why it was refused,
	Under        string         `json:"under,omitempty"`       // ... with this trust and configuration
	Whole        time.Time      `json:"whole,omitzero"`        // until when packages are not asked for by ranges
	Checked      time.Time      `json:"checked,omitzero"`      // last unconditional request
	Sidecar      bool           `json:"sidecar,omitempty"`     // packages were approved by sidecar here
	CoolDown     time.Time      `json:"coolDown,omitzero"`     // not to be asked before
	AskedToWait  bool           `json:"askedToWait,omitempty"` // the server itself asked for the cool-down
	Others       []Archive      `json:"others,omitempty"`      // seen before that one, oldest first
	Vain         Vain           `json:"vain,omitzero"`
	LastAnswered time.Time      `json:"lastAnswered,omitzero"` // for dropping the oldest
}

// Archive is what is remembered of an archive under the profile vendor. The fields are as
// in Source.
type Archive struct {
	Layout  string    `json:"layout"`
	List    string    `json:"list,omitempty"`
	Refused *Failure  `json:"refused,omitempty"`
	Under   string    `json:"under,omitempty"`
	Checked time.Time `json:"checked,omitzero"`
}

// Archive is what is remembered of the archive that was seen last.
func (s Source) Archive() Archive { return Archive{s.Layout, s.List, s.Refused, s.Under, s.Checked} }

// Vain is how many packages came whole from a source and were of no use, since one was.
type Vain struct {
	Times int       `json:"times"`
	Last  time.Time `json:"last"`
	Under string    `json:"under"` // the last of them, with this trust and configuration

	Layout string `json:"layout,omitempty"` // of the last archive whose transfer broke off, counted or not
}

// Validator names one version of an object in a source's own terms.
type Validator struct {
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"lastModified,omitempty"`
	Size         int64  `json:"size,omitempty"`
}

// Bad is content that must not be installed again.
type Bad struct {
	Content    verifier.ContentID `json:"content"`
	Definition verifier.Version   `json:"definitionVersion"`
	Reason     string             `json:"reason"`
	Since      time.Time          `json:"since"`
}

// Set is what is remembered of one set on disk.
type Set struct {
	Source    string    `json:"source,omitempty"` // as reports name it
	Installed time.Time `json:"installed,omitzero"`
	Retired   time.Time `json:"retired,omitzero"` // when it was neither current nor previous any more
	Bad       string    `json:"bad,omitempty"`    // in a status: why its content must not be installed again
}

// Left is a place of the engine directory at which a move left something. The goal of a
// move is noted before anything is made there; which place is in force, the file
// engine-directory says.
type Left struct {
	Path  string    `json:"path"`
	Since time.Time `json:"since,omitzero"` // when it was in force last; zero: it never was
}

// Leave remembers a place that was left.
func (s *State) Leave(path string, since time.Time) {
	s.Return(path)
	s.Left = append(s.Left, Left{path, since})
}

// Return forgets a place that was left.
func (s *State) Return(path string) {
	s.Left = slices.DeleteFunc(s.Left, func(l Left) bool { return l.Path == path })
}

// HasLeft tells whether a place was left.
func (s *State) HasLeft(path string) bool {
	return slices.ContainsFunc(s.Left, func(l Left) bool { return l.Path == path })
}

// Lost tells that there was no state that could be read, although it may be that
// there once was one. What the sets on disk prove must then be learned anew.
func (s *State) Lost() bool { return s.lost }

// Damaged tells that there was one, which could not be read.
func (s *State) Damaged() bool { return s.damaged }

// Newer tells that a later version of the program wrote the state. It is then
// never saved.
func (s *State) Newer() bool { return s.Schema > Schema }

// MarkBad remembers content as bad.
func (s *State) MarkBad(b Bad) {
	s.KnownBad = slices.DeleteFunc(s.KnownBad, func(k Bad) bool { return k.Content == b.Content })
	s.KnownBad = append(s.KnownBad, b)
	if over := len(s.KnownBad) - maxKnownBad; over > 0 {
		s.KnownBad = slices.Delete(s.KnownBad, 0, over)
	}
}

// ForgetBad drops content from what is known bad.
func (s *State) ForgetBad(content verifier.ContentID) {
	s.KnownBad = slices.DeleteFunc(s.KnownBad, func(k Bad) bool { return k.Content == content })
}

// RaiseFloor remembers a floor of the signer with this chain, if it is higher
// than what that signer set before.
func (s *State) RaiseFloor(f verifier.Floor, chain [][]byte) {
	for i := range s.Floors {
		if sameChain(s.Floors[i].Chain, chain) {
			if f.Compare(s.Floors[i].Floor) > 0 {
				s.Floors[i].Floor = f
			}
			return
		}
	}
	s.Floors = append(s.Floors, Floor{f, chain})
	if len(s.Floors) > maxFloors {
		slices.SortFunc(s.Floors, func(a, b Floor) int { return b.Compare(a.Floor) })
		s.Floors = s.Floors[:maxFloors]
	}
}

// LowerFloor forgets every floor but this one: what an operator consented to.
func (s *State) LowerFloor(f verifier.Floor, chain [][]byte) {
	s.Floors = []Floor{{f, chain}}
}

func sameChain(a, b [][]byte) bool {
	return slices.EqualFunc(a, b, slices.Equal[[]byte])
}

// Source gives what is remembered of a source; never nil-like, since the zero
// Source is a source not met before.
func (s *State) Source(url string) Source { return s.Sources[url] }

// SetSource remembers a source.
func (s *State) SetSource(url string, src Source) {
	if s.Sources == nil {
		s.Sources = map[string]Source{}
	}
	s.Sources[url] = src
	for len(s.Sources) > maxSources {
		delete(s.Sources, oldest(s.Sources, func(x Source) time.Time { return x.LastAnswered }))
	}
}

// NoteSet remembers something about a set on disk.
func (s *State) NoteSet(name string, note Set) {
	if s.Sets == nil {
		s.Sets = map[string]Set{}
	}
	s.Sets[name] = note
	for len(s.Sets) > maxSets {
		delete(s.Sets, oldest(s.Sets, func(x Set) time.Time { return x.Installed }))
	}
}

func oldest[T any](m map[string]T, when func(T) time.Time) string {
	var key string
	var at time.Time
	for k, v := range m {
		if key == "" || when(v).Before(at) {
			key, at = k, when(v)
		}
	}
	return key
}

// plainState is State without its methods, for the default encoding.
type plainState State

// UnmarshalJSON keeps the fields that this version doesn't know.
func (s *State) UnmarshalJSON(data []byte) error { return s.decode(bytes.Clone(data)) }

// decode reads a state of a known schema, and keeps data.
func (s *State) decode(data []byte) error {
	var plain plainState
	if err := json.Unmarshal(data, &plain); err != nil {
		return err
	}
	if plain.Schema < 1 {
		return fmt.Errorf("schema %d is not known", plain.Schema)
	}
	plain.read = data
	*s = State(plain)
	return nil
}

// MarshalJSON writes the fields that were kept beside our own.
func (s *State) MarshalJSON() ([]byte, error) {
	return besideUnknown[State](s.read, (*plainState)(s))
}
