package vendorsig

import (
	"bytes"
	"encoding/binary"
	"testing"

	"mdatp-offline-agent/verifier"
)

// What is too large for a vector.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	m := anImage()
	m.Resource = append(bytes.Clone(m.Resource), make([]byte, maxResource)...)
	file := m.Encode()
	_, err := ReadResource(bytes.NewReader(file), int64(len(file)))
	want{verifier.PackageMalformed, "can not be read"}.check(t, err)

	file = fixture(t, "signed.vdm")
	_, _, directory := place(file)
	file = append(file, make([]byte, MaxSignature)...)
	at, _, _ := place(file)
	binary.LittleEndian.PutUint32(file[directory+4:], uint32(len(file)-at))
	_, err = verify(file, nil, fixtureTrust(t), fixtureClock())
	want{verifier.SignatureInvalid, "larger than one may be"}.check(t, err)

	_, err = verify([]byte("an engine"), append(fixture(t, "engine.sig"), make([]byte, MaxSignature)...), fixtureTrust(t), fixtureClock())
	want{verifier.SignatureInvalid, "larger than one may be"}.check(t, err)
}
