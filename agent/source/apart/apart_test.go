package apart_test

import (
	"os"
	"testing"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/apart"
	"mdatp-offline-agent/agent/source/sourcetest"
)

// TestMain lets the test binary be the process that reads.
func TestMain(m *testing.M) {
	if apart.Started() {
		os.Exit(apart.Serve())
	}
	// A race in that process ends it, and so the test.
	os.Setenv("GORACE", "halt_on_error=1")
	os.Exit(m.Run())
}

func TestDirConforms(t *testing.T) {
	t.Parallel()
	sourcetest.Suite(t, func(_ *testing.T, dir string) source.Source { return apart.New(apart.Config{Dir: dir}) })
}

func TestHTTPConforms(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(testing.TB, string) string{"ranges": sourcetest.Nginx, "whole": sourcetest.PythonHTTP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spools := &sourcetest.Spools{Dir: t.TempDir()}
			sourcetest.Suite(t, func(t *testing.T, dir string) source.Source {
				return apart.New(apart.Config{URL: serve(t, dir), Spool: spools.New})
			})
			if n := spools.Open(); n != 0 {
				t.Errorf("%d spools were left open", n)
			}
		})
	}
}
