package managedconfig

import (
	"strings"
	"testing"
)

func TestParseRingURL(t *testing.T) {
	t.Parallel()
	tests := []struct {
		raw  string
		want string // Arch("x86_64"), as URL or directory
		ring string
		back bool
	}{
		{"http://172.22.199.67:8000/linux/production/", "http://172.22.199.67:8000/linux/production/arch_x86_64", "production", false},
		{"http://h/linux/production", "http://h/linux/production/arch_x86_64", "production", false},
		{"http://h/linux/production//", "http://h/linux/production/arch_x86_64", "production", false},
		{"HTTPS://H.example:8443/linux/preview_back/", "https://H.example:8443/linux/preview_back/arch_x86_64", "preview", true},
		{"www.example.server.com:8000/linux/production/", "http://www.example.server.com:8000/linux/production/arch_x86_64", "production", false},
		{"mirror.example/linux/custom_back", "http://mirror.example/linux/custom_back/arch_x86_64", "", true},
		{"mirror:8000/x", "http://mirror:8000/x/arch_x86_64", "", false},
		{"file:8000/x", "http://file:8000/x/arch_x86_64", "", false},
		{"[fd00::1]:8000/linux/production/", "http://[fd00::1]:8000/linux/production/arch_x86_64", "production", false},
		{"http://[fd00::1]/production_back", "http://[fd00::1]/production_back/arch_x86_64", "production", true},
		{"http://[fe80::1%25eth0]:80/p", "http://[fe80::1%25eth0]:80/p/arch_x86_64", "", false},
		{"http://h", "http://h/arch_x86_64", "", false},
		{"http://h/a%2Fb/c%20d/production/", "http://h/a%2Fb/c%20d/production/arch_x86_64", "production", false},
		{"http://h/a b/", "http://h/a%20b/arch_x86_64", "", false},
		{"http://h/%70roduction/", "http://h/%70roduction/arch_x86_64", "", false},
		{"http://h/arch_x86_64/production", "http://h/arch_x86_64/production/arch_x86_64", "production", false},
		{"http://h/@scope/production", "http://h/@scope/production/arch_x86_64", "production", false},
		{"/tmp/wdav-update/linux/production", "/tmp/wdav-update/linux/production/arch_x86_64", "production", false},
		{"/srv/x/../linux//preview_back/", "/srv/linux/preview_back/arch_x86_64", "preview", true},
		{"/srv/what?/#1", "/srv/what?/#1/arch_x86_64", "", false},
		{"/", "/arch_x86_64", "", false},
		{"file:///srv/linux/production", "/srv/linux/production/arch_x86_64", "production", false},
		{"file://localhost/srv/a%20b/", "/srv/a b/arch_x86_64", "", false},
		{"FILE:///srv/../etc", "/etc/arch_x86_64", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.raw, func(t *testing.T) {
			t.Parallel()
			u, err := ParseRingURL(tt.raw)
			if err != nil {
				t.Fatal(err)
			}
			if u.IsZero() || (u.Dir == "") == (u.URL == nil) || u.Raw != tt.raw {
				t.Errorf("ring URL is %+v", u)
			}
			arch := u.Arch("x86_64")
			got := arch.Dir
			if arch.URL != nil {
				got = arch.URL.String()
			}
			if got != tt.want || arch.Raw != tt.raw {
				t.Errorf("Arch is %q (raw %q), want %q", got, arch.Raw, tt.want)
			}
			ring, ok := u.Ring()
			if ring != tt.ring || ok != (tt.ring != "") || u.Back() != tt.back {
				t.Errorf("ring %q %v, back %v", ring, ok, u.Back())
			}
		})
	}
}

func TestParseRingURLRefused(t *testing.T) {
	t.Parallel()
	tests := []struct{ raw, sentence, hint string }{
		{"http://h:8000/linux/production/arch_x86_64", "http://h:8000/linux/production/arch_x86_64, it must end at the ring", "set it to http://h:8000/linux/production/"},
		{"http://h/linux/production/arch_arm64/", "it must end at the ring", "set it to http://h/linux/production/"},
		{"h:80/linux/a%2Fb/arch_riscv64/updates.zip", "it must end at the ring", "set it to http://h:80/linux/a%2Fb/"},
		{"http://h/linux/production/updates.zip?x=1", "it must end at the ring", "set it to http://h/linux/production/"},
		{"/srv/linux/production/arch_x86_64", "it must end at the ring", "set it to /srv/linux/production"},
		{"/srv/linux/production/arch_x86_64/updates.zip", "it must end at the ring", "set it to /srv/linux/production"},
		{"file:///srv/production/arch_x86_64/", "it must end at the ring", "set it to /srv/production"},
		{"http://h/production/?sig=s3cret", "http://h/production/?..., allowed is a URL without query", "set it to http://h/production/"},
		{"http://h/production/?", "without query", "set it to http://h/production/"},
		{"http://h/production/#top", "without query", "set it to http://h/production/"},
		{"http://h/production/#", "without query", "set it to http://h/production/"},
		{"mirror.example?x", "without query", "set it to http://mirror.example"},
		{"file:///srv/production?x", "file URL without query", "set it to /srv/production"},
		{"http://user:s3cret@h/production/", "http://***@h/production/, allowed is a URL without credentials", "can read this file"},
		{"user:s3cret@h.example/production/", "***@h.example/production/, allowed is a URL without credentials", ""},
		{"http://user:s3/cret@h/production/", "http://***@h/production/", ""},
		{"http://@h/production/", "without credentials", ""},
		{"ftp://h/production", "allowed is an http or https URL, file:///directory or an absolute directory", "mount the share"},
		{"smb://h/production", "allowed is", "mount the share"},
		{"nfs://h/production", "allowed is", "mount the share"},
		{"nas:/export/production", "allowed is", "put a port behind the colon"},
		{"http:/h/production", "allowed is", "two slashes"},
		{"file:/srv/production", "allowed is", "two slashes"},
		{"https://", "a URL with a host", ""},
		{"https:///linux/production", "a URL with a host", ""},
		{"http://:8000/production", "a URL with a host", ""},
		{"http://h:/production", "a URL with a host", ""},
		{"http://h:0/production", "port from 1 to 65535", ""},
		{"http://h:65536/production", "port from 1 to 65535", ""},
		{"http://fd00::1:8000/production", "a URL with a host", "brackets"},
		{"fd00::1/production", "a URL with a host", "brackets"},
		{"http://h/%zz/production", "a URL with a host", ""},
		{"http://a b/production", "a URL with a host", ""},
		{"http://h/a%2Fb/c d", "escaped throughout", "percent-escapes"},
		{"linux/production", "linux/production, allowed is", "begin with http://"},
		{"./linux/production", "allowed is", "begin with http://"},
		{"../production", "allowed is", "begin with http://"},
		{"/srv/\xe4", `/srv/?, allowed is`, ""},
		{`C:\mirror\production`, "a URL with a host", ""},
		{`\\server\share`, "allowed is", ""},
		{" /srv/production", "allowed is", ""},
		{"http://h/\nproduction", `http://h/?production`, "tabs"},
		{"/srv/\x00", "allowed is", ""},
		{"file:///srv/%00", "control characters", ""},
		{"file:///srv/%a20b", "control characters", ""},
		{"file://server/srv", "file:/// and an absolute directory of this machine", ""},
		{"file://srv", "file:///", ""},
		{"file://", "file:///", ""},
		{"http://h/" + strings.Repeat("x", maxTextBytes), "allowed is", ""},
	}
	for _, tt := range tests {
		t.Run(tt.raw[:min(len(tt.raw), 60)], func(t *testing.T) {
			t.Parallel()
			u, err := ParseRingURL(tt.raw)
			checkReason(t, err, tt.sentence, tt.hint)
			if !u.IsZero() {
				t.Errorf("ring URL is %+v", u)
			}
			if strings.Contains(err.Error(), "s3") {
				t.Errorf("a secret shows: %v", err)
			}
		})
	}
}

func TestEmptyRingURL(t *testing.T) {
	t.Parallel()
	u, err := ParseRingURL("")
	if _, ok := u.Ring(); err != nil || !u.IsZero() || !u.Arch("x86_64").IsZero() || ok || u.Back() {
		t.Errorf("ring URL is %+v (%v)", u, err)
	}
}

func TestArchLeavesItsRingAlone(t *testing.T) {
	t.Parallel()
	u, err := ParseRingURL("http://h/production/")
	if err != nil {
		t.Fatal(err)
	}
	u.Arch("x86_64")
	if got := u.Arch("arm64").URL.String(); got != "http://h/production/arch_arm64" || u.URL.String() != "http://h/production/" {
		t.Errorf("Arch is %s, ring %s", got, u.URL)
	}
}
