package agent

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mdatp-offline-agent/managedconfig"
)

// ConfigValue is one setting in force. Its JSON is part of the program's interface.
type ConfigValue struct {
	Type   string               `json:"$type"`
	Key    string               `json:"key"`
	Value  any                  `json:"value"` // null: not set
	Origin managedconfig.Origin `json:"origin"`
	File   string               `json:"file"`
	Notes  []string             `json:"notes"`

	Text string `json:"-"` // Value for people
}

// ConfigValue gives the setting in force under a right or a known wrong name.
func (a *Agent) ConfigValue(name string) (ConfigValue, error) {
	key, err := configKey(name)
	if err != nil {
		return ConfigValue{}, err
	}
	settings, err := a.Settings()
	if err != nil {
		return ConfigValue{}, err
	}
	return valueOf(settings, key), nil
}

func valueOf(settings managedconfig.Settings, key string) ConfigValue {
	v := ConfigValue{Type: "configValueResult", Key: key, Notes: []string{}}
	for _, row := range settings.Rows() {
		if row.Name == key {
			v.Value, v.Text, v.Origin, v.File = row.Value, row.Text, row.Origin, row.File
		}
	}
	return v
}

// configKey is the right name of a key.
func configKey(name string) (string, error) {
	key, ok := managedconfig.Lookup(name)
	switch {
	case ok:
		return key, nil
	case key != "":
		return "", &Failure{codeUsage, "there is no such key", "did you mean " + key}
	}
	return "", &Failure{codeUsage, "there is no such key", "agent config show lists all of them, each as section.key"}
}

// SetLocal sets a key in the local configuration file, and makes the file where it
// is missing. What would make the file invalid is refused, and so is to change one
// that is invalid already. It gives what is in force then, which need not be what
// was set: the managed configuration wins, and a note says so.
func (a *Agent) SetLocal(ctx context.Context, name, value string) (ConfigValue, error) {
	return a.changeLocal(ctx, name, func(src managedconfig.Source, key string) ([]byte, error) { return managedconfig.Set(src, key, value) })
}

// UnsetLocal takes a key out of the local configuration file, else like SetLocal.
func (a *Agent) UnsetLocal(ctx context.Context, name string) (ConfigValue, error) {
	return a.changeLocal(ctx, name, managedconfig.Unset)
}

func (a *Agent) changeLocal(ctx context.Context, name string, change func(managedconfig.Source, string) ([]byte, error)) (ConfigValue, error) {
	key, err := configKey(name)
	if err != nil {
		return ConfigValue{}, err
	}
	file, err := filepath.EvalSymlinks(a.Paths.Local) // links are the administrator's, and stay
	if errors.Is(err, fs.ErrNotExist) {
		file, err = a.Paths.Local, makeReadable(filepath.Dir(a.Paths.Local))
		if _, missing := os.Lstat(file); err == nil && missing == nil {
			return ConfigValue{}, &Failure{codeConfig, "the local configuration " + file + " is a link that leads nowhere", "make what it leads to, or remove the link"}
		}
	}
	if err != nil {
		return ConfigValue{}, cantWrite(a.Paths.Local, err)
	}
	next, err := openNext(ctx, file)
	if err != nil {
		return ConfigValue{}, cantWrite(file, err)
	}
	defer next.Close()
	data, err := managedconfig.ReadFile(file)
	if err != nil {
		return ConfigValue{}, err
	}
	src := managedconfig.Source{Origin: managedconfig.OriginLocal, File: a.Paths.Local, Data: data}
	changed, err := change(src, key)
	if refused := (*managedconfig.Error)(nil); errors.As(err, &refused) && refused.File == "" { // the command line is wrong, and no file
		_, sentence, hint := refused.Reason()
		return ConfigValue{}, &Failure{codeUsage, sentence, hint}
	}
	if err == nil && !bytes.Equal(changed, data) {
		err = replaceConfig(next, file, changed)
	}
	if err != nil {
		return ConfigValue{}, cantWrite(file, err)
	}
	return a.changedValue(src, changed, key), nil
}

// makeReadable makes a directory and those above it, such that the agent's user can
// read what lies there, whatever the umask of whoever types is.
func makeReadable(dir string) error {
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeReadable(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// changedValue is what is in force after a change, with what is to be said of it.
func (a *Agent) changedValue(src managedconfig.Source, changed []byte, key string) ConfigValue {
	v := ConfigValue{Type: "configValueResult", Key: key, Notes: []string{}}
	src.Data = changed
	doc, err := managedconfig.Parse(src)
	if err != nil { // not after the change
		return v
	}
	local := managedconfig.Resolve(doc)
	settings, err := a.Settings()
	if err != nil {
		v = valueOf(local, key)
		v.Notes = append(v.Notes, "whether the managed configuration sets "+key+", too, can not be told, since that can not be read")
		return v
	}
	v = valueOf(settings, key)
	for _, w := range settings.Warnings { // also those that only both files together give
		if w.Key == key {
			v.Notes = append(v.Notes, w.Sentence)
		}
	}
	if v.Origin == managedconfig.OriginManaged {
		v.Notes = append(v.Notes, "the managed configuration sets "+key+" as well, and wins, so "+v.Text+" stays in force")
	}
	return v
}

// nextConfig is the file that becomes the local configuration. As long as it is
// there, somebody is changing that, and holds a lock on it.
type nextConfig struct{ *os.File }

// configWait is how long to wait for another change of the local configuration.
const configWait = 10 * time.Second

// openNext makes that file beside path and locks it. Only who may write there can
// open it, so nobody else can keep changes away. One that a killed process left is
// taken over; one that was renamed or removed meanwhile is nobody's lock any more.
func openNext(ctx context.Context, path string) (*nextConfig, error) {
	name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".next")
	for deadline := time.Now().Add(configWait); ; {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isAt(f, name) {
			return &nextConfig{f}, f.Truncate(0)
		}
		if err := errors.Join(err, f.Close()); err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, &Failure{codeBusy, "another process is changing the local configuration", "try again"}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(configWait / 500):
		}
	}
}

// isAt tells whether f is the file of that name.
func isAt(f *os.File, name string) bool {
	mine, err := f.Stat()
	there, err2 := os.Lstat(name)
	return err == nil && err2 == nil && os.SameFile(mine, there)
}

// Close gives the lock back, and removes the file if it has not become the
// configuration.
func (n *nextConfig) Close() {
	if isAt(n.File, n.Name()) {
		_ = os.Remove(n.Name()) // whoever comes next takes it over
	}
	_ = n.File.Close() // what was written was synced
}

// replaceConfig puts data in a file's place as a whole, durably, with the mode and
// the owner of the file before: it may be one that only the agent's group can read.
func replaceConfig(next *nextConfig, path string, data []byte) error {
	mode, uid, gid := fs.FileMode(0o644), -1, -1
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			uid, gid = int(st.Uid), int(st.Gid)
		}
	}
	if _, err := next.Write(data); err != nil {
		return err
	}
	if err := errors.Join(next.Chown(uid, gid), next.Chmod(mode), next.Sync()); err != nil {
		return err
	}
	if err := os.Rename(next.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// cantWrite explains why the local configuration could not be changed.
func cantWrite(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return &Failure{codePermission, "this user can not change the local configuration " + path, "run it with sudo"}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &Failure{"disk_full", "there is no room to write the local configuration " + path, "free space on that file system"}
	}
	var failed *fs.PathError
	if errors.As(err, &failed) {
		return &Failure{codeInstall, "the local configuration " + path + " can not be written", "look at the directory that it lies in, and at its file system"}
	}
	return err
}
