package managedconfig

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	want := `cloudService.automaticDefinitionUpdateEnabled true
cloudService.definitionUpdatesInterval 28800
cloudService.definitionUpdateDue 7
cloudService.proxy (not set)
antivirusEngine.offlineDefinitionUpdate disabled
antivirusEngine.offlineDefinitionUpdateUrl (not set)
antivirusEngine.offlineDefinitionUpdateFallbackToCloud false
antivirusEngine.enforcementLevel (not set)
antivirusEngine.scanAfterDefinitionUpdate true
features.offlineDefinitionUpdateVerifySig enabled
scheduledScan.checkForDefinitionsUpdate false
agent.cloudUrl (not set)
agent.product mdatp
agent.ring production
agent.minDefinitionVersion (not set)
agent.keep 2
agent.jitter (not set)
agent.updateWindow (not set)
agent.metricsFile (not set)
agent.connectTimeout 10
agent.tlsTimeout 10
agent.headerTimeout 10
agent.stallTimeout 30
agent.maxDownloadRate 0
agent.proxy (not set)
agent.noProxy (not set)
agent.caFile (not set)
agent.clientCertFile (not set)
agent.clientKeyFile (not set)
agent.credentialsFile (not set)
agent.hooks.preload.command (not set)
agent.hooks.preload.timeoutSeconds 60
agent.hooks.preload.memoryMiB 4096
agent.hooks.postload.command (not set)
agent.hooks.postload.timeoutSeconds 60
agent.hooks.postload.memoryMiB 4096
agent.trust.signers (not set)
agent.trust.profile list
agent.trust.vendorPins (not set)
agent.trust.vendorFiles (not set)
`
	var got strings.Builder
	for _, r := range Defaults().Rows() {
		got.WriteString(r.Name + " " + r.Text + "\n")
		if r.Origin != OriginDefault || r.File != "" {
			t.Errorf("row is %+v", r)
		}
	}
	if got.String() != want {
		t.Errorf("rows are\n%swant\n%s", &got, want)
	}
	s := Defaults()
	if s.Configured() || s.Agent.Jitter.Value != JitterUnset || s.Warnings != nil || s.Withheld != nil {
		t.Errorf("defaults are %+v", s)
	}
}

func TestLayers(t *testing.T) {
	t.Parallel()
	const interval = "cloudService.definitionUpdatesInterval"
	tests := []struct {
		name, managed, local, key string
		want                      any
		origin                    Origin
	}{
		{"managed over local", nest(interval, "100"), nest(interval, "200"), interval, 100, OriginManaged},
		{"local over default", `{}`, nest(interval, "200"), interval, 200, OriginLocal},
		{"key by key", nest("cloudService.definitionUpdateDue", "3"), nest(interval, "200"), interval, 200, OriginLocal},
		{"misspelt managed over right local", nest("cloudService.defintionUpdatesInterval", "100"), nest(interval, "200"), interval, 100, OriginManaged},
		{"old place managed over new local", nest("features.offlineDefinitionUpdate", `"disabled"`), nest("antivirusEngine.offlineDefinitionUpdate", "true"),
			"antivirusEngine.offlineDefinitionUpdate", "disabled", OriginManaged},
		{"the default's value, but managed", nest(interval, "28800"), nest(interval, "200"), interval, 28800, OriginManaged},
		{"zero, but managed", nest(interval, "0"), nest(interval, "200"), interval, 28800, OriginManaged},
		{"empty text counts as not set", nest("antivirusEngine.offlineDefinitionUpdateUrl", `""`), nest("antivirusEngine.offlineDefinitionUpdateUrl", `"/srv"`),
			"antivirusEngine.offlineDefinitionUpdateUrl", "/srv", OriginLocal},
		{"agent in the managed file", nest("agent.ring", `"a"`), nest("agent.ring", `"b"`), "agent.ring", "a", OriginManaged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := Resolve(mustParse(t, OriginManaged, tt.managed), mustParse(t, OriginLocal, tt.local))
			got := row(t, s, tt.key)
			want := Row{Name: tt.key, Value: tt.want, Text: rowText(tt.want), Origin: tt.origin, File: string(tt.origin) + ".json"}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("row is %+v, want %+v", got, want)
			}
		})
	}
}

func TestAbsentFile(t *testing.T) {
	t.Parallel()
	doc, err := Parse(Source{Origin: OriginManaged, File: "m.json"})
	if err != nil {
		t.Fatal(err)
	}
	if got := Resolve(doc, Document{}); !reflect.DeepEqual(got, Defaults()) {
		t.Errorf("settings are %+v", got)
	}
}

func TestLastGoodNeverGivesTrust(t *testing.T) {
	t.Parallel()
	other := "A" + pin[1:]
	kept := mustParse(t, OriginLastGood, `{"agent": {"keep": 3, "trust": {"signers": ["`+pin+`"]}}}`)
	local := mustParse(t, OriginLocal, nest("agent.trust.signers", `["`+other+`"]`))

	s := Resolve(kept, local)
	if s.Agent.Keep.Value != 3 || s.Agent.Keep.Origin != OriginLastGood {
		t.Errorf("keep is %+v", s.Agent.Keep)
	}
	if got := s.Agent.Trust.Signers; got.Origin != OriginLocal || !reflect.DeepEqual(got.Value, []string{other}) {
		t.Errorf("signers are %+v", got)
	}
	if !reflect.DeepEqual(s.Withheld, []string{"agent.trust.signers"}) {
		t.Errorf("withheld is %v", s.Withheld)
	}
	if s := Resolve(kept); s.Agent.Trust.Signers.Value != nil || len(s.Withheld) != 1 {
		t.Errorf("alone: %+v, withheld %v", s.Agent.Trust.Signers, s.Withheld)
	}
}

// TestLastGoodNamesNoFiles: a copy that the agent's own user can write must not
// say which files are read.
func TestLastGoodNamesNoFiles(t *testing.T) {
	t.Parallel()
	kept := mustParse(t, OriginLastGood, `{"agent": {"proxy": "http://p:1", "caFile": "/a", "clientCertFile": "/b", "clientKeyFile": "/c", "credentialsFile": "/d"}}`)
	s := Resolve(kept)
	if a := s.Agent; a.Proxy.Value == "" || a.CAFile.Value+a.ClientCertFile.Value+a.ClientKeyFile.Value+a.CredentialsFile.Value != "" {
		t.Errorf("settings are %+v", a)
	}
	if want := []string{"agent.caFile", "agent.clientCertFile", "agent.clientKeyFile", "agent.credentialsFile"}; !reflect.DeepEqual(s.Withheld, want) {
		t.Errorf("withheld is %v, want %v", s.Withheld, want)
	}
}

func TestOfflineWithoutURL(t *testing.T) {
	t.Parallel()
	managed := mustParse(t, OriginManaged, nest("antivirusEngine.offlineDefinitionUpdate", "true"))
	checkWarnings(t, Resolve(managed).Warnings, "no antivirusEngine.offlineDefinitionUpdateUrl is set")
	local := mustParse(t, OriginLocal, nest("antivirusEngine.offlineDefinitionUpdateUrl", `"/srv"`))
	checkWarnings(t, Resolve(managed, local).Warnings)
}

// TestVendorWithoutProfile: who says who the vendor is and forgets the profile is told that
// nobody asks.
func TestVendorWithoutProfile(t *testing.T) {
	t.Parallel()
	pins := nest("agent.trust.vendorPins", `["`+pin+`:subject:CN=A"]`)
	files := nest("agent.trust.vendorFiles", `["a.vdm"]`)
	const nobodyAsks = " is set, but agent.trust.profile is list, which asks for no signatures of a vendor"
	profile := func(name string) Document {
		return mustParse(t, OriginManaged, nest("agent.trust.profile", `"`+name+`"`))
	}
	checkWarnings(t, Resolve(mustParse(t, OriginLocal, pins)).Warnings, "agent.trust.vendorPins"+nobodyAsks)
	checkWarnings(t, Resolve(mustParse(t, OriginLocal, files)).Warnings, "agent.trust.vendorFiles"+nobodyAsks)
	checkWarnings(t, Resolve(profile(ProfileList), mustParse(t, OriginLocal, pins)).Warnings, "agent.trust.vendorPins"+nobodyAsks)
	checkWarnings(t, Resolve(profile(ProfileListAndVendor), mustParse(t, OriginLocal, pins)).Warnings)
	checkWarnings(t, Resolve(profile(ProfileVendor), mustParse(t, OriginLocal, files)).Warnings)
}

func TestConfigured(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`{}`: false,
		nest("antivirusEngine.enforcementLevel", `"passive"`):                 false,
		nest("agent.keep", `3`):                                               false,
		nest("cloudService.proxy", `"http://p:1"`):                            false,
		nest("cloudService.automaticDefinitionUpdateEnabled", `true`):         true,
		nest("antivirusEngine.offlineDefinitionUpdate", `"disabled"`):         true,
		nest("agent.cloudUrl", `"https://mirror.example/u.zip"`):              true,
		nest("antivirusEngine.offlineDefinitionUpdateUrl", `"h:80/x/"`):       true,
		nest("cloudService.definitionUpdatesInterval", `100`):                 true,
		nest("antivirusEngine.offlineDefintionUpdateFallbackToCloud", `true`): true,
	} {
		if got := Resolve(mustParse(t, OriginLocal, text)).Configured(); got != want {
			t.Errorf("%s: configured is %v", text, got)
		}
	}
}

func TestRowsAreJSON(t *testing.T) {
	t.Parallel()
	s := Resolve(mustParse(t, OriginManaged, `{"antivirusEngine": {"offlineDefinitionUpdateUrl": "h:80/x/"}, "agent": {"trust": {"signers": ["`+pin+`"]}}}`))
	got, err := json.Marshal([]any{
		row(t, s, "antivirusEngine.offlineDefinitionUpdateUrl").Value,
		row(t, s, "agent.trust.signers").Value,
		row(t, s, "agent.jitter").Value,
	})
	if want := `["h:80/x/",["` + pin + `"],null]`; err != nil || string(got) != want {
		t.Errorf("JSON is %s (%v), want %s", got, err, want)
	}
}

func TestError(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	e := &Error{File: "f", Line: 3, Column: 4, Key: "a.b", Value: "7", Problem: "allowed is less", Hint: "h", Err: cause}
	if got, want := e.Error(), "config_invalid: f line 3 column 4, a.b is 7, allowed is less (cause)"; got != want {
		t.Errorf("Error gives %q, want %q", got, want)
	}
	_, err := ParseRingURL("linux/production")
	if want := "config_invalid: linux/production, allowed is " + ringAllowed; err == nil || err.Error() != want {
		t.Errorf("Error gives %v, want %q", err, want)
	}
	if !errors.Is(e, cause) {
		t.Error("the cause is lost")
	}
}

// TestLastGoodRunsNothing: neither what is run nor what is written comes from a
// copy. Without its hook a set would be loaded untested, so that is said; without
// its metrics nothing fails open.
func TestLastGoodRunsNothing(t *testing.T) {
	t.Parallel()
	kept := mustParse(t, OriginLastGood, `{"agent": {"metricsFile": "/m.prom", "hooks": {"preload": {"command": ["/bin/true"]}}}}`)
	s := Resolve(kept)
	if s.Agent.MetricsFile.Value != "" || s.Agent.Hooks.Preload.Command.Value != nil {
		t.Errorf("taken from a copy: %+v", s.Agent)
	}
	if want := []string{"agent.hooks.preload.command"}; !reflect.DeepEqual(s.Withheld, want) {
		t.Errorf("withheld is %v, want %v", s.Withheld, want)
	}
}
