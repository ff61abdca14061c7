package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
)

// patience is how long one update may take, with its change of configuration.
const patience = 5 * time.Minute

// site is an endpoint below a root of its own, its publisher, and its mirror.
type site struct {
	dir    string
	paths  agent.Paths
	signer mirror.Signer
	server *httptest.Server
	begun  time.Time
}

func newSite(dir string) (*site, error) {
	s := &site{dir: dir, paths: agent.PathsBelow(filepath.Join(dir, "root")), begun: time.Now()}
	keys, err := mirror.MakeKeys(filepath.Join(dir, "keys"), mirror.KeyOptions{Now: s.begun.Add(-24 * time.Hour)})
	if err != nil {
		return nil, err
	}
	if s.signer, err = mirror.LoadSigner(keys.LeafKey, keys.Certificates(), nil); err != nil {
		return nil, err
	}
	root, err := os.ReadFile(keys.Root)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{s.paths.Trust, filepath.Dir(s.paths.Managed), filepath.Join(dir, "mirror")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(s.paths.Trust, "root.pem"), root, 0o644); err != nil {
		return nil, err
	}
	files := mirror.Handler(filepath.Join(dir, "mirror"), nil)
	mux := http.NewServeMux()
	for _, name := range []string{"/0/", "/1/"} { // one mirror by two URLs, so that the source changes and the package need not
		mux.Handle(name, http.StripPrefix(strings.TrimSuffix(name, "/"), files))
	}
	s.server = httptest.NewServer(mux)
	return s, nil
}

// version is that of the nth package.
func version(n int) verifier.Version { return verifier.Version{1, 1, uint32(n), 0} }

// publish puts the nth package into the ring: three files, two of which are as in
// all others.
func (s *site) publish(ctx context.Context, n int) error {
	content := filepath.Join(s.dir, "content")
	if err := os.MkdirAll(content, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"engine.so": "engine", "base.vdm": "base", "delta.vdm": fmt.Sprint("delta ", n)} {
		if err := os.WriteFile(filepath.Join(content, name), bytes.Repeat([]byte(text), 5000), 0o644); err != nil {
			return err
		}
	}
	zip := filepath.Join(s.dir, "mirror", "production", "arch_"+agent.HostArch(), "updates.zip")
	_, err := mirror.Build(ctx, zip, mirror.BuildOptions{Dir: content, Product: "mdatp", Platform: agent.Platform, Arch: agent.HostArch(), Rings: []string{"production"},
		Engine: verifier.Version{1, 1, 1, 1}, Definition: version(n), Issued: s.begun.Add(time.Duration(n)*time.Second - time.Hour)}, &s.signer)
	return err
}

// change writes the configuration in one of the ways that there are. What differs
// is a number that matters to nobody, until the nth package is there: then it is the
// mirror's URL too, so that an update is due at once.
func (s *site) change(i, n int) error {
	text := fmt.Sprintf(`{"antivirusEngine":{"offlineDefinitionUpdate":"enabled","offlineDefinitionUpdateUrl":"%s/%d/production"},"agent":{"jitter":0,"maxDownloadRate":%d}}`,
		s.server.URL, n%2, 1<<30+i)
	path := s.paths.Managed
	switch i % 4 {
	case 0: // in place
		return os.WriteFile(path, []byte(text), 0o644)
	case 1: // removed, and made anew with its directory
		return errors.Join(os.RemoveAll(filepath.Dir(path)), os.Mkdir(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
	case 2: // a link that is led elsewhere
		other := filepath.Join(s.dir, fmt.Sprint("config-", i%8))
		return errors.Join(os.WriteFile(other, []byte(text), 0o644), os.Symlink(other, path+".new"), os.Rename(path+".new", path))
	default: // replaced by rename
		return errors.Join(os.WriteFile(path+".new", []byte(text), 0o644), os.Rename(path+".new", path))
	}
}

// installed waits until the nth package is active, its update on record, and what
// that had open closed.
func (s *site) installed(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("package %d is not installed after %s", n, patience))
	defer cancel()
	for {
		store := state.View(s.paths.State)
		seen := store.LoadStatus().Current
		if _, held := store.Updating(); !held && seen != nil && strings.HasPrefix(seen.Set, version(n).String()+"-") {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// tidy removes sets that nothing leads to. The agent keeps them for ten minutes,
// for readers, which is longer than all of this takes: the table would show how a
// thousand of them lie on the disk.
func (s *site) tidy() error {
	sets, err := filepath.Glob(filepath.Join(s.paths.Engine, "[0-9]*"))
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, link := range []string{"current", "previous"} {
		target, err := os.Readlink(filepath.Join(s.paths.Engine, link))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		keep[target] = true
	}
	for _, set := range sets {
		if !keep[filepath.Base(set)] {
			if err := os.RemoveAll(set); err != nil {
				return err
			}
		}
	}
	return nil
}
