// Package trustdir reads the trust directory: *.pem with the roots that may
// sign for this endpoint, *.crl with what they revoked.
//
// It promises that nobody but root and the caller could have changed what it
// returns: directory, files (where symlinks lead) and every directory above
// them, up to the agent's root directory, belong to root or the caller and are
// writable by nobody else, or lie on a read-only mount. Anything in the
// directory that it can't account for is an error, never skipped.
//
// It does not promise that the roots are the right ones, and it trusts root,
// whoever can become root, and access control lists that show in no mode. On
// Windows, where packages are checked and no endpoint runs, owners and rights are
// not looked at: there it reads what it is told to read.
package trustdir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"mdatp-offline-agent/verifier"
)

// Vendor is the subdirectory for vendors' own roots. Whoever wants it loads it as
// a trust directory of its own.
const Vendor = "vendor"

// Load reads the trust directory dir. root is the directory above which nothing
// is checked, "/" where the agent runs without a root directory of its own.
// A refusal has the code trust_empty where there is no root to trust, and
// trust_invalid where something is unsafe or can't be used; it names the file.
func Load(root, dir string, pins []verifier.Pin) (verifier.Trust, error) {
	// Relative to the working directory, as --root may be given.
	dir, err := filepath.Abs(dir)
	if err == nil {
		root, err = filepath.Abs(root)
	}
	if err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return verifier.Trust{}, empty(dir)
	}
	if err != nil {
		return verifier.Trust{}, invalid(dir, "can not be found", "check the agent's root directory, and name both by absolute paths", err)
	}
	files, err := read(root, dir)
	if err != nil {
		return verifier.Trust{}, err
	}
	trust, err := verifier.NewTrust(files, pins)
	if err == nil && trust.Empty() {
		err = empty(dir)
	}
	if err != nil {
		return verifier.Trust{}, err
	}
	return trust, nil
}

func empty(dir string) error {
	return &verifier.Refusal{Code: verifier.TrustDirEmpty, Sentence: "no root is trusted, since " + dir + " holds no certificate",
		Hint: "copy the root certificate of whoever signs your packages to " + filepath.Join(dir, "root.pem")}
}

func invalid(path, what, hint string, err error) error {
	return &verifier.Refusal{Code: verifier.TrustDirInvalid, Sentence: "the trust directory's " + path + " " + what, Hint: hint, Err: err}
}

func read(root, dir string) ([]verifier.TrustFile, error) {
	real, err := walk(root, dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, empty(dir)
	case err != nil:
		return nil, err
	}
	if err := checkDir(root, real); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(real)
	if err != nil {
		return nil, invalid(dir, "can not be read", "let the agent's user read it, with mode 0755", err)
	}
	var files []verifier.TrustFile
	for _, entry := range entries {
		name := entry.Name()
		// Names with a dot in front are how editors, package managers and
		// Kubernetes keep things that are not meant to be seen.
		if strings.HasPrefix(name, ".") || name == Vendor && leadsToDir(filepath.Join(real, name)) {
			continue
		}
		if len(files) == verifier.MaxTrustFiles {
			return nil, invalid(dir, fmt.Sprintf("holds more than %d files", verifier.MaxTrustFiles), "keep roots and revocation lists only", nil)
		}
		if !verifier.ValidName(name) {
			return nil, invalid("file with an unusual name", "is not looked at", "use letters, digits, dot, dash and underscore in names", nil)
		}
		data, err := readFile(root, real, name)
		if err != nil {
			return nil, err
		}
		files = append(files, verifier.TrustFile{Name: name, Data: data})
	}
	return files, nil
}

// leadsToDir tells whether path is a directory or a link to one. Who could change where
// it leads is looked at when that is loaded.
func leadsToDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// readFile reads one file through the descriptor that was checked.
func readFile(root, dir, name string) ([]byte, error) {
	path, err := walk(root, filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|guarded, 0)
	if err != nil {
		return nil, invalid(name, "can not be read", "let the agent's user read it, with mode 0644", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, invalid(name, "can not be read", "check the file system", err)
	}
	if !info.Mode().IsRegular() {
		return nil, invalid(name, "is no regular file", "keep roots (.pem) and revocation lists (.crl) only", nil)
	}
	if err := checkOwner(name, path, info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, verifier.MaxTrustFile+1))
	if err != nil {
		return nil, invalid(name, "can not be read", "check the file system", err)
	}
	return data, nil
}
