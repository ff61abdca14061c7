package apart

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"golang.org/x/net/http/httpproxy"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/printable"
)

// maxWhere is how much of a place a sentence shows, in bytes.
const maxWhere = 512

// maxPatience bounds how long the process may give nothing, whatever is configured.
// The daemon counts as stuck after an hour.
const maxPatience = 30 * time.Minute

// slack is how many times slower than a server content may come from the process,
// since it tries again what fails, and shares its rate among ranges.
const slack = 4

// Config is what a source is made of: a directory, or a server. What matters for
// one alone means nothing for the other. It is handed to the process as it is, but
// for the functions, which are called in this one.
type Config struct {
	// Dir is the architecture directory; empty where URL is meant.
	Dir string
	// URL is the http or https URL of the architecture directory, or, where Single
	// is set, of the package itself. A user name and password in it go to this
	// host and port alone.
	URL    string
	Single bool
	// Timeouts bound the waiting. Stall also bounds how long a directory may give
	// nothing. Zero means the default.
	Timeouts source.Timeouts
	// Retry bounds what is tried again. Zero means the default.
	Retry source.Retry
	// Rate bounds all bodies together, in bytes per second; zero means no bound.
	Rate int64
	// Time is what servers' certificates are checked against; zero means the present.
	Time time.Time
	// Header is sent in addition, to the configured scheme, host and port alone.
	Header http.Header
	// Proxy says by which proxies requests go; zero means by none.
	Proxy httpproxy.Config
	// Roots are authorities that servers' certificates may chain to beside the
	// system's, in PEM form.
	Roots []byte

	// ClientCertificate reads the certificate for the configured server and its
	// key, in PEM form, anew for each object; nil means none. Its error is given
	// where a server asks for a certificate.
	ClientCertificate func() (cert, key []byte, err error) `json:"-"`
	// Spool makes room for an object of size bytes, -1 where that is not known.
	Spool func(size int64) (source.Spool, error) `json:"-"`
	// Confined, unless nil, is told for each object what is in force.
	Confined func(Confinement) `json:"-"`
	// Unended is the program's; nil means one for this source alone.
	Unended *Unended `json:"-"`
}

// Source reads each object in a process of its own.
type Source struct {
	config   Config
	where    string        // as sentences show it
	patience time.Duration // how long the process may give nothing
	pace     time.Duration // how long a byte of content may take on average
}

// New gives the source for c. No process is started before something is opened.
func New(c Config) *Source {
	s := &Source{config: c}
	if c.Unended == nil {
		s.config.Unended = new(Unended)
	}
	s.pace = slack * source.Pace(c.Timeouts, c.Rate)
	if c.Dir != "" {
		s.where, s.patience = printable.Sentence(c.Dir, maxWhere), min(cmp.Or(c.Timeouts.Stall, source.DefaultStallWindow), maxPatience)
		return s
	}
	if u, err := url.Parse(c.URL); err == nil {
		s.where = printable.Sentence(u.Host, maxWhere)
	}
	s.patience = min(source.Silence(c.Timeouts), maxPatience)
	return s
}

// Open starts a process that opens the object.
func (s *Source) Open(ctx context.Context, r source.Request) (source.Package, error) {
	if err := stopped(ctx); err != nil {
		return nil, err
	}
	name := cmp.Or(s.config.Dir, s.config.URL)
	if why := s.config.Unended.clear(ctx, name); why != "" {
		return nil, cmp.Or(stopped(ctx), s.stalled(fmt.Sprintf("nothing is read from %s, since %s", s.where, why), nil))
	}
	orders, certificateErr, err := s.orders(r)
	if err != nil {
		return nil, err
	}
	p, err := start(s.config.Unended, name)
	if err != nil {
		return nil, &source.Error{
			Code:     source.CodeUnreachable,
			Sentence: fmt.Sprintf("the process that reads from %s could not be started", s.where),
			Hint:     "check how many processes and how much memory this machine and the service's unit permit; the log has the cause",
			Err:      err,
		}
	}
	o := &opening{s: s, p: p, r: r, certificateErr: certificateErr}
	pkg, err := o.open(ctx, orders)
	if err != nil {
		o.drop()
		p.finish()
		return nil, err
	}
	return pkg, nil
}

// orders is what the process is told, and why there is no client certificate
// where there should be one.
func (s *Source) orders(r source.Request) (orders []byte, certificateErr, err error) {
	j := job{Config: s.config, Request: request{r.Name, r.MaxBytes, r.Known, r.Tail, r.Whole}}
	if s.config.ClientCertificate != nil {
		j.Certificate, j.Key, certificateErr = s.config.ClientCertificate()
		j.CertificateFailed = certificateErr != nil
	}
	orders, err = json.Marshal(j)
	if err == nil && len(orders) > mostOrders {
		err = errors.New("the configuration of the source is too large to be handed over")
	}
	return orders, certificateErr, err
}

// stopped is the error for work that ended because the caller's ctx did, or nil.
func stopped(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("reading from the source was stopped: %w", err)
	}
	return nil
}

// failure is the error for a conversation that ended with err where it should not
// have. The process is of no use any more.
func (s *Source) failure(ctx context.Context, p *process, err error) error {
	p.kill()
	if gone := stopped(ctx); gone != nil {
		p.abandon()
		return gone
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return &source.Error{
			Code:     source.CodeUnreachable,
			Sentence: fmt.Sprintf("the process that reads from %s failed", s.where),
			Hint:     "the next attempt starts another; if it fails again, report what the log says",
			Err:      fmt.Errorf("%w; %s", err, p.end()),
		}
	}
	p.abandon()
	return s.stalled(fmt.Sprintf("too little came from %s within %s", s.where, s.patience), err)
}

// stalled is the error for a source that holds up whoever reads from it.
func (s *Source) stalled(sentence string, err error) error {
	e := &source.Error{Code: source.CodeStalled, Sentence: sentence, Err: err, Hint: "check the line to the server and its load"}
	if s.config.Dir != "" {
		e.Hint = "the share or file system that holds the directory seems dead; check its server, and mount it anew"
	}
	return e
}

// patient reads from the process, and gives os.ErrDeadlineExceeded where waiting
// took too long. Only content makes up for waiting, by so much for a byte, so that a
// process that goes on talking ends sooner or later. Only the time in Read counts.
type patient struct {
	*net.UnixConn
	patience time.Duration // how long it may be waited on credit
	pace     time.Duration // what a byte of content makes up for
	waited   time.Duration
	talk     int // frames in a row that are no content
}

// Read waits for the next bytes.
func (p *patient) Read(b []byte) (int, error) {
	began := time.Now()
	if err := p.SetReadDeadline(began.Add(p.patience - p.waited)); err != nil {
		return 0, err
	}
	n, err := p.UnixConn.Read(b)
	p.waited += time.Since(began)
	return n, err
}

// heard takes account of a frame. It refuses one too many that is no content.
func (p *patient) heard(kind byte, length int) error {
	if kind == frameBytes {
		p.waited = max(0, p.waited-time.Duration(length)*p.pace)
		p.talk = 0
		return nil
	}
	if p.talk++; p.talk > mostTalkInRow {
		return errRules
	}
	return nil
}

// closeOn closes a connection when one of the contexts ends. That makes who reads
// from it return at once, whatever the process waits for. The function undoes it.
func closeOn(conn *net.UnixConn, contexts ...context.Context) (undo func()) {
	var stops []func() bool
	for _, ctx := range contexts {
		stops = append(stops, context.AfterFunc(ctx, func() { conn.Close() }))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// opening is one Open on its way to a package.
type opening struct {
	s              *Source
	p              *process
	r              source.Request
	certificateErr error
	line           patient
	spool          source.Spool // nil: nothing comes whole
	spools         int
	spooled        int64
	buf            []byte
}

// open tells the process what to open and listens to how it gets on.
func (o *opening) open(ctx context.Context, orders []byte) (source.Package, error) {
	defer closeOn(o.p.opening, ctx)()
	o.line = patient{UnixConn: o.p.opening, patience: startPatience}
	from := bufio.NewReader(&o.line)
	o.p.opening.SetWriteDeadline(time.Now().Add(startPatience))
	for _, b := range [][]byte{head(frameJob, len(orders)), orders} {
		if _, err := o.p.opening.Write(b); err != nil {
			return nil, o.s.failure(ctx, o.p, err)
		}
	}
	if kind, _, err := readHead(from, mostFrom); err != nil || kind != frameStarted {
		return nil, o.s.failure(ctx, o.p, cmp.Or(err, errRules))
	}
	o.line.patience, o.line.pace, o.line.waited = o.s.patience, o.s.pace, 0
	for {
		done, err := o.step(from)
		var ours *ownError
		switch {
		case errors.As(err, &ours):
			return nil, ours.err
		case err != nil:
			return nil, o.s.failure(ctx, o.p, err)
		case done != nil:
			return o.finish(*done)
		}
	}
}

// ownError is one that goes to the caller as it is.
type ownError struct{ err error }

// Error gives the text of what it is about.
func (e *ownError) Error() string { return e.err.Error() }

// step takes one frame, and gives what the last one says.
func (o *opening) step(from *bufio.Reader) (*opened, error) {
	kind, length, err := readHead(from, mostFrom)
	if err == nil {
		err = o.line.heard(kind, length)
	}
	if err != nil {
		return nil, err
	}
	if kind == frameBytes {
		return nil, o.keep(from, length)
	}
	content, err := talk(from, length)
	if err != nil {
		return nil, err
	}
	switch kind {
	case frameTally:
		c, err := parseCost(content)
		if err == nil {
			c.addTo(o.r.Tally)
		}
		return nil, err
	case frameConfined:
		c, err := parseConfinement(content)
		if err == nil && o.s.config.Confined != nil {
			o.s.config.Confined(c)
		}
		return nil, err
	case frameSpool:
		return nil, o.makeRoom(content)
	case frameFailed:
		f, err := parseFailed(content)
		if err != nil {
			return nil, err
		}
		o.noteClock(f.ServerClock)
		return nil, o.refused(f)
	case frameOpened:
		done, err := parseOpened(content, o.r.MaxBytes)
		o.noteClock(done.ServerClock)
		if err == nil && o.spool != nil && done.Size != o.spooled {
			err = errRules
		}
		return &done, err
	}
	return nil, errRules
}

// noteClock notes what time it is by a server; zero is none.
func (o *opening) noteClock(seconds int64) {
	if o.r.Tally != nil && seconds != 0 {
		o.r.Tally.ServerClock.Store(seconds)
	}
}

// refused is the error that the process gave.
func (o *opening) refused(f failed) error {
	switch {
	case f.NotModified:
		return &ownError{source.ErrNotModified}
	case f.Certificate && o.certificateErr != nil:
		return &ownError{o.certificateErr}
	case f.Code == "":
		return errors.New(f.Text)
	}
	return &ownError{f.sourceError()}
}

// makeRoom begins a spool; what came before is void.
func (o *opening) makeRoom(content []byte) error {
	size, err := parseSize(content, o.r.MaxBytes)
	if err != nil {
		return err
	}
	if o.spools++; o.spools > mostSpools {
		return errRules
	}
	o.drop()
	if o.s.config.Spool == nil {
		return &ownError{fmt.Errorf("no spool is configured for an object of up to %d bytes", o.r.MaxBytes)}
	}
	if o.spool, err = o.s.config.Spool(size); err != nil {
		o.spool = nil
		return &ownError{err}
	}
	return nil
}

// keep takes the next bytes of what comes whole. One byte too many is how the
// process finds out that an object is too large, which it will say itself.
func (o *opening) keep(from io.Reader, length int) error {
	o.spooled += int64(length)
	if o.spool == nil || length == 0 || o.spooled-1 > o.r.MaxBytes {
		return errRules
	}
	if o.buf == nil {
		o.buf = make([]byte, mostBytes)
	}
	if _, err := io.ReadFull(from, o.buf[:length]); err != nil {
		return err
	}
	if _, err := o.spool.Write(o.buf[:length]); err != nil {
		return &ownError{err}
	}
	return nil
}

// drop gives up what came whole so far.
func (o *opening) drop() {
	if o.spool != nil {
		o.spool.Close() // nobody reads it any more
	}
	o.spool, o.spooled = nil, 0
}

// finish makes the package. One that came whole needs no process.
func (o *opening) finish(said opened) (source.Package, error) {
	if o.spool != nil {
		o.p.finish()
		return source.Spooled(o.spool, said.Size, said.Validator, said.Version), nil
	}
	pkg := &object{s: o.s, p: o.p, said: said, tally: o.r.Tally}
	pkg.open, pkg.close = context.WithCancel(context.Background())
	return pkg, nil
}
