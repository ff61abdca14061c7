package usages

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
)

func TestEverybodys(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]bool{
		"1.3.6.1.5.5.7.3": true, "1.3.6.1.5.5.7.3.3": true, "1.3.6.1.5.5.7.30": false, "2.5.29.37.0": true,
		"1.3.6.1.4.1.311.10.3.13": true, "1.3.6.1.4.1.311.10.3.130": false, "1.3.6.1.4.1.311.2.1.21": true,
		"1.3.6.1.4.1.311.76.8.1": false, "1.3.6.1.4.1.311.10.3.6": false, "1.3.6.1.4.1.99999.7": false,
	} {
		if Everybodys(id) != want {
			t.Errorf("%s: %v", id, !want)
		}
	}
}

// A usage that x509 has a name for is not among a certificate's unknown ones, in which
// pins are looked for, so none of them may be a pin.
func TestNamedUsages(t *testing.T) {
	t.Parallel()
	known := 0
	for u := x509.ExtKeyUsage(0); !strings.HasPrefix(u.String(), "ExtKeyUsage("); u++ {
		known++
		if id := u.OID(); !Everybodys(id.String()) {
			t.Errorf("%s (%s) is taken for a vendor's own", id, u)
		}
	}
	if known <= int(x509.ExtKeyUsageMicrosoftKernelCodeSigning) {
		t.Error(fmt.Sprint("only ", known, " usages were looked at"))
	}
}
