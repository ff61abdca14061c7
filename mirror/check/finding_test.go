package check

import (
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/manifest"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
)

// now is the time in all tests of judgements.
func now() time.Time { return time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC) }

func version(t *testing.T, s string) verifier.Version {
	t.Helper()
	v, err := verifier.ParseVersion(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// healthy is a ring in good order: both architectures, and what to step back to.
func healthy(t *testing.T) []seen {
	t.Helper()
	var all []seen
	for _, p := range ringPlaces(location{dir: "/mirror/linux/production"}, arches()) {
		definition := version(t, "1.407.418.0")
		if p.isBack() {
			definition = version(t, "1.407.417.0")
		}
		engine := version(t, "1.1.24080.9")
		list := &verifier.List{Engine: engine, Definition: definition, Released: now().Add(-5 * time.Hour), Issued: now().Add(-4 * time.Hour), Expires: now().AddDate(0, 0, 14)}
		all = append(all, seen{
			place: p, origin: mirror.Inside, list: list, ends: verifier.Trust{}.Ends(verifier.Signed{List: list}), size: 1000, modified: now().Add(-4 * time.Hour),
			answer:   &answer{ranges: true, tag: tagStrong, modified: now().Add(-4 * time.Hour)},
			manifest: &manifest.Manifest{Engine: engine, Definition: definition},
		})
	}
	return all
}

func options(t *testing.T) Options {
	t.Helper()
	return Options{Target: Target{at: location{dir: "/mirror/linux/production"}}, Trust: &verifier.Trust{}, Now: now()}.withDefaults()
}

// none is how a source says that there is no such object.
func none() error {
	return &source.Error{Code: source.CodeNotFound, Sentence: "the server has no such file", Hint: "fill it", Missing: true}
}

func refusal(code verifier.Code) error {
	return &verifier.Refusal{Code: code, Sentence: "it is refused", Hint: "mend it"}
}

// gone empties a place.
func gone(s *seen) { *s = seen{place: s.place, err: none(), manifestErr: none()} }

// The places of healthy, by their index.
const (
	x86 = iota
	arm
	x86Back
	armBack
)

// unlisted takes the list away, as in the vendor's own packages.
func unlisted(s *seen) { s.list, s.ends, s.origin = nil, nil, "" }

// waiting puts a newer package beside the approved one.
func waiting(s *seen, since time.Duration) {
	s.origin, s.zip, s.came, s.modified = mirror.Sidecar, "updates-1.zip", now().Add(-since), now().AddDate(0, 0, -6)
	s.manifest.Definition[2] = 420
}

func TestFindings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		change   func(o *Options, all []seen)
		severity Severity
		code     string
		places   string // joined by blanks
		says     string // part of message and hint
	}{
		{"an architecture is not there", func(_ *Options, all []seen) { gone(&all[arm]); gone(&all[armBack]) }, Warning, codeMissingArch, "linux/production/arm64", "nothing for this architecture"},
		{"one that the server hides", func(_ *Options, all []seen) {
			gone(&all[arm])
			all[arm].err = &source.Error{Code: source.CodeForbidden, Missing: true}
		}, Critical, source.CodeForbidden, "linux/production/arm64", ""},
		{"a ring that has only what was before", func(_ *Options, all []seen) { gone(&all[x86]); gone(&all[arm]) }, Critical, source.CodeNotFound, "linux/production/x86_64 linux/production/arm64", "one before it in production_back"},
		{"the package alone is gone", func(_ *Options, all []seen) {
			all[x86].err, all[x86].origin = none(), ""
			all[x86].list, all[x86].ends = nil, nil
		}, Critical, source.CodeNotFound, "linux/production/x86_64", "fill it"},
		{"a package that can't be read", func(_ *Options, all []seen) { all[x86].err = refusal(verifier.PackageMalformed) }, Critical, "package_malformed", "linux/production/x86_64", "mend it"},
		{"one that is cut while it is read", func(_ *Options, all []seen) { all[x86].err = io.ErrUnexpectedEOF }, Critical, source.CodeChanged, "linux/production/x86_64", "to its end"},
		{"a list that is", func(_ *Options, all []seen) { all[x86].listErr = io.ErrUnexpectedEOF }, Critical, source.CodeChanged, "linux/production/x86_64", "to its end"},
		{"content that is", func(_ *Options, all []seen) { all[x86].zipErr = io.ErrUnexpectedEOF }, Critical, source.CodeChanged, "linux/production/x86_64", "to its end"},
		{"the same of the one before", func(_ *Options, all []seen) { all[x86Back].err = refusal(verifier.PackageMalformed) }, Warning, "package_malformed", "linux/production_back/x86_64", "mend it"},
		{"the one before where a fleet goes back to it", func(o *Options, all []seen) {
			o.Target.at.dir = "/mirror/linux/production_back"
			all[x86Back].err = refusal(verifier.PackageMalformed)
		}, Critical, "package_malformed", "linux/production_back/x86_64", ""},
		{"and that is told of the present one", func(_ *Options, all []seen) { all[x86Back].zipErr = refusal(verifier.ContentMismatch) }, Warning, codeBadPrevious, "linux/production/x86_64", "production_back"},
		{"a web page", func(_ *Options, all []seen) { all[x86].err, all[x86].page = refusal(verifier.NotAPackage), true }, Critical, "not_a_package", "linux/production/x86_64", "web page"},
		{"too large", func(_ *Options, all []seen) { all[x86].err = &source.Error{Code: source.CodeTooLarge} }, Critical, "package_too_large", "linux/production/x86_64", ""},
		{"a list that is refused", func(_ *Options, all []seen) { all[arm].listErr = refusal(verifier.SignerUntrusted) }, Critical, "signer_untrusted", "linux/production/arm64", "mend it"},
		{"a package that is not that of the list", func(_ *Options, all []seen) { all[arm].zipErr = refusal(verifier.ContentMismatch) }, Critical, "content_mismatch", "linux/production/arm64", ""},
		{"no list, and somebody is trusted", func(_ *Options, all []seen) { unlisted(&all[x86]) }, Critical, "signature_missing", "linux/production/x86_64", "agent package build"},
		{"no list, on the vendor's own mirror", func(o *Options, all []seen) {
			o.Trust = nil
			for i := range all {
				unlisted(&all[i])
			}
		}, Info, "signature_missing", "linux/production/x86_64 linux/production/arm64 linux/production_back/x86_64 linux/production_back/arm64", "the vendor's own"},
		{"lists that nobody judges", func(o *Options, _ []seen) { o.Trust = nil }, Info, codeNotJudged, "", "--trust"},
		{"a sidecar for nothing", func(_ *Options, all []seen) { all[x86].zip, all[x86].zipErr = "updates-1.zip", none() }, Critical, codeSidecarDangling, "linux/production/x86_64", "not there"},
		{"a sidecar that does not count", func(_ *Options, all []seen) { all[x86].ignored = true }, Info, codeSidecarIgnored, "linux/production/x86_64", "only the one inside"},
		{"a newer package that waits for approval", func(_ *Options, all []seen) { waiting(&all[x86], 5*time.Hour) }, Info, codeWaits, "linux/production/x86_64", "definitions 1.407.420.0 and engine 1.1.24080.9 waits for approval since 5 hours, and 1.407.418.0 with engine 1.1.24080.9 is approved look at it with agent mirror approve RING-DIR"},
		{"one that waits for days", func(_ *Options, all []seen) { waiting(&all[x86], 4*24*time.Hour) }, Warning, codeWaits, "linux/production/x86_64", "since 4 days"},
		{"one with a newer engine alone", func(_ *Options, all []seen) {
			waiting(&all[x86], time.Hour)
			all[x86].manifest.Definition = all[x86].list.Definition
			all[x86].manifest.Engine[3]++
		}, Info, codeWaits, "linux/production/x86_64", "1.1.24080.10 waits"},
		{"one that nobody knows the date of", func(_ *Options, all []seen) { waiting(&all[x86], time.Hour); all[x86].came = time.Time{} }, Info, codeWaits, "linux/production/x86_64", "waits for approval, and"},
		{"one without a manifest", func(_ *Options, all []seen) {
			waiting(&all[x86], time.Hour)
			all[x86].manifest, all[x86].manifestErr = nil, none()
		}, Info, codeWaits, "linux/production/x86_64", "a package waits for approval since 60 minutes"},
		{"nor does a renewal of the approved one hide it", func(_ *Options, all []seen) {
			waiting(&all[x86], 4*24*time.Hour)
			all[x86].manifest, all[x86].manifestErr = nil, none()
			all[x86].list.Issued = now()
		}, Warning, codeWaits, "linux/production/x86_64", "a package waits for approval since 4 days"},
		{"one that nobody knows the date of, without a manifest", func(_ *Options, all []seen) {
			waiting(&all[x86], time.Hour)
			all[x86].manifest, all[x86].manifestErr, all[x86].modified = nil, none(), time.Time{}
		}, Info, codeWaits, "linux/production/x86_64", "a package waits for approval since 60 minutes"},
		{"one that is older waits for nothing", func(_ *Options, all []seen) {
			waiting(&all[x86], time.Hour)
			all[x86].manifest.Definition[2] = 400
		}, "", "", "", ""},
		{"nor the approved one itself", func(_ *Options, all []seen) {
			waiting(&all[x86], time.Hour)
			all[x86].manifest.Definition = all[x86].list.Definition
		}, "", "", "", ""},
		{"nor what lies in the ring to step back to", func(_ *Options, all []seen) {
			waiting(&all[x86Back], time.Hour)
		}, "", "", "", ""},
		{"an approval that will expire", func(o *Options, all []seen) {
			o.Now, o.MaxAge = now().AddDate(0, 0, 12), 365*24*time.Hour
			all[x86].origin, all[arm].origin = mirror.Sidecar, mirror.Sidecar
		}, Warning, codeEnds, "linux/production/x86_64 linux/production/arm64", "ends at 2026-12-10T12:00:00Z approve a newer package with agent mirror approve RING-DIR, or the same for longer with --renew"},
		{"an approval that has", func(o *Options, all []seen) {
			o.Now = now().AddDate(0, 0, 15)
			all[x86].origin, all[arm].origin = mirror.Sidecar, mirror.Sidecar
		}, Critical, "package_expired", "linux/production/x86_64 linux/production/arm64", "has ended at 2026-12-10T12:00:00Z approve a newer package with agent mirror approve"},
		{"an expired list", func(o *Options, _ []seen) { o.Now = now().AddDate(0, 0, 15) }, Critical, "package_expired", "linux/production/x86_64 linux/production/arm64", "has ended at 2026-12-10T12:00:00Z"},
		{"a list that will expire", func(o *Options, _ []seen) { o.Now, o.MaxAge = now().AddDate(0, 0, 12), 365*24*time.Hour }, Warning, codeEnds, "linux/production/x86_64 linux/production/arm64", "the signed list ends at 2026-12-10T12:00:00Z"},
		{"a signer who will", func(_ *Options, all []seen) {
			all[x86].ends = []verifier.Ending{{Object: verifier.EndOfSigner, Begin: now().AddDate(-1, 0, 0), End: now().AddDate(0, 0, 29)}}
		}, Warning, codeEnds, "linux/production/x86_64", "the signer's certificate ends at"},
		{"a revocation list that has", func(_ *Options, all []seen) {
			all[x86].ends = []verifier.Ending{{Object: verifier.EndOfCRL, File: "ca.crl", Begin: now().AddDate(0, -1, 0), End: now().AddDate(0, 0, -1)}}
		}, Warning, codeEnds, "linux/production/x86_64", "ca.crl has ended"},
		{"old definitions", func(o *Options, _ []seen) { o.Now = now().AddDate(0, 0, 7) }, Critical, codeStale, "linux/production/x86_64 linux/production/arm64", "7 days old, and 7 days are allowed"},
		{"ageing ones", func(o *Options, _ []seen) { o.Now = now().AddDate(0, 0, 6) }, Warning, codeStale, "linux/production/x86_64 linux/production/arm64", "6 days old"},
		{"old ones by their date", func(o *Options, all []seen) {
			unlisted(&all[x86])
			all[x86].modified = now().AddDate(0, 0, -8)
		}, Warning, codeStale, "linux/production/x86_64", "by its date"},
		{"another limit", func(o *Options, _ []seen) { o.MaxAge = 3 * time.Hour }, Critical, codeStale, "linux/production/x86_64 linux/production/arm64", "5 hours old, and 3 hours are allowed"},
		{"no manifest", func(_ *Options, all []seen) { all[x86].manifest, all[x86].manifestErr = nil, none() }, Warning, codeNoManifest, "linux/production/x86_64", ""},
		{"an empty manifest", func(_ *Options, all []seen) { all[x86].manifest, all[x86].manifestErr = nil, manifest.ErrEmpty }, Warning, codeBadManifest, "linux/production/x86_64", "empty version"},
		{"one that is no JSON", func(_ *Options, all []seen) { all[x86].manifest, all[x86].manifestErr = nil, manifest.ErrForm }, Warning, codeBadManifest, "linux/production/x86_64", "no JSON"},
		{"one with odd versions", func(_ *Options, all []seen) { all[x86].manifest, all[x86].manifestErr = nil, manifest.ErrVersion }, Warning, codeBadManifest, "linux/production/x86_64", "four numbers"},
		{"one that can't be read", func(_ *Options, all []seen) {
			all[x86].manifest, all[x86].manifestErr = nil, &source.Error{Code: source.CodeTooLarge}
		}, Warning, codeBadManifest, "linux/production/x86_64", "can not be read"},
		{"a torn pair", func(_ *Options, all []seen) { all[arm].manifest.Definition[2]++ }, Warning, codePairTorn, "linux/production/arm64", "says definitions 1.407.419.0 and engine 1.1.24080.9, and the signed list 1.407.418.0"},
		{"a pair torn by its engine", func(_ *Options, all []seen) { all[arm].manifest.Engine[2]++ }, Warning, codePairTorn, "linux/production/arm64", "24081"},
		{"no package before", func(_ *Options, all []seen) { gone(&all[x86Back]) }, Warning, codeNoPrevious, "linux/production/x86_64", "production_back"},
		{"no package before any", func(_ *Options, all []seen) {
			for i := range all {
				if all[i].isBack() {
					gone(&all[i])
				}
			}
		}, Info, codeNoPrevious, "linux/production/x86_64 linux/production/arm64", "nor before any other"},
		{"the package before is the same", func(_ *Options, all []seen) {
			all[x86Back].list = all[x86].list
			all[x86Back].manifest = all[x86].manifest
		}, Warning, codeSamePrevious, "linux/production/x86_64", "1.407.418.0 as well"},
		{"the package before is newer", func(_ *Options, all []seen) {
			all[x86Back].list.Definition[2] = 500
			all[x86Back].manifest.Definition[2] = 500
		}, Warning, codeNewerPrevious, "linux/production/x86_64", "1.407.500.0, which is newer"},
		{"the package before by its manifest alone", func(o *Options, all []seen) {
			o.Trust = nil
			for i := range all {
				unlisted(&all[i])
			}
			all[x86Back].manifest = all[x86].manifest
		}, Warning, codeSamePrevious, "linux/production/x86_64", ""},
		{"architectures differ", func(_ *Options, all []seen) { all[arm].list.Definition[2] = 420; all[arm].manifest.Definition[2] = 420 }, Info, codeVersionsDiffer, "linux/production/arm64 linux/production/x86_64", "arm64 has definitions 1.407.420.0, and x86_64 has 1.407.418.0"},
		{"no tag", func(_ *Options, all []seen) { all[x86].answer.tag = tagNone }, Info, codeNoTag, "linux/production/x86_64", "date and size"},
		{"nothing to tell news by", func(_ *Options, all []seen) { all[x86].answer.tag, all[x86].answer.modified = tagNone, time.Time{} }, Warning, codeNoTag, "linux/production/x86_64", "neither"},
		{"a weak tag", func(_ *Options, all []seen) { all[x86].answer.tag = tagWeak }, Info, codeWeakTag, "linux/production/x86_64", "compression"},
		{"a server that ignores conditions", func(_ *Options, all []seen) { all[x86].resent = true }, Warning, codeResent, "linux/production/x86_64", "If-None-Match"},
		{"no date", func(_ *Options, all []seen) { all[x86].answer.modified = time.Time{} }, Info, codeNoDate, "linux/production/x86_64", ""},
		{"no ranges", func(_ *Options, all []seen) { all[x86].answer.ranges = false }, Warning, codeNoRanges, "linux/production/x86_64", "nginx"},
		{"no ranges, and too large to read whole", func(_ *Options, all []seen) {
			all[x86].answer.ranges, all[x86].unread, all[x86].err = false, true, errWhole
		}, Warning, codeNoRanges, "linux/production/x86_64", "--full"},
		{"a server with another time", func(_ *Options, all []seen) { all[x86].answer.skew = -3 * time.Hour }, Warning, codeClock, "", "by 3 hours"},
		{"a package before that is old is none to warn of", func(_ *Options, all []seen) {
			all[x86Back].list.Released = now().AddDate(0, -1, 0)
		}, "", "", "", ""},
		{"a server that is four minutes off is none either", func(_ *Options, all []seen) { all[x86].answer.skew = 4 * time.Minute }, "", "", "", ""},
		{"what any user can change", func(_ *Options, all []seen) { all[x86].modes = []mode{{"/mirror/updates.zip", 0o646, false}} }, Warning, codeWritable, "linux/production/x86_64", "chmod o-w /mirror/updates.zip"},
		{"a directory of that kind", func(_ *Options, all []seen) { all[x86].modes = []mode{{"/mirror", fs.ModeDir | 0o777, false}} }, Warning, codeWritable, "linux/production/x86_64", ""},
		{"one where only its owner can remove is fine", func(_ *Options, all []seen) {
			all[x86].modes = []mode{{"/mirror", fs.ModeDir | fs.ModeSticky | 0o777, false}}
		}, "", "", "", ""},
		{"what lies above and any user can change is not ours to judge", func(_ *Options, all []seen) { all[x86].modes = []mode{{"/srv", fs.ModeDir | 0o777, true}} }, "", "", "", ""},
		{"what only its owner reads", func(_ *Options, all []seen) { all[x86].modes = []mode{{"/mirror/updates.zip", 0o600, false}} }, Warning, codeUnreadable, "linux/production/x86_64", "owner alone"},
		{"what its group reads", func(_ *Options, all []seen) { all[x86].modes = []mode{{"/mirror", fs.ModeDir | 0o750, false}} }, Info, codeUnreadable, "linux/production/x86_64", "group"},
		{"what nobody passes", func(_ *Options, all []seen) { all[x86].modes = []mode{{"/root", fs.ModeDir | 0o700, true}} }, Warning, codeUnreadable, "linux/production/x86_64", "/root"},
		{"what everybody passes and nobody lists", func(_ *Options, all []seen) { all[x86].modes = []mode{{"/srv", fs.ModeDir | 0o711, true}} }, "", "", "", ""},
		{"an address too long", func(o *Options, _ []seen) { o.Target.arch = "arm64" }, Info, codePastRing, "", "/mirror/linux/production"},
		{"a directory too short", func(_ *Options, all []seen) { all[x86].place.arch = "" }, Warning, codePastRing, "linux/production", "arch_x86_64"},
		{"a server that stopped to answer is told once", func(_ *Options, all []seen) {
			for i := range all {
				gone(&all[i])
			}
			all[x86].silent, all[x86].err = true, &source.Error{Code: source.CodeStalled, Sentence: "too slow", Hint: "wait"}
		}, Critical, source.CodeStalled, "linux/production/x86_64", "wait"},
		{"all is well", func(*Options, []seen) {}, "", "", "", ""},
	}
	tested := map[string]bool{}
	for _, tt := range tests {
		tested[tt.code] = true
		t.Run(tt.name, func(t *testing.T) {
			o, all := options(t), healthy(t)
			tt.change(&o, all)
			found := o.findings(all)
			fitToShow(t, found)
			if tt.code == "" {
				if len(found) > 0 {
					t.Errorf("found %+v", found)
				}
				return
			}
			i := slices.IndexFunc(found, func(f Finding) bool { return f.Code == tt.code })
			if i < 0 {
				t.Fatalf("no %s in %+v", tt.code, found)
			}
			f := found[i]
			if f.Severity != tt.severity || strings.Join(f.Places, " ") != tt.places || !strings.Contains(f.Message+" "+f.Hint, tt.says) {
				t.Errorf("found %+v", f)
			}
		})
	}
	for _, code := range Codes() {
		theirs := slices.Contains(source.Codes(), code) || strings.Contains(code, "sign") || strings.Contains(code, "wrong") || strings.Contains(code, "list_") || strings.Contains(code, "issued")
		if !tested[code] && !theirs && code != codeListing && code != string(verifier.TrustDirInvalid) {
			t.Errorf("%s has no test", code)
		}
	}
}

// TestOldWhileItWaits: where the approved package is old and a newer one waits, that is
// why, so it is a warning, stands first of its kind, and the remedy is to approve.
func TestOldWhileItWaits(t *testing.T) {
	t.Parallel()
	for _, days := range []int{6, 8} {
		o, all := options(t), healthy(t)
		o.Now = now().AddDate(0, 0, days)
		waiting(&all[x86], -time.Duration(days)*24*time.Hour+time.Hour)
		var stale, waits Finding
		var codes []string
		for _, f := range o.findings(all) {
			if slices.Contains(f.Places, "linux/production/x86_64") && f.Severity != Info {
				codes = append(codes, f.Code)
			}
			switch {
			case f.Code == codeWaits:
				waits = f
			case f.Code == codeStale && slices.Contains(f.Places, "linux/production/x86_64"):
				stale = f
			case f.Code == codeStale && !strings.Contains(f.Hint, "the job that fills the mirror"):
				t.Errorf("%d days: where nothing waits, the hint is %q", days, f.Hint)
			}
		}
		if waits.Severity != Warning || !strings.Contains(stale.Hint, "agent mirror approve RING-DIR") {
			t.Errorf("%d days: %+v and %+v", days, waits, stale)
		}
		if i, j := slices.Index(codes, codeWaits), slices.Index(codes, codeStale); stale.Severity == Warning && i > j {
			t.Errorf("%d days: the order is %v", days, codes)
		}
	}
}

// TestVerdict: good is only what was read to its end, without any error.
func TestVerdict(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*seen){
		"good":                          func(*seen) {},
		"notRead":                       func(s *seen) { s.blind, s.unread, s.err, s.origin = true, true, errWhole, mirror.Sidecar },
		"notRead ":                      func(s *seen) { s.blind, s.zip = true, "updates-1.zip" },
		source.CodeChanged:              func(s *seen) { s.err = io.ErrUnexpectedEOF },
		source.CodeChanged + " ":        func(s *seen) { s.listErr = io.ErrUnexpectedEOF },
		source.CodeChanged + "  ":       func(s *seen) { s.zipErr = io.ErrUnexpectedEOF },
		string(verifier.SignerRevoked):  func(s *seen) { s.listErr = refusal(verifier.SignerRevoked) },
		string(verifier.PackageExpired): func(s *seen) { s.list.Expires = now().Add(-time.Second) },
	} {
		s := healthy(t)[x86]
		change(&s)
		if got := options(t).verdict(s); got != strings.TrimSpace(want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// fitToShow checks the codes of findings, what may stand in a sentence, and that the
// worst comes first.
func fitToShow(t *testing.T, found []Finding) {
	t.Helper()
	for i, f := range found {
		if !slices.Contains(Codes(), f.Code) {
			t.Errorf("%s is on no list", f.Code)
		}
		if strings.ContainsAny(f.Message, "\"\n") || strings.Contains(f.Message, " : ") || strings.HasSuffix(f.Message, ".") {
			t.Errorf("not fit to be shown: %q", f.Message)
		}
		if i > 0 && found[i-1].Severity.rank() < f.Severity.rank() {
			t.Errorf("%s stands before %s", found[i-1].Severity, f.Severity)
		}
	}
}

// TestSettle: what is said in the same words of several places is said once.
func TestSettle(t *testing.T) {
	t.Parallel()
	got := settle([]Finding{
		{Warning, "a", "m", "h", []string{"one"}}, {Critical, "b", "m", "h", []string{"two"}}, {Warning, "a", "m", "h", []string{"two"}}, {Warning, "a", "m", "h", []string{"one"}}, {Warning, "a", "other", "h", []string{"one"}},
	})
	if len(got) != 3 || got[0].Code != "b" || strings.Join(got[1].Places, " ") != "one two" || got[2].Message != "other" {
		t.Errorf("got %+v", got)
	}
}
