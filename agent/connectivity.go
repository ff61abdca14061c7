package agent

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/apart"
	"mdatp-offline-agent/agent/source/manifest"
	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/health"
	"mdatp-offline-agent/managedconfig"
	"mdatp-offline-agent/verifier"
)

// ConnectivityTime is how long a test of the sources takes at most, less the moment
// in which it ends. Tools that call the command give it 45 seconds.
const ConnectivityTime = 40 * time.Second

// lastMoment is how long a test that is over may take to end.
const lastMoment = 3 * time.Second

// eachStep is the most that a test waits for one step of a request, so that a server
// which does not answer at all is told within the time for all.
const eachStep = 10 * time.Second

// Connectivity is what a test of the sources found. Its JSON is part of the program's
// interface.
type Connectivity struct {
	Type       string   `json:"$type"` // connectivityTestResult
	State      string   `json:"state"` // the worst of the tests'
	Installed  *string  `json:"installedDefinitionsVersion"`
	Tests      []Tested `json:"tests"`
	Notes      []string `json:"notes"`
	FailReason *Failure `json:"failReason"` // of the first that failed
}

// Tested is what a test of one source found.
type Tested struct {
	Source      string     `json:"source"` // mirror or cloud
	URL         string     `json:"url"`    // of the package, without what may be secret
	State       string     `json:"state"`
	Verdict     *string    `json:"verdict"` // of what it offers, where that is authentic and for this machine
	Definitions *string    `json:"definitionsVersion"`
	Engine      *string    `json:"engineVersion"`
	Released    *time.Time `json:"released"`
	Issued      *time.Time `json:"issued"`
	Expires     *time.Time `json:"expires"`
	Seconds     float64    `json:"durationSeconds"`
	Findings    []Finding  `json:"findings"`
}

// TestConnectivity asks each source that an update by hand would ask, all at a time,
// and looks at what it answers as an update would. It takes no lock, writes nothing,
// reads no package beyond its end, and is over within the given time and a moment. An
// error means that there was nothing to test.
func (a *Agent) TestConnectivity(ctx context.Context, within time.Duration) (Connectivity, error) {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	type outcome struct {
		found Connectivity
		err   error
	}
	ended := make(chan outcome, 1)
	go func() {
		found, err := a.testSources(limited, within)
		ended <- outcome{found, err}
	}()
	var o outcome
	select {
	case o = <-ended:
	case <-limited.Done():
		select {
		case o = <-ended:
		case <-time.After(lastMoment): // it waits in the kernel, where no context reaches
			o.err = &Failure{string(source.CodeStalled), "the test did not get as far as the sources, or back from them, within " + within.String(),
				"a file system of this machine does not answer, perhaps that of the configuration, of the trust directory or of the engine directory; look for one with df"}
		}
	}
	if err := ctx.Err(); err != nil {
		return Connectivity{}, err
	}
	return o.found, o.err
}

// testSources is the test, from the configuration to the answers.
func (a *Agent) testSources(ctx context.Context, within time.Duration) (Connectivity, error) {
	u := &update{Agent: a, started: a.Now(), looking: true}
	if err := u.settings(); err != nil {
		return Connectivity{}, err
	}
	if err := u.decide(state.View(a.Paths.State), true); err != nil {
		return Connectivity{}, err
	}
	found := Connectivity{Type: "connectivityTestResult", Tests: make([]Tested, len(u.decision.Places)), Notes: notAsked(u.decision)}
	trustErr, unseen := u.lookOn(ctx)
	defer u.session.Close()
	if unseen != nil {
		found.Notes = append(found.Notes, "what is installed can not be compared, since "+Explain(unseen).Message)
	}
	if u.clock.Wrong {
		found.Notes = append(found.Notes, health.NoteClockWrong)
	}
	if current := u.session.current; current != nil {
		version := current.version()
		found.Installed = &version
	}
	var all sync.WaitGroup
	for i, place := range u.decision.Places {
		all.Go(func() { found.Tests[i] = u.test(ctx, place, within, trustErr) })
	}
	all.Wait()
	if trustErr == nil && u.session.trust.vendor != nil && slices.ContainsFunc(found.Tests, func(t Tested) bool { return t.State != TestFailed }) {
		found.Notes = append(found.Notes, "the vendor's signatures are judged once the files are here, and not in a test")
	}
	return found.summedUp(), nil
}

// lookOn makes a session for who only looks: without the lock, of what this user may
// read, and without hashing what is installed. trustErr is why nobody is trusted, and
// unseen why it is not known what is installed.
func (u *update) lookOn(ctx context.Context) (trustErr, unseen error) {
	store := state.View(u.Paths.State)
	s := &session{Agent: u.Agent, store: store, seen: store.LoadStatus()}
	u.session = s
	var (
		issued time.Time
		err    error
	)
	if s.memory, err = recall(store); err != nil {
		s.memory = new(state.State) // of another user; what is installed says the same
	}
	s.trust, trustErr = u.loadTrust(u.config.settings)
	s.trust.profile = u.config.settings.Agent.Trust.Profile.Value // also where nobody is trusted
	if s.dir, unseen = u.viewEngine(); unseen == nil && trustErr == nil {
		if set, ok, err := s.dir.Current(); err == nil && ok {
			s.current, _ = openSet(set, s.trust) // one that can't be used counts as none
		}
		if !s.trust.alone() { // else nothing can be compared with it
			u.floor, issued, unseen = s.floor(ctx)
		}
	}
	u.clock = verifier.NewClock(u.started, issued, u.Built)
	return trustErr, unseen
}

// test asks one source.
func (u *update) test(ctx context.Context, place Place, within time.Duration, trustErr error) Tested {
	began := time.Now()
	t := Tested{Source: "mirror", URL: place.Name}
	if place.Cloud != nil {
		t.Source = "cloud"
	}
	p, err := u.newProbe(place, trustErr)
	a := answer{err: err}
	if err == nil {
		if place.Cloud == nil {
			t.URL = p.url()
		}
		a = p.ask(ctx)
	}
	a.directory, a.within, a.clock, a.due = place.Ring.Dir != "", within, u.clock, due(u.config.settings)
	t.describe(a)
	t.Seconds = time.Since(began).Seconds()
	return t
}

// probe is a test of one source on its way.
type probe struct {
	*attempt
	config apart.Config
	tally  source.Tally
	glance *glance // at what came whole; nil: nothing did

	trustErr error // why nobody is trusted
}

// newProbe is newAttempt for who only looks: one try for each request, no waiting
// for long, nothing on disk, and nothing believed of what was seen before.
func (u *update) newProbe(place Place, trustErr error) (*probe, error) {
	p := &probe{attempt: &attempt{update: u, place: place}, trustErr: trustErr}
	var err error
	if p.config, err = u.sourceAt(place, u.Arch); err != nil {
		return nil, err
	}
	p.config.Retry.Tries = 1
	times := &p.config.Timeouts
	for _, t := range []*time.Duration{&times.Connect, &times.TLS, &times.Header, &times.Stall} {
		*t = min(*t, eachStep)
	}
	p.config.Spool = func(int64) (source.Spool, error) {
		p.glance = new(glance)
		return p.glance, nil
	}
	p.key = keyOf(p.config)
	p.memory = u.session.memory.Source(p.key)
	p.memory.Checked = time.Time{} // so that the source must show what it has
	p.asker = asker{from: source.Count(apart.New(p.config), &p.tally), verify: func(raw []byte) (verifier.Signed, error) {
		if trustErr != nil {
			return verifier.Signed{}, trustErr
		}
		return u.session.trust.Verify(raw, u.clock.Time)
	}}
	return p, nil
}

// url is where the package is looked for.
func (p *probe) url() string {
	if p.config.Dir != "" {
		return filepath.Join(p.config.Dir, source.PackageName)
	}
	u, err := url.Parse(p.config.URL)
	if err != nil { // not after the configuration was read
		return p.place.Name
	}
	return u.JoinPath(source.PackageName).String()
}

// ask asks, and gathers what a judgement is made from.
func (p *probe) ask(ctx context.Context) (a answer) {
	n, verdict, err := p.newsOf(ctx)
	if changed(err) { // replaced while it was read
		n.Close()
		n, verdict, err = p.newsOf(ctx)
	}
	defer func() { n.Close() }()
	a.asked = p.Now()
	if seconds := p.tally.ServerClock.Load(); seconds != 0 {
		a.server = time.Unix(seconds, 0)
	}
	switch {
	case err == nil && p.session.trust.alone(): // whose files are not looked at here
		err = p.trustErr
	case err == nil && n.archive != nil:
		_, err = n.archive.Match(n.signed.List)
	}
	a.err, a.whole = err, p.glance != nil
	if n != nil && n.signed.List != nil {
		a.list = n.signed.List
	}
	switch {
	case err == nil:
		a.verdict, a.refused = verdict, p.refusedBefore(n)
		if p.place.Cloud == nil && a.list != nil && n.zip() == source.PackageName {
			a.beside, a.besideErr = p.readManifest(ctx)
		}
	case errors.Is(err, errOnlyWhole), Explain(err).is(string(verifier.NotAPackage)):
		begin := p.beginning(ctx, n)
		a.page = source.IsPage(begin)
		if errors.Is(err, errOnlyWhole) {
			a.err = cmp.Or(verifier.CheckBeginning(begin), err)
		}
	case source.NotThere(err) && Explain(err).is(source.CodeNotFound):
		a.elsewhere = p.elsewhere(ctx)
	}
	return a
}

// refusedBefore is why the last update refused the very package that is there, for what was
// in it; nil where it did not, or nobody knows. What is remembered of the source tells it
// of an archive that is known again. Else the record of the last run tells it of the list.
func (p *probe) refusedBefore(n *news) *Failure {
	m, list := p.memory, n.signed.List
	same := m.Layout != "" && m.Layout == n.layout
	if n.validator != (source.Validator{}) && n.validator == source.Validator(m.Validator) {
		same = m.List == "" || list != nil && m.List == n.signed.Digest.String()
	}
	if same && m.Refused != nil && strings.HasPrefix(m.Under, p.update.under()) {
		return (*Failure)(m.Refused)
	}
	runs := p.session.seen.Runs.All()
	if list == nil || len(runs) == 0 {
		return nil
	}
	here, this := false, false
	for _, s := range runs[len(runs)-1].Steps {
		switch s.Rule {
		case ruleAsked:
			here, this = s.Source == p.place.Name, false
		case ruleList, ruleSidecar:
			this = here && s.Version == list.Definition.String() && s.At.Equal(list.Issued)
		case ruleFailed:
			if f := failureOf(s); this && ExitCode(f.Code) == ExitCode(string(verifier.ContentMismatch)) && !f.is(codeDamaged) {
				return f
			}
		}
	}
	return nil
}

// beginning gives the first bytes of what lies in place of a package.
func (p *probe) beginning(ctx context.Context, n *news) []byte {
	if p.glance != nil {
		return p.glance.Bytes()
	}
	if n == nil || n.pkg == nil {
		return nil
	}
	begin, err := readRange(ctx, n.pkg, 0, min(n.pkg.Size(), source.PageBytes))
	if err != nil {
		return nil
	}
	return begin
}

// readManifest reads what the vendor's tools go by; nil where there is none. The
// error is why it can't be understood.
func (p *probe) readManifest(ctx context.Context) (*manifest.Manifest, error) {
	pkg, err := p.asker.from.Open(ctx, source.Request{Name: manifest.Name, MaxBytes: manifest.MaxSize})
	if err != nil {
		return nil, nil // nobody here needs one
	}
	defer pkg.Close()
	data, err := readRange(ctx, pkg, 0, pkg.Size())
	if err != nil {
		return nil, nil
	}
	m, err := manifest.Parse(data)
	return &m, err
}

// elsewhere looks for a package that is not where it was looked for, and gives what
// to do then; empty where there is none.
func (p *probe) elsewhere(ctx context.Context) string {
	if p.place.Cloud != nil {
		return ""
	}
	for _, arch := range []string{"x86_64", "arm64"} {
		if arch != p.Arch && p.has(ctx, p.place.Ring, arch) {
			return "there is a package for " + arch + ", and none for this machine, so publish one below arch_" + p.Arch + " as well"
		}
	}
	for _, below := range []string{"linux/production", "linux/preview", "production", "preview"} {
		ring, err := managedconfig.ParseRingURL(strings.TrimRight(p.place.Ring.Raw, "/") + "/" + below)
		if err == nil && p.has(ctx, ring, p.Arch) {
			return "the URL does not end at the ring, so set antivirusEngine.offlineDefinitionUpdateUrl to " + ring.Raw
		}
	}
	return ""
}

// has tells whether there is a package of that ring and architecture.
func (p *probe) has(ctx context.Context, ring managedconfig.RingURL, arch string) bool {
	config, err := p.sourceAt(Place{Ring: ring}, arch)
	if err != nil {
		return false
	}
	config.Retry, config.Timeouts = p.config.Retry, p.config.Timeouts
	config.Spool = func(int64) (source.Spool, error) { return new(glance), nil }
	pkg, err := apart.New(config).Open(ctx, source.Request{Name: source.PackageName, MaxBytes: verifier.MaxArchiveSize, Tail: verifier.EndSize})
	if err != nil {
		return false
	}
	defer pkg.Close()
	tail, err := readRange(ctx, pkg, max(0, pkg.Size()-verifier.EndSize), min(pkg.Size(), verifier.EndSize))
	if err != nil {
		return false
	}
	_, err = verifier.ParseEnd(tail, pkg.Size()) // and no page that a server gives for everything
	return err == nil
}

// mostGlance is how much of what comes whole is looked at. Web pages that stand in
// for a package have no more; of a package it is next to nothing.
const mostGlance = 64 << 10

// errOnlyWhole ends a transfer that brings a whole package.
var errOnlyWhole = errors.New("the package comes whole, and only its end was wanted")

// glance keeps the beginning of what comes whole, and refuses the rest.
type glance struct{ bytes.Buffer }

// Write keeps b, or what there is room for.
func (g *glance) Write(b []byte) (int, error) {
	room := min(len(b), mostGlance-g.Len())
	n, _ := g.Buffer.Write(b[:room]) // memory does not fail
	if room < len(b) {
		return n, errOnlyWhole
	}
	return n, nil
}

// ReadAt reads what was written.
func (g *glance) ReadAt(b []byte, off int64) (int, error) {
	return bytes.NewReader(g.Bytes()).ReadAt(b, off)
}

// Close does nothing.
func (g *glance) Close() error { return nil }
