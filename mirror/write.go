package mirror

import (
	"archive/zip"
	"bufio"
	"compress/flate"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"slices"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// archiveWriter writes the subset of the zip format that packages are in: no
// extra fields, no data descriptors, one date for all. The standard library
// writes data descriptors where it compresses itself, so each file is
// compressed into a scratch file first and then copied as it is.
type archiveWriter struct {
	zip     *zip.Writer
	scratch *os.File
	deflate *flate.Writer // used again for each file, since it is large
}

// newArchiveWriter writes to w, and deflates with level 1 to 9. The scratch file
// lies in dir; the caller closes it.
func newArchiveWriter(w io.Writer, dir string, level int) (*archiveWriter, error) {
	scratch, err := scratchFile(dir)
	if err != nil {
		return nil, err
	}
	deflate, err := flate.NewWriter(nil, level)
	if err != nil {
		return nil, errors.Join(err, scratch.Close())
	}
	return &archiveWriter{zip.NewWriter(w), scratch, deflate}, nil
}

// header describes an entry of a package: a regular file, mode 0644, made on
// Unix, dated at the zip format's first day, so that equal files make equal
// archives.
func header(name string, method uint16, crc uint32, compressed, size int64) *zip.FileHeader {
	const madeByUnix, version20, firstDay = 3 << 8, 20, 1<<5 | 1
	return &zip.FileHeader{
		Name: name, Method: method, CRC32: crc,
		CompressedSize64: uint64(compressed), UncompressedSize64: uint64(size),
		CreatorVersion: madeByUnix | version20, ReaderVersion: version20,
		ExternalAttrs: 0o100644 << 16,
		//lint:ignore SA1019 CreateRaw takes these as they are; Modified would add an extra field
		ModifiedDate: firstDay,
	}
}

// addFile adds a file of size bytes, deflated where that makes it smaller, and
// gives its line in the list.
func (w *archiveWriter) addFile(ctx context.Context, name string, src *os.File, size int64) (verifier.File, error) {
	file := verifier.File{Name: name, Size: size}
	compressed, crc, err := w.compress(ctx, src, &file)
	if err != nil {
		return file, err
	}
	method, from, length := zip.Deflate, w.scratch, compressed
	if compressed >= file.Size {
		method, from, length = zip.Store, src, file.Size
	}
	out, err := w.zip.CreateRaw(header(name, method, crc, length, file.Size))
	if err != nil {
		return file, err
	}
	n, err := io.Copy(out, contextReader{ctx, io.NewSectionReader(from, 0, length)})
	if err == nil && n != length {
		err = changed()
	}
	return file, err
}

// compress deflates src into the scratch file and fills in file's SHA-256. It
// gives the compressed size in bytes and the CRC of the content.
func (w *archiveWriter) compress(ctx context.Context, src *os.File, file *verifier.File) (compressed int64, crc uint32, err error) {
	if _, err := w.scratch.Seek(0, io.SeekStart); err != nil {
		return 0, 0, err
	}
	buffered := bufio.NewWriterSize(w.scratch, 64<<10)
	w.deflate.Reset(buffered)
	sum, check := sha256.New(), crc32.NewIEEE()
	bounded := io.LimitReader(contextReader{ctx, src}, file.Size+1) // it may grow under our hands
	n, err := io.Copy(io.MultiWriter(sum, check, w.deflate), bounded)
	if err != nil {
		return 0, 0, err
	}
	if n != file.Size {
		return 0, 0, changed()
	}
	if err := errors.Join(w.deflate.Close(), buffered.Flush()); err != nil {
		return 0, 0, err
	}
	copy(file.SHA256[:], sum.Sum(nil))
	compressed, err = w.scratch.Seek(0, io.SeekCurrent)
	return compressed, check.Sum32(), err
}

func changed() error {
	return usage("a file of the package changed while it was read", "copy the files aside first and build from there", nil)
}

func tooLarge() error {
	return &verifier.Refusal{Code: verifier.PackageTooLarge, Sentence: fmt.Sprintf("the files have more than %d bytes together", int64(verifier.MaxContentSize)), Hint: "leave out what the engine does not need"}
}

// addList adds the signed list, stored. It must be the last entry.
func addList(w *zip.Writer, object []byte) error {
	out, err := w.CreateRaw(header(verifier.ListEntry, zip.Store, crc32.ChecksumIEEE(object), int64(len(object)), int64(len(object))))
	if err != nil {
		return err
	}
	_, err = out.Write(object)
	return err
}

// replace writes a small file all at once, for everybody to read.
func replace(path string, data []byte) error { return replaceAs(path, data, 0o644) }

// replaceAs writes a small file all at once.
func replaceAs(path string, data []byte, mode fs.FileMode) error {
	p, err := newPending(path)
	if err != nil {
		return err
	}
	defer p.Cleanup()
	if _, err := p.Write(data); err != nil {
		return err
	}
	if err := p.Chmod(mode); err != nil {
		return err
	}
	return commit(p, path)
}

// sourceFiles names the files of a package directory in the order of the
// archive, which is that of their bytes.
func sourceFiles(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	entries, err := d.ReadDir(verifier.MaxFiles + 1)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(entries) == 0 || len(entries) > verifier.MaxFiles {
		return nil, usage(fmt.Sprintf("a package has 1 to %d files", verifier.MaxFiles), "put the package's files, and nothing else, into a directory of their own", nil)
	}
	return sourceNames(entries)
}

func sourceNames(entries []fs.DirEntry) ([]string, error) {
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if !e.Type().IsRegular() {
			return nil, usage("a package is made of regular files only", "take "+printable.Quote(e.Name())+" away", nil)
		}
		if !verifier.ValidName(e.Name()) {
			return nil, usage("a file can not have this name in a package", "take "+printable.Quote(e.Name())+" away, or rename it with letters, digits, dot, dash and underscore, beginning with a letter or digit", nil)
		}
		names = append(names, e.Name())
	}
	slices.Sort(names) // a directory read in part comes in no order
	return names, nil
}
