package managedconfig

import "testing"

// TestNobodyIsVendor: a profile that asks for a vendor's signatures is of no use before
// somebody says who the vendor is, whichever file says what.
func TestNobodyIsVendor(t *testing.T) {
	t.Parallel()
	pins := nest("agent.trust.vendorPins", `["`+pin+`:subject:CN=A"]`)
	for _, name := range []string{ProfileListAndVendor, ProfileVendor} {
		profile := mustParse(t, OriginManaged, nest("agent.trust.profile", `"`+name+`"`))
		checkWarnings(t, Resolve(profile).Warnings, "agent.trust.profile is "+name+", but until agent.trust.vendorPins is set, no update works and what is installed counts as not valid")
		checkWarnings(t, Resolve(profile, mustParse(t, OriginLocal, pins)).Warnings)
	}
	checkWarnings(t, Resolve(mustParse(t, OriginLocal, nest("agent.trust.profile", `"list"`))).Warnings)
}
