package managedconfig

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func write(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.json")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func link(t *testing.T, to string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "link.json")
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadFile(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"empty":               {},
		"small":               []byte("{}"),
		"as large as allowed": bytes.Repeat([]byte(" "), MaxFileSize),
	} {
		path := write(t, data)
		for _, p := range []string{path, link(t, path)} {
			got, err := ReadFile(p)
			if err != nil || got == nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %d bytes, nil %v, %v", name, len(got), got == nil, err)
			}
		}
	}
}

func TestReadFileAbsent(t *testing.T) {
	t.Parallel()
	for _, path := range []string{filepath.Join(t.TempDir(), "m.json"), filepath.Join(t.TempDir(), "no", "m.json")} {
		if data, err := ReadFile(path); data != nil || err != nil {
			t.Errorf("data %q, %v", data, err)
		}
	}
}

func TestReadFileRefused(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, sentence := range map[string]string{
		t.TempDir():                       "no regular file",
		fifo:                              "no regular file",
		link(t, fifo):                     "no regular file",
		link(t, "/nowhere/at/all"):        "cannot be opened",
		write(t, []byte("{}")) + "/below": "cannot be opened",
		write(t, bytes.Repeat([]byte(" "), MaxFileSize+1)): "larger than 1048576 bytes",
		"/dev/zero": "no regular file",
	} {
		data, err := ReadFile(path)
		if data != nil {
			t.Errorf("%s: %d bytes", path, len(data))
		}
		checkReason(t, err, sentence, "")
	}
}

func TestReadFileWithoutPermission(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root may read every file; run the suite as an unprivileged user, too")
	}
	path := write(t, []byte("{}"))
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	_, err := ReadFile(path)
	checkReason(t, err, path+", the file can", "mode 0644")
}
