package mirror

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// Approved is an approval that is in force.
type Approved struct {
	Zip     string `json:"zip"`
	Sidecar string `json:"sidecar"`
	// Note is what went wrong after it came into force, and is no failure of it: older
	// packages stay until the next approval. nil: nothing.
	Note *Problem `json:"note"`
}

// Sign signs the list and puts the approval in force.
func (p *Proposal) Sign(s Signer) (Approved, error) {
	object, err := SignList(p.List, s)
	if err != nil {
		return Approved{}, err
	}
	trust := p.o.Trust
	if trust == nil {
		own, err := s.trust()
		if err != nil {
			return Approved{}, err
		}
		trust = &own
	}
	signed, err := verifySigned(*trust, object, p.o.Now)
	if err != nil {
		return Approved{}, err
	}
	if err := checkChainEnd(signed.List, signed.Chain); err != nil {
		return Approved{}, err
	}
	next := standing{list: signed.List, digest: signed.Digest, object: object}
	// Before the copy has its name, so that it is not forgotten in a crash.
	if err := p.ring.remember(p.List, p.List.Zip, p.o.Now); err != nil {
		return Approved{}, err
	}
	if err := p.name(); err != nil {
		return Approved{}, err
	}
	return p.ring.publish(next, p.before, trust, p.o.wanted())
}

// External gives the copy its name, and writes the list's JSON to the file at path,
// for somebody else to sign. No endpoint sees the copy before AttachApproval has put
// its list beside it.
func (p *Proposal) External(path string) error {
	data, err := verifier.MarshalList(p.List)
	if err != nil {
		return badList(err)
	}
	if err := fileError("the file for the list", path, replace(path, data)); err != nil {
		return err
	}
	if err := p.ring.remember(p.List, "", p.o.Now); err != nil {
		return err
	}
	return p.name()
}

// name gives the private copy its name, durably. Nothing is overwritten.
func (p *Proposal) name() error {
	if !p.private {
		return nil
	}
	to := filepath.Join(p.ring.arch, p.List.Zip)
	err := os.Link(p.archive.path, to)
	if err != nil && !errors.Is(err, fs.ErrExist) { // a file system without hard links; the tree is locked
		if _, missing := os.Lstat(to); errors.Is(missing, fs.ErrNotExist) {
			err = os.Rename(p.archive.path, to)
			p.private = err != nil
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) { // what is there was found to be the same
		return fileError("the approved package", to, err)
	}
	return fileError("the approved package", to, syncDir(p.ring.arch))
}

// publish puts the approval in force by one rename, in place of before, and removes
// approved packages that nobody needs any more. trust is that of comesIntoForce.
func (place ringPlace) publish(next, before standing, trust *verifier.Trust, want verifier.Identity) (Approved, error) {
	if err := place.comesIntoForce(next, before, trust, want); err != nil {
		return Approved{}, err
	}
	if err := replace(place.sidecar(), next.object); err != nil {
		return Approved{}, fileError("the approval", place.sidecar(), err)
	}
	a := Approved{Zip: filepath.Join(place.arch, next.list.Zip), Sidecar: place.sidecar()}
	last := "" // somebody may be in the middle of fetching it
	if before.list != nil && before.list.Zip != next.list.Zip {
		last = before.list.Zip
	}
	if code, sentence, hint := reasonOf(place.collect(next, last)); code != "" {
		a.Note = &Problem{code, sentence, hint}
	}
	return a, nil
}

// AttachApproval puts the list p7m in force, which somebody else signed after
// External. All of the archive is hashed again. Who signed is judged where o.Trust is
// set, else only whether the list fits.
func AttachApproval(ctx context.Context, ring string, p7m []byte, o ApproveOptions) (*verifier.List, Approved, error) {
	judged, err := AttachOptions{Trust: o.Trust, Now: o.now()}.judge(p7m)
	if err != nil {
		return nil, Approved{}, err
	}
	next, err := standingOf(p7m)
	if err != nil {
		return nil, Approved{}, err
	}
	if o.Arch != "" && o.Arch != judged.Arch {
		return nil, Approved{}, usage("the list is for another architecture than --arch", "leave --arch out", nil)
	}
	o.Arch = judged.Arch
	place, lock, err := openRing(ring, o.Arch)
	if err != nil {
		return nil, Approved{}, err
	}
	defer lock.Close()
	if err := place.clear(); err != nil {
		return nil, Approved{}, fileError("what was left of an approval", place.arch, err)
	}
	if o, err = o.identity(place.ring); err != nil {
		return nil, Approved{}, err
	}
	if err := judged.CheckIdentity(o.wanted()); err != nil {
		return nil, Approved{}, err
	}
	previous, err := approvedNow(place, o.wanted(), o.Trust, o.Force)
	if err != nil {
		return nil, Approved{}, err
	}
	counts := place.counts(previous, o.Trust, o.wanted())
	if err := o.checkSuccession(judged, previous.list, counts, counts); err != nil {
		return nil, Approved{}, err
	}
	// What was signed long ago can be attached again, whatever lies there now.
	if last := readLedger(place.ledger()).Issued; !judged.Issued.After(last) && !o.Force {
		return nil, Approved{}, usage("the list is not issued after all that were in force, of which the last is of "+last.Format(verifier.TimeFormat), "sign the list that agent mirror approve --external writes now, or give --force if the ring is meant to go back", nil)
	}
	if _, _, err := lastPromotionLine(place.ring, previous.list, o.Force); err != nil {
		return nil, Approved{}, err
	}
	if judged.Zip == "" || judged.Zip == zipFile {
		return nil, Approved{}, usage("the list does not name a copy of the package, so it would be about whatever comes next", "sign the list that agent mirror approve --external wrote", nil)
	}
	a, err := openArchive(filepath.Join(place.arch, judged.Zip))
	if err != nil {
		return nil, Approved{}, err
	}
	defer a.file.Close()
	if a.layout.HasMeta() {
		return nil, Approved{}, listInside()
	}
	if err := checkContent(ctx, a.file, a.layout, judged); err != nil {
		return nil, Approved{}, fileError("the package", a.path, err)
	}
	if err := place.remember(judged, judged.Zip, o.Now); err != nil {
		return nil, Approved{}, err
	}
	approved, err := place.publish(next, previous, o.Trust, o.wanted())
	return judged, approved, err
}

func (o ApproveOptions) now() time.Time {
	if o.Now.IsZero() {
		return time.Now()
	}
	return o.Now
}

// collect removes approved packages but the one in force and the last one before it;
// empty means that the ledger knows it. Only what this program has approved or promoted,
// under a name that it gave, counts as one.
func (place ringPlace) collect(inForce standing, last string) error {
	l := readLedger(place.ledger())
	l.came(inForce)
	keep := []string{inForce.list.Zip, cmp.Or(last, l.lastBut(inForce.list.Zip))}
	var failed error
	l.Zips = slices.DeleteFunc(l.Zips, func(zip string) bool {
		if slices.Contains(keep, zip) {
			return false
		}
		path := filepath.Join(place.arch, zip)
		err := os.Remove(path)
		gone := err == nil || errors.Is(err, fs.ErrNotExist)
		if !gone {
			code, _, _ := reasonOf(fileError("an older approved package", path, err))
			failed = &Error{code, "an older approved package can not be removed", "look at " + printable.Quote(path), err}
		}
		return gone
	})
	return errors.Join(failed, l.write(place.ledger()))
}
