package attacks_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"

	"mdatp-offline-agent/agent/source/sourcetest"
	"mdatp-offline-agent/verifier"
)

const gib = 1 << 30

// Row 2, endless data: more than anybody can hold, in each place where something
// is read.
func endlessData() []attack {
	raw := func(name, does, code string, exit int, says string, answer func(net.Conn)) attack {
		return attack{row: 2, name: name, does: does, code: code, exit: exit, says: says, slow: code == "source_unreachable", mirror: func(m *machine) { m.site.raw(answer) }}
	}
	file := func(name, does, code, says string, fill func(*machine, *os.File) error) attack {
		// A server that knows no ranges sends all of it before its end can be seen.
		const most = 110 << 20
		return attack{row: 2, name: name, does: does, code: code, exit: badData, says: says, static: true, disk: most, mirror: func(m *machine) {
			m.site.make("updates.zip", func(f *os.File) error { return fill(m, f) })
		}}
	}
	large := func(a attack) attack { a.disk, a.long, a.slow = gib, true, true; return a }
	const (
		ok                                 = "HTTP/1.1 200 OK\r\n"
		tooLarge, unreachable, notAPackage = "package_too_large", "source_unreachable", "not_a_package"
		malformed                          = "package_malformed"
	)
	block := strings.Repeat("x", 64<<10)
	return []attack{
		large(raw("endless-chunks", "a body in chunks that never ends", tooLarge, badData, "", endlessChunks())),
		large(raw("endless-body", "a body without a length that never ends", tooLarge, badData, "", sourcetest.Endless(ok+"\r\n", block))),
		large(raw("gzip-bomb", "a gzip coding that nobody asked for, which inflates without an end", tooLarge, badData, "", gzipBomb())),
		raw("gzip-of-nothing", "a gzip coding that goes on for ever and holds nothing", unreachable, unavailable, "compressed", sourcetest.Endless(ok+"Content-Encoding: gzip\r\n\r\n", string(emptyGzip(4096)))),
		raw("other-coding", "a coding that nobody asked for", unreachable, unavailable, "compressed", sourcetest.Says(ok+"Content-Encoding: br\r\nContent-Length: 1\r\n\r\nx")),
		raw("length-too-low", "a Content-Length below what it sends", notAPackage, badData, "", sourcetest.Endless(ok+"Content-Length: 1000\r\n\r\n", block)),
		raw("length-too-high", "a Content-Length above what it sends", unreachable, unavailable, "broke off", sourcetest.Says(ok+"Content-Length: 1000000\r\n\r\nshort")),
		raw("announces-10-gb", "a Content-Length of ten gigabytes", tooLarge, badData, "", sourcetest.Endless(ok+"Content-Length: 10000000000\r\n\r\n", block)),
		raw("announces-exabytes", "a Content-Length as large as a number can be", tooLarge, badData, "", sourcetest.Endless(ok+"Content-Length: 9223372036854775807\r\n\r\n", block)),
		raw("two-lengths", "two Content-Lengths that differ", unreachable, unavailable, "proper HTTP", sourcetest.Says(ok+"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx")),
		raw("endless-headers", "headers that never end", unreachable, unavailable, "proper HTTP", sourcetest.Endless(ok, "X-Filler: "+block[:1000]+"\r\n")),
		raw("endless-header-line", "one header that never ends", unreachable, unavailable, "proper HTTP", sourcetest.Endless(ok+"X-Filler: ", block)),
		raw("early-hints", "answers with status 103 for ever", unreachable, unavailable, "proper HTTP", sourcetest.Endless("", "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n")),
		raw("continue", "answers with status 100 for ever", unreachable, unavailable, "", sourcetest.Endless("", "HTTP/1.1 100 Continue\r\n\r\n")),
		raw("endless-trailers", "trailers behind the last chunk that never end", unreachable, unavailable, "", sourcetest.Endless(ok+"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", "X-Filler: "+block[:1000]+"\r\n")),
		raw("endless-chunk-extension", "a chunk's extension that never ends", unreachable, unavailable, "", sourcetest.Endless(ok+"Transfer-Encoding: chunked\r\n\r\n1;", block)),
		raw("redirect-with-endless-body", "redirects, each with a body that never ends", "redirect_refused", unavailable, "more than five times",
			sourcetest.Endless("HTTP/1.1 302 Found\r\nLocation: updates.zip\r\n\r\n", block)),
		raw("error-with-endless-body", "an error whose page never ends", unreachable, unavailable, "status 400", sourcetest.Endless("HTTP/1.1 400 Bad Request\r\n\r\n", block)),
		file("sparse-10-gb", "a file of ten gigabytes that takes no room on the server", tooLarge, "", func(_ *machine, f *os.File) error { return f.Truncate(10e9) }),
		file("sparse-4-gib-and-1", "a file whose length is small as a number of 32 bits", tooLarge, "", func(_ *machine, f *os.File) error { return f.Truncate(4<<30 + 1) }),
		file("million-entries", "an archive of a million entries", malformed, "", func(_ *machine, f *os.File) error { return manyEntries(f, 1_000_000) }),
		file("many-entries", "an archive of 65534 entries", malformed, "entries", func(_ *machine, f *os.File) error { return manyEntries(f, 65_534) }),
		file("huge-directory", "an archive of one entry with a directory of 40 MB", malformed, "", func(_ *machine, f *os.File) error {
			return writeArchive(f, 0, 40<<20, 1)
		}),
		file("huge-list", "a signed list of 100 MB", malformed, "65536", func(_ *machine, f *os.File) error { return hugeList(f, 100<<20) }),
		{row: 2, name: "huge-sidecar", does: "a signed list of 100 MB beside the package", code: tooLarge, exit: badData, static: true, mirror: func(m *machine) {
			p := m.pack(418)
			p.bare = true
			m.site.put("updates.zip", m.archive(p))
			m.site.make("updates.zip.p7m", func(f *os.File) error { return f.Truncate(100 << 20) })
		}},
		file("overlapping-entries", "a zip bomb: entries that all share one compressed stream", malformed, "", func(m *machine, f *os.File) error { return overlap(m, f) }),
		file("inflating-entry", "the published list, with a file that inflates to a thousand times its size", malformed, "", func(m *machine, f *os.File) error {
			p := m.pack(418)
			p.deflate = true
			delta := p.files["delta.vdm"]
			p.entries = []entry{{name: "base.vdm", content: p.files["base.vdm"]}, {name: "delta.vdm", content: delta + strings.Repeat("x", 20<<20), size: int64(len(delta))}}
			_, err := f.Write(m.archive(p))
			return err
		}),
		{row: 2, name: "small-disk", does: "a body that never ends, to a machine with little room", ends: "disk_full, and the room is given back; the set stays active, and the next package is installed",
			story: func(m *machine) {
				m.onSmallDisk()
				m.site.raw(endlessChunks())
				before := m.snapshot()
				m.wantFailed("disk_full")
				m.wantSame(before)
				m.checkActive()
				m.checkStaging()
				m.wantHealth("update_failed", "disk_full")
				m.publish(m.pack(418))
				m.wantUpdated(m.installed)
				m.wantHealth("up_to_date", "")
			}},
		file("listed-too-large", "a list by the right signer whose files have more than 2 GiB", "list_malformed", "", func(m *machine, f *os.File) error {
			p := m.pack(418)
			p.json = func(list []byte) []byte {
				return bytes.Replace(list, []byte(`"size":9}`), []byte(`"size":3000000000}`), 1)
			}
			p.json = replaceSize(len(p.files["delta.vdm"]), 3_000_000_000)
			_, err := f.Write(m.archive(p))
			return err
		}),
	}
}

// replaceSize changes a size in a list.
func replaceSize(from, to int) func([]byte) []byte {
	return func(list []byte) []byte {
		return regexp.MustCompile(fmt.Sprintf(`"size": *%d\b`, from)).ReplaceAll(list, fmt.Appendf(nil, `"size":%d`, to))
	}
}

// endlessChunks is a body in chunks that never ends.
func endlessChunks() func(net.Conn) {
	const size = 64 << 10
	return sourcetest.Endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", fmt.Sprintf("%x\r\n%s\r\n", size, strings.Repeat("x", size)))
}

// smallDisk is the size of one that has room for the agent's reserve, for one step
// of a spool, and for little more. Sizes are bytes.
const smallDisk = 36 << 20

// onSmallDisk gives the machine a small file system for its sets, with what is
// installed on it.
func (m *machine) onSmallDisk() {
	m.Helper()
	m.mount(m.paths.Engine, fmt.Sprintf("size=%d,mode=755", smallDisk))
	m.wantUpdated(m.installed)
	m.most = smallDisk
}

// gzipBomb is a gzip member that inflates to a megabyte, again and again.
func gzipBomb() func(net.Conn) {
	var one bytes.Buffer
	z := gzip.NewWriter(&one)
	z.Write(make([]byte, 1<<20))
	z.Close()
	return sourcetest.Endless("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", strings.Repeat(one.String(), 16))
}

// emptyGzip is that many gzip members without content.
func emptyGzip(n int) []byte {
	var one bytes.Buffer
	z := gzip.NewWriter(&one)
	z.Close()
	return bytes.Repeat(one.Bytes(), n)
}

// le appends little-endian numbers: 2 bytes for uint16, 4 for uint32, 8 for uint64.
func le(b []byte, values ...any) []byte {
	for _, v := range values {
		b, _ = binary.Append(b, binary.LittleEndian, v)
	}
	return b
}

// directoryEntry is one entry of an archive's directory.
func directoryEntry(name string, method uint16, crc, packed, size, offset uint32) []byte {
	b := le([]byte("PK\x01\x02"), uint16(20), uint16(20), uint16(0), method, uint32(0), crc, packed, size, uint16(len(name)), uint16(0), uint16(0), uint16(0), uint16(0), uint32(0), offset)
	return append(b, name...)
}

// localHeader is what stands before an entry.
func localHeader(name string, method uint16, crc, packed, size uint32) []byte {
	b := le([]byte("PK\x03\x04"), uint16(20), uint16(0), method, uint32(0), crc, packed, size, uint16(len(name)), uint16(0))
	return append(b, name...)
}

// endRecord closes an archive.
func endRecord(entries, dirSize, dirOffset int) []byte {
	return le([]byte("PK\x05\x06"), uint16(0), uint16(0), uint16(min(entries, 0xffff)), uint16(min(entries, 0xffff)), uint32(min(dirSize, 0xffffffff)), uint32(min(dirOffset, 0xffffffff)), uint16(0))
}

// writeArchive writes zeros up to dirOffset, a directory of zeros, and an end
// record that has it.
func writeArchive(f *os.File, dirOffset, dirSize, entries int) error {
	_, err := f.WriteAt(endRecord(entries, dirSize, dirOffset), int64(dirOffset+dirSize))
	return err
}

// manyEntries writes an archive of empty entries, with the records of zip64 where
// they are needed.
func manyEntries(f *os.File, n int) error {
	local := localHeader("x", 0, 0, 0, 0)
	if _, err := f.Write(local); err != nil {
		return err
	}
	dir := bytes.Repeat(directoryEntry("x", 0, 0, 0, 0, 0), n)
	if _, err := f.Write(dir); err != nil {
		return err
	}
	var end []byte
	if n >= 0xffff {
		end = le([]byte("PK\x06\x06"), uint64(44), uint16(45), uint16(45), uint32(0), uint32(0), uint64(n), uint64(n), uint64(len(dir)), uint64(len(local)))
		end = le(append(end, "PK\x06\x07"...), uint32(0), uint64(len(local)+len(dir)), uint32(1))
	}
	_, err := f.Write(append(end, endRecord(n, len(dir), len(local))...))
	return err
}

// hugeList writes an archive whose signed list has that many bytes, all zero.
func hugeList(f *os.File, size int) error {
	local := localHeader(verifier.ListEntry, 0, 0, uint32(size), uint32(size))
	if _, err := f.Write(local); err != nil {
		return err
	}
	dir := directoryEntry(verifier.ListEntry, 0, 0, uint32(size), uint32(size), 0)
	at := len(local) + size
	_, err := f.WriteAt(append(dir, endRecord(1, len(dir), at)...), int64(at))
	return err
}

// overlap writes an archive whose list is good and whose other entries all point
// to one small stream that inflates to a lot.
func overlap(m *machine, f *os.File) error {
	const inflated = 8 << 20
	p := m.pack(418)
	p.deflate = true
	p.entries = []entry{{name: "a.vdm", content: strings.Repeat("\x00", inflated)}}
	whole := m.archive(p)
	// The directory has an entry for the stream, and one for the list behind it.
	dirAt := bytes.Index(whole, []byte("PK\x01\x02"))
	listAt := bytes.LastIndex(whole, []byte("PK\x01\x02"))
	stream := whole[dirAt:listAt]
	dir := bytes.Repeat(stream, 50)
	dir = append(dir, whole[listAt:bytes.LastIndex(whole, []byte("PK\x05\x06"))]...)
	out := append(bytes.Clone(whole[:dirAt]), dir...)
	_, err := f.Write(append(out, endRecord(51, len(dir), dirAt)...))
	return err
}
