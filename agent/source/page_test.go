package source_test

import (
	"testing"

	"mdatp-offline-agent/agent/source"
)

func TestIsPage(t *testing.T) {
	t.Parallel()
	for begin, want := range map[string]bool{
		"<html><body>": true, " \n<!DOCTYPE html>\n<html>": true, "<head>": true, `<?xml version="1.0"?><Error>`: true,
		"PK\x03\x04": false, "": false, "404 not found": false,
	} {
		if got := source.IsPage([]byte(begin)); got != want {
			t.Errorf("%q is a page: %v", begin, got)
		}
	}
}
