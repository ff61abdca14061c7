package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
)

// corpus is where the committed vectors lie.
const corpus = "../../testdata/vectors"

// header is a vector as its text file describes it, read as somebody else's
// program would read it.
type header map[string]string

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, parts ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{corpus}, parts...)...))
	check(t, err)
	return data
}

func headers(t testing.TB) []header {
	t.Helper()
	out := headersIn(t, corpus)
	if len(out) < 300 {
		t.Fatalf("only %d vectors lie in %s", len(out), corpus)
	}
	return out
}

func headersIn(t testing.TB, dir string) (out []header) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	check(t, err)
	for _, path := range paths {
		h := header{}
		data, err := os.ReadFile(path)
		check(t, err)
		for line := range strings.Lines(string(data)) {
			key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			if _, twice := h[key]; !ok || twice {
				t.Fatalf("%s: not a header: %q", path, line)
			}
			h[key] = value
		}
		if h["name"]+".txt" != filepath.Base(path) {
			t.Fatalf("%s is called %s", path, h["name"])
		}
		out = append(out, h)
	}
	return out
}

func (h header) time(t testing.TB) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, h["time"])
	check(t, err)
	return at
}

func (h header) trust() []string { return strings.Fields(h["trust"]) }

// judged checks an answer against the header.
func (h header) judged(t testing.TB, code, sentence string) {
	t.Helper()
	if code != h["verdict"] {
		t.Errorf("%s: %s, want %s (%s)", code, sentence, h["verdict"], h["sentence"])
		return
	}
	if code == good {
		return
	}
	if h["sentence"] == "" || !strings.Contains(sentence, h["sentence"]) {
		t.Errorf("%s: %s, want a sentence with %q", code, sentence, h["sentence"])
	}
	if strings.ContainsAny(sentence, "\"\n") || strings.Contains(sentence, " : ") {
		t.Errorf("not fit to be shown: %q", sentence)
	}
}

// TestReproducible makes the corpus anew, twice, and wants what is committed.
func TestReproducible(t *testing.T) {
	t.Parallel()
	committed := tree(t, corpus)
	for range 2 {
		dir := t.TempDir()
		check(t, write(dir))
		made := tree(t, dir)
		for name := range made {
			if !bytes.Equal(made[name], committed[name]) {
				t.Errorf("%s is not what is committed; go run ./verifier/vectors testdata/vectors makes it", name)
			}
			delete(committed, name)
		}
		for name := range committed {
			t.Errorf("%s is committed and nobody makes it", name)
		}
		committed = made
	}
}

func tree(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	check(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		out[name], err = os.ReadFile(path)
		return err
	}))
	return out
}

// TestSmall keeps the corpus a thing that anybody can take along.
func TestSmall(t *testing.T) {
	t.Parallel()
	var all int
	for name, data := range tree(t, corpus) {
		if all += len(data); len(data) > 20<<10 {
			t.Errorf("%s has %d bytes", name, len(data))
		}
	}
	if all > 2<<20 {
		t.Errorf("the corpus has %d bytes", all)
	}
}

// TestExplained wants a reason wherever another program answers otherwise.
func TestExplained(t *testing.T) {
	t.Parallel()
	for _, h := range headers(t) {
		programs := []string{"openssl"}
		switch kind, _, _ := strings.Cut(h["name"], "-"); kind {
		case "archive", "entry", "sidecar": // the other kinds are good archives
			programs = []string{"unzip", "python"}
		}
		for _, program := range programs {
			if h[program] != "" && (h[program] == good) != (h["verdict"] == good) && h["differs"] == "" {
				t.Errorf("%s: nobody says why %s answers otherwise", h["name"], program)
			}
		}
	}
}

// TestVerify has every vector judged as agent package verify does.
func TestVerify(t *testing.T) {
	t.Parallel()
	want := &verifier.Identity{Product: "mdatp", Platform: "linux", Arch: "x86_64", Ring: "production"}
	for _, h := range headers(t) {
		t.Run(h["name"], func(t *testing.T) {
			t.Parallel()
			var files []verifier.TrustFile
			for _, name := range h.trust() {
				files = append(files, verifier.TrustFile{Name: name, Data: read(t, "trust", name)})
			}
			trust, err := verifier.NewTrust(files, nil)
			check(t, err)
			_, err = mirror.Verify(t.Context(), filepath.Join(corpus, h["archive"]), trust, h.time(t), want)
			code, sentence := reason(err)
			h.judged(t, code, sentence)
		})
	}
}

func reason(err error) (code, sentence string) {
	var known interface {
		Reason() (string, string, string)
	}
	switch {
	case err == nil:
		return good, ""
	case errors.As(err, &known):
		code, sentence, _ = known.Reason()
		return code, sentence
	}
	return "unknown", err.Error()
}

// TestCycle has every vector offered to a fresh machine by a real server, and
// wants what is good to be installed, and of the rest not one byte.
func TestCycle(t *testing.T) {
	t.Parallel()
	for _, h := range headers(t) {
		t.Run(h["name"], func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, h)
			r := m.Update(context.Background(), agent.Options{})
			code, sentence := good, ""
			if r.FailReason != nil {
				code, sentence = r.FailReason.Code, r.FailReason.Message
			}
			h.judged(t, code, sentence)
			_, err := os.Stat(filepath.Join(m.Paths.Engine, "current", verifier.ListEntry))
			if installed := err == nil; installed != (h["verdict"] == good) || (r.Outcome == agent.Updated) != installed {
				t.Errorf("outcome %s, installed: %v", r.Outcome, installed)
			}
			left, err := os.ReadDir(filepath.Join(m.Paths.Engine, ".staging"))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
			for _, entry := range left {
				if !strings.HasPrefix(entry.Name(), "part-") { // what came, to go on behind it
					t.Errorf("%s is left in .staging", entry.Name())
				}
			}
		})
	}
}

// newMachine gives a fresh endpoint at the vector's time, and the mirror that
// serves the vector to it.
func newMachine(t *testing.T, h header) *agent.Agent {
	t.Helper()
	dir := t.TempDir()
	log := logrus.New()
	log.SetOutput(io.Discard)
	at := h.time(t)
	m := &agent.Agent{Paths: agent.PathsBelow(filepath.Join(dir, "root")), Arch: "x86_64", Log: log, Now: func() time.Time { return at }}
	put := func(path string, data []byte) {
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, os.WriteFile(path, data, 0o644))
	}
	for _, name := range h.trust() {
		put(filepath.Join(m.Paths.Trust, name), read(t, "trust", name))
	}
	arch := filepath.Join(dir, "mirror", "production", "arch_x86_64")
	put(filepath.Join(arch, "updates.zip"), read(t, h["archive"]))
	if h["sidecar"] != "" {
		put(filepath.Join(arch, "updates.zip.p7m"), read(t, h["sidecar"]))
	}
	server := httptest.NewServer(mirror.Handler(filepath.Join(dir, "mirror"), nil))
	t.Cleanup(server.Close)
	put(m.Paths.Managed, fmt.Appendf(nil, `{"antivirusEngine":{"offlineDefinitionUpdate":"enabled","offlineDefinitionUpdateUrl":%q}}`, server.URL+"/production"))
	return m
}

// buildProgram gives the program as users have it.
func buildProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "agent")
	if out, err := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-o", program, "../../cmd/agent").CombinedOutput(); err != nil {
		if _, missing := exec.LookPath("go"); missing != nil {
			t.Skip("SKIPPED: the go command is missing, so the program can not be built here; run this test where it is")
		}
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// TestProgram has some of each kind judged by the program itself.
func TestProgram(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	trust := t.TempDir()
	check(t, os.WriteFile(filepath.Join(trust, "root.pem"), read(t, "trust", "root.pem"), 0o644))
	seen := map[string]int{}
	for _, h := range headers(t) {
		kind, _, _ := strings.Cut(h["name"], "-")
		if kind += h["verdict"]; h["time"] != judgedAt.Format(time.RFC3339) || h["trust"] != "root.pem" || seen[kind] == 2 {
			continue
		}
		seen[kind]++
		out, err := exec.Command(program, "package", "verify", "--output", "json", "--trust", trust, "--product", "mdatp", "--platform", "linux",
			"--arch", "x86_64", "--ring", "production", filepath.Join(corpus, h["archive"])).Output()
		var answer struct {
			FailReason *agent.Failure
		}
		check(t, json.Unmarshal(out, &answer))
		code, sentence := good, ""
		if answer.FailReason != nil {
			code, sentence = answer.FailReason.Code, answer.FailReason.Message
		}
		h.judged(t, code, sentence)
		exitsAs(t, h, err)
	}
	if len(seen) < 15 {
		t.Errorf("only %d kinds", len(seen))
	}
}

// exitsAs wants the exit code of the verdict from a run that ended with err.
func exitsAs(t *testing.T, h header, err error) {
	t.Helper()
	exit, want := 0, 0
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		exit = failed.ExitCode()
	}
	if h["verdict"] != good {
		want = agent.ExitCode(h["verdict"])
	}
	if exit != want {
		t.Errorf("%s: exit %d, want %d", h["name"], exit, want)
	}
}

// TestProgramAndVendors has the files of vendors judged by the program itself, but those
// whose verdict hangs on the day, since its clock is the machine's, and those by which
// nobody could tell that they are not meant to be packages.
func TestProgramAndVendors(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	judged := 0
	for _, h := range headersIn(t, filepath.Join(corpus, "vendor")) {
		switch name := h["name"]; {
		case h["time"] == "", strings.HasPrefix(name, "stamp-dated-in-"), name == "detached-none", name == "headers-an-empty-file":
			continue
		}
		trust := t.TempDir()
		for _, name := range h.trust() {
			check(t, os.WriteFile(filepath.Join(trust, name), read(t, "trust", name), 0o644))
		}
		out, err := exec.Command(program, "package", "verify", "--output", "json", "--vendor-trust", trust, filepath.Join(corpus, "vendor", h["file"])).Output()
		var answer struct {
			File struct {
				Verdict string
				Problem *agent.Failure
			}
		}
		check(t, json.Unmarshal(out, &answer))
		sentence := ""
		if answer.File.Problem != nil {
			sentence = answer.File.Problem.Message
		}
		h.judged(t, answer.File.Verdict, sentence)
		exitsAs(t, h, err)
		judged++
	}
	if judged < 150 {
		t.Errorf("only %d were judged", judged)
	}
}

func need(t *testing.T, program, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("SKIPPED: %s is missing, install it with: apt-get install %s", program, pkg)
	}
}

// TestOpenSSL compares with what the headers say of openssl cms -verify.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	need(t, "openssl", "openssl")
	for _, h := range headers(t) {
		if h["openssl"] == "" {
			continue
		}
		t.Run(h["name"], func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			object, trust := filepath.Join(dir, "package.p7m"), filepath.Join(dir, "trust.pem")
			check(t, os.WriteFile(object, listInside(t, h["archive"]), 0o644))
			var pems []byte
			args := []string{"cms", "-verify", "-inform", "DER", "-binary", "-purpose", "any", "-attime", strconv.FormatInt(h.time(t).Unix(), 10),
				"-CAfile", trust, "-in", object, "-out", filepath.Join(dir, "list.json")}
			for _, name := range h.trust() {
				pems = append(pems, read(t, "trust", name)...)
				if strings.HasSuffix(name, ".crl") && !slices.Contains(args, "-crl_check_all") {
					args = append(args, "-crl_check_all")
				}
			}
			check(t, os.WriteFile(trust, pems, 0o644))
			out, err := exec.Command("openssl", args...).CombinedOutput()
			answer := good
			if err != nil {
				answer = refused
			}
			if answer != h["openssl"] {
				t.Errorf("openssl: %s, want %s: %s", answer, h["openssl"], out)
			}
		})
	}
}

// listInside is the signed list in an archive.
func listInside(t *testing.T, name string) []byte {
	t.Helper()
	z, err := zip.OpenReader(filepath.Join(corpus, name))
	check(t, err)
	defer z.Close()
	i := slices.IndexFunc(z.File, func(f *zip.File) bool { return f.Name == listName })
	if i < 0 {
		t.Fatal("it has no list")
	}
	f, err := z.File[i].Open()
	check(t, err)
	defer f.Close()
	data, err := io.ReadAll(f)
	check(t, err)
	return data
}

// TestUnzip compares with what the headers say of unzip -t.
func TestUnzip(t *testing.T) {
	t.Parallel()
	need(t, "unzip", "unzip")
	for _, h := range headers(t) {
		out, err := exec.Command("unzip", "-t", filepath.Join(corpus, h["archive"])).CombinedOutput()
		answer := good
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			if answer = refused; failed.ExitCode() == 1 {
				answer = warned
			}
		} else {
			check(t, err)
		}
		if answer != h["unzip"] {
			t.Errorf("%s: %s, want %s: %s", h["name"], answer, h["unzip"], out)
		}
	}
}

// asPython is what a Python program does that tests an archive.
const asPython = `
import sys, zipfile
for path in sys.argv[1:]:
    try:
        with zipfile.ZipFile(path) as z:
            bad = z.testzip()
        print("good" if bad is None else "refused")
    except Exception:
        print("refused")
`

// TestPython compares with what the headers say of Python's zipfile.
func TestPython(t *testing.T) {
	t.Parallel()
	need(t, "python3", "python3")
	all := headers(t)
	args := []string{"-c", asPython}
	for _, h := range all {
		args = append(args, filepath.Join(corpus, h["archive"]))
	}
	out, err := exec.Command("python3", args...).Output()
	check(t, err)
	answers := strings.Fields(string(out))
	if len(answers) != len(all) {
		t.Fatalf("%d answers about %d archives", len(answers), len(all))
	}
	for i, h := range all {
		if answers[i] != h["python"] {
			t.Errorf("%s: %s, want %s", h["name"], answers[i], h["python"])
		}
	}
}

// TestMillion has an archive of a million entries refused before its directory
// is read. It has some 90 MB, so it is made here and not kept.
func TestMillion(t *testing.T) {
	t.Parallel()
	const n = 1_000_000
	one := entry{name: "f0000000"}
	header := one.dirHeader(0)
	file, err := os.Create(filepath.Join(t.TempDir(), "updates.zip"))
	check(t, err)
	defer file.Close()
	local := bytes.Repeat(one.localHeader(), 1000)
	for range n / 1000 {
		_, err := file.Write(local)
		check(t, err)
	}
	for range n / 1000 {
		_, err := file.Write(bytes.Repeat(header, 1000))
		check(t, err)
	}
	record := make([]byte, 22)
	copy(record, "PK\x05\x06")
	put16(record[8:], 0xffff, 0xffff) // as many as the field can say
	put32(record[12:], uint32(n*len(header)), uint32(n*len(one.localHeader())))
	_, err = file.Write(record)
	check(t, err)
	trust, err := verifier.NewTrust([]verifier.TrustFile{{Name: "root.pem", Data: read(t, "trust", "root.pem")}}, nil)
	check(t, err)
	_, err = mirror.Verify(t.Context(), file.Name(), trust, judgedAt, nil)
	if code, sentence := reason(err); code != malformed || !strings.Contains(sentence, "1 to 64 entries") {
		t.Errorf("%s: %s", code, sentence)
	}
}

// TestKeysAreMarked holds this program's certificates to saying what they are.
func TestKeysAreMarked(t *testing.T) {
	t.Parallel()
	for name, data := range trustFiles() {
		if block, _ := pem.Decode(data); block == nil {
			t.Errorf("%s is not PEM", name)
		}
	}
	for _, p := range []party{root, intermediate, leaf, leafRSA, stranger} {
		if !strings.HasPrefix(p.cert.Subject.CommonName, mark) {
			t.Errorf("%s is not marked", p.cert.Subject)
		}
	}
}
