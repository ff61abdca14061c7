package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// sidecarSuffix is what a sidecar's name has behind that of its archive.
const sidecarSuffix = ".p7m"

// archive is an archive on disk whose layout was checked by the rules that hold
// for all packages.
type archive struct {
	path   string
	file   *os.File
	size   int64 // bytes
	layout *verifier.Archive
}

// openArchive opens and bounds an archive. The caller closes file.
func openArchive(path string) (*archive, error) {
	f, size, err := openRegular("the package", path)
	if err != nil {
		return nil, err
	}
	layout, err := ReadLayout(f, size)
	if err != nil {
		f.Close()
		return nil, fileError("the package", path, err)
	}
	return &archive{path, f, size, layout}, nil
}

// ReadLayout reads end record and directory of an archive of size bytes as an
// endpoint does. A refusal has the code that the endpoint would give; an error of
// r comes through as it is.
func ReadLayout(r io.ReaderAt, size int64) (*verifier.Archive, error) {
	tail := make([]byte, min(size, int64(verifier.TailSize)))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil {
		return nil, err
	}
	end, err := verifier.ParseEnd(tail, size)
	if err != nil {
		return nil, err
	}
	dir := make([]byte, end.DirSize) // ParseEnd has bounded it
	if _, err := r.ReadAt(dir, end.DirOffset); err != nil {
		return nil, err
	}
	return verifier.ParseDirectory(dir, end)
}

// readEntry opens the content of one entry.
func readEntry(ctx context.Context, r io.ReaderAt, e verifier.Entry) (io.Reader, error) {
	return e.Open(contextReader{ctx, io.NewSectionReader(r, e.Offset, e.End-e.Offset)})
}

// ReadInside reads the signed list inside an archive, checking the stricter
// rules of archives that have one. Errors are as those of ReadLayout.
func ReadInside(r io.ReaderAt, layout *verifier.Archive) ([]byte, error) {
	e, err := layout.SignedList()
	if err != nil {
		return nil, err
	}
	content, err := readEntry(context.Background(), r, e) // at most verifier.MaxListSize
	if err != nil {
		return nil, err
	}
	return io.ReadAll(content)
}

// checkContent reads every file of the list out of the archive and compares
// size and SHA-256.
func checkContent(ctx context.Context, r io.ReaderAt, layout *verifier.Archive, list *verifier.List) error {
	entries, err := layout.Match(list)
	if err != nil {
		return err
	}
	for i, e := range entries {
		content, err := readEntry(ctx, r, e)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, verifier.NewCheckedReader(content, list.Files[i])); err != nil {
			return err
		}
	}
	return nil
}

// Origin tells where a signed list was found.
type Origin string

// The origins of a signed list.
const (
	Inside  Origin = "inside"  // META/package.p7m in the archive
	Sidecar Origin = "sidecar" // a file beside the archive
)

// claim is a signed list, not yet believed, and the archive it was found with.
type claim struct {
	object  []byte
	origin  Origin
	archive *archive // nil where only a sidecar was named
}

// close closes the archive, if there is one.
func (c *claim) close() {
	if c.archive != nil {
		c.archive.file.Close()
	}
}

// openClaim finds the signed list of what path names, an archive or a sidecar.
// An archive that has any entry below META/ speaks for itself, however badly,
// and no sidecar counts. On an error the claim has what was found by then.
func openClaim(path string) (c claim, err error) {
	if strings.HasSuffix(path, sidecarSuffix) {
		c.origin = Sidecar
		c.object, err = readObject(path)
		return c, err
	}
	if c.archive, err = openArchive(path); err != nil {
		return c, err
	}
	if c.archive.layout.HasMeta() {
		c.origin = Inside
		c.object, err = ReadInside(c.archive.file, c.archive.layout)
		return c, err
	}
	object, err := readObject(path + sidecarSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = c.archive.layout.SignedList() // says signature_missing
		return c, err
	}
	c.origin, c.object = Sidecar, object
	return c, err
}

// readObject reads a file that holds a signed list and nothing else.
func readObject(path string) ([]byte, error) {
	f, size, err := openRegular("the signed list", path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > verifier.MaxListSize {
		return nil, &verifier.Refusal{Code: verifier.SignatureInvalid, Sentence: fmt.Sprintf("the signed list has more than %d bytes", verifier.MaxListSize), Hint: "look at " + printable.Quote(path)}
	}
	data, err := io.ReadAll(io.LimitReader(f, verifier.MaxListSize))
	return data, fileError("the signed list", path, err)
}

// settle makes sure that c.archive is the archive which the list is about. That
// is the one at hand, unless a sidecar names another in the same directory.
func (c *claim) settle(path string, list *verifier.List) error {
	if c.origin != Sidecar {
		return nil
	}
	name := filepath.Base(strings.TrimSuffix(path, sidecarSuffix))
	if list.Zip != "" {
		name = list.Zip // a plain file name, by the rules of the list
	}
	about := filepath.Join(filepath.Dir(path), name)
	if c.archive == nil || filepath.Base(c.archive.path) != name {
		c.close()
		var err error
		if c.archive, err = openArchive(about); err != nil {
			return err
		}
	}
	if c.archive.layout.HasMeta() {
		return &verifier.Refusal{Code: verifier.PackageMalformed, Sentence: "the sidecar is about an archive that has a signed list inside", Hint: "verify the archive itself, and take the sidecar away"}
	}
	return nil
}
