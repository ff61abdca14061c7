package state

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// RevocationLists reads the lists that were kept by SaveRevocationLists, less those
// that are known anyway, in the order of their files' names. One that is not what
// was kept is an error (trust_invalid), since without it somebody would be trusted
// who is not. Of those that are known no file is looked at; the next
// SaveRevocationLists mends what is wrong with it.
func (s *Store) RevocationLists(known [][]byte) ([]verifier.TrustFile, error) {
	paths, err := s.revocationFiles()
	if err != nil {
		return nil, s.failed("read", err)
	}
	names := map[string]bool{}
	for _, der := range known {
		names[revocationFile(der)] = true
	}
	var lists []verifier.TrustFile
	for _, path := range paths {
		if names[filepath.Base(path)] {
			continue
		}
		data, err := readRevocations(path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed by a run just now
			continue
		case errors.Is(err, errUnfit):
			return nil, &Error{string(verifier.TrustDirInvalid), "the kept revocation list " + printable.Sentence(path, maxPath) + " is damaged",
				"put the CA's list back into the trust directory, and then remove this file", err}
		case err != nil:
			return nil, s.failed("read", err)
		}
		lists = append(lists, verifier.TrustFile{Name: path, Data: data})
	}
	return lists, nil
}

// revocationFile is the name of a list's file, by which it can be told that it is
// whole.
func revocationFile(der []byte) string { return fmt.Sprintf("%x.crl", sha256.Sum256(der)) }

// readRevocations reads the file of a list; errUnfit where it is not what was kept.
func readRevocations(path string) ([]byte, error) {
	data, err := readUpTo(path, verifier.MaxTrustFile)
	if err == nil && revocationFile(data) != filepath.Base(path) {
		err = errUnfit
	}
	return data, err
}

// revocationFiles gives the paths of the files of the kept lists.
func (s *Store) revocationFiles() (paths []string, err error) {
	dir := filepath.Join(s.dir, "crls")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".crl") {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

// SaveRevocationLists keeps exactly these lists, and what is there and can't be
// read. Anybody may read them, as anybody may read what the agent says of the sets.
// What has not changed is not written.
func (s *Store) SaveRevocationLists(lists [][]byte) error {
	dir := filepath.Join(s.dir, "crls")
	kept := map[string]bool{}
	for _, der := range lists {
		path := filepath.Join(dir, revocationFile(der))
		kept[path] = true
		if _, err := readRevocations(path); err == nil {
			continue
		}
		if err := makeDirs(dir); err != nil {
			return s.failed("write to", err)
		}
		if err := replace(path, der, 0o644); err != nil {
			return s.failed("write to", err)
		}
	}
	// Only now: a run that is killed in between has rather too many than too few.
	paths, err := s.revocationFiles()
	for _, path := range paths {
		if kept[path] {
			continue
		}
		if _, unread := readRevocations(path); unread == nil {
			err = errors.Join(err, os.Remove(path))
		}
	}
	if err != nil {
		return s.failed("write to", err)
	}
	return nil
}
