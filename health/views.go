package health

import (
	"cmp"
	"slices"
	"time"
)

// Definitions gives the view of `health --details definitions`: twelve rows,
// whatever the facts. JSON has some keys more: engine version and times of the
// signed list, the schedule, the notes, and what to do about the fail reason.
func Definitions(f Facts) Report {
	in := installedOrZero(f)
	return Report{
		kind: "getHealthDetailsDefinitionsResult",
		rows: []row{
			setting("automatic_definition_update_enabled", boolean(f.AutomaticUpdate.Value), f.AutomaticUpdate.Managed),
			plain("definitions_updated", date(in.Updated, f.Location)),
			plain("definitions_updated_minutes_ago", minutesBetween(in.Updated, f.Now)),
			plain("definitions_version", known(in.DefinitionVersion)),
			plain("definitions_status", status(Status(f))),
			plain("definitions_update_source_uri", known(f.SourceURI)),
			plain("definitions_update_fail_reason", quoted(f.Failure.String())),
			setting("offline_definition_url_configured", known(f.OfflineURL.Value), f.OfflineURL.Managed),
			setting("offline_definition_update", enabledOrDisabled(f.OfflineEnabled.Value), f.OfflineEnabled.Managed),
			// No setting turns verification off, so neither row carries a marker.
			plain("offline_definition_update_verify_sig", enabledOrDisabled(true)),
			plain("engine_signature_verification", enabledOrDisabled(true)),
			setting("offline_definition_update_fallback_to_cloud", boolean(f.FallbackToCloud.Value), f.FallbackToCloud.Managed),
		},
		more: []row{
			plain("definitions_released", date(in.Released, f.Location)),
			plain("definitions_issued", date(in.Issued, f.Location)),
			plain("definitions_expires", date(in.Expires, f.Location)),
			plain("definitions_last_attempt", date(f.LastAttempt, f.Location)),
			plain("definitions_last_success", date(f.LastSuccess, f.Location)),
			plain("definitions_next_check", date(f.NextCheck, f.Location)),
			plain("definitions_update_rule", quoted(f.Rule)),
			plain("definitions_source_isolation", known(f.Isolation)),
			plain("definitions_trust_profile", known(f.Profile)),
			plain("definitions_update_fail_hint", known(hint(f.Failure))),
			plain("engine_version", known(in.EngineVersion)),
			plain("notes", list(f.Notes)),
		},
	}
}

// SummaryFacts are what the general view knows beyond Facts.
type SummaryFacts struct {
	AppVersion  string // of this agent; "" where unknown
	ReleaseRing string // ring of definitions that the endpoint follows; "" where unknown
}

// Summary gives the view of plain `health`: the rows of the real product in their
// order, and behind them those of ours: when it will look for news, and which rule
// says never. This agent scans nothing, sends nothing and belongs to no
// organisation, so what the product has for that is off, or unavailable. It asks
// for no licence.
func Summary(f Facts, s SummaryFacts) Report {
	in := installedOrZero(f)
	return Report{
		kind: "getHealthAllResult",
		rows: []row{
			plain("healthy", boolean(Status(f) == UpToDate)),
			plain("health_issues", list(issues(f))),
			plain("licensed", boolean(true)),
			plain("engine_version", known(in.EngineVersion)),
			plain("app_version", known(s.AppVersion)),
			plain("org_id", unavailable()),
			plain("log_level", unavailable()), // each run has its own
			plain("machine_guid", unavailable()),
			plain("release_ring", known(s.ReleaseRing)),
			plain("product_expiration", unavailable()),
			off("cloud_enabled", boolean(false)),
			off("cloud_automatic_sample_submission_consent", quoted("none")),
			off("cloud_diagnostic_enabled", boolean(false)),
			setting("passive_mode_enabled", boolean(f.Enforcement.Value == "passive"), f.Enforcement.Managed),
			off("behavior_monitoring", enabledOrDisabled(false)),
			off("real_time_protection_enabled", boolean(false)),
			plain("real_time_protection_available", boolean(false)),
			plain("real_time_protection_subsystem", unavailable()),
			plain("supplementary_events_subsystem", unavailable()),
			off("tamper_protection", enabledOrDisabled(false)),
			setting("automatic_definition_update_enabled", boolean(f.AutomaticUpdate.Value), f.AutomaticUpdate.Managed),
			plain("definitions_updated", date(in.Updated, f.Location)),
			plain("definitions_updated_minutes_ago", minutesBetween(in.Updated, f.Now)),
			plain("definitions_version", known(in.DefinitionVersion)),
			plain("definitions_status", status(Status(f))),
			off("edr_early_preview_enabled", enabledOrDisabled(false)),
			off("edr_device_tags", list(nil)),
			off("edr_group_ids", quoted("")),
			plain("edr_configuration_version", unavailable()),
			plain("edr_machine_id", unavailable()),
			plain("conflicting_applications", list(nil)),
			plain("network_protection_status", quoted("stopped")),
			off("network_protection_enforcement_level", enabledOrDisabled(false)),
			plain("troubleshooting_mode", boolean(false)),

			// What later versions of the product have, at places that nobody has published.
			plain("engine_load_status", quoted("Engine not loaded")),
			setting("antivirus_enforcement_level", known(f.Enforcement.Value), f.Enforcement.Managed),
			off("managed_by", quoted("")).unless(false),
			proxy(f.Proxy),

			plain("definitions_next_check", date(f.NextCheck, f.Location)),
			plain("definitions_update_rule", quoted(f.Rule)),
		},
	}
}

// proxy is hidden from the table, as in the real product, unless there is one.
func proxy(p *Setting[string]) row {
	if p == nil {
		return setting("proxy", unavailable(), false).unless(false)
	}
	return setting("proxy", quoted(cmp.Or(p.Value, "None")), p.Managed).unless(p.Value != "")
}

// off is a setting of the product's that nobody can turn on here.
func off(name string, v value) row { return setting(name, v, false) }

// Features gives the view of `health --details features`. Of the real product's
// three rows of it are known; the others are ours: what updates are made of, and
// when that ends which the installed set rests on.
func Features(f Facts) Report {
	return Report{
		kind: "getHealthDetailsFeaturesResult",
		rows: []row{
			off("behavior_monitoring", enabledOrDisabled(false)),
			plain("offline_definition_update_verify_sig", enabledOrDisabled(true)),
			plain("engine_signature_verification", enabledOrDisabled(true)),
			setting("offline_definition_update", enabledOrDisabled(f.OfflineEnabled.Value), f.OfflineEnabled.Managed),
			setting("offline_definition_update_fallback_to_cloud", boolean(f.FallbackToCloud.Value), f.FallbackToCloud.Managed),
			setting("automatic_definition_update_enabled", boolean(f.AutomaticUpdate.Value), f.AutomaticUpdate.Managed),
			plain("definitions_source_isolation", known(f.Isolation)),
			plain("definitions_signer_expires", date(endOf(f, "signer"), f.Location)),
			plain("definitions_intermediate_expires", date(endOf(f, "intermediate"), f.Location)),
			plain("definitions_root_expires", date(endOf(f, "root"), f.Location)),
			plain("definitions_crl_expires", date(endOf(f, "crl"), f.Location)),
			plain("definitions_expires", date(endOf(f, "list"), f.Location)),
			plain("definitions_expiry_warnings", list(warnings(f))),
		},
	}
}

// issues lists what is not as it should be, as codes. It may name some while
// the endpoint is healthy: a fallback covered for a mirror that fails, which
// nobody would learn otherwise, or the clock is wrong.
func issues(f Facts) []string {
	var codes []string
	if s := Status(f); s != UpToDate {
		codes = append(codes, s)
	}
	if f.Failure != nil {
		codes = append(codes, f.Failure.Code)
	}
	if slices.Contains(f.Notes, NoteClockWrong) {
		codes = append(codes, NoteClockWrong)
	}
	if len(warnings(f)) > 0 {
		codes = append(codes, IssueExpiry)
	}
	return codes
}

// installedOrZero gives the active set, or one whose values all show as
// unavailable.
func installedOrZero(f Facts) Installed {
	if f.Installed == nil {
		return Installed{}
	}
	return *f.Installed
}

// minutesBetween gives the whole minutes from then to now. A clock that was set
// back gives 0: consumers read the number as unsigned.
func minutesBetween(then, now time.Time) value {
	if then.IsZero() {
		return unavailable()
	}
	return number(max(0, int64(now.Sub(then)/time.Minute)))
}

// hint gives what to do about a failure, "" where there is none.
func hint(f *Failure) string {
	if f == nil {
		return ""
	}
	return f.Hint
}
