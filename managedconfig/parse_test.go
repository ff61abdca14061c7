package managedconfig

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

const pin = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

func TestSamples(t *testing.T) {
	t.Parallel()
	read := func(name string) Settings {
		t.Helper()
		data, err := ReadFile("testdata/" + name)
		if err != nil || data == nil {
			t.Fatalf("ReadFile: %v", err)
		}
		doc, err := Parse(Source{Origin: OriginManaged, File: name, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		return Resolve(doc)
	}

	s := read("mdatp_managed.sample.json")
	checkWarnings(t, s.Warnings, "write antivirusEngine.offlineDefinitionUpdateFallbackToCloud")
	url := s.AntivirusEngine.OfflineDefinitionUpdateURL
	if url.Value.Raw != "http://172.22.199.67:8000/linux/production/" || url.Origin != OriginManaged || url.File != "mdatp_managed.sample.json" {
		t.Errorf("URL is %+v", url)
	}
	if got := s.CloudService.DefinitionUpdatesInterval; got.Value != 1202 || got.Origin != OriginManaged {
		t.Errorf("interval is %+v", got)
	}
	if got := s.AntivirusEngine.OfflineDefinitionUpdateFallbackToCloud; got.Value || got.Origin != OriginManaged {
		t.Errorf("fallback is %+v", got)
	}
	if !s.AntivirusEngine.OfflineDefinitionUpdate.Value || !s.CloudService.AutomaticDefinitionUpdateEnabled.Value || !s.Configured() {
		t.Errorf("settings are %+v", s)
	}

	s = read("mdatp_managed.vendor-full.json")
	checkWarnings(t, s.Warnings, "cloudService.proxy is http://proxy.server:port/", "verification cannot be turned off")
	if got := s.CloudService.Proxy; got.Value != "" || got.Origin != OriginDefault {
		t.Errorf("proxy is %+v", got)
	}
	if got := s.AntivirusEngine.EnforcementLevel; got.Value != "real_time" || got.Origin != OriginManaged {
		t.Errorf("enforcement level is %+v", got)
	}
	if got := s.Features.OfflineDefinitionUpdateVerifySig; got.Value || got.Origin != OriginManaged {
		t.Errorf("verify sig is %+v", got)
	}
}

// TestValues has for each key what is taken, and what it becomes.
func TestValues(t *testing.T) {
	t.Parallel()
	tests := []struct {
		key, value string
		want       any
		warning    string // empty: none
	}{
		{"cloudService.automaticDefinitionUpdateEnabled", `false`, false, ""},
		{"cloudService.automaticDefinitionUpdateEnabled", `"disabled"`, false, ""},
		{"cloudService.automaticDefinitionUpdateEnabled", `"false"`, false, "taken as the boolean false"},
		{"cloudService.definitionUpdatesInterval", `86400`, 86400, ""},
		{"cloudService.definitionUpdatesInterval", `60`, 60, ""},
		{"cloudService.definitionUpdatesInterval", `59`, 60, "taken as 60 seconds"},
		{"cloudService.definitionUpdatesInterval", `1`, 60, "taken as 60 seconds"},
		{"cloudService.definitionUpdatesInterval", `0`, 28800, ""},
		{"cloudService.definitionUpdateDue", `1`, 1, ""},
		{"cloudService.definitionUpdateDue", `30`, 30, ""},
		{"cloudService.proxy", `"http://proxy.example:3128"`, "http://proxy.example:3128", ""},
		{"antivirusEngine.offlineDefinitionUpdateUrl", `"/srv/linux/preview"`, "/srv/linux/preview", ""},
		{"antivirusEngine.offlineDefinitionUpdateFallbackToCloud", `"enabled"`, true, ""},
		{"antivirusEngine.offlineDefinitionUpdateFallbackToCloud", `"true"`, true, "without quotes"},
		{"antivirusEngine.enforcementLevel", `"on_demand"`, "on_demand", ""},
		{"antivirusEngine.scanAfterDefinitionUpdate", `false`, false, ""},
		{"features.offlineDefinitionUpdateVerifySig", `"enabled"`, "enabled", ""},
		{"features.offlineDefinitionUpdateVerifySig", `false`, "disabled", "verification cannot be turned off"},
		{"scheduledScan.checkForDefinitionsUpdate", `true`, true, ""},
		{"agent.cloudUrl", `"https://mirror.example/u.zip?x=1"`, "https://mirror.example/u.zip?x=1", ""},
		{"agent.product", `"yara-rules_2.x"`, "yara-rules_2.x", ""},
		{"agent.ring", `"0canary"`, "0canary", ""},
		{"agent.minDefinitionVersion", `"0.4294967295.10.1"`, "0.4294967295.10.1", ""},
		{"agent.keep", `10`, 10, ""},
		{"agent.jitter", `0`, 0, ""},
		{"agent.updateWindow", `"22:30-05:00"`, "22:30-05:00", ""},
		{"agent.updateWindow", `"00:00-23:59"`, "00:00-23:59", ""},
		{"agent.metricsFile", `"/var/lib//node/mdatp.prom"`, "/var/lib/node/mdatp.prom", ""},
		{"agent.hooks.preload.command", `["/usr/bin/check", "-q", ""]`, []string{"/usr/bin/check", "-q", ""}, ""},
		{"agent.hooks.postload.command", `["/usr/bin/reload"]`, []string{"/usr/bin/reload"}, ""},
		{"agent.connectTimeout", `600`, 600, ""},
		{"agent.tlsTimeout", `1`, 1, ""},
		{"agent.headerTimeout", `2`, 2, ""},
		{"agent.stallTimeout", `5`, 5, ""},
		{"agent.maxDownloadRate", `0`, 0, ""},
		{"agent.maxDownloadRate", `1024`, 1024, ""},
		{"agent.maxDownloadRate", `2147483647`, 2147483647, ""},
		{"agent.proxy", `"https://proxy.example:3128/"`, "https://proxy.example:3128/", ""},
		{"agent.noProxy", `".example, 10.0.0.0/8"`, ".example, 10.0.0.0/8", ""},
		{"agent.caFile", `"/etc/ssl//mirror.pem"`, "/etc/ssl/mirror.pem", ""},
		{"agent.clientCertFile", `"/c.pem"`, "/c.pem", ""},
		{"agent.clientKeyFile", `"/k.pem"`, "/k.pem", ""},
		{"agent.credentialsFile", `"/c.json"`, "/c.json", ""},
		{"agent.trust.signers", `["` + pin + `"]`, []string{pin}, ""},
		{"agent.trust.profile", `"list"`, "list", ""},
		{"agent.trust.profile", `"list+vendor"`, "list+vendor", ""},
		{"agent.trust.profile", `"vendor"`, "vendor", ""},
		{"agent.trust.vendorFiles", `["libmpengine.so", "libmpengine.so.sig", "mpavbase.vdm"]`, []string{"libmpengine.so", "libmpengine.so.sig", "mpavbase.vdm"}, "asks for no signatures of a vendor"},
		{"agent.trust.vendorPins", `["` + pin + `:subject:CN=A, O=B:C", "` + pin + `:eku:1.3.6.1.4.1.311.76.8.1"]`, []string{pin + ":subject:CN=A, O=B:C", pin + ":eku:1.3.6.1.4.1.311.76.8.1"}, "asks for no signatures of a vendor"},
		{"agent.trust.vendorPins", `["` + pin + `:eku:1.2.3", "` + pin + `:eku:1` + strings.Repeat(".2", 31) + `"]`, []string{pin + ":eku:1.2.3", pin + ":eku:1" + strings.Repeat(".2", 31)}, "asks for no signatures of a vendor"},
	}
	covered := map[string]bool{"antivirusEngine.offlineDefinitionUpdate": true}      // in TestSamples and TestLayers
	for _, hook := range []string{"agent.hooks.preload.", "agent.hooks.postload."} { // in TestHooks
		covered[hook+"timeoutSeconds"], covered[hook+"memoryMiB"] = true, true
	}
	for _, tt := range tests {
		covered[tt.key] = true
		t.Run(tt.key+"="+tt.value, func(t *testing.T) {
			t.Parallel()
			s := Resolve(mustParse(t, OriginManaged, nest(tt.key, tt.value)))
			got := row(t, s, tt.key)
			if !reflect.DeepEqual(got.Value, tt.want) || got.Origin != OriginManaged || got.File != "managed.json" {
				t.Errorf("row is %+v, want %v", got, tt.want)
			}
			if tt.warning == "" {
				checkWarnings(t, s.Warnings)
			} else {
				checkWarnings(t, s.Warnings, tt.warning)
			}
		})
	}
	for _, k := range keys {
		if !covered[k.String()] {
			t.Errorf("no row for %s", k)
		}
	}
}

// nest writes a file with the one key section.key.
func nest(key, value string) string {
	parts := strings.Split(key, ".")
	for i := len(parts) - 1; i >= 0; i-- {
		value = fmt.Sprintf("{%q: %s}", parts[i], value)
	}
	return value
}

func TestValuesRefused(t *testing.T) {
	t.Parallel()
	tests := []struct{ key, value, sentence, hint string }{
		{"cloudService.automaticDefinitionUpdateEnabled", `null`, "is null, allowed is true, false", "without quotes"},
		{"cloudService.automaticDefinitionUpdateEnabled", `1`, "is 1, allowed", ""},
		{"cloudService.automaticDefinitionUpdateEnabled", `"Enabled"`, "is Enabled, allowed", ""},
		{"cloudService.automaticDefinitionUpdateEnabled", `[true]`, "is a list", ""},
		{"cloudService.automaticDefinitionUpdateEnabled", `{"a": [1, {"b": 2}]}`, "is an object", ""},
		{"antivirusEngine.offlineDefinitionUpdate", `"diabled"`, "m.json line 1, antivirusEngine.offlineDefinitionUpdate is diabled", ""},
		{"features.offlineDefinitionUpdateVerifySig", `"DEPRECATED"`, "is DEPRECATED", ""},
		{"cloudService.definitionUpdatesInterval", `1202.0`, "is 1202.0, allowed is an integer from 0 to 86400 (seconds)", "fraction"},
		{"cloudService.definitionUpdatesInterval", `1e3`, "is 1e3", ""},
		{"cloudService.definitionUpdatesInterval", `"1202"`, "is 1202, allowed is an integer", "without quotes"},
		{"cloudService.definitionUpdatesInterval", `-1`, "is -1", ""},
		{"cloudService.definitionUpdatesInterval", `86401`, "is 86401", ""},
		{"cloudService.definitionUpdatesInterval", `9223372036854775808`, "is 9223372036854775808", ""},
		{"cloudService.definitionUpdatesInterval", `4294967356`, "is 4294967356", ""}, // 60 where an int has 32 bits
		{"cloudService.definitionUpdateDue", `0`, "from 1 to 30 (days)", ""},
		{"cloudService.definitionUpdateDue", `31`, "from 1 to 30 (days)", ""},
		{"cloudService.proxy", `8080`, "is 8080, allowed is a text", ""},
		{"cloudService.proxy", `"http://p\n:1"`, `is http://p?:1`, "without tabs"},
		{"antivirusEngine.enforcementLevel", `"Passive"`, "one of real_time, audit, on_demand, passive", ""},
		{"antivirusEngine.enforcementLevel", `""`, "is an empty text", ""},
		{"antivirusEngine.offlineDefinitionUpdateUrl", `7`, "is 7, allowed is a text", ""},
		{"antivirusEngine.offlineDefinitionUpdateUrl", `"http://h/linux/production/arch_arm64"`, "it must end at the ring", "set it to http://h/linux/production/"},
		{"agent.cloudUrl", `"mirror.example/updates.zip"`, "allowed is an http or https URL", "https://"},
		{"agent.cloudUrl", `"https:///updates.zip"`, "with a host", ""},
		{"agent.cloudUrl", `"https://user:s3cret@h/u.zip"`, "https://***@h/u.zip", ""},
		{"agent.product", `"Mdatp"`, "is Mdatp", ""},
		{"agent.product", `"-x"`, "is -x", ""},
		{"agent.product", `""`, "is an empty text", ""},
		{"agent.product", `"mdatp\n"`, `is mdatp?`, ""},
		{"agent.ring", `"a/b"`, "is a/b", ""},
		{"agent.minDefinitionVersion", `"1.2.3"`, "is 1.2.3", ""},
		{"agent.minDefinitionVersion", `"1.2.3.04"`, "is 1.2.3.04", ""},
		{"agent.minDefinitionVersion", `"1.2.3.+4"`, "is 1.2.3.+4", ""},
		{"agent.minDefinitionVersion", `"1.2.3.4294967296"`, "below 2^32", ""},
		{"agent.minDefinitionVersion", `""`, "is an empty text", ""},
		{"agent.keep", `1`, "from 2 to 10", ""},
		{"agent.jitter", `-1`, "from 0 to 86400", ""},
		{"agent.connectTimeout", `0`, "from 1 to 600", ""},
		{"agent.tlsTimeout", `601`, "from 1 to 600", ""},
		{"agent.headerTimeout", `true`, "is true", ""},
		{"agent.stallTimeout", `4`, "from 5 to 3600", ""},
		{"agent.maxDownloadRate", `1023`, "is 1023, allowed is 0, or an integer from 1024", "131072"},
		{"agent.maxDownloadRate", `-1`, "from 0 to 2147483647 (bytes per second)", ""},
		{"agent.maxDownloadRate", `"1M"`, "is 1M", "without quotes"},
		{"agent.proxy", `"http://user:s3cret@proxy.example:3128"`, "is http://***@proxy.example:3128, allowed is an http or https URL", "agent.credentialsFile"},
		{"agent.proxy", `"proxy.example:3128"`, "is proxy.example:3128, allowed", ""},
		{"agent.proxy", `"socks5://proxy.example:1080"`, "is socks5://", ""},
		{"agent.proxy", `"http://proxy.example:3128/x"`, "path", ""},
		{"agent.proxy", `"http://proxy.example:3128?s3cret"`, "query", ""},
		{"agent.noProxy", `["a"]`, "is a list, allowed is a text", ""},
		{"agent.caFile", `"ca.pem"`, "is ca.pem, allowed is an absolute path", "begin with /"},
		{"agent.clientCertFile", `""`, "is an empty text", "remove the key"},
		{"agent.clientKeyFile", `"~/key.pem"`, "allowed is an absolute path", ""},
		{"agent.credentialsFile", `{"basic": {"password": "s3cret"}}`, "is an object, allowed is a text", ""},
		{"agent.trust.signers", `"` + pin + `"`, "agent.trust.signers is " + pin + ", allowed is a list", ""},
		{"agent.trust.signers", `[]`, "is a list, allowed is a list of 1 to 64", "remove the key"},
		{"agent.trust.signers", `["` + pin[:43] + `"]`, "is " + pin[:43], ""},
		{"agent.trust.signers", `["` + pin + `\n"]`, "allowed is a list", ""},
		{"agent.trust.signers", `["AAAA"]`, "is AAAA", ""},
		{"agent.trust.signers", `["` + pin + `", null]`, "is null", ""},
		{"agent.trust.signers", `[["` + pin + `"]]`, "is a list", ""},
		{"agent.trust.signers", `[` + strings.Repeat(`"`+pin+`",`, 64) + `"` + pin + `"]`, "1 to 64", ""},
		{"agent.trust.profile", `"List"`, "is List, allowed is one of list, vendor, list+vendor", ""},
		{"agent.trust.profile", `""`, "is an empty text, allowed is one of", ""},
		{"agent.trust.profile", `["list"]`, "is a list, allowed is one of", ""},
		{"agent.trust.vendorFiles", `[]`, "is a list, allowed is a list of 1 to 62", ""},
		{"agent.trust.vendorFiles", `"mpavbase.vdm"`, "allowed is a list of 1 to 62", ""},
		{"agent.trust.vendorFiles", `["a.vdm", "A.vdm"]`, "none of them twice", "agent package inspect shows them"},
		{"agent.trust.vendorFiles", `["../a.vdm"]`, "letters, digits, dots", ""},
		{"agent.trust.vendorFiles", `["a.vdm", 1]`, "letters, digits, dots", ""},
		{"agent.trust.vendorFiles", `[""]`, "letters, digits, dots", ""},
		{"agent.trust.vendorPins", `[]`, "is a list, allowed is a list of 1 to 64", ""},
		{"agent.trust.vendorPins", `["` + pin + `"]`, "is " + pin, "write the key of the issuing CA"},
		{"agent.trust.vendorPins", `["` + pin + `:subject:"]`, "PIN:subject:NAME", ""},
		{"agent.trust.vendorPins", `["` + pin[1:] + `:subject:CN=A"]`, "PIN:subject:NAME", ""},
		{"agent.trust.vendorPins", `["` + pin + `:cn:A"]`, "PIN:subject:NAME", ""},
		{"agent.trust.vendorPins", `["` + pin + `:eku:1.3.6.1.5.5.7.3.3"]`, "certificates of all sorts of people have the usage 1.3.6.1.5.5.7.3.3", "that only this vendor has"},
		{"agent.trust.vendorPins", `["` + pin + `:eku:1.3.6.1.4.1.311.61.1.1"]`, "certificates of all sorts of people have the usage 1.3.6.1.4.1.311.61.1.1", "pin the signer by its whole subject"},
		{"agent.trust.vendorPins", `["` + pin + `:eku:1.3.6.1.4.1.311.10.3.13"]`, "certificates of all sorts of people", ""},
		{"agent.trust.vendorPins", `["` + pin + `:eku:2.5.29.37.0"]`, "certificates of all sorts of people", ""},
		{"agent.trust.vendorPins", `["` + pin + `:eku:1.02.3"]`, "PIN:eku:OID", ""},
		{"agent.trust.vendorPins", `["` + pin + `:eku:1.2"]`, "PIN:eku:OID", ""},
		{"agent.trust.vendorPins", `["` + pin + `:eku:1` + strings.Repeat(".2", 32) + `"]`, "PIN:eku:OID", ""},
		{"agent.trust", `null`, "m.json line 1, agent.trust is null, allowed is an object", ""},
		{"agent", `[]`, "agent is a list, allowed is an object", ""},
		{"features", `"enabled"`, "features is enabled, allowed is an object", ""},
		{"agent.updateWindow", `"24:00-05:00"`, "is 24:00-05:00, allowed is a part of the day", "24 hours"},
		{"agent.updateWindow", `"22:00-22:00"`, "of 15 minutes or more", ""},
		{"agent.updateWindow", `"23:50-00:04"`, "of 15 minutes or more", ""},
		{"agent.updateWindow", `"9:00-17:00"`, "is 9:00-17:00", ""},
		{"agent.updateWindow", `""`, "an empty text", ""},
		{"agent.updateWindow", `2200`, "is 2200", ""},
		{"agent.metricsFile", `"metrics.prom"`, "allowed is an absolute path", ""},
		{"agent.metricsFile", `"/x"`, "ends in .prom", "node_exporter"},
		{"agent.hooks", `[]`, "agent.hooks is a list, allowed is an object", ""},
		{"agent.hooks.preload", `{}`, "agent.hooks.preload, it names no command", "give it a command"},
		{"agent.hooks.postload", `{"timeoutSeconds": 5}`, "agent.hooks.postload, it names no command", ""},
		{"agent.hooks.preload", `"/bin/true"`, "agent.hooks.preload is /bin/true, allowed is an object", ""},
		{"agent.hooks.preload", `{"command": "/bin/true"}`, "agent.hooks.preload.command is /bin/true, allowed is a list", "no shell"},
		{"agent.hooks.preload", `{"command": []}`, "is a list, allowed is a list of 1 to 64 texts", ""},
		{"agent.hooks.preload", `{"command": ["true"]}`, "is true, allowed is a list of 1 to 64 texts, the first of them the absolute path", ""},
		{"agent.hooks.preload", `{"command": ["/bin/true", 1]}`, "is 1", ""},
		{"agent.hooks.preload", `{"command": [` + strings.Repeat(`"/x",`, 64) + `"/x"]}`, "1 to 64", ""},
		{"agent.hooks.preload", `{"command": ["/x"], "timeoutSeconds": 0}`, "an integer from 1 to 3600 (seconds)", ""},
		{"agent.hooks.preload", `{"command": ["/x"], "memoryMiB": 15}`, "an integer from 16 to 1048576 (MiB)", ""},
		{"agent.hooks.preload", `{"command": ["/x"], "timeout": 5}`, "agent.hooks.preload.timeout, there is no such key", "remove it"},
		{"agent.hooks.preload", `{"comand": ["/x"]}`, "agent.hooks.preload.comand, there is no such key", "did you mean agent.hooks.preload.command"},
		{"agent.hooks.preLoad", `{"command": ["/x"]}`, "agent.hooks.preLoad, there is no such key", "did you mean agent.hooks.preload"},
		{"agent.hooks.onError", `{"command": ["/x"]}`, "agent.hooks.onError, there is no such key", ""},
		{"agent.trust.signer", `["` + pin + `"]`, "agent.trust.signer, there is no such key", "did you mean agent.trust.signers"},
		{"agent.trust.profiles", `"list"`, "agent.trust.profiles, there is no such key", "did you mean agent.trust.profile"},
		{"agent.trust.anchors", `"list"`, "agent.trust.anchors, there is no such key", "remove it"},
		{"agent.signers", `["` + pin + `"]`, "agent.signers, there is no such key", "did you mean agent.trust.signers"},
		{"agent.trsut", `{"signers": []}`, "agent.trsut, there is no such key", "did you mean agent.trust"},
		{"agent.Trust", `{"signers": []}`, "agent.Trust, there is no such key", "did you mean agent.trust"},
	}
	for _, tt := range tests {
		t.Run(tt.key+"="+tt.value, func(t *testing.T) {
			t.Parallel()
			_, err := parse(t, nest(tt.key, tt.value))
			checkReason(t, err, tt.sentence, tt.hint)
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("a secret shows: %v", err)
			}
		})
	}
}

func TestFileRefused(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, sentence, hint string }{
		{"empty", "", "m.json, the file is empty", "{}"},
		{"blank", " \n\t\n", "the file is empty", "{}"},
		{"byte order mark alone", "\ufeff", "the file is empty", "{}"},
		{"array", "[]", "m.json line 1, the file is JSON, but not an object", ""},
		{"null", "\n\nnull", "m.json line 3, the file is JSON, but not an object", ""},
		{"trailing comma", "{\n  \"a\": 1,\n}", "m.json line 3 column 1, a comma stands before the closing bracket", "remove that comma, and check with python3 -m json.tool m.json"},
		{"trailing comma in a list", "{\"a\": [1, ]}", "column 11, a comma stands before", ""},
		{"missing comma", "{\"a\": 1\n\"b\": 2}", "line 2 column 1, a comma or colon is missing", ""},
		{"missing quote", "{\"a\": \"x,\n\"b\": 2}", "line 1 column 10, a text is not closed", "missing quote"},
		{"column counts characters", "{\"ä\": 1,}", "column 9,", ""},
		{"cut off", "{\"a\": {\"b\": 1", "the file ends too early", ""},
		{"single quotes", "{'a': 1}", "column 2, a single quote", "double quotes"},
		{"comment", "{\"a\": 1, // x\n}", "JSON has no comments", ""},
		{"wrong bracket", "{\"a\": [1}", "a bracket is closed", ""},
		{"two objects", "{} {}", "line 1 column 4", "json.tool"},
		{"zeros after a power cut", strings.Repeat("\x00", 100), "line 1 column 1", ""},
		{"UTF-16", "\xff\xfe{\x00}\x00", "line 1 column 1, the file is not UTF-8", "UTF-8"},
		{"Latin-1", "{\n\"a\": \"\xe4\"}", "line 2 column 7, the file is not UTF-8", ""},
		{"too large", `{"a": "` + strings.Repeat("x", MaxFileSize) + `"}`, "larger than 1048576 bytes", ""},
		{"too deep", `{"a": ` + strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth) + `}`, "nested deeper than 32", ""},
		{"far too deep", `{"a": ` + strings.Repeat("[", 200000), "m.json", ""},
		{"too deep in a value of ours", `{"cloudService": {"proxy": [` + strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth) + `]}}`, "nested deeper than 32", ""},

		{"our key twice", "{\"cloudService\": {\n\"proxy\": \"\",\n\n\"proxy\": \"\"}}", "cloudService.proxy, it stands twice, on lines 2 and 4", "keep one"},
		{"our key twice, escaped", `{"cloudService": {"proxy": "", "\u0070roxy": ""}}`, "it stands twice", ""},
		{"our section twice", "{\"cloudService\": {},\n\"cloudService\": {}}", "cloudService, it stands twice, on lines 1 and 2", ""},
		{"trust twice", `{"agent": {"trust": {}, "trust": {}}}`, "agent.trust, it stands twice", ""},
		{"a misspelling twice", "{\"cloudService\": {\"defintionUpdatesInterval\": 60,\n\"defintionUpdatesInterval\": 60}}", "cloudService.defintionUpdatesInterval, it stands twice, on lines 1 and 2", ""},
		{"a misspelt key is checked too", `{"cloudService": {"defintionUpdatesInterval": 1.5}}`, "cloudService.defintionUpdatesInterval is 1.5", ""},
		{"trust as one name", `{"agent.trust": {"signers": []}}`, "agent.trust, there is no such key", "did you mean agent.trust"},
		{"pins as one name", `{"agent": {"trust.signers": []}}`, "agent.trust.signers, there is no such key", "did you mean"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := parse(t, tt.text)
			checkReason(t, err, tt.sentence, tt.hint)
		})
	}
}

func TestFileTolerated(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", MaxDepth-1) + strings.Repeat("]", MaxDepth-1)
	for name, text := range map[string]string{
		"empty object":                     `{}`,
		"byte order mark":                  "\ufeff{}",
		"line ends of DOS":                 "{\r\n\"edr\": {}\r\n}\r\n",
		"foreign keys, twice":              `{"info": 1, "info": 2, "cloudService": {"info": [{}], "info": null, "enabled": true}}`,
		"foreign sections, twice":          `{"edr": {"tags": []}, "edr": {"tags": []}}`,
		"as deep as allowed":               `{"a": ` + deep + `}`,
		"our names deeper down":            `{"edr": {"agent": {"trust": {"x": 1}}, "proxy": 1, "proxy": 2}}`,
		"the product's other level":        `{"networkProtection": {"enforcementLevel": "block"}}`,
		"the product's other switch":       `{"antivirusEngine": {"scheduledScan": "enabled"}}`,
		"a foreign key of agent":           `{"agent": {"telemetry": "/x"}}`,
		"empty trust and hooks":            `{"agent": {"trust": {}, "hooks": {}}}`,
		"empty texts that count as no URL": `{"agent": {"cloudUrl": ""}, "cloudService": {"proxy": ""}, "antivirusEngine": {"offlineDefinitionUpdateUrl": ""}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Resolve(mustParse(t, OriginManaged, text))
			checkWarnings(t, s.Warnings)
			if s.Configured() {
				t.Error("counts as configured")
			}
			if want := Defaults(); !reflect.DeepEqual(s, want) {
				t.Errorf("settings are %+v, want the defaults", s)
			}
		})
	}
}

func TestMisspellings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text, key string
		want            any
		warning         string
	}{
		{"fallback", `{"antivirusEngine": {"offlineDefintionUpdateFallbackToCloud": true}}`,
			"antivirusEngine.offlineDefinitionUpdateFallbackToCloud", true, "taken as antivirusEngine.offlineDefinitionUpdateFallbackToCloud"},
		{"interval", `{"cloudService": {"defintionUpdatesInterval": 100}}`,
			"cloudService.definitionUpdatesInterval", 100, "taken as cloudService.definitionUpdatesInterval"},
		{"verify sig", `{"features": {"OfflineDefinitionUpdateVerifySig": "enabled"}}`,
			"features.offlineDefinitionUpdateVerifySig", "enabled", "taken as features.offlineDefinitionUpdateVerifySig"},
		{"right before wrong", `{"cloudService": {"definitionUpdatesInterval": 100, "defintionUpdatesInterval": 200}}`,
			"cloudService.definitionUpdatesInterval", 100, "defintionUpdatesInterval, which is ignored, because line 1"},
		{"wrong before right", `{"cloudService": {"defintionUpdatesInterval": "bad", "definitionUpdatesInterval": 100}}`,
			"cloudService.definitionUpdatesInterval", 100, "which is ignored"},
		{"old place before new", `{"features": {"offlineDefinitionUpdate": "enabled"}, "antivirusEngine": {"offlineDefinitionUpdate": "disabled"}}`,
			"antivirusEngine.offlineDefinitionUpdate", "disabled", "features.offlineDefinitionUpdate, which is ignored"},
		{"old place", `{"features": {"offlineDefinitionUpdate": "disabled"}}`,
			"antivirusEngine.offlineDefinitionUpdate", "disabled", "features.offlineDefinitionUpdate, which is taken as antivirusEngine.offlineDefinitionUpdate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := Resolve(mustParse(t, OriginManaged, tt.text))
			if got := row(t, s, tt.key); got.Value != tt.want || got.Origin != OriginManaged {
				t.Errorf("row is %+v, want %v", got, tt.want)
			}
			checkWarnings(t, s.Warnings, tt.warning)
		})
	}
}

func TestNearMisses(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, meant string }{
		{`{"cloudService": {"definitionUpdateInterval": 1}}`, "cloudService.definitionUpdatesInterval"},
		{`{"cloudService": {"Proxy": 1}}`, "cloudService.proxy"},
		{`{"cloudService": {"poxy": 1}}`, "cloudService.proxy"},
		{`{"antivirusEngine": {"offlineDefinitionUpdateURL": 1}}`, "antivirusEngine.offlineDefinitionUpdateUrl"},
		{`{"features": {"offlineDefinitionUpdateUrl": 1}}`, "antivirusEngine.offlineDefinitionUpdateUrl"},
		{`{"offlineDefinitionUpdate": 1}`, "antivirusEngine.offlineDefinitionUpdate"},
		{`{"antivirusEngine": {"definitionUpdatesInterval": 1}}`, "cloudService.definitionUpdatesInterval"},
		{`{"antivirusengine": {}}`, "antivirusEngine"},
		{`{"cloudServices": {}}`, "cloudService"},
		{`{"Agent": {}}`, "agent"},
		{`{"cloudService.proxy": 1}`, "cloudService.proxy"},
		{`{"agent": {"connectTimeot": 1}}`, "agent.connectTimeout"},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			s := Resolve(mustParse(t, OriginManaged, tt.text))
			checkWarnings(t, s.Warnings, "did you mean "+tt.meant)
			if s.Configured() {
				t.Error("a near miss is taken for the key")
			}
		})
	}
}

func TestWarningsAreBounded(t *testing.T) {
	t.Parallel()
	doc := mustParse(t, OriginManaged, `{"cloudService": {`+strings.Repeat(`"Proxy": 1,`, 80000)+`"x": 1}}`)
	if n := len(doc.Warnings()); n != MaxWarnings {
		t.Errorf("%d warnings, want %d", n, MaxWarnings)
	}
}

func TestProxyKeepsItsSecret(t *testing.T) {
	t.Parallel()
	s := Resolve(mustParse(t, OriginManaged, nest("cloudService.proxy", `"http://user:s3cret@proxy.example:3128"`)))
	checkWarnings(t, s.Warnings, "http://***@proxy.example:3128")
	if strings.Contains(fmt.Sprint(s.Warnings, s.Rows()), "s3cret") {
		t.Errorf("a secret shows: %+v", s.Warnings)
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	tests := []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"keep", "keep", 0}, {"kep", "keep", 1},
		{"trsut", "trust", 1}, {"keys", "keep", 2}, {"kitten", "sitting", 3},
	}
	for _, tt := range tests {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) is %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

// TestHooks: a hook may say how long and how large, and each file that has one
// names its command.
func TestHooks(t *testing.T) {
	t.Parallel()
	s := Resolve(mustParse(t, OriginManaged, `{"agent": {"hooks": {"preload": {"timeoutSeconds": 5, "command": ["/x"], "memoryMiB": 64}, "postload": {"command": ["/y"]}}}}`))
	pre, post := s.Agent.Hooks.Preload, s.Agent.Hooks.Postload
	if pre.TimeoutSeconds.Value != 5 || pre.MemoryMiB.Value != 64 || pre.Command.Value[0] != "/x" {
		t.Errorf("preload is %+v", pre)
	}
	if post.TimeoutSeconds.Value != 60 || post.MemoryMiB.Value != 4096 || post.Command.Value[0] != "/y" {
		t.Errorf("postload is %+v", post)
	}
	if s.Configured() {
		t.Error("a hook alone counts as configured")
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	for text, in := range map[string]map[int]bool{
		"22:00-05:30": {22 * 60: true, 23*60 + 59: true, 0: true, 5*60 + 29: true, 5*60 + 30: false, 12 * 60: false, 22*60 - 1: false},
		"09:00-17:00": {9 * 60: true, 17*60 - 1: true, 17 * 60: false, 0: false, 8*60 + 59: false},
		"12:00-00:00": {12 * 60: true, 23*60 + 59: true, 0: false},
		"":            {0: true, 12 * 60: true},
	} {
		var w Window
		if text != "" {
			w = Resolve(mustParse(t, OriginLocal, `{"agent": {"updateWindow": "`+text+`"}}`)).Agent.UpdateWindow.Value
		}
		if w.String() != text {
			t.Errorf("%q is shown as %q", text, w)
		}
		for minute, want := range in {
			if w.Contains(minute) != want {
				t.Errorf("%q contains minute %d: %t", text, minute, !want)
			}
		}
	}
}
