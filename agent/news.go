package agent

import (
	"context"
	"errors"
	"io"

	"mdatp-offline-agent/agent/engine"
	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/verifier"
)

// news is what a source answered: a verified list, and the package that it is
// about, as far as it is open already.
type news struct {
	raw       []byte // the signed list as it came
	signed    verifier.Signed
	unchanged bool             // the source still has what we know; nothing else is set then
	sidecar   bool             // the list lay beside the package
	opened    bool             // updates.zip itself was looked at
	validator source.Validator // of the package
	beside    source.Validator // of the sidecar

	pkg     source.Package    // nil: not opened yet
	archive *verifier.Archive // of pkg

	// Where the vendor's signatures stand in for a list.
	layout  string          // tells one archive from another
	staging *engine.Staging // what was received; nil: nothing
}

// Close releases the package, and what was received of it and not sealed. It may be
// called again.
func (n *news) Close() {
	if n != nil && n.pkg != nil {
		n.pkg.Close() // read only, so nothing can be lost
		n.pkg = nil
	}
	if n != nil && n.staging != nil {
		n.staging.Discard()
		n.staging = nil
	}
}

// zip is the name of the package that the list is about.
func (n *news) zip() string {
	if n.sidecar && n.signed.List.Zip != "" {
		return n.signed.List.Zip
	}
	return source.PackageName
}

// tailSize is how much of a package's end is asked for first. It holds the end
// record, the directory and the list of all but the largest lists; what is
// missing costs one more request.
const tailSize = 32 << 10

// asker asks one source for news, and believes nothing unverified.
type asker struct {
	from   source.Source
	whole  bool // the source's ranges don't fit together, so fetch packages whole
	verify func(signedList []byte) (verifier.Signed, error)
}

// ask gives the source's newest list. sidecarFirst is for sources whose
// packages were approved beside the archive before: their archive need not be
// opened to see whether there is news. known, where it isn't zero, stands for
// what was seen before. The news may come along with an error, and must be
// closed.
func (a asker) ask(ctx context.Context, sidecarFirst bool, known known) (*news, error) {
	if sidecarFirst {
		n, err := a.askSidecar(ctx, known.beside)
		if !source.NotThere(err) {
			return n, err
		}
	}
	n := &news{}
	err := a.open(ctx, n, source.PackageName, known.forPackage())
	if errors.Is(err, source.ErrNotModified) {
		n.unchanged, n.validator = true, known.forPackage()
		return n, nil
	}
	n.opened = true
	if err != nil {
		return n, err
	}
	return n, a.readList(ctx, n)
}

// readList finds the list of an open package: inside, or, only where the
// package has nothing of that kind inside, beside it.
func (a asker) readList(ctx context.Context, n *news) (err error) {
	entry, missing := n.archive.SignedList()
	if n.archive.HasMeta() {
		if missing != nil {
			return missing
		}
		if n.raw, err = readEntry(ctx, n.pkg, entry); err != nil {
			return err
		}
		n.signed, err = a.verify(n.raw)
		return err
	}
	beside, err := a.askSidecar(ctx, source.Validator{})
	if source.NotThere(err) {
		return missing
	}
	n.sidecar = true
	if err != nil {
		return err
	}
	n.raw, n.signed, n.beside = beside.raw, beside.signed, beside.beside
	if n.zip() != source.PackageName {
		n.Close()
		n.archive = nil
	}
	return nil
}

// askSidecar reads the list beside the package, unless it is still the known one.
func (a asker) askSidecar(ctx context.Context, known source.Validator) (*news, error) {
	n := &news{sidecar: true}
	pkg, err := a.from.Open(ctx, source.Request{Name: source.SidecarName, MaxBytes: verifier.MaxListSize, Known: known})
	if errors.Is(err, source.ErrNotModified) {
		n.unchanged, n.beside = true, known
		return n, nil
	}
	if err != nil {
		return n, err
	}
	defer pkg.Close()
	n.beside = pkg.Validator()
	if n.raw, err = readRange(ctx, pkg, 0, pkg.Size()); err != nil {
		return n, err
	}
	n.signed, err = a.verify(n.raw)
	return n, err
}

// errOwnList says that a package found by its sidecar has a list of its own,
// which then is the one that counts.
var errOwnList = errors.New("the package has a list of its own")

// locate opens the package that the news is about, if it isn't open yet. It gives
// source.ErrNotModified where it is still the one that known stands for.
func (a asker) locate(ctx context.Context, n *news, known source.Validator) error {
	if n.pkg != nil {
		return nil
	}
	if err := a.open(ctx, n, n.zip(), known); err != nil {
		return err
	}
	if n.archive.HasMeta() {
		return errOwnList
	}
	return nil
}

// open opens a package and reads its layout.
func (a asker) open(ctx context.Context, n *news, name string, known source.Validator) (err error) {
	if n.pkg, err = a.from.Open(ctx, source.Request{Name: name, MaxBytes: verifier.MaxArchiveSize, Known: known, Tail: tailSize, Whole: a.whole}); err != nil {
		n.pkg = nil
		return err
	}
	n.validator = n.pkg.Validator()
	n.archive, err = readArchive(ctx, n.pkg)
	return err
}

// readArchive reads the layout of a package from its end.
func readArchive(ctx context.Context, pkg source.Package) (*verifier.Archive, error) {
	size := pkg.Size()
	have := min(size, tailSize)
	tail, err := readRange(ctx, pkg, size-have, have)
	if err != nil {
		return nil, err
	}
	end, err := verifier.ParseEnd(tail, size)
	if err != nil {
		return nil, err
	}
	dir := tail
	if start := end.DirOffset - (size - have); start >= 0 {
		dir = tail[start:][:end.DirSize]
	} else if dir, err = readRange(ctx, pkg, end.DirOffset, end.DirSize); err != nil {
		return nil, err
	}
	return verifier.ParseDirectory(dir, end)
}

// readEntry reads the whole content of a small entry.
func readEntry(ctx context.Context, pkg source.Package, e verifier.Entry) ([]byte, error) {
	region, err := pkg.Range(ctx, e.Offset, e.End-e.Offset)
	if err != nil {
		return nil, err
	}
	defer region.Close()
	content, err := e.Open(region)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(content)
}

// readRange reads a small range whole.
func readRange(ctx context.Context, pkg source.Package, off, n int64) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	r, err := pkg.Range(ctx, off, n)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
