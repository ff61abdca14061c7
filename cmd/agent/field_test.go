package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// What programs in the field do with the output of the real product is done here
// with that of this one, in whatever state a script has brought it. Each is written
// anew after what the program is known to expect; the product's own consumers are in
// the table of docs/compatibility.md.

// found is what the consumers must come to.
type found struct {
	status  string // in snake case, as the table has it
	version string // unavailable for none
	url     string // configured, unavailable for none
	source  string // where the definitions came from, unavailable for none
	reason  string // the code of the fail reason, empty for none
	managed bool   // the settings are
}

func (s found) installed() bool { return s.version != "unavailable" }
func (s found) healthy() bool   { return s.status == "up_to_date" }

// parsers NAME=VALUE... runs all consumers, which must come to that state.
func cmdParsers(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: parsers NAME=VALUE...")
	}
	want := found{version: "unavailable", url: "unavailable", source: "unavailable"}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "status":
			want.status = value
		case "version":
			want.version = value
		case "url":
			want.url = value
		case "source":
			want.source = value
		case "reason":
			want.reason = value
		case "managed":
			want.managed = value == "true"
		default:
			ts.Fatalf("there is no %s", name)
		}
	}
	f := consumer{ts, want, map[string]string{}}
	f.inventory()
	f.management()
	f.forensics()
	f.analyzer()
	f.installer()
	f.staleness()
	f.plugin()
	f.table()
	f.oneLiners()
	f.audit()
	f.compliance()
	f.runbook()
}

// consumer is one program of the field.
type consumer struct {
	ts   *testscript.TestScript
	want found
	said map[string]string // by the arguments
}

// mdatp gives what the program says, on both of its outputs, less the last line's
// end. It must exit with 0. For the same arguments it is asked once.
func (f consumer) mdatp(args string) string {
	if out, ok := f.said[args]; ok {
		return out
	}
	f.ts.Check(f.ts.Exec("sh", "-c", "mdatp "+args+" 2>&1"))
	f.said[args] = strings.TrimSuffix(f.ts.ReadFile("stdout"), "\n")
	return f.said[args]
}

// pipe gives what a shell's line makes of what the program says, less the last line's
// end.
func (f consumer) pipe(args, line string) string {
	cmd := exec.Command("sh", "-c", line)
	cmd.Stdin = strings.NewReader(f.mdatp(args) + "\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.ts.Fatalf("mdatp %s | %s: %v\n%s", args, line, err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// is compares what a consumer has found.
func (f consumer) is(what string, got, want any) {
	if fmt.Sprint(got) != fmt.Sprint(want) {
		f.ts.Fatalf("%s is %v, want %v", what, got, want)
	}
}

// object decodes the whole output as one JSON object.
func (f consumer) object(args string) (object map[string]any) {
	out := f.mdatp(args)
	if err := json.Unmarshal([]byte(out), &object); err != nil {
		f.ts.Fatalf("mdatp %s is no JSON: %v\n%s", args, err, out)
	}
	return object
}

// typeOf is the $type of a member of an object.
func typeOf(member any) string {
	inner, _ := member.(map[string]any)
	name, _ := inner["$type"].(string)
	return name
}

// camelCase is how JSON has a status.
func camelCase(snake string) string {
	return regexp.MustCompile(`_[a-z]`).ReplaceAllStringFunc(snake, func(s string) string { return strings.ToUpper(s[1:]) })
}

// inventory: an agent that lists what is installed. Unless healthy is truthy it
// reports nothing but the product's name. Times are turned into days, and only if
// they are all digits.
func (f consumer) inventory() {
	infos := f.object("health --output json")
	healthy, _ := infos["healthy"].(bool)
	f.is("healthy", healthy, f.want.healthy())
	if !healthy {
		return
	}
	f.is("base version", infos["definitionsVersion"], f.want.version)
	f.is("up to date", typeOf(infos["definitionsStatus"]) == "upToDate", true)
	realTime, _ := infos["realTimeProtectionEnabled"].(map[string]any)
	f.is("enabled", realTime["value"], false)
	updated, _ := infos["definitionsUpdated"].(string)
	ms, err := strconv.ParseInt(updated, 10, 64)
	if err != nil || time.UnixMilli(ms).Year() < 2024 {
		f.ts.Fatalf("the day of the base is made of %q", updated)
	}
	if version, _ := infos["appVersion"].(string); version == "" {
		f.ts.Fatalf("there is no version of the product")
	}
}

// management: a plug-in of a server management suite, which merges stderr into the
// output and needs exit code 0, and calls anything but upToDate out of date.
func (f consumer) management() {
	infos := f.object("health --output json")
	f.is("signatures", typeOf(infos["definitionsStatus"]), camelCase(f.want.status))
	f.is("up to date", typeOf(infos["definitionsStatus"]) == "upToDate", f.want.healthy())
	realTime, _ := infos["realTimeProtectionEnabled"].(map[string]any)
	if _, isBool := realTime["value"].(bool); !isBool {
		f.ts.Fatalf("real-time protection is %v", realTime["value"])
	}
}

// forensics: a collector that turns milliseconds, as text or number, into a time, and
// shows columns of which some may be null.
func (f consumer) forensics() {
	infos := f.object("health --output json")
	if epoch := infos["definitionsUpdated"]; f.want.installed() {
		ms, err := strconv.ParseInt(fmt.Sprint(epoch), 10, 64)
		if err != nil || time.Since(time.UnixMilli(ms)).Abs() > 24*time.Hour {
			f.ts.Fatalf("updated at %v", epoch)
		}
	} else if epoch != nil {
		f.ts.Fatalf("updated at %v, with nothing installed", epoch)
	}
	behavior, _ := infos["behaviorMonitoring"].(map[string]any)
	f.is("behavior monitoring", behavior["displayValue"], true)
	for _, column := range []string{"edrMachineId", "engineVersion", "healthIssues", "licensed"} {
		if _, there := infos[column]; !there {
			f.ts.Fatalf("there is no column %s", column)
		}
	}
}

// lastLine is what a support tool takes of any answer, less all quotes.
func lastLine(out string) string {
	lines := strings.Split(out, "\n")
	return strings.ReplaceAll(lines[len(lines)-1], `"`, "")
}

// analyzer: the vendor's support tool.
func (f consumer) analyzer() {
	healthy := lastLine(f.mdatp("health --field healthy"))
	f.is("healthy", healthy == "1" || strings.ToLower(healthy) == "true", f.want.healthy())
	f.is("version", lastLine(f.mdatp("health --field definitions_version")), f.want.version)
	f.is("status", lastLine(f.mdatp("health --field definitions_status")), f.want.status)
	f.object("health --details definitions --output json")
	f.object("health --details features --output json")
	if rows := strings.Count(f.mdatp("health --details --definitions"), "\n") + 1; rows != 12 {
		f.ts.Fatalf("%d rows of definitions", rows)
	}
}

// installer: the vendor's script drops a first line that begins with ATTENTION, and
// one pair of quotes, and compares the rest whole.
func (f consumer) installer() {
	field := func(name string) string {
		lines := strings.Split(f.mdatp("health --field "+name), "\n")
		if strings.HasPrefix(lines[0], "ATTENTION") {
			lines = lines[1:]
		}
		return regexp.MustCompile(`^"(.*)"$`).ReplaceAllString(strings.Join(lines, "\n"), "$1")
	}
	f.is("healthy", field("healthy"), strconv.FormatBool(f.want.healthy()))
	f.is("licensed", field("licensed"), "true")
	f.is("organisation", field("org_id"), "unavailable")
	f.is("passive mode", field("passive_mode_enabled"), "false")
	f.is("automatic updates", field("automatic_definition_update_enabled"), "true") // also where they are managed
	f.is("url", field("offline_definition_url_configured"), f.want.url)
}

// staleness: attributes that a management server asks for. One parses the date by a
// layout with a clock of 24 hours before AM and PM, others count minutes, for which
// anything but digits is no number.
func (f consumer) staleness() {
	minutes := f.mdatp("health --field definitions_updated_minutes_ago")
	date := f.mdatp("health --field definitions_updated")
	status := f.pipe("health --field definitions_status", `tr -d '"'`)
	f.is("status", status, f.want.status)
	if !f.want.installed() {
		f.is("minutes", minutes, "unavailable")
		f.is("date", date, "unavailable")
		return
	}
	n, err := strconv.Atoi(minutes)
	if err != nil || n < 0 || n > 10080 || n/1440 > 3 {
		f.ts.Fatalf("%q minutes since the update", minutes)
	}
	f.pipe("health --field definitions_updated", `python3 -c 'import sys, datetime; datetime.datetime.strptime(sys.stdin.read().strip(), "%b %d, %Y at %H:%M:%S %p")'`)
	at, err := time.Parse("Jan 02, 2006 at 03:04:05 PM", date)
	if err != nil || time.Since(at).Abs() > 24*time.Hour { // scripts run with TZ=UTC
		f.ts.Fatalf("updated at %q", date)
	}
}

// plugin: an inventory plug-in knows a key by five spaces behind it at the least, and
// takes what is behind the separator.
func (f consumer) plugin() {
	values := map[string]string{}
	for line := range strings.SplitSeq(f.mdatp("health"), "\n") {
		for _, key := range []string{"healthy", "licensed", "engine_version", "app_version", "definitions_version", "definitions_status", "definitions_updated"} {
			if strings.Contains(line, key+"     ") {
				values[key] += strings.Split(line, " : ")[1]
			}
		}
	}
	f.is("healthy", values["healthy"], f.want.healthy())
	f.is("licensed", values["licensed"], true)
	f.is("version", strings.Trim(values["definitions_version"], `"`), f.want.version)
	f.is("status", strings.Trim(values["definitions_status"], `"`), f.want.status)
}

// rows reads a table line by line, strips the marker and the quotes, and tells which
// rows had one.
func (f consumer) rows(args string) (values map[string]string, managed map[string]bool) {
	values, managed = map[string]string{}, map[string]bool{}
	for line := range strings.SplitSeq(f.mdatp(args), "\n") {
		key, value, ok := strings.Cut(line, ":")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if _, twice := values[key]; !ok || twice || !regexp.MustCompile(`^[a-z_]+$`).MatchString(key) {
			f.ts.Fatalf("%q is no row of its own", line)
		}
		value, managed[key] = strings.CutSuffix(value, " [managed]")
		values[key] = strings.Trim(value, `"`)
	}
	return values, managed
}

// table: a collector that reads every row of both tables.
func (f consumer) table() {
	summary, _ := f.rows("health")
	f.is("status", summary["definitions_status"], f.want.status)
	f.is("version", summary["definitions_version"], f.want.version)
	details, managed := f.rows("health --details definitions")
	f.is("status", details["definitions_status"], f.want.status)
	f.is("offline updates are managed", managed["offline_definition_update"], f.want.managed)
	f.is("the url is managed", managed["offline_definition_url_configured"], f.want.managed)
	code, _, _ := strings.Cut(details["definitions_update_fail_reason"], ":")
	f.is("reason", code, f.want.reason)
	f.rows("health --details features")
}

// oneLiners: what administrators type, and agents of endpoint managers run.
func (f consumer) oneLiners() {
	f.is("version by its last column", f.pipe("health", `grep definitions_version | awk '{print $NF}' | tr -d '"'`), f.want.version)
	f.is("version by its third", f.pipe("health", `grep definitions_version | awk '{print $3}' | sed 's/"//g'`), f.want.version)
	f.is("status behind the separator", f.pipe("health", `awk -F': ' '/^definitions_status /{print $2}'`), strconv.Quote(f.want.status))
	f.is("managed or not", f.pipe("health --details definitions", `grep '^offline_definition_update ' | awk '{print $4}'`), map[bool]string{true: "[managed]"}[f.want.managed])
	date := f.pipe("health", `grep 'definitions_updated ' | awk '{print $3,$4,$5,$6,$7,$8}'`)
	if !f.want.installed() {
		f.is("date", strings.TrimSpace(date), "unavailable")
	} else if !regexp.MustCompile(`^[A-Z][a-z]{2} \d\d, \d{4} at \d\d:\d\d:\d\d [AP]M$`).MatchString(date) {
		f.ts.Fatalf("the date of six words is %q", date)
	}
}

// audit: scripts that check rules, by jq.
func (f consumer) audit() {
	f.is("up to date", f.pipe("health --output json", `jq -r '.definitionsStatus["$type"] == "upToDate"'`), f.want.healthy())
	f.is("real-time protection", f.pipe("health --output json", `jq '.realTimeProtectionEnabled.value'`), false)
	f.is("version", f.pipe("health --output json", `jq -r '.definitionsVersion // "unavailable"'`), f.want.version)
	f.is("signature verification", f.pipe("health --details definitions", `sed -n 's/^engine_signature_verification *: //p'`), `"enabled"`)
}

// compliance: a script that puts a field into JSON as it is.
func (f consumer) compliance() {
	text := fmt.Sprintf(`{"EngineStatus":%s,"Definitions":%s}`, f.mdatp("health --field engine_load_status"), f.mdatp("health --field definitions_status"))
	if !json.Valid([]byte(text)) {
		f.ts.Fatalf("%s is no JSON", text)
	}
}

// runbook: a fallback hides that the mirror does not work, unless somebody compares
// where the definitions came from with where they should have.
func (f consumer) runbook() {
	details, _ := f.rows("health --details definitions")
	f.is("source", details["definitions_update_source_uri"], f.want.source)
	f.is("url", details["offline_definition_url_configured"], f.want.url)
}
