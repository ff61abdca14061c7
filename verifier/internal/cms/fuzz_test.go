package cms

import (
	"bytes"
	"crypto/rsa"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What can be read is of one shape and within its bounds, and no signature holds over
// what nobody signed.
func FuzzParse(f *testing.F) {
	shapes := []Shape{
		{Content: Data, What: "the signed list", MaxCertificates: 16},
		{Content: Data, What: "the file", Detached: true, Exact: true, MaxCertificates: 16},
		{Content: Indirect, What: "the digest of a PE file", Exact: true, MaxCertificates: 16},
		{Content: TSTInfo, What: "a time stamp's statement", Foreign: true, Exact: true, MaxCertificates: 16},
	}
	lists, err := filepath.Glob("../../testdata/openssl/*.p7m")
	if err != nil || len(lists) == 0 {
		f.Fatalf("no lists to begin with: %v", err)
	}
	var signed [][]byte // objects whose attributes somebody has signed
	for _, path := range append(lists, "../../vendorsig/testdata/microsoft.p7", "../../vendorsig/testdata/engine.sig") {
		object, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(object)
		stamp := []byte{0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x03, 0x03, 0x01, 0x31} // the attribute with a time stamp
		_, behind, _ := bytes.Cut(object, stamp)
		if len(behind) > 0 {
			_, set, _, err := derHeader(append([]byte{0x31}, behind...))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(set)
			object = append(object, set...)
		}
		signed = append(signed, object)
	}
	known := func(o *Object) bool {
		return slices.ContainsFunc(signed, func(object []byte) bool { return bytes.Contains(object, o.attributes) })
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		read := 0
		for _, shape := range shapes {
			o, err := Parse(object, shape)
			if err != nil {
				continue
			}
			read++
			if CheckDER(object) != nil || o.Leaf == nil || o.Hash == 0 || len(o.Certificates) > shape.MaxCertificates {
				t.Fatalf("%+v", o)
			}
			if key, ok := o.Leaf.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > 8192 {
				continue // which callers must not have checked
			}
			verify := o.Verify
			if shape.Detached {
				verify = o.VerifyDetached
			}
			if verify() == nil && !known(o) {
				t.Fatalf("a signature holds that nobody made, over %x", o.attributes)
			}
		}
		if read > 1 {
			t.Fatal("it is of more than one shape")
		}
	})
}
