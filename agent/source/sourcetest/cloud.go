package sourcetest

import (
	"fmt"
	"strings"
	"testing"
)

// Cloud runs nginx as the vendor's cloud on a free loopback port until the test
// ends, and gives its address, to which a query is added: linkid, and where it is
// wanted arch, engRing and sigRing, and action=info. It redirects to what lies
// below dir as PLATFORM/RING/arch_ARCH/updates.zip and info.xml. directives, such
// as limit_rate, count for all of these.
func Cloud(t testing.TB, dir string, directives ...string) string {
	t.Helper()
	var packages strings.Builder
	for _, platform := range []struct{ name, link string }{{"linux", "2144709"}, {"mac", "2120136"}} {
		for _, ring := range []struct{ name, query string }{{"production", ":"}, {"preview", "3:1"}} {
			for _, arch := range []struct{ name, query string }{{"x86_64", ""}, {"arm64", "arm64"}} {
				fmt.Fprintf(&packages, "    %q %q;\n", platform.link+":"+arch.query+":"+ring.query, platform.name+"/"+ring.name+"/arch_"+arch.name)
			}
		}
	}
	base := nginx(t, fmt.Sprintf(`
  map "$arg_linkid:$arg_arch:$arg_engRing:$arg_sigRing" $package {
    default none;
%s  }
  map $arg_action $object { default updates.zip; info info.xml; }`, packages.String()), fmt.Sprintf(`
    location = /fwlink/ { return 302 http://$http_host/cdn/$package/$object; }
    location /cdn/ {
      alias %q;
      %s
    }`, strings.TrimSuffix(dir, "/")+"/", strings.Join(directives, "\n      ")))
	return base + "/fwlink/"
}
