package managedconfig_test

import (
	"errors"
	"strings"
	"testing"

	"mdatp-offline-agent/managedconfig"
)

func TestSet(t *testing.T) {
	t.Parallel()
	const file = `{
  "vendor": [1,2,  3],
  "cloudService": {
    "proxy": "http://a.example:1" ,
    "unknown": {"a": "<&>"}
  },

  "agent": {}
}
`
	for _, tt := range []struct{ name, file, key, value, want string }{
		{"a value in its place", file, "cloudService.proxy", "http://b.example:2", strings.Replace(file, "a.example:1", "b.example:2", 1)},
		{"behind the last key of its section", file, "cloudService.definitionUpdateDue", "9",
			strings.Replace(file, `"<&>"}`, `"<&>"},`+"\n    \"definitionUpdateDue\": 9", 1)},
		{"into an empty section", file, "agent.keep", "3", strings.Replace(file, "{}", "{\n    \"keep\": 3\n  }", 1)},
		{"into a section that is not there", file, "scheduledScan.checkForDefinitionsUpdate", "true",
			strings.Replace(file, "{}\n}", "{},\n  \"scheduledScan\": {\n    \"checkForDefinitionsUpdate\": true\n  }\n}", 1)},
		{"two sections deep", "{\n\t\"agent\": {\n\t\t\"keep\": 3\n\t}\n}", "agent.hooks.postload.command", `["/bin/true"]`,
			"{\n\t\"agent\": {\n\t\t\"keep\": 3,\n\t\t\"hooks\": {\n\t\t\t\"postload\": {\n\t\t\t\t\"command\": [\"/bin/true\"]\n\t\t\t}\n\t\t}\n\t}\n}"},
		{"all on one line", `{"agent":{"keep":3}}`, "cloudService.definitionUpdateDue", "9", `{"agent":{"keep":3},"cloudService":{"definitionUpdateDue": 9}}`},
		{"a file that is not there", "", "agent.keep", "3", "{\n  \"agent\": {\n    \"keep\": 3\n  }\n}\n"},
		{"an empty object", "{}", "agent.keep", "3", "{\n  \"agent\": {\n    \"keep\": 3\n  }\n}"},
		{"a word for a text", `{}`, "antivirusEngine.enforcementLevel", "passive", "{\n  \"antivirusEngine\": {\n    \"enforcementLevel\": \"passive\"\n  }\n}"},
		{"a number for a text", `{}`, "agent.ring", "5", "{\n  \"agent\": {\n    \"ring\": \"5\"\n  }\n}"},
		{"in place of a wrong name", `{"cloudService": {"defintionUpdatesInterval": 60, "x": 1}}`, "cloudService.definitionUpdatesInterval", "90",
			`{"cloudService": { "x": 1, "definitionUpdatesInterval": 90}}`},
		{"in place of one in another section", `{"features": {"offlineDefinitionUpdate": "enabled"}, "a": 1}`, "antivirusEngine.offlineDefinitionUpdate", "disabled",
			`{ "a": 1, "antivirusEngine": {"offlineDefinitionUpdate": "disabled"}}`},
		{"under a wrong name", `{}`, "cloudService.defintionUpdatesInterval", "90", "{\n  \"cloudService\": {\n    \"definitionUpdatesInterval\": 90\n  }\n}"},
	} {
		src := managedconfig.Source{Origin: managedconfig.OriginLocal, File: "agent.json", Data: []byte(tt.file)}
		if tt.file == "" {
			src.Data = nil
		}
		got, err := managedconfig.Set(src, tt.key, tt.value)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", tt.name, err, got, tt.want)
		}
	}
}

func TestUnset(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, file, key, want string }{
		{"the last of several", `{"agent": {"keep": 3 , "ring": "a"}}`, "agent.ring", `{"agent": {"keep": 3}}`},
		{"the first of several", "{\n  \"agent\": {\n    \"keep\": 3,\n    \"ring\": \"a\"\n  }\n}", "agent.keep", "{\n  \"agent\": {\n    \"ring\": \"a\"\n  }\n}"},
		{"with its section", `{"x": 1, "agent": {"hooks": {"preload": {"command": ["/bin/true"]}}}}`, "agent.hooks.preload.command", `{"x": 1}`},
		{"an empty section of somebody's stays", `{"agent": {}}`, "agent.keep", `{"agent": {}}`},
		{"one that is not there", `{"x": [ ]}`, "agent.keep", `{"x": [ ]}`},
		{"under a wrong name, too", `{"x": 1, "features": {"OfflineDefinitionUpdateVerifySig": "enabled"}}`, "features.offlineDefinitionUpdateVerifySig", `{"x": 1}`},
	} {
		got, err := managedconfig.Unset(managedconfig.Source{Data: []byte(tt.file)}, tt.key)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", tt.name, err, got, tt.want)
		}
	}
}

func TestSetRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, file, key, value, want string }{
		{"what is out of range", `{}`, "cloudService.definitionUpdateDue", "31", "cloudService.definitionUpdateDue is 31, allowed is an integer from 1 to 30 (days)"},
		{"what is of another type", `{}`, "agent.trust.signers", "none", "agent.trust.signers is none, allowed is"},
		{"an object", `{}`, "agent.keep", `{"a": 1}`, "agent.keep is an object, allowed is"},
		{"what makes the whole invalid", `{}`, "agent.hooks.preload.timeoutSeconds", "5", "agent.hooks.preload, it names no command"},
		{"a key that is none", `{}`, "agent.kep", "5", "agent.kep, there is no such key"},
		{"a file that is broken already", "{\n  \"agent\": {,}\n}", "agent.keep", "5", "agent.json line 2 column 13, "},
		{"a file with a key twice", `{"agent": {"keep": 3, "keep": 4}}`, "agent.keep", "5", "agent.json line 1, agent.keep, it stands twice"},
	} {
		_, err := managedconfig.Set(managedconfig.Source{File: "agent.json", Data: []byte(tt.file)}, tt.key, tt.value)
		var broken *managedconfig.Error
		if !errors.As(err, &broken) {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if _, sentence, _ := broken.Reason(); !strings.HasPrefix(sentence, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, sentence, tt.want)
		}
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"agent.keep":                                "agent.keep",
		"agent.hooks.preload.command":               "agent.hooks.preload.command",
		"features.offlineDefinitionUpdate":          "antivirusEngine.offlineDefinitionUpdate",
		"antivirusEngine.offlineDefinitionUpdatUrl": "? antivirusEngine.offlineDefinitionUpdateUrl",
		"antivirusEngine.proxy":                     "? agent.proxy",
		"offlineDefinitionUpdateUrl":                "? antivirusEngine.offlineDefinitionUpdateUrl",
		"agent":                                     "? ",
		"cloudService.heartbeatInterval":            "? ",
		"":                                          "? ",
		".":                                         "? ",
		"agent.trust.signers.":                      "? ",
		"antivirusEngine.offlineDefintionUpdateFallbackToCloud": "antivirusEngine.offlineDefinitionUpdateFallbackToCloud",
	} {
		right, ok := managedconfig.Lookup(name)
		if !ok {
			right = "? " + right
		}
		if right != want {
			t.Errorf("%q is %q, want %q", name, right, want)
		}
	}
}

// FuzzSet sets a key in any file. One that was valid stays valid, and has the key;
// taken away again, it can be set again.
func FuzzSet(f *testing.F) {
	for _, file := range []string{`{}`, `{"a":1}`, "{\n \"agent\" : { \"keep\" : 3 , \"x\" : [1,{}] } , \"b\" : {} }\n", "\ufeff{\"agent\":{\"keep\":3}}", `{"agent":{"\u006beep":2}}`,
		`{"cloudService":{"defintionUpdatesInterval":60}}`} {
		f.Add(file, "agent.keep", "4")
		f.Add(file, "cloudService.definitionUpdatesInterval", "90")
		f.Add(file, "agent.hooks.postload.command", `["/a b"]`)
	}
	f.Fuzz(func(t *testing.T, file, key, value string) {
		src := managedconfig.Source{Origin: managedconfig.OriginLocal, File: "f", Data: []byte(file)}
		edited, err := managedconfig.Set(src, key, value)
		if err != nil {
			return
		}
		src.Data = edited
		doc, err := managedconfig.Parse(src)
		if err != nil {
			t.Fatalf("%q became %q: %v", file, edited, err)
		}
		right, _ := managedconfig.Lookup(key)
		for _, row := range managedconfig.Resolve(doc).Rows() {
			if row.Name == right && row.Origin != managedconfig.OriginLocal && value != "null" && !strings.Contains(value, `""`) && value != "" {
				t.Errorf("%q became %q, and %s comes from %s", file, edited, right, row.Origin)
			}
		}
		back, err := managedconfig.Unset(src, key)
		if err != nil {
			return // a hook without its command
		}
		if _, err := managedconfig.Set(managedconfig.Source{File: "f", Data: back}, key, value); err != nil {
			t.Errorf("%q can't be set again: %v", back, err)
		}
	})
}
