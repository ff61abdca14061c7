package agent

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/verifier"
)

// unconditional is how long a source's word that nothing changed is taken
// before it has to show the package again, and for how long a source whose
// ranges did not fit together is asked for whole packages.
const unconditional = 24 * time.Hour

// known is what was seen of a source before, and can still be built on.
type known struct {
	validator source.Validator // of the package
	beside    source.Validator // of the sidecar of the active set's list
	refused   *Failure         // the package was refused; nil: it is the active set's
	list      string           // refused, and approved by the sidecar with this list
}

// refusedFor is the validator of a package that was refused although the sidecar
// with that list approves it.
func (k known) refusedFor(list string) source.Validator {
	if k.refused == nil || k.list != list {
		return source.Validator{}
	}
	return k.validator
}

// known gives what to ask with: the validator of a package that was refused,
// while trust and configuration are those it was refused under; or that of the
// active list, while that is whole; and neither for longer than a day.
func (at *attempt) known() known {
	m := at.memory
	if at.opts.RetryKnownBad || !at.lately(m.Checked) {
		return known{}
	}
	if m.Refused != nil && (m.Under == at.under || m.Under == at.underCurrent() && at.opts.AllowDowngrade.IsZero()) {
		return known{validator: source.Validator(m.Validator), refused: (*Failure)(m.Refused), list: m.List}
	}
	current := at.session.current
	if m.Refused == nil && current != nil && m.List == current.signed.Digest.String() {
		return known{validator: source.Validator(m.Validator), beside: source.Validator(m.Beside)}
	}
	return known{}
}

// forPackage is the validator to ask for the package with, before any sidecar.
// That of one which a sidecar approves says nothing before the sidecar is seen.
func (k known) forPackage() source.Validator {
	if k.list != "" {
		return source.Validator{}
	}
	return k.validator
}

// lately tells whether a package itself was last looked at, as is given, within a
// day, and not only said to be unchanged. A time in the future was written with a
// wrong clock.
func (at *attempt) lately(checked time.Time) bool {
	age := at.started.Sub(checked)
	return age >= 0 && age <= unconditional
}

// under tells one trust and configuration from another, and what is known bad.
func (u *update) under() string {
	h := sha256.New()
	trust := u.session.trust.Digest()
	h.Write(trust[:])
	for _, bad := range u.session.memory.KnownBad {
		h.Write(bad.Content[:])
	}
	// Values of our own always encode.
	_ = json.NewEncoder(h).Encode(u.config.settings.Rows())
	return hex.EncodeToString(h.Sum(nil))
}

// lasting tells a refusal that will be the same tomorrow, with the same package,
// trust, configuration and known bad content. One that depends on the time, on what is installed,
// or on a sidecar that may still come, will not.
func lasting(code string) bool {
	return slices.Contains([]string{"not_a_package", "package_too_large", "package_malformed", "signature_invalid", "signer_untrusted",
		codeRevoked, "list_malformed", "wrong_product", "wrong_platform", "content_mismatch", codeKnownBad}, code)
}

// underCurrent is under, and which set is installed: what files are refused under that
// are older than those of it.
func (at *attempt) underCurrent() string {
	if at.session.current == nil {
		return at.under + " none"
	}
	return at.under + " " + at.session.current.signed.Digest.String()
}

// lastingForVendor tells a refusal by the vendor's signatures that will be the same
// tomorrow, beside those that are so for lists: no sidecar that may still come helps a
// file without a signature, what is older than the installed files stays so while
// these are installed, and a signer who has expired does not come back. That it is too
// early for one, or for what is dated in the future, is asked again a day later: the
// clock may be wrong, and none of it is worth all the package at each poll.
func lastingForVendor(err error) bool {
	return isUnvouched(err) && slices.Contains([]string{string(verifier.SignatureMissing), string(verifier.SignerExpired), string(verifier.IssuedInFuture), string(verifier.RollbackRefused)}, Explain(err).Code)
}

// remember keeps what was learned of the source, whatever came of it.
func (at *attempt) remember(n *news, err error) {
	m := &at.memory
	m.LastAnswered = at.started
	m.CoolDown, m.AskedToWait = time.Time{}, false
	err = at.condemned(n, err)
	switch {
	case err == nil || n != nil && n.layout != "" && Explain(err).is(codeStale): // all of it came to find that out
		at.rememberGood(n)
	case n != nil && !n.unchanged && (lasting(Explain(err).Code) || lastingForVendor(err)):
		at.rememberRefused(n, err)
	}
	var failed *source.Error
	if errors.As(err, &failed) && (failed.Code == source.CodeRateLimited || failed.Code == source.CodeForbidden) {
		m.AskedToWait = failed.RetryAfter > 0
		m.CoolDown = at.started.Add(cmp.Or(min(failed.RetryAfter, longestCoolDown), coolDown))
	}
	at.session.memory.SetSource(at.key, *m)
}

// condemned is the refusal of what came, judged by the vendor's signatures, and was found
// bad by a hook since; else the error as it is.
func (at *attempt) condemned(n *news, err error) error {
	if f := Explain(err); n == nil || n.layout == "" || !f.is(codePreload) && !f.is(codePostload) {
		return err
	}
	_, bad := verifier.Judge(n.signed, at.situation(at.memory.Best))
	if !Explain(bad).is(codeKnownBad) {
		return err
	}
	at.under = at.update.under() // with one more that is known bad
	return bad
}

// rememberReceived keeps of which archive a sealed set is, before hooks see it, since
// nothing but all of its files tells what it holds.
func (at *attempt) rememberReceived(n *news) {
	at.rememberGood(n)
	at.memory.Under = "" // nobody can say yet that it is no newer than what is installed
	at.session.memory.SetSource(at.key, at.memory)
}

// rememberRefused keeps why a package was refused, so that it need not be fetched
// again. What a sidecar says by itself costs little to ask again, and may be
// corrected without the package; so only that a package is not what its sidecar
// approves, or not the vendor's, is kept, together with that sidecar's list.
func (at *attempt) rememberRefused(n *news, refusal error) {
	at.setAside(n)
	m, why := &at.memory, Explain(refusal)
	m.Validator, m.Beside, m.Layout, m.List, m.Refused, m.Under = state.Validator{}, state.Validator{}, "", "", nil, ""
	if n.opened {
		m.Checked = at.started
	}
	if n.validator == (source.Validator{}) && n.layout == "" || n.sidecar && (n.archive == nil || !why.is(string(verifier.ContentMismatch)) && !isUnvouched(refusal)) {
		return
	}
	m.Validator, m.Layout, m.Refused, m.Under = state.Validator(n.validator), n.layout, (*state.Failure)(why), at.under
	if isUnvouched(refusal) && why.is(string(verifier.RollbackRefused)) {
		m.Under = at.underCurrent()
	}
	if n.sidecar {
		m.List = n.signed.Digest.String()
	}
}

func (at *attempt) rememberGood(n *news) {
	if n.signed.List != nil {
		at.setAside(n)
	}
	m := &at.memory
	if n.opened {
		m.Checked = at.started
	}
	if at.asker.whole && !at.started.Before(m.Whole) {
		m.Whole = at.started.Add(unconditional)
	}
	if n.signed.List == nil { // nobody looked at more than the archive's end
		return
	}
	m.Sidecar, m.Refused, m.Under, m.Layout = n.sidecar, nil, "", n.layout
	if n.layout != "" {
		m.Under = at.underCurrent() // what the package was found to be no newer than
	}
	m.Validator, m.Beside, m.List = state.Validator(n.validator), state.Validator(n.beside), n.signed.Digest.String()
	if n.sidecar {
		m.Validator = state.Validator{} // it stands for the archive, and not for the list beside it
	}
}
