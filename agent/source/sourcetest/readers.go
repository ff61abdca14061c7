package sourcetest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// Readers gives the processes that live and that this one started to read sources.
func Readers(t testing.TB) (pids []int) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		process := filepath.Dir(line)
		command, _ := os.ReadFile(line) // it may have ended; then there is none
		status, _ := os.ReadFile(filepath.Join(process, "status"))
		if bytes.HasSuffix(command, []byte("\x00read-source\x00")) && bytes.Contains(status, fmt.Appendf(nil, "\nPPid:\t%d\n", os.Getpid())) {
			pid, _ := strconv.Atoi(filepath.Base(process)) // by the pattern it is a number
			pids = append(pids, pid)
		}
	}
	return pids
}
