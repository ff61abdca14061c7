package main

import (
	"os"
	"testing"

	"mdatp-offline-agent/agent/source/apart"
)

// TestMain lets the test binary be the process that reads sources, for the agent in it.
func TestMain(m *testing.M) {
	if apart.Started() {
		os.Exit(apart.Serve())
	}
	os.Exit(m.Run())
}
