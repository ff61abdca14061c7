package mirror

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mdatp-offline-agent/verifier"
)

// SyncApproval lets Sync sign by itself what it has published, where the vendor's
// signature of every file is good. The key then lies where the tree is filled, so
// this is for hosts that do not serve it.
type SyncApproval struct {
	Signer  Signer
	Vendor  verifier.Trust // whom vendors' signatures must be of
	Expires time.Time      // of what is signed; zero: DefaultValidity from now
}

// SyncApprovalOutcome is what became of the approval of one package.
type SyncApprovalOutcome string

// The outcomes. Empty where nothing was to be approved.
const (
	SyncApproved SyncApprovalOutcome = "approved"
	SyncRenewed  SyncApprovalOutcome = "renewed"
	SyncCurrent  SyncApprovalOutcome = "current" // it was approved already
	SyncLeft     SyncApprovalOutcome = "left"    // for a person to decide about
)

// approve approves what is published, or renews the approval of it where half of its
// time has gone. sha256 is that of updates.zip, in hexadecimal. A package with a list
// inside needs no approval.
func (r *syncRun) approve(ctx context.Context, sha256 string) (SyncApprovalOutcome, error) {
	place := ringPlace{ring: filepath.Join(r.folder, r.platform, r.ring), arch: r.place.arch}
	a, err := openArchive(place.zip())
	if err != nil {
		return SyncLeft, err
	}
	inside := a.layout.HasMeta()
	if err := a.file.Close(); err != nil || inside {
		return "", err
	}
	now := r.o.Now()
	o := ApproveOptions{Arch: r.arch, Product: r.o.Product, Platform: r.platform, Ring: r.ring, Expires: r.o.Approve.Expires,
		Vendor: r.o.Approve.Vendor, RequireVendor: true, Signer: &r.o.Approve.Signer, Now: now}
	if o, err = o.identity(place.ring); err != nil {
		return SyncLeft, err
	}
	// What is out by another signer, as before a change of ours, or dated so that no
	// endpoint takes it, or put back by somebody, is looked at anew.
	own, err := o.Signer.trust()
	if err != nil {
		return SyncLeft, err
	}
	previous, others := approvedNow(place, o.wanted(), &own, false)
	if o.passOver = others != nil; o.passOver {
		r.log.printf("%s: the approval there is none of this signer's: %s", r.syncPair, describeError(others))
	}
	o.Renew = place.approves(previous.list, sha256) && !ahead(previous.list, now) && !readLedger(place.ledger()).superseded(previous)
	if o.Renew && now.Before(halfOf(previous.list)) {
		return SyncCurrent, nil
	}
	p, err := propose(ctx, place, o)
	if err != nil {
		return SyncLeft, err
	}
	defer p.Close()
	approved, err := p.Sign(r.o.Approve.Signer)
	if err != nil {
		return SyncLeft, err
	}
	if note := approved.Note; note != nil {
		r.log.printf("%s: approved, but %s: %s", r.syncPair, note.Code, note.Message)
	}
	if p.Renewal {
		return SyncRenewed, nil
	}
	return SyncApproved, nil
}

// approves tells whether a list is the approval of the package with that digest, by
// the name of its copy, which must be there.
func (place ringPlace) approves(list *verifier.List, sha256 string) bool {
	if list == nil || list.Zip == "" {
		return false
	}
	digits, ours := strings.CutPrefix(strings.TrimSuffix(list.Zip, ".zip"), "updates-")
	_, err := os.Stat(filepath.Join(place.arch, list.Zip))
	return ours && digits != "" && strings.HasPrefix(sha256, digits) && err == nil
}

// halfOf is when half of a list's time has gone.
func halfOf(l *verifier.List) time.Time { return l.Issued.Add(l.Expires.Sub(l.Issued) / 2) }
