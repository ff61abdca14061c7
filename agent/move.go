package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"mdatp-offline-agent/agent/engine"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/managedconfig"
	"mdatp-offline-agent/verifier"
)

// EngineDirectory is where the sets lie: the default place, unless they were moved.
// The error says that nobody can tell; then nothing must be taken for not installed.
func (a *Agent) EngineDirectory() (string, error) {
	return a.engineDirectoryBy(state.View(a.Paths.State).LoadStatus)
}

// engineDirectoryBy is EngineDirectory for who has a way of its own to the last report.
func (a *Agent) engineDirectoryBy(report func() state.Status) (string, error) {
	moved, err := state.View(a.Paths.State).EngineDirectoryBy(report)
	if err != nil || moved != "" {
		return moved, err
	}
	return a.Paths.Engine, nil
}

// viewEngine opens the engine directory for reading, and openEngine for writing.
func (a *Agent) viewEngine() (*engine.Dir, error) {
	return a.viewEngineBy(state.View(a.Paths.State).LoadStatus)
}
func (a *Agent) viewEngineBy(report func() state.Status) (*engine.Dir, error) {
	return a.openPlace(report, engine.View, engine.Place.View)
}
func (a *Agent) openEngine() (*engine.Dir, error) {
	return a.openPlace(state.View(a.Paths.State).LoadStatus, engine.Open, engine.Place.Open)
}

// openPlace opens the engine directory, in one way where it was moved, and in another
// where it is at the default place.
func (a *Agent) openPlace(report func() state.Status, open func(string) (*engine.Dir, error), moved func(engine.Place) (*engine.Dir, error)) (*engine.Dir, error) {
	path, err := a.engineDirectoryBy(report)
	if err != nil {
		return nil, err
	}
	if path == a.Paths.Engine {
		return open(path)
	}
	place, err := a.placeAt(path)
	if err != nil {
		return nil, err
	}
	return moved(place)
}

// placeAt is the engine directory at a path that somebody chose.
func (a *Agent) placeAt(path string) (engine.Place, error) {
	uid, err := state.View(a.Paths.State).Owner()
	return engine.Place{Path: path, Owner: uid}, err
}

// makePlace makes a path that somebody chose an engine directory, if it is fit for that.
func (a *Agent) makePlace(path string) (*engine.Dir, error) {
	place, err := a.placeAt(path)
	if err != nil {
		return nil, err
	}
	return place.Make()
}

// fit tells whether path may become the engine directory; sets: with what is there.
func (a *Agent) fit(path string, sets bool) error {
	top, err := resolve(a.Paths.Root)
	if err != nil {
		return err
	}
	return engine.Fit(path, sets, top)
}

// Location is where the engine directory is, and was before. Its JSON is part of the
// program's interface.
type Location struct {
	Type     string   `json:"$type"`
	Path     string   `json:"path"`
	Previous *string  `json:"previousPath"` // null: nothing was moved from anywhere
	Notes    []string `json:"notes"`
}

// SetPath moves the engine directory to another place, on whatever file system: the
// sets are copied or shared and hashed there, and made durable, before one small
// file says in one step that they are there now. The postload hook is told. Readers
// of the old place have ten minutes; the next run after that removes it. A place
// where the sets are already is no error.
func (a *Agent) SetPath(ctx context.Context, to string, wait time.Duration) (Location, error) {
	place := Location{Type: "definitionsPathResult", Notes: []string{}}
	to, err := resolve(to)
	if err != nil {
		return place, err
	}
	place.Path = to
	config, rules, err := a.readByHand()
	if err != nil {
		return place, err
	}
	s, err := a.lockState(ctx, wait)
	if err == nil {
		err = newer(s.memory)
	}
	if err == nil {
		err = s.setPath(ctx, config.settings, rules, &place)
	}
	s.Close()
	a.exportMetrics(ctx, config.settings)
	return place, err
}

// resolve gives the path that leads there without links, so that no link can lead
// elsewhere later.
func resolve(path string) (string, error) {
	path = filepath.Clean(path)
	if !state.ValidPath(path) {
		return "", &Failure{codeUsage, "the engine directory needs an absolute path without unusual characters", "for example --path /data/definitions"}
	}
	there, rest := path, ""
	for {
		real, err := filepath.EvalSymlinks(there)
		if err == nil {
			path = filepath.Join(real, rest)
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || there == filepath.Dir(there) {
			break // whoever goes there meets the same error, and explains it
		}
		there, rest = filepath.Dir(there), filepath.Join(filepath.Base(there), rest)
	}
	if !state.ValidPath(path) {
		return "", &Failure{codeUsage, "a link leads to a path with unusual characters", "name another directory"}
	}
	return path, nil
}

// setPath is SetPath behind the lock.
func (s *session) setPath(ctx context.Context, settings managedconfig.Settings, rules trustRules, place *Location) error {
	from := ""
	here, err := s.EngineDirectory()
	if err == nil {
		from, err = resolve(here)
	}
	if err == nil {
		s.dir, err = s.viewEngine()
	}
	if from == place.Path { // if it is not mounted, nothing must begin below its mount point
		return err
	}
	if err != nil && !areGone(err) {
		return err // so are they here: it is this user, or the moment, that can't read them
	}
	if err != nil { // lost, or on a disk that is: the new place begins with what it has
		s.Log.WithError(err).Warn("no set can be moved from where the sets were")
		place.Notes = append(place.Notes, "nothing was moved, since where the sets were can not be read")
		return s.beginAt(ctx, settings, rules, place.Path)
	}
	if err := s.lookAround(ctx, rules); err != nil {
		return err
	}
	if s.damaged {
		return notWhole()
	}
	s.settleMove()
	if inside(place.Path, from) || inside(from, place.Path) {
		return &Failure{codeInstall, "one of the directories " + from + " and " + place.Path + " lies inside of the other", "choose a directory that has nothing to do with the present one"}
	}
	var notes []string
	if s.current == nil && s.memory.HasLeft(place.Path) { // no sets must not take the place of some
		_ = s.dir.Close()
		s.memory.Leave(from, s.Now().UTC())
		err = s.beginAt(ctx, settings, rules, place.Path)
	} else {
		notes, err = s.moveTo(ctx, settings, from, place.Path)
	}
	place.Previous, place.Notes = &from, append(notes, "what is in "+from+" stays for its readers, and the first run after ten minutes removes it")
	return err
}

// areGone tells, of an error about where the sets are, that they are not there, or that
// nobody can know where that is. What a call could not do this time proves neither.
func areGone(err error) bool {
	var broken *engine.Error
	if errors.As(err, &broken) {
		return broken.Code == engine.SetDamaged || errors.Is(err, engine.ErrNotIt)
	}
	var failed syscall.Errno
	return !errors.As(err, &failed) || failed == syscall.ENOENT
}

// inside tells whether path lies below dir.
func inside(path, dir string) bool {
	return strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// beginAt makes a place the one of the engine directory, with the sets that are
// there, or none.
func (s *session) beginAt(ctx context.Context, settings managedconfig.Settings, rules trustRules, to string) error {
	s.dir = nil
	err := s.fit(to, true)
	if err != nil {
		return err
	}
	if s.dir, err = s.makePlace(to); err != nil {
		return err
	}
	if err := s.dir.Clean(); err != nil {
		return err
	}
	if err := s.lookAround(ctx, rules); err != nil {
		return err
	}
	return s.commitPlace(ctx, settings, to)
}

// maxLeft is how many places may have been left and not be removed yet.
const maxLeft = 8

// moveTo copies the sets and commits. What is at the goal already is what an earlier
// move left there, or it is nobody's to touch. A move that fails takes away what it
// made, and nothing that was there before, which may have its readers.
func (s *session) moveTo(ctx context.Context, settings managedconfig.Settings, from, to string) (notes []string, err error) {
	left := s.memory.HasLeft(to)
	if err := s.fit(to, left); err != nil {
		return nil, err
	}
	remove := engine.Remove
	if _, err := os.Lstat(to); err == nil {
		remove = func(path string) error { _, err := engine.Clear(path); return err }
	}
	if !left {
		if len(s.memory.Left) >= maxLeft {
			return nil, tooManyLeft(s.memory.Left)
		}
		s.memory.Leave(to, time.Time{})
		if err := s.store.Save(s.memory); err != nil {
			return nil, err
		}
	}
	target, err := s.makePlace(to)
	if err == nil {
		notes, err = s.copyTo(ctx, target)
	}
	if err != nil {
		if target != nil {
			_ = target.Close()
		}
		if !left && remove(to) == nil {
			s.memory.Return(to)
		}
		return nil, errors.Join(err, s.store.Save(s.memory))
	}
	old := s.dir
	s.dir = target
	defer old.Close()
	s.memory.Leave(from, s.Now().UTC())
	return notes, s.commitPlace(ctx, settings, to)
}

func tooManyLeft(left []state.Left) error {
	return &Failure{codeInstall, fmt.Sprintf("the sets were moved often, and there is still something in %d of the places that they were moved from, such as %s", len(left), left[0].Path),
		"wait for ten minutes and try again, and if that does not help, look into the log for why it can not be removed"}
}

// copyTo makes the links and sets of another directory those of this one. A set that
// is not whole is left behind, and said.
func (s *session) copyTo(ctx context.Context, target *engine.Dir) (notes []string, err error) {
	if err := target.Clean(); err != nil {
		return nil, err
	}
	sets, err := s.dir.Sets()
	if err != nil {
		return nil, err
	}
	var good []*installed
	wanted := map[[32]byte]int64{}
	for _, set := range sets {
		i, err := openSet(set, s.trust)
		if err != nil {
			notes = append(notes, "the set "+set.Name+" was not moved, since its list can not be used")
			continue
		}
		good = append(good, i)
		for _, f := range i.list().Files {
			wanted[f.SHA256] = f.Size
		}
	}
	if !target.Shares(s.dir) {
		var sum int64
		for size := range maps.Values(wanted) {
			sum += size
		}
		if err := target.Room(sum, len(wanted)+2*len(good)); err != nil {
			return nil, err
		}
	}
	var moved []engine.Set
	for _, i := range good {
		set, err := s.copySet(ctx, target, i, moved)
		if Explain(err).is(codeDamaged) && (s.current == nil || i.set.Name != s.current.set.Name) {
			notes = append(notes, "the set "+i.set.Name+" was not moved, since it is damaged")
			continue
		}
		if err != nil {
			return nil, err
		}
		if moved = append(moved, set); s.current != nil && set.Name == s.current.set.Name {
			s.current = &installed{set: set, raw: i.raw, signed: s.current.signed, by: s.trust, under: s.current.under}
			if s.current.files, err = statSet(set); err != nil {
				return nil, err
			}
		}
	}
	if err := target.LinkLike(s.dir); err != nil || s.current == nil {
		return notes, err
	}
	// Whatever could not be read on the way, the active set is there, or nothing moves.
	if active, _, err := target.Current(); err != nil || active.Name != s.current.set.Name {
		return nil, notWhole()
	}
	return notes, nil
}

func notWhole() error {
	return &Failure{codeDamaged, "the active set is not whole, and was not moved", repairHint}
}

// copySet makes one set in target, of files that came before where they are the same.
func (s *session) copySet(ctx context.Context, target *engine.Dir, i *installed, moved []engine.Set) (engine.Set, error) {
	staging, err := target.Stage(i.set.Name)
	if err != nil {
		return engine.Set{}, err
	}
	defer staging.Discard()
	for _, f := range i.list().Files {
		s.lock.Beat(s.Now())
		ok, err := reuseFrom(ctx, staging, f, append(slices.Clone(moved), i.set))
		if err == nil && !ok {
			err = &Failure{codeDamaged, "a file of an installed set is missing or changed", repairHint}
		}
		if err != nil {
			return engine.Set{}, err
		}
	}
	return target.Seal(ctx, staging, i.list(), i.raw)
}

// reuseFrom takes a file from the first set that has it; false where none has.
func reuseFrom(ctx context.Context, staging *engine.Staging, f verifier.File, sets []engine.Set) (bool, error) {
	for _, set := range sets {
		if ok, err := staging.Reuse(ctx, f, set); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// commitPlace is the commit of a move, and what comes after one: the hook, and the
// record. What somebody chose by hand stays, whatever the hook says of it.
func (s *session) commitPlace(ctx context.Context, settings managedconfig.Settings, to string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.current != nil {
		s.expectPostload(settings, s.current.set.Name)
	}
	if err := s.store.Save(s.memory); err != nil {
		return err
	}
	if err := s.store.SetEngineDirectory(to); err != nil {
		return err
	}
	s.memory.Return(to)
	var err error
	if s.current != nil {
		err = s.tellByHand(ctx, settings, s.current.version())
	}
	s.seen.Timing = s.memory.Timing
	return errors.Join(err, s.save(s.seen, settings.Agent.Keep.Value))
}

// settleMove removes what moves of the engine directory left at places that are not in
// force: a goal at once, where the move was killed before the commit; and where sets
// were, as soon as nobody can be reading there any more. Nothing goes before the active
// set was seen to be whole where it is now, since what was left may be the only copy.
// What can't be removed must keep no update away.
func (s *session) settleMove() {
	here, err := s.EngineDirectory()
	if err == nil {
		here, err = resolve(here)
	}
	if err != nil || s.current == nil || s.memory.Newer() {
		return
	}
	now := s.Now().UTC()
	for i, l := range s.memory.Left {
		if l.Since.After(now) { // the clock was set back
			s.memory.Left[i].Since = now
		}
	}
	s.memory.Left = slices.DeleteFunc(s.memory.Left, func(l state.Left) bool {
		if l.Path == here {
			return true
		}
		if now.Sub(l.Since) < grace {
			return false
		}
		err := engine.Remove(l.Path)
		if err != nil {
			s.Log.WithError(err).WithField("directory", l.Path).Warn("what a move of the engine directory left can not be removed")
		}
		return err == nil
	})
}
