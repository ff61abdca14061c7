package agent_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

// withCloud configures a server's ring and, where that fails, a package of the vendor's
// on the same server; more is more of the agent's section.
func (w *vendored) withCloud(more string) (site *web, cloud string) {
	w.Helper()
	site = w.web()
	w.offline(site.ringURL(), true, fmt.Sprintf(`"cloudUrl":"%s/cloud/updates.zip","trust":{"profile":"vendor","vendorPins":["%s:eku:%s"]}%s`,
		site.URL, w.vendor.Issuer(), sigtest.Usage, more))
	return site, filepath.Join(w.srv, "cloud", "updates.zip")
}

// A mirror that says its files are larger than the disk does not keep the machine from
// the cloud, since nobody signed how large they are.
func TestVendorAloneTooLargeForTheDisk(t *testing.T) {
	w := newAlone(t)
	_, cloud := w.withCloud("")
	w.firstAlone(1)
	mountSmall(t, w.world, 40)
	p := w.pack(2, nil)
	p.bare = true
	w.serve(cloud, w.archive(p))
	p = w.pack(3, map[string]string{"mpavbase.vdm": strings.Repeat("\x00", 64<<20)})
	p.bare, p.deflate = true, true
	w.publish(p)
	w.want(agent.WouldUpdate, "disk_full", agent.Options{DryRun: true})
	w.want(agent.Updated, "disk_full")
	w.has(2)
}
