package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// On a terminal a bar shows size, rate and time left, and is gone at the end.
func TestBar(t *testing.T) {
	var out bytes.Buffer
	b := &bar{to: &out}
	b.Got(32 << 10) // before anything is expected: nothing to show
	if out.Len() > 0 {
		t.Errorf("shown too early: %q", out.String())
	}
	b.Expect(6 << 20)
	b.Expect(4 << 20)
	time.Sleep(150 * time.Millisecond) // it draws ten times a second at the most
	b.Got(5 << 20)
	if shown := regexp.MustCompile(`downloading +50% .*\(5\.\d/10 MB, [^)]*/s\) \[\d+s:\d+s\]`); !shown.MatchString(out.String()) {
		t.Errorf("shown: %q", out.String())
	}
	b.Got(20 << 20) // more than was expected, as where the server resends
	b.done()
	last := strings.TrimRight(out.String(), "\r")
	if last = last[strings.LastIndex(last, "\r")+1:]; strings.TrimSpace(last) != "" {
		t.Errorf("left on the terminal: %q", last)
	}
}

// Elsewhere there is none: not in a file, and not beside JSON.
func TestNoBar(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, p := range []*program{{stderr: file}, {stderr: &bytes.Buffer{}}} {
		if p.progress(false) != nil || p.progress(true) != nil {
			t.Error("a bar where no terminal is")
		}
	}
	(*bar)(nil).done()
}
