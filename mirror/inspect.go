package mirror

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"time"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// Inspection is what a file claims to be. Nothing of it is verified; for that
// there is Verify.
type Inspection struct {
	Path       string           `json:"path"`
	Size       int64            `json:"size"`       // of the archive in bytes; zero for a bare list
	Problem    *Problem         `json:"problem"`    // the first thing an endpoint would refuse; null: none in form and structure
	Entries    []InspectedEntry `json:"entries"`    // of the archive, as its directory has them
	Origin     Origin           `json:"origin"`     // where the list is; empty: there is none
	ListDigest string           `json:"listDigest"` // SHA-256 of the list's JSON, in hexadecimal
	List       *verifier.List   `json:"-"`          // nil where it can't be read
	ListJSON   json.RawMessage  `json:"list"`       // List in its JSON form, or null
	Expired    bool             `json:"expired"`    // List, at the time that was given
	Signer     *Certificate     `json:"signer"`     // null where it can't be read
	// Issuer is the certificate of the signer's issuer, where it is inside.
	Issuer *Certificate `json:"issuer"`
	// Verified is always false: it stands in the JSON as a reminder.
	Verified bool `json:"verified"`
}

// Problem is a reason in parts.
type Problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// InspectedEntry is one entry of an archive; sizes are bytes.
type InspectedEntry struct {
	Name       string `json:"name"`
	Size       int64  `json:"size"`
	Compressed int64  `json:"compressed"`
}

// Certificate is what a certificate says of itself. Names come from outside;
// characters that a terminal would obey are taken out.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Serial    string    `json:"serial"` // hexadecimal
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	Pin       string    `json:"pin"` // for agent.trust.signers
}

// Inspect reports what a package (with its list inside or beside it) or a bare
// signed list claims, as far as it can be read, without trusting anybody. now
// decides what has expired. What an endpoint would refuse about form and
// structure is told as the Problem; an error means that the file can't be read
// at all.
func Inspect(path string, now time.Time) (Inspection, error) {
	in := Inspection{Path: path}
	c, err := openClaim(path)
	defer c.close()
	var own *Error
	if errors.As(err, &own) {
		return Inspection{}, err
	}
	in.note(err)
	if c.archive != nil {
		in.Size = c.archive.size
		for _, e := range c.archive.layout.Entries {
			in.Entries = append(in.Entries, InspectedEntry{e.Name, e.Size, e.Compressed})
		}
	}
	in.Origin = c.origin
	if len(c.object) > 0 {
		in.readList(c.object, now)
	}
	if in.List != nil && c.archive != nil && (in.List.Zip == "" || in.Origin == Inside) {
		_, err := c.archive.layout.Match(in.List)
		in.note(err)
	}
	return in, nil
}

// note keeps the first refusal.
func (in *Inspection) note(err error) {
	if code, sentence, hint := reasonOf(err); in.Problem == nil && code != "" {
		in.Problem = &Problem{code, sentence, hint}
	}
}

func (in *Inspection) readList(object []byte, now time.Time) {
	u, err := verifier.ReadClaims(object)
	in.note(err)
	if u.Leaf != nil {
		in.Signer = describe(u.Leaf)
		for _, c := range u.Certificates {
			if u.Leaf.CheckSignatureFrom(c) == nil {
				in.Issuer = describe(c)
			}
		}
	}
	if in.List = u.List; in.List == nil {
		return
	}
	in.ListDigest = u.Digest.String()
	in.Expired = !now.Before(in.List.Expires)
	if data, err := verifier.MarshalList(in.List); err == nil {
		in.ListJSON = data
	}
}

// maxName is how much of a certificate's name is shown, in bytes.
const maxName = 1 << 10

func describe(c *x509.Certificate) *Certificate {
	return &Certificate{
		Subject: printable.Text(c.Subject.String(), maxName), Issuer: printable.Text(c.Issuer.String(), maxName), Serial: c.SerialNumber.Text(16),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), Pin: verifier.PinOf(c).String(),
	}
}
