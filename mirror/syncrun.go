package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/printable"
)

// rounds is how often a package is fetched where another one is announced when it
// has come.
const rounds = 2

// syncRun brings one pair up to date.
type syncRun struct {
	syncPair
	folder    string
	zip, info *url.URL
	o         SyncOptions
	check     checker
	log       *syncLog
	place     place
	partName  string // of the download
	wentOn    bool   // with what an earlier run left of it
	tally     source.Tally
	result    SyncedPair
}

func newSyncRun(folder string, p syncPair, base *url.URL, o SyncOptions, check checker, log *syncLog) *syncRun {
	r := &syncRun{syncPair: p, folder: folder, o: o, check: check, log: log}
	r.zip, r.info = p.address(base)
	r.result = SyncedPair{Platform: p.platform, Ring: p.ring, Arch: p.arch, Outcome: SyncFailed}
	return r
}

// do runs to the end. backup says whether what is replaced becomes n-1.
func (r *syncRun) do(ctx context.Context, backup bool) SyncedPair {
	outcome, err := r.run(ctx, backup)
	r.result.Outcome, r.result.Err = outcome, treeError("the tree of packages", r.folder, err)
	r.result.Bytes, r.result.Requests = r.tally.Bytes.Load(), r.tally.Requests.Load()
	r.result.Resumed = r.result.Resumed || r.tally.Resumed.Load()
	return r.result
}

func (r *syncRun) run(ctx context.Context, backup bool) (SyncOutcome, error) {
	var err error
	if r.place, err = newPlace(filepath.Join(r.folder, r.platform, r.ring), r.archDir()); err != nil {
		return SyncFailed, err
	}
	state := r.place.readState()
	if err := r.place.settle(state); err != nil {
		return SyncFailed, err
	}
	have, state, err := r.look(ctx, state)
	if err != nil {
		return SyncFailed, err
	}
	r.result.Engine, r.result.Definition = have.Engine, have.Definition
	offered, validator, err := r.ask(ctx, have.versions, state.Info)
	if err != nil {
		return SyncFailed, err
	}
	fetch, err := decideSync(have, offered, r.o.AllowDowngrade)
	if err != nil {
		return SyncFailed, err
	}
	if !fetch {
		state.Info, state.URL = validator, r.zip.String()
		return SyncUpToDate, errors.Join(r.place.keepPart(""), r.place.writeState(state))
	}
	came, err := r.fetch(ctx, have, offered, validator, state.Package)
	if err != nil {
		return SyncFailed, err
	}
	if backup && becomesPrevious(have, came.SHA256) {
		came.Previous = &have.file
	}
	if err := r.publish(came); err != nil {
		return SyncFailed, err
	}
	r.result.Engine, r.result.Definition, r.result.Previous = came.Versions.Engine, came.Versions.Definition, have.Definition
	return SyncUpdated, nil
}

// look judges what is published, and gives what is remembered of it: what was
// published by a run before, and is as that one left it, need not be read again.
// The state of anything else begins anew.
func (r *syncRun) look(ctx context.Context, state syncState) (present, syncState, error) {
	file, there := zipIn(r.place.arch)
	said, ok := readManifest(r.place.arch)
	if !there || !ok {
		return present{}, syncState{}, nil
	}
	known := state.File == file && state.Versions == said
	if !known {
		state = syncState{File: file, Versions: said}
	}
	if state.URL != r.zip.String() {
		state.Info, state.Package = source.Validator{}, source.Validator{}
	}
	if !known || r.o.Trust != nil && !state.Verified {
		var err error
		path := filepath.Join(r.place.arch, zipFile)
		if state.SHA256, err = r.check.check(ctx, path, r.syncPair, said); err != nil {
			if ctx.Err() != nil {
				return present{}, syncState{}, err
			}
			// It is replaced, and does not become n-1.
			r.log.printf("%s: what is published is not good: %s", r.syncPair, describeError(err))
			return present{}, syncState{}, nil
		}
		state.Verified = r.o.Trust != nil
	}
	return present{good: true, versions: said, file: file, sha256: state.SHA256, fetched: state.Fetched}, state, nil
}

func readManifest(dir string) (versions, bool) {
	f, err := os.Open(filepath.Join(dir, manifestFile))
	if err != nil {
		return versions{}, false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest))
	if err != nil {
		return versions{}, false
	}
	return parseManifest(data)
}

// source gives the source that has one object only.
func (r *syncRun) source(u *url.URL) *source.HTTP {
	return source.NewHTTP(source.HTTPConfig{Base: u, Single: true, Rate: r.o.Rate, Proxy: r.o.Proxy, Time: r.o.Now, Spool: r.spool})
}

// ask gives what the cloud announces. known is what the validator stood for.
func (r *syncRun) ask(ctx context.Context, known versions, validator source.Validator) (versions, source.Validator, error) {
	from := r.source(r.info)
	defer from.Close()
	answer, err := from.Open(ctx, source.Request{Name: source.PackageName, MaxBytes: maxInfo, Known: validator, Tally: &r.tally})
	if errors.Is(err, source.ErrNotModified) {
		return known, validator, nil
	}
	if err != nil {
		return versions{}, source.Validator{}, byHand(r.info, err)
	}
	defer answer.Close()
	body, err := answer.Range(ctx, 0, answer.Size())
	if err != nil {
		return versions{}, source.Validator{}, err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		return versions{}, source.Validator{}, byHand(r.info, err)
	}
	offered, err := parseInfo(data)
	return offered, answer.Validator(), err
}

// fetch brings the package that is announced, checked, and gives the state that goes
// with it. The cloud's two answers are no pair either: they belong together where
// the same versions are announced before and after the package came, and it is not
// one that was seen under other versions.
func (r *syncRun) fetch(ctx context.Context, have present, offered versions, info, known source.Validator) (syncState, error) {
	var seen []string // SHA-256
	if have.fetched {
		seen = append(seen, have.sha256)
	}
	for range rounds {
		validator, sum, err := r.download(ctx, known, offered)
		if err != nil {
			return syncState{}, err
		}
		if slices.Contains(seen, sum) {
			return syncState{}, errors.Join(r.stillOld(offered), os.Remove(r.part()))
		}
		after, afterInfo, err := r.ask(ctx, offered, info)
		if err != nil {
			return syncState{}, err
		}
		if after == offered {
			return syncState{Versions: offered, SHA256: sum, Fetched: true, Verified: r.o.Trust != nil,
				URL: r.zip.String(), Info: afterInfo, Package: validator}, nil
		}
		again, err := decideSync(have, after, r.o.AllowDowngrade)
		if err != nil {
			return syncState{}, err
		}
		if !again {
			break
		}
		offered, info, seen = after, afterInfo, append(seen, sum)
	}
	return syncState{}, &source.Error{Code: source.CodeChanged, Sentence: "other versions are announced when the package has come", Hint: "run the command again later"}
}

// byHand gives an error of a source the hint that fits here; its own is for endpoints,
// which have another configuration.
func byHand(u *url.URL, err error) error {
	var e *source.Error
	if !errors.As(err, &e) {
		return err
	}
	hinted := *e
	hinted.Hint = "fetch " + printable.Text(u.Redacted(), maxName) + " by hand and look at the answer; a proxy is taken from https_proxy, http_proxy and no_proxy"
	if e.Code == source.CodeTLS {
		hinted.Hint = "set this machine's clock, and where a proxy answers in place of the server, name a file with its authority in SSL_CERT_FILE"
	}
	return &hinted
}

// stillOld is the error for a cloud that announces a package and serves one that was
// there before.
func (r *syncRun) stillOld(offered versions) error {
	return &source.Error{Code: source.CodeChanged,
		Sentence: fmt.Sprintf("definitions %s with engine %s are announced, and the package is still the one before", offered.Definition, offered.Engine),
		Hint:     "a cache between may be behind, so run the command again later"}
}

// publish puts what came in place, with its manifest and all else that lies there.
func (r *syncRun) publish(came syncState) error {
	next := r.place.next()
	if err := os.Mkdir(next, 0o755); err != nil {
		return err
	}
	left, err := carryOver(r.place.arch, next)
	if err != nil {
		return err
	}
	for _, name := range left {
		r.log.printf("%s: %s is no regular file and does not stay beside the new package", r.syncPair, name)
	}
	manifest, err := manifestOf(came.Versions)
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(next, manifestFile), manifest); err != nil {
		return err
	}
	if err := os.Rename(r.part(), filepath.Join(next, zipFile)); err != nil {
		return err
	}
	return r.place.publish(came)
}
