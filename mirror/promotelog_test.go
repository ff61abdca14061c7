package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
)

// TestPromotionLog: whatever is changed in the log is found, be it by the next line or
// by the signed lists.
func TestPromotionLog(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	var lists []string
	for _, v := range []string{"1.407.417.0", "1.407.418.0", "1.407.419.0"} {
		r.approve(v, nil)
		r.want(Promoted)
		kept := filepath.Join(r.dir, v+".p7m") // as an endpoint keeps it
		write(t, kept, read(t, r.in("production", "updates.zip.p7m")))
		lists = append(lists, kept)
	}
	path := filepath.Join(r.dir, "tree", "linux", promotionsFile)
	whole := read(t, path)
	rows := bytes.SplitAfter(whole, []byte("\n"))
	found, err := CheckPromotions(r.o.To, lists, &r.trust)
	if err != nil || len(found.Lines) != 3 || found.Torn || !found.Signed || len(found.Anchors) != 5 {
		t.Fatalf("%+v, %v", found, err)
	}
	// The lists of production and production_back, then those that were kept.
	for i, line := range []int{3, 2, 1, 2, 3} {
		if found.Anchors[i].Line != line {
			t.Errorf("%+v", found.Anchors)
		}
	}
	for name, c := range map[string]struct {
		log  []byte
		code string
	}{
		"as it is":         {whole, ""},
		"a version":        {bytes.Replace(whole, []byte("1.407.417.0"), []byte("1.407.416.0"), 1), "content_mismatch"},
		"the last version": {bytes.Replace(whole, []byte("1.407.419.0"), []byte("1.407.416.0"), 1), "content_mismatch"},
		"the first line":   {bytes.Join(rows[1:], nil), "content_mismatch"},
		"a middle line":    {bytes.Join([][]byte{rows[0], rows[2]}, nil), "content_mismatch"},
		"the last line":    {bytes.Join(rows[:2], nil), "content_mismatch"},
		"all lines":        {nil, "content_mismatch"},
		"two lines change": {bytes.Join([][]byte{rows[1], rows[0], rows[2]}, nil), "content_mismatch"},
		"no log":           {[]byte("hello\n"), "content_mismatch"},
		"a torn line":      {append(bytes.Clone(whole), `{"time":"2026`...), ""},
	} {
		write(t, path, c.log)
		_, err := CheckPromotions(r.o.To, nil, &r.trust)
		t.Run(name, func(t *testing.T) { wantCode(t, err, c.code) })
	}
	// What is approved from now on names the last line, too.
	write(t, path, whole)
	preview := r.o.From
	approveNext := func(n int, ring string) error {
		site := ringSite{lab: r.lab, ring: ring, now: r.now}
		site.come(t, map[string][]byte{"mpavbase.vdm": []byte(fmt.Sprint("definitions ", n))}, manifestFor(n))
		_, err := site.approve(t, ApproveOptions{Arch: "x86_64", Force: true})
		return err
	}
	wantCode(t, approveNext(430, preview), "")
	found, err = CheckPromotions(r.o.To, nil, &r.trust)
	wantCode(t, err, "")
	if last := found.Anchors[len(found.Anchors)-1]; last != (PromotionAnchor{r.in("preview", "updates.zip.p7m"), 3}) {
		t.Errorf("%+v", found.Anchors)
	}
	if string(read(t, path)) != string(whole) {
		t.Error("an approval changed the log")
	}
	write(t, path, bytes.Join(rows[:2], nil))
	_, err = CheckPromotions(preview, nil, &r.trust) // the first ring's approval knows as well
	wantCode(t, err, "content_mismatch")
	write(t, path, bytes.Replace(whole, []byte("1.407.417.0"), []byte("1.407.416.0"), 1))
	wantCode(t, approveNext(431, preview), "content_mismatch") // it would vouch for what somebody changed

	// Where nothing was promoted, nothing is named, and no log comes into being.
	alone := filepath.Join(r.dir, "alone", "linux", "preview")
	wantCode(t, approveNext(1, alone), "")
	if list, err := ReadList(filepath.Join(alone, "arch_x86_64", "updates.zip.p7m")); err != nil || list.PromotionLog != "" {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(alone), promotionsFile)); err == nil {
		t.Error("an approval made a log")
	}

	// Without anchors in the tree, those of endpoints still know.
	write(t, path, bytes.Join(rows[:2], nil))
	for _, ring := range []string{"production", "production_back", "preview"} {
		if err := os.RemoveAll(r.in(ring)); err != nil {
			t.Fatal(err)
		}
	}
	_, err = CheckPromotions(r.o.To, lists[:2], nil)
	wantCode(t, err, "")
	_, err = CheckPromotions(r.o.To, lists, nil)
	wantCode(t, err, "content_mismatch")
	other := newLab(t, KeyOptions{}).trust
	_, err = CheckPromotions(r.o.To, lists[:1], &other)
	wantCode(t, err, "signer_untrusted")
	if _, _, hint := reasonOf(err); !strings.Contains(hint, lists[0]) {
		t.Errorf("the hint is %s, which names no list", hint)
	}
	_, err = CheckPromotions(r.o.To, []string{filepath.Join(alone, "arch_x86_64", "updates.zip.p7m")}, nil) // which names no line
	wantCode(t, err, codeUsage)
	_, err = CheckPromotions(filepath.Join(r.dir, "production"), nil, nil)
	wantCode(t, err, codeNothing)
}

// TestTornPromotionLog: what a crash left of a line is gone with the next one.
func TestTornPromotionLog(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	r.approve("1.407.417.0", nil)
	r.want(Promoted)
	path := filepath.Join(r.dir, "tree", "linux", promotionsFile)
	write(t, path, append(read(t, path), `{"time":"2026-`...))
	if found, err := CheckPromotions(r.o.To, nil, nil); err != nil || !found.Torn {
		t.Fatalf("%+v, %v", found, err)
	}
	r.approve("1.407.418.0", nil)
	r.want(Promoted)
	if found, err := CheckPromotions(r.o.To, nil, &r.trust); err != nil || found.Torn || len(found.Lines) != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	// A link or a directory in its place is nothing to write to.
	for _, put := range []func() error{func() error { return os.Symlink("/dev/null", path) }, func() error { return os.Mkdir(path, 0o755) }} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if _, err := Promote(t.Context(), r.o); err == nil {
			t.Error("a log that is no file is taken")
		}
	}
}

// TestPromotionWhileChecked: a promotion that comes after the log was read, and before
// its list is looked at, is no change of the log.
func TestPromotionWhileChecked(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	r.approve("1.407.417.0", nil)
	r.want(Promoted)
	path := filepath.Join(r.dir, "tree", "linux", promotionsFile)
	lines, _, err := loadPromotions(path)
	if err != nil {
		t.Fatal(err)
	}
	r.approve("1.407.418.0", nil)
	r.want(Promoted)
	whole, sidecar := read(t, path), r.in("production", "updates.zip.p7m")
	check := func() (Promotions, error) {
		found := Promotions{Log: path, Lines: lines}
		err := found.anchor(sidecar, &r.trust, false)
		return found, err
	}
	found, err := check()
	wantCode(t, err, "")
	if len(found.Lines) != 2 || len(found.Anchors) != 1 || found.Anchors[0].Line != 2 {
		t.Errorf("%+v", found)
	}
	// What is missing stays missing, and another history is none that went on.
	rows := bytes.SplitAfter(whole, []byte("\n"))
	for _, log := range [][]byte{rows[0], nil, bytes.Replace(whole, []byte("1.407.417.0"), []byte("1.407.416.0"), 1)} {
		write(t, path, log)
		_, err := check()
		wantCode(t, err, "content_mismatch")
	}
}

// FuzzPromotionLog: nothing breaks the parser, and what it takes holds together.
func FuzzPromotionLog(f *testing.F) {
	dir := f.TempDir()
	log, err := openPromotions(dir)
	if err != nil {
		f.Fatal(err)
	}
	for _, action := range []string{actionPromote, actionRenew, actionUndo} {
		if _, err := log.append(Promotion{Time: time.Unix(1795457597, 0).UTC(), Action: action, To: "/srv/linux/production", Arch: "arm64"}); err != nil {
			f.Fatal(err)
		}
	}
	log.close()
	good := read(f, filepath.Join(dir, promotionsFile))
	for _, text := range [][]byte{good, good[:len(good)-1], nil, []byte("\n"), []byte("{}\n"), bytes.Repeat(good, 2)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, whole, err := parsePromotions(data)
		if err != nil {
			wantCode(t, err, string(verifier.ContentMismatch))
			return
		}
		if bytes.Contains(data[whole:], []byte("\n")) || bytes.Count(data[:whole], []byte("\n")) != len(lines) {
			t.Fatalf("%d lines in %d bytes", len(lines), whole)
		}
		before := noLine
		for _, l := range lines {
			if l.Before != before || !l.valid() {
				t.Errorf("%+v", l)
			}
			before = l.Hash
		}
	})
}

// FuzzHealthFile: nothing breaks the parser, and nothing passes that does not say so.
func FuzzHealthFile(f *testing.F) {
	report, err := os.ReadFile("../health/testdata/definitions-up_to_date.json")
	if err != nil {
		f.Fatal(err)
	}
	if h, ok := parseHealth(report); !ok || checkHealth(h, versions{version("1.1.24080.9"), version("1.407.417.0")}) != "" {
		f.Fatalf("a good report is refused: %+v", h)
	}
	for _, text := range [][]byte{report, []byte("{}"), []byte(`{"$type":"getHealthDetailsDefinitionsResult","definitionsVersion":null}`), []byte("\xff\xfe{\x00")} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, ok := parseHealth(data)
		if !ok {
			return
		}
		if h.Status == "" {
			t.Error("a report without a status")
		}
		if problem := checkHealth(h, versions{h.Engine, h.Definition}); problem == "" && (h.Status != "upToDate" || h.Definition.IsZero()) {
			t.Errorf("%+v passes", h)
		}
	})
}

// TestPromotionLogAnchorStays: the list that shows that the log was changed is not
// replaced by one that vouches for what the log says now.
func TestPromotionLogAnchorStays(t *testing.T) {
	t.Parallel()
	r := newRings(t)
	path := filepath.Join(r.dir, "tree", "linux", promotionsFile)
	r.promoted("1.407.417.0", "1.407.418.0")
	whole := read(t, path)
	r.approve("1.407.419.0", nil)
	anchor := read(t, r.in("production", "updates.zip.p7m"))
	site := ringSite{lab: r.lab, ring: r.o.To, now: r.now}
	site.come(t, map[string][]byte{"mpavbase.vdm": []byte("definitions 430")}, manifestFor(430))
	approve := func(o ApproveOptions) (*Proposal, error) {
		o.Arch = "x86_64"
		p, err := site.approve(t, o)
		return &p, err
	}
	forged := func() { // another history, which holds together
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		log, err := openPromotions(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		defer log.close()
		if _, err := log.append(Promotion{Time: r.now, Action: actionPromote, From: "preview", To: "production", Arch: "x86_64"}); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(){"no log": func() { os.Remove(path) }, "another log": forged} {
		write(t, path, whole)
		change()
		_, err := approve(ApproveOptions{})
		t.Run(name+", approve", func(t *testing.T) { wantCode(t, err, "content_mismatch") })
		change()
		_, err = Promote(t.Context(), r.o)
		t.Run(name+", promote", func(t *testing.T) { wantCode(t, err, "content_mismatch") })
		_, err = UndoPromotion(r.o.To, nil, nil)
		t.Run(name+", undo", func(t *testing.T) {
			if err == nil {
				t.Error("a promotion was undone")
			}
		})
		if !bytes.Equal(read(t, r.in("production", "updates.zip.p7m")), anchor) {
			t.Fatalf("%s: the list that names the line is gone", name)
		}
	}
	// A line more that promotes what is out: undo sees what it should take back, and not the line.
	forged()
	log, err := openPromotions(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	list, err := ReadList(r.in("production", "updates.zip.p7m"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.append(Promotion{Time: r.now, Action: actionPromote, From: "preview", To: "production", Arch: "x86_64", Content: list.Content()}); err != nil {
		t.Fatal(err)
	}
	log.close()
	_, err = UndoPromotion(r.o.To, nil, nil)
	wantCode(t, err, "content_mismatch")
	// What openssl signed comes no other way.
	write(t, path, whole)
	p, err := Propose(t.Context(), r.o.To, ApproveOptions{Arch: "x86_64"})
	if err != nil || p.LogLine != 2 {
		t.Fatalf("line %d, %v", p.LogLine, err)
	}
	if err := p.External(filepath.Join(r.dir, "list.json")); err != nil {
		t.Fatal(err)
	}
	object, err := SignList(p.List, r.signer)
	if err := errors.Join(err, p.Close()); err != nil {
		t.Fatal(err)
	}
	forged()
	_, _, err = AttachApproval(t.Context(), r.o.To, object, ApproveOptions{})
	wantCode(t, err, "content_mismatch")
	// On purpose.
	_, err = approve(ApproveOptions{Force: true})
	wantCode(t, err, "")
	if found, err := CheckPromotions(r.o.To, nil, &r.trust); err == nil {
		t.Errorf("n-1 names a line still, and all is well: %+v", found)
	}
}
