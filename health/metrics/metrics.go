package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mdatp-offline-agent/health"
)

// prefix is what every name begins with.
const prefix = "mdatp_agent_"

// samples collects what is known. It is the prometheus.Collector of one file.
type samples []prometheus.Metric

// Describe says nothing, so that the registry checks what is collected instead.
func (samples) Describe(chan<- *prometheus.Desc) {}

// Collect gives the samples.
func (s samples) Collect(to chan<- prometheus.Metric) {
	for _, m := range s {
		to <- m
	}
}

// label is one label of a sample.
type label struct{ name, value string }

// gauge adds a value that may go up and down.
func (s *samples) gauge(name, help string, value float64, labels ...label) {
	s.add(prometheus.GaugeValue, name, help, value, labels)
}

// counter adds a value that only grows. One below zero would be no counter.
func (s *samples) counter(name, help string, value int64, labels ...label) {
	s.add(prometheus.CounterValue, name, help, float64(max(0, value)), labels)
}

func (s *samples) add(kind prometheus.ValueType, name, help string, value float64, labels []label) {
	var names, values []string
	for _, l := range labels {
		names, values = append(names, l.name), append(values, valid(l.value))
	}
	desc := prometheus.NewDesc(prefix+name, help, names, nil)
	m, err := prometheus.NewConstMetric(desc, kind, value, values...)
	if err != nil { // found again by Gather, which gives it to the caller
		m = prometheus.NewInvalidMetric(desc, err)
	}
	*s = append(*s, m)
}

// at adds a point in time as a Unix time, unless it is not known.
func (s *samples) at(name, help string, t time.Time, labels ...label) {
	if !t.IsZero() {
		s.gauge(name, help, float64(t.Unix()), labels...)
	}
}

// either adds a 1 or a 0.
func (s *samples) either(name, help string, is bool, labels ...label) {
	value := 0.0
	if is {
		value = 1
	}
	s.gauge(name, help, value, labels...)
}

// valid makes any bytes UTF-8, which values of labels have to be.
func valid(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// collect turns facts into samples. app is the program's version.
func collect(f health.Facts, app string) samples {
	var s samples
	s.gauge("build_info", "The version of the agent, always 1.", 1, label{"version", app})
	s.installed(f)
	s.state(f)
	s.schedule(f)
	s.work(f.Totals)
	return s
}

// installed is about the active set.
func (s *samples) installed(f health.Facts) {
	if f.Due > 0 {
		s.gauge("definitions_due_seconds", "The age from their release at which definitions are out of date.", f.Due.Seconds())
	}
	s.at("trust_expiry_timestamp_seconds", "The earliest end of a certificate in the chain of the active set's signer.", f.TrustExpires)
	for _, e := range f.Endings {
		s.at("expiry_timestamp_seconds", "Until when the earliest object of its kind holds that the active set rests on, or without one that lies in the trust directory.", e.At, label{"object", e.Object})
		s.at("expiry_warning_timestamp_seconds", "When to begin to warn of that end.", e.From, label{"object", e.Object})
	}
	if f.SourceURI != "" {
		s.gauge("source_info", "Where the active set came from, always 1.", 1, label{"uri", f.SourceURI})
	}
	if f.Installed == nil {
		return
	}
	s.gauge("definitions_info", "The versions of the active set, always 1.", 1,
		label{"definitions_version", f.Installed.DefinitionVersion}, label{"engine_version", f.Installed.EngineVersion})
	s.at("definitions_released_timestamp_seconds", "When the content of the active set was made.", f.Installed.Released)
	s.at("definitions_issued_timestamp_seconds", "When the list of the active set was signed.", f.Installed.Issued)
	s.at("definitions_expires_timestamp_seconds", "Until when the active set may be relied on.", f.Installed.Expires)
	s.at("definitions_updated_timestamp_seconds", "When the active set became active.", f.Installed.Updated)
}

// state is how the definitions are, and how the last attempt ended.
func (s *samples) state(f health.Facts) {
	current := health.Status(f)
	for _, status := range []string{health.Unavailable, health.Updating, health.OutOfDate, health.UpdateFailed, health.UpToDate} {
		s.either("definitions_status", "The status of the definitions, 1 for the one that holds.", status == current, label{"status", status})
	}
	if code := result(f); code != "" {
		s.gauge("last_result", "The reason code that the health report shows, or ok, always 1.", 1, label{"code", code})
	}
	s.either("fallback_in_use", "Whether the last update came from the fallback, since the source before it failed.", f.Fallback)
}

// ok is the code of what worked.
const ok = "ok"

// result is the code that the report shows, ok where an attempt left none, and
// "" where nobody knows.
func result(f health.Facts) string {
	switch {
	case f.Failure != nil:
		return f.Failure.Code
	case f.UpdateFailed || f.LastAttempt.IsZero():
		return ""
	}
	return ok
}

// schedule is when updates were and will be made.
func (s *samples) schedule(f health.Facts) {
	s.either("periodic_updates_enabled", "Whether no rule keeps periodic updates off.", f.Rule == "")
	s.at("next_check_timestamp_seconds", "When the next periodic update is due.", f.NextCheck)
	s.at("last_attempt_timestamp_seconds", "When an update was last tried.", f.LastAttempt)
	s.at("last_success_timestamp_seconds", "When an update last worked, whether or not there was something new.", f.LastSuccess)
	if f.LastDuration > 0 {
		s.gauge("last_update_duration_seconds", "How long the last attempt took.", f.LastDuration.Seconds())
	}
}

// work is what was done since the state was made. The result ok is there from
// the first day, so that a rate over it has a beginning.
func (s *samples) work(t health.Totals) {
	s.counter("downloaded_bytes_total", "Bytes that came from sources.", t.Downloaded)
	s.counter("reused_bytes_total", "Bytes of installed files that were at hand already.", t.Reused)
	s.counter("source_requests_total", "Requests made to sources.", t.Requests)
	runs := map[string]int64{ok: 0}
	for code, n := range t.Runs {
		runs[valid(code)] += n
	}
	for code, n := range runs {
		s.counter("update_runs_total", "Recorded runs by reason code, ok for those that worked.", n, label{"result", code})
	}
}
