package engine

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"
)

// What the system lacks at the moment is no damage of what is installed, for which
// somebody would install it anew.
func TestReading(t *testing.T) {
	t.Parallel()
	d := open(t, filepath.Join(t.TempDir(), "definitions"))
	for cause, want := range map[error]Code{
		syscall.EMFILE: InstallFailed, syscall.ENFILE: InstallFailed, syscall.ENOMEM: InstallFailed,
		syscall.EACCES: PermissionDenied, syscall.EIO: SetDamaged, fs.ErrNotExist: SetDamaged,
	} {
		wantCode(t, d.reading("it can't be read", fmt.Errorf("open: %w", cause)), want)
	}
}

// What can't be opened is not known to be away.
func TestViewing(t *testing.T) {
	t.Parallel()
	d := open(t, filepath.Join(t.TempDir(), "definitions"))
	for cause, want := range map[error]Code{
		syscall.EIO: InstallFailed, syscall.ESTALE: InstallFailed, syscall.EMFILE: InstallFailed, syscall.EACCES: PermissionDenied,
		syscall.ENOTDIR: SetDamaged, syscall.ELOOP: SetDamaged, fs.ErrNotExist: SetDamaged,
	} {
		wantCode(t, d.viewing(fmt.Errorf("open: %w", cause)), want)
	}
}
