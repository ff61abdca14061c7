package invariant

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var files = map[string]string{"base.vdm": "base", "delta.vdm": "delta"}

// publication is one of a version; what is signed need not be signed here.
func publication(version string) Publication {
	p := Publication{Version: version, List: []byte("list of " + version), Files: map[string]File{}}
	for name, content := range files {
		p.Files[name] = FileOf([]byte(content + version))
	}
	return p
}

// engine is a directory as it must be, with 2 active, 1 before it, and 0 and 3 besides,
// of which nobody signed the list of 3.
func engine(t *testing.T) (dir string, published []Publication) {
	t.Helper()
	dir = t.TempDir()
	for _, version := range []string{"0", "1", "2", "3"} {
		p := publication(version)
		p.Derived = version == "3"
		published = append(published, p)
		set := filepath.Join(dir, version+"-00000000")
		must(t, os.MkdirAll(filepath.Join(set, "META"), 0o755))
		for name, content := range files {
			must(t, os.WriteFile(filepath.Join(set, name), []byte(content+version), 0o444))
		}
		must(t, os.WriteFile(filepath.Join(set, p.listName()), p.List, 0o444))
		for _, path := range []string{".", "META"} {
			must(t, os.Chmod(filepath.Join(set, path), 0o755))
		}
	}
	must(t, os.Symlink("2-00000000", filepath.Join(dir, "current")))
	must(t, os.Symlink("1-00000000", filepath.Join(dir, "previous")))
	must(t, os.Mkdir(filepath.Join(dir, ".staging"), 0o700))
	return dir, published
}

func TestGood(t *testing.T) {
	t.Parallel()
	dir, published := engine(t)
	versions, err := CheckAll(dir, published)
	if err != nil || !slices.Equal(versions, []string{"0", "1", "2", "3"}) {
		t.Errorf("%q, %v", versions, err)
	}
	links, err := ReadLinks(dir)
	if err != nil || links != (Links{"2-00000000", "1-00000000"}) {
		t.Errorf("%v, %v", links, err)
	}
	none, err := ReadLinks(filepath.Join(dir, "none"))
	if err != nil || none != (Links{}) {
		t.Errorf("%v, %v", none, err)
	}
}

// Each is one step from a good directory, and is found. Not in parallel, since each
// works in its directory.
func TestEveryViolationIsFound(t *testing.T) {
	replace := func(path, content string) error {
		return errors.Join(os.Remove(path), os.WriteFile(path, []byte(content), 0o444))
	}
	relink := func(path, target string) error { return errors.Join(os.Remove(path), os.Symlink(target, path)) }
	for what, c := range map[string]struct {
		does   func() error
		linked bool // also found by looking at the links alone
	}{
		"a byte":                          {func() error { return replace("2-00000000/base.vdm", "bAse2") }, true},
		"a byte of previous":              {func() error { return replace("1-00000000/base.vdm", "bAse1") }, true},
		"a byte of another set":           {func() error { return replace("0-00000000/base.vdm", "bAse0") }, false},
		"a file is longer":                {func() error { return replace("2-00000000/base.vdm", "base22") }, true},
		"a file is missing":               {func() error { return os.Remove("2-00000000/delta.vdm") }, true},
		"a file more":                     {func() error { return os.WriteFile("2-00000000/more", nil, 0o444) }, true},
		"a file more in META":             {func() error { return os.WriteFile("2-00000000/META/more", nil, 0o444) }, true},
		"a directory more":                {func() error { return os.Mkdir("2-00000000/more", 0o755) }, true},
		"a link in place of a file":       {func() error { return relink("2-00000000/base.vdm", "../1-00000000/base.vdm") }, true},
		"a file that can be written":      {func() error { return os.Chmod("2-00000000/base.vdm", 0o644) }, true},
		"a set that others can write":     {func() error { return os.Chmod("2-00000000", 0o777) }, true},
		"a list that nobody can read":     {func() error { return os.Chmod("2-00000000/META", 0o700) }, true},
		"another list":                    {func() error { return replace("2-00000000/"+listName, "list of 3") }, true},
		"the list of another set":         {func() error { return replace("2-00000000/"+listName, "list of 1") }, true},
		"no list":                         {func() error { return os.Remove("2-00000000/" + listName) }, true},
		"current leads to nothing":        {func() error { return relink("current", "4-00000000") }, true},
		"current leads out":               {func() error { return relink("current", "../"+"2-00000000") }, true},
		"current is absolute":             {func() error { return relink("current", "/2-00000000") }, true},
		"current leads to .staging":       {func() error { return relink("current", ".staging") }, true},
		"current is a file":               {func() error { return replace("current", "") }, true},
		"previous leads to nothing":       {func() error { return relink("previous", "4-00000000") }, true},
		"a set under another name":        {func() error { return os.Rename("0-00000000", "4-00000000") }, false},
		"a foreign file":                  {func() error { return os.WriteFile("more", nil, 0o644) }, false},
		"a leftover in .staging":          {func() error { return os.Mkdir(".staging/x", 0o700) }, false},
		"a derived list that is changed":  {func() error { return replace("3-00000000/"+derivedName, "list of 4") }, false},
		"a derived list for a signed one": {func() error { return os.Rename("2-00000000/"+listName, "2-00000000/"+derivedName) }, true},
		"a signed list for a derived one": {func() error { return os.Rename("3-00000000/"+derivedName, "3-00000000/"+listName) }, false},
		"both kinds of lists":             {func() error { return os.WriteFile("2-00000000/"+derivedName, []byte("list of 2"), 0o444) }, true},
	} {
		t.Run(what, func(t *testing.T) {
			dir, published := engine(t)
			t.Chdir(dir)
			must(t, c.does())
			if _, err := CheckAll(dir, published); err == nil {
				t.Error("it was not found")
			}
			links, err := ReadLinks(dir)
			if err == nil {
				err = CheckLinks(dir, links, published)
			}
			if (err != nil) != c.linked {
				t.Errorf("by the links, found was: %v", err)
			}
		})
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.json")
	if err := CheckRecord(path); err != nil {
		t.Error(err)
	}
	for content, good := range map[string]bool{"{}": true, `{"a":1}` + "\n": true, "": false, "{": false, "[]": false, "{}{}": false, "\x00\x00": false} {
		must(t, os.WriteFile(path, []byte(content), 0o600))
		if err := CheckRecord(path); (err == nil) != good {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func TestFloor(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.json")
	p := Publication{Version: "1.407.10.0", Issued: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)}
	if err := CheckFloor(path, p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no state: %v", err)
	}
	const lower = `{"definitionVersion":"1.407.9.0","issued":"2026-11-27T00:00:00Z"}`
	for floors, good := range map[string]bool{
		"": false, lower: false,
		`{"definitionVersion":"1.407.10.0","issued":"2026-11-26T11:59:59Z"}`:          false,
		`{"definitionVersion":"1.407.10.0"}`:                                          false,
		`{"definitionVersion":"1.407.10.0","issued":"2026-11-26T12:00:00Z"}`:          true,
		`{"definitionVersion":"1.407.11.0","issued":"2026-11-01T12:00:00Z"}`:          true,
		lower + `,{"definitionVersion":"1.407.10.0","issued":"2026-11-26T12:00:00Z"}`: true,
		`{"definitionVersion":"x","issued":"2026-11-26T12:00:00Z"}`:                   false,
	} {
		must(t, os.WriteFile(path, []byte(`{"floors":[`+floors+`]}`), 0o600))
		if err := CheckFloor(path, p); (err == nil) != good {
			t.Errorf("%s: %v", floors, err)
		}
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	dir, _ := engine(t)
	path, set := filepath.Join(t.TempDir(), "status.json"), filepath.Join(dir, "2-00000000")
	var looks []string
	for name := range files {
		info, err := os.Stat(filepath.Join(set, name))
		must(t, err)
		looks = append(looks, fmt.Sprintf(`%q:{"size":%d,"mtime":%d,"inode":%d}`, name, info.Size(), info.ModTime().UnixNano(), info.Sys().(*syscall.Stat_t).Ino))
	}
	good := fmt.Sprintf(`{"current":{"set":"2-00000000","under":"who","files":{%s}},"settings":{"trustProfile":"list+vendor"}}`, strings.Join(looks, ","))
	for what, c := range map[string]struct {
		was, is string
		good    bool
	}{
		"nothing":          {"", "", true},
		"another set":      {"2-00000000", "1-00000000", false},
		"no set":           {`"current"`, `"before"`, false},
		"another profile":  {"list+vendor", "vendor", false},
		"not judged":       {`"under":"who",`, "", false},
		"another size":     {`"size":`, `"size":1`, false},
		"another time":     {`"mtime":`, `"mtime":1`, false},
		"another inode":    {`"inode":`, `"inode":1`, false},
		"a file less":      {`"base.vdm"`, `"other.vdm"`, false},
		"what is no JSON":  {"{", "", false},
		"what is not much": {good, "{}", false},
	} {
		must(t, os.WriteFile(path, []byte(strings.Replace(good, c.was, c.is, 1)), 0o600))
		if err := CheckStatus(path, set, "list+vendor"); (err == nil) != c.good {
			t.Errorf("%s is different: %v", what, err)
		}
	}
	must(t, os.WriteFile(path, []byte(good), 0o600))
	if err := CheckStatus(path, set, "list"); err == nil {
		t.Error("judged by nobody's wish")
	}
}

// The programs that make the vendor's signatures for the tests are those that check them.
func TestVendorSignatures(t *testing.T) {
	t.Parallel()
	vendor, dir := sigtest.New(t), t.TempDir()
	at := time.Now().Add(-time.Hour)
	content := map[string][]byte{"base.vdm": vendor.Definitions(t, "vendor", "base.vdm", verifier.Version{1}, "base", at), "engine.so": []byte("engine")}
	content["engine.so.sig"] = vendor.Beside(t, "vendor", content["engine.so"])
	p := Publication{Files: map[string]File{}}
	for name, data := range content {
		p.Files[name] = FileOf(data)
	}
	other := sigtest.New(t)
	for what, c := range map[string]struct {
		trust string
		files map[string][]byte // in place of the others
		good  bool
	}{
		"as signed":                  {vendor.Trust, nil, true},
		"somebody else":              {other.Trust, nil, false},
		"definitions by nobody":      {vendor.Trust, map[string][]byte{"base.vdm": sigtest.Definitions("base.vdm", verifier.Version{1}, "base")}, false},
		"a changed engine":           {vendor.Trust, map[string][]byte{"engine.so": []byte("Engine")}, false},
		"an engine by somebody else": {vendor.Trust, map[string][]byte{"engine.so.sig": other.Beside(t, "vendor", content["engine.so"])}, false},
	} {
		for _, files := range []map[string][]byte{content, c.files} {
			for name, data := range files {
				must(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
			}
		}
		if err := CheckVendorSignatures(t.Context(), c.trust, dir, p); (err == nil) != c.good {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// OpenSSL makes what OpenSSL checks.
func TestSignature(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("SKIPPED: openssl is missing; install Debian's package openssl")
	}
	dir := t.TempDir()
	openssl := func(args ...string) {
		t.Helper()
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	for _, name := range []string{"root", "other"} {
		openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN="+name, "-keyout", name+".key", "-out", name+".pem")
	}
	p := publication("2")
	var listed []string
	for name, f := range p.Files {
		listed = append(listed, fmt.Sprintf(`{"name":%q,"size":%d,"sha256":"%x"}`, name, f.Size, f.SHA256))
	}
	must(t, os.WriteFile(filepath.Join(dir, "list"), fmt.Appendf(nil, `{"definitionVersion":"2","files":[%s]}`, strings.Join(listed, ",")), 0o600))
	openssl("cms", "-sign", "-nodetach", "-binary", "-outform", "DER", "-in", "list", "-signer", "root.pem", "-inkey", "root.key", "-out", "list.p7m")
	var err error
	p.List, err = os.ReadFile(filepath.Join(dir, "list.p7m"))
	must(t, err)
	root := filepath.Join(dir, "root.pem")
	if err := CheckSignature(t.Context(), root, p); err != nil {
		t.Error(err)
	}
	if err := CheckSignature(t.Context(), filepath.Join(dir, "other.pem"), p); err == nil {
		t.Error("another root will do")
	}
	for what, change := range map[string]func(*Publication){
		"another version": func(p *Publication) { p.Version = "3" },
		"another file":    func(p *Publication) { p.Files["base.vdm"] = FileOf([]byte("x")) },
		"one file less":   func(p *Publication) { delete(p.Files, "base.vdm") },
		"a byte":          func(p *Publication) { p.List[len(p.List)-1] ^= 1 },
	} {
		changed := publication("2")
		changed.List = slices.Clone(p.List)
		change(&changed)
		if err := CheckSignature(t.Context(), root, changed); err == nil {
			t.Errorf("%s was not found", what)
		}
	}
}
