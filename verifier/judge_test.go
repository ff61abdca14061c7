package verifier

import (
	"strings"
	"testing"
	"time"
)

// pkg is a package of that definition version, with content of its own.
func pkg(definition uint32, edits ...func(*List)) *List {
	l := aList()
	l.Definition, l.Files[0].SHA256[0] = Version{1, definition, 0, 0}, byte(definition)
	for _, edit := range edits {
		edit(l)
	}
	return l
}

func later1h(l *List)   { l.Issued = l.Issued.Add(time.Hour) }
func earlier1h(l *List) { l.Issued = l.Issued.Add(-time.Hour) }
func newEngine(l *List) { l.Engine = Version{1, 1, 24090, 0} }
func oldEngine(l *List) { l.Engine = Version{1, 1, 24070, 0} }
func newBytes(l *List)  { l.Files[0].SHA256[1]++ }
func newFile(l *List)   { l.Files = append(l.Files, File{Name: "more"}) }

// byVendor makes it the list that files proved of which the vendor signed that.
func byVendor(what byte) func(*List) { return func(l *List) { l.VendorSigned[0] = what } }

// installed is the situation of a machine on which that package was installed
// by this very source.
func installed(l *List, edits ...func(*Situation)) Situation {
	s := Situation{Current: l, Floor: FloorOf(l), ServedBefore: FloorOf(l), Now: soon}
	for _, edit := range edits {
		edit(&s)
	}
	return s
}

func knownBad(l *List) func(*Situation) {
	return func(s *Situation) {
		s.KnownBad = map[ContentID]bool{}
		for _, id := range l.ContentIDs() {
			s.KnownBad[id] = true
		}
	}
}

func nothingInstalled(s *Situation) { s.Current = nil }
func retry(s *Situation)            { s.RetryKnownBad = true }
func stepDown(s *Situation)         { s.StepDown = true }
func allowExpired(s *Situation)     { s.AllowExpired = true }
func served9(s *Situation)          { s.ServedBefore = FloorOf(pkg(9)) }
func neverServed(s *Situation)      { s.ServedBefore = Floor{} }
func allow(v uint32) func(*Situation) {
	return func(s *Situation) { s.AllowDowngrade = Version{1, v, 0, 0} }
}
func atLeast(v uint32) func(*Situation) {
	return func(s *Situation) { s.Minimum = Version{1, v, 0, 0} }
}
func floorAt(v uint32) func(*Situation) {
	return func(s *Situation) { s.Floor = FloorOf(pkg(v)) }
}
func at(now time.Time) func(*Situation) { return func(s *Situation) { s.Now = now } }

// "Newer or older", in the order of the package format's text: renewal, known
// bad, the floor, installation; then expiry.
func TestJudge(t *testing.T) {
	t.Parallel()
	never := Situation{Now: soon} // nothing was ever installed
	bad := want{KnownBadContent, "rolled back or condemned", "--retry-known-bad"}
	back := want{RollbackRefused, "1.6.0.0 is older than 1.7.0.0", "--allow-downgrade 1.6.0.0"}
	below := want{RollbackRefused, "older than 1.8.0.0", "agent.minDefinitionVersion"}
	gone := want{PackageExpired, "nothing is installed", "--allow-expired"}
	afterwards := pkg(8).Expires.Add(time.Second)
	for _, row := range []struct {
		name    string
		p       *List
		s       Situation
		verdict Verdict
		want    want
	}{
		{"1. the very same", pkg(7), installed(pkg(7)), UpToDate, want{}},
		{"1. the same, issued later", pkg(7, later1h), installed(pkg(7)), Renewal, want{}},
		{"1. the same, issued earlier", pkg(7, earlier1h), installed(pkg(7)), UpToDate, want{}},
		{"1. the same, signed by another, since the signer is revoked", pkg(7), installed(pkg(7), func(s *Situation) { s.Revoked = true }), Renewal, want{}},
		{"1. the very same, though known bad", pkg(7), installed(pkg(7), knownBad(pkg(7))), UpToDate, want{}},
		{"1. the same, issued later, though known bad", pkg(7, later1h), installed(pkg(7), knownBad(pkg(7))), Renewal, want{}},
		{"1. the very same, though below the floor", pkg(7), installed(pkg(7), floorAt(9)), UpToDate, want{}},
		{"1. the same, issued later, though below the floor", pkg(7, later1h), installed(pkg(7), floorAt(9)), Renewal, want{}},
		{"1. the very same, though expired", pkg(7), installed(pkg(7), at(afterwards)), UpToDate, want{}},
		{"1. same versions, other bytes, issued later", pkg(7, newBytes, later1h), installed(pkg(7)), Install, want{}},
		{"1. same versions, one more file", pkg(7, newFile, later1h), installed(pkg(7)), Install, want{}},
		{"1. same bytes, other definition version", pkg(8, func(l *List) { l.Files = pkg(7).Files }), installed(pkg(7)), Install, want{}},
		{"1. same bytes, other engine version", pkg(7, newEngine), installed(pkg(7)), Install, want{}},
		{"1. other bytes that nobody signed", pkg(7, newBytes, byVendor(1)), installed(pkg(7, byVendor(1))), UpToDate, want{}},
		{"1. other bytes that nobody signed, a later time stamp", pkg(7, newBytes, byVendor(1), later1h), installed(pkg(7, byVendor(1))), UpToDate, want{}},
		{"1. other bytes, of which one that was signed by somebody who is revoked", pkg(7, newBytes, byVendor(1)), installed(pkg(7, byVendor(1)), func(s *Situation) { s.Revoked = true }), Install, want{}},
		{"1. same versions, the vendor signed something else", pkg(7, newBytes, byVendor(2)), installed(pkg(7, byVendor(1))), Install, want{}},
		{"1. other bytes, which a list names", pkg(7, newBytes), installed(pkg(7, byVendor(1))), Install, want{}},
		{"1. the same, but nothing is installed", pkg(7), installed(pkg(7), nothingInstalled), Install, want{}},

		{"2. newer, known bad", pkg(8), installed(pkg(7), knownBad(pkg(8))), "", bad},
		{"2. newer, known bad under other versions", pkg(8), installed(pkg(7), knownBad(pkg(8, newEngine))), "", bad},
		{"2. known bad and signed anew", pkg(8, later1h), installed(pkg(7), knownBad(pkg(8))), "", bad},
		{"2. newer, something else is known bad", pkg(8), installed(pkg(7), knownBad(pkg(9))), Install, want{}},
		{"2. known bad, asked for", pkg(8), installed(pkg(7), knownBad(pkg(8)), retry), Install, want{}},
		{"2. known bad, in other bytes that nobody signed", pkg(8, newBytes, byVendor(1)), installed(pkg(7), knownBad(pkg(8, byVendor(1)))), "", bad},
		{"2. the vendor signed something else than what is known bad", pkg(8, newBytes, byVendor(2)), installed(pkg(7), knownBad(pkg(8, byVendor(1)))), Install, want{}},
		{"2. known bad by a list, and its files alone are there", pkg(8, byVendor(1)), installed(pkg(7), knownBad(pkg(8))), "", bad},
		{"2. known bad by its files alone, and a list is there", pkg(8), installed(pkg(7), knownBad(pkg(8, byVendor(1)))), "", bad},
		{"2. known bad and below the floor", pkg(6), installed(pkg(7), knownBad(pkg(6))), "", bad},
		{"2. known bad, asked for, below the floor", pkg(6), installed(pkg(7), knownBad(pkg(6)), retry), "", back},
		{"2. known bad, named as a downgrade", pkg(6), installed(pkg(7), knownBad(pkg(6)), allow(6)), "", bad},
		{"2. known bad, nothing installed", pkg(8), installed(pkg(7), knownBad(pkg(8)), nothingInstalled), "", bad},

		{"3. older than this source served", pkg(6), installed(pkg(7)), "", back},
		{"3. older, the source never served more", pkg(6), installed(pkg(7), neverServed), Behind, want{}},
		{"3. as great as this source served", pkg(6), installed(pkg(7), func(s *Situation) { s.ServedBefore = FloorOf(pkg(6)) }), Behind, want{}},
		{"3. an hour older than this source served", pkg(6), installed(pkg(7), func(s *Situation) { s.ServedBefore = FloorOf(pkg(6, later1h)) }), "", back},
		{"3. older engine", pkg(7, oldEngine), installed(pkg(7)), "", want{code: RollbackRefused}},
		{"3. older issue, other bytes", pkg(7, newBytes, earlier1h), installed(pkg(7)), "", want{code: RollbackRefused}},
		{"3. older definitions, newer engine", pkg(6, newEngine), installed(pkg(7)), "", back},
		{"3. newer than current, below the floor", pkg(6), installed(pkg(5), floorAt(7), neverServed), Behind, want{}},
		{"3. below the floor, nothing installed", pkg(6), installed(pkg(7), nothingInstalled), "", back},
		{"3. below the floor, nothing installed, never served", pkg(6), installed(pkg(7), nothingInstalled, neverServed), "", back},
		{"3. named", pkg(6), installed(pkg(7), allow(6)), Downgrade, want{}},
		{"3. named, nothing installed", pkg(6), installed(pkg(7), nothingInstalled, allow(6)), Downgrade, want{}},
		{"3. named, older engine", pkg(7, oldEngine), installed(pkg(7), allow(7)), Downgrade, want{}},
		{"3. another one named", pkg(6), installed(pkg(7), allow(5)), "", back},
		{"3. named, but newer all the same", pkg(8), installed(pkg(7), allow(8)), Install, want{}},
		{"3. version zero, none named", pkg(6, func(l *List) { l.Definition = Version{} }), installed(pkg(7)), "", want{code: RollbackRefused}},
		{"3. a step down", pkg(6), installed(pkg(7), stepDown), Downgrade, want{}},
		{"3. a step down that is none", pkg(8), installed(pkg(7), stepDown), Install, want{}},
		{"3. below the minimum", pkg(7), installed(pkg(6), atLeast(8)), Behind, want{}},
		{"3. below the minimum, served more", pkg(7), installed(pkg(6), atLeast(8), served9), "", below},
		{"3. below the minimum, named", pkg(7), installed(pkg(6), atLeast(8), served9, allow(7)), "", below},
		{"3. below the minimum, a step down", pkg(5), installed(pkg(6), atLeast(8), stepDown), "", below},
		{"3. below the minimum, and named by an operator", pkg(7), Situation{Now: soon, Current: pkg(9), Minimum: Version{1, 8, 0, 0}, AllowDowngrade: Version{1, 7, 0, 0}}, "", below},
		{"3. below the minimum, first of all", pkg(7), Situation{Now: soon, Minimum: Version{1, 8, 0, 0}}, "", below},
		{"3. below the minimum, nothing installed", pkg(7), installed(pkg(6), atLeast(8), nothingInstalled, allow(7)), "", below},
		{"3. below the minimum, never served", pkg(7), installed(pkg(6), atLeast(8), neverServed), Behind, want{}},
		{"3. the minimum itself", pkg(8), installed(pkg(6), atLeast(8)), Install, want{}},
		{"3. minimum below the floor, named", pkg(6), installed(pkg(7), atLeast(5), allow(6)), Downgrade, want{}},

		{"4. newer", pkg(8), installed(pkg(7)), Install, want{}},
		{"4. the floor itself, current is older", pkg(7), installed(pkg(6), floorAt(7)), Install, want{}},
		{"4. first of all", pkg(1), never, Install, want{}},
		{"4. newer engine, same definitions", pkg(7, newEngine, newBytes), installed(pkg(7)), Install, want{}},
		{"4. other bytes, issued at the same time", pkg(7, newBytes), installed(pkg(7)), Install, want{}},
		{"4. newer, known before it", pkg(8), installed(pkg(7), neverServed), Install, want{}},

		{"expired, newer", pkg(8), installed(pkg(7), at(afterwards)), Install, want{}},
		{"expired, nothing installed", pkg(8), installed(pkg(7), nothingInstalled, at(afterwards)), "", gone},
		{"expired, nothing ever installed", pkg(8), Situation{Now: afterwards}, "", gone},
		{"expired, nothing installed, asked for", pkg(8), installed(pkg(7), nothingInstalled, allowExpired, at(afterwards)), Install, want{}},
		{"expires now, nothing installed", pkg(8), Situation{Now: pkg(8).Expires}, Install, want{}},
		{"expired, known bad, nothing installed", pkg(8), installed(pkg(7), nothingInstalled, at(afterwards), knownBad(pkg(8))), "", bad},
		{"expired, below the floor, nothing installed", pkg(6), installed(pkg(7), nothingInstalled, at(afterwards)), "", back},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := Judge(Signed{List: row.p}, row.s)
			row.want.check(t, err)
			if got != row.verdict {
				t.Errorf("got %q, want %q", got, row.verdict)
			}
		})
	}
}

// The sentence says what is older than what, and never a version than itself.
func TestJudgeSentence(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		p    *List
		s    Situation
		want string
	}{
		"definitions": {pkg(6), installed(pkg(7)), "1.6.0.0 is older than 1.7.0.0, which this machine has accepted before"},
		"engine":      {pkg(7, oldEngine), installed(pkg(7)), "engine 1.1.24070.0 is older than 1.1.24080.9"},
		"issue":       {pkg(7, newBytes, earlier1h), installed(pkg(7)), "issued at 2026-06-01T23:00:00Z, before 2026-06-02T00:00:00Z"},
		"minimum":     {pkg(7), installed(pkg(6), atLeast(8), served9), "1.7.0.0 is older than 1.8.0.0, the least that the configuration allows"},
	} {
		_, err := Judge(Signed{List: row.p}, row.s)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %s", name, err, row.want)
		}
	}
}

func TestFloorCompare(t *testing.T) {
	t.Parallel()
	order := []Floor{
		{}, FloorOf(pkg(6)), FloorOf(pkg(6, newEngine)), FloorOf(pkg(7, oldEngine, later1h)), FloorOf(pkg(7, earlier1h)), FloorOf(pkg(7)),
		FloorOf(pkg(7, later1h)), FloorOf(pkg(7, newEngine, earlier1h)), FloorOf(pkg(8, oldEngine)),
	}
	for i, a := range order {
		for j, b := range order {
			if got := a.Compare(b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%d against %d: %d", i, j, got)
			}
		}
	}
}

func TestNewClock(t *testing.T) {
	t.Parallel()
	dead, none := time.Unix(0, 0), time.Time{}
	for name, row := range map[string]struct {
		now, floor, built, want time.Time
		wrong                   bool
	}{
		"right":                     {soon, issued, base, soon, false},
		"nothing to compare with":   {soon, none, none, soon, false},
		"dead, nothing known":       {dead, none, none, dead, false},
		"dead, with a floor":        {dead, issued, base, issued, true},
		"dead, with a build":        {dead, none, base, base, true},
		"dead, build after floor":   {dead, base, issued, issued, true},
		"behind by the tolerance":   {base, base.Add(ClockTolerance), none, base.Add(ClockTolerance), false},
		"behind by a second more":   {base, base.Add(ClockTolerance + time.Second), none, base.Add(ClockTolerance + time.Second), true},
		"no clock, with a floor":    {none, issued, none, issued, true},
		"behind the build a little": {base, none, base.Add(time.Hour), base.Add(time.Hour), false},
	} {
		got := NewClock(row.now, row.floor, row.built)
		if !got.Time.Equal(row.want) || got.Wrong != row.wrong {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestCheckIssued(t *testing.T) {
	t.Parallel()
	future := want{IssuedInFuture, "more than a day in the future", "clock"}
	for name, row := range map[string]struct {
		clock  Clock
		issued time.Time
		want   want
	}{
		"in the past":             {Clock{Time: soon}, issued, want{}},
		"now":                     {Clock{Time: soon}, soon, want{}},
		"a day ahead":             {Clock{Time: soon}, soon.Add(24 * time.Hour), want{}},
		"a day and a second":      {Clock{Time: soon}, soon.Add(24*time.Hour + time.Second), future},
		"years ahead":             {Clock{Time: soon}, soon.AddDate(50, 0, 0), future},
		"years ahead, dead clock": {Clock{Time: soon, Wrong: true}, soon.AddDate(50, 0, 0), want{}},
	} {
		t.Run(name, func(t *testing.T) {
			row.want.check(t, row.clock.CheckIssued(&List{Issued: row.issued}))
		})
	}
}

func TestCheckIdentity(t *testing.T) {
	t.Parallel()
	want0 := Identity{"mdatp", "linux", "x86_64", "production"}
	for name, row := range map[string]struct {
		edit func(*List)
		want want
	}{
		"right":          {func(*List) {}, want{}},
		"several rings":  {func(l *List) { l.Rings = []string{"preview", "production"} }, want{}},
		"other product":  {func(l *List) { l.Product = "clamav" }, want{WrongProduct, "for the product mdatp", "agent.product"}},
		"product's case": {func(l *List) { l.Product = "MDATP" }, want{WrongProduct, "mdatp", ""}},
		"other platform": {func(l *List) { l.Platform = "macos" }, want{WrongPlatform, "not for linux", "another platform"}},
		"other arch":     {func(l *List) { l.Arch = "arm64" }, want{WrongPlatform, "architecture x86_64", "arch_x86_64"}},
		"other ring":     {func(l *List) { l.Rings = []string{"preview"} }, want{WrongPlatform, "ring production", "--ring production"}},
		"part of a ring": {func(l *List) { l.Rings = []string{"production_back"} }, want{WrongPlatform, "ring production", ""}},
		"product before the rest": {func(l *List) { l.Product, l.Arch = "x", "y" },
			want{WrongProduct, "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			l := aList()
			row.edit(l)
			err := l.CheckIdentity(want0)
			sentence := row.want.check(t, err)
			if strings.Contains(sentence, "clamav") || strings.Contains(sentence, "macos") {
				t.Errorf("says what came from outside: %s", sentence)
			}
		})
	}
}
