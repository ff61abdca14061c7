package managedconfig

import "regexp"

// place is where a key stands: the name of its section, joined by dots and
// empty for the top level, and its own name. It is a pair and no joined text,
// so that a key that itself contains a dot is never taken for a nested one.
type place struct{ section, name string }

// String joins both.
func (p place) String() string {
	if p.section == "" {
		return p.name
	}
	return p.section + "." + p.name
}

// key is one key of ours. Its functions are bound to one field of Settings.
type key struct {
	place
	steers bool // see Settings.Configured
	path   bool // names a file that is read with the agent's rights
	output bool // names a file that is written with them

	load  func(to *Settings, l literal, origin Origin, file string) (remark, *Error)
	copy  func(to, from *Settings)
	reset func(to *Settings)
	row   func(from *Settings) Row
}

// neverLastGood tells whether the key may come from the file itself only, since
// a last good copy lies where the agent's own user can write, and must neither
// say whom to trust nor what to run nor which files to read and write.
func (k key) neverLastGood() bool { return k.path || k.output || closed(k.section) }

// sections are the objects of a file that are looked into. The others belong to
// the rest of the product.
var sections = []place{
	{"", "cloudService"}, {"", "antivirusEngine"}, {"", "features"}, {"", "scheduledScan"}, {"", "agent"},
	{"agent", "trust"}, {"agent", "hooks"}, preload, postload,
}

// The sections of the two hooks.
var (
	preload  = place{"agent.hooks", "preload"}
	postload = place{"agent.hooks", "postload"}
)

// closed tells whether a section tolerates no unknown key.
func closed(section string) bool {
	return section == "agent.trust" || section == "agent.hooks" || section == preload.String() || section == postload.String()
}

// aliases are the wrong names that are in use in the field, and their keys. The
// product's own documents had the first and the last for years, its local file
// still has the second, and its first preview had the third.
var aliases = map[place]place{
	{"antivirusEngine", "offlineDefintionUpdateFallbackToCloud"}: {"antivirusEngine", "offlineDefinitionUpdateFallbackToCloud"},
	{"cloudService", "defintionUpdatesInterval"}:                 {"cloudService", "definitionUpdatesInterval"},
	{"features", "offlineDefinitionUpdate"}:                      {"antivirusEngine", "offlineDefinitionUpdate"},
	{"features", "OfflineDefinitionUpdateVerifySig"}:             {"features", "offlineDefinitionUpdateVerifySig"},
}

// retired are the product's older names for what enforcementLevel says now. They would
// turn periodic updates off, and whoever still writes them should not be left to think
// that they do.
var retired = []place{{"antivirusEngine", "passiveMode"}, {"antivirusEngine", "enableRealTimeProtection"}}

// nameForm is the form of product and ring names in a signed list.
var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// keys is every key of ours, in the order of the report.
var keys = []key{
	steering(define("cloudService", "automaticDefinitionUpdateEnabled", true, readBool, asIs,
		func(s *Settings) *Value[bool] { return &s.CloudService.AutomaticDefinitionUpdateEnabled })),
	steering(define("cloudService", "definitionUpdatesInterval", defaultInterval, readInterval, asIs,
		func(s *Settings) *Value[int] { return &s.CloudService.DefinitionUpdatesInterval })),
	define("cloudService", "definitionUpdateDue", 7, readInt(1, 30, "days"), asIs,
		func(s *Settings) *Value[int] { return &s.CloudService.DefinitionUpdateDue }),
	define("cloudService", "proxy", "", readProxy, unlessEmpty,
		func(s *Settings) *Value[string] { return &s.CloudService.Proxy }),

	steering(define("antivirusEngine", "offlineDefinitionUpdate", false, readBool, asSwitch,
		func(s *Settings) *Value[bool] { return &s.AntivirusEngine.OfflineDefinitionUpdate })),
	steering(define("antivirusEngine", "offlineDefinitionUpdateUrl", RingURL{}, readRingURL, asRaw,
		func(s *Settings) *Value[RingURL] { return &s.AntivirusEngine.OfflineDefinitionUpdateURL })),
	steering(define("antivirusEngine", "offlineDefinitionUpdateFallbackToCloud", false, readBool, asIs,
		func(s *Settings) *Value[bool] { return &s.AntivirusEngine.OfflineDefinitionUpdateFallbackToCloud })),
	define("antivirusEngine", "enforcementLevel", "", readOneOf("real_time", "audit", "on_demand", "passive"), unlessEmpty,
		func(s *Settings) *Value[string] { return &s.AntivirusEngine.EnforcementLevel }),
	define("antivirusEngine", "scanAfterDefinitionUpdate", true, readBool, asIs,
		func(s *Settings) *Value[bool] { return &s.AntivirusEngine.ScanAfterDefinitionUpdate }),

	define("features", "offlineDefinitionUpdateVerifySig", true, readVerifySig, asSwitch,
		func(s *Settings) *Value[bool] { return &s.Features.OfflineDefinitionUpdateVerifySig }),
	define("scheduledScan", "checkForDefinitionsUpdate", false, readBool, asIs,
		func(s *Settings) *Value[bool] { return &s.ScheduledScan.CheckForDefinitionsUpdate }),

	steering(define("agent", "cloudUrl", "", readCloudURL, unlessEmpty,
		func(s *Settings) *Value[string] { return &s.Agent.CloudURL })),
	define("agent", "product", "mdatp", readName, asIs,
		func(s *Settings) *Value[string] { return &s.Agent.Product }),
	define("agent", "ring", "production", readName, asIs,
		func(s *Settings) *Value[string] { return &s.Agent.Ring }),
	define("agent", "minDefinitionVersion", "", readVersion, unlessEmpty,
		func(s *Settings) *Value[string] { return &s.Agent.MinDefinitionVersion }),
	define("agent", "keep", 2, readInt(2, 10, "sets"), asIs,
		func(s *Settings) *Value[int] { return &s.Agent.Keep }),
	define("agent", "jitter", JitterUnset, readInt(0, 86400, "seconds"), unlessNegative,
		func(s *Settings) *Value[int] { return &s.Agent.Jitter }),
	define("agent", "updateWindow", Window{}, readWindow, asWindow,
		func(s *Settings) *Value[Window] { return &s.Agent.UpdateWindow }),
	writing(define("agent", "metricsFile", "", readMetricsFile, unlessEmpty,
		func(s *Settings) *Value[string] { return &s.Agent.MetricsFile })),
	define("agent", "connectTimeout", 10, readInt(1, 600, "seconds"), asIs,
		func(s *Settings) *Value[int] { return &s.Agent.ConnectTimeout }),
	define("agent", "tlsTimeout", 10, readInt(1, 600, "seconds"), asIs,
		func(s *Settings) *Value[int] { return &s.Agent.TLSTimeout }),
	define("agent", "headerTimeout", 10, readInt(1, 600, "seconds"), asIs,
		func(s *Settings) *Value[int] { return &s.Agent.HeaderTimeout }),
	define("agent", "stallTimeout", 30, readInt(5, 3600, "seconds"), asIs,
		func(s *Settings) *Value[int] { return &s.Agent.StallTimeout }),
	define("agent", "maxDownloadRate", 0, readRate, asIs,
		func(s *Settings) *Value[int] { return &s.Agent.MaxDownloadRate }),
	define("agent", "proxy", "", readAgentProxy, unlessEmpty,
		func(s *Settings) *Value[string] { return &s.Agent.Proxy }),
	define("agent", "noProxy", "", readOptionalText, unlessEmpty,
		func(s *Settings) *Value[string] { return &s.Agent.NoProxy }),
	naming(define("agent", "caFile", "", readPath, unlessEmpty,
		func(s *Settings) *Value[string] { return &s.Agent.CAFile })),
	naming(define("agent", "clientCertFile", "", readPath, unlessEmpty,
		func(s *Settings) *Value[string] { return &s.Agent.ClientCertFile })),
	naming(define("agent", "clientKeyFile", "", readPath, unlessEmpty,
		func(s *Settings) *Value[string] { return &s.Agent.ClientKeyFile })),
	naming(define("agent", "credentialsFile", "", readPath, unlessEmpty,
		func(s *Settings) *Value[string] { return &s.Agent.CredentialsFile })),
	hookCommand(preload, func(s *Settings) *Hook { return &s.Agent.Hooks.Preload }),
	hookTimeout(preload, func(s *Settings) *Hook { return &s.Agent.Hooks.Preload }),
	hookMemory(preload, func(s *Settings) *Hook { return &s.Agent.Hooks.Preload }),
	hookCommand(postload, func(s *Settings) *Hook { return &s.Agent.Hooks.Postload }),
	hookTimeout(postload, func(s *Settings) *Hook { return &s.Agent.Hooks.Postload }),
	hookMemory(postload, func(s *Settings) *Hook { return &s.Agent.Hooks.Postload }),
	define("agent.trust", "signers", nil, readSigners, unlessNone,
		func(s *Settings) *Value[[]string] { return &s.Agent.Trust.Signers }),
	define("agent.trust", "profile", ProfileList, readOneOf(ProfileList, ProfileVendor, ProfileListAndVendor), asIs,
		func(s *Settings) *Value[string] { return &s.Agent.Trust.Profile }),
	define("agent.trust", "vendorPins", nil, readVendorPins, unlessNone,
		func(s *Settings) *Value[[]string] { return &s.Agent.Trust.VendorPins }),
	define("agent.trust", "vendorFiles", nil, readFileNames, unlessNone,
		func(s *Settings) *Value[[]string] { return &s.Agent.Trust.VendorFiles }),
}

// define binds a key to its field: what it is where no file sets it, how it is
// read from a file, and how it is shown.
func define[T any](section, name string, fallback T, read reader[T], show func(T) any, field func(*Settings) *Value[T]) key {
	at := place{section, name}
	return key{
		place: at,
		load: func(to *Settings, l literal, origin Origin, file string) (remark, *Error) {
			v, note, err := read(l)
			if err == nil && !note.unset {
				*field(to) = Value[T]{Value: v, Origin: origin, File: file}
			}
			return note, err
		},
		copy:  func(to, from *Settings) { *field(to) = *field(from) },
		reset: func(to *Settings) { *field(to) = Value[T]{Value: fallback, Origin: OriginDefault} },
		row: func(from *Settings) Row {
			v := field(from)
			shown := show(v.Value)
			return Row{Name: at.String(), Value: shown, Text: rowText(shown), Origin: v.Origin, File: v.File}
		},
	}
}

// steering marks a key for Settings.Configured.
func steering(k key) key {
	k.steers = true
	return k
}

// naming marks a key that names a file.
func naming(k key) key {
	k.path = true
	return k
}

// writing marks a key that names a file to write.
func writing(k key) key {
	k.output = true
	return k
}

// The keys of one hook.

func hookCommand(of place, hook func(*Settings) *Hook) key {
	return define(of.String(), "command", nil, readCommand, unlessNone, func(s *Settings) *Value[[]string] { return &hook(s).Command })
}

func hookTimeout(of place, hook func(*Settings) *Hook) key {
	return define(of.String(), "timeoutSeconds", 60, readInt(1, 3600, "seconds"), asIs, func(s *Settings) *Value[int] { return &hook(s).TimeoutSeconds })
}

func hookMemory(of place, hook func(*Settings) *Hook) key {
	return define(of.String(), "memoryMiB", 4096, readInt(16, 1<<20, "MiB"), asIs, func(s *Settings) *Value[int] { return &hook(s).MemoryMiB })
}

// keyAt finds the key that stands at p, under its own name or a known wrong one.
func keyAt(p place) (key, bool) {
	if right, ok := aliases[p]; ok {
		p = right
	}
	for _, k := range keys {
		if k.place == p {
			return k, true
		}
	}
	return key{}, false
}

// How values are shown: nil stands for nothing set.

func asIs[T any](v T) any { return v }

func asRaw(u RingURL) any { return unlessEmpty(u.Raw) }

// asSwitch is the spelling that the product's own files have.
func asSwitch(on bool) any {
	if on {
		return "enabled"
	}
	return "disabled"
}

func unlessEmpty(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func asWindow(w Window) any { return unlessEmpty(w.String()) }

func unlessNegative(n int) any {
	if n < 0 {
		return nil
	}
	return n
}

func unlessNone(list []string) any {
	if len(list) == 0 {
		return nil
	}
	return list
}
