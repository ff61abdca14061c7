package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mdatp-offline-agent/agent/machine"
	"mdatp-offline-agent/verifier"
)

var base = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "a", "b"))
	must(t, err)
	return s
}

func floor(n uint32) verifier.Floor {
	return verifier.Floor{Definition: verifier.Version{1, n, 0, 0}, Engine: verifier.Version{1, 1, 1, 1}, Issued: base}
}

// full is a state with something in every field.
func full() *State {
	return &State{Schema: Schema, Floors: []Floor{{floor(3), [][]byte{{1}, {2}}}},
		Sources:  map[string]Source{"http://m": {Best: floor(3), Validator: Validator{ETag: `"x"`}, Refused: &Failure{Code: "content_mismatch"}, Under: "u", Whole: base, List: "ab", Checked: base, Sidecar: true, CoolDown: base, AskedToWait: true, LastAnswered: base}},
		KnownBad: []Bad{{Content: verifier.ContentID{7}, Definition: verifier.Version{1, 2, 3, 4}, Reason: "rolled back", Since: base}},
		Sets:     map[string]Set{"1.2.3.4-00000000": {Source: "http://m", Installed: base, Retired: base}},
		Previous: "1.2.3.4-00000000", SteppedDown: true, HeldSince: base, Pending: "1.2.3.4-00000000",
		Missing: map[string]time.Time{"managed.json": base}, Totals: Totals{Downloaded: 1, Reused: 2, Requests: 3, Runs: map[string]int64{"ok": 4}},
		Timing: Timing{OfflineURL: "http://m", Source: "http://m", LastCheck: base, LastCheckUptime: machine.Uptime{Boot: "b", Seconds: 1.5}, Failures: 2, LastFailure: base,
			LastFailureUptime: machine.Uptime{Boot: "b", Seconds: 2}, OwnFault: true, NotBefore: base, Unfinished: "1.2.3.4-00000000"}}
}

// What is saved is loaded again, field by field, and the modes are right
// whatever the umask and the file before were.
func TestSaveAndLoad(t *testing.T) {
	s := open(t)
	old := unix.Umask(0)
	defer unix.Umask(old)
	must(t, os.WriteFile(filepath.Join(s.Dir(), "state.json"), []byte(`{"schema":1}`), 0o666))
	must(t, s.Save(full()))
	unix.Umask(0o077)
	must(t, s.SaveStatus(Status{Failed: true, Notes: []string{"a"}}))
	must(t, s.SaveLastGood("managed.json", []byte("{}")))
	got, err := s.Load()
	must(t, err)
	a, _ := json.Marshal(full())
	b, _ := json.Marshal(got)
	if !bytes.Equal(a, b) || got.Lost() || got.Newer() {
		t.Errorf("saved %s, loaded %s", a, b)
	}
	for name, want := range map[string]fs.FileMode{"state.json": 0o600, "status.json": 0o644, "last-good/managed.json": 0o600} {
		info, err := os.Stat(filepath.Join(s.Dir(), name))
		must(t, err)
		if info.Mode() != want {
			t.Errorf("%s has the mode %v, want %v", name, info.Mode(), want)
		}
	}
	if st := s.LoadStatus(); !st.Failed || st.Schema != Schema || len(st.Notes) != 1 {
		t.Errorf("the status is %+v", st)
	}
	entries, err := os.ReadDir(s.Dir())
	must(t, err)
	if len(entries) != 3 {
		t.Errorf("left over: %v", entries)
	}
}

// A field that a later version of the program wrote is neither lost nor taken
// for one of ours, and one of ours that is empty again does not come back.
func TestUnknownFields(t *testing.T) {
	t.Parallel()
	var st State
	must(t, json.Unmarshal([]byte(`{"schema":1,"more":{"x":[1]},"previous":"p","heldSince":"2026-11-01T12:00:00Z"}`), &st))
	st.Previous, st.HeldSince = "", time.Time{}
	data, err := json.Marshal(&st)
	must(t, err)
	if string(data) != `{"more":{"x":[1]},"schema":1}` {
		t.Errorf("written as %s", data)
	}
}

// The same goes for the status. It is read by whoever asks for a report, and written
// by the next run.
func TestUnknownFieldsOfTheStatus(t *testing.T) {
	t.Parallel()
	s := open(t)
	path := filepath.Join(s.Dir(), "status.json")
	must(t, os.WriteFile(path, []byte(`{"schema":1,"more":{"x":[1]},"failed":true,"lastCheck":"2026-11-01T12:00:00Z","runs":[{"kind":"byHand","new":1}]}`), 0o644))
	status := s.LoadStatus()
	if !status.Failed || !status.LastCheck.Equal(base) || status.Damaged {
		t.Fatalf("read as %+v", status)
	}
	status.Failed, status.LastCheck = false, time.Time{}
	must(t, s.SaveStatus(status))
	data, err := os.ReadFile(path)
	must(t, err)
	var got bytes.Buffer
	must(t, json.Compact(&got, data))
	if got.String() != `{"more":{"x":[1]},"runs":[{"kind":"byHand","new":1}],"schema":1}` {
		t.Errorf("written as %s", &got)
	}
}

// None of ours is taken for one of a later version.
func TestOursAreKnown(t *testing.T) {
	t.Parallel()
	mine, err := json.Marshal(full())
	must(t, err)
	of, err := unknownTo[State](mine)
	must(t, err)
	if len(of) != 0 {
		t.Errorf("%v would be kept as fields of a later version", of)
	}
}

// What is remembered is bounded, and the oldest goes first.
func TestBounds(t *testing.T) {
	t.Parallel()
	st := new(State)
	for i := range 500 {
		at := base.Add(time.Duration(i) * time.Second)
		st.MarkBad(Bad{Content: verifier.ContentID{byte(i), byte(i >> 8)}, Since: at})
		st.SetSource(fmt.Sprint(i), Source{LastAnswered: at})
		st.NoteSet(fmt.Sprint(i), Set{Installed: at})
		st.RaiseFloor(floor(uint32(1000-i)), [][]byte{{byte(i), byte(i >> 8)}})
	}
	if len(st.KnownBad) != maxKnownBad || len(st.Sources) != maxSources || len(st.Sets) != maxSets || len(st.Floors) != maxFloors {
		t.Errorf("%d bad, %d sources, %d sets, %d floors", len(st.KnownBad), len(st.Sources), len(st.Sets), len(st.Floors))
	}
	if st.Source("499").LastAnswered.IsZero() || !st.Source("0").LastAnswered.IsZero() || !st.KnownBad[len(st.KnownBad)-1].Since.Equal(base.Add(499*time.Second)) {
		t.Error("something else than the oldest went")
	}
	if st.Floors[0].Definition != (verifier.Version{1, 1000, 0, 0}) {
		t.Errorf("the greatest floor went, left is %v", st.Floors[0])
	}
}

func TestFloors(t *testing.T) {
	t.Parallel()
	st := new(State)
	a, b := [][]byte{{1}, {2}}, [][]byte{{3}, {2}}
	st.RaiseFloor(floor(5), a)
	st.RaiseFloor(floor(3), a) // not lower
	st.RaiseFloor(floor(4), b)
	if len(st.Floors) != 2 || st.Floors[0].Floor != floor(5) || st.Floors[1].Floor != floor(4) {
		t.Errorf("floors %v", st.Floors)
	}
	st.LowerFloor(floor(2), b)
	if len(st.Floors) != 1 || st.Floors[0].Floor != floor(2) {
		t.Errorf("floors %v", st.Floors)
	}
	st.MarkBad(Bad{Content: verifier.ContentID{1}, Reason: "x"})
	st.MarkBad(Bad{Content: verifier.ContentID{1}, Reason: "y"})
	if len(st.KnownBad) != 1 || st.KnownBad[0].Reason != "y" {
		t.Errorf("known bad %v", st.KnownBad)
	}
	st.ForgetBad(verifier.ContentID{1})
	if len(st.KnownBad) != 0 {
		t.Errorf("known bad %v", st.KnownBad)
	}
}

// Nothing that stands in a file's place stops the agent or makes it wait.
func TestLoadOfOtherThings(t *testing.T) {
	t.Parallel()
	for what, put := range map[string]func(path string) error{
		"FIFO":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"link":      func(path string) error { return os.Symlink("/etc/passwd", path) },
		"garbage":   func(path string) error { return os.WriteFile(path, []byte("{\"schema\":1,"), 0o600) },
		"too much":  func(path string) error { return os.Truncate(touch(path), maxFile+1) },
		"far more":  func(path string) error { return os.Truncate(touch(path), 1<<40) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			for _, name := range []string{"state.json", "status.json"} {
				must(t, put(filepath.Join(s.Dir(), name)))
			}
			st, err := s.Load()
			must(t, err)
			if !st.Lost() || s.LoadStatus().Schema != Schema {
				t.Errorf("loaded %+v", st)
			}
			must(t, s.Save(st))
			if st, err := s.Load(); err != nil || st.Lost() {
				t.Errorf("after Save: %v %+v", err, st)
			}
			if _, err := os.Lstat(filepath.Join(s.Dir(), "state.json.damaged")); err != nil {
				t.Errorf("what was there is gone: %v", err)
			}
		})
	}
}

func touch(path string) string {
	_ = os.WriteFile(path, nil, 0o600) // the caller sees that it is missing
	return path
}

// A state of a later schema gives its floors, and is never written over.
func TestNewerSchema(t *testing.T) {
	t.Parallel()
	f, err := json.Marshal([]Floor{{floor(9), [][]byte{{1}}}})
	must(t, err)
	for _, c := range []struct {
		data   string
		floors int
	}{
		{`{"schema":2,"floors":` + string(f) + `}`, 1},
		{`{"schema":2,"sets":7,"floors":` + string(f) + `}`, 1},
		{`{"schema":2,"floors":{"all":"new"}}`, 0},
		{`{"schema":2,"sources":[]}`, 0},
	} {
		s := open(t)
		path := filepath.Join(s.Dir(), "state.json")
		must(t, os.WriteFile(path, []byte(c.data), 0o600))
		st, err := s.Load()
		must(t, err)
		if !st.Newer() || len(st.Floors) != c.floors {
			t.Errorf("%s: %+v", c.data, st)
		}
		st.RaiseFloor(floor(99), nil)
		must(t, s.Save(st))
		if data, err := os.ReadFile(path); err != nil || string(data) != c.data {
			t.Errorf("%s was written over: %s %v", c.data, data, err)
		}
	}
}

func TestLastGood(t *testing.T) {
	t.Parallel()
	s := open(t)
	must(t, s.SaveLastGood("managed.json", nil))
	if s.LastGood("managed.json") != nil {
		t.Error("a copy of nothing")
	}
	must(t, s.SaveLastGood("managed.json", []byte("{}")))
	before, err := os.Stat(filepath.Join(s.Dir(), "last-good", "managed.json"))
	must(t, err)
	must(t, s.SaveLastGood("managed.json", []byte("{}")))
	after, err := os.Stat(filepath.Join(s.Dir(), "last-good", "managed.json"))
	must(t, err)
	if !os.SameFile(before, after) {
		t.Error("what has not changed was written again")
	}
	must(t, s.SaveLastGood("managed.json", nil))
	if s.LastGood("managed.json") != nil {
		t.Error("a file that was taken away is still remembered")
	}
}

// What a killed run had not put in its place yet is removed by who writes next, and
// nothing else is.
func TestLeftoversOfAKilledRun(t *testing.T) {
	t.Parallel()
	s := open(t)
	must(t, s.SaveLastGood("managed.json", []byte("{}")))
	must(t, s.Save(&State{Schema: Schema}))
	must(t, s.SaveRevocationLists([][]byte{[]byte("a list")}))
	leftovers := []string{"crls/." + strings.Repeat("0a", 32) + ".crl17", ".state.json123456789", ".status.json1", "last-good/.managed.json42", ".engine-directory7"}
	others := []string{"state.json", "last-good/managed.json", ".profile", ".json", "state.json1", ".state.json", ".state.json.1"}
	for _, name := range append(slices.Clone(leftovers), others...) {
		if _, err := os.Stat(filepath.Join(s.Dir(), name)); err != nil {
			must(t, os.WriteFile(filepath.Join(s.Dir(), name), nil, 0o600))
		}
	}
	lock, err := s.Lock(t.Context(), 0, time.Now())
	must(t, err)
	defer lock.Unlock()
	for _, name := range leftovers {
		if _, err := os.Lstat(filepath.Join(s.Dir(), name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	for _, name := range others {
		if _, err := os.Lstat(filepath.Join(s.Dir(), name)); err != nil {
			t.Error(err)
		}
	}
}

// A user without rights is told so, with what to do.
func TestPermissions(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root may write everywhere; run this test as a plain user")
	}
	s := open(t)
	must(t, s.Save(full()))
	must(t, os.Chmod(s.Dir(), 0o555))
	defer os.Chmod(s.Dir(), 0o755)
	_, openErr := Open(s.Dir())
	_, makeErr := Open(filepath.Join(s.Dir(), "deeper"))
	for _, err := range []error{openErr, makeErr, s.Save(full()), s.SaveStatus(Status{}), s.SaveLastGood("x", []byte("y"))} {
		wantCode(t, err, "permission_denied")
	}
}

func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	e, ok := err.(*Error)
	if !ok {
		t.Fatalf("got %v, want an error with the code %s", err, code)
	}
	got, sentence, hint := e.Reason()
	if got != code || sentence == "" || hint == "" || strings.ContainsAny(sentence, "\"\n") {
		t.Errorf("got %s %q %q, want %s", got, sentence, hint, code)
	}
}

// Only one holds the lock; the other one is told who, and since when.
func TestLock(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := context.Background()
	if _, held := s.Updating(); held {
		t.Error("held before anybody took it")
	}
	lock, err := s.Lock(ctx, 0, base)
	must(t, err)
	if work, held := s.Updating(); !held || work.PID != os.Getpid() || !work.Progress.Equal(base) {
		t.Errorf("not seen to be held: %+v %t", work, held)
	}
	lock.Beat(base.Add(time.Second)) // too soon to be worth it
	if work, _ := s.Updating(); !work.Progress.Equal(base) {
		t.Errorf("progress at %s", work.Progress)
	}
	for _, at := range []time.Time{base.Add(time.Minute), base} { // the clock may be set back
		lock.Beat(at)
		if work, _ := s.Updating(); !work.Progress.Equal(at) {
			t.Errorf("progress at %s, want %s", work.Progress, at)
		}
	}
	info, err := os.Stat(filepath.Join(s.Dir(), "lock"))
	must(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	began := time.Now()
	_, err = s.Lock(ctx, time.Millisecond, base)
	wantCode(t, err, "busy")
	if took := time.Since(began); took < lockWait || took > 3*lockWait {
		t.Errorf("gave up after %s", took)
	}
	if want := fmt.Sprintf("process %d is updating since 2026-11-01T12:00:00Z", os.Getpid()); err.(*Error).Sentence != want {
		t.Errorf("said %q, want %q", err.(*Error).Sentence, want)
	}
	stopped, stop := context.WithCancel(ctx)
	stop()
	if _, err := s.Lock(stopped, time.Hour, base); err != context.Canceled {
		t.Errorf("interrupted: %v", err)
	}
	must(t, lock.Unlock())
	after, err := os.Stat(filepath.Join(s.Dir(), "lock"))
	must(t, err)
	if _, held := s.Updating(); held || !os.SameFile(info, after) {
		t.Error("still held, or another file")
	}
	again, err := s.Lock(ctx, 0, base)
	must(t, err)
	must(t, again.Unlock())
}

// The daemon's lock is another one, which whoever looks at it never keeps.
func TestDaemonLock(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := context.Background()
	if s.DaemonRuns() {
		t.Error("runs before there was one")
	}
	lock, err := s.LockDaemon(ctx, base)
	must(t, err)
	update, err := s.Lock(ctx, 0, base)
	must(t, err)
	must(t, update.Unlock())
	for range 3 {
		if !s.DaemonRuns() {
			t.Error("not seen to run")
		}
	}
	_, err = s.LockDaemon(ctx, base)
	wantCode(t, err, "busy")
	if want := fmt.Sprintf("process %d is the daemon since 2026-11-01T12:00:00Z", os.Getpid()); err.(*Error).Sentence != want {
		t.Errorf("said %q, want %q", err.(*Error).Sentence, want)
	}
	must(t, lock.Unlock())
	if s.DaemonRuns() {
		t.Error("still seen to run")
	}
	again, err := s.LockDaemon(ctx, base)
	must(t, err)
	must(t, again.Unlock())
}

// A state that an earlier version wrote is read with its times.
func TestTimingOfEarlierVersions(t *testing.T) {
	t.Parallel()
	st := decode([]byte(`{"schema":1,"offlineUrl":"http://m","lastCheck":"2026-11-01T12:00:00Z"}`))
	if st.OfflineURL != "http://m" || !st.LastCheck.Equal(base) || st.Lost() {
		t.Errorf("got %+v", st)
	}
}

func TestTimingAndTotals(t *testing.T) {
	t.Parallel()
	var timing Timing
	up := machine.Uptime{Boot: "b", Seconds: 5}
	timing.Failed("http://old", base, up, true, base.Add(time.Hour))
	timing.Failed("http://m", base, up, true, base.Add(time.Hour)) // the first one of this source
	timing.Failed("http://m", base.Add(time.Minute), up, false, time.Time{})
	if timing.Failures != 2 || timing.OwnFault || !timing.NotBefore.IsZero() || !timing.LastFailure.Equal(base.Add(time.Minute)) {
		t.Errorf("after two failures: %+v", timing)
	}
	timing.Checked("http://m", base, up)
	timing.Succeeded()
	if want := (Timing{Source: "http://m", LastCheck: base, LastCheckUptime: up}); timing != want {
		t.Errorf("after a success: %+v", timing)
	}
	var totals Totals
	totals.Add("ok", 10, 5, 2)
	totals.Add("ok", 1, 0, 1)
	totals.Add("busy", 0, 0, 0)
	if totals.Downloaded != 11 || totals.Reused != 5 || totals.Requests != 3 || totals.Runs["ok"] != 2 || totals.Runs["busy"] != 1 {
		t.Errorf("totals are %+v", totals)
	}
}

// What the holder left in the lock is no reason to fail, whatever it is.
func TestBusyWithGarbage(t *testing.T) {
	t.Parallel()
	for _, garbage := range []string{"", "{", `{"pid":-1}`, `{"pid":"x"}`, strings.Repeat("x", 100)} {
		s := open(t)
		must(t, os.WriteFile(filepath.Join(s.Dir(), "lock"), []byte(garbage), 0o600))
		err := s.busy("lock", holder{"is updating", "wait"})
		wantCode(t, err, "busy")
		if err.(*Error).Sentence != "another process is updating" {
			t.Errorf("%q: %v", garbage, err)
		}
	}
}

func TestLineOfLocks(t *testing.T) {
	t.Parallel()
	dev := unix.Mkdev(0xfe, 0)
	for line, want := range map[string]bool{
		"3: FLOCK  ADVISORY  WRITE 1234 fe:00:131 0 EOF":    true,
		"3: FLOCK  ADVISORY  READ 1234 fe:00:131 0 EOF":     false,
		"3: POSIX  ADVISORY  WRITE 1234 fe:00:131 0 EOF":    false,
		"3: -> FLOCK  ADVISORY  WRITE 1234 fe:00:131 0 EOF": false, // waits for it
		"3: FLOCK  ADVISORY  WRITE 1234 fe:01:131 0 EOF":    false,
		"3: FLOCK  ADVISORY  WRITE 1234 fe:00:1310 0 EOF":   false,
		"3: FLOCK  ADVISORY  WRITE 1234 <none>:0 0 EOF":     false,
		"": false,
	} {
		if pid, got := holds(line, dev, 131, false); got != want || got && pid != 1234 {
			t.Errorf("%q: %d %t", line, pid, got)
		}
	}
	if pid, got := holds("3: FLOCK  ADVISORY  WRITE -1 00:2f:131 0 EOF", dev, 131, true); !got || pid != 0 {
		t.Error("the inode alone does not count where it must")
	}
}

// Whatever stands in state.json, loading neither panics nor fails, and what is
// then saved is loaded again as it was.
func FuzzState(f *testing.F) {
	good, err := json.Marshal(full())
	must(f, err)
	for _, seed := range []string{string(good), `{}`, `{"schema":1}`, `{"schema":2,"floors":null}`, `{"schema":1,"floors":[{"chain":null}]}`, `null`, `[]`, "", `{"schema":1,"schema":2}`, `{"schema":1,"heldSince":"9999-12-31T23:59:59Z","x":[]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		st := decode(data)
		if st.Newer() {
			return
		}
		first, err := json.Marshal(st)
		if err != nil {
			t.Fatalf("can not be saved: %v", err)
		}
		second, err := json.Marshal(decode(first))
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%s became %s (%v)", first, second, err)
		}
		if st.Schema != Schema {
			t.Fatalf("schema %d", st.Schema)
		}
	})
}

// Exactly the lists that were handed over last are there, for anybody to read.
// What can't be read is an error and stays, unless it is known from elsewhere, and
// what did not change is not written.
func TestRevocationLists(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	s, err := Open(dir)
	must(t, err)
	keeps := func(lists ...string) {
		t.Helper()
		var raw [][]byte
		for _, l := range lists {
			raw = append(raw, []byte(l))
		}
		must(t, s.SaveRevocationLists(raw))
		var got []string
		kept, err := View(dir).RevocationLists(nil)
		must(t, err)
		for _, l := range kept {
			got = append(got, string(l.Data))
		}
		slices.Sort(got)
		if !slices.Equal(got, lists) {
			t.Errorf("kept %q, want %q", got, lists)
		}
	}
	keeps()
	if _, err := os.Stat(filepath.Join(dir, "crls")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory for nothing: %v", err)
	}
	keeps("a", "b")
	paths, err := filepath.Glob(filepath.Join(dir, "crls", "*"))
	must(t, err)
	before := map[string]os.FileInfo{}
	for _, path := range append(paths, filepath.Join(dir, "crls")) {
		info, err := os.Stat(path)
		must(t, err)
		if before[path] = info; info.Mode().Perm()&0o444 != 0o444 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
	}
	keeps("a", "b")
	for path, info := range before {
		if now, err := os.Stat(path); err != nil || !os.SameFile(now, info) || !now.ModTime().Equal(info.ModTime()) {
			t.Errorf("%s was written although nothing had changed: %v", path, err)
		}
	}
	text, err := os.ReadFile(paths[0])
	must(t, err)
	for what, damage := range map[string]func() error{
		"other bytes": func() error { return os.WriteFile(paths[0], []byte("damaged"), 0o644) },
		"cut":         func() error { return os.Truncate(paths[0], 0) },
		"a link":      func() error { return os.Symlink("/etc/passwd", paths[0]) },
		"a directory": func() error { return os.Mkdir(paths[0], 0o755) },
		"too large":   func() error { return os.WriteFile(paths[0], make([]byte, verifier.MaxTrustFile+1), 0o644) },
	} {
		if what == "a link" || what == "a directory" {
			must(t, os.Remove(paths[0]))
		}
		must(t, damage())
		_, err := View(dir).RevocationLists(nil)
		var failed *Error
		if !errors.As(err, &failed) || failed.Code != "trust_invalid" || !strings.Contains(failed.Sentence, paths[0]) {
			t.Errorf("%s: %v", what, err)
		}
		if lists, err := View(dir).RevocationLists([][]byte{text}); len(lists) != 1 || err != nil {
			t.Errorf("%s, and the trust directory has it: %d others, %v", what, len(lists), err)
		}
		must(t, s.SaveRevocationLists([][]byte{[]byte("c")}))
		if _, err := os.Lstat(paths[0]); err != nil {
			t.Errorf("%s: what could not be read was removed: %v", what, err)
		}
		keeps("a", "b") // what is damaged is mended
	}
	keeps("b", "c")
	keeps()
	must(t, os.RemoveAll(filepath.Join(dir, "crls")))             // with what was put aside
	must(t, os.WriteFile(filepath.Join(dir, "crls"), nil, 0o644)) // can't be read, for root either
	if got, err := s.RevocationLists(nil); err == nil {
		t.Errorf("%d lists are said to be there where nobody can look", len(got))
	}
}
