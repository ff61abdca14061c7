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

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

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
	file, unlock, err := lockLocal(ctx, a.Paths.Local)
	if err != nil {
		return ConfigValue{}, err
	}
	defer unlock()
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
		err = replaceConfig(file, changed)
	}
	if err != nil {
		return ConfigValue{}, cantWrite(file, err)
	}
	return a.changedValue(src, changed, key), nil
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
	for _, w := range doc.Warnings() {
		if w.Key == key {
			v.Notes = append(v.Notes, w.Sentence)
		}
	}
	if v.Origin == managedconfig.OriginManaged {
		v.Notes = append(v.Notes, "the managed configuration sets "+key+" as well, and wins, so "+v.Text+" stays in force")
	}
	return v
}

// lockLocal finds the local configuration file behind links, makes its directory, and
// keeps other changes away until unlock. The lock is on the directory, since the file
// is replaced.
func lockLocal(ctx context.Context, path string) (file string, unlock func(), err error) {
	if file, err = filepath.EvalSymlinks(path); errors.Is(err, fs.ErrNotExist) {
		file, err = path, nil
	}
	dir := filepath.Dir(file)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return "", nil, cantWrite(path, err)
	}
	lock := flock.New(dir, flock.SetFlag(os.O_RDONLY))
	waiting, cancel := context.WithTimeout(ctx, configWait)
	defer cancel()
	_, err = lock.TryLockContext(waiting, configWait/100)
	switch {
	case err == nil:
		return file, func() { _ = lock.Close() }, nil
	case ctx.Err() != nil:
		return "", nil, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return "", nil, &Failure{codeBusy, "another process is changing the local configuration", "try again"}
	}
	return "", nil, cantWrite(path, err)
}

// configWait is how long to wait for another change of the local configuration.
const configWait = 10 * time.Second

// replaceConfig puts data in a file's place as a whole, durably, with the mode and
// the owner of the file before: it may be one that only the agent's group can read.
func replaceConfig(path string, data []byte) error {
	mode, uid, gid := fs.FileMode(0o644), -1, -1
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			uid, gid = int(st.Uid), int(st.Gid)
		}
	}
	dir := filepath.Dir(path)
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(mode))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if err := f.Chown(uid, gid); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
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
