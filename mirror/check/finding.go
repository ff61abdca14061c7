package check

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/manifest"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// Severity is how bad a finding is.
type Severity string

// The severities, and what they mean to a monitor.
const (
	Critical Severity = "critical" // endpoints get no current definitions from there
	Warning  Severity = "warning"  // somebody must look, or it will become so
	Info     Severity = "info"     // worth knowing
)

// rank orders severities, the worst highest; it is the exit code, too.
func (s Severity) rank() int {
	return map[Severity]int{Critical: 2, Warning: 1}[s]
}

// Finding is one thing that is not as it should be, or that is worth knowing.
type Finding struct {
	Severity Severity `json:"severity"`
	Code     string   `json:"code"`
	Message  string   `json:"message"` // one sentence without bytes from outside
	Hint     string   `json:"hint"`    // what to do
	Places   []string `json:"places"`  // such as linux/production/x86_64; empty: the whole mirror
}

// The codes of this package's own findings. Beside them there are those that an
// endpoint would give, of package source and package verifier.
const (
	codeMissingArch     = "arch_missing"
	codePairTorn        = "pair_torn"
	codeNoManifest      = "manifest_missing"
	codeBadManifest     = "manifest_invalid"
	codeNoPrevious      = "previous_missing"
	codeSamePrevious    = "previous_same"
	codeNewerPrevious   = "previous_newer"
	codeBadPrevious     = "previous_unusable"
	codeStale           = "stale"
	codeEnds            = "ends_soon"
	codeNoTag           = "etag_missing"
	codeWeakTag         = "etag_weak"
	codeNoRanges        = "range_unsupported"
	codeResent          = "condition_ignored"
	codeNoDate          = "last_modified_missing"
	codeClock           = "clock_differs"
	codeListing         = "listing_enabled"
	codeWritable        = "writable_by_others"
	codeUnreadable      = "unreadable_by_others"
	codeVersionsDiffer  = "versions_differ"
	codeSidecarDangling = "sidecar_zip_missing"
	codeSidecarIgnored  = "sidecar_ignored"
	codeWaits           = "approval_waits"
	codeNotJudged       = "not_judged"
	codePastRing        = "past_ring"
)

// Codes gives the closed list of codes that findings have.
func Codes() []string {
	own := []string{codeMissingArch, codePairTorn, codeNoManifest, codeBadManifest, codeNoPrevious, codeSamePrevious, codeNewerPrevious, codeBadPrevious,
		codeStale, codeEnds, codeNoTag, codeWeakTag, codeNoRanges, codeResent, codeNoDate, codeClock, codeListing, codeWritable, codeUnreadable,
		codeVersionsDiffer, codeSidecarDangling, codeSidecarIgnored, codeWaits, codeNotJudged, codePastRing}
	for _, c := range []verifier.Code{verifier.NotAPackage, verifier.PackageMalformed, verifier.PackageExpired, verifier.SignatureMissing,
		verifier.SignatureInvalid, verifier.SignerUntrusted, verifier.SignerExpired, verifier.SignerRevoked, verifier.ListMalformed,
		verifier.WrongProduct, verifier.WrongPlatform, verifier.IssuedInFuture, verifier.ContentMismatch, verifier.TrustDirInvalid} {
		own = append(own, string(c))
	}
	return append(own, source.Codes()...)
}

// maxSkew is how far the clocks of a server and of this machine may differ before
// it is told.
const maxSkew = 5 * time.Minute

// findings judges what was seen. It looks at nothing else, and asks no clock.
func (o Options) findings(all []seen) []Finding {
	var found collector
	for _, s := range all {
		if s.there() {
			o.onPlace(s, func(severity Severity, code, message, hint string) {
				if s.isBack() && !o.meansBack() && severity == Critical {
					severity = Warning // nobody is pointed there yet
				}
				found.add(severity, code, message, hint, s.place)
			})
		}
	}
	if !slices.ContainsFunc(all, func(s seen) bool { return s.silent }) { // else not all was asked for
		for _, s := range all {
			o.onOthers(s, all, &found)
		}
	}
	if i := slices.IndexFunc(all, func(s seen) bool { return s.answer != nil && s.answer.skew.Abs() > maxSkew }); i >= 0 {
		found.add(Warning, codeClock, "the clocks of the server and of this machine differ by "+printable.Span(all[i].answer.skew.Abs()), "set both by NTP")
	}
	if o.Trust == nil && slices.ContainsFunc(all, func(s seen) bool { return s.origin != "" }) {
		found.add(Info, codeNotJudged, "the signed lists were not judged, since no trust directory was given", "give --trust and a directory with the root certificate of whoever signs the packages")
	}
	if o.Target.arch != "" {
		found.add(Info, codePastRing, "the address names the directory of an architecture, which endpoints add by themselves", "configure endpoints with "+o.Target.at.String())
	}
	return settle(found)
}

// collector takes findings in the order in which they are made.
type collector []Finding

func (c *collector) add(severity Severity, code, message, hint string, places ...place) {
	f := Finding{severity, code, message, hint, []string{}}
	for _, p := range places {
		f.Places = append(f.Places, p.String())
	}
	*c = append(*c, f)
}

// onPlace judges one place by itself.
func (o Options) onPlace(s seen, r report) {
	if s.silent {
		r.refused(s.err)
		return
	}
	if s.arch == "" && s.solid() {
		r(Warning, codePastRing, "the package lies where no endpoint looks for it, since they add arch_x86_64 or arch_arm64 to the configured address", "move it into a directory of that name")
	}
	o.onPackage(s, r)
	o.onEnds(s, r)
	o.onApproval(s, r)
	o.onAge(s, r)
	onManifest(s, r)
	onServer(s, r)
	onModes(s, r)
}

// meansBack tells whether the target itself is the ring with the package before,
// as somebody would check who is about to point a fleet there.
func (o Options) meansBack() bool { return strings.HasSuffix(o.Target.at.last(), backSuffix) }

// report takes a finding on one place.
type report func(severity Severity, code, message, hint string)

// refused reports a failure in the words of the package that it comes from.
func (r report) refused(err error) {
	code, sentence, hint := explain(err)
	r(Critical, code, sentence, hint)
}

// explain gives the reason of a failure. One that has none is of what stopped in the
// middle, such as a file that is shorter now than it was when it was opened.
func explain(err error) (code, sentence, hint string) {
	if why := reasonOf(err); why != nil {
		return why.Reason()
	}
	return source.CodeChanged, "what lies there could not be read to its end, so it changes or was cut", "run the check again; if that comes again, look what changes the files of the mirror in place"
}

// reasoned is a failure that a user can meet.
type reasoned interface {
	error
	Reason() (code, sentence, hint string)
}

// reasonOf finds it in err, nil where there is none.
func reasonOf(err error) (why reasoned) {
	errors.As(err, &why) // which leaves it nil then
	return why
}

// onPackage judges what an endpoint looks at before it installs a package.
func (o Options) onPackage(s seen, r report) {
	switch {
	case s.page:
		r(Critical, string(verifier.NotAPackage), "what is served as updates.zip is a web page",
			"fetch it by hand and read it; it is the error page of whoever filled the mirror, or a proxy or portal between answers in the mirror's place")
	case s.err != nil && !s.unread:
		r.refused(s.err)
	}
	switch {
	case s.listErr != nil:
		r.refused(s.listErr)
	case s.origin == "" && s.err == nil && o.Trust != nil:
		r(Critical, string(verifier.SignatureMissing), "the package has no signed list, inside or beside it", "approve it with agent mirror approve RING-DIR, or build your own with agent package build; machines with the vendor's own product need none")
	case s.origin == "" && s.err == nil:
		r(Info, string(verifier.SignatureMissing), "the package has no signed list, inside or beside it, so it is the vendor's own or not finished", "nothing is wrong for the vendor's own product; for endpoints with this program approve it with agent mirror approve RING-DIR, unless they have the profile vendor")
	}
	switch {
	case s.zip != "" && source.NotThere(s.zipErr):
		r(Critical, codeSidecarDangling, "the sidecar names an archive that is not there", "put the archive beside the sidecar, or sign a list for the one that is there")
	case s.zipErr != nil:
		r.refused(s.zipErr)
	}
	if s.ignored {
		r(Info, codeSidecarIgnored, "a signed list lies beside an archive with a list inside, and only the one inside counts", "take updates.zip.p7m away")
	}
}

// onEnds judges the ends of what the package rests on.
func (o Options) onEnds(s seen, r report) {
	if s.listErr != nil {
		return
	}
	for _, e := range s.ends {
		remedy := e.Remedy()
		if e.Object == verifier.EndOfList && s.origin == mirror.Sidecar {
			remedy = "approve a newer package with agent mirror approve RING-DIR, or the same for longer with --renew; then promote it to rings that are filled by that"
		}
		switch {
		case e.Object == verifier.EndOfList && o.Now.After(e.End):
			r(Critical, string(verifier.PackageExpired), e.Sentence(o.Now), remedy)
		case e.Due(o.Now) && (e.Object != verifier.EndOfList || !s.isBack()):
			r(Warning, codeEnds, e.Sentence(o.Now), remedy)
		}
	}
}

// ageing is the age of a package that is old enough to be told of, which is when
// endpoints begin to warn. Of the package before, that it is old is the point.
func (o Options) ageing(s seen) (age time.Duration, ok bool) {
	at := s.published()
	if age = o.Now.Sub(at); at.IsZero() || s.isBack() || s.listErr != nil {
		return 0, false
	}
	return age, age > o.MaxAge/4*3
}

// onAge tells of an old package, and whose turn it is.
func (o Options) onAge(s seen, r report) {
	age, ok := o.ageing(s)
	if !ok {
		return
	}
	severity, what := Critical, "the definitions are"
	if s.list == nil {
		severity, what = Warning, "by its date the package is" // which a copy may have changed
	}
	if age <= o.MaxAge {
		severity = Warning
	}
	hint := "look whether the job that fills the mirror still runs, and what it says; where agent mirror promote fills the ring, whether a package waits for that in the ring before"
	if s.waits() {
		hint = "approve the package that waits there, with agent mirror approve RING-DIR; before that look at it with --dry-run"
	}
	r(severity, codeStale, fmt.Sprintf("%s %s old, and %s are allowed", what, printable.Span(age), printable.Span(o.MaxAge)), hint)
}

// onApproval tells of a package that came after the approved one. It is somebody's
// decision to wait, so it is told of, and warned of only where the wait takes half of
// the time that definitions may be old, or where the approved ones have become old.
func (o Options) onApproval(s seen, r report) {
	if !s.waits() || s.isBack() {
		return
	}
	what := "a package"
	if s.manifest != nil {
		what = fmt.Sprintf("a package with definitions %s and engine %s", s.manifest.Definition, s.manifest.Engine)
	}
	severity, since := Info, ""
	if _, old := o.ageing(s); old {
		severity = Warning
	}
	if !s.came.IsZero() {
		age := o.Now.Sub(s.came)
		since = " since " + printable.Span(age)
		if age > o.MaxAge/2 {
			severity = Warning
		}
	}
	r(severity, codeWaits, fmt.Sprintf("%s waits for approval%s, and %s with engine %s is approved", what, since, s.list.Definition, s.list.Engine),
		"look at it with agent mirror approve RING-DIR --dry-run, and let it out with agent mirror approve RING-DIR and the --zip that this shows")
}

func onManifest(s seen, r report) {
	const remedy = "fill the mirror again with a tool that writes package and manifest together"
	switch {
	case s.page && s.manifestErr != nil: // the same page, most likely
	case source.NotThere(s.manifestErr):
		r(Warning, codeNoManifest, "there is no manifest.json beside the package", remedy+"; endpoints with this program don't ask for it")
	case errors.Is(s.manifestErr, manifest.ErrEmpty):
		r(Warning, codeBadManifest, "manifest.json has an empty version, as the vendor's script leaves it when the cloud gave no answer", remedy)
	case errors.Is(s.manifestErr, manifest.ErrForm):
		r(Warning, codeBadManifest, "manifest.json is no JSON object with both versions", remedy)
	case errors.Is(s.manifestErr, manifest.ErrVersion):
		r(Warning, codeBadManifest, "manifest.json has a version that is not made of four numbers", remedy)
	case s.manifestErr != nil:
		r(Warning, codeBadManifest, "manifest.json can not be read", "fetch it by hand and look at what comes")
	case s.torn():
		r(Warning, codePairTorn, fmt.Sprintf("manifest.json says definitions %s and engine %s, and the signed list %s and %s", s.manifest.Definition, s.manifest.Engine, s.list.Definition, s.list.Engine), remedy)
	}
}

// onServer judges how a server hands out packages.
func onServer(s seen, r report) {
	a := s.answer
	if a == nil || s.err != nil && !s.unread {
		return
	}
	if !a.ranges {
		message, hint := "the server sends packages only as a whole", "serve the mirror with a server that knows ranges, such as nginx, else each update fetches all of it"
		if s.unread {
			message, hint = message+", so this one was not looked into", hint+"; --full looks into it all the same"
		}
		r(Warning, codeNoRanges, message, hint)
	}
	switch {
	case a.tag == tagNone && a.modified.IsZero():
		r(Warning, codeNoTag, "the server gives neither an ETag nor Last-Modified, so endpoints can't tell that nothing changed", "let the server give an ETag, as nginx does by itself")
	case a.tag == tagNone:
		r(Info, codeNoTag, "the server gives no ETag that can be used, so endpoints compare date and size, and can't go on with a broken transfer", "let the server give an ETag, as nginx does by itself")
	case a.tag == tagWeak:
		r(Info, codeWeakTag, "the server's ETag is a weak one, so endpoints can't go on with a broken transfer", "turn compression off for zip files on the server and on proxies before it")
	}
	if s.resent {
		r(Warning, codeResent, "asked whether the package has changed, the server sends it again", "let the server and proxies before it answer If-None-Match with 304, else each poll of each endpoint costs a part of the package")
	}
	if a.modified.IsZero() && a.tag != tagNone {
		r(Info, codeNoDate, "the server gives no Last-Modified", "let it give one, so that people can see how old a file is")
	}
}

func onModes(s seen, r report) {
	for _, m := range s.modes {
		write, onlyGroup, onlyOwner := m.others()
		path := shown(m.path)
		switch {
		case onlyOwner:
			r(Warning, codeUnreadable, path+" can be read by its owner alone, so not by a web server that is another user", "chmod a+rX "+path)
		case onlyGroup:
			r(Info, codeUnreadable, path+" can be read by its owner and its group alone", "make sure that the web server is in the group, or chmod a+rX "+path)
		}
		if write {
			r(Warning, codeWritable, path+" can be changed by every user of this machine", "chmod o-w "+path)
		}
	}
}

// onOthers judges a place by the others: the other architecture of its ring, and the
// package before.
func (o Options) onOthers(s seen, all []seen, found *collector) {
	other := find(all, func(other seen) bool {
		return s.platform == other.platform && s.ring == other.ring && other.arch != s.arch
	})
	back := backOf(s, all)
	r := report(func(severity Severity, code, message, hint string) { found.add(severity, code, message, hint, s.place) })
	switch {
	case s.isBack() && !o.meansBack():
		return
	case s.there():
		if other != nil && s.arch < other.arch && differ(&s, other) {
			found.add(Info, codeVersionsDiffer, fmt.Sprintf("%s has definitions %s, and %s has %s", s.arch, s.version(), other.arch, other.version()),
				"look whether one of them is no longer filled", s.place, other.place)
		}
		onPrevious(s, all, r)
	case other == nil || !other.there():
		if back != nil && back.there() {
			r(Critical, source.CodeNotFound, "there is no package, and one before it in "+back.ring, "fill the ring again")
		}
	case forbidden(s.err):
		r.refused(s.err)
	default:
		r(Warning, codeMissingArch, "there is nothing for this architecture of the ring", "fill it, or give --arch with the one that all machines have")
	}
}

// forbidden tells whether a server hides what it perhaps has.
func forbidden(err error) bool {
	var e *source.Error
	return errors.As(err, &e) && e.Code == source.CodeForbidden
}

// onPrevious judges the package to step back to. Where no ring has any, nobody wants
// them, as in a tree that is filled without.
func onPrevious(s seen, all []seen, r report) {
	ring, back := s.ring+backSuffix, backOf(s, all)
	anyBack := slices.ContainsFunc(all, func(b seen) bool { return b.isBack() && (b.there() || forbidden(b.err)) })
	switch {
	case back == nil: // nobody looked
	case !back.there() && !anyBack:
		r(Info, codeNoPrevious, "there is no package before this one, nor before any other, so no way back for endpoints",
			"if they are to have one, keep packages in "+ring+", as mirror sync with backupPreviousUpdates and mirror promote do")
	case !back.there():
		r(Warning, codeNoPrevious, "there is no package before this one, so no way back for endpoints", "keep the package before in "+ring+", as mirror sync does")
	case !back.usable():
		r(Warning, codeBadPrevious, "the package before this one can not be used", "see what is said about "+ring+", and put the last good package there")
	case back.version().IsZero() || s.version().IsZero():
	case back.version() == s.version():
		r(Warning, codeSamePrevious, fmt.Sprintf("the package before is %s as well, so there is no way back", back.version()), "keep the package before the present one in "+ring)
	case back.version().Compare(s.version()) > 0:
		r(Warning, codeNewerPrevious, fmt.Sprintf("the package before is %s, which is newer than %s", back.version(), s.version()), "if a promotion was taken back with --undo, that is as it should be until the next one; else look who fills "+ring+", and put the package before the present one there")
	}
}

// backOf is what was seen of the package before s; nil where nobody looked.
func backOf(s seen, all []seen) *seen {
	return find(all, func(b seen) bool { return b.platform == s.platform && b.arch == s.arch && b.ring == s.ring+backSuffix })
}

func differ(a, b *seen) bool {
	return !a.version().IsZero() && !b.version().IsZero() && a.version() != b.version()
}

func find(all []seen, is func(seen) bool) *seen {
	if i := slices.IndexFunc(all, is); i >= 0 {
		return &all[i]
	}
	return nil
}

// settle puts together what is said of several places in the same words, and
// orders it, the worst first.
func settle(found []Finding) []Finding {
	all := []Finding{}
	for _, f := range found {
		i := slices.IndexFunc(all, func(g Finding) bool {
			return g.Severity == f.Severity && g.Code == f.Code && g.Message == f.Message && g.Hint == f.Hint
		})
		if i < 0 {
			all = append(all, f)
			continue
		}
		for _, p := range f.Places {
			if !slices.Contains(all[i].Places, p) {
				all[i].Places = append(all[i].Places, p)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Finding) int { return cmp.Compare(b.Severity.rank(), a.Severity.rank()) })
	return all
}
