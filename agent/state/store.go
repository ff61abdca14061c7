package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"mdatp-offline-agent/printable"
)

// maxFile bounds what is read of a file of the state directory, in bytes.
const maxFile = 4 << 20

// maxPath is how much of a path is shown, and may be kept, in bytes; below it there
// are names, too.
const maxPath = 1024

// Error is a failure to keep or read the state.
type Error struct {
	Code     string // permission_denied, disk_full, install_failed, busy or trust_invalid
	Sentence string
	Hint     string
	Err      error
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Code + ": " + e.Sentence
	}
	return e.Code + ": " + e.Sentence + " (" + e.Err.Error() + ")"
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Reason gives the parts that a report shows.
func (e *Error) Reason() (code, sentence, hint string) { return e.Code, e.Sentence, e.Hint }

// Store is the state directory.
type Store struct{ dir string }

// View names a state directory for reading only. It need not exist.
func View(dir string) *Store { return &Store{dir} }

// Open makes the directory where it is missing.
func Open(dir string) (*Store, error) {
	s := View(dir)
	if err := makeDirs(dir); err != nil {
		return nil, s.failed("make", err)
	}
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return nil, s.failed("write to", err)
	}
	return s, nil
}

// makeDirs makes a directory and those above it that are missing. Any user must
// be able to walk through them to the status and to the definitions, also where
// the umask of whoever ran the first update is a strict one.
func makeDirs(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDirs(filepath.Dir(dir)); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil // somebody else was quicker
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// Dir is the directory's path.
func (s *Store) Dir() string { return s.dir }

func (s *Store) failed(what string, err error) error {
	e := &Error{Code: "install_failed", Sentence: "can not " + what + " the state directory " + s.dir, Hint: "check the file system and the directory's permissions", Err: err}
	switch {
	case errors.Is(err, fs.ErrPermission):
		e.Code, e.Hint = "permission_denied", "run it with sudo, or as the user who owns "+s.dir
	case errors.Is(err, unix.EROFS):
		e.Code, e.Hint = "permission_denied", "the file system is mounted read-only, so mount it for writing"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		e.Code, e.Hint = "disk_full", "free some space below "+s.dir
	}
	return e
}

// Load reads state.json. A file that is missing or can't be understood gives a state
// that says so (State.Lost), with those of its fields that can be; the broken one is
// kept beside it as state.json.damaged when the next Save replaces it.
func (s *Store) Load() (*State, error) {
	data, err := readFile(filepath.Join(s.dir, "state.json"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errUnfit) {
		return &State{Schema: Schema, lost: true, damaged: errors.Is(err, errUnfit)}, nil
	}
	if err != nil {
		return nil, s.failed("read", err)
	}
	return decode(data), nil
}

// decode reads a state. In one of a later schema any field may have another
// form, so of that the floors are taken, as far as they can be read.
func decode(data []byte) *State {
	st := new(State)
	if st.decode(data) == nil {
		return st
	}
	var later struct {
		Schema int             `json:"schema"`
		Floors json.RawMessage `json:"floors"`
	}
	if json.Unmarshal(data, &later) != nil || later.Schema <= Schema {
		return salvage(data)
	}
	st = &State{Schema: later.Schema}
	if json.Unmarshal(later.Floors, &st.Floors) != nil {
		st.Floors = nil
	}
	return st
}

// salvage takes from a state what can be read of it, field by field.
func salvage(data []byte) *State {
	st := &State{Schema: Schema, lost: true, damaged: true}
	var fields map[string]json.RawMessage
	if json.Unmarshal(data, &fields) != nil {
		return st
	}
	for name, value := range fields {
		one, err := json.Marshal(map[string]json.RawMessage{name: value})
		with := plainState(*st)
		if err == nil && json.Unmarshal(one, &with) == nil {
			*st = State(with)
		}
	}
	st.Schema = Schema
	return st
}

// Save writes state.json. A state of a later schema is left alone.
func (s *Store) Save(st *State) error {
	if st.Newer() {
		return nil
	}
	if st.lost {
		s.keepDamaged()
		st.lost, st.damaged = false, false
	}
	return s.write("state.json", st, 0o600)
}

// keepDamaged puts a state that could not be read aside. It is for people to
// look at, so failing to keep it is no failure.
func (s *Store) keepDamaged() {
	aside(filepath.Join(s.dir, "state.json"))
}

// aside puts away what can't be read, in the place of what was put away before.
func aside(path string) {
	_ = os.RemoveAll(path + ".damaged")
	_ = os.Rename(path, path+".damaged")
}

// LoadStatus reads status.json; what is missing or broken gives an empty status,
// which says of a broken one that there was one.
func (s *Store) LoadStatus() Status {
	var st Status
	data, err := readFile(filepath.Join(s.dir, "status.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return Status{Schema: Schema}
	}
	if err != nil || st.decode(data) != nil {
		return Status{Schema: Schema, Damaged: true}
	}
	return st
}

// SaveStatus writes status.json.
func (s *Store) SaveStatus(st Status) error {
	st.Schema = Schema
	return s.write("status.json", st, 0o644)
}

// LastGood reads the last valid copy of a configuration file; nil where there
// is none.
func (s *Store) LastGood(name string) []byte {
	data, err := readFile(filepath.Join(s.dir, "last-good", name))
	if err != nil {
		return nil
	}
	return data
}

// LastGoodSince is when that copy was made; zero where there is none.
func (s *Store) LastGoodSince(name string) time.Time {
	info, err := os.Stat(filepath.Join(s.dir, "last-good", name))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// SaveLastGood keeps a copy of a configuration file that was found valid, or,
// with nil, forgets it. What has not changed is not written.
func (s *Store) SaveLastGood(name string, data []byte) error {
	dir := filepath.Join(s.dir, "last-good")
	path := filepath.Join(dir, name)
	if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
		aside(dir)
	}
	if data == nil {
		if err := os.RemoveAll(path); err != nil {
			return s.failed("write to", err)
		}
		return nil
	}
	if bytes.Equal(s.LastGood(name), data) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return s.failed("write to", err)
	}
	if err := replace(path, data, 0o600); err != nil {
		return s.failed("write to", err)
	}
	return nil
}

// engineFile says where the engine directory is, where that is not the default.
const engineFile = "engine-directory"

// EngineDirectory is where the engine directory was moved to, an absolute path;
// empty where it never was. Any user may ask. A file that is there and does not say
// it is an error, and so is one that is gone although the sets were moved: whoever took
// the default instead would take a machine for empty, and leave the sets that an
// engine reads to grow old.
func (s *Store) EngineDirectory() (string, error) { return s.EngineDirectoryBy(s.LoadStatus) }

// EngineDirectoryBy is EngineDirectory for who has a way of its own to the last report,
// which is asked for at most once.
func (s *Store) EngineDirectoryBy(report func() Status) (string, error) {
	path := filepath.Join(s.dir, engineFile)
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		last := report().EngineDirectory
		if !ValidPath(last) {
			return "", nil
		}
		return "", &Error{"install_failed", "the file " + path + " is gone, and by the last report the sets are in " + last,
			"say so again, with agent definitions path set --path " + last, err}
	}
	if err != nil && !errors.Is(err, errUnfit) {
		return "", s.failed("read", err)
	}
	line, ended := strings.CutSuffix(string(data), "\n")
	if err == nil && (!ended || !ValidPath(line)) {
		err = errors.New("not one absolute path in one line")
	}
	if err == nil {
		err = s.foreign(path)
	}
	if err != nil {
		return "", &Error{"install_failed", "the file " + path + " does not say where the engine directory is",
			"name the directory that holds the sets, with agent definitions path set --path DIR", err}
	}
	return line, nil
}

// foreign is the error of a file that another user than the directory's owner or
// root has put there or can write to.
func (s *Store) foreign(path string) error {
	mine, err := s.Owner()
	if err != nil {
		return err
	}
	file, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if uid := owner(file); uid != 0 && uid != mine || file.Mode().Perm()&0o022 != 0 {
		return errors.New("another user has written it, or can")
	}
	return nil
}

// Owner is the user id of who owns the state directory, and so all that is the agent's.
func (s *Store) Owner() (int, error) {
	dir, err := os.Stat(s.dir)
	if err != nil {
		return -1, s.failed("read", err)
	}
	return owner(dir), nil
}

// owner is the numeric user id, or -1 where the file system tells none.
func owner(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

// SetEngineDirectory makes a place the one of the engine directory, in one step.
func (s *Store) SetEngineDirectory(path string) error {
	if !ValidPath(path) {
		return fmt.Errorf("%q can't be kept", path)
	}
	if err := replace(filepath.Join(s.dir, engineFile), []byte(path+"\n"), 0o644); err != nil {
		return s.failed("write to", err)
	}
	return nil
}

// ValidPath tells whether a path is absolute, in its shortest form, and fit to be
// shown in a line.
func ValidPath(path string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && printable.Sentence(path, maxPath) == path
}

func (s *Store) write(name string, v any, mode fs.FileMode) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	if err := replace(filepath.Join(s.dir, name), append(data, '\n'), mode); err != nil {
		return s.failed("write to", err)
	}
	return nil
}

// replace puts data at path as a whole. The temporary file must lie in the same
// directory (renameio looks elsewhere by itself), the mode must not be that of
// the file before (which renameio.WriteFile keeps), and only the directory's own
// fsync makes the rename last.
func replace(path string, data []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	if info, err := os.Lstat(path); err == nil && info.IsDir() { // the one thing that no rename replaces
		aside(path)
	}
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(mode))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// temporary is how replace calls what it has not put in its place yet.
var temporary = regexp.MustCompile(`^\.(state\.json|status\.json|engine-directory|managed\.json|local\.json|[0-9a-f]{64}\.crl)[0-9]+$`)

// clean removes what a run that was killed had not put in its place yet. The caller
// holds the lock. What can't be removed costs some space and is in nobody's way.
func (s *Store) clean() {
	for _, dir := range []string{s.dir, filepath.Join(s.dir, "last-good"), filepath.Join(s.dir, "crls")} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if temporary.MatchString(e.Name()) {
				_ = os.Remove(filepath.Join(dir, e.Name()))
			}
		}
	}
}

// errUnfit is about something in a file's place that this package never puts
// there: a link, a directory, far more bytes than it writes.
var errUnfit = errors.New("not a file of the agent's")

// readFile reads a file of the agent's own.
func readFile(path string) ([]byte, error) { return readUpTo(path, maxFile) }

// readUpTo reads a regular file of at most that many bytes and never waits for a FIFO.
func readUpTo(path string, most int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) { // a link, a socket
		return nil, errUnfit
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err // which says nothing about the file
	}
	if !info.Mode().IsRegular() {
		return nil, errUnfit
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err == nil && len(data) > most {
		err = errUnfit
	}
	return data, err
}
