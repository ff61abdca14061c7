//go:build !linux

package mirror

func exchange(_, _ string) error { return errNoExchange }

func freeBytes(string) (int64, bool) { return 0, false }
