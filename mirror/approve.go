package mirror

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig"
)

// ApproveOptions says what an approval is to say, and how strict it is.
type ApproveOptions struct {
	Arch string
	// Product is empty for mdatp. Platform and Ring are empty where the path of the
	// ring has them.
	Product, Platform, Ring string
	// Versions that are known better than from the files and manifest.json; zero:
	// they are taken from there, and must agree.
	Engine, Definition verifier.Version
	Expires            time.Time // zero: Now and DefaultValidity
	// Zip is the package that somebody looked at before, as Proposal.Exact has it, or the
	// name in the list. Nothing else is proposed. Empty: whatever lies there.
	Zip string
	// Vendor is who may have signed the files; nobody may be in it.
	Vendor        verifier.Trust
	RequireVendor bool // every file's vendor signature must be good
	// Trust is what endpoints trust; nil: the certificates above the signer's, and who
	// signed the approval before is not judged.
	Trust *verifier.Trust
	// Signer is who is going to sign. Where Trust is nil, a renewal is of what somebody
	// below the same issuers signed.
	Signer *Signer
	Renew  bool // sign again what is approved, whatever came since
	Force  bool // as in BuildOptions
	Now    time.Time

	passOver bool // an approval before that does not count: nobody is there to decide about it
}

// Proposal is a package that is about to be approved: exactly what would be signed,
// and a copy of the archive that nobody else writes to. It keeps the tree locked, and
// must be closed.
type Proposal struct {
	List     *verifier.List
	Files    []VendorFile
	Previous *verifier.List // what is approved now, as PreviousJudged has it; nil: nothing
	// Renewal says that the same content, with the same versions, is approved already.
	Renewal bool
	LogLine int // number of the line of the log of promotions that List names; 0: none

	o       ApproveOptions
	ring    ringPlace
	lock    io.Closer
	archive *archive
	before  standing // whose list is Previous
	judged  bool     // it was verified who signed it
	private bool     // the archive is a copy of ours, without its name yet
	sum     string   // its SHA-256 in hexadecimal, where it is private
}

// PreviousJudged says whether it was verified who signed the approval before. Else what
// differs from it is what whoever can write to the tree says.
func (p *Proposal) PreviousJudged() bool { return p.judged }

// Exact is a name of the package that no other package has, for ApproveOptions.Zip. The
// one in the list has fewer digits, so somebody could make another package for it.
func (p *Proposal) Exact() string {
	if !p.private {
		return p.List.Zip
	}
	return zipNamed(p.sum)
}

// zipNamed is the name of a package by digits of its SHA-256.
func zipNamed(digits string) string { return "updates-" + digits + ".zip" }

// FileChange is how a file differs from the approved one before.
type FileChange string

// The changes.
const (
	FileSame    FileChange = "same"
	FileNew     FileChange = "new"
	FileChanged FileChange = "changed"
	FileGone    FileChange = "gone"
)

// Changes compares with what is approved now, for each file of either.
func (p *Proposal) Changes() map[string]FileChange { return changes(p.List, p.Previous) }

func changes(list, previous *verifier.List) map[string]FileChange {
	before := map[string]verifier.Digest{}
	all := map[string]FileChange{}
	if previous != nil {
		for _, f := range previous.Files {
			before[f.Name], all[f.Name] = f.SHA256, FileGone
		}
	}
	for _, f := range list.Files {
		switch sum, there := before[f.Name]; {
		case !there:
			all[f.Name] = FileNew
		case sum == f.SHA256:
			all[f.Name] = FileSame
		default:
			all[f.Name] = FileChanged
		}
	}
	return all
}

// identity fills in what the path of the ring says, and what goes without saying.
func (o ApproveOptions) identity(ring string) (ApproveOptions, error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.Product == "" {
		o.Product = "mdatp"
	}
	platform, known := platformOf(ring)
	switch {
	case o.Platform == "" && known:
		o.Platform = platform
	case o.Platform == "":
		o.Platform = verifier.Linux
	case known && o.Platform != platform:
		return o, usage("the ring lies below another platform than that of --platform", "leave --platform out", nil)
	}
	name := strings.TrimSuffix(filepath.Base(ring), "_back")
	switch named := name == "production" || name == "preview"; {
	case o.Ring == "" && named:
		o.Ring = name
	case o.Ring == "":
		o.Ring = "production"
	case named && o.Ring != name:
		return o, usage("the path is that of another ring than --ring", "leave --ring out", nil)
	}
	return o, nil
}

// Propose looks at the package that came last for one architecture of a ring, or with
// Renew at the approved one, and gives what would be signed. The archive is copied
// first, and everything is about the copy.
//
// Errors: usage, busy; the verifier's codes for an archive that no endpoint would
// take, whose versions contradict each other, or which the vendor should have signed
// and did not; disk_full, permission_denied, interrupted.
func Propose(ctx context.Context, ring string, o ApproveOptions) (*Proposal, error) {
	place, lock, err := openRing(ring, o.Arch)
	if err != nil {
		return nil, err
	}
	p, err := propose(ctx, place, o)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	p.lock = lock
	return p, nil
}

// propose is Propose where the tree is locked already.
func propose(ctx context.Context, place ringPlace, o ApproveOptions) (*Proposal, error) {
	o, err := o.identity(place.ring)
	if err != nil {
		return nil, err
	}
	p := &Proposal{o: o, ring: place}
	if err := p.make(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Proposal) make(ctx context.Context) (err error) {
	dir := p.ring.arch
	if err := p.ring.clear(); err != nil {
		return fileError("what was left of an approval", dir, err)
	}
	before, err := p.o.before()
	if err != nil {
		return err
	}
	if p.before, err = approvedNow(p.ring, p.o.wanted(), before, p.o.Force || p.o.passOver); err != nil {
		return err
	}
	if p.o.passOver && !p.ring.counts(p.before, before, p.o.wanted()) {
		p.before = standing{}
	}
	p.Previous, p.judged = p.before.list, before != nil
	manifest, ok := readManifest(dir)
	if p.o.Renew {
		err = p.openApproved(ctx)
	} else {
		err = p.copyNews(ctx)
	}
	if err != nil {
		return err
	}
	if p.archive.layout.HasMeta() {
		return listInside()
	}
	x, err := NewExaminer(p.ring.work(), p.o.Vendor, p.o.Now)
	if err != nil {
		return err
	}
	defer x.Close()
	if p.Files, err = x.examine(ctx, p.archive); err != nil {
		return fileError("the package", p.archive.path, err)
	}
	said, err := p.o.versions(p.Files, manifest, ok)
	if err == nil {
		err = p.decide(said)
	}
	if err != nil {
		return &NotProposed{p.Files, err}
	}
	return nil
}

func listInside() error {
	return usage("the archive has a signed list inside, so no approval beside it would count", "leave it as it is", nil)
}

// wanted is what endpoints of the ring are told to be. o is complete.
func (o ApproveOptions) wanted() verifier.Identity {
	return verifier.Identity{Product: o.Product, Platform: o.Platform, Arch: o.Arch, Ring: o.Ring}
}

// before is whom the approval before must be by; nil: that does not matter, since all
// that is signed was looked at. A renewal signs again what somebody else says, so it
// never goes without.
func (o ApproveOptions) before() (*verifier.Trust, error) {
	if o.Trust != nil || !o.Renew {
		return o.Trust, nil
	}
	if o.Signer == nil {
		return nil, usage("nothing says whose approval may be renewed", "give --trust and the trust directory of the endpoints", nil)
	}
	own, err := o.Signer.trust()
	return &own, err
}

// approvedNow is the approval that is in force, which must be for endpoints of this ring.
// With trust it must be by somebody in it, whatever time has passed since. There may be
// none.
func approvedNow(place ringPlace, want verifier.Identity, trust *verifier.Trust, force bool) (standing, error) {
	object, err := readObject(place.sidecar())
	if errors.Is(err, fs.ErrNotExist) {
		return standing{}, nil
	}
	var now standing
	if err == nil {
		now, err = standingOf(object)
	}
	if err != nil {
		return unlessForced(force, usage("the approval that would be replaced can not be read", "give --force if it is to go", err))
	}
	if err := now.list.CheckIdentity(want); err != nil {
		return unlessForced(force, usage("the approval that would be replaced is for other endpoints than those of this ring", "look who can write to the ring, and give --force if it is to go", err))
	}
	if trust != nil && !now.believed(*trust, want) {
		return unlessForced(force, usage("the approval that would be replaced is by nobody whom the trust directory has, or without one the certificates above the signer's", "look who can write to the ring, and give --force without --renew if it is to go", nil))
	}
	return now, nil
}

// unlessForced says that nothing counts as approved, where that was asked for.
func unlessForced(force bool, refused error) (standing, error) {
	if force {
		return standing{}, nil
	}
	return standing{}, refused
}

// openApproved opens the archive that is approved, for a renewal. One without a name of
// its own is copied like news. Its versions are as good as named, since they may have
// been when it was approved.
func (p *Proposal) openApproved(ctx context.Context) (err error) {
	if p.Previous == nil {
		return usage("nothing is approved that could be renewed", "approve the package without --renew", nil)
	}
	if readLedger(p.ring.ledger()).superseded(p.before) && !p.o.Force {
		return usage("a later approval than this one was in force", "look who put the older one back, and approve the package without --renew, or give --force if the ring was meant to go back", nil)
	}
	if name := p.Previous.Zip; name == "" || name == source.PackageName {
		err = p.copyNews(ctx)
	} else {
		p.archive, err = openArchive(filepath.Join(p.ring.arch, name))
	}
	p.o.Engine, p.o.Definition = cmp.Or(p.o.Engine, p.Previous.Engine), cmp.Or(p.o.Definition, p.Previous.Definition)
	return err
}

// clear makes the work directory, a private one, and removes what killed runs have left
// there, and of an approval that they were writing. The tree is locked.
func (p ringPlace) clear() error {
	if err := makePrivate(p.work()); err != nil {
		return err
	}
	return errors.Join(
		removeFrom(p.arch, func(name string) bool { return strings.HasPrefix(name, "."+source.SidecarName) }),
		removeFrom(p.work(), func(name string) bool { return !strings.HasPrefix(name, "arch_") }))
}

// removeFrom removes from a directory what has one of these names, whatever it is.
func removeFrom(dir string, left func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if left(e.Name()) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// copyNews copies the package that came last.
func (p *Proposal) copyNews(ctx context.Context) error {
	to := filepath.Join(p.ring.work(), "copy.zip")
	sum, came, err := copyPackage(ctx, p.ring.zip(), to)
	if err != nil {
		return fileError("the copy of the package", to, err)
	}
	// The date is that of the download, which counts as when the content was first seen.
	if err = os.Chtimes(to, time.Time{}, came); err == nil {
		p.archive, err = openArchive(to)
	}
	if err != nil {
		return errors.Join(fileError("the copy of the package", to, err), os.Remove(to))
	}
	p.private, p.sum = true, sum
	return nil
}

// versions decides about the versions: what was named, else what the files say, which
// manifest.json must not contradict. Only the manifest has the engine's.
func (o ApproveOptions) versions(files []VendorFile, manifest versions, hasManifest bool) (versions, error) {
	v := versions{o.Engine, o.Definition}
	if v.Definition.IsZero() {
		said, err := vendorsig.DefinitionVersion(examined(files))
		known := !said.IsZero()
		switch {
		case err != nil && o.RequireVendor: // which no name would help
			return v, allTheSame(err)
		case err != nil:
			return v, hinted(err, ", or name the right version with --definition-version")
		case known && hasManifest && said != manifest.Definition:
			return v, &verifier.Refusal{Code: verifier.ContentMismatch, Sentence: fmt.Sprintf("the files are definitions %s, and manifest.json says %s", said, manifest.Definition),
				Hint: "fetch package and manifest again, or name the right version with --definition-version"}
		case known:
			v.Definition = said
		case hasManifest:
			v.Definition = manifest.Definition
		default:
			return v, usage("neither the files nor a manifest.json say which definitions they are", "name the version with --definition-version", nil)
		}
	}
	if v.Engine.IsZero() {
		if !hasManifest {
			return v, usage("no manifest.json says which engine it is", "name the version with --engine-version", nil)
		}
		v.Engine = manifest.Engine
	}
	return v, nil
}

// hinted is a refusal whose hint says one thing more.
func hinted(err error, more string) error {
	refused := (*verifier.Refusal)(nil)
	if !errors.As(err, &refused) {
		return err
	}
	copied := *refused
	copied.Hint += more
	return &copied
}

// decide makes the list, and refuses what must not be signed.
func (p *Proposal) decide(said versions) error {
	o := p.o
	if o.RequireVendor {
		if err := CheckVendor(p.Files, o.Arch, said.Definition); err != nil {
			return allTheSame(err)
		}
	}
	if err := checkMachine(p.Files, o.Arch); err != nil && !o.Force {
		return err
	}
	build := BuildOptions{Product: o.Product, Platform: o.Platform, Arch: o.Arch, Rings: []string{o.Ring}, Engine: said.Engine, Definition: said.Definition,
		Now: o.Now, Issued: p.issued(), Expires: o.Expires}.withDefaults()
	p.List = build.list()
	var err error
	if p.LogLine, p.List.PromotionLog, err = lastPromotionLine(p.ring.ring, p.Previous, o.Force); err != nil {
		return err
	}
	for _, f := range p.Files {
		p.List.Files = append(p.List.Files, verifier.File{Name: f.Name, Size: f.Size, SHA256: f.SHA256})
	}
	if p.List.Zip, err = p.zipName(); err != nil {
		return err
	}
	if o.Zip != "" && o.Zip != p.List.Zip && o.Zip != p.Exact() {
		return &verifier.Refusal{Code: verifier.ContentMismatch, Sentence: "another package lies there than the one that was named, since it would get the name " + p.List.Zip,
			Hint: "look at it with --dry-run, and give --zip as that shows it"}
	}
	if err := p.date(); err != nil {
		return err
	}
	if _, err := verifier.MarshalList(p.List); err != nil {
		return badList(err)
	}
	if _, err := p.archive.layout.Match(p.List); err != nil {
		return err
	}
	if err := checkDates(p.List, o.Now); err != nil {
		return err
	}
	same := p.Previous != nil && p.Previous.Content() == p.List.Content()
	if o.Renew && !same {
		return &verifier.Refusal{Code: verifier.ContentMismatch, Sentence: "the approved package is not what was approved any more", Hint: "approve the package without --renew, and look who changes the tree"}
	}
	p.Renewal = same && p.Previous.Definition == p.List.Definition && p.Previous.Engine == p.List.Engine
	return o.checkSuccession(p.List, p.Previous, p.judged, p.judged || p.ring.counts(p.before, nil, o.wanted()))
}

// checkSuccession is the function of that name for approvals, where the one before may be
// by whoever can write to the tree. It gives way to Force whatever its date is. That
// counts for nothing unless dated says so, or where it is so late that no endpoint takes
// it yet. Where the approval does not count, its versions are for a person to look at.
func (o ApproveOptions) checkSuccession(l, previous *verifier.List, dated, counts bool) error {
	if previous == nil || o.Force {
		return nil
	}
	if dated && !ahead(previous, o.Now) {
		if err := checkLater(l, previous, "check the clock, look who signed that one, and give --force if it is to go"); err != nil {
			return err
		}
	}
	err := checkStep(l, previous)
	if own := (*Error)(nil); !counts && errors.As(err, &own) {
		return usage(own.Sentence+", and it was not verified who signed the approval that says so", "look who can write to the ring, give --trust to have it verified, and --force if it is to go", nil)
	}
	return err
}

// issued is now, or the second after the approval before where that was made just now:
// lists have whole seconds, and each must be later than the one before.
func (p *Proposal) issued() time.Time {
	now := p.o.Now.UTC().Truncate(time.Second)
	if p.Previous != nil && !p.Previous.Issued.Before(now) && p.Previous.Issued.Before(now.Add(time.Minute)) {
		return p.Previous.Issued.Add(time.Second)
	}
	return now
}

// zipName is the name that the copy gets: made of its content, so that a newer
// download never takes its place. Where another content has that name already, which
// somebody has to have wanted, more digits are taken.
func (p *Proposal) zipName() (string, error) {
	if !p.private {
		return filepath.Base(p.archive.path), nil
	}
	const digits = 8
	for n := digits; n <= len(p.sum); n *= 2 {
		name := zipNamed(p.sum[:n])
		there, err := hashFile(filepath.Join(p.ring.arch, name))
		if errors.Is(err, fs.ErrNotExist) || err == nil && there == p.sum {
			return name, nil
		}
	}
	return "", usage("another file has the name of the approved package", "take the files updates-"+p.sum[:digits]+" out of "+printable.Quote(p.ring.arch), nil)
}

func hashFile(path string) (string, error) {
	f, size, err := openRegular("the package", path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, size)); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// date decides when the content was released: the vendor's time stamp, else the first
// time that it was seen here, by the earliest of all witnesses. So neither a renewal
// nor another download makes anything look fresh.
func (p *Proposal) date() error {
	info, err := p.archive.file.Stat()
	if err != nil {
		return fileError("the package", p.archive.path, err)
	}
	seen := p.List.Issued
	witnesses := []time.Time{info.ModTime()}
	if first, ok := readLedger(p.ring.ledger()).first(p.List.Content()); ok {
		witnesses = append(witnesses, first)
	}
	if p.Previous != nil && p.Previous.Content() == p.List.Content() {
		witnesses = append(witnesses, p.Previous.Released)
	}
	if at, ok := stamped(p.Files); ok {
		witnesses = []time.Time{at}
	}
	for _, at := range witnesses {
		if at.Before(seen) {
			seen = at
		}
	}
	p.List.Released = seen.UTC().Truncate(time.Second)
	return nil
}

// Close unlocks the tree, and removes the copy unless it has its name by now.
func (p *Proposal) Close() error {
	var err error
	if p.archive != nil {
		err = p.archive.file.Close()
		if p.private {
			err = errors.Join(err, os.Remove(p.archive.path))
		}
	}
	p.archive, p.private = nil, false
	if p.lock != nil {
		err = errors.Join(err, p.lock.Close())
	}
	p.lock = nil
	return err
}
