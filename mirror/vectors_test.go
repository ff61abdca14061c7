package mirror_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
)

// TestVectors checks the packages in testdata/vectors, which stock tools made
// once: what is accepted and refused must not change with a compiler or library.
func TestVectors(t *testing.T) {
	const dir = "../testdata"
	root, err := os.ReadFile(filepath.Join(dir, "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := verifier.NewTrust([]verifier.TrustFile{{Name: "root.pem", Data: root}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	want := &verifier.Identity{Product: "mdatp", Platform: "linux", Arch: "x86_64", Ring: "production"}
	vectors, err := filepath.Glob(filepath.Join(dir, "vectors", "*", "verdict"))
	if err != nil || len(vectors) < 10 {
		t.Fatalf("found %d vectors, %v", len(vectors), err)
	}
	for _, file := range vectors {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = mirror.Verify(t.Context(), filepath.Join(filepath.Dir(file), "updates.zip"), trust, at, want)
			got := "good"
			var refusal *verifier.Refusal
			if errors.As(err, &refusal) {
				got = string(refusal.Code)
			} else if err != nil {
				got = err.Error()
			}
			if got != strings.TrimSpace(string(text)) {
				t.Errorf("verdict %s (%v), want %s", got, err, text)
			}
		})
	}
}
