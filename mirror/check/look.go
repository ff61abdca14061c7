package check

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/manifest"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
)

// seen is all that was found in one place. Nothing in it is judged but by the
// verifier.
type seen struct {
	place
	address string

	silent bool    // the server gave no answer, so that it was not asked for more
	err    error   // why there is no updates.zip that can be read as an archive; nil: there is one
	unread bool    // it could only be read whole, which was not asked for
	answer *answer // what the server said about it; nil for a directory, and where there was none
	resent bool    // asked whether that has changed, the server sent it again
	page   bool    // it is a web page, by its first bytes or its server's word

	origin   mirror.Origin // of the list; empty: there is none
	ignored  bool          // a sidecar lies beside an archive with a list inside
	zip      string        // the archive that the list is about, where that is another
	list     *verifier.List
	listErr  error               // why an endpoint would refuse the list; nil where it would not, or nobody can tell
	ends     []verifier.Ending   // of the list, and of what it rests on where that was verified
	size     int64               // of the archive that counts, in bytes; 0: unknown
	modified time.Time           // when it was put there, by its date; zero: unknown
	blind    bool                // nobody looked into that archive
	came     time.Time           // when updates.zip was put there, where the list is about another; zero: unknown
	zipErr   error               // why the archive that counts is not the one of the list, or can't be read
	files    []mirror.VendorFile // with full, what was read

	manifest    *manifest.Manifest
	manifestErr error

	modes []mode // of a directory
}

// there tells whether the place has anything at all.
func (s *seen) there() bool {
	return !source.NotThere(s.err) || s.origin != "" || s.manifest != nil || !source.NotThere(s.manifestErr)
}

// solid tells whether it has something that only a mirror has.
func (s *seen) solid() bool {
	return s.err == nil || s.unread || s.origin != "" && s.list != nil || s.manifest != nil
}

// usable tells whether nothing was found that makes the package worthless.
func (s *seen) usable() bool {
	return (s.err == nil || s.unread || s.zip != "") && s.listErr == nil && s.zipErr == nil
}

// torn tells whether manifest and list name different versions. Where an approval
// names another archive, the manifest is about updates.zip, which may be newer.
func (s *seen) torn() bool {
	return s.zip == "" && s.list != nil && s.manifest != nil && (s.list.Definition != s.manifest.Definition || s.list.Engine != s.manifest.Engine)
}

// waits tells whether updates.zip is newer than the archive that is approved. By the
// manifest, which is about updates.zip; without one, by the dates of the two archives. The
// list's is a substitute for one that is not known: a renewal moves it.
func (s *seen) waits() bool {
	switch {
	case s.zip == "" || s.list == nil || s.err != nil && !s.unread:
		return false
	case s.manifest == nil && !s.modified.IsZero():
		return s.came.After(s.modified)
	case s.manifest == nil:
		return s.came.After(s.list.Issued)
	}
	c := s.manifest.Definition.Compare(s.list.Definition)
	return c > 0 || c == 0 && s.manifest.Engine.Compare(s.list.Engine) > 0
}

// version is that of the definitions, by the list, else by the manifest; zero
// where neither says it.
func (s *seen) version() (v verifier.Version) {
	switch {
	case s.list != nil:
		return s.list.Definition
	case s.manifest != nil:
		return s.manifest.Definition
	}
	return v
}

// published is when the content was made by the list, else the archive's date.
func (s *seen) published() time.Time {
	if s.list != nil {
		return s.list.Released
	}
	return s.modified
}

// looker looks at one place.
type looker struct {
	Options
	place
	from      source.Source
	tally     *source.Tally
	answer    *answer // to the last request
	announced int64   // size of a package that was not read, in bytes; -1: unknown
}

// look looks at a place, and once more where its parts don't fit together: they may
// have been exchanged in between.
func (o Options) look(ctx context.Context, p place, tally *source.Tally) seen {
	s := o.lookOnce(ctx, p, tally)
	if s.torn() || changed(s.err) || changed(s.zipErr) {
		s = o.lookOnce(ctx, p, tally)
	}
	return s
}

// changed tells whether a failure is what an exchange looks like to who reads.
func changed(err error) bool {
	var failed *source.Error
	var refused *verifier.Refusal
	switch {
	case err == nil || errors.Is(err, errWhole):
		return false
	case errors.As(err, &failed):
		return failed.Code == source.CodeChanged
	case errors.As(err, &refused):
		return refused.Code == verifier.ContentMismatch
	}
	return reasonOf(err) == nil
}

func (o Options) lookOnce(ctx context.Context, p place, tally *source.Tally) seen {
	l := &looker{Options: o, place: p, tally: tally}
	from, done := l.source()
	defer done()
	l.from = from
	s := seen{place: p, address: p.at.String()}
	if l.lookAtPackage(ctx, &s); silent(s.err) && l.at.url != nil {
		s.silent, s.manifestErr = true, s.err
		return s
	}
	s.manifest, s.manifestErr = l.lookAtManifest(ctx)
	s.modes = l.modes(&s)
	return s
}

// source makes the source for the place, and what closes it.
func (l *looker) source() (source.Source, func()) {
	if l.at.url == nil {
		return source.NewDir(l.at.dir), func() {}
	}
	config := l.HTTP
	config.Base, config.Spool = l.at.url, l.spool
	config.Answered = func(status int, h http.Header) {
		a := readAnswer(status, h, time.Now())
		l.answer = &a
	}
	server := source.NewHTTP(config)
	return server, server.Close
}

// archive is a package that was opened, with its layout.
type archive struct {
	source.Package
	name     string
	modified time.Time // zero: unknown
	layout   *verifier.Archive
}

// open opens an archive and reads its layout. The archive may come along with an
// error, and must be closed.
func (l *looker) open(ctx context.Context, name string) (*archive, error) {
	l.answer = nil
	pkg, err := l.from.Open(ctx, source.Request{Name: name, MaxBytes: verifier.MaxArchiveSize, Tail: int64(verifier.TailSize), Tally: l.tally})
	if err != nil {
		return nil, err
	}
	a := &archive{Package: pkg, name: name, modified: l.date(name)}
	a.layout, err = mirror.ReadLayout(readerAt{ctx, pkg}, pkg.Size())
	return a, err
}

// Close releases the archive. A nil one has nothing to release.
func (a *archive) Close() {
	if a != nil {
		a.Package.Close() // read only, so nothing can be lost
	}
}

// hasMeta tells whether the archive speaks for itself.
func (a *archive) hasMeta() bool { return a != nil && a.layout != nil && a.layout.HasMeta() }

func (l *looker) lookAtPackage(ctx context.Context, s *seen) {
	zip, err := l.open(ctx, source.PackageName)
	defer func() { zip.Close() }()
	s.err, s.answer = err, l.answer
	if silent(err) && l.at.url != nil {
		return
	}
	if errors.Is(err, errWhole) {
		s.unread, s.size, s.modified = true, max(l.announced, 0), l.answer.modified
	}
	var refused *verifier.Refusal
	if errors.As(err, &refused) && refused.Code == verifier.NotAPackage {
		s.page = s.answer != nil && s.answer.html || startsAsPage(ctx, zip)
	}
	beside, besideErr := l.readSmall(ctx, source.SidecarName, verifier.MaxListSize)
	hasSidecar := !source.NotThere(besideErr)
	switch {
	case zip.hasMeta():
		s.origin, s.ignored = mirror.Inside, hasSidecar
		var object []byte
		if object, s.listErr = mirror.ReadInside(readerAt{ctx, zip.Package}, zip.layout); s.listErr == nil {
			l.judge(s, object)
		}
	case hasSidecar:
		s.origin, s.listErr = mirror.Sidecar, besideErr
		if besideErr == nil {
			l.judge(s, beside)
		}
		if s.list != nil && s.list.Zip != "" && s.list.Zip != source.PackageName {
			zip.Close()
			s.zip, s.came = s.list.Zip, s.modified
			if zip != nil {
				s.came = zip.modified
			}
			zip, s.zipErr = l.openNamed(ctx, s.zip)
		}
	}
	if s.answer != nil && s.answer.ranges {
		s.resent = l.sendsAgain(ctx, zip)
	}
	l.lookInside(ctx, s, zip)
}

// sendsAgain asks for the archive unless it has changed, as endpoints do at each
// poll, and tells whether it came all the same. Where there is nothing to compare, it
// does not ask.
func (l *looker) sendsAgain(ctx context.Context, zip *archive) bool {
	if zip == nil || zip.Validator() == (source.Validator{}) {
		return false
	}
	again, err := l.from.Open(ctx, source.Request{Name: zip.name, MaxBytes: verifier.MaxArchiveSize, Known: zip.Validator(), Tail: 1, Tally: l.tally})
	if err != nil {
		return false // most likely that nothing has changed, which is what is wanted
	}
	defer again.Close()
	return again.Validator() == zip.Validator()
}

// openNamed opens the archive that a sidecar names.
func (l *looker) openNamed(ctx context.Context, name string) (*archive, error) {
	zip, err := l.open(ctx, name)
	if errors.Is(err, errWhole) {
		return nil, nil // as with updates.zip, of which that is told
	}
	if err == nil && zip.hasMeta() {
		err = &verifier.Refusal{Code: verifier.PackageMalformed, Sentence: "the package that the sidecar names has a signed list of its own",
			Hint: "name a package without one in the sidecar, or publish that package as updates.zip"}
	}
	return zip, err
}

// judge reads a signed list and says what endpoints would say, as far as somebody
// is trusted.
func (l *looker) judge(s *seen, object []byte) {
	claims, err := verifier.ReadClaims(object)
	s.list = claims.List
	signed := verifier.Signed{List: claims.List}
	var trust verifier.Trust
	if l.Trust != nil {
		trust = *l.Trust
		signed, err = trust.Verify(object, l.Now)
	}
	if err == nil {
		s.ends = trust.Ends(signed)
		err = l.belongs(signed.List)
	}
	s.listErr = err
}

// belongs tells whether the list is one for this place and time.
func (l *looker) belongs(list *verifier.List) error {
	want := verifier.Identity{Product: l.Product, Platform: l.platform, Arch: l.arch, Ring: strings.TrimSuffix(l.ring, backSuffix)}
	if want.Platform == "" {
		want.Platform = platforms()[0]
	}
	if want.Arch == "" {
		want.Arch = list.Arch
	}
	if want.Ring != "production" && want.Ring != "preview" {
		want.Ring = l.Ring
	}
	if err := list.CheckIdentity(want); err != nil {
		return err
	}
	return verifier.NewClock(l.Now, time.Time{}, time.Time{}).CheckIssued(list)
}

// lookInside compares the archive that counts with the list, and reads all of it
// where that is wanted. Of an archive with another fault nothing more is asked.
func (l *looker) lookInside(ctx context.Context, s *seen, zip *archive) {
	if s.blind = zip == nil; s.blind {
		return
	}
	s.size, s.modified = zip.Size(), zip.modified
	if zip.layout == nil || len(zip.layout.Entries) == 0 || s.zipErr != nil || s.listErr != nil && s.list == nil {
		return
	}
	entries := content(zip.layout)
	if s.list != nil {
		if entries, s.zipErr = zip.layout.Match(s.list); s.zipErr != nil {
			return
		}
	}
	if l.Full {
		s.files, s.zipErr = l.readFiles(ctx, zip, entries, s.list)
	}
}

// date is when the object that was just opened was put there, zero where nobody
// says it.
func (l *looker) date(name string) (date time.Time) {
	if l.answer != nil {
		return l.answer.modified
	}
	if info, err := os.Stat(l.at.join(name).dir); err == nil {
		date = info.ModTime()
	}
	return date
}

func (l *looker) lookAtManifest(ctx context.Context) (*manifest.Manifest, error) {
	data, err := l.readSmall(ctx, manifest.Name, manifest.MaxSize)
	if err != nil {
		return nil, err
	}
	m, err := manifest.Parse(data)
	if err != nil {
		return nil, err
	}
	return &m, nil
}

// readSmall reads a small object whole.
func (l *looker) readSmall(ctx context.Context, name string, most int64) ([]byte, error) {
	pkg, err := l.from.Open(ctx, source.Request{Name: name, MaxBytes: most, Tally: l.tally})
	if err != nil {
		return nil, err
	}
	defer pkg.Close()
	data := make([]byte, pkg.Size())
	_, err = readerAt{ctx, pkg}.ReadAt(data, 0)
	return data, err
}

// readerAt reads small pieces of a package.
type readerAt struct {
	ctx context.Context
	pkg source.Package
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	piece, err := r.pkg.Range(r.ctx, off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	defer piece.Close()
	return io.ReadFull(piece, p)
}

// startsAsPage looks at the first bytes of what is no archive.
func startsAsPage(ctx context.Context, a *archive) bool {
	if a == nil {
		return false
	}
	head := make([]byte, min(source.PageBytes, a.Size()))
	if _, err := (readerAt{ctx, a.Package}).ReadAt(head, 0); err != nil {
		return false
	}
	return source.IsPage(head)
}

// content gives the entries of an archive that are files.
func content(layout *verifier.Archive) (entries []verifier.Entry) {
	for _, e := range layout.Entries {
		if !strings.HasSuffix(e.Name, "/") {
			entries = append(entries, e)
		}
	}
	return entries
}

// readFiles reads the archive from its beginning to its directory as one stream,
// hashes each file as an endpoint would, against the list where there is one, and
// judges its vendor's signature. What no list names must have the CRC of the directory.
// entries are in the list's order where there is one.
func (l *looker) readFiles(ctx context.Context, zip *archive, entries []verifier.Entry, list *verifier.List) (files []mirror.VendorFile, err error) {
	listed := map[string]verifier.File{}
	if list != nil {
		for i, e := range entries {
			listed[e.Name] = list.Files[i]
		}
	}
	all := zip.layout.Entries
	sigs, err := mirror.ReadSignatures(all, func(e verifier.Entry) (io.ReadCloser, error) { return openEntry(ctx, zip, e) })
	if err != nil {
		return nil, err
	}
	x, err := mirror.NewExaminer("", l.Vendor, l.Now)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	stream, err := zip.Range(ctx, 0, all[len(all)-1].End)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	for _, e := range all {
		content, err := e.Open(stream)
		if err != nil {
			return nil, err
		}
		if want, ok := listed[e.Name]; ok {
			content = verifier.NewCheckedReader(content, want)
		} else {
			content = e.Summed(content)
		}
		if !mirror.IsFile(e) {
			if _, err := io.Copy(io.Discard, content); err != nil {
				return nil, err
			}
			continue
		}
		f, err := x.Examine(e.Name, content, sigs[e.Name])
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	mirror.SettleFiles(files)
	return files, nil
}

// openEntry opens one entry by a request of its own.
func openEntry(ctx context.Context, zip *archive, e verifier.Entry) (io.ReadCloser, error) {
	region, err := zip.Range(ctx, e.Offset, e.End-e.Offset)
	if err != nil {
		return nil, err
	}
	content, err := e.Open(region)
	if err != nil {
		return nil, errors.Join(err, region.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{content, region}, nil
}

// errWhole says that a package could only be had whole, which was not asked for.
var errWhole = errors.New("the server sends the package only as a whole")

// maxUnasked is the most that is read of a package whole without having been asked
// for it, in bytes: as much as the end of another.
const maxUnasked = 1 << 20

// spool makes room for a whole package, in a file that nobody else sees.
func (l *looker) spool(size int64) (source.Spool, error) {
	if !l.Full && (size < 0 || size > maxUnasked) {
		l.announced = size
		return nil, errWhole
	}
	f, err := os.CreateTemp("", "mirror-check-*")
	if err != nil {
		return nil, noRoom(err)
	}
	_ = os.Remove(f.Name()) // where that is not possible yet, Close does it
	return spoolFile{f}, nil
}

// noRoom is why a package could not be kept. It is this machine's failure, and no
// finding.
func noRoom(err error) error {
	const hint = "look at the directory for temporary files, or name another in TMPDIR"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &mirror.Error{Code: "disk_full", Sentence: "there is no room for a package that the server sends only as a whole", Hint: hint, Err: err}
	}
	return &mirror.Error{Code: "permission_denied", Sentence: "a package that the server sends only as a whole can not be kept while it is read", Hint: hint, Err: err}
}

type spoolFile struct{ *os.File }

// Write says what a lack of room means.
func (f spoolFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	if err != nil {
		err = noRoom(err)
	}
	return n, err
}

// Close gives the room back.
func (f spoolFile) Close() error {
	err := f.File.Close()
	if gone := os.Remove(f.Name()); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}
