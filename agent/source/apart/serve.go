package apart

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mdatp-offline-agent/agent/source"
)

// Command is the whole command line of the process, behind the program's name.
const Command = "read-source"

// The descriptors that the process is given.
const (
	openingFD = 3 // a stream: what is to be opened, and how that went
	rangesFD  = 4 // messages, each with a stream of its own for one range
)

// job is what the process is to open, and how.
type job struct {
	Config
	Request           request
	Certificate       []byte // PEM
	Key               []byte // PEM
	CertificateFailed bool   // there is one, and the agent could not read it
}

// request is source.Request, less the tally.
type request struct {
	Name     string
	MaxBytes int64
	Known    source.Validator
	Tail     int64
	Whole    bool
}

// Started tells whether this process is to read a source, and nothing else.
func Started() bool { return len(os.Args) == 2 && os.Args[1] == Command }

// Serve does what the agent that started this process wants, and gives the exit
// code. It changes the whole process for good.
func Serve() int {
	// Who stops the agent by its group of processes stops this one by the agent.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	log.SetOutput(io.Discard) // the HTTP library would write what servers send unasked
	opening, err := inherited(openingFD)
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent: usage: the command is for the agent itself, which starts it to read a source")
		return 64
	}
	ranges, err := inherited(rangesFD)
	if err != nil {
		return 64
	}
	// Nothing is left to say where the agent doesn't listen any more.
	a := &answers{conn: opening, tally: new(source.Tally), counted: new(counted)}
	pkg, err := a.open()
	if err != nil || pkg == nil {
		return 0
	}
	opening.Close()
	for {
		conn, err := accept(ranges)
		if err != nil {
			return 0
		}
		go (&answers{conn: conn, tally: a.tally, counted: a.counted}).giveRange(pkg)
	}
}

// inherited is a socket that the process was started with.
func inherited(fd uintptr) (*net.UnixConn, error) {
	file := os.NewFile(fd, "inherited")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, errRules
	}
	return socket, nil
}

// open does the job, up to the answer. It gives no package where that came whole
// already, or there is none.
func (a *answers) open() (source.Package, error) {
	if _, err := a.write(frame(frameStarted, nil)); err != nil {
		return nil, err
	}
	orders, err := readOrders(a.conn, frameJob, mostOrders)
	if err != nil {
		return nil, err
	}
	var j job
	if err := json.Unmarshal(orders, &j); err != nil {
		return nil, err
	}
	whole := false
	pkg, err := j.open(a, func(size int64) (source.Spool, error) {
		whole = true
		return wholeObject{a}, a.tell(sizeFrame(size))
	})
	if err != nil {
		return nil, a.failed(err)
	}
	if whole {
		defer pkg.Close()
	}
	if err := a.say(frameOpened, opened{pkg.Size(), pkg.Validator(), pkg.Version(), a.tally.ServerClock.Load()}); err != nil || whole {
		return nil, err
	}
	return pkg, nil
}

// open confines the process and opens the object, in the order that each kind of
// source needs: a file must be open before nothing can be opened any more, and a
// server is not to be listened to before.
func (j job) open(a *answers, spool func(int64) (source.Spool, error)) (source.Package, error) {
	c := limit()
	r := source.Request{Name: j.Request.Name, MaxBytes: j.Request.MaxBytes, Known: j.Request.Known, Tail: j.Request.Tail, Whole: j.Request.Whole, Tally: a.tally}
	if j.Dir != "" {
		pkg, err := source.NewDir(j.Dir).Open(context.Background(), r)
		if err != nil {
			return nil, err
		}
		c.lock(false)
		return pkg, a.say(frameConfined, c)
	}
	config, err := j.http(spool)
	if err != nil {
		return nil, err
	}
	c.lock(true)
	if err := a.say(frameConfined, c); err != nil {
		return nil, err
	}
	return source.NewHTTP(config).Open(context.Background(), r)
}

// http is the configuration of the source that reads from the server.
func (j job) http(spool func(int64) (source.Spool, error)) (source.HTTPConfig, error) {
	base, err := url.Parse(j.URL)
	if err != nil {
		return source.HTTPConfig{}, errors.New("the address can not be read") // and is not shown, since it may hold a password
	}
	// A name service by the C library would load others.
	net.DefaultResolver = &net.Resolver{PreferGo: true}
	config := source.HTTPConfig{Base: base, Single: j.Single, Spool: spool, Timeouts: j.Timeouts, Retry: j.Retry, Rate: j.Rate, Header: j.Header,
		Time: func() time.Time { return j.Time }}
	if j.Time.IsZero() {
		config.Time = nil
	}
	if len(j.Roots) > 0 {
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool() // a machine without authorities of its own
		}
		roots.AppendCertsFromPEM(j.Roots) // what is no certificate was refused by who read the file
		config.RootCAs = roots
	}
	if j.Proxy.HTTPProxy != "" || j.Proxy.HTTPSProxy != "" {
		config.Proxy = j.Proxy.ProxyFunc()
	}
	if j.CertificateFailed {
		config.ClientCertificate = func() (*tls.Certificate, error) { return nil, errCertificate }
	} else if len(j.Certificate) > 0 {
		config.ClientCertificate = func() (*tls.Certificate, error) {
			pair, err := tls.X509KeyPair(j.Certificate, j.Key)
			return &pair, err
		}
	}
	return config, nil
}

// answers is what the process says by one stream.
type answers struct {
	conn    *net.UnixConn
	tally   *source.Tally
	counted *counted // of the tally, what was told by any stream
}

// write writes frames at once, and gives how many bytes of them were taken.
func (a *answers) write(frames ...[]byte) (int64, error) {
	all := net.Buffers(frames)
	return all.WriteTo(a.conn)
}

// tell writes frames behind one with what reading has cost since the last of these. A
// stream that nobody listens to any more must not take with it what others have cost. Only
// what was on its way when somebody ceased to listen is not counted.
func (a *answers) tell(frames ...[]byte) error {
	spent := a.counted.since(a.tally)
	tally := spent.frame()
	n, err := a.write(slices.Insert(frames, 0, tally)...)
	if n < int64(len(tally)) {
		a.counted.untold(spent)
	}
	return err
}

// say gives a frame with v in it.
func (a *answers) say(kind byte, v any) error {
	said, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return a.tell(frame(kind, said))
}

// failed says why something did not work.
func (a *answers) failed(err error) error {
	f := failedBy(err)
	f.ServerClock = a.tally.ServerClock.Load()
	return a.say(frameFailed, f)
}

// content gives the next bytes.
func (a *answers) content(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), mostBytes)
		if err := a.tell(head(frameBytes, n), b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// wholeObject is the spool of an object that comes whole: the agent has it, since
// the process can write nothing.
type wholeObject struct{ a *answers }

// Write passes b on.
func (w wholeObject) Write(b []byte) (int, error) {
	if err := w.a.content(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// ReadAt fails: what was passed on is not here any more.
func (w wholeObject) ReadAt([]byte, int64) (int, error) { return 0, errRules }

// Close does nothing.
func (w wholeObject) Close() error { return nil }

// accept waits for the stream of the next range. It fails when the agent has
// closed the package, or has ended.
func accept(ranges *net.UnixConn) (*net.UnixConn, error) {
	one, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	n, got, _, _, err := ranges.ReadMsgUnix(one, rights)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:got])
	if err != nil || n != 1 || len(messages) != 1 {
		return nil, errRules
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errRules
	}
	return inherited(uintptr(fds[0]))
}

// giveRange gives the range that is asked for by the stream. It ends early when
// nobody listens any more.
func (a *answers) giveRange(pkg source.Package) {
	defer a.conn.Close()
	off, n, err := readRange(a.conn)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		io.Copy(io.Discard, a.conn) // the agent says no more, so this ends when it closes the stream
		cancel()
	}()
	r, err := pkg.Range(ctx, off, n)
	if err != nil {
		a.failed(err)
		return
	}
	defer r.Close()
	buf := make([]byte, min(n, mostBytes))
	for {
		n, err := r.Read(buf)
		if a.content(buf[:n]) != nil || err == io.EOF {
			return
		}
		if err != nil {
			a.failed(err)
			return
		}
	}
}
