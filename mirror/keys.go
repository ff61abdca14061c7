package mirror

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"mdatp-offline-agent/printable"
)

// How long the certificates of a lab are valid where KeyOptions says nothing.
const (
	rootValidity         = 10 * 365 * 24 * time.Hour
	intermediateValidity = 5 * 365 * 24 * time.Hour
	leafValidity         = 365 * 24 * time.Hour
)

const labRSABits = 3072

// labMark stands in every subject, so that nobody who meets such a certificate
// takes it for a real one.
const labMark = "LAB ONLY, not for production"

// KeyOptions says what MakeKeys makes. The zero value is good.
type KeyOptions struct {
	RSA          bool          // RSA of 3072 bits; otherwise ECDSA on P-256
	LeafValidity time.Duration // zero: a year
	Now          time.Time     // start of validity; zero: an hour ago
}

// Keys names the files that MakeKeys wrote. Certificates are PEM with one
// certificate in each; keys are PKCS#8 in PEM, unencrypted, mode 0600. The
// chain is leaf, intermediate, root: root.pem belongs into the endpoints' trust
// directory, leaf.key, leaf.pem and intermediate.pem to the machine that signs.
// The keys of root and intermediate are kept, since a lab needs them to try
// rotation and revocation lists.
type Keys struct {
	Root            string `json:"root"`
	RootKey         string `json:"rootKey"`
	Intermediate    string `json:"intermediate"`
	IntermediateKey string `json:"intermediateKey"`
	Leaf            string `json:"leaf"`
	LeafKey         string `json:"leafKey"`
}

// Certificates gives the certificate files that LoadSigner wants.
func (k Keys) Certificates() []string { return []string{k.Leaf, k.Intermediate, k.Root} }

// MakeKeys makes a throw-away certification authority for labs in dir, which is
// created where it is missing. It overwrites nothing: if one of its files is
// already there, it gives an Error with usage and leaves all as it is.
func MakeKeys(dir string, opts KeyOptions) (Keys, error) {
	keys := keysIn(dir)
	for _, path := range []string{keys.Root, keys.RootKey, keys.Intermediate, keys.IntermediateKey, keys.Leaf, keys.LeafKey} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return Keys{}, usage("keys are there already and are not overwritten", "choose another directory than "+printable.Quote(dir), err)
		}
	}
	root, intermediate, leaf, err := makeChain(opts)
	if err != nil {
		return Keys{}, &Error{codeInternal, "the keys can not be made", "look at the cause in the log", err}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Keys{}, fileError("the directory for the keys", dir, err)
	}
	err = errors.Join(
		root.write(keys.Root, keys.RootKey),
		intermediate.write(keys.Intermediate, keys.IntermediateKey),
		leaf.write(keys.Leaf, keys.LeafKey))
	if err != nil {
		return Keys{}, fileError("the directory for the keys", dir, err)
	}
	return keys, nil
}

func keysIn(dir string) Keys {
	in := func(name string) string { return filepath.Join(dir, name) }
	return Keys{in("root.pem"), in("root.key"), in("intermediate.pem"), in("intermediate.key"), in("leaf.pem"), in("leaf.key")}
}

// pair is a certificate and its key.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func makeChain(opts KeyOptions) (root, intermediate, leaf pair, err error) {
	from := opts.Now
	if from.IsZero() {
		from = time.Now().Add(-time.Hour) // other machines' clocks may be behind
	}
	validity := opts.LeafValidity
	if validity == 0 {
		validity = leafValidity
	}
	// Two labs must not share a name: issuers are looked up by name.
	tag := make([]byte, 4)
	if _, err = rand.Read(tag); err != nil {
		return
	}
	name := func(role string) pkix.Name {
		return pkix.Name{CommonName: labMark + " (" + role + " " + hex.EncodeToString(tag) + ")"}
	}
	if root, err = issue(caTemplate(name("root"), from, rootValidity, 1), nil, opts.RSA); err != nil {
		return
	}
	if intermediate, err = issue(caTemplate(name("intermediate"), from, intermediateValidity, 0), &root, opts.RSA); err != nil {
		return
	}
	leaf, err = issue(&x509.Certificate{
		Subject: name("signer"), NotBefore: from, NotAfter: from.Add(validity), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}, &intermediate, opts.RSA)
	return
}

func caTemplate(name pkix.Name, from time.Time, validity time.Duration, below int) *x509.Certificate {
	return &x509.Certificate{
		Subject: name, NotBefore: from, NotAfter: from.Add(validity),
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: below, MaxPathLenZero: below == 0,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// issue makes a key and has issuer certify it; without an issuer it certifies
// itself.
func issue(template *x509.Certificate, issuer *pair, useRSA bool) (p pair, err error) {
	if p.key, err = newKey(useRSA); err != nil {
		return p, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return p, err
	}
	parent, signer := template, p.key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, p.key.Public(), signer)
	if err != nil {
		return p, err
	}
	p.cert, err = x509.ParseCertificate(der)
	return p, err
}

func newKey(useRSA bool) (crypto.Signer, error) {
	if useRSA {
		return rsa.GenerateKey(rand.Reader, labRSABits)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func (p pair) write(certPath, keyPath string) error {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return err
	}
	return errors.Join(
		writeNew(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600),
		writeNew(certPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw}), 0o644))
}

// writeNew writes a file that must not exist yet.
func writeNew(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
