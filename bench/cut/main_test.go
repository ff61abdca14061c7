package main

import (
	"io"
	"net"
	"testing"
	"time"
)

// serve accepts connections for handle until the test ends.
func serve(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go handle(c)
		}
	}()
	return l.Addr().String()
}

// TestCut has the client see exactly the bytes before the cut, and the relay
// count exactly what the client saw.
func TestCut(t *testing.T) {
	t.Parallel()
	const all, after = 100_000, 40_001
	for _, then := range []string{"hold", "drop"} {
		t.Run(then, func(t *testing.T) {
			t.Parallel()
			origin := serve(t, func(c net.Conn) {
				c.Write(make([]byte, all))
				c.Close()
			})
			r := &relay{to: origin, then: then, after: after, open: map[net.Conn]bool{}}
			address := serve(t, r.connect)
			if n, ended := receive(t, address, after); n != after || ended != (then == "drop") {
				t.Errorf("%d bytes came and the end is %v, want %d", n, ended, after)
			}
			want := int64(after)
			if then == "drop" { // and from then on nothing is cut
				want += all
				if n, _ := receive(t, address, all); n != all {
					t.Errorf("after the cut %d bytes came, want %d", n, all)
				}
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.sent != want {
				t.Errorf("counted %d bytes, want %d", r.sent, want)
			}
		})
	}
}

// receive reads what comes, says how much, and whether the connection ended. Once
// there is what is expected, it waits for a moment only.
func receive(t *testing.T, address string, expected int) (n int, ended bool) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err = io.ReadFull(c, make([]byte, expected))
	if err != nil {
		t.Fatalf("%d bytes came, and then %v", n, err)
	}
	c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	more, err := c.Read(make([]byte, 1))
	timeout, _ := err.(net.Error)
	return n + more, timeout == nil || !timeout.Timeout()
}
