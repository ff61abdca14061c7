package agent

import (
	"bytes"
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"

	"mdatp-offline-agent/agent/engine"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/verifier"
)

// installed is a set on disk whose list was verified, or, where the vendor's signatures
// alone count, is verified along with its files.
type installed struct {
	set     engine.Set
	raw     []byte // the list as it lies in the set, signed or derived
	signed  verifier.Signed
	by      trusted                   // whom it was verified by
	under   string                    // by.under(), once the files were judged by the vendor's signatures; empty: not yet, or nobody asks
	revoked bool                      // judged so, a signer of them is revoked; else they are good
	files   map[string]state.FileStat // as they were before they were found whole; nil: not looked at yet
}

// list gives the set's list; nil for no set.
func (i *installed) list() *verifier.List {
	if i == nil {
		return nil
	}
	return i.signed.List
}

// version is the definition version, empty for no set.
func (i *installed) version() string {
	if i == nil {
		return ""
	}
	return i.signed.List.Definition.String()
}

// engineVersion is the engine's version, empty for no set, and where nobody knows it.
func (i *installed) engineVersion() string {
	if i == nil {
		return ""
	}
	return engineText(i.signed.List)
}

// judged keeps which trust in the vendor the files were judged by, and whether by that a
// signer of them is revoked. Either holds for as long as nobody touches them.
func (i *installed) judged(under string, revoked bool) {
	i.under, i.revoked = under, revoked
	i.signed.Revoked = i.signed.Revoked || revoked
}

// openSet verifies a set's list, and that the set bears the name that goes with
// it. The files are not looked at.
func openSet(set engine.Set, trust trusted) (*installed, error) {
	raw, err := set.List()
	if err != nil {
		return nil, err
	}
	signed, err := trust.installedAs(raw)
	if err != nil {
		return nil, err
	}
	if set.Name != engine.SetName(signed.List.Definition, signed.Digest) {
		return nil, &Failure{codeDamaged, "a set in the engine directory has another set's list", "run agent definitions update to install it anew"}
	}
	return &installed{set: set, raw: raw, signed: signed, by: trust}, nil
}

// openCurrent gives the active set, nil where there is none or where its list
// can't be used, and why it is not whole, if it isn't. Files that were not touched since they were last
// hashed, as far as size, time and inode tell, are not hashed again.
func openCurrent(ctx context.Context, dir *engine.Dir, trust trusted, seen *state.Current) (current *installed, why error) {
	set, ok, err := dir.Current()
	if err != nil || !ok {
		return nil, err
	}
	current, err = openSet(set, trust)
	if err != nil {
		return nil, err
	}
	// Looked at before they are hashed: what is changed later, be it while an
	// update runs, then differs from what is recorded.
	if current.files, err = statSet(set); err != nil {
		return current, err
	}
	if untouched(set, current.files, seen) && (seen.Under == trust.under() || trust.vendorUnknown()) {
		current.judged(seen.Under, seen.VendorRevoked)
		return current, nil
	}
	return current, current.whole(ctx)
}

// intact hashes a set whose list is known. The error is set_damaged also
// where the list is not that one, or that of the context.
func intact(ctx context.Context, set engine.Set, raw []byte, list *verifier.List) error {
	found, err := set.List()
	if err != nil {
		return err
	}
	if !bytes.Equal(found, raw) {
		return &Failure{codeDamaged, "the signed list of a set was exchanged", "run agent definitions update to install the set anew"}
	}
	return set.Check(ctx, list.Files)
}

// untouched tells whether a set looks as it did when it was found whole.
func untouched(set engine.Set, files map[string]state.FileStat, seen *state.Current) bool {
	return seen != nil && seen.Set == set.Name && maps.Equal(files, seen.Files)
}

func statSet(set engine.Set) (map[string]state.FileStat, error) {
	stats, err := set.Stat()
	if err != nil {
		return nil, err
	}
	files := make(map[string]state.FileStat, len(stats))
	for name, s := range stats {
		files[name] = state.FileStat(s)
	}
	return files, nil
}

// readSeedList reads the signed list of the set shipped with the program.
func readSeedList(seed string) ([]byte, error) {
	f, err := os.Open(filepath.Join(seed, verifier.ListEntry))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, verifier.MaxListSize+1))
}
