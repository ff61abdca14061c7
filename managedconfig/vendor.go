package managedconfig

// withoutVendor adds the warning that the profile asks for a vendor's signatures while
// nobody is said to be the vendor. It is no error: the files of a fleet need not come in
// one piece, and the one with the pins may be on its way.
func (s Settings) withoutVendor() Settings {
	profile := s.Agent.Trust.Profile
	if profile.Value == ProfileList || len(s.Agent.Trust.VendorPins.Value) > 0 {
		return s
	}
	const key = "agent.trust.profile"
	s.Warnings = append(s.Warnings, Warning{
		File: profile.File, Key: key,
		Sentence: compose(profile.File, 0, 0, key, profile.Value, "but until agent.trust.vendorPins is set, no update works and what is installed counts as not valid"),
		Hint:     "set agent.trust.vendorPins to the issuing CA and the subject of who signs the files, or set agent.trust.profile to list",
	})
	return s
}
