package mirror

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/verifier"
)

// What a package may have that carries no list of ours. What is inside the vendor's
// packages is not published, so this is wider than what endpoints of ours take.
const (
	maxZipEntries = 1024
	maxZipDir     = 1 << 20 // directory of the archive, in bytes
)

// checker says whether a package may be published.
type checker struct {
	trust   *verifier.Trust // nil: structure alone decides
	product string
	now     func() time.Time
}

// finding is what is known of a package's bytes, whoever is trusted.
type finding struct {
	SHA256 string `json:"sha256"` // of the file, in hexadecimal
	// Content is that of the list with whose files every byte was compared; zero where
	// none was.
	Content verifier.ContentID `json:"content"`
}

// fresh decides about a package that has come to path and is said to have these
// versions: it must be whole, and where somebody is trusted, an endpoint would
// install it.
func (c checker) fresh(ctx context.Context, path string, p syncPair, said versions) (finding, error) {
	sum, err := c.whole(ctx, path, said)
	if err != nil || c.trust == nil {
		return finding{SHA256: sum}, err
	}
	want := c.identity(p)
	good, err := Verify(ctx, path, *c.trust, c.now(), &want)
	if err != nil {
		return finding{}, err
	}
	return finding{sum, good.Signed.List.Content()}, checkSaid(good.Origin, good.Signed.List, path, said)
}

// standing decides about a package that is published already, where somebody is
// trusted: by the trust directory and the sidecar as they are now. Time does not count
// against it, since late definitions beat none. Its content is read only where it was
// not compared with the same list's before.
func (c checker) standing(ctx context.Context, path string, p syncPair, said versions, compared verifier.ContentID) (*verifier.List, error) {
	claim, err := openClaim(path)
	defer claim.close()
	if err != nil {
		return nil, err
	}
	signed, err := c.trust.VerifyInstalled(claim.object)
	if err != nil {
		return nil, err
	}
	if signed.Revoked {
		return nil, &verifier.Refusal{Code: verifier.SignerRevoked, Sentence: "the signer of what is published, or one of its issuers, is revoked", Hint: "publish a package of another signer"}
	}
	list := signed.List
	if err := list.CheckIdentity(c.identity(p)); err != nil {
		return nil, err
	}
	if err := checkSaid(claim.origin, list, path, said); err != nil {
		return nil, err
	}
	if list.Content() == compared {
		_, err = claim.archive.layout.Match(list)
		return list, err
	}
	return list, checkContent(ctx, claim.archive.file, claim.archive.layout, list)
}

func (c checker) identity(p syncPair) verifier.Identity {
	return verifier.Identity{Product: c.product, Platform: p.platform, Arch: p.arch, Ring: p.ring}
}

// checkSaid wants a list that is about the package at path and names these versions.
func checkSaid(origin Origin, l *verifier.List, path string, said versions) error {
	if origin == Sidecar && aboutOther(l, path) {
		return &verifier.Refusal{Code: verifier.SignatureMissing, Sentence: "the list beside the package is about another one", Hint: "verify that one by agent package verify"}
	}
	return sameVersions(l, said)
}

// whole wants a package that is whole, and gives its SHA-256 in hexadecimal. A list
// inside, or one beside that is about this package, must name the versions that are
// said, whoever signed it.
func (c checker) whole(ctx context.Context, path string, said versions) (sum string, err error) {
	f, size, err := openRegular("the package", path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := checkZip(ctx, f, size); err != nil {
		return "", err
	}
	if list := claimed(path); list != nil {
		if err := sameVersions(list, said); err != nil {
			return "", err
		}
	}
	whole := sha256.New()
	if _, err := io.Copy(whole, contextReader{ctx, io.NewSectionReader(f, 0, size)}); err != nil {
		return "", fileError("the package", path, err)
	}
	return hex.EncodeToString(whole.Sum(nil)), nil
}

// claimed gives the list that claims to be about the package at path, inside or beside
// it; nil where there is none that can be read.
func claimed(path string) *verifier.List {
	c, err := openClaim(path)
	defer c.close()
	if err != nil {
		return nil
	}
	claims, err := verifier.ReadClaims(c.object)
	if err != nil || c.origin == Sidecar && aboutOther(claims.List, path) {
		return nil
	}
	return claims.List
}

// aboutOther says whether a sidecar's list is about another package than the one that
// the sidecar lies beside.
func aboutOther(l *verifier.List, path string) bool {
	return l.Zip != "" && l.Zip != filepath.Base(path)
}

func sameVersions(l *verifier.List, said versions) error {
	if (versions{l.Engine, l.Definition}) == said {
		return nil
	}
	return &source.Error{Code: source.CodeChanged,
		Sentence: fmt.Sprintf("definitions %s with engine %s are announced, and the package is another one", said.Definition, said.Engine),
		Hint:     "it may be in the middle of being published, so run the command again later"}
}

func badZip(sentence string, cause error) error {
	return &verifier.Refusal{Code: verifier.PackageMalformed, Sentence: sentence, Hint: "fetch the package by hand and test it with unzip -t", Err: cause}
}

// checkZip makes sure that a file is a zip archive, whole, and within limits: every
// entry is inflated and its CRC compared.
func checkZip(ctx context.Context, f io.ReaderAt, size int64) error {
	if err := checkZipEnd(f, size); err != nil {
		return err
	}
	archive, err := zip.NewReader(io.NewSectionReader(f, 0, size), size)
	if err != nil {
		return badZip("the archive's directory is damaged", err)
	}
	if err := checkZipLayout(archive.File, size); err != nil {
		return err
	}
	for _, e := range archive.File {
		if err := checkZipEntry(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// checkZipLayout bounds what reading the entries costs: each byte of the archive is
// content of one entry at the most, and all content together has its limit.
func checkZipLayout(entries []*zip.File, size int64) error {
	if len(entries) > maxZipEntries {
		return tooManyEntries() // the library compares the count in its last 16 bits alone
	}
	type span struct{ from, to int64 }
	var spans []span
	var total uint64
	for _, e := range entries {
		if total += e.UncompressedSize64; total > verifier.MaxContentSize || e.UncompressedSize64 > verifier.MaxContentSize {
			return &verifier.Refusal{Code: verifier.PackageTooLarge, Sentence: fmt.Sprintf("the archive's content has more than %d bytes", int64(verifier.MaxContentSize)), Hint: "check that the address leads to a definition package"}
		}
		from, err := e.DataOffset()
		if err != nil {
			return zipError("an entry of the archive can not be read", err)
		}
		if from > size || e.CompressedSize64 > uint64(size-from) {
			return badZip("an entry of the archive ends behind the archive", nil)
		}
		if e.CompressedSize64 > 0 {
			spans = append(spans, span{from, from + int64(e.CompressedSize64)})
		}
	}
	if total == 0 {
		return badZip("the archive holds nothing", nil)
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i := 1; i < len(spans); i++ {
		if spans[i].from < spans[i-1].to {
			return badZip("entries of the archive lie over each other", nil)
		}
	}
	return nil
}

func checkZipEntry(ctx context.Context, e *zip.File) error {
	content, err := e.Open()
	if err != nil {
		return zipError("an entry of the archive can not be read", err)
	}
	defer content.Close()
	_, err = io.Copy(io.Discard, contextReader{ctx, io.LimitReader(content, int64(e.UncompressedSize64)+1)})
	if err == nil {
		return nil
	}
	return zipError("an entry of the archive is damaged", err)
}

// zipError is badZip, unless it is this machine that could not read.
func zipError(sentence string, err error) error {
	var own *Error
	var reading *os.PathError
	if errors.As(err, &own) || errors.As(err, &reading) {
		return err
	}
	return badZip(sentence, err)
}

func tooManyEntries() error {
	return badZip(fmt.Sprintf("the archive has more than %d entries or too large a directory", maxZipEntries), nil)
}

// checkZipEnd looks at the end record before the library does, which reads a directory
// as far as it goes, whatever size the record gives, and follows a record of zip64
// to another one. So the directory must fill the room before the end record, and
// there is no zip64, which an archive of up to 1 GiB has no need of.
func checkZipEnd(f io.ReaderAt, size int64) error {
	if size > verifier.MaxArchiveSize {
		return &verifier.Refusal{Code: verifier.PackageTooLarge, Sentence: fmt.Sprintf("the package has %d bytes and %d is the most", size, int64(verifier.MaxArchiveSize)), Hint: "check that the address leads to a definition package"}
	}
	const record, maxComment = 22, 1<<16 - 1
	tail := make([]byte, min(size, record+maxComment))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil && err != io.EOF {
		return err
	}
	at := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if at < 0 || len(tail)-at < record || !startsZip(f) {
		return &verifier.Refusal{Code: verifier.NotAPackage, Sentence: "what came is no zip archive", Hint: "a portal or a proxy may answer with a web page in place of the package, so fetch the address by hand and look at it"}
	}
	end := tail[at:]
	le := binary.LittleEndian
	entries, directory, offset := le.Uint16(end[10:]), le.Uint32(end[12:]), le.Uint32(end[16:])
	switch {
	case entries == 1<<16-1 || offset == 1<<32-1 || directory == 1<<32-1 || directory == 1<<16-1: // the last one by a slip of the library
		return badZip("the archive is in the zip64 form, which is for larger ones", nil)
	case entries > maxZipEntries || directory > maxZipDir:
		return tooManyEntries()
	case int64(offset)+int64(directory) != size-int64(len(end)):
		return badZip("the archive's directory does not end where its end record begins", nil)
	}
	return nil
}

// startsZip looks for an entry at the very beginning, where a page that has an
// archive behind it has none.
func startsZip(f io.ReaderAt) bool {
	var mark [4]byte
	_, err := f.ReadAt(mark[:], 0)
	return err == nil && string(mark[:]) == "PK\x03\x04"
}
