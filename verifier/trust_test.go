package verifier

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// crlBy makes a DER revocation list of that CA.
func crlBy(t testing.TB, ca party, revoked []party, edits ...func(*x509.RevocationList)) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: base, NextUpdate: base.AddDate(0, 0, 7)}
	for _, p := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: p.cert.SerialNumber, RevocationTime: base})
	}
	for _, edit := range edits {
		edit(list)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
	must(t, err)
	return der
}

func crlPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func reason(code int) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) { l.RevokedCertificateEntries[0].ReasonCode = code }
}

func withRoot(root party, crls ...[]byte) []TrustFile {
	files := []TrustFile{{"root.pem", root.pem()}}
	for i, der := range crls {
		files = append(files, TrustFile{fmt.Sprintf("%d.crl", i), der})
	}
	return files
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	other := newPKI(t) // CAs of the same names with other keys
	object := p.message(t).encode(t)
	leaf, inter := []party{p.leaf}, []party{p.inter}
	revoked := want{SignerRevoked, "revoked", "another signer"}
	invalid := want{TrustDirInvalid, "0.crl does not verify", "that the CA publishes"}
	lapsed := func(l *x509.RevocationList) {
		l.ThisUpdate, l.NextUpdate = base.AddDate(-1, 0, 0), base.AddDate(-1, 0, 1)
	}
	scoped := func(l *x509.RevocationList) { // onlyContainsCACerts
		l.ExtraExtensions = []pkix.Extension{{Id: oid("2.5.29.28"), Critical: true, Value: der(0x30, der(0x82, []byte{0xff}))}}
	}
	delta := func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: oid("2.5.29.27"), Critical: true, Value: enc(1)}}
	}
	forged := crlBy(t, p.inter, leaf)
	forged[len(forged)-1] ^= 1
	for name, row := range map[string]struct {
		crls []([]byte)
		want want
	}{
		"no list":                 {nil, want{}},
		"empty lists":             {[][]byte{crlBy(t, p.root, nil), crlBy(t, p.inter, nil)}, want{}},
		"leaf":                    {[][]byte{crlBy(t, p.inter, leaf)}, revoked},
		"leaf in PEM":             {[][]byte{crlPEM(crlBy(t, p.inter, leaf))}, revoked},
		"leaf in PEM with text":   {[][]byte{append([]byte("Certificate Revocation List:\n"), crlPEM(crlBy(t, p.inter, leaf))...)}, revoked},
		"intermediate":            {[][]byte{crlBy(t, p.root, inter)}, revoked},
		"lapsed list":             {[][]byte{crlBy(t, p.inter, leaf, lapsed)}, revoked},
		"on hold":                 {[][]byte{crlBy(t, p.inter, leaf, reason(6))}, revoked},
		"scoped list":             {[][]byte{crlBy(t, p.inter, leaf, scoped)}, revoked},
		"delta list":              {[][]byte{crlBy(t, p.inter, leaf, delta)}, revoked},
		"taken off only":          {[][]byte{crlBy(t, p.inter, leaf, reason(8))}, want{}},
		"taken off by a later":    {[][]byte{crlBy(t, p.inter, leaf), crlBy(t, p.inter, leaf, reason(8))}, revoked},
		"not on a later":          {[][]byte{crlBy(t, p.inter, leaf, lapsed), crlBy(t, p.inter, nil)}, revoked},
		"serial of another CA":    {[][]byte{crlBy(t, p.root, leaf)}, want{}},
		"serial of a stranger":    {[][]byte{crlBy(t, p.inter, []party{other.leaf})}, want{}},
		"CA of the name, its key": {[][]byte{crlBy(t, other.inter, leaf)}, want{}},
		"bad signature":           {[][]byte{forged}, invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trust, err := NewTrust(withRoot(p.root, row.crls...), nil)
			must(t, err)
			_, err = trust.Verify(object, soon)
			row.want.check(t, err)
			s, err := trust.VerifyInstalled(object)
			if row.want.code == SignerRevoked {
				if err != nil || !s.Revoked || s.List == nil {
					t.Errorf("installed and revoked: %+v, %v", s, err)
				}
				return
			}
			row.want.check(t, err)
		})
	}
}

// A CA that was certified anew, under the same key but with another key
// identifier, is still the CA that revoked.
func TestRevocationByRenewedCA(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	renewed := issue(t, "intermediate", &p.root, p.inter.key, aCA, func(c *x509.Certificate) { c.SubjectKeyId = []byte("another") })
	trust, err := NewTrust(withRoot(p.root, crlBy(t, p.inter, []party{p.leaf})), nil)
	must(t, err)
	_, err = trust.Verify(messageBy(p.leaf, listJSON(t), p.leaf, renewed).encode(t), soon)
	want{SignerRevoked, "", ""}.check(t, err)
}

// One of two intermediates of one key is revoked; the other still vouches.
func TestRevocationOfOneOfTwoChains(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	second := issue(t, "intermediate", &p.root, p.inter.key, aCA)
	object := messageBy(p.leaf, listJSON(t), p.leaf, p.inter, second).encode(t)
	for name, row := range map[string]struct {
		revoked []party
		want    want
	}{
		"first": {[]party{p.inter}, want{}}, "second": {[]party{second}, want{}},
		"both": {[]party{p.inter, second}, want{SignerRevoked, "", ""}},
	} {
		trust, err := NewTrust(withRoot(p.root, crlBy(t, p.root, row.revoked)), nil)
		must(t, err)
		s, err := trust.Verify(object, soon)
		row.want.check(t, err)
		for _, gone := range row.revoked {
			for _, c := range s.Chain {
				if c.Equal(gone.cert) {
					t.Errorf("%s: the chain is the revoked one", name)
				}
			}
		}
	}
}

func TestNewTrustFiles(t *testing.T) {
	t.Parallel()
	p, other := newPKI(t), newPKI(t)
	root, der := p.root.pem(), crlBy(t, p.root, nil)
	weak := issue(t, "weak", nil, rsaKey(t, 1024), aCA)
	odd := issue(t, "odd", nil, ecKey(t, elliptic.P224()), aCA)
	damaged := bytes.Replace(root, []byte("MII"), []byte("M!!"), 1)
	indirect := crlBy(t, p.root, []party{p.leaf}, func(l *x509.RevocationList) {
		l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{{Id: oid("2.5.29.29"), Critical: true, Value: der256()}}
	})
	sameName := issue(t, "root", nil, nil, aCA, func(c *x509.Certificate) { c.SubjectKeyId = p.root.cert.SubjectKeyId })
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, row := range map[string]struct {
		file TrustFile
		hint string // empty: the file is fine
	}{
		"root":                       {TrustFile{"a.pem", root}, ""},
		"two roots":                  {TrustFile{"a.pem", join(root, other.root.pem())}, ""},
		"root with text around":      {TrustFile{"a.pem", join([]byte("our root\n"), root, []byte("the end\n"))}, ""},
		"root with CRLF":             {TrustFile{"a.pem", bytes.ReplaceAll(root, []byte("\n"), []byte("\r\n"))}, ""},
		"intermediate as a root":     {TrustFile{"a.pem", p.inter.pem()}, ""},
		"list in DER":                {TrustFile{"a.crl", der}, ""},
		"list in PEM":                {TrustFile{"a.crl", crlPEM(der)}, ""},
		"list of another CA":         {TrustFile{"a.crl", crlBy(t, other.inter, nil)}, ""},
		"empty file":                 {TrustFile{"a.pem", nil}, "no certificate in PEM"},
		"root in DER":                {TrustFile{"a.pem", p.root.cert.Raw}, "no certificate in PEM"},
		"leaf":                       {TrustFile{"a.pem", p.leaf.pem()}, "not a CA's"},
		"root and leaf":              {TrustFile{"a.pem", join(root, p.leaf.pem())}, "not a CA's"},
		"private key":                {TrustFile{"a.pem", p.root.keyPEM(t)}, "other than certificates"},
		"root and private key":       {TrustFile{"a.pem", join(root, p.root.keyPEM(t))}, "other than certificates"},
		"list as a root":             {TrustFile{"a.pem", crlPEM(der)}, "other than certificates"},
		"truncated":                  {TrustFile{"a.pem", root[:len(root)/2]}, "damaged"},
		"truncated at the end":       {TrustFile{"a.pem", join(root, root[:len(root)/2])}, "damaged"},
		"truncated in front":         {TrustFile{"a.pem", join(root[:len(root)/2], []byte("\n"), root)}, "damaged"},
		"damaged in front":           {TrustFile{"a.pem", join(damaged, root)}, "damaged"},
		"certificate that is none":   {TrustFile{"a.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})}, "can not be read"},
		"RSA-1024":                   {TrustFile{"a.pem", weak.pem()}, "weak key"},
		"P-224":                      {TrustFile{"a.pem", odd.pem()}, "weak key"},
		"empty list":                 {TrustFile{"a.crl", nil}, "other than one revocation list"},
		"list that is cut":           {TrustFile{"a.crl", der[:len(der)-1]}, "no revocation list"},
		"two lists in DER":           {TrustFile{"a.crl", join(der, der)}, "no revocation list"},
		"byte behind a list":         {TrustFile{"a.crl", join(der, []byte("\n"))}, "no revocation list"},
		"two lists in PEM":           {TrustFile{"a.crl", join(crlPEM(der), crlPEM(der))}, "other than one revocation list"},
		"damaged list in front":      {TrustFile{"a.crl", join(crlPEM(der)[:60], []byte("\n"), crlPEM(der))}, "damaged"},
		"root as a list":             {TrustFile{"a.crl", root}, "other than one revocation list"},
		"certificate as a list":      {TrustFile{"a.crl", p.root.cert.Raw}, "no revocation list"},
		"indirect list":              {TrustFile{"a.crl", indirect}, "indirect"},
		"list by another key":        {TrustFile{"a.crl", crlBy(t, sameName, nil)}, "that the CA publishes"},
		"other name":                 {TrustFile{"README", root}, ".pem"},
		"root.crt":                   {TrustFile{"root.crt", root}, ".pem"},
		"suffix in capitals":         {TrustFile{"a.PEM", root}, ".pem"},
		"backup":                     {TrustFile{"root.pem~", root}, "letters"},
		"name with a newline":        {TrustFile{"a\n.pem", root}, "letters"},
		"hidden name":                {TrustFile{".pem", root}, "letters"},
		"larger than a file may be":  {TrustFile{"a.pem", make([]byte, MaxTrustFile+1)}, "larger"},
		"list larger than it may be": {TrustFile{"a.crl", make([]byte, MaxTrustFile+1)}, "larger"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trust, err := NewTrust(append(withRoot(p.root), row.file), nil)
			if row.hint == "" {
				want{}.check(t, err)
				return
			}
			want{TrustDirInvalid, "", row.hint}.check(t, err)
			if !trust.Empty() {
				t.Error("a refused directory still gives roots")
			}
			if ValidName(row.file.Name) && !strings.Contains(err.Error(), row.file.Name) {
				t.Errorf("the file is not named: %v", err)
			}
		})
	}
}

// der256 is some name, as the issuer of an entry of an indirect list.
func der256() []byte { return der(0x30, der(0xa4, enc(pkix.Name{CommonName: "x"}.ToRDNSequence()))) }

func TestNewTrustTooManyFiles(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	files := make([]TrustFile, MaxTrustFiles+1)
	for i := range files {
		files[i] = TrustFile{fmt.Sprintf("%d.pem", i), p.root.pem()}
	}
	_, err := NewTrust(files, nil)
	want{TrustDirInvalid, "more than 256 files", ""}.check(t, err)
	_, err = NewTrust(files[:MaxTrustFiles], nil)
	want{}.check(t, err)
}

// Who has no root believes nobody, whatever the system's bundle says.
func TestEmptyTrust(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	none, err := NewTrust(nil, nil)
	must(t, err)
	crlOnly, err := NewTrust([]TrustFile{{"a.crl", crlBy(t, p.root, nil)}}, nil)
	must(t, err)
	for name, trust := range map[string]Trust{"zero value": {}, "no files": none, "a list only": crlOnly} {
		if !trust.Empty() || len(trust.Roots()) != 0 {
			t.Errorf("%s: has roots", name)
		}
		object := p.message(t).encode(t)
		_, err := trust.Verify(object, soon)
		want{SignerUntrusted, "no root of the trust directory", "trust directory"}.check(t, err)
		_, err = trust.VerifyInstalled(object)
		want{SignerUntrusted, "no root of the trust directory", ""}.check(t, err)
	}
	if roots := p.trust(t).Roots(); len(roots) != 1 || !roots[0].Equal(p.root.cert) {
		t.Error("the roots are not told")
	}
}

func TestStale(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	endless := func(l *x509.RevocationList) { l.NextUpdate = base.AddDate(50, 0, 0) }
	trust, err := NewTrust(withRoot(p.root, crlBy(t, p.root, nil), crlBy(t, p.inter, nil, endless)), nil)
	must(t, err)
	if got := trust.Stale(base.AddDate(0, 0, 7)); len(got) != 0 {
		t.Errorf("stale on its last day: %v", got)
	}
	if got := trust.Stale(base.AddDate(0, 0, 8)); len(got) != 1 || got[0] != "0.crl" {
		t.Errorf("stale: %v", got)
	}
}

func TestPins(t *testing.T) {
	t.Parallel()
	p, other := newPKI(t), newPKI(t)
	direct := issue(t, "direct", &p.root, nil)
	unpinned := want{SignerUntrusted, "neither the signer nor its issuer", "agent.trust.signers"}
	for name, row := range map[string]struct {
		pins   []Pin
		signer party
		want   want
	}{
		"none":                    {nil, p.leaf, want{}},
		"leaf":                    {[]Pin{PinOf(p.leaf.cert)}, p.leaf, want{}},
		"issuer":                  {[]Pin{PinOf(p.inter.cert)}, p.leaf, want{}},
		"issuer among others":     {[]Pin{PinOf(other.leaf.cert), PinOf(p.inter.cert)}, p.leaf, want{}},
		"root above the issuer":   {[]Pin{PinOf(p.root.cert)}, p.leaf, unpinned},
		"root that is the issuer": {[]Pin{PinOf(p.root.cert)}, direct, want{}},
		"somebody in the bag":     {[]Pin{PinOf(other.leaf.cert)}, p.leaf, unpinned},
		"zero pin":                {[]Pin{{}}, p.leaf, unpinned},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The bag holds the stranger too: the sender chose it.
			object := messageBy(row.signer, listJSON(t), other.leaf, row.signer, p.inter).encode(t)
			_, err := p.trust(t, row.pins...).Verify(object, soon)
			row.want.check(t, err)
			_, err = p.trust(t, row.pins...).VerifyInstalled(object)
			row.want.check(t, err)
		})
	}
}

func TestParsePin(t *testing.T) {
	t.Parallel()
	pin := PinOf(newPKI(t).leaf.cert)
	if back, err := ParsePin(pin.String()); err != nil || back != pin {
		t.Errorf("%v became %v, %v", pin, back, err)
	}
	for _, s := range []string{"", "x", "AAAA", pin.String()[1:], "sha256/" + pin.String(), pin.String() + "=", pin.String() + "AAAA"} {
		if _, err := ParsePin(s); err == nil {
			t.Errorf("%q was read", s)
		}
	}
}

// The chain must hold at our time, or when the list was issued, where that is later.
func TestVerifyTimes(t *testing.T) {
	t.Parallel()
	year := func(n int) time.Time { return base.AddDate(n, 0, 0) }
	root := issue(t, "root", nil, nil, aCA)
	brief := issue(t, "brief root", nil, nil, aCA, valid(year(-1), year(2)))
	inter := issue(t, "intermediate", &root, nil, aCA)
	briefInter := issue(t, "brief intermediate", &root, nil, aCA, valid(year(-1), base.AddDate(0, 6, 0)))
	lateInter := issue(t, "late intermediate", &root, nil, aCA, valid(base.Add(12*time.Hour), year(9)))
	longLeaf := valid(base, year(8))
	leaf := issue(t, "leaf", &inter, nil)
	dead := time.Unix(0, 0)
	expired := want{SignerExpired, "has expired", "sign again"}
	early := want{SignerExpired, "not valid yet", "clock"}
	for name, row := range map[string]struct {
		signer, inter party
		issued        time.Time
		now           time.Time
		want          want
	}{
		"in time":                          {leaf, inter, issued, soon, want{}},
		"at the leaf's last second":        {leaf, inter, issued, year(1), want{}},
		"after the leaf's end":             {leaf, inter, issued, year(1).Add(time.Second), expired},
		"after the intermediate's end":     {issue(t, "leaf", &briefInter, nil, longLeaf), briefInter, issued, year(1), expired},
		"after the root's end":             {issue(t, "leaf", &brief, nil, longLeaf), brief, issued, year(3), expired},
		"issued after the leaf's end":      {leaf, inter, year(2), soon, expired},
		"before the leaf's start":          {leaf, inter, base.Add(-2 * time.Hour), base.Add(-time.Hour), early},
		"clock says 1970":                  {leaf, inter, issued, dead, want{}},
		"clock says 1970, and a second":    {leaf, inter, issued, dead.Add(time.Second), want{}},
		"clock before 1970":                {leaf, inter, issued, dead.AddDate(-10, 0, 0), want{}},
		"no clock":                         {leaf, inter, issued, time.Time{}, want{}},
		"no clock, issued before the leaf": {leaf, inter, base.Add(-2 * time.Hour), time.Time{}, early},
		"1970, issued before the leaf":     {leaf, inter, base.Add(-2 * time.Hour), dead, early},
		"1970, list after the leaf's end":  {leaf, inter, year(2), dead, expired},
		"1970, late intermediate":          {issue(t, "leaf", &lateInter, nil), lateInter, issued, dead, want{}},
		"a clock that is a day behind":     {leaf, inter, issued, base.Add(-24 * time.Hour), want{}},
		"year 9999":                        {leaf, inter, issued, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), expired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := listJSON(t, func(l *List) {
				l.Issued, l.Released, l.Expires = row.issued, row.issued, row.issued.AddDate(0, 0, 14)
			})
			m := messageBy(row.signer, list, row.signer, row.inter)
			_, err := trusting(t, nil, root, brief).Verify(m.encode(t), row.now)
			row.want.check(t, err)
		})
	}
}

// A signer who dates the signature back gains nothing once the certificate ended.
func TestVerifyBackdated(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	m := p.message(t)
	m.signedAt = base
	_, err := p.trust(t).Verify(m.encode(t), base.AddDate(2, 0, 0))
	want{SignerExpired, "has expired", "sign again"}.check(t, err)
}

// What was once verified stays installed, whatever ends or is renewed later.
func TestVerifyInstalled(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	never := want{SignerUntrusted, "no root", ""}
	late := issue(t, "intermediate", &p.root, p.inter.key, aCA, valid(soon.Add(-time.Hour), base.AddDate(5, 0, 0)))
	renewedRoot := issue(t, "root", nil, p.root.key, aCA, valid(soon.AddDate(0, 6, 0), base.AddDate(20, 0, 0)))
	earlyList := listJSON(t, func(l *List) { l.Issued, l.Released = base.AddDate(0, -1, 0), base.AddDate(0, -1, 0) })
	lateList := listJSON(t, func(l *List) { l.Issued, l.Expires = base.AddDate(2, 0, 0), base.AddDate(3, 0, 0) })
	for name, row := range map[string]struct {
		m    message
		root party
		want want
	}{
		"in time":                       {p.message(t), p.root, want{}},
		"list older than the leaf":      {messageBy(p.leaf, earlyList, p.leaf, p.inter), p.root, want{}},
		"intermediate newer than it":    {messageBy(p.leaf, listJSON(t), p.leaf, late), p.root, want{}},
		"root renewed since":            {p.message(t), renewedRoot, want{}},
		"root gone":                     {p.message(t), newPKI(t).root, never},
		"list newer than the leaf":      {messageBy(p.leaf, lateList, p.leaf, p.inter), p.root, want{SignerExpired, "has expired", ""}},
		"signature not of this signer":  {p.message(t).with(func(m *message) { m.sign = signWith(t, p.root.key) }), p.root, want{SignatureInvalid, "does not match", ""}},
		"signer that is no code signer": {messageBy(p.inter, listJSON(t), p.inter), p.root, want{SignerUntrusted, "CA itself", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trust := trusting(t, nil, row.root)
			s, err := trust.VerifyInstalled(row.m.encode(t))
			row.want.check(t, err)
			if err == nil && (s.Revoked || s.List == nil) {
				t.Errorf("got %+v", s)
			}
		})
	}
}

// A code is public: scripts compare it.
func TestRefusal(t *testing.T) {
	t.Parallel()
	cause := errors.New("the cause")
	r := &Refusal{Code: SignerExpired, Sentence: "it is so", Hint: "do this", Err: cause}
	if r.Error() != "signer_expired: it is so (the cause)" || !errors.Is(r, cause) {
		t.Errorf("got %v", r)
	}
	if code, sentence, hint := r.Reason(); code != "signer_expired" || sentence != "it is so" || hint != "do this" {
		t.Errorf("got %s, %s, %s", code, sentence, hint)
	}
	if plain := refuse(KnownBadContent, "no", "yes"); plain.Error() != "known_bad: no" || plain.Unwrap() != nil {
		t.Errorf("got %v", plain)
	}
}

// Roots up to the greatest key that we check are roots.
func TestStrongKeyBounds(t *testing.T) {
	t.Parallel()
	for bits, want := range map[int]bool{1024: false, 2047: false, 2048: true, 8192: true, 8193: false} {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		c := &x509.Certificate{PublicKey: &rsa.PublicKey{N: n, E: 65537}}
		if strongKey(c) != want {
			t.Errorf("RSA of %d bits: %v", bits, !want)
		}
	}
}
