package mirror

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
)

// settle finishes what a run before this one, or this one itself, has begun: what was
// published pushes what was there before into n-1. Doing it twice does nothing more.
// What goes for good with the n-1 before, since it lay there beside a pair, is named.
//
// An error means that n-1 was not kept. It can be tried again until something else is
// published, and must not keep that from happening.
func (t place) settle(s syncState) (gone []string, err error) {
	if err := undoAside(t.next(), t.back); err != nil {
		return nil, err
	}
	if t.pending(s) {
		if gone, err = t.keepPrevious(); err != nil {
			return nil, err
		}
	}
	// What is left was n-1 before, was never published, or is a file that was only
	// begun.
	return gone, t.clear(func(name string) bool {
		return name != stateFile && name != refusedFile && !strings.HasPrefix(name, partPrefix)
	})
}

// pending says whether next is what was published before what is published now.
func (t place) pending(s syncState) bool {
	published, ok := zipIn(t.arch)
	if !ok || published != s.File || s.Previous == nil {
		return false
	}
	old, ok := zipIn(t.next())
	return ok && old == s.Previous.fileID
}

// keepPrevious makes next n-1.
func (t place) keepPrevious() (gone []string, err error) {
	if err := makeDirs(filepath.Dir(t.back)); err != nil {
		return nil, err
	}
	before, err := besidePair(t.back)
	if err != nil {
		return nil, err
	}
	now, err := besidePair(t.next())
	if err != nil {
		return nil, err
	}
	gone = slices.DeleteFunc(before, func(name string) bool { return slices.Contains(now, name) })
	if err = swap(t.next(), t.back); errors.Is(err, errOtherDisk) {
		err = t.copyPrevious()
	}
	return gone, err
}

// copyPrevious makes a copy of next n-1, which lies on another file system: the copy is
// made beside it and takes its place at once.
func (t place) copyPrevious() error {
	work, err := workBeside(t.back)
	if err != nil {
		return err
	}
	beside := place{arch: t.back, work: work}
	all := func(string) bool { return true }
	if err := errors.Join(undoAside(beside.next(), t.back), beside.clear(all)); err != nil {
		return err
	}
	err = beside.take(t.next())
	return errors.Join(err, beside.clear(all))
}

// take publishes a copy of a directory.
func (t place) take(dir string) error {
	old, _ := zipIn(dir)
	if err := enoughRoom(t.work, old.Size); err != nil {
		return err
	}
	if err := carry(dir, t.next(), copyFile); err != nil {
		return err
	}
	return t.publish()
}
