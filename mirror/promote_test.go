package mirror

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
)

// rings is a tree with two rings, an owner who approves, and one who promotes.
type rings struct {
	lab
	t       testing.TB
	o       PromoteOptions
	now     time.Time
	archs   []string
	renewed int // minutes, so that each approval is later than the one before
}

func newRings(t testing.TB) *rings {
	t.Helper()
	r := &rings{lab: newLab(t, KeyOptions{}), t: t, now: time.Now().UTC().Truncate(time.Second), archs: []string{"x86_64"}}
	linux := filepath.Join(r.dir, "tree", "linux")
	r.o = PromoteOptions{From: filepath.Join(linux, "preview"), To: filepath.Join(linux, "production"), Ring: "production", Product: "mdatp",
		Trust: r.trust, Sign: &r.signer, Now: func() time.Time { return r.now }}
	return r
}

// in gives a path in a ring, beside the package.
func (r *rings) in(ring string, elem ...string) string {
	return filepath.Join(append([]string{r.dir, "tree", "linux", ring, "arch_x86_64"}, elem...)...)
}

// approve lays a package of somebody else's, and its approval, into the first ring,
// under the name that it has from its version.
func (r *rings) approve(definition string, change func(*verifier.List)) *verifier.List {
	r.t.Helper()
	var last *verifier.List
	for _, arch := range r.archs {
		dir := filepath.Join(r.o.From, "arch_"+arch)
		name := "updates-" + strings.ReplaceAll(definition, ".", "") + ".zip"
		path := filepath.Join(dir, name)
		write(r.t, path, vendorZip(r.t, definition, 20<<10))
		write(r.t, filepath.Join(dir, "updates.zip"), []byte("whatever came last and nobody has approved"))
		r.renewed++
		issued := r.now.Add(-24*time.Hour + time.Duration(r.renewed)*time.Minute)
		list := listOf(r.t, path, BuildOptions{Product: "mdatp", Platform: "linux", Arch: arch, Rings: []string{"preview"},
			Engine: version(engineOf(definition)), Definition: version(definition), Issued: issued, Released: r.now.Add(-48 * time.Hour), Now: r.now})
		list.Zip = name
		if change != nil {
			change(list)
		}
		object, err := SignList(list, r.signer)
		if err != nil {
			r.t.Fatal(err)
		}
		write(r.t, filepath.Join(dir, "updates.zip.p7m"), object)
		for _, p := range []string{path, filepath.Join(dir, "updates.zip.p7m")} {
			if err := os.Chtimes(p, issued, issued); err != nil {
				r.t.Fatal(err)
			}
		}
		last = list
	}
	return last
}

// want promotes, and wants this to come of the one pair.
func (r *rings) want(outcome PromoteOutcome) PromotedPair {
	r.t.Helper()
	pairs, err := Promote(r.t.Context(), r.o)
	if err != nil || len(pairs) != 1 || pairs[0].Outcome != outcome {
		r.t.Fatalf("%+v, %v; want %s", pairs, err, outcome)
	}
	return pairs[0]
}

// promoted approves and promotes one version after the other.
func (r *rings) promoted(versions ...string) {
	r.t.Helper()
	for _, v := range versions {
		r.approve(v, nil)
		r.want(Promoted)
	}
}

// good verifies what a ring has, as an endpoint of production would.
func (r *rings) good(ring, definition string) *verifier.List {
	r.t.Helper()
	got, err := Verify(r.t.Context(), r.in(ring, "updates.zip"), r.trust, r.now.Add(time.Minute),
		&verifier.Identity{Product: "mdatp", Platform: "linux", Arch: "x86_64", Ring: "production"})
	if err != nil {
		r.t.Fatal(err)
	}
	if v := pairIn(r.t, r.in(ring)); v != definition || got.Signed.List.Definition.String() != definition {
		r.t.Fatalf("%s has %s with the list of %s, want %s", ring, v, got.Signed.List.Definition, definition)
	}
	return got.Signed.List
}

// tree gives all that a reader of the tree could see, less what is ours alone.
func (r *rings) tree() map[string]string {
	r.t.Helper()
	seen := map[string]string{}
	err := filepath.WalkDir(filepath.Join(r.dir, "tree"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && d.Name() == ".sync" {
			return fs.SkipDir
		}
		if d.Type().IsRegular() && !strings.HasPrefix(d.Name(), ".") {
			seen[path] = string(read(r.t, path))
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return seen
}

func (r *rings) log() []LoggedPromotion {
	r.t.Helper()
	found, err := CheckPromotions(r.o.To, nil, &r.trust)
	if err != nil {
		r.t.Fatal(err)
	}
	return found.Lines
}

// TestPromote follows an approved package through its life.
func TestPromote(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	approved := r.approve("1.407.417.0", nil)
	first := r.want(Promoted)
	list := r.good("production", "1.407.417.0")
	if !list.Released.Equal(approved.Released) || !list.Expires.Equal(approved.Expires) || !list.Issued.Equal(r.now) {
		t.Errorf("the times are %v %v %v, approved were %+v", list.Released, list.Issued, list.Expires, approved)
	}
	if list.PromotionLog != first.Logged || list.PromotionLog != r.log()[0].Hash {
		t.Errorf("the list names the line %s, and the log has %s", list.PromotionLog, first.Logged)
	}
	onlyFiles(t, r.in("production"), "manifest.json", "updates-14074170.zip", "updates.zip", "updates.zip.p7m")

	before := r.tree()
	r.want(PromoteUpToDate)
	if after := r.tree(); fmt.Sprint(after) != fmt.Sprint(before) || len(r.log()) != 1 {
		t.Error("a promotion without news changed something")
	}

	write(t, r.in("production", "notes.txt"), []byte("of somebody else"))
	r.approve("1.407.418.0", nil)
	second := r.want(Promoted)
	if second.Previous != version("1.407.417.0") {
		t.Errorf("what was replaced is %s", second.Previous)
	}
	// What was approved before stays for who is in the middle of fetching it.
	onlyFiles(t, r.in("production"), "manifest.json", "notes.txt", "updates-14074170.zip", "updates-14074180.zip", "updates.zip", "updates.zip.p7m")
	r.good("production", "1.407.418.0")
	r.good("production_back", "1.407.417.0")

	r.now = r.now.Add(2 * time.Hour)
	r.approve("1.407.418.0", func(l *verifier.List) { l.Issued = r.now.Add(-time.Hour) })
	r.want(PromoteRenewed)
	if renewed := r.good("production", "1.407.418.0"); renewed.PromotionLog != r.log()[2].Hash {
		t.Error("the renewed list does not name the last line")
	}
	r.good("production_back", "1.407.417.0")

	undone, err := UndoPromotion(r.o.To, nil, r.o.Now)
	if err != nil || len(undone) != 1 || undone[0].Outcome != PromoteUndone || undone[0].Definition != version("1.407.417.0") || undone[0].Previous != version("1.407.418.0") {
		t.Fatalf("%+v, %v", undone, err)
	}
	r.good("production", "1.407.417.0")
	r.good("production_back", "1.407.418.0")
	_, err = UndoPromotion(r.o.To, nil, r.o.Now)
	wantCode(t, err, codeNothing)

	// A timer does not bring it again.
	_, err = Promote(t.Context(), r.o)
	wantCode(t, err, string(verifier.KnownBadContent))
	r.good("production", "1.407.417.0")
	r.o.RetryKnownBad = true
	r.want(Promoted)
	r.o.RetryKnownBad = false
	r.want(PromoteUpToDate)
	r.approve("1.407.419.0", nil)
	r.want(Promoted)
	onlyFiles(t, r.in("production"), "manifest.json", "notes.txt", "updates-14074180.zip", "updates-14074190.zip", "updates.zip", "updates.zip.p7m")

	var actions []string
	for _, l := range r.log() {
		actions = append(actions, l.Action)
		if l.From != "preview" && l.Action != actionUndo || l.To != "production" || l.Arch != "x86_64" || l.User == "" || l.Host == "" {
			t.Errorf("%+v", l)
		}
	}
	if got := strings.Join(actions, " "); got != "promote promote renew undo promote promote" {
		t.Errorf("the log has %s", got)
	}
}

// TestPromoteListInside: such a package says itself where it may go.
func TestPromoteListInside(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	o := r.options(t)
	o.Issued, o.Rings = r.now.Add(-time.Hour), []string{"preview"}
	out := r.in("preview", "updates.zip")
	r.o.Sign = nil
	for _, c := range []struct {
		rings []string
		code  string
	}{{[]string{"preview"}, "wrong_platform"}, {[]string{"production"}, "wrong_platform"}, {[]string{"preview", "production"}, ""}} {
		o.Rings, o.Issued = c.rings, o.Issued.Add(time.Minute)
		if _, err := Build(t.Context(), out, o, &r.signer); err != nil {
			t.Fatal(err)
		}
		_, err := Promote(t.Context(), r.o)
		wantCode(t, err, c.code)
	}
	if string(read(t, out)) != string(read(t, r.in("production", "updates.zip"))) {
		t.Error("the package was changed on its way")
	}
	onlyFiles(t, r.in("production"), "manifest.json", "updates.zip")

	// Another one that is signed as well, and comes when the first was judged: the clock
	// is asked for the run, for the list, and then for the age.
	other := read(t, out)
	o.Definition = version("1.407.430.0")
	o.Issued = o.Issued.Add(time.Minute)
	if _, err := Build(t.Context(), out, o, &r.signer); err != nil {
		t.Fatal(err)
	}
	clock, asked := r.o.Now, 0
	r.o.Now = func() time.Time {
		if asked++; asked == 3 {
			write(t, out, other)
		}
		return clock()
	}
	_, err := Promote(t.Context(), r.o)
	wantCode(t, err, "content_mismatch")
	r.o.Now = clock

	// Any tree to any other.
	r.o.From, r.o.To = r.o.To, filepath.Join(r.dir, "other", "linux", "site")
	if err := os.MkdirAll(filepath.Dir(r.o.To), 0o755); err != nil {
		t.Fatal(err)
	}
	r.want(Promoted)
	// Of another platform, where the path says so.
	o.Platform = "mac"
	r.o.From, r.o.To = filepath.Join(r.dir, "tree", "mac", "preview"), filepath.Join(r.dir, "tree", "mac", "production")
	_, err = Build(t.Context(), filepath.Join(r.o.From, "arch_x86_64", "updates.zip"), o, &r.signer)
	wantCode(t, err, "")
	r.want(Promoted)
	r.o.To = filepath.Join(r.dir, "mistyped", "linux", "production")
	_, err = Promote(t.Context(), r.o)
	wantCode(t, err, codeUsage)
}

// TestPromoteRefused: whatever does not hold, the tree stays as it is.
func TestPromoteRefused(t *testing.T) {
	t.Parallel()
	health := func(version, status string) string {
		return fmt.Sprintf(`{"$type":"getHealthDetailsDefinitionsResult","definitionsStatus":{"$type":%q},"definitionsVersion":%q,"engineVersion":%q}`, status, version, engineOf(version))
	}
	program := func(r *rings, text string) {
		r.o.Test = filepath.Join(r.dir, "test-program")
		write(t, r.o.Test, []byte("#!/bin/sh\n"+text+"\n"))
		if err := os.Chmod(r.o.Test, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	report := func(r *rings, text string) {
		path := filepath.Join(r.dir, fmt.Sprintf("health-%d.json", len(r.o.Health)))
		write(t, path, []byte(text))
		r.o.Health = append(r.o.Health, path)
	}
	for name, c := range map[string]struct {
		change func(r *rings)
		code   string
	}{
		"nothing wrong":    {func(r *rings) {}, ""},
		"not approved":     {func(r *rings) { os.Remove(r.in("preview", "updates.zip.p7m")) }, "not_a_package"},
		"approved nothing": {func(r *rings) { os.RemoveAll(r.o.From) }, codeUsage},
		"by somebody else": {func(r *rings) { r.o.Trust = newLab(t, KeyOptions{}).trust }, "signer_untrusted"},
		"nobody trusted":   {func(r *rings) { r.o.Trust = verifier.Trust{} }, "trust_empty"},
		"no key":           {func(r *rings) { r.o.Sign = nil }, codeUsage},
		"untrusted key":    {func(r *rings) { r.o.Sign = &newRings(t).signer }, "signer_untrusted"},
		"another ring":     {func(r *rings) { r.approve("1.407.418.0", func(l *verifier.List) { l.Rings = []string{"production"} }) }, "wrong_platform"},
		"another product":  {func(r *rings) { r.o.Product = "other" }, "wrong_product"},
		"another arch":     {func(r *rings) { r.approve("1.407.418.0", func(l *verifier.List) { l.Arch = "arm64" }) }, "wrong_platform"},
		"expired":          {func(r *rings) { r.now = r.now.AddDate(0, 0, 30) }, "package_expired"},
		"to itself":        {func(r *rings) { r.o.To = r.o.From }, codeUsage},
		"changed package":  {func(r *rings) { write(t, r.in("preview", "updates-14074180.zip"), vendorZip(t, "1.407.419.0", 20<<10)) }, "content_mismatch"},
		"too young":        {func(r *rings) { r.o.MinAge = 30 * time.Hour }, codeCoolingDown},
		"old enough":       {func(r *rings) { r.o.MinAge = 20 * time.Hour }, ""},
		"copied just now": {func(r *rings) {
			os.Chtimes(r.in("preview", "updates-14074180.zip"), r.now, r.now)
			r.o.MinAge = time.Hour
		}, codeCoolingDown},
		"from the future": {func(r *rings) {
			at := r.now.Add(time.Hour)
			os.Chtimes(r.in("preview", "updates-14074180.zip"), at, at)
			r.o.MinAge = time.Minute
		}, codeCoolingDown},
		"well": {func(r *rings) {
			report(r, health("1.407.418.0", "upToDate"))
			report(r, health("1.407.418.0", "upToDate"))
		}, ""},
		"one is behind": {func(r *rings) {
			report(r, health("1.407.418.0", "upToDate"))
			report(r, health("1.407.417.0", "upToDate"))
		}, codeCoolingDown},
		"one failed": {func(r *rings) { report(r, health("1.407.418.0", "updateFailed")) }, codeCoolingDown},
		"another engine": {func(r *rings) {
			report(r, strings.Replace(health("1.407.418.0", "upToDate"), engineOf("1.407.418.0"), "1.1.1.1", 1))
		}, codeCoolingDown},
		"nothing installed": {func(r *rings) {
			report(r, strings.Replace(health("1.407.418.0", "unavailable"), `"1.407.418.0"`, "null", 1))
		}, codeCoolingDown},
		"no report":         {func(r *rings) { report(r, "<html>") }, codeUsage},
		"another report":    {func(r *rings) { report(r, `{"$type":"failure"}`) }, codeUsage},
		"report is missing": {func(r *rings) { r.o.Health = []string{filepath.Join(r.dir, "none.json")} }, codeUsage},
		"program is content": {func(r *rings) {
			program(r, `set -e; test "$AGENT_DEFINITIONS_VERSION" = 1.407.418.0; test "$AGENT_ARCH" = x86_64; test -s "$AGENT_PACKAGE"; test -d "$AGENT_FROM"; test -z "$AGENT_KEY_PASSPHRASE"; echo fine`)
		}, ""},
		"program changes what it looks at": {func(r *rings) { program(r, `echo more >>"$AGENT_PACKAGE"`) }, "package_malformed"},
		"program is not":                   {func(r *rings) { program(r, "echo no; exit 1") }, codeTest},
		"program is killed":                {func(r *rings) { program(r, "kill -9 $$") }, codeTest},
		"program takes long":               {func(r *rings) { program(r, "sleep 600 & wait"); r.o.TestTimeout = time.Second }, codeTest},
		"program is none":                  {func(r *rings) { r.o.Test = r.dir }, codeUsage},
		"target is newer":                  {func(r *rings) { r.want(Promoted); r.approve("1.407.417.0", nil) }, "rollback_refused"},
		"target may step down": {func(r *rings) {
			r.want(Promoted)
			r.approve("1.407.417.0", nil)
			r.o.AllowDowngrade = version("1.407.417.0")
		}, ""},
		"locked": {func(r *rings) {
			lock, err := lockSync(filepath.Join(r.dir, "tree"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { lock.Close() })
		}, codeBusy},
		"what is out is not believed": {func(r *rings) { // the same content by a stranger's word, so that it would pass as a renewal
			list := r.approve("1.407.418.0", nil)
			path := r.in("preview", "updates-14074180.zip")
			forged := *list
			forged.Rings, forged.Issued = []string{"production"}, list.Issued.Add(-time.Hour)
			object, err := SignList(&forged, newLab(t, KeyOptions{}).signer)
			if err != nil {
				t.Fatal(err)
			}
			for name, data := range map[string][]byte{"updates.zip": read(t, path), "updates-14074180.zip": read(t, path), "updates.zip.p7m": object} {
				write(t, r.in("production", name), data)
			}
			r.o.MinAge = 30 * time.Hour
		}, codeCoolingDown},
		"or was signed for the first ring": {func(r *rings) {
			for name, from := range map[string]string{"updates.zip": "updates-14074180.zip", "updates-14074180.zip": "updates-14074180.zip", "updates.zip.p7m": "updates.zip.p7m"} {
				write(t, r.in("production", name), read(t, r.in("preview", from)))
			}
			r.approve("1.407.418.0", nil)
			r.o.MinAge = 30 * time.Hour
		}, codeCoolingDown},
		"log was changed": {func(r *rings) {
			r.want(Promoted)
			r.approve("1.407.419.0", nil)
			r.want(Promoted)
			r.approve("1.407.420.0", nil)
			r.spoil()
		}, "content_mismatch"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRings(t)
			r.approve("1.407.418.0", nil)
			c.change(r)
			before := r.tree()
			pairs, err := Promote(t.Context(), r.o)
			wantCode(t, err, c.code)
			if c.code == "" {
				if len(pairs) != 1 || pairs[0].Outcome != Promoted {
					t.Errorf("%+v", pairs)
				}
				return
			}
			if after := r.tree(); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Error("the tree has changed")
			}
			if _, err := os.Stat(filepath.Join(r.o.To, ".sync", "arch_x86_64", "next")); err == nil {
				t.Error("something is left of what was refused")
			}
		})
	}
}

// spoil changes one byte of the log.
func (r *rings) spoil() {
	path := filepath.Join(r.dir, "tree", "linux", promotionsFile)
	write(r.t, path, []byte(strings.Replace(string(read(r.t, path)), "1.407.418.0", "1.407.417.0", 1)))
}

// TestPromoteAllOrNothing: where one architecture is refused, the other waits.
func TestPromoteAllOrNothing(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	r.archs = SyncArchs()
	r.approve("1.407.417.0", nil)
	if pairs, err := Promote(t.Context(), r.o); err != nil || len(pairs) != 2 {
		t.Fatalf("%+v, %v", pairs, err)
	}
	r.approve("1.407.418.0", nil)
	arm := filepath.Join(r.o.From, "arch_arm64", "updates-14074180.zip")
	whole := read(t, arm)
	write(t, arm, whole[:len(whole)/2])
	_, err := Promote(t.Context(), r.o)
	wantCode(t, err, "not_a_package")
	r.good("production", "1.407.417.0")
	if len(r.log()) != 2 {
		t.Error("the log tells of what did not happen")
	}
	write(t, arm, whole)
	if pairs, err := Promote(t.Context(), r.o); err != nil || len(pairs) != 2 || pairs[1].Outcome != Promoted {
		t.Fatalf("%+v, %v", pairs, err)
	}
	// One command takes both back, also where a crash came between the log and the tree.
	log, err := openPromotions(filepath.Dir(r.o.To))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.append(Promotion{Time: r.now, Action: actionUndo, To: "production", Arch: "arm64"}); err != nil {
		t.Fatal(err)
	}
	log.close()
	if pairs, err := UndoPromotion(r.o.To, nil, nil); err != nil || len(pairs) != 2 {
		t.Fatalf("%+v, %v", pairs, err)
	}
	r.good("production", "1.407.417.0")
}

// TestPromoteWithoutZip: endpoints that read the sidecar need no updates.zip, which somebody
// may have taken away. n-1 gets one, and what is published none before all checks are made.
func TestPromoteWithoutZip(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	r.approve("1.407.417.0", nil)
	r.want(Promoted)
	if err := os.Remove(r.in("production", "updates.zip")); err != nil {
		t.Fatal(err)
	}
	r.approve("1.407.418.0", nil)
	before := r.tree()
	r.o.Test = "/bin/false"
	_, err := Promote(t.Context(), r.o)
	wantCode(t, err, codeTest)
	if after := r.tree(); !maps.Equal(after, before) {
		t.Errorf("a refused promotion left %v, and there was %v", slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(before)))
	}
	r.o.Test = "/bin/true"
	r.want(Promoted)
	r.good("production", "1.407.418.0")
	r.good("production_back", "1.407.417.0")
}

// TestUndoNothing: there may be nothing to take back, or nothing to go back to.
func TestUndoNothing(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	r.approve("1.407.417.0", nil)
	_, err := UndoPromotion(r.o.To, nil, nil)
	wantCode(t, err, codeNothing)
	r.want(Promoted)
	_, err = UndoPromotion(r.o.To, nil, nil) // there is no n-1
	wantCode(t, err, codeNothing)
	r.approve("1.407.418.0", nil)
	r.want(Promoted)
	// Somebody else has published since.
	write(t, r.in("production", "updates.zip"), vendorZip(t, "1.407.419.0", 10))
	os.Remove(r.in("production", "updates.zip.p7m"))
	_, err = UndoPromotion(r.o.To, nil, nil)
	wantCode(t, err, codeNothing)
}

// TestUndoAfterCrash: a promotion that a crash kept from being published leaves a line,
// and the one before it, which is in force, can be taken back.
func TestUndoAfterCrash(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	r.promoted("1.407.417.0", "1.407.418.0")
	list := r.approve("1.407.419.0", nil)
	log, err := openPromotions(filepath.Dir(r.o.To))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.append(Promotion{Time: r.now, Action: actionPromote, From: "preview", To: "production", Arch: "x86_64", Definition: list.Definition, Content: list.Content()}); err != nil {
		t.Fatal(err)
	}
	log.close()
	// Its list has expired by then, so it is no longer of use to endpoints.
	late := func() time.Time { return r.now.AddDate(0, 0, 30) }
	undone, err := UndoPromotion(r.o.To, nil, late)
	if err != nil || len(undone) != 1 || undone[0].Definition != version("1.407.417.0") || undone[0].Previous != version("1.407.418.0") || !undone[0].Expired {
		t.Fatalf("%+v, %v", undone, err)
	}
	r.good("production", "1.407.417.0")
	_, err = UndoPromotion(r.o.To, nil, nil)
	wantCode(t, err, codeNothing)
	// What was taken back is the one that was out, and not the one that never was.
	r.want(Promoted)
	r.good("production", "1.407.419.0")
	if undone, err := UndoPromotion(r.o.To, nil, r.o.Now); err != nil || len(undone) != 1 || undone[0].Expired {
		t.Fatalf("%+v, %v", undone, err)
	}
	r.approve("1.407.418.0", nil)
	_, err = Promote(t.Context(), r.o)
	wantCode(t, err, string(verifier.KnownBadContent))
}

// TestPromoteAgeOverRenewal: a package that is approved again is as old as before, and
// nobody but a signer can make one older.
func TestPromoteAgeOverRenewal(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	r.o.MinAge = 12 * time.Hour
	r.now = r.now.AddDate(0, 0, 1) // the signers' certificates are new
	site := ringSite{lab: r.lab, ring: r.o.From, now: r.now}
	come := func(n int) {
		site.come(t, map[string][]byte{"mpavbase.vdm": []byte(fmt.Sprint("definitions ", n))}, manifestFor(n))
		old := r.now.Add(-100 * time.Hour)
		if err := os.Chtimes(site.path("updates.zip"), old, old); err != nil {
			t.Fatal(err)
		}
	}
	approve := func(ago time.Duration, renew bool) {
		t.Helper()
		_, err := site.approve(t, ApproveOptions{Arch: "x86_64", Signer: &site.signer, Renew: renew, Force: true, Now: r.now.Add(-ago)})
		wantCode(t, err, "")
	}
	young := func() {
		t.Helper()
		_, err := Promote(t.Context(), r.o)
		wantCode(t, err, codeCoolingDown)
	}
	first := filepath.Join(r.o.From, ".approve", "arch_x86_64.first.p7m")
	come(417)
	approve(20*time.Hour, false)
	approve(2*time.Hour, true)
	approve(time.Hour, true)
	kept := read(t, first)

	// The word of a stranger, or none, is not enough.
	list, err := ReadList(first)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := SignList(list, newLab(t, KeyOptions{}).signer)
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range [][]byte{forged, []byte("none"), nil} {
		write(t, first, object)
		young()
	}
	write(t, first, kept)
	r.want(Promoted)

	// Another content begins anew, also with the other's first approval beside it.
	come(418)
	approve(time.Minute, false)
	young()
	write(t, first, kept)
	young()
}

// TestPromoteSuperseded: an approval that somebody has put back gets no new signature.
func TestPromoteSuperseded(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	site := ringSite{lab: r.lab, ring: r.o.From, now: r.now}
	var older []byte
	for n := 417; n < 420; n++ {
		site.come(t, map[string][]byte{"mpavbase.vdm": []byte(fmt.Sprint("definitions ", n))}, manifestFor(n))
		_, err := site.approve(t, ApproveOptions{Arch: "x86_64", Now: r.now.Add(time.Duration(n-420) * time.Second)})
		wantCode(t, err, "")
		switch n {
		case 417:
			r.want(Promoted)
		case 418:
			older = read(t, site.path("updates.zip.p7m"))
		}
	}
	newer := read(t, site.path("updates.zip.p7m"))
	production := ringSite{lab: r.lab, ring: r.o.To}
	write(t, site.path("updates.zip.p7m"), older)
	_, err := Promote(t.Context(), r.o)
	wantCode(t, err, string(verifier.KnownBadContent))
	production.serves(t, 417)
	r.o.RetryKnownBad = true
	r.want(Promoted)
	r.o.RetryKnownBad = false
	write(t, site.path("updates.zip.p7m"), newer)
	r.want(Promoted)
	production.serves(t, 419)
}

// TestPromoteAgeOverThreeRings: what is renewed in the second ring is as old as before for
// the third.
func TestPromoteAgeOverThreeRings(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	r.approve("1.407.417.0", nil)
	r.want(Promoted)
	zip := r.in("production", "updates-14074170.zip")
	old := r.now.Add(-100 * time.Hour)
	if err := os.Chtimes(zip, old, old); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r.now = r.now.Add(10 * time.Hour)
		r.approve("1.407.417.0", func(l *verifier.List) { l.Issued = r.now })
		r.want(PromoteRenewed)
		if info, err := os.Stat(zip); err != nil || !info.ModTime().Equal(old) {
			t.Errorf("the archive is of %v, %v", info.ModTime(), err)
		}
	}
	r.o.From, r.o.To = r.o.To, filepath.Join(filepath.Dir(r.o.To), "site")
	r.o.MinAge = 21 * time.Hour
	_, err := Promote(t.Context(), r.o)
	wantCode(t, err, codeCoolingDown)
	r.o.MinAge = 19 * time.Hour
	r.want(Promoted)
}

// TestPromoteDatedAhead: a sidecar that endpoints can't have moves no date, whoever says
// so, and keeps nothing from being promoted.
func TestPromoteDatedAhead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ahead  time.Duration
		signed bool // by somebody whom the endpoints trust
		late   bool // the new one is issued behind it
	}{
		"by nobody":               {23 * time.Hour, false, false},
		"by nobody, in days":      {72 * time.Hour, false, false},
		"of a fast clock":         {time.Hour, true, true},
		"of a clock that is wild": {72 * time.Hour, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRings(t)
			r.approve("1.407.417.0", nil)
			r.want(Promoted)
			by := r.signer
			if !c.signed {
				by = newLab(t, KeyOptions{}).signer
			}
			list := r.good("production", "1.407.417.0")
			list.Issued = r.now.Add(c.ahead)
			object, err := SignList(list, by)
			wantCode(t, err, "")
			write(t, r.in("production", "updates.zip.p7m"), object)
			if c.signed && !c.late { // else endpoints would have to wait for that day
				r.want(Promoted)
				write(t, r.in("production", "updates.zip.p7m"), object)
			}
			r.approve("1.407.418.0", nil)
			r.want(Promoted)
			promoted, err := ReadList(r.in("production", "updates.zip.p7m"))
			wantCode(t, err, "")
			want := r.now
			if c.late {
				want = list.Issued.Add(time.Second)
			}
			if !promoted.Issued.Equal(want) || promoted.Definition != version("1.407.418.0") {
				t.Errorf("%s is issued at %s, want %s", promoted.Definition, promoted.Issued, want)
			}
		})
	}
}

// TestPromoteThenRenew: what promotion publishes, and what undo does, is what may be
// renewed in the target, and nothing that somebody has put back.
func TestPromoteThenRenew(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	for _, v := range []string{"1.407.417.0", "1.407.418.0"} {
		r.approve(v, nil)
		r.now = r.now.Add(time.Second)
		r.want(Promoted)
	}
	production := ringSite{lab: r.lab, ring: r.o.To}
	renew := func(code string) {
		t.Helper()
		r.now = r.now.Add(time.Second)
		_, err := production.approve(t, ApproveOptions{Arch: "x86_64", Trust: &r.trust, Renew: true, Now: r.now})
		wantCode(t, err, code)
	}
	newer := read(t, r.in("production", "updates.zip.p7m"))
	write(t, r.in("production", "updates.zip.p7m"), read(t, r.in("production_back", "updates.zip.p7m")))
	renew(codeUsage)
	write(t, r.in("production", "updates.zip.p7m"), newer)
	renew("")
	r.good("production", "1.407.418.0")
	if _, err := UndoPromotion(r.o.To, nil, r.o.Now); err != nil {
		t.Fatal(err)
	}
	// What was taken back does not come again by that way.
	back := read(t, r.in("production", "updates.zip.p7m"))
	for _, name := range []string{"updates.zip.p7m", "updates-14074180.zip"} {
		write(t, r.in("production", name), read(t, r.in("production_back", name)))
	}
	r.now = r.now.Add(time.Second)
	_, err := production.approve(t, ApproveOptions{Arch: "x86_64", Trust: &r.trust, Renew: true, Now: r.now})
	if wantCode(t, err, codeUsage); !strings.Contains(err.Error(), "a later approval than this one") {
		t.Error(err)
	}
	write(t, r.in("production", "updates.zip.p7m"), back)
	renew("")
	r.good("production", "1.407.417.0")
}

// TestPromoteKeepsOthersFiles: only what promotion has put there goes when its time has
// come, whatever the names of other files are.
func TestPromoteKeepsOthersFiles(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	own := []string{"updates-2026-archive.zip", "updates-0badcafe.zip"} // the second as approve --external names its copy
	for _, name := range own {
		write(t, r.in("production", name), []byte("of somebody else"))
	}
	has := func(zips ...string) {
		t.Helper()
		want := slices.Concat(own, zips, []string{"manifest.json", "updates.zip", "updates.zip.p7m"})
		slices.Sort(want)
		onlyFiles(t, r.in("production"), want...)
	}
	r.promoted("1.407.417.0", "1.407.418.0")
	has("updates-14074170.zip", "updates-14074180.zip")
	r.now = r.now.Add(2 * time.Hour)
	r.approve("1.407.418.0", func(l *verifier.List) { l.Issued = r.now.Add(-time.Hour) })
	r.want(PromoteRenewed)
	has("updates-14074170.zip", "updates-14074180.zip")
	r.approve("1.407.419.0", nil)
	r.want(Promoted)
	has("updates-14074180.zip", "updates-14074190.zip")

	// A directory of approvals that is none of this user's alone keeps nothing from coming.
	if err := os.Chmod(filepath.Join(r.o.To, ".approve"), 0o770); err != nil {
		t.Fatal(err)
	}
	r.approve("1.407.420.0", nil)
	r.want(Promoted)
}

// TestApproveRenewalKeepsLast: the package before the approved one stays over a renewal,
// and so do files of somebody else.
func TestApproveRenewalKeepsLast(t *testing.T) {
	t.Parallel()
	s := newRing(t)
	o := s.options(t)
	write(t, s.path("updates-2026-archive.zip"), []byte("of somebody else"))
	for _, n := range []int{2, 3} {
		s.comes(t, n)
		s.approved(t, o)
	}
	before := s.zips(t)
	o.Renew = true
	s.approved(t, o)
	s.approved(t, o)
	if after := s.zips(t); len(before) != 3 || fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("a renewal leaves %v of %v", after, before)
	}
	o.Renew = false
	s.comes(t, 4)
	s.approved(t, o)
	if after := s.zips(t); len(after) != 3 {
		t.Errorf("there are %v, which is one too many or too few", after)
	}
}
