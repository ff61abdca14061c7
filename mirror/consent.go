package mirror

import (
	"fmt"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig"
)

// consentNotes say what a new package asks of endpoints that judge the vendor's signatures.
// Nobody vouches for the age of an engine whose signature has no time stamp, so these take
// one that they don't have with consent alone. changes are as [Proposal.Changes] has them.
func consentNotes(files []VendorFile, changes map[string]FileChange, definition verifier.Version) (notes []string) {
	for _, f := range files {
		another := changes[f.Name] == FileNew || changes[f.Name] == FileChanged
		if another && f.Kind == KindELF && f.Signature == vendorsig.Detached && f.TimeStamp == nil {
			notes = append(notes, fmt.Sprintf("%s has no time stamp, so endpoints with the profile vendor or list+vendor take it only with agent definitions update --allow-downgrade %s", f.Name, definition))
		}
	}
	return notes
}

// Notes say what endpoints will need where they judge the vendor's signatures, too.
func (p *Proposal) Notes() []string { return consentNotes(p.Files, p.Changes(), p.List.Definition) }
