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
	"mdatp-offline-agent/agent/source/manifest"
	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
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
	outcome, sum, err := r.run(ctx, backup)
	if err == nil && r.o.Approve != nil {
		r.result.Approval, err = r.approve(ctx, sum)
	}
	r.result.Outcome, r.result.Err = outcome, treeError("the tree of packages", r.folder, err)
	r.result.Bytes, r.result.Requests = r.tally.Bytes.Load(), r.tally.Requests.Load()
	r.result.Resumed = r.result.Resumed || r.tally.Resumed.Load()
	return r.result
}

// run brings the pair up to date, and gives the SHA-256 of its package.
func (r *syncRun) run(ctx context.Context, backup bool) (outcome SyncOutcome, sha256 string, err error) {
	if r.place, err = newPlace(filepath.Join(r.folder, r.platform, r.ring), r.archDir()); err != nil {
		return SyncFailed, "", err
	}
	if err := undoAside(r.place.next(), r.place.arch); err != nil {
		return SyncFailed, "", err
	}
	state := r.place.readState()
	if !backup {
		state.Previous = nil
	}
	unkept := r.settle(ctx, state)
	have, state, err := r.look(ctx, state)
	if err != nil {
		return SyncFailed, "", err
	}
	r.result.Engine, r.result.Definition = have.served().Engine, have.served().Definition
	offered, validator, err := r.ask(ctx, have.versions, state.Info)
	if err != nil {
		return SyncFailed, "", err
	}
	fetch, err := decideSync(have, offered, r.o.AllowDowngrade)
	if err != nil {
		return SyncFailed, "", err
	}
	if !fetch {
		state.Info, state.URL = validator, r.zip.String()
		if err := errors.Join(r.place.keepPart(""), r.place.writeState(state), unkept); err != nil {
			return SyncFailed, "", err
		}
		return SyncUpToDate, have.found.SHA256, nil
	}
	came, err := r.fetch(ctx, have, offered, validator, state.Package)
	if err != nil {
		return SyncFailed, "", err
	}
	if backup && becomesPrevious(have, came.Versions, came.SHA256) {
		came.Previous = &previous{have.file, have.found.Content}
	}
	if came, err = r.publish(came); err != nil {
		return SyncFailed, "", err
	}
	r.result.Engine, r.result.Definition, r.result.Previous = came.Versions.Engine, came.Versions.Definition, have.served().Definition
	if err := r.settle(ctx, came); err != nil {
		r.log.printf("%s: definitions %s are published all the same", r.syncPair, came.Versions.Definition)
		return SyncFailed, "", err
	}
	return SyncUpdated, came.SHA256, nil
}

// settle keeps n-1, and tells of what goes with the n-1 before. Its error is about
// n-1 alone.
func (r *syncRun) settle(ctx context.Context, state syncState) error {
	if r.place.pending(state) && r.o.Trust != nil {
		switch refused, err := r.refused(ctx, r.place.next(), state.Previous.Content); {
		case err != nil:
			return err
		case refused != nil:
			r.log.printf("%s: what was published before does not become n-1: %s", r.syncPair, describeError(refused))
			state.Previous = nil
		}
	}
	gone, err := r.place.settle(state)
	for _, name := range gone {
		r.log.printf("%s: %s was in the place of n-1, and went with the package there", r.syncPair, name)
	}
	return treeError("n-1", r.place.back, err)
}

// refused says why what was published in a directory can not stand any more, or nil
// where it can. An error means that nobody knows.
func (r *syncRun) refused(ctx context.Context, dir string, compared verifier.ContentID) (refused, err error) {
	said, _ := readManifest(dir)
	_, err = r.check.standing(ctx, filepath.Join(dir, zipFile), r.syncPair, said, compared)
	var judgement *verifier.Refusal
	var torn *source.Error
	if errors.As(err, &judgement) || errors.As(err, &torn) {
		return err, nil
	}
	return nil, err
}

// look judges what is published, and gives what is remembered of it: what was
// published by a run before, and is as that one left it, need not be read again.
// The state of anything else begins anew. What the manifest says is a floor in any
// case.
func (r *syncRun) look(ctx context.Context, state syncState) (present, syncState, error) {
	file, there := zipIn(r.place.arch)
	said, ok := readManifest(r.place.arch)
	if !there || !ok {
		return present{versions: said}, syncState{}, nil
	}
	known := state.File == file && state.Versions == said
	if !known {
		state = syncState{File: file, Versions: said}
	}
	if state.URL != r.zip.String() {
		state.Info, state.Package = source.Validator{}, source.Validator{}
	}
	if err := r.judge(ctx, &state, known); err != nil {
		if ctx.Err() != nil {
			return present{}, syncState{}, err
		}
		// It is replaced, and does not become n-1.
		r.log.printf("%s: what is published is not good: %s", r.syncPair, describeError(err))
		return present{versions: said}, syncState{}, nil
	}
	return present{good: true, versions: said, file: file, found: state.finding, fetched: state.Fetched}, state, nil
}

// judge looks at the package that is published, and notes what it finds. Whoever is
// trusted is asked each time: the trust directory, or a sidecar, may be another one
// than it was.
func (r *syncRun) judge(ctx context.Context, state *syncState, known bool) (err error) {
	path := filepath.Join(r.place.arch, zipFile)
	if !known {
		if state.SHA256, err = r.check.whole(ctx, path, state.Versions); err != nil {
			return err
		}
	}
	if r.o.Trust == nil {
		return nil
	}
	list, err := r.check.standing(ctx, path, r.syncPair, state.Versions, state.Content)
	if err != nil {
		return err
	}
	state.Content = list.Content()
	if r.o.Now().After(list.Expires) {
		r.log.printf("%s: the package that is published has expired, and stays until a newer one comes", r.syncPair)
	}
	return nil
}

func readManifest(dir string) (versions, bool) {
	// A pipe in its place must not be waited for.
	f, _, err := openRegular("the manifest", filepath.Join(dir, manifestFile))
	if err != nil {
		return versions{}, false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, manifest.MaxSize))
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
		seen = append(seen, have.found.SHA256)
	}
	for range rounds {
		validator, found, err := r.download(ctx, known, offered)
		if err != nil {
			return syncState{}, err
		}
		if slices.Contains(seen, found.SHA256) {
			return syncState{}, errors.Join(r.stillOld(offered), os.Remove(r.part()))
		}
		after, afterInfo, err := r.ask(ctx, offered, info)
		if err != nil {
			return syncState{}, err
		}
		if after == offered {
			return syncState{Versions: offered, finding: found, Fetched: true,
				URL: r.zip.String(), Info: afterInfo, Package: validator}, nil
		}
		again, err := decideSync(have, after, r.o.AllowDowngrade)
		if err != nil {
			return syncState{}, err
		}
		if !again {
			break
		}
		offered, info, seen = after, afterInfo, append(seen, found.SHA256)
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

// publish puts what came in place, with its manifest and all else that lies there, and
// gives the state that is remembered of it.
func (r *syncRun) publish(came syncState) (syncState, error) {
	if err := r.prepare(came.Versions); err != nil {
		return came, err
	}
	var there bool
	if came.File, there = zipIn(r.place.next()); !there {
		return came, os.ErrNotExist
	}
	if err := r.place.writeState(came); err != nil {
		return came, err
	}
	return came, r.place.publish()
}

// sidecarStays says whether the sidecar that is published, if there is one, is still
// right beside what came, and tells where it is not.
func (r *syncRun) sidecarStays() bool {
	stays := sidecarStays(r.place.arch, r.part())
	if _, err := os.Lstat(filepath.Join(r.place.arch, zipSidecar)); err == nil && !stays {
		r.log.printf("%s: %s does not count for the new package, and does not go along", r.syncPair, zipSidecar)
	}
	return stays
}

// prepare makes the directory that is about to be published.
func (r *syncRun) prepare(said versions) error {
	next := r.place.next()
	if err := os.RemoveAll(next); err != nil { // it could not be kept as n-1
		return err
	}
	if err := os.Mkdir(next, 0o755); err != nil {
		return err
	}
	if err := carryOver(r.place.arch, next, r.sidecarStays()); err != nil {
		return err
	}
	manifest, err := manifestOf(said)
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(next, manifestFile), manifest); err != nil {
		return err
	}
	zip := filepath.Join(next, zipFile)
	if err := os.Rename(r.part(), zip); err != nil {
		return err
	}
	// Whatever the umask is, the web server must be able to read it.
	return errors.Join(os.Chmod(next, 0o755), os.Chmod(zip, 0o644), syncDir(next))
}
