// Command cut is a relay on loopback that interrupts: it passes connections on
// to a server, counts the bytes that come back, and when a given number has gone
// through, it holds or drops them. So a benchmark can break a transfer at an exact
// byte, wherever the client reads from, and count what reached the client.
//
//	cut -to 127.0.0.1:8080 -listen 127.0.0.1:8081 [-after BYTES [-then hold|drop]]
//
// It prints "ready" when it listens and "cut" when it cuts, and on SIGTERM the
// number of bytes that it has handed to clients. It understands nothing of what
// it relays, and it is meant for loopback: there are no time-outs.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// chunk is how much is relayed at a time, in bytes. Small, so that little is on
// its way when the cut comes.
const chunk = 16 << 10

// relay passes bytes on and knows how many have been.
type relay struct {
	to   string
	then string

	mu    sync.Mutex
	sent  int64             // bytes handed to clients
	after int64             // where to cut, zero for nowhere
	told  bool              // that the cut was reached
	open  map[net.Conn]bool // clients
}

func main() {
	var r relay
	listen := flag.String("listen", "127.0.0.1:0", "address to listen at")
	flag.StringVar(&r.to, "to", "", "address to relay to")
	flag.Int64Var(&r.after, "after", 0, "cut after so many bytes, 0 for never")
	flag.StringVar(&r.then, "then", "hold", "hold: nothing more comes; drop: connections close, and new ones work")
	flag.Parse()
	if r.to == "" || (r.then != "hold" && r.then != "drop") {
		flag.Usage()
		os.Exit(2)
	}
	if err := r.run(*listen); err != nil {
		fmt.Fprintln(os.Stderr, "cut:", err)
		os.Exit(1)
	}
}

// run relays until SIGTERM.
func (r *relay) run(listen string) error {
	r.open = map[net.Conn]bool{}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-stop
		l.Close()
	}()
	fmt.Println("ready")
	for {
		client, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			return err
		}
		go r.connect(client)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Println(r.sent)
	return nil
}

// connect relays one connection, both ways, until either side is done.
func (r *relay) connect(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer server.Close()
	r.track(client, true)
	defer r.track(client, false)
	go func() {
		io.Copy(server, client)
		server.Close() // so that down ends as well
	}()
	r.down(client, server)
}

// track remembers the connections that a drop has to close.
func (r *relay) track(c net.Conn, isOpen bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if isOpen {
		r.open[c] = true
	} else {
		delete(r.open, c)
	}
}

// down relays from the server to the client.
func (r *relay) down(client, server net.Conn) {
	buffer := make([]byte, chunk)
	for {
		n, err := server.Read(buffer)
		for rest := buffer[:n]; len(rest) > 0; {
			part := rest[:r.take(len(rest))]
			rest = rest[len(part):]
			if _, err := client.Write(part); err != nil {
				return
			}
			if len(rest) > 0 {
				r.cut()
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// take reserves up to n bytes and says how many may go before the cut.
func (r *relay) take(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.after > 0 {
		n = int(min(int64(n), r.after-r.sent))
	}
	r.sent += int64(n)
	return n
}

// cut does what was asked for at the limit. All connections meet here, the first
// of them does it for all.
func (r *relay) cut() {
	if r.reached() {
		select {} // held until the process ends
	}
}

// reached says whether to hold. Where not, it has dropped all connections, and
// there is no limit any more.
func (r *relay) reached() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.told {
		fmt.Println("cut")
		r.told = true
	}
	if r.then == "hold" {
		return true
	}
	if r.after > 0 {
		r.after = 0
		for c := range r.open {
			c.Close()
		}
	}
	return false
}
