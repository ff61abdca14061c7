package mirror

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// stage makes the directory that is to be published, and verifies it as an endpoint
// would. Its sidecar is signed once more when the log has its line.
func (r *promotion) stage(ctx context.Context) error {
	next, list := r.place.next(), r.good.Signed.List
	if err := os.Mkdir(next, 0o755); err != nil {
		return err
	}
	if err := r.carry(); err != nil {
		return err
	}
	zip := filepath.Join(next, zipFile)
	to := zip
	if r.good.Origin == Sidecar && list.Zip != "" {
		to = filepath.Join(next, list.Zip)
	}
	sum, _, err := copyPackage(ctx, r.good.Archive, to)
	if err != nil {
		return err
	}
	if err := r.keepDate(sum, to); err != nil {
		return err
	}
	if to != zip { // for machines that never updated from here, which open it first
		if err := linkOrCopy(to, zip); err != nil {
			return err
		}
	}
	v := versions{list.Engine, list.Definition}
	manifest, err := manifestOf(v)
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(next, manifestFile), manifest); err != nil {
		return err
	}
	if err := r.sign(""); err != nil {
		return err
	}
	r.came = syncState{Versions: v, finding: finding{sum, list.Content()}}
	if r.outcome == Promoted && r.have.archive != "" {
		same, err := r.sameContent(ctx)
		if err != nil {
			return err
		}
		r.replaces = !same // else n-1 would be what is published, and undo lead nowhere
	}
	return r.verifyNext(ctx)
}

// sameContent says whether the archive that is published has the files that are promoted,
// whatever its own list says, which may be by somebody whom nobody believes.
func (r *promotion) sameContent(ctx context.Context) (bool, error) {
	there, err := openArchive(r.have.archive)
	if err != nil {
		return false, err
	}
	defer there.file.Close()
	err = checkContent(ctx, there.file, there.layout, r.good.Signed.List)
	if refused := (*verifier.Refusal)(nil); errors.As(err, &refused) {
		return false, nil
	}
	return err == nil, err
}

// keepDate gives the archive of a renewal the date of the one that it replaces, where that
// has the same bytes, so that its age for the next ring does not begin anew.
func (r *promotion) keepDate(sum, to string) error {
	if r.outcome != PromoteRenewed {
		return nil
	}
	old := r.have.archive
	there, err := hashFile(old)
	if err != nil || there != sum {
		return nil
	}
	info, err := os.Stat(old)
	if err != nil {
		return err
	}
	return os.Chtimes(to, time.Time{}, info.ModTime())
}

// verifyNext verifies what is going to be published as an endpoint of the target would.
// It must be what was judged in the first ring, whose files somebody may have exchanged
// for others that are signed as well.
func (r *promotion) verifyNext(ctx context.Context) error {
	want := r.wanted()
	next, err := Verify(ctx, filepath.Join(r.place.next(), zipFile), r.o.Trust, r.o.Now(), &want)
	if err != nil {
		return r.refusedNext(err)
	}
	if next.Origin != r.good.Origin || next.Origin == Inside && next.Signed.Digest != r.good.Signed.Digest {
		return &verifier.Refusal{Code: verifier.ContentMismatch, Sentence: "the package was exchanged while it was looked at", Hint: "run the command again"}
	}
	return nil
}

// carry keeps what lies beside the published package: files of somebody else, and the
// archive that the sidecar names which is about to be replaced, so that downloads of
// it come to their end. Older ones go, by the names that were given to them.
func (r *promotion) carry() error {
	next := r.place.next()
	err := carryOver(r.place.arch, next, false)
	if err != nil || r.outcome == PromoteRenewed {
		return err
	}
	for _, zip := range readLedger(r.approvals().ledger()).Zips {
		if r.have.list != nil && zip == r.have.list.Zip {
			continue
		}
		if gone := os.Remove(filepath.Join(next, zip)); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// approvals is what approvals in the target go by.
func (r *promotion) approvals() ringPlace { return ringPlace{ring: r.o.To, arch: r.place.arch} }

// remember notes what is about to be published, and under which name. Where approvals
// are another user's, nothing is noted, and the package stays when its time has come.
func (r *promotion) remember(next standing) error {
	place, list := r.approvals(), r.good.Signed.List
	if makePrivate(place.work()) != nil {
		return nil
	}
	if r.good.Origin == Sidecar && approvedName(list.Zip) {
		if err := place.remember(list, list.Zip, r.started); err != nil {
			return err
		}
	}
	return place.comesIntoForce(next, r.have, &r.o.Trust, r.wanted())
}

// sign writes the sidecar, where the package has one. logged is the hash of the line of
// the log that is about it.
func (r *promotion) sign(logged string) error {
	if r.good.Origin == Inside {
		return nil
	}
	list := *r.good.Signed.List
	list.Rings = []string{ringOf(r.o.To, r.o.Ring)}
	list.Expires, list.PromotionLog = r.expires, logged
	// Endpoints take what is issued after what they have, be their clock ours or not. What
	// they can't have says nothing about it.
	list.Issued = later(r.o.Now().UTC(), list.Released).Truncate(time.Second)
	if old := r.have.list; r.isOut() && !list.Issued.After(old.Issued) {
		list.Issued = old.Issued.Add(time.Second)
	}
	if err := checkDates(&list, r.o.Now()); err != nil {
		return err
	}
	object, err := SignList(&list, *r.o.Sign)
	if err != nil {
		return err
	}
	return replace(filepath.Join(r.place.next(), zipFile+sidecarSuffix), object)
}

// publish has the sidecar name the line of the log, writes that, and puts the directory in
// place.
func (r *promotion) publish() (PromotedPair, error) {
	list := r.good.Signed.List
	pair := PromotedPair{Arch: r.arch, Outcome: r.outcome, Engine: list.Engine, Definition: list.Definition, Previous: r.have.definition(),
		PreviousUntrusted: r.have.list != nil && !r.counts}
	if r.outcome == PromoteUpToDate {
		return pair, nil
	}
	line := Promotion{Time: r.started, Action: actionPromote, From: r.target.nameOf(r.o.From), To: r.target.name(), Arch: r.arch,
		Engine: list.Engine, Definition: list.Definition, Content: list.Content()}
	if r.outcome == PromoteRenewed {
		line.Action = actionRenew
	}
	line.User, line.Host = caller()
	// All that can fail comes before the line, so that none tells of what did not happen.
	var err error
	if pair.Logged, err = r.target.log.hashOf(line); err != nil {
		return pair, err
	}
	if err := r.sign(pair.Logged); err != nil {
		return pair, err
	}
	next := standingAt(approvedIn(r.place.next()))
	if err := r.remember(next); err != nil {
		return pair, err
	}
	if r.replaces {
		have, err := r.place.identified(r.place.arch, r.have)
		if err != nil {
			return pair, err
		}
		r.came.Previous = &previous{fileID: have}
	}
	if _, err := r.target.log.append(line); err != nil {
		return pair, err
	}
	r.begun = true
	if err := r.place.putNext(r.came); err != nil {
		return pair, err
	}
	return pair, r.approvals().cameIntoForce(next)
}

// identified gives what a directory with that package is known by, and the package the name
// updates.zip where that leads to no file, without which n-1 is none. That may change what is
// published, so it comes last of all that can fail.
func (t place) identified(dir string, s standing) (fileID, error) {
	if file, there := zipIn(dir); there || s.archive == "" {
		return file, nil
	}
	err := linkOrCopy(filepath.Join(dir, filepath.Base(s.archive)), filepath.Join(dir, zipFile))
	if err = errors.Join(err, syncDir(dir)); err != nil {
		return fileID{}, err
	}
	file, there := zipIn(dir)
	if !there {
		return file, os.ErrNotExist
	}
	return file, nil
}

// putNext makes next, which is complete, the published directory, and what was there
// before n-1 where came says so. It is durable when it returns, and finished by place
// where it does not.
func (t place) putNext(came syncState) error {
	next := t.next()
	// Whatever the umask is, the web server must be able to read it.
	if err := errors.Join(os.Chmod(next, 0o755), os.Chmod(filepath.Join(next, zipFile), 0o644), syncDir(next)); err != nil {
		return err
	}
	var there bool
	if came.File, there = zipIn(next); !there {
		return os.ErrNotExist
	}
	if err := t.writeState(came); err != nil {
		return err
	}
	if err := t.publish(); err != nil {
		return err
	}
	_, err := t.settle(came)
	return err
}

// discard takes away what is not going to be published.
func (r *promotion) discard() {
	if r.place.work != "" && !r.begun {
		_ = os.RemoveAll(r.place.next()) // else the next run does it
	}
}

// caller is who runs the program; with sudo, who called that. It is as honest as they
// are.
func caller() (name, host string) {
	const most = 256 // bytes
	name = os.Getenv("USER")
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if sudo := os.Getenv("SUDO_USER"); sudo != "" && os.Geteuid() == 0 {
		name = sudo
	}
	host, _ = os.Hostname() // an empty name is one that is not known
	return printable.Text(name, most), printable.Text(host, most)
}

// copyPackage copies a package to a file that comes into being whole, and gives its
// SHA-256 in hexadecimal and the date of the one it was copied from.
func copyPackage(ctx context.Context, from, to string) (sum string, date time.Time, err error) {
	src, size, err := openRegular("the package", from)
	if err != nil {
		return "", date, err
	}
	defer src.Close()
	if size > verifier.MaxArchiveSize {
		return "", date, &verifier.Refusal{Code: verifier.PackageTooLarge, Sentence: fmt.Sprintf("the package has %d bytes and %d is the most", size, int64(verifier.MaxArchiveSize)), Hint: "look at " + printable.Quote(from)}
	}
	if err := enoughRoom(filepath.Dir(to), size); err != nil {
		return "", date, err
	}
	info, err := src.Stat()
	if err != nil {
		return "", date, err
	}
	p, err := newPending(to)
	if err != nil {
		return "", date, err
	}
	defer p.Cleanup()
	whole := sha256.New()
	if _, err := io.Copy(io.MultiWriter(p, whole), contextReader{ctx, io.NewSectionReader(src, 0, size)}); err != nil {
		return "", date, err
	}
	return hex.EncodeToString(whole.Sum(nil)), info.ModTime(), commit(p, to)
}
