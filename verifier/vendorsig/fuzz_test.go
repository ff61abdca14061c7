package vendorsig

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/internal/cms"
	"mdatp-offline-agent/verifier/vendorsig/sigtest"
)

// The files of testdata, which testdata/README.md describes.

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	must(t, err)
	return data
}

func fixtureTrust(t testing.TB) verifier.Trust {
	t.Helper()
	trust, err := verifier.NewTrust([]verifier.TrustFile{{Name: "root.pem", Data: fixture(t, "root.pem")}, {Name: "time.pem", Data: fixture(t, "time.pem")}}, nil)
	must(t, err)
	return trust
}

// fixtureClock is a time at which the signer of signed.vdm has expired.
func fixtureClock() verifier.Clock { return verifier.Clock{Time: date(2040)} }

// hashed is what of a file Authenticode's digest is over, as this test has it.
func hashed(file []byte) []byte {
	at, _, directory := place(file)
	out := bytes.Clone(file[:at])
	optional := bytes.Index(file, []byte("PE\x00\x00")) + 24
	copy(out[optional+64:], make([]byte, 4))
	copy(out[directory:], make([]byte, 8))
	return out
}

// Nothing but the one file that was ever signed is accepted, and nothing panics or
// takes memory for what it says of itself.
func FuzzPE(f *testing.F) {
	file := fixture(f, "signed.vdm")
	f.Add(file)
	f.Add(anImage().Encode())
	for _, v := range allVectors(f) {
		f.Add(v.part(f, "file"))
	}
	trust, original := fixtureTrust(f), hashed(file)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := verify(data, nil, trust, fixtureClock())
		if err == nil && (!bytes.Equal(hashed(data), original) || s.Signer.Chain == nil || s.TimeStamp == nil) {
			t.Fatal("accepted what nobody signed")
		}
		if _, err := verify(data, nil, verifier.Trust{}, fixtureClock()); err == nil {
			t.Fatal("nobody is trusted, and yet it was accepted")
		}
	})
}

// What is read of a version resource is the same when it is read again, and fit to
// be shown.
func FuzzResource(f *testing.F) {
	f.Add(anImage().Resource)
	f.Add(sigtest.VersionInfo("a", "1.2", verifier.Version{}, sigtest.Node("FileVersion", 1, sigtest.Wide("1.3"))))
	f.Add(sigtest.Node("VS_VERSION_INFO", 0, sigtest.FixedInfo(verifier.Version{1, 2, 3, 4})))
	f.Fuzz(func(t *testing.T, data []byte) {
		direct, err := parseVersionInfo(data)
		if len(data) > maxResource {
			return
		}
		m := anImage()
		m.Resource = data
		if len(data) == 0 {
			return
		}
		file := m.Encode()
		whole, err2 := ReadResource(bytes.NewReader(file), int64(len(file)))
		if (err == nil) != (err2 == nil) || direct != whole {
			t.Fatalf("by itself %+v, %v, in a file %+v, %v", direct, err, whole, err2)
		}
	})
}

// The tree of resources can lead anywhere.
func FuzzResourceTree(f *testing.F) {
	f.Add(anImage().Encode())
	f.Add(fixture(f, "signed.vdm"))
	for _, v := range allVectors(f) {
		if v.about() == "resource" {
			f.Add(v.part(f, "file"))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		one, err := ReadResource(bytes.NewReader(data), int64(len(data)))
		two, err2 := ReadResource(bytes.NewReader(data), int64(len(data)))
		if one != two || !reflect.DeepEqual(err, err2) {
			t.Fatal("twice read, twice another")
		}
	})
}

// No time but the one that was ever stamped is believed, for no other signature.
func FuzzTimeStamp(f *testing.F) {
	var all [][]byte
	var over []byte
	for _, object := range [][]byte{embedded(fixture(f, "signed.vdm")), fixture(f, "microsoft.p7")} {
		o, token := parsed(f, object)
		all = append(all, token)
		if over == nil {
			over = o.Signature
		}
		f.Add([]byte(token), over)
		f.Add([]byte(token), []byte(o.Signature))
	}
	for _, v := range allVectors(f) {
		if v.about() == "stamp" {
			o, err := cms.Parse(embedded(v.part(f, "file")), authenticodeShape)
			must(f, err)
			if token, err := timeStampOf(o, oidStamp); err == nil && token != nil {
				f.Add(token, o.Signature)
			}
		}
	}
	trust := fixtureTrust(f)
	first, err := verifyTimeStamp(all[0], over, trust, fixtureClock())
	must(f, err)
	f.Fuzz(func(t *testing.T, token, value []byte) {
		stamp, err := verifyTimeStamp(token, value, trust, fixtureClock())
		if err == nil && (!stamp.Time.Equal(first.Time) || !bytes.Equal(value, over) || !stamp.Signer.Certificate.Equal(first.Signer.Certificate)) {
			t.Fatalf("believed what nobody stamped: %+v", stamp)
		}
		if _, err := verifyTimeStamp(token, value, verifier.Trust{}, fixtureClock()); err == nil {
			t.Fatal("nobody is trusted, and yet it was accepted")
		}
	})
}

// The statement of a time stamp by itself: what is read has a time and an imprint.
func FuzzStatement(f *testing.F) {
	for _, object := range [][]byte{embedded(fixture(f, "signed.vdm")), fixture(f, "microsoft.p7")} {
		_, token := parsed(f, object)
		stamp, err := cms.Parse(token, stampShape)
		must(f, err)
		f.Add(stamp.Content)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := readStamp(data)
		if err == nil && (info.time.IsZero() || info.hash == 0) {
			t.Fatalf("%+v", info)
		}
	})
}

// Nothing but the one signature beside a file that was ever made is accepted.
func FuzzDetached(f *testing.F) {
	file, sig := fixture(f, "engine"), fixture(f, "engine.sig")
	f.Add(file, sig)
	f.Add(file, pem.EncodeToMemory(&pem.Block{Type: "CMS", Bytes: sig}))
	f.Add(file, []byte("-----BEGIN CMS-----\n"))
	for _, v := range allVectors(f) {
		if sig := v.part(f, "signature"); sig != nil {
			f.Add(v.part(f, "file"), sig)
		}
	}
	trust := fixtureTrust(f)
	f.Fuzz(func(t *testing.T, data, sig []byte) {
		s, err := verify(data, sig, trust, fixtureClock())
		if err == nil && (!bytes.Equal(data, file) || s.Kind != Detached) {
			t.Fatalf("accepted what nobody signed: %+v", s)
		}
	})
}
