package agent_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/health"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
)

// The page docs/trust-over-time.md says what comes of every change of trust. Its
// tables are the tests: each row is run by a whole agent against a real server,
// with certificates made for it.

// day0 is when the stories of these tests begin. Lists are signed at the real
// time, which a signature states, so it can be no other.
func day0() time.Time { return time.Now().Truncate(time.Second).UTC() }

// ca is somebody with a certificate and its key.
type ca struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func (c ca) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

// certify makes a certificate, valid for a year before and after the start of the
// story. Who has no issuer signs itself; who has no key gets one.
func certify(t testing.TB, name string, issuer *ca, key crypto.Signer, edits ...func(*x509.Certificate)) ca {
	t.Helper()
	if key == nil {
		key = newKey(t)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: day0().AddDate(-1, 0, 0), NotAfter: day0().AddDate(1, 0, 0),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	for _, edit := range edits {
		edit(template)
	}
	signer := ca{template, key}
	if issuer != nil {
		signer = *issuer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, key.Public(), signer.key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return ca{cert, key}
}

func asCA(c *x509.Certificate) {
	c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
}

// until ends a certificate that long after the start of the story.
func until(d time.Duration) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotAfter = day0().Add(d) }
}

// signerOf signs as leaf, with the certificates of those above it.
func signerOf(leaf ca, above ...ca) *mirror.Signer {
	s := &mirror.Signer{Key: leaf.key, Leaf: leaf.cert}
	for _, c := range above {
		s.Intermediates = append(s.Intermediates, c.cert)
	}
	return s
}

// crl makes a revocation list of that CA.
func crl(t testing.TB, by ca, number int64, revoked []ca, edits ...func(*x509.RevocationList)) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: day0().Add(-time.Hour), NextUpdate: day0().AddDate(0, 6, 0)}
	for _, c := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.cert.SerialNumber, RevocationTime: day0()})
	}
	for _, edit := range edits {
		edit(list)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, by.cert, by.key)
	must(t, err)
	return der
}

// extension adds an extension to a revocation list.
func extension(id asn1.ObjectIdentifier, value []byte) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) {
		l.ExtraExtensions = append(l.ExtraExtensions, pkix.Extension{Id: id, Critical: true, Value: value})
	}
}

// story is one row at work: a machine that trusts root, whose packages are signed
// by leaf below inter.
type story struct {
	*world
	site              *web
	root, inter, leaf ca
	old, next         *mirror.Signer // of the installed package, and of the new one
	pack              pack           // the new package
	opts              agent.Options  // of the update that meets it
	start             time.Time
}

func newStory(t testing.TB, edits ...func(*x509.Certificate)) *story {
	s := &story{world: newWorld(t), start: day0()}
	must(t, os.Remove(filepath.Join(s.agent.Paths.Trust, "root.pem")))
	s.at(s.start)
	s.root = certify(t, "root", nil, nil, asCA)
	s.inter = certify(t, "intermediate", &s.root, nil, asCA)
	s.leaf = certify(t, "signer", &s.inter, nil, edits...)
	s.trust("root.pem", s.root.pem())
	s.old = signerOf(s.leaf, s.inter)
	s.next, s.pack = s.old, pack{n: 2}
	s.site = s.web()
	s.offline(s.site.ringURL(), false, "")
	return s
}

// signed fills in what the packages of stories have in common.
func (s *story) signed(p pack, by *mirror.Signer) pack {
	if p.issued.IsZero() {
		p.issued = s.start.Add(-time.Hour + time.Duration(min(p.n, 1000))*time.Second)
	}
	p.signer = by
	return p
}

// install brings a first package onto the machine.
func (s *story) install(p pack) {
	s.Helper()
	s.publish(s.signed(p, s.old))
	s.want(agent.Updated, "")
	s.has(p.n)
}

func (s *story) untrust(name string) {
	s.Helper()
	must(s, os.Remove(filepath.Join(s.agent.Paths.Trust, name)))
}

// row is one line of a table, by the names of its columns.
type row map[string]string

// tables reads every table of the page whose first column is called first.
func tables(t *testing.T, first string) (rows []row) {
	t.Helper()
	page, err := os.ReadFile("../docs/trust-over-time.md")
	must(t, err)
	var names []string
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			names = nil
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case names == nil:
			names = cells
		case strings.HasPrefix(cells[0], "--") || names[0] != first:
		case len(cells) != len(names):
			t.Fatalf("a row has %d cells under %d names: %s", len(cells), len(names), line)
		default:
			r := row{}
			for i, name := range names {
				r[name] = cells[i]
			}
			rows = append(rows, r)
		}
	}
	return rows
}

// The words of the tables.
const (
	colBefore  = "report before"
	colNew     = "the new package"
	colSet     = "the installed set"
	colAfter   = "report after"
	isIn       = "is installed"
	isRefused  = "is refused"
	isReplaced = "is replaced"
	isKept     = "stays active"
	isUnknown  = "stays, and counts as none"
	isNone     = "there is none"
)

// hold holds the machine to the row: what is reported until a new package comes,
// what becomes of that package and of the installed set, and what is reported then.
func (s *story) hold(r row) {
	s.Helper()
	installed := s.active()
	s.reports(r, colBefore)
	s.publish(s.signed(s.pack, s.next))
	result := s.agent.Update(context.Background(), s.opts)
	if result.FailReason != nil {
		checkFailure(s, result.FailReason)
	}
	verdict, refusedAs := split(r[colNew])
	outcome := map[string]agent.Outcome{isIn: agent.Updated, isRefused: agent.Failed}[verdict]
	if outcome == "" || result.Outcome != outcome {
		s.Errorf("the new package: the update ended with %s %v, the page says that it %s", result.Outcome, result.FailReason, r[colNew])
	}
	if refusedAs == "" {
		_, refusedAs = split(r[colAfter])
	}
	if result.Outcome == agent.Failed && codeOf(result) != refusedAs {
		s.Errorf("the update failed with %v, the page says %s", result.FailReason, refusedAs)
	}
	switch set := s.active(); r[colSet] {
	case isReplaced:
		s.has(s.pack.n)
	case isKept, isUnknown:
		if set != installed || installed == "" {
			s.Errorf("active is %q, and was %q", set, installed)
		}
		if r[colSet] == isUnknown && s.agent.Facts(context.Background()).Installed != nil {
			s.Error("the set counts")
		}
	case isNone:
		if installed != "" || (set != "") != (outcome == agent.Updated) {
			s.Errorf("active is %q, and was %q", set, installed)
		}
	default:
		s.Fatalf("the page says of the set that it %s", r[colSet])
	}
	if set := s.active(); set != "" {
		if err := whole(s.engine(set), s.everTrusted()); err != nil {
			s.Errorf("the active set is not whole: %v", err)
		}
	}
	s.reports(r, colAfter)
	if note, ok := strings.CutPrefix(r["note"], "`"); ok {
		note = strings.TrimSuffix(note, "`")
		if !slices.ContainsFunc(s.agent.Facts(context.Background()).Notes, func(n string) bool { return strings.Contains(n, note) }) {
			s.Errorf("the report has the notes %q, and none with %q", s.agent.Facts(context.Background()).Notes, note)
		}
	}
}

// split takes "`up_to_date`" or "`update_failed`, `signer_revoked`" apart.
func split(cell string) (status, code string) {
	status, code, _ = strings.Cut(strings.ReplaceAll(cell, "`", ""), ", ")
	return status, code
}

func (s *story) reports(r row, column string) {
	s.Helper()
	facts := s.agent.Facts(context.Background())
	status, code := split(r[column])
	got := ""
	if facts.Failure != nil {
		got = facts.Failure.Code
	}
	if string(health.Status(facts)) != status || got != code {
		s.Errorf("%s: %s, %s; the page says %s, %s", column, health.Status(facts), got, status, code)
	}
}

// everTrusted is the trust of everybody that a set of these stories can be of.
func (s *story) everTrusted() verifier.Trust {
	s.Helper()
	pems := s.root.pem()
	for _, signer := range []*mirror.Signer{s.old, s.next, s.pack.signer} {
		if signer != nil {
			for _, c := range signer.Intermediates {
				pems = append(pems, ca{cert: c}.pem()...)
			}
		}
	}
	trust, err := verifier.NewTrust([]verifier.TrustFile{{Name: "all.pem", Data: pems}}, nil)
	must(s, err)
	return trust
}

// TestRotation runs every order in which root, intermediate and leaf can be
// exchanged, under every state of the trust directory.
func TestRotation(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range tables(t, "root") {
		name := fmt.Sprintf("root %s, intermediate %s, leaf %s, trust directory %s", r["root"], r["intermediate"], r["leaf"], r["trust directory"])
		if seen[name] {
			t.Errorf("%s: stands twice", name)
		}
		seen[name] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			s.install(pack{n: 1})
			roots := map[string]ca{"old": s.root, "new": certify(t, "new root", nil, nil, asCA)}
			above := roots[r["root"]]
			// The old intermediate below the new root is the old key with a new certificate.
			interName, interKey := "intermediate", s.inter.key
			if r["intermediate"] == "new" {
				interName, interKey = "new intermediate", nil
			}
			inter := certify(t, interName, &above, interKey, asCA)
			var leafKey crypto.Signer
			if r["leaf"] == "old" {
				leafKey = s.leaf.key
			}
			s.next = signerOf(certify(t, r["leaf"]+" signer", &inter, leafKey), inter)
			switch r["trust directory"] {
			case "both":
				s.trust("new.pem", roots["new"].pem())
			case "new":
				s.trust("new.pem", roots["new"].pem())
				s.untrust("root.pem")
			case "old":
			default:
				t.Fatalf("the trust directory has %q", r["trust directory"])
			}
			s.hold(r)
		})
	}
	if len(seen) != 2*2*2*3 {
		t.Errorf("the table has %d orders of %d", len(seen), 2*2*2*3)
	}
}

// TestTrustOverTime runs the other tables of the page.
func TestTrustOverTime(t *testing.T) {
	t.Parallel()
	cases := trustCases()
	for _, r := range tables(t, "case") {
		name := r["case"]
		do, ok := cases[name]
		if !ok {
			t.Errorf("the page has a case that no test knows, or has twice: %s", name)
			continue
		}
		delete(cases, name)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			do(t).hold(r)
		})
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		t.Errorf("no row of the page is about: %s", name)
	}
}

// withSet is a story with a set installed.
func withSet(t testing.TB, edits ...func(*x509.Certificate)) *story {
	s := newStory(t, edits...)
	s.install(pack{n: 1})
	return s
}

// renewed gives the new package a leaf of its own below the same intermediate.
func (s *story) renewed() *story {
	s.next = signerOf(certify(s, "new signer", &s.inter, nil), s.inter)
	return s
}

// seen lets the agent see the trust directory as it is, by an update in which
// nothing new comes.
func (s *story) seen() { s.agent.Update(context.Background(), agent.Options{}) }

// plus moves the machine's clock away from the start of the story.
func (s *story) plus(years, months, days int) *story {
	s.at(s.start.AddDate(years, months, days))
	return s
}

func (s *story) pins(pins ...ca) *story {
	var list []string
	for _, c := range pins {
		list = append(list, `"`+verifier.PinOf(c.cert).String()+`"`)
	}
	s.offline(s.site.ringURL(), false, `"trust":{"signers":[`+strings.Join(list, ",")+`]}`)
	return s
}

// overTLS serves the mirror by https, with a certificate of as long as those of
// the signer's.
func (s *story) overTLS() *story {
	issuer := certify(s, "CA of the web server", nil, nil, asCA)
	server := certify(s, "web server", &issuer, nil, func(c *x509.Certificate) {
		c.ExtKeyUsage, c.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	site := httptest.NewUnstartedServer(mirror.Handler(s.srv, nil))
	site.Config.ErrorLog = log.New(io.Discard, "", 0)
	site.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{server.cert.Raw}, PrivateKey: server.key}}}
	site.StartTLS()
	s.Cleanup(site.Close)
	file := filepath.Join(s.TempDir(), "ca.pem")
	must(s, os.WriteFile(file, issuer.pem(), 0o600))
	s.offline(site.URL+"/linux/production/", false, fmt.Sprintf(`"caFile":%q`, file))
	return s
}

// robbed is a machine that took a package of the greatest version, which a thief
// signed as the same leaf.
func robbed(t testing.TB) *story {
	s := withSet(t)
	s.install(pack{n: 1<<32 - 1})
	return s
}

// movedAway is a robbed machine whose publisher begins anew with another root.
func movedAway(t testing.TB) *story {
	s := robbed(t)
	root := certify(t, "new root", nil, nil, asCA)
	inter := certify(t, "new intermediate", &root, nil, asCA)
	s.trust("new.pem", root.pem())
	s.untrust("root.pem")
	s.next = signerOf(certify(t, "new signer", &inter, nil), inter)
	return s
}

const hour = time.Hour

func trustCases() map[string]func(testing.TB) *story {
	ofOldRoot := func(s *story, edits ...func(*x509.Certificate)) ca { // another intermediate
		return certify(s, "another intermediate", &s.root, nil, append([]func(*x509.Certificate){asCA}, edits...)...)
	}
	revokedLeaf := func(t testing.TB) *story {
		s := withSet(t)
		s.trust("a.crl", crl(t, s.inter, 5, []ca{s.leaf}))
		return s
	}
	revokedAndSeen := func(t testing.TB) *story {
		s := revokedLeaf(t)
		s.seen()
		return s
	}
	withList := func(list func(s *story) []byte) func(testing.TB) *story {
		return func(t testing.TB) *story {
			s := withSet(t)
			s.trust("a.crl", list(s))
			return s
		}
	}
	lapsed := func(l *x509.RevocationList) {
		l.ThisUpdate, l.NextUpdate = day0().AddDate(0, 0, -9), day0().AddDate(0, 0, -2)
	}
	delta := extension(asn1.ObjectIdentifier{2, 5, 29, 27}, []byte{2, 1, 1})
	scoped := extension(asn1.ObjectIdentifier{2, 5, 29, 28}, []byte{0x30, 3, 0x82, 1, 0xff}) // onlyContainsCACerts
	return map[string]func(testing.TB) *story{
		"a new root, certified by the old one": func(t testing.TB) *story {
			s := withSet(t)
			root := certify(t, "new root", nil, nil, asCA)
			crossed := certify(t, "new root", &s.root, root.key, asCA)
			inter := certify(t, "new intermediate", &root, nil, asCA)
			s.next = signerOf(certify(t, "new signer", &inter, nil), inter, crossed)
			return s
		},
		"the same, with the new root alone in the trust directory": func(t testing.TB) *story {
			s := withSet(t)
			root := certify(t, "new root", nil, nil, asCA)
			crossed := certify(t, "new root", &s.root, root.key, asCA)
			inter := certify(t, "new intermediate", &root, nil, asCA)
			s.next = signerOf(certify(t, "new signer", &inter, nil), inter, crossed)
			s.trust("new.pem", root.pem())
			s.untrust("root.pem")
			return s
		},
		"the root is renewed with its old key": func(t testing.TB) *story {
			s := withSet(t)
			s.trust("root.pem", certify(t, "root", nil, s.root.key, asCA).pem())
			return s
		},

		"the leaf is revoked":                                revokedLeaf,
		"the leaf is revoked, and the package is of another": func(t testing.TB) *story { return revokedLeaf(t).renewed() },
		"the intermediate is revoked":                        withList(func(s *story) []byte { return crl(s, s.root, 5, []ca{s.inter}) }),
		"the intermediate is revoked, and the package is below another": func(t testing.TB) *story {
			s := withSet(t)
			s.trust("a.crl", crl(t, s.root, 5, []ca{s.inter}))
			inter := ofOldRoot(s)
			s.next = signerOf(certify(t, "new signer", &inter, nil), inter)
			return s
		},
		"the leaf was revoked, and the list is gone": func(t testing.TB) *story {
			s := revokedAndSeen(t)
			s.untrust("a.crl")
			return s
		},
		"the leaf was revoked, and a newer list lacks it": func(t testing.TB) *story {
			s := revokedAndSeen(t)
			s.trust("a.crl", crl(t, s.inter, 6, nil))
			return s
		},
		"the leaf was revoked, and an older list is back": func(t testing.TB) *story {
			s := revokedAndSeen(t)
			s.trust("a.crl", crl(t, s.inter, 4, nil))
			return s
		},
		"the leaf was revoked, and two newer lists later lack it": func(t testing.TB) *story {
			s := revokedAndSeen(t)
			for n := range int64(2) {
				s.trust("a.crl", crl(t, s.inter, 6+n, nil))
				s.seen()
			}
			return s
		},
		"the leaf was revoked before anything was installed, and the list is gone": func(t testing.TB) *story {
			s := newStory(t)
			s.trust("a.crl", crl(t, s.inter, 5, []ca{s.leaf}))
			s.publish(s.signed(pack{n: 1}, s.old))
			s.want(agent.Failed, "signer_revoked")
			s.untrust("a.crl")
			return s
		},
		"the intermediate was revoked, and the list is gone": func(t testing.TB) *story {
			s := withSet(t)
			s.trust("a.crl", crl(t, s.root, 5, []ca{s.inter}))
			s.seen()
			s.untrust("a.crl")
			return s
		},
		"an older list is back that revoked nobody": func(t testing.TB) *story {
			s := withSet(t)
			s.trust("a.crl", crl(t, s.inter, 5, nil))
			s.seen()
			s.trust("a.crl", crl(t, s.inter, 4, nil))
			return s
		},
		"there is no list at all":                       func(t testing.TB) *story { return withSet(t) },
		"the list is overdue and names nobody":          withList(func(s *story) []byte { return crl(s, s.inter, 5, nil, lapsed) }),
		"the list is overdue and names the leaf":        withList(func(s *story) []byte { return crl(s, s.inter, 5, []ca{s.leaf}, lapsed) }),
		"a list of another CA names the leaf's number":  withList(func(s *story) []byte { return crl(s, s.root, 5, []ca{s.leaf}) }),
		"a delta list names the leaf":                   withList(func(s *story) []byte { return crl(s, s.inter, 5, []ca{s.leaf}, delta) }),
		"a delta list takes the leaf off a list before": takenOff(delta),
		"a list of CAs only names the leaf":             withList(func(s *story) []byte { return crl(s, s.inter, 5, []ca{s.leaf}, scoped) }),
		"the list does not verify":                      withList(forged),
		"the list is damaged":                           withList(func(s *story) []byte { return crl(s, s.inter, 5, []ca{s.leaf})[1:] }),

		"the leaf has ended": func(t testing.TB) *story { return withSet(t, until(2*hour)).plus(0, 0, 1) },
		"the leaf has ended, and the package is of another": func(t testing.TB) *story { return withSet(t, until(2*hour)).renewed().plus(0, 0, 1) },
		"the leaf has ended, and the package came before":   unchanged,
		"the leaf has ended, and nothing is installed":      func(t testing.TB) *story { return newStory(t, until(2*hour)).plus(0, 0, 1) },
		"the intermediate has ended":                        endedCA(func(s *story) { s.inter = ofOldRoot(s, until(2*hour)) }),
		"the root has ended":                                endedCA(func(s *story) { s.endRoot() }),
		"the root has ended, and is renewed with its old key": func(t testing.TB) *story {
			s := endedCA(func(s *story) { s.endRoot() })(t)
			s.trust("root.pem", certify(t, "root", nil, s.root.key, asCA).pem())
			return s
		},
		"everything has ended two years ago": func(t testing.TB) *story { return withSet(t).plus(3, 0, 0) },

		"the clock says 1970":                              func(t testing.TB) *story { return withSet(t).dead() },
		"the clock says 1970, and nothing is installed":    func(t testing.TB) *story { return newStory(t).dead() },
		"the clock says 1970, and the mirror is on https":  func(t testing.TB) *story { return withSet(t).overTLS().dead() },
		"the clock says 1970, on https, nothing installed": func(t testing.TB) *story { return newStory(t).overTLS().dead() },
		"the clock is a year behind":                       func(t testing.TB) *story { return withSet(t).plus(-1, 0, 0) },
		"the clock is ten years ahead":                     func(t testing.TB) *story { return withSet(t).plus(10, 0, 0) },
		"the clock is ten years ahead, nothing installed":  func(t testing.TB) *story { return newStory(t).plus(10, 0, 0) },
		"the clock is ten years ahead, and the mirror is on https": func(t testing.TB) *story {
			return withSet(t).overTLS().plus(10, 0, 0)
		},
		"the clock was ten years ahead, and is right again": func(t testing.TB) *story {
			s := withSet(t).plus(10, 0, 0)
			s.publish(s.signed(s.pack, s.next))
			s.want(agent.Failed, "signer_expired")
			return s.plus(0, 0, 0)
		},
		"the clock said 1970, and is right again": func(t testing.TB) *story {
			s := newStory(t).dead()
			s.install(pack{n: 1})
			return s.plus(0, 0, 0)
		},

		"the package is issued three days from now": func(t testing.TB) *story {
			s := withSet(t)
			s.pack.issued = s.start.AddDate(0, 0, 3)
			return s
		},
		"the package has expired": func(t testing.TB) *story {
			s := withSet(t)
			s.pack.expires = s.start.Add(hour)
			return s.plus(0, 0, 1)
		},
		"the package has expired, and nothing is installed": func(t testing.TB) *story {
			s := newStory(t)
			s.pack.expires = s.start.Add(hour)
			return s.plus(0, 0, 1)
		},
		"the same, with --allow-expired": func(t testing.TB) *story {
			s := newStory(t)
			s.pack.expires, s.opts.AllowExpired = s.start.Add(hour), true
			return s.plus(0, 0, 1)
		},

		"the leaf is pinned, and the package is of another":            func(t testing.TB) *story { s := withSet(t); return s.pins(s.leaf).renewed() },
		"the leaf is pinned, and is renewed with its old key":          renewedKey,
		"the issuer is pinned, and the package is of another leaf":     func(t testing.TB) *story { s := withSet(t); return s.pins(s.inter).renewed() },
		"the issuer is pinned, and the package is of another issuer":   otherIssuer(func(s *story, _ ca) { s.pins(s.inter) }),
		"both issuers are pinned, and the package is of the other":     otherIssuer(func(s *story, other ca) { s.pins(s.inter, other) }),
		"the pin is that of the next issuer alone, before its package": otherIssuer(func(s *story, other ca) { s.pins(other) }),

		"a stolen key signed the greatest version, and nobody knows yet": func(t testing.TB) *story { return robbed(t).renewed() },
		"the same, and the stolen key is revoked": func(t testing.TB) *story {
			s := robbed(t).renewed()
			s.trust("a.crl", crl(t, s.inter, 1, []ca{s.leaf}))
			return s
		},
		"a stolen CA signed the greatest version, and the root is exchanged": func(t testing.TB) *story { return movedAway(t) },
		"the same, with a list of the old root that revokes the old intermediate": func(t testing.TB) *story {
			s := movedAway(t)
			s.trust("a.crl", crl(t, s.root, 1, []ca{s.inter}))
			return s
		},
		"the same, by hand with --allow-downgrade": func(t testing.TB) *story {
			s := movedAway(t)
			s.opts.AllowDowngrade = v(s.pack.n)
			return s
		},
	}
}

// dead sets the clock to what it says without a battery. The program knows when
// it was built.
func (s *story) dead() *story {
	s.at(time.Unix(0, 0))
	s.agent.Built = s.start.Add(-24 * hour)
	return s
}

// endRoot makes a root that ends soon, and those below it.
func (s *story) endRoot() {
	s.root = certify(s, "root", nil, nil, asCA, until(2*hour))
	s.inter = certify(s, "intermediate", &s.root, nil, asCA)
	s.trust("root.pem", s.root.pem())
}

// endedCA is a machine whose set is of a CA that has ended since.
func endedCA(exchange func(*story)) func(testing.TB) *story {
	return func(t testing.TB) *story {
		s := newStory(t)
		exchange(s)
		s.leaf = certify(t, "signer", &s.inter, nil)
		s.old = signerOf(s.leaf, s.inter)
		s.next = s.old
		s.install(pack{n: 1})
		return s.plus(0, 0, 1)
	}
}

// unchanged is a mirror on which the installed package still lies.
func unchanged(t testing.TB) *story {
	s := withSet(t, until(2*hour)).plus(0, 0, 1)
	s.pack = pack{n: 1}
	return s
}

// renewedKey has the new package signed by the old key with a new certificate.
func renewedKey(t testing.TB) *story {
	s := withSet(t)
	s.next = signerOf(certify(t, "signer", &s.inter, s.leaf.key), s.inter)
	return s.pins(s.leaf)
}

func otherIssuer(do func(s *story, other ca)) func(testing.TB) *story {
	return func(t testing.TB) *story {
		s := withSet(t)
		other := certify(t, "another intermediate", &s.root, nil, asCA)
		s.next = signerOf(certify(t, "new signer", &other, nil), other)
		do(s, other)
		return s
	}
}

// takenOff is a machine with a list that names the leaf and a delta list that
// takes it off.
func takenOff(delta func(*x509.RevocationList)) func(testing.TB) *story {
	return func(t testing.TB) *story {
		s := withSet(t)
		s.trust("a.crl", crl(t, s.inter, 5, []ca{s.leaf}))
		s.trust("b.crl", crl(t, s.inter, 6, []ca{s.leaf}, delta, func(l *x509.RevocationList) { l.RevokedCertificateEntries[0].ReasonCode = 8 }))
		return s
	}
}

// forged is a list of the root's whose signature is wrong.
func forged(s *story) []byte {
	der := crl(s, s.root, 5, nil)
	der[len(der)-1] ^= 1
	return der
}

// A kept list that is damaged un-revokes nobody: nothing is done before it is mended,
// and it stays where it is.
func TestKeptListIsDamaged(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(path string) error{
		"cut":        func(path string) error { return os.Truncate(path, 20) },
		"empty":      func(path string) error { return os.Truncate(path, 0) },
		"other list": func(path string) error { return os.WriteFile(path, crl(t, newStory(t).inter, 5, nil), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := withSet(t)
			list := crl(t, s.inter, 5, []ca{s.leaf})
			s.trust("a.crl", list)
			s.seen()
			s.untrust("a.crl")
			paths, err := filepath.Glob(s.state("crls/*.crl"))
			must(t, err)
			if len(paths) != 1 {
				t.Fatalf("kept are %v", paths)
			}
			must(t, damage(paths[0]))
			damaged := s.read(paths[0])
			s.publish(s.signed(pack{n: 2}, s.old))
			for range 2 {
				if r := s.want(agent.Failed, "trust_invalid"); !strings.Contains(r.FailReason.Message, paths[0]) {
					t.Errorf("the sentence does not name the file: %s", r.FailReason.Message)
				}
			}
			s.has(1)
			s.status("unavailable", "trust_invalid")
			if string(s.read(paths[0])) != string(damaged) {
				t.Error("what could not be read was changed")
			}
			s.trust("a.crl", list) // the very list mends it, and the file need not be removed
			s.want(agent.Failed, "signer_revoked")
			s.untrust("a.crl")
			s.want(agent.Failed, "signer_revoked")
			s.has(1)
		})
	}
}

// Where there is no room for a list any more, result and report say which.
func TestListIsEvicted(t *testing.T) {
	t.Parallel()
	s := withSet(t)
	var first string
	for n := range int64(65) {
		der := crl(t, s.root, n+1, []ca{s.inter})
		name := fmt.Sprintf("%x.crl", sha256.Sum256(der))
		if n == 0 {
			first = name
		}
		s.write(s.state("crls/"+name), der)
	}
	says := func(notes []string) bool {
		return slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, "is forgotten") && strings.HasSuffix(n, first) })
	}
	if r := s.want(agent.Failed, "signer_revoked"); !says(r.Notes) || !says(s.agent.Facts(context.Background()).Notes) {
		t.Errorf("the result has the notes %q, the report %q", r.Notes, s.agent.Facts(context.Background()).Notes)
	}
	if paths, err := filepath.Glob(s.state("crls/*.crl")); err != nil || len(paths) != 64 {
		t.Errorf("%d are kept, %v", len(paths), err)
	}
}
