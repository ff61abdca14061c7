package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// PromoteOptions says what is promoted, and what has to hold before.
type PromoteOptions struct {
	// From and To are directories of rings, such as /srv/mirror/linux/preview.
	From, To string
	// Archs are the architectures to promote; none means all that From has.
	Archs []string
	// Ring is the ring that endpoints of To are in, where its name does not tell; empty:
	// production, and To has to be there then.
	Ring string
	// Product is what packages must be for.
	Product string
	// Trust is the endpoints'. What it did not sign is not approved.
	Trust verifier.Trust
	// Sign signs sidecars for the target; only packages with a list inside need none.
	Sign *Signer

	MinAge      time.Duration // that a package must have been in From
	Health      []string      // files with the reports of test endpoints
	Test        string        // program that must succeed; empty: none
	TestTimeout time.Duration // zero: DefaultTestTimeout
	// AllowDowngrade is the one definition version that may replace a newer one.
	AllowDowngrade verifier.Version
	// RetryKnownBad promotes also what was taken back before, or whose approval was
	// replaced by a later one.
	RetryKnownBad bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// PromoteOutcome is what became of one architecture.
type PromoteOutcome string

// The outcomes.
const (
	Promoted        PromoteOutcome = "promoted"
	PromoteRenewed  PromoteOutcome = "renewed" // the same content with a newer list; n-1 stays
	PromoteUpToDate PromoteOutcome = "upToDate"
	PromoteUndone   PromoteOutcome = "undone"
)

// PromotedPair is one architecture, and what became of it.
type PromotedPair struct {
	Arch       string           `json:"arch"`
	Outcome    PromoteOutcome   `json:"outcome"`
	Engine     verifier.Version `json:"engineVersion"`              // published now
	Definition verifier.Version `json:"definitionsVersion"`         // published now
	Previous   verifier.Version `json:"previousDefinitionsVersion"` // replaced; zero: nothing that is known
	// PreviousUntrusted says that what was replaced did not count, though its list names a
	// version: no endpoint of the ring would take it, and it was not put in force here.
	PreviousUntrusted bool   `json:"previousUntrusted,omitempty"`
	Logged            string `json:"logged,omitempty"` // hash of the line in the log
	// Expired says that endpoints don't install what undo has published: the time of its
	// list is over.
	Expired bool `json:"expired,omitempty"`
	// Untrusted says the same, since no endpoint of the ring would take its list.
	Untrusted bool `json:"untrusted,omitempty"`
}

// Promote publishes in one ring what another one has. All checks are made, and all
// is at hand and verified, for every architecture, before the first of them is
// published. What is replaced becomes n-1 in the same way as by Sync, whose lock of
// the tree To is taken.
//
// A package with a list inside is copied, and must be for the target ring. A package
// that is approved by a sidecar gets a new one, for the target ring alone and issued
// now; its released and expires stay, so promotion makes nothing look fresh. The new
// sidecar carries the hash of the line that the log has of this promotion.
//
// The line is on disk before anything is published. A crash between the two leaves a
// line about something that did not happen, and never the other way round.
//
// Errors: usage; the verifier's codes for what is not approved, or not for the
// target; known_bad for what was taken back; cooling_down where a check does not hold
// yet; preload_failed where the test program refuses; rollback_refused; busy, disk_full,
// permission_denied, interrupted. With an error nothing is published, unless pairs are
// given with it.
//
// A refusal that is about one package is a *PromotionFailure, which says where that is.
func Promote(ctx context.Context, o PromoteOptions) (published []PromotedPair, err error) {
	if o, err = o.orDefault(); err != nil {
		return nil, err
	}
	t, err := openTarget(o.To)
	if err != nil {
		return nil, err
	}
	defer t.close()
	started := o.Now().UTC()
	var runs []*promotion
	for _, arch := range o.Archs {
		run := &promotion{o: o, target: t, started: started, arch: arch}
		defer run.discard()
		if err := run.prepare(ctx); err != nil {
			return nil, run.failure(err)
		}
		runs = append(runs, run)
	}
	for _, run := range runs {
		pair, err := run.publish()
		if err != nil {
			return published, run.failure(err)
		}
		published = append(published, pair)
	}
	return published, nil
}

// orDefault fills in what is left out, and refuses what can't be meant.
func (o PromoteOptions) orDefault() (PromoteOptions, error) {
	to, err := realRing(o.To)
	if err != nil {
		return o, fileError("the ring to promote to", o.To, err)
	}
	if _, err := os.Stat(to); errors.Is(err, fs.ErrNotExist) && ringOf(to, "") == "" && o.Ring == "" {
		return o, usage("there is no ring "+printable.Sentence(o.To, maxName), "correct the name; where that is to be a new ring, make the directory, or give --ring and the ring that its endpoints are in", err)
	}
	o.Ring = cmp.Or(o.Ring, production)
	if o.From, err = realRing(o.From); err != nil {
		return o, fileError("the ring to promote from", o.From, err)
	}
	if _, err := os.Stat(o.From); err != nil {
		return o, fileError("the ring to promote from", o.From, err)
	}
	if o.Test != "" {
		if o.Test, err = filepath.Abs(o.Test); err != nil {
			return o, fileError("the test program", o.Test, err)
		}
	}
	o.To = to
	o.TestTimeout = cmp.Or(o.TestTimeout, DefaultTestTimeout)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.From == o.To || sameDir(o.From, o.To) {
		return o, usage("a ring can not be promoted to itself", "give two different directories with --from and --to", nil)
	}
	there := archsIn(o.From)
	if len(there) == 0 {
		return o, usage("the ring to promote from has no directory of an architecture", "give the directory above arch_x86_64 or arch_arm64, and not "+printable.Quote(o.From), nil)
	}
	if len(o.Archs) == 0 {
		o.Archs = there
	}
	o.Archs = distinct(o.Archs)
	for _, arch := range o.Archs {
		if !slices.Contains(there, arch) {
			return o, usage("the ring to promote from has no directory of an architecture that was given", "give only those with --arch that "+printable.Quote(o.From)+" has, or none for all of them", nil)
		}
	}
	return o, nil
}

// archsIn gives the architectures that a ring has.
func archsIn(ring string) []string {
	return slices.DeleteFunc(SyncArchs(), func(arch string) bool {
		info, err := os.Stat(filepath.Join(ring, "arch_"+arch))
		return err != nil || !info.IsDir()
	})
}

// ringOf is the ring of the endpoints that are told this directory, as they find it
// out themselves; other where its name does not tell.
func ringOf(dir, other string) string {
	switch name := strings.TrimSuffix(filepath.Base(dir), "_back"); name {
	case production, "preview":
		return name
	}
	return other
}

// production is the ring of endpoints that are told none.
const production = "production"

// target is the ring that is published in: its directory, the lock of its tree, and
// the log beside it.
type target struct {
	ring string
	lock io.Closer
	log  *promotionLog
}

// openTarget takes a ring for changes. The directory above it has to be there, so that
// a typing error makes no second tree.
func openTarget(dir string) (*target, error) {
	ring, err := realRing(dir)
	if err != nil {
		return nil, fileError("the ring to promote to", dir, err)
	}
	rings := filepath.Dir(ring)
	if _, err := os.Stat(rings); err != nil {
		return nil, fileError("the directory above the ring to promote to", rings, err)
	}
	for _, dir := range []string{treeOf(ring), rings, ring} {
		if err := refuseRoot(dir); err != nil {
			return nil, err
		}
	}
	lock, err := lockSync(treeOf(ring))
	if err != nil {
		return nil, err
	}
	log, err := openPromotions(rings)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &target{ring, lock, log}, nil
}

// name is what the log calls the ring. It stays where the tree is moved, or mounted
// somewhere else.
func (t *target) name() string { return filepath.Base(t.ring) }

// nameOf is what the log calls another ring: its name where the two lie together, else
// its path.
func (t *target) nameOf(ring string) string {
	if filepath.Dir(ring) == filepath.Dir(t.ring) {
		return filepath.Base(ring)
	}
	return ring
}

// treeOf is the directory whose lock Sync takes, in a tree such as Sync makes it.
func treeOf(ring string) string {
	rings := filepath.Dir(ring)
	if _, known := platformOf(ring); known {
		return filepath.Dir(rings)
	}
	return rings
}

func (t *target) close() {
	t.log.close()
	t.lock.Close()
}

// keepsAnchor is the function of that name, about what is published in dir.
func (t *target) keepsAnchor(list *verifier.List, dir string) error {
	return keepsAnchor(t.log.lines, list, "take "+printable.Quote(filepath.Join(dir, zipSidecar))+" away")
}

// place gives the place of one architecture, with what a crash left of it finished.
func (t *target) place(arch string) (place, error) {
	p, err := newPlace(t.ring, "arch_"+arch)
	if err != nil {
		return p, err
	}
	if err := undoAside(p.next(), p.arch); err != nil {
		return p, err
	}
	state := p.readState()
	if _, err := p.settle(state); err != nil || state.Previous == nil {
		return p, err
	}
	// It is settled for good. Else what undo lays out, which are other names for the files
	// of n-1, would be taken for an n-1 that is still on its way.
	state.Previous = nil
	return p, p.writeState(state)
}

// promotion brings one architecture from one ring to another.
type promotion struct {
	o       PromoteOptions
	target  *target
	started time.Time
	arch    string

	place    place
	good     Verified // what is promoted, as it lies in the first ring
	have     standing // what is published in the target
	counts   bool     // and its list is one to go by
	outcome  PromoteOutcome
	expires  time.Time // of the new sidecar
	came     syncState
	replaces bool   // have becomes n-1
	begun    bool   // something may be published already
	at       string // ring that is looked at, as the log calls it
}

// prepare makes all checks, and lays out beside the target what is to be published.
func (r *promotion) prepare(ctx context.Context) (err error) {
	first, to := r.target.nameOf(r.o.From), r.target.name()
	r.at = first
	if r.good, err = r.approved(ctx); err != nil {
		return err
	}
	r.at = to
	if r.place, err = r.target.place(r.arch); err != nil {
		return err
	}
	counts := func(s standing) bool { return r.approvals().counts(s, &r.o.Trust, r.wanted()) }
	r.have = standingIn(r.place.arch, counts)
	// Whoever can write to the tree must not be able to keep the next package from coming.
	var old *verifier.List
	if r.counts = counts(r.have); r.counts {
		old = r.have.list
	}
	if err := r.target.keepsAnchor(old, r.place.arch); err != nil {
		return err
	}
	if r.outcome, err = decidePromotion(r.good.Signed.List, old, r.isOut(), r.o.AllowDowngrade); err != nil {
		return err
	}
	if r.outcome == PromoteUpToDate {
		if r.place.opens() {
			return nil
		}
		r.outcome = Promoted // once more, since endpoints have only a list of it
	}
	if takenBack(r.target.log.lines, r.target.name(), r.arch, r.good.Signed.List.Content()) && !r.o.RetryKnownBad {
		return &verifier.Refusal{Code: verifier.KnownBadContent, Sentence: "this package was promoted to the ring before, and taken back",
			Hint: "wait for a package with other content, or give --retry-known-bad"}
	}
	r.at = first
	if err := r.check(); err != nil {
		return err
	}
	r.at = to
	if err := r.stage(ctx); err != nil {
		return err
	}
	if r.o.Test == "" {
		return nil
	}
	list := r.good.Signed.List
	if err := runTest(ctx, r.o.Test, r.o.TestTimeout, []string{
		"AGENT_PACKAGE=" + filepath.Join(r.place.next(), zipFile), "AGENT_ARCH=" + r.arch, "AGENT_FROM=" + r.o.From, "AGENT_TO=" + r.o.To,
		"AGENT_DEFINITIONS_VERSION=" + list.Definition.String(), "AGENT_ENGINE_VERSION=" + list.Engine.String(),
	}); err != nil {
		return err
	}
	return r.verifyNext(ctx) // the program could change what it looked at
}

// identity is what a package must be for, as endpoints have it that are told that
// directory, or are in that ring where its name does not tell.
func (r *promotion) identity(dir, ring string) verifier.Identity {
	return identityIn(dir, verifier.Identity{Product: r.o.Product, Platform: verifier.Linux, Arch: r.arch, Ring: ring})
}

// wanted is what it must be for in the target.
func (r *promotion) wanted() verifier.Identity { return r.identity(r.o.To, r.o.Ring) }

// isOut says whether endpoints of the target could have what is published there by now.
func (r *promotion) isOut() bool {
	return r.have.believed(r.o.Trust, r.wanted()) && !ahead(r.have.list, r.o.Now())
}

// approved verifies the package in the first ring as an endpoint of that ring would.
func (r *promotion) approved(ctx context.Context) (Verified, error) {
	file := approvedIn(filepath.Join(r.o.From, "arch_"+r.arch))
	good, err := Verify(ctx, file, r.o.Trust, r.o.Now(), nil)
	if err != nil {
		return good, r.unapproved(file, err)
	}
	list := good.Signed.List
	if err := list.CheckIdentity(r.identity(r.o.From, list.Rings[0])); err != nil {
		return good, err
	}
	if r.putBack(good.Signed) && !r.o.RetryKnownBad {
		return good, &verifier.Refusal{Code: verifier.KnownBadContent, Sentence: "a later approval than this one was in force in the first ring",
			Hint: "look who put the older one back, and approve or build the package anew there, or give --retry-known-bad"}
	}
	if good.Origin == Inside {
		return good, list.CheckIdentity(r.wanted())
	}
	if r.o.Sign == nil {
		return good, usage("the package is approved by a sidecar, which has to be signed for the ring that it goes to", "give --key and --cert of a signer whom the endpoints trust", nil)
	}
	chain, err := r.o.Sign.check(r.o.Now())
	r.expires = list.Expires
	for _, c := range chain {
		if c.NotAfter.Before(r.expires) {
			r.expires = c.NotAfter.UTC()
		}
	}
	return good, err
}

// putBack says whether the first ring had a later list in force than this one, which
// somebody has put back then. Where that can't be read, nothing is known of it.
func (r *promotion) putBack(s verifier.Signed) bool {
	dir, err := resolve(filepath.Join(r.o.From, "arch_"+r.arch))
	return err == nil && readLedger(ringPlace{arch: dir}.ledger()).superseded(standing{list: s.List, digest: s.Digest})
}

// approvedIn gives the file by which a directory's approved package is found: the
// sidecar, where it names an archive of its own, whatever updates.zip is by now.
func approvedIn(dir string) string {
	zip := filepath.Join(dir, zipFile)
	if list, err := ReadList(zip + sidecarSuffix); err == nil && list.Zip != "" {
		return zip + sidecarSuffix
	}
	return zip
}

// decidePromotion says what becomes of a package where old is published; nil for
// nothing that counts. Only where old is believed can the content be out already.
// allowed is the one definition version that may come although it is older.
func decidePromotion(l, old *verifier.List, believed bool, allowed verifier.Version) (PromoteOutcome, error) {
	if old == nil {
		return Promoted, nil
	}
	c := versions{l.Engine, l.Definition}.compare(versions{old.Engine, old.Definition})
	same := believed && c == 0 && l.Content() == old.Content()
	switch {
	case same && l.Issued.After(old.Issued):
		return PromoteRenewed, nil
	case same:
		return PromoteUpToDate, nil
	case c < 0 && l.Definition != allowed:
		return "", &verifier.Refusal{Code: verifier.RollbackRefused,
			Sentence: fmt.Sprintf("the ring to promote to has definitions %s with engine %s already, and %s with %s would replace them", old.Definition, old.Engine, l.Definition, l.Engine),
			Hint:     "wait for a newer package, take the last promotion back with --undo, or give --allow-downgrade " + l.Definition.String()}
	}
	return Promoted, nil
}

// check asks what else the owner wants to hold. A renewal, whose content is out
// already, is let through: it would only make endpoints call it out of date.
func (r *promotion) check() error {
	if r.outcome == PromoteRenewed {
		return nil
	}
	info, err := os.Stat(r.good.Archive)
	if err != nil {
		return fileError("the package", r.good.Archive, err)
	}
	list := r.good.Signed.List
	// Nobody could install it before it was there and approved.
	if err := checkAge(later(info.ModTime(), r.approvedSince()), r.o.Now(), r.o.MinAge); err != nil {
		return err
	}
	return checkHealthFiles(r.o.Health, versions{list.Engine, list.Definition})
}

// approvedSince is when the content was approved in the first ring: a renewal does not
// begin its age anew. The first approval counts only where it is signed as the one in
// force has to be.
func (r *promotion) approvedSince() time.Time {
	list := r.good.Signed.List
	arch, err := resolve(filepath.Join(r.o.From, "arch_"+r.arch))
	if err != nil || r.good.Origin == Inside {
		return list.Issued
	}
	if first, ok := (ringPlace{arch: arch}).firstOf(standing{list: list}, &r.o.Trust, r.identity(r.o.From, list.Rings[0])); ok {
		return first.list.Issued
	}
	return list.Issued
}
