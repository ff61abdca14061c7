package trustdir

import "golang.org/x/sys/unix"

const mountedReadOnly = unix.MNT_RDONLY
