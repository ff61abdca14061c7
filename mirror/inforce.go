package mirror

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"mdatp-offline-agent/verifier"
)

// What is in force in a ring is the list by which endpoints of it find their package,
// beside the package or inside it. Whoever can write to the tree can put a list there. So
// two things decide whether it is one to go by: that somebody who is trusted signed it for
// this ring, and that it is the one which this program put in force last, which the ledger
// knows. Everything that puts one in force says so before (comesIntoForce) and after
// (cameIntoForce): approvals, promotions of both kinds of packages, and undo.

// standing is a list as it lies somewhere, and the package that it was found with.
type standing struct {
	archive string         // path of the package; empty where endpoints can't open it
	origin  Origin         // where the list is
	list    *verifier.List // nil where none can be read
	digest  verifier.Digest
	object  []byte // the signed list as it lies there
}

// standingIn gives what is published in a directory. An updates.zip that has a list inside
// which counts is for endpoints what that says, and no sidecar is asked. Else it is the
// archive that the sidecar names, whatever updates.zip is by now, where that list counts or
// there is nothing else to go by. A stranger's leads to updates.zip, and so does one whose
// archive is gone, where updates.zip is the same.
func standingIn(dir string, counts func(standing) bool) standing {
	zip := filepath.Join(dir, zipFile)
	plain := standingAt(zip)
	if plain.origin == Inside && counts(plain) {
		return plain
	}
	if named := approvedIn(dir); named != zip {
		if s := standingAt(named); plain.archive == "" || counts(s) && (s.archive != "" || !plain.approved()) {
			return s
		}
	}
	return plain
}

// opens says whether endpoints can open the package that is published, both by the name in
// the sidecar and as updates.zip.
func (t place) opens() bool {
	return standingAt(approvedIn(t.arch)).archive != "" && standingAt(filepath.Join(t.arch, zipFile)).archive != ""
}

// standingAt gives what an archive or a sidecar is about.
func standingAt(path string) (s standing) {
	c, err := openClaim(path)
	defer c.close()
	if err == nil {
		s, err = standingOf(c.object)
		s.origin = c.origin
	}
	if err == nil && c.archive == nil {
		err = c.settle(path, s.list)
	}
	if c.archive != nil && (err == nil || c.archive.path == path) {
		s.archive = c.archive.path
	}
	return s
}

// standingOf reads a signed list.
func standingOf(object []byte) (standing, error) {
	claims, err := verifier.ReadClaims(object)
	if err != nil {
		return standing{}, err
	}
	return standing{list: claims.List, digest: claims.Digest, object: object}, nil
}

// approved says whether the archive has the files of the sidecar that it was found with.
func (s standing) approved() bool {
	if s.list == nil || s.origin != Sidecar {
		return false
	}
	there, err := openArchive(s.archive)
	if err != nil {
		return false
	}
	defer there.file.Close()
	return checkContent(context.Background(), there.file, there.layout, s.list) == nil
}

// believed says whether endpoints of a ring could have that package: somebody signed
// its list for them. Who can only write to the tree can't make it so.
func (s standing) believed(trust verifier.Trust, want verifier.Identity) bool {
	if s.list == nil || trust.Empty() {
		return false
	}
	signed, err := trust.VerifyInstalled(s.object)
	return err == nil && !signed.Revoked && signed.List.CheckIdentity(want) == nil
}

func (s standing) definition() verifier.Version {
	if s.list == nil {
		return verifier.Version{}
	}
	return s.list.Definition
}

// about says whether both are about the same content.
func (s standing) about(other standing) bool {
	return s.list != nil && other.list != nil && s.list.Content() == other.list.Content()
}

// has says whether a list is the one that was put in force last. It is known by what it
// says, so who signs the very same with another key makes no other list of it.
func (l ledger) has(s standing) bool {
	return s.list != nil && slices.Contains(l.InForce, s.digest.String())
}

// superseded says whether a list was replaced by a later one, and then put back by
// somebody: it is not the one that came into force last, nor issued later than that and
// all before. So one that was dated ahead is seen, too, and what was put in force
// elsewhere since is not taken for one of them. A ledger of before has only the date.
func (l ledger) superseded(s standing) bool {
	if len(l.InForce) == 0 {
		return s.list.Issued.Before(l.Issued)
	}
	return !l.has(s) && !s.list.Issued.After(l.Issued)
}

// counts says whether a list that lies here is one to go by: somebody whom endpoints
// trust signed it for them, or it is the one that was put in force here, by whomever. The
// second is what a change of CA leaves.
func (place ringPlace) counts(s standing, trust *verifier.Trust, want verifier.Identity) bool {
	return trust != nil && s.believed(*trust, want) || place.ours() && readLedger(place.ledger()).has(s)
}

// ours says whether the ledger is one that nobody else writes.
func (place ringPlace) ours() bool {
	info, err := os.Lstat(place.work())
	return err == nil && info.IsDir() && private(info)
}

// comesIntoForce notes that next is about to be put in force, in place of out, where that
// counts, and keeps the first approval of its content. A crash may keep next from coming,
// so until cameIntoForce is called either of the two is what came last. What can't be noted
// must not come: somebody could put out back.
func (place ringPlace) comesIntoForce(next, out standing, trust *verifier.Trust, want verifier.Identity) error {
	l := readLedger(place.ledger())
	known, believed := l.has(out), trust != nil && out.believed(*trust, want)
	l.InForce = []string{next.digest.String()}
	if known || believed {
		l.InForce = append(l.InForce, out.digest.String())
		l.Issued = later(l.Issued, out.list.Issued)
	}
	if err := l.write(place.ledger()); err != nil || next.list == nil {
		return err
	}
	if _, ok := place.firstOf(next, trust, want); ok {
		return nil
	}
	// One that nobody in trust signed is of no use to those who ask for the first.
	first := next
	if since := believed || known && trust == nil; since && out.about(next) && !out.list.Issued.After(next.list.Issued) {
		first = out
	}
	return fileError("the first approval of the package", place.first(), replace(place.first(), first.object))
}

// came is cameIntoForce in a ledger that is about to be written.
func (l *ledger) came(next standing) {
	l.InForce = []string{next.digest.String()}
	if next.list != nil {
		l.Issued = later(l.Issued, next.list.Issued)
	}
}

// cameIntoForce notes that next has come, where approvals are this user's.
func (place ringPlace) cameIntoForce(next standing) error {
	if makePrivate(place.work()) != nil {
		return nil
	}
	l := readLedger(place.ledger())
	l.came(next)
	return l.write(place.ledger())
}

// firstOf gives the first approval of what s is about, which is kept over renewals for
// those who ask since when it is approved. It is signed, so nobody can make it older. It
// must be by somebody in trust; nil: that is for others to judge.
func (place ringPlace) firstOf(s standing, trust *verifier.Trust, want verifier.Identity) (standing, bool) {
	object, err := readObject(place.first())
	if err != nil {
		return standing{}, false
	}
	first, err := standingOf(object)
	if err != nil || !first.about(s) || first.list.Issued.After(s.list.Issued) {
		return standing{}, false
	}
	return first, trust == nil || first.believed(*trust, want)
}
