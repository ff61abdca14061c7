package vendorsig

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

// Files signed as people sign them: every key and digest, with a time stamp and
// without, by each verifier. What is read of them is what was put in.
func TestSigned(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	url := l.authority(t)
	for i, row := range []struct {
		name string
		key  crypto.Signer
		hash string
	}{
		{"rsa2048", rsaKey(t, 2048), "sha256"}, {"rsa3072", rsaKey(t, 3072), "sha384"}, {"rsa4096", rsaKey(t, 4096), "sha256"}, {"rsa2048x512", rsaKey(t, 2048), "sha512"},
		{"p256", ecKey(t, elliptic.P256()), "sha256"}, {"p384", ecKey(t, elliptic.P384()), "sha384"}, {"p521", ecKey(t, elliptic.P521()), "sha512"},
	} {
		leaf := sigtest.Issue(t, "signer "+row.name, &l.inter, row.key)
		leaf.Write(t, l.dir, row.name, l.inter)
		for _, wide := range []bool{false, true} {
			for args, stamped := range map[string]bool{"": false, stampArgs: true, "-ts " + url: true, "-ph " + stampArgs: true} {
				if i > 0 && (args != stampArgs || wide != (i%2 == 0)) {
					continue // the keys are one thing, the rest another
				}
				m := anImage()
				m.Wide = wide
				file := l.sign(t, m.Encode(), row.name, "-h "+row.hash+" "+args)
				s, err := verify(file, nil, l.trust(t), clock())
				if err != nil {
					t.Fatalf("%s, wide: %v, %s: %v", row.name, wide, args, err)
				}
				if good, why := l.theirs(t, file); !good {
					t.Errorf("%s, wide: %v, %s: osslsigncode: %s", row.name, wide, args, why)
				}
				if s.Kind != Authenticode || s.Signer.Subject != "CN=signer "+row.name || s.Signer.Issuer != "CN=vendor issuer" || s.Signer.Pin != verifier.PinOf(leaf.Cert) ||
					s.Signer.Serial != leaf.Cert.SerialNumber.Text(16) || len(s.Signer.Chain) != 3 || s.PageHashes != strings.HasPrefix(args, "-ph") {
					t.Errorf("%+v", s)
				}
				if (s.TimeStamp != nil) != stamped || stamped && (s.TimeStamp.Signer.Subject != "CN=time" || len(s.TimeStamp.Signer.Chain) != 2 || clock().Time.Sub(s.TimeStamp.Time) < 0) {
					t.Errorf("%s: time stamp %+v", args, s.TimeStamp)
				}
			}
		}
	}
}

// How long a file of 200 MB takes, and how many times as long as sha256sum and
// osslsigncode need for it, in turns, so that they share what else the machine does.
func BenchmarkLarge(b *testing.B) {
	l := newLab(b)
	needs(b, "sha256sum")
	m := anImage()
	m.Text = bytes.Repeat([]byte("definitions, many of them"), 8_000_000)
	file := l.sign(b, m.Encode(), "leaf", stampArgs)
	l.write(b, "large.vdm", file)
	f, err := os.Open(l.path("large.vdm"))
	must(b, err)
	defer f.Close()
	trust := l.trust(b)
	var ours, sums, theirs time.Duration
	timed := func(total *time.Duration, do func() error) {
		start := time.Now()
		must(b, do())
		*total += time.Since(start)
	}
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		timed(&ours, func() error { _, err := Verify(File{f, int64(len(file)), nil}, trust, clock()); return err })
		b.StopTimer()
		timed(&sums, exec.Command("sha256sum", l.path("large.vdm")).Run)
		timed(&theirs, func() error {
			_, err := l.run(b, "osslsigncode", "verify", "-CAfile", "root.pem", "-TSA-CAfile", "tsaroot.pem", "-in", "large.vdm")
			return err
		})
		b.StartTimer()
	}
	b.ReportMetric(ours.Seconds()/sums.Seconds(), "x-sha256sum")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "x-osslsigncode")
}
