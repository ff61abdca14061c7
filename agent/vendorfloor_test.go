package agent_test

import (
	"testing"
	"time"

	"mdatp-offline-agent/agent"
)

// A time stamp can be taken off by anybody, so what has none comes below what has one,
// and opens no way to one that is older.
func TestVendorAloneStampTakenOff(t *testing.T) {
	t.Parallel()
	w := newAlone(t)
	w.firstAlone(2)
	w.plain(2, map[string]string{"mpavdlta.vdm": w.vdm("vendor", "mpavdlta.vdm", v(2), time.Time{}), "mpavbase.vdm": w.vdm("vendor", "mpavbase.vdm", baseVersion, base.Add(-time.Minute))})
	w.want(agent.Failed, "rollback_refused")
	w.has(2)
	w.plain(3, map[string]string{"mpavdlta.vdm": w.vdm("vendor", "mpavdlta.vdm", v(3), time.Time{})})
	w.want(agent.Failed, "rollback_refused")
	w.want(agent.Updated, "", agent.Options{AllowDowngrade: v(3)})
	w.has(3)
}
