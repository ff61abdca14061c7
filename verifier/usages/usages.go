// Package usages knows the extended key usages that say nothing of a vendor, since CAs
// put them into certificates of all sorts of people. Who would pin a vendor by one of
// them would pin everybody.
//
// It does not promise that any other usage is one vendor's own: this is for the CA that
// gives it to say.
package usages

import (
	"slices"
	"strings"
)

// Everybodys tells whether the usage, in dotted form, says nothing of a vendor.
func Everybodys(id string) bool {
	return slices.ContainsFunc(arcs(), func(arc string) bool { return id == arc || strings.HasPrefix(id, arc+".") }) || slices.Contains(single(), id)
}

// arcs are those below which everything is everybody's: the usages of PKIX (RFC 5280),
// those of the standard itself (any usage at all), and what Netscape and the IPsec and
// Kerberos people added.
func arcs() []string {
	return []string{"1.3.6.1.5.5.7.3", "2.5.29", "2.16.840.1.113730.4", "1.3.6.1.5.5.8.2", "1.3.6.1.5.2.3"}
}

// single are others. Most are of Microsoft's arc, in which it keeps both what is for all
// and what is its own alone.
func single() []string {
	return []string{
		"1.3.6.1.4.1.311.2.1.21",   // code signing by individuals
		"1.3.6.1.4.1.311.2.1.22",   // code signing by companies
		"1.3.6.1.4.1.311.10.3.1",   // signing trust lists
		"1.3.6.1.4.1.311.10.3.2",   // signing time stamps
		"1.3.6.1.4.1.311.10.3.3",   // server gated crypto
		"1.3.6.1.4.1.311.10.3.4",   // encrypting file system
		"1.3.6.1.4.1.311.10.3.4.1", // recovery of files
		"1.3.6.1.4.1.311.10.3.12",  // signing documents
		"1.3.6.1.4.1.311.10.3.13",  // signatures end with the certificate
		"1.3.6.1.4.1.311.20.2.1",   // enrolling others
		"1.3.6.1.4.1.311.20.2.2",   // logging in by smart card
		"1.3.6.1.4.1.311.61.1.1",   // signing kernel code
		"1.3.6.1.4.1.311.80.1",     // encrypting documents
		"1.3.6.1.4.1.311.97.1.0",   // any public customer of Microsoft's signing service
		"2.16.840.1.113733.1.8.1",  // server gated crypto, by VeriSign
		"1.2.840.113583.1.1.5",     // signing PDF
	}
}
