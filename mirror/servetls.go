package mirror

import (
	"crypto/tls"
	"os"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// certificate is the server's, read anew when one of its files was replaced, so that
// a renewal needs no restart. Safe for concurrent use.
type certificate struct {
	certFile, keyFile string
	log               logrus.FieldLogger

	mu        sync.Mutex
	loaded    *tls.Certificate
	of        filesStamp // what the files looked like when it was read
	complaint string     // what is wrong with those that are there now, as it was logged
}

// filesStamp is how certificate and key looked.
type filesStamp [2]struct {
	modified time.Time
	size     int64
}

// loadCertificate reads both files, PEM. Errors: usage, permission_denied.
func loadCertificate(certFile, keyFile string, log logrus.FieldLogger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.refresh(); err != nil {
		return nil, err
	}
	return c, nil
}

// refresh reads the files where they look different from when they were read.
func (c *certificate) refresh() error {
	now, err := c.stamp()
	if err != nil || c.loaded != nil && now == c.of {
		return err
	}
	pair, err := ReadPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.loaded, c.of = &pair, now
	return nil
}

func (c *certificate) stamp() (now filesStamp, err error) {
	for i, path := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(path)
		if err != nil {
			return now, fileError("a file for TLS", path, err)
		}
		now[i].modified, now[i].size = info.ModTime(), info.Size()
	}
	return now, nil
}

// get gives the certificate for one connection. Between the replacements of the two
// files they don't belong together; then the one before is used.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	complaint := ""
	if err := c.refresh(); err != nil {
		complaint = err.Error()
	}
	if complaint != c.complaint && complaint != "" {
		c.log.WithField("error", complaint).Warn("the certificate and the key for TLS can not be used as they are now")
	}
	c.complaint = complaint
	return c.loaded, nil
}
