package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// Problem is something in the engine directory that is not as the agent left it.
// Its names are escaped, so that they can be shown.
type Problem struct {
	Set  string // the entry of the engine directory, a set or whatever it is
	File string // in it; empty: the entry itself
	What string // what is wrong, in a few words without anything from the disk but numbers
	Err  error  // an *Error where it could not be looked at, which proves no damage; else nil
}

// notLookedAt is what is said of something that may be as it should be, or not.
const notLookedAt = "can not be looked at"

// longestShown bounds what is shown of a name, in bytes.
const longestShown = 80

// shown escapes a name that somebody else may have chosen.
func shown(name string) string {
	quoted := printable.Quote(name[:min(len(name), longestShown)])
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `\x22`)
}

// Inspect hashes the whole set and gives everything in it that is not as it was
// sealed: what Check finds, and modes and owners as well. The error is that of the
// context.
func (s Set) Inspect(ctx context.Context, files []verifier.File) (problems []Problem, err error) {
	found := func(file, what string, err error) {
		problems = append(problems, Problem{s.Name, shown(file), what, s.Unread(err)})
	}
	root, err := s.open()
	if err != nil {
		found("", "can not be opened as a directory", err)
		return problems, nil
	}
	defer root.Close()
	mine := s.dir.owner()
	for name, shownAs := range map[string]string{".": "", metaDir: metaDir} {
		if info, err := root.Lstat(name); err == nil && info.IsDir() {
			if what := odd(info, fs.ModeDir|dirMode, mine); what != "" {
				found(shownAs, what, nil)
			}
		}
	}
	extra, complete, err := inventory(root)
	if err != nil || !complete {
		found("", "can not be looked through, or holds far too much", err)
		return problems, nil
	}
	list := verifier.ListEntry
	if _, signed := extra[list]; !signed {
		if _, derived := extra[derivedEntry]; derived {
			list = derivedEntry
		}
	}
	for _, f := range append(slices.Clone(files), verifier.File{Name: list}) {
		delete(extra, f.Name)
		if what, err := s.inspectFile(ctx, root, f, mine); what != "" {
			found(f.Name, what, err)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		found(name, "is not in the signed list", nil)
	}
	return problems, nil
}

// inspectFile says what is wrong with one file; empty for nothing. The error is that
// of looking at it. The list itself has no hash here, since whoever read it has judged
// it.
func (s Set) inspectFile(ctx context.Context, root *os.Root, f verifier.File, mine int) (what string, err error) {
	info, err := root.Lstat(f.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "is missing", err
	case err != nil:
		return notLookedAt, err
	case info.Mode().Type() != 0:
		return "is " + kindOf(info.Mode()) + " in place of a file", nil
	case !isList(f.Name) && info.Size() != f.Size:
		return fmt.Sprintf("has %d bytes in place of %d", info.Size(), f.Size), nil
	}
	if !isList(f.Name) {
		var refused *verifier.Refusal
		if err := checkFile(ctx, root, f); errors.As(err, &refused) {
			return "is changed", nil
		} else if err != nil {
			return "can not be read", err
		}
	}
	return odd(info, fileMode, mine), nil
}

// odd says what is wrong with a mode and an owner.
func odd(info fs.FileInfo, want fs.FileMode, mine int) string {
	if info.Mode() != want {
		return fmt.Sprintf("has mode %s in place of %s", info.Mode(), want)
	}
	if uid := owner(info); uid != mine {
		return fmt.Sprintf("belongs to uid %d in place of %d", uid, mine)
	}
	return ""
}

func kindOf(mode fs.FileMode) string {
	switch mode.Type() {
	case 0:
		return "a file"
	case fs.ModeDir:
		return "a directory"
	case fs.ModeSymlink:
		return "a link"
	case fs.ModeNamedPipe:
		return "a pipe"
	}
	return "something special"
}

// owner is who owns the engine directory, and so should own what is in it.
func (d *Dir) owner() int {
	info, err := d.root.Stat(".")
	if err != nil {
		return -1
	}
	return owner(info)
}

// Entry is something in the engine directory that is neither a sealed set, nor a
// link of the agent's, nor .staging.
type Entry struct {
	Problem
	Name      string // as it is, for Drop
	Removable bool   // it has the name of a set of ours, and is none
	Mended    bool   // Clean and Protect mend it
}

// Strange gives what does not belong into the engine directory, by name; what is in
// the place of current or previous and leads to no set; and what is wrong with the
// directory itself. The error is an *Error.
func (d *Dir) Strange() (entries []Entry, err error) {
	if d.root == nil {
		return nil, nil
	}
	names, complete, err := readNames(d.root, ".", maxEntries)
	if err != nil {
		return nil, d.reading("the engine directory can't be listed", err)
	}
	add := func(name, what string, removable, mended bool) {
		entries = append(entries, Entry{Problem{Set: shown(name), What: what}, name, removable, mended})
	}
	if info, err := d.root.Stat("."); err == nil && info.Mode().Perm()&othersWrite != 0 {
		add(".", fmt.Sprintf("has mode %s, so that others can write to it", info.Mode()), false, true)
	}
	if !complete {
		add(".", "holds far too much", false, false)
	}
	slices.Sort(names)
	for _, name := range names {
		if name == lostFound || strings.HasPrefix(name, ".nfs") { // the file systems' own
			continue
		}
		info, err := d.root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) { // somebody took it away
			continue
		}
		if err != nil {
			add(name, notLookedAt, false, false)
		} else if what, removable := d.strange(name, info); what != "" {
			add(name, what, removable, name == previousLink)
		}
	}
	return entries, nil
}

// othersWrite is what no mode here has: anybody could exchange what is in it.
const othersWrite fs.FileMode = 0o022

// Protect takes the right to write to the engine directory from all but its owner.
// The error is an *Error.
func (d *Dir) Protect() error {
	if err := d.forWriting(); err != nil {
		return err
	}
	info, err := d.root.Stat(".")
	if err == nil && info.Mode().Perm()&othersWrite != 0 {
		err = d.root.Chmod(".", info.Mode().Perm()&^othersWrite)
	}
	return d.writing("the mode of the engine directory can't be changed", err)
}

// Unlock gives the owner the right to read the sets again, where the modes of their
// directories and files say no. What else is wrong with a mode is for a repair. The
// error is an *Error. Of what belongs to somebody else nothing is changed.
func (d *Dir) Unlock() error {
	if err := d.forWriting(); err != nil {
		return err
	}
	names, _, err := readNames(d.root, ".", maxEntries)
	if err != nil {
		return d.reading("the engine directory can't be listed", err)
	}
	for _, name := range names {
		if _, ours := parseName(name); !ours {
			continue
		}
		for _, dir := range []string{name, path.Join(name, metaDir)} {
			d.unlock(dir, fs.ModeDir, privateDir)
			files, _, err := readNames(d.root, dir, verifier.MaxEntries)
			if err != nil {
				continue // whoever looks at the set meets it again, and says it
			}
			for _, file := range files {
				d.unlock(path.Join(dir, file), 0, 0o400)
			}
		}
	}
	return nil
}

// unlock adds rights to something of that kind, where the owner may not read it.
// Where that fails, whoever reads it says so.
func (d *Dir) unlock(name string, kind, rights fs.FileMode) {
	info, err := d.root.Lstat(name)
	if err == nil && info.Mode().Type() == kind && info.Mode()&rights&0o500 != rights&0o500 {
		_ = d.root.Chmod(name, info.Mode().Perm()|rights)
	}
}

func (d *Dir) strange(name string, info fs.FileInfo) (what string, removable bool) {
	switch set, named := d.set(name); {
	case name == currentLink || name == previousLink:
		if _, _, err := d.linked(name); err != nil {
			return "leads to no set", false
		}
		return "", false
	case name == stagingDir:
		if !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
			return "is not a private directory", false
		}
		return "", false
	case named && !info.IsDir():
		return "is " + kindOf(info.Mode()) + " in place of a set", true
	case named:
		switch sealed, err := set.isSealed(); {
		case err != nil:
			return notLookedAt, false
		case sealed || d.isGone(name):
			return "", false
		}
		return "has no signed list", true
	}
	return "does not belong here", false // it may be an engine's own, such as its log or its socket
}

// isGone tells that somebody took away what was there.
func (d *Dir) isGone(name string) bool {
	_, err := d.root.Lstat(name)
	return errors.Is(err, fs.ErrNotExist)
}

// Outside counts the files of the sets that have names outside of them as well, by
// which somebody might change them. Files that sets share have several names here.
func (d *Dir) Outside() (files int) {
	sets, err := d.Sets()
	if err != nil {
		return 0
	}
	type inode struct{ names, links uint64 }
	seen := map[uint64]inode{}
	for _, set := range sets {
		stats, err := set.Stat()
		if err != nil {
			continue
		}
		for name := range stats {
			info, err := d.root.Lstat(path.Join(set.Name, name))
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				seen[st.Ino] = inode{seen[st.Ino].names + 1, uint64(st.Nlink)}
			}
		}
	}
	for _, i := range seen {
		if i.links > i.names {
			files++
		}
	}
	return files
}

// Drop removes an entry of the engine directory for good: a set that can't be
// repaired, or what is none. The active set, and .staging, it does not take. The
// error is an *Error.
func (d *Dir) Drop(name string) error {
	if err := d.forWriting(); err != nil {
		return err
	}
	active, _, err := d.Current()
	if err != nil && !isDamage(err) {
		return err
	}
	if name == active.Name || name == stagingDir || name == currentLink {
		return &Error{Code: InstallFailed, Sentence: "what is in use can't be removed", Hint: faultHint}
	}
	err = d.evict(name)
	if err == nil {
		err = d.mendPrevious()
	}
	if err == nil {
		err = syncDir(d.root, ".")
	}
	return d.writing("something in the engine directory can't be removed", err)
}
