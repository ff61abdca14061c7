package daemon_test

import (
	"os"
	"testing"

	"mdatp-offline-agent/agent/source/apart"
)

// TestMain lets the test binary be the process that reads sources.
func TestMain(m *testing.M) {
	if apart.Started() {
		os.Exit(apart.Serve())
	}
	os.Exit(m.Run())
}
