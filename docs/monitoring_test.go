package docs_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent/reason"
	"mdatp-offline-agent/health"
	"mdatp-offline-agent/health/metrics"
)

var (
	ours      = regexp.MustCompile(`\bmdatp_agent_[a-z_]+`)
	alertName = regexp.MustCompile(`(?m)^ *- alert: ([A-Za-z]+)$`)
)

// emitted gives the names of all metrics that the program really writes, and
// the labels of each as a selector without values would have them.
func emitted(t *testing.T) map[string]string {
	t.Helper()
	at := time.Unix(1795457730, 0)
	path := filepath.Join(t.TempDir(), "mdatp-agent.prom")
	err := metrics.Write(path, health.Facts{
		Now: at, Due: time.Hour, SourceURI: "u", NextCheck: at, LastAttempt: at, LastSuccess: at, TrustExpires: at, LastDuration: 1,
		Endings:   []health.Ending{{Object: "o", At: at, From: at}},
		Installed: &health.Installed{DefinitionVersion: "d", EngineVersion: "e", Released: at, Issued: at, Expires: at, Updated: at},
	}, "v")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	sample := regexp.MustCompile(`(?m)^(mdatp_agent_[a-z_]+)(\{.*\})? `)
	for _, m := range sample.FindAllStringSubmatch(read(t, path), -1) {
		found[m[1]] = regexp.MustCompile(`="[^"]*"`).ReplaceAllString(m[2], "")
	}
	return found
}

// names gives the sorted names that a text has, each once.
func names(pattern *regexp.Regexp, text string) []string {
	found := map[string]bool{}
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		found[m[len(m)-1]] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// TestMetricsTable wants a row for each metric that is written, with its labels
// and its type by the conventions, and no other.
func TestMetricsTable(t *testing.T) {
	t.Parallel()
	row := regexp.MustCompile("(?m)^\\| `(mdatp_agent_[a-z_]+)(\\{[a-z_,]+\\})?` \\| (gauge|counter) \\| ")
	written := emitted(t)
	for _, m := range row.FindAllStringSubmatch(read(t, "monitoring.md"), -1) {
		labels, ok := written[m[1]]
		if !ok || labels != m[2] {
			t.Errorf("monitoring.md has %s%s, and the program writes %q, %t", m[1], m[2], labels, ok)
		}
		if isCounter := strings.HasSuffix(m[1], "_total"); isCounter != (m[3] == "counter") {
			t.Errorf("monitoring.md says that %s is a %s", m[1], m[3])
		}
		delete(written, m[1])
	}
	for name := range written {
		t.Errorf("monitoring.md has no row for %s", name)
	}
}

// TestMetricsUsed wants that alerts and dashboard ask for nothing that nobody
// writes, and that one of them shows each metric.
func TestMetricsUsed(t *testing.T) {
	t.Parallel()
	written := slices.Sorted(maps.Keys(emitted(t)))
	used := names(ours, read(t, "monitoring/alerts.yml")+strings.Join(expressions(t), "\n"))
	if !slices.Equal(written, used) {
		t.Errorf("written:\n%s\nused:\n%s", strings.Join(written, "\n"), strings.Join(used, "\n"))
	}
	for _, name := range names(ours, read(t, "monitoring.md")) {
		if !slices.Contains(written, name) && name != "mdatp_agent_" {
			t.Errorf("monitoring.md speaks of %s, which nobody writes", name)
		}
	}
}

// TestRefusedCodes holds the two alerts that tell refusals from other failures
// to the codes that exit with 65.
func TestRefusedCodes(t *testing.T) {
	t.Parallel()
	var want []string
	for _, code := range exitTable(t) {
		if reason.ExitCode(code) == 65 {
			want = append(want, code)
		}
	}
	lists := regexp.MustCompile(`code(=~|!~)"([a-z_|]+)"`).FindAllStringSubmatch(read(t, "monitoring/alerts.yml"), -1)
	if len(lists) != 2 {
		t.Fatalf("%d lists of codes, want those of a refusal and of a failure", len(lists))
	}
	for _, m := range lists {
		codes := strings.TrimPrefix(m[2], "ok|")
		if got := strings.Split(codes, "|"); !slices.Equal(got, want) || (m[1] == "!~") != (codes != m[2]) {
			t.Errorf("alerts.yml has code%s%v, want %v", m[1], got, want)
		}
	}
}

// TestAlertsTable wants each alert in the page's table with its severity, tried
// in both directions by the tests of the rules.
func TestAlertsTable(t *testing.T) {
	t.Parallel()
	rules, page, tests := read(t, "monitoring/alerts.yml"), read(t, "monitoring.md"), read(t, "monitoring/alerts_test.yml")
	alerts := names(alertName, rules)
	const least = 8 // far fewer would mean that they are not found any more
	if len(alerts) < least {
		t.Fatalf("only %d alerts were found", len(alerts))
	}
	for _, alert := range alerts {
		_, rule, _ := strings.Cut(rules, "alert: "+alert+"\n")
		severity := regexp.MustCompile(`severity: ([a-z]+)`).FindStringSubmatch(rule)[1]
		if !strings.Contains(page, "| `"+alert+"` | "+severity+" | ") {
			t.Errorf("monitoring.md has no row for %s, which is %s", alert, severity)
		}
		if !strings.Contains(tests, "alertname: "+alert+"\n        exp_alerts:\n") {
			t.Errorf("no test has %s fire", alert)
		}
		if !strings.Contains(tests, "alertname: "+alert+", exp_alerts: [] }") {
			t.Errorf("no test has %s not fire", alert)
		}
	}
	tabled := names(regexp.MustCompile("(?m)^\\| `(MdatpAgent[A-Za-z]+)` \\|"), page)
	if !slices.Equal(tabled, alerts) {
		t.Errorf("monitoring.md has rows for %v, want %v", tabled, alerts)
	}
}

// TestRules has Prometheus's own tool check the rules, run their tests, and
// parse what the dashboard asks for.
func TestRules(t *testing.T) {
	t.Parallel()
	asRules := struct {
		Groups []any `json:"groups"`
	}{}
	var rules []any
	for _, expr := range expressions(t) {
		rules = append(rules, map[string]string{"record": "of:the:dashboard", "expr": expr})
	}
	asRules.Groups = []any{map[string]any{"name": "dashboard", "rules": rules}}
	dashboard := filepath.Join(t.TempDir(), "dashboard.yml")
	text, err := json.Marshal(asRules) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dashboard, text, 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", "monitoring/alerts.yml")
	promtool(t, "test", "rules", "monitoring/alerts_test.yml")
	promtool(t, "check", "rules", "--lint=none", dashboard)
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("SKIPPED: promtool is missing, install it with: apt-get install prometheus")
	}
	if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// panel is what the tests look at of a panel of the dashboard.
type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct {
		Expr, RefID string
	}
}

// dashboard reads the dashboard.
func dashboard(t *testing.T) (panels []panel, variables []string) {
	t.Helper()
	var d struct {
		Panels     []panel
		Templating struct{ List []struct{ Name, Type string } }
	}
	if err := json.Unmarshal([]byte(read(t, "monitoring/grafana.json")), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) < 10 {
		t.Fatalf("only %d panels were found", len(d.Panels))
	}
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name+" "+v.Type)
	}
	return d.Panels, variables
}

// expressions gives what the dashboard asks Prometheus for.
func expressions(t *testing.T) (all []string) {
	t.Helper()
	panels, _ := dashboard(t)
	for _, p := range panels {
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	return all
}

// TestDashboard can be imported elsewhere: every data source is the variable's,
// every other variable exists, and no panel lies on another.
func TestDashboard(t *testing.T) {
	t.Parallel()
	panels, variables := dashboard(t)
	if !slices.Equal(variables, []string{"datasource datasource", "job query", "instance query"}) {
		t.Errorf("the variables are %v", variables)
	}
	var all any
	if err := json.Unmarshal([]byte(read(t, "monitoring/grafana.json")), &all); err != nil {
		t.Fatal(err)
	}
	found := 0
	eachSource(all, func(source any) {
		found++
		if want := (map[string]any{"type": "prometheus", "uid": "${datasource}"}); !reflect.DeepEqual(source, want) {
			t.Errorf("this data source is somebody's own: %v", source)
		}
	})
	if found < 2*len(panels) { // each panel and each of its targets has one
		t.Errorf("%d data sources for %d panels", found, len(panels))
	}
	for _, expr := range expressions(t) {
		for _, v := range regexp.MustCompile(`\$\{?([a-zA-Z_]+)`).FindAllStringSubmatch(expr, -1) {
			if v[1] != "job" && v[1] != "instance" {
				t.Errorf("%s uses $%s, which is not there", expr, v[1])
			}
		}
	}
	for i, p := range panels {
		for _, q := range panels[:i] {
			a, b := p.GridPos, q.GridPos
			if p.ID == q.ID || a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%s has the number of %s, or lies on it", p.Title, q.Title)
			}
		}
	}
}

// eachSource visits whatever is called a data source, at any depth.
func eachSource(v any, visit func(any)) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			eachSource(item, visit)
		}
	case map[string]any:
		for key, item := range v {
			if key == "datasource" {
				visit(item)
			}
			eachSource(item, visit)
		}
	}
}
