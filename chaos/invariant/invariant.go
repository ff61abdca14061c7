// Package invariant says of an engine directory, by nothing but the standard
// library, whether what must hold at every moment of its life does: that current
// and previous lead to whole sets, each exactly what one publisher signed. And it says
// of the record beside it whether that forgets what was accepted, or shows what is not so.
//
// It shares no code with the agent, and it believes nobody but who calls it: what
// was published is told to it when it is published. A fault of the agent's own
// checks can't hide in it.
//
// What it finds is promised for the moment at which it looks, with nobody writing
// meanwhile. It does not judge which of the sets that were published should be the
// active one.
package invariant

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A set has one of these lists: one that was signed, or what the files prove by the
// vendor's own signatures.
const (
	listName    = "META/package.p7m"
	derivedName = "META/package.json"
)

// Publication is what was signed once: the list, byte for byte, and the files
// that it stands for.
type Publication struct {
	Version string    // of the definitions
	Issued  time.Time // as the list has it
	List    []byte
	Derived bool // nobody signed the list, but the vendor each file
	Files   map[string]File
}

func (p Publication) listName() string {
	if p.Derived {
		return derivedName
	}
	return listName
}

// File is one file of a publication.
type File struct {
	Size   int64 // bytes
	SHA256 [sha256.Size]byte
}

// FileOf is the file with that content.
func FileOf(content []byte) File { return File{int64(len(content)), sha256.Sum256(content)} }

// Links are what readers begin with: where the two symlinks lead, empty for none.
type Links struct{ Current, Previous string }

// ReadLinks reads both; the directory need not be there.
func ReadLinks(engine string) (l Links, err error) {
	if l.Current, err = link(filepath.Join(engine, "current")); err != nil {
		return Links{}, err
	}
	l.Previous, err = link(filepath.Join(engine, "previous"))
	return l, err
}

func link(path string) (string, error) {
	target, err := os.Readlink(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return target, err
}

// CheckLinks checks the sets that the links lead to.
func CheckLinks(engine string, l Links, published []Publication) error {
	for _, target := range []struct{ name, set string }{{"current", l.Current}, {"previous", l.Previous}} {
		if target.set == "" {
			continue
		}
		if filepath.Base(target.set) != target.set || strings.HasPrefix(target.set, ".") {
			return fmt.Errorf("%s leads to %q, which is not directly below", target.name, target.set)
		}
		if _, err := CheckSet(filepath.Join(engine, target.set), published); err != nil {
			return fmt.Errorf("%s: %w", target.name, err)
		}
	}
	return nil
}

// CheckSet checks that a directory holds exactly one of the publications, with
// files that nobody may write to, and gives that one. Where several have the same list,
// one of them will do; the error is that of the first.
func CheckSet(dir string, published []Publication) (Publication, error) {
	name := filepath.Base(dir)
	list, err := os.ReadFile(filepath.Join(dir, listName))
	derived := errors.Is(err, fs.ErrNotExist)
	if derived {
		list, err = os.ReadFile(filepath.Join(dir, derivedName))
	}
	if err != nil {
		return Publication{}, fmt.Errorf("the list of %s: %w", name, err)
	}
	var first error
	for _, p := range published {
		if p.Derived != derived || !bytes.Equal(p.List, list) {
			continue
		}
		if err = holds(dir, name, p); err == nil {
			return p, nil
		}
		first = cmp.Or(first, err)
	}
	return Publication{}, cmp.Or(first, fmt.Errorf("the list of %s is none that was published", name))
}

// holds checks that a directory of that name holds a publication, whose list it has.
func holds(dir, name string, p Publication) error {
	if !strings.HasPrefix(name, p.Version+"-") {
		return fmt.Errorf("%s has the list of %s", name, p.Version)
	}
	left := map[string]bool{"META": true, p.listName(): true}
	for file := range p.Files {
		left[file] = true
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir && e.IsDir() {
			return errors.Join(err, hasMode(path, fs.ModeDir|0o755))
		}
		file, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if !left[file] {
			return fmt.Errorf("%s is in no list", file)
		}
		delete(left, file)
		return checkFile(path, file, p)
	})
	if err != nil {
		return fmt.Errorf("in %s: %w", name, err)
	}
	if len(left) > 0 {
		return fmt.Errorf("in %s, %d files are missing", name, len(left))
	}
	return nil
}

func checkFile(path, file string, p Publication) error {
	if file == "META" {
		return hasMode(path, fs.ModeDir|0o755)
	}
	if err := hasMode(path, 0o444); err != nil || file == p.listName() {
		return err // its content was compared before
	}
	content, err := os.ReadFile(path)
	if err == nil && FileOf(content) != p.Files[file] {
		err = fmt.Errorf("%s is not what was signed", file)
	}
	return err
}

func hasMode(path string, want fs.FileMode) error {
	info, err := os.Lstat(path)
	if err == nil && info.Mode() != want {
		err = fmt.Errorf("%s has the mode %s, not %s", filepath.Base(path), info.Mode(), want)
	}
	return err
}

// CheckAll checks every set in the directory, the linked ones and the others, and
// that nothing else is there: no file, no half of a set, nothing in .staging. It
// gives the versions that are installed, in order. It is for a directory at rest.
func CheckAll(engine string, published []Publication) (versions []string, err error) {
	links, err := ReadLinks(engine)
	if err == nil {
		err = CheckLinks(engine, links, published)
	}
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(engine)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		switch e.Name() {
		case "current", "previous":
		case ".staging":
			left, err := os.ReadDir(filepath.Join(engine, ".staging"))
			if err != nil {
				return nil, err
			}
			if len(left) > 0 {
				return nil, fmt.Errorf("%d leftovers in .staging, such as %s", len(left), left[0].Name())
			}
		default:
			p, err := CheckSet(filepath.Join(engine, e.Name()), published)
			if err != nil {
				return nil, err
			}
			versions = append(versions, p.Version)
		}
	}
	slices.Sort(versions)
	return versions, nil
}

// CheckRecord checks that a file of the record, if it is there, is one JSON
// object.
func CheckRecord(path string) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return fmt.Errorf("%s is no JSON: %w", filepath.Base(path), err)
	}
	return nil
}

// CheckFloor checks that the state, which must be there, does not remember less than that
// a publication was accepted.
func CheckFloor(path string, p Publication) error {
	var state struct {
		Floors []struct {
			Definition string    `json:"definitionVersion"`
			Issued     time.Time `json:"issued"`
		} `json:"floors"`
	}
	if err := read(path, &state); err != nil {
		return err
	}
	for _, f := range state.Floors {
		c, err := compareVersions(f.Definition, p.Version)
		if err != nil {
			return err
		}
		if c > 0 || c == 0 && !f.Issued.Before(p.Issued) {
			return nil
		}
	}
	return fmt.Errorf("%s forgets that version %s of %s was accepted", filepath.Base(path), p.Version, p.Issued.UTC().Format(time.RFC3339))
}

// compareVersions compares versions of four numbers.
func compareVersions(a, b string) (int, error) {
	var both [2][]uint64
	for i, text := range []string{a, b} {
		for part := range strings.SplitSeq(text, ".") {
			n, err := strconv.ParseUint(part, 10, 32)
			if err != nil {
				return 0, err
			}
			both[i] = append(both[i], n)
		}
	}
	return slices.Compare(both[0], both[1]), nil
}

// CheckStatus checks that the status, which must be there, shows the active set as it is:
// its name, how each file looks, and, where the vendor has to vouch for the files, that
// this was looked at. Whoever reads it does not hash files that look like that.
func CheckStatus(path, set, profile string) error {
	var status struct {
		Current *struct {
			Set   string
			Under string
			Files map[string]struct {
				Size, MTime int64
				Inode       uint64
			}
		}
		Settings struct {
			Profile string `json:"trustProfile"`
		}
	}
	if err := read(path, &status); err != nil {
		return err
	}
	name, current := filepath.Base(path), status.Current
	if current == nil || current.Set != filepath.Base(set) {
		return fmt.Errorf("%s has another active set than %s", name, filepath.Base(set))
	}
	if judged := current.Under != ""; judged != strings.Contains(profile, "vendor") || status.Settings.Profile != profile {
		return fmt.Errorf("%s tells of the profile %s, and that the vendor's signatures were judged: %v; the profile is %s", name, status.Settings.Profile, judged, profile)
	}
	entries, err := os.ReadDir(set)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.IsDir() {
			continue
		}
		noted, is := current.Files[e.Name()], info.Sys().(*syscall.Stat_t)
		if noted.Size != is.Size || noted.MTime != info.ModTime().UnixNano() || noted.Inode != is.Ino {
			return fmt.Errorf("%s does not have %s as it looks", name, e.Name())
		}
	}
	return nil
}

func read(path string, into any) error {
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	return err
}

// CheckVendorSignatures has osslsigncode and OpenSSL verify each file of a publication,
// which lies in dir, against the roots root.pem and time.pem in trust. What it finds
// holds for every set with the same files. The error is exec.ErrNotFound where one of the
// two programs is missing.
func CheckVendorSignatures(ctx context.Context, trust, dir string, p Publication) error {
	root := filepath.Join(trust, "root.pem")
	for name := range p.Files {
		path := filepath.Join(dir, name)
		var command []string
		switch {
		case strings.HasSuffix(name, ".vdm"):
			command = []string{"osslsigncode", "verify", "-CAfile", root, "-TSA-CAfile", filepath.Join(trust, "time.pem"), "-in", path}
		case strings.HasSuffix(name, ".sig"): // is for the file beside it
			continue
		default:
			command = []string{"openssl", "cms", "-verify", "-inform", "DER", "-binary", "-purpose", "any", "-CAfile", root, "-in", path + ".sig", "-content", path, "-out", os.DevNull}
		}
		program, err := exec.LookPath(command[0])
		if err != nil {
			return exec.ErrNotFound
		}
		if out, err := exec.CommandContext(ctx, program, command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s verifies %s: %w: %.300s", command[0], name, err, bytes.TrimSpace(out))
		}
	}
	return nil
}

// CheckSignature has OpenSSL verify the list of a publication against a root, and
// compares what was signed with the files. What it finds holds for every set whose
// list is the same to the byte. The error is exec.ErrNotFound where there is no OpenSSL.
func CheckSignature(ctx context.Context, root string, p Publication) error {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		return exec.ErrNotFound
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, openssl, "cms", "-verify", "-inform", "DER", "-purpose", "any", "-CAfile", root)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(p.List), &out, &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("openssl cms -verify: %w: %s", err, strings.TrimSpace(errs.String()))
	}
	var list struct {
		DefinitionVersion string `json:"definitionVersion"`
		Files             []struct {
			Name   string `json:"name"`
			Size   int64  `json:"size"`
			SHA256 string `json:"sha256"`
		} `json:"files"`
	}
	if err := json.Unmarshal(out.Bytes(), &list); err != nil {
		return err
	}
	if list.DefinitionVersion != p.Version || len(list.Files) != len(p.Files) {
		return fmt.Errorf("signed were %d files of %s, published were %d of %s", len(list.Files), list.DefinitionVersion, len(p.Files), p.Version)
	}
	for _, f := range list.Files {
		want, ok := p.Files[f.Name]
		if !ok || f.Size != want.Size || f.SHA256 != hex.EncodeToString(want.SHA256[:]) {
			return fmt.Errorf("%s was signed as another file than was published", f.Name)
		}
	}
	return nil
}
