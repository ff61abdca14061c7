package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/manifest"
	"mdatp-offline-agent/managedconfig"
	"mdatp-offline-agent/verifier"
)

func TestFindings(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	list := func(released, expires time.Duration) *verifier.List {
		return &verifier.List{Definition: verifier.Version{1, 407, 1, 0}, Engine: verifier.Version{1, 1, 1, 1}, Released: now.Add(released), Expires: now.Add(expires)}
	}
	good := answer{list: list(-time.Hour, time.Hour), verdict: verifier.UpToDate, clock: verifier.Clock{Time: now}, due: 7 * 24 * time.Hour, within: 40 * time.Second}
	with := func(change func(*answer)) answer {
		a := good
		change(&a)
		return a
	}
	failed := func(err error) answer { return with(func(a *answer) { a.err = err; a.list = nil }) }
	for what, c := range map[string]struct {
		answer answer
		want   []string // STAGE CODE PART-OF-THE-SENTENCE, for each finding
	}{
		"nothing":               {good, nil},
		"a stage of the source": {failed(&source.Error{Code: source.CodeUnreachable, Stage: source.StageName, Sentence: "s"}), []string{"name source_unreachable s"}},
		"a login of a proxy":    {failed(&source.Error{Code: source.CodeForbidden, Stage: source.StageProxy, Sentence: "s"}), []string{"proxy source_forbidden s"}},
		"status 403":            {failed(&source.Error{Code: source.CodeForbidden, Sentence: "s"}), []string{"path source_forbidden s"}},
		"status 500":            {failed(&source.Error{Code: source.CodeUnreachable, Sentence: "s"}), []string{"http source_unreachable s"}},
		"a broken disk": {with(func(a *answer) {
			a.err = &source.Error{Code: source.CodeUnreachable, Sentence: "s"}
			a.directory = true
		}), []string{"path source_unreachable s"}},
		"changed":              {failed(&source.Error{Code: source.CodeChanged, Sentence: "s"}), []string{"package source_changed s"}},
		"too large":            {failed(&source.Error{Code: source.CodeTooLarge, Sentence: "s"}), []string{"package package_too_large s"}},
		"revoked":              {failed(&verifier.Refusal{Code: verifier.SignerRevoked, Sentence: "s"}), []string{"signature signer_revoked s"}},
		"known bad":            {failed(&verifier.Refusal{Code: verifier.KnownBadContent, Sentence: "s"}), []string{"package known_bad s"}},
		"credentials":          {failed(&managedconfig.Error{Key: "agent.caFile", Problem: "s"}), []string{"configuration config_invalid agent.caFile"}},
		"out of time":          {failed(fmt.Errorf("stopped: %w", context.DeadlineExceeded)), []string{"http source_stalled within 40s"}},
		"out of time, a share": {with(func(a *answer) { a.err = context.DeadlineExceeded; a.directory = true }), []string{"path source_stalled within 40s"}},
		"a timeout that is the source's": {failed(&source.Error{Code: source.CodeUnreachable, Stage: source.StageTCP, Sentence: "s", Err: context.DeadlineExceeded}),
			[]string{"tcp source_unreachable s"}},
		"a page":            {with(func(a *answer) { a.err = errors.New("x"); a.page = true; a.whole = true }), []string{"package not_a_package a web page"}},
		"whole, too large":  {with(func(a *answer) { a.err = errOnlyWhole; a.whole = true }), []string{"http  only its beginning was looked at"}},
		"whole, and a page": {with(func(a *answer) { a.err = errOnlyWhole; a.whole = true; a.page = true }), []string{"package not_a_package a web page"}},
		"whole, small":      {with(func(a *answer) { a.whole = true }), []string{"http  small enough"}},
		"old":               {with(func(a *answer) { a.list = list(-9*24*time.Hour, time.Hour) }), []string{"package source_stale released 9 days ago, and 7 are the most"}},
		"old enough":        {with(func(a *answer) { a.list = list(-7*24*time.Hour, time.Hour) }), nil},
		"expired":           {with(func(a *answer) { a.list = list(-4*24*time.Hour, -50*time.Hour) }), []string{"package source_stale the signed list of the newest package there ended at 2026-10-30T10:00:00Z"}},
		"old and expired":   {with(func(a *answer) { a.list = list(-9*24*time.Hour, -50*time.Hour) }), []string{"package source_stale released 9 days ago, and 7 are the most"}},
		"refused before":    {with(func(a *answer) { a.refused = &Failure{"signer_untrusted", "s", "h"} }), []string{"package  the last update refused this very package, signer_untrusted: s"}},
		"behind":            {with(func(a *answer) { a.verdict = verifier.Behind }), []string{"package  1.407.1.0, is older"}},
		"a pair":            {with(func(a *answer) { a.beside = &manifest.Manifest{Engine: a.list.Engine, Definition: a.list.Definition} }), nil},
		"torn": {with(func(a *answer) {
			a.beside = &manifest.Manifest{Engine: a.list.Engine, Definition: verifier.Version{1, 407, 2, 0}}
		}), []string{"package  definitions 1.407.2.0 and engine 1.1.1.1, and the package of 1.407.1.0 and 1.1.1.1"}},
		"torn in the engine": {with(func(a *answer) {
			a.beside = &manifest.Manifest{Engine: verifier.Version{1, 1, 2, 1}, Definition: a.list.Definition}
		}), []string{"package  engine 1.1.2.1"}},
		"no manifest at all":   {with(func(a *answer) { a.besideErr = manifest.ErrForm }), []string{"package  can not be understood"}},
		"the same time":        {with(func(a *answer) { a.server, a.asked = now, now.Add(29*time.Minute) }), nil},
		"behind the server":    {with(func(a *answer) { a.server, a.asked = now, now.Add(-time.Hour) }), []string{"http  1h0m0s behind the server"}},
		"ahead of the server":  {with(func(a *answer) { a.server, a.asked = now, now.Add(time.Hour) }), []string{"http  1h0m0s ahead of the server"}},
		"far from the server":  {with(func(a *answer) { a.server, a.asked = time.Date(1700, 1, 1, 0, 0, 0, 0, time.UTC), now }), []string{"http  years apart"}},
		"a server's far ahead": {with(func(a *answer) { a.server, a.asked = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), now }), []string{"http  years apart"}},
		"a failure, and a clock": {with(func(a *answer) {
			a.err = &verifier.Refusal{Code: verifier.SignerExpired, Sentence: "s"}
			a.server, a.asked = now, now.Add(time.Hour)
		}), []string{"signature signer_expired s", "http  1h0m0s ahead of the server"}},
	} {
		got := c.answer.findings()
		if len(got) != len(c.want) {
			t.Errorf("%s: %+v, want %q", what, got, c.want)
			continue
		}
		for i, f := range got {
			want := strings.SplitN(c.want[i], " ", 3)
			if f.Stage != want[0] || f.Code != want[1] || !strings.Contains(f.Message, want[2]) {
				t.Errorf("%s: %+v, want %q", what, f, want)
			}
			if f.Code == "" && f.Hint == "" || strings.ContainsAny(f.Message, "\"\n") || strings.Contains(f.Message, " : ") {
				t.Errorf("%s: not fit to be shown: %+v", what, f)
			}
		}
	}
}

func TestStateOf(t *testing.T) {
	t.Parallel()
	warning, failure := Finding{Stage: stagePackage}, Finding{Stage: stagePackage, Code: codeStale}
	for want, findings := range map[string][]Finding{TestOK: nil, TestWarning: {warning}, TestFailed: {warning, failure}} {
		if got := stateOf(findings); got != want {
			t.Errorf("%v: %s, want %s", findings, got, want)
		}
	}
	c := Connectivity{Tests: []Tested{{Findings: []Finding{warning}}, {Findings: []Finding{failure}}}}.summedUp()
	if c.State != TestFailed || c.FailReason == nil || c.FailReason.Code != codeStale {
		t.Errorf("%+v", c)
	}
}

// A glance keeps no more than it may, in however many pieces something comes.
func TestGlance(t *testing.T) {
	t.Parallel()
	for _, piece := range []int{1 << 10, 10_000, mostGlance, 1 << 20} {
		g, err := new(glance), error(nil)
		for range 2 * mostGlance / piece {
			if _, err = g.Write(make([]byte, piece)); err != nil {
				break
			}
		}
		if piece > mostGlance {
			_, err = g.Write(make([]byte, piece))
		}
		if !errors.Is(err, errOnlyWhole) || g.Len() != mostGlance {
			t.Errorf("in pieces of %d: %d bytes, %v", piece, g.Len(), err)
		}
	}
}
