package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// DefaultSyncURL is where the vendor's packages are.
const DefaultSyncURL = "https://go.microsoft.com/fwlink/"

// The numbers by which the cloud knows the packages of a platform.
const (
	linkLinux = "2144709"
	linkMac   = "2120136"
)

// SyncArchs are the architectures that there are packages for.
func SyncArchs() []string { return []string{"x86_64", "arm64"} }

// distinct leaves out what is named a second time.
func distinct(archs []string) (all []string) {
	for _, arch := range archs {
		if !slices.Contains(all, arch) {
			all = append(all, arch)
		}
	}
	return all
}

// SyncOptions is what is not in the vendor's settings.
type SyncOptions struct {
	// BaseURL is the http or https address that stands for DefaultSyncURL; empty
	// means that one. What is wanted is added as a query.
	BaseURL string
	// Trust, unless nil, must have signed every package that is published.
	Trust *verifier.Trust
	// Product is what packages must be for where Trust is set.
	Product string
	// Archs are the architectures to download for; none means all.
	Archs []string
	// AllowDowngrade is the one definition version that may replace a newer one.
	AllowDowngrade verifier.Version
	// Rate bounds each download, in bytes per second; zero means no bound.
	Rate int64
	// Proxy gives the proxy for a URL, or nil; nil means none for all.
	Proxy func(*url.URL) (*url.URL, error)
	// Approve signs what was published; nil leaves that to somebody else.
	Approve *SyncApproval
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// SyncOutcome is what became of one pair of package and manifest.
type SyncOutcome string

// The outcomes.
const (
	SyncUpdated  SyncOutcome = "updated"
	SyncUpToDate SyncOutcome = "upToDate"
	SyncFailed   SyncOutcome = "failed"
)

// SyncedPair is one pair of package and manifest, and what became of it.
type SyncedPair struct {
	Platform   string           `json:"platform"`
	Ring       string           `json:"ring"`
	Arch       string           `json:"arch"`
	Outcome    SyncOutcome      `json:"outcome"`
	Engine     verifier.Version `json:"engineVersion"`              // published now
	Definition verifier.Version `json:"definitionsVersion"`         // published now
	Previous   verifier.Version `json:"previousDefinitionsVersion"` // replaced; zero: nothing good, or nothing at all
	Bytes      int64            `json:"bytesDownloaded"`
	Requests   int64            `json:"requests"`
	Resumed    bool             `json:"resumed"`
	// Approval is what became of it where packages are to be approved.
	Approval SyncApprovalOutcome `json:"approval,omitempty"`
	Notes    []string            `json:"notes,omitempty"` // what endpoints will need for what was approved
	Err      error               `json:"-"`               // why it failed, or was left for a person to approve
}

// SyncResult is what became of the whole run.
type SyncResult struct {
	Pairs []SyncedPair
	// Notes are what the user should know although nothing failed, fit to be shown.
	Notes []string
}

// Name is the pair's directory below the download folder.
func (p SyncedPair) Name() string { return syncPair{p.Platform, p.Ring, p.Arch}.String() }

// syncPair names a package and its manifest.
type syncPair struct{ platform, ring, arch string }

func (p syncPair) archDir() string { return "arch_" + p.arch }

func (p syncPair) String() string { return p.platform + "/" + p.ring + "/" + p.archDir() }

// address gives the URLs of package and version information.
func (p syncPair) address(base *url.URL) (zip, info *url.URL) {
	query := "linkid=" + linkLinux
	if p.platform == "mac" {
		query = "linkid=" + linkMac
	}
	if base.RawQuery != "" {
		query = base.RawQuery + "&" + query
	}
	if p.arch == "arm64" {
		query += "&arch=arm64"
	}
	if p.ring == "preview" {
		query += "&engRing=3&sigRing=1"
	}
	with := func(query string) *url.URL {
		u := *base
		u.RawQuery = query
		return &u
	}
	return with(query), with(query + "&action=info")
}

// pairs gives what the settings ask for, in the order of the vendor's script.
func (s SyncSettings) pairs(archs []string) (all []syncPair) {
	rings := []string{"production"}
	if s.Preview {
		rings = append(rings, "preview")
	}
	for _, platform := range []struct {
		name   string
		wanted bool
	}{{"linux", s.Linux}, {"mac", s.Mac}} {
		for _, ring := range rings {
			for _, arch := range archs {
				if platform.wanted {
					all = append(all, syncPair{platform.name, ring, arch})
				}
			}
		}
	}
	return all
}

// Sync brings the tree below the download folder up to what the vendor's cloud, or
// a cloud of one's own, offers: what the vendor's script does, with the same
// settings and the same tree.
//
// Package and manifest of one directory are exchanged together, by one rename, and
// durably. Whoever opens either of them at any moment gets one of that pair. Two
// requests can still fall on both sides of an exchange; who needs a pair reads
// the manifest before and after the package and takes them where both are the same.
// A file system that can't exchange two names (NFS, for one) has an instant in which
// the directory is missing; a crash just then leaves it missing until the next run.
//
// A package is published only when it is whole: a zip archive each of whose CRCs is
// right, announced by the same two versions before and after it came, and by a list
// inside, if there is one; and where there is a trust directory, verified as an
// endpoint would. Without one, all that is known of it is that the cloud served it.
//
// The pairs are independent of each other. What is wrong with one of them is its Err;
// an error of Sync itself (usage, config_invalid, busy, permission_denied) means that
// nothing was tried. The error of the pair at which ctx ended is ctx's, and those
// behind it are not in the result.
func Sync(ctx context.Context, s SyncSettings, o SyncOptions) (SyncResult, error) {
	o, base, err := o.orDefault()
	if err != nil {
		return SyncResult{}, err
	}
	folder, err := filepath.Abs(s.DownloadFolder)
	if err == nil {
		err = refuseRoot(folder)
	}
	if err == nil {
		err = makeDirs(folder)
	}
	if err != nil {
		return SyncResult{}, treeError("the download folder", s.DownloadFolder, err)
	}
	lock, err := lockSync(folder)
	if err != nil {
		return SyncResult{}, err
	}
	defer lock.Close()
	var result SyncResult
	log, err := openSyncLog(s.LogFile)
	if err != nil {
		result.Notes = append(result.Notes, "the log at logFilePath is not written, since this user can't write it or somebody else made it")
	}
	defer log.close()
	for _, name := range s.Unknown {
		result.Notes = append(result.Notes, "the settings file has a key that means nothing, "+name)
	}
	for _, note := range result.Notes {
		log.printf("note: %s", note)
	}
	check := checker{trust: o.Trust, product: o.Product, now: o.Now}
	for _, p := range s.pairs(o.Archs) {
		pair := newSyncRun(folder, p, base, o, check, log).do(ctx, s.Backup)
		log.result(pair)
		result.Pairs = append(result.Pairs, pair)
		if ctx.Err() != nil {
			break
		}
	}
	return result, nil
}

// orDefault fills in what is left out, and reads the address.
func (o SyncOptions) orDefault() (SyncOptions, *url.URL, error) {
	if len(o.Archs) == 0 {
		o.Archs = SyncArchs()
	}
	o.Archs = distinct(o.Archs)
	if o.Now == nil {
		o.Now = time.Now
	}
	for _, arch := range o.Archs {
		if !slices.Contains(SyncArchs(), arch) {
			return o, nil, usage("the architecture is none that there are packages for", "give --arch x86_64 or --arch arm64, or leave it out for both", nil)
		}
	}
	u, err := url.Parse(cmp.Or(o.BaseURL, DefaultSyncURL))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Fragment != "" {
		return o, nil, usage("--base-url is no http or https address", "give one such as "+DefaultSyncURL, err)
	}
	return o, u, nil
}

// refuseRoot keeps root from filling another user's download folder: that user's own
// runs could not go on with what it leaves, and root must not walk paths that another
// user can change.
func refuseRoot(folder string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return nil // it will be root's
	}
	owner, other := rootOnOthers(info)
	if !other {
		return nil
	}
	return &Error{Code: codePermission, Sentence: "the download folder, or a ring in it, belongs to another user, and root would leave files there that this user can not write",
		Hint: "run the command as its owner, with runuser -u " + printable.Text(owner, maxName) + " -- and the same line behind it, or give the folder and all in it to root"}
}

// lockSync takes the lock of a tree. The file stays, since removing it would let two
// processes hold two locks of one name.
func lockSync(folder string) (*flock.Flock, error) {
	path := filepath.Join(folder, ".sync.lock")
	lock := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR|noFollow), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fileError("the lock of the download folder", path, err)
	}
	if !locked {
		return nil, &Error{Code: codeBusy, Sentence: "another process fills the download folder", Hint: "wait until it has ended"}
	}
	return lock, nil
}

// result writes what became of a pair.
func (l *syncLog) result(p SyncedPair) {
	switch p.Outcome {
	case SyncFailed:
		l.printf("%s failed: %s", p.Name(), describeError(p.Err))
	case SyncUpdated:
		l.printf("%s updated to definitions %s, engine %s, from %s; %d bytes, %d requests", p.Name(), p.Definition, p.Engine, orNothing(p.Previous), p.Bytes, p.Requests)
	case SyncUpToDate:
		l.printf("%s is up to date with definitions %s, engine %s", p.Name(), p.Definition, p.Engine)
	}
	switch {
	case p.Approval == SyncLeft:
		l.printf("%s is left for a person to approve: %s", p.Name(), describeError(p.Err))
	case p.Approval != "":
		l.printf("%s: the approval is %s", p.Name(), p.Approval)
	}
}

func orNothing(v verifier.Version) string {
	if v.IsZero() {
		return "nothing"
	}
	return v.String()
}

// describeError gives an error with its hint and its cause. The log makes it
// printable.
func describeError(err error) string {
	if _, _, hint := reasonOf(err); hint != "" {
		return fmt.Sprintf("%v; hint: %s", err, hint)
	}
	return err.Error()
}

// treeError is fileError for what lies in the tree.
func treeError(what, path string, err error) error {
	if code, _, _ := reasonOf(err); err == nil || code != "" || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{Code: codeInstall, Sentence: what + " vanished while it was used", Hint: "keep other programs from changing the tree while it is filled", Err: err}
	}
	err = fileError(what, path, err)
	var own *Error
	if errors.As(err, &own) && own.Code == codeInternal {
		own.Code = codeInstall
	}
	return err
}
