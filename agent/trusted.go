package agent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"mdatp-offline-agent/agent/engine"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/managedconfig"
	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/trustdir"
	"mdatp-offline-agent/verifier/vendorsig"
)

// trusted is who is believed: who signs lists, and, where the profile wants the
// vendor's own signatures as well, who the vendor is.
type trusted struct {
	verifier.Trust // for signed lists
	profile        string
	vendor         *vendorsig.Policy // nil: the profile does not ask for it
	clock          verifier.Clock    // for what is installed
	recorded       bool              // the profile is that of the last run, and nobody knows the pins
}

// Revokes tells whether anybody in a chain is revoked, by a list for either kind of
// signers: what is remembered may be of another profile.
func (t trusted) Revokes(chain []*x509.Certificate) (bool, error) {
	revoked, err := t.Trust.Revokes(chain)
	if revoked || err != nil || t.vendor == nil {
		return revoked, err
	}
	return t.vendor.Trust.Revokes(chain)
}

// under tells one vendor from another; empty where none is asked for.
func (t trusted) under() string {
	if t.vendor == nil {
		return ""
	}
	digest := t.vendor.Digest()
	return hex.EncodeToString(digest[:])
}

// Digest tells one trust from another.
func (t trusted) Digest() [sha256.Size]byte {
	digest := t.Trust.Digest()
	if t.vendor == nil {
		return digest
	}
	return sha256.Sum256(append(digest[:], t.under()...))
}

// trustRules are what the configuration says of trust.
type trustRules struct {
	profile string
	signers []verifier.Pin  // of lists
	vendors []vendorsig.Pin // none where the profile does not ask for the vendor
}

// trustRulesOf reads the settings, whose form the configuration has checked. Nobody
// is taken for the vendor for want of a pin.
func trustRulesOf(s managedconfig.Settings) (trustRules, error) {
	trust := s.Agent.Trust
	rules := trustRules{profile: trust.Profile.Value}
	for _, text := range trust.Signers.Value {
		pin, err := verifier.ParsePin(text)
		if err != nil {
			return trustRules{}, err
		}
		rules.signers = append(rules.signers, pin)
	}
	if rules.profile == managedconfig.ProfileList {
		return rules, nil
	}
	for _, text := range trust.VendorPins.Value {
		pin, err := vendorsig.ParsePin(text)
		if err != nil {
			return trustRules{}, err
		}
		rules.vendors = append(rules.vendors, pin)
	}
	if len(rules.vendors) == 0 {
		return trustRules{}, &Failure{codeConfig, "agent.trust.profile is " + rules.profile + ", but agent.trust.vendorPins names nobody who would be the vendor", managedconfig.HintNoVendor}
	}
	return rules, nil
}

func (a *Agent) loadTrust(s managedconfig.Settings) (trusted, error) {
	rules, err := trustRulesOf(s)
	if err != nil {
		return trusted{}, err
	}
	return a.loadTrustBy(rules)
}

// trustToShow gives the trust for who looks and does not act. Who can't read the
// configuration, as unread says, has the profile from the record of the last run, and
// no pins: that the list, if the profile has one, is by a trusted signer, and that the
// files are those of the list, can be seen without, and who the vendor is can't.
func (a *Agent) trustToShow(config configuration, unread error, status state.Status) (trusted, error) {
	if unread == nil {
		return a.loadTrust(config.settings)
	}
	rules := trustRules{profile: managedconfig.ProfileList}
	if status.Settings != nil {
		rules.profile = cmp.Or(status.Settings.Profile, rules.profile)
	}
	t, err := a.loadTrustBy(rules)
	t.recorded = true
	return t, err
}

// vendorUnknown tells that the profile asks for the vendor, and that it is not known
// here who that is.
func (t trusted) vendorUnknown() bool { return t.recorded && t.profile != managedconfig.ProfileList }

// loadTrustBy gives the trust of the trust directory by those rules, and with what it
// revoked before.
func (a *Agent) loadTrustBy(rules trustRules) (t trusted, err error) {
	t.profile, t.clock = rules.profile, verifier.NewClock(a.Now(), time.Time{}, a.Built)
	t.Trust, err = trustdir.Load(a.Paths.Root, a.Paths.Trust, rules.signers)
	if refused := (*verifier.Refusal)(nil); t.alone() && errors.As(err, &refused) && refused.Code == verifier.TrustDirEmpty {
		err = nil // nobody signs lists for this machine, and nobody is asked for one
	}
	if err != nil {
		return trusted{}, err
	}
	present, _ := t.Trust.ToRecall(nil) // nothing is recalled yet
	if t.profile != managedconfig.ProfileList {
		vendor, err := trustdir.Load(a.Paths.Root, filepath.Join(a.Paths.Trust, trustdir.Vendor), nil)
		if refused := (*verifier.Refusal)(nil); errors.As(err, &refused) && refused.Code == verifier.TrustDirInvalid {
			copied := *refused
			copied.Sentence = "of the vendor's part, " + refused.Sentence
			err = &copied
		}
		if err != nil {
			return trusted{}, err
		}
		t.vendor = &vendorsig.Policy{Trust: vendor, Pins: rules.vendors}
		of, _ := vendor.ToRecall(nil)
		present = append(present, of...)
	}
	before, err := state.View(a.Paths.State).RevocationLists(present)
	if err != nil {
		return trusted{}, err
	}
	if t.Trust, err = t.Recall(before); err == nil && t.vendor != nil {
		t.vendor.Trust, err = t.vendor.Trust.Recall(before)
	}
	if err != nil {
		return trusted{}, err
	}
	return t, nil
}

// unvouched is a refusal of files by the vendor's signatures. No other copy of the
// same files would fare better.
type unvouched struct{ error }

// Unwrap gives what a report shows.
func (e *unvouched) Unwrap() error { return e.error }

func isUnvouched(err error) bool {
	var e *unvouched
	return errors.As(err, &e)
}

// prove gives what files prove by the vendor's own signatures. The error is an
// unvouched refusal, or that of reading.
func (t trusted) prove(files []verifier.File, clock verifier.Clock, content func(name string) (io.ReaderAt, error)) (vendorsig.Content, error) {
	var named []vendorsig.Named
	for _, f := range files {
		at, err := content(f.Name)
		if err != nil {
			return vendorsig.Content{}, err
		}
		named = append(named, vendorsig.Named{File: f, Content: at})
	}
	c, err := t.vendor.Judge(named, clock)
	if refused := (*verifier.Refusal)(nil); errors.As(err, &refused) {
		err = &unvouched{err}
	}
	return c, err
}

// judge is prove for the files of a list. What they prove of the package must be what
// the list says.
func (t trusted) judge(list *verifier.List, clock verifier.Clock, content func(name string) (io.ReaderAt, error)) (vendorsig.Content, error) {
	c, err := t.prove(list.Files, clock, content)
	switch {
	case err != nil:
		return c, err
	case c.Definition != list.Definition:
		err = &verifier.Refusal{Code: verifier.ContentMismatch, Sentence: fmt.Sprintf("the list calls the definitions %s, and the vendor calls them %s", list.Definition, c.Definition),
			Hint: "somebody signed a list that does not belong to these files, so look who has the key"}
	case c.Arch != list.Arch:
		err = &verifier.Refusal{Code: verifier.WrongPlatform, Sentence: "the engine is for the architecture " + c.Arch + ", and the list says another",
			Hint: "publish the package of the right architecture"}
	default:
		return c, nil
	}
	return c, &unvouched{err}
}

// content judges an installed set by the vendor's signatures. Time that has passed
// does not count against it: what is not good now may have been when its list was
// issued, before which it can't have been installed.
func (i *installed) content() (c vendorsig.Content, err error) {
	for _, clock := range []verifier.Clock{i.by.clock, {Time: i.list().Issued}} {
		files := &openFiles{set: i.set}
		c, err = i.by.judge(i.list(), clock, files.content)
		files.Close()
		if f := Explain(err); f == nil || !f.is(string(verifier.SignerExpired)) && !f.is(string(verifier.IssuedInFuture)) {
			break
		}
	}
	return c, err
}

// vouched tells whether the vendor's signatures are good, where the profile asks. Of
// a revoked signer it tells as [verifier.Trust.VerifyInstalled] does of a list's, and
// the caller decides.
func (i *installed) vouched() error {
	if i.by.vendor == nil || i.by.recorded {
		return nil
	}
	c, err := i.content()
	if isUnvouched(err) && Explain(err).is(codeRevoked) {
		i.judged(i.by.under(), true)
		return nil
	}
	if err == nil && i.by.alone() {
		err = i.proves(c)
	}
	if err == nil {
		i.judged(i.by.under(), false)
	}
	return err
}

// whole hashes the set, and judges it by the vendor's signatures where the profile
// asks for these.
func (i *installed) whole(ctx context.Context) error {
	if err := i.set.Check(ctx, i.list().Files); err != nil {
		return err
	}
	return i.vouched()
}

// vouchedOnDisk is vouched for a sealed set that nothing leads to yet.
func (at *attempt) vouchedOnDisk(set engine.Set, n *news, v verifier.Verdict) error {
	files := &openFiles{set: set}
	defer files.Close()
	return at.vouched(n, v, files.content)
}

// openFiles are files of a set that are being judged.
type openFiles struct {
	set    engine.Set
	open   []*os.File
	unread error // why one could not be read, which proves nothing against it
}

func (o *openFiles) content(name string) (io.ReaderAt, error) {
	f, err := o.set.Open(name)
	if err != nil {
		o.unread = cmp.Or(o.unread, o.set.Unread(err))
		return nil, err
	}
	o.open = append(o.open, f)
	return setReader{o, f}, nil
}

// setReader reads one of them. An error of reading it counts as damage, which an update
// is to mend.
type setReader struct {
	of   *openFiles
	file *os.File
}

func (r setReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.file.ReadAt(p, off)
	if err != nil && err != io.EOF {
		r.of.unread = cmp.Or(r.of.unread, r.of.set.Unread(err))
		err = errors.Join(&Failure{codeDamaged, "a file of an installed set can not be read to its end", repairHint}, err)
	}
	return n, err
}

// Close closes them. They were only read, so nothing can be lost.
func (o *openFiles) Close() {
	for _, f := range o.open {
		f.Close()
	}
}

// vouched judges what was staged, before it is sealed, by the vendor's signatures,
// where the profile asks for these.
func (at *attempt) vouched(n *news, v verifier.Verdict, content func(name string) (io.ReaderAt, error)) error {
	trust := at.session.trust
	if trust.vendor == nil {
		return nil
	}
	at.step("judging the vendor's signatures of definitions " + n.signed.List.Definition.String())
	now, err := trust.judge(n.signed.List, at.clock, content)
	if err == nil {
		err = at.newEnough(n.signed.List, v, now)
	}
	return err
}

// newEnough refuses files that are older than the installed ones of their names,
// unless somebody consented to that.
func (at *attempt) newEnough(list *verifier.List, v verifier.Verdict, now vendorsig.Content) error {
	if v == verifier.Downgrade || at.allowed(list) {
		return nil
	}
	before, unread, err := at.held()
	if err != nil {
		return err
	}
	if want := at.config.settings.Agent.Trust.VendorFiles.Value; len(want) > 0 { // what the vendor has dropped is not among them
		maps.DeleteFunc(before.Claims, func(name string, _ vendorsig.Claim) bool { return !slices.Contains(want, name) })
	}
	err = now.NotBelow(before)
	if err != nil && unread != nil { // which may prove otherwise once it can be read
		return unread
	}
	if err != nil {
		return &unvouched{err}
	}
	return nil
}

// held is what the files of the set prove that current leads to, whole or not, and
// whatever profile it was installed under. What their list says of them may be wrong, and
// is not asked. What is damaged proves nothing, nor does what can't be read, as unread says;
// that this machine could not open it is an error.
func (at *attempt) held() (before vendorsig.Content, unread, err error) {
	set, names, err := at.session.namesInstalled()
	if err != nil {
		return before, nil, err
	}
	files := &openFiles{set: set}
	defer files.Close()
	var named []vendorsig.Named
	for _, name := range names {
		switch f, err := files.named(name); {
		case err == nil:
			named = append(named, f)
		case !Explain(err).is(codeDamaged):
			return before, nil, err
		}
	}
	clocks := []verifier.Clock{at.clock}
	if last := at.session.last(); last != nil {
		clocks = append(clocks, verifier.Clock{Time: last.list().Issued})
	}
	before = at.session.trust.vendor.Held(named, clocks...)
	return before, files.unread, nil
}

// namesInstalled gives the set that was accepted last, under whatever profile, and the
// names of its files: by its list or, where that can't be used, as they lie there; none
// where there is no such set.
func (s *session) namesInstalled() (set engine.Set, names []string, err error) {
	if last := s.last(); last != nil {
		for _, f := range last.list().Files {
			names = append(names, f.Name)
		}
		return last.set, names, nil
	}
	if s.dir == nil {
		return set, nil, nil
	}
	set, ok, err := s.dir.Current()
	if err == nil && ok {
		var found map[string]engine.FileStat
		found, err = set.Stat()
		names = slices.DeleteFunc(slices.Sorted(maps.Keys(found)), func(name string) bool { return !verifier.ValidName(name) })
	}
	if Explain(err).is(codeDamaged) {
		err = nil // it is as good as none
	}
	return set, names, err
}

// named opens a file, to be judged by what it proves itself.
func (o *openFiles) named(name string) (vendorsig.Named, error) {
	content, err := o.content(name)
	if err != nil {
		return vendorsig.Named{}, err
	}
	info, err := o.open[len(o.open)-1].Stat()
	if err != nil {
		return vendorsig.Named{}, cmp.Or(o.set.Unread(err), err)
	}
	return vendorsig.Named{File: verifier.File{Name: name, Size: info.Size()}, Content: content}, nil
}

// union is what is in either of two piles of revocation lists.
func union(a, b [][]byte) [][]byte {
	return slices.CompactFunc(slices.SortedFunc(slices.Values(slices.Concat(a, b)), bytes.Compare), bytes.Equal)
}
