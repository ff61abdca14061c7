package engine

import (
	"context"
	"crypto/rand"
	"io/fs"
	"os"
	"path"
	"slices"

	"mdatp-offline-agent/verifier"
)

// Seal adds the list as it is to lie in the set, makes the set durable and immutable,
// and renames it out of .staging. It must hold exactly the files of list, of which raw
// is the signed form or, where it is derived, the JSON. Nothing is activated.
// The error is an *Error or that of the context; Discard is then still due.
//
// Where a directory of that name exists already, it keeps its place, since
// current may lead to it, and every file in it that is not the listed one is
// exchanged for the staged one; what does not belong there is removed.
func (d *Dir) Seal(ctx context.Context, s *Staging, list *verifier.List, raw []byte) (Set, error) {
	if err := d.forWriting(); err != nil {
		return Set{}, err
	}
	set, ok := d.set(s.name)
	if !ok {
		return Set{}, badName()
	}
	if err := s.complete(list.Files); err != nil {
		return Set{}, err
	}
	listFile, err := s.writeList(ctx, raw)
	if err != nil {
		return Set{}, err
	}
	if err := s.settle(); err != nil {
		return Set{}, d.writing("a set can't be made durable", err)
	}
	s.close()
	if err := d.place(ctx, s, append(slices.Clone(list.Files), listFile)); err != nil {
		return Set{}, d.writing("a set can't be put into its place", err)
	}
	s.Discard() // where a set was repaired, what was not needed for it
	return set, nil
}

// place renames the settled staging to the set's name, or repairs the set that
// is there, and makes that durable.
func (d *Dir) place(ctx context.Context, s *Staging, files []verifier.File) error {
	info, taken, err := exists(d.root, s.name)
	switch {
	case err != nil:
		return err
	case taken && info.IsDir():
		if err := d.repair(ctx, s, files); err != nil {
			return err
		}
		return syncDir(d.root, ".")
	case taken: // a file or a link under a set's name was never a set
		if err := d.evict(s.name); err != nil {
			return err
		}
	}
	if err := d.root.Rename(s.path, s.name); err != nil {
		return err
	}
	return syncDir(d.root, ".")
}

// repair makes an existing directory hold exactly the files, exchanging what is
// damaged for what was staged. Every step leaves at least as many whole files as
// there were before, so it can be broken off and repeated.
func (d *Dir) repair(ctx context.Context, s *Staging, files []verifier.File) error {
	if err := d.root.Chmod(s.name, dirMode); err != nil {
		return err
	}
	if err := d.repairMeta(s.name); err != nil {
		return err
	}
	root, err := openSub(d.root, s.name)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range files {
		if isWhole(ctx, root, f, d.owner()) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.exchange(path.Join(s.path, f.Name), path.Join(s.name, f.Name)); err != nil {
			return err
		}
	}
	if err := d.evictExtra(root, s.name, files); err != nil {
		return err
	}
	if err := settleDir(root, metaDir, dirMode); err != nil {
		return err
	}
	return settleDir(root, ".", dirMode)
}

// repairMeta makes sure that the set has a META directory that can be written.
func (d *Dir) repairMeta(set string) error {
	meta := path.Join(set, metaDir)
	info, taken, err := exists(d.root, meta)
	if err != nil {
		return err
	}
	if taken && !info.IsDir() {
		if err := d.evict(meta); err != nil {
			return err
		}
		taken = false
	}
	if !taken {
		if err := d.root.Mkdir(meta, privateDir); err != nil {
			return err
		}
	}
	return d.root.Chmod(meta, dirMode)
}

// isWhole tells whether a file of a set needs no repair. One of another mode or
// owner does: somebody may have it open for writing.
func isWhole(ctx context.Context, root *os.Root, f verifier.File, mine int) bool {
	info, err := root.Lstat(f.Name)
	return err == nil && odd(info, fileMode, mine) == "" && checkFile(ctx, root, f) == nil
}

// exchange renames from over to, whatever stands there.
func (d *Dir) exchange(from, to string) error {
	info, taken, err := exists(d.root, to)
	if err != nil {
		return err
	}
	if taken && info.IsDir() { // the one thing that a rename does not replace
		if err := d.evict(to); err != nil {
			return err
		}
	}
	return d.root.Rename(from, to)
}

// evictExtra removes from a set what is none of its files. A hostile number of
// them is met in rounds; each holds more names than a set has files.
func (d *Dir) evictExtra(root *os.Root, set string, files []verifier.File) error {
	for {
		found, complete, err := inventory(root)
		if err != nil {
			return err
		}
		for _, f := range files {
			delete(found, f.Name)
		}
		for name := range found {
			if err := d.evict(path.Join(set, name)); err != nil {
				return err
			}
		}
		if complete {
			return nil
		}
	}
}

// evict takes something out of sight in one step before it is removed in many,
// so that what is half removed never stands under a name that means something.
func (d *Dir) evict(name string) error {
	away, err := d.setAside(name)
	if err != nil {
		return err
	}
	return removeTree(d.root, away)
}

// setAside renames something into .staging and gives its new path. A directory
// is made writable first, because moving it changes its parent entry.
func (d *Dir) setAside(name string) (string, error) {
	info, err := d.root.Lstat(name)
	if err != nil {
		return "", err
	}
	if info.IsDir() && info.Mode().Perm()&0o200 == 0 {
		if err := d.root.Chmod(name, info.Mode().Perm()|fs.FileMode(0o700)); err != nil {
			return "", err
		}
	}
	away := path.Join(stagingDir, rand.Text())
	return away, d.root.Rename(name, away)
}
