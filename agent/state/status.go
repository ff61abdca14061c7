package state

import (
	"bytes"
	"encoding/json"
	"time"
)

// Status is the content of status.json: the last run as anybody may see it. It
// holds no secrets.
type Status struct {
	Schema      int            `json:"schema"`
	LastAttempt time.Time      `json:"lastAttempt,omitzero"`
	LastSuccess time.Time      `json:"lastSuccess,omitzero"`
	HeldSince   time.Time      `json:"heldSince,omitzero"`   // periodic updates are held; zero: they are not
	Failed      bool           `json:"failed,omitempty"`     // no source worked at the last attempt
	FailReason  *Failure       `json:"failReason,omitempty"` // also set where a fallback hid the failure
	Notes       []string       `json:"notes,omitempty"`
	Current     *Current       `json:"current,omitempty"`
	Sets        map[string]Set `json:"sets,omitempty"` // by the set's name
	Settings    *Settings      `json:"settings,omitempty"`
	Fallback    bool           `json:"fallback,omitempty"`        // the last update came from the fallback
	Duration    float64        `json:"durationSeconds,omitempty"` // of the last attempt
	Totals      Totals         `json:"totals,omitzero"`
	Runs        Runs           `json:"runs,omitempty"`

	EngineDirectory string `json:"engineDirectory,omitempty"` // where the sets were moved to; empty: nowhere
	// SourceIsolation is what kept the process that read a source last from
	// everything that it did not need.
	SourceIsolation string `json:"sourceIsolation,omitempty"`
	Timing

	Damaged bool `json:"-"` // there was one, which could not be read

	read []byte // as it was read, with the fields that this version doesn't know; nil: it was not
}

// plainStatus is Status without its methods, for the default encoding.
type plainStatus Status

// UnmarshalJSON keeps the fields that this version doesn't know.
func (s *Status) UnmarshalJSON(data []byte) error { return s.decode(bytes.Clone(data)) }

// decode reads a status, and keeps data.
func (s *Status) decode(data []byte) error {
	var plain plainStatus
	if err := json.Unmarshal(data, &plain); err != nil {
		return err
	}
	plain.read = data
	*s = Status(plain)
	return nil
}

// MarshalJSON writes the fields that were kept beside our own.
func (s Status) MarshalJSON() ([]byte, error) { return besideUnknown[Status](s.read, plainStatus(s)) }

// Failure is why something did not work.
type Failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Current is what the agent saw when it activated, or last checked, a set. A
// set whose files still have the same size, time and inode need not be hashed
// again.
type Current struct {
	Set   string              `json:"set"`
	Files map[string]FileStat `json:"files"`
	Under string              `json:"under,omitempty"` // which trust in the vendor its files were judged by; empty: by none

	VendorRevoked bool `json:"vendorRevoked,omitempty"` // by that trust, a signer of them is revoked
}

// FileStat tells whether a file was touched: size in bytes, modification time in
// nanoseconds since 1970, inode.
type FileStat struct {
	Size  int64  `json:"size"`
	MTime int64  `json:"mtime"`
	Inode uint64 `json:"inode"`
}

// Settings is the configuration that was in force, for readers who can't read
// the configuration itself, or when it is broken.
type Settings struct {
	AutomaticUpdate Setting[bool]   `json:"automaticDefinitionUpdateEnabled"`
	OfflineUpdate   Setting[bool]   `json:"offlineDefinitionUpdate"`
	OfflineURL      Setting[string] `json:"offlineDefinitionUpdateUrl"`
	FallbackToCloud Setting[bool]   `json:"offlineDefinitionUpdateFallbackToCloud"`
	DueDays         int             `json:"definitionUpdateDue"`
	Enforcement     Setting[string] `json:"enforcementLevel,omitzero"`
	Profile         string          `json:"trustProfile,omitempty"` // empty: a version wrote it that knew of none but list
}

// Setting is a value and whether the managed configuration set it.
type Setting[T any] struct {
	Value   T    `json:"value"`
	Managed bool `json:"managed"`
}
