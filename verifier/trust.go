package verifier

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Pin is the SHA-256 of a public key (SubjectPublicKeyInfo).
type Pin [sha256.Size]byte

// ParsePin reads the base64 form in which pins stand in the configuration.
func ParsePin(s string) (p Pin, err error) {
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(raw) != len(p) {
		return p, fmt.Errorf("a pin is the base64 form of %d bytes", len(p))
	}
	copy(p[:], raw)
	return p, nil
}

// PinOf is the pin of a certificate's key.
func PinOf(c *x509.Certificate) Pin { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// String is the base64 form.
func (p Pin) String() string { return base64.StdEncoding.EncodeToString(p[:]) }

// TrustFile is one file of the trust directory: its name, for messages and for
// its kind (.pem or .crl), and its bytes.
type TrustFile struct {
	Name string
	Data []byte
}

// Trust is whom an endpoint believes: roots, what they revoked, and pins. The
// zero value believes nobody. It is made by [NewTrust] and not changed after.
type Trust struct {
	roots []*x509.Certificate
	crls  []revocations // of the trust directory
	past  []revocations // that it held before
	pins  []Pin
}

type revocations struct {
	file string
	list *x509.RevocationList
}

// NewTrust reads the files of a trust directory. Every file must be understood
// as a whole; one that isn't gives a Refusal with trust_invalid that names it,
// since a CRL or root that is silently left out would change who is trusted.
// With pins, only signers with one of those keys, or directly issued by one,
// are believed.
func NewTrust(files []TrustFile, pins []Pin) (Trust, error) {
	t := Trust{pins: slices.Clone(pins)}
	if len(files) > MaxTrustFiles {
		return Trust{}, refuse(TrustDirInvalid, fmt.Sprintf("the trust directory has more than %d files", MaxTrustFiles), "keep roots and CRLs only")
	}
	for _, f := range files {
		if !ValidName(f.Name) {
			return Trust{}, refuse(TrustDirInvalid, "a file of the trust directory has an unusual name", "use letters, digits, dot, dash and underscore")
		}
		if err := t.add(f); err != nil {
			return Trust{}, refuse(TrustDirInvalid, "the trust directory's file "+f.Name+" can not be used", err.Error())
		}
	}
	for _, c := range t.crls {
		for _, root := range t.roots {
			// A list of an intermediate has no issuer here until a package brings one.
			if _, err := c.speaksFor(root); err != nil {
				return Trust{}, err
			}
		}
	}
	return t, nil
}

// Empty tells whether there is no root at all.
func (t Trust) Empty() bool { return len(t.roots) == 0 }

// Roots gives the roots, for reports.
func (t Trust) Roots() []*x509.Certificate { return slices.Clone(t.roots) }

// Digest tells one trust from another: a SHA-256 over roots, CRLs and pins.
func (t Trust) Digest() [sha256.Size]byte {
	h := sha256.New()
	add := func(kind byte, data []byte) {
		h.Write(binary.BigEndian.AppendUint64([]byte{kind}, uint64(len(data))))
		h.Write(data)
	}
	for _, c := range t.roots {
		add('r', c.Raw)
	}
	for _, c := range slices.Concat(t.crls, t.past) {
		add('c', c.list.Raw)
	}
	for _, p := range t.pins {
		add('p', p[:])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// Stale names the CRL files that were due to be replaced before now. They still
// count; a report says so.
func (t Trust) Stale(now time.Time) []string {
	var names []string
	for _, c := range t.crls {
		if next := c.list.NextUpdate; !next.IsZero() && now.After(next) {
			names = append(names, c.file)
		}
	}
	return names
}

func (t *Trust) add(f TrustFile) error {
	if len(f.Data) > MaxTrustFile {
		return fmt.Errorf("it is larger than %d bytes", MaxTrustFile)
	}
	switch {
	case strings.HasSuffix(f.Name, ".pem"):
		return t.addRoots(f)
	case strings.HasSuffix(f.Name, ".crl"):
		return t.addCRL(f)
	}
	return errors.New("roots end in .pem and revocation lists in .crl, so rename it or take it away")
}

func (t *Trust) addRoots(f TrustFile) error {
	blocks, err := pemBlocks(f.Data)
	if err != nil {
		return err
	}
	if len(blocks) == 0 {
		return errors.New("it holds no certificate in PEM form")
	}
	for _, block := range blocks {
		if block.Type != "CERTIFICATE" {
			return errors.New("it holds something other than certificates, so keep only the roots in it")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return errors.New("it holds a certificate that can not be read")
		}
		if !c.BasicConstraintsValid || !c.IsCA {
			return errors.New("it holds a certificate that is not a CA's, and only CAs can be roots")
		}
		if !strongKey(c) {
			return errors.New("it holds a CA with a weak key, and RSA of 2048 bits or P-256 is the least")
		}
		t.roots = append(t.roots, c)
	}
	return nil
}

// pemBlocks gives every PEM block of data. The library skips a damaged one
// without a word, wherever it stands, and so would leave a CRL out.
func pemBlocks(data []byte) (blocks []*pem.Block, err error) {
	begun := bytes.Count(data, []byte("-----BEGIN"))
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		blocks = append(blocks, block)
	}
	if len(blocks) != begun {
		return nil, errors.New("it holds a damaged PEM block")
	}
	return blocks, nil
}

func (t *Trust) addCRL(f TrustFile) error {
	der := f.Data
	if len(der) == 0 || der[0] != derSequence {
		blocks, err := pemBlocks(f.Data)
		if err != nil {
			return err
		}
		if len(blocks) != 1 || blocks[0].Type != "X509 CRL" {
			return errors.New("it holds something other than one revocation list")
		}
		der = blocks[0].Bytes
	}
	list, err := parseCRL(der)
	if err != nil {
		return err
	}
	for _, entry := range list.RevokedCertificateEntries {
		for _, ext := range entry.Extensions {
			if ext.Id.String() == "2.5.29.29" { // certificateIssuer
				return errors.New("it is an indirect revocation list, so use the issuing CA's own")
			}
		}
	}
	t.crls = append(t.crls, revocations{f.Name, list})
	return nil
}

func parseCRL(der []byte) (*x509.RevocationList, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil || len(list.Raw) != len(der) { // x509 reads the first of several
		return nil, errors.New("it is no revocation list that can be read")
	}
	return list, nil
}

// speaksFor tells whether issuer is who made this list: its name is the same,
// and its key verifies it. A list that only has the name is refused, unless the
// key identifiers say that it is of another CA of that name. They alone decide
// nothing, since a CA that was certified anew may have another one.
func (r revocations) speaksFor(issuer *x509.Certificate) (bool, error) {
	if !bytes.Equal(r.list.RawIssuer, issuer.RawSubject) {
		return false, nil
	}
	err := r.list.CheckSignatureFrom(issuer)
	if err == nil {
		return true, nil
	}
	if a, b := r.list.AuthorityKeyId, issuer.SubjectKeyId; len(a) > 0 && len(b) > 0 && !bytes.Equal(a, b) {
		return false, nil
	}
	return false, &Refusal{Code: TrustDirInvalid, Sentence: "the trust directory's file " + r.file + " does not verify under the CA that it names",
		Hint: "replace it by the revocation list that the CA publishes", Err: err}
}

// removeFromCRL is the reason that takes a certificate off a list. It revokes
// nothing, and un-revokes nothing either.
const removeFromCRL = 8

// revokes tells whether the list names the certificate.
func (r revocations) revokes(c *x509.Certificate) bool {
	return slices.ContainsFunc(r.list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
		return e.ReasonCode != removeFromCRL && e.SerialNumber.Cmp(c.SerialNumber) == 0
	})
}

// Revokes tells whether any certificate of the chain (leaf first, root last) is
// on a CRL of its issuer. The CRLs are a union: each can add, none can take
// back, and none is too old to count. Those of the past ([Trust.Recall]) are
// among them.
func (t Trust) Revokes(chain []*x509.Certificate) (bool, error) {
	for i := range len(chain) - 1 {
		if t.pastRevokes(chain[i], chain[i+1]) {
			return true, nil
		}
		for _, r := range t.crls {
			applies, err := r.speaksFor(chain[i+1])
			if err != nil {
				return false, err
			}
			if applies && r.revokes(chain[i]) {
				return true, nil
			}
		}
	}
	return false, nil
}

// Purpose is what a certificate has to be made for.
type Purpose int

// The purposes. Pins bind who signs, and not who says when that was.
const (
	SignCode Purpose = iota
	StampTime
)

// words gives the purpose as x509 and as a sentence have it, and whose chain it is.
func (p Purpose) words() (usage x509.ExtKeyUsage, name, whose string) {
	if p == StampTime {
		return x509.ExtKeyUsageTimeStamping, "time stamps", "time stamp"
	}
	return x509.ExtKeyUsageCodeSigning, "code signing", "signer"
}

// Chain gives a chain (leaf first, root last) for that purpose that is valid at
// that time, strong throughout, of nobody who is revoked, and for SignCode pinned
// where pins are set. bag is where issuers may be found. It says nothing about
// the leaf's own usages beside that they allow the purpose. Refusals:
// signer_untrusted, signer_expired, signer_revoked, trust_invalid.
func (t Trust) Chain(leaf *x509.Certificate, bag []*x509.Certificate, at time.Time, purpose Purpose) ([]*x509.Certificate, error) {
	found, err := t.chainsFor(leaf, bag, later(at, epoch), purpose)
	if err != nil {
		return nil, err
	}
	chain, revoked, err := t.unrevoked(found)
	if err == nil && revoked {
		_, _, whose := purpose.words()
		err = refuse(SignerRevoked, "the "+whose+"'s certificate or one of its issuers is revoked", "what was revoked once stays so, so wait for files that somebody else signed")
	}
	if err != nil {
		return nil, err
	}
	return chain, nil
}

// chains gives every chain for code signing.
func (t Trust) chains(leaf *x509.Certificate, bag []*x509.Certificate, at time.Time) ([][]*x509.Certificate, error) {
	return t.chainsFor(leaf, bag, at, SignCode)
}

// chainsFor gives every chain from leaf to a root that is valid for the purpose
// at that time, strong throughout, and pinned where pins are set.
func (t Trust) chainsFor(leaf *x509.Certificate, bag []*x509.Certificate, at time.Time, purpose Purpose) ([][]*x509.Certificate, error) {
	usage, _, whose := purpose.words()
	roots, others := x509.NewCertPool(), x509.NewCertPool() // never nil: a nil pool would mean the system's
	for _, c := range t.roots {
		roots.AddCert(c)
	}
	for _, c := range bag {
		if !hugeKey(c) { // x509 would spend seconds on it
			others.AddCert(c)
		}
	}
	found, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: others, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{usage}})
	if err != nil {
		return nil, chainRefusal(err, at, purpose)
	}
	strong := slices.DeleteFunc(found, func(chain []*x509.Certificate) bool { return !strongChain(chain) })
	if len(strong) == 0 {
		return nil, untrusted("the "+whose+"'s chain has a weak key or signature", "use SHA-256 and RSA of 2048 bits or more, or P-256, P-384 or P-521, in every certificate", nil)
	}
	if purpose != SignCode {
		return strong, nil
	}
	pinned := slices.DeleteFunc(strong, func(chain []*x509.Certificate) bool { return !t.pinned(chain) })
	if len(pinned) == 0 {
		return nil, untrusted("neither the signer nor its issuer is pinned", "add the key of the signer or its issuer to agent.trust.signers, if it is yours", nil)
	}
	return pinned, nil
}

// pinned looks for a pin in a chain that was verified, never in the bag of
// certificates that the sender chose.
func (t Trust) pinned(chain []*x509.Certificate) bool {
	if len(t.pins) == 0 {
		return true
	}
	for _, c := range chain[:min(2, len(chain))] {
		if slices.Contains(t.pins, PinOf(c)) {
			return true
		}
	}
	return false
}

func untrusted(sentence, hint string, err error) error {
	return &Refusal{Code: SignerUntrusted, Sentence: sentence, Hint: hint, Err: err}
}

func chainRefusal(err error, at time.Time, purpose Purpose) error {
	_, name, whose := purpose.words()
	var bad x509.CertificateInvalidError
	if errors.As(err, &bad) && bad.Reason == x509.Expired {
		sentence, hint := "a certificate in the "+whose+"'s chain has expired", "sign again with a certificate that is valid"
		if at.Before(bad.Cert.NotBefore) {
			sentence, hint = "a certificate in the "+whose+"'s chain is not valid yet", "check this machine's clock, and the publisher's"
		}
		return &Refusal{Code: SignerExpired, Sentence: sentence, Hint: hint, Err: err}
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return untrusted("the "+whose+"'s chain ends at no root of the trust directory",
			"sign with -certfile intermediate.pem, or put the issuing root into the trust directory if you trust it", err)
	}
	return untrusted("the "+whose+"'s certificates make no chain for "+name, "check extended key usages, path lengths and name constraints of the CAs", err)
}

// checkLeaf is the signer policy: an end entity made for signing code, and
// saying so. A certificate without extended key usages counts as good for
// anything in x509, hence the explicit list.
func checkLeaf(c *x509.Certificate) error {
	const hint = "sign with a certificate that has CA false, keyUsage digitalSignature and extendedKeyUsage codeSigning"
	switch {
	case c.IsCA:
		return untrusted("the signer is a CA itself", hint, nil)
	case !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning):
		return untrusted("the signer's certificate is not made for code signing", hint, nil)
	case c.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return untrusted("the signer's certificate does not allow digital signatures", hint, nil)
	}
	return nil
}

// CheckKey refuses a signer whose key is weak, or so large that checking one
// signature of it would take seconds (signer_untrusted).
func CheckKey(c *x509.Certificate) error {
	if strongKey(c) {
		return nil
	}
	if hugeKey(c) {
		return untrusted(fmt.Sprintf("the signer's key has more than %d bits", maxRSABits), "sign with RSA of 2048 to 4096 bits, or with P-256, P-384 or P-521", nil)
	}
	return untrusted("the signer's key is too weak", "sign with RSA of 2048 bits or more, or with P-256, P-384 or P-521", nil)
}

func strongKey(c *x509.Certificate) bool {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= minRSABits && !hugeKey(c)
	case *ecdsa.PublicKey:
		return key.Curve == elliptic.P256() || key.Curve == elliptic.P384() || key.Curve == elliptic.P521()
	}
	return false
}

// hugeKey tells whether a signature of that key would take too long to check.
func hugeKey(c *x509.Certificate) bool {
	key, ok := c.PublicKey.(*rsa.PublicKey)
	return ok && key.N.BitLen() > maxRSABits
}

// strongChain wants strong keys throughout and strong signatures below the
// root; the root's own signature proves nothing and is not looked at.
func strongChain(chain []*x509.Certificate) bool {
	for i, c := range chain {
		if !strongKey(c) {
			return false
		}
		if i < len(chain)-1 && !strongSignature(c.SignatureAlgorithm) {
			return false
		}
	}
	return true
}

func strongSignature(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512:
		return true
	}
	return false
}
