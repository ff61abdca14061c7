package sourcetest

import (
	"io"
	"net"
	"testing"
	"time"
)

// What a server without manners answers, as bytes on the line. Each of these ends
// when the other side has gone.

// Says gives an answer that is just that text.
func Says(text string) func(net.Conn) {
	return func(c net.Conn) { io.WriteString(c, text) }
}

// Hang says nothing and waits until the other side has gone.
func Hang(c net.Conn) { io.Copy(io.Discard, c) }

// Endless sends head, and then block for as long as somebody reads.
func Endless(head, block string) func(net.Conn) {
	return func(c net.Conn) {
		_, err := io.WriteString(c, head)
		for err == nil {
			_, err = io.WriteString(c, block)
		}
	}
}

// Drip sends head, and then a piece in every interval.
func Drip(head, piece string, every time.Duration) func(net.Conn) {
	return func(c net.Conn) {
		_, err := io.WriteString(c, head)
		for err == nil {
			time.Sleep(every)
			_, err = io.WriteString(c, piece)
		}
	}
}

// OuterAddress gives an address of this machine that is neither loopback nor
// link-local, or skips the test.
func OuterAddress(t testing.TB) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() && ip.IP.To4() != nil {
			return ip.IP.String()
		}
	}
	t.Skip("SKIPPED: this machine has no address but loopback; connect it to some network")
	return ""
}
