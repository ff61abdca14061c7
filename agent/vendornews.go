package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mdatp-offline-agent/agent/engine"
	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/managedconfig"
	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig"
)

// Under the profile vendor a package has no list that says what it is before it is
// here. So the check for news is whether the archive is another one; if it is, all its
// files come into staging, are judged by the vendor's signatures, and make the list
// that is compared with what is installed. From there on it is a package as any.

// newsByVendor is steps 3 and 4, and 5 and 6 on the way. A dry run, and a test of the
// sources, end before anything large comes: they get news without a list.
func (at *attempt) newsByVendor(ctx context.Context) (*news, verifier.Verdict, error) {
	n, known := &news{}, at.knownArchive(at.memory.Archive())
	var validator source.Validator
	if at.lately(at.memory.Checked) && known.layout != "" {
		validator = source.Validator(at.memory.Validator)
	}
	err := at.asker.open(ctx, n, source.PackageName, validator)
	switch {
	case errors.Is(err, source.ErrNotModified):
		n.unchanged, n.validator, n.layout = true, validator, known.layout
	case err != nil:
		n.opened = true
		return n, "", err
	default:
		n.opened, n.layout = true, n.archive.Digest().String()
		known = at.knownOf(n.layout)
		n.unchanged = known.layout != ""
	}
	if n.unchanged {
		v, err := at.stillThere(n, known)
		return n, v, err
	}
	files, err := n.archive.PlainFiles()
	if err != nil {
		return n, "", err
	}
	if err := at.named(n, files, !at.opts.AllowDowngrade.IsZero()); err != nil {
		return n, "", err
	}
	if at.looking || at.opts.DryRun {
		return n, "", nil
	}
	if err := at.receive(ctx, n, files); err != nil {
		return n, "", err
	}
	v, err := at.judgeReceived(n, files)
	return n, v, err
}

// named refuses a package that does not have exactly the files that are configured
// or, where none are, those of the installed set: else half of the vendor's files would
// pass for all of them. Consent to an older package is consent to other files than the
// installed ones, but never to others than those that are configured. A refusal is not
// remembered, since something else may be installed by the time that the same package
// is seen again.
func (at *attempt) named(n *news, files []verifier.Entry, consent bool) error {
	var have []string
	for _, f := range files {
		have = append(have, f.Name)
	}
	err := at.checkNames(have, consent)
	if err != nil {
		n.validator, n.layout = source.Validator{}, ""
	}
	return err
}

// listed is named for a package with a list, where the profile asks for the vendor as
// well and names are configured: without them a list says by itself which files there
// are. What only renews the installed package changes no file.
func (at *attempt) listed(list *verifier.List, v verifier.Verdict) error {
	if trust := at.session.trust; trust.vendor == nil || trust.alone() || v == verifier.Renewal {
		return nil
	}
	var have []string
	for _, f := range list.Files {
		have = append(have, f.Name)
	}
	return at.checkNames(have, true)
}

// checkNames compares names with those that are configured or, without consent, with
// those of the installed set.
func (at *attempt) checkNames(have []string, consent bool) error {
	want, whose := at.config.settings.Agent.Trust.VendorFiles.Value, "agent.trust.vendorFiles names"
	hint := "have the mirror's package looked at, and name the files in agent.trust.vendorFiles if the vendor has changed them"
	if len(want) == 0 && consent {
		return nil
	}
	if len(want) == 0 {
		var err error
		if _, want, err = at.session.namesInstalled(); err != nil {
			return err
		}
		whose = "the installed set has"
	}
	if len(want) == 0 {
		return &Failure{codeConfig, "nothing is installed that a package could be compared with, and agent.trust.vendorFiles does not say which files one has",
			"if these are the files of the vendor, run agent config set agent.trust.vendorFiles '[\"" + strings.Join(have, `","`) + `"]'`}
	}
	for _, name := range want {
		if !slices.Contains(have, name) {
			return &verifier.Refusal{Code: verifier.ContentMismatch, Sentence: "the package lacks the file " + name + ", which " + whose, Hint: hint}
		}
	}
	for _, name := range have {
		if !slices.Contains(want, name) {
			return &verifier.Refusal{Code: verifier.ContentMismatch, Sentence: "the package has the file " + name + ", beside those that " + whose, Hint: hint}
		}
	}
	return nil
}

// receive is steps 5 and 6 without a list: all files of the archive come into staging,
// and are hashed there. How large they are is the source's word alone, so it is to blame
// where there is no room for them.
func (at *attempt) receive(ctx context.Context, n *news, files []verifier.Entry) (err error) {
	if ok, err := at.takeUntested(ctx, n); ok || err != nil {
		return err
	}
	if err := at.tooSoon(n.layout); err != nil {
		return err
	}
	var p plan
	for _, e := range files {
		p.fetch = append(p.fetch, part{verifier.File{Name: e.Name, Size: e.Size}, e, true})
	}
	at.decided(p.step())
	if err := at.makeRoom(n, p); err != nil {
		return blameSource(err)
	}
	if n.staging, err = at.session.dir.Stage(""); err != nil {
		return err
	}
	at.received = n.layout
	at.step("fetching the files of the package")
	return blameSource(at.dropRefused(at.fetch(ctx, n.staging, n, p)))
}

// takeUntested takes the files of this very archive from the set that was sealed of it and
// that the preload hook could not judge yet, where they are all there. They are judged
// anew, as if they had just come.
func (at *attempt) takeUntested(ctx context.Context, n *news) (bool, error) {
	left := at.session.untested()
	if m, ok := at.shownBefore(n.layout); left == nil || !ok || left.signed.Digest.String() != m.List {
		return false, nil
	}
	staging, err := at.session.dir.Stage("")
	if err != nil {
		return false, err
	}
	for _, f := range left.list().Files {
		if ok, err := staging.Reuse(ctx, f, left.set); !ok || err != nil {
			staging.Discard()
			return false, err
		}
	}
	n.staging, at.result.BytesReused = staging, left.list().Size()
	at.decided(state.Step{Rule: ruleOnDisk})
	return true, nil
}

// untested is the sealed set that the preload hook could not judge yet; nil: none that
// can be used.
func (s *session) untested() *installed {
	set, ok, err := s.dir.Find(s.memory.Pending)
	if err != nil || !ok {
		return nil
	}
	left, err := openSet(set, s.trust)
	if err != nil {
		return nil
	}
	return left
}

// judgeReceived is step 4 for what was received: the list that the files prove, and
// what follows from it.
func (at *attempt) judgeReceived(n *news, files []verifier.Entry) (verifier.Verdict, error) {
	at.step("judging the vendor's signatures")
	received := n.staging.Files()
	proved, err := at.session.trust.prove(received, at.clock, n.staging.Content)
	if err != nil {
		return "", at.dropRefused(err)
	}
	if n.raw, n.signed, err = derived(proved, received); err != nil {
		return "", at.dropRefused(err)
	}
	left := at.session.untested()
	at.again = left != nil && left.list().SameContent(n.signed.List)
	v, err := at.compared(n)
	if v == verifier.UpToDate { // whatever is different in bytes that nobody signed
		n.raw, n.signed = at.session.current.raw, at.session.current.signed
	}
	if err == nil && v != verifier.UpToDate && v != verifier.Behind {
		if err = at.named(n, files, at.allowed(n.signed.List)); err == nil {
			err = at.newEnough(n.signed.List, v, proved)
		}
	}
	if refused := (*verifier.Refusal)(nil); errors.As(err, &refused) && refused.Code == verifier.RollbackRefused {
		err = &unvouched{err} // by the floor, too, which only comes down along with the set
	}
	return v, at.dropRefused(err)
}

// derived is the list that the files prove, as a set keeps it.
func derived(c vendorsig.Content, files []verifier.File) (raw []byte, s verifier.Signed, err error) {
	s.List, s.Chain = c.Derived(files)
	if raw, err = verifier.MarshalList(s.List); err != nil {
		return nil, verifier.Signed{}, err
	}
	s.Digest = sha256.Sum256(raw)
	return raw, s, nil
}

// sealReceived seals what was received and judged.
func (at *attempt) sealReceived(ctx context.Context, n *news) (engine.Set, error) {
	list := n.signed.List
	at.step("making definitions " + list.Definition.String() + " durable")
	n.staging.Name(engine.SetName(list.Definition, n.signed.Digest))
	return at.session.dir.Seal(ctx, n.staging, list, n.raw)
}

// wouldFetch tells what an update would do with a package that nobody knows yet.
func (at *attempt) wouldFetch(n *news) error {
	files, err := n.archive.PlainFiles()
	if err != nil {
		return err
	}
	var size int64
	for _, e := range files {
		size += e.Size
	}
	if err := at.session.dir.Room(size, len(files)+1); err != nil {
		return blameSource(err)
	}
	at.result.Outcome = WouldUpdate
	at.note(fmt.Sprintf("another package is there, of %d files and %d bytes; what it is shows once the vendor's signatures are judged, and not in a dry run", len(files), size))
	return nil
}

// otherProfile is a refusal of a set for the kind of its list alone, under which it was
// installed. It says nothing against the set.
type otherProfile struct{ error }

// Unwrap gives what a report shows.
func (e *otherProfile) Unwrap() error { return e.error }

func isOtherProfile(err error) bool {
	var e *otherProfile
	return errors.As(err, &e)
}

// installedAs gives the list of an installed set as the profile reads it. A derived one
// is not believed before the files have proved it anew; see [installed.vouched].
func (t trusted) installedAs(raw []byte) (verifier.Signed, error) {
	if engine.Derived(raw) != t.alone() {
		return verifier.Signed{}, &unvouched{&otherProfile{&verifier.Refusal{Code: verifier.SignatureMissing, Sentence: "the set was installed under another profile than " + t.profile + ", and does not hold what this one asks for",
			Hint: "agent definitions update installs anew what the profile in force accepts; or set agent.trust.profile to what it was"}}}
	}
	if !t.alone() {
		return t.VerifyInstalled(raw)
	}
	list, err := verifier.ParseDerived(raw)
	return verifier.Signed{List: list, Digest: sha256.Sum256(raw)}, err
}

// proves compares the list of an installed set with the one that its files prove.
func (i *installed) proves(c vendorsig.Content) error {
	_, s, err := derived(c, i.list().Files)
	if err == nil && s.Digest != i.signed.Digest {
		err = &verifier.Refusal{Code: verifier.ContentMismatch, Sentence: "the list of an installed set is not what its files prove", Hint: "run agent definitions update to install the set anew"}
	}
	if err != nil {
		return &unvouched{err}
	}
	i.signed.Chain = s.Chain
	return nil
}

// alone tells that packages are judged by the vendor's signatures and no list.
func (t trusted) alone() bool { return t.profile == managedconfig.ProfileVendor }

// engineText is the engine's version for reports; empty where the list is derived of
// files, none of which states it.
func engineText(l *verifier.List) string {
	if vendorsig.IsDerived(l) {
		return ""
	}
	return l.Engine.String()
}
