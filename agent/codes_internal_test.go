package agent

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mdatp-offline-agent/agent/reason"
	"mdatp-offline-agent/agent/source"
)

// published is the closed list of codes, in the order in which it is published.
// A code is never renamed, and none changes its exit code.
var published = []struct {
	exit  int
	codes string
}{
	{0, "skipped"},
	{64, "usage"},
	{65, "not_a_package package_too_large package_malformed package_expired signature_missing signature_invalid signer_untrusted signer_expired signer_revoked list_malformed wrong_product wrong_platform rollback_refused issued_in_future content_mismatch known_bad preload_failed postload_failed set_damaged"},
	{69, "source_unreachable source_not_found source_forbidden source_rate_limited source_stalled source_changed source_stale redirect_refused tls_untrusted nothing_installed"},
	{70, "internal"},
	{73, "disk_full install_failed"},
	{75, "busy cooling_down interrupted"},
	{77, "permission_denied"},
	{78, "config_invalid trust_empty trust_invalid"},
}

func TestExitCodesAreThePublishedOnes(t *testing.T) {
	t.Parallel()
	table := reason.ExitCodes()
	if len(table) != len(published) {
		t.Errorf("%d exit codes, want %d", len(table), len(published))
	}
	seen := map[string]bool{}
	for _, p := range published {
		codes := strings.Fields(p.codes)
		if !slices.Equal(table[p.exit], codes) {
			t.Errorf("exit %d has %v, want %v", p.exit, table[p.exit], codes)
		}
		for _, code := range codes {
			if seen[code] {
				t.Errorf("%s stands twice", code)
			}
			seen[code] = true
			if ExitCode(code) != p.exit {
				t.Errorf("%s exits %d, want %d", code, ExitCode(code), p.exit)
			}
		}
	}
	if ExitCode("never_heard_of") != 70 {
		t.Error("an unknown code is no fault of the program")
	}
}

// Every code that some package can give is on the list. The packages' sources
// are searched for what looks like one: string constants, and strings that are
// given as a Code, whose form is that of a code.
func TestEveryCodeIsPublished(t *testing.T) {
	t.Parallel()
	var all []string
	for _, p := range published {
		all = append(all, strings.Fields(p.codes)...)
	}
	found := map[string]bool{}
	for _, dir := range []string{".", "reason", "source", "engine", "state", "../verifier", "../verifier/trustdir", "../managedconfig"} {
		for code, where := range codesIn(t, dir) {
			found[code] = true
			if !slices.Contains(all, code) {
				t.Errorf("%s: the code %s is not on the list", where, code)
			}
		}
	}
	if len(found) < 35 {
		t.Errorf("only %d codes were found, so the search is broken: %v", len(found), found)
	}
}

var codeForm = regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)

func codesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no sources in %s: %v", dir, err)
	}
	codes := map[string]string{}
	fset := token.NewFileSet()
	note := func(e ast.Expr) {
		lit, ok := e.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return
		}
		if s, err := strconv.Unquote(lit.Value); err == nil && codeForm.MatchString(s) {
			codes[s] = fset.Position(lit.Pos()).String()
		}
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				noteCodes(n, note)
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Code" {
					note(n.Value)
				}
			case *ast.AssignStmt:
				for i, left := range n.Lhs {
					if sel, ok := left.(*ast.SelectorExpr); ok && sel.Sel.Name == "Code" && i < len(n.Rhs) {
						note(n.Rhs[i])
					}
				}
			}
			return true
		})
	}
	return codes
}

// noteCodes notes the values of constants that are codes by their type or name.
func noteCodes(spec *ast.ValueSpec, note func(ast.Expr)) {
	typed, _ := spec.Type.(*ast.Ident)
	for i, name := range spec.Names {
		isCode := typed != nil && typed.Name == "Code" || strings.HasPrefix(strings.ToLower(name.Name), "code")
		if isCode && i < len(spec.Values) {
			note(spec.Values[i])
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		code string
	}{
		{&Failure{Code: codeStale}, "source_stale"},
		{fmt.Errorf("around it: %w", &Failure{Code: codeStale}), "source_stale"},
		{errors.Join(errors.New("x"), &Failure{Code: codeStale}), "source_stale"},
		{context.Canceled, "interrupted"},
		{fmt.Errorf("around it: %w", context.DeadlineExceeded), "interrupted"},
		{&source.Error{Code: source.CodeUnreachable, Sentence: "x", Err: context.DeadlineExceeded}, "source_unreachable"},
		{os.ErrNotExist, "internal"},
	} {
		if f := Explain(c.err); f.Code != c.code || f.Error() != c.code+": "+f.Message {
			t.Errorf("%v is explained as %v, want %s", c.err, f, c.code)
		}
	}
	if Explain(nil) != nil {
		t.Error("nothing is explained as something")
	}
}

// Which failures end an update at once, and which leave the record alone.
func TestKindsOfFailure(t *testing.T) {
	t.Parallel()
	localOnes := "internal disk_full install_failed permission_denied config_invalid trust_empty trust_invalid known_bad preload_failed postload_failed set_damaged busy interrupted"
	silentOnes := "busy cooling_down skipped usage interrupted"
	for _, p := range published {
		for _, code := range strings.Fields(p.codes) {
			if f := (&Failure{Code: code}); local(f) != slices.Contains(strings.Fields(localOnes), code) || unrecorded(f) != slices.Contains(strings.Fields(silentOnes), code) {
				t.Errorf("%s: local %t, unrecorded %t", code, local(f), unrecorded(f))
			}
		}
	}
}
