package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"mdatp-offline-agent/verifier"
)

// Staging is a set in the making, below .staging, where nobody else looks.
// Different files may be written at the same time.
type Staging struct {
	dir  *Dir
	name string   // of the set it becomes
	path string   // below the engine directory
	root *os.Root // of path

	mu     sync.Mutex
	staged map[string]staged
}

// staged is a file that was hashed. The descriptor it was hashed through stays
// open until the set is sealed: what is synced is then what was checked, and no
// error of writing back can be missed in between.
type staged struct {
	listed verifier.File
	file   *os.File
}

// Stage begins the set of this name, which must be one that SetName gives, or empty
// where Name will tell before it is sealed. The caller defers Discard. The error is
// an *Error.
func (d *Dir) Stage(name string) (*Staging, error) {
	if err := d.forWriting(); err != nil {
		return nil, err
	}
	if _, ok := parseName(name); !ok && name != "" {
		return nil, badName()
	}
	s := &Staging{dir: d, name: name, path: path.Join(stagingDir, rand.Text()), staged: make(map[string]staged)}
	err := d.root.Mkdir(s.path, privateDir)
	if err == nil {
		s.root, err = openSub(d.root, s.path)
	}
	if err == nil {
		// Made now, so that no listed file can take its place.
		err = s.root.Mkdir(metaDir, privateDir)
	}
	if err != nil {
		s.Discard()
		return nil, d.writing("a set can't be begun", err)
	}
	return s, nil
}

// Discard removes everything that was staged. Once the set is sealed there is
// nothing left below the staging's random name, so deferring Discard is always
// right, and so is repeating it. What can't be removed is left to Clean.
func (s *Staging) Discard() {
	s.close()
	_ = removeTree(s.dir.root, s.path)
}

// close gives all descriptors back and ends the staging: from here on nobody
// can write to what was staged.
func (s *Staging) close() {
	for _, f := range s.staged {
		f.file.Close()
	}
	s.staged = nil
	if s.root != nil {
		s.root.Close()
		s.root = nil
	}
}

// Write keeps what comes out of from as the file f, if that is what it is. An
// error of from, and the verifier's refusal of its bytes, come back as they are;
// a failure of writing is an *Error. After an error the file is gone.
func (s *Staging) Write(ctx context.Context, f verifier.File, from io.Reader) error {
	if !verifier.ValidName(f.Name) {
		return &Error{Code: InstallFailed, Sentence: "a file can't have this name", Hint: faultHint}
	}
	return s.write(ctx, f, from)
}

// write is Write for all names, that of the signed list included.
func (s *Staging) write(ctx context.Context, f verifier.File, from io.Reader) error {
	file, err := s.create(f.Name)
	if err != nil {
		return err
	}
	if _, err := copyChecked(ctx, &stagingWriter{dir: s.dir, file: file}, from, f); err != nil {
		file.Close()
		_ = s.root.Remove(f.Name)
		return err
	}
	s.keep(f, file)
	return nil
}

// Receive keeps all that comes out of from as a file of that name, of which nobody
// knows the hash before. It is for a package without a list: what came is in Files,
// and the caller bounds and judges it. Errors are as those of Write.
func (s *Staging) Receive(ctx context.Context, name string, from io.Reader) error {
	if !verifier.ValidName(name) {
		return &Error{Code: InstallFailed, Sentence: "a file can't have this name", Hint: faultHint}
	}
	file, err := s.create(name)
	if err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(&stagingWriter{dir: s.dir, file: file}, sum), &contextReader{ctx, from}, make([]byte, copyBuffer))
	if err != nil {
		file.Close()
		_ = s.root.Remove(name)
		return err
	}
	s.keep(verifier.File{Name: name, Size: n, SHA256: [sha256.Size]byte(sum.Sum(nil))}, file)
	return nil
}

// Files gives what was staged so far, by name.
func (s *Staging) Files() (files []verifier.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.staged)) {
		files = append(files, s.staged[name].listed)
	}
	return files
}

// Name says of which set the staging is, where that was not known when it began.
func (s *Staging) Name(set string) { s.name = set }

func badName() error {
	return &Error{Code: InstallFailed, Sentence: "a set can't have this name", Hint: faultHint}
}

// create makes a new file; one that is there already is an error.
func (s *Staging) create(name string) (*os.File, error) {
	if s.root == nil {
		return nil, &Error{Code: InstallFailed, Sentence: "a set is already sealed or discarded", Hint: faultHint}
	}
	file, err := s.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, privateFile)
	if err != nil {
		return nil, s.dir.writing("a file can't be made in the engine directory", err)
	}
	return file, nil
}

func (s *Staging) keep(f verifier.File, file *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.staged[f.Name] = staged{f, file}
}

// Content gives what was staged under that name, for who wants to know more of it
// than its hash. It is the very file that was hashed, and good until the staging is
// sealed or discarded. The error is an *Error.
func (s *Staging) Content(name string) (io.ReaderAt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.staged[name]
	if !ok {
		return nil, &Error{Code: InstallFailed, Sentence: "a file was not staged", Hint: faultHint}
	}
	return stagedReader{s.dir, f.file}, nil
}

// stagedReader classifies the errors of reading back what was staged, so that they are
// not taken for a fault of the program.
type stagedReader struct {
	dir  *Dir
	file *os.File
}

func (r stagedReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.file.ReadAt(p, off)
	if err != io.EOF {
		err = r.dir.writing("a staged file can't be read back", err)
	}
	return n, err
}

// writeBackStep is after how many bytes the kernel is asked to begin writing
// them to the disk.
const writeBackStep = 8 << 20

// stagingWriter classifies the errors of writing where they arise, so that they
// are not taken for those of the source. And it keeps the disk at work while the
// rest is still on its way, which leaves little to wait for when the set is
// sealed.
type stagingWriter struct {
	dir            *Dir
	file           *os.File
	written, begun int64 // bytes written, and of those, under way to the disk
}

func (w *stagingWriter) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.written += int64(n)
	if w.written-w.begun >= writeBackStep {
		// A hint only: what counts, and what reports errors, is the sync.
		_ = unix.SyncFileRange(int(w.file.Fd()), w.begun, w.written-w.begun, unix.SYNC_FILE_RANGE_WRITE)
		w.begun = w.written
	}
	return n, w.dir.writing("a file can't be written in the engine directory", err)
}

// complete tells whether exactly the listed files were staged.
func (s *Staging) complete(files []verifier.File) error {
	ok := s.root != nil && len(s.staged) == len(files)
	for _, f := range files {
		ok = ok && s.staged[f.Name].listed == f
	}
	if !ok {
		return &Error{Code: InstallFailed, Sentence: fmt.Sprintf("a set is not sealed, because its %d listed files are not those that were staged", len(files)),
			Hint: faultHint}
	}
	return nil
}

// writeList puts the list in its place and gives it as a file.
func (s *Staging) writeList(ctx context.Context, list []byte) (verifier.File, error) {
	f := verifier.File{Name: entryOf(list), Size: int64(len(list)), SHA256: sha256.Sum256(list)}
	if len(list) > verifier.MaxListSize {
		return f, &Error{Code: InstallFailed, Sentence: "a list is too large", Hint: faultHint}
	}
	return f, s.write(ctx, f, bytes.NewReader(list))
}

// settle gives all that was staged its final mode and makes it durable.
func (s *Staging) settle() error {
	var wg sync.WaitGroup
	errs := make(chan error, len(s.staged)) // syncs that run together share a journal's commit
	for _, f := range s.staged {
		wg.Go(func() { errs <- settleFile(f.file) })
	}
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	all = append(all, settleDir(s.root, metaDir, dirMode), settleDir(s.root, ".", dirMode), syncDir(s.dir.root, stagingDir))
	return errors.Join(all...)
}

func settleFile(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Mode().Perm() != fileMode {
		err = file.Chmod(fileMode)
	}
	return errors.Join(err, syncFile(file))
}
