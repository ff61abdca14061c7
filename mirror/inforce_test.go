package mirror

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
)

// by gives a list that somebody else has signed, edited.
func by(t testing.TB, s Signer, list *verifier.List, edit func(*verifier.List)) []byte {
	t.Helper()
	copied := *list
	edit(&copied)
	object, err := SignList(&copied, s)
	wantCode(t, err, "")
	return object
}

// is gives the definitions that the list in a ring says, whoever signed it.
func (r *rings) is(ring string) string {
	r.t.Helper()
	list, err := ReadList(r.in(ring, "updates.zip"))
	wantCode(r.t, err, "")
	return list.Definition.String()
}

// TestPromoteSameContent: what is published already never becomes n-1, whatever lies
// beside it, so that undo leads to another package, and does so once.
func TestPromoteSameContent(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*rings){
		"another CA": func(r *rings) {
			other := newLab(t, KeyOptions{})
			r.signer, r.trust = other.signer, other.trust
			r.o.Sign, r.o.Trust = &r.signer, r.trust
			r.approve("1.407.418.0", nil)
		},
		"a stranger's list": func(r *rings) {
			list := r.good("production", "1.407.418.0")
			write(t, r.in("production", "updates.zip.p7m"), by(t, newLab(t, KeyOptions{}).signer, list, func(l *verifier.List) { l.Expires = l.Expires.Add(time.Second) }))
		},
		"a stranger's lie": func(r *rings) {
			list := r.good("production", "1.407.418.0")
			write(t, r.in("production", "updates.zip.p7m"), by(t, newLab(t, KeyOptions{}).signer, list, func(l *verifier.List) { l.Files = l.Files[:1] }))
		},
		"no list": func(r *rings) { write(t, r.in("production", "updates.zip.p7m"), []byte("garbage")) },
		"another version of the engine": func(r *rings) {
			r.approve("1.407.418.0", func(l *verifier.List) { l.Engine = version("1.1.999.0") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRings(t)
			r.t = t
			first := r.trust
			r.promoted("1.407.417.0", "1.407.418.0")
			change(r)
			r.want(Promoted)
			if now, before := r.is("production"), r.is("production_back"); now != "1.407.418.0" || before != "1.407.417.0" {
				t.Fatalf("%s is published, and n-1 is %s", now, before)
			}
			undone, err := UndoPromotion(r.o.To, &r.trust, r.o.Now)
			if err != nil || len(undone) != 1 || undone[0].Definition != version("1.407.417.0") || undone[0].Untrusted != (name == "another CA") {
				t.Errorf("%+v, %v", undone, err)
			}
			r.trust = first
			r.good("production", "1.407.417.0")
			_, err = UndoPromotion(r.o.To, nil, r.o.Now)
			wantCode(t, err, codeNothing)
		})
	}
}

// TestPromotePublishedByName: what is published is what the sidecar names, whatever
// updates.zip is by then, so that becomes n-1, keeps older ones out, and comes back.
func TestPromotePublishedByName(t *testing.T) {
	t.Parallel()
	zip := func(r *rings) string { return r.in("production", "updates.zip") }
	named := func(r *rings) string { return r.in("production", "updates-14074180.zip") }
	comes := func(r *rings, data []byte) { // as another file, since the named one is linked to it
		if err := os.Remove(zip(r)); err != nil {
			r.t.Fatal(err)
		}
		write(r.t, zip(r), data)
	}
	inside := func(r *rings) { // a package that speaks for itself, whatever the sidecar says
		sidecar := read(r.t, r.in("production", "updates.zip.p7m"))
		r.inside("production", "1.407.420.0", r.now.Add(-time.Minute))
		write(r.t, r.in("production", "updates.zip.p7m"), sidecar)
	}
	for name, c := range map[string]struct {
		change func(*rings)
		next   string
		code   string
		before string
	}{
		"the next one downloaded": {func(r *rings) {
			r.approve("1.407.419.0", nil)
			comes(r, read(r.t, r.in("preview", "updates-14074190.zip")))
		}, "1.407.419.0", "", "1.407.418.0"},
		"the named one gone": {func(r *rings) { os.Remove(named(r)) }, "1.407.419.0", "", "1.407.418.0"},
		"the named one torn": {func(r *rings) {
			os.Remove(named(r))
			write(r.t, named(r), []byte("torn"))
		}, "1.407.419.0", "", "1.407.418.0"},
		"the named one gone beside another download": {func(r *rings) { // so there is nothing to go back to but the one before
			os.Remove(named(r))
			comes(r, vendorZip(r.t, "1.407.420.0", 20<<10))
		}, "1.407.419.0", "", "1.407.417.0"},
		"missing": {func(r *rings) { os.Remove(zip(r)) }, "1.407.419.0", "", "1.407.418.0"},
		"a link to nowhere": {func(r *rings) {
			if err := errors.Join(os.Remove(zip(r)), os.Symlink("nowhere", zip(r))); err != nil {
				r.t.Fatal(err)
			}
		}, "1.407.419.0", "", "1.407.418.0"},
		"torn":                                {func(r *rings) { comes(r, []byte("torn")) }, "1.407.419.0", "", "1.407.418.0"},
		"older over missing":                  {func(r *rings) { os.Remove(zip(r)) }, "1.407.417.0", "rollback_refused", ""},
		"older over torn":                     {func(r *rings) { comes(r, []byte("torn")) }, "1.407.417.0", "rollback_refused", ""},
		"the same beside a newer list inside": {inside, "1.407.418.0", "rollback_refused", ""},
		"older beside a newer list inside":    {inside, "1.407.419.0", "rollback_refused", ""},
		"renewed beside a newer list inside":  {func(r *rings) { inside(r); r.now = r.now.AddDate(0, 0, 2) }, "1.407.418.0", "rollback_refused", ""},
		"a list inside by a stranger": {func(r *rings) {
			signer := r.signer
			r.signer = newLab(r.t, KeyOptions{}).signer
			inside(r)
			r.signer = signer
		}, "1.407.419.0", "", "1.407.418.0"},
		"another CA beside another download": {func(r *rings) {
			comes(r, vendorZip(r.t, "1.407.420.0", 20<<10))
			other := newLab(r.t, KeyOptions{})
			r.signer, r.trust = other.signer, other.trust
			r.o.Sign, r.o.Trust = &r.signer, r.trust
		}, "1.407.418.0", "", "1.407.417.0"},
		"a stranger names a copy of what comes": {func(r *rings) {
			list := r.approve("1.407.419.0", nil)
			write(r.t, r.in("production", "updates-14074190.zip"), read(r.t, r.in("preview", "updates-14074190.zip")))
			write(r.t, r.in("production", "updates.zip.p7m"), by(r.t, newLab(r.t, KeyOptions{}).signer, list, func(l *verifier.List) { l.Rings = []string{"production"} }))
		}, "1.407.419.0", "", "1.407.419.0"}, // by the list that lies beside 418
		"a stranger names another": {func(r *rings) {
			list := r.good("production", "1.407.418.0")
			write(r.t, r.in("production", "updates-9.zip"), vendorZip(r.t, "1.407.409.0", 20<<10))
			write(r.t, r.in("production", "updates.zip.p7m"), by(r.t, newLab(r.t, KeyOptions{}).signer, list, func(l *verifier.List) { l.Zip = "updates-9.zip" }))
		}, "1.407.418.0", "", "1.407.417.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRings(t)
			r.t = t
			r.promoted("1.407.417.0", "1.407.418.0")
			c.change(r)
			r.approve(c.next, nil)
			if c.code != "" {
				_, err := Promote(t.Context(), r.o)
				wantCode(t, err, c.code)
				return
			}
			r.want(Promoted)
			if now, before := r.says("production"), r.says("production_back"); now != c.next || before != c.before {
				t.Fatalf("%s is published, and n-1 is %s", now, before)
			}
			if c.before == c.next {
				if got := versionInside(read(t, r.in("production_back", "updates.zip"))); got != "1.407.418.0" {
					t.Errorf("n-1 is %s", got)
				}
				return
			}
			_, err := UndoPromotion(r.o.To, nil, r.o.Now)
			wantCode(t, err, "")
			if now, before := r.says("production"), r.says("production_back"); now != c.before || before != c.next {
				t.Fatalf("%s is published after undo, and n-1 is %s", now, before)
			}
		})
	}
}

// TestPromoteRepairs: what is out already is published once more where it can't be fetched,
// and n-1 stays.
func TestPromoteRepairs(t *testing.T) {
	t.Parallel()
	const named = "updates-14074180.zip"
	for name, files := range map[string][]string{"both": {"updates.zip", named}, "updates.zip": {"updates.zip"}, "the named one": {named}} {
		for _, torn := range []bool{false, true} {
			t.Run(fmt.Sprint(name, torn), func(t *testing.T) {
				t.Parallel()
				r := newRings(t)
				r.t = t
				r.promoted("1.407.417.0", "1.407.418.0")
				for _, file := range files {
					path := r.in("production", file)
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
					if torn {
						write(t, path, []byte("torn"))
					}
				}
				r.want(Promoted)
				r.good("production", "1.407.418.0")
				r.good("production_back", "1.407.417.0")
				if n := len(r.log()); n != 3 {
					t.Errorf("the log has %d lines", n)
				}
				r.want(PromoteUpToDate)
				_, err := UndoPromotion(r.o.To, &r.trust, r.o.Now)
				wantCode(t, err, "")
				r.good("production", "1.407.417.0")
			})
		}
	}
}

// TestUndoUnderStrangersList: whoever can only write to the tree keeps nothing from being
// taken back by a list that names a line which never was. One that counts does.
func TestUndoUnderStrangersList(t *testing.T) {
	t.Parallel()
	stranger := newLab(t, KeyOptions{}).signer
	for _, trusted := range []bool{true, false} {
		r := newRings(t)
		r.promoted("1.407.417.0", "1.407.418.0")
		var trust *verifier.Trust
		if trusted {
			trust = &r.trust
		}
		list, sidecar := r.good("production", "1.407.418.0"), r.in("production", "updates.zip.p7m")
		noLine := func(l *verifier.List) { l.PromotionLog = strings.Repeat("a", 64) }
		if trusted {
			write(t, sidecar, by(t, r.signer, list, noLine))
			_, err := UndoPromotion(r.o.To, trust, r.o.Now)
			wantCode(t, err, "content_mismatch")
		}
		write(t, sidecar, by(t, stranger, list, noLine))
		_, err := UndoPromotion(r.o.To, trust, r.o.Now)
		wantCode(t, err, "")
		r.good("production", "1.407.417.0")
	}
}

// TestUndoNamedGone: n-1 has its archive under two names, and one of them is enough. What is
// published then has both.
func TestUndoNamedGone(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(r *rings, path string){
		"gone": func(*rings, string) {},
		"torn": func(r *rings, path string) { write(r.t, path, []byte("torn")) },
		"a link to nowhere": func(r *rings, path string) {
			if err := os.Symlink("nowhere", path); err != nil {
				r.t.Fatal(err)
			}
		},
	} {
		for _, gone := range []string{"updates.zip", "updates-14074170.zip"} {
			for _, trusted := range []bool{true, false} {
				if name == "torn" && gone == "updates.zip" {
					continue // endpoints that read the sidecar don't open that
				}
				t.Run(fmt.Sprint(name, gone, trusted), func(t *testing.T) {
					t.Parallel()
					r := newRings(t)
					r.t = t
					r.promoted("1.407.417.0", "1.407.418.0")
					path := r.in("production_back", gone)
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
					change(r, path)
					var trust *verifier.Trust
					if trusted {
						trust = &r.trust
					}
					_, err := UndoPromotion(r.o.To, trust, r.o.Now)
					wantCode(t, err, "")
					r.good("production", "1.407.417.0")
					r.good("production_back", "1.407.418.0")
				})
			}
		}
	}
}

// says gives the definitions of the sidecar in a ring.
func (r *rings) says(ring string) string {
	r.t.Helper()
	list, err := ReadList(r.in(ring, "updates.zip.p7m"))
	wantCode(r.t, err, "")
	return list.Definition.String()
}

// TestUndoSameContent: n-1 with the content that is published is nothing to go back to,
// however it came there.
func TestUndoSameContent(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	r.approve("1.407.418.0", nil)
	r.want(Promoted)
	run(t, r.dir, "cp", "-a", r.o.To, r.o.To+"_back")
	_, err := UndoPromotion(r.o.To, nil, r.o.Now)
	wantCode(t, err, codeNothing)
	if n := len(r.log()); n != 1 {
		t.Errorf("the log has %d lines", n)
	}
}

// inside lays a package with a list inside into a ring, and gives the options by which it
// was made.
func (r *rings) inside(ring, definition string, issued time.Time) BuildOptions {
	r.t.Helper()
	o := r.options(r.t)
	o.Definition, o.Engine, o.Rings, o.Issued = version(definition), version(engineOf(definition)), []string{"preview", "production"}, issued
	o.Expires, o.Force = r.now.AddDate(0, 0, 10), true
	write(r.t, filepath.Join(o.Dir, "version.txt"), []byte(definition))
	for _, name := range []string{"updates.zip.p7m", "updates.zip"} {
		if err := os.Remove(r.in(ring, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.t.Fatal(err)
		}
	}
	_, err := Build(r.t.Context(), r.in(ring, "updates.zip"), o, &r.signer)
	wantCode(r.t, err, "")
	return o
}

// TestPromoteOverListInside: a sidecar for what is published with a list inside is a
// renewal, and one alone.
func TestPromoteOverListInside(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	o := r.inside("production", "1.407.418.0", r.now.Add(-2*time.Hour))
	before, err := ReadList(r.in("production", "updates.zip"))
	wantCode(t, err, "")
	zip := r.in("preview", "updates.zip")
	_, err = Build(t.Context(), zip, o, nil)
	wantCode(t, err, "")
	write(t, r.in("preview", "updates.zip.p7m"), by(t, r.signer, before, func(l *verifier.List) { l.Rings, l.Issued = []string{"preview"}, l.Issued.Add(time.Hour) }))
	r.want(PromoteRenewed)
	r.want(PromoteUpToDate)
	if n := len(r.log()); n != 1 {
		t.Errorf("the log has %d lines", n)
	}
	// It was out since then.
	first, err := ReadList(filepath.Join(r.o.To, ".approve", "arch_x86_64.first.p7m"))
	if err != nil || !first.Issued.Equal(before.Issued) {
		t.Errorf("the first approval is %+v, %v", first, err)
	}
}

// TestPromoteNothingBeforeLine: where the approval can't be noted, no line tells of a
// promotion.
func TestPromoteNothingBeforeLine(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	r.approve("1.407.417.0", nil)
	r.want(Promoted)
	inTheWay := filepath.Join(r.o.To, ".approve", "arch_x86_64.first.p7m")
	if err := errors.Join(os.Remove(inTheWay), os.Mkdir(inTheWay, 0o700)); err != nil {
		t.Fatal(err)
	}
	r.approve("1.407.418.0", nil)
	if _, err := Promote(t.Context(), r.o); err == nil {
		t.Fatal("it was noted")
	}
	r.good("production", "1.407.417.0")
	if n := len(r.log()); n != 1 {
		t.Errorf("the log has %d lines", n)
	}
	if readLedger((ringPlace{arch: r.in("production")}).ledger()).superseded(standingAt(approvedIn(r.in("production")))) {
		t.Error("what is published counts as replaced")
	}
}

// TestNotedBeforePublished: where nothing can be noted, what is published stays as it is,
// down to an updates.zip that is missing.
func TestNotedBeforePublished(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(r *rings) error{
		"promote": func(r *rings) error { _, err := Promote(t.Context(), r.o); return err },
		"undo":    func(r *rings) error { _, err := UndoPromotion(r.o.To, &r.trust, r.o.Now); return err },
	} {
		r := newRings(t)
		r.promoted("1.407.417.0", "1.407.418.0")
		r.approve("1.407.419.0", nil)
		ledger := (ringPlace{arch: r.in("production")}).ledger()
		if err := errors.Join(os.Remove(r.in("production", "updates.zip")), os.Remove(ledger), os.MkdirAll(filepath.Join(ledger, "in the way"), 0o700)); err != nil {
			t.Fatal(err)
		}
		before := r.tree()
		if err := act(r); err == nil {
			t.Fatalf("%s: it was noted", name)
		}
		if after := r.tree(); !maps.Equal(after, before) {
			t.Errorf("%s: there is %v, and there was %v", name, slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(before)))
		}
	}
}

// TestPromoteSupersededAhead: a later approval may have an earlier date, where the one
// before was dated ahead.
func TestPromoteSupersededAhead(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	site := ringSite{lab: r.lab, ring: r.o.From, now: r.now}
	site.come(t, map[string][]byte{"mpavbase.vdm": []byte("definitions 418")}, manifestFor(418))
	p, err := Propose(t.Context(), site.ring, ApproveOptions{Arch: "x86_64", Now: r.now})
	wantCode(t, err, "")
	wantCode(t, errors.Join(p.External(filepath.Join(r.dir, "list.json")), p.Close()), "")
	ahead := by(t, r.signer, p.List, func(l *verifier.List) { l.Issued = r.now.Add(time.Hour) })
	_, _, err = AttachApproval(t.Context(), site.ring, ahead, ApproveOptions{Arch: "x86_64", Trust: &r.trust, Now: r.now})
	wantCode(t, err, "")
	site.come(t, map[string][]byte{"mpavbase.vdm": []byte("definitions 419")}, manifestFor(419))
	_, err = site.approve(t, ApproveOptions{Arch: "x86_64", Now: r.now})
	wantCode(t, err, "")
	newer := read(t, site.path("updates.zip.p7m"))
	write(t, site.path("updates.zip.p7m"), ahead)
	_, err = Promote(t.Context(), r.o)
	wantCode(t, err, string(verifier.KnownBadContent))
	_, err = site.approve(t, ApproveOptions{Arch: "x86_64", Trust: &r.trust, Renew: true, Now: r.now.Add(2 * time.Hour)})
	wantCode(t, err, codeUsage)
	// That one is in force, though the other has the later date.
	write(t, site.path("updates.zip.p7m"), newer)
	r.want(Promoted)
	ringSite{lab: r.lab, ring: r.o.To}.serves(t, 419)
}

// TestSupersededOldLedger: a ledger of before knows dates alone, and what came last is not
// taken for one that somebody put back.
func TestSupersededOldLedger(t *testing.T) {
	t.Parallel()
	s := newRing(t)
	s.comes(t, 1)
	o := s.options(t)
	o.Now = s.now.Add(-time.Minute)
	s.approved(t, o)
	older := read(t, s.path("updates.zip.p7m"))
	s.comes(t, 2)
	last := s.approved(t, s.options(t)).List
	ledger := filepath.Join(s.ring, ".approve", "arch_x86_64.json")
	write(t, ledger, fmt.Appendf(nil, `{"issued":%q}`, last.Issued.Format(time.RFC3339)))
	o = s.options(t)
	o.Renew, o.Now = true, s.now.Add(time.Minute)
	last = s.approved(t, o).List
	s.serves(t, 2)
	write(t, ledger, fmt.Appendf(nil, `{"issued":%q}`, last.Issued.Format(time.RFC3339)))
	write(t, s.path("updates.zip.p7m"), older)
	_, err := s.approve(t, o)
	wantCode(t, err, codeUsage)
}

// TestSupersededByListInside: which kind of package came later does not matter, neither to
// a renewal nor to the next ring.
func TestSupersededByListInside(t *testing.T) {
	t.Parallel()
	for _, insideFirst := range []bool{false, true} {
		r := newRings(t)
		for n, v := range []string{"1.407.417.0", "1.407.418.0"} {
			at := r.now.Add(time.Duration(n-10) * time.Hour)
			if insideFirst == (n == 0) {
				r.inside("preview", v, at)
			} else {
				r.approve(v, func(l *verifier.List) { l.Issued = at })
				if insideFirst {
					r.o.Now = time.Now
				}
			}
			r.want(Promoted)
		}
		r.o.Now = func() time.Time { return r.now.Add(time.Hour) }
		production := ringSite{lab: r.lab, ring: r.o.To}
		newer := filepath.Join(r.dir, "newer")
		run(t, r.dir, "cp", "-a", r.in("production"), newer)
		back := func() {
			t.Helper()
			run(t, r.dir, "sh", "-c", `rm "$1"/updates*; cp -a "$2"/updates* "$1"`, "sh", r.in("production"), r.in("production_back"))
		}
		back()
		if !insideFirst {
			_, err := production.approve(t, ApproveOptions{Arch: "x86_64", Trust: &r.trust, Renew: true, Now: r.now.Add(time.Minute)})
			wantCode(t, err, codeUsage)
		}
		r.o.From, r.o.To = r.o.To, filepath.Join(filepath.Dir(r.o.To), "site")
		_, err := Promote(t.Context(), r.o)
		wantCode(t, err, string(verifier.KnownBadContent))
		// And what did come last goes on.
		run(t, r.dir, "sh", "-c", `rm "$1"/updates*; cp -a "$2"/updates* "$1"`, "sh", r.in("production"), newer)
		r.want(Promoted)
	}
}

// TestFirstApprovalOfAStranger: whoever signed beside the package before, or another CA,
// begins the age once at the most, and not at every renewal.
func TestFirstApprovalOfAStranger(t *testing.T) {
	t.Parallel()
	stranger := newLab(t, KeyOptions{}).signer
	for name, trusted := range map[string]bool{"signer": false, "trust": true} {
		r := newRings(t)
		r.now = r.now.AddDate(0, 0, 1) // the signers' certificates are new
		site := ringSite{lab: r.lab, ring: r.o.From, now: r.now}
		site.come(t, map[string][]byte{"mpavbase.vdm": []byte("definitions 417")}, manifestFor(417))
		old := r.now.Add(-100 * time.Hour)
		if err := os.Chtimes(site.path("updates.zip"), old, old); err != nil {
			t.Fatal(err)
		}
		approve := func(ago time.Duration, o ApproveOptions) {
			t.Helper()
			o.Arch, o.Signer, o.Now = "x86_64", &site.signer, r.now.Add(-ago)
			if trusted {
				o.Trust = &r.trust
			}
			_, err := site.approve(t, o)
			wantCode(t, err, "")
		}
		// As it was left by somebody, or by a version of before that kept it.
		p, err := Propose(t.Context(), site.ring, ApproveOptions{Arch: "x86_64", Now: r.now.Add(-20 * time.Hour)})
		wantCode(t, err, "")
		foreign := by(t, stranger, p.List, func(*verifier.List) {})
		wantCode(t, p.Close(), "")
		write(t, site.path("updates.zip.p7m"), foreign)
		write(t, filepath.Join(site.ring, ".approve", "arch_x86_64.first.p7m"), foreign)
		approve(10*time.Hour, ApproveOptions{Force: trusted})
		approve(time.Hour, ApproveOptions{Renew: true})
		r.o.MinAge = 9 * time.Hour
		if _, err := Promote(t.Context(), r.o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnbelievedVersions: whoever can only write to the tree stops nobody's timer, and a
// person is told.
func TestUnbelievedVersions(t *testing.T) {
	t.Parallel()
	stranger := newLab(t, KeyOptions{}).signer
	high := func(l *verifier.List) { l.Definition, l.Engine = version("9.9.9.9"), version("9.9.9.9") }
	t.Run("promote", func(t *testing.T) {
		t.Parallel()
		r := newRings(t)
		r.approve("1.407.417.0", nil)
		r.want(Promoted)
		list := r.good("production", "1.407.417.0")
		write(t, r.in("production", "updates.zip.p7m"), by(t, stranger, list, func(l *verifier.List) { high(l); l.PromotionLog = strings.Repeat("a", 64) }))
		r.approve("1.407.418.0", nil)
		if pair := r.want(Promoted); !pair.PreviousUntrusted || pair.Previous != version("9.9.9.9") {
			t.Errorf("%+v", pair)
		}
		r.good("production", "1.407.418.0")
		// One that is believed keeps an older one out.
		r.approve("1.407.417.0", nil)
		_, err := Promote(t.Context(), r.o)
		wantCode(t, err, "rollback_refused")
		// And so it does when its CA is believed no more, since it was put in force here.
		other := newLab(t, KeyOptions{})
		r.signer, r.o.Sign, r.o.Trust = other.signer, &other.signer, other.trust
		r.approve("1.407.417.0", nil)
		_, err = Promote(t.Context(), r.o)
		wantCode(t, err, "rollback_refused")
		// But not by the word of a directory that others write to.
		if err := os.Chmod(filepath.Join(r.o.To, ".approve"), 0o770); err != nil {
			t.Fatal(err)
		}
		r.o.RetryKnownBad = true
		if pair := r.want(Promoted); !pair.PreviousUntrusted {
			t.Errorf("%+v", pair)
		}
	})
	t.Run("approve", func(t *testing.T) {
		t.Parallel()
		s := newRing(t)
		s.comes(t, 2)
		o := s.options(t)
		list := s.approved(t, o).List
		write(t, s.path("updates.zip.p7m"), by(t, stranger, list, high))
		_, err := s.approve(t, o)
		wantCode(t, err, codeUsage)
		if _, sentence, hint := reasonOf(err); !strings.Contains(sentence, "not verified who signed") || !strings.Contains(hint, "--trust") || !strings.Contains(hint, "--force") {
			t.Errorf("%q, %q", sentence, hint)
		}
		o.Force = true
		s.approved(t, o)
		s.serves(t, 2)
		// What was put in force here is no stranger's.
		o.Force, o.Definition = false, version("1.407.1.0")
		_, err = s.approve(t, o)
		wantCode(t, err, codeUsage)
		if _, sentence, _ := reasonOf(err); strings.Contains(sentence, "not verified") {
			t.Errorf("%q", sentence)
		}
	})
	t.Run("sync", func(t *testing.T) {
		t.Parallel()
		s, r := newSite(t), newRing(t)
		r.ring = filepath.Join(s.cloud, "linux", "production")
		s.o.Approve = &SyncApproval{Signer: r.signer, Vendor: r.options(t).Vendor}
		in := ringSite{r.lab, r.vendor, s.tree("linux", "production"), r.now}
		r.come(t, r.files(t, 2), "")
		write(t, s.path(linux, "info.xml"), []byte(infoXML("1.407.2.0")))
		s.age(linux)
		s.want(SyncUpdated, "")
		list := in.serves(t, 2).Signed.List
		for name, object := range map[string][]byte{
			"versions":     by(t, stranger, list, high),
			"another ring": by(t, stranger, list, func(l *verifier.List) { l.Rings = []string{"preview"} }),
			"a line":       by(t, stranger, list, func(l *verifier.List) { l.PromotionLog = strings.Repeat("a", 64) }),
			"none":         []byte("garbage"),
		} {
			write(t, in.path("updates.zip.p7m"), object)
			if got := s.want(SyncUpToDate, ""); got.Approval != SyncApproved {
				t.Errorf("%s: the approval is %q", name, got.Approval)
			}
			in.serves(t, 2)
		}
		// After a change of CA, the one before is known as the one that it renews.
		other := newLab(t, KeyOptions{})
		s.o.Approve.Signer, in.lab = other.signer, other
		if got := s.want(SyncUpToDate, ""); got.Approval != SyncRenewed {
			t.Errorf("the approval is %q", got.Approval)
		}
		in.serves(t, 2)
		// One of before that somebody puts back does not keep the next from coming.
		older := read(t, in.path("updates.zip.p7m"))
		for days := 8; days < 10; days++ {
			now := time.Now().AddDate(0, 0, days)
			s.o.Now = func() time.Time { return now }
			if got := s.want(SyncUpToDate, ""); got.Approval != SyncRenewed {
				t.Errorf("the approval is %q", got.Approval)
			}
			write(t, in.path("updates.zip.p7m"), older)
		}
	})
}

// TestAttachUnverified: nobody's word but that of what was put in force here counts where
// no trust is given; and what was signed long ago is not put in force again.
func TestAttachUnverified(t *testing.T) {
	t.Parallel()
	s := newRing(t)
	sign := func(n int, at time.Time) []byte {
		t.Helper()
		s.comes(t, n)
		o := s.options(t)
		o.Now = at
		p, err := Propose(t.Context(), s.ring, o)
		wantCode(t, err, "")
		wantCode(t, errors.Join(p.External(filepath.Join(s.dir, "list.json")), p.Close()), "")
		return by(t, s.signer, p.List, func(*verifier.List) {})
	}
	attach := func(object []byte, force bool) error {
		_, _, err := AttachApproval(t.Context(), s.ring, object, ApproveOptions{Force: force, Now: s.now})
		return err
	}
	older := sign(2, s.now.Add(-3*time.Second))
	wantCode(t, attach(older, false), "")
	list, err := verifier.ReadClaims(older)
	wantCode(t, err, "")
	foreign := by(t, newLab(t, KeyOptions{}).signer, list.List, func(l *verifier.List) { l.Issued = s.now.Add(10 * time.Hour) })
	newer := sign(3, s.now.Add(-time.Second))
	write(t, s.path("updates.zip.p7m"), foreign)
	wantCode(t, attach(newer, false), "")
	s.serves(t, 3)
	wantCode(t, attach(newer, false), codeUsage) // it is in force already
	for _, lies := range [][]byte{nil, foreign} {
		if err := os.Remove(s.path("updates.zip.p7m")); err != nil {
			t.Fatal(err)
		}
		if lies != nil {
			write(t, s.path("updates.zip.p7m"), lies)
		}
		err := attach(older, false)
		wantCode(t, err, codeUsage)
		if !strings.Contains(fmt.Sprint(err), "not issued after all that were in force") {
			t.Error(err)
		}
		write(t, s.path("updates.zip.p7m"), foreign)
	}
	wantCode(t, attach(older, true), "")
	s.serves(t, 2)
}
