package mirror

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/youmark/pkcs8"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// maxPEMFile bounds key and certificate files, in bytes.
const maxPEMFile = 1 << 20

// LoadSigner reads a signer's key and certificates, all PEM. The key may be
// PKCS#8, PKCS#1 or SEC 1, and PKCS#8 may be encrypted: then, and only then,
// passphrase is called. Certificates may stand in any order and in any number
// of files; the leaf is the one that the key belongs to.
//
// A key that group or others can read or write is refused, and so is a signer
// that endpoints would refuse. Errors: usage, permission_denied, and the
// verifier's signer_untrusted and signer_expired.
func LoadSigner(keyFile string, certFiles []string, passphrase func() ([]byte, error)) (Signer, error) {
	key, err := loadKey(keyFile, passphrase)
	if err != nil {
		return Signer{}, err
	}
	s := Signer{Key: key}
	for _, path := range certFiles {
		certs, err := loadCertificates(path)
		if err != nil {
			return Signer{}, err
		}
		for _, c := range certs {
			if s.Leaf == nil && belongs(c, key) {
				s.Leaf = c
				continue
			}
			s.Intermediates = append(s.Intermediates, c)
		}
	}
	if s.Leaf == nil {
		return Signer{}, usage("no certificate belongs to the key", "give the signer's own certificate with --cert, too", nil)
	}
	if _, err := s.check(time.Now()); err != nil {
		return Signer{}, err
	}
	return s, nil
}

func belongs(c *x509.Certificate, key crypto.Signer) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(c.PublicKey)
}

func loadCertificates(path string) ([]*x509.Certificate, error) {
	data, err := ReadSmall("a certificate file", path)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			return nil, usage("a certificate file holds something other than certificates", "look at "+printable.Quote(path), err)
		}
		if certs = append(certs, c); len(certs) > verifier.MaxCertificates {
			return nil, usage(fmt.Sprintf("a certificate file holds more than %d certificates", verifier.MaxCertificates), "keep the signer's chain only in "+printable.Quote(path), nil)
		}
	}
	if len(certs) == 0 {
		return nil, usage("a certificate file holds no certificate in PEM form", "convert it with openssl x509 -inform DER -in "+printable.Quote(path), nil)
	}
	return certs, nil
}

func loadKey(path string, passphrase func() ([]byte, error)) (crypto.Signer, error) {
	f, size, err := openRegular("the key file", path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fileError("the key file", path, err)
	}
	if openToOthers(info) {
		return nil, usage("the key file can be read or written by others", "chmod 600 "+printable.Quote(path)+", and think about who may have copied the key", nil)
	}
	data, err := readSmall("the key file", f, size)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(data, passphrase)
	if err != nil {
		return nil, fileError("the key file", path, err)
	}
	return key, nil
}

// ReadSmall reads a file that a command line names, such as one of certificates: a
// regular one of a mebibyte at the most. In errors it is called what. Errors: usage,
// permission_denied.
func ReadSmall(what, path string) ([]byte, error) {
	f, size, err := openRegular(what, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readSmall(what, f, size)
}

func readSmall(what string, f *os.File, size int64) ([]byte, error) {
	if size > maxPEMFile {
		return nil, usage(fmt.Sprintf("%s has more than %d bytes", what, maxPEMFile), "look at "+printable.Quote(f.Name()), nil)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPEMFile))
	return data, fileError(what, f.Name(), err)
}

// ReadPair reads a certificate, with its issuers behind it, and its key. Errors: usage,
// permission_denied.
func ReadPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := ReadSmall("the certificate for TLS", certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := ReadSmall("the key for TLS", keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return pair, usage("the certificate and the key for TLS can not be used", "give two PEM files that belong together: the certificate with its issuers behind it, and its key without a passphrase", err)
	}
	return pair, nil
}

// parseKey reads the first private key in data. What stands before it, such as
// the parameters of an elliptic curve or a certificate, is skipped.
func parseKey(data []byte, passphrase func() ([]byte, error)) (crypto.Signer, error) {
	block, rest := pem.Decode(data)
	for block != nil && !strings.HasSuffix(block.Type, "PRIVATE KEY") {
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, usage("the key file holds no private key in PEM form", "convert it with openssl pkey -inform DER", nil)
	}
	if block.Headers["DEK-Info"] != "" {
		return nil, usage("the key is encrypted in the old form of OpenSSL", "convert it with openssl pkcs8 -topk8", nil)
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		key, err = decryptKey(block.Bytes, passphrase)
	default:
		err = errors.New("unknown kind of private key")
	}
	if err != nil {
		return nil, unusableKey(err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, unusableKey(errors.New("not a key for signing"))
	}
	return signer, nil
}

func unusableKey(err error) error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	return usage("the private key can not be read", "use an RSA or ECDSA key in PEM form, as PKCS 8", err)
}

// decryptKey opens an encrypted PKCS#8 key. The library leaves it to the block
// cipher to complain about lengths that can't be, and that panics; a damaged
// key file must not.
func decryptKey(der []byte, passphrase func() ([]byte, error)) (key any, err error) {
	if passphrase == nil {
		return nil, usage("the key is encrypted and there is no passphrase", "give the passphrase", nil)
	}
	secret, err := passphrase()
	if err != nil {
		return nil, err // whoever asks for it knows best what is missing
	}
	defer clear(secret)
	if len(bytes.TrimSpace(secret)) == 0 {
		return nil, usage("the key is encrypted and the passphrase is empty", "give the passphrase", nil)
	}
	defer func() {
		if r := recover(); r != nil {
			key, err = nil, usage("the encrypted key is damaged", "make it anew with openssl pkcs8 -topk8", fmt.Errorf("%v", r))
		}
	}()
	key, _, err = pkcs8.ParsePrivateKey(der, secret)
	if err != nil {
		return nil, usage("the encrypted key can not be opened", "check the passphrase; keys made by openssl pkcs8 -topk8 are understood", err)
	}
	return key, nil
}

// openRegular opens a regular file for reading and gives its size in bytes.
func openRegular(what, path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|noWait, 0)
	if err != nil {
		return nil, 0, fileError(what, path, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = usage(what+" is not a regular file", "look at "+printable.Quote(path), nil)
	}
	if err != nil {
		f.Close()
		return nil, 0, fileError(what, path, err)
	}
	return f, info.Size(), nil
}
