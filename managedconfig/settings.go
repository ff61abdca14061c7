package managedconfig

import (
	"fmt"
	"strings"
)

// Origin says where a value came from.
type Origin string

// The origins. OriginLastGood is a kept copy that stands in for a broken file.
const (
	OriginManaged  Origin = "managed"
	OriginLocal    Origin = "local"
	OriginDefault  Origin = "default"
	OriginLastGood Origin = "last-good"
)

// Value is one setting and where it came from.
type Value[T any] struct {
	Value  T
	Origin Origin
	File   string // empty for defaults
}

// Settings are all keys that the agent knows, layered. Its zero value is of no
// use; Resolve and Defaults make one.
type Settings struct {
	CloudService    CloudService
	AntivirusEngine AntivirusEngine
	Features        Features
	ScheduledScan   ScheduledScan
	Agent           Agent

	// Warnings are those of all files, in the order of the layers, and those
	// that only the layers together give.
	Warnings []Warning

	// Withheld names the keys (section.key) that a last good copy gives but that
	// are never taken from one. That they are missing is not harmless: without
	// its pins, agent.trust accepts more signers, and without its hook a set is
	// loaded untested, so who finds a key here must not install anything until the
	// file itself is readable again.
	Withheld []string
}

// CloudService is the section cloudService.
type CloudService struct {
	AutomaticDefinitionUpdateEnabled Value[bool]
	DefinitionUpdatesInterval        Value[int]    // seconds, 60 to 86400
	DefinitionUpdateDue              Value[int]    // days, 1 to 30
	Proxy                            Value[string] // http or https URL, or empty
}

// AntivirusEngine is the section antivirusEngine.
type AntivirusEngine struct {
	OfflineDefinitionUpdate                Value[bool] // "enabled" is true
	OfflineDefinitionUpdateURL             Value[RingURL]
	OfflineDefinitionUpdateFallbackToCloud Value[bool]
	EnforcementLevel                       Value[string] // real_time, audit, on_demand, passive, or empty
	ScanAfterDefinitionUpdate              Value[bool]
}

// Features is the section features.
type Features struct {
	// OfflineDefinitionUpdateVerifySig is what the files say, for the report.
	// It decides nothing: verification can't be turned off.
	OfflineDefinitionUpdateVerifySig Value[bool]
}

// ScheduledScan is the section scheduledScan.
type ScheduledScan struct {
	CheckForDefinitionsUpdate Value[bool]
}

// Agent is the section agent: what the real product has no key for.
type Agent struct {
	CloudURL             Value[string] // http or https URL of the package itself, or empty
	Product              Value[string]
	Ring                 Value[string] // where the ring URL's last element names none
	MinDefinitionVersion Value[string] // four numbers joined by dots, or empty
	Keep                 Value[int]    // sets kept on disk, current and previous among them
	Jitter               Value[int]    // seconds, or JitterUnset
	UpdateWindow         Value[Window] // when periodic updates may begin; zero: always
	MetricsFile          Value[string] // absolute path of a file to write, ending in .prom, or empty
	ConnectTimeout       Value[int]    // seconds
	TLSTimeout           Value[int]    // seconds
	HeaderTimeout        Value[int]    // seconds
	StallTimeout         Value[int]    // seconds
	MaxDownloadRate      Value[int]    // bytes per second, 0 for no limit, else at least 1024
	Proxy                Value[string] // http or https URL without credentials, or empty
	NoProxy              Value[string] // hosts that need no proxy, as NO_PROXY has them, or empty
	CAFile               Value[string] // absolute path of more certificates for servers' TLS, or empty
	ClientCertFile       Value[string] // absolute path, or empty
	ClientKeyFile        Value[string] // absolute path, or empty
	CredentialsFile      Value[string] // absolute path, or empty
	Hooks                Hooks
	Trust                Trust
}

// Hooks is the section agent.hooks: programs of the administrator's that have a
// say in what becomes active.
type Hooks struct {
	Preload  Hook // sees a set before it becomes active
	Postload Hook // is told of a set that has become active
}

// Hook is one program. Without a command there is none.
type Hook struct {
	Command        Value[[]string] // the program's absolute path, and its arguments
	TimeoutSeconds Value[int]
	MemoryMiB      Value[int] // of private memory for each of its processes
}

// Trust is the section agent.trust.
type Trust struct {
	Signers    Value[[]string] // SHA-256 of the SPKI, base64; none pins nothing
	Profile    Value[string]   // one of the profiles
	VendorPins Value[[]string] // PIN:subject:NAME or PIN:eku:OID, of which PIN is the issuing CA's; none: nobody is the vendor

	VendorFiles Value[[]string] // names of the files of a package where the profile asks for the vendor; none: under ProfileVendor those of the installed set
}

// The profiles say what a package must prove. ProfileListAndVendor wants the
// vendor's own signatures on the files beside the signed list, and ProfileVendor
// wants these alone.
const (
	ProfileList          = "list"
	ProfileVendor        = "vendor"
	ProfileListAndVendor = "list+vendor"
)

// JitterUnset is the value of Agent.Jitter where no file sets it.
const JitterUnset = -1

// Defaults gives the settings of a machine without any file.
func Defaults() Settings { return Resolve() }

// Resolve layers documents: for each key the first document that has it wins,
// so the managed file comes before the local one, and the defaults last.
func Resolve(docs ...Document) Settings {
	var s Settings
	for _, k := range keys {
		k.reset(&s)
		for i := range docs {
			if !docs[i].given[k.place] {
				continue
			}
			if docs[i].origin == OriginLastGood && k.neverLastGood() {
				if !k.output { // where nothing is written, nothing fails open
					s.Withheld = append(s.Withheld, k.String())
				}
				continue
			}
			k.copy(&s, &docs[i].values)
			break
		}
	}
	for _, d := range docs {
		s.Warnings = append(s.Warnings, d.warnings...)
	}
	return s.withJointWarnings()
}

// withJointWarnings adds what no file by itself can show.
func (s Settings) withJointWarnings() Settings {
	warn := func(file, key, value, problem, hint string) {
		s.Warnings = append(s.Warnings, Warning{File: file, Key: key, Sentence: compose(file, 0, 0, key, value, problem), Hint: hint})
	}
	if offline := s.AntivirusEngine.OfflineDefinitionUpdate; offline.Value && s.AntivirusEngine.OfflineDefinitionUpdateURL.Value.IsZero() {
		warn(offline.File, "antivirusEngine.offlineDefinitionUpdate", "enabled", "but no antivirusEngine.offlineDefinitionUpdateUrl is set",
			"set antivirusEngine.offlineDefinitionUpdateUrl to the mirror, for example http://mirror.example:8000/linux/production/")
	}
	ofVendors := []struct {
		key   string
		value Value[[]string]
	}{{"agent.trust.vendorPins", s.Agent.Trust.VendorPins}, {"agent.trust.vendorFiles", s.Agent.Trust.VendorFiles}}
	for _, of := range ofVendors {
		if len(of.value.Value) > 0 && s.Agent.Trust.Profile.Value == ProfileList {
			warn(of.value.File, of.key, "set", "but agent.trust.profile is list, which asks for no signatures of a vendor",
				"set agent.trust.profile to list+vendor or to vendor, or remove "+of.key)
		}
	}
	if profile := s.Agent.Trust.Profile; profile.Value != ProfileList && len(s.Agent.Trust.VendorPins.Value) == 0 {
		warn(profile.File, "agent.trust.profile", profile.Value, "but until agent.trust.vendorPins is set, no update works and what is installed counts as not valid",
			HintNoVendor)
	}
	return s
}

// HintNoVendor is the remedy where a profile asks for the vendor's signatures, and nobody
// is configured who would be the vendor.
const HintNoVendor = "set agent.trust.vendorPins to the issuing CA and the subject of who signs the files, or set agent.trust.profile to list"

// Configured tells whether a file sets a key that steers updates: whether they
// happen, when, or where from. A machine where none does was never meant to be
// updated by the agent.
func (s Settings) Configured() bool {
	for _, k := range keys {
		if k.steers && k.row(&s).Origin != OriginDefault {
			return true
		}
	}
	return false
}

// Row is one setting as a report shows it.
type Row struct {
	Name   string // section.key
	Value  any    // bool, int, string, []string, or nil where nothing is set
	Text   string // Value for people, on one line
	Origin Origin
	File   string // empty for defaults
}

// Rows gives every key in a fixed order, set or not.
func (s Settings) Rows() []Row {
	rows := make([]Row, 0, len(keys))
	for _, k := range keys {
		rows = append(rows, k.row(&s))
	}
	return rows
}

// rowText is v for people.
func rowText(v any) string {
	switch v := v.(type) {
	case nil:
		return "(not set)"
	case []string:
		return strings.Join(v, " ")
	}
	return fmt.Sprint(v)
}
