package verifier

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"testing"
)

// A zip writer by hand, since the rows of the archive's tests need archives that
// no library writes.

// part is one entry. Its hooks change the headers after they are filled in.
type part struct {
	name       string
	data       []byte
	method     uint16
	flags      uint16
	attributes uint32
	raw        []byte // what stands for the compressed bytes, where not nil
	before     []byte // hidden in front of the local header
	descriptor []byte // behind the content
	localExtra []byte
	dirExtra   []byte
	comment    []byte
	local, dir func(header []byte)
}

func (p part) compressed() []byte {
	if p.raw != nil {
		return p.raw
	}
	if p.method == methodStored {
		return p.data
	}
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil {
		panic(err) // a fault of the test itself
	}
	w.Write(p.data)
	w.Close()
	return out.Bytes()
}

// sizes writes CRC, compressed and plain size.
func (p part) sizes(header []byte, compressed int) {
	binary.LittleEndian.PutUint32(header, crc32.ChecksumIEEE(p.data))
	binary.LittleEndian.PutUint32(header[4:], uint32(compressed))
	binary.LittleEndian.PutUint32(header[8:], uint32(len(p.data)))
}

func (p part) localHeader(compressed int) []byte {
	h := make([]byte, localHeaderSize)
	copy(h, localMagic)
	put16(h[4:], 20, p.flags, p.method)
	if p.flags&flagDescriptor == 0 {
		p.sizes(h[14:], compressed)
	}
	put16(h[26:], uint16(len(p.name)), uint16(len(p.localExtra)))
	if p.local != nil {
		p.local(h)
	}
	return append(append(h, p.name...), p.localExtra...)
}

func (p part) dirHeader(compressed, offset int) []byte {
	h := make([]byte, dirHeaderSize)
	copy(h, dirMagic)
	put16(h[4:], 0x031e, 20, p.flags, p.method) // made on Unix
	p.sizes(h[16:], compressed)
	put16(h[28:], uint16(len(p.name)), uint16(len(p.dirExtra)), uint16(len(p.comment)))
	binary.LittleEndian.PutUint32(h[38:], p.attributes)
	binary.LittleEndian.PutUint32(h[42:], uint32(offset))
	if p.dir != nil {
		p.dir(h)
	}
	return append(append(append(h, p.name...), p.dirExtra...), p.comment...)
}

func put16(to []byte, values ...uint16) {
	for i, v := range values {
		binary.LittleEndian.PutUint16(to[2*i:], v)
	}
}

// marked is the data descriptor of p with its optional mark.
func (p part) marked() []byte {
	d := make([]byte, 16)
	copy(d, descriptorMagic)
	p.sizes(d[4:], len(p.compressed()))
	return d
}

// buildZip joins entries; end, where not nil, changes the end record.
func buildZip(end func(record []byte), parts ...part) []byte {
	var out, dir []byte
	for _, p := range parts {
		compressed := p.compressed()
		out = append(out, p.before...)
		dir = append(dir, p.dirHeader(len(compressed), len(out))...)
		out = append(append(append(out, p.localHeader(len(compressed))...), compressed...), p.descriptor...)
	}
	record := make([]byte, EndSize)
	copy(record, endMagic)
	put16(record[8:], uint16(len(parts)), uint16(len(parts)))
	binary.LittleEndian.PutUint32(record[12:], uint32(len(dir)))
	binary.LittleEndian.PutUint32(record[16:], uint32(len(out)))
	if end != nil {
		end(record)
	}
	return append(append(out, dir...), record...)
}

// readZip reads an archive as a source's reader would, from its tail.
func readZip(data []byte) (*Archive, error) {
	end, err := ParseEnd(data[max(0, len(data)-TailSize):], int64(len(data)))
	if err != nil {
		return nil, err
	}
	return ParseDirectory(data[end.DirOffset:][:end.DirSize], end)
}

// region is the archive's bytes of one entry.
func region(data []byte, e Entry) *bytes.Reader { return bytes.NewReader(data[e.Offset:e.End]) }

// file is an ordinary entry.
func file(name, data string) part {
	return part{name: name, data: []byte(data), method: methodDeflated, attributes: 0o100644 << 16}
}

// signedPart is the entry of the signed list.
func signedPart(data string) part {
	return part{name: ListEntry, data: []byte(data), attributes: 0o100644 << 16}
}

func (p part) with(edit func(*part)) part {
	edit(&p)
	return p
}

func mustRead(t testing.TB, data []byte) *Archive {
	t.Helper()
	a, err := readZip(data)
	must(t, err)
	return a
}
