package vendorsig

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/usages"
)

// Policy is who counts as the vendor. Roots alone can't say it: below those of a
// public CA everybody signs. Without pins nobody is the vendor.
type Policy struct {
	Trust verifier.Trust
	Pins  []Pin
}

// Digest tells one policy from another.
func (p Policy) Digest() [sha256.Size]byte {
	trust := p.Trust.Digest()
	return sha256.Sum256(fmt.Appendf(trust[:], "%q", p.Pins))
}

// Pin names one who signs: by the key of the CA that issued the certificate, and by
// what that CA says of its holder.
type Pin struct {
	Issuer  verifier.Pin
	Subject string                // in full, as reports show it; empty: Usage counts
	Usage   asn1.ObjectIdentifier // an extended key usage of the vendor's own
}

// The two forms of what stands behind the issuer in a pin.
const (
	bySubject = "subject"
	byUsage   = "eku"
)

// ParsePin reads the form in which pins stand in the configuration:
// PIN:subject:NAME or PIN:eku:OID, of which PIN is the issuer's, as in
// [verifier.ParsePin].
func ParsePin(text string) (p Pin, err error) {
	issuer, rest, _ := strings.Cut(text, ":")
	kind, value, _ := strings.Cut(rest, ":")
	if p.Issuer, err = verifier.ParsePin(issuer); err != nil {
		return Pin{}, err
	}
	switch {
	case kind == bySubject && value != "":
		p.Subject = value
		return p, nil
	case kind == byUsage:
		p.Usage, err = parseOID(value)
		return p, err
	}
	return Pin{}, errors.New("behind the issuer stands subject and a name, or eku and an object identifier")
}

// parseOID reads the usage of a vendor. Those that are everybody's would pin nobody.
func parseOID(text string) (id asn1.ObjectIdentifier, err error) {
	for part := range strings.SplitSeq(text, ".") {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil || strconv.FormatUint(n, 10) != part {
			return nil, errors.New("an object identifier is numbers with dots between them")
		}
		id = append(id, int(n))
	}
	if len(id) < 3 || usages.Everybodys(text) {
		return nil, errors.New("the usage is no vendor's own")
	}
	return id, nil
}

// names tells whether the pin is of the holder of a verified chain's first certificate.
func (p Pin) names(chain []*x509.Certificate) bool {
	if len(chain) < 2 || verifier.PinOf(chain[1]) != p.Issuer {
		return false
	}
	if p.Subject != "" {
		return nameText(chain[0].RawSubject) == p.Subject
	}
	return slices.ContainsFunc(chain[0].UnknownExtKeyUsage, p.Usage.Equal)
}

// Named is a file of a package under the name that it has there, which must be one
// of [verifier.ValidName]. Nobody looks at its SHA256.
type Named struct {
	verifier.File
	Content io.ReaderAt
}

// Claim is what a file proves of itself.
type Claim struct {
	Kind    Kind
	Signed  string           // tells what was signed from anything else; see [Content.ID]
	Version verifier.Version // by its version resource; zero: unknown
	Time    time.Time        // by its time stamp; zero: unknown
	Stated  time.Time        // when its signer says that it signed; zero: it says nothing

	Chain []*x509.Certificate // verified chain of its signer, leaf first
}

// Content is what the files of a package prove of it.
type Content struct {
	Definition verifier.Version
	Arch       string           // as mirrors spell it
	Claims     map[string]Claim // by name, of all files but detached signatures
}

const (
	sigSuffix  = ".sig"
	vdmSuffix  = ".vdm"
	baseSuffix = "base.vdm"
)

// hintUncovered is the hint for a package with a file that the vendor does not vouch for.
const hintUncovered = "look at the package; if the file belongs there, approve it with a signed list, and let endpoints have the profile list"

// Judge judges the files of a package. Each must be signed by the vendor, as [Verify]
// has it, and as the pins say, under its own name. Definitions (*.vdm) are PE files,
// and their versions agree; the engine is the one ELF file, and its signature lies
// beside it: see [Settle], [EngineArch] and [DefinitionVersion]. Where a file is at
// fault, the refusal names it. Its codes are those of Verify, and package_malformed.
func (p Policy) Judge(files []Named, clock verifier.Clock) (Content, error) {
	files = slices.SortedFunc(slices.Values(files), func(a, b Named) int { return strings.Compare(a.Name, b.Name) })
	at := map[string]Named{}
	for _, f := range files {
		at[f.Name] = f
	}
	c := Content{Claims: map[string]Claim{}}
	var all []Examined
	for _, f := range files {
		e, err := p.examine(f, at[f.Name+sigSuffix], clock)
		if err != nil {
			return Content{}, err
		}
		all = append(all, e)
		if stem, isSig := strings.CutSuffix(f.Name, sigSuffix); !isSig || at[stem].Content == nil {
			c.Claims[f.Name] = e.claim()
		}
	}
	for i, err := range Settle(all) {
		if err != nil {
			return Content{}, ofFile(all[i].Name, err)
		}
	}
	var err error
	if c.Arch, err = EngineArch(all); err != nil {
		return Content{}, err
	}
	c.Definition, err = DefinitionVersion(all)
	if err == nil && c.Definition.IsZero() {
		err = refuse(verifier.PackageMalformed, "the package has no definitions whose version is signed", hintUncovered)
	}
	return c, err
}

// Held gives what files prove, each by itself, which were accepted before: a file that
// is not good at any of the times proves nothing. That they belong together is not
// looked at, so there is neither a definition version nor an architecture.
func (p Policy) Held(files []Named, clocks ...verifier.Clock) Content {
	c := Content{Claims: map[string]Claim{}}
	at := map[string]Named{}
	for _, f := range files {
		at[f.Name] = f
	}
	for _, f := range files {
		for _, clock := range clocks {
			if e, err := p.examine(f, at[f.Name+sigSuffix], clock); err == nil && e.verdict() == nil {
				c.Claims[f.Name] = e.claim()
				break
			}
		}
	}
	return c
}

// ofFile says of which file a refusal is.
func ofFile(name string, err error) error {
	var r *verifier.Refusal
	if !errors.As(err, &r) {
		return err
	}
	copied := *r
	copied.Sentence = "the file " + name + " is not the vendor's as it should be, since " + r.Sentence
	return &copied
}

// examine judges one file, by the signature that lies beside it where there is one. The
// error is that of reading.
func (p Policy) examine(f, sig Named, clock verifier.Clock) (Examined, error) {
	var beside []byte
	if sig.Content != nil {
		beside = make([]byte, min(sig.Size, MaxSignature+1))
		if n, err := sig.Content.ReadAt(beside, 0); n < len(beside) {
			return Examined{}, err
		}
	}
	e := Examine(f.Name, File{f.Content, f.Size, beside}, p.Trust, clock)
	if refused := (*verifier.Refusal)(nil); e.Err != nil && !errors.As(e.Err, &refused) {
		return Examined{}, e.Err
	}
	if e.Err == nil && !slices.ContainsFunc(p.Pins, func(pin Pin) bool { return pin.names(e.Signature.Signer.Chain) }) {
		e.Err = refuse(verifier.SignerUntrusted, "its signer is not among the pins for vendors", "if it is the vendor, add the entry to agent.trust.vendorPins that agent package verify FILE shows of this file")
	}
	return e, nil
}

func (e *Examined) claim() Claim {
	c := Claim{Kind: e.Signature.Kind, Signed: fmt.Sprintf("%v %x", e.Signature.Digest, e.Signature.Sum), Version: e.Own.Version, Stated: e.Signature.SigningTime, Chain: e.Signature.Signer.Chain}
	if e.Signature.TimeStamp != nil {
		c.Time = e.Signature.TimeStamp.Time
	}
	return c
}

// ID identifies what the vendor signed, whatever else there is in the files: anybody can
// change the checksum of a PE file, the form of a signature, or the time stamp, and makes
// no other content by that.
func (c Content) ID() verifier.ContentID {
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.Claims)) {
		fmt.Fprintf(&lines, "%s %s %s\n", name, c.Claims[name].Kind, c.Claims[name].Signed)
	}
	return sha256.Sum256([]byte(lines.String()))
}

// NotBelow refuses (rollback_refused) files that are older than those of the same
// name before, by version or by time stamp, and those of which neither is known,
// unless the vendor signed the same. A time stamp can be taken off by anybody, so a file
// that has none is before any that has one, be it otherwise the same, and one without a
// version is no newer for having one where the file before had none. Anybody can get a new
// one for an old file, too, so where no version says which is newer, the time of signing
// that the vendor itself states must not be an earlier one, where both state it. Nor may
// one be missing that was there before: who leaves out half of the definitions makes them
// no newer.
func (c Content) NotBelow(before Content) error {
	for _, name := range slices.Sorted(maps.Keys(before.Claims)) {
		if _, ok := c.Claims[name]; !ok {
			return refuse(verifier.RollbackRefused, "the file "+name+" is missing, which the installed definitions have",
				"if the vendor has dropped or renamed it, name the files of the package in agent.trust.vendorFiles; "+hintAllow(c))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Claims)) {
		now := c.Claims[name]
		was, ok := before.Claims[name]
		switch {
		case now.Version.Compare(was.Version) < 0:
			return older(fmt.Sprintf("the file %s has version %s, and %s is installed", name, now.Version, was.Version), c)
		case now.Time.Before(was.Time):
			return older(fmt.Sprintf("the file %s %s, and the installed one was signed at %s", name, now.signed(), inUTC(was.Time)), c)
		case ok && now.Signed == was.Signed:
		case ok && now.Version == was.Version && now.Stated.Before(was.Stated) && !now.Stated.IsZero():
			return older(fmt.Sprintf("the vendor says that it signed the file %s at %s, and the installed one at %s", name, inUTC(now.Stated), inUTC(was.Stated)), c)
		case now.Version.IsZero() && now.Time.IsZero() && !ok:
			return older("the file "+name+" has no time stamp, and none is installed that it could be compared with, so nothing proves that it is not an old one", c)
		case now.Version.IsZero() && (now.Time.IsZero() || ok && was.Time.IsZero()):
			return older("the file "+name+" is another than before, and nothing proves that it is newer", c)
		}
	}
	return nil
}

// signed says in words when the file was signed.
func (c Claim) signed() string {
	if c.Time.IsZero() {
		return "has no time stamp"
	}
	return "was signed at " + inUTC(c.Time)
}

func inUTC(t time.Time) string { return t.UTC().Format(verifier.TimeFormat) }

func older(sentence string, c Content) error {
	return refuse(verifier.RollbackRefused, sentence, hintAllow(c))
}

func hintAllow(c Content) string {
	return "agent definitions update --allow-downgrade " + c.Definition.String() + " installs it all the same"
}
