package attacks_test

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"

	"mdatp-offline-agent/agent/source/sourcetest"
)

// The shortest timeouts there are, each by itself, so that on a slow machine none
// comes in place of another.
var (
	shortStall  = timeouts{tls: 300, header: 300, stall: 5}
	shortHeader = timeouts{tls: 300, header: 1, stall: 300}
	shortTLS    = timeouts{tls: 1, header: 300, stall: 300}
)

// Row 9, slow retrieval: the mirror works, but never gets on.
func slowRetrieval() []attack {
	raw := func(name, does, code string, answer func(net.Conn)) attack {
		hurry := shortStall
		if code == "source_unreachable" {
			hurry = shortHeader
		}
		return attack{row: 9, name: name, does: does, code: code, exit: unavailable, hurry: hurry, mirror: func(m *machine) { m.site.raw(answer) }}
	}
	const ok = "HTTP/1.1 200 OK\r\n"
	const part = "HTTP/1.1 206 Partial Content\r\nContent-Length: 32768\r\nContent-Range: bytes 967232-999999/1000000\r\n\r\n"
	const stalled, unreachable = "source_stalled", "source_unreachable"
	return []attack{
		raw("drops", "a body of ten bytes in a second", stalled, sourcetest.Drip(ok+"Content-Length: 1000000\r\n\r\n", "x", perDrop)),
		raw("drops-in-chunks", "a body of chunks of one byte", stalled, sourcetest.Drip(ok+"Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", perDrop)),
		raw("no-body", "a header, and then nothing", stalled, then(sourcetest.Says(ok+"Content-Length: 1000000\r\n\r\n"), sourcetest.Hang)),
		raw("stalled-tail", "half of the range that was asked for, and then nothing", stalled, then(sourcetest.Says(part+strings.Repeat("x", 16<<10)), sourcetest.Hang)),
		raw("no-header", "nothing", unreachable, sourcetest.Hang),
		raw("half-a-header", "half a header, and then nothing", unreachable, then(sourcetest.Says(ok+"X-"), sourcetest.Hang)),
		raw("header-drops", "a header of ten bytes in a second", unreachable, sourcetest.Drip(ok+"X-Filler: ", "x", perDrop)),
		{row: 9, name: "stalled-handshake", does: "nothing in the middle of TLS's handshake", code: unreachable, exit: unavailable, hurry: shortTLS, mirror: func(m *machine) {
			m.configureFor("https://"+listen(m, sourcetest.Hang)+"/linux/production/", false, "")
		}},
		{row: 9, name: "stalled-at-99", does: "99 of 100 parts of a large file, and then nothing", ends: "source_stalled; the next run asks only for the rest",
			hurry: shortStall, story: func(m *machine) {
				p := m.large(418)
				archive := m.archive(p)
				// The large file lies between the two others.
				cut := bytes.Index(archive, []byte(p.files["base.vdm"])) + len(p.files["base.vdm"])*99/100
				m.cutAt(archive, cut)
				before := m.snapshot()
				m.wantFailed("source_stalled")
				m.wantSame(before)
				m.checkActive()
				m.wantHealth("update_failed", "source_stalled")
				if kept := m.kept(); kept < int64(cut)/2 || kept > int64(len(archive)) {
					m.Errorf("%d bytes are kept, want nearly all before %d", kept, cut)
				}
				m.site.forget()
				m.cutAt(archive, len(archive))
				m.waits = generous
				m.configure("")
				r := m.wantUpdated(p)
				most := int64(len(archive)-cut) + 64<<10
				if r.BytesDownloaded > most || !r.Resumed {
					m.Errorf("it fetched %d bytes once more, want at most %d; resumed: %v", r.BytesDownloaded, most, r.Resumed)
				}
				// Some of what the server sent may not have come in time.
				if from := firstByte(ranges(m.site.forget())); from > cut || from < cut-64<<10 {
					m.Errorf("it asked from byte %d on, want %d", from, cut)
				}
			}},
		{row: 9, name: "stalled-then-changed", does: "99 of 100 parts of a large file, and then another package", ends: "nothing of the first is used; the other is installed",
			hurry: shortStall, story: func(m *machine) {
				archive := m.archive(m.large(418))
				m.cutAt(archive, len(archive)-100_000)
				m.wantFailed("source_stalled")
				m.checkStaging()
				if m.kept() == 0 {
					m.Error("nothing was kept")
				}
				m.waits = generous
				m.configure("")
				next := m.large(419)
				m.publish(next)
				if r := m.wantUpdated(next); r.Resumed {
					m.Error("it went on with bytes of another package")
				}
			}},
	}
}

// cutAt has the mirror serve an archive of which nothing comes from the byte at
// cut on. The tail is an exception, without which nobody would begin.
func (m *machine) cutAt(archive []byte, cut int) {
	m.site.play(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"cut"`)
		var content io.ReadSeeker = bytes.NewReader(archive)
		if r.Header.Get("Range") != tail {
			content = &cutReader{content, r, int64(cut)}
		}
		http.ServeContent(promptly{w}, r, "", longAgo, content)
	})
}

// promptly sends everything at once.
type promptly struct{ http.ResponseWriter }

// WriteHeader sends the header.
func (p promptly) WriteHeader(status int) {
	p.ResponseWriter.WriteHeader(status)
	p.ResponseWriter.(http.Flusher).Flush()
}

// Write sends a piece of the body.
func (p promptly) Write(b []byte) (int, error) {
	n, err := p.ResponseWriter.Write(b)
	p.ResponseWriter.(http.Flusher).Flush()
	return n, err
}

// cutReader reads up to a byte and then waits for the client to give up.
type cutReader struct {
	io.ReadSeeker
	r   *http.Request
	cut int64
}

func (c *cutReader) Read(p []byte) (int, error) {
	at, err := c.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	size, _ := c.Seek(0, io.SeekEnd)
	if _, err := c.Seek(at, io.SeekStart); err != nil {
		return 0, err
	}
	left := c.cut - at
	if left <= 0 && c.cut < size {
		<-c.r.Context().Done()
		return 0, c.r.Context().Err()
	}
	if c.cut < size {
		p = p[:min(int64(len(p)), left)]
	}
	return c.ReadSeeker.Read(p)
}

// firstByte is where the first of the ranges begins that were asked for by their
// beginning.
func firstByte(asked []string) int {
	first := math.MaxInt
	for _, r := range asked {
		var from int
		if n, _ := fmt.Sscanf(r, "bytes=%d-", &from); n == 1 && from >= 0 {
			first = min(first, from)
		}
	}
	return first
}
